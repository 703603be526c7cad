"""From the columns of a file to the arrays of the store: sorted by id, wrapped, with images, species checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.box import cartesian, fractional, wrap
from mgdask.errors import AuditError
from mgdask.readers.frames import Columns, FrameRef

FLAGS = ("ix", "iy", "iz")
COORDINATES = {
    "x": ("x", "y", "z"),
    "xu": ("xu", "yu", "zu"),
    "xs": ("xs", "ys", "zs"),
    "xsu": ("xsu", "ysu", "zsu"),
}

SCHEME_FLAGS = "image flags of the file"
SCHEME_UNWRAPPED = "unwrapped coordinates of the file"
SCHEME_DERIVED = "derived: minimum image of fractional positions between successive frames"


def choose_coordinates(ref: FrameRef) -> tuple[str, str]:
    """Which coordinates of a file to take, and how images come about: (kind, scheme)."""
    present = [kind for kind, names in COORDINATES.items() if set(names) <= set(ref.columns)]
    if not present:
        raise AuditError(
            f"{ref.where()}: no complete set of coordinates among the columns {' '.join(ref.columns)}; needed is one of "
            "x y z, xu yu zu, xs ys zs, xsu ysu zsu"
        )
    flags = set(FLAGS) <= set(ref.columns)
    if flags:
        for kind in ("x", "xs"):
            if kind in present:
                return kind, SCHEME_FLAGS
    for kind in ("xu", "xsu"):
        if kind in present:
            return kind, SCHEME_UNWRAPPED
    return present[0], SCHEME_DERIVED


def order_by_id(columns: Columns, ref: FrameRef) -> npt.NDArray[np.intp] | None:
    """Order that sorts the rows by id, None if they are sorted; doubled ids are refused with their lines."""
    ids = columns["id"]
    if len(ids) < 2 or (ids[1:] > ids[:-1]).all():
        return None
    order = np.argsort(ids, kind="stable")
    same = np.flatnonzero(np.diff(ids[order]) == 0)
    if len(same):
        a, b = order[same[0]], order[same[0] + 1]
        place = f" on lines {ref.line + a} and {ref.line + b}" if ref.line else ""
        raise AuditError(
            f"{ref.where()}: id {ids[a]} stands twice{place}; two atoms cannot be one, mend or leave out the frame"
        )
    return order


def positions(
    columns: Columns, ref: FrameRef, kind: str, scheme: str, length: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Wrapped positions in Å and images; rows as in ``columns``. ``length`` is Å in the file's unit."""
    cell, origin = ref.matrix, np.array(ref.origin)
    raw = np.stack([columns[name] for name in COORDINATES[kind]], axis=1)
    if not np.isfinite(raw).all():
        row = int(np.flatnonzero(~np.isfinite(raw).all(axis=1))[0])
        atom = f"id {columns['id'][row]}" if "id" in columns else f"row {row}"
        raise AuditError(f"{ref.where()}: the position of {atom} is {raw[row].tolist()}; a simulation that blew up? Leave out the "
                         "frame, or all after it")  # fmt: skip
    if kind in ("xs", "xsu"):
        raw = cartesian(raw, cell, origin)
    elif length != 1.0:
        raw = raw * length
    wrapped, image = wrap(raw, cell, origin, ref.pbc)
    if scheme == SCHEME_FLAGS:
        image += np.stack([columns[name] for name in FLAGS], axis=1).astype(np.int32)
    elif scheme == SCHEME_DERIVED:
        image[:] = 0
    return wrapped, image


def image_steps(before: Any, after: Any, pbc: Any) -> npt.NDArray[np.int32]:
    """Images gained between two frames, from fractional positions: round(s_before - s_after) along periodic vectors."""
    steps = np.floor(np.asarray(before) - np.asarray(after) + 0.5)
    steps[..., ~np.asarray(pbc, dtype=bool)] = 0.0
    return np.asarray(steps, dtype=np.int32)


def fractions(position: npt.NDArray[np.float64], ref: FrameRef) -> npt.NDArray[np.float64]:
    """Fractional positions of wrapped positions in the cell of their frame."""
    return fractional(position, ref.matrix, np.array(ref.origin))
