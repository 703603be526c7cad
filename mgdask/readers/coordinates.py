"""From the coordinates a file has to wrapped positions and images, such that position + image @ cell is the true path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask import geometry as box
from mgdask.errors import AuditError

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int32]

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
    """The set of coordinates to read and whether it goes with the image columns; ``AuditError`` if none is complete.

    With ``ix iy iz``: x, then xs. Without: xu and xsu know the path, so they come before x and xs.
    """
    have = set(columns)
    complete = [kind for kind, names in SETS.items() if have.issuperset(names)]
    flags = [name for name in IMAGES if name in have]
    if not complete:
        some = [name for names in SETS.values() for name in names if name in have]
        raise AuditError(
            f"{where}: no complete set of coordinates ({'has only ' + ' '.join(some) if some else 'has none'}); needed are "
            f"x y z, xs ys zs, xu yu zu or xsu ysu zsu. The columns are: {' '.join(columns)}"
        )
    if flags and len(flags) < 3:
        raise AuditError(
            f"{where}: of the image columns ix iy iz only {' '.join(flags)} is there; all three are needed"
        )
    order = ("x", "xs", "xu", "xsu") if flags else ("xu", "xsu", "x", "xs")
    kind = next(name for name in order if name in complete)
    return kind, bool(flags) and kind in ("x", "xs")


def scheme(kind: str, images: bool) -> str:
    """Where the images come from, in words, for ``attrs``."""
    if kind in ("xu", "xsu"):
        return FROM_PATH
    return FROM_COLUMNS if images else DERIVED


def place(
    kind: str,
    coordinates: Float,
    image: npt.NDArray[Any] | None,
    cell: Float,
    origin: Float,
    pbc: tuple[bool, bool, bool],
) -> tuple[Float, Int]:
    """Wrapped positions and images of coordinates of one ``kind``.

    Codes print atoms slightly outside the cell between two neighbour builds, or on the upper face by rounding: these are
    moved inside and their image is corrected, so that the path is kept. Along free axes nothing is wrapped.
    """
    position = box.cartesian(coordinates, cell, origin) if kind in ("xs", "xsu") else coordinates
    wrapped, shift = box.wrap(position, cell, origin, pbc)
    if image is not None and kind in ("x", "xs"):
        shift += image.astype(np.int32)
    return wrapped, shift


def image_increments(
    before: Float, after: Float, pbc: Sequence[bool] | npt.NDArray[np.bool_]
) -> Int:
    """What to add to an atom's image from one frame to the next, from wrapped fractions (atom, 3) in each frame's own cell.

    after + increment is the copy nearest to ``before`` along every periodic vector: right if no atom moves by half a cell
    between the two frames. Sum the increments along a run.
    """
    increment = -np.floor(after - before + 0.5)
    increment[..., ~np.asarray(pbc, dtype=bool)] = 0.0
    return increment.astype(np.int32)
