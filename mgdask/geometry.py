"""Geometry of periodic cells: fractions, heights, wrapping, minimum image, unwrapping.

``cell`` has shape (3, 3), with the cell vectors as rows, in Å. It may be orthogonal or
triclinic. ``pbc`` says along which vectors it repeats.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray, Periodic
from mgdask.bounds import MAX_IMAGE, MAX_LENGTH, MAX_SHELL, RESOLUTION
from mgdask.errors import ParameterError


class FarPositionError(ParameterError):
    """A position is so far away that its digits or its image would be lost.

    Parameters
    ----------
    atom
        Index of the atom.
    reason
        What is too large, without the atom.
    """

    def __init__(self, atom: int, reason: str) -> None:
        self.atom, self.reason = atom, reason
        super().__init__(f"atom {atom}: {reason}")

    def __reduce__(self) -> tuple[type[FarPositionError], tuple[int, str]]:
        return type(self), (self.atom, self.reason)


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
    problem = cell_problem(full)
    if problem is not None:
        raise ParameterError(f"{problem}: {full.tolist()}")
    return full


def cell_problem(cell: FloatArray) -> str | None:
    """Describe why a cell cannot be used, or return None.

    Parameters
    ----------
    cell
        Cell vectors as rows (3, 3) in Å, all of them finite and not zero.

    Examples
    --------
    >>> cell_problem(np.diag([1e300, 5.0, 5.0]))
    'a cell vector is 1e+300 Å long; at most 1e+09 Å are allowed'
    """
    longest = float(np.abs(cell).max())
    if longest > MAX_LENGTH:
        return f"a cell vector is {longest:g} Å long; at most {MAX_LENGTH:g} Å are allowed"
    # squares of tiny numbers vanish
    lengths = np.maximum(np.linalg.norm(cell, axis=1), np.abs(cell).max(axis=1))
    if lengths.min() < RESOLUTION:
        return (
            f"a cell vector is {lengths.min():g} Å long; at least {RESOLUTION:g} Å, the "
            "resolution of positions, are needed"
        )
    if volume(cell) <= 1e-12 * lengths.prod():
        return f"cell vectors do not span space (volume {volume(cell):g} Å³)"
    height = float(face_heights(cell).min())
    if height < RESOLUTION:
        return (
            f"the cell is {height:g} Å thick; at least {RESOLUTION:g} Å, the resolution of "
            "positions, are needed"
        )
    return None


def unsound_cells(cell: FloatArray, pbc: Periodic) -> list[tuple[int, str]]:
    """Return the cells that cannot be used, with the reason.

    Parameters
    ----------
    cell
        Cell vectors (frame, vector, xyz) in Å.
    pbc
        Three booleans, one per cell vector.

    Examples
    --------
    >>> unsound_cells(np.stack([np.eye(3), np.zeros((3, 3))]), (True,) * 3)[0][0]
    1
    """
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(cell, axis=-1)
        spanned = np.abs(np.linalg.det(cell))
        # a volume divided by the product of two lengths is at most the height
        thin = spanned[:, None] / (lengths.prod(axis=-1)[:, None] / lengths)
        sound = (np.abs(cell).max(axis=(1, 2)) <= MAX_LENGTH) & (lengths >= RESOLUTION).all(axis=1)
        sound &= (spanned > 1e-11 * lengths.prod(axis=-1)) & (thin >= RESOLUTION).all(axis=1)
    found = []
    for k in np.flatnonzero(~sound):
        try:
            complete_cell(cell[k], pbc)
        except ParameterError as error:
            found.append((int(k), str(error)))
    return found


def n_images(cell: FloatArray, pbc: Periodic, cutoff: float) -> float:
    """Return the number of periodic images of a cell that a cutoff may reach.

    Parameters
    ----------
    cell
        Cell vectors as rows (3, 3) in Å.
    pbc
        Three booleans, one per cell vector.
    cutoff
        Distance in Å.

    Returns
    -------
    Number of images, the cell itself included.

    Examples
    --------
    >>> n_images(10 * np.eye(3), (True, True, False), 12.0)
    25.0
    """
    along = 2.0 * np.ceil(cutoff / face_heights(cell)) + 1.0
    return float(along[np.asarray(pbc, dtype=bool)].prod())


def check_shell(cell: FloatArray, pbc: Periodic, cutoff: float) -> None:
    """Refuse a cutoff that reaches too many periodic images, as in a nearly flat cell.

    Parameters
    ----------
    cell
        Cell vectors as rows (3, 3) in Å.
    pbc
        Three booleans, one per cell vector.
    cutoff
        Distance in Å.

    Raises
    ------
    ParameterError
        If there are more than ``MAX_SHELL`` images.
    """
    needed = n_images(cell, pbc, cutoff)
    if not needed <= MAX_SHELL:
        heights = ", ".join(f"{height:.4g}" for height in face_heights(cell))
        raise ParameterError(
            f"a cutoff of {cutoff:.4g} Å reaches {needed:.3g} periodic images of the cell, "
            f"whose opposite faces are {heights} Å apart; at most {MAX_SHELL} images are allowed. "
            "Check the cell vectors, or choose a smaller cutoff"
        )


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

    Raises
    ------
    FarPositionError
        If an image does not fit into 32 bits, or if the wrapped position would be wrong
        by more than 1e-6 Å.

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
    _check_far(wrapped, image, cell)
    outside = (image[..., 0] != 0.0) | (image[..., 1] != 0.0) | (image[..., 2] != 0.0)
    if outside.any():
        rows = np.flatnonzero(outside)
        wrapped[outside], image[outside] = _wrap_outside(
            wrapped[outside], image[outside], cell, origin, periodic, rows
        )
    return wrapped, image.astype(np.int32)


def _wrap_outside(
    position: FloatArray,
    image: FloatArray,
    cell: FloatArray,
    origin: FloatArray,
    periodic: BoolArray,
    rows: npt.NDArray[np.intp],
) -> tuple[FloatArray, FloatArray]:
    """Wrap positions outside the cell; correct those rounded onto or across a face.

    ``rows`` are the indices of the atoms, for messages.
    """
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
        moved = position[misplaced] - wrapped[misplaced] - cartesian(image[misplaced], cell)
        lost = np.flatnonzero(np.abs(moved).max(axis=-1) > RESOLUTION)
        if lost.size:
            raise FarPositionError(
                int(rows[np.flatnonzero(misplaced)[lost[0]]]),
                f"wrapping changes its position by {np.abs(moved[lost[0]]).max():.3g} Å; at most "
                f"{RESOLUTION:g} Å are allowed. The cell is nearly flat",
            )
    return wrapped, image


def check_images(
    position: FloatArray, image: FloatArray | npt.NDArray[np.integer], cell: FloatArray
) -> None:
    """Refuse positions whose digits, or whose images, would be lost.

    Parameters
    ----------
    position
        Positions (atom, xyz) in Å.
    image
        Images (atom, vector), before they are integers of 32 bits.
    cell
        Cell vectors as rows (3, 3) in Å.

    Raises
    ------
    FarPositionError
        For the first such atom.
    """
    _check_far(np.asarray(position), np.asarray(image, dtype=np.float64), cell)


def _check_far(position: FloatArray, image: FloatArray, cell: FloatArray) -> None:
    """Raise ``FarPositionError`` for positions (..., xyz) that are too far away."""
    if not position.size:
        return
    size = np.sqrt((cell**2).sum(axis=1))
    # whole arrays first: these reductions are much faster than those of an axis
    if max(position.max(), -position.min()) <= MAX_LENGTH:
        most = float(max(image.max(), -image.min()))
        # an image moves by one when it is corrected
        if most < MAX_IMAGE - 1 and most * size.max() <= MAX_LENGTH:
            return
    flat, moved = position.reshape(-1, 3), np.abs(image.reshape(-1, 3))
    for what, unit, value, limit in (
        ("its position", " Å", np.abs(flat), MAX_LENGTH),
        ("its periodic image", "", moved, float(MAX_IMAGE - 1)),
        ("its distance from the cell along a cell vector", " Å", moved * size, MAX_LENGTH),
    ):
        # NaN is not below a limit either
        bad = np.flatnonzero(~(value <= limit).all(axis=1))
        if bad.size:
            atom = int(bad[0])
            more = f" (and {bad.size - 1} other atoms)" if bad.size > 1 else ""
            raise FarPositionError(
                atom,
                f"{what} is {value[atom].max():.10g}{unit}; at most {limit:.10g}{unit} are "
                f"allowed{more}. Beyond this, {RESOLUTION:g} Å cannot be resolved",
            )


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
