"""Carrying out tasks on a cluster: a bounded number in flight, retries, progress; and tables in text."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from mgdask.errors import MgdaskError, RunError
from mgdask.store.failures import HOPELESS

REPORT_EVERY = 60.0
"""Seconds between the lines of a batch log."""
NO_WORKERS = 600.0
"""Seconds without any worker after which a run ends instead of waiting for ever; a client of a queue says its own (``no_workers_timeout``)."""
LOOPBACK = "127.0.0.1:0"
"""Where Dask's HTTP servers listen, which it starts even without a dashboard, and on all addresses if not told."""


GUILTY = 3
"""Tasks that kill their workers alone, after which others are not tried alone any more."""


@contextmanager
def resolve_client(client: Any = None, threads: int | None = None) -> Iterator[Any]:
    """The client given, or the current one, or ``threads`` of this process (default one a core) for as long as it takes."""
    from distributed import Client, LocalCluster, get_client

    if client is not None:
        yield client
        return
    try:
        current = get_client()
    except ValueError:
        current = None
    if current is not None:
        yield current
        return
    # processes would need an `if __name__ == "__main__"` in the user's script; the kernels release the GIL
    with (
        LocalCluster(
            processes=False,
            n_workers=1,
            threads_per_worker=threads,
            memory_limit=0,
            silence_logs=logging.ERROR,
            dashboard_address=LOOPBACK,
            worker_dashboard_address=LOOPBACK,
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster) as own,
    ):
        yield own


@dataclass
class Outcome:
    """Results and failures of ``execute``."""

    results: dict[str, dict[str, Any]]
    failures: dict[str, BaseException]
    seconds: float


def execute(
    client: Any,
    function: Callable[..., dict[str, Any]],
    tasks: Sequence[tuple[str, tuple[Any, ...]]],
    *,
    what: str,
    unit: str = "blocks",
    retries: int = 2,
    progress: bool = True,
    strict: bool = True,
    keep: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
) -> Outcome:
    """Run ``function(*arguments)`` for every (name, arguments), keeping a few tasks a thread in flight.

    Errors of the user's making (``MgdaskError``) are not tried again. A full or read-only target, or a changed input, ends the run at once;
    other failures leave the rest running. A task whose worker died is tried once more at the end, alone: it may only have waited behind the
    one that took the memory. With ``strict`` the first failure is raised at the end. ``keep(name, result)`` is called for each
    result as it comes, in no order; what it returns is held in its place.
    """
    from distributed import wait

    started = time.monotonic()
    outcome = Outcome({}, {}, 0.0)
    waiting = list(reversed(tasks))
    killed: list[tuple[str, tuple[Any, ...]]] = []
    alone = 0
    known = dict(tasks)
    flying: dict[Any, str] = {}
    last_worker = time.monotonic()
    patience = getattr(client, "no_workers_timeout", NO_WORKERS)
    with _Reporter(what, len(tasks), unit, progress) as report:
        try:
            while waiting or flying or killed:
                if not waiting and not flying:
                    waiting, killed, alone = killed[::-1], [], 1
                threads = sum(client.nthreads().values())
                while waiting and len(flying) < (1 if alone else max(2, 2 * threads)):
                    name, arguments = waiting.pop()
                    future = client.submit(
                        _guarded, function, *arguments, pure=False, retries=retries
                    )
                    flying[future] = name
                try:
                    with client.as_current():  # it need not be the default one
                        done = wait(list(flying), timeout=2.0, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    done = set()
                if threads:
                    last_worker = time.monotonic()
                elif time.monotonic() - last_worker > patience:
                    raise RunError(
                        f"no worker has been there for {patience:.0f} s; start workers and run the same command again"
                    )
                for future in done:
                    name = flying.pop(future)
                    try:
                        result = future.result()
                    except Exception as error:
                        if _was_killed(error) and not alone:
                            killed.append((name, known[name]))
                            future.release()
                            continue
                        outcome.failures[name] = error
                        alone = alone + 1 if _was_killed(error) else alone
                        if alone > GUILTY:  # not one heavy block: workers are too small for any
                            outcome.failures |= dict.fromkeys((left for left, _ in waiting), error)
                            waiting.clear()
                    else:
                        if "error" in result:
                            outcome.failures[name] = result["error"]
                        else:
                            outcome.results[name] = result if keep is None else keep(name, result)
                    future.release()
                    error_now = outcome.failures.get(name)
                    if isinstance(error_now, HOPELESS):
                        raise error_now
                report.tick(len(outcome.results), len(outcome.failures), threads)
        finally:
            for future in flying:
                future.cancel()
    outcome.seconds = time.monotonic() - started
    if strict and outcome.failures:
        name, first = next(iter(outcome.failures.items()))
        if isinstance(first, MgdaskError):
            raise first
        raise RunError(
            f"{what}: {len(outcome.failures)} of {len(tasks)} {unit} failed, first {name}: {describe(first)}"
        ) from first
    return outcome


def _guarded(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    # our own refusals come back as a result, because dask would try them again
    try:
        with _one_library_thread():
            return function(*arguments)
    except MgdaskError as error:
        return {"error": error}


_LIMITED = threading.Lock()
_INSIDE: dict[str, Any] = {"tasks": 0, "limit": None}


@contextmanager
def _one_library_thread() -> Iterator[None]:
    # the limit belongs to the process: the first task sets it and the last one lifts it, else a task that ends would lift it for the others
    from threadpoolctl import threadpool_limits

    with _LIMITED:
        if _INSIDE["tasks"] == 0:
            _INSIDE["limit"] = threadpool_limits(limits=1)
        _INSIDE["tasks"] += 1
    try:
        yield
    finally:
        with _LIMITED:
            _INSIDE["tasks"] -= 1
            if _INSIDE["tasks"] == 0:
                _INSIDE["limit"].restore_original_limits()


def describe(error: BaseException) -> str:
    """An error of a task in words."""
    if _was_killed(error):
        return "its worker died several times while doing it, most likely for lack of memory: give workers more, or plan with less (memory=)"
    if isinstance(error, MemoryError):
        return f"no memory was left for it ({error or 'MemoryError'}): give workers more, or plan with less (memory=)"
    return f"{type(error).__name__}: {error}"


def _was_killed(error: BaseException) -> bool:
    return type(error).__name__ == "KilledWorker"


class _Reporter:
    """A progress bar on a terminal, a line a minute in a log."""

    def __init__(self, what: str, total: int, unit: str, wanted: bool) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.wanted = wanted and total > 0
        self.bar: Progress | None = None
        self.last = time.monotonic()
        self.began = self.last

    def __enter__(self) -> _Reporter:
        if self.wanted and sys.stderr.isatty():
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.bar.start()
            self.task = self.bar.add_task(self.what, total=self.total)
        return self

    def tick(self, done: int, failed: int, threads: int) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=done + failed)
        elif self.wanted and time.monotonic() - self.last >= REPORT_EVERY:
            self.last = time.monotonic()
            rest = "waiting for workers" if not threads else f"{threads} threads"
            spent = self.last - self.began
            left = f", about {(self.total - done) * spent / done / 60:.0f} min left" if done else ""
            print(
                f"{time.strftime('%H:%M:%S')} {self.what}: {done} of {self.total} {self.unit}, {failed} failed, {rest}{left}",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()


def render(table: Table, width: int = 110) -> str:
    """A table as plain text, in a notebook too."""
    console = Console(
        width=width, highlight=False, force_terminal=False, force_jupyter=False, color_system=None
    )
    with console.capture() as text:
        console.print(table)
    return "\n".join(line.rstrip() for line in text.get().rstrip("\n").splitlines())
