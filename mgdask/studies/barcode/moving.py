"""A sample whose entries are updated while its atoms move.

A SOAP row depends on the atoms within r_cut + sigma sqrt(-2 ln 1e-3) of its center. If
an atom moves, its own row changes, and the rows of atoms near its old or new position.
About 80 of 500 atoms are touched by one move at r_cut = 5 Å.

All numbers have the same bits as a computation from scratch. The cell list is rebuilt
for every move, in O(atoms) time. A row is a sum over neighbors in the order of that
list, whatever other centers are computed with it. The order of the neighbors of an
untouched atom does not change, because the bins of the other atoms do not. Only along
free axes do the bins span the atoms, so they may shift. In that case, all atoms count
as touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray, Periodic
from mgdask.errors import ParameterError
from mgdask.features.environments import LocalEnvironments
from mgdask.features.registry import make_feature
from mgdask.features.soap import SOAP
from mgdask.geometry import complete_cell
from mgdask.kernels.nearest import VectorIndex, make_index, nearest, unit_rows
from mgdask.kernels.neighbors import CellList, list_neighbors
from mgdask.kernels.radial import padded_cutoff
from mgdask.store.dictionaries import Dictionary, read_dictionary


@dataclass(frozen=True)
class Entries:
    """Unique local environments to which atoms are assigned.

    Parameters
    ----------
    soap
        Feature whose rows of norm 1 are compared.
    index
        The vectors of the entries, prepared for the search of the nearest one.
    species
        Atomic number (entry,) of every center if atoms are compared with entries of
        their own species only; None if they are compared with all.
    """

    soap: SOAP
    index: VectorIndex
    species: IntArray | None = None

    def __post_init__(self) -> None:
        if self.soap.level != "atom" or self.soap.engine != "mgdask":
            raise ParameterError(
                f"soap={self.soap} must have average='off' and engine='mgdask', because rows of "
                "single atoms are updated"
            )
        if self.index.n_columns != self.soap.n_columns:
            raise ParameterError(
                f"entries have {self.index.n_columns} columns, but SOAP({self.soap.summary()}) has "
                f"{self.soap.n_columns}; give the feature that the dictionary was built with"
            )

    @classmethod
    def of(cls, dictionary: str | Path | Dictionary) -> Self:
        """Read the entries of a dictionary.

        Parameters
        ----------
        dictionary
            Path of a dictionary, or what ``mgdask.read_dictionary`` returns.

        Returns
        -------
        The entries, prepared for the search of the nearest one.

        Raises
        ------
        ParameterError
            If it was not built with SOAP rows of single atoms.
        """
        if not isinstance(dictionary, Dictionary):
            dictionary = read_dictionary(dictionary)
        feature = make_feature(dictionary.feature["family"], dictionary.feature["parameters"])
        if not isinstance(feature, SOAP):
            raise ParameterError(
                f"dictionary {dictionary.path} was built with {feature.family}; a search needs one "
                "that was built with SOAP"
            )
        return cls(feature, make_index(dictionary.vectors(), dictionary.groups), dictionary.groups)

    @property
    def n_entries(self) -> int:
        """Number of entries."""
        return self.index.n_entries

    @property
    def reach(self) -> float:
        """Largest distance in Å of an atom that changes a row."""
        return padded_cutoff(self.soap.r_cut, self.soap.sigma)

    def assign(self, rows: FloatArray, numbers: IntArray) -> tuple[IntArray, FloatArray]:
        """Return the nearest entry (row,) and its squared distance (row,).

        Parameters
        ----------
        rows
            SOAP rows (row, column) of norm 1.
        numbers
            Atomic number (row,) of every center.
        """
        return nearest(self.index, rows, None if self.species is None else numbers)


@dataclass(frozen=True)
class Trial:
    """A proposed change of a sample, with everything that it would change.

    Parameters
    ----------
    atoms
        Moved or changed atoms (moved,).
    position
        Their new positions (moved, xyz) in Å.
    numbers
        Their new atomic numbers (moved,).
    closest
        Distance (moved, species) in Å to the nearest atom of every species, infinite if
        there is none within reach. Moved atoms are at their new places.
    environments
        The frame after the change.
    """

    atoms: IntArray
    position: FloatArray
    numbers: IntArray
    closest: FloatArray
    environments: LocalEnvironments


@dataclass(frozen=True)
class Update:
    """What a trial changes in the environments.

    Parameters
    ----------
    touched
        Atoms (touched,) whose environment may change, in ascending order.
    rows
        Their rows (touched, column) of norm 1.
    entry
        Their nearest entries (touched,).
    squared_distance
        Squared distance (touched,) to these.
    counts
        Number of atoms (entry,) of the whole sample per entry.
    """

    touched: IntArray
    rows: FloatArray
    entry: IntArray
    squared_distance: FloatArray
    counts: IntArray


class MovingSample:
    """A sample with the entry of each atom, updated after each move.

    Parameters
    ----------
    position
        Positions (atom, xyz) in Å.
    cell
        Cell vectors (vector, xyz) in Å.
    pbc
        Whether each cell vector repeats.
    numbers
        Atomic numbers (atom,).
    entries
        Entries that the atoms are assigned to.
    """

    def __init__(
        self,
        position: FloatArray,
        cell: FloatArray,
        pbc: Periodic,
        numbers: IntArray,
        entries: Entries,
    ) -> None:
        self.entries = entries
        self.pbc = tuple(bool(each) for each in pbc)
        self.cell = complete_cell(cell, self.pbc)
        self.position = np.array(position, dtype=np.float64)
        self.numbers = np.array(numbers, dtype=np.int64)
        entries.soap.check_species(self.numbers)
        self.species = np.unique(self.numbers)
        self._environments = self._frame(self.position, self.numbers)
        everything = np.arange(len(self.position))
        self.rows = self._rows(self._environments, everything)
        self.entry, self.squared_distance = entries.assign(self.rows, self.numbers)
        if len(self.entry) and self.entry.min() < 0:
            atom = int(self.entry.argmin())
            raise ParameterError(
                f"atom {atom} (Z = {self.numbers[atom]}) has no entry of its species; use a "
                "dictionary that contains its environments"
            )
        self.counts = np.bincount(self.entry, minlength=entries.n_entries)

    def __len__(self) -> int:
        return len(self.position)

    @property
    def fractions(self) -> FloatArray:
        """Fraction (entry,) of atoms in every entry."""
        return np.asarray(self.counts / len(self))

    def fresh(self) -> MovingSample:
        """Return the same sample, computed from scratch."""
        return MovingSample(self.position, self.cell, self.pbc, self.numbers, self.entries)

    def difference(self, other: MovingSample) -> str | None:
        """Describe where another sample differs in any bit; None if it does not."""
        for name in ("position", "numbers", "counts", "entry", "squared_distance", "rows"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine.tobytes() != theirs.tobytes():
                at = np.argwhere(~np.atleast_1d(mine == theirs))
                return f"{name}{at[0].tolist() if len(at) else ''}"
        return None

    def closest(self) -> FloatArray:
        """Return the distance (species, species) in Å of the closest pairs.

        It is infinite for pairs without neighbors within reach.
        """
        near = self._closest(self._environments, np.arange(len(self)))
        pairs = np.full((len(self.species), len(self.species)), np.inf)
        np.minimum.at(pairs, np.searchsorted(self.species, self.numbers), near)
        return pairs

    def propose(self, atoms: IntArray, position: FloatArray, numbers: IntArray) -> Trial:
        """Return the frame after a change; the sample itself stays as it is.

        Parameters
        ----------
        atoms
            Atoms to change (moved,), all different.
        position
            Their new positions (moved, xyz) in Å.
        numbers
            Their new atomic numbers (moved,), of elements that the sample has.
        """
        new_position, new_numbers = self.position.copy(), self.numbers.copy()
        new_position[atoms], new_numbers[atoms] = position, numbers
        frame = self._frame(new_position, new_numbers)
        return Trial(
            atoms, new_position[atoms], new_numbers[atoms], self._closest(frame, atoms), frame
        )

    def update(self, trial: Trial) -> Update:
        """Compute the environments that a trial touches.

        Parameters
        ----------
        trial
            Made by ``propose`` from the present state.
        """
        touched = self._touched(trial)
        rows = self._rows(trial.environments, touched)
        entry, squared = self.entries.assign(rows, trial.environments.numbers[touched])
        counts = self.counts.copy()
        np.subtract.at(counts, self.entry[touched], 1)
        np.add.at(counts, entry, 1)
        return Update(touched, rows, entry, squared, counts)

    def accept(self, trial: Trial, update: Update) -> None:
        """Make a trial the state of the sample.

        Parameters
        ----------
        trial, update
            Made from the present state.
        """
        self.position[trial.atoms], self.numbers[trial.atoms] = trial.position, trial.numbers
        self._environments = trial.environments
        at = update.touched
        self.rows[at], self.entry[at] = update.rows, update.entry
        self.squared_distance[at], self.counts = update.squared_distance, update.counts

    def _frame(self, position: FloatArray, numbers: IntArray) -> LocalEnvironments:
        return LocalEnvironments(position, self.cell, numbers, self.pbc)

    def _rows(self, environments: LocalEnvironments, atoms: IntArray) -> FloatArray:
        soap = self.entries.soap
        rows = np.empty((len(atoms), soap.n_columns), dtype=soap.output_dtype)
        soap.describe(environments, atoms, rows)
        return unit_rows(rows)

    def _closest(self, environments: LocalEnvironments, atoms: IntArray) -> FloatArray:
        offset, row, _, distance = list_neighbors(environments.cell_list(self.entries.reach), atoms)
        near = np.full((len(atoms), len(self.species)), np.inf)
        center = np.repeat(np.arange(len(atoms)), np.diff(offset))
        kind = np.searchsorted(self.species, environments.numbers[row])
        np.minimum.at(near, (center, kind), distance)
        return near

    def _touched(self, trial: Trial) -> IntArray:
        before = self._environments.cell_list(self.entries.reach)
        after = trial.environments.cell_list(self.entries.reach)
        stays = np.ones(len(self), dtype=bool)
        stays[trial.atoms] = False
        if not _same_order(before, after, stays):
            return np.arange(len(self))
        touched = ~stays
        for cells in (before, after):
            touched[list_neighbors(cells, trial.atoms)[1]] = True
        return np.flatnonzero(touched)


def _same_order(before: CellList, after: CellList, stays: BoolArray) -> bool:
    """Return whether atoms that stay are listed in the same order in two cell lists."""
    return (
        np.array_equal(before.shape, after.shape)
        and np.array_equal(before.reach, after.reach)
        and np.array_equal(before.bin_of[stays], after.bin_of[stays])
    )


__all__ = ["Entries", "MovingSample", "Trial", "Update"]
