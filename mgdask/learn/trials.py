"""Trials of a search, fold by fold: in this process, or as tasks of a cluster that may lose workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mgdask.errors import RunError
from mgdask.learn.arrays import Integer, Matrix
from mgdask.learn.boosting import train
from mgdask.learn.metrics import prepare
from mgdask.learn.rows import Rows
from mgdask.tasks.execute import NO_WORKERS, describe

ATTEMPTS = 3
"""Times a fold is sent out, each time its worker or its data was lost."""


@dataclass(frozen=True)
class Work:
    """All that a fold needs but its parameters; it goes to the workers once.

    ``x`` (row, column), or ``Rows`` that are read there; ``y`` (row,); ``parts`` of every fold: rows that train, rows that
    test, increasing; the rest as in ``search``.
    """

    x: Matrix | Rows
    y: Matrix
    parts: tuple[tuple[Integer, Integer], ...]
    objective: str
    metric: str
    rounds: int
    seed: int
    columns: tuple[str, ...]

    def rows(self, index: Integer) -> Matrix:
        """Some rows of the matrix."""
        return self.x.take(index) if isinstance(self.x, Rows) else self.x[index]


def score_fold(work: Work, params: Mapping[str, Any], fold: int) -> float | str:
    """The metric on the test rows of one fold, after training on one thread; in words what went wrong instead."""
    training, testing = work.parts[fold]
    try:
        model = train(
            work.rows(training), work.y[training], objective=work.objective, params=params, rounds=work.rounds,
            columns=work.columns, seed=work.seed, threads=1, checkpoint_every=work.rounds, progress=False,
        )  # fmt: skip
        found = model.predict(work.rows(testing), names=work.columns, threads=1)
        value = float(prepare(work.metric, work.y[testing], found).value(np.ones(len(testing))))
    except Exception as error:  # other parameters may do better
        return f"fold {fold + 1}: {type(error).__name__}: {error}"
    return value if math.isfinite(value) else f"fold {fold + 1}: {work.metric} is {value}"


@dataclass
class Trial:
    """A trial under way: ``scores`` of its first folds, and its ``state`` once it is over: complete, pruned or failed.

    ``asked`` is Optuna's trial. It is told the mean of the scores so far after each fold, and decides on pruning.
    ``changed`` is called after each fold.
    """

    number: int
    params: Mapping[str, Any]
    folds: int
    asked: Any
    changed: Callable[[Trial], None] | None = None
    scores: list[float] = field(default_factory=list)
    state: str = ""
    error: str = ""
    lost: int = 0

    def told(self, outcome: float | str) -> None:
        """The outcome of its next fold."""
        if isinstance(outcome, str):
            self.state, self.error = "failed", outcome
        else:
            self.scores.append(outcome)
            self.asked.report(float(np.mean(self.scores)), len(self.scores) - 1)
            if len(self.scores) == self.folds:
                self.state = "complete"
            elif self.asked.should_prune():
                self.state = "pruned"
        if self.changed is not None:
            self.changed(self)


class Here:
    """Folds one after the other in this process."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def run(self, trials: Sequence[Trial]) -> None:
        """All folds of all trials that are not over."""
        for trial in trials:
            while not trial.state:
                trial.told(score_fold(self.work, trial.params, len(trial.scores)))


class Spread:
    """Folds as tasks of a cluster, one a thread in flight; the next fold of a trial follows the one before."""

    def __init__(self, work: Work, client: Any) -> None:
        self.work, self.client = work, client
        self.data: Any = None

    def run(self, trials: Sequence[Trial]) -> None:
        """All folds of all trials that are not over; a fold whose worker is lost is sent again, then its trial fails."""
        waiting = [trial for trial in trials if not trial.state]
        flying: dict[Any, Trial] = {}
        try:
            while waiting or flying:
                while waiting and len(flying) < max(1, sum(self.client.nthreads().values())):
                    trial = waiting.pop(0)
                    fold = len(trial.scores)
                    flying[self.client.submit(score_fold, self._given(), dict(trial.params), fold, pure=False)] = trial
                for future in self._done(list(flying)):
                    trial = flying.pop(future)
                    self._take(trial, future)
                    future.release()
                    if not trial.state:
                        waiting.append(trial)
                waiting.sort(key=lambda trial: trial.number)
        finally:
            for future in flying:
                future.cancel()

    def _given(self) -> Any:
        """The work on the workers, sent once, and again when all workers that held it are gone."""
        if self.data is None or self.data.status != "finished":
            self._some_worker()
            self.data = self.client.scatter(self.work, broadcast=True, hash=False)
        return self.data

    def _some_worker(self) -> None:
        try:
            self.client.wait_for_workers(1, timeout=NO_WORKERS)
        except TimeoutError:
            raise RunError(
                f"no worker has been there for {NO_WORKERS:.0f} s; start workers and make the same call again: with "
                "storage= it goes on from the folds that are done"
            ) from None

    def _done(self, futures: list[Any]) -> list[Any]:
        from distributed import wait

        began = time.monotonic()
        while True:
            try:
                with self.client.as_current():  # it need not be the default one
                    wait(futures, timeout=2.0, return_when="FIRST_COMPLETED")
            except (TimeoutError, CancelledError):
                pass  # cancelled: the data they wait for are lost
            found = [future for future in futures if future.done()]
            if found:
                return found
            if self.client.nthreads():
                began = time.monotonic()
            elif time.monotonic() - began > NO_WORKERS:
                self._some_worker()

    def _take(self, trial: Trial, future: Any) -> None:
        from distributed import KilledWorker

        try:
            outcome = future.result()
        except KilledWorker as error:  # the scheduler itself tried several workers
            outcome = f"fold {len(trial.scores) + 1}: {describe(error)}"
        except Exception as error:
            trial.lost += 1
            if trial.lost < ATTEMPTS:
                return
            outcome = f"fold {len(trial.scores) + 1}: lost {trial.lost} times, at last by {describe(error)}"
        trial.told(outcome)
