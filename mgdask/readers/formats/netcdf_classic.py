"""Classic NetCDF files: CDF-1, CDF-2 (64-bit offset) and CDF-5 (64-bit data).

LAMMPS writes CDF-5, and MDAnalysis writes CDF-2. The C library of NetCDF can crash on a
damaged file, so the header is read here. All of its numbers are compared with the size
of the file. See https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from mgdask._typing import AnyArray
from mgdask.bounds import MAX_COLUMNS, shortened
from mgdask.errors import AuditError
from mgdask.readers.files import open_binary
from mgdask.readers.formats.netcdf_variables import Variable

_TYPES = (
    *("", "i1", "S1", "i2", "i4", "f4", "f8"),
    *("u1", "u2", "u4", "i8", "u8"),  # CDF-5 only
)
_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12
_MAX_AXES = 1024
_MAX_HEADER = 16 << 20
"""Maximum number of bytes of a header. That of LAMMPS has a few thousand."""


@dataclass(frozen=True)
class _Layout:
    """Place of the values of a variable: of the first row, and from row to row."""

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: dict[str, Any]
    begin: int
    is_record: bool

    @property
    def row(self) -> int:
        """Number of bytes of a row, which is one index of the first dimension."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def length(self) -> int:
        """Number of bytes of a record, or of all values, in steps of 4."""
        size = self.row if self.is_record else math.prod(self.shape) * self.dtype.itemsize
        return -(-size // 4) * 4


class _Header:
    """Numbers, names and attributes at the beginning of a file."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.path = path
        self.data = file.read(_MAX_HEADER)
        self.at = 4
        kind = self.data[3] if len(self.data) > 3 else 0
        if kind not in (1, 2, 5):
            raise AuditError(
                f"{path}: NetCDF format {kind} is unknown; 1, 2 and 5 are read. The file is "
                "damaged, or it must be converted: nccopy -k nc4 OLD NEW"
            )
        self.size, self.offset = (8 if kind == 5 else 4), (4 if kind == 1 else 8)
        self.n_types = len(_TYPES) if kind == 5 else 7

    def fail(self, what: str) -> AuditError:
        """Return an error that names the byte."""
        return AuditError(
            f"{self.path}: the NetCDF header is damaged near byte {self.at}: {what}. Copy or "
            "write the file again"
        )

    def take(self, length: int) -> bytes:
        """Return bytes, and skip to a multiple of 4."""
        if length > len(self.data) - self.at:
            raise self.fail(f"{length} bytes are stated, and {len(self.data) - self.at} follow")
        found = self.data[self.at : self.at + length]
        self.at += -(-length // 4) * 4
        return found

    def number(self, size: int = 0) -> int:
        """Return a number, which has as many bytes as counts have by default."""
        return int.from_bytes(self.take(size or self.size), "big")

    def count(self, tag: int) -> int:
        """Return the number of items of a list that begins with a tag."""
        found, count = self.number(4), self.number()
        if found != tag and (found or count):
            raise self.fail(f"a list begins with {found} instead of {tag}")
        if count > MAX_COLUMNS:
            raise self.fail(f"a list has {count} items; at most {MAX_COLUMNS} are allowed")
        return count

    def name(self, taken: Any) -> str:
        """Return a name that is not taken."""
        name = self.take(self.number()).decode("utf-8", "replace")
        if not name or name in taken:
            raise self.fail(f"the name {shortened(name)!r} is empty or there twice")
        return name

    def dtype(self) -> np.dtype[Any]:
        """Return a type of values."""
        code = self.number(4)
        if not 0 < code < self.n_types:
            raise self.fail(f"type {code} is unknown")
        return np.dtype(f">{_TYPES[code]}")

    def attributes(self) -> dict[str, Any]:
        """Return attributes by name."""
        found: dict[str, Any] = {}
        for _ in range(self.count(_ATTRIBUTE)):
            name, dtype = self.name(found), self.dtype()
            data = self.take(self.number() * dtype.itemsize)
            if dtype.kind == "S":
                found[name] = data.decode("utf-8", "replace").replace("\0", "")
                continue
            values = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
            found[name] = values[0] if values.size == 1 else values
        return found


class Classic:
    """An open classic NetCDF file; see `Container`.

    Rows are read by their offset, so threads may share a file.
    """

    def __init__(self, path: str) -> None:
        self.path, self._file = path, open_binary(path)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        self._size = os.fstat(self._file.fileno()).st_size
        header = _Header(self.path, self._file)
        n_records = header.number()
        self.dimensions: dict[str, int] = {}
        for _ in range(header.count(_DIMENSION)):
            name = header.name(self.dimensions)
            self.dimensions[name] = header.number()
        lengths = list(self.dimensions.items())
        records = [name for name, length in lengths if not length]
        if len(records) > 1:
            raise header.fail(f"the dimensions {records[:3]} have no length")
        self.attributes = header.attributes()
        layouts: dict[str, _Layout] = {}
        for _ in range(header.count(_VARIABLE)):
            layout = self._layout(header, lengths, layouts)
            layouts[layout.name] = layout
        self._place(header, list(layouts.values()))
        streamed = n_records == (1 << 8 * header.size) - 1
        complete = self._complete([each for each in layouts.values() if each.is_record])
        n_records = complete if streamed else n_records
        self.dimensions |= dict.fromkeys(records, n_records)
        self.n_stated = self.dimensions.get("frame", 0)
        if "frame" in self.dimensions:
            self.dimensions["frame"] = min(self.n_stated, self._frames(layouts, complete))
        self.variables = {name: self._variable(layout) for name, layout in layouts.items()}

    def _layout(
        self, header: _Header, lengths: list[tuple[str, int]], taken: dict[str, _Layout]
    ) -> _Layout:
        name, n_axes = header.name(taken), header.number()
        if n_axes > _MAX_AXES:
            raise header.fail(f"{shortened(name)} has {n_axes} dimensions")
        axes = [header.number() for _ in range(n_axes)]
        if any(axis >= len(lengths) for axis in axes):
            raise header.fail(f"a dimension of {shortened(name)} does not exist")
        shape = tuple(lengths[axis][1] for axis in axes)
        if 0 in shape[1:]:
            raise header.fail(f"the dimension of records is not the first of {shortened(name)}")
        attributes, dtype = header.attributes(), header.dtype()
        header.number()  # its size, which follows from the dimensions
        begin = header.number(header.offset)
        dimensions = tuple(lengths[axis][0] for axis in axes)
        return _Layout(name, dimensions, shape, dtype, attributes, begin, shape[:1] == (0,))

    def _place(self, header: _Header, layouts: list[_Layout]) -> None:
        """Find the size of a record, and refuse variables that overlap."""
        records = [layout for layout in layouts if layout.is_record]
        self._record = sum(layout.length for layout in records)
        if len(records) == 1:  # it is not filled up
            self._record = records[0].row
        end = header.at
        for layout in (*(each for each in layouts if not each.is_record), *records):
            if layout.begin < end:
                raise header.fail(
                    f"the values of {shortened(layout.name)} begin at byte {layout.begin}, inside "
                    f"others, which end at byte {end}"
                )
            end = layout.begin + (self._record if len(records) == 1 else layout.length)
        if records and end > records[0].begin + self._record:
            raise header.fail(f"a record has {self._record} bytes, but variables lie beyond it")

    def _complete(self, records: list[_Layout]) -> int:
        """Return the number of records whose values are all in the file."""
        # the last record may lack its filling
        end = max((layout.begin + layout.row for layout in records), default=0)
        if not records or end > self._size or not self._record:
            return 0
        return (self._size - end) // self._record + 1

    def _frames(self, layouts: dict[str, _Layout], complete: int) -> int:
        """Return the number of frames whose values are all in the file."""
        found: list[int] = []
        for layout in layouts.values():
            if layout.dimensions[:1] != ("frame",):
                continue
            rows = max(self._size - layout.begin, 0) // max(layout.row, 1)
            found.append(complete if layout.is_record else rows)
        return min(found, default=self.n_stated)

    def _variable(self, layout: _Layout) -> Variable:
        return Variable(
            f"{self.path}: {shortened(layout.name)}",
            layout.dimensions,
            tuple(map(self.dimensions.__getitem__, layout.dimensions)),
            layout.dtype.newbyteorder("="),
            layout.attributes,
            partial(self._fetch, layout),
        )

    def _fetch(self, layout: _Layout, index: int | None) -> AnyArray:
        """Return the values of one row, or of all."""
        native = layout.dtype.newbyteorder("=")
        if index is not None:
            step = self._record if layout.is_record else layout.row
            data = self._bytes(layout, layout.begin + index * step, layout.row)
            return np.frombuffer(data, layout.dtype).reshape(layout.shape[1:]).astype(native)
        if layout.dimensions[:1] == ("frame",) or layout.is_record:
            count = self.dimensions[layout.dimensions[0]]
            # a whole record is larger than a row, so the file bounds what is allocated
            rows = [self._fetch(layout, k) for k in range(count)]
            return np.array(rows, dtype=native).reshape(count, *layout.shape[1:])
        data = self._bytes(layout, layout.begin, math.prod(layout.shape) * native.itemsize)
        return np.frombuffer(data, layout.dtype).reshape(layout.shape).astype(native)

    def _bytes(self, layout: _Layout, start: int, length: int) -> bytes:
        data = b""
        if start + length <= self._size:
            data = os.pread(self._file.fileno(), length, start)
        while data and len(data) < length:  # one call returns at most 2 GiB
            more = os.pread(self._file.fileno(), length - len(data), start + len(data))
            if not more:
                break
            data += more
        if len(data) < length:
            raise AuditError(
                f"{self.path}: the values of {shortened(layout.name)} end at byte "
                f"{start + length}, but the file has {self._size} bytes. It is truncated: copy or "
                "write it again"
            )
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
