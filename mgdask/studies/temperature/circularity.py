"""Effect of the temperature in the paper's feature on T_ML.

lg[r² m / T] contains the label. These functions show how T_ML depends on the T put into
the feature, and how much variance is explained if motion carries no information.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.learn.data.arrays import generator
from mgdask.studies.temperature.levels import mean_of
from mgdask.studies.temperature.model import Fit, TemperatureModel
from mgdask.studies.temperature.validation import (
    FORMS,
    LEVEL,
    Form,
    cross_predicted,
    half_splits,
    spread,
    temperatures_left_out,
)
from mgdask.studies.temperature.views import PutIn

N_PUT_IN = 12
"""Number of temperatures that are put into the feature by default."""
TOLERANCE = 0.1
"""Width in K at which bisection stops."""
MAX_ROWS = 2000
"""Maximum number of atoms of a run for its mean T_ML."""
N_RESAMPLES = 200
"""Resamples of atoms for the interval of the explained variance."""


@dataclass(frozen=True)
class Solutions:
    """Temperatures T in K with T_ML(T) = T.

    Parameters
    ----------
    found
        All solutions between the ends of the range that was searched, increasing.
    stable
        Whether T_ML is below T above each solution. Iterating T <- T_ML(T) can only
        converge to stable solutions.
    note
        Why there is not exactly one solution; empty if there is.
    """

    found: tuple[float, ...]
    stable: tuple[bool, ...]
    note: str = ""

    @property
    def value(self) -> float:
        """The solution if there is exactly one, else NaN."""
        return self.found[0] if len(self.found) == 1 else np.nan


def mean_put_in(
    model: TemperatureModel, matrix: FloatArray, species: IntArray, kelvin: float
) -> float:
    """Return the mean T_ML in K for a given temperature in the feature.

    Parameters
    ----------
    model
        A model of lg[r² m / T].
    matrix
        lg[r² m] of the atoms of one run (row, column).
    species
        Atomic numbers (row,).
    kelvin
        T in K that is put in.
    """
    return float(model.predict(matrix - np.log10(kelvin), species).mean())


def self_consistent(
    model: TemperatureModel,
    matrix: FloatArray,
    species: IntArray,
    grid: FloatArray,
    means: FloatArray | None = None,
) -> Solutions:
    """Solve T_ML(T) = T for a run whose temperature is unknown.

    Each change of sign of T_ML(T) - T between two points of the grid is bisected.

    Parameters
    ----------
    model
        A model of lg[r² m / T].
    matrix
        lg[r² m] of the atoms of one run (row, column).
    species
        Atomic numbers (row,).
    grid
        Increasing temperatures in K between which solutions are searched (point,).
    means
        Mean T_ML at the points of the grid in K (point,). Default: computed here.
    """
    if means is None:
        means = np.array([mean_put_in(model, matrix, species, float(t)) for t in grid])
    excess = means - grid
    found, stable = [], []
    for k in np.flatnonzero(np.sign(excess[:-1]) * np.sign(excess[1:]) <= 0):
        if excess[k] == 0.0 and k > 0:
            continue  # counted with the interval before
        low, high = float(grid[k]), float(grid[k + 1])
        falling = bool(excess[k] > 0 or excess[k + 1] < 0)
        while high - low > TOLERANCE:
            middle = 0.5 * (low + high)
            above = mean_put_in(model, matrix, species, middle) > middle
            low, high = (middle, high) if above == falling else (low, middle)
        found.append(0.5 * (low + high))
        stable.append(falling)
    note = ""
    if not found:
        side = "above" if excess[0] > 0 else "below"
        note = f"no solution from {grid[0]:g} to {grid[-1]:g} K: T_ML stays {side} T"
    elif len(found) > 1:
        note = f"{len(found)} solutions: {', '.join(f'{t:.0f} K' for t in found)}"
    return Solutions(tuple(found), tuple(stable), note)


def temperature_put_in(
    fit: Fit,
    matrix: FloatArray,
    temperature: FloatArray,
    species: IntArray,
    *,
    grid: FloatArray | None = None,
) -> tuple[PutIn, tuple[Solutions, ...]]:
    """Return how the mean T_ML of a run depends on the T put into the feature.

    Every run is predicted by a model that was not trained on its temperature.

    Parameters
    ----------
    fit
        Function that fits a model of lg[r² m / T].
    matrix
        lg[r² m] (row, column).
    temperature
        Temperature of each row in K (row,).
    species
        Atomic number of each row (row,).
    grid
        Temperatures in K that are put in. Default: ``N_PUT_IN`` between the lowest and
        the highest training temperature, evenly spaced in their logarithm.

    Returns
    -------
    put_in
        Mean T_ML for each temperature but the lowest and the highest.
    solutions
        Solutions of T_ML(T) = T for each of these.
    """
    levels = np.unique(temperature)
    asked = np.geomspace(levels[0], levels[-1], N_PUT_IN) if grid is None else grid
    runs, means, solutions = [], [], []
    for split in temperatures_left_out(temperature):
        train, kelvin = split.train, mean_of(temperature[split.test])
        own = np.log10(temperature[train])[:, None]
        model = fit(matrix[train] - own, temperature[train], species[train])
        rows = spread(split.test, temperature, MAX_ROWS)
        x, kinds = matrix[rows], species[rows]
        mean = np.array([mean_put_in(model, x, kinds, float(t)) for t in asked])
        runs.append(kelvin)
        means.append(mean)
        solutions.append(self_consistent(model, x, kinds, asked, mean))
    consistent = np.array([one.value for one in solutions])
    return PutIn(asked, np.array(runs), np.array(means), consistent), tuple(solutions)


def shuffled_motion(
    fits: Mapping[str, Fit],
    matrix: FloatArray,
    temperature: FloatArray,
    species: IntArray,
    *,
    seed: int = 0,
    forms: Sequence[Form] = FORMS,
) -> list[dict[str, Any]]:
    """Return the variance of temperature that models explain from shuffled motion.

    Displacements are shuffled among all atoms of a species, so they carry no
    information about the label. Any explained variance comes from T in the feature.
    Half of the atoms at every temperature train, and the other half test.

    Parameters
    ----------
    fits
        Function that fits each model, by its name.
    matrix
        lg[r² m] (row, column).
    temperature
        Temperature of each row in K (row,).
    species
        Atomic number of each row (row,).
    seed
        Seed of the permutation and the halves.
    forms
        Forms of the feature.

    Returns
    -------
    rows
        ``form``, ``model``, and ``explained`` = 1 - MSE / variance with its interval
        ``low``, ``high``. Rows of ``control`` in ``validation.json``.
    """
    rng = generator(seed)
    order = np.arange(len(matrix))
    for kind in np.unique(species):
        here = np.flatnonzero(species == kind)
        order[here] = rng.permutation(here)
    shuffled = matrix[order]
    (split,) = half_splits(temperature, seed)
    true = temperature[split.test]
    rows = []
    for form in forms:
        x = shuffled - np.log10(temperature)[:, None] if form == "run" else shuffled
        for name, fit in fits.items():
            square = (
                cross_predicted(fit, x, temperature, species, [split])[split.test] - true
            ) ** 2
            draws = rng.integers(0, len(true), (N_RESAMPLES, len(true)))
            values = [1.0 - square[d].mean() / true[d].var() for d in draws]
            low, high = np.quantile(values, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
            rows.append(
                {
                    "form": form,
                    "model": name,
                    "explained": float(1.0 - square.mean() / true.var()),
                    "low": float(low),
                    "high": float(high),
                }
            )
    return rows
