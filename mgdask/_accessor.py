"""Registration of ``Dataset.mg`` and ``DataArray.mg``, without heavy imports.

The accessor lives in ``mgdask.explore``, a late room, but every opened store has it. So
this early module names it by a string and imports it when ``.mg`` is first used. It is
the one place where an arrow points forward.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

NAME = "mg"
"""Name of the accessor on Datasets and DataArrays."""
MODULE = "mgdask.explore.accessor"
"""Module that defines it."""


def register() -> None:
    """Give ``Dataset`` and ``DataArray`` the accessor ``mg``; safe to call again."""
    import xarray as xr

    if getattr(xr.Dataset, NAME, None) is not _of_dataset:
        xr.register_dataset_accessor(NAME)(_of_dataset)  # type: ignore[no-untyped-call]
    if getattr(xr.DataArray, NAME, None) is not _of_array:
        xr.register_dataarray_accessor(NAME)(_of_array)  # type: ignore[no-untyped-call]


def _of_dataset(ds: xr.Dataset) -> Any:
    """Return the accessor of a Dataset, see ``mgdask.explore.accessor``."""
    return import_module(MODULE).DatasetAccessor(ds)


def _of_array(array: xr.DataArray) -> Any:
    """Return the accessor of a DataArray, see ``mgdask.explore.accessor``."""
    return import_module(MODULE).ArrayAccessor(array)
