"""Means of a value in columns through a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from mgdask import geometry
from mgdask._typing import FloatArray
from mgdask.analysis.profiles import grid_profile
from mgdask.errors import ParameterError
from mgdask.explore.values import axis_label, name_of, with_unit
from mgdask.plot.grid import grid_corners
from mgdask.plot.slab_markers import AXES, axis_number

MOST_COLUMNS = 1_000_000
"""Maximum number of columns of a map."""


@dataclass(frozen=True)
class ColumnMeans:
    """Means of a value in columns.

    Parameters
    ----------
    values
        Mean in each column (first, second). NaN without atoms.
    corners
        Corners of the columns in Å (first + 1, second + 1, 2), in the plane of view.
    labels
        Texts of the two axes.
    title
        Text of the color bar.
    """

    values: FloatArray
    corners: FloatArray
    labels: tuple[str, str]
    title: str


def column_means(
    frame: xr.Dataset, values: xr.DataArray | None, axis: str, spacing: float
) -> ColumnMeans:
    """Return the mean of a value in columns along a cell vector.

    Parameters
    ----------
    frame
        One frame of a trajectory.
    values
        Value of each atom (atom,), NaN where it is not known. ``None``: the density.
    axis
        "x", "y" or "z" for the first, second or third cell vector.
    spacing
        Width of the columns in Å, at least.

    Raises
    ------
    ParameterError
        If an option is out of range, or the value is text.
    """
    if not 0.0 < spacing < np.inf:
        raise ParameterError(f"spacing={spacing} must be a width in Å above 0")
    along = axis_number(axis)
    first, second = (k for k in range(3) if k != along)
    pbc = np.asarray(frame["pbc"].values if "pbc" in frame else [True] * 3, dtype=bool)
    flags = (bool(pbc[0]), bool(pbc[1]), bool(pbc[2]))
    cell = geometry.complete_cell(frame["cell"].values, flags)
    bins = [1, 1, 1]
    for k in (first, second):
        bins[k] = max(1, int(np.linalg.norm(cell[k]) / spacing))
    if bins[first] * bins[second] > MOST_COLUMNS:
        raise ParameterError(
            f"spacing={spacing} makes {bins[first] * bins[second]:,} columns; at most "
            f"{MOST_COLUMNS:,} are drawn"
        )
    if values is not None and values.dtype.kind not in "biuf":
        raise ParameterError(f"{name_of(values)} is text, which has no mean; use plot.slab")
    profile = grid_profile(
        frame["position"].values,
        cell,
        frame["origin"].values,
        bins=bins,
        values=None if values is None else {"mean": values.values.astype(np.float64)},
        pbc=flags,
    )
    if values is None:
        shown, title = profile["density"], with_unit("number density", "Å⁻³")
    elif values.dtype.kind == "b":
        shown, title = profile["mean"], with_unit(f"share of {name_of(values)}", "1")
    else:
        shown, title = profile["mean"], f"mean of {axis_label(values)}"
    plane = [first, second]
    corners = grid_corners(cell[first][plane], cell[second][plane], (bins[first], bins[second]))
    return ColumnMeans(
        shown.isel({"abc"[along]: 0}).values,
        corners + frame["origin"].values[plane],
        (f"{AXES[first]} (Å)", f"{AXES[second]} (Å)"),
        title,
    )
