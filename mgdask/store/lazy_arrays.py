"""Lazy arrays of a store for xarray, whose shards are checked before they are read."""

from __future__ import annotations

from typing import Any

import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from mgdask._typing import AnyArray
from mgdask.store.sources import SourceArray


class LazySource(BackendArray):
    """An array that xarray indexes and reads on demand.

    Parameters
    ----------
    source
        The array to read from.
    """

    def __init__(self, source: SourceArray) -> None:
        self.source = source
        self.shape, self.dtype = source.shape, source.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> AnyArray:
        """Read a part."""
        part: AnyArray = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self.source.outer
        )
        return part

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        """Return what identifies the values, for Dask."""
        return type(self).__name__, *self.source.identity()


def lazy_variable(variable: xr.Variable, source: SourceArray) -> xr.Variable:
    """Return a variable whose values are read from ``source`` on demand."""
    data = indexing.LazilyIndexedArray(LazySource(source))
    return xr.Variable(variable.dims, data, variable.attrs, variable.encoding)
