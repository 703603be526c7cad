"""The index pass over a LAMMPS text dump.

The pass locates frames, parses headers and counts rows, but converts no values. Frames
are found by searching for ``ITEM: TIMESTEP``. Lines ``ITEM: UNITS`` and ``ITEM: TIME``
before it belong to the frame. The newlines of every frame are counted, so a truncated
frame is detected anywhere in the file. If ``nan`` or ``inf`` may occur in its rows, a
frame is marked as suspect and the audit reads it. A large uncompressed file is indexed
in pieces in parallel. A frame is indexed as part of the piece in which it begins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from mgdask.readers.files import CHUNK, SEEK_POINTS_FROM, Forward, Read, SeekableGzip
from mgdask.readers.formats.lammps_header import parse_header
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
_NOT_FINITE = (b"nan", b"inf", b"NaN", b"Inf", b"NAN", b"INF")


class _Cursor:
    """A moving window over the bytes from ``base`` that counts newlines."""

    def __init__(self, read: Read, base: int, start: int, stop: int | None) -> None:
        self.read, self.base, self.stop = read, base, stop
        self.buffer, self.at, self.lines = b"", start, 0
        self.lines_at_stop: int | None = None
        self.ended = False
        self.suspect = False
        """Whether a word such as ``nan`` or ``inf`` has been found."""

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
                low, high = self.at - self.base, mark - self.base
                self.lines += self.buffer.count(b"\n", low, high)
                self.suspect = self.suspect or self._has_not_finite(max(0, low - 2), high)
                self.at = mark
            if (
                mark is not None
                and mark == self.stop
                and self.at >= mark
                and self.lines_at_stop is None
            ):
                self.lines_at_stop = self.lines
        return self.lines

    def _has_not_finite(self, low: int, high: int) -> bool:
        """Return whether the bytes hold a word such as ``nan`` or ``-inf``."""
        # every such word contains an n, unlike rows of numbers
        if self.buffer.find(b"n", low, high) < 0 and self.buffer.find(b"N", low, high) < 0:
            return False
        return any(self.buffer.find(word, low, high) >= 0 for word in _NOT_FINITE)

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
    return replace(ref, length=length, problem=problem, suspect=cursor.suspect)


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
        cursor.suspect = False
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
    return replace(
        pieces[0],
        frames=frames,
        notes=[note for piece in pieces for note in piece.notes],
        newlines=lines,
    )
