"""NetCDF trajectories in the AMBER convention, as LAMMPS writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mgdask.errors import AuditError, MissingDependencyError
from mgdask.readers.formats.extxyz import pick, spread
from mgdask.readers.records import Contents, FrameRef, SourceInfo, Table

_VECTORS = {
    "coordinates": ("x", "y", "z"),
    "scaled_coordinates": ("xs", "ys", "zs"),
    "unwrapped_coordinates": ("xu", "yu", "zu"),
    "velocities": ("vx", "vy", "vz"),
    "forces": ("fx", "fy", "fz"),
    "mu": ("mux", "muy", "muz"),
}
_TIME = {
    "": 1.0,
    "ps": 1.0,
    "picosecond": 1.0,
    "picoseconds": 1.0,
    "femtosecond": 1e-3,
    "fs": 1e-3,
    "nanosecond": 1e3,
}


class NetCdf:
    """Frames of a NetCDF file.

    Cells follow from lengths and angles, with the first vector along x and the second
    in the xy plane.
    """

    def __init__(self, info: SourceInfo) -> None:
        try:
            import netCDF4
        except ImportError as error:
            raise MissingDependencyError(
                "netCDF4", "netcdf", f"reading the NetCDF file {info.path}"
            ) from error
        self.info = info
        try:
            self.file = netCDF4.Dataset(info.path)
        except OSError as error:
            raise AuditError(
                f"{info.path}: cannot be opened as NetCDF: {error}. Check that the file is "
                "complete and closed by its writer"
            ) from error
        missing = {"frame", "atom"} - set(self.file.dimensions)
        if missing:
            raise AuditError(
                f"{info.path}: not an AMBER or LAMMPS trajectory: there is no dimension "
                f"{' or '.join(sorted(missing))}"
            )

    def _values(self, name: str, frame: int) -> Any:
        variable = self.file.variables[name]
        values = variable[frame] if variable.dimensions[:1] == ("frame",) else variable[:]
        if np.ma.is_masked(values):
            raise AuditError(
                f"{self.info.path}: frame {frame}: {name} has missing values: the number of atoms "
                "changes, or the file is truncated"
            )
        return np.ma.getdata(values)

    def _table(self, frame: int) -> Table:
        table: Table = {}
        for name, variable in self.file.variables.items():
            if "atom" not in variable.dimensions or variable.dtype.kind not in "iuf":
                continue
            values = self._values(name, frame)
            if name in _VECTORS and values.ndim == 2:
                table |= {c: values[:, k].astype(np.float64) for k, c in enumerate(_VECTORS[name])}
            else:
                table |= spread({"atom_types": "type", "masses": "mass"}.get(name, name), values)
        return table

    def index(self) -> Contents:
        """Return the headers of all frames."""
        from ase.geometry import cellpar_to_cell

        path, have = self.info.path, self.file.variables
        if "cell_lengths" not in have:
            raise AuditError(f"{path}: there is no variable cell_lengths, so the cell is unknown")
        count, n_atoms = len(self.file.dimensions["frame"]), len(self.file.dimensions["atom"])
        columns = tuple(self._table(0)) if count else ()
        notes, refs = [], []
        stepped = next((name for name in ("step", "timestep") if name in have), None)
        if stepped is None:
            notes.append(f"{path}: frames have no timestep; they are numbered from 0")
        unit = str(getattr(have["time"], "units", "")).lower() if "time" in have else ""
        clock = _TIME.get(unit)
        if "time" in have and clock is None:
            notes.append(
                f"{path}: the unit {unit!r} of the variable time is unknown; the times of the "
                "file are not used"
            )
        for k in range(count):
            lengths = np.asarray(self._values("cell_lengths", k), dtype=np.float64)
            angles = (
                np.asarray(self._values("cell_angles", k), dtype=np.float64)
                if "cell_angles" in have
                else np.full(3, 90.0)
            )
            pbc = tuple(bool(length > 0) for length in lengths)
            if not np.isfinite(lengths).all() or (lengths < 0).any():
                raise AuditError(
                    f"{path}: frame {k}: the cell lengths are negative or not finite: "
                    f"{lengths.tolist()}"
                )
            cell = np.asarray(cellpar_to_cell([*np.where(lengths > 0, lengths, 1.0), *angles]))
            origin = (
                np.asarray(self._values("cell_origin", k), dtype=np.float64)
                if "cell_origin" in have
                else np.zeros(3)
            )
            time = (
                float(np.ma.getdata(have["time"][k])) * clock
                if "time" in have and clock is not None
                else None
            )
            step = k if stepped is None else int(have[stepped][k])
            refs.append(
                FrameRef(
                    path,
                    k,
                    step,
                    time,
                    n_atoms,
                    cell,
                    origin,
                    (pbc[0], pbc[1], pbc[2]),
                    columns,
                    "metal",
                )
            )
        return Contents(refs, notes)

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame."""
        return pick(self._table(ref.ordinal), ref, columns)

    def close(self) -> None:
        """Close the file."""
        self.file.close()
