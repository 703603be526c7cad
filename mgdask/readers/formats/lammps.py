"""Rows of LAMMPS text dumps, parsed by pyarrow's CSV engine.

Every value is the double nearest to its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from mgdask.errors import AuditError
from mgdask.readers.files import open_bytes
from mgdask.readers.formats.lammps_index import index_packed, index_range
from mgdask.readers.records import Contents, FrameRef, Labels, SourceInfo, Table

INTEGERS = frozenset(("id", "type", "mol", "proc", "procp1", "ix", "iy", "iz"))
TEXT = frozenset(("element", "typelabel"))
_BLANK_END = "\0trailing blank"
_BLOCK = 256 << 20


def _arrow(text: bytes, names: list[str], columns: Sequence[str]) -> Any:
    types = {
        name: pa.int64()
        if name in INTEGERS
        else pa.dictionary(pa.int32(), pa.string())
        if name in TEXT
        else pa.float64()
        for name in columns
    }
    return csv.read_csv(
        pa.BufferReader(text),
        read_options=csv.ReadOptions(
            use_threads=False, column_names=names, block_size=min(len(text) + 1, _BLOCK)
        ),
        parse_options=csv.ParseOptions(delimiter=" ", quote_char=False, double_quote=False),
        convert_options=csv.ConvertOptions(
            column_types=types,
            include_columns=list(columns),
            null_values=[],
            strings_can_be_null=False,
        ),
    )


def tidy(text: bytes) -> bytes:
    """Return the text with tokens separated by one blank, and none at line ends."""
    data = np.frombuffer(text, dtype=np.uint8).copy()
    blank = (data == ord(" ")) | (data == ord("\t")) | (data == ord("\r"))
    data[blank] = ord(" ")
    feed = data == ord("\n")
    token = ~(blank | feed)
    starts = np.flatnonzero(token & np.concatenate([[True], ~token[:-1]]))
    line = np.cumsum(feed)[starts]
    keep = token | feed
    # one blank before every token but the first of its line
    keep[starts[1:][line[1:] == line[:-1]] - 1] = True
    kept: bytes = data[keep].tobytes()
    return kept


def _first_fault(text: bytes, ref: FrameRef, columns: Sequence[str]) -> str:
    """Describe the first row that cannot be read."""
    for number, row in enumerate(text.split(b"\n")[:-1]):
        tokens = row.decode("utf-8", "replace").split()
        place = (
            f"{ref.path}, frame {ref.ordinal} (timestep {ref.step}), line {ref.row_line + number}"
        )
        if len(tokens) != len(ref.columns):
            return (
                f"{place} has {len(tokens)} values, but the header names "
                f"{len(ref.columns)}: {' '.join(ref.columns)}"
            )
        for name, token in zip(ref.columns, tokens, strict=True):
            if name in columns and name not in TEXT:
                try:
                    int(token) if name in INTEGERS else float(token)
                except ValueError:
                    kind = "an integer" if name in INTEGERS else "a number"
                    return f"{place}: column {name} holds {token!r}, which is not {kind}"
    return f"{ref.where}: its rows cannot be parsed"


def parse_rows(text: bytes, ref: FrameRef, columns: Sequence[str]) -> Table:
    """Return the given columns of a frame's rows, in the order of the file."""
    names = list(ref.columns)
    end = text.find(b"\n")
    if end > 0 and text[end - 1 : end] == b" ":
        names.append(_BLANK_END)
    try:
        table = _arrow(text, names, columns)
    except pa.ArrowInvalid:
        try:
            table = _arrow(tidy(text), list(ref.columns), columns)
        except pa.ArrowInvalid as error:
            raise AuditError(
                f"{_first_fault(text, ref, columns)}. Repair that line, or remove the frame"
            ) from error
    if table.num_rows != ref.n_atoms:
        raise AuditError(
            f"{ref.where}: {table.num_rows} rows were read, but the header gives {ref.n_atoms} "
            "atoms; check that the file has not changed, and run the ingest again"
        )
    result: Table = {}
    for name in columns:
        column = table.column(name)
        if name in TEXT:
            column = column.unify_dictionaries().combine_chunks()
            codes = np.asarray(column.indices.to_numpy(), dtype=np.int64)
            result[name] = Labels(codes, tuple(column.dictionary.to_pylist()))
        else:
            result[name] = column.to_numpy()
    return result


class LammpsDump:
    """One LAMMPS text dump: plain, gz or zst."""

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self.packing = {"lammps": "plain", "lammps-gz": "gz", "lammps-zst": "zst"}[info.kind]
        self._bytes: Any = None

    def index(self) -> Contents:
        """Return all frames of the file."""
        if self.packing == "plain":
            return index_range(self.info.path)
        return index_packed(self.info.path, self.packing, self.info.size)

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame."""
        if self._bytes is None:
            self._bytes = open_bytes(self.info.path, self.packing, self.info.seek)
        text = self._bytes.read_at(ref.offset, ref.length)
        if len(text) != ref.length:
            raise AuditError(
                f"{ref.where}: the file is shorter than when it was indexed; run the ingest again"
            )
        return parse_rows(text, ref, columns)

    def close(self) -> None:
        """Close the file."""
        if self._bytes is not None:
            self._bytes.close()
            self._bytes = None
