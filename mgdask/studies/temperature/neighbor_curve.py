"""Number of neighbors: error in folds of atoms for every k, from one search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.learn.neighbors import NeighborIndex, neighbor_index
from mgdask.studies.temperature.model import checked_training, scaling
from mgdask.studies.temperature.views import NeighborCurve

BLOCK = 4096
"""Number of rows whose neighbors are in memory at a time."""


@dataclass(frozen=True, eq=False)
class FoldSearch:
    """Rows prepared for the search of neighbors in other folds.

    Parameters
    ----------
    index
        The rows, with their folds.
    x
        Scaled features (row, column).
    temperature, species, fold
        Temperature in K, species and fold of each row (row,).
    """

    index: NeighborIndex
    x: FloatArray
    temperature: FloatArray
    species: IntArray
    fold: IntArray

    def squares(self, start: int, stop: int, max_neighbors: int) -> FloatArray:
        """Return sums of squared errors of blocks of rows, for every k (block, k).

        Parameters
        ----------
        start, stop
            First row and one past the last; ``start`` is a multiple of ``BLOCK``.
        max_neighbors
            Largest k.
        """
        found = []
        for first in range(start, min(stop, len(self.x)), BLOCK):
            here = slice(first, min(first + BLOCK, stop))
            near, _ = self.index.nearest(
                self.x[here], max_neighbors, group=self.species[here], exclude=self.fold[here]
            )
            mean = np.cumsum(self.temperature[near], axis=1) / np.arange(1, max_neighbors + 1)
            found.append(((mean - self.temperature[here, None]) ** 2).sum(axis=0))
        return np.array(found)


def fold_search(
    matrix: FloatArray,
    temperature: FloatArray,
    species: IntArray,
    fold: IntArray,
    max_neighbors: int,
) -> FoldSearch:
    """Prepare rows for ``FoldSearch.squares``; see ``fold_errors``."""
    x = checked_training(matrix, temperature, species)
    low, width = scaling(x)
    x = (x - low) / width
    for kind in np.unique(species):
        own = np.bincount(fold[species == kind], minlength=2)
        n_others = int(own.sum() - own.max())
        if n_others < max_neighbors:
            raise ParameterError(
                f"max_neighbors={max_neighbors}, but {symbol(int(kind))} has only {n_others} atoms "
                f"outside of a fold; use at most {n_others}, or more training runs"
            )
    return FoldSearch(neighbor_index(x, group=species, exclude=fold), x, temperature, species, fold)


def errors_of(squares: FloatArray, n_rows: int) -> FloatArray:
    """Return the RMSE in K (k,) from the sums of all blocks.

    Parameters
    ----------
    squares
        Sums of squared errors of all blocks in their order (block, k).
    n_rows
        Number of rows.
    """
    total = np.zeros(squares.shape[1])
    for part in squares:  # in order, so that the bits do not depend on the tasks
        total += part
    return np.sqrt(total / n_rows)


def fold_errors(
    matrix: FloatArray,
    temperature: FloatArray,
    species: IntArray,
    fold: IntArray,
    max_neighbors: int,
) -> FloatArray:
    """Return the RMSE in K for k = 1, 2, ..., max_neighbors (k,).

    Each atom is predicted from atoms of the other folds. Columns are scaled by minimum
    and maximum over all rows, so that one search serves all k.

    Parameters
    ----------
    matrix, temperature, species
        Features (row, column), temperatures in K (row,) and species (row,).
    fold
        Fold of each row (row,).
    max_neighbors
        Largest k.

    Raises
    ------
    ParameterError
        If a species has fewer than ``max_neighbors`` atoms outside of a fold.
    """
    search = fold_search(matrix, temperature, species, fold, max_neighbors)
    n = len(search.x)
    return errors_of(search.squares(0, n, max_neighbors), n)


def neighbor_curve(errors: Mapping[str, FloatArray], n_folds: int) -> NeighborCurve:
    """Return the curve of ``fold_errors`` (k,) of each form, and the best k.

    Parameters
    ----------
    errors
        RMSE in K for k = 1, 2, ... by form.
    n_folds
        Number of folds.
    """
    n = len(next(iter(errors.values())))
    return NeighborCurve(
        np.arange(1, n + 1),
        dict(errors),
        {form: int(np.argmin(values)) + 1 for form, values in errors.items()},
        f"{n_folds} folds of atoms, as in the paper; all temperatures are in the training data",
    )
