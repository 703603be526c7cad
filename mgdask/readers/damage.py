"""Descriptions of damage to a single frame: a box or positions that are not finite.

The text that these functions return becomes ``FrameRef.problem``. The audit then leaves
the frame out and reports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.bounds import MAX_STEP, shortened
from mgdask.errors import AuditError

BOX, POSITION = "its box", "the position of"
"""First words of the descriptions."""


def step_number(value: Any, where: str) -> int:
    """Return a timestep of a file as an integer.

    Parameters
    ----------
    value
        Number in the file.
    where
        Description of the frame, for messages.

    Raises
    ------
    AuditError
        If it is not a number, or does not fit into 64 bits.
    """
    try:
        step = int(value)
    except (ValueError, TypeError, OverflowError):
        step = MAX_STEP + 1
    if abs(step) > MAX_STEP:
        raise AuditError(
            f"{where}: the timestep {shortened(str(value))} is not a 64-bit integer. Repair "
            "the file, or remove this frame from it"
        )
    return step


def box_problem(cell: FloatArray, periodic: Sequence[bool], origin: Any = 0.0) -> str | None:
    """Describe what is wrong with a cell or its origin.

    Parameters
    ----------
    cell
        Cell vectors as rows (3, 3).
    periodic
        Three booleans, one per cell vector. A cell without periodic vectors may have
        zero volume.
    origin
        Lower corner of the cell (3,).

    Returns
    -------
    Description, or None if the cell is finite and right-handed.
    """
    if not (np.isfinite(cell).all() and np.isfinite(origin).all()):
        text = f"{BOX} is not finite: vectors {cell.tolist()}"
        return (
            text if np.isfinite(origin).all() else f"{text}, origin {np.asarray(origin).tolist()}"
        )
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        is_flat = not np.linalg.det(cell) > 0
    if is_flat and all(periodic):
        return f"{BOX} has a volume that is zero or negative: vectors {cell.tolist()}"
    return None


def position_problem(
    position: FloatArray, ids: npt.NDArray[Any] | None = None, row_line: int = 0
) -> str | None:
    """Describe which position is not finite.

    Parameters
    ----------
    position
        Positions (atom, xyz) in the order of the file.
    ids
        Atom ids (atom,). Default: row numbers, counted from 1.
    row_line
        Line of the first row in a text file, counted from 1; 0 for other formats.

    Returns
    -------
    Description of the first such atom with the number of the others, or None.
    """
    # if the sum is finite, so is every term
    if np.isfinite(position.sum()):
        return None
    bad = np.flatnonzero(~np.isfinite(position).all(axis=1))
    if not bad.size:
        return None
    row = int(bad[0])
    name = f"atom {row + 1}" if ids is None else f"id {ids[row]}"
    place = f" (line {row_line + row})" if row_line else ""
    more = f", and {bad.size - 1} further positions are not finite" if bad.size > 1 else ""
    return f"{POSITION} {name} is {position[row].tolist()}{place}{more}"
