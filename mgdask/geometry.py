"""Geometry of periodic cells: fractions, heights, wrapping, minimum image, unwrapping.

``cell`` has shape (3, 3), with the cell vectors as rows, in Å. It may be orthogonal or
triclinic. ``pbc`` says along which vectors it repeats.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray, Periodic
from mgdask.errors import ParameterError


def volume(cell: FloatArray) -> float:
    """Return the volume |a · (b × c)| of a cell.

    Parameters
    ----------
    cell
        Cell vectors as rows (3, 3) in Å.

    Returns
    -------
    Volume in Å³.

    Examples
    --------
    >>> round(volume(np.diag([2.0, 3.0, 4.0])), 12)
    24.0
    """
    return float(abs(np.linalg.det(cell)))


def face_heights(cell: FloatArray) -> FloatArray:
    """Return the distances between opposite faces of a cell, V / |b × c| and so on.

    Parameters
    ----------
    cell
        Cell vectors as rows (3, 3) in Å.

    Returns
    -------
    Distances (3,) in Å.

    Examples
    --------
    >>> face_heights(np.array([[2.0, 0, 0], [1, 3, 0], [0, 0, 4]])).round(3).tolist()
    [1.897, 3.0, 4.0]
    """
    a, b, c = cell
    normals = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
    heights: FloatArray = abs(a @ normals[0]) / np.linalg.norm(normals, axis=1)
    return heights


def complete_cell(cell: npt.ArrayLike, pbc: Periodic) -> FloatArray:
    """Replace zero vectors of non-periodic axes by unit vectors normal to the others.

    Molecules and clusters have no cell vectors along their free axes, but fractional
    coordinates need them.

    Parameters
    ----------
    cell
        Cell vectors as rows (3, 3) in Å. Vectors of non-periodic axes may be zero.
    pbc
        Three booleans, one per cell vector.

    Returns
    -------
    Cell vectors (3, 3) in Å, none of them zero.

    Raises
    ------
    ParameterError
        If a periodic vector is zero, or if the vectors are linearly dependent.

    Examples
    --------
    >>> complete_cell(np.diag([3.0, 4.0, 0.0]), (True, True, False)).tolist()
    [[3.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]]
    """
    full = np.array(cell, dtype=np.float64)
    if full.shape != (3, 3) or not np.isfinite(full).all():
        raise ParameterError(
            f"cell must be a finite (3, 3) array with the vectors as rows, in Å; got {cell!r}"
        )
    missing = ~full.any(axis=1)
    for k in np.flatnonzero(missing).tolist():
        if pbc[k]:
            raise ParameterError(
                f"cell vector {k} is zero although pbc[{k}] is True; give the vector, or set "
                f"pbc[{k}] to False"
            )
    if missing.any():
        _, _, basis = np.linalg.svd(full[~missing]) if (~missing).any() else (None, None, np.eye(3))
        full[missing] = basis[(~missing).sum() :]
    lengths = np.linalg.norm(full, axis=1)
    if volume(full) <= 1e-12 * lengths.prod():
        raise ParameterError(
            f"cell vectors do not span space (volume {volume(full):g} Å³): {full.tolist()}"
        )
    return full


def fractional(
    position: FloatArray, cell: FloatArray, origin: FloatArray | None = None
) -> FloatArray:
    """Return the fractional coordinates s of r = origin + s @ cell.

    Parameters
    ----------
    position
        Positions r (..., xyz) in Å.
    cell
        Cell vectors as rows (3, 3) in Å.
    origin
        Lower corner of the cell (3,) in Å. Default: zero.

    Returns
    -------
    Fractional coordinates (..., vector).

    Notes
    -----
    The result for an atom does not depend on the number of atoms, because no BLAS is
    used.

    Examples
    --------
    >>> fractional(np.array([[1.0, 1.0, 1.0]]), np.diag([2.0, 4.0, 5.0])).tolist()
    [[0.5, 0.25, 0.2]]
    """
    shifted = position if origin is None else position - origin
    off_diagonal = cell - np.diag(np.diagonal(cell))
    if not off_diagonal.any():
        return np.asarray(shifted / np.diagonal(cell))
    a, b, c = cell
    reciprocal = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / (a @ np.cross(b, c))
    return np.asarray(np.einsum("...j,kj->...k", shifted, reciprocal))


def cartesian(
    fraction: FloatArray, cell: FloatArray, origin: FloatArray | None = None
) -> FloatArray:
    """Return the positions r = origin + s @ cell.

    Parameters
    ----------
    fraction
        Fractional coordinates s (..., vector).
    cell
        Cell vectors as rows (3, 3) in Å.
    origin
        Lower corner of the cell (3,) in Å. Default: zero.

    Returns
    -------
    Positions (..., xyz) in Å.

    Examples
    --------
    >>> cartesian(np.array([[0.5, 0.25, 0.2]]), np.diag([2.0, 4.0, 5.0])).tolist()
    [[1.0, 1.0, 1.0]]
    """
    position: FloatArray = np.einsum("...k,kj->...j", fraction, cell)
    return position if origin is None else position + origin


def wrap(
    position: FloatArray, cell: FloatArray, origin: FloatArray, pbc: Periodic
) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """Move positions into the cell along its periodic vectors.

    Parameters
    ----------
    position
        Positions (..., xyz) in Å.
    cell
        Cell vectors as rows (3, 3) in Å.
    origin
        Lower corner of the cell (3,) in Å.
    pbc
        Three booleans, one per cell vector.

    Returns
    -------
    Wrapped positions (..., xyz) in Å, and images (..., vector) such that
    ``position = wrapped + image @ cell``.

    Notes
    -----
    Positions inside the cell keep their bits. An atom within rounding of the upper
    face, whose wrapped fraction would round to 1, is moved to the lower face.

    Examples
    --------
    >>> cell, origin = 5 * np.eye(3), np.zeros(3)
    >>> wrapped, image = wrap(np.array([[7.0, 1, -1]]), cell, origin, [True] * 3)
    >>> wrapped.tolist(), image.tolist()
    ([[2.0, 1.0, 4.0]], [[1, 0, -1]])
    """
    periodic = np.asarray(pbc, dtype=bool)
    image = np.floor(fractional(position, cell, origin))
    image[..., ~periodic] = 0.0
    wrapped = np.array(position, dtype=np.float64)
    outside = (image[..., 0] != 0.0) | (image[..., 1] != 0.0) | (image[..., 2] != 0.0)
    if outside.any():
        wrapped[outside], image[outside] = _wrap_outside(
            wrapped[outside], image[outside], cell, origin, periodic
        )
    return wrapped, image.astype(np.int32)


def _wrap_outside(
    position: FloatArray,
    image: FloatArray,
    cell: FloatArray,
    origin: FloatArray,
    periodic: BoolArray,
) -> tuple[FloatArray, FloatArray]:
    """Wrap positions outside the cell; correct those rounded onto or across a face."""
    wrapped = position - cartesian(image, cell)
    fraction = fractional(wrapped, cell, origin)
    misplaced = (((fraction < 0.0) | (fraction >= 1.0)) & periodic).any(axis=-1)
    if misplaced.any():
        fraction = fraction[misplaced]
        inside = np.where(periodic, fraction - np.floor(fraction), fraction)
        inside[(inside >= 1.0) & periodic] = 0.0
        wrapped[misplaced] = cartesian(inside, cell, origin)
        shift = np.rint(fractional(position[misplaced] - wrapped[misplaced], cell))
        image[misplaced] = np.where(periodic, shift, 0.0)
    return wrapped, image


def unwrap(position: FloatArray, image: npt.NDArray[np.integer], cell: FloatArray) -> FloatArray:
    """Return the unwrapped positions, position + image @ cell.

    Parameters
    ----------
    position
        Wrapped positions (..., xyz) in Å.
    image
        Images (..., vector).
    cell
        Cell vectors as rows (3, 3) in Å.

    Returns
    -------
    Unwrapped positions (..., xyz) in Å.

    Examples
    --------
    >>> unwrap(np.array([[2.0, 1, 4]]), np.array([[1, 0, -1]]), 5 * np.eye(3)).tolist()
    [[7.0, 1.0, -1.0]]
    """
    return position + cartesian(image.astype(np.float64), cell)


def minimum_image(delta: FloatArray, cell: FloatArray, pbc: Periodic) -> FloatArray:
    """Reduce displacements by whole cell vectors to fractions in [-1/2, 1/2).

    Parameters
    ----------
    delta
        Displacements (..., xyz) in Å.
    cell
        Cell vectors as rows (3, 3) in Å.
    pbc
        Three booleans, one per cell vector.

    Returns
    -------
    Reduced displacements (..., xyz) in Å.

    Notes
    -----
    For orthogonal cells this is the nearest image. In a strongly skewed cell, the
    nearest image may be another one.

    Examples
    --------
    >>> minimum_image(np.array([[23.0, 0, 0]]), 24 * np.eye(3), (True,) * 3).tolist()
    [[-1.0, 0.0, 0.0]]
    """
    image = np.floor(fractional(delta, cell) + 0.5)
    image[..., ~np.asarray(pbc, dtype=bool)] = 0.0
    return delta - cartesian(image, cell)


def cell_changes(cell: FloatArray) -> bool:
    """Return whether the cell differs between frames.

    Parameters
    ----------
    cell
        Cell vectors of all frames (frame, vector, xyz) in Å.

    Returns
    -------
    True if a component differs from the first frame by more than 1e-9 of the largest
    component.

    Examples
    --------
    >>> cell_changes(np.stack([np.eye(3), 1.01 * np.eye(3)]))
    True
    """
    return bool((np.abs(cell - cell[0]) > 1e-9 * np.abs(cell[0]).max()).any())
