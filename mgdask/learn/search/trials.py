"""Trials of a search, fold by fold: in this process, or as tasks of a cluster that may lose workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mgdask.errors import RunError
from mgdask.execution.executor import NO_WORKERS, describe
from mgdask.learn.data.arrays import Integer, Matrix
from mgdask.learn.data.rows import Rows
from mgdask.learn.evaluation.metrics import prepare
from mgdask.learn.training.boosting import train

ATTEMPTS = 3
"""Losses of its worker after which a trial has failed."""


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
            work.rows(training),
            work.y[training],
            objective=work.objective,
            params=params,
            rounds=work.rounds,
            columns=work.columns,
            seed=work.seed,
            threads=1,
            checkpoint_every=work.rounds,
            progress=False,
        )
        found = model.predict(work.rows(testing), names=work.columns, threads=1)
        value = float(prepare(work.metric, work.y[testing], found).value(np.ones(len(testing))))
    except Exception as error:  # other parameters may do better
        return f"fold {fold + 1}: {type(error).__name__}: {error}"
    return value if math.isfinite(value) else f"fold {fold + 1}: {work.metric} is {value}"


@dataclass
class Trial:
    """A trial under way: ``scores`` of its first folds, and its ``state`` once it is over: complete, pruned or failed.

    ``asked`` is Optuna's trial, which is told the mean of the scores so far after each fold; ``behind`` says of a fold and
    that mean whether to prune; ``changed`` is called after each fold.
    """

    number: int
    params: Mapping[str, Any]
    folds: int
    asked: Any
    behind: Callable[[int, float], bool]
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
            step, mean = len(self.scores) - 1, float(np.mean(self.scores))
            self.asked.report(mean, step)
            if len(self.scores) == self.folds:
                self.state = "complete"
            elif self.behind(step, mean):
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
    """Folds as tasks of a cluster, one a thread; the next fold of a trial follows the one before.

    Every worker that is used gets a copy of its own under its own key: of the copies of one key Dask's memory manager would
    drop all but one, and then send all tasks to the worker that is left.
    """

    def __init__(self, work: Work, client: Any) -> None:
        self.work, self.client = work, client
        self.copies: dict[str, Any] = {}

    def run(self, trials: Sequence[Trial]) -> None:
        """All folds of all trials that are not over; a fold whose worker is lost is sent again, then its trial fails."""
        waiting = [trial for trial in trials if not trial.state]
        flying: dict[Any, tuple[Trial, str]] = {}
        seen = time.monotonic()
        try:
            while waiting or flying:
                threads = self.client.nthreads()
                if threads:
                    seen = time.monotonic()
                elif time.monotonic() - seen > NO_WORKERS:
                    raise RunError(
                        f"no worker has been there for {NO_WORKERS:.0f} s; start workers and make the same call again: "
                        "with storage= it goes on from the folds that are done"
                    )
                for address in self._free(threads, [address for _, address in flying.values()]):
                    if waiting and (future := self._send(address, waiting[0])) is not None:
                        flying[future] = waiting.pop(0), address
                for future in self._done(list(flying)):
                    trial, _ = flying.pop(future)
                    self._take(trial, future)
                    future.release()
                    if not trial.state:
                        waiting.append(trial)
                waiting.sort(key=lambda trial: trial.number)
        finally:
            for future in flying:
                future.cancel()

    def _free(self, threads: Mapping[str, int], busy: list[str]) -> list[str]:
        """Addresses of idle threads: idle workers first, of these the ones that have the work."""
        slots = [
            (k, address not in self.copies, address)
            for address, n in threads.items()
            for k in range(busy.count(address), n)
        ]
        return [address for *_, address in sorted(slots)]

    def _send(self, address: str, trial: Trial) -> Any:
        copy = self.copies.get(address)
        try:
            if copy is None or copy.status != "finished":
                copy = self.copies[address] = self.client.scatter(
                    self.work, workers=[address], hash=False
                )
        except (TimeoutError, OSError):  # it went away just now
            return None
        return self.client.submit(
            score_fold, copy, dict(trial.params), len(trial.scores), workers=[address], pure=False
        )

    def _done(self, futures: list[Any]) -> list[Any]:
        from distributed import wait

        if not futures:
            time.sleep(0.2)
            return []
        # those of a lost worker end as cancelled
        with (
            self.client.as_current(),
            suppress(TimeoutError, CancelledError),
        ):  # it need not be the default client
            wait(futures, timeout=2.0, return_when="FIRST_COMPLETED")
        return [future for future in futures if future.done()]

    def _take(self, trial: Trial, future: Any) -> None:
        try:
            outcome = future.result()
        except (Exception, CancelledError) as error:
            trial.lost += 1
            if trial.lost < ATTEMPTS:
                return
            outcome = (
                f"fold {len(trial.scores) + 1}: its worker was lost {trial.lost} times, most likely for lack of memory: "
                f"give workers more ({describe(error).splitlines()[0]})"
            )
        trial.told(outcome)
