"""Error against the number of entries and of training runs: Fig. A1 of the paper.

Liu et al., Acta Mater. 259, 119281 (2023). Each threshold has a dictionary of all
training samples. Models are trained on some of the runs and tested on the test samples.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray, IntArray
from mgdask.learn.evaluation.bootstrap import Interval, interval_of, resampled_metric
from mgdask.store.dictionaries import Dictionary, read_dictionary
from mgdask.store.provenance import digest
from mgdask.studies.barcode import results
from mgdask.studies.barcode.baselines import RIDGES, EnergyModel, fit_linear, fit_mean
from mgdask.studies.barcode.boosting import fit_trees, tree_settings
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.models import fit_pairs
from mgdask.studies.barcode.prepare import build_ules, compute_fractions, read_samples
from mgdask.studies.barcode.records import Record
from mgdask.studies.barcode.training_sets import training_sets
from mgdask.studies.stages import StageRunner, write_text
from mgdask.studies.timing import StageTimer

if TYPE_CHECKING:
    from mgdask.studies.barcode.options import BarcodeOptions

ACCURACY = "accuracy.json"
"""Name of the file of results, in the folder of the study."""
WITHOUT = tuple(name for name, matrix in RIDGES.items() if matrix != "fractions")
"""Ridge regressions that read no entries."""

Fit = Callable[[Samples], EnergyModel]


@dataclass(frozen=True)
class AccuracyRow(Record):
    """Error of one model on the test samples, over sets of training runs.

    Parameters
    ----------
    model
        Name of the model.
    threshold, n_entries
        Threshold and entries of the dictionary; None for a model that reads no entries.
    n_runs
        Number of training runs.
    n_cases
        Number of sets of that many runs. A model is trained on each.
    n_samples
        Mean number of training samples of a set.
    rmse
        Root mean square error in eV per sample, over all sets and test samples.
    low, high
        Its interval; see ``error_over_cases``.
    reliable, note
        Whether the interval can be trusted, and why not.
    cases
        Root mean square error of each set.
    """

    model: str
    threshold: float | None
    n_entries: int | None
    n_runs: int
    n_cases: int
    n_samples: float
    rmse: float
    low: float
    high: float
    reliable: bool
    note: str
    cases: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class _Squares:
    """Squared errors (case, row); every resample draws cases, too."""

    squares: FloatArray
    rng: np.random.Generator = field(default_factory=np.random.default_rng)

    def value(self, weight: FloatArray) -> FloatArray:
        return self._root(self.squares @ weight, weight.sum(), self._drawn(1)[0])

    def resampled(self, group: IntArray, counts: FloatArray) -> FloatArray:
        one_hot = np.eye(counts.shape[1])[group]
        sums, sizes = self.squares @ one_hot, one_hot.sum(axis=0)
        drawn = self._drawn(len(counts))
        return np.array(
            [self._root(sums @ w, float(w @ sizes), d) for w, d in zip(counts, drawn, strict=True)]
        )

    def _drawn(self, size: int) -> FloatArray:
        n = len(self.squares)
        return self.rng.multinomial(n, np.full(n, 1.0 / n), size=size).astype(np.float64)

    def _root(self, sums: FloatArray, weight: float, drawn: FloatArray) -> FloatArray:
        return np.asarray(np.sqrt(drawn @ sums / (len(sums) * weight)))


def error_over_cases(
    errors: npt.ArrayLike, groups: npt.ArrayLike, *, n_resamples: int = 1000, seed: int = 0
) -> Interval:
    """Return the root mean square error over cases and samples, with its interval.

    Parameters
    ----------
    errors
        Predicted minus true value (case, sample). Cases are models that differ in their
        training runs.
    groups
        Test run of each sample (sample,).
    n_resamples
        Number of resamples.
    seed
        Seed of the resamples.

    Returns
    -------
    interval
        At a level of 95 %. A resample draws test runs and cases, independently. With
        fewer than five test runs, samples are drawn within them, too.

    Notes
    -----
    Cases share training runs. The interval is therefore too narrow for new training
    runs. With a single case, it does not contain the choice of the training runs.

    References
    ----------
    Owen, Ann. Appl. Stat. 1, 386 (2007), for resamples of two crossed factors.
    """
    squares = np.asarray(errors, dtype=np.float64) ** 2
    ready = _Squares(squares, np.random.default_rng([seed, len(squares)]))
    resamples, n_groups, drawn = resampled_metric(
        ready, squares.shape[1], groups, n_resamples, seed, 0.95
    )
    what = drawn if len(squares) == 1 else f"{drawn}, and training sets"
    return interval_of(float(np.sqrt(squares.mean())), resamples, n_groups, what, 0.95)


def accuracy_row(
    fit: Fit,
    train: Samples,
    test: Samples,
    n_runs: int,
    *,
    dictionary: tuple[float, int] | None = None,
    seed: int = 0,
) -> AccuracyRow:
    """Train a model on each set of training runs, and score it on the test samples.

    Parameters
    ----------
    fit
        Function that trains the model.
    train, test
        Samples.
    n_runs
        Number of training runs in a set.
    dictionary
        Threshold and number of entries; None for a model that reads no entries.
    seed
        Seed of the resamples.

    Returns
    -------
    row
    """
    sets = [train.take(np.isin(train.run, one)) for one in training_sets(train.runs, n_runs)]
    models = [fit(one) for one in sets]
    errors = np.array([model.predict(test) * test.n_atoms - test.energy for model in models])
    found = error_over_cases(errors, test.run, n_resamples=results.N_RESAMPLES, seed=seed)
    threshold, n_entries = dictionary or (None, None)
    return AccuracyRow(
        models[0].name,
        threshold,
        n_entries,
        n_runs,
        len(sets),
        float(np.mean([len(one) for one in sets])),
        found.value,
        found.low,
        found.high,
        found.reliable,
        found.note,
        tuple(np.sqrt(np.mean(errors**2, axis=1)).tolist()),
    )


def run_accuracy(
    options: BarcodeOptions,
    stages: StageRunner,
    dictionary: Dictionary,
    train: Samples,
    test: Samples,
    how: dict[str, Any],
) -> list[dict[str, Any]]:
    """Compute the errors for all thresholds and numbers of training runs.

    Parameters
    ----------
    options
        Options of the study.
    stages
        Stages of the study. Each threshold and number of runs is a stage of its own.
    dictionary
        Dictionary of the study, used for its own threshold.
    train, test
        Samples with the fractions of ``dictionary``.
    how
        ``client`` and ``progress``.

    Returns
    -------
    rows
        ``AccuracyRow`` as plain values, also written to ``accuracy.json``: models
        without entries first, then by threshold.
    """
    folder, numbers = options.out / "barcode", accuracy_runs(options, train.runs)
    rows: list[dict[str, Any]] = []
    branch = stages.branch()

    def simple(_: StageTimer, n: int) -> list[dict[str, Any]]:
        fits: list[Fit] = [
            fit_mean,
            *(partial(fit_linear, matrix=RIDGES[name]) for name in WITHOUT),
            fit_pairs,
        ]
        return [accuracy_row(fit, train, test, n, seed=options.seed).to_json() for fit in fits]

    for n in numbers:
        name = f"accuracy without ULEs, {_runs(n)}"
        rows += branch(name, partial(simple, n=n))
    for threshold in options.accuracy:
        found = _Threshold(options, threshold, stages.branch(), how)
        found.prepare(dictionary, train, test)
        for n in numbers:
            rows += found.rows(n)
    text = ", ".join(map(str, options.accuracy))
    name = f"accuracy at {text} with {', '.join(map(str, numbers))} runs"

    def write(_: StageTimer) -> list[dict[str, Any]]:
        write_text(folder / ACCURACY, json.dumps({"rows": rows}, indent=1) + "\n")
        return rows

    stages(name, write, load=lambda: rows, outputs=lambda: [folder / ACCURACY])
    return rows


def accuracy_runs(options: BarcodeOptions, runs: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of training runs that are compared, by default all runs."""
    return options.accuracy_runs or (len(runs),)


def _runs(n: int) -> str:
    return f"{n} {'run' if n == 1 else 'runs'}"


class _Threshold:
    """Dictionary, samples and errors of one threshold."""

    def __init__(
        self, options: BarcodeOptions, threshold: float, stages: StageRunner, how: dict[str, Any]
    ) -> None:
        self.options, self.threshold, self.stages, self.how = options, threshold, stages, how
        self.folder = options.out / "accuracy" / str(threshold)

    def prepare(self, dictionary: Dictionary, train: Samples, test: Samples) -> None:
        """Build the dictionary and compute the fractions, unless the study has them."""
        if self.threshold == self.options.threshold:
            self.n_entries, self.train, self.test = dictionary.n_entries, train, test
            return
        options, path, features = self.options, self.folder / "ules.zarr", self.folder / "features"

        def build(_: StageTimer) -> int:
            build_ules(options, path, self.threshold, train.species, **self.how)
            return read_dictionary(path).n_entries

        def describe(_: StageTimer | None = None) -> None:
            stores = [*options.train, *options.test]
            compute_fractions(stores, path, features, memory=options.memory, **self.how)

        self.n_entries = self.stages(f"accuracy dictionary {self.threshold}", build)
        self.stages(f"accuracy samples {self.threshold}", describe, load=describe)
        means = options.out / "features"
        self.train, self.test = (
            read_samples(stores, train.species, means, fractions=features)
            for stores in (options.train, options.test)
        )

    def rows(self, n_runs: int) -> list[dict[str, Any]]:
        """Train trees and a ridge regression on the fractions, and score them."""
        options = self.options
        scratch = self.folder / f"trees-{n_runs}"

        def trees(samples: Samples) -> EnergyModel:
            folder = scratch / digest(list(samples.runs))[:16]
            return fit_trees(samples, folder, settings=tree_settings(options), **self.how)

        def compute(_: StageTimer) -> list[dict[str, Any]]:
            fits: list[Fit] = [partial(fit_linear, matrix="fractions"), trees]
            about = (self.threshold, self.n_entries)
            found = [
                accuracy_row(
                    fit, self.train, self.test, n_runs, dictionary=about, seed=options.seed
                )
                for fit in fits
            ]
            shutil.rmtree(scratch, ignore_errors=True)
            with suppress(OSError):  # unless the dictionary is in it
                self.folder.rmdir()
            return [one.to_json() for one in found]

        return self.stages(f"accuracy {self.threshold}, {_runs(n_runs)}", compute)
