"""Every array mgdask knows: its dims, kind, unit, meaning and source. A name exists once, here.

The text goes into the ``attrs`` of every store written, so that a store explains itself to whoever opens
it in ten years with nothing but xarray.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """One named array: ``dims`` in order, NumPy dtype ``kind``, ``unit`` as text, ``meaning`` in a sentence."""

    name: str
    dims: tuple[str, ...]
    kind: str
    unit: str
    meaning: str
    source: str = ""


def _table(*rows: Variable) -> dict[str, Variable]:
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise AssertionError("a variable is listed twice")
    return table


VARIABLES = _table(
    Variable(
        "position",
        ("frame", "atom", "xyz"),
        "f",
        "Å",
        "atomic positions, wrapped into the cell along periodic axes",
    ),
    Variable(
        "image",
        ("frame", "atom", "xyz"),
        "i",
        "1",
        "box images: position + image @ cell is the true path; the scheme is named in attrs",
    ),
    Variable("cell", ("frame", "vector", "xyz"), "f", "Å", "cell vectors, one a row; triclinic allowed"),
    Variable("origin", ("frame", "xyz"), "f", "Å", "lower corner of the cell"),
    Variable("pbc", ("vector",), "b", "1", "whether the cell repeats along a vector"),
    Variable("time", ("frame",), "f", "ps", "physical time; uneven spacing is normal"),
    Variable("step", ("frame",), "i", "1", "time step of the simulation as written in the file"),
    Variable("run", ("frame",), "U", "1", "which simulation a frame belongs to; data are split by it, never by row"),
    Variable("atom_id", ("atom",), "i", "1", "identity of an atom in the simulation; rows are sorted by it"),
    Variable("species", ("atom",), "i", "Z", "atomic number"),
    Variable("mass", ("atom",), "f", "u", "atomic mass"),
    Variable(
        "soap",
        ("frame", "atom", "soap_feature"),
        "f",
        "1",
        "smooth overlap of atomic positions: power spectrum of the smeared neighbour density",
        "Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013); column order of DScribe",
    ),
)
"""The vocabulary, by name."""


def attrs(name: str) -> dict[str, str]:
    """The descriptive ``attrs`` of variable ``name``; empty where the name came from the user's own file."""
    variable = VARIABLES.get(name)
    if variable is None:
        return {}
    text = {"units": variable.unit, "long_name": variable.meaning}
    if variable.source:
        text["source"] = variable.source
    return text
