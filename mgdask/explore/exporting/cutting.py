"""Cut an export into parts, which depend on the data only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mgdask._typing import IntArray
from mgdask.explore.exporting.reading import Part
from mgdask.store.layout import FRAMES_IN_CHUNK, ceil_div

PART = 16 * 2**20
"""Approximate size of a part in bytes."""
VALUE = 14
"""Approximate size of a number in text in bytes."""
TABLE_ROWS = 1_000_000
"""Maximum number of rows of a Parquet file."""
TABLE_PART = 64 * 2**20
"""Maximum size of the columns of a Parquet file in bytes."""


@dataclass(frozen=True)
class Cut:
    """Size of parts.

    Attributes
    ----------
    n_atoms
        Number of atoms of a frame.
    rows
        Maximum number of rows of a part.
    """

    n_atoms: int
    rows: int

    def slabs(self) -> list[tuple[int, int]]:
        """Return first and last (exclusive) atom of each slab of a frame."""
        size = ceil_div(self.n_atoms, ceil_div(self.n_atoms, self.rows))
        return [(low, min(low + size, self.n_atoms)) for low in range(0, self.n_atoms, size)]

    def frames(self) -> int:
        """Return the number of whole frames of a part, in whole chunks of a store."""
        count = max(1, self.rows // self.n_atoms)
        return count - count % FRAMES_IN_CHUNK if count > FRAMES_IN_CHUNK else count


def text_cut(n_atoms: int, n_columns: int) -> Cut:
    """Return the size of parts of a text file."""
    return Cut(n_atoms, max(1000, PART // (VALUE * (9 + n_columns))))


def table_cut(n_atoms: int, n_columns: int) -> Cut:
    """Return the size of Parquet files."""
    return Cut(n_atoms, max(1000, min(TABLE_ROWS, TABLE_PART // (8 * (12 + n_columns)))))


def parts_of(
    files: Sequence[Sequence[int]],
    frames: Sequence[IntArray],
    cut: Cut,
    sections: Sequence[str] = ("Atoms",),
) -> Iterator[Part]:
    """Yield the parts of all files in order.

    Parameters
    ----------
    files
        For each file, places in ``frames``.
    frames
        Positions of the chosen frames in each source.
    cut
        Size of parts.
    sections
        Sections of a data file, one after another.
    """
    number = itertools.count()
    for file, places in enumerate(files):
        first = True
        for few, low, high, section in _pieces(places, cut, sections):
            in_sources = tuple(tuple(int(each[k]) for k in few) for each in frames)
            part = Part(next(number), file, in_sources, low, high, section=section)
            yield replace(part, first=first)
            first = False


def _pieces(
    places: Sequence[int], cut: Cut, sections: Sequence[str]
) -> Iterator[tuple[Sequence[int], int, int, str]]:
    slabs = cut.slabs()
    if len(slabs) == 1 and sections == ("Atoms",):
        size = cut.frames()
        for start in range(0, len(places), size):
            yield places[start : start + size], 0, cut.n_atoms, "Atoms"
        return
    for place in places:
        for section in sections:
            for low, high in slabs:
                yield [place], low, high, section
