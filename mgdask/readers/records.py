"""Types that every reader shares: a reference to one frame, and a table of its atoms.

All formats use LAMMPS's names: ``id``, ``type`` or ``element``, one set of coordinates
(``x y z``, ``xs ys zs``, ``xu yu zu``, ``xsu ysu zsu``), images ``ix iy iz``, ``mass``,
and further columns under their names in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, FloatArray


class Labels(NamedTuple):
    """A column of text, such as LAMMPS's ``element``: ``names[codes]``."""

    codes: npt.NDArray[np.int64]
    names: tuple[str, ...]


Table = dict[str, "AnyArray | Labels"]


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Location of one frame in its file, and its header; lengths in the file's unit.

    ``start`` is the byte at which the frame begins and ``line`` (from 1) its line.
    ``offset``, ``length`` and ``row_line`` are those of its rows of atoms. ``line`` and
    ``row_line`` are 0 for formats without lines. ``problem`` is None for a complete
    frame; otherwise it says what is missing.
    """

    path: str
    ordinal: int
    step: int | None
    time: float | None
    n_atoms: int
    cell: FloatArray
    origin: FloatArray
    pbc: tuple[bool, bool, bool]
    columns: tuple[str, ...]
    units: str | None = None
    start: int = 0
    line: int = 0
    offset: int = 0
    length: int = 0
    row_line: int = 0
    problem: str | None = None
    values: dict[str, float] = field(default_factory=dict)

    @property
    def scalars(self) -> dict[str, float]:
        """Numbers of the whole frame, such as an energy, by their names in the file."""
        return {name: value for name, value in self.values.items() if name != "no boundary flags"}

    @property
    def where(self) -> str:
        """File, frame, timestep, line and byte, in words."""
        step = "unknown" if self.step is None else self.step
        place = f", line {self.line} (byte {self.start})" if self.line else ""
        return f"{self.path}, frame {self.ordinal} (timestep {step}){place}"


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """One file as it was when it was indexed.

    This is enough to open it again elsewhere and to check that it is unchanged.
    """

    path: str
    kind: str
    size: int
    mtime_ns: int
    fingerprint: str
    seek: bytes | None = None
    units: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    @property
    def parallel(self) -> Literal["range", "stream"]:
        """Whether a frame can be read without reading all frames before it."""
        return "stream" if self.kind in ("lammps-zst", "extxyz") else "range"


@dataclass
class Contents:
    """Result of an index pass over one file or a piece of it."""

    frames: list[FrameRef]
    notes: list[str] = field(default_factory=list)
    seek: bytes | None = None
    newlines: int = 0


class Source(Protocol):
    """One open file."""

    def index(self) -> Contents:
        """Return all frames in order, complete or not, from headers only."""
        ...

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame.

        ``AuditError`` names the line of a row that cannot be read.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...
