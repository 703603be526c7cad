"""The index pass over a LAMMPS text dump.

The pass locates frames, parses headers and counts rows, but converts no values. Frames
are found by searching for ``ITEM: TIMESTEP``. Lines ``ITEM: UNITS`` and ``ITEM: TIME``
before it belong to the frame. The newlines of every frame are counted, so a truncated
frame is detected anywhere in the file. A large uncompressed file is indexed in pieces
in parallel. The piece in which a frame begins indexes all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mgdask._typing import FloatArray
from mgdask.errors import AuditError
from mgdask.readers.files import CHUNK, SEEK_POINTS_FROM, Forward, Read, SeekableGzip
from mgdask.readers.records import Contents, FrameRef

MARK = b"ITEM: TIMESTEP"
_LEAD = re.compile(rb"(?:ITEM: (?:UNITS|TIME)[ \t\r]*\n[^\n]{0,64}\n){1,2}\Z")
_ITEMS = rb"ITEM: (?:UNITS|TIME)[ \t\r]*\n[^\n]{0,64}"
_PART = rb"I(?:T(?:E(?:M(?::(?: [A-Z]{0,8})?)?)?)?)?"
_TORN = re.compile(rb"(?:" + _ITEMS + rb"\n){0,2}(?:" + _ITEMS + rb"|" + _PART + rb")\n?\Z")
_LOOK_BACK = 512
_LONGEST_HEADER = 1 << 18
SPACING = 4 << 20
"""Minimum number of unpacked bytes between two seek points."""
TOO_LONG = "it has extra lines"
NO_FLAGS = "no boundary flags"


class _Cursor:
    """A moving window over the bytes from ``base`` that counts newlines."""

    def __init__(self, read: Read, base: int, start: int, stop: int | None) -> None:
        self.read, self.base, self.stop = read, base, stop
        self.buffer, self.at, self.lines = b"", start, 0
        self.lines_at_stop: int | None = None
        self.ended = False

    @property
    def end(self) -> int:
        return self.base + len(self.buffer)

    def more(self) -> bool:
        """Read a chunk and drop bytes behind the cursor; return False at the end."""
        chunk = b"" if self.ended else self.read(CHUNK)
        if not chunk:
            self.ended = True
            return False
        keep = max(0, self.at - _LOOK_BACK - self.base)
        self.buffer, self.base = self.buffer[keep:] + chunk, self.base + keep
        return True

    def advance(self, to: int) -> int:
        """Move past everything before ``to``; return the number of newlines so far."""
        for mark in (self.stop, to):
            if mark is not None and self.at < mark <= to:
                self.lines += self.buffer.count(b"\n", self.at - self.base, mark - self.base)
                self.at = mark
            if (
                mark is not None
                and mark == self.stop
                and self.at >= mark
                and self.lines_at_stop is None
            ):
                self.lines_at_stop = self.lines
        return self.lines

    def find(self, position: int, limit: int | None) -> int | None:
        """Return the position of the next frame's mark, or None if there is none."""
        while True:
            index = self.buffer.find(MARK, max(0, position - self.base))
            if index >= 0:
                mark = self.base + index
                return None if limit is not None and mark >= limit else mark
            position = max(position, self.end - len(MARK) + 1)
            if limit is not None and position >= limit:
                return None
            self.advance(max(self.at, min(position, self.end - _LOOK_BACK)))
            if not self.more():
                return None

    def torn(self, after: int) -> int | None:
        """Return the start of a frame whose mark is cut by the end of the file."""
        low = max(after - self.base, len(self.buffer) - _LOOK_BACK, 0)
        match = _TORN.search(self.buffer, low)
        return None if match is None else self.base + match.start()

    def lead(self, mark: int) -> int:
        """Return the start of a frame, which is at its UNITS and TIME lines if any."""
        low = max(0, mark - _LOOK_BACK - self.base)
        match = _LEAD.search(self.buffer, low, mark - self.base)
        # the mark follows the searched part, whose end \Z matches
        return mark if match is None else self.base + match.start()


def _bounds(
    lines: Sequence[bytes], name: Sequence[str], where: str
) -> tuple[FloatArray, FloatArray, tuple[bool, bool, bool]]:
    """Return cell vectors, origin and periodicity from the lines after BOX BOUNDS.

    See Howto_triclinic in the LAMMPS manual.
    """
    try:
        table = [[float(token) for token in line.split()] for line in lines]
    except ValueError as error:
        raise AuditError(f"{where}: the box bounds are not numbers: {error}") from None
    general, tilted = name[:2] == ["abc", "origin"], name[:3] == ["xy", "xz", "yz"]
    flags = name[2:] if general else name[3:] if tilted else name
    width = 4 if general else 3 if tilted else 2
    if any(len(row) != width for row in table):
        raise AuditError(
            f"{where}: each of the three lines after BOX BOUNDS {' '.join(name)} must "
            f"have {width} numbers"
        )
    box = np.array(table)
    if not np.isfinite(box).all():
        raise AuditError(f"{where}: the box bounds are not finite: {box.tolist()}")
    pbc = (True, True, True) if not flags else tuple(flag == "pp" for flag in flags)
    if len(pbc) != 3:
        raise AuditError(
            f"{where}: BOX BOUNDS has boundary flags {' '.join(flags)!r}; it needs three, such "
            "as 'pp pp pp'"
        )
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
    if np.linalg.det(cell) <= 0 or (not general and (np.diag(cell) <= 0).any()):
        raise AuditError(
            f"{where}: the cell volume is zero or negative: vectors {cell.tolist()}; upper bounds "
            "must be above lower bounds"
        )
    return cell, origin, (pbc[0], pbc[1], pbc[2])


@dataclass
class _Header:
    """What the lines of a frame's header have said so far."""

    path: str
    start: int
    step: int | None = None
    time: float | None = None
    n_atoms: int | None = None
    units: str | None = None
    columns: tuple[str, ...] = ()
    box: tuple[FloatArray, FloatArray, tuple[bool, bool, bool]] | None = None
    has_flags: bool = True

    def where(self) -> str:
        """Return the file, byte and timestep in words."""
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
        """Take in the lines that follow one title."""
        if title.startswith("BOX BOUNDS"):
            flags = title.split()[2:]
            self.box, self.has_flags = _bounds(body, flags, self.where()), bool(flags)
            return
        value = body[0].strip().decode("utf-8", "replace")
        try:
            if title == "TIMESTEP":
                self.step = int(value)
            elif title == "TIME":
                self.time = float(value)
            elif title == "NUMBER OF ATOMS":
                self.n_atoms = int(value)
            elif title == "UNITS":
                self.units = value
            else:
                raise AuditError(
                    f"{self.where()}: its header has 'ITEM: {title}', which is not part of a "
                    "LAMMPS dump of atoms"
                )
        except ValueError as error:
            if isinstance(error, AuditError):
                raise
            raise AuditError(
                f"{self.where()}: 'ITEM: {title}' is followed by {value!r}, not by a number"
            ) from None

    def check_complete(self) -> None:
        """Refuse a header that lacks an item, has no atoms, or repeats a column."""
        if self.step is None or self.n_atoms is None or self.box is None:
            raise AuditError(
                f"{self.where()}: its header lacks TIMESTEP, NUMBER OF ATOMS or BOX BOUNDS "
                "before ATOMS"
            )
        if self.n_atoms <= 0:
            raise AuditError(f"{self.where()}: it has {self.n_atoms} atoms; at least one is needed")
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise AuditError(
                f"{self.where()}: column {', '.join(twice)} occurs twice, "
                "so its values are ambiguous"
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
    # the last line has no newline, so it is cut
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
            problem = None
            break
        header.check_title(title)
        count = 3 if title.startswith("BOX BOUNDS") else 1
        if n_read + count > len(lines):
            break
        header.read_item(title, lines[n_read : n_read + count])
        n_read += count
    used = sum(map(len, lines[:n_read])) + n_read
    return header.reference(problem), used


def _close(ref: FrameRef, cursor: _Cursor, end: int, first_row: int) -> FrameRef:
    """Complete a reference with the rows counted up to ``end``, the end of its text."""
    rows = cursor.advance(end) - first_row
    if ref.problem is not None:
        return ref
    low = max(ref.offset, end - _LOOK_BACK)
    tail = cursor.buffer[low - cursor.base : end - cursor.base]
    kept = tail.rstrip(b" \t\r\n")
    blank = tail[len(kept) :]
    ended = b"\n" in blank or end == ref.offset
    # blank lines after the last row
    rows -= max(0, blank.count(b"\n") - 1) if kept else 0
    length = end - ref.offset - len(blank) + (blank.find(b"\n") + 1 if ended else len(blank))
    whole = rows if ended else rows + 1
    problem = None
    if whole > ref.n_atoms:
        problem = f"{TOO_LONG}: its header gives {ref.n_atoms} atoms, but {whole} lines follow"
    elif rows < ref.n_atoms:
        rest = "" if ended else " and part of the next, without an end of line"
        problem = f"it is cut short: {rows} of {ref.n_atoms} rows{rest}"
    return replace(ref, length=length, problem=problem)


def index_bytes(
    read: Read, path: str, start: int = 0, stop: int | None = None, base: int = 0
) -> Contents:
    """Return frames whose ``ITEM: TIMESTEP`` lies in [start, stop).

    ``read`` returns the file's bytes from ``base`` on. Line numbers are counted from
    ``start`` and ordinals from 0; ``join`` converts them to those of the file.
    """
    cursor = _Cursor(read, base, start, stop)
    cursor.more()
    frames: list[FrameRef] = []
    notes: list[str] = []
    mark = cursor.find(start, stop)
    if start == 0:
        head = cursor.lead(mark) if mark is not None else 0
        junk = cursor.buffer[: head - cursor.base] if cursor.base == 0 else b"?"
        if junk.strip():
            notes.append(
                f"{path}: bytes 0 to {head} before the first frame are not a complete frame "
                "and are left out"
            )
    while mark is not None:
        begin = max(cursor.lead(mark), 0)
        line = cursor.advance(max(begin, cursor.at)) + 1
        while cursor.end < mark + _LONGEST_HEADER and cursor.more():
            pass
        after = cursor.buffer.find(
            MARK, mark + len(MARK) - cursor.base, mark + _LONGEST_HEADER - cursor.base
        )
        limit = cursor.end if after < 0 else cursor.lead(after + cursor.base)
        atoms = cursor.buffer.find(b"ITEM: ATOMS", mark - cursor.base, limit - cursor.base)
        if atoms >= 0 and (feed := cursor.buffer.find(b"\n", atoms, limit - cursor.base)) >= 0:
            limit = cursor.base + feed + 1
        ref, used = parse_header(
            cursor.buffer[begin - cursor.base : limit - cursor.base], path=path, start=begin
        )
        offset = begin + used
        first_row = cursor.advance(max(offset, cursor.at))
        ref = replace(ref, line=line, offset=offset, row_line=first_row + 1, ordinal=len(frames))
        following = cursor.find(max(offset, mark + len(MARK)), None)
        end = cursor.end if following is None else cursor.lead(following)
        torn = None if following is not None or ref.problem is not None else cursor.torn(offset)
        end = torn or end
        frames.append(_close(ref, cursor, end, first_row))
        if torn is not None:  # the file ends inside the mark of another frame
            last = replace(
                ref, ordinal=len(frames), step=None, start=torn, line=cursor.advance(torn) + 1
            )
            frames.append(replace(last, problem="it ends inside its header"))
        mark = following if following is not None and (stop is None or following < stop) else None
    if stop is not None and cursor.lines_at_stop is None:
        while cursor.end < stop and cursor.more():
            cursor.advance(min(stop, cursor.end))
        cursor.advance(min(stop, cursor.end))
    newlines = cursor.lines if cursor.lines_at_stop is None else cursor.lines_at_stop
    return Contents(frames, notes, newlines=newlines)


def index_range(path: str, start: int = 0, stop: int | None = None) -> Contents:
    """Index one piece of an uncompressed file."""
    base = max(0, start - _LOOK_BACK)
    file = Forward(path, "plain")
    try:
        file.file.seek(base)
        return index_bytes(file.read, path, start, stop, base)
    finally:
        file.close()


def index_packed(path: str, packing: str, size: int) -> Contents:
    """Index a whole gz or zst file.

    Large gz files get seek points, so that tasks can read ranges of them.
    """
    if packing == "gz" and size >= SEEK_POINTS_FROM:
        # about 200 points of 32 KiB at most, and at least 4 MiB apart
        seekable = SeekableGzip(path, None, spacing=max(SPACING, size * 4 // 200))
        try:
            contents = index_bytes(seekable.read, path)
            contents.seek = seekable.points()
            return contents
        except OSError:  # damaged or truncated: read forward below
            pass
        finally:
            seekable.close()
    file = Forward(path, packing)
    try:
        contents = index_bytes(file.read, path)
        if file.cut:
            contents.notes.append(
                f"{path}: the {packing} data end before their end mark: the file is truncated, and "
                "only its complete frames are read"
            )
        return contents
    finally:
        file.close()


def join(pieces: Sequence[Contents]) -> Contents:
    """Join the pieces of one file.

    Lines and ordinals are counted from its beginning. All frames get the units of the
    first, because LAMMPS writes ``ITEM: UNITS`` only there.
    """
    frames: list[FrameRef] = []
    lines, units = 0, None
    for piece in pieces:
        for ref in piece.frames:
            units = ref.units or units
            frames.append(
                replace(
                    ref,
                    ordinal=len(frames),
                    line=ref.line + lines,
                    row_line=ref.row_line + lines,
                    units=units,
                )
            )
        lines += piece.newlines
    return Contents(
        frames, [note for piece in pieces for note in piece.notes], pieces[0].seek, lines
    )
