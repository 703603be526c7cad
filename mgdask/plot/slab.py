"""Atoms in a slab of a cell, colored by a value, by group or by element."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask._typing import BoolArray
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.plot.slab_markers import axis_number, fit_axes, marker_diameters, measure_in_data
from mgdask.plot.slab_markers import slab_atoms as slab_atoms
from mgdask.plot.style import CYCLE, FILL_GREY, VERMILION, legend_below

if TYPE_CHECKING:
    from matplotlib.collections import PathCollection

    from mgdask.plot.style import Axes, ScalarMappable

MARKERS = "osD^vP"
"""Markers of the species, by increasing atomic number, used in turn."""
RING = 1.5
"""Diameter of a ring in diameters of the largest marker."""


def draw_slab(
    axes: Axes,
    frame: xr.Dataset,
    values: xr.DataArray,
    *,
    slab: float = 5.0,
    along: Literal["x", "y", "z"] = "z",
    cmap: str = "viridis",
    size: float | None = None,
    inside: BoolArray | None = None,
    span: tuple[float, float] | None = None,
) -> ScalarMappable:
    """Draw the atoms of a slab, colored by a value of each.

    Atoms with NaN are drawn without color. The legend of the species is below the
    picture.

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
        half that area. Default: see the notes.
    inside
        True for the atoms of the slab, shape (atom,). Default: ``slab_atoms``.
    span
        Values at the two ends of the color scale. Default: the 2nd and 98th percentile
        of all values.

    Returns
    -------
    mappable
        Mappable for a color bar.

    Raises
    ------
    ParameterError
        If ``values`` is not (atom,) with ``atom_id``, or ``along`` is not an axis.

    Notes
    -----
    Markers have a size in Å, so they scale with the distances between atoms in a figure
    of any size, and when it is zoomed. All markers together have half the area
    of the slab. Their diameters are proportional to the radii of the elements.

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
    axis = axis_number(along)
    rows = np.searchsorted(frame["atom_id"].values, values["atom_id"].values)
    position, species = frame["position"].values[rows], frame["species"].values[rows]
    if inside is None:
        inside = slab_atoms(frame, slab=slab, along=along)
    diameters = marker_diameters(frame, along=along, inside=inside)
    inside = inside[rows]
    color = np.asarray(values.values, dtype=np.float64)
    low, high = np.nanquantile(color, [0.02, 0.98]) if span is None else span
    across, up = (k for k in range(3) if k != axis)
    numbers = np.unique(species)
    mappable: PathCollection | None = None
    for marker, z in zip(cycle(MARKERS), numbers, strict=False):
        shown = inside & (species == z)
        mappable = axes.scatter(
            position[shown, across],
            position[shown, up],
            c=color[shown],
            s=size if size is None or z == numbers.max() else 0.5 * size,
            marker=marker,
            cmap=cmap,
            vmin=float(low),
            vmax=float(high),
            edgecolors="0.25",
            linewidths=0.4,
            plotnonfinite=True,
        )
        if size is None:
            measure_in_data(axes, mappable, diameters[int(z)])
        # colors show the value, so the legend has none
        axes.plot([], [], marker, mfc=FILL_GREY, mec="0.25", mew=0.4, label=symbol(int(z)))
    fit_axes(axes, frame, position[inside], along, max(diameters.values()))
    legend_below(axes)
    assert mappable is not None, "a frame has atoms"
    return mappable


def draw_slab_groups(
    axes: Axes,
    frame: xr.Dataset,
    group: npt.ArrayLike,
    groups: Sequence[tuple[str, str]],
    *,
    slab: float = 5.0,
    along: Literal["x", "y", "z"] = "z",
    inside: BoolArray | None = None,
) -> None:
    """Draw the atoms of a slab in the color of their group.

    Markers and sizes distinguish the species. The legend of groups and species is below
    the picture.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    frame
        One frame of an opened trajectory store.
    group
        Group of each atom (atom,), an index of ``groups``.
    groups
        Name and color of each group. Groups are drawn in this order.
    slab, along, inside
        See ``draw_slab``.

    Raises
    ------
    ParameterError
        If ``group`` does not have one index per atom, or ``along`` is not an axis.

    Examples
    --------
    >>> groups = [("other", "0.9"), ("icosahedra", "red")]  # doctest: +SKIP
    >>> draw_slab_groups(axes, frame, icosahedron, groups)  # doctest: +SKIP
    """
    index, species = np.asarray(group), frame["species"].values
    if index.shape != species.shape or index.min() < 0 or index.max() >= len(groups):
        raise ParameterError(
            f"group must have one index of {len(groups)} groups for each of {len(species)} atoms; "
            f"got the shape {index.shape} and values from {index.min()} to {index.max()}"
        )
    if inside is None:
        inside = slab_atoms(frame, slab=slab, along=along)
    across, up = (k for k in range(3) if k != axis_number(along))
    diameters = marker_diameters(frame, along=along, inside=inside)
    position = frame["position"].values
    for k, (name, color) in enumerate(groups):
        for marker, z in zip(cycle(MARKERS), np.unique(species), strict=False):
            shown = inside & (species == z) & (index == k)
            drawn = axes.scatter(
                position[shown, across],
                position[shown, up],
                color=color,
                marker=marker,
                edgecolors="0.25",
                linewidths=0.4,
            )
            measure_in_data(axes, drawn, diameters[int(z)])
        axes.plot([], [], "h", mfc=color, mec="0.25", mew=0.4, ms=8, label=name)
    for marker, z in zip(cycle(MARKERS), np.unique(species), strict=False):
        axes.plot([], [], marker, mfc="white", mec="0.25", label=symbol(int(z)))
    fit_axes(axes, frame, position[inside], along, max(diameters.values()))
    legend_below(axes, columns=5 if sum(len(name) + 4 for name, _ in groups) <= 40 else 2)


def draw_slab_species(
    axes: Axes,
    frame: xr.Dataset,
    *,
    slab: float = 5.0,
    along: Literal["x", "y", "z"] = "z",
    inside: BoolArray | None = None,
) -> None:
    """Draw the atoms of a slab in the color of their element.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    frame
        One frame of an opened trajectory store.
    slab, along, inside
        See ``draw_slab``.

    Raises
    ------
    ParameterError
        If ``along`` is not an axis.

    Examples
    --------
    >>> draw_slab_species(axes, ds.isel(frame=0))  # doctest: +SKIP
    """
    across, up = (k for k in range(3) if k != axis_number(along))
    if inside is None:
        inside = slab_atoms(frame, slab=slab, along=along)
    position, species = frame["position"].values, frame["species"].values
    diameters = marker_diameters(frame, along=along, inside=inside)
    looks = zip(cycle(MARKERS), cycle(CYCLE), np.unique(species), strict=False)
    for marker, color, z in looks:
        shown = inside & (species == z)
        drawn = axes.scatter(
            position[shown, across],
            position[shown, up],
            color=color,
            marker=marker,
            edgecolors="0.25",
            linewidths=0.4,
        )
        measure_in_data(axes, drawn, diameters[int(z)])
        axes.plot([], [], marker, mfc=color, mec="0.25", mew=0.4, label=symbol(int(z)))
    fit_axes(axes, frame, position[inside], along, max(diameters.values()))
    legend_below(axes)


def ring_atoms(
    axes: Axes,
    frame: xr.Dataset,
    flagged: BoolArray,
    *,
    slab: float = 5.0,
    along: Literal["x", "y", "z"] = "z",
    size: float | None = None,
    color: str = VERMILION,
    label: str | None = None,
    inside: BoolArray | None = None,
) -> None:
    """Draw rings around some atoms of a slab.

    Parameters
    ----------
    axes
        Axes that ``draw_slab`` has drawn on.
    frame, slab, along, inside
        See ``draw_slab``.
    flagged
        True for the atoms to ring, shape (atom,).
    size
        Area of a ring in points². Default: 1.5 times the diameter of the largest
        marker.
    color
        Color of the rings.
    label
        Entry of the legend below the picture.

    Examples
    --------
    >>> ring_atoms(axes, frame, d2min > 5.0, label="plastic")  # doctest: +SKIP
    """
    if inside is None:
        inside = slab_atoms(frame, slab=slab, along=along)
    shown = inside & flagged
    across, up = (k for k in range(3) if k != axis_number(along))
    position = frame["position"].values[shown]
    rings = axes.scatter(
        position[:, across],
        position[:, up],
        s=size,
        facecolors="none",
        edgecolors=color,
        linewidths=1.6,
    )
    if size is None:
        largest = max(marker_diameters(frame, along=along, inside=inside).values())
        measure_in_data(axes, rings, RING * largest)
    if label is not None:
        axes.plot([], [], "o", mfc="none", mec=color, mew=1.6, label=label)
        legend_below(axes)
