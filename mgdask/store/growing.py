"""Entries of a dictionary that is being built: append-only files, and their records.

The files are in the manifest of the unfinished store. Vectors and origins of new
entries are appended and flushed. A record then states how many environments are
settled. If the process is killed, rows without a record may remain. They are truncated
when the same call resumes. Only the process that holds the lock of the store writes.
Tasks map the files, and read the number of valid entries from a small file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.store.dictionaries import ORIGINS
from mgdask.store.failures import explained
from mgdask.store.manifest import FOLDER, Manifest
from mgdask.store.staging import remove

BUILDING = "building"
"""Folder of the manifest with the entries of an unfinished dictionary."""
ROWS_AT_ONCE = 256
"""Rows that are copied or compared at a time."""


class GrowingEntries:
    """Entries that have been settled so far, on disk.

    Parameters
    ----------
    out
        The unfinished dictionary.
    n_columns
        Number of columns of a vector.
    identity
        Digest of the dictionary.
    """

    def __init__(self, out: str | Path, n_columns: int, identity: str) -> None:
        self.out, self.n_columns, self.identity = Path(out), n_columns, identity
        self.folder = self.out / FOLDER / BUILDING
        self.n_entries = 0
        self.n_settled = 0
        self._vectors, self._origins = self.folder / "vectors.f64", self.folder / "origins.i64"
        self._newest = self.folder / "newest.json"

    @property
    def row_bytes(self) -> int:
        """Bytes of a vector."""
        return 8 * self.n_columns

    def resume(self) -> None:
        """Find the settled entries, and truncate the files after them.

        Raises
        ------
        StorageFullError
            If the folder cannot be written.
        """
        manifest = Manifest(self.folder)
        with explained(self.out):
            manifest.folder.mkdir(parents=True, exist_ok=True)
            for name in (self._vectors, self._origins):
                name.touch()
            records = manifest.records()
            chain = list(self._chain(records))
            if len(chain) < len(records):
                manifest.drop(set(records) - set(chain))
            os.truncate(self._vectors, self.n_entries * self.row_bytes)
            os.truncate(self._origins, self.n_entries * 8 * len(ORIGINS))
            for left in self.folder.glob("survivors-*"):
                left.unlink(missing_ok=True)
            self._publish()

    def _chain(self, records: dict[str, dict[str, Any]]) -> Iterator[str]:
        """Yield the names of the records that lead from the first environment on."""
        with open(self._vectors, "rb") as vectors, open(self._origins, "rb") as origins:
            while True:
                name = _name(self.n_settled)
                record = records.get(name)
                if record is None or record["digest"] != self.identity:
                    return
                count = int(record["entries"]) - self.n_entries
                if count < 0 or record["sha256"] != self._read_digest(vectors, origins, count):
                    return
                self.n_entries, self.n_settled = int(record["entries"]), int(record["last"])
                yield name

    def _read_digest(self, vectors: BinaryIO, origins: BinaryIO, count: int) -> str:
        sha256 = hashlib.sha256()
        for stream, size in ((vectors, self.row_bytes), (origins, 8 * len(ORIGINS))):
            for first in range(0, count, ROWS_AT_ONCE):
                sha256.update(stream.read(size * min(ROWS_AT_ONCE, count - first)))
        return sha256.hexdigest()

    def settle(
        self, last: int, vectors: FloatArray, origins: IntArray, rows: IntArray | None = None
    ) -> None:
        """Append entries, and record that all environments before ``last`` are settled.

        Everything is on disk when this returns.

        Parameters
        ----------
        last
            Number of the first environment that is not settled.
        vectors
            Vectors (row, column), which may be mapped from a file.
        origins
            Their origins (row, one of ``ORIGINS``).
        rows
            Rows (entry,) of the new entries. Default: all.
        """
        if rows is None:
            rows = np.arange(len(vectors))
        sha256 = hashlib.sha256()
        with explained(self.out):
            for path, values in ((self._vectors, vectors), (self._origins, origins)):
                size = values.shape[1] * 8
                with open(path, "r+b") as stream:
                    stream.seek(self.n_entries * size)
                    for first in range(0, len(rows), ROWS_AT_ONCE):
                        some = values[rows[first : first + ROWS_AT_ONCE]]
                        data = np.ascontiguousarray(some).data
                        stream.write(data)
                        sha256.update(data)
                    if len(rows):
                        stream.flush()
                        os.fsync(stream.fileno())
            n_entries = self.n_entries + len(rows)
            Manifest(self.folder).append(
                {
                    "block": _name(self.n_settled),
                    "digest": self.identity,
                    "files": {},
                    "checksum": {},
                    "last": last,
                    "entries": n_entries,
                    "sha256": sha256.hexdigest(),
                }
            )
            self.n_entries, self.n_settled = n_entries, last
            self._publish()

    def _publish(self) -> None:
        """Publish the number of entries that tasks may read."""
        fresh = self._newest.with_suffix(".new")
        fresh.write_text(json.dumps({"entries": self.n_entries}), encoding="utf-8")
        os.replace(fresh, self._newest)

    def newest(self) -> int:
        """Return the number of entries that tasks may read."""
        return int(json.loads(self._newest.read_text(encoding="utf-8"))["entries"])

    def vectors(self, first: int, last: int) -> FloatArray:
        """Map the vectors (entry, column) of some entries."""
        mapped: FloatArray = _mapped(self._vectors, np.float64, first, last, self.n_columns)
        return mapped

    def origins(self, first: int, last: int) -> IntArray:
        """Map the origins (entry, one of ``ORIGINS``) of some entries."""
        mapped: IntArray = _mapped(self._origins, np.int64, first, last, len(ORIGINS))
        return mapped

    def remove(self) -> None:
        """Remove the folder, when the dictionary is finished."""
        with explained(self.out):
            remove(self.folder)


class Survivors:
    """Files with the environments of a block that are not similar to any known entry.

    A task writes them. The client reads them when all earlier blocks are settled.

    Parameters
    ----------
    folder
        Folder of the ``GrowingEntries``.
    name
        Name of the block and of the run.
    n_columns
        Number of columns of a vector.
    """

    def __init__(self, folder: Path, name: str, n_columns: int) -> None:
        self.n_columns = n_columns
        self._vectors = folder / f"survivors-{name}.f64"
        self._origins = folder / f"survivors-{name}.i64"

    def write(self, parts: Iterator[tuple[FloatArray, IntArray]]) -> int:
        """Write vectors and origins as they come, and return the number of rows.

        Parameters
        ----------
        parts
            Vectors (row, column) and origins (row, one of ``ORIGINS``).
        """
        n_rows = 0
        with (
            explained(self._vectors.parents[2]),
            open(self._vectors, "wb") as vectors,
            open(self._origins, "wb") as origins,
        ):
            for rows, places in parts:
                vectors.write(np.ascontiguousarray(rows).data)
                origins.write(np.ascontiguousarray(places).data)
                n_rows += len(rows)
        return n_rows

    def read(self, n_rows: int) -> tuple[FloatArray, IntArray]:
        """Map the rows.

        Parameters
        ----------
        n_rows
            Number of rows that were written.
        """
        return (
            _mapped(self._vectors, np.float64, 0, n_rows, self.n_columns),
            _mapped(self._origins, np.int64, 0, n_rows, len(ORIGINS)),
        )

    def remove(self) -> None:
        """Remove the files."""
        self._vectors.unlink(missing_ok=True)
        self._origins.unlink(missing_ok=True)


def _name(first: int) -> str:
    return f"{first:015d}"


def _mapped(path: Path, dtype: type, first: int, last: int, n_columns: int) -> Any:
    if last <= first:
        return np.empty((0, n_columns), dtype=dtype)
    offset, shape = first * 8 * n_columns, (last - first, n_columns)
    # as a plain array, which keeps the mapping
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape))
