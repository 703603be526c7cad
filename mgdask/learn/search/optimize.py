"""``search``: parameters of boosted trees by Optuna, judged on folds of whole groups, here or on a cluster."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgdask.errors import ParameterError, RunError
from mgdask.learn.data.arrays import Integer, coded, generator
from mgdask.learn.data.rows import Rows
from mgdask.learn.data.splits import group_folds, undersample
from mgdask.learn.data.tables import Table, check_labels
from mgdask.learn.evaluation import metrics
from mgdask.learn.search.journal import Journal, opened, optuna
from mgdask.learn.search.space import SPACE, Range, distributions, ranges_of
from mgdask.learn.search.trials import Here, Spread, Trial, Work
from mgdask.learn.training.boosting import METRICS, OWN
from mgdask.learn.training.parameters import main_names
from mgdask.learn.training.supervisor import printer

SMALL = 2**30
"""Bytes of matrix up to which ``Rows`` are read once and sent to the workers; above, every fold reads its own."""
_ENDS = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True)
class Search:
    """What a search found; JSON-able by ``as_dict``, in words by ``str``.

    ``params`` of the best trial with the fixed ones, as ``train`` takes them; ``value``, the mean of its ``scores`` (fold,);
    ``number`` of that trial; ``trials`` in order, each a dictionary of number, state (complete, pruned, failed), value
    (of a pruned trial the mean of the folds it had; None where it failed), scores, params and error.
    """

    params: dict[str, Any]
    value: float
    scores: tuple[float, ...]
    number: int
    trials: tuple[dict[str, Any], ...]
    objective: str
    metric: str
    rounds: int
    folds: int
    seed: int
    batch: int
    space: dict[str, Range]
    fixed: dict[str, Any]
    balance: bool
    digest: str
    versions: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "scores": list(self.scores), "trials": list(self.trials)}

    def table(self) -> pd.DataFrame:
        """Trials as rows: number, state, value, a column for each parameter searched and each fold, error."""
        rows = []
        for trial in self.trials:
            row = {name: trial[name] for name in ("number", "state", "value")} | {
                n: trial["params"][n] for n in self.space
            }
            folds = trial["scores"] + [math.nan] * (self.folds - len(trial["scores"]))
            rows.append(
                row
                | {f"fold {k + 1}": value for k, value in enumerate(folds)}
                | {"error": trial["error"]}
            )
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        count = {state: sum(t["state"] == state for t in self.trials) for state in _ENDS.values()}
        each = ", ".join(f"{score:.4g}" for score in self.scores)
        chosen = "\n".join(
            f"  {name} = {value:.5g}" if isinstance(value, float) else f"  {name} = {value}"
            for name, value in self.params.items()
        )
        return (
            f"{len(self.trials)} trials: {', '.join(f'{n} {state}' for state, n in count.items() if n)}\n"
            f"best {self.metric} {self.value:.5g} over {self.folds} folds ({each}), trial {self.number}:\n{chosen}"
        )


def search(
    x: Rows | Any,
    y: npt.ArrayLike | None,
    groups: npt.ArrayLike,
    *,
    space: Mapping[str, Range] = SPACE,
    objective: str = "binary",
    metric: str | None = None,
    trials: int = 50,
    folds: int = 5,
    rounds: int = 300,
    params: Mapping[str, Any] | None = None,
    columns: tuple[str, ...] | None = None,
    seed: int = 0,
    client: Any = None,
    storage: str | Path | None = None,
    balance: bool = True,
    batch: int = 4,
    timeout: float | None = None,
    progress: bool = True,
) -> Search:
    """Parameters for ``train`` with the best mean score over folds of whole groups.

        value = 1/K sum_k metric(y_k, model trained on the folds other than k, of x_k)

    Parameters: ``x``, a matrix (row, column) or ``Rows``; ``y`` (row,), None for the labels of the rows; ``groups`` (row,),
    such as simulations, never on both sides of a fold; ``space`` as ``SPACE``, other ``params`` fixed (bagging_freq=1
    where only bagging_fraction is searched, as it does nothing otherwise); ``objective`` as in ``train`` but for
    ranking; ``metric``, one of ``mgdask.learn.evaluation.metrics.METRICS``: roc_auc for classes, else rmse where None; ``trials`` in
    all, each of ``folds`` models of ``rounds`` trees; ``balance``: training rows of classes are undersampled, test rows
    never; ``columns``, names for a plain matrix; ``seed``.
    With a ``client`` folds are tasks of one thread each, at most one for each thread of the workers and at most
    ``batch`` at a time; a fold whose worker dies is tried again, then its trial counts as failed.
    ``storage``, a file on this machine or a shared disk: the same call goes on from the folds that are done, also with
    more ``trials`` or another ``timeout`` (seconds, after which no batch is begun).

    Trials are drawn ``batch`` at a time by the tree-structured Parzen estimator, which sees the batches before, with a seed
    made of ``seed`` and the number of the batch. A trial whose mean after two folds or more is worse than the median of the
    complete trials of earlier batches is pruned, from the fifth complete one on. So the table is the same for any
    number of workers and for a search that was killed and started again; it changes with ``batch``.

    Returns a ``Search``. Raises ``ParameterError`` for input that cannot be learned from, ``StoreError`` for the storage of
    other work, ``RunError`` where every trial of the first batch fails, ``MissingDependencyError`` without optuna.

    Validity: the best value is too good, as the test folds chose it: report the score on groups that were no part of the
    search. More workers than ``batch`` stand idle. A matrix is held once by every worker.

    Source: Bergstra et al., NIPS 24 (2011), and Akiba et al., KDD (2019), by Optuna.

    >>> found = search(features, labels, runs, trials=20, client=client, storage="search.journal")   # doctest: +SKIP
    >>> model = train(features, labels, params=found.params, rounds=found.rounds)                    # doctest: +SKIP
    """
    package = optuna()
    say = printer(progress)
    began = time.monotonic()
    if objective not in METRICS or objective == "lambdarank":
        raise ParameterError(
            f"objective={objective!r}; allowed are {', '.join(name for name in METRICS if name != 'lambdarank')}"
        )
    for name, number in (("trials", trials), ("rounds", rounds), ("batch", batch)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ParameterError(f"{name}={number!r}; a whole number, 1 or more, is needed")
    chosen = metric or ("roc_auc" if objective == "binary" else "rmse")
    if chosen not in metrics.METRICS:
        raise ParameterError(
            f"metric={chosen!r} is not known; choose one of {', '.join(metrics.METRICS)}"
        )
    if objective != "binary" and chosen not in ("rmse", "r2"):
        raise ParameterError(
            f"metric={chosen!r} is for classes; objective={objective!r} goes with rmse or r2"
        )
    generator(seed)
    ranges, fixed = ranges_of(space), main_names(params or {})
    if both := sorted(set(ranges) & set(fixed)):
        raise ParameterError(
            f"{', '.join(both)} stand in space and in params; leave them out of one"
        )
    if own := sorted(OWN & {*ranges, *fixed}):
        raise ParameterError(
            f"{', '.join(own)} cannot be searched or fixed: train sets them itself"
        )
    if "bagging_fraction" in ranges and "bagging_freq" not in {*ranges, *fixed}:
        fixed["bagging_freq"] = 1
    table = Table(x, y, None, None, columns, "x")
    check_labels(table, objective)
    parts = _parts(table, groups, folds, seed, objective == "binary", balance)
    about: dict[str, Any] = {
        "objective": objective,
        "metric": chosen,
        "rounds": rounds,
        "folds": folds,
        "seed": int(seed),
        "batch": batch,
        "space": ranges,
        "fixed": fixed,
        "balance": balance,
    }
    digest = _digest(table, groups, about)
    held = (
        table.matrix() if table.rows is None or _bytes(table.rows, table) <= SMALL else table.rows
    )
    work = Work(held, table.y, parts, objective, chosen, rounds, int(seed), table.columns)
    runner = Here(work) if client is None else Spread(work, client)
    direction = "minimize" if chosen in metrics.LOSSES else "maximize"
    better = min if direction == "minimize" else max
    say(
        f"search: {table.n} rows, {len(table.columns)} columns, {len(parts)} folds, "
        + (
            "in this process"
            if client is None
            else f"on {sum(client.nthreads().values())} threads of workers"
        )
    )
    with _quiet(package), opened(storage, digest, direction) as journal:
        done: list[Any] = []
        while len(done) < trials:
            start = len(done)
            past = journal.finished()[start : min(start + batch, trials)]
            if len(past) < min(batch, trials - start):
                if start and timeout is not None and time.monotonic() - began > timeout:
                    done += past
                    say(f"{timeout:g} s are over after {len(done)} of {trials} trials")
                    break
                past = _batch(
                    package,
                    journal,
                    runner,
                    done,
                    past,
                    ranges,
                    fixed,
                    folds,
                    (batch, trials),
                    (seed, direction),
                )
            done += past
            values = [trial.value for trial in done if trial.state.name == "COMPLETE"]
            say(
                f"{len(done)} of {trials} trials"
                + (f", best {chosen} {better(values):.6g}" if values else "")
            )
    rows = tuple(_row(number, trial) for number, trial in enumerate(done))
    whole = [row for row in rows if row["state"] == "complete"]
    if not whole:
        raise RunError(f"none of {len(rows)} trials has a value; the first: {rows[0]['error']}")
    best = better(whole, key=lambda row: row["value"])
    return Search(
        {**fixed, **best["params"]},
        best["value"],
        tuple(best["scores"]),
        best["number"],
        rows,
        digest=digest,
        versions=_versions(package),
        **about,
    )


def _batch(
    package: Any,
    journal: Journal,
    runner: Here | Spread,
    done: list[Any],
    past: list[Any],
    ranges: Mapping[str, Range],
    fixed: Mapping[str, Any],
    folds: int,
    count: tuple[int, int],
    drawn: tuple[int, str],
) -> list[Any]:
    """The trials of one batch as they stand in the journal; ``past`` are those that were there before."""
    (batch, trials), (seed, direction) = count, drawn
    start = len(done)
    state = int(np.random.SeedSequence([int(seed), start // batch]).generate_state(1)[0])
    # a study of earlier batches only: what is told within a batch must not steer it, in whatever order it comes
    view = package.create_study(
        direction=direction,
        sampler=package.samplers.TPESampler(seed=state, multivariate=True, constant_liar=True),
    )
    view.add_trials(done)
    pruner = package.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)

    def behind(step: int, mean: float) -> bool:
        # given all steps it would take the best of them, and an easy first fold would save every trial
        now = package.trial.create_trial(
            state=package.trial.TrialState.RUNNING, intermediate_values={step: mean}
        )
        return bool(pruner.prune(view, now))

    kept = journal.kept()
    asked: list[Trial] = []
    for number in range(start, min(start + batch, trials)):
        one = view.ask(distributions(package, ranges))
        asked.append(
            Trial(
                number,
                {**fixed, **one.params},
                folds,
                one,
                behind,
                lambda t: journal.keep(t.number, t.params, t.scores),
            )
        )
    for trial in asked[len(past) :]:
        before = kept.get(f"trial {trial.number}", {})
        if before.get("params") == trial.params:
            save, trial.changed = trial.changed, None
            for score in before["scores"]:
                trial.told(score)
            trial.changed = save
    runner.run(asked[len(past) :])
    if start == 0 and all(trial.state == "failed" for trial in asked[len(past) :]) and not past:
        raise RunError(
            f"every one of the first {len(asked)} trials failed, the first in {asked[0].error}"
        )
    states = {name: getattr(package.trial.TrialState, mark) for mark, name in _ENDS.items()}
    found = list(past)
    for trial in asked[len(past) :]:
        trial.asked.set_user_attr("scores", trial.scores)
        trial.asked.set_user_attr("error", trial.error)
        value = float(np.mean(trial.scores)) if trial.state == "complete" else None
        found.append(view.tell(trial.asked, value, state=states[trial.state]))
        journal.add(found[-1])
    return found


def _row(number: int, trial: Any) -> dict[str, Any]:
    return {
        "number": number,
        "state": _ENDS[trial.state.name],
        "value": trial.value,
        "scores": trial.user_attrs["scores"],
        "params": dict(trial.params),
        "error": trial.user_attrs["error"],
    }


def _parts(
    table: Table, groups: npt.ArrayLike, folds: int, seed: int, classes: bool, balance: bool
) -> tuple[tuple[Integer, Integer], ...]:
    """Rows that train and rows that test, for every fold."""
    coded("groups", groups, table.n)
    found = []
    for k, split in enumerate(group_folds(groups, folds, seed, table.y if classes else None)):
        training, testing = split.rows(groups)
        for rows, side in ((training, "training"), (testing, "test")):
            if classes and len(np.unique(table.y[rows])) < 2:
                raise ParameterError(
                    f"the {side} rows of fold {k + 1} ({len(rows)} rows) are of one class only; ask for fewer folds, "
                    "or take groups in which both occur"
                )
        if classes and balance:
            training = training[undersample(table.y[training], seed + k)]
        found.append((training, testing))
    return tuple(found)


def _bytes(rows: Rows, table: Table) -> int:
    return table.n * len(table.columns) * np.dtype(rows.dtype).itemsize


def _digest(table: Table, groups: npt.ArrayLike, about: Mapping[str, Any]) -> str:
    kinds, which = coded("groups", groups)
    found = hashlib.sha256(
        json.dumps([about, kinds, table.columns], sort_keys=True, default=str).encode()
    )
    for values in (which, table.y):
        found.update(np.ascontiguousarray(values).data)
    if table.rows is not None:
        found.update(table.rows.digest().encode())
    else:
        x = table.matrix()
        found.update(f"{x.shape} {x.dtype}".encode())
        found.update(np.ascontiguousarray(x).data)
    return found.hexdigest()


def _versions(package: Any) -> dict[str, str]:
    from mgdask import __version__
    from mgdask.learn.training.model import lightgbm

    return {
        "mgdask": __version__,
        "optuna": package.__version__,
        "lightgbm": lightgbm().__version__,
    }


@contextmanager
def _quiet(package: Any) -> Iterator[None]:
    """Without Optuna's line for each study and its warnings of options that are new."""
    level = package.logging.get_verbosity()
    package.logging.set_verbosity(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", package.exceptions.ExperimentalWarning)
            yield
    finally:
        package.logging.set_verbosity(level)
