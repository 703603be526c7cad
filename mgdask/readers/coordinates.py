"""Conversion of the coordinates in a file to wrapped positions and images.

The unwrapped trajectory is position + image @ cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask import geometry as box
from mgdask._typing import FloatArray
from mgdask.errors import AuditError

SETS = {
    "x": ("x", "y", "z"),
    "xs": ("xs", "ys", "zs"),
    "xu": ("xu", "yu", "zu"),
    "xsu": ("xsu", "ysu", "zsu"),
}
IMAGES = ("ix", "iy", "iz")
FROM_COLUMNS = "image flags of the file (columns ix iy iz)"
FROM_PATH = (
    "unwrapped coordinates of the file: image = floor of the fraction in the cell of the same frame"
)
DERIVED = "derived: minimum image between successive frames of a run, from zero in its first frame"


def choose(columns: Sequence[str], where: str) -> tuple[str, bool]:
    """Return the set of coordinates to read, and whether it uses the image columns.

    With ``ix iy iz`` the order of preference is x, xs. Without them it is xu, xsu, x,
    xs, because xu and xsu are unwrapped. Raise ``AuditError`` if no set is complete.
    """
    have = set(columns)
    complete = [kind for kind, names in SETS.items() if have.issuperset(names)]
    flags = [name for name in IMAGES if name in have]
    if not complete:
        present = [name for names in SETS.values() for name in names if name in have]
        raise AuditError(
            f"{where}: no complete set of coordinates "
            f"({'only ' + ' '.join(present) if present else 'none'}); needed is one of "
            f"x y z, xs ys zs, xu yu zu or xsu ysu zsu. The columns are: {' '.join(columns)}"
        )
    if flags and len(flags) < 3:
        raise AuditError(
            f"{where}: of the image columns ix iy iz only {' '.join(flags)} is present; "
            "all three are needed"
        )
    order = ("x", "xs", "xu", "xsu") if flags else ("xu", "xsu", "x", "xs")
    kind = next(name for name in order if name in complete)
    return kind, bool(flags) and kind in ("x", "xs")


def scheme(kind: str, images: bool) -> str:
    """Return a description of where the images come from, for ``attrs``."""
    if kind in ("xu", "xsu"):
        return FROM_PATH
    return FROM_COLUMNS if images else DERIVED


def place(
    kind: str,
    coordinates: FloatArray,
    image: npt.NDArray[Any] | None,
    cell: FloatArray,
    origin: FloatArray,
    pbc: tuple[bool, bool, bool],
) -> tuple[FloatArray, npt.NDArray[np.int32]]:
    """Return wrapped positions and images of coordinates of one ``kind``.

    Simulation codes may write atoms slightly outside the cell between two neighbor
    builds, or on the upper face by rounding. Such atoms are moved inside and their
    images corrected, so the unwrapped trajectory is unchanged. Nothing is wrapped along
    non-periodic axes. Raise ``FarPositionError`` if digits or images would be lost.
    """
    position = box.cartesian(coordinates, cell, origin) if kind in ("xs", "xsu") else coordinates
    wrapped, shift = box.wrap(position, cell, origin, pbc)
    if image is not None and kind in ("x", "xs"):
        total = shift + image
        box.check_images(wrapped, total, cell)
        shift = total.astype(np.int32)
    return wrapped, shift


def image_increments(
    before: FloatArray, after: FloatArray, pbc: Sequence[bool] | npt.NDArray[np.bool_]
) -> npt.NDArray[np.int32]:
    """Return the change of each atom's image from one frame to the next.

    Arguments are wrapped fractions (atom,3) in each frame's own cell. ``after +
    increment`` is the copy nearest to ``before`` along every periodic vector. The
    result is right if no atom moves by half a cell between the frames. The images of a
    run are the cumulative sum of its increments.
    """
    increment = -np.floor(after - before + 0.5)
    increment[..., ~np.asarray(pbc, dtype=bool)] = 0.0
    return increment.astype(np.int32)
