"""The glass that is shipped with the package, and how to load it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from mgdask.errors import ParameterError

SHIPPED = {"zrcu": "zrcu.lammpstrj.gz", "zrcu_temperature": "zrcu.temperature.txt"}
"""Files by name; their origin is in ``data/README.md``."""


def path(name: str = "zrcu") -> Path:
    """Return the path of a shipped file.

    Parameters
    ----------
    name
        ``"zrcu"``, eight inherent structures of Zr44Cu56 as a LAMMPS dump, or ``"zrcu_temperature"``, the
        temperature (K) from which each was quenched.

    Returns
    -------
    Path of the file.

    Raises
    ------
    ParameterError
        If there is no such file.

    Examples
    --------
    >>> path("zrcu").name
    'zrcu.lammpstrj.gz'
    """
    if name not in SHIPPED:
        raise ParameterError(f"name={name!r} is not a shipped file; allowed: {', '.join(SHIPPED)}")
    return Path(str(files("mgdask.datasets") / "data" / SHIPPED[name]))
