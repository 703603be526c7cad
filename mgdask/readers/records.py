"""What every reader speaks: a reference to one frame, and a table of named columns for its atoms.

All formats are told in LAMMPS's words: ``id``, ``type`` or ``element``, one set of coordinates (``x y z``, ``xs ys zs``,
``xu yu zu``, ``xsu ysu zsu``), images ``ix iy iz``, ``mass``, and further columns under the file's own names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


class Labels(NamedTuple):
    """A column of text, as LAMMPS's ``element``: ``names[codes]``."""

    codes: npt.NDArray[np.int64]
    names: tuple[str, ...]


Table = dict[str, "Array | Labels"]


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Where one frame lies in its file, and what its header says; lengths in the file's own unit.

    ``start`` is the byte at which the frame begins and ``line`` (from 1) the line; ``offset``, ``length`` and ``row_line``
    are those of its rows of atoms. For formats without lines the latter are 0. ``problem`` is None for a whole frame, else
    it says in words what is missing.
    """

    path: str
    ordinal: int
    step: int | None
    time: float | None
    n_atoms: int
    cell: Float
    origin: Float
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
        """Numbers of the whole frame, such as an energy, by their name in the file."""
        return {name: value for name, value in self.values.items() if name != "no boundary flags"}

    @property
    def where(self) -> str:
        """The place in words: file, frame, timestep, line and byte."""
        step = "unknown" if self.step is None else self.step
        place = f", line {self.line} (byte {self.start})" if self.line else ""
        return f"{self.path}, frame {self.ordinal} (timestep {step}){place}"


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """One file as it was when it was indexed: enough to open it again elsewhere and to see that it is the same."""

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
    """What an index pass found in one file, or in one piece of it."""

    frames: list[FrameRef]
    notes: list[str] = field(default_factory=list)
    seek: bytes | None = None
    newlines: int = 0


class Source(Protocol):
    """One open file."""

    def index(self) -> Contents:
        """All frames in order, whole or not, from headers only."""
        ...

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """The wanted columns of one frame; ``AuditError`` with the line where a row is not right."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...
