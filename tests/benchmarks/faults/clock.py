"""A clock that can be set back, for processes of the fork server.

Libraries keep ``time.time`` under names of their own, so it is replaced before they are
imported. Until a process asks for another clock, it shows the true time.
"""

from __future__ import annotations

import mmap
import struct
import time

_true_time, _true_time_ns = time.time, time.time_ns
_offset: list[mmap.mmap] = []


def _time() -> float:
    return _true_time() + (struct.unpack("d", _offset[0][:8])[0] if _offset else 0.0)


def _time_ns() -> int:
    return _true_time_ns() + int((_time() - _true_time()) * 1e9 if _offset else 0)


def replace_clock() -> None:
    """Replace the clock of this process and of those that it forks."""
    time.time, time.time_ns = _time, _time_ns


def follow(path: str) -> None:
    """Add to the time the seconds that a file holds as a binary float."""
    with open(path, "r+b") as stream:
        _offset[:] = [mmap.mmap(stream.fileno(), 8)]


replace_clock()
