"""LAMMPS text dumps, plain, gz or zst: rows parsed by pyarrow's CSV engine, frame by frame."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
import zstandard

from mgdask.errors import AuditError
from mgdask.readers.frames import Columns, FrameRef
from mgdask.readers.lammps_index import CHUNK, Piece, index_stream, join_pieces

INTEGERS = frozenset(("id", "type", "mol", "proc", "ix", "iy", "iz"))
TEXTS = frozenset(("element", "typelabel"))
PIECE = 1 << 30
"""Bytes of a plain file that one task of the index pass looks through."""


def open_stream(path: str) -> BinaryIO:
    """The uncompressed bytes of a file; how it is packed is told by its first bytes, not its name."""
    raw = open(path, "rb")  # noqa: SIM115 - handed on
    magic = raw.read(4)
    raw.seek(0)
    if magic[:2] == b"\x1f\x8b":
        return cast(BinaryIO, _Unpacked(raw, lambda: zlib.decompressobj(wbits=31)))
    if magic == b"\x28\xb5\x2f\xfd":
        return cast(BinaryIO, _Unpacked(raw, lambda: zstandard.ZstdDecompressor().decompressobj()))
    return raw


class _Unpacked:
    """Bytes of a gz or zst file, also of one that a dying run left without its end: the libraries' files drop the last of them."""

    def __init__(self, raw: BinaryIO, start: Callable[[], Any]) -> None:
        self._raw, self._start = raw, start
        self._member = start()
        self._ready = b""

    def read(self, size: int) -> bytes:
        parts = [self._ready]
        got = len(self._ready)
        while got < size:
            packed = self._member.unused_data if self._member.eof else b""
            packed = packed or self._raw.read(1 << 18)
            if not packed:
                break
            if self._member.eof:  # members follow each other where files were joined
                self._member = self._start()
            part = self._member.decompress(packed)
            parts.append(part)
            got += len(part)
        whole = b"".join(parts)
        self._ready = whole[size:]
        return whole[:size]

    def __enter__(self) -> _Unpacked:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()


def is_packed(path: str) -> bool:
    """Whether a file is gz or zst, so that its frames can only be reached from its start."""
    with open(path, "rb") as raw:
        magic = raw.read(4)
    return magic[:2] == b"\x1f\x8b" or magic == b"\x28\xb5\x2f\xfd"


def index_piece(job: tuple[str, int, int | None]) -> list[Piece]:
    """The index pass over the bytes [start, stop) of a file: ``job`` is (path, start, stop)."""
    path, start, stop = job
    try:
        with open_stream(path) as stream:
            if start:
                stream.seek(max(0, start - 256))
            return index_stream(stream, start, stop)
    except (zlib.error, zstandard.ZstdError) as error:
        raise AuditError(f"{path}: the compressed stream is damaged ({error}); unpack what can be saved with "
                         f"'zcat {path} > part.dump' and ingest that") from error  # fmt: skip


class LammpsDump:
    """A text dump. ``mapper`` runs the pieces of the index pass, by default one after the other."""

    identity = "id"

    def __init__(self, path: str, mapper: Callable[..., Any] = map) -> None:
        self.path = path
        self.random_access = not is_packed(path)
        self._mapper = mapper

    def index(self) -> list[FrameRef]:
        """All frames, incomplete ones too."""
        size = Path(self.path).stat().st_size
        cuts = list(range(0, size, PIECE)) if self.random_access else [0]
        jobs = [
            (self.path, a, (b if self.random_access else None)) for a, b in zip(cuts, [*cuts[1:], size], strict=True)
        ]
        pieces = [piece for some in self._mapper(index_piece, jobs) for piece in some]
        with open_stream(self.path) as stream:
            head = stream.read(512)
        return join_pieces(self.path, pieces, first_bytes=head)

    def read(self, refs: Sequence[FrameRef]) -> Iterator[Columns]:
        """Columns of the frames by name; every number is the correctly rounded double of its text."""
        with open_stream(self.path) as stream:
            at = 0
            for ref in refs:
                if self.random_access:
                    stream.seek(ref.offset)
                else:
                    while at < ref.offset:
                        at += len(stream.read(min(CHUNK, ref.offset - at))) or ref.offset
                data = stream.read(ref.length)
                at = ref.offset + len(data)
                if len(data) < ref.length:
                    raise AuditError(f"{ref.where()}: the file became shorter after it was indexed; ingest it again")
                yield parse_rows(data, ref)


def parse_rows(data: bytes, ref: FrameRef) -> Columns:
    """Rows of one frame as arrays; ``AuditError`` names the line that cannot be read."""
    names = list(ref.columns)
    first_line = data[: data.find(b"\n") + 1]
    body = data
    if ref.rows > ref.n_atoms and data.rstrip().count(b"\n") + 1 > ref.n_atoms:
        raise AuditError(f"{ref.where()}: {ref.rows} rows where the header promises {ref.n_atoms} atoms")
    trailing = first_line.rstrip(b"\r\n").endswith((b" ", b"\t"))
    regular = b"  " not in first_line and b"\t" not in first_line and not first_line.startswith(b" ")
    kinds = {n: pa.int64() if n in INTEGERS else pa.string() if n in TEXTS else pa.float64() for n in names}
    if regular:
        try:
            table = csv.read_csv(
                pa.py_buffer(body),
                read_options=csv.ReadOptions(
                    use_threads=False,
                    column_names=[*names, "_end"] if trailing else names,
                    block_size=max(len(body), 1),
                ),
                parse_options=csv.ParseOptions(delimiter=" ", quote_char=False, double_quote=False),
                convert_options=csv.ConvertOptions(
                    column_types=kinds,
                    include_columns=names,
                    null_values=[],
                    strings_can_be_null=False,
                    check_utf8=False,
                ),
            )
            if table.num_rows == ref.n_atoms:
                return {n: _array(table.column(n)) for n in names}
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            pass  # padded columns further down, or a bad row: the slower parser tells which
    return _parse_irregular(body, ref, names, kinds)


def _array(column: Any) -> Any:
    return column.to_numpy() if not pa.types.is_string(column.type) else np.asarray(column.to_pylist(), dtype=str)


def _parse_irregular(body: bytes, ref: FrameRef, names: list[str], kinds: dict[str, Any]) -> Columns:
    dtypes: dict[str, Any] = {n: "str" if n in TEXTS else "float64" for n in names}
    try:
        frame = pd.read_csv(
            io.BytesIO(body), sep=r"\s+", header=None, names=names, dtype=dtypes, engine="c", index_col=False,
            float_precision="round_trip", na_filter=False, quoting=3, on_bad_lines="error",
        )  # fmt: skip
        if len(frame) == ref.n_atoms and all(
            len(line.split()) == len(names) for line in body.splitlines() if line.strip()
        ):
            found: Columns = {}
            for name in names:
                values = frame[name].to_numpy()
                if name in INTEGERS:
                    if not (values == np.floor(values)).all():
                        raise ValueError(f"column {name} holds numbers that are not whole")
                    values = values.astype(np.int64)
                found[name] = values.astype(str) if name in TEXTS else values
            return found
    except (ValueError, pd.errors.ParserError):
        pass
    raise AuditError(_first_bad_line(body, ref, names))


def _first_bad_line(body: bytes, ref: FrameRef, names: list[str]) -> str:
    # only when something is wrong: slow and exact
    lines = body.decode("ascii", errors="replace").splitlines()
    offset = ref.offset
    for k, line in enumerate(lines):
        words = line.split()
        here = f"{ref.path}, frame {ref.ordinal} (timestep {ref.step}), line {ref.line + k} (byte {offset})"
        if len(words) != len(names):
            return f"{here}: {len(words)} columns where {len(names)} are expected ({' '.join(names)}): {line!r}"
        for name, word in zip(names, words, strict=True):
            pattern = (
                r"[+-]?\d+"
                if name in INTEGERS
                else r"\S+"
                if name in TEXTS
                else r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf|NaN|Inf|NAN|INF|infinity)"
            )
            if not re.fullmatch(pattern, word):
                return f"{here}: column {name} holds {word!r}, which is not a number; only 'element' may hold text"
        offset += len(line) + 1
    return f"{ref.where()}: {len(lines)} rows where the header promises {ref.n_atoms} atoms"
