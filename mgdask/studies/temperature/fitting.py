"""What models are trained on, and the fits of those that are applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.studies.temperature.baselines import (
    CONSTANT,
    LIGHTGBM,
    ONE_NUMBER,
    RIDGE,
    fit_boosted,
    fit_constant,
    fit_isotonic,
    fit_ridge,
)
from mgdask.studies.temperature.data import FeatureTemperature, Instances, Labels
from mgdask.studies.temperature.levels import level_codes
from mgdask.studies.temperature.likelihood import N_NUMBERS, OURS, OURS_AVERAGED, fit_likelihood
from mgdask.studies.temperature.model import NEAREST, Fit, fit_nearest, save_model
from mgdask.studies.temperature.stores import name_of
from mgdask.studies.temperature.validation import atom_folds, spread

MAX_FEW_ROWS = 20_000
"""Rows of the controls, and of training and test in Fig. 1; see ``spread``."""


@dataclass(frozen=True)
class Training:
    """What models are trained on, and how.

    Parameters
    ----------
    instances
        Runs of the representative classes.
    columns
        Indices of the lags that are used.
    n_neighbors
        Number of neighbors of the paper's model, by form of the feature.
    folds
        Number of folds of atoms.
    seed
        Seed of folds, trees and resamples.
    """

    instances: Instances
    columns: tuple[int, ...]
    n_neighbors: Mapping[str, int]
    folds: int
    seed: int

    def fits(self, form: str = "none") -> dict[str, Fit]:
        """Return the function that fits each model, in the order of every table.

        Parameters
        ----------
        form
            Form of the feature, "run" or "none".
        """
        k = self.n_neighbors.get(form, self.n_neighbors["none"])
        fits: dict[str, Fit] = {
            CONSTANT: fit_constant,
            ONE_NUMBER: fit_isotonic,
            RIDGE: fit_ridge,
            LIGHTGBM: partial(fit_boosted, seed=self.seed),
            NEAREST: partial(fit_nearest, n_neighbors=k),
        }
        if not self.why_not_ours:
            fits[OURS] = partial(fit_likelihood, lags=self.lags)
            averaged = self.instances.averaged()
            if averaged is not None:
                fits[OURS_AVERAGED] = partial(
                    fit_likelihood, lags=averaged.lags, name=OURS_AVERAGED
                )
        return fits

    @property
    def lags(self) -> FloatArray:
        """Lags in ps that are used (column,)."""
        return self.instances.lags[list(self.columns)]

    def matrix(
        self, name: str, form: str, instances: Instances | None = None, rows: IntArray | None = None
    ) -> FloatArray:
        """Read the features of a model.

        Parameters
        ----------
        name
            Name of the model.
        form
            "run", "none", or a temperature in K as text.
        instances
            Runs to read. Default: those of training.
        rows
            Row numbers among these. Default: all.

        Returns
        -------
        matrix
            Values (row, column).
        """
        kelvin = feature_temperature_of(form)
        chosen = self.instances if instances is None else instances
        if name == OURS_AVERAGED:
            averaged = chosen.averaged()
            assert averaged is not None
            return averaged.matrix(rows=rows, feature_temperature=kelvin)
        return chosen.matrix(columns=self.columns, rows=rows, feature_temperature=kelvin)

    @cached_property
    def why_not_ours(self) -> str:
        """Why our model cannot be fitted, in words; empty if it can."""
        if len(self.columns) < N_NUMBERS:
            return f"it needs at least {N_NUMBERS} lags, but {len(self.columns)} are used"
        labels = self.instances.labels()
        for kelvin in self.instances.temperatures:
            for species in np.unique(labels.species):
                here = (labels.temperature == kelvin) & (labels.species == species)
                n, needed = np.count_nonzero(here), 8 * N_NUMBERS  # random halves train
                if n < needed:
                    return (
                        f"it needs at least {needed} atoms of each species at each temperature, "
                        f"but there are {n} of {name_of(int(species))} at {kelvin:g} K"
                    )
        return ""


def few_row_numbers(labels: Labels) -> IntArray:
    """Return the numbers of about ``MAX_FEW_ROWS`` rows, spread over temperatures."""
    every = np.arange(len(labels.temperature))
    return spread(every, labels.temperature, MAX_FEW_ROWS, labels.species)


def few_rows(
    training: Training, name: str, form: str, instances: Instances | None = None
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Read about ``MAX_FEW_ROWS`` rows, spread over temperatures.

    Parameters
    ----------
    training, name, form, instances
        As in ``Training.matrix``.

    Returns
    -------
    matrix, temperature, species
        Features (row, column), temperatures in K and atomic numbers (row,).
    """
    labels = (training.instances if instances is None else instances).labels()
    rows = few_row_numbers(labels)
    x = training.matrix(name, form, instances, rows)
    return x, labels.temperature[rows], labels.species[rows]


def feature_temperature_of(form: str) -> FeatureTemperature:
    """Return the argument of ``Instances.matrix`` for a form of the feature.

    Parameters
    ----------
    form
        "run", "none", or a temperature in K as text.
    """
    return None if form == "none" else "run" if form == "run" else float(form)


def fit_models(training: Training, forms: Sequence[str], folder: Path) -> dict[str, Path]:
    """Fit the paper's model in some forms, and ours without T, on all rows.

    Parameters
    ----------
    training
        What models are trained on.
    forms
        Forms of the feature of the paper's model. A temperature is put in when the
        model is applied. It is trained with the temperatures of the runs.
    folder
        Folder of the models.

    Returns
    -------
    paths
        Folder of each model, by its name and form.
    """
    labels = training.instances.labels()
    paths = model_paths(forms, folder, tuple(training.fits()))
    for name, path in paths.items():
        kind, _, form = name.rpartition(", ")
        # with one T for training runs and application, T would cancel
        trained = form if form == "none" else "run"
        x = training.matrix(kind, trained)
        save_model(training.fits(trained)[kind](x, labels.temperature, labels.species), path)
    return paths


def model_paths(forms: Sequence[str], folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each model of ``fit_models``, by its name and form.

    Parameters
    ----------
    forms, folder
        As in ``fit_models``.
    names
        Names of all models that can be fitted.
    """
    paths = {f"{NEAREST}, {form}": folder / f"nearest_{form}" for form in forms}
    ours = {OURS: "ours_none", OURS_AVERAGED: "averaged_none"}
    return paths | {f"{name}, none": folder / ours[name] for name in names if name in ours}


def fewest_atoms(temperature: FloatArray, species: IntArray, folds: int, seed: int) -> int:
    """Return the smallest number of atoms of a species that train in any scheme.

    Parameters
    ----------
    temperature
        Temperature of each training row in K (row,).
    species
        Atomic number of each training row (row,).
    folds, seed
        Number of folds, and their seed.

    Raises
    ------
    ParameterError
        If a species is missing when one temperature is left out.
    """
    kinds, kind = np.unique(species, return_inverse=True)
    level = level_codes(temperature)
    fold, half = (atom_folds(temperature, n, seed) for n in (folds, 2))
    found = [np.bincount(kind[half == 0], minlength=len(kinds))]
    for group in [fold, level] if level.max() >= 2 else [fold]:
        counts = np.zeros((len(kinds), int(group.max()) + 1), dtype=np.int64)
        np.add.at(counts, (kind, group), 1)
        found.append(counts.sum(axis=1) - counts.max(axis=1))
    fewest = np.min(found, axis=0)
    if not fewest.all():
        rare = name_of(int(kinds[fewest.argmin()]))
        raise ParameterError(
            f"atoms of {rare} are missing in the training data when one temperature is left out, "
            f"so this validation is not possible. Train on runs at several temperatures that have "
            f"{rare}, or leave out the runs with it"
        )
    return int(fewest.min())
