"""How a command ends if memory runs out in a background thread.

Such an error does not reach the main thread. It may end the thread that zarr or
``concurrent.futures`` waits for, and then the command would wait forever. So the
command line listens to the places where errors of threads end up. A thread of its own
looks for threads that have died without a word. Either ends the command with its usual
message.

In the Python API nothing of this happens.
"""

from __future__ import annotations

import errno
import logging
import mmap
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mgdask import interruption

RESERVE = 16 * 2**20
"""Address space in bytes that is given back to write the last message."""
INTERVAL = 0.25
"""Time in s between two looks at the threads."""
LOOKS = 40
"""Looks after which a thread that has not begun to run counts as dead."""
LOGGER = "concurrent.futures"
"""Logger of errors that would be lost with the future that waits for them."""


@contextmanager
def ended_without_memory(describe: Callable[[], str]) -> Iterator[None]:
    """End the command if memory runs out in another thread during the ``with`` block.

    Parameters
    ----------
    describe
        Returns the message, which is printed before the process ends with status 1.
    """
    watch = _Watch(describe)
    logger = logging.getLogger(LOGGER)
    hooks = threading.excepthook, sys.unraisablehook
    shows_tracebacks, logging.raiseExceptions = logging.raiseExceptions, False
    threading.excepthook = watch.hook(hooks[0])
    sys.unraisablehook = watch.hook(hooks[1])
    logger.addFilter(watch.filter)
    try:
        threading.Thread(target=watch.look, name="mgdask watch", daemon=True).start()
        yield
    finally:
        watch.armed = False
        threading.excepthook, sys.unraisablehook = hooks
        logging.raiseExceptions = shows_tracebacks
        logger.removeFilter(watch.filter)
        watch.free()


def is_lack_of_memory(error: object) -> bool:
    """Return whether an error says that memory or threads have run out."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and error.args[:1] == ("can't start new thread",))
    )


class _Watch:
    """What listens for errors, and what it does then."""

    def __init__(self, describe: Callable[[], str]) -> None:
        self.describe = describe
        self.armed = True
        self.waiting: threading.Thread | None = None
        self.dead: threading.Thread | None = None
        self.looks = 0
        # address space only: a page that is never written takes no memory
        self.reserve: mmap.mmap | None = None
        with suppress(OSError):
            self.reserve = mmap.mmap(-1, RESERVE)

    def free(self) -> None:
        """Give the reserve back."""
        if self.reserve is not None:
            self.reserve.close()

    def end(self) -> None:
        """End the command; the main thread does this."""
        if self.armed:
            self.armed = False
            self.free()
            interruption.abandon(self.describe)

    def hook(self, usual: Callable[[Any], object]) -> Callable[[Any], None]:
        """Return a hook for uncaught errors of threads and finalizers."""

        def hook(args: Any) -> None:
            if self.armed and (
                is_lack_of_memory(args.exc_value) or issubclass(args.exc_type, MemoryError)
            ):
                self.end()
            else:
                usual(args)

        return hook

    def filter(self, record: logging.LogRecord) -> bool:
        """Filter what ``concurrent.futures`` logs."""
        if self.armed and record.exc_info and is_lack_of_memory(record.exc_info[1]):
            self.end()
            return False
        return True

    def handle(self, loop: Any, context: dict[str, Any]) -> None:
        """Handle an error in a callback of an event loop."""
        if self.armed and is_lack_of_memory(context.get("exception")):
            self.end()
        else:
            loop.default_exception_handler(context)

    def look(self) -> None:
        """Look for dead threads until the command ends."""
        listening: object = None
        while self.armed:
            try:
                sync = sys.modules.get("zarr.core.sync")
                thread = getattr(sync, "iothread", [None])[0]
                loop = getattr(sync, "loop", [None])[0]
                if loop is not None and loop is not listening:
                    loop.set_exception_handler(self.handle)
                    listening = loop
                if self.never_begins() or self.is_dead(thread):
                    self.end()
            except MemoryError:
                self.end()
            time.sleep(INTERVAL)

    def is_dead(self, thread: threading.Thread | None) -> bool:
        """Return whether a thread of zarr was dead at two looks.

        Zarr also keeps a thread that could not be started.
        """
        alive = thread is None or thread.is_alive() or thread in threading.enumerate()
        before, self.dead = self.dead, None if alive else thread
        return self.dead is not None and self.dead is before

    def never_begins(self) -> bool:
        """Return whether a thread has not begun to run for many looks.

        Without memory, it ends before its first step, and ``Thread.start`` waits for
        that step forever.
        """
        new = next((thread for thread in threading.enumerate() if not thread.ident), None)
        self.looks = self.looks + 1 if new is not None and new is self.waiting else 0
        self.waiting = new
        return self.looks >= LOOKS
