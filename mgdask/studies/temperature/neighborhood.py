"""Motion averaged over the neighbors of an atom, and its effect on the error.

Averages over neighbors approach the mean of the run, which easily identifies its
temperature. A smaller error at a larger radius thus says little about single atoms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels.neighbors import neighbor_list
from mgdask.pipelines.featurize.block import read_axis
from mgdask.store.open import check_complete
from mgdask.store.shards import read_array
from mgdask.store.sources import source_array
from mgdask.studies.temperature.data import Run
from mgdask.studies.temperature.model import Fit
from mgdask.studies.temperature.validation import LEFT_OUT, Split, cross_predicted, score
from mgdask.studies.temperature.views import AveragingCurve

RADII = (0.0, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
"""Default radii in Å."""
BLOCK = 8192
"""Number of atoms whose neighbors are listed at a time."""


def averaged_over_neighbors(
    matrix: FloatArray,
    position: FloatArray,
    cell: FloatArray,
    radius: float,
    *,
    centers: IntArray | None = None,
) -> FloatArray:
    """Return the mean of each column over an atom and its neighbors (center, column).

    Parameters
    ----------
    matrix
        Features of all atoms of one frame (atom, column).
    position
        Positions in Å (atom, 3).
    cell
        Cell vectors in Å (3, 3), one per row; periodic in all directions.
    radius
        Largest distance of a neighbor in Å. 0 leaves the atom alone.
    centers
        Indices (center,) of the atoms to average around. Default: all.
    """
    chosen = np.arange(len(matrix)) if centers is None else centers
    if radius == 0.0:
        return matrix if centers is None else matrix[centers]
    out = matrix[chosen]
    for start in range(0, len(chosen), BLOCK):
        here = slice(start, start + BLOCK)
        offset, row, _, _ = neighbor_list(position, cell, radius, centers=chosen[here])
        count = np.diff(offset)
        place = np.repeat(np.arange(len(count)), count)
        for column in range(matrix.shape[1]):
            out[here, column] += np.bincount(
                place, weights=matrix[row, column], minlength=len(count)
            )
        out[here] /= (count + 1)[:, None]
    return out


def averaging_curve(
    fit: Fit,
    averaged: Callable[[float], FloatArray],
    temperature: FloatArray,
    species: IntArray,
    splits: Sequence[Split],
    *,
    radii: Sequence[float] = RADII,
    seed: int = 0,
) -> AveragingCurve:
    """Return the error at left-out temperatures against the radius of averaging.

    Parameters
    ----------
    fit
        Function that fits a model.
    averaged
        Function that returns features (row, column) averaged within a radius in Å.
    temperature, species
        Temperature in K (row,) and species (row,).
    splits
        Rows that train and test.
    radii
        Radii in Å.
    seed
        Seed of the resamples.
    """
    rows = []
    for radius in radii:
        predicted = cross_predicted(fit, averaged(radius), temperature, species, splits)
        one = score(
            predicted,
            temperature,
            scheme=LEFT_OUT,
            form="none",
            model=f"{radius:g} Å",
            n_train=0,
            seed=seed,
        )
        rows.append((one.rmse, one.low, one.high))
    rmse, low, high = np.array(rows).T
    return AveragingCurve(np.array(radii, dtype=np.float64), rmse, low, high)


def configuration(run: Run) -> tuple[FloatArray, FloatArray]:
    """Return positions (atom, 3) and cell (3, 3) at the first frame of a run, in Å."""
    group, _ = check_complete(run.source)
    first, _ = read_axis(group).runs()[run.frame]
    position = source_array(group, "position")[first, 0 : run.n_atoms]
    return np.asarray(position, dtype=np.float64), np.asarray(read_array(group, "cell")[first])


def is_within(run: Run, radius: float) -> bool:
    """Return whether a radius is below half of the cell, so each atom counts once."""
    _, cell = configuration(run)
    height = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return bool(2.0 * radius < height.min())
