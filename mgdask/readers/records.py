"""Types that every reader shares: a reference to one frame, and a table of its atoms.

All formats use LAMMPS column names: ``id``, ``type`` or ``element``, ``mass``, images
``ix iy iz``, and one set of coordinates. The sets are ``x y z``, ``xs ys zs``,
``xu yu zu`` and ``xsu ysu zsu``. Further columns keep their names in the file.
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
    """Location and header of one frame; lengths are in the file's unit.

    The frame begins at byte ``start``, on line ``line`` (counted from 1). Its rows of
    atoms begin at byte ``offset``, on line ``row_line``, and take ``length`` bytes.
    Line numbers are 0 for formats without lines. ``problem`` is None for a usable
    frame. Otherwise it describes what is missing or damaged. ``suspect`` is True if the
    text may contain numbers that are not finite. ``number`` is the number of the frame
    as counted by ``frames=``, or -1.
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
    suspect: bool = False
    number: int = -1
    values: dict[str, float] = field(default_factory=dict)

    @property
    def scalars(self) -> dict[str, float]:
        """Numbers of the whole frame, such as an energy, by their names in the file."""
        return {name: value for name, value in self.values.items() if name != "no boundary flags"}

    @property
    def where(self) -> str:
        """Readable location: file, frame, timestep, line and byte."""
        step = "unknown" if self.step is None else self.step
        place = f", line {self.line} (byte {self.start})" if self.line else ""
        return f"{self.path}, frame {self.ordinal} (timestep {step}){place}"


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """One file as it was when it was indexed.

    The fields suffice to reopen the file elsewhere and to check that it is unchanged.
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
        """Access to frames: "range" if random, "stream" if only in order."""
        return "stream" if self.kind == "lammps-zst" else "range"


@dataclass
class Contents:
    """Result of an index pass over one file or a piece of it.

    If the file does not state the origin of its cells, ``origin_stated`` is False.
    ``origin_note`` then describes how the origin was inferred. ``unknown_origin`` says
    why it could not be. Both are empty if zero fits the positions.
    """

    frames: list[FrameRef]
    notes: list[str] = field(default_factory=list)
    seek: bytes | None = None
    newlines: int = 0
    origin_stated: bool = True
    origin_note: str = ""
    unknown_origin: str = ""


class Source(Protocol):
    """One open file."""

    def index(self) -> Contents:
        """Return all frames in order, complete or not, from headers only."""
        ...

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame.

        Raise ``AuditError``, naming the line, for a row that cannot be read.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...
