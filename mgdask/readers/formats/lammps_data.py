"""LAMMPS data files, read by ASE (https://wiki.fysik.dtu.dk/ase)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mgdask._typing import IntArray
from mgdask.bounds import MAX_TYPE, check_count, shortened
from mgdask.errors import AuditError
from mgdask.readers.damage import box_problem, step_number
from mgdask.readers.files import open_binary, read_line
from mgdask.readers.formats.tables import pick, spread
from mgdask.readers.records import Contents, FrameRef, Labels, SourceInfo, Table

_SHORTEST_ROW = 10
"""Minimum number of bytes of a row: five numbers, four blanks and a line feed."""


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
        except KeyError as error:
            raise AuditError(
                f"{path}: the type, label or id {shortened(str(error.args[0]))} of the Atoms "
                f"section is missing in another section. Types are 1 to {MAX_TYPE}, each with a "
                "mass if there is a section Masses: repair the file"
            ) from error
        except Exception as error:  # a malformed line may raise any exception in ASE
            raise AuditError(
                f"{path}: ASE cannot read this LAMMPS data file: {type(error).__name__}: "
                f"{shortened(str(error), 300)}. "
                "If its Atoms section does not state its style ('Atoms # atomic'), set atom_style="
            ) from error
        cell = np.array(atoms.cell)
        if len(atoms) != counted:
            raise AuditError(
                f"{path}: {len(atoms)} atoms were read, but the header gives {counted}"
            )
        problem = box_problem(cell, (True, True, True))
        if problem is not None:
            raise AuditError(f"{path}: {problem}. Repair the header of the file")
        types = atoms.arrays["type"].astype(np.int64)
        if types.min() < 0 or types.max() > MAX_TYPE:
            wrong = int(np.flatnonzero((types < 0) | (types > MAX_TYPE))[0])
            raise AuditError(
                f"{path}: atom {atoms.arrays['id'][wrong]} has the type {types[wrong]}; allowed "
                f"are 1 to {MAX_TYPE}. Repair its row in the Atoms section"
            )
        table: Table = {"id": atoms.arrays["id"].astype(np.int64), "type": types}
        if labels:
            names = tuple(labels[kind] for kind in sorted(labels))
            codes = np.searchsorted(sorted(labels), types)
            table["typelabel"] = Labels(codes.astype(np.int64), names)
        position = np.array(atoms.positions)
        with np.errstate(all="ignore"):
            images = np.rint((unwrapped.positions - position) @ np.linalg.inv(cell))
        table |= spread("pos", position)
        table |= dict(zip(("ix", "iy", "iz"), images.T.copy(), strict=True))
        if ["Masses"] in [line.split("#")[0].split() for line in header]:
            table["mass"] = self._masses(header, labels, types)
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
            step_number(step.group(1), path) if step else 0,
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
        n_lines, in_header = 0, True
        with open_binary(self.info.path) as file:
            # all lines are looked at, because ASE would read a line of any length
            while text := read_line(file, self.info.path, n_lines + 1):
                n_lines += 1
                in_header = in_header and text.split()[:1] != [b"Atoms"]
                if in_header:
                    lines.append(text.decode("utf-8", "replace").rstrip("\r\n"))
        counts = [count for line in lines if (count := _stated_count(line)) is not None]
        if not counts:
            raise AuditError(
                f"{self.info.path}: not a complete LAMMPS data file: there is no line 'N atoms' in "
                "its header"
            )
        if max(counts) <= 0:
            raise AuditError(f"{self.info.path}: it has {counts[0]} atoms; at least one is needed")
        check_count(max(counts), _SHORTEST_ROW, self.info.size, f"{self.info.path}: atoms")
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

    def _masses(self, header: Sequence[str], labels: Mapping[int, str], types: IntArray) -> Any:
        """Return the mass of each atom from the section Masses, not rounded by ASE."""
        kinds = {label: str(kind) for kind, label in labels.items()}
        rows = [line.split("#")[0].split() for line in header]
        given: dict[int, float] = {}
        for row in rows[rows.index(["Masses"]) + 1 :]:
            kind = kinds.get(row[0], row[0]) if row else ""
            if row and not re.fullmatch("[0-9]{1,18}", kind):
                break  # title of the next section
            if len(row) == 2:
                given[int(kind)] = float(row[1])
        present, index = np.unique(types, return_inverse=True)
        return np.array([given.get(int(kind), np.nan) for kind in present])[index]

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


def _stated_count(line: str) -> int | None:
    """Return the number of atoms that a line of the header states, or None."""
    words = line.split("#")[0].split()
    if words[1:2] != ["atoms"]:
        return None
    try:
        return int(words[0])
    except ValueError:
        return None


def _type_labels(header: Sequence[str]) -> dict[int, str]:
    """Return the labels of the atom types from the Atom Type Labels section."""
    titles = [line.split("#")[0].split() for line in header]
    if ["Atom", "Type", "Labels"] not in titles:
        return {}
    labels: dict[int, str] = {}
    for words in titles[titles.index(["Atom", "Type", "Labels"]) + 1 :]:
        if len(words) == 2 and re.fullmatch("[0-9]{1,18}", words[0]):
            labels[int(words[0])] = words[1]
        elif words:
            break
    return labels
