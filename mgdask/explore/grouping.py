"""Groups of atoms by element, and of frames by run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgdask.errors import ParameterError
from mgdask.explore.selecting import D, elements

if TYPE_CHECKING:
    from typing import Any


def by_species(data: D) -> Any:
    """Group the atoms by element; the groups are called by their symbols.

    Parameters
    ----------
    data
        Dataset or DataArray with the dimension ``atom``.

    Returns
    -------
    groups
        The ``groupby`` object of xarray.
    """
    return data.assign_coords(element=("atom", elements(data))).groupby("element")


def by_run(data: D) -> Any:
    """Group the frames by the simulation that they belong to.

    Parameters
    ----------
    data
        Dataset or DataArray with the dimension ``frame`` and the coordinate ``run``.

    Returns
    -------
    groups
        The ``groupby`` object of xarray.

    Raises
    ------
    ParameterError
        If there are no runs.
    """
    if "run" not in data.coords or data["run"].dims != ("frame",):
        raise ParameterError(
            "the frames have no coordinate run, as mgdask.open_store gives it; the coordinates are "
            f"{', '.join(map(str, data.coords)) or 'none'}"
        )
    # pandas groups objects of numpy's StringDType by identity
    runs = np.array([str(name) for name in data["run"].values])
    return data.assign_coords(run=("frame", runs)).groupby("run")
