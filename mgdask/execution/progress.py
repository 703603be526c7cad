"""Report the progress of a run: a bar on a terminal or in a notebook, or log lines.

All messages of a batch run go to loggers below ``mgdask``.
"""

from __future__ import annotations

import logging
import sys
import time
from html import escape
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

MIN_SHARE = 0.01
"""Share of the tasks that must be done before the time left is estimated."""
REPORT_INTERVAL = 60.0
"""Seconds between two progress lines in a log."""

NOTEBOOK_INTERVAL = 0.5
"""Seconds between two updates of the bar in a notebook."""

logger = logging.getLogger("mgdask.execution")


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current ``sys.stderr``, which tests and notebooks replace."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(_Formatter(datefmt="%H:%M:%S"))

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class _Formatter(logging.Formatter):
    """Formats time and message, with the level only if it is not INFO."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        return f"{self.formatTime(record, self.datefmt)} {level}{record.message}"


def configure_logging(level: int = logging.INFO) -> None:
    """Print the messages of mgdask on stderr.

    Parameters
    ----------
    level
        Lowest level to print: ``logging.WARNING`` hides progress lines and the progress
        bar, ``logging.INFO`` shows them, ``logging.DEBUG`` shows everything.

    Notes
    -----
    Calling it again changes the level. Handlers that the application attached to the
    ``mgdask`` logger stay.
    """
    package = logging.getLogger("mgdask")
    package.setLevel(level)
    if not any(isinstance(handler, _StderrHandler) for handler in package.handlers):
        package.addHandler(_StderrHandler())


def _ensure_logging() -> None:
    """Show progress lines unless the application has configured logging itself."""
    package = logging.getLogger("mgdask")
    if package.level == logging.NOTSET:
        package.setLevel(logging.INFO)
    if not package.hasHandlers():
        package.addHandler(_StderrHandler())


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    if "IPython" not in sys.modules:  # a kernel has imported it
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


class NotebookBar:
    """A bar in the output of a notebook's cell, which is replaced as it moves on.

    It needs no widgets, and a stored notebook keeps its last state.

    Parameters
    ----------
    total
        Number of tasks.
    line
        First text beside the bar.
    """

    def __init__(self, total: int, line: str) -> None:
        from IPython.display import display

        self.total = total
        self.last_update = time.monotonic()
        self._handle: Any = display(self._content(0, line), raw=True, display_id=True)

    def update(self, done: int, line: str, *, now: bool = False) -> None:
        """Move the bar, at most twice per second.

        Parameters
        ----------
        done
            Number of tasks that have ended.
        line
            Text beside the bar.
        now
            Whether to move it in any case.
        """
        if now or time.monotonic() - self.last_update >= NOTEBOOK_INTERVAL:
            self.last_update = time.monotonic()
            self._handle.update(self._content(done, line), raw=True)

    def _content(self, done: int, line: str) -> dict[str, str]:
        bar = f'<progress value="{done}" max="{self.total}"></progress>'
        return {"text/plain": line, "text/html": f"<div>{bar} {escape(line)}</div>"}


class ProgressReporter:
    """A progress bar on a terminal or in a notebook, or one log line per minute.

    Parameters
    ----------
    what
        Name of the operation, for example ``"featurize"``.
    total
        Number of tasks.
    unit
        Plural noun for the tasks, for example ``"blocks"``.
    enabled
        Whether to report at all.
    """

    def __init__(self, what: str, total: int, unit: str, enabled: bool) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.enabled = enabled and total > 0
        self.bar: Progress | None = None
        self.notebook: NotebookBar | None = None
        self.counts = (0, 0, 0)
        self.bar_task = TaskID(0)
        self.started = self.last_line = time.monotonic()

    def __enter__(self) -> ProgressReporter:
        if not self.enabled:
            return self
        _ensure_logging()
        if not logger.isEnabledFor(logging.INFO):
            return self
        if in_notebook():
            self.notebook = NotebookBar(self.total, f"{self.what}: 0 of {self.total} {self.unit}")
        elif sys.stderr.isatty():
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.bar.start()
            self.bar_task = self.bar.add_task(self.what, total=self.total)
        return self

    def update(self, done: int, failed: int, threads: int) -> None:
        """Show the number of finished and failed tasks.

        Parameters
        ----------
        done
            Number of tasks with a result.
        failed
            Number of failed tasks.
        threads
            Number of threads of all connected workers.
        """
        self.counts = (done, failed, threads)
        if self.bar is not None:
            self.bar.update(self.bar_task, completed=done + failed)
        elif self.notebook is not None:
            self.notebook.update(done + failed, self._line(done, failed, threads))
        elif self.enabled and time.monotonic() - self.last_line >= REPORT_INTERVAL:
            self.last_line = time.monotonic()
            logger.info("%s", self._line(done, failed, threads))

    def _line(self, done: int, failed: int, threads: int) -> str:
        workers = f"{threads} threads" if threads else "waiting for workers"
        left = ""
        if done and done >= MIN_SHARE * self.total:
            seconds = (self.total - done) * (time.monotonic() - self.started) / done
            left = f", about {seconds / 60:.0f} min left"
        return f"{self.what}: {done} of {self.total} {self.unit}, {failed} failed, {workers}{left}"

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.notebook is not None:
            done, failed, _threads = self.counts
            how = "stopped after" if kind is not None else "in"
            line = f"{self.what}: {done} of {self.total} {self.unit}, {failed} failed, {how} "
            line += f"{time.monotonic() - self.started:.1f} s"
            self.notebook.update(done + failed, line, now=True)
