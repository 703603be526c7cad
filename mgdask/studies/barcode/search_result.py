"""What a search returns, and the files it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class History:
    """The course of a search, recorded at regular intervals.

    Parameters
    ----------
    move
        Number of proposed moves (record,); the first is 0, the start.
    distance
        Distance (record,) to the target, between 0 and 1.
    excess
        Sum (record,) of the atoms' excesses, the smooth term.
    accepted
        Fraction (record,) of the moves since the last record that were accepted.
    energy
        Energy (record,) by the given model, NaN without one.
    """

    move: IntArray
    distance: FloatArray
    excess: FloatArray
    accepted: FloatArray
    energy: FloatArray

    def __len__(self) -> int:
        return len(self.move)


@dataclass(frozen=True)
class SearchResult:
    """A sample moved toward a target barcode.

    Parameters
    ----------
    position
        Positions (atom, xyz) in Å of the state with the smallest distance. They are not
        wrapped into the cell.
    numbers
        Atomic numbers (atom,) of that state.
    cell
        Cell vectors (vector, xyz) in Å.
    pbc
        Whether each cell vector repeats.
    entry
        Entry (atom,) of every atom.
    counts
        Number of atoms (entry,) per entry.
    distance
        Distance to the target.
    move
        Number of moves after which that state was reached.
    start
        Positions (atom, xyz) at the start.
    start_numbers
        Atomic numbers (atom,) at the start.
    history
        Course of the search.
    settings
        Parameters of the search, as plain values.
    """

    position: FloatArray
    numbers: IntArray
    cell: FloatArray
    pbc: BoolArray
    entry: IntArray
    counts: IntArray
    distance: float
    move: int
    start: FloatArray
    start_numbers: IntArray
    history: History
    settings: Mapping[str, Any]

    @property
    def fractions(self) -> FloatArray:
        """Fraction (entry,) of atoms in every entry."""
        return np.asarray(self.counts / len(self.position))

    def to_atoms(self) -> Atoms:
        """Return the sample as ``ase.Atoms`` with the array ``entry``.

        Returns
        -------
        The atoms. ``info`` has the distance, the start's, and the number of moves.
        """
        from ase import Atoms

        atoms = Atoms(numbers=self.numbers, positions=self.position, cell=self.cell, pbc=self.pbc)
        atoms.arrays["entry"] = self.entry.copy()
        atoms.info = {
            "distance": self.distance,
            "start_distance": float(self.history.distance[0]),
            "move": self.move,
        }
        return atoms

    def write(self, path: str | Path) -> Path:
        """Write the sample as extxyz.

        Parameters
        ----------
        path
            File to write.

        Returns
        -------
        The path.
        """
        from ase.io import write

        write(str(path), self.to_atoms(), format="extxyz")
        return Path(path)

    def write_history(self, path: str | Path) -> Path:
        """Write the history as CSV, one line per record.

        Parameters
        ----------
        path
            File to write.

        Returns
        -------
        The path.
        """
        names = ("move", "distance", "excess", "accepted", "energy")
        columns = [getattr(self.history, name).tolist() for name in names]
        lines = [",".join(map(repr, line)) for line in zip(*columns, strict=True)]
        Path(path).write_text("\n".join([",".join(names), *lines]) + "\n", encoding="utf-8")
        return Path(path)


__all__ = ["History", "SearchResult"]
