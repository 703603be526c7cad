"""The number of neighbors: error of folds of atoms for every k, from one search."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.studies.temperature.model import checked_training, nearest, scaling
from mgdask.studies.temperature.views import NeighborCurve


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
        If a species has fewer atoms outside of a fold.
    """
    x = checked_training(matrix, temperature, species)
    low, width = scaling(x)
    x = (x - low) / width
    total = np.zeros(max_neighbors)
    for kind in np.unique(species):
        for f in np.unique(fold):
            here = np.flatnonzero((species == kind) & (fold == f))
            there = np.flatnonzero((species == kind) & (fold != f))
            if len(there) < max_neighbors:
                raise ParameterError(
                    f"max_neighbors={max_neighbors}, but a species has only {len(there)} atoms "
                    f"outside of a fold; take at most {len(there)}, or more training runs"
                )
            if len(here):
                kelvin = temperature[there][nearest(x[there], x[here], max_neighbors)]
                mean = np.cumsum(kelvin, axis=1) / np.arange(1, max_neighbors + 1)
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
        f"{n_folds} folds of atoms, as in the paper: all temperatures are trained on",
    )
