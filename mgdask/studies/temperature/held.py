"""What tasks share: one large value per process, and folders of small results."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class Held(Generic[T]):
    """Holder of the last value that was built in this process.

    A value of 1 million rows takes hundreds of MB, so only one is kept. Tasks that need
    the same value should follow each other. Threads wait while it is built.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: tuple[Hashable, T] | None = None

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """Return the value of a key, built now unless it is the last one.

        Parameters
        ----------
        key
            Identity of the value.
        build
            Function that returns it.
        """
        with self._lock:
            if self._value is None or self._value[0] != key:
                self._value = None  # free the memory before the next one is built
                self._value = (key, build())
            return self._value[1]

    def clear(self) -> None:
        """Forget the value."""
        with self._lock:
            self._value = None


@contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """Yield an empty folder for results that only later tasks read, and remove it.

    Parameters
    ----------
    folder
        Folder, reachable by all workers. What a killed run left in it is removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
