"""Atoms in a slab through the middle of a cell, colored by a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from mgdask._typing import BoolArray
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.plot.style import VERMILION

if TYPE_CHECKING:
    from mgdask.plot.style import Axes, ScalarMappable

MARKERS = "osD^vP"
"""Markers of the species, by increasing atomic number."""
AXES = ("x", "y", "z")


def slab_atoms(frame: xr.Dataset, *, slab: float = 5.0, along: str = "z") -> BoolArray:
    """Select the atoms of a slab through the middle of a cell.

    Parameters
    ----------
    frame
        One frame of an opened trajectory store.
    slab
        Thickness in Å.
    along
        Normal of the slab: "x", "y" or "z".

    Returns
    -------
    inside
        True for the atoms in the slab, shape (atom,).

    Raises
    ------
    ParameterError
        If ``along`` is not an axis.

    Notes
    -----
    The middle is that of an orthogonal cell. In a tilted cell the slab is off center.

    Examples
    --------
    >>> slab_atoms(ds.isel(frame=0), slab=6.0).sum()  # doctest: +SKIP
    """
    axis = _axis(along)
    depth = frame["position"].values[:, axis] - frame["origin"].values[axis]
    middle = 0.5 * frame["cell"].values[axis, axis]
    inside: BoolArray = np.abs(depth - middle) < 0.5 * slab
    return inside


def draw_slab(
    axes: Axes,
    frame: xr.Dataset,
    values: xr.DataArray,
    *,
    slab: float = 5.0,
    along: Literal["x", "y", "z"] = "z",
    cmap: str = "viridis",
    size: float = 150.0,
) -> ScalarMappable:
    """Draw the atoms of a slab, colored by a value of each.

    Colors span the 2nd to the 98th percentile of all values. Atoms with NaN are drawn
    without color.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    frame
        One frame of an opened trajectory store.
    values
        Value (atom,) of some or all atoms, with the coordinate ``atom_id``.
    slab
        Thickness in Å.
    along
        Direction of view: "x", "y" or "z".
    cmap
        Name of a matplotlib colormap.
    size
        Area in points² of the atoms with the largest atomic number. Other atoms have
        half that area.

    Returns
    -------
    mappable
        Mappable for a color bar.

    Raises
    ------
    ParameterError
        If ``values`` is not (atom,) with ``atom_id``, or ``along`` is not an axis.

    Examples
    --------
    >>> q6 = out.bond_order.sel(bond_order_feature="q6")         # doctest: +SKIP
    >>> mappable = draw_slab(axes, ds.isel(frame=0), q6[0])      # doctest: +SKIP
    >>> axes.figure.colorbar(mappable, ax=axes, label="q6")      # doctest: +SKIP
    """
    if values.dims != ("atom",) or "atom_id" not in values.coords:
        raise ParameterError(
            f"values must be (atom,) with the coordinate atom_id; got {values.dims}; "
            "choose a frame and a column first"
        )
    axis = _axis(along)
    rows = np.searchsorted(frame["atom_id"].values, values["atom_id"].values)
    position, species = frame["position"].values[rows], frame["species"].values[rows]
    inside = slab_atoms(frame, slab=slab, along=along)[rows]
    color = np.asarray(values.values, dtype=np.float64)
    low, high = np.nanquantile(color, [0.02, 0.98])
    across, up = (k for k in range(3) if k != axis)
    numbers = np.unique(species)
    mappable: ScalarMappable | None = None
    for marker, z in zip(MARKERS, numbers, strict=False):
        shown = inside & (species == z)
        mappable = axes.scatter(
            position[shown, across],
            position[shown, up],
            c=color[shown],
            s=size if z == numbers.max() else 0.5 * size,
            marker=marker,
            cmap=cmap,
            vmin=float(low),
            vmax=float(high),
            edgecolors="0.25",
            linewidths=0.4,
            label=symbol(int(z)),
            plotnonfinite=True,
        )
    axes.set(xlabel=f"{AXES[across]} (Å)", ylabel=f"{AXES[up]} (Å)", aspect="equal")
    axes.legend(loc="upper right", frameon=True, framealpha=0.9)
    assert mappable is not None, "a frame has atoms"
    return mappable


def ring_atoms(
    axes: Axes,
    frame: xr.Dataset,
    flagged: BoolArray,
    *,
    slab: float = 5.0,
    along: Literal["x", "y", "z"] = "z",
    size: float = 95.0,
    color: str = VERMILION,
    label: str | None = None,
) -> None:
    """Draw rings around some atoms of a slab.

    Parameters
    ----------
    axes
        Axes that ``draw_slab`` has drawn on.
    frame, slab, along
        See ``draw_slab``.
    flagged
        True for the atoms to ring, shape (atom,).
    size
        Area of a ring in points².
    color
        Color of the rings.
    label
        Legend entry.

    Examples
    --------
    >>> ring_atoms(axes, frame, d2min > 5.0, label="plastic")  # doctest: +SKIP
    """
    shown = slab_atoms(frame, slab=slab, along=along) & flagged
    across, up = (k for k in range(3) if k != _axis(along))
    position = frame["position"].values[shown]
    axes.scatter(
        position[:, across],
        position[:, up],
        s=size,
        facecolors="none",
        edgecolors=color,
        linewidths=1.6,
        label=label,
    )


def _axis(along: str) -> int:
    if along not in AXES:
        raise ParameterError(f"along={along!r} must be 'x', 'y' or 'z'")
    return AXES.index(along)
