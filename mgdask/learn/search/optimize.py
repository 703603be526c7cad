"""``search``: parameters of boosted trees by Optuna, on folds of whole groups."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgdask._renamed import renamed_arguments
from mgdask._typing import AnyArray, IntArray
from mgdask.errors import ParameterError, RunError
from mgdask.learn.data.arrays import coded, generator
from mgdask.learn.data.rows import Rows
from mgdask.learn.data.splits import group_folds, undersample
from mgdask.learn.data.tables import Table, check_labels
from mgdask.learn.evaluation import metrics
from mgdask.learn.search.journal import Direction, Journal, opened, require_optuna
from mgdask.learn.search.space import SPACE, Range, distributions, ranges_of
from mgdask.learn.search.trials import ClusterRunner, LocalRunner, Trial, TrialState, Work
from mgdask.learn.training.boosting import METRICS, RESERVED_PARAMETERS
from mgdask.learn.training.parameters import main_names
from mgdask.learn.training.progress import printer

if TYPE_CHECKING:
    import optuna
    import xarray as xr
    from distributed import Client
    from optuna.trial import FrozenTrial

SMALL = 2**30
"""Maximum bytes of a matrix for which ``Rows`` are read once and sent to workers.

For larger tables, every fold reads its own rows.
"""
STARTUP_TRIALS = 5
"""Number of complete trials before trials are pruned."""
REGRESSION_METRICS = ("rmse", "r2")
"""Metrics of objectives other than classes."""


@dataclass(frozen=True)
class Search:
    """Result of a search; ``str`` is its summary.

    Parameters
    ----------
    params
        Parameters of the best trial with the fixed ones, as ``train`` takes them.
    value
        Mean of its scores.
    scores
        Scores (fold,) of the best trial.
    number
        Number of the best trial.
    trials
        Trials in order, each a dictionary of number, state (complete, pruned, failed),
        value, scores, params and error. The value of a pruned trial is the mean of the
        folds it had; that of a failed one is None.
    objective, metric, num_boost_round, folds, seed, batch, space, fixed, balance
        Arguments of the search. ``fixed`` are its ``params``.
    digest
        Digest of data and arguments.
    versions
        Versions of the packages that decide the result.
    early_stopping
        Argument of the search.
    """

    params: dict[str, Any]
    value: float
    scores: tuple[float, ...]
    number: int
    trials: tuple[dict[str, Any], ...]
    objective: str
    metric: str
    num_boost_round: int
    folds: int
    seed: int
    batch: int
    space: dict[str, Range]
    fixed: dict[str, Any]
    balance: bool
    digest: str
    versions: dict[str, str]
    early_stopping: int = 0

    @property
    def rounds(self) -> int:
        """Old name of ``num_boost_round``."""
        warnings.warn(
            "Search.rounds is Search.num_boost_round since version 0.2", FutureWarning, stacklevel=2
        )
        return self.num_boost_round

    def as_dict(self) -> dict[str, Any]:
        """Convert the result to plain values for JSON.

        Returns
        -------
        dict
            All fields. ``num_boost_round`` has the key ``rounds``, as in cards.
        """
        values = {**vars(self), "scores": list(self.scores), "trials": list(self.trials)}
        values["rounds"] = values.pop("num_boost_round")
        return values

    def table(self) -> pd.DataFrame:
        """Return the trials as a table.

        Returns
        -------
        pandas.DataFrame
            One row per trial: number, state, value, a column per searched parameter and
            per fold, and error.
        """
        rows = []
        for trial in self.trials:
            row = {name: trial[name] for name in ("number", "state", "value")}
            row |= {name: trial["params"][name] for name in self.space}
            scores = trial["scores"] + [math.nan] * (self.folds - len(trial["scores"]))
            row |= {f"fold {k + 1}": score for k, score in enumerate(scores)}
            rows.append(row | {"error": trial["error"]})
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        ends = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED
        count = {state: sum(t["state"] == state for t in self.trials) for state in ends}
        counts = ", ".join(f"{n} {state}" for state, n in count.items() if n)
        scores = ", ".join(f"{score:.4g}" for score in self.scores)
        params = "\n".join(
            f"  {name} = {value:.5g}" if isinstance(value, float) else f"  {name} = {value}"
            for name, value in self.params.items()
        )
        return (
            f"{len(self.trials)} trials: {counts}\n"
            f"best {self.metric} {self.value:.5g} over {self.folds} folds ({scores}), "
            f"trial {self.number}:\n{params}"
        )


@dataclass(frozen=True)
class _Settings:
    """Arguments of ``search`` that decide its result."""

    objective: str
    metric: str
    num_boost_round: int
    folds: int
    seed: int
    batch: int
    space: dict[str, Range]
    fixed: dict[str, Any]
    balance: bool
    early_stopping: int

    @property
    def direction(self) -> Direction:
        """Optuna's name of the direction of improvement."""
        return "minimize" if self.metric in metrics.LOSSES else "maximize"

    def better(self, values: list[float]) -> float:
        """Return the best of several values."""
        return min(values) if self.direction == "minimize" else max(values)

    def as_dict(self) -> dict[str, Any]:
        """Return the arguments under the names that digests of old searches have."""
        values = dict(vars(self))
        values["rounds"] = values.pop("num_boost_round")
        if not self.early_stopping:
            del values["early_stopping"]
        return values


@renamed_arguments(rounds="num_boost_round")
def search(
    x: Rows | AnyArray | xr.DataArray | pd.DataFrame,
    y: npt.ArrayLike | None,
    groups: npt.ArrayLike,
    *,
    space: Mapping[str, Range] = SPACE,
    objective: str = "binary",
    metric: str | None = None,
    trials: int = 50,
    folds: int = 5,
    num_boost_round: int = 300,
    params: Mapping[str, Any] | None = None,
    columns: tuple[str, ...] | None = None,
    seed: int = 0,
    client: Client | None = None,
    storage: str | Path | None = None,
    balance: bool = True,
    batch: int = 4,
    timeout: float | None = None,
    early_stopping: int = 0,
    progress: bool = True,
) -> Search:
    """Search for the parameters of ``train`` with the best mean score over folds.

        value = 1/K sum_k metric(y_k, model trained on the folds other than k, of x_k)

    Parameters
    ----------
    x
        Matrix (row, column), or ``Rows``.
    y
        Labels (row,). None: those of the rows.
    groups
        Group (row,) of each row, such as its simulation. No group is on both sides of a
        fold.
    space
        Range of each parameter to search, as in ``SPACE``.
    objective
        An objective of ``train`` other than ranking.
    metric
        A key of ``mgdask.learn.evaluation.metrics.METRICS``. Default: roc_auc for
        classes, otherwise rmse.
    trials
        Total number of trials.
    folds
        Number of folds, each a model per trial.
    num_boost_round
        Number of trees per model.
    params
        Fixed parameters. bagging_freq is 1 if only bagging_fraction is searched, which
        has no effect otherwise.
    columns
        Names of the columns of a plain matrix.
    seed
        Seed of folds, undersampling, LightGBM, and the choice of trials.
    client
        Client of a cluster. Folds are then tasks of one thread each, at most one per
        thread of the workers and at most ``batch`` at a time. A fold whose worker dies
        is repeated; after a few losses its trial fails.
    storage
        File on this machine or on a shared disk. The same call continues from the folds
        that are done, also with more ``trials`` or another ``timeout``.
    balance
        Whether to undersample the training rows of classes. Test rows never are.
    batch
        Number of trials that are chosen at a time.
    timeout
        Seconds after which no further batch begins. Default: no limit.
    early_stopping
        Number of rounds without a better score on the test rows of the fold after which
        its training stops. The best round is then scored. 0: all rounds are trained.
    progress
        Whether to print progress lines to stderr.

    Returns
    -------
    Search

    Raises
    ------
    ParameterError
        If the data or an argument are not valid.
    StoreError
        If the storage belongs to another search or is in use.
    RunError
        If every trial of the first batch fails.
    MissingDependencyError
        If Optuna is not installed.

    Notes
    -----
    Trials are chosen ``batch`` at a time by the tree-structured Parzen estimator, which
    sees earlier batches only. Its seed is made of ``seed`` and the number of the batch.
    Pruning starts once five trials of earlier batches are complete. A trial is pruned
    if its mean after two or more folds is worse than their median. The table is
    therefore the same for any number of workers, and after an interruption. It changes
    with ``batch``.

    The best value is biased, because the test folds selected it. Report the score on
    groups that were not part of the search. More workers than ``batch`` are idle. Every
    worker holds a matrix once.

    References
    ----------
    Bergstra et al., NIPS 24 (2011). Akiba et al., KDD (2019).

    Examples
    --------
    >>> best = search(x, y, runs, trials=20, storage="search.journal")  # doctest: +SKIP
    >>> model = train(x, y, params=best.params)  # doctest: +SKIP
    """
    require_optuna()
    began = time.monotonic()
    _validate_counts(trials=trials, num_boost_round=num_boost_round, batch=batch)
    metric = _validate_metric(objective, metric)
    generator(seed)
    if isinstance(early_stopping, bool) or early_stopping < 0:
        raise ParameterError(f"early_stopping={early_stopping!r}; the minimum is 0")
    ranges, fixed = _validate_space(space, params)
    settings = _Settings(
        objective,
        metric,
        num_boost_round,
        folds,
        int(seed),
        batch,
        ranges,
        fixed,
        balance,
        early_stopping,
    )
    table = Table(x, y, None, None, columns, "x")
    check_labels(table, objective)
    parts = _fold_rows(table, groups, settings)
    digest = _digest(table, groups, settings)
    work = Work(
        table.rows
        if table.rows is not None and _size(table.rows, table) > SMALL
        else table.matrix(),
        table.y,
        parts,
        objective,
        metric,
        num_boost_round,
        int(seed),
        table.columns,
        early_stopping,
    )
    say = printer(progress)
    place = "in this process"
    if client is not None:
        place = f"on {sum(client.nthreads().values())} threads of workers"
    say(f"search: {table.n} rows, {len(table.columns)} columns, {len(parts)} folds, {place}")
    runner = LocalRunner(work) if client is None else ClusterRunner(work, client)
    with _quiet(), opened(storage, digest, settings.direction) as journal:
        batches = _Batches(settings, journal, runner, trials)
        for done in batches:
            values = [
                trial.value for trial in done if _is_complete(trial) and trial.value is not None
            ]
            best = f", best {metric} {settings.better(values):.6g}" if values else ""
            say(f"{len(done)} of {trials} trials{best}")
            if (
                timeout is not None
                and time.monotonic() - began > timeout
                and batches.must_compute()
            ):
                say(f"the timeout of {timeout:g} s is over after {len(done)} of {trials} trials")
                break
    return _result(batches.done, settings, digest)


def _validate_counts(**counts: int) -> None:
    for name, number in counts.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ParameterError(f"{name}={number!r}; it must be an integer, at least 1")


def _validate_metric(objective: str, metric: str | None) -> str:
    """Check objective and metric; return the metric."""
    if objective not in METRICS or objective == "lambdarank":
        allowed = ", ".join(name for name in METRICS if name != "lambdarank")
        raise ParameterError(f"objective={objective!r}; allowed are {allowed}")
    metric = metric or ("roc_auc" if objective == "binary" else "rmse")
    if metric not in metrics.METRICS:
        raise ParameterError(f"metric={metric!r}; allowed are {', '.join(metrics.METRICS)}")
    if objective != "binary" and metric not in REGRESSION_METRICS:
        raise ParameterError(
            f"metric={metric!r} is for classes; with objective={objective!r} use "
            f"{' or '.join(REGRESSION_METRICS)}"
        )
    return metric


def _validate_space(
    space: Mapping[str, Range], params: Mapping[str, Any] | None
) -> tuple[dict[str, Range], dict[str, Any]]:
    """Return the ranges and the fixed parameters by LightGBM's main names."""
    ranges, fixed = ranges_of(space), main_names(params or {})
    if both := sorted(set(ranges) & set(fixed)):
        raise ParameterError(
            f"{', '.join(both)}: in both space and params; give each in one of them"
        )
    if reserved := sorted(RESERVED_PARAMETERS & {*ranges, *fixed}):
        raise ParameterError(
            f"{', '.join(reserved)} cannot be searched or fixed: train sets them itself"
        )
    if "bagging_fraction" in ranges and "bagging_freq" not in {*ranges, *fixed}:
        fixed["bagging_freq"] = 1
    return ranges, fixed


@dataclass
class _Batches:
    """The batches of a search; iterating gives all finished trials after each batch."""

    settings: _Settings
    journal: Journal
    runner: LocalRunner | ClusterRunner
    trials: int
    done: list[FrozenTrial] = field(default_factory=list)

    def __iter__(self) -> Iterator[list[FrozenTrial]]:
        while len(self.done) < self.trials:
            kept = self._kept()
            self.done += self._computed(kept) if self._incomplete(kept) else kept
            yield self.done

    def must_compute(self) -> bool:
        """Return whether the next batch is incomplete; take what the journal has."""
        if len(self.done) >= self.trials:
            return False
        kept = self._kept()
        if not self._incomplete(kept):
            return False
        self.done += kept
        return True

    def _numbers(self) -> range:
        """Return the numbers of the trials of the next batch."""
        start = len(self.done)
        return range(start, min(start + self.settings.batch, self.trials))

    def _kept(self) -> list[FrozenTrial]:
        """Return the trials of the next batch that are in the journal."""
        numbers = self._numbers()
        return self.journal.finished()[numbers.start : numbers.stop]

    def _incomplete(self, kept: list[FrozenTrial]) -> bool:
        return len(kept) < len(self._numbers())

    def _computed(self, kept: list[FrozenTrial]) -> list[FrozenTrial]:
        """Compute the missing trials of a batch and return all of it."""
        import optuna

        view = self._view()
        asked = [self._ask(view, number) for number in self._numbers()]
        missing = asked[len(kept) :]
        for trial in missing:
            trial.restore(self.journal.kept(trial.number, trial.params))
        self.runner.run(missing)
        failed = all(trial.state is TrialState.FAILED for trial in missing)
        if failed and not self.done and not kept:
            raise RunError(
                f"all of the first {len(asked)} trials failed, the first in {asked[0].error}"
            )
        states = {
            TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
            TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
            TrialState.FAILED: optuna.trial.TrialState.FAIL,
        }
        finished = list(kept)
        for trial in missing:
            trial.asked.set_user_attr("scores", trial.scores)
            trial.asked.set_user_attr("error", trial.error)
            complete = trial.state is TrialState.COMPLETE
            value = float(np.mean(trial.scores)) if complete else None
            finished.append(view.tell(trial.asked, value, state=states[trial.state]))
            self.journal.add(finished[-1])
        return finished

    def _view(self) -> optuna.Study:
        """Return a study of earlier batches only.

        Results within a batch must not steer it, in whatever order they arrive.
        """
        import optuna

        batch = len(self.done) // self.settings.batch
        state = np.random.SeedSequence([self.settings.seed, batch]).generate_state(1)
        sampler = optuna.samplers.TPESampler(
            seed=int(state[0]), multivariate=True, constant_liar=True
        )
        view = optuna.create_study(direction=self.settings.direction, sampler=sampler)
        view.add_trials(self.done)
        return view

    def _ask(self, view: optuna.Study, number: int) -> Trial:
        """Let Optuna choose the parameters of a trial."""
        import optuna

        pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1)

        def should_prune(step: int, mean: float) -> bool:
            # with all steps it would take the best of them: an easy first fold would
            # save every trial
            current = optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING, intermediate_values={step: mean}
            )
            return bool(pruner.prune(view, current))

        asked = view.ask(distributions(self.settings.space))
        return Trial(
            number,
            {**self.settings.fixed, **asked.params},
            self.settings.folds,
            asked,
            should_prune,
            lambda trial: self.journal.keep(trial.number, trial.params, trial.scores),
        )


def _is_complete(trial: FrozenTrial) -> bool:
    import optuna

    return trial.state == optuna.trial.TrialState.COMPLETE


def _result(done: list[FrozenTrial], settings: _Settings, digest: str) -> Search:
    """Select the best trial."""
    import lightgbm
    import optuna

    from mgdask._version import __version__

    rows = tuple(_row(number, trial) for number, trial in enumerate(done))
    complete = [row for row in rows if row["state"] == TrialState.COMPLETE]
    if not complete:
        raise RunError(f"none of {len(rows)} trials has a value; the first: {rows[0]['error']}")
    best_value = settings.better([row["value"] for row in complete])
    best = next(row for row in complete if row["value"] == best_value)
    return Search(
        {**settings.fixed, **best["params"]},
        best["value"],
        tuple(best["scores"]),
        best["number"],
        rows,
        **vars(settings),
        digest=digest,
        versions={
            "mgdask": __version__,
            "optuna": optuna.__version__,
            "lightgbm": lightgbm.__version__,
        },
    )


def _row(number: int, trial: FrozenTrial) -> dict[str, Any]:
    """Return a finished trial as plain values."""
    import optuna

    states = {
        optuna.trial.TrialState.COMPLETE: TrialState.COMPLETE,
        optuna.trial.TrialState.PRUNED: TrialState.PRUNED,
        optuna.trial.TrialState.FAIL: TrialState.FAILED,
    }
    return {
        "number": number,
        "state": states[trial.state].value,
        "value": trial.value,
        "scores": trial.user_attrs["scores"],
        "params": dict(trial.params),
        "error": trial.user_attrs["error"],
    }


def _fold_rows(
    table: Table, groups: npt.ArrayLike, settings: _Settings
) -> tuple[tuple[IntArray, IntArray], ...]:
    """Return training rows and test rows of each fold."""
    classes = settings.objective == "binary"
    coded("groups", groups, table.n)
    folds = []
    strata = table.y if classes else None
    for k, split in enumerate(group_folds(groups, settings.folds, settings.seed, strata)):
        training, testing = split.rows(groups)
        if classes:
            _refuse_one_class(table.y[training], f"the training rows of fold {k + 1}")
            _refuse_one_class(table.y[testing], f"the test rows of fold {k + 1}")
        if classes and settings.balance:
            training = training[undersample(table.y[training], settings.seed + k)]
        folds.append((training, testing))
    return tuple(folds)


def _refuse_one_class(labels: AnyArray, which: str) -> None:
    if len(np.unique(labels)) < 2:
        raise ParameterError(
            f"{which} ({len(labels)} rows) are of one class only; ask for fewer folds, or take "
            "groups in which both classes occur"
        )


def _size(rows: Rows, table: Table) -> int:
    """Return the bytes of the matrix."""
    return table.n * len(table.columns) * np.dtype(rows.dtype).itemsize


def _digest(table: Table, groups: npt.ArrayLike, settings: _Settings) -> str:
    """Return the digest of everything that decides the result."""
    names, group = coded("groups", groups)
    about = [settings.as_dict(), names, table.columns]
    sha256 = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for values in (group, table.y):
        sha256.update(np.ascontiguousarray(values).data)
    if table.rows is not None:
        sha256.update(table.rows.digest().encode())
    else:
        x = table.matrix()
        sha256.update(f"{x.shape} {x.dtype}".encode())
        sha256.update(np.ascontiguousarray(x).data)
    return sha256.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's line per study and its warnings about experimental options."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
