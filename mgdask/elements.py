"""Element data: symbols, standard atomic masses and radii."""

from __future__ import annotations

import difflib

from ase.data import atomic_masses, chemical_symbols, covalent_radii

from mgdask.errors import ParameterError

SYMBOLS: tuple[str, ...] = tuple(chemical_symbols)
"""Symbols by atomic number. Index 0 is the placeholder X of ASE."""

_NUMBERS = {name: number for number, name in enumerate(SYMBOLS) if number > 0}


def atomic_number(name: str) -> int:
    """Return the atomic number of an element.

    Parameters
    ----------
    name
        Symbol such as ``"Zr"``.

    Returns
    -------
    Atomic number Z.

    Raises
    ------
    ParameterError
        If there is no such element; the message suggests a similar symbol.

    Examples
    --------
    >>> atomic_number("Zr")
    40
    """
    if name in _NUMBERS:
        return _NUMBERS[name]
    similar = difflib.get_close_matches(str(name).capitalize(), list(_NUMBERS), n=1, cutoff=0.5)
    hint = f"; did you mean {similar[0]!r}?" if similar else ""
    raise ParameterError(f"{name!r} is not an element symbol such as 'Cu' or 'Zr'{hint}")


def symbol(number: int) -> str:
    """Return the symbol of an element.

    Parameters
    ----------
    number
        Atomic number Z.

    Returns
    -------
    Symbol.

    Raises
    ------
    ParameterError
        If there is no element of this number.

    Examples
    --------
    >>> symbol(29)
    'Cu'
    """
    if not 0 < number < len(SYMBOLS):
        raise ParameterError(f"atomic number {number} is outside 1 to {len(SYMBOLS) - 1}")
    return SYMBOLS[number]


def mass(number: int) -> float:
    """Return the standard atomic mass of an element.

    Parameters
    ----------
    number
        Atomic number Z.

    Returns
    -------
    Mass in u.

    Raises
    ------
    ParameterError
        If there is no element of this number.

    References
    ----------
    IUPAC standard atomic weights 2016, as tabulated in ASE.

    Examples
    --------
    >>> round(mass(40), 3)
    91.224
    """
    symbol(number)
    return float(atomic_masses[number])


MIRACLE_RADII: dict[str, float] = {
    "Li": 1.52, "Be": 1.12, "B": 0.88, "C": 0.77, "N": 0.72, "O": 0.64, "Na": 1.8,
    "Mg": 1.6, "Al": 1.41, "Si": 1.1, "P": 1.02, "S": 1.03, "K": 2.3, "Ca": 2.01,
    "Sc": 1.62, "Ti": 1.42, "V": 1.34, "Cr": 1.3, "Mn": 1.32, "Fe": 1.25, "Co": 1.25,
    "Ni": 1.26, "Cu": 1.26, "Zn": 1.4, "Ga": 1.34, "Ge": 1.14, "As": 1.15, "Se": 1.18,
    "Rb": 2.44, "Sr": 2.12, "Y": 1.79, "Zr": 1.58, "Nb": 1.43, "Mo": 1.39, "Tc": 1.36,
    "Ru": 1.34, "Rh": 1.32, "Pd": 1.42, "Ag": 1.44, "Cd": 1.57, "In": 1.55, "Sn": 1.55,
    "Sb": 1.55, "Te": 1.4, "Cs": 2.64, "Ba": 2.23, "La": 1.87, "Ce": 1.82, "Pr": 1.83,
    "Nd": 1.82, "Pm": 1.85, "Sm": 1.85, "Eu": 1.96, "Gd": 1.76, "Tb": 1.76, "Dy": 1.75,
    "Ho": 1.77, "Er": 1.75, "Tm": 1.75, "Yb": 1.9, "Lu": 1.75, "Hf": 1.58, "Ta": 1.45,
    "W": 1.35, "Re": 1.37, "Os": 1.35, "Ir": 1.36, "Pt": 1.39, "Au": 1.43, "Hg": 1.52,
    "Tl": 1.72, "Pb": 1.74, "Bi": 1.62, "Po": 1.68, "Th": 1.78, "Pa": 1.65, "U": 1.58,
    "Np": 1.75, "Pu": 1.75,
}  # fmt: skip
"""Radii in Å of atoms in metallic glasses, by symbol.

Miracle, Louzguine-Luzgin, Louzguina-Luzgina, Inoue, Int. Mater. Rev. 55, 218 (2010).
This is the table of amlearn, the code of Wang and Jain, Nat. Commun. 10, 5537 (2019).
Their paper cites Laws, Miracle, Ferry, Nat. Commun. 6, 8123 (2015) for the radii.
"""


def radius(name: str, table: str = "miracle") -> float:
    """Return the radius of an element.

    Parameters
    ----------
    name
        Symbol such as ``"Zr"``.
    table
        ``"miracle"`` for atoms in metallic glasses, or ``"covalent"``.

    Returns
    -------
    Radius in Å.

    Raises
    ------
    ParameterError
        If the element or the table is unknown, or the table lacks the element.

    References
    ----------
    Miracle et al., Int. Mater. Rev. 55, 218 (2010); Laws, Miracle, Ferry, Nat. Commun.
    6, 8123 (2015), cited by Wang and Jain (2019) for the radii; Cordero et al., Dalton
    Trans. 2832 (2008), as tabulated in ASE.

    Examples
    --------
    >>> radius("Zr"), radius("Zr", "covalent")
    (1.58, 1.75)
    """
    number = atomic_number(name)
    if table == "covalent":
        return float(covalent_radii[number])
    if table != "miracle":
        raise ParameterError(
            f"there is no table of radii {table!r}; allowed: 'miracle', 'covalent'"
        )
    if name not in MIRACLE_RADII:
        raise ParameterError(
            f"the table 'miracle' has no radius for {name}; give radii={{{name!r}: ...}} in Å, or "
            "radii='covalent'"
        )
    return MIRACLE_RADII[name]
