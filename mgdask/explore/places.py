"""Atoms by where they are: in a slab, or within a distance of an atom or a point."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.explore.selecting import atom_ids, check_dim, elements, frame_row, is_number
from mgdask.geometry import complete_cell, face_heights, fractional

if TYPE_CHECKING:
    import ase

Axis = Literal["x", "y", "z"] | Sequence[float]
"""Normal of a slab: a Cartesian axis, or a vector of any length."""

AXES = ("x", "y", "z")
MAX_IMAGES = 10_000
"""Maximum number of images of the cell that a search for neighbors visits."""
PARALLEL = 1e-9
"""Largest part of a cell vector along the normal that counts as none."""


@dataclass(frozen=True)
class Configuration:
    """Where the atoms of one frame are.

    Attributes
    ----------
    position
        Positions (atom, xyz) in Å, wrapped or not.
    cell
        Cell vectors as rows (vector, xyz) in Å.
    origin
        Origin of the cell (xyz,) in Å.
    pbc
        Whether each cell vector repeats (vector,).
    """

    position: FloatArray
    cell: FloatArray
    origin: FloatArray
    pbc: BoolArray


def configuration(ds: xr.Dataset, frame: int | None, method: str) -> Configuration:
    """Read where the atoms of one frame are.

    Parameters
    ----------
    ds
        Dataset with position and cell.
    frame
        Number of the frame in its store. It may be left out if there is only one.
    method
        The method that asks, for messages.

    Returns
    -------
    configuration
        Positions and cell of the frame.

    Raises
    ------
    ParameterError
        If there are no positions, or several frames and ``frame`` is not given.
    """
    missing = [name for name in ("position", "cell") if name not in ds.variables]
    if missing:
        raise ParameterError(
            f"the Dataset has no {missing[0]}, which {method} needs. Features have no positions: "
            f"join them to their trajectory first, trajectory.mg.join(features).mg.{method}(...)"
        )
    check_dim(ds, "atom")
    check_dim(ds["position"], "xyz")
    if "frame" in ds["position"].dims:
        if frame is None and ds.sizes["frame"] != 1:
            raise ParameterError(
                f"the Dataset has {ds.sizes['frame']} frames, and atoms move between them. Say in "
                f"which one to look, ds.mg.{method}(..., frame=0), or choose one first, "
                f"ds.mg.frame(0).mg.{method}(...)"
            )
        ds = ds.isel(frame=0 if frame is None else frame_row(ds, frame))
    elif frame is not None:
        raise ParameterError(f"frame={frame} was given, but the Dataset is already one frame")
    pbc = np.asarray(ds["pbc"].values, dtype=bool) if "pbc" in ds else np.ones(3, dtype=bool)
    cell = np.asarray(ds["cell"].values, dtype=np.float64)
    return Configuration(
        np.asarray(ds["position"].transpose("atom", "xyz").values, dtype=np.float64),
        complete_cell(cell, tuple(bool(p) for p in pbc)),
        np.asarray(ds["origin"].values, dtype=np.float64) if "origin" in ds else np.zeros(3),
        pbc,
    )


def distances_from(point: FloatArray, where: Configuration, radius: float) -> FloatArray:
    """Return the distance of each atom from a point, over all periodic images.

    Parameters
    ----------
    point
        Point (xyz,) in Å.
    where
        Atoms and cell.
    radius
        Distance in Å up to which the result is exact. Atoms that are farther have some
        larger value.

    Returns
    -------
    distance
        Distance (atom,) in Å of the nearest image of each atom.

    Notes
    -----
    A cell vector of face height h needs the images n with |n + s| h <= radius, where s
    is in [-1/2, 1/2). This holds in any cell, however skewed.
    """
    fraction = fractional(where.position - point, where.cell)
    shift = np.floor(fraction + 0.5)
    shift[:, ~where.pbc] = 0.0
    delta = (fraction - shift) @ where.cell
    # 1e-9 for the rounding of fractions
    reach = np.floor(radius / face_heights(where.cell) + 0.5 + 1e-9)
    counts = [int(n) if periodic else 0 for n, periodic in zip(reach, where.pbc, strict=True)]
    n_images = int(np.prod([2 * n + 1 for n in counts]))
    if n_images > MAX_IMAGES:
        raise ParameterError(
            f"radius={radius:g} Å reaches {n_images} images of the cell, at most {MAX_IMAGES} are "
            "allowed; every atom is within a much smaller radius"
        )
    nearest = np.full(len(delta), np.inf)
    for image in itertools.product(*(range(-n, n + 1) for n in counts)):
        moved = delta + np.array(image, dtype=np.float64) @ where.cell
        np.minimum(nearest, (moved**2).sum(axis=1), out=nearest)
    distance: FloatArray = np.sqrt(nearest)
    return distance


def center_point(ds: xr.Dataset, where: Configuration, center: int | Sequence[float]) -> FloatArray:
    """Return the position of an atom, or a point as it is.

    Parameters
    ----------
    ds
        Dataset that ``where`` was read from.
    where
        Atoms and cell of one frame.
    center
        Atom id, or a point in Å.

    Returns
    -------
    point
        Position (xyz,) in Å.

    Raises
    ------
    ParameterError
        If there is no such atom, or the point is not three finite numbers.
    """
    value = np.asarray(center)
    if value.ndim == 0 and value.dtype.kind in "iu":
        rows = np.flatnonzero(atom_ids(ds) == int(value))
        if not rows.size:
            raise ParameterError(
                f"there is no atom with id {int(value)} among the {ds.sizes['atom']} atoms; "
                "center must be an atom id or a point in Å, such as (1.0, 2.0, 3.0)"
            )
        point: FloatArray = where.position[int(rows[0])]
        return point
    return _vector("center", center, "an atom id, or a point in Å such as (1.0, 2.0, 3.0)")


def near(
    ds: xr.Dataset, center: int | Sequence[float], radius: float, frame: int | None
) -> tuple[IntArray, FloatArray]:
    """Find the atoms within a distance of an atom or a point.

    Parameters
    ----------
    ds
        Dataset with positions and cell.
    center
        Atom id, which is among the atoms found, or a point in Å.
    radius
        Largest distance in Å.
    frame
        Number of the frame in which to look.

    Returns
    -------
    rows, distance
        Rows of the atoms in their order, and their distances in Å.
    """
    if not is_number(radius) or not 0.0 < radius < np.inf:
        raise ParameterError(f"radius={radius!r} must be a distance in Å above 0")
    where = configuration(ds, frame, "near")
    distance = distances_from(center_point(ds, where, center), where, radius)
    rows = np.flatnonzero(distance <= radius)
    return rows, distance[rows]


def slab(
    ds: xr.Dataset, axis: Axis, at: float | None, thickness: float, frame: int | None
) -> BoolArray:
    """Find the atoms of a slab.

    Parameters
    ----------
    ds
        Dataset with positions and cell.
    axis
        Normal of the slab.
    at
        Coordinate along the normal of the middle of the slab, in Å. Default: that of
        the middle of the cell.
    thickness
        Thickness in Å.
    frame
        Number of the frame in which to look.

    Returns
    -------
    inside
        True for the atoms in the slab, shape (atom,).

    Notes
    -----
    The slab continues on the other side of the cell if it crosses a periodic face that
    is parallel to it. Other slabs are those of the atoms as they are stored.
    """
    if not is_number(thickness) or not 0.0 < thickness < np.inf:
        raise ParameterError(f"thickness={thickness!r} must be a length in Å above 0")
    if at is not None and not (is_number(at) and np.isfinite(at)):
        raise ParameterError(f"at={at!r} must be a finite coordinate in Å")
    normal = normal_of(axis)
    where = configuration(ds, frame, "slab")
    middle = float((where.origin + 0.5 * where.cell.sum(axis=0)) @ normal) if at is None else at
    depth = where.position @ normal - middle
    period = repeat_along(normal, where)
    if period is not None:
        depth -= period * np.floor(depth / period + 0.5)
    inside: BoolArray = np.abs(depth) <= 0.5 * thickness
    return inside


def normal_of(axis: Axis) -> FloatArray:
    """Return a unit vector (xyz,) along an axis.

    Parameters
    ----------
    axis
        "x", "y", "z", or a vector of any length.

    Raises
    ------
    ParameterError
        If it is neither.
    """
    if isinstance(axis, str):
        if axis not in AXES:
            raise ParameterError(f"axis={axis!r} must be 'x', 'y', 'z' or a vector (1, 1, 0)")
        unit: FloatArray = np.eye(3)[AXES.index(axis)]
        return unit
    vector = _vector("axis", axis, "'x', 'y', 'z' or a vector such as (1, 1, 0)")
    if not vector.any():
        raise ParameterError(f"axis={axis!r} is a vector of zeros; it must have a direction")
    unit = vector / np.linalg.norm(vector)
    return unit


def repeat_along(normal: FloatArray, where: Configuration) -> float | None:
    """Return the period of planes of this normal in Å, or None if there is none.

    Parameters
    ----------
    normal
        Unit vector (xyz,).
    where
        The cell.

    Notes
    -----
    A plane repeats if two cell vectors lie in it and the third is periodic.
    """
    along = where.cell @ normal
    crossing = np.flatnonzero(np.abs(along) > PARALLEL * np.linalg.norm(where.cell, axis=1))
    if len(crossing) != 1 or not where.pbc[crossing[0]]:
        return None
    return float(abs(along[crossing[0]]))


def _vector(name: str, value: npt.ArrayLike, allowed: str) -> FloatArray:
    try:
        vector = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        vector = np.zeros(0)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise ParameterError(f"{name}={value!r} must be {allowed}")
    return vector


def ase_atoms(ds: xr.Dataset, frame: int | None) -> ase.Atoms:
    """Return one frame as an ``ase.Atoms``.

    Parameters
    ----------
    ds
        Dataset with positions, cell and species.
    frame
        Number of the frame, or None if there is only one.
    """
    from ase import Atoms

    where = configuration(ds, frame, "atoms")
    one = ds
    if "frame" in ds.dims:
        one = ds.isel(frame=0 if frame is None else frame_row(ds, frame))
    atoms = Atoms(
        symbols=list(elements(ds)),
        positions=where.position,
        cell=np.asarray(one["cell"].values, dtype=np.float64),
        pbc=where.pbc,
        celldisp=where.origin,
    )
    if "mass" in one.variables:
        atoms.set_masses(np.asarray(one["mass"].values))
    if "atom_id" in one.variables:
        atoms.set_array("id", np.asarray(one["atom_id"].values))
    for name, kind in (("step", int), ("time", float), ("run", str)):
        if name in one.variables:
            atoms.info[name] = kind(one[name].values[()])
    return atoms
