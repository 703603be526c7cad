"""Results and failures of tasks, their exceptions and their text."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rich.console import Console
from rich.table import Table

from mgdask.errors import MgdaskError, RunError

T = TypeVar("T")


@dataclass
class Outcome(Generic[T]):
    """Results and failures of ``execute``.

    Attributes
    ----------
    results
        Result of each finished task by the task's name.
    failures
        Exception of each failed task by the task's name.
    seconds
        Wall-clock time of the call in s.
    """

    results: dict[str, T] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Refusal:
    """An ``MgdaskError`` that a task returns, because Dask would retry a raised one."""

    error: MgdaskError


class TasksFailedError(RunError):
    """Some tasks failed for reasons other than an ``MgdaskError``.

    Attributes
    ----------
    failures
        Exception of each failed task by the task's name.
    """

    def __init__(
        self, what: str, unit: str, n_tasks: int, failures: Mapping[str, Exception]
    ) -> None:
        self.what, self.unit, self.n_tasks = what, unit, n_tasks
        self.failures = dict(failures)
        name, error = next(iter(self.failures.items()))
        super().__init__(
            f"{what}: {len(self.failures)} of {n_tasks} {unit} failed, "
            f"first {name}: {describe(error)}"
        )

    def __reduce__(
        self,
    ) -> tuple[type[TasksFailedError], tuple[str, str, int, dict[str, Exception]]]:
        return type(self), (self.what, self.unit, self.n_tasks, self.failures)


class NoWorkersError(RunError):
    """No worker was connected for longer than the client allows.

    Attributes
    ----------
    seconds
        The time limit in s.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"no worker was connected for {seconds:.0f} s; start workers and run the same "
            "command again"
        )

    def __reduce__(self) -> tuple[type[NoWorkersError], tuple[float]]:
        return type(self), (self.seconds,)


class LostTasksError(RunError):
    """Tasks of this process were submitted, but neither run nor end.

    Parameters
    ----------
    seconds
        Time in s for which no task was running.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"tasks of this process were lost: none has run for {seconds:.0f} s. Memory or "
            "threads ran out, probably. Raise the limit (ulimit -v, ulimit -u) or free memory, "
            "then run the same command again; finished work stays"
        )

    def __reduce__(self) -> tuple[type[LostTasksError], tuple[float]]:
        return type(self), (self.seconds,)


def is_worker_death(error: BaseException) -> bool:
    """Return whether a task failed because its workers died."""
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)


def describe(error: BaseException) -> str:
    """Return the reason why a task failed, in one sentence."""
    if is_worker_death(error):
        return (
            "its worker died several times while computing it, most likely for lack of memory: "
            "give workers more memory, or plan with a smaller memory="
        )
    if isinstance(error, MemoryError):
        return (
            f"its worker ran out of memory ({error or 'MemoryError'}): give workers more memory, "
            "or plan with a smaller memory="
        )
    return f"{type(error).__name__}: {error}"


def line_length(columns: int) -> int:
    """Return the maximum length of a line for a terminal of so many columns."""
    return min(max(columns, 80), 140)


def render_rows(rows: Iterable[tuple[str, str]]) -> str:
    """Return names and values as plain text, one row per line.

    Parameters
    ----------
    rows
        Name and value of each row.
    """
    table = Table(show_header=False, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return render(table)


def render(table: Table, width: int | None = None) -> str:
    """Return a table as plain text, in a notebook too.

    Parameters
    ----------
    table
        Table to print.
    width
        Maximum line length in characters. Default: that of the terminal, between 80 and
        140, or 110 if the output is not a terminal.
    """
    if width is None:
        width = line_length(shutil.get_terminal_size().columns if sys.stdout.isatty() else 110)
    console = Console(
        width=width, highlight=False, force_terminal=False, force_jupyter=False, color_system=None
    )
    with console.capture() as text:
        console.print(table)
    return "\n".join(line.rstrip() for line in text.get().rstrip("\n").splitlines())
