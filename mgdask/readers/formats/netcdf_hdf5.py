"""NetCDF 4 files, which are HDF5, read with h5py.

See https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from mgdask._typing import AnyArray
from mgdask.bounds import MAX_CHUNK, MAX_COLUMNS, shortened
from mgdask.errors import AuditError, MissingDependencyError
from mgdask.readers.formats.hdf5 import check_file, check_stored
from mgdask.readers.formats.netcdf_variables import FILL, NUMERIC, Variable

_ONLY_DIMENSION = "This is a netCDF dimension but not a netCDF variable"
_PREFIX = "_nc4_non_coord_"
"""Prefix of a variable that has the name of a dimension but not its values."""
_ATTRIBUTES = (
    *("units", "scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned"),
    *("valid_min", "valid_max", "valid_range"),
)


class Hdf5:
    """An open NetCDF 4 file; see `Container`.

    Parameters
    ----------
    path
        The file.
    positions
        Names of variables of positions, with whose size other variables are compared.
    """

    def __init__(self, path: str, positions: tuple[str, ...]) -> None:
        try:
            import h5py
        except ImportError as error:
            purpose = f"reading the NetCDF 4 file {path}"
            raise MissingDependencyError("h5py", "netcdf", purpose) from error
        self.path, self._h5py = path, h5py
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise AuditError(
                f"{path}: cannot be opened as NetCDF: {error}. Check that the file is complete and "
                "closed by its writer"
            ) from error
        try:
            self._read(positions)
        except BaseException:
            self.close()
            raise

    def _read(self, positions: tuple[str, ...]) -> None:
        check_file(self._file, self._h5py, self.path)
        found = {name: item for name in self._file if self._is_data(item := self._file.get(name))}
        self._check_shapes(found, positions)
        self.attributes = {"program": _attribute(self._file, "program")}
        scales = {
            name: item
            for name, item in found.items()
            if self._text(item, "CLASS") == "DIMENSION_SCALE"
        }
        numbers = {
            _whole(item, "_Netcdf4Dimid", k): name for k, (name, item) in enumerate(scales.items())
        }
        variables = {
            name.removeprefix(_PREFIX): item
            for name, item in found.items()
            if not self._text(item, "NAME").startswith(_ONLY_DIMENSION) or name not in scales
        }
        axes = {name: self._axes(name, item, scales, numbers) for name, item in variables.items()}
        self._unlimited = {
            name for name, item in scales.items() if item.ndim and item.maxshape[0] is None
        }
        self.dimensions = {
            name: int(item.shape[0]) if item.ndim else 0
            for name, item in scales.items()
            if name not in self._unlimited
        }
        for dimension in self._unlimited:
            self.dimensions[dimension] = max(
                (
                    int(item.shape[k])
                    for name, item in variables.items()
                    for k, axis in enumerate(axes[name])
                    if axis == dimension
                ),
                default=0,
            )
        self.n_stated = self.dimensions.get("frame", 0)
        self._check_frames(found, positions)
        self.variables = {
            name: self._variable(name, item, axes[name]) for name, item in variables.items()
        }

    def _is_data(self, item: Any) -> bool:
        return isinstance(item, self._h5py.Dataset) and item.shape is not None

    def _check_shapes(self, found: dict[str, Any], positions: tuple[str, ...]) -> None:
        """Refuse variables whose shape is far larger than the positions stored."""
        position = next((found[name] for name in positions if name in found), None)
        if position is None:
            return
        check_stored(position, self.path, position.name)
        for name, item in found.items():
            if math.prod(item.shape) > MAX_COLUMNS * (position.size + 1):
                raise AuditError(
                    f"{self.path}: {shortened(name)} has the shape {item.shape}, but the positions "
                    f"have {position.shape}. The file is damaged: write it again"
                )

    def _check_frames(self, found: dict[str, Any], positions: tuple[str, ...]) -> None:
        """Refuse many more frames than there are positions."""
        shapes = [found[name].shape for name in positions if name in found]
        stored = shapes[0][0] if shapes and shapes[0] else 0
        if shapes and self.n_stated > 2 * stored + 10:
            raise AuditError(
                f"{self.path}: it states {self.n_stated} frames, but positions of {stored} frames "
                "are stored. The file is damaged: write it again"
            )

    def _text(self, item: Any, name: str) -> str:
        value = _attribute(item, name)
        return value if isinstance(value, str) else ""

    def _axes(
        self, name: str, item: Any, scales: dict[str, Any], numbers: dict[int, str]
    ) -> tuple[str, ...]:
        """Return the names of the dimensions of a variable; empty if one is unknown."""
        if "_Netcdf4Coordinates" in item.attrs:
            ids = np.ravel(item.attrs["_Netcdf4Coordinates"]).tolist()
            named = tuple(numbers.get(each, "") for each in ids)
        elif "DIMENSION_LIST" in item.attrs:
            lists = item.attrs["DIMENSION_LIST"]
            targets = [self._file[each[0]] if len(each) else None for each in lists]
            named = tuple(
                next((key for key, scale in scales.items() if scale == target), "")
                for target in targets
            )
        else:
            named = (name,) if name in scales else ("",) * item.ndim
        if len(named) != item.ndim:
            raise AuditError(
                f"{self.path}: {shortened(name)} has {item.ndim} dimensions, but {len(named)} are "
                "named. The file is damaged: write it again"
            )
        return named

    def _variable(self, name: str, item: Any, axes: tuple[str, ...]) -> Variable:
        dtype = item.dtype.newbyteorder("=")
        expected = tuple(
            self.dimensions[axis] if axis in self._unlimited else int(item.shape[k])
            for k, axis in enumerate(axes)
        )
        size = math.prod(expected[1:]) * dtype.itemsize
        if size > max(MAX_CHUNK, 8 * math.prod(item.shape) * dtype.itemsize):
            raise AuditError(
                f"{self.path}: {shortened(name)} has the shape {item.shape}, but its dimensions "
                f"have the lengths {expected}. The file is damaged: write it again"
            )
        names = _ATTRIBUTES if dtype.kind in NUMERIC else ()
        attributes = {key: value for key in names if (value := _attribute(item, key)) is not None}
        return Variable(
            f"{self.path}: {shortened(name)}",
            axes,
            expected,
            dtype,
            attributes,
            partial(self._fetch, item, expected, attributes.get("_FillValue")),
        )

    def _fetch(
        self, item: Any, expected: tuple[int, ...], fill: Any, index: int | None
    ) -> AnyArray:
        """Return the values of one row, or of all, with fill values for the rest."""
        native = item.dtype.newbyteorder("=")
        shape, wanted = item.shape, expected
        if index is None:
            data = np.asarray(item[()])
        elif index < shape[0]:
            data, wanted = np.asarray(item[index]), expected[1:]
        else:
            data, wanted = np.empty((0,) * (item.ndim - 1), native), expected[1:]
        if data.shape == wanted:
            return data.astype(native)
        value = FILL.get(native.str[1:], 0) if fill is None else fill
        whole = np.full(wanted, value, dtype=native)
        whole[tuple(slice(n) for n in data.shape)] = data
        return whole

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _whole(item: Any, name: str, default: int) -> int:
    value = np.ravel(item.attrs.get(name, default))
    return int(value[0]) if value.size and value.dtype.kind in "iu" else default


def _attribute(item: Any, name: str) -> Any:
    """Return an attribute: a number, an array of numbers, a text, or None."""
    if name not in item.attrs:
        return None
    value = item.attrs[name]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").replace("\0", "")
    if isinstance(value, str):
        return value.replace("\0", "")
    array = np.asarray(value)
    if array.dtype.kind in NUMERIC:
        array = array.astype(array.dtype.newbyteorder("="))
        return array.reshape(-1)[0] if array.size == 1 else array
    if array.size == 1 and array.dtype.kind in "OSU":
        return _text(array.reshape(-1)[0])
    return str(value)


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "")
