"""Rows of atoms as writers get them, and the names of their columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, count
from typing import Any

from mgdask._typing import AnyArray, FloatArray, IntArray

RESERVED = frozenset(
    ("id", "type", "element", "species", "pos", "image", "mass", "masses", "ix", "iy", "iz")
) | {f"{axis}{kind}" for axis in "xyz" for kind in ("", "s", "u", "su")}
"""Names, in lower case, that mean something else in a file."""
OF_TABLES = frozenset(
    ("run", "frame", "step", "time", "atom_id", "element", "mass", *"xyz", "ix", "iy", "iz")
)
"""Names of the other columns of a table."""


@dataclass(frozen=True)
class Column:
    """One column of numbers on atoms.

    Attributes
    ----------
    name
        Name in the file.
    label
        Label of the column, or name of the variable.
    variable
        Array that holds it.
    index
        Its number among the columns of the array; None if the array has no columns.
    source
        0 for the trajectory itself, k for the k-th of ``features``.
    units, meaning, citation
        Unit, description and reference; empty if unknown.
    """

    name: str
    label: str
    variable: str
    index: int | None
    source: int
    units: str = ""
    meaning: str = ""
    citation: str = ""

    def described(self) -> dict[str, str]:
        """Return what a reader of the file should know of the column."""
        return {
            key: text
            for key, text in asdict(self).items()
            if key in ("label", "variable", "units", "meaning", "citation") and text
        }


@dataclass(frozen=True)
class FrameRows:
    """Some consecutive atoms of one frame, with all that a writer needs.

    Attributes
    ----------
    frame, step, run
        Number of the frame, timestep, and label of its simulation.
    time
        Time in ps, or None.
    n_atoms
        Number of atoms of the whole frame.
    cell, origin, pbc
        Cell vectors as rows in Å, lower corner in Å, and periodicity.
    values
        Values of the whole frame, such as the temperature, by name.
    ids, types
        Id and type of each atom. Types are counted from 1.
    symbols, masses
        Element and mass in u of each type.
    position, image
        Wrapped positions in Å, and images.
    columns
        Further columns by name in the file.
    own_masses
        Whether the masses differ from the standard ones, so that a file needs them.
    """

    frame: int
    step: int
    run: str
    time: float | None
    n_atoms: int
    cell: FloatArray
    origin: FloatArray
    pbc: tuple[bool, bool, bool]
    ids: IntArray
    types: IntArray
    symbols: tuple[str, ...]
    masses: tuple[float, ...]
    position: FloatArray
    image: IntArray
    columns: Mapping[str, AnyArray]
    values: Mapping[str, float] = field(default_factory=dict)
    own_masses: bool = False


def legal(label: str) -> str:
    """Return a label as one word of letters, digits and underscores.

    Parameters
    ----------
    label
        Label of a column.

    Examples
    --------
    >>> legal("soap Cu-Zr l=2 n=1,3")
    'soap_Cu-Zr_l2_n1_3'
    """
    text = re.sub(r"[^A-Za-z0-9+-]+", "_", re.sub(r"(?<=\w)=(?=\w)", "", label)).strip("_")
    return text if text and not text[0].isdigit() else f"c_{text}"


def named(columns: Sequence[Column], *, plain: bool, taken: Iterable[str] = ()) -> list[Column]:
    """Give every column a name of its own.

    Parameters
    ----------
    columns
        Columns, whose names are replaced.
    plain
        Whether the names must be single words, which do not differ in case only. Labels
        are kept otherwise.
    taken
        Further names that mean something else.

    Returns
    -------
    columns
        With the label as name where it is unique. Otherwise the array precedes it, and
        a number follows if that is not unique either.
    """
    short = [legal(c.label) if plain else c.label for c in columns]
    joint = "_" if plain else ": "
    long = [
        f"{legal(c.variable) if plain else c.variable}{joint}{name}"
        for c, name in zip(columns, short, strict=True)
    ]
    # programs may take names for one that differ in case only
    key = str.casefold if plain else str
    times = Counter(map(key, short))
    used = {*(RESERVED if plain else OF_TABLES), *map(key, taken)}
    result = []
    for column, name, full in zip(columns, short, long, strict=True):
        # a further column of a trajectory keeps its name, under which it is read again
        own = column.index is None and column.source == 0
        unique = own or times[key(name)] == 1
        for trial in chain((name,) if unique else (), (full,), _numbered(full)):
            if key(trial) not in used:
                break
        used.add(key(trial))
        result.append(replace(column, name=trial))
    return result


def _numbered(name: str) -> Iterable[str]:
    return (f"{name}_{k}" for k in count(2))


def describe_columns(columns: Iterable[Column]) -> dict[str, Any]:
    """Return the descriptions of columns by their names in a file."""
    return {column.name: column.described() for column in columns}
