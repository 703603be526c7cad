"""Simple models of the energy: the mean, and ridge regressions on atom averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mgdask._typing import FloatArray
from mgdask.learn.training.ridge import Ridge, ridge
from mgdask.studies.barcode.data import Samples

MEAN = "mean"
"""Name of the model that predicts the mean energy of the training samples."""
RIDGES = {
    "ridge on fractions": "fractions",
    "ridge on mean SOAP": "mean_soap",
    "ridge on mean Chebyshev": "mean_chebyshev",
}
"""Matrix that each ridge regression reads, by the name of the model."""


class EnergyModel(Protocol):
    """A model of the energy per atom."""

    @property
    def name(self) -> str:
        """Name in tables."""

    @property
    def n_numbers(self) -> int:
        """Number of inputs of the model per sample."""

    def predict(self, samples: Samples) -> FloatArray:
        """Return the energy per atom in eV (sample,)."""

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""


@dataclass(frozen=True)
class MeanEnergy:
    """The mean energy per atom of the training samples.

    Parameters
    ----------
    value
        Energy per atom in eV.
    name
        Name of the model in tables.
    """

    value: float
    name: str = MEAN

    @property
    def n_numbers(self) -> int:
        """Zero: the model reads nothing."""
        return 0

    def predict(self, samples: Samples) -> FloatArray:
        """Return the mean for each sample (sample,), in eV per atom."""
        return np.full(len(samples), self.value)

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        return {"name": self.name, "value": self.value}


@dataclass(frozen=True, eq=False)
class LinearEnergy:
    """A ridge regression of the energy per atom on averages over atoms.

        E / N = b + sum_a w_a x_a,   x_a the mean of a column over the atoms

    Parameters
    ----------
    name
        Name in tables.
    matrix
        The matrix of ``Samples`` that it reads.
    fit
        The regression.
    """

    name: str
    matrix: str
    fit: Ridge

    @property
    def n_numbers(self) -> int:
        """Columns that differ between the training samples."""
        return int((self.fit.weights != 0.0).sum())

    def predict(self, samples: Samples) -> FloatArray:
        """Return the energy per atom in eV (sample,)."""
        return self.fit.predict(samples.per_atom(self.matrix))

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        return {"name": self.name, "matrix": self.matrix, "fit": self.fit.to_json()}


def baseline_from_json(plain: dict[str, Any]) -> MeanEnergy | LinearEnergy:
    """Build a model from the values of its ``to_json``."""
    if "fit" not in plain:
        return MeanEnergy(plain["value"], plain["name"])
    return LinearEnergy(plain["name"], plain["matrix"], Ridge.from_json(plain["fit"]))


def fit_mean(samples: Samples) -> MeanEnergy:
    """Return the mean energy per atom of samples as a model.

    Parameters
    ----------
    samples
        Training samples.
    """
    return MeanEnergy(float(samples.energy_per_atom.mean()))


def fit_linear(samples: Samples, matrix: str, name: str = "") -> LinearEnergy:
    """Fit a ridge regression of the energy per atom, cross-validated over runs.

    Parameters
    ----------
    samples
        Training samples.
    matrix
        "fractions", "mean_soap" or "mean_chebyshev".
    name
        Name in tables. Default: "ridge on ..." of the matrix.

    Returns
    -------
    model

    Raises
    ------
    ParameterError
        If the samples do not have the matrix, or there is only one sample.

    Notes
    -----
    The penalty is chosen by leaving out one run at a time. With one run, blocks of its
    successive samples are left out; see ``Samples.groups``.
    """
    named = {value: key for key, value in RIDGES.items()}
    groups, _ = samples.groups()
    # columns of small variation carry little energy: one scale for all lets the penalty
    # act on them first. With three coolings it lowers the error on others by a quarter
    fit = ridge(samples.per_atom(matrix), samples.energy_per_atom, groups, standardize=False)
    return LinearEnergy(name or named[matrix], matrix, fit)


def fit_baselines(samples: Samples) -> list[MeanEnergy | LinearEnergy]:
    """Fit the mean, and a ridge regression on each matrix that the samples have.

    Parameters
    ----------
    samples
        Training samples.

    Returns
    -------
    models
        In the order of every table.

    Examples
    --------
    >>> fractions = [[0, 1], [0.5, 0.5], [1, 0]]
    >>> samples = Samples.of([-9, -8, -7], 2, ["a", "b", "c"], fractions=fractions)
    >>> [model.name for model in fit_baselines(samples)]
    ['mean', 'ridge on fractions']
    """
    lines = [
        fit_linear(samples, matrix, name)
        for name, matrix in RIDGES.items()
        if getattr(samples, matrix).shape[1]
    ]
    return [fit_mean(samples), *lines]
