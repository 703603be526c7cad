"""Timing of the stages of a study."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class StageTimer:
    """Seconds by name of a stage; ``str`` gives a table with the total.

    The times of a stage that is entered more than once are added.

    Examples
    --------
    >>> timer = StageTimer()
    >>> with timer("labels"):
    ...     pass
    >>> list(timer.seconds)
    ['labels']
    """

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time spent inside the ``with`` block to the stage ``name``."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def save(self, path: str | Path) -> None:
        """Write the seconds as JSON."""
        Path(path).write_text(json.dumps(self.seconds, indent=1), encoding="utf-8")

    def __str__(self) -> str:
        rows = [*self.seconds.items(), ("total", sum(self.seconds.values()))]
        return "\n".join(f"  {name:20} {spent:8.1f} s" for name, spent in rows)


def __getattr__(name: str) -> Any:
    if name == "Stages":
        message = "mgdask.studies.timing.Stages is StageTimer since version 0.2"
        warnings.warn(message, FutureWarning, stacklevel=2)
        return StageTimer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
