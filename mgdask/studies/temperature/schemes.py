"""Validation of all models under all schemes, as tasks that read their own rows.

Most of the time goes into k nearest neighbors. Their predictions are therefore tasks of
their own: one per block of the atoms that a split tests. Each process holds the
features, and the prepared training rows of one split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from mgdask._typing import FloatArray
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import Task, execute
from mgdask.store.failures import explained
from mgdask.studies.temperature.baselines import LIGHTGBM, ONE_NUMBER, RIDGE
from mgdask.studies.temperature.data import Instances, Labels
from mgdask.studies.temperature.fitting import Training, few_row_numbers
from mgdask.studies.temperature.held import Held, emptied
from mgdask.studies.temperature.levels import is_known, n_levels
from mgdask.studies.temperature.likelihood import OURS_AVERAGED
from mgdask.studies.temperature.model import NEAREST, NearestTemperatures, fit_nearest
from mgdask.studies.temperature.validation import (
    EXTRAPOLATION,
    FOLDS,
    FORMS,
    HALVES,
    LEFT_OUT,
    MAX_TRAINING,
    TEST_RUNS,
    Score,
    Split,
    atom_folds,
    cross_predicted,
    fold_splits,
    half_splits,
    score,
    temperatures_left_out,
)

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

LIMITED = (ONE_NUMBER, RIDGE, LIGHTGBM)
"""Models that are trained on at most ``MAX_TRAINING`` rows."""
PART = 16_384
"""Maximum number of atoms whose neighbors are searched in one task."""
_ROWS: Held[tuple[FloatArray, Labels]] = Held()
_MODEL: Held[NearestTemperatures] = Held()


@dataclass(frozen=True)
class _Scheme:
    """What is tested, and how: the training data, test runs and a scheme.

    Parameters
    ----------
    token
        Identity of this validation. Processes keep values by it.
    training, test
        As in ``validate_models``.
    name
        Name of the scheme.
    """

    token: str
    training: Training
    test: Instances | None
    name: str

    @property
    def instances(self) -> Instances:
        """Runs of training, and those that are only tested on if the scheme does."""
        if self.name == TEST_RUNS and self.test is not None:
            every = self.training.instances
            return replace(every, runs=(*every.runs, *self.test.runs))
        return self.training.instances

    def rows(self, model: str, form: str) -> tuple[FloatArray, Labels]:
        """Return the features of all rows in a form, and their labels.

        The process keeps lg[r² m] for other tasks with the same rows.
        """
        instances, own = self.instances, model == OURS_AVERAGED
        key = (self.token, own, len(instances.runs))
        x, labels = _ROWS.get(
            key, lambda: (self.training.matrix(model, "none", instances), instances.labels())
        )
        return (x - shift_of(labels.temperature), labels) if form == "run" else (x, labels)

    def splits(self, temperature: FloatArray) -> Sequence[Split]:
        """Return the rows that train and test."""
        training = self.training
        if self.name in (LEFT_OUT, EXTRAPOLATION):
            return temperatures_left_out(temperature, ends=self.name == EXTRAPOLATION)
        if self.name == TEST_RUNS:
            n = training.instances.n_rows
            return [Split(np.arange(n), np.arange(n, len(temperature)))]
        if self.name == HALVES:
            return half_splits(temperature, training.seed)
        return fold_splits(atom_folds(temperature, training.folds, training.seed))

    def note(self) -> str:
        """Return a remark for every row of the scheme."""
        if self.name == FOLDS:
            return f"{self.training.folds} folds"
        return _note(self.training, self.test) if self.name == TEST_RUNS else ""


def shift_of(temperature: FloatArray) -> FloatArray:
    """Return what the form with T subtracts from each row (row, 1).

    Parameters
    ----------
    temperature
        Temperature of each row in K (row,).
    """
    levels, place = np.unique(temperature, return_inverse=True)
    shift: FloatArray = np.array([float(np.log10(kelvin)) for kelvin in levels])
    return shift[place][:, None]


def validate_models(
    training: Training,
    test: Instances | None,
    *,
    folder: Path | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> list[Score]:
    """Return the errors of all models in both forms under all schemes, as tasks.

    Parameters
    ----------
    training
        What models are trained on.
    test
        Runs that are only tested on; None if there are none.
    folder
        Folder for predictions while tasks need them, reachable by all workers. It is
        removed. Default: a temporary folder of this machine.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.

    Returns
    -------
    scores
        By scheme, then by form and model. Schemes are left out if they need more
        temperatures than there are. So is our model with averages under test runs whose
        frames have no averages.
    """
    token = uuid4().hex
    names = [FOLDS, HALVES]
    if test is not None:
        names.insert(0, TEST_RUNS)
    if n_levels(training.instances.temperatures) >= 3:
        names = [LEFT_OUT, *names, EXTRAPOLATION]
    schemes = {name: _Scheme(token, training, test, name) for name in names}
    lacks = test is not None and OURS_AVERAGED in training.fits() and test.averaged() is None
    rows = [
        (name, form, model)
        for name in names
        for form in FORMS
        for model in training.fits(form)
        if not (lacks and name == TEST_RUNS and model == OURS_AVERAGED)
    ]
    with _scratch(folder) as parts, resolve_client(client) as workers:
        execute(
            workers,
            _predict_part,
            [part for one in schemes.values() for part in _parts(one, parts)],
            what="validation of k nearest neighbors",
            progress=progress,
        )
        _MODEL.clear()
        # those that read the same rows follow each other
        tasks: list[Task] = [
            (f"{name}, {form}, {model}", (schemes[name], form, model, parts))
            for name, form, model in sorted(rows, key=lambda row: row[2] == OURS_AVERAGED)
        ]
        outcome = execute(
            workers, _score, tasks, what="validation", unit="models", progress=progress
        )
    _ROWS.clear()
    return [outcome.results[f"{name}, {form}, {model}"] for name, form, model in rows]


@contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with TemporaryDirectory() as own:
            yield Path(own)
        return
    with explained(folder), emptied(folder):
        yield folder


def _parts(one: _Scheme, folder: Path) -> list[Task]:
    """Return the tasks that predict the atoms of a scheme by their neighbors."""
    temperature = one.instances.labels().temperature
    return [
        (
            f"{one.name}, {form}, split {k}, from {low}",
            (one, form, k, low, _part_file(folder, one.name, form, k, low)),
        )
        for form in FORMS
        for k, split in enumerate(one.splits(temperature))
        for low in range(0, len(split.test), PART)
    ]


def _part_file(folder: Path, scheme: str, form: str, k: int, low: int) -> Path:
    return folder / f"{scheme.replace(' ', '_')}-{form}-{k}-{low}.npy"


def _predict_part(one: _Scheme, form: str, k: int, low: int, file: Path) -> None:
    """Task: predict some of the atoms that a split tests, and write T_ML to a file."""
    x, labels = one.rows(NEAREST, "none")
    split = one.splits(labels.temperature)[k]

    def features(rows: Any) -> FloatArray:
        part = x[rows]
        shift = shift_of(labels.temperature[rows]) if form == "run" else 0.0
        return np.asarray(part - shift)

    def build() -> NearestTemperatures:
        here = split.train
        model = fit_nearest(
            features(here),
            labels.temperature[here],
            labels.species[here],
            n_neighbors=one.training.n_neighbors[form],
        )
        model.prepare()
        return model

    model = _MODEL.get((one.token, one.name, form, k), build)
    rows = split.test[low : low + PART]
    with explained(file):
        np.save(file, model.predict(features(rows), labels.species[rows]))


def _score(one: _Scheme, form: str, name: str, parts: Path) -> Score:
    """Task: test one model under one scheme."""
    x, labels = one.rows(name, "none" if name == NEAREST else form)
    splits = one.splits(labels.temperature)
    limit = MAX_TRAINING if name in LIMITED else None
    if name == NEAREST:
        predicted = np.full(len(x), np.nan)
        for k, split in enumerate(splits):
            for low in range(0, len(split.test), PART):
                values = np.load(_part_file(parts, one.name, form, k, low))
                predicted[split.test[low : low + PART]] = values
    else:
        fit = one.training.fits(form)[name]
        predicted = cross_predicted(fit, x, labels.temperature, labels.species, splits, limit=limit)
    fewest = min(len(split.train) for split in splits)
    return score(
        predicted,
        labels.temperature,
        scheme=one.name,
        form=form,
        model=name,
        n_train=fewest if limit is None else min(fewest, limit),
        note=one.note(),
        seed=one.training.seed,
    )


def _note(training: Training, test: Instances | None) -> str:
    """Say which temperatures of the test runs are in the training data."""
    if test is None:
        return ""
    tested = test.temperatures
    known = tested[is_known(tested, training.instances.temperatures)]
    if not len(known):
        return ""
    return f"other runs at {', '.join(f'{kelvin:g}' for kelvin in known)} K were trained on"


def about_rows_of(training: Training) -> dict[str, Any]:
    """Return how many rows the models, the controls and Fig. 1 have, and the folds.

    Parameters
    ----------
    training
        What models are trained on.
    """
    return {
        "n_rows": training.instances.n_rows,
        "n_drawn": len(few_row_numbers(training.instances.labels())),
        "n_neighbors": dict(training.n_neighbors),
        "folds": training.folds,
    }


def rows_of(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return the rows of ``validation.json``.

    Parameters
    ----------
    scores
        From ``validate_models``.
    """
    return [one.to_json() for one in scores]
