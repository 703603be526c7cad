"""Predictions and scores of the models, as tables and in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mgdask._typing import AnyArray, FloatArray
from mgdask.learn.evaluation.bootstrap import Interval, bootstrap, bootstrap_contrast
from mgdask.learn.training.ridge import Ridge
from mgdask.studies.barcode.baselines import MEAN, RIDGES, EnergyModel, LinearEnergy
from mgdask.studies.barcode.boosting import BoostedEnergy
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.models import PAIRS
from mgdask.studies.results import POOLED, Metric

TRAIN, TEST, TEST_SIZE, DRIVEN = "train", "test", "test_size", "driven"
"""Sets of samples, as the options that name their stores."""
N_RESAMPLES = 1000
"""Bootstrap resamples of every interval."""
WHY_LINES_WIN = (
    "The energy is a sum of smooth functions of the environments of all atoms, so it is nearly "
    "linear in their mean. A fraction only says which entry is nearest, and discards the distance."
)
"""Why a linear model of mean vectors is better than fractions, in words."""


@dataclass(frozen=True, eq=False)
class Tested:
    """Predictions of one model for the samples of one set.

    Parameters
    ----------
    model
        Name of the model.
    test
        Name of the store, or "pooled" for all stores of the set.
    set
        "train", "test", "test_size" or "driven".
    n_numbers
        Number of inputs of the model per sample.
    samples
        The samples.
    predicted
        Predicted energy of each sample in eV (sample,).
    how
        "test"; for training samples "left out" or "fitted".
    """

    model: str
    test: str
    set: str
    n_numbers: int
    samples: Samples
    predicted: FloatArray
    how: str = TEST


def predictions(
    models: Sequence[EnergyModel], sets: dict[str, Samples], train: Samples
) -> list[Tested]:
    """Return the predictions of all models for all sets, store by store.

    Parameters
    ----------
    models
        In the order of every table.
    sets
        Samples of the sets "test", "test_size" and "driven", as far as there are any.
    train
        Training samples. Their predictions are those without their own run, if the
        model has them.

    Returns
    -------
    tested
        By model, then by set and store. A set of several stores also has "pooled",
        before its stores.
    """
    tested = []
    for model in models:
        left_out = _left_out(model)
        own = model.predict(train) if left_out is None else left_out
        how = "fitted" if left_out is None else "left out"
        tested.append(
            Tested(model.name, POOLED, TRAIN, model.n_numbers, train, own * train.n_atoms, how)
        )
        for name, samples in sets.items():
            energy = model.predict(samples) * samples.n_atoms
            tested.append(Tested(model.name, POOLED, name, model.n_numbers, samples, energy))
            for store in samples.stores:
                mask = samples.store == store
                tested.append(
                    Tested(
                        model.name, store, name, model.n_numbers, samples.take(mask), energy[mask]
                    )
                )
    return tested


def _left_out(model: EnergyModel) -> FloatArray | None:
    if isinstance(model, LinearEnergy):
        return model.fit.left_out
    if isinstance(model, BoostedEnergy):
        return model.left_out
    found = getattr(model, "left_out", None)
    if found is None and isinstance(fit := getattr(model, "fit", None), Ridge):
        return fit.left_out
    return None if found is None else np.asarray(found, dtype=np.float64)


def score_row(tested: Tested, seed: int = 0) -> dict[str, Any]:
    """Return the scores of predictions as plain values.

    Parameters
    ----------
    tested
        Predictions of a model.
    seed
        Seed of the resamples.

    Returns
    -------
    row
        Model, set and sizes; ``rmse`` (eV per sample), ``rmse_per_atom`` (meV per atom)
        and ``r2`` (of the energy per atom) with intervals over runs; ``mae`` and
        ``bias`` in eV per sample.
    """
    samples, predicted = tested.samples, tested.predicted
    error = predicted - samples.energy
    options: dict[str, Any] = {"groups": samples.run, "n_resamples": N_RESAMPLES, "seed": seed}
    per_atom = 1e3 * samples.energy_per_atom, 1e3 * predicted / samples.n_atoms
    scores = {
        "rmse": bootstrap("rmse", samples.energy, predicted, **options),
        "rmse_per_atom": bootstrap("rmse", *per_atom, **options),
    }
    if len(set(per_atom[0].tolist())) > 1:  # else there is no variance to explain
        scores["r2"] = bootstrap("r2", *per_atom, **options)
    return {
        "model": tested.model,
        "test": tested.test,
        "set": tested.set,
        "how": tested.how,
        "n_numbers": tested.n_numbers,
        "n_samples": len(samples),
        "n_runs": len(samples.runs),
        **{name: _plain(one) for name, one in scores.items()},
        "mae": float(np.abs(error).mean()),
        "bias": float(error.mean()),
    }


def _plain(interval: Interval) -> dict[str, Any]:
    return asdict(interval)


def score_metrics(rows: Sequence[dict[str, Any]]) -> list[Metric]:
    """Return the scores of all test samples as metrics of ``results.json``.

    Parameters
    ----------
    rows
        Rows of ``score_row``.
    """
    units = {"rmse": "eV", "rmse_per_atom": "meV/atom", "r2": "1"}
    several = {
        name: len({row["test"] for row in rows if row["set"] == name} - {POOLED}) > 1
        for name in (TEST, TEST_SIZE, DRIVEN)
    }
    return [
        Metric(
            model=row["model"],
            test=row["test"] if row["set"] == TEST else _set_name(row),
            name=name,
            value=row[name]["value"],
            low=row[name]["low"],
            high=row[name]["high"],
            unit=unit,
        )
        for row in rows
        if row["set"] in several
        for name, unit in units.items()
        # all test samples together always have a row, other sets if they are several
        if name in row and (row["test"] != POOLED or row["set"] == TEST or several[row["set"]])
    ]


def _set_name(row: dict[str, Any]) -> str:
    return f"{row['test']} ({row['set'].replace('_', ' ')})"


def predictions_csv(tested: Sequence[Tested]) -> str:
    """Return one line per model and sample, without the pooled repeats.

    Parameters
    ----------
    tested
        Predictions of all models.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ("model", "set", "how", "store", "run", "frame", "n_atoms", "energy", "predicted")
    )
    for one in tested:
        if one.test != POOLED or one.set == TRAIN:
            s = one.samples
            for k in range(len(s)):
                writer.writerow(
                    (
                        one.model,
                        one.set,
                        one.how,
                        s.store[k],
                        s.run[k],
                        int(s.frame[k]),
                        int(s.n_atoms[k]),
                        repr(float(s.energy[k])),
                        repr(float(one.predicted[k])),
                    )
                )
    return stream.getvalue()


def contrast(first: Tested, second: Tested, seed: int = 0) -> Interval:
    """Return how much larger the RMSE of the first model is, in eV per sample.

    Parameters
    ----------
    first, second
        Predictions of the same samples.
    seed
        Seed of the resamples, which are the same for both.
    """
    return bootstrap_contrast(
        "rmse",
        first.samples.energy,
        [first.predicted, second.predicted],
        [1.0, -1.0],
        first.samples.run,
        n_resamples=N_RESAMPLES,
        seed=seed,
    )


def pooled(tested: Sequence[Tested], name: str = TEST) -> list[Tested]:
    """Return the predictions for all samples of a set, one per model in order."""
    return [one for one in tested if one.set == name and one.test == POOLED]


def verdict(tested: Sequence[Tested], seed: int = 0) -> str:
    """Say which model is best on the test samples, a simple one first.

    Parameters
    ----------
    tested
        Predictions of all models.
    seed
        Seed of the resamples.

    Returns
    -------
    text
        Sentences with the numbers. If a linear model is better than the boosted trees
        on the fractions, it comes first, with the reason.
    """
    together = pooled(tested)
    error = {one.model: _rmse(one) for one in together}
    by_name = {one.model: one for one in together}
    simple = min((name for name in error if name in (MEAN, *RIDGES, PAIRS)), key=error.__getitem__)
    trees = [name for name in error if name.startswith("boosted trees")]
    if not trees:
        return f"{_said(by_name[simple])}."
    best_trees = min(trees, key=error.__getitem__)
    difference = contrast(by_name[best_trees], by_name[simple], seed)
    ordered = sorted((simple, best_trees), key=error.__getitem__)
    texts = "; ".join(_said(by_name[name]) for name in ordered)
    by_how_much = (
        f"difference {difference.value:.3g} eV [{difference.low:.3g}, {difference.high:.3g}]"
    )
    if difference.value <= 0.0:
        return f"The boosted trees are best: {texts}."
    sure = difference.low > 0.0
    opening = "A simple model wins" if sure else "A simple model is as good"
    ends = f" {WHY_LINES_WIN}" if simple not in (MEAN, "ridge on fractions") else ""
    return f"{opening}: {texts} ({by_how_much}).{ends}"


def _rmse(one: Tested) -> float:
    return float(np.sqrt(np.mean((one.predicted - one.samples.energy) ** 2)))


def _said(one: Tested) -> str:
    atoms = 1e3 * float(
        np.sqrt(np.mean(((one.predicted - one.samples.energy) / one.samples.n_atoms) ** 2))
    )
    return f"{one.model} {_rmse(one):.3g} eV per sample ({atoms:.3g} meV per atom)"


def score_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the scores of each set as lines of a table for a terminal.

    Parameters
    ----------
    rows
        Rows of ``score_row``.
    """
    titles = {
        TEST: "test samples",
        TEST_SIZE: "samples of another size, without retraining",
        DRIVEN: "samples driven by shear, not used in training",
    }
    lines: list[str] = []
    for name, title in titles.items():
        own = [row for row in rows if row["set"] == name and row["test"] == POOLED]
        if not own:
            continue
        lines.append(
            f"{title} ({own[0]['n_samples']} of {own[0]['n_runs']} "
            f"{'run' if own[0]['n_runs'] == 1 else 'runs'}):"
        )
        lines.append(f"  {'model':36} {'numbers':>7}  {'RMSE, eV':22} {'meV/atom':>8}  {'R²':>6}")
        for row in own:
            rmse = row["rmse"]
            interval = f"{rmse['value']:.3f} [{rmse['low']:.3f}, {rmse['high']:.3f}]"
            r2 = f"{row['r2']['value']:6.3f}" if "r2" in row else "     –"
            lines.append(
                f"  {row['model']:36} {row['n_numbers']:7}  {interval:22} "
                f"{row['rmse_per_atom']['value']:8.3f}  {r2}"
            )
        if not own[0]["rmse"]["reliable"]:
            lines.append(f"  {own[0]['rmse']['note']}")
    return lines


def sizes(values: AnyArray) -> str:
    """Return the different numbers in words: "2000 atoms", or "500 and 2000 atoms".

    Examples
    --------
    >>> sizes(np.array([2000, 500, 2000]))
    '500 and 2000 atoms'
    """
    return " and ".join(map(str, np.unique(values).tolist())) + " atoms"
