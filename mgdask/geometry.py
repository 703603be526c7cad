"""Cell geometry: fractions, heights, wrapping, minimum image, true paths; orthogonal and triclinic alike.

``cell`` is (3, 3) with the vectors as rows, in Å; ``pbc`` says along which vectors it repeats.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int32]
Periodic = Sequence[bool] | npt.NDArray[np.bool_]


def volume(cell: Float) -> float:
    """Volume |a · (b × c)| in Å³."""
    return float(abs(np.linalg.det(cell)))


def face_heights(cell: Float) -> Float:
    """Distances (3,) between opposite faces, V / |b × c| and so on, in Å."""
    a, b, c = cell
    normals = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
    heights: Float = abs(a @ normals[0]) / np.linalg.norm(normals, axis=1)
    return heights


def complete_cell(cell: npt.ArrayLike, pbc: Periodic) -> Float:
    """The cell with zero vectors of non-periodic axes replaced by unit vectors normal to the others.

    A molecule or a cluster has no cell along its free axes; fractions need one. ``ParameterError`` if a periodic
    vector is zero, or the vectors do not span space.
    """
    full = np.array(cell, dtype=np.float64)
    if full.shape != (3, 3) or not np.isfinite(full).all():
        raise ParameterError(
            f"cell must be 3 x 3 finite numbers with the vectors as rows, in Å; got {cell!r}"
        )
    missing = ~full.any(axis=1)
    for k in np.flatnonzero(missing).tolist():
        if pbc[k]:
            raise ParameterError(
                f"cell vector {k} is zero although pbc[{k}] is True; give the vector or pbc=False there"
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


def fractional(position: Float, cell: Float, origin: Float | None = None) -> Float:
    """Fractions s of r = origin + s @ cell."""
    shifted = position if origin is None else position - origin
    off_diagonal = cell - np.diag(np.diagonal(cell))
    if not off_diagonal.any():
        return np.asarray(shifted / np.diagonal(cell))
    a, b, c = cell
    reciprocal = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / (a @ np.cross(b, c))
    # einsum without BLAS: the same bits whatever the number of atoms in one call
    return np.asarray(np.einsum("...j,kj->...k", shifted, reciprocal))


def cartesian(fraction: Float, cell: Float, origin: Float | None = None) -> Float:
    """r = origin + s @ cell."""
    position: Float = np.einsum("...k,kj->...j", fraction, cell)
    return position if origin is None else position + origin


def wrap(position: Float, cell: Float, origin: Float, pbc: Periodic) -> tuple[Float, Int]:
    """Positions moved into the cell along periodic vectors, and the images that undo it.

    ``position = wrapped + image @ cell``; atoms already inside keep their bits. An atom within rounding of the upper
    face, whose wrapped fraction would round to 1, is set on the lower one.
    """
    periodic = np.asarray(pbc, dtype=bool)
    whole = np.floor(fractional(position, cell, origin))
    whole[..., ~periodic] = 0.0
    wrapped = np.array(position, dtype=np.float64)
    moved = (whole[..., 0] != 0.0) | (whole[..., 1] != 0.0) | (whole[..., 2] != 0.0)
    if moved.any():  # the others have fractions in [0, 1) already
        before, steps = wrapped[moved], whole[moved]
        after = before - cartesian(steps, cell)
        fraction = fractional(after, cell, origin)
        off = (((fraction < 0.0) | (fraction >= 1.0)) & periodic).any(
            axis=-1
        )  # rounded onto or across a face
        if off.any():
            inside = np.where(periodic, fraction[off] - np.floor(fraction[off]), fraction[off])
            inside[(inside >= 1.0) & periodic] = 0.0
            after[off] = cartesian(inside, cell, origin)
            shift = np.rint(fractional(before[off] - after[off], cell))
            steps[off] = np.where(periodic, shift, 0.0)
        wrapped[moved], whole[moved] = after, steps
    return wrapped, whole.astype(np.int32)


def unwrap(position: Float, image: npt.NDArray[np.integer], cell: Float) -> Float:
    """True path: position + image @ cell."""
    return position + cartesian(image.astype(np.float64), cell)


def minimum_image(delta: Float, cell: Float, pbc: Periodic) -> Float:
    """Displacements reduced by whole cell vectors so that every fraction is in [-1/2, 1/2).

    Exact nearest image for orthogonal cells; in a strongly skewed cell the nearest image can be one vector further.
    """
    whole = np.floor(fractional(delta, cell) + 0.5)
    whole[..., ~np.asarray(pbc, dtype=bool)] = 0.0
    return delta - cartesian(whole, cell)


def cell_changes(cell: Float) -> bool:
    """Whether the cell is another one in some frame."""
    return bool((np.abs(cell - cell[0]) > 1e-9 * np.abs(cell[0]).max()).any())
