"""Which atoms are in a slab, and the size of their markers in Å."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import xarray as xr

from mgdask._typing import AnyArray, BoolArray, FloatArray
from mgdask.elements import MIRACLE_RADII, symbol
from mgdask.errors import ParameterError

if TYPE_CHECKING:
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2DBase

    from mgdask.plot.style import Axes

AXES = ("x", "y", "z")
COVERAGE = 0.5
"""Area of all markers of a slab as a fraction of the area of the slab."""
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
    axis = axis_number(along)
    depth = frame["position"].values[:, axis] - frame["origin"].values[axis]
    middle = 0.5 * frame["cell"].values[axis, axis]
    inside: BoolArray = np.abs(depth - middle) < 0.5 * slab
    return inside


def marker_diameters(
    frame: xr.Dataset, *, slab: float = 5.0, along: str = "z", inside: BoolArray | None = None
) -> dict[int, float]:
    """Compute the diameters of markers from the density of atoms in a slab.

        diameter_z = 2 r_z sqrt(coverage area / sum_i pi r_i^2)

    The sum is over the atoms of the slab, with radii r of their elements.

    Parameters
    ----------
    frame
        One frame of an opened trajectory store.
    slab
        Thickness in Å.
    along
        Direction of view: "x", "y" or "z".
    inside
        True for the atoms of the slab, shape (atom,). Default: ``slab_atoms``.

    Returns
    -------
    diameters
        Diameters in Å by atomic number, of all species of the frame.

    Examples
    --------
    >>> marker_diameters(ds.isel(frame=0), slab=6.0)  # doctest: +SKIP
    """
    axis = axis_number(along)
    across, up = (k for k in range(3) if k != axis)
    numbers: AnyArray = frame["species"].values
    radii = {int(z): radius(int(z)) for z in np.unique(numbers)}
    if inside is None:
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


def radius(number: int) -> float:
    """Return the radius in Å of an element in pictures.

    Parameters
    ----------
    number
        Atomic number.

    Examples
    --------
    >>> radius(29)
    1.26
    """
    return MIRACLE_RADII.get(symbol(number), DEFAULT_RADIUS)


def measure_in_data(axes: Axes, markers: PathCollection, diameter: float) -> None:
    """Draw markers with a diameter in units of the axes, not in points.

    Parameters
    ----------
    axes
        matplotlib axes with linear scales.
    markers
        Markers drawn on them.
    diameter
        Diameter in units of the axes.
    """
    from matplotlib.transforms import Affine2D, AffineDeltaTransform

    markers.set_sizes(None)
    linear = cast("Affine2DBase", axes.transData)  # as both axes of a slab are linear
    markers.set_transform(Affine2D().scale(diameter) + AffineDeltaTransform(linear))


def fit_axes(axes: Axes, frame: xr.Dataset, shown: FloatArray, along: str, margin: float) -> None:
    """Label the axes of a slab, and let them contain the cell and all its markers.

    Parameters
    ----------
    axes
        matplotlib axes to set.
    frame
        One frame of an opened trajectory store.
    shown
        Positions (atom, 3) in Å of the markers.
    along
        Direction of view: "x", "y" or "z".
    margin
        Distance in Å to leave around the markers.
    """
    across, up = (k for k in range(3) if k != axis_number(along))
    limits = fitting_limits(frame, along, shown, margin)
    axes.set(
        xlabel=f"{AXES[across]} (Å)",
        ylabel=f"{AXES[up]} (Å)",
        aspect="equal",
        xlim=limits[0],
        ylim=limits[1],
    )


def fitting_limits(
    frame: xr.Dataset, along: str, shown: FloatArray | None = None, margin: float = 1.0
) -> list[tuple[float, float]]:
    """Return limits of the two axes in Å that contain the cell and some atoms.

    Parameters
    ----------
    frame
        One frame of an opened trajectory store.
    along
        Direction of view: "x", "y" or "z".
    shown
        Positions (atom, 3) in Å.
    margin
        Distance in Å to leave around them.
    """
    ends = cell_corners(frame)
    if shown is not None:
        ends = np.concatenate([ends, shown])
    return [
        (float(ends[:, k].min() - margin), float(ends[:, k].max() + margin))
        for k in range(3)
        if k != axis_number(along)
    ]


def cell_corners(frame: xr.Dataset) -> FloatArray:
    """Return the eight corners of a cell in Å, shape (8, 3).

    Parameters
    ----------
    frame
        One frame of an opened trajectory store.
    """
    steps = np.indices((2, 2, 2)).reshape(3, 8).T.astype(np.float64)
    corners: FloatArray = frame["origin"].values + steps @ frame["cell"].values
    return corners


def axis_number(along: str) -> int:
    """Return the number of an axis from its name.

    Parameters
    ----------
    along
        "x", "y" or "z".

    Raises
    ------
    ParameterError
        If it is another name.

    Examples
    --------
    >>> axis_number("y")
    1
    """
    if along not in AXES:
        raise ParameterError(f"along={along!r} must be 'x', 'y' or 'z'")
    return AXES.index(along)
