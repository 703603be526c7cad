"""Units stated in H5MD and NetCDF files, as factors to LAMMPS metal units."""

from __future__ import annotations

from mgdask.errors import AuditError

_KJ_PER_MOL = 1.0 / 96.48533212  # eV, from the Faraday constant, CODATA 2018

LENGTH = {
    "angstrom": 1.0,
    "angstroms": 1.0,
    "å": 1.0,
    "a": 1.0,
    "nm": 10.0,
    "nanometer": 10.0,
    "pm": 0.01,
    "micrometer": 1e4,
    "centimeter": 1e8,
    "m": 1e10,
    "meter": 1e10,
    "bohr": 0.529177210903,  # CODATA 2018
    "lj": 1.0,
    "sigma": 1.0,
}
TIME = {
    "ps": 1.0,
    "picosecond": 1.0,
    "picoseconds": 1.0,
    "fs": 1e-3,
    "femtosecond": 1e-3,
    "femtoseconds": 1e-3,
    "ns": 1e3,
    "nanosecond": 1e3,
    "microsecond": 1e6,
    "s": 1e12,
    "second": 1e12,
    "lj": 1.0,
    "tau": 1.0,
}
_ENERGY = {
    "ev": 1.0,
    "kj/mol": _KJ_PER_MOL,
    "kj mol-1": _KJ_PER_MOL,
    "kcal/mol": 4.184 * _KJ_PER_MOL,
    "kcal mol-1": 4.184 * _KJ_PER_MOL,
    "kcal/mole": 4.184 * _KJ_PER_MOL,
    "kilocalorie/mole": 4.184 * _KJ_PER_MOL,
}


def _quotients(above: dict[str, float], below: dict[str, float]) -> dict[str, float]:
    """Return the factors of all units ``above/below`` and ``above below-1``."""
    pairs = [(a, b) for a in above for b in below]
    return {
        form.format(a, b): above[a] / below[b] for a, b in pairs for form in ("{}/{}", "{} {}-1")
    }


VELOCITY = _quotients(LENGTH, TIME)
FORCE = _quotients(_ENERGY, LENGTH)


def factor(unit: object, table: dict[str, float], what: str) -> float | None:
    """Return the factor of a unit, or None if no unit is stated.

    Parameters
    ----------
    unit
        Text or bytes from the file; case is ignored.
    table
        Factors by unit.
    what
        File and quantity to name in the message.

    Raises
    ------
    AuditError
        If the unit is unknown.
    """
    text = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit)
    text = text.strip().lower().replace("(", "").replace(")", "")
    if not text:
        return None
    if text not in table:
        raise AuditError(f"{what}: the unit {text!r} is unknown; allowed: {', '.join(table)}")
    return table[text]
