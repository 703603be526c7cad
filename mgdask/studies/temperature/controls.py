"""Tasks of the neighbor curve, and of controls for the T in the feature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from mgdask._typing import FloatArray
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import Task, execute
from mgdask.report.json import to_plain
from mgdask.studies.temperature.circularity import Solutions, shuffled_motion, temperature_put_in
from mgdask.studies.temperature.fitting import Training, few_row_numbers, few_rows
from mgdask.studies.temperature.held import Held
from mgdask.studies.temperature.levels import n_levels
from mgdask.studies.temperature.likelihood import OURS, OURS_AVERAGED
from mgdask.studies.temperature.model import NEAREST
from mgdask.studies.temperature.neighbor_curve import (
    BLOCK,
    FoldSearch,
    errors_of,
    fold_search,
    neighbor_curve,
)
from mgdask.studies.temperature.neighborhood import (
    RADII,
    averaged_over_neighbors,
    averaging_curve,
    configuration,
    is_within,
)
from mgdask.studies.temperature.validation import FORMS, Form, atom_folds, temperatures_left_out
from mgdask.studies.temperature.views import AveragingCurve, NeighborCurve, PutIn

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

CURVE_ROWS = 4 * BLOCK
"""Rows whose neighbors are searched in one task."""
_SEARCH: Held[FoldSearch] = Held()


def validate_neighbors(
    training: Training, max_neighbors: int, *, client: Client | None = None, progress: bool = True
) -> NeighborCurve:
    """Return the validation error against the number of neighbors in both forms.

    Parameters
    ----------
    training
        What models are trained on; its number of neighbors is not used.
    max_neighbors
        Largest number of neighbors.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.
    """
    token, n_rows = uuid4().hex, training.instances.n_rows
    names = {
        form: {f"{form}, from {low}": low for low in range(0, n_rows, CURVE_ROWS)} for form in FORMS
    }
    tasks: list[Task] = [
        (name, (token, training, form, max_neighbors, low))
        for form in FORMS
        for name, low in names[form].items()
    ]
    with resolve_client(client) as workers:
        outcome = execute(workers, _fold_squares, tasks, what="neighbors", progress=progress)
    _SEARCH.clear()
    squares = {
        form: np.concatenate([outcome.results[name] for name in names[form]]) for form in FORMS
    }
    return neighbor_curve(
        {form: errors_of(values, n_rows) for form, values in squares.items()}, training.folds
    )


def _fold_squares(
    token: str, training: Training, form: str, max_neighbors: int, low: int
) -> FloatArray:
    """Task: return sums of squared errors of some rows in one form (block, k).

    The process keeps the prepared rows for the other tasks of the form.
    """

    def build() -> FoldSearch:
        labels = training.instances.labels()
        return fold_search(
            training.matrix(NEAREST, form),
            labels.temperature,
            labels.species,
            atom_folds(labels.temperature, training.folds, training.seed),
            max_neighbors,
        )

    search = _SEARCH.get((token, form), build)
    return search.squares(low, low + CURVE_ROWS, max_neighbors)


@dataclass(frozen=True)
class Controls:
    """Effect of the T in the feature.

    Parameters
    ----------
    put_in
        Mean T_ML of each run against the T put into the feature; None if there are
        fewer than three temperatures.
    solutions
        Solutions of T_ML(T) = T of each run.
    shuffled
        Variance of temperature that is explained by shuffled motion.
    averaging
        Error against the radius over which motion is averaged; None if our model
        cannot be fitted or there are fewer than three temperatures.
    """

    put_in: PutIn | None
    solutions: tuple[Solutions, ...]
    shuffled: list[dict[str, Any]]
    averaging: AveragingCurve | None = None

    def to_json(self) -> dict[str, Any]:
        """Return ``put_in``, ``control``, ... of ``validation.json``."""
        plain: dict[str, Any] = {
            "put_in": self.put_in,
            "solutions": self.solutions,
            "control": self.shuffled,
            "averaging": self.averaging,
            "notes": self._notes(),
        }
        return to_plain(plain)  # type: ignore[no-any-return]

    def _notes(self) -> list[str]:
        if self.put_in is None:
            return [
                "There are only two temperatures, so none could be left out between two others."
            ]
        pairs = zip(self.put_in.run, self.solutions, strict=True)
        found = [f"{kelvin:g} K: {one.note}" for kelvin, one in pairs if one.note]
        return [f"T_ML(T) = T for left-out runs. {'; '.join(found)}."] if found else []


def run_controls(
    training: Training, *, client: Client | None = None, progress: bool = True
) -> Controls:
    """Return how T_ML depends on T, and what is explained by shuffled motion.

    Parameters
    ----------
    training
        What models are trained on. About ``fitting.MAX_FEW_ROWS`` rows are used.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.
    """
    tasks: list[Task] = [
        (f"shuffled, {form}, {name}", (_shuffled, training, form, name))
        for form in FORMS
        for name in training.fits(form)
    ]
    several = n_levels(training.instances.temperatures) >= 3
    if several:
        tasks.insert(0, ("put in", (_put_in, training, "run", NEAREST)))
    averaged = several and not training.why_not_ours
    if averaged:
        tasks.insert(0, ("averaging", (_averaging, training)))
    with resolve_client(client) as workers:
        outcome = execute(workers, _call, tasks, what="controls", unit="models", progress=progress)
    results = outcome.results
    put_in, solutions = results["put in"] if several else (None, ())
    shuffled = [row for name, _ in tasks if name.startswith("shuffled") for row in results[name]]
    return Controls(put_in, solutions, shuffled, results.get("averaging"))


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _put_in(training: Training, form: Form, name: str) -> tuple[PutIn, tuple[Solutions, ...]]:
    return temperature_put_in(training.fits(form)[name], *few_rows(training, name, "none"))


def _shuffled(training: Training, form: Form, name: str) -> list[dict[str, Any]]:
    fits = {name: training.fits(form)[name]}
    return shuffled_motion(
        fits, *few_rows(training, name, "none"), seed=training.seed, forms=(form,)
    )


def _averaging(training: Training) -> AveragingCurve:
    """Task: return the error of our model against the radius of averaging."""
    fits, every = training.fits(), training.instances.runs
    name = OURS_AVERAGED if OURS_AVERAGED in fits else OURS
    labels = training.instances.labels()
    rows = few_row_numbers(labels)
    temperature = labels.temperature[rows]

    def averaged(radius: float) -> FloatArray:
        parts = []
        for k, run in enumerate(every):
            x = training.matrix(name, "none", training.instances.select([k]))
            mine = labels.atom[rows[labels.run[rows] == k]]
            around = averaged_over_neighbors(x, *configuration(run), radius, centers=mine)
            parts.append(around)
        return np.concatenate(parts)

    return averaging_curve(
        fits[name],
        averaged,
        temperature,
        labels.species[rows],
        temperatures_left_out(temperature),
        radii=[radius for radius in RADII if all(is_within(run, radius) for run in every)],
        seed=training.seed,
    )
