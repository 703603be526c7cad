"""One large value per process, such as prepared rows, which many tasks share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
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
