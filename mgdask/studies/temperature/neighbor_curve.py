"""Number of neighbors: error in folds of atoms for every k, from one search."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.learn.neighbors import neighbor_index
from mgdask.studies.temperature.model import checked_training, scaling
from mgdask.studies.temperature.views import NeighborCurve

BLOCK = 4096
"""Number of rows whose neighbors are in memory at a time."""


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
    index = neighbor_index(x, group=species, exclude=fold)
    total = np.zeros(max_neighbors)
    for start in range(0, len(x), BLOCK):
        here = slice(start, start + BLOCK)
        near, _ = index.nearest(x[here], max_neighbors, group=species[here], exclude=fold[here])
        mean = np.cumsum(temperature[near], axis=1) / np.arange(1, max_neighbors + 1)
        total += ((mean - temperature[here, None]) ** 2).sum(axis=0)
    return np.sqrt(total / len(x))


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
