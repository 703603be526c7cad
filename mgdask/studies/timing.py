"""How long each stage of a study takes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stages:
    """Seconds by name of a stage; a stage that comes again adds up. ``str`` is a table with the sum.

    >>> stages = Stages()
    >>> with stages("labels"):
    ...     pass
    >>> list(stages.seconds)
    ['labels']
    """

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is done inside under ``name``."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def save(self, path: str | Path) -> None:
        """Write the seconds as JSON."""
        Path(path).write_text(json.dumps(self.seconds, indent=1), encoding="utf-8")

    def __str__(self) -> str:
        rows = [*self.seconds.items(), ("in all", sum(self.seconds.values()))]
        return "\n".join(f"  {name:20} {spent:8.1f} s" for name, spent in rows)
