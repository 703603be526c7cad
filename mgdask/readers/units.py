"""LAMMPS unit styles: what turns their lengths and times into Å and ps, and the units of further columns."""

from __future__ import annotations

from mgdask.errors import ParameterError

LENGTH = {
    "metal": 1.0,
    "real": 1.0,
    "electron": 0.529177210903,
    "si": 1e10,
    "cgs": 1e8,
    "micro": 1e4,
    "nano": 10.0,
    "lj": 1.0,
}
"""Å in one unit of length; ``lj`` has no Å and is kept as it is (CODATA 2018 for the Bohr radius)."""

TIME = {
    "metal": 1.0,
    "real": 1e-3,
    "electron": 1e-3,
    "si": 1e12,
    "cgs": 1e12,
    "micro": 1e6,
    "nano": 1e3,
    "lj": 1.0,
}
"""ps in one unit of time."""

_SPEED = {
    "metal": "Å/ps",
    "real": "Å/fs",
    "electron": "bohr/atu",
    "si": "m/s",
    "cgs": "cm/s",
    "micro": "um/us",
    "nano": "nm/ns",
}
_FORCE = {
    "metal": "eV/Å",
    "real": "kcal/mol/Å",
    "electron": "hartree/bohr",
    "si": "N",
    "cgs": "dyn",
    "nano": "attogram nm/ns^2",
}


def check_units(style: str) -> str:
    """The style, or ``ParameterError`` with those that exist."""
    if style not in LENGTH:
        raise ParameterError(f"units={style!r} is not a LAMMPS unit style; allowed are {', '.join(LENGTH)}")
    return style


def unit_of(column: str, style: str) -> str:
    """Unit of a further column, as the file has it; 'as in the file' where it depends on the user's computes."""
    if column in ("vx", "vy", "vz"):
        return _SPEED.get(style, "as in the file")
    if column in ("fx", "fy", "fz"):
        return _FORCE.get(style, "as in the file")
    return "1" if column in ("mol", "proc", "type") else "as in the file"
