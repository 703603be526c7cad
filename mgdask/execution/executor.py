"""Run tasks on a cluster with a bounded number of them in flight."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from mgdask.errors import MgdaskError
from mgdask.execution.client import resolve_client as resolve_client
from mgdask.execution.progress import ProgressReporter
from mgdask.execution.results import (
    LostTasksError,
    NoWorkersError,
    Outcome,
    Refusal,
    TasksFailedError,
    is_worker_death,
)
from mgdask.execution.results import describe as describe
from mgdask.execution.results import render as render
from mgdask.execution.steady import keep_time
from mgdask.store.failures import FatalStoreError, explanation
from mgdask.store.trust import is_trusted, trusting

if TYPE_CHECKING:
    from distributed import Client, Future, as_completed

logger = logging.getLogger("mgdask.execution")

NO_WORKERS_TIMEOUT = 600.0
"""Seconds without any worker after which a run ends.

A client may set its own ``no_workers_timeout``.
"""
NO_WORKERS = NO_WORKERS_TIMEOUT
"""Name in version 0.1."""
MAX_SOLO_FAILURES = 3
"""Number of tasks that may kill a worker while running alone before a run gives up."""
POLL_INTERVAL = 2.0
"""Maximum time in s between two checks of the workers."""
LOST_LOOKS = 20
"""Checks in a row without a running task after which tasks count as lost."""
WAKE_INTERVAL = 0.1
"""Maximum time in s to wait for a notification that may have been missed."""

T = TypeVar("T")
Task: TypeAlias = tuple[str, tuple[Any, ...]]
"""Name and arguments of a task."""


def execute(
    client: Client,
    function: Callable[..., T],
    tasks: Sequence[Task],
    *,
    what: str,
    unit: str = "blocks",
    retries: int = 2,
    progress: bool = True,
    strict: bool = True,
    keep: Callable[[str, T], T] | None = None,
) -> Outcome[T]:
    """Run ``function(*arguments)`` for every task.

    Two tasks per thread are in flight at a time.

    Parameters
    ----------
    client
        Connected client.
    function
        Function to run on the workers. Its result should be small.
    tasks
        Name and arguments of each task. Names are unique.
    what
        Name of the operation, for progress and error messages.
    unit
        Plural noun for the tasks, for example ``"blocks"``.
    retries
        Number of times Dask retries a task that raises. An ``MgdaskError`` is never
        retried.
    progress
        Show a bar on a terminal, or one log line per minute.
    strict
        Raise if any task failed.
    keep
        Called as ``keep(name, result)`` for each result as it arrives, in any order.
        Its return value is stored instead of the result.

    Returns
    -------
    outcome
        Results and failures by task name.

    Raises
    ------
    MgdaskError
        If ``strict`` is set and the first failure is one.
    TasksFailedError
        If ``strict`` is set and the first failure is any other error.
    FatalStoreError
        If a task fails because of a target or an input that all tasks share. The run
        ends at once.
    NoWorkersError
        If no worker is connected for too long.
    LostTasksError
        If workers are threads of this process and have lost their tasks.

    Notes
    -----
    A task whose worker died runs once more at the end, alone. It may only have been
    queued behind the task that exhausted the memory.
    """
    if not tasks:  # a deferred client is then not opened
        return Outcome()
    started = time.monotonic()
    submission = _Submission(client, function, tasks, retries, keep)
    with ProgressReporter(what, len(tasks), unit, progress) as reporter:
        outcome = submission.run(reporter)
    outcome.seconds = time.monotonic() - started
    if strict and outcome.failures:
        first = next(iter(outcome.failures.values()))
        if isinstance(first, MgdaskError):
            raise first
        raise TasksFailedError(what, unit, len(tasks), outcome.failures) from first
    return outcome


class _Submission(Generic[T]):
    """The tasks of one call: waiting, in flight, finished."""

    def __init__(
        self,
        client: Client,
        function: Callable[..., T],
        tasks: Sequence[Task],
        retries: int,
        keep: Callable[[str, T], T] | None,
    ) -> None:
        from distributed import as_completed

        keep_time()
        self.client, self.function = client, function
        self.retries, self.keep = retries, keep
        self.waiting = deque(tasks)
        self.in_flight: dict[Future[T | Refusal], Task] = {}
        self.completed: as_completed = as_completed(loop=client.loop)
        self.outcome: Outcome[T] = Outcome()
        self.killed: list[Task] = []
        self.workers: set[str] = set()
        self.solo = False
        self.solo_failures = 0
        self.last_worker = time.monotonic()
        # Dask may lose a task without a word if its own threads run out of memory
        self.in_process = client.scheduler is not None and str(client.scheduler.address).startswith(
            "inproc://"
        )
        self.idle_looks = 0
        self.timeout: float = getattr(client, "no_workers_timeout", NO_WORKERS_TIMEOUT)

    def run(self, reporter: ProgressReporter) -> Outcome[T]:
        """Submit and collect until nothing is left."""
        try:
            while self.waiting or self.in_flight or self.killed:
                if not self.waiting and not self.in_flight:
                    self.waiting, self.killed, self.solo = deque(self.killed), [], True
                threads = self._look_at_workers()
                self._check_workers(threads)
                self._submit(1 if self.solo else max(2, 2 * threads))
                finished = _next_finished(self.completed, POLL_INTERVAL)
                for future in finished:
                    self._collect(future)
                self._check_lost(bool(finished) or not threads)
                reporter.update(len(self.outcome.results), len(self.outcome.failures), threads)
        finally:
            for future in self.in_flight:
                future.cancel()
        return self.outcome

    def _look_at_workers(self) -> int:
        """Return the number of threads, and log that workers were lost."""
        threads = self.client.nthreads()
        lost = self.workers - set(threads)
        if lost and self.in_flight:
            logger.info(
                "lost %s (killed, or out of memory or time); the tasks are repeated",
                "a worker" if len(lost) == 1 else f"{len(lost)} workers",
            )
        self.workers = set(threads)
        return sum(threads.values())

    def _check_workers(self, threads: int) -> None:
        if threads:
            self.last_worker = time.monotonic()
        elif time.monotonic() - self.last_worker > self.timeout:
            raise NoWorkersError(self.timeout)

    def _check_lost(self, explained: bool) -> None:
        """Raise an error if tasks of this process neither run nor finish.

        Looks are counted rather than seconds, because the process may be stopped.
        """
        if explained or _LibraryThreads.tasks or not self.in_flight:
            self.idle_looks = 0
            return
        self.idle_looks += self.in_process
        if self.idle_looks >= LOST_LOOKS:
            raise LostTasksError(LOST_LOOKS * POLL_INTERVAL)

    def _submit(self, limit: int) -> None:
        while self.waiting and len(self.in_flight) < limit:
            task = self.waiting.popleft()
            future = self.client.submit(
                _guarded, is_trusted(), self.function, *task[1], pure=False, retries=self.retries
            )
            self.in_flight[future] = task
            self.completed.add(future)

    def _collect(self, future: Future[T | Refusal]) -> None:
        task = self.in_flight.pop(future)
        name = task[0]
        try:
            result = future.result()
        except Exception as error:
            self._fail(task, error)
        else:
            if isinstance(result, Refusal):
                self.outcome.failures[name] = result.error
                if isinstance(result.error, FatalStoreError):
                    raise result.error
            else:
                self.outcome.results[name] = self.keep(name, result) if self.keep else result
        finally:
            future.release()

    def _fail(self, task: Task, error: Exception) -> None:
        died = is_worker_death(error)
        if died and not self.solo:
            self.killed.append(task)
            return
        self.outcome.failures[task[0]] = error
        if not died:
            return
        self.solo_failures += 1
        if self.solo_failures >= MAX_SOLO_FAILURES:  # workers are too small for any block
            self.outcome.failures |= {name: error for name, _ in self.waiting}
            self.waiting.clear()


def _next_finished(completed: as_completed, seconds: float) -> list[Future[Any]]:
    """Wait at most ``seconds`` for finished futures and return them."""
    # as_completed has one deadline for its whole life, not one per call
    deadline = time.monotonic() + seconds
    while not completed.has_ready() and (left := deadline - time.monotonic()) > 0:
        with completed.thread_condition:
            completed.thread_condition.wait(timeout=min(WAKE_INTERVAL, left))
    batch: list[Future[Any]] = completed.next_batch(block=False)
    return batch


def _guarded(trust: bool, function: Callable[..., T], *arguments: Any) -> T | Refusal:
    """Run a task on a worker and return an ``MgdaskError`` as its result.

    Errors about disk space, memory or open files are returned too.
    """
    keep_time()  # of this worker
    try:
        with one_library_thread(), trusting(trust):
            return function(*arguments)
    except MgdaskError as error:
        return Refusal(error)
    except Exception as error:
        # a full disk recurs in every task, and Dask would print each of them
        explained = explanation(error)
        if isinstance(explained, FatalStoreError):
            return Refusal(explained)
        raise


class _LibraryThreads:
    """Limit on library threads of this process, shared by its running tasks."""

    lock = threading.Lock()
    tasks = 0
    limit: Any = None


@contextmanager
def one_library_thread() -> Iterator[None]:
    """Limit BLAS and OpenMP to one thread while any task of this process runs."""
    # The limit applies to the whole process, so the first task sets it and the last one
    # lifts it. Otherwise a task that ends would lift it for the others.
    from threadpoolctl import threadpool_limits

    shared = _LibraryThreads
    with shared.lock:
        if shared.tasks == 0:
            shared.limit = threadpool_limits(limits=1)
        shared.tasks += 1
    try:
        yield
    finally:
        with shared.lock:
            shared.tasks -= 1
            if shared.tasks == 0:
                shared.limit.restore_original_limits()
