"""Rows of a LAMMPS text dump, plain or compressed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mgdask.errors import AuditError
from mgdask.readers.files import open_bytes
from mgdask.readers.formats.lammps_index import index_packed, index_range
from mgdask.readers.formats.rows import parse_rows, tidy
from mgdask.readers.records import Contents, FrameRef, SourceInfo, Table

__all__ = ["LammpsDump", "parse_rows", "tidy"]


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
