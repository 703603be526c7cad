"""What a store holds, for programs that only describe it.

``StoreContents`` has the part of the interface of ``xarray.Dataset`` that a description
needs. It imports neither xarray nor Dask, which takes a second.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr

from mgdask import variables
from mgdask._typing import AnyArray
from mgdask.store.attributes import encoded
from mgdask.store.open import (
    STORED,
    check_complete,
    check_not_pending,
    coordinate_names,
    data_names,
)
from mgdask.store.shards import Array, dimension_names

if TYPE_CHECKING:
    import xarray as xr


class ArrayContents:
    """One array of a store; its values are read when they are asked for.

    Parameters
    ----------
    name
        Name of the array.
    array
        The array.
    coords
        Coordinates of the store by name.
    """

    def __init__(self, name: str, array: Array, coords: Mapping[str, ArrayContents]) -> None:
        self.name, self.coords, self._array = name, coords, array
        self.dims = dimension_names(array)
        self.shape = array.shape
        self.ndim = array.ndim
        self.dtype = np.dtype(array.dtype)
        self.attrs: dict[str, Any] = encoded(array.attrs)
        self.encoding = dict(zip(STORED, (array.chunks, array.shards), strict=True))

    @property
    def nbytes(self) -> int:
        """Number of bytes before compression."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    @cached_property
    def values(self) -> AnyArray:
        """All of the array."""
        return np.asarray(self._array[...])


def read_contents(path: str | Path) -> xr.Dataset:
    """Return a stand-in for ``open_store(path)`` that can be described.

    Parameters
    ----------
    path
        A store of a trajectory, of features, or of an unwrapped trajectory.

    Raises
    ------
    StoreError
        As for ``open_store``.
    """
    return cast("xr.Dataset", StoreContents(path))


class StoreContents:
    """What a finished store holds.

    Parameters
    ----------
    path
        A store of a trajectory, of features, or of an unwrapped trajectory.

    Raises
    ------
    StoreError
        As for ``open_store``.
    """

    def __init__(self, path: str | Path) -> None:
        group = check_complete(path)[0]
        check_not_pending(path)
        self.attrs: dict[str, Any] = encoded(group.attrs)
        coords: dict[str, ArrayContents] = {}
        self.variables = {
            name: ArrayContents(name, array, coords)
            for name, array in group.members()
            if isinstance(array, zarr.Array)
        }
        kind = str(self.attrs["mgdask_kind"])
        stand_in = cast("xr.Dataset", self)
        variables.validate(stand_in, kind, path)
        self.sizes = {
            dim: size
            for variable in self.variables.values()
            for dim, size in zip(variable.dims, variable.shape, strict=True)
        }
        arrays = cast("Mapping[Hashable, xr.DataArray]", self.variables)
        names = coordinate_names(arrays, kind)
        coords.update({str(name): self.variables[str(name)] for name in names})
        shown = map(str, data_names(arrays, names))
        self.data_vars = {name: self.variables[name] for name in shown}

    def __contains__(self, name: str) -> bool:
        return name in self.variables

    def __getitem__(self, name: str) -> ArrayContents:
        return self.variables[name]
