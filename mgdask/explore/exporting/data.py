"""LAMMPS data files: one frame, its masses, and its velocities if they are known.

See read_data and Howto_type_labels in the LAMMPS manual (https://docs.lammps.org).
"""

from __future__ import annotations

from collections import Counter

from mgdask.explore.exporting.dump import restricted
from mgdask.explore.exporting.rows import FrameRows
from mgdask.explore.exporting.text import lines, number, numbers

VELOCITIES = ("vx", "vy", "vz")
"""Columns that a data file can hold besides positions."""


def header(rows: FrameRows) -> bytes:
    """Return everything before the rows of the section Atoms."""
    labels = _labels(rows.symbols)
    kinds = list(enumerate(zip(labels, rows.masses, strict=True), start=1))
    text = (
        f"LAMMPS data file written by mgdask, timestep = {rows.step}, units = metal\n\n"
        f"{rows.n_atoms} atoms\n{len(kinds)} atom types\n\n"
        f"{_box(rows)}\n"
        "Atom Type Labels\n\n" + "".join(f"{kind} {label}\n" for kind, (label, _) in kinds) + "\n"
        "Masses\n\n"
        + "".join(f"{kind} {number(mass)}  # {label}\n" for kind, (label, mass) in kinds)
        + "\nAtoms # atomic\n\n"
    )
    return text.encode()


def body(rows: FrameRows) -> bytes:
    """Return rows of the section Atoms."""
    return lines(
        {
            "id": rows.ids,
            "type": rows.types,
            **{name: rows.position[:, k] for k, name in enumerate("xyz")},
            **{name: rows.image[:, k] for k, name in enumerate(("ix", "iy", "iz"))},
        }
    )


def velocities(rows: FrameRows) -> bytes:
    """Return rows of the section Velocities, in Å/ps."""
    return lines({"id": rows.ids, **{name: rows.columns[name] for name in VELOCITIES}})


def _box(rows: FrameRows) -> str:
    bounds = restricted(rows.cell, rows.origin, bounding=False)
    cell = rows.cell
    if bounds is None:
        vectors = zip(cell, ("avec", "bvec", "cvec"), strict=True)
        return (
            "".join(f"{numbers(vector)} {name}\n" for vector, name in vectors)
            + f"{numbers(rows.origin)} abc origin\n"
        )
    text = "".join(
        f"{numbers(pair)} {axis}lo {axis}hi\n" for pair, axis in zip(bounds, "xyz", strict=True)
    )
    tilt = (cell[1, 0], cell[2, 0], cell[2, 1])
    return text + (f"{numbers(tilt)} xy xz yz\n" if any(tilt) else "")


def _labels(symbols: tuple[str, ...]) -> list[str]:
    """Return a label for each type; atoms of one element may differ in mass."""
    count = Counter(symbols)
    seen: Counter[str] = Counter()
    labels = []
    for name in symbols:
        seen[name] += 1
        labels.append(name if count[name] == 1 else f"{name}_{seen[name]}")
    return labels
