"""A clock for Dask that a correction of the system clock cannot set back.

Dask keeps messages back for a few milliseconds, to send several at once. It reads the
end of that interval from the system clock. If the clock is set back by an hour, all
messages of that moment wait for an hour.
"""

from __future__ import annotations

import math
import time

_offset = -math.inf


def steady_time() -> float:
    """Return the system time in s, continued at its pace if the clock is set back."""
    global _offset
    ticks = time.monotonic()
    _offset = max(_offset, time.time() - ticks)
    return ticks + _offset


def keep_time() -> None:
    """Let Dask and its event loops in this process read ``steady_time``."""
    from distributed import batched
    from tornado.ioloop import IOLoop

    if IOLoop.time is not _loop_time:
        # tornado allows another clock; the deadlines of ``batched`` are read by it
        setattr(IOLoop, "time", _loop_time)  # noqa: B010  # a method, to mypy
        if hasattr(batched, "time"):
            setattr(batched, "time", steady_time)  # noqa: B010


def _loop_time(loop: object) -> float:
    return steady_time()
