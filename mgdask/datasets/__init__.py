"""The glass shipped with the package, and how to load it.

``demo`` runs the whole workflow on it.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgdask.errors import ParameterError

if TYPE_CHECKING:
    import xarray as xr

    from mgdask._typing import FloatArray

__all__ = ["load", "path", "temperature"]

SHIPPED = {"zrcu": "zrcu.lammpstrj.gz", "zrcu_temperature": "zrcu.temperature.txt"}
"""Files by name; their origin is in ``data/README.md``."""
SPECIES = {"zrcu": {1: "Zr", 2: "Cu"}}
"""Element of each atom type of a shipped trajectory."""
TIMESTEP = {"zrcu": 0.002}
"""Time step of a shipped trajectory in ps."""


def path(name: str = "zrcu") -> Path:
    """Return the path of a shipped file.

    Parameters
    ----------
    name
        ``"zrcu"``: eight inherent structures of Zr44Cu56 as a LAMMPS dump.
        ``"zrcu_temperature"``: the temperature (K) from which each was quenched.

    Returns
    -------
    path
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


def temperature(name: str = "zrcu") -> FloatArray:
    """Return the temperatures from which the frames of a trajectory were quenched.

    Parameters
    ----------
    name
        Name of the trajectory.

    Returns
    -------
    temperature
        Temperature in K, shape (frame,).

    Raises
    ------
    ParameterError
        If there is no such trajectory.

    Examples
    --------
    >>> temperature().round().tolist()
    [1800.0, 1500.0, 1200.0, 901.0, 601.0, 401.0, 201.0, 1.0]
    """
    import numpy as np

    _validate_trajectory(name)
    return np.loadtxt(path(f"{name}_temperature"), dtype=np.float64)


def load(name: str, out: str | Path, *, client: Any = None) -> xr.Dataset:
    """Ingest a shipped trajectory into a store and open it.

    An existing store is only opened. If it lacks temperatures, they are added.

    Parameters
    ----------
    name
        ``"zrcu"``: eight inherent structures of a Zr44Cu56 glass former along one
        cooling path, 2000 atoms each.
    out
        Store to write, such as ``"glass.zarr"``.
    client
        Dask client. Default: the current one, or a temporary one in this process.

    Returns
    -------
    trajectory
        The trajectory as ``mgdask.open_store`` returns it, with ``temperature`` (frame)
        in K, from which each frame was quenched.

    Raises
    ------
    ParameterError
        If there is no such trajectory.
    StoreError
        If ``out`` holds another store.

    Notes
    -----
    Steps include iterations of the minimizer, so times are approximate.

    Examples
    --------
    >>> mgdask.datasets.load("zrcu", "glass.zarr").sizes["atom"]  # doctest: +SKIP
    2000
    """
    import mgdask

    _validate_trajectory(name)
    mgdask.ingest(
        [str(path(name))],
        str(out),
        species=SPECIES[name],
        timestep=TIMESTEP[name],
        variables={"temperature": (path(f"{name}_temperature"), 1)},
        client=client,
    )
    attrs = {"long_name": "temperature before the quench", "units": "K"}
    return mgdask.open_store(str(out)).assign(temperature=("frame", temperature(name), attrs))


def _validate_trajectory(name: str) -> None:
    if name not in SPECIES:
        raise ParameterError(
            f"name={name!r} is not a shipped trajectory; allowed: {', '.join(SPECIES)}"
        )
