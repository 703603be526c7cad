"""Facts about elements: symbols and standard atomic masses (through ASE, IUPAC 2016 values)."""

from __future__ import annotations

import difflib

from ase.data import atomic_masses, chemical_symbols

from mgdask.errors import ParameterError

SYMBOLS: tuple[str, ...] = tuple(chemical_symbols)
"""Symbols by atomic number; index 0 is ASE's placeholder X."""

_NUMBERS = {name: number for number, name in enumerate(SYMBOLS) if number > 0}


def atomic_number(name: str) -> int:
    """Z of an element symbol such as ``"Zr"``; ``ParameterError`` with a suggestion where there is none."""
    if name in _NUMBERS:
        return _NUMBERS[name]
    close = difflib.get_close_matches(str(name).capitalize(), list(_NUMBERS), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ParameterError(f"{name!r} is not an element symbol such as 'Cu' or 'Zr'{hint}")


def symbol(number: int) -> str:
    """Symbol of atomic number ``number``."""
    if not 0 < number < len(SYMBOLS):
        raise ParameterError(f"atomic number {number} is outside 1 to {len(SYMBOLS) - 1}")
    return SYMBOLS[number]


def mass(number: int) -> float:
    """Standard atomic mass in u."""
    symbol(number)
    return float(atomic_masses[number])
