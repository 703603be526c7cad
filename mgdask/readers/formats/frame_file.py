"""Files into which mgdask writes frames of Python objects, to ingest them as any file.

An ingest reads in tasks, resumes, and checks that its input is unchanged. Objects in
memory have none of this, so they are written to such a file first. It holds float64
values as they are, and it is removed after the ingest.

Layout: the line ``MGDASK FRAMES 1``; columns of atoms, one after another, as
little-endian numbers; a JSON index; its length (8 bytes); the SHA-256 of all before (32
bytes). An incomplete file has no valid digest. Because the digest is at the end, the
fingerprint of the file, which is that of both ends, changes with every value.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from mgdask._typing import AnyArray, FloatArray
from mgdask.errors import AuditError
from mgdask.readers.damage import box_problem, position_problem
from mgdask.readers.files import open_binary
from mgdask.readers.formats.tables import element_labels, pick
from mgdask.readers.origins import Ranges, place_origins
from mgdask.readers.records import Contents, FrameRef, SourceInfo, Table

MAGIC = b"MGDASK FRAMES 1\n"
_TAIL = 8 + 32
_KINDS = {"f": "<f8", "i": "<i8"}


class FrameFileWriter:
    """Writes frames one after another; the file is complete when it is closed.

    Parameters
    ----------
    path
        File to write. Nothing may exist there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb")
        self._digest = hashlib.sha256()
        self._frames: list[dict[str, Any]] = []
        self._write(MAGIC)

    def _write(self, data: bytes | memoryview[Any]) -> None:
        self._file.write(data)
        self._digest.update(data)

    def add(
        self,
        columns: Mapping[str, AnyArray],
        *,
        cell: FloatArray,
        pbc: tuple[bool, bool, bool],
        step: int,
        origin: FloatArray | None = None,
        time: float | None = None,
        values: Mapping[str, float] | None = None,
    ) -> None:
        """Write one frame.

        Parameters
        ----------
        columns
            Values of atoms by LAMMPS column name, each (atom,): x, y, z in Å, and
            ``number`` (atomic numbers), ``id``, ``mass`` in u, ``ix`` ... or others.
        cell, origin
            Cell vectors (3, 3) as rows and lower corner (3,) in Å.
        pbc
            Whether the cell repeats along each vector.
        step, time
            Timestep, and time in ps.
        values
            Numbers of the whole frame.
        """
        position = np.stack([columns[name] for name in "xyz"], axis=1)
        places = []
        for name, column in columns.items():
            kind = "f" if np.asarray(column).dtype.kind == "f" else "i"
            data = np.ascontiguousarray(column, dtype=_KINDS[kind])
            places.append([name, kind, self._file.tell()])
            self._write(data.data.cast("B") if data.size else b"")
        self._frames.append(
            {
                "n_atoms": len(next(iter(columns.values()))),
                "cell": np.asarray(cell, dtype=np.float64).tolist(),
                "origin": None if origin is None else np.asarray(origin, np.float64).tolist(),
                "pbc": [bool(flag) for flag in pbc],
                "step": int(step),
                "time": None if time is None else float(time),
                "values": dict(values or {}),
                "columns": places,
                "problem": position_problem(position, columns.get("id")),
            }
        )

    def __enter__(self) -> FrameFileWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is None:
                index = json.dumps(self._frames).encode()
                self._write(index)
                self._write(len(index).to_bytes(8, "little"))
                self._file.write(self._digest.digest())


class FrameFile:
    """Frames that ``FrameFileWriter`` has written."""

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self._file: BinaryIO | None = None
        self._columns: dict[int, list[tuple[str, str, int]]] | None = None

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = open_binary(self.info.path)
        return self._file

    def _index(self) -> list[dict[str, Any]]:
        file = self._open()
        size = os.fstat(file.fileno()).st_size
        file.seek(max(size - _TAIL, 0))
        length = int.from_bytes(file.read(8), "little")
        if size < len(MAGIC) + _TAIL or length > size - len(MAGIC) - _TAIL:
            raise AuditError(f"{self.info.path}: incomplete; run the ingest of the objects again")
        file.seek(size - _TAIL - length)
        frames: list[dict[str, Any]] = json.loads(file.read(length))
        self._columns = {
            k: [(name, _KINDS[kind], start) for name, kind, start in frame["columns"]]
            for k, frame in enumerate(frames)
        }
        return frames

    def _check_digest(self) -> None:
        file, digest = self._open(), hashlib.sha256()
        left = os.fstat(file.fileno()).st_size - 32
        file.seek(0)
        while left > 0 and (part := file.read(min(left, 1 << 20))):
            digest.update(part)
            left -= len(part)
        if left or file.read() != digest.digest():
            raise AuditError(
                f"{self.info.path}: incomplete or damaged: its SHA-256 does not fit; run the "
                "ingest of the objects again"
            )

    def index(self) -> Contents:
        """Return all frames, after a check of the whole file."""
        self._check_digest()
        frames, ranges = [], Ranges()
        for k, frame in enumerate(self._index()):
            cell, pbc = np.array(frame["cell"]), frame["pbc"]
            stated = frame["origin"] is not None
            origin = np.array(frame["origin"]) if stated else np.zeros(3)
            names = [name for name, _, _ in frame["columns"]]
            ref = FrameRef(
                self.info.path,
                k,
                frame["step"],
                frame["time"],
                frame["n_atoms"],
                cell,
                origin,
                (pbc[0], pbc[1], pbc[2]),
                tuple("element" if name == "number" else name for name in names),
                self.info.units,
                start=frame["columns"][0][2],
                problem=box_problem(cell, (pbc[0], pbc[1], pbc[2]), origin) or frame["problem"],
                values=frame["values"],
            )
            frames.append(ref)
            if ref.problem is None:
                table = self.read(ref, ("x", "y", "z"))
                ranges.add(np.stack([np.asarray(table[name]) for name in "xyz"], axis=1), ref)
            else:
                ranges.skip()
        contents = Contents(frames)
        return contents if stated else place_origins(contents, ranges)

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame."""
        if self._columns is None:
            self._index()
        assert self._columns is not None
        file, table = self._open(), Table()
        for name, kind, start in self._columns[ref.ordinal]:
            if ("element" if name == "number" else name) in columns:
                file.seek(start)
                values = np.frombuffer(file.read(8 * ref.n_atoms), dtype=kind)
                if name == "number":
                    table["element"] = element_labels(values)
                else:
                    table[name] = values.astype(values.dtype.newbyteorder("="))
        return pick(table, ref, columns)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
