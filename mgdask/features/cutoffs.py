"""Cutoff distances of neighbors: one for all atoms, or one per pair of species."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BeforeValidator, Field

from mgdask._typing import FloatArray
from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError

Pairs = tuple[tuple[str, float], ...]
"""Distances in Å per pair of species: (("Cu-Cu", 3.4), ("Cu-Zr", 3.6), ...)."""


def pairs_of(value: Any) -> Any:
    """Return a mapping, or a text such as "Cu-Cu:3.2,Cu-Zr:3.7", as a tuple of pairs.

    Anything else is returned unchanged.
    """
    if isinstance(value, str) and ":" in value:
        items = filter(None, re.split(r"[+,\s]+", value))
        return tuple(tuple(item.split(":")) for item in items)
    return tuple(value.items()) if isinstance(value, Mapping) else value


def _as_pair_cutoffs(value: Any) -> Any:
    """Return a mapping as a tuple; refuse other types, such as a single distance."""
    pairs = pairs_of(value)
    if isinstance(pairs, tuple | list) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)
        for pair in pairs
    ):
        return pairs
    raise ParameterError(
        "it must map pairs of species to distances in Å, such as {'Cu-Cu': 3.2, 'Cu-Zr': 3.6}; "
        "mgdask.pair_cutoffs finds them in partial g(r)"
    )


def _split(name: str) -> tuple[str, str]:
    """Return the two species of a pair in the order of atomic numbers."""
    parts = name.split("-")
    if len(parts) != 2:
        raise ParameterError(f"{name!r} is not a pair of species such as 'Cu-Zr'")
    a, b = sorted(parts, key=atomic_number)
    return a, b


def order_pairs(pairs: Pairs) -> Pairs:
    """Sort cutoffs per pair by atomic number.

    Parameters
    ----------
    pairs
        Tuples (pair, distance in Å). The species of a pair may be in either order.

    Returns
    -------
    The same cutoffs, with the species of lower atomic number first in each pair.

    Raises
    ------
    ParameterError
        If there is no pair, a name is not a pair of species, or a pair occurs twice.

    Examples
    --------
    >>> order_pairs((("Zr-Zr", 4.2), ("Zr-Cu", 3.6), ("Cu-Cu", 3.4)))
    (('Cu-Cu', 3.4), ('Cu-Zr', 3.6), ('Zr-Zr', 4.2))
    """
    split = [(_split(name), distance) for name, distance in pairs]
    if not split or len({pair for pair, _ in split}) < len(split):
        raise ParameterError(f"{dict(pairs)} must name each pair of species once")
    ordered = sorted(split, key=lambda item: [atomic_number(name) for name in item[0]])
    return tuple(("-".join(pair), distance) for pair, distance in ordered)


Distance = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A distance in Å."""
Cutoff = Annotated[Distance | tuple[tuple[str, Distance], ...], BeforeValidator(pairs_of)]
"""One distance in Å, or (pair, distance) for every pair of species, or a mapping."""
PairCutoffs = Annotated[
    tuple[tuple[str, Distance], ...], BeforeValidator(_as_pair_cutoffs), AfterValidator(order_pairs)
]
"""("Cu-Zr", distance in Å) for every pair of species, or a mapping of these."""


def check_pairs(owner: str, pairs: Pairs, numbers: npt.NDArray[np.integer]) -> None:
    """Check that every pair of elements present has a cutoff.

    Parameters
    ----------
    owner
        Feature and parameter to name in the message.
    pairs
        Cutoffs from ``order_pairs``.
    numbers
        Atomic numbers of the atoms.

    Raises
    ------
    ParameterError
        If a pair of elements has no cutoff.
    """
    given = dict(pairs)
    present = [symbol(int(z)) for z in np.unique(numbers)]
    names = [f"{a}-{b}" for a, b in combinations_with_replacement(present, 2)]
    lacking = [name for name in names if name not in given]
    if lacking:
        raise ParameterError(
            f"{owner}={given} lacks {', '.join(lacking)}, which the atoms contain; "
            "add its distance in Å"
        )


def example_of(pairs: Sequence[tuple[str, float]] | None, default: int = 29) -> int:
    """Return an atomic number that has a cutoff with itself, or ``default``."""
    alike = (a for a, b in (name.split("-") for name, _ in pairs or ()) if a == b)
    found = next(alike, None)
    return default if found is None else atomic_number(found)


@lru_cache(maxsize=64)
def cutoff_table(pairs: Pairs) -> tuple[tuple[str, ...], FloatArray]:
    """Return the species in order of atomic number, and the matrix of their cutoffs.

    Parameters
    ----------
    pairs
        Cutoffs from ``order_pairs``.

    Returns
    -------
    names
        Element symbols.
    table
        Cutoffs (species, species) in Å; NaN for pairs without one. The array is cached:
        do not modify it.
    """
    found = {name for pair, _ in pairs for name in pair.split("-")}
    names = tuple(sorted(found, key=atomic_number))
    table = np.full((len(names), len(names)), np.nan)
    for pair, distance in pairs:
        a, b = (names.index(name) for name in pair.split("-"))
        table[a, b] = table[b, a] = distance
    return names, table
