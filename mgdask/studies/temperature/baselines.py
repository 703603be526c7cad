"""Simple models of the temperature, compared with the paper's in every table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from mgdask._typing import FloatArray, IntArray
from mgdask.execution.executor import one_library_thread
from mgdask.learn.training.boosting import train
from mgdask.learn.training.model import Model
from mgdask.studies.temperature.model import TemperatureModel, checked_features, checked_training

CONSTANT = "constant"
ONE_NUMBER = "one number (isotonic)"
RIDGE = "ridge"
LIGHTGBM = "LightGBM"
"""Names of models in tables."""
ROUNDS = 200
"""Number of trees."""
BOOSTING: Mapping[str, Any] = {
    "num_leaves": 31,
    "learning_rate": 0.05,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
}
"""Parameters of LightGBM. They were not tuned."""
PENALTIES = tuple(10.0**k for k in range(-6, 2))
"""Penalties per row that ridge regression tries."""


@dataclass(frozen=True, eq=False)
class ConstantTemperature:
    """The mean temperature of the training rows.

    Parameters
    ----------
    value
        Temperature in K.
    name
        Name in tables.
    """

    value: float
    name: str = CONSTANT

    def predict(self, matrix: FloatArray, species: IntArray) -> FloatArray:
        """Return the mean for each row, in K (row,)."""
        return np.full(len(matrix), self.value)

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        return {"kind": "constant", "name": self.name, "value": self.value}


def fit_constant(
    matrix: FloatArray, temperature: FloatArray, species: IntArray
) -> ConstantTemperature:
    """Return the mean temperature of the training rows (row,) as a model."""
    checked_training(matrix, temperature, species)
    return ConstantTemperature(float(temperature.mean()))


@dataclass(frozen=True, eq=False)
class IsotonicTemperature:
    """A non-decreasing function of the mean of all columns.

    Parameters
    ----------
    mobility
        Mean of the columns at the corners of the function (corner,), increasing.
    temperature
        T_ML in K at the corners (corner,). It is linear between corners and constant
        outside.
    n_columns
        Number of columns.
    known
        Atomic numbers of the training species.
    name
        Name in tables.
    """

    mobility: FloatArray
    temperature: FloatArray
    n_columns: int
    known: IntArray
    name: str = ONE_NUMBER

    def predict(self, matrix: FloatArray, species: IntArray) -> FloatArray:
        """Return T_ML in K (row,)."""
        x = checked_features(matrix, species, self.n_columns, self.known)
        values = np.interp(x.mean(axis=1), self.mobility, self.temperature)
        return np.asarray(values, dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        return {
            "kind": "isotonic",
            "name": self.name,
            "mobility": self.mobility.tolist(),
            "temperature": self.temperature.tolist(),
            "n_columns": self.n_columns,
            "known": self.known.tolist(),
        }


def fit_isotonic(
    matrix: FloatArray, temperature: FloatArray, species: IntArray
) -> IsotonicTemperature:
    """Fit a non-decreasing function of the mean of all columns by least squares.

    Parameters
    ----------
    matrix, temperature, species
        Features (row, column), temperatures in K (row,) and species (row,).
    """
    x = checked_training(matrix, temperature, species)
    mobility, where, weight = np.unique(x.mean(axis=1), return_inverse=True, return_counts=True)
    # rows with the same mean of columns are one point
    target = np.bincount(where, weights=temperature) / weight
    fitted = isotonic_regression(target, weights=weight.astype(np.float64)).x
    # the function is constant within a block: its ends are enough
    step = np.flatnonzero(np.diff(fitted) > 0)
    corner = np.unique(np.concatenate([[0], step, step + 1, [len(fitted) - 1]]))
    return IsotonicTemperature(mobility[corner], fitted[corner], x.shape[1], np.unique(species))


@dataclass(frozen=True, eq=False)
class RidgeTemperature:
    """A ridge regression of the temperature on all columns and the species.

    Parameters
    ----------
    coefficients
        Coefficients of the columns, then of one indicator column per species, which is
        1 for its atoms.
    intercept
        Prediction in K if all columns are 0.
    penalty
        Penalty per row, selected from ``PENALTIES``.
    known
        Atomic numbers of the training species, in the order of their columns.
    name
        Name in tables.
    """

    coefficients: FloatArray
    intercept: float
    penalty: float
    known: IntArray
    name: str = RIDGE

    def predict(self, matrix: FloatArray, species: IntArray) -> FloatArray:
        """Return T_ML in K (row,)."""
        width = len(self.coefficients) - len(self.known)
        x = checked_features(matrix, species, width, self.known)
        # einsum does not call BLAS, whose bits depend on the number of threads
        return np.asarray(
            np.einsum("ij,j->i", with_species(x, species, self.known), self.coefficients)
            + self.intercept
        )

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        return {
            "kind": "ridge",
            "name": self.name,
            "coefficients": self.coefficients.tolist(),
            "intercept": self.intercept,
            "penalty": self.penalty,
            "known": self.known.tolist(),
        }


def fit_ridge(matrix: FloatArray, temperature: FloatArray, species: IntArray) -> RidgeTemperature:
    """Fit a ridge regression.

    The penalty is selected by leaving out one training temperature at a time.

    Parameters
    ----------
    matrix, temperature, species
        Features (row, column), temperatures in K (row,) and species (row,).

    Notes
    -----
    Sums of products of columns are kept per temperature, so that leaving one out is
    cheap. Columns are centered and scaled over all rows.
    """
    x = checked_training(matrix, temperature, species)
    known = np.unique(species)
    columns = with_species(x, species, known)
    mean, scale = columns.mean(axis=0), columns.std(axis=0)
    scale[scale == 0.0] = 1.0
    middle = float(temperature.mean())
    columns = np.hstack([(columns - mean) / scale, np.ones((len(x), 1))])
    levels, group = np.unique(temperature, return_inverse=True)
    n_rows = np.bincount(group)
    with one_library_thread():  # the order of BLAS sums depends on the number of threads
        products = np.array(
            [columns[group == g].T @ columns[group == g] for g in range(len(levels))]
        )
        sums = np.array([columns[group == g].sum(axis=0) for g in range(len(levels))])
        errors = np.array(
            [_error_left_out(products, sums, levels - middle, n_rows, p) for p in PENALTIES]
        )
        penalty = PENALTIES[int(np.argmin(errors))]
        along = (sums * (levels - middle)[:, None]).sum(axis=0)
        weights = _solved(products.sum(axis=0), along, len(x), penalty)
    coefficients = weights[:-1] / scale
    intercept = middle + float(weights[-1]) - float(mean @ coefficients)
    return RidgeTemperature(coefficients, intercept, penalty, known)


def _solved(product: FloatArray, along: FloatArray, n_rows: int, penalty: float) -> FloatArray:
    """Return ridge coefficients; the last column, of ones, is not penalized."""
    diagonal = np.full(len(product), n_rows * penalty)
    diagonal[-1] = 0.0
    return np.asarray(np.linalg.solve(product + np.diag(diagonal), along))


def _error_left_out(
    products: FloatArray, sums: FloatArray, levels: FloatArray, n_rows: IntArray, penalty: float
) -> float:
    """Return the sum of squared errors of temperatures left out one at a time."""
    total = 0.0
    for out, level in enumerate(levels):
        keep = np.arange(len(levels)) != out
        along = (sums[keep] * levels[keep, None]).sum(axis=0)
        w = _solved(products[keep].sum(axis=0), along, int(n_rows[keep].sum()), penalty)
        # sum of (x.w - level)^2 over the rows left out
        total += float(w @ products[out] @ w - 2.0 * level * (sums[out] @ w))
        total += float(n_rows[out] * level**2)
    return total


@dataclass(frozen=True, eq=False)
class BoostedTemperature:
    """Gradient-boosted trees on all columns and the species.

    Parameters
    ----------
    trees
        The trees, with the same columns as ``RidgeTemperature``.
    known
        Atomic numbers of the training species, in the order of their columns.
    name
        Name in tables.
    """

    trees: Model
    known: IntArray
    name: str = LIGHTGBM

    def predict(self, matrix: FloatArray, species: IntArray) -> FloatArray:
        """Return T_ML in K (row,)."""
        width = len(self.trees.columns) - len(self.known)
        x = checked_features(matrix, species, width, self.known)
        return self.trees.predict(with_species(x, species, self.known), threads=1)

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        return {
            "kind": "boosted",
            "name": self.name,
            "known": self.known.tolist(),
            "text": self.trees.text,
            "columns": list(self.trees.columns),
            "best_iteration": self.trees.best_iteration,
            "seed": self.trees.seed,
        }


def fit_boosted(
    matrix: FloatArray, temperature: FloatArray, species: IntArray, *, seed: int = 0
) -> BoostedTemperature:
    """Fit boosted trees with one thread and fixed parameters (``BOOSTING``).

    Parameters
    ----------
    matrix, temperature, species
        Features (row, column), temperatures in K (row,) and species (row,).
    seed
        Seed of LightGBM.
    """
    x = checked_training(matrix, temperature, species)
    known = np.unique(species)
    trees = train(
        with_species(x, species, known),
        temperature,
        objective="regression",
        params=dict(BOOSTING),
        num_boost_round=ROUNDS,
        seed=seed,
        threads=1,
        progress=False,
    )
    return BoostedTemperature(trees, known)


def with_species(x: FloatArray, species: IntArray, known: IntArray) -> FloatArray:
    """Append one column per known species that is 1 for its atoms and 0 otherwise.

    Examples
    --------
    >>> with_species(np.ones((2, 1)), np.array([29, 40]), np.array([29, 40])).tolist()
    [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    return np.hstack([x, (species[:, None] == known).astype(np.float64)])


def baseline_from_json(plain: Mapping[str, Any]) -> TemperatureModel:
    """Build a baseline from the values of its ``to_json``."""
    kind = plain["kind"]
    if kind == "constant":
        return ConstantTemperature(plain["value"], plain["name"])
    known = np.array(plain["known"], dtype=np.int64)
    if kind == "isotonic":
        mobility, kelvin = (np.array(plain[key]) for key in ("mobility", "temperature"))
        return IsotonicTemperature(mobility, kelvin, plain["n_columns"], known, plain["name"])
    if kind == "ridge":
        coefficients = np.array(plain["coefficients"], dtype=np.float64)
        return RidgeTemperature(
            coefficients, plain["intercept"], plain["penalty"], known, plain["name"]
        )
    if kind == "boosted":
        trees = Model(
            plain["text"],
            tuple(plain["columns"]),
            "regression",
            plain["best_iteration"],
            plain["seed"],
        )
        return BoostedTemperature(trees, known, plain["name"])
    raise ValueError(f"kind {kind!r} is none of constant, isotonic, ridge, boosted, nearest")
