"""Atoms in a slab through the middle of a cell, colored by a value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask._typing import AnyArray, BoolArray, FloatArray
from mgdask.elements import MIRACLE_RADII, symbol
from mgdask.errors import ParameterError
from mgdask.plot.style import FILL_GREY, VERMILION, legend_below

if TYPE_CHECKING:
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2DBase

    from mgdask.plot.style import Axes, ScalarMappable

MARKERS = "osD^vP"
"""Markers of the species, by increasing atomic number, used in turn."""
AXES = ("x", "y", "z")
COVERAGE = 0.5
"""Area of all markers of a slab as a fraction of the area of the slab."""
RING = 1.5
"""Diameter of a ring in diameters of the largest marker."""
DEFAULT_RADIUS = 1.5
"""Radius in Å of an element that is not in the table of radii."""


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
    size: float | None = None,
) -> ScalarMappable:
    """Draw the atoms of a slab, colored by a value of each.

    Colors span the 2nd to the 98th percentile of all values. Atoms with NaN are drawn
    without color. The legend of the species is below the picture.

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
    axis = _axis(along)
    rows = np.searchsorted(frame["atom_id"].values, values["atom_id"].values)
    position, species = frame["position"].values[rows], frame["species"].values[rows]
    inside = slab_atoms(frame, slab=slab, along=along)[rows]
    color = np.asarray(values.values, dtype=np.float64)
    low, high = np.nanquantile(color, [0.02, 0.98])
    across, up = (k for k in range(3) if k != axis)
    numbers = np.unique(species)
    diameters = marker_diameters(frame, slab=slab, along=along)
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
            _measure_in_data(axes, mappable, diameters[int(z)])
        # colors show the value, so the legend has none
        axes.plot([], [], marker, mfc=FILL_GREY, mec="0.25", mew=0.4, label=symbol(int(z)))
    largest = max(diameters.values())
    limits = [_limits(position[inside, k], frame, k, largest) for k in (across, up)]
    axes.set(
        xlabel=f"{AXES[across]} (Å)",
        ylabel=f"{AXES[up]} (Å)",
        aspect="equal",
        xlim=limits[0],
        ylim=limits[1],
    )
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
    slab, along
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
    axis = _axis(along)
    across, up = (k for k in range(3) if k != axis)
    inside = slab_atoms(frame, slab=slab, along=along)
    diameters = marker_diameters(frame, slab=slab, along=along)
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
            _measure_in_data(axes, drawn, diameters[int(z)])
        axes.plot([], [], "h", mfc=color, mec="0.25", mew=0.4, ms=8, label=name)
    for marker, z in zip(cycle(MARKERS), np.unique(species), strict=False):
        axes.plot([], [], marker, mfc="white", mec="0.25", label=symbol(int(z)))
    largest = max(diameters.values())
    limits = [_limits(position[inside, k], frame, k, largest) for k in (across, up)]
    axes.set(
        xlabel=f"{AXES[across]} (Å)",
        ylabel=f"{AXES[up]} (Å)",
        aspect="equal",
        xlim=limits[0],
        ylim=limits[1],
    )
    legend_below(axes)


def marker_diameters(frame: xr.Dataset, *, slab: float = 5.0, along: str = "z") -> dict[int, float]:
    """Compute the diameters of markers from the density of atoms in a slab.

        diameter_z = 2 r_z sqrt(coverage area / sum_i pi r_i^2)

    The sum is over the atoms of the slab, with radii r of their elements.

    Parameters
    ----------
    frame, slab, along
        See ``draw_slab``.

    Returns
    -------
    diameters
        Diameters in Å by atomic number, of all species of the frame.

    Examples
    --------
    >>> marker_diameters(ds.isel(frame=0), slab=6.0)  # doctest: +SKIP
    """
    axis = _axis(along)
    across, up = (k for k in range(3) if k != axis)
    numbers: AnyArray = frame["species"].values
    radii = {int(z): _radius(int(z)) for z in np.unique(numbers)}
    inside = slab_atoms(frame, slab=slab, along=along)
    position, cell = frame["position"].values[inside], frame["cell"].values
    face = np.cross(cell[across], cell[up])
    # the smaller of the two, so that neither vacuum nor a tilt makes markers too large
    area = min(
        float(np.linalg.norm(face)),
        float(np.prod(np.ptp(position[:, [across, up]], axis=0))) if len(position) > 2 else np.inf,
    )
    squares = float(sum(np.pi * radii[int(z)] ** 2 for z in numbers[inside]))
    scale = np.sqrt(COVERAGE * area / squares) if squares and area else 1.0
    return {z: 2.0 * float(scale) * r for z, r in radii.items()}


def _radius(number: int) -> float:
    return MIRACLE_RADII.get(symbol(number), DEFAULT_RADIUS)


def _measure_in_data(axes: Axes, markers: PathCollection, diameter: float) -> None:
    """Draw markers with a diameter in units of the axes, not in points."""
    from matplotlib.transforms import Affine2D, AffineDeltaTransform

    markers.set_sizes(None)
    linear = cast("Affine2DBase", axes.transData)  # as both axes of a slab are linear
    markers.set_transform(Affine2D().scale(diameter) + AffineDeltaTransform(linear))


def _limits(shown: FloatArray, frame: xr.Dataset, k: int, margin: float) -> tuple[float, float]:
    """Return limits that contain the cell along an axis, and all markers."""
    start = float(frame["origin"].values[k])
    ends: npt.NDArray[np.float64] = np.array([start, start + float(frame["cell"].values[k, k])])
    if len(shown):
        ends = np.append(ends, [shown.min(), shown.max()])
    return float(ends.min() - margin), float(ends.max() + margin)


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
    shown = slab_atoms(frame, slab=slab, along=along) & flagged
    across, up = (k for k in range(3) if k != _axis(along))
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
        largest = max(marker_diameters(frame, slab=slab, along=along).values())
        _measure_in_data(axes, rings, RING * largest)
    if label is not None:
        axes.plot([], [], "o", mfc="none", mec=color, mew=1.6, label=label)
        legend_below(axes)


def _axis(along: str) -> int:
    if along not in AXES:
        raise ParameterError(f"along={along!r} must be 'x', 'y' or 'z'")
    return AXES.index(along)
