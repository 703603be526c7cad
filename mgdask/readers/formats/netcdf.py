"""NetCDF trajectories in the AMBER convention, as written by LAMMPS and MDAnalysis.

See https://ambermd.org/netcdf/nctraj.xhtml and https://docs.lammps.org/dump_netcdf.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.bounds import MAX_STEP
from mgdask.errors import AuditError
from mgdask.readers.damage import BOX, box_problem, position_problem, step_number
from mgdask.readers.files import open_binary
from mgdask.readers.formats.netcdf_classic import Classic
from mgdask.readers.formats.netcdf_hdf5 import Hdf5
from mgdask.readers.formats.netcdf_variables import Container
from mgdask.readers.formats.stated_units import FORCE, LENGTH, TIME, VELOCITY, factor
from mgdask.readers.formats.tables import pick, spread
from mgdask.readers.origins import Ranges, place_origins
from mgdask.readers.records import Contents, FrameRef, SourceInfo, Table

_VECTORS = {
    "coordinates": ("x", "y", "z"),
    "scaled_coordinates": ("xs", "ys", "zs"),
    "unwrapped_coordinates": ("xu", "yu", "zu"),
    "velocities": ("vx", "vy", "vz"),
    "forces": ("fx", "fy", "fz"),
    "mu": ("mux", "muy", "muz"),
}
_POSITIONS = ("coordinates", "unwrapped_coordinates", "scaled_coordinates")
_UNITS = {
    "coordinates": LENGTH,
    "unwrapped_coordinates": LENGTH,
    "velocities": VELOCITY,
    "forces": FORCE,
}
_STEPS = ("step", "timestep", "Step")
_EXACT_FLOAT32 = 1 << 24


class NetCdf:
    """Frames of a NetCDF file.

    Cells follow from lengths and angles, with the first vector along x and the second
    in the xy plane. LAMMPS stores the timestep in ``time``, and the time step in its
    attribute ``scale_factor``.
    """

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self.file = _open(info.path)
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        missing = {"frame", "atom"} - set(self.file.dimensions)
        if missing:
            raise AuditError(
                f"{self.info.path}: not an AMBER or LAMMPS trajectory: there is no dimension "
                f"{' or '.join(sorted(missing))}"
            )
        n_frames, n_atoms = self.file.n_stated, self.file.dimensions["atom"]
        if not n_frames or not n_atoms:
            raise AuditError(
                f"{self.info.path}: it has {n_frames} frames of {n_atoms} atoms; at least one of "
                "each is needed"
            )
        if not self.file.dimensions["frame"]:
            raise AuditError(
                f"{self.info.path}: it states {n_frames} frames of {n_atoms} atoms, but ends "
                "within the first. It is damaged or truncated: copy or write it again"
            )

    def _values(self, name: str, frame: int, expected: tuple[int, ...] | None = None) -> Any:
        """Return the values of one frame, masked where they are missing.

        Raise ``AuditError`` if their shape is not the expected one.
        """
        variable = self.file.variables[name]
        per_frame = variable.dimensions[:1] == ("frame",)
        shape = variable.shape[1:] if per_frame else variable.shape
        if expected is not None and shape != expected:
            raise AuditError(
                f"{self.info.path}: {name} has the shape {shape} in a frame; {expected} is needed"
            )
        return variable.values(frame if per_frame else None)

    def _three(self, name: str, frame: int) -> FloatArray:
        """Return the three numbers of one frame, NaN where they are missing."""
        values = self._values(name, frame, (3,)).astype(np.float64)
        return np.asarray(np.ma.filled(values, np.nan))

    def _scalar(self, name: str, frame: int) -> float:
        value = self._values(name, frame)
        return float("nan") if np.ma.is_masked(value) else float(value)

    def _series(self, name: str, *, is_scaled: bool = True) -> Any:
        """Return the values of a variable with one number per frame."""
        variable, count = self.file.variables[name], self.file.dimensions["frame"]
        if variable.shape != (count,):
            raise AuditError(
                f"{self.info.path}: {name} has the shape {variable.shape}; one number per frame is "
                f"needed, and there are {count} frames"
            )
        return np.ma.getdata(variable.values(is_scaled=is_scaled))

    def _whole(self, name: str, frame: int) -> Any:
        """Return the values of one frame; raise ``AuditError`` if any are missing."""
        values = self._values(name, frame)
        if np.ma.is_masked(values):
            raise AuditError(
                f"{self.info.path}: frame {frame}: {name} has missing values: the number of atoms "
                "changes, or the file is truncated. Exclude the frame with frames="
            )
        return np.ma.getdata(values)

    def _factor(self, name: str) -> float:
        """Return the factor of the unit of a variable, or else of the cell."""
        own = factor(self._unit(name), _UNITS[name], f"{self.info.path}: {name}")
        return own or self._unstated[name]

    def _unit(self, name: str) -> str:
        return str(self.file.variables[name].attributes.get("units", ""))

    @cached_property
    def _length(self) -> float:
        return factor(self._unit("cell_lengths"), LENGTH, f"{self.info.path}: cell_lengths") or 1.0

    @cached_property
    def _unstated(self) -> dict[str, float]:
        """Infer the factors of variables without units from the units of cell and time.

        LAMMPS before 2022 states no other units. In its style ``real`` it writes
        femtoseconds and Å, and forces are in kcal/mol/Å.
        """
        time = self._unit("time") if "time" in self.file.variables else ""
        real = time.lower() in ("femtosecond", "fs") and self._length == 1.0
        return {
            "coordinates": self._length,
            "unwrapped_coordinates": self._length,
            "velocities": 1e3 if real else 1.0,
            "forces": FORCE["kcal/mol/angstrom"] if real else 1.0,
        }

    def _table(self, frame: int) -> Table:
        table: Table = {}
        for name, variable in self.file.variables.items():
            if "atom" not in variable.dimensions or not variable.is_numeric:
                continue
            values = self._whole(name, frame)
            if name in _VECTORS and values.ndim == 2:
                vector = values.astype(np.float64)
                scale = self._factor(name) if name in _UNITS else 1.0
                vector = vector if scale == 1.0 else vector * scale
                table |= {c: vector[:, k] for k, c in enumerate(_VECTORS[name])}
            else:
                table |= spread({"atom_types": "type", "masses": "mass"}.get(name, name), values)
        return table

    def _steps(self) -> Any:
        """Return the timesteps (frame,), or None."""
        have = self.file.variables
        for name in _STEPS:
            if name in have:
                return self._series(name).astype(np.int64)
        if self.file.attributes.get("program", "") != "LAMMPS" or "time" not in have:
            return None
        if "scale_factor" not in have["time"].attributes:
            return None
        raw = self._series("time", is_scaled=False)
        bad = np.flatnonzero(~(np.abs(raw) < MAX_STEP))
        if bad.size:
            k = int(bad[0])
            raise AuditError(
                f"{self.info.path}, frame {k}: time is {raw[k]}, but LAMMPS stores the timestep in "
                "it, which is an integer of 64 bits. The frame is damaged: write the file again"
            )
        return np.rint(raw).astype(np.int64)

    def _rounded_steps(self, steps: Any) -> list[str]:
        """Return a note if timesteps stored in single precision may be rounded."""
        have = self.file.variables
        if steps is None or not steps.size or any(name in have for name in _STEPS):
            return []
        if have["time"].dtype != np.float32 or steps.max() < _EXACT_FLOAT32:
            return []
        return [
            f"{self.info.path}: timesteps are stored in single precision and are rounded above "
            f"{_EXACT_FLOAT32}; write the file with dump_modify double yes or thermo yes"
        ]

    def _times(self, steps: Any, notes: list[str]) -> tuple[Any, str]:
        """Return the times (frame,) in ps or None, and the unit style."""
        have, path = self.file.variables, self.info.path
        if "time" not in have:
            return None, "metal"
        unit = self._unit("time")
        try:
            clock = factor(unit, TIME, path) or 1.0
        except AuditError:
            notes.append(
                f"{path}: the unit {unit!r} of the variable time is unknown; the times of the "
                "file are not used. Give timestep= in ps"
            )
            return None, "metal"
        style = "lj" if unit.lower() in ("lj", "tau") else "metal"
        scale = have["time"].number("scale_factor")
        if steps is not None and scale is not None:
            # newer LAMMPS rounds the time step to single precision
            return steps * float(str(np.asarray(scale))) * clock, style
        return self._series("time").astype(np.float64) * clock, style

    def _cell(self, frame: int) -> tuple[FloatArray, tuple[bool, bool, bool], str | None]:
        """Return the cell vectors, periodicity, and a description of any damage."""
        from ase.geometry import cellpar_to_cell

        lengths = self._three("cell_lengths", frame)
        angles = np.full(3, 90.0)
        if "cell_angles" in self.file.variables:
            angles = self._three("cell_angles", frame)
        lengths = lengths * self._length
        pbc = (bool(lengths[0] > 0), bool(lengths[1] > 0), bool(lengths[2] > 0))
        if not (np.isfinite(lengths) & np.isfinite(angles) & (lengths >= 0)).all():
            return (
                np.zeros((3, 3)),
                pbc,
                (
                    f"{BOX} lengths or angles are negative or not finite: lengths "
                    f"{lengths.tolist()}, angles {angles.tolist()}"
                ),
            )
        # LAMMPS writes a length of zero along vectors that are not periodic
        try:
            cell = np.asarray(cellpar_to_cell([*np.where(lengths > 0, lengths, 1.0), *angles]))
        except AssertionError:  # from ASE, without a word
            problem = f"{BOX} angles {angles.tolist()} belong to no cell"
            return np.zeros((3, 3)), pbc, problem
        return cell, pbc, box_problem(cell, pbc)

    def _position(self, name: str, frame: int) -> tuple[FloatArray, str | None]:
        """Return the positions of one frame, and a description of any damage."""
        values = self._values(name, frame, (self.file.dimensions["atom"], 3))
        if np.ma.is_masked(values):
            n = int((~np.ma.getmaskarray(values).any(axis=1)).sum())
            return np.zeros((1, 3)), (
                f"it is cut short: {name} has values for {n} of {len(values)} atoms, because the "
                "number of atoms changes or the file is truncated"
            )
        position = np.ma.getdata(values).astype(np.float64)
        ids = None
        if "id" in self.file.variables:
            ids = np.ma.getdata(self._values("id", frame))
        return position, position_problem(position, ids)

    def index(self) -> Contents:
        """Return all frames, after reading their positions."""
        path, have = self.info.path, self.file.variables
        if "cell_lengths" not in have:
            raise AuditError(f"{path}: there is no variable cell_lengths, so the cell is unknown")
        count, n_atoms = self.file.dimensions["frame"], self.file.dimensions["atom"]
        known = [name for name in _POSITIONS if name in have]
        if not known:
            raise AuditError(
                f"{path}: there are no positions; one of the variables {', '.join(_POSITIONS)} is "
                "needed"
            )
        notes: list[str] = []
        steps = self._steps()
        if steps is None:
            notes.append(f"{path}: frames have no timestep; they are numbered from 0")
        notes += self._rounded_steps(steps)
        times, style = self._times(steps, notes)
        scalars = [
            name
            for name, variable in have.items()
            if variable.dimensions == ("frame",)
            and variable.is_numeric
            and name not in (*_STEPS, "time")
        ]
        refs: list[FrameRef] = []
        ranges = Ranges()
        columns: tuple[str, ...] = ()
        for k in range(count):
            cell, pbc, problem = self._cell(k)
            origin = np.zeros(3)
            if "cell_origin" in have:
                origin = self._three("cell_origin", k) * self._length
                problem = problem or box_problem(cell, pbc, origin)
            position = np.zeros((1, 3))
            for name in known[:1] if problem is None else ():
                position, problem = self._position(name, k)
                position = position * (self._factor(name) if name in _UNITS else 1.0)
            if not columns and problem is None:
                columns = tuple(self._table(k))
            ref = FrameRef(
                path,
                k,
                k if steps is None else step_number(steps[k], f"{path}, frame {k}"),
                None if times is None else float(times[k]),
                n_atoms,
                cell,
                origin,
                pbc,
                columns,
                style,
                problem=problem,
                values={name: self._scalar(name, k) for name in scalars},
            )
            ranges.add(position, ref)
            refs.append(ref)
        if count < self.file.n_stated:
            lost = (
                f"it is cut short: {self.file.n_stated} frames are stated, but the file ends here"
            )
            cell, origin, pbc = refs[0].cell, refs[0].origin, refs[0].pbc
            refs.append(
                FrameRef(
                    path, count, None, None, n_atoms, cell, origin, pbc, (), style, problem=lost
                )
            )
        contents = Contents(refs, notes)
        if "cell_origin" in have or known[:1] != ["coordinates"]:
            return contents
        return place_origins(contents, ranges)

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame."""
        return pick(self._table(ref.ordinal), ref, columns)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _open(path: str) -> Container:
    """Open a file of any format of NetCDF."""
    with open_binary(path) as head:
        is_hdf5 = head.read(4) == b"\x89HDF"
    return Hdf5(path, _POSITIONS) if is_hdf5 else Classic(path)
