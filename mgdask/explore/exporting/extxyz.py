"""Extended XYZ files (https://github.com/libAtoms/extxyz)."""

from __future__ import annotations

import numpy as np

from mgdask.explore.exporting.rows import FrameRows
from mgdask.explore.exporting.text import lines, names_of, number, numbers

_KEYS = frozenset(("lattice", "properties", "pbc", "origin", "timestep", "step", "time", "run"))


def header(rows: FrameRows) -> bytes:
    """Return the number of atoms and the comment line of a frame."""
    words = [
        f'Lattice="{numbers(rows.cell.ravel())}"',
        f'Origin="{numbers(rows.origin)}"',
        f'pbc="{" ".join("T" if periodic else "F" for periodic in rows.pbc)}"',
        f"Properties={_properties(rows)}",
        f"Timestep={rows.step}",
    ]
    if rows.time is not None:
        words.append(f"Time={number(rows.time)}")
    words.append(f"run={_quoted(rows.run)}")
    words += [f"{name}={number(value)}" for name, value in rows.values.items() if _fits(name)]
    return f"{rows.n_atoms}\n{' '.join(words)}\n".encode()


def body(rows: FrameRows) -> bytes:
    """Return the rows of atoms."""
    mass = {"mass": np.array(rows.masses)[rows.types - 1]} if rows.own_masses else {}
    return lines(
        {
            "species": names_of(rows.types - 1, rows.symbols),
            **{name: rows.position[:, k] for k, name in enumerate("xyz")},
            "id": rows.ids,
            **{name: rows.image[:, k] for k, name in enumerate(("ix", "iy", "iz"))},
            **mass,
            **rows.columns,
        }
    )


def _properties(rows: FrameRows) -> str:
    fields = ["species:S:1", "pos:R:3", "id:I:1", "ix:I:1", "iy:I:1", "iz:I:1"]
    fields += ["masses:R:1"] if rows.own_masses else []
    fields += [
        f"{name}:{'I' if values.dtype.kind in 'iub' else 'R'}:1"
        for name, values in rows.columns.items()
    ]
    return ":".join(fields)


def _fits(name: str) -> bool:
    return name.isidentifier() and name.lower() not in _KEYS


def _quoted(text: str) -> str:
    r"""Return a text in quotes.

    >>> _quoted('quenched "fast"')
    '"quenched \\"fast\\""'
    """
    plain = " ".join(text.split())
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
