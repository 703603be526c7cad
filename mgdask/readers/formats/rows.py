"""Rows of atoms in text files, parsed by pyarrow's CSV engine.

Every value is the double that is nearest to the decimal number in the file.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyarrow import csv

from mgdask.bounds import MAX_LINE, shortened
from mgdask.errors import AuditError
from mgdask.interruption import is_installed
from mgdask.readers.records import FrameRef, Labels, Table

if is_installed():
    # pyarrow would replace the handler of Ctrl-C while it reads, and may lose a signal
    pa.enable_signal_handlers(False)

Kind = Literal["integer", "number", "text"]

INTEGERS = frozenset(("id", "type", "mol", "proc", "procp1", "ix", "iy", "iz"))
TEXT = frozenset(("element", "typelabel"))
_BLANK_END = "\0trailing blank"
_BLOCK = 256 << 20
_USUAL_LINE = 1 << 12
"""Mean number of bytes of a line above which the longest line is measured."""
_ARROW = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.dictionary(pa.int32(), pa.string()),
}


def lammps_kind(column: str) -> Kind:
    """Return the kind of values in a column of a LAMMPS dump."""
    return "integer" if column in INTEGERS else "text" if column in TEXT else "number"


def _arrow(text: bytes, names: list[str], columns: Sequence[str], kinds: Mapping[str, Kind]) -> Any:
    types = {name: _ARROW[kinds[name]] for name in columns}
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
    """Return the text with one blank between tokens and no blanks at line ends."""
    data = np.frombuffer(text, dtype=np.uint8).copy()
    blank = (data == ord(" ")) | (data == ord("\t")) | (data == ord("\r"))
    data[blank] = ord(" ")
    feed = data == ord("\n")
    token = ~(blank | feed)
    starts = np.flatnonzero(token & np.concatenate([[True], ~token[:-1]]))
    line = np.cumsum(feed)[starts]
    keep = token | feed
    # one blank before every token except the first of its line
    keep[starts[1:][line[1:] == line[:-1]] - 1] = True
    kept: bytes = data[keep].tobytes()
    return kept


def _first_fault(
    text: bytes, ref: FrameRef, columns: Sequence[str], kinds: Mapping[str, Kind]
) -> str:
    """Describe the first row that cannot be read."""
    names = shortened(" ".join(ref.columns), 1000)
    for number, row in enumerate(io.BytesIO(text)):
        tokens = row.decode("utf-8", "replace").split()
        place = (
            f"{ref.path}, frame {ref.ordinal} (timestep {ref.step}), line {ref.row_line + number}"
        )
        if len(tokens) != len(ref.columns):
            return (
                f"{place} has {len(tokens)} values, but the header names "
                f"{len(ref.columns)}: {names}"
            )
        for name, token in zip(ref.columns, tokens, strict=True):
            if name in columns and kinds[name] != "text":
                try:
                    value = int(token) if kinds[name] == "integer" else float(token)
                except ValueError:
                    kind = "an integer" if kinds[name] == "integer" else "a number"
                    shown = repr(shortened(token))
                    return f"{place}: column {name} holds {shown}, which is not {kind}"
                if kinds[name] == "integer" and not -(2**63) <= value < 2**63:
                    return (
                        f"{place}: column {name} holds {shortened(token)}, which does not fit "
                        "into a 64-bit integer"
                    )
    return f"{ref.where}: its rows cannot be parsed"


def parse_rows(
    text: bytes, ref: FrameRef, columns: Sequence[str], kinds: Mapping[str, Kind] | None = None
) -> Table:
    """Return the given columns of a frame's rows, in the order of the file.

    Parameters
    ----------
    text
        The rows.
    ref
        The frame, whose ``columns`` name the tokens of a row.
    columns
        Names of the columns to read.
    kinds
        Kind of values in each column. Default: derived from the names that LAMMPS uses.
        A column ``type`` of LAMMPS holds text if ``dump_modify types labels`` was set.

    Returns
    -------
    Columns by name.

    Raises
    ------
    AuditError
        If a row has the wrong number of tokens or a token of the wrong kind. The
        message names the line.
    """
    given = {name: lammps_kind(name) for name in columns} if kinds is None else kinds
    if len(text) > _USUAL_LINE * max(ref.n_atoms, 1):
        _check_lines(text, ref)
    try:
        table = _read(text, ref, columns, given)
    except pa.ArrowInvalid as error:
        labeled = {**given, "type": "text"}
        if kinds is not None or "type" not in columns or not _has_labels(text, ref):
            raise AuditError(
                f"{_first_fault(text, ref, columns, given)}. Repair that line, or remove the frame"
            ) from error
        return parse_rows(text, ref, columns, labeled)
    if table.num_rows != ref.n_atoms:
        raise AuditError(
            f"{ref.where}: {table.num_rows} rows were read, but the header gives {ref.n_atoms} "
            "atoms; check that the file has not changed, and run the ingest again"
        )
    result: Table = {}
    for name in columns:
        column = table.column(name)
        if given[name] == "text":
            column = column.unify_dictionaries().combine_chunks()
            codes = np.asarray(column.indices.to_numpy(), dtype=np.int64)
            result[name] = Labels(codes, tuple(column.dictionary.to_pylist()))
        else:
            result[name] = column.to_numpy()
    return result


def _read(text: bytes, ref: FrameRef, columns: Sequence[str], kinds: Mapping[str, Kind]) -> Any:
    """Return an Arrow table, after normalizing blanks if LAMMPS did not write them."""
    names = list(ref.columns)
    end = text.find(b"\n")
    if end > 0 and text[end - 1 : end] == b" ":
        names.append(_BLANK_END)
    try:
        return _arrow(text, names, columns, kinds)
    except pa.ArrowInvalid:
        _check_lines(text, ref)
        return _arrow(tidy(text), list(ref.columns), columns, kinds)


def _check_lines(text: bytes, ref: FrameRef) -> None:
    """Raise ``AuditError`` for a line that is longer than any row of atoms."""
    feeds = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == ord("\n"))
    lengths = np.diff(feeds, prepend=-1, append=len(text)) - 1
    row = int(lengths.argmax())
    if lengths[row] > MAX_LINE:
        raise AuditError(
            f"{ref.path}, frame {ref.ordinal} (timestep {ref.step}), line {ref.row_line + row} has "
            f"{lengths[row]} bytes; at most {MAX_LINE} are allowed. Repair that line, or remove "
            "the frame"
        )


def _has_labels(text: bytes, ref: FrameRef) -> bool:
    """Return whether the first row has text in its column ``type``."""
    words = text.split(b"\n", 1)[0].split()
    return len(words) == len(ref.columns) and not words[ref.columns.index("type")].isdigit()
