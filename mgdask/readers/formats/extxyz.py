"""Extended XYZ: comment lines are read by ASE, rows by pyarrow.

See https://github.com/libAtoms/extxyz and https://wiki.fysik.dtu.dk/ase.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np

from mgdask._typing import FloatArray
from mgdask.bounds import MAX_COLUMNS, shortened
from mgdask.errors import AuditError
from mgdask.readers.damage import box_problem, position_problem, step_number
from mgdask.readers.files import open_binary, read_line, read_lines
from mgdask.readers.formats.rows import Kind, parse_rows
from mgdask.readers.formats.tables import component_names, element_labels, pick
from mgdask.readers.origins import Ranges, place_origins
from mgdask.readers.records import Contents, FrameRef, SourceInfo, Table

_KINDS: dict[str, Kind] = {"R": "number", "I": "integer"}
_NAMES = {"species": "element", "symbols": "element", "Z": "number", "masses": "mass"}
_SHORTEST_ROW = 6
"""Minimum number of bytes of a row: three numbers, two blanks and a line feed."""
_RESERVED = ("lattice", "properties", "pbc", "origin", "timestep", "step", "time")


@dataclass(frozen=True)
class _Comment:
    """Comment line of a frame: values by lower-case name, and the columns."""

    values: dict[str, Any]
    spellings: dict[str, str]
    kinds: dict[str, Kind]
    logical: frozenset[str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that can be read: numbers, booleans and species."""
        readable = ("element", "typelabel", *self.logical)
        kept = [name for name, kind in self.kinds.items() if kind != "text" or name in readable]
        return tuple("element" if name == "number" else name for name in kept)

    @property
    def scalars(self) -> dict[str, float]:
        """Numbers of the whole frame, such as an energy, by their names in the file."""
        return {
            self.spellings[name]: float(value)
            for name, value in self.values.items()
            if name not in _RESERVED
            and isinstance(value, int | float | np.number)
            and not isinstance(value, bool)
        }


def read_comment(line: bytes, row: bytes, where: str) -> _Comment:
    """Read a comment line.

    Parameters
    ----------
    line
        The comment line.
    row
        The first row. Species given as integers are types.
    where
        Description of the frame, for messages.

    Raises
    ------
    AuditError
        If ASE cannot read the line.
    """
    from ase.io.extxyz import key_val_str_to_dict

    try:
        found = key_val_str_to_dict(line.decode("utf-8", "replace"))
    except Exception as error:  # a malformed line may raise any exception in ASE
        raise AuditError(
            f"{where}: its comment line cannot be read as extxyz by ASE: "
            f"{type(error).__name__}: {error}. Repair that line, or remove the frame"
        ) from error
    values = {name.lower(): value for name, value in found.items()}
    fields = str(values.get("properties", "species:S:1:pos:R:3")).split(":")
    if len(fields) % 3 or not all(re.fullmatch("[0-9]{1,9}", width) for width in fields[2::3]):
        raise AuditError(
            f"{where}: Properties={shortened(':'.join(fields), 300)} must have the form "
            "name:type:width:..."
        )
    if sum(map(int, fields[2::3])) > MAX_COLUMNS:
        raise AuditError(
            f"{where}: Properties={shortened(':'.join(fields), 300)} has "
            f"{sum(map(int, fields[2::3]))} columns; at most {MAX_COLUMNS} are allowed"
        )
    kinds: dict[str, Kind] = {}
    logical: set[str] = set()
    for name, letter, width in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        columns = component_names(_NAMES.get(name, name), int(width))
        kinds |= dict.fromkeys(columns, _KINDS.get(letter, "text"))
        logical |= set(columns) if letter == "L" else set()
    words = row.split()
    if "element" in kinds and len(words) == len(kinds):
        place = list(kinds).index("element")
        if words[place].isdigit():
            kinds = {
                "type" if name == "element" else name: "integer" if name == "element" else kind
                for name, kind in kinds.items()
            }
    return _Comment(values, {name.lower(): name for name in found}, kinds, frozenset(logical))


class ExtendedXyz:
    """Frames of an extended XYZ file.

    The format has no ids unless a column is called ``id``. Programs write the atoms in
    a fixed order, so the row identifies the atom. A comment line may state the lower
    corner of the cell as ``Origin="x y z"``. If none does, see
    ``mgdask.readers.origins``.
    """

    def __init__(self, info: SourceInfo) -> None:
        self.info = info
        self._file: BinaryIO | None = None

    def index(self) -> Contents:
        """Return all frames, after reading their comment lines and positions."""
        frames: list[FrameRef] = []
        ranges = Ranges()
        start, line, stated = 0, 1, True
        with open_binary(self.info.path) as file:
            while head := read_line(file, self.info.path, line):
                if not head.strip():  # blank lines between frames
                    start, line = start + len(head), line + 1
                    continue
                n_atoms = self._count(head, line)
                comment = read_line(file, self.info.path, line + 1)
                begin = file.tell()
                fits = n_atoms * _SHORTEST_ROW <= os.fstat(file.fileno()).st_size - begin
                rows, whole = read_lines(file, n_atoms, keep=fits)
                ref = FrameRef(
                    self.info.path,
                    len(frames),
                    None,
                    None,
                    n_atoms,
                    np.zeros((3, 3)),
                    np.zeros(3),
                    (False, False, False),
                    (),
                    self.info.units,
                    start=start,
                    line=line,
                    offset=start + len(head) + len(comment),
                    length=file.tell() - begin,
                    row_line=line + 2,
                )
                start, line = ref.offset + ref.length, line + 2 + whole
                if whole < n_atoms or not fits:
                    problem = f"it is cut short: {whole} of {n_atoms} rows"
                    ref = replace(ref, problem=problem)
                    ranges.skip()
                else:
                    ref, own = self._complete(ref, comment, rows, ranges)
                    stated = stated and own
                frames.append(ref)
        notes = []
        if frames and all(ref.step is None for ref in frames):
            notes.append(f"{self.info.path}: frames have no timestep; they are numbered from 0")
        frames = [
            replace(ref, step=ref.ordinal) if ref.step is None and ref.columns else ref
            for ref in frames
        ]
        contents = Contents(frames, notes)
        return contents if stated else place_origins(contents, ranges)

    def _count(self, head: bytes, line: int) -> int:
        if not re.fullmatch(rb"[0-9]{1,18}", head.strip()):
            raise AuditError(
                f"{self.info.path}, line {line}: a frame begins with its number of atoms, but "
                f"this line is {head[:60].decode('utf-8', 'replace').strip()!r}. The previous "
                "frame does not have as many rows as it states: repair or remove it"
            )
        if int(head) == 0:
            raise AuditError(
                f"{self.info.path}, line {line}: the frame has 0 atoms; at least one is needed"
            )
        return int(head)

    def _complete(
        self, ref: FrameRef, comment: bytes, rows: bytes, ranges: Ranges
    ) -> tuple[FrameRef, bool]:
        """Return the complete reference, and whether the frame states an origin."""
        found = read_comment(comment, rows.split(b"\n", 1)[0], ref.where)
        values = found.values
        lattice = values.get("lattice")
        cell = np.zeros((3, 3))
        if lattice is not None:
            cell = _numbers(lattice, (3, 3), f"{ref.where}: Lattice").T
        flags = _numbers(values.get("pbc", [lattice is not None] * 3), (3,), f"{ref.where}: pbc")
        pbc = (bool(flags[0]), bool(flags[1]), bool(flags[2]))
        origin = _numbers(values.get("origin", np.zeros(3)), (3,), f"{ref.where}: Origin")
        step, time = values.get("timestep", values.get("step")), values.get("time")
        ref = replace(
            ref,
            step=None if step is None else step_number(step, ref.where),
            time=None if time is None else float(_numbers(time, (), f"{ref.where}: Time")),
            cell=cell,
            origin=origin,
            pbc=pbc,
            columns=found.columns,
            values=found.scalars,
            problem=box_problem(cell, pbc, origin),
        )
        if not {"x", "y", "z"} <= set(ref.columns):
            raise AuditError(
                f"{ref.where}: Properties names no positions (pos:R:3): "
                f"{shortened(str(values.get('properties')), 300)}"
            )
        if ref.problem is None:
            table = self._parse(rows, ref, found, ("x", "y", "z"))
            position = np.stack([np.asarray(table[name]) for name in "xyz"], axis=1)
            ref = replace(ref, problem=position_problem(position, None, ref.row_line))
            ranges.add(position, ref)
        else:
            ranges.skip()
        return ref, "origin" in values

    def _parse(self, text: bytes, ref: FrameRef, found: _Comment, columns: Sequence[str]) -> Table:
        return parse_rows(text, replace(ref, columns=tuple(found.kinds)), columns, found.kinds)

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame."""
        if self._file is None:
            self._file = open_binary(self.info.path)
        self._file.seek(ref.start)
        head = self._file.read(ref.offset - ref.start)
        text = self._file.read(ref.length)
        if len(text) != ref.length:
            raise AuditError(
                f"{ref.where}: the file is shorter than when it was indexed; run the ingest again"
            )
        found = read_comment(head.split(b"\n")[1], text.split(b"\n", 1)[0], ref.where)
        own = ["number" if c == "element" and c not in found.kinds else c for c in columns]
        known = [name for name in own if name in found.kinds]
        table = self._parse(text, ref, found, known)
        if "number" in table:
            table["element"] = element_labels(np.asarray(table.pop("number")))
        for name in found.logical & set(table):
            table[name] = _truth(table[name])
        return pick(table, ref, columns)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _numbers(value: Any, shape: tuple[int, ...], what: str) -> FloatArray:
    """Return numbers of a comment line, or raise ``AuditError``."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError):
        array = np.empty(0)
    if array.shape != shape and not (what.endswith("pbc") and array.shape == ()):
        count = int(np.prod(shape))
        raise AuditError(
            f"{what} must be {'a number' if count == 1 else f'{count} numbers'}; got "
            f"{shortened(str(value), 200)}. Repair that line, or remove the frame"
        )
    return np.broadcast_to(array, shape)


def _truth(column: Any) -> Any:
    """Return a boolean column as 0 and 1."""
    words = np.array([name.upper().startswith("T") for name in column.names], dtype=np.int64)
    return words[column.codes]
