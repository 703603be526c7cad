"""H5MD files, versions 1.0 and 1.1 of the format, read with h5py.

de Buyl, Colberg, Höfling, Comput. Phys. Commun. 185, 1546 (2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.bounds import MAX_COLUMNS
from mgdask.errors import AuditError, MissingDependencyError
from mgdask.readers.damage import box_problem, position_problem, step_number
from mgdask.readers.formats.hdf5 import check_file, check_stored
from mgdask.readers.formats.stated_units import FORCE, LENGTH, TIME, VELOCITY, factor
from mgdask.readers.formats.tables import pick, spread
from mgdask.readers.origins import Ranges, place_origins
from mgdask.readers.records import Contents, FrameRef, Labels, SourceInfo, Table

_NAMES = {"velocity": "vel", "force": "force", "charge": "q"}
_UNITS = {"velocity": VELOCITY, "force": FORCE}
_LASTING = ("species", "mass", "charge", "box/edges", "box/offset")
"""Elements whose last value remains valid until the next one."""
_DONE = {"position", "image", "id", "species", "mass", "box"}


@dataclass(frozen=True)
class _Element:
    """One element of a particle group: its data, and the row of each frame.

    ``rows`` (frame,) is -1 in frames without a value. It is None if the data do not
    depend on time.
    """

    data: Any
    rows: npt.NDArray[np.int64] | None

    @property
    def complete(self) -> bool:
        """Whether every frame has a value."""
        return self.rows is None or bool((self.rows >= 0).all())

    def at(self, frame: int) -> Any:
        """Return the value of a frame."""
        return np.asarray(self.data[...] if self.rows is None else self.data[self.rows[frame]])


class H5md:
    """One particle group of an H5MD file.

    A single group is read whatever its name. LAMMPS uses the name of the dumped group,
    MDAnalysis uses ``trajectory``. The option ``particles`` selects one of several.
    Lengths, times, velocities and forces are converted to Å, ps and eV from the units
    stated in the file. Elements that are stored less often than the positions are
    matched by step.
    """

    def __init__(self, info: SourceInfo) -> None:
        try:
            import h5py
        except ImportError as error:
            raise MissingDependencyError(
                "h5py", "h5md", f"reading the H5MD file {info.path}"
            ) from error
        self.info, self._h5py = info, h5py
        try:
            self.file = h5py.File(info.path, "r")
        except OSError as error:
            raise AuditError(
                f"{info.path}: cannot be opened as HDF5: {error}. Check that the file is "
                "complete and closed by its writer"
            ) from error
        check_file(self.file, h5py, info.path)
        name = self._select(dict(info.options).get("particles"))
        self.group = self.file["particles"][name]
        self._known: dict[str, _Element] = {}
        if "position" not in self.group or "box" not in self.group:
            raise AuditError(f"{info.path}: /particles/{name} has no position or no box")
        position = self.group["position"]
        self.moving = isinstance(position, h5py.Group)
        data = self._values_of(position) if self.moving else position
        if data.ndim != (3 if self.moving else 2) or data.shape[-1] != 3:
            raise AuditError(
                f"{info.path}: the position must have the shape (frame, atom, 3), or (atom, 3) if "
                f"it does not depend on time; got {data.shape}"
            )
        if data.dtype.kind not in "iuf" or not data.size:
            raise AuditError(
                f"{info.path}: the position must hold numbers; got {data.dtype} of shape "
                f"{data.shape}"
            )
        check_stored(data, info.path, f"/particles/{name}/position")
        self.count, self.n_atoms = (len(data) if self.moving else 1), int(data.shape[-2])
        self.steps = self._along("step", position, self.count) if self.moving else None
        rows = np.arange(self.count, dtype=np.int64) if self.moving else None
        self.position = _Element(data, rows)
        length = factor(data.attrs.get("unit", ""), LENGTH, f"{info.path}: position")
        self.units_stated, self.length = length is not None, length or 1.0

    def _select(self, wanted: str | None) -> str:
        """Return the name of the particle group to read."""
        groups = list(self.file["particles"]) if "particles" in self.file else []
        names = [wanted] if wanted in groups else groups
        if not names or (wanted is not None and wanted not in groups) or len(names) > 1:
            asked = f" and none is {wanted!r}" if wanted and wanted not in groups else ""
            raise AuditError(
                f"{self.info.path}: the HDF5 file has {len(groups)} groups in /particles "
                f"({' '.join(groups) or 'none'}){asked}; exactly one can be read. Select it with "
                "particles='NAME' in Python, or --particles NAME on the command line"
            )
        return str(names[0])

    def _along(self, name: str, item: Any, count: int) -> Any:
        """Return ``step`` or ``time`` of each row, from an array or an increment."""
        if name not in item:
            return None
        data = item[name]
        if not isinstance(data, self._h5py.Dataset) or data.dtype.kind not in "iuf":
            raise AuditError(f"{self.info.path}: {name} of {item.name} must be numbers")
        if data.ndim > 1 or (data.ndim and len(data) < count):
            raise AuditError(
                f"{self.info.path}: {name} of {item.name} has the shape {data.shape}, but there "
                f"are {count} values; write one per value"
            )
        if data.ndim:
            return data[:count]
        offset = data.attrs.get("offset", 0)
        with np.errstate(all="ignore"):
            return offset + np.asarray(data) * np.arange(count)

    def _values_of(self, item: Any) -> Any:
        """Return the dataset ``value`` of an element that depends on time."""
        data = item.get("value")
        if not isinstance(data, self._h5py.Dataset) or not data.ndim:
            raise AuditError(f"{self.info.path}: {item.name} has no array 'value'; write it again")
        return data

    def _element(self, name: str) -> _Element:
        """Return an element of the particle group by its path."""
        if name not in self._known:
            element = self._match(name)
            shape = element.data.shape[1:] if element.rows is not None else element.data.shape
            if math.prod(shape) > max(self.n_atoms, 9) * MAX_COLUMNS:
                raise AuditError(
                    f"{self.info.path}: {name} has the shape {element.data.shape}, which is more "
                    f"than {MAX_COLUMNS} numbers per atom"
                )
            self._known[name] = element
        return self._known[name]

    def _match(self, name: str) -> _Element:
        """Match the rows of an element to the frames by step."""
        item, lasting = self.group[name], name in _LASTING
        if not isinstance(item, self._h5py.Group):
            return _Element(item, None)
        data = self._values_of(item)
        own = self._along("step", item, len(data))
        unordered = own is not None and not bool((np.diff(own) > 0).all())
        if own is None or self.steps is None or unordered or np.array_equal(own, self.steps):
            rows = np.arange(self.count, dtype=np.int64)
            return _Element(data, np.where(len(data) == self.count, rows, -1))
        place = np.searchsorted(own, self.steps, side="right") - 1
        hit = (place >= 0) & (lasting | (own[np.maximum(place, 0)] == self.steps))
        return _Element(data, np.where(hit, place, -1))

    def _periodic(self) -> tuple[bool, bool, bool]:
        boundary = [
            b.decode() if isinstance(b, bytes) else str(b)
            for b in np.atleast_1d(self.group["box"].attrs.get("boundary", []))
        ]
        if len(boundary) != 3:
            raise AuditError(
                f"{self.info.path}: the box needs an attribute boundary with three values such as "
                f"'periodic'; got {boundary}"
            )
        return boundary[0] == "periodic", boundary[1] == "periodic", boundary[2] == "periodic"

    def _edges(self, pbc: Sequence[bool]) -> _Element:
        """Return the cell vectors, or the lengths of an orthogonal cell."""
        if "box/edges" not in self.group:
            if any(pbc):
                raise AuditError(f"{self.info.path}: the box is periodic but has no edges")
            return _Element(np.zeros((3, 3)), None)
        edges = self._element("box/edges")
        if not edges.complete:
            raise AuditError(
                f"{self.info.path}: {len(edges.data)} cells for {self.count} frames, and the steps "
                "do not match them to frames; store one per frame, or one for all frames"
            )
        return edges

    def index(self) -> Contents:
        """Return all frames, after reading their positions."""
        path, pbc = self.info.path, self._periodic()
        edges = self._edges(pbc)
        offset = self._element("box/offset") if "box/offset" in self.group else None
        item = self.group["position"]
        times = self._along("time", item, self.count) if self.moving else None
        notes = []
        if self.steps is None:
            notes.append(f"{path}: frames have no timestep; they are numbered from 0")
        clock = 1.0
        if times is not None:
            clock = factor(item["time"].attrs.get("unit", ""), TIME, f"{path}: time") or 1.0
        columns, left_out = self._columns()
        notes += [f"{path}: {text}" for text in left_out]
        refs, ranges = [], Ranges()
        for k in range(self.count):
            cell = edges.at(k).astype(np.float64) * self.length
            cell = np.diag(cell) if cell.ndim == 1 else cell
            origin = np.zeros(3) if offset is None else offset.at(k).astype(float) * self.length
            problem = box_problem(cell, pbc, origin)
            position = self._positions(k)
            if problem is None:
                problem = position_problem(position, self._ids(k))
            ref = FrameRef(
                path,
                k,
                k if self.steps is None else step_number(self.steps[k], f"{path}, frame {k}"),
                None if times is None else float(times[k]) * clock,
                self.n_atoms,
                cell,
                origin,
                pbc,
                columns,
                "metal" if self.units_stated else self.info.units,
                problem=problem,
            )
            ranges.add(position, ref)
            refs.append(ref)
        contents = Contents(refs, notes)
        return contents if offset is not None else place_origins(contents, ranges)

    def _positions(self, frame: int) -> FloatArray:
        return np.asarray(self.position.at(frame), dtype=np.float64) * self.length

    def _ids(self, frame: int) -> Any:
        return self._element("id").at(frame) if "id" in self.group else None

    @cached_property
    def _further(self) -> tuple[dict[str, tuple[_Element, float]], list[str]]:
        """Return the other elements of all frames with unit factors, and notes."""
        kept: dict[str, tuple[_Element, float]] = {}
        notes = []
        for name in self.group:
            if name in _DONE:
                continue
            element = self._element(name)
            shape = element.data.shape[1:] if element.rows is not None else element.data.shape
            if element.data.dtype.kind not in "iuf" or shape[:1] != (self.n_atoms,):
                continue
            if not element.complete:
                own = int((element.rows >= 0).sum()) if element.rows is not None else 0
                notes.append(
                    f"{name} is not kept: it is stored at {own} of {self.count} frames; "
                    "write it as often as the position"
                )
                continue
            scale = 1.0
            if name in _UNITS:
                unit = element.data.attrs.get("unit", "")
                try:
                    scale = factor(unit, _UNITS[name], name) or 1.0
                except AuditError:
                    notes.append(f"{name} is not kept: its unit {unit!r} is unknown")
                    continue
            kept[name] = element, scale
        return kept, notes

    def _columns(self) -> tuple[tuple[str, ...], list[str]]:
        """Return the columns that all frames have, and notes on the others."""
        for name in ("id", "species", "mass", "image"):
            if name in self.group and not self._element(name).complete:
                raise AuditError(
                    f"{self.info.path}: {name} is not stored for every frame of the position, so "
                    "atoms cannot be identified; write both equally often"
                )
        return tuple(self._table(0)), self._further[1]

    def _species(self, frame: int) -> Table:
        element = self._element("species")
        names = self._h5py.check_enum_dtype(element.data.dtype)
        kinds = element.at(frame)
        if names is not None:  # element names are stored as an HDF5 enumeration
            ordered = sorted(names, key=lambda name: names[name])
            codes = np.searchsorted([names[name] for name in ordered], kinds)
            return {"element": Labels(codes.astype(np.int64), tuple(ordered))}
        if kinds.dtype.kind in "OS":
            words = [w.decode() if isinstance(w, bytes) else str(w) for w in kinds.tolist()]
            found = sorted(set(words))
            codes = np.searchsorted(found, words)
            return {"element": Labels(codes.astype(np.int64), tuple(found))}
        return {"type": kinds.astype(np.int64)}

    def _table(self, frame: int) -> Table:
        table: Table = {}
        if "id" in self.group:
            table["id"] = self._ids(frame).astype(np.int64)
        table |= spread("pos", self._positions(frame))
        if "image" in self.group:
            image = self._element("image").at(frame).astype(np.int64)
            table |= dict(zip(("ix", "iy", "iz"), image.T.copy(), strict=True))
        if "species" in self.group:
            table |= self._species(frame)
        if "mass" in self.group:
            table["mass"] = self._element("mass").at(frame).astype(np.float64)
        for name, (element, scale) in self._further[0].items():
            value = element.at(frame)
            table |= spread(_NAMES.get(name, name), value if scale == 1.0 else value * scale)
        return table

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame."""
        return pick(self._table(ref.ordinal), ref, columns)

    def close(self) -> None:
        """Close the file."""
        self.file.close()
