"""LAMMPS data files and extended XYZ, read by ASE (https://wiki.fysik.dtu.dk/ase)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mgdask.errors import AuditError
from mgdask.readers.records import Contents, FrameRef, Labels, SourceInfo, Table

_INDEXED = {
    "pos": ("x", "y", "z"),
    "vel": ("vx", "vy", "vz"),
    "velo": ("vx", "vy", "vz"),
    "force": ("fx", "fy", "fz"),
    "forces": ("fx", "fy", "fz"),
}


def pick(table: Table, ref: FrameRef, columns: Sequence[str]) -> Table:
    """Return the given columns of a table; raise ``AuditError`` if one is missing."""
    missing = [name for name in columns if name not in table]
    if missing:
        raise AuditError(
            f"{ref.where}: {' '.join(missing)} is not in this frame; it has {' '.join(table)}"
        )
    return {name: table[name] for name in columns}


def spread(name: str, values: Any) -> Table:
    """Return a per-atom array as columns.

    Vectors become ``name_1``, ``name_2``, ...; positions, velocities and forces have
    LAMMPS names.
    """
    array = np.asarray(values)
    array = array.astype(np.int64) if array.dtype.kind in "iub" else array.astype(np.float64)
    if array.ndim == 1:
        return {name: array}
    flat = array.reshape(len(array), -1)
    names: tuple[str, ...] = tuple(f"{name}_{k}" for k in range(1, flat.shape[1] + 1))
    if flat.shape[1] == 3:
        names = _INDEXED.get(name, names)
    return {column: np.ascontiguousarray(flat[:, k]) for k, column in enumerate(names)}


class LammpsData:
    """A LAMMPS data file: one frame with ids, types, images, masses and velocities.

    ASE drops the origin of the box and adds the image flags to the positions. Here the
    origin is read from the header. The flags are recovered from the difference between
    ASE's positions with and without them.
    """

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self._known: tuple[FrameRef, Table] | None = None

    def _load(self) -> tuple[FrameRef, Table]:
        if self._known is not None:
            return self._known
        from ase import units as ase_units
        from ase.io.lammpsdata import read_lammps_data

        path, options = self.info.path, dict(self.info.options)
        header, counted = self._header()
        stated = re.search(r"units = (\w+)", header[0])
        style = stated.group(1) if stated else self.info.units or "metal"
        reader_options = {
            "units": "metal" if style == "lj" else style,
            "atom_style": options.get("atom_style"),
            "sort_by_id": False,
        }
        try:
            atoms = read_lammps_data(path, read_image_flags=False, **reader_options)
            unwrapped = read_lammps_data(path, read_image_flags=True, **reader_options)
        except Exception as error:  # a malformed line may raise any exception in ASE
            raise AuditError(
                f"{path}: ASE cannot read this LAMMPS data file: {type(error).__name__}: {error}. "
                "If its Atoms section does not state its style ('Atoms # atomic'), set atom_style="
            ) from error
        cell = np.array(atoms.cell)
        if len(atoms) != counted:
            raise AuditError(
                f"{path}: {len(atoms)} atoms were read, but the header gives {counted}"
            )
        if not np.linalg.det(cell) > 0:
            raise AuditError(
                f"{path}: the cell volume is zero or negative: vectors {cell.tolist()}"
            )
        table: Table = {
            "id": atoms.arrays["id"].astype(np.int64),
            "type": atoms.arrays["type"].astype(np.int64),
        }
        position = np.array(atoms.positions)
        images = np.rint((unwrapped.positions - position) @ np.linalg.inv(cell)).astype(np.int64)
        table |= spread("pos", position)
        table |= dict(zip(("ix", "iy", "iz"), images.T.copy(), strict=True))
        if ["Masses"] in [line.split("#")[0].split() for line in header]:
            table["mass"] = self._masses(header)[table["type"]]
        if atoms.has("momenta"):
            # from ASE's unit Å / (Å (u / eV)^1/2) to Å/ps
            table |= spread("vel", atoms.get_velocities() * (1000.0 * ase_units.fs))
        for name in ("mol-id", "mmcharges"):
            if name in atoms.arrays:
                table |= spread({"mol-id": "mol", "mmcharges": "q"}[name], atoms.arrays[name])
        step = re.search(r"timestep = (\d+)", header[0])
        ref = FrameRef(
            path,
            0,
            int(step.group(1)) if step else 0,
            None,
            len(atoms),
            cell,
            self._origin(header, style),
            (True, True, True),
            tuple(table),
            "lj" if style == "lj" else "metal",
            line=1,
        )
        self._known = ref, table
        return self._known

    def _header(self) -> tuple[list[str], int]:
        """Return the lines before the section Atoms, and the number of atoms."""
        lines: list[str] = []
        with open(self.info.path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.split()[:1] == ["Atoms"]:
                    break
                lines.append(line.rstrip("\n"))
        counts = [int(line.split()[0]) for line in lines if re.match(r"\s*\d+\s+atoms\b", line)]
        if not counts:
            raise AuditError(
                f"{self.info.path}: not a complete LAMMPS data file: there is no line 'N atoms' in "
                "its header"
            )
        return lines, counts[0]

    def _masses(self, header: Sequence[str]) -> Any:
        """Return masses by type from the section Masses, without ASE's rounding."""
        rows = [
            line.split("#")[0].split()
            for line in header[
                [line.split("#")[0].split() for line in header].index(["Masses"]) + 1 :
            ]
        ]
        given = {int(row[0]): float(row[1]) for row in rows if len(row) == 2 and row[0].isdigit()}
        table = np.full(max(given, default=0) + 1, np.nan)
        table[list(given)] = list(given.values())
        return table

    def _origin(self, header: Sequence[str], style: str) -> Any:
        from mgdask.readers.units import unit_style

        origin = np.zeros(3)
        for line in header:
            words = line.split("#")[0].split()
            if words[-2:] == ["abc", "origin"]:
                origin = np.array([float(word) for word in words[:3]])
            for axis, name in enumerate("xyz"):
                if words[2:4] == [f"{name}lo", f"{name}hi"]:
                    origin[axis] = float(words[0])
        return origin * unit_style(style).length

    def index(self) -> Contents:
        """Return the one frame."""
        ref, _ = self._load()
        note = (
            f"{self.info.path}: data files do not state which boundaries are periodic; "
            "x, y and z are assumed periodic"
        )
        return Contents([ref], [note])

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns."""
        return pick(self._load()[1], ref, columns)

    def close(self) -> None:
        """Release the atoms."""
        self._known = None


class ExtendedXyz:
    """Extended XYZ, read forward, one frame at a time.

    The format has no ids unless a column is called ``id``. Its writers keep the order
    of atoms, so the row is the identity.
    """

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self._frames: Iterator[Any] | None = None
        self._next = 0

    def _start(self) -> None:
        from ase.io import iread

        self._frames, self._next = iter(iread(self.info.path, index=":", format="extxyz")), 0

    def _forward(self) -> Any:
        """Return the next frame as ASE atoms, or None at the end."""
        if self._frames is None:
            self._start()
        assert self._frames is not None
        try:
            atoms = next(self._frames, None)
        except Exception as error:  # a malformed line may raise any exception in ASE
            raise AuditError(
                f"{self.info.path}: frame {self._next} cannot be read as extxyz by ASE: "
                f"{type(error).__name__}: {error}. The file may be truncated: remove everything "
                "after its last complete frame"
            ) from error
        self._next += 1
        return atoms

    def _table(self, atoms: Any) -> Table:
        names = tuple(sorted(set(atoms.get_chemical_symbols())))
        codes = {name: code for code, name in enumerate(names)}
        labels = Labels(
            np.array([codes[name] for name in atoms.get_chemical_symbols()], dtype=np.int64), names
        )
        table: Table = {"element": labels, **spread("pos", atoms.positions)}
        further = {
            name: array
            for name, array in atoms.arrays.items()
            if name not in ("numbers", "positions")
        }
        if atoms.calc is not None:
            further |= {
                name: value
                for name, value in atoms.calc.results.items()
                if np.shape(value)[:1] == (len(atoms),)
            }
        for name, values in further.items():
            if np.asarray(values).dtype.kind in "iubf":
                table |= spread({"masses": "mass"}.get(name, name), values)
        return table

    def index(self) -> Contents:
        """Return all frames; each is read, because the format has no index."""
        refs: list[FrameRef] = []
        notes: list[str] = []
        self._start()
        while (atoms := self._forward()) is not None:
            cell, pbc = np.array(atoms.cell), tuple(bool(p) for p in atoms.pbc)
            where = f"{self.info.path}: frame {len(refs)}"
            if any(pbc) and abs(np.linalg.det(cell)) == 0 and all(pbc):
                raise AuditError(
                    f"{where}: it is periodic but its cell has no volume: {cell.tolist()}; give a "
                    "Lattice"
                )
            info = {name.lower(): (name, value) for name, value in atoms.info.items()}
            step = next((info[name][1] for name in ("timestep", "step") if name in info), None)
            values = {}
            for name, value in {
                **atoms.info,
                **({} if atoms.calc is None else atoms.calc.results),
            }.items():
                scalar = (
                    np.ndim(value) == 0
                    and isinstance(value, int | float | np.number)
                    and not isinstance(value, bool)
                )
                if scalar and name.lower() not in ("timestep", "step", "time"):
                    values[name] = float(value)
            time = float(info["time"][1]) if "time" in info else None
            refs.append(
                FrameRef(
                    self.info.path,
                    len(refs),
                    len(refs) if step is None else int(step),
                    time,
                    len(atoms),
                    cell,
                    np.zeros(3),
                    (pbc[0], pbc[1], pbc[2]),
                    tuple(self._table(atoms)),
                    self.info.units,
                    values=values,
                )
            )
            if step is None and len(refs) == 1:
                notes.append(f"{self.info.path}: frames have no timestep; they are numbered from 0")
        self.close()
        return Contents(refs, notes)

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame.

        Reading forward is fast; reading backward restarts at the first frame.
        """
        if self._frames is None or ref.ordinal < self._next:
            self._start()
        atoms = None
        while self._next <= ref.ordinal:
            atoms = self._forward()
        if atoms is None:
            raise AuditError(
                f"{ref.where}: the file is shorter than when it was indexed; run the ingest again"
            )
        return pick(self._table(atoms), ref, columns)

    def close(self) -> None:
        """Close the file."""
        self._frames = None
