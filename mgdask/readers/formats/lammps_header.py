"""Header of one frame of a LAMMPS text dump."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mgdask._typing import FloatArray
from mgdask.bounds import MAX_COLUMNS, shortened
from mgdask.errors import AuditError
from mgdask.readers.damage import BOX, box_problem, step_number
from mgdask.readers.records import FrameRef

NO_FLAGS = "no boundary flags"


class _DamagedBoxError(Exception):
    """The box of one frame cannot be used; the text says why."""


def _bounds(
    lines: Sequence[bytes], name: Sequence[str], where: str
) -> tuple[FloatArray, FloatArray, tuple[bool, bool, bool]]:
    """Return cell vectors, origin and periodicity from the lines after BOX BOUNDS.

    See Howto_triclinic in the LAMMPS manual. Raise ``_DamagedBoxError`` for bounds that
    do not define a box. Only this frame is then lost.
    """
    try:
        table = [[float(token) for token in line.split()] for line in lines]
    except ValueError as error:
        raise _DamagedBoxError(f"{BOX} bounds are not numbers: {error}") from None
    general, tilted = name[:2] == ["abc", "origin"], name[:3] == ["xy", "xz", "yz"]
    flags = name[2:] if general else name[3:] if tilted else name
    width = 4 if general else 3 if tilted else 2
    if any(len(row) != width for row in table):
        raise _DamagedBoxError(
            f"{BOX} bounds are malformed: each of the three lines after "
            f"BOX BOUNDS {' '.join(name)} must have {width} numbers"
        )
    box = np.array(table)
    if not np.isfinite(box).all():
        raise _DamagedBoxError(f"{BOX} bounds are not finite: {box.tolist()}")
    pbc = (True, True, True) if not flags else tuple(flag == "pp" for flag in flags)
    if len(pbc) != 3:
        raise AuditError(
            f"{where}: BOX BOUNDS has boundary flags {' '.join(flags)!r}; it needs three, such "
            "as 'pp pp pp'"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # found below
        if general:
            cell, origin = box[:, :3].copy(), box[:, 3].copy()
        else:
            low, high = box[:, 0].copy(), box[:, 1].copy()
            xy, xz, yz = box[:, 2] if tilted else (0.0, 0.0, 0.0)
            low[0] -= min(0.0, xy, xz, xy + xz)
            high[0] -= max(0.0, xy, xz, xy + xz)
            low[1] -= min(0.0, yz)
            high[1] -= max(0.0, yz)
            cell, origin = np.diag(high - low), low
            cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    problem = box_problem(cell, (True, True, True))
    if problem is None and not general and (np.diag(cell) <= 0).any():
        problem = f"{BOX} has an edge of negative length: vectors {cell.tolist()}"
    if problem is not None:
        raise _DamagedBoxError(f"{problem}; upper bounds must be above lower bounds")
    return cell, origin, (pbc[0], pbc[1], pbc[2])


@dataclass
class _Header:
    """Information read from the lines of a frame's header so far."""

    path: str
    start: int
    step: int | None = None
    time: float | None = None
    n_atoms: int | None = None
    units: str | None = None
    columns: tuple[str, ...] = ()
    box: tuple[FloatArray, FloatArray, tuple[bool, bool, bool]] | None = None
    has_flags: bool = True
    damage: str | None = None
    """Description of what is wrong with the box."""

    def where(self) -> str:
        """Return the file, byte and timestep, for messages."""
        step = "unknown" if self.step is None else self.step
        return f"{self.path}: frame at byte {self.start} (timestep {step})"

    def check_title(self, title: str) -> None:
        """Refuse a dump whose rows are not atoms."""
        if title.startswith(("NUMBER OF ENTRIES", "ENTRIES", "NUMBER OF GRID", "GRID")):
            raise AuditError(
                f"{self.where()}: this is a LAMMPS dump of style local or grid ('ITEM: {title}'), "
                "which has no atoms; give a dump of style atom or custom"
            )

    def read_item(self, title: str, body: Sequence[bytes]) -> None:
        """Parse the lines that follow one title."""
        if title.startswith("BOX BOUNDS"):
            flags = title.split()[2:]
            self.has_flags = bool(flags)
            try:
                self.box = _bounds(body, flags, self.where())
            except _DamagedBoxError as error:
                self.damage = str(error)
            return
        value = shortened(body[0].strip().decode("utf-8", "replace"))
        try:
            if title == "TIMESTEP":
                self.step = step_number(int(value), f"{self.path}: frame at byte {self.start}")
            elif title == "TIME":
                self.time = float(value)
            elif title == "NUMBER OF ATOMS":
                self.n_atoms = int(value)
            elif title == "UNITS":
                self.units = value
            else:
                raise AuditError(
                    f"{self.where()}: its header has {shortened(f'ITEM: {title}')!r}, which is not "
                    "part of a LAMMPS dump of atoms"
                )
        except ValueError as error:
            if isinstance(error, AuditError):
                raise
            kind = "a number" if title == "TIME" else "an integer"
            raise AuditError(
                f"{self.where()}: 'ITEM: {title}' is followed by {value!r}, not by {kind}"
            ) from None

    def check_complete(self) -> None:
        """Refuse a header that lacks an item, has no atoms, or repeats a column."""
        if self.step is None or self.n_atoms is None or not (self.box or self.damage):
            raise AuditError(
                f"{self.where()}: its header lacks TIMESTEP, NUMBER OF ATOMS or BOX BOUNDS "
                "before ATOMS"
            )
        if self.n_atoms <= 0:
            raise AuditError(f"{self.where()}: it has {self.n_atoms} atoms; at least one is needed")
        if len(self.columns) > MAX_COLUMNS:
            raise AuditError(
                f"{self.where()}: it has {len(self.columns)} columns; at most {MAX_COLUMNS} are "
                "allowed. Write the dump again with fewer"
            )
        twice = sorted(name for name, count in Counter(self.columns).items() if count > 1)
        if twice:
            raise AuditError(
                f"{self.where()}: column {shortened(', '.join(twice))} occurs twice, "
                "so its values are ambiguous; write it once"
            )

    def reference(self, problem: str | None) -> FrameRef:
        """Return the reference to the frame; ``problem`` says why it is incomplete."""
        cell, origin, pbc = self.box or (np.zeros((3, 3)), np.zeros(3), (True, True, True))
        return FrameRef(
            self.path,
            0,
            self.step,
            self.time,
            self.n_atoms or 0,
            cell,
            origin,
            pbc,
            self.columns,
            self.units,
            start=self.start,
            problem=problem,
            values={} if self.has_flags else {NO_FLAGS: 1.0},
        )


def parse_header(text: bytes, *, path: str, start: int) -> tuple[FrameRef, int]:
    """Return the frame's header and its length in bytes.

    ``problem`` of the header is set if the text ends before the header does.
    """
    header = _Header(path, start)
    # the last line has no newline, so it is truncated
    lines = text.split(b"\n")[:-1]
    n_read = 0
    problem: str | None = "it ends inside its header"
    while n_read < len(lines):
        line = lines[n_read].decode("utf-8", "replace")
        n_read += 1
        words = line.split()
        if words[:1] != ["ITEM:"]:
            raise AuditError(
                f"{header.where()}: line {n_read} of its header is {line[:60]!r}, but a line that "
                "begins with 'ITEM:' is expected. Repair the file, or remove this frame from it"
            )
        title = " ".join(words[1:])
        if title.startswith("ATOMS"):
            header.columns = tuple(words[2:])
            header.check_complete()
            problem = header.damage
            break
        header.check_title(title)
        count = 3 if title.startswith("BOX BOUNDS") else 1
        if n_read + count > len(lines):
            break
        header.read_item(title, lines[n_read : n_read + count])
        n_read += count
    used = sum(map(len, lines[:n_read])) + n_read
    return header.reference(problem), used
