"""H5MD files through h5py.

de Buyl, Colberg, Höfling, Comput. Phys. Commun. 185, 1546 (2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mgdask.errors import AuditError, MissingDependencyError
from mgdask.readers.formats.extxyz import pick, spread
from mgdask.readers.records import Contents, FrameRef, Labels, SourceInfo, Table

_LENGTH = {
    "": 1.0,
    "angstrom": 1.0,
    "å": 1.0,
    "a": 1.0,
    "nm": 10.0,
    "bohr": 0.529177210903,
    "pm": 0.01,
    "m": 1e10,
}
_TIME = {"": 1.0, "ps": 1.0, "fs": 1e-3, "ns": 1e3, "s": 1e12}
_NAMES = {"velocity": "vel", "force": "force"}
_DONE = {"position", "image", "id", "species", "mass", "box"}


class H5md:
    """The particle group of an H5MD file, which must be the only one.

    Lengths and times are converted to Å and ps from the units in the file.
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
        groups = list(self.file["particles"]) if "particles" in self.file else []
        if len(groups) != 1:
            raise AuditError(
                f"{info.path}: the HDF5 file has {len(groups)} groups in /particles "
                f"({' '.join(groups) or 'none'}); exactly one is needed"
            )
        self.group = self.file["particles"][groups[0]]

    def _element(self, name: str) -> tuple[Any, bool]:
        """Return the dataset of an H5MD element, and whether it has a frame axis."""
        item = self.group[name]
        return (item["value"], True) if isinstance(item, self._h5py.Group) else (item, False)

    def _unit(self, item: Any, table: dict[str, float], what: str) -> float:
        unit = item.attrs.get("unit", "") if item is not None else ""
        text = (unit.decode() if isinstance(unit, bytes) else str(unit)).strip().lower()
        if text not in table:
            raise AuditError(
                f"{self.info.path}: the unit {text!r} of {what} is unknown; allowed: "
                f"{', '.join(filter(None, table))}"
            )
        return table[text]

    def _along(self, name: str, item: Any, count: int) -> Any:
        """Return ``step`` or ``time`` of each frame, from an array or an increment."""
        if name not in item:
            return None
        stored = np.asarray(item[name])
        offset = item[name].attrs.get("offset", 0)
        return stored[:count] if stored.ndim else offset + stored * np.arange(count)

    def index(self) -> Contents:
        """Return the headers of all frames."""
        path = self.info.path
        position, moving = self._element("position")
        if not moving or position.ndim != 3 or position.shape[2] != 3:
            raise AuditError(
                f"{path}: the position must have the shape (frame, atom, 3); got {position.shape}"
            )
        count, n_atoms = position.shape[:2]
        length = self._unit(position, _LENGTH, "position")
        box = self.group["box"]
        edges = box["edges"]
        boundary = [
            b.decode() if isinstance(b, bytes) else str(b)
            for b in np.atleast_1d(box.attrs.get("boundary", []))
        ]
        if len(boundary) != 3:
            raise AuditError(
                f"{path}: the box needs an attribute boundary with three values such as "
                f"'periodic'; got {boundary}"
            )
        pbc = tuple(b == "periodic" for b in boundary)
        cells = (
            np.asarray(edges["value"])
            if isinstance(edges, self._h5py.Group)
            else np.asarray(edges)[None]
        )
        if cells.ndim == 2:
            cells = np.stack([np.diag(row) for row in cells])
        if len(cells) not in (1, count):
            raise AuditError(
                f"{path}: {len(cells)} cells for {count} frames; give one per frame, or one for "
                "all frames"
            )
        item = self.group["position"]
        steps, times = self._along("step", item, count), self._along("time", item, count)
        notes = (
            []
            if steps is not None
            else [f"{path}: frames have no timestep; they are numbered from 0"]
        )
        clock = self._unit(item["time"], _TIME, "time") if times is not None else 1.0
        columns = tuple(self._columns())
        refs = []
        for k in range(count):
            cell = np.asarray(cells[min(k, len(cells) - 1)], dtype=np.float64) * length
            if not (np.linalg.det(cell) > 0 or not all(pbc)):
                raise AuditError(
                    f"{path}: frame {k}: the cell volume is zero or negative: {cell.tolist()}"
                )
            refs.append(
                FrameRef(
                    path,
                    k,
                    k if steps is None else int(steps[k]),
                    None if times is None else float(times[k]) * clock,
                    n_atoms,
                    cell,
                    np.zeros(3),
                    (pbc[0], pbc[1], pbc[2]),
                    columns,
                    "metal",
                )
            )
        return Contents(refs, notes)

    def _columns(self) -> Table:
        return self._table(0)

    def _value(self, name: str, frame: int) -> Any:
        data, moving = self._element(name)
        return np.asarray(data[frame] if moving else data)

    def _table(self, frame: int) -> Table:
        table: Table = {}
        if "id" in self.group:
            table["id"] = self._value("id", frame).astype(np.int64)
        length = self._unit(self._element("position")[0], _LENGTH, "position")
        table |= spread("pos", self._value("position", frame).astype(np.float64) * length)
        if "image" in self.group:
            table |= dict(
                zip(
                    ("ix", "iy", "iz"),
                    self._value("image", frame).astype(np.int64).T.copy(),
                    strict=True,
                )
            )
        if "species" in self.group:
            data, _ = self._element("species")
            names = self._h5py.check_enum_dtype(data.dtype)
            kinds = self._value("species", frame)
            if names is not None:  # element names are stored as an HDF5 enumeration
                ordered = sorted(names, key=lambda name: names[name])
                codes = np.searchsorted([names[name] for name in ordered], kinds)
                table["element"] = Labels(codes.astype(np.int64), tuple(ordered))
            else:
                table["type"] = kinds.astype(np.int64)
        if "mass" in self.group:
            table["mass"] = self._value("mass", frame).astype(np.float64)
        for name in self.group:
            if name not in _DONE:
                try:
                    value = self._value(name, frame)
                # an element may have its own, sparser time axis
                except (KeyError, ValueError, IndexError):
                    continue
                if value.dtype.kind in "iuf" and value.shape[:1] == (len(table["x"]),):
                    table |= spread(_NAMES.get(name, name), value)
        return table

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame."""
        return pick(self._table(ref.ordinal), ref, columns)

    def close(self) -> None:
        """Close the file."""
        self.file.close()
