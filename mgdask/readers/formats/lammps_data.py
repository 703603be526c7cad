"""LAMMPS data files, read by ASE (https://wiki.fysik.dtu.dk/ase)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mgdask.errors import AuditError
from mgdask.readers.formats.tables import pick, spread
from mgdask.readers.records import Contents, FrameRef, Labels, SourceInfo, Table


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
        labels = _type_labels(header)
        text = self._numeric(labels) if labels else None
        try:
            atoms, unwrapped = (
                read_lammps_data(
                    path if text is None else io.StringIO(text),
                    read_image_flags=flags,
                    **reader_options,
                )
                for flags in (False, True)
            )
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
        types = atoms.arrays["type"].astype(np.int64)
        table: Table = {"id": atoms.arrays["id"].astype(np.int64), "type": types}
        if labels:
            names = tuple(labels[kind] for kind in sorted(labels))
            codes = np.searchsorted(sorted(labels), types)
            table["typelabel"] = Labels(codes.astype(np.int64), names)
        position = np.array(atoms.positions)
        images = np.rint((unwrapped.positions - position) @ np.linalg.inv(cell)).astype(np.int64)
        table |= spread("pos", position)
        table |= dict(zip(("ix", "iy", "iz"), images.T.copy(), strict=True))
        if ["Masses"] in [line.split("#")[0].split() for line in header]:
            table["mass"] = self._masses(header, labels)[types]
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
        """Return the lines before the Atoms section, and the number of atoms."""
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

    def _numeric(self, labels: Mapping[int, str]) -> str:
        """Return the file with type numbers instead of labels in Atoms and Masses.

        ASE sets the types of labeled atoms to zero.
        """
        numbers = {label: str(kind) for kind, label in labels.items()}
        with open(self.info.path, encoding="utf-8", errors="replace") as file:
            lines = file.read().split("\n")
        inside = False
        for k, line in enumerate(lines):
            words = line.split("#")[0].split()
            label = next((word for word in words if word in numbers), None)
            if words and words[0][0].isalpha() and words[0] != label:  # section title
                inside = words in (["Atoms"], ["Masses"])
            elif inside and label is not None:
                # labels do not begin with a digit, so this is the column of types
                pattern = rf"(?<!\S){re.escape(label)}(?!\S)"
                lines[k] = re.sub(pattern, numbers[label], line, count=1)
        return "\n".join(lines)

    def _masses(self, header: Sequence[str], labels: Mapping[int, str]) -> Any:
        """Return the masses by type from the Masses section, without ASE's rounding."""
        kinds = {label: str(kind) for kind, label in labels.items()}
        rows = [line.split("#")[0].split() for line in header]
        given: dict[int, float] = {}
        for row in rows[rows.index(["Masses"]) + 1 :]:
            kind = kinds.get(row[0], row[0]) if row else ""
            if row and not kind.isdigit():
                break  # title of the next section
            if len(row) == 2:
                given[int(kind)] = float(row[1])
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
        """Return the only frame."""
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


def _type_labels(header: Sequence[str]) -> dict[int, str]:
    """Return the labels of the atom types from the Atom Type Labels section."""
    titles = [line.split("#")[0].split() for line in header]
    if ["Atom", "Type", "Labels"] not in titles:
        return {}
    labels: dict[int, str] = {}
    for words in titles[titles.index(["Atom", "Type", "Labels"]) + 1 :]:
        if len(words) == 2 and words[0].isdigit():
            labels[int(words[0])] = words[1]
        elif words:
            break
    return labels
