"""Suppression of Dask's log messages, which would surround those of mgdask."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = (
    "distributed",
    "distributed.client",
    "distributed.scheduler",
    "tornado",
    "tornado.application",
    "asyncio",
)
"""Loggers with a level of their own, as Dask sets them at its import."""


def level() -> int:
    """Return the level from which messages of Dask are shown.

    Everything that concerns the user is an error or a log line of mgdask. Messages of
    Dask are shown only if details are logged (``--verbose``).
    """
    if logging.getLogger("mgdask").isEnabledFor(logging.DEBUG):
        return logging.WARNING
    return logging.CRITICAL


@contextmanager
def quiet_dask() -> Iterator[int]:
    """Hide messages of Dask below ``level()`` during the ``with`` block.

    Yields
    ------
    level
        Level for the ``silence_logs`` of a cluster.
    """
    import distributed  # noqa: F401  # sets the levels

    shown = level()
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    for name, old in before.items():
        logging.getLogger(name).setLevel(max(old, shown))
    try:
        yield shown
    finally:
        for name, old in before.items():
            logging.getLogger(name).setLevel(old)


def silence() -> None:
    """Hide messages of Dask below ``level()`` for the rest of this process.

    Threads of Dask end later than clusters.
    """
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, level()))
