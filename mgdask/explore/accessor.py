"""The accessor ``mg`` of Datasets and DataArrays: what a user asks of a glass.

Every method is one line; the work is in the other modules of this room. An accessor
holds nothing but its Dataset, because xarray caches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgdask.explore import selecting

if TYPE_CHECKING:
    import xarray as xr


class DatasetAccessor:
    """Questions to a Dataset of atoms: ``ds.mg``.

    Parameters
    ----------
    ds
        Trajectory or features, from ``open_store``, ``featurize``, or a selection.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def species(self, *symbols: str) -> xr.Dataset:
        """Select the atoms of some elements.

        Parameters
        ----------
        *symbols
            Element symbols, such as ``"Cu"``.

        Returns
        -------
        dataset
            The Dataset with these atoms, in their order.

        Raises
        ------
        ParameterError
            If an element does not occur.

        Examples
        --------
        >>> ds.mg.species("Cu", "Ni")  # doctest: +SKIP
        """
        return selecting.take_atoms(self._ds, selecting.as_mask(self._ds, list(symbols)))

    def frame(self, number: int) -> xr.Dataset:
        """Select one frame by its number in the store.

        Parameters
        ----------
        number
            Number of the frame. Negative numbers count from the last frame.

        Returns
        -------
        dataset
            The Dataset of this frame, without the dimension ``frame``.

        Raises
        ------
        ParameterError
            If there is no such frame.

        Examples
        --------
        >>> ds.mg.frame(16)  # doctest: +SKIP
        """
        return self._ds.isel(frame=selecting.frame_row(self._ds, number))


class ArrayAccessor:
    """Questions to an array of atoms: ``array.mg``.

    Parameters
    ----------
    array
        Variable of a Dataset that has the accessor.
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def species(self, *symbols: str) -> xr.DataArray:
        """Select the atoms of some elements, see ``DatasetAccessor.species``.

        Parameters
        ----------
        *symbols
            Element symbols, such as ``"Cu"``.
        """
        return selecting.take_atoms(self._array, selecting.as_mask(self._array, list(symbols)))

    def frame(self, number: int) -> xr.DataArray:
        """Select one frame by its number in the store.

        Parameters
        ----------
        number
            Number of the frame. Negative numbers count from the last frame.
        """
        return self._array.isel(frame=selecting.frame_row(self._array, number))
