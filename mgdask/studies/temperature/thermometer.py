"""T_ML of isothermal runs by species: what Fig. 1 of the paper shows.

There are two kinds of predictions. In folds of atoms, as in the paper, every
temperature is in the training data. In the other kind, whole temperatures are left out.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import Task, execute
from mgdask.studies.temperature.data import Instances
from mgdask.studies.temperature.fitting import Training, few_rows
from mgdask.studies.temperature.levels import is_known, n_levels
from mgdask.studies.temperature.model import NEAREST, fit_nearest
from mgdask.studies.temperature.stores import name_of
from mgdask.studies.temperature.validation import (
    FORMS,
    atom_folds,
    cross_predicted,
    fold_splits,
    temperatures_left_out,
)
from mgdask.studies.temperature.views import Thermometer

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

ALL, ALL_NAME = 0, "all"
"""Number and name of all species together."""


def measure_thermometers(
    training: Training,
    test: Instances | None = None,
    *,
    client: Client | None = None,
    progress: bool = True,
) -> list[Thermometer]:
    """Return T_ML of the paper's model by temperature and species in both forms.

    Parameters
    ----------
    training
        What models are trained on.
    test
        Runs that are only tested on; None if there are none.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.

    Returns
    -------
    thermometers
        One per form. A temperature that can be left out has two points: with and
        without it in the training data.

    References
    ----------
    Liu X. et al., J. Mater. Inf. 2, 20 (2022), Fig. 1.
    """
    tasks: list[Task] = [(form, (training, test, form)) for form in FORMS]
    with resolve_client(client) as workers:
        outcome = execute(
            workers, _measure, tasks, what="T_ML of runs", unit="forms", progress=progress
        )
    return [outcome.results[form] for form in FORMS]


def _measure(training: Training, test: Instances | None, form: str) -> Thermometer:
    """Task: predict atoms in folds, left out, and of test runs."""
    x, temperature, species = few_rows(training, NEAREST, form)
    fit = partial(fit_nearest, n_neighbors=training.n_neighbors[form])
    folds = fold_splits(atom_folds(temperature, training.folds, training.seed))
    points = by_temperature(
        cross_predicted(fit, x, temperature, species, folds), temperature, species, unseen=False
    )
    if n_levels(temperature) > 2:
        left_out = temperatures_left_out(temperature)
        points += by_temperature(
            cross_predicted(fit, x, temperature, species, left_out),
            temperature,
            species,
            unseen=True,
        )
    if test is not None:
        other, of_other, kinds = few_rows(training, NEAREST, form, test)
        predicted = fit(x, temperature, species).predict(other, kinds)
        for part in (False, True):
            mine = is_known(of_other, temperature) != part
            points += by_temperature(predicted[mine], of_other[mine], kinds[mine], unseen=part)
    return thermometer_of(form, points, [int(z) for z in np.unique(species)])


Point = tuple[float, bool, dict[int, FloatArray]]
"""Temperature in K, whether it was left out of training, and T_ML in K by species."""


def by_temperature(
    predicted: FloatArray, temperature: FloatArray, species: IntArray, *, unseen: bool
) -> list[Point]:
    """Return T_ML of each temperature and species.

    Parameters
    ----------
    predicted
        T_ML in K (row,). Rows with NaN were not predicted.
    temperature, species
        True temperature in K, and atomic number (row,).
    unseen
        Whether these temperatures were left out of training.

    Returns
    -------
    points
        One per temperature with predictions.
    """
    known = np.isfinite(predicted)
    found: list[Point] = []
    for t in np.unique(temperature[known]):
        here = known & (temperature == t)
        parts: dict[int, FloatArray] = {
            int(z): predicted[here & (species == z)] for z in np.unique(species[here])
        }
        found.append((float(t), unseen, {**parts, ALL: predicted[here]}))
    return found


def thermometer_of(form: str, points: list[Point], species: list[int]) -> Thermometer:
    """Return the means and standard deviations of points, by temperature.

    Parameters
    ----------
    form
        "run" or "none".
    points
        T_ML of each temperature.
    species
        Atomic numbers of the rows.
    """
    points = sorted(points, key=lambda one: one[:2])
    rows = [*species, ALL]
    nothing = np.full(1, np.nan)
    return Thermometer(
        form,
        NEAREST,
        np.array([t for t, _, _ in points]),
        np.array([unseen for _, unseen, _ in points]),
        (*(name_of(z) for z in species), ALL_NAME),
        np.array([[parts.get(row, nothing).mean() for _, _, parts in points] for row in rows]),
        np.array([[parts.get(row, nothing).std() for _, _, parts in points] for row in rows]),
    )
