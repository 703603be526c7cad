"""What a reader says of a frame, and the frame itself: the common tongue of all file formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class FrameRef:
    """Where a frame is and what its header says; everything that can be known without reading the atoms.

    ``offset`` and ``length`` are the bytes of its rows (uncompressed), ``line`` the number of its first row, counted from 1;
    formats without bytes or lines leave them 0. ``cell`` rows are vectors. ``rows`` is how many rows there are.
    """

    path: str
    ordinal: int
    step: int
    n_atoms: int
    cell: tuple[float, ...]
    origin: tuple[float, float, float]
    pbc: tuple[bool, bool, bool]
    columns: tuple[str, ...]
    time: float | None = None
    units: str | None = None
    offset: int = 0
    length: int = 0
    line: int = 0
    rows: int = 0
    complete: bool = True

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """``cell`` as (3,3)."""
        return np.array(self.cell).reshape(3, 3)

    def where(self) -> str:
        """File, frame, timestep and place, for messages."""
        place = f", line {self.line} (byte {self.offset})" if self.line else ""
        return f"{self.path}, frame {self.ordinal} (timestep {self.step}){place}"

    def moved(self, path: str, ordinal: int) -> FrameRef:
        """The same with another file name and number."""
        return replace(self, path=path, ordinal=ordinal)


class Source(Protocol):
    """One input file: a format knows how to list its frames and how to read some of them in order."""

    path: str
    random_access: bool
    """Whether frames can be read without reading all before them."""
    identity: str
    """``"id"``, or why the order of rows has to serve."""

    def index(self) -> list[FrameRef]:
        """All frames of the file, incomplete ones too."""

    def read(self, refs: Sequence[FrameRef]) -> Iterator[Columns]:
        """The columns of these frames, in the order of the file, by their names in a LAMMPS dump."""
