"""Files that are not text dumps, each through the library that knows it: extxyz, data, H5MD, NetCDF, binary dumps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mgdask.elements import SYMBOLS
from mgdask.errors import AuditError, MissingDependencyError
from mgdask.readers.frames import Columns, FrameRef

BY_ROW = "identity is the order of the rows, which this format promises to keep"


def _vectors(names: Sequence[str], values: Any) -> Columns:
    return {name: np.ascontiguousarray(values[:, k]) for k, name in enumerate(names)}


class _Frames:
    """Frames that a library hands over one by one: subclasses say how many there are and give one as columns."""

    identity = "id"
    random_access = True

    def __init__(self, path: str) -> None:
        self.path = path

    def _count(self) -> int:
        raise NotImplementedError

    def _one(self, ordinal: int) -> tuple[FrameRef, Columns]:
        raise NotImplementedError

    def index(self) -> list[FrameRef]:
        return [self._one(k)[0] for k in range(self._count())]

    def read(self, refs: Sequence[FrameRef]) -> Iterator[Columns]:
        for ref in refs:
            yield self._one(ref.ordinal)[1]

    def _ref(
        self, ordinal: int, columns: Columns, cell: Any, origin: Any, pbc: Any, step: int, **more: Any
    ) -> FrameRef:
        n = len(next(iter(columns.values())))
        return FrameRef(
            self.path, ordinal, int(step), n, tuple(float(v) for v in np.asarray(cell).ravel()),
            tuple(float(v) for v in origin), tuple(bool(p) for p in pbc), tuple(columns), rows=n, **more,  # type: ignore[arg-type]
        )  # fmt: skip


class ExtXYZ(_Frames):
    """Extended XYZ through ASE; steps from Timestep or step in the comment line, else the number of the frame."""

    identity = BY_ROW

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._frames: list[Any] | None = None

    def _load(self) -> list[Any]:
        if self._frames is None:
            from ase.io import iread

            try:
                self._frames = list(iread(self.path, index=":", format="extxyz"))
            except Exception as error:  # ASE raises many kinds for a broken file
                raise AuditError(
                    f"{self.path}: ASE cannot read it as extended XYZ: {type(error).__name__}: {error}"
                ) from error
            if "id" in self._frames[0].arrays:
                self.identity = "id"
        return self._frames

    def _count(self) -> int:
        return len(self._load())

    def _one(self, ordinal: int) -> tuple[FrameRef, Columns]:
        atoms = self._load()[ordinal]
        columns: Columns = {"element": np.array(atoms.get_chemical_symbols())}
        if self.identity == "id":
            columns["id"] = atoms.arrays["id"].astype(np.int64)
        columns |= _vectors(("x", "y", "z"), atoms.get_positions())
        velocities = atoms.arrays.get("vel")
        if velocities is not None:
            columns |= _vectors(("vx", "vy", "vz"), velocities)
        info = {key.lower(): value for key, value in atoms.info.items()}
        step = info.get("timestep", info.get("step", ordinal))
        time = info.get("time")
        ref = self._ref(ordinal, columns, atoms.cell.array, (0.0, 0.0, 0.0), atoms.pbc, step,
                        time=None if time is None else float(time))  # fmt: skip
        return ref, columns


class DataFile(_Frames):
    """One LAMMPS data file through ASE, with ids, types, images and velocities of its Atoms section."""

    def _count(self) -> int:
        return 1

    def _one(self, ordinal: int) -> tuple[FrameRef, Columns]:
        from ase.io.lammpsdata import read_lammps_data

        try:
            atoms = read_lammps_data(self.path, sort_by_id=True, read_image_flags=False, units="metal")
        except Exception as error:  # ASE raises many kinds for a broken file
            raise AuditError(
                f"{self.path}: ASE cannot read it as a LAMMPS data file: {type(error).__name__}: {error}"
            ) from error
        with open(self.path, encoding="utf-8", errors="replace") as stream:
            header = stream.read(4096)
        low = {line.split()[2]: float(line.split()[0]) for line in header.splitlines()
               if len(line.split()) >= 4 and line.split()[2] in ("xlo", "ylo", "zlo")}  # fmt: skip
        title = header.splitlines()[0].replace(",", " ").split()
        step = int(title[title.index("timestep") + 2]) if "timestep" in title else 0
        columns: Columns = {
            "id": atoms.arrays["id"].astype(np.int64),
            "type": atoms.arrays["type"].astype(np.int64),
        }
        columns |= _vectors(("x", "y", "z"), atoms.get_positions())
        images = _images(self.path, columns["id"])
        if images is not None:
            columns |= _vectors(("ix", "iy", "iz"), images)
        columns["mass"] = atoms.get_masses()
        origin = tuple(low.get(name, 0.0) for name in ("xlo", "ylo", "zlo"))
        return self._ref(ordinal, columns, atoms.cell.array, origin, (True, True, True), step), columns


def _images(path: str, ids: Any) -> Any:
    """Image flags: the last three whole numbers of the rows of the Atoms section, where there are any."""
    rows: dict[int, list[int]] = {}
    inside = False
    with open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            words = line.split("#")[0].split()
            if not words:
                continue
            if words[0] == "Atoms":
                inside = True
            elif inside and words[0].lstrip("-").isdigit():
                tail = words[-3:]
                if len(words) >= 8 and all(word.lstrip("-").isdigit() for word in tail):
                    rows[int(words[0])] = [int(word) for word in tail]
            elif inside:
                break
    return np.array([rows[int(i)] for i in ids]) if len(rows) == len(ids) else None


class BinaryDump(_Frames):
    """LAMMPS binary dumps through OVITO."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        try:
            from ovito.io import import_file
        except ImportError as error:
            raise MissingDependencyError("ovito", "ovito", f"Reading the binary dump {path}") from error
        try:
            self._pipeline: Any = import_file(path, sort_particles=False)
        except Exception as error:  # OVITO raises RuntimeError and others
            raise AuditError(f"{path}: OVITO cannot read it: {error}") from error

    def _count(self) -> int:
        return int(self._pipeline.source.num_frames)

    def _one(self, ordinal: int) -> tuple[FrameRef, Columns]:
        data = self._pipeline.compute(ordinal)
        particles = data.particles
        if "Particle Identifier" not in particles:
            raise AuditError(f"{self.path}, frame {ordinal}: there is no id column; write the dump with id")
        columns: Columns = {
            "id": np.array(particles["Particle Identifier"], dtype=np.int64),
            "type": np.array(particles["Particle Type"], dtype=np.int64),
        }
        columns |= _vectors(("x", "y", "z"), np.array(particles["Position"]))
        if "Periodic Image" in particles:
            columns |= _vectors(("ix", "iy", "iz"), np.array(particles["Periodic Image"], dtype=np.int64))
        matrix = np.array(data.cell)
        step = data.attributes.get("Timestep", ordinal)
        return self._ref(ordinal, columns, matrix[:, :3].T, matrix[:, 3], data.cell.pbc, step), columns


class H5MD(_Frames):
    """H5MD (de Buyl, Colberg, Höfling 2014) through h5py: the first group of /particles."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        try:
            import h5py
        except ImportError as error:
            raise MissingDependencyError("h5py", "h5md", f"Reading the H5MD file {path}") from error
        try:
            self._file = h5py.File(path, "r")
            self._group = self._file["particles"][next(iter(self._file["particles"]))]
            self._count()
        except (OSError, KeyError, StopIteration) as error:
            raise AuditError(f"{path} is not an H5MD file with particles and positions: {error}") from error
        if "id" not in self._group:
            self.identity = BY_ROW

    def _count(self) -> int:
        return len(self._group["position/value"])

    def _at(self, name: str, ordinal: int) -> Any:
        item = self._group[name]
        values = item["value"] if hasattr(item, "keys") else item
        return np.asarray(values[ordinal] if hasattr(item, "keys") else values[...])

    def _one(self, ordinal: int) -> tuple[FrameRef, Columns]:
        group = self._group
        columns: Columns = {}
        if self.identity == "id":
            columns["id"] = self._at("id", ordinal).astype(np.int64)
        if "species" not in group:
            raise AuditError(f"{self.path}: /particles has no species")
        columns["type"] = self._at("species", ordinal).astype(np.int64)
        columns |= _vectors(("x", "y", "z"), self._at("position", ordinal).astype(np.float64))
        if "image" in group:
            columns |= _vectors(("ix", "iy", "iz"), self._at("image", ordinal).astype(np.int64))
        edges = self._at("box/edges", ordinal).astype(np.float64)
        boundary = [
            b.decode() if isinstance(b, bytes) else str(b) for b in group["box"].attrs.get("boundary", ["periodic"] * 3)
        ]
        position = group["position"]
        stored = position.get("step")
        step = ordinal if stored is None else int(stored[ordinal]) if stored.shape else int(stored[()]) * ordinal
        clock = position.get("time")
        time = None if clock is None else float(clock[ordinal]) if clock.shape else float(clock[()]) * ordinal
        cell = np.diag(edges) if edges.ndim == 1 else edges
        return self._ref(
            ordinal, columns, cell, (0.0, 0.0, 0.0), [b == "periodic" for b in boundary], step, time=time
        ), columns


class NetCDF(_Frames):
    """NetCDF in the AMBER convention as LAMMPS writes it, through netCDF4."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        try:
            import netCDF4
        except ImportError as error:
            raise MissingDependencyError("netCDF4", "netcdf", f"Reading the NetCDF file {path}") from error
        try:
            self._data = netCDF4.Dataset(path)
        except OSError as error:
            raise AuditError(f"{path} is not a NetCDF file: {error}") from error
        names = set(self._data.variables)
        if not names & {"coordinates", "unwrapped_coordinates"} or "cell_lengths" not in names:
            raise AuditError(f"{path}: no coordinates and cell_lengths among its variables {sorted(names)}")
        if "id" not in names:
            self.identity = BY_ROW

    def _count(self) -> int:
        return len(self._data.dimensions["frame"])

    def _one(self, ordinal: int) -> tuple[FrameRef, Columns]:
        found = self._data.variables
        columns: Columns = {}
        if "id" in found:
            columns["id"] = np.asarray(found["id"][ordinal]).astype(np.int64)
        kinds = next((name for name in ("type", "atom_types", "element") if name in found), None)
        if kinds is None:
            raise AuditError(f"{self.path}: neither type nor element among its variables {sorted(found)}")
        values = np.asarray(found[kinds][ordinal] if "frame" in found[kinds].dimensions else found[kinds][...])
        if kinds == "element":
            columns["element"] = np.array([SYMBOLS[int(z)] for z in values])
        else:
            columns["type"] = values.astype(np.int64)
        wrapped = "coordinates" in found
        names = ("x", "y", "z") if wrapped else ("xu", "yu", "zu")
        columns |= _vectors(
            names,
            np.asarray(found["coordinates" if wrapped else "unwrapped_coordinates"][ordinal]).astype(np.float64),
        )
        lengths = np.asarray(found["cell_lengths"][ordinal], dtype=np.float64)
        angles = (
            np.asarray(found["cell_angles"][ordinal], dtype=np.float64) if "cell_angles" in found else np.full(3, 90.0)
        )
        from ase.geometry import cellpar_to_cell

        cell = cellpar_to_cell([*lengths, *angles])
        origin = np.asarray(found["cell_origin"][ordinal]) if "cell_origin" in found else np.zeros(3)
        time = float(found["time"][ordinal]) if "time" in found else None
        step = int(found["step"][ordinal]) if "step" in found else ordinal
        return self._ref(ordinal, columns, cell, origin, lengths > 0, step, time=time), columns
