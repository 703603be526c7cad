"""Lower corners of cells in files that state none.

Extended XYZ and H5MD have no origin of the cell; by convention it is zero. LAMMPS
writes absolute positions nevertheless, r = o + s h, with 0 <= s < 1 up to the motion
since atoms were last wrapped. In a cell h of constant size an unknown origin o does no
harm: it shifts all fractions r h^-1 by the same amount in all frames. In a cell that
changes, the shift o h^-1 changes too, and adds to the step of every atom.

The origin is therefore taken from the positions, if they contradict zero. Along each
periodic vector the wrapped positions fill the cell, so that their lowest and highest
fraction give the origin to within the largest gap between atoms. LAMMPS changes a cell
about its center (``fixedpoint`` of ``fix npt``, styles ``scale`` and ``erate`` of ``fix
deform``), the center of the box bounds (lo + hi) / 2 = o + diag(h) / 2. If one center
fits all frames, the origin follows from it, with an error that is the same in all
frames and cancels. If none does, every frame gets its own estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mgdask._typing import BoolArray, FloatArray
from mgdask.geometry import fractional
from mgdask.readers.records import Contents, FrameRef

MARGIN = 0.03
"""How far atoms may be outside of the cell, as a fraction of it, before they contradict
its origin."""
FILLED = (0.9, 1.1)
"""Lengths of the range of wrapped fractions in a cell that is filled with atoms."""
SMALL_CHANGE = 0.02
"""Largest relative change of the cell between two frames in which an unknown origin
does no harm."""


@dataclass
class Ranges:
    """Lowest and highest fraction of the atoms in each frame, about a zero origin."""

    low: list[FloatArray] = field(default_factory=list)
    high: list[FloatArray] = field(default_factory=list)

    def add(self, position: FloatArray, ref: FrameRef) -> None:
        """Add the positions (atom, xyz) of the next frame, unless it is damaged."""
        if ref.problem is not None or not any(ref.pbc) or not np.linalg.det(ref.cell):
            self.skip()
            return
        fraction = fractional(position, ref.cell)
        # along free vectors nothing is wrapped, and zero serves as well as any origin
        self.low.append(np.where(ref.pbc, fraction.min(axis=0), 0.0))
        self.high.append(np.where(ref.pbc, fraction.max(axis=0), 1.0))

    def skip(self) -> None:
        """Add a frame without positions that can be used."""
        self.low.append(np.full(3, np.nan))
        self.high.append(np.full(3, np.nan))


def infer_origins(
    low: FloatArray, high: FloatArray, cell: FloatArray
) -> tuple[FloatArray, str] | None:
    """Find the lower corners of the cells of one file from its positions.

    Parameters
    ----------
    low, high
        Lowest and highest fraction of each frame (frame, vector), about a zero origin.
        NaN in frames without positions; 0 and 1 along vectors that are not periodic.
    cell
        Cells (frame, vector, xyz).

    Returns
    -------
    Origins (frame, xyz) and how they were found, in words that begin with "zero",
    "one center" or "each frame"; None if the positions contradict zero but do not fill
    the cells.
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
        return _corner(fraction, cell), "each frame by itself, because no center fits all"
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
            f"{said}. It is not zero, because atoms are outside, and cannot be taken from the "
            "positions, which do not fill the cells"
        )
        return replace(contents, origin_stated=False, unknown_origin=why)
    origin, how = found
    note = f"{said}; it is taken from the range of the positions: {how}" if origin.any() else ""
    placed = [replace(ref, origin=corner) for ref, corner in zip(frames, origin, strict=True)]
    return replace(contents, frames=placed, origin_stated=False, origin_note=note)
