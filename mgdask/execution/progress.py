"""Report the progress of a run: a bar on a terminal, log lines elsewhere.

All messages of a batch run go to loggers below ``mgdask``.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

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


class ProgressReporter:
    """A progress bar on a terminal, or one log line per minute.

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
        self.bar_task = TaskID(0)
        self.started = self.last_line = time.monotonic()

    def __enter__(self) -> ProgressReporter:
        if not self.enabled:
            return self
        _ensure_logging()
        if sys.stderr.isatty() and logger.isEnabledFor(logging.INFO):
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
        if self.bar is not None:
            self.bar.update(self.bar_task, completed=done + failed)
        elif self.enabled and time.monotonic() - self.last_line >= REPORT_INTERVAL:
            self.last_line = time.monotonic()
            logger.info("%s", self._line(done, failed, threads))

    def _line(self, done: int, failed: int, threads: int) -> str:
        workers = f"{threads} threads" if threads else "waiting for workers"
        left = ""
        if done and done >= MIN_SHARE * self.total:
            seconds = (self.total - done) * (self.last_line - self.started) / done
            left = f", about {seconds / 60:.0f} min left"
        return f"{self.what}: {done} of {self.total} {self.unit}, {failed} failed, {workers}{left}"

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
