"""Trials of a search, fold by fold: in this process, or as tasks of a cluster."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import AnyArray, IntArray
from mgdask.errors import RunError
from mgdask.execution.executor import NO_WORKERS_TIMEOUT, describe
from mgdask.learn.data.rows import Rows
from mgdask.learn.evaluation.metrics import prepare
from mgdask.learn.training.boosting import train

if TYPE_CHECKING:
    import optuna
    from distributed import Client, Future

MAX_LOSSES = 3
"""Number of lost workers after which a trial fails."""
_IDLE_WAIT = 0.2
"""Seconds to wait for workers if no fold is being computed."""
_POLL_INTERVAL = 2.0
"""Maximum seconds to wait for a fold or a paused worker before workers are counted."""


class TrialState(StrEnum):
    """State of a trial."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class FoldScore:
    """Metric of one fold.

    Parameters
    ----------
    value
        A finite number.
    """

    value: float


@dataclass(frozen=True)
class FoldFailure:
    """Why a fold has no metric.

    Parameters
    ----------
    message
        The fold and the error, for the user.
    """

    message: str


FoldOutcome = FoldScore | FoldFailure


@dataclass(frozen=True)
class Work:
    """Data that a fold needs besides its parameters; sent to each worker once.

    Parameters
    ----------
    x
        Matrix (row, column), or ``Rows`` that the workers read.
    y
        Labels (row,).
    parts
        Training rows and test rows of each fold, both increasing.
    objective, metric, num_boost_round, seed, columns, early_stopping
        See ``search``.
    """

    x: AnyArray | Rows
    y: AnyArray
    parts: tuple[tuple[IntArray, IntArray], ...]
    objective: str
    metric: str
    num_boost_round: int
    seed: int
    columns: tuple[str, ...]
    early_stopping: int = 0

    def rows(self, index: IntArray) -> AnyArray:
        """Read rows of the matrix.

        Parameters
        ----------
        index
            Row numbers (m,), increasing.

        Returns
        -------
        numpy.ndarray
            Matrix (m, column).
        """
        return self.x.take(index) if isinstance(self.x, Rows) else self.x[index]


def score_fold(work: Work, params: Mapping[str, Any], fold: int) -> FoldOutcome:
    """Train on one fold with one thread and measure on its test rows.

    Parameters
    ----------
    work
        Data and folds.
    params
        Parameters of LightGBM.
    fold
        Number of the fold, from 0.

    Returns
    -------
    FoldScore or FoldFailure
        The metric, or why there is none. An error is not raised: other parameters may
        work.
    """
    training, testing = work.parts[fold]
    try:
        model = train(
            work.rows(training),
            work.y[training],
            objective=work.objective,
            params=params,
            num_boost_round=work.num_boost_round,
            early_stopping=work.early_stopping,
            valid=(work.rows(testing), work.y[testing]) if work.early_stopping else None,
            columns=work.columns,
            seed=work.seed,
            threads=1,
            checkpoint_every=work.num_boost_round,
            progress=False,
        )
        scores = model.predict(work.rows(testing), names=work.columns, threads=1)
        metric = prepare(work.metric, work.y[testing], scores)
        value = float(metric.value(np.ones(len(testing))))
    except Exception as error:
        return FoldFailure(f"fold {fold + 1}: {type(error).__name__}: {error}")
    if not math.isfinite(value):
        return FoldFailure(f"fold {fold + 1}: {work.metric} is {value}")
    return FoldScore(value)


@dataclass
class Trial:
    """One set of parameters and the scores of its folds so far.

    Parameters
    ----------
    number
        Number of the trial in the search.
    params
        Parameters of LightGBM.
    folds
        Number of folds.
    asked
        Optuna's trial, to which the mean of the scores is reported after each fold.
    should_prune
        Takes the number of the last fold and the mean; returns whether to prune.
    changed
        Called after each fold.
    """

    number: int
    params: Mapping[str, Any]
    folds: int
    asked: optuna.Trial
    should_prune: Callable[[int, float], bool]
    changed: Callable[[Trial], None] | None = None
    scores: list[float] = field(default_factory=list)
    state: TrialState = TrialState.RUNNING
    error: str = ""
    losses: int = 0

    def add(self, outcome: FoldOutcome) -> None:
        """Record the outcome of the next fold.

        Parameters
        ----------
        outcome
            A score, or a failure that ends the trial.
        """
        if isinstance(outcome, FoldFailure):
            self.state, self.error = TrialState.FAILED, outcome.message
        else:
            self._add_score(outcome.value)
        if self.changed is not None:
            self.changed(self)

    def restore(self, scores: Sequence[float]) -> None:
        """Record scores of an interrupted search, without calling ``changed``.

        Parameters
        ----------
        scores
            Scores of the first folds.
        """
        for score in scores:
            self._add_score(score)

    def _add_score(self, score: float) -> None:
        self.scores.append(score)
        step, mean = len(self.scores) - 1, float(np.mean(self.scores))
        self.asked.report(mean, step)
        if len(self.scores) == self.folds:
            self.state = TrialState.COMPLETE
        elif self.should_prune(step, mean):
            self.state = TrialState.PRUNED


class LocalRunner:
    """Computes folds one after another in this process.

    Parameters
    ----------
    work
        Data and folds.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    def run(self, trials: Sequence[Trial]) -> None:
        """Compute all folds of all running trials.

        Parameters
        ----------
        trials
            Trials, which are updated.
        """
        for trial in trials:
            while trial.state is TrialState.RUNNING:
                trial.add(score_fold(self._work, trial.params, len(trial.scores)))


class ClusterRunner:
    """Computes folds as tasks of a cluster, one per thread.

    The next fold of a trial follows the one before. Each worker gets a copy of the work
    under a key of its own: Dask's memory manager would drop all but one of the copies
    of one key, and then send all tasks to the worker that is left.

    Parameters
    ----------
    work
        Data and folds.
    client
        Client of the cluster.
    """

    def __init__(self, work: Work, client: Client) -> None:
        self._work, self._client = work, client
        self._timeout: float = getattr(client, "no_workers_timeout", NO_WORKERS_TIMEOUT)
        self._copies: dict[str, Future[Any]] = {}

    def run(self, trials: Sequence[Trial]) -> None:
        """Compute all folds of all running trials.

        A fold whose worker is lost is sent again. After ``MAX_LOSSES`` its trial fails.

        Parameters
        ----------
        trials
            Trials, which are updated.

        Raises
        ------
        RunError
            If no worker is connected, or takes a fold, for too long.
        """
        waiting = [trial for trial in trials if trial.state is TrialState.RUNNING]
        sent: dict[Future[Any], tuple[Trial, str]] = {}
        last_sent = time.monotonic()
        try:
            while waiting or sent:
                threads = self._client.nthreads()
                if sent and threads:
                    last_sent = time.monotonic()
                elif time.monotonic() - last_sent > self._timeout:
                    raise RunError(self._no_worker(len(threads)))
                for address in self._idle_threads(threads, [a for _, a in sent.values()]):
                    if waiting and (future := self._send(address, waiting[0])) is not None:
                        sent[future] = waiting.pop(0), address
                for future in self._done(list(sent)):
                    trial, _ = sent.pop(future)
                    self._collect(trial, future)
                    future.release()
                    if trial.state is TrialState.RUNNING:
                        waiting.append(trial)
                waiting.sort(key=lambda trial: trial.number)
        finally:
            for future in sent:
                future.cancel()

    def _no_worker(self, connected: int) -> str:
        """Say why no fold was computed for too long."""
        if connected:
            reason = (
                f"none of the {connected} connected workers took data for {self._timeout:.0f} s. "
                "They may be paused for lack of memory: start workers with more"
            )
        else:
            reason = f"no worker was connected for {self._timeout:.0f} s; start workers"
        return (
            f"{reason} and make the same call again. With storage= it continues from the folds "
            "that are done"
        )

    def _idle_threads(self, threads: Mapping[str, int], busy: list[str]) -> list[str]:
        """Return the address of each idle thread.

        Idle workers come first, and of these the ones that have the work.
        """
        slots = [
            (k, address not in self._copies, address)
            for address, n in threads.items()
            for k in range(busy.count(address), n)
        ]
        return [address for *_, address in sorted(slots)]

    def _send(self, address: str, trial: Trial) -> Future[Any] | None:
        """Send the next fold of a trial; None if the worker has just gone away."""
        copy = self._copies.get(address)
        try:
            if copy is None or copy.status != "finished":
                copy = self._copies[address] = self._client.scatter(
                    self._work, workers=[address], hash=False, timeout=_POLL_INTERVAL
                )
        except (TimeoutError, OSError, KeyError):  # KeyError: the scheduler has removed it
            return None
        return self._client.submit(
            score_fold, copy, dict(trial.params), len(trial.scores), workers=[address], pure=False
        )

    def _done(self, futures: list[Future[Any]]) -> list[Future[Any]]:
        """Wait for a future that is done; those of a lost worker end as canceled."""
        from distributed import wait

        if not futures:
            time.sleep(_IDLE_WAIT)
            return []
        # the client need not be the default one
        with self._client.as_current(), suppress(TimeoutError, CancelledError):
            wait(futures, timeout=_POLL_INTERVAL, return_when="FIRST_COMPLETED")
        return [future for future in futures if future.done()]

    def _collect(self, trial: Trial, future: Future[Any]) -> None:
        """Record the result of a fold, or the loss of its worker."""
        try:
            outcome: FoldOutcome = future.result()
        except (Exception, CancelledError) as error:
            trial.losses += 1
            if trial.losses < MAX_LOSSES:
                return
            outcome = FoldFailure(
                f"fold {len(trial.scores) + 1}: its worker was lost {trial.losses} times, most "
                "likely for lack of memory: give workers more "
                f"({describe(error).splitlines()[0]})"
            )
        trial.add(outcome)
