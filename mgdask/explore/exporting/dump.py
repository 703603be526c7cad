"""LAMMPS text dumps.

See dump, dump_modify and Howto_triclinic in the LAMMPS manual (https://docs.lammps.org).
"""

from __future__ import annotations

import numpy as np

from mgdask._typing import FloatArray
from mgdask.explore.exporting.rows import FrameRows
from mgdask.explore.exporting.text import edges, lines, names_of, number, numbers, shifted


def header(rows: FrameRows, *, first: bool) -> bytes:
    """Return the lines of a frame before its rows.

    Parameters
    ----------
    rows
        The frame.
    first
        Whether it is the first one of the file, which states the units.
    """
    units = "ITEM: UNITS\nmetal\n" if first else ""
    time = "" if rows.time is None else f"ITEM: TIME\n{number(rows.time)}\n"
    text = (
        f"{units}ITEM: TIMESTEP\n{rows.step}\n{time}"
        f"ITEM: NUMBER OF ATOMS\n{rows.n_atoms}\n"
        f"{_box(rows.cell, rows.origin, rows.pbc)}"
        f"ITEM: ATOMS {' '.join(_columns(rows))}\n"
    )
    return text.encode()


def body(rows: FrameRows) -> bytes:
    """Return the rows of atoms."""
    return lines(_columns(rows))


def _columns(rows: FrameRows) -> dict[str, object]:
    columns: dict[str, object] = {
        "id": rows.ids,
        "type": rows.types,
        "element": names_of(rows.types - 1, rows.symbols),
        **{name: rows.position[:, k] for k, name in enumerate("xyz")},
        **{name: rows.image[:, k] for k, name in enumerate(("ix", "iy", "iz"))},
    }
    if rows.own_masses:
        columns["mass"] = np.array(rows.masses)[rows.types - 1]
    return {**columns, **rows.columns}


def _box(cell: FloatArray, origin: FloatArray, pbc: tuple[bool, bool, bool]) -> str:
    """Return the box, so that what is read is the same to the last bit.

    The usual form states bounds, from which readers subtract. Where no bounds give the
    same cell, or where the cell is not a lower triangle, all vectors are written.
    """
    flags = " ".join("pp" if periodic else "ff" for periodic in pbc)
    bounds = restricted(cell, origin, bounding=True)
    if bounds is None:
        body = "".join(f"{numbers([*cell[k], origin[k]])}\n" for k in range(3))
        return f"ITEM: BOX BOUNDS abc origin {flags}\n{body}"
    tilt = (cell[1, 0], cell[2, 0], cell[2, 1])
    if not any(tilt):
        body = "".join(f"{numbers(pair)}\n" for pair in bounds)
        return f"ITEM: BOX BOUNDS {flags}\n{body}"
    body = "".join(f"{numbers([*pair, t])}\n" for pair, t in zip(bounds, tilt, strict=True))
    return f"ITEM: BOX BOUNDS xy xz yz {flags}\n{body}"


def restricted(
    cell: FloatArray, origin: FloatArray, *, bounding: bool
) -> list[tuple[float, float]] | None:
    """Return the bounds of a cell along x, y and z.

    Parameters
    ----------
    cell, origin
        Cell vectors as rows, and lower corner, in Å.
    bounding
        Whether the bounds enclose the tilted cell, as in a dump.

    Returns
    -------
    bounds
        Lower and upper bounds; None if they cannot give the cell exactly.
    """
    if cell[0, 1] or cell[0, 2] or cell[1, 2] or (np.diag(cell) <= 0).any():
        return None
    xy, xz, yz = float(cell[1, 0]), float(cell[2, 0]), float(cell[2, 1])
    below = (min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0)
    above = (max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0)
    bounds = []
    for axis in range(3):
        pair = edges(float(origin[axis]), float(cell[axis, axis]))
        if pair is None:
            return None
        if bounding:
            low, high = shifted(pair[0], below[axis]), shifted(pair[1], above[axis])
            if low is None or high is None:
                return None
            pair = low, high
        bounds.append(pair)
    return bounds
