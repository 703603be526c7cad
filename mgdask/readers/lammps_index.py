"""Finding the frames of a LAMMPS text dump: one pass over the bytes, headers read, rows only counted.

A plain file can be cut into pieces that are searched in parallel (``index_piece``); the pieces are then joined (``join_pieces``).
Rows are counted for every frame, so a frame that a dying run left unfinished is known here, also in the middle of a file that a
restart went on writing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from mgdask.errors import AuditError
from mgdask.readers.frames import FrameRef

CHUNK = 32 * 1024 * 1024
_MARK = b"ITEM: TIMESTEP"
_LEAD = 256
_HEADER = 8192
_BEFORE = re.compile(rb"(ITEM: UNITS\r?\n\s*(?P<units>\S+)\s*\n)?(ITEM: TIME\r?\n\s*(?P<time>\S+)\s*\n)?\Z")


@dataclass(frozen=True)
class Mark:
    """A header found in a piece: where it starts and ends (bytes, and line feeds before both), and its text."""

    start: int
    start_feeds: int
    rows: int
    rows_feeds: int
    header: bytes
    units: str | None
    time: float | None
    finished: bool


@dataclass(frozen=True)
class Piece:
    """What one piece of a file holds: the headers that begin in it, its line feeds, its end, its last byte."""

    marks: tuple[Mark, ...]
    feeds: int
    end: int
    last_byte: int


def index_stream(stream: BinaryIO, start: int = 0, stop: int | None = None) -> list[Piece]:
    """Pieces of the bytes [start, stop) of a stream that stands at max(0, start - 256); piece by piece of 32 MB."""
    pieces = []
    lead = min(start, _LEAD)
    window = stream.read(lead)
    at = start
    while stop is None or at < stop:
        want = CHUNK if stop is None else min(CHUNK, stop - at)
        window += stream.read(max(0, lead + want + _HEADER - len(window)))
        body = min(want, len(window) - lead)
        if body <= 0:
            break
        pieces.append(scan(window, lead, body, at))
        at += body
        keep = min(_LEAD, lead + body)
        window, lead = window[lead + body - keep :], keep
    return pieces


def scan(window: bytes, lead: int, body: int, start: int) -> Piece:
    """Headers whose TIMESTEP item begins in ``window[lead : lead + body]``; ``start`` is the file position of that part.

    The bytes before and after are there because UNITS and TIME come before a TIMESTEP, and the rest of a header after it.
    """
    base = start - lead
    data = np.frombuffer(window, dtype=np.uint8)

    def feeds(first: int, last: int) -> int:
        return int(np.count_nonzero(data[first:last] == 10)) if last >= first else -feeds(last, first)

    marks = []
    counted, total = lead, 0
    at = window.find(_MARK, lead)
    while 0 <= at < lead + body:
        found = _BEFORE.search(window[max(0, at - _LEAD) : at])
        begin = at - (len(found.group(0)) if found else 0)
        rows, finished = _end_of_header(window, at)
        total += feeds(counted, begin)
        before = total
        total += feeds(begin, rows)
        counted = rows
        units = found.group("units").decode() if found and found.group("units") else None
        time = float(found.group("time")) if found and found.group("time") else None
        marks.append(Mark(base + begin, before, base + rows, total, window[at:rows], units, time, finished))
        at = window.find(_MARK, max(rows, at + 1))
    return Piece(tuple(marks), total + feeds(counted, lead + body), start + body, window[lead + body - 1])


def _end_of_header(buffer: bytes, at: int) -> tuple[int, bool]:
    """Position of the first row after the ITEM: ATOMS line, or of the end of what there is."""
    atoms = buffer.find(b"ITEM: ATOMS", at, at + _HEADER)
    following = buffer.find(_MARK, at + len(_MARK), at + _HEADER)
    if atoms < 0 or 0 <= following < atoms:
        return (following if following > 0 else min(len(buffer), at + _HEADER)), False
    feed = buffer.find(b"\n", atoms)
    return (feed + 1, True) if feed >= 0 else (len(buffer), False)


def join_pieces(path: str, pieces: Sequence[Piece], *, first_bytes: bytes) -> list[FrameRef]:
    """Frames of a file from its pieces in order; ``AuditError`` if it is empty or not a dump."""
    size = pieces[-1].end if pieces else 0
    if size == 0 or not first_bytes.strip():
        raise AuditError(
            f"{path} is empty (byte 0), or nothing of it can be unpacked; remove it from the list of files"
        )
    found: list[tuple[Mark, int]] = []
    before = 0
    for piece in pieces:
        found += [(mark, before) for mark in piece.marks]
        before += piece.feeds
    if not found or found[0][0].start != len(first_bytes) - len(first_bytes.lstrip()):
        raise AuditError(
            f"{path} is not a LAMMPS text dump: it begins with {first_bytes[:40]!r} (byte 0, line 1) where 'ITEM: TIMESTEP' "
            "(or ITEM: UNITS, ITEM: TIME before it) should be. Other formats are known by their endings: .data, .extxyz, "
            ".h5md, .nc, .bin"
        )
    refs = []
    units: str | None = None
    for k, (mark, feeds) in enumerate(found):
        last = k + 1 == len(found)
        stop = size if last else found[k + 1][0].start
        rows = (before if last else found[k + 1][1] + found[k + 1][0].start_feeds) - (feeds + mark.rows_feeds)
        units = mark.units or units  # written once, at the top of a file
        refs.append(_frame(path, k, mark, feeds + mark.start_feeds + 1, feeds + mark.rows_feeds + 1, stop, rows, units,
                           last and pieces[-1].last_byte != 10))  # fmt: skip
    return refs


def _frame(path: str, ordinal: int, mark: Mark, header_line: int, rows_line: int, stop: int, rows: int,
           units: str | None, cut: bool) -> FrameRef:  # fmt: skip
    text = mark.header.decode("ascii", errors="replace").splitlines()
    step = int(text[1]) if len(text) > 1 and re.fullmatch(r"\s*-?\d+\s*", text[1]) else -1
    here = f"{path}, frame {ordinal} (timestep {step}), line {header_line} (byte {mark.start})"
    empty = FrameRef(path, ordinal, step, 0, (0.0,) * 9, (0.0, 0.0, 0.0), (True,) * 3, (), offset=mark.rows,
                     line=rows_line, rows=max(rows, 0), complete=False)  # fmt: skip
    if not mark.finished:
        return empty
    try:
        items = {}
        for k, line in enumerate(text):
            if line.startswith("ITEM: "):
                items[line[6:].split()[0]] = k
        n_atoms = int(text[items["NUMBER"] + 1])
        box = text[items["BOX"]].split()[3:]
        bounds = [[float(v) for v in text[items["BOX"] + 1 + k].split()] for k in range(3)]
        columns = tuple(text[items["ATOMS"]].split()[2:])
        cell, origin = _box(box, bounds)
    except (KeyError, ValueError, IndexError) as error:
        raise AuditError(
            f"{here}: the header cannot be read ({type(error).__name__}: {error}); expected the items TIMESTEP, NUMBER OF "
            f"ATOMS, BOX BOUNDS and ATOMS, found:\n{mark.header.decode('ascii', errors='replace')}"
        ) from error
    flags = [flag for flag in box if re.fullmatch("[pfsm]{2}", flag)]
    pbc = tuple(flag == "pp" for flag in flags) if len(flags) == 3 else (True, True, True)
    complete = rows >= n_atoms and not cut
    return FrameRef(path, ordinal, step, n_atoms, cell, origin, pbc, columns, mark.time, units, mark.rows,  # type: ignore[arg-type]
                    stop - mark.rows, rows_line, rows, complete)  # fmt: skip


def _box(words: Sequence[str], bounds: list[list[float]]) -> tuple[tuple[float, ...], tuple[float, float, float]]:
    if words[:2] == ["abc", "origin"]:  # general triclinic: vectors, and one coordinate of the origin a line
        return tuple(v for line in bounds for v in line[:3]), (bounds[0][3], bounds[1][3], bounds[2][3])
    if "xy" in words:
        (xlo, xhi, xy), (ylo, yhi, xz), (zlo, zhi, yz) = bounds
        # LAMMPS writes the bounding box of a tilted cell
        xlo, xhi = xlo - min(0.0, xy, xz, xy + xz), xhi - max(0.0, xy, xz, xy + xz)
        ylo, yhi = ylo - min(0.0, yz), yhi - max(0.0, yz)
        return (xhi - xlo, 0.0, 0.0, xy, yhi - ylo, 0.0, xz, yz, zhi - zlo), (xlo, ylo, zlo)
    (xlo, xhi), (ylo, yhi), (zlo, zhi) = (line[:2] for line in bounds)
    return (xhi - xlo, 0.0, 0.0, 0.0, yhi - ylo, 0.0, 0.0, 0.0, zhi - zlo), (xlo, ylo, zlo)
