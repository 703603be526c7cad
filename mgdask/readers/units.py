"""LAMMPS unit styles: factors to Å, ps and u, and units of known columns.

See https://docs.lammps.org/units.html.
"""

from __future__ import annotations

from dataclasses import dataclass

from mgdask.errors import ParameterError

_U_IN_KG = 1.66053906660e-27  # CODATA 2018
_BOHR = 0.529177210903  # Å, CODATA 2018


@dataclass(frozen=True)
class UnitStyle:
    """Factors that convert to Å, ps and u, and the units of other columns."""

    name: str
    length: float
    time: float
    mass: float
    velocity_unit: str
    force_unit: str
    charge_unit: str
    length_unit: str
    torque_unit: str


_STYLES = {
    style.name: style
    for style in (
        UnitStyle("metal", 1.0, 1.0, 1.0, "Å/ps", "eV/Å", "e", "Å", "eV"),
        UnitStyle("real", 1.0, 1e-3, 1.0, "Å/fs", "kcal/mol/Å", "e", "Å", "kcal/mol"),
        UnitStyle("si", 1e10, 1e12, 1 / _U_IN_KG, "m/s", "N", "C", "m", "N m"),
        UnitStyle("cgs", 1e8, 1e12, 1e-3 / _U_IN_KG, "cm/s", "dyn", "statC", "cm", "dyn cm"),
        UnitStyle(
            "electron", _BOHR, 1e-3, 1.0, "Bohr/(1.03275e-15 s)", "Ha/Bohr", "e", "Bohr", "Ha"
        ),
        UnitStyle(
            "micro", 1e4, 1e6, 1e-15 / _U_IN_KG, "μm/μs", "pg μm/μs²", "pC", "μm", "pg μm²/μs²"
        ),
        UnitStyle(
            "nano", 10.0, 1e3, 1e-21 / _U_IN_KG, "nm/ns", "ag nm/ns²", "e", "nm", "ag nm²/ns²"
        ),
        UnitStyle("lj", 1.0, 1.0, 1.0, "lj", "lj", "lj", "lj", "lj"),
    )
}


def unit_style(name: str) -> UnitStyle:
    """Return the style called ``name``.

    Raise ``ParameterError`` if there is no such style.
    """
    try:
        return _STYLES[name]
    except KeyError:
        raise ParameterError(
            f"units={name!r} is not a LAMMPS unit style; allowed: {', '.join(_STYLES)}"
        ) from None


def column_unit(column: str, style: UnitStyle) -> str:
    """Return the unit of a standard LAMMPS column.

    The result is empty for all other columns, such as those the user computed.
    """
    if column in ("vx", "vy", "vz"):
        return style.velocity_unit
    if column in ("fx", "fy", "fz"):
        return style.force_unit
    if column == "q":
        return style.charge_unit
    if column in ("radius", "diameter"):
        return style.length_unit
    if column in ("tqx", "tqy", "tqz"):
        return style.torque_unit
    return "1" if column in ("mol", "proc", "procp1", "type", "ix", "iy", "iz") else ""
