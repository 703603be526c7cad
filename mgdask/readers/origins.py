"""Lower corners of cells in files that do not state them.

Extended XYZ and H5MD do not store the origin of the cell; by convention it is zero.
LAMMPS nevertheless writes absolute positions r = o + s h. There 0 <= s < 1, up to the
motion since atoms were last wrapped. If the cell h is constant, an unknown origin o
does not matter: it shifts all fractions r h^-1 by the same amount in all frames. If the
cell changes, the shift o h^-1 changes too, and adds to the displacement of every atom.

If the positions contradict an origin of zero, the origin is therefore inferred from
them. Along each periodic vector, the wrapped positions fill the cell. Their lowest and
highest fractions give the origin to within the largest gap between atoms. LAMMPS
changes a cell about its center (``fixedpoint`` of ``fix npt``, styles ``scale`` and
``erate`` of ``fix deform``). This is the center of the box bounds, (lo + hi) / 2 = o +
diag(h) / 2. If one center fits all frames, the origin follows from it. Its error is the
same in all frames and cancels. If no center fits, the origin is estimated for each
frame separately.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mgdask._typing import BoolArray, FloatArray
from mgdask.geometry import fractional
from mgdask.readers.records import Contents, FrameRef

MARGIN = 0.03
"""Distance outside the cell, as a fraction of it, beyond which atoms contradict an
origin of zero."""
FILLED = (0.9, 1.1)
"""Smallest and largest span of wrapped fractions in a cell filled with atoms."""
SMALL_CHANGE = 0.02
"""Largest relative change of the cell between two frames for which an unknown origin
does not matter."""


@dataclass
class Ranges:
    """Lowest and highest fraction of the atoms in each frame, for an origin of zero."""

    low: list[FloatArray] = field(default_factory=list)
    high: list[FloatArray] = field(default_factory=list)

    def add(self, position: FloatArray, ref: FrameRef) -> None:
        """Add the positions (atom, xyz) of the next frame, unless it is damaged."""
        if ref.problem is not None or not any(ref.pbc) or not np.linalg.det(ref.cell):
            self.skip()
            return
        fraction = fractional(position, ref.cell)
        # along vectors that are not periodic nothing is wrapped, so any origin will do
        self.low.append(np.where(ref.pbc, fraction.min(axis=0), 0.0))
        self.high.append(np.where(ref.pbc, fraction.max(axis=0), 1.0))

    def skip(self) -> None:
        """Add a frame without usable positions."""
        self.low.append(np.full(3, np.nan))
        self.high.append(np.full(3, np.nan))


def infer_origins(
    low: FloatArray, high: FloatArray, cell: FloatArray
) -> tuple[FloatArray, str] | None:
    """Infer the lower corners of the cells of one file from its positions.

    Parameters
    ----------
    low, high
        Lowest and highest fraction of each frame (frame, vector), for an origin of
        zero. NaN in frames without positions; 0 and 1 along vectors that are not
        periodic.
    cell
        Cell vectors (frame, vector, xyz), in the unit of the positions.

    Returns
    -------
    Origins (frame, xyz), and a description of how they were found. It begins with
    "zero", "one center" or "each frame". None if the positions contradict zero but do
    not fill the cells.
    """
    used: BoolArray = np.asarray(np.isfinite(low).all(axis=1))
    zero = np.zeros((len(cell), 3))
    if not used.any():
        return zero, "zero, because no frame has positions"
    if max(-low[used].min(), high[used].max() - 1.0) <= MARGIN:
        return zero, "zero, which fits the positions"
    width = high - low
    if np.median(width[used], axis=0).max() > FILLED[1]:
        return zero, "zero, because the positions are not wrapped"
    within = (width >= FILLED[0]) & (width <= FILLED[1])
    filled: BoolArray = used & np.asarray(within.all(axis=1))
    if not filled.any():
        return None
    fraction = np.where(used[:, None], 0.5 * (low + high - 1.0), 0.0)
    half = 0.5 * np.diagonal(cell, axis1=1, axis2=2)
    center = np.median((_corner(fraction, cell) + half)[filled], axis=0)
    fixed = np.zeros((len(cell), 3))
    for k in np.flatnonzero(used):
        fixed[k] = fractional(center - half[k], cell[k])
    fixed[(low == 0.0) & (high == 1.0)] = 0.0
    excess = np.abs(fixed - fraction) - np.abs(width - 1.0)
    if excess[filled].max() <= MARGIN:
        return _corner(fixed, cell), "one center of the cell that fits all frames"
    if bool(filled[used].all()):
        return _corner(fraction, cell), "each frame separately, because no center fits all"
    return None


def _corner(fraction: FloatArray, cell: FloatArray) -> FloatArray:
    corner: FloatArray = np.einsum("fk,fkj->fj", fraction, cell)
    return corner


def largest_change(cell: FloatArray) -> float:
    """Return the largest change of a cell between frames, relative to its vectors."""
    if len(cell) < 2:
        return 0.0
    lengths = np.linalg.norm(cell, axis=2)[:-1]
    changes = np.linalg.norm(np.diff(cell, axis=0), axis=2)
    return float((changes / np.where(lengths > 0.0, lengths, 1.0)).max())


def place_origins(contents: Contents, ranges: Ranges) -> Contents:
    """Return the contents of a file with the origins that its positions imply."""
    frames = contents.frames
    if not frames:
        return contents
    found = infer_origins(
        np.array(ranges.low), np.array(ranges.high), np.array([ref.cell for ref in frames])
    )
    said = f"{frames[0].path}: the file does not state the origin of its cells"
    if found is None:
        why = (
            f"{said}. It is not zero, because atoms are outside. It cannot be inferred from the "
            "positions, because they do not fill the cells"
        )
        return replace(contents, origin_stated=False, unknown_origin=why)
    origin, how = found
    note = f"{said}; it is inferred from the range of the positions: {how}" if origin.any() else ""
    placed = [replace(ref, origin=corner) for ref, corner in zip(frames, origin, strict=True)]
    return replace(contents, frames=placed, origin_stated=False, origin_note=note)
