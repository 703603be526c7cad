"""How a stopped command ends: with one line, and nothing left behind.

Ctrl-C reaches every process of a terminal, at any moment. An exception raised at that
moment may be swallowed by a callback, or print tracebacks of libraries while they end.
The command line therefore does not unwind. Its handler ends workers and jobs, removes
locks and temporary files, prints one line, and leaves the process. This is safe because
a store survives a killed process at any moment.

Elsewhere, such as in a notebook, ``KeyboardInterrupt`` stays what it is. Workers do not
receive Ctrl-C in either case: ``shielded`` starts them with the signal blocked.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeAlias, TypeVar

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that stop a command: Ctrl-C, a queueing system, a closed terminal."""
RESUMED = ("ingest", "unwrap", "featurize", "study", "demo")
"""Commands that keep finished work and continue from it."""
PATIENCE = 60.0
"""Maximum time in s to wait until the jobs of a queueing system are canceled."""
HURRY = 5.0
"""The same after a second signal."""
KILL_TIMEOUT = 5.0
"""Maximum time in s to wait until killed processes have gone."""

T = TypeVar("T")
Ending: TypeAlias = Callable[[], Callable[[], bool]]
"""Begins to end something and returns a function that tells whether it has ended."""

_endings: list[Ending] = []
_removals: dict[object, Callable[[], object]] = {}
_installed: dict[int, Any] = {}
"""Signals that end this process, with their previous handlers."""
_abandoned: list[Callable[[], str]] = []
"""Returns the message of an error that ends this process like a signal."""


def end_when_stopped(ending: Ending) -> None:
    """Call ``ending`` if the command is stopped, after those that are named later.

    Parameters
    ----------
    ending
        Begins to end something and returns a function that tells whether it has ended.
    """
    if _installed:
        _endings.append(ending)


@contextmanager
def removed_when_stopped(remove: Callable[[], object]) -> Iterator[None]:
    """Call ``remove`` if the command is stopped during the ``with`` block.

    All workers have ended when it is called. Later blocks are called first.

    Parameters
    ----------
    remove
        Removes a file, a folder or a lock.
    """
    key = object()
    _removals[key] = remove
    try:
        yield
    finally:
        _removals.pop(key, None)


def abandon(describe: Callable[[], str]) -> None:
    """End this process from any thread, with an error instead of the line of a stop.

    The main thread may wait for a thread that has died. A signal reaches it there.

    Parameters
    ----------
    describe
        Returns the message; the exit status is 1.
    """
    numbers = sorted(_installed, key=lambda number: number != signal.SIGTERM)
    ident = threading.main_thread().ident
    if numbers and ident is not None and hasattr(signal, "pthread_kill"):
        _abandoned.append(describe)
        signal.pthread_kill(ident, numbers[0])


def is_installed() -> bool:
    """Return whether this process ends at a signal, as the command line does."""
    return bool(_installed)


def stopped_line() -> str:
    """Return the line that a stopped command prints."""
    words = sys.argv[1:]
    # options before the command have no values
    name = next((word for word in words if not word.startswith("-")), "")
    line = f"stopped: mgdask {name}".rstrip()
    if name not in RESUMED:
        return f"{line}; run the same command to start again"
    kept = "finished blocks are kept"
    if name == "ingest" and {"--append", "--overwrite"} & set(words):
        kept = f"nothing of the store is lost, and {kept}"
    return f"{line}; {kept}. Run the same command to continue"


def install() -> None:
    """End this process at Ctrl-C, SIGTERM or SIGHUP, with one line on standard error.

    The exit status is 128 plus the number of the signal: 130 or 143. Signals that the
    parent ignores, such as those of ``nohup``, stay ignored.
    """
    if _installed or threading.current_thread() is not threading.main_thread():
        return
    stop = _Stop()
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            _installed[number] = signal.signal(number, stop)


@contextmanager
def stoppable() -> Iterator[None]:
    """Handle signals as ``install`` does, during the ``with`` block."""
    if _installed:
        yield
        return
    install()
    try:
        yield
    finally:
        for number, handler in _installed.items():
            signal.signal(number, handler)
        _installed.clear()
        _endings.clear()
        _abandoned.clear()


def shielded(function: Callable[[], T], close: Callable[[T], object]) -> T:
    """Return ``function()``, called in a thread in which Ctrl-C is blocked.

    The processes and threads that it starts inherit this. Waiting for it can be
    interrupted.

    Parameters
    ----------
    function
        Starts workers.
    close
        Closes the result if the caller was interrupted meanwhile.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    abandoned = threading.Event()

    def call() -> None:
        _start_resource_tracker()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)
        if abandoned.is_set() and results:
            close(results.pop())

    thread = threading.Thread(target=call, name="mgdask start of workers", daemon=True)
    thread.start()
    try:
        thread.join()
    except BaseException:
        abandoned.set()
        if results:
            close(results.pop())
        raise
    if errors:
        raise errors[0]
    return results[0]


def _start_resource_tracker() -> None:
    """Start the process of ``multiprocessing`` that removes semaphores at the end.

    It would unblock Ctrl-C in the thread that starts it. In a command that is stopped,
    it must not print how much it had to remove.
    """
    from multiprocessing import resource_tracker

    options = list(sys.warnoptions)
    if _installed:
        sys.warnoptions.append("ignore:resource_tracker")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions[:] = options


class _Stop:
    """Signal handler that ends the process.

    It runs in the main thread between any two steps of the program. So it imports
    nothing, logs nothing and takes no lock.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.received = 0
        self.hurry_until = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.pid:  # a child that inherited the handler
            os._exit(128 + number)
        self.received += 1
        if self.received > 1:  # again: wait no longer than necessary
            self.hurry_until = self.hurry_until or time.monotonic() + HURRY
            return
        status = 1 if _abandoned else 128 + number
        try:
            self._stop()
        finally:
            os._exit(status)

    def _stop(self) -> None:
        with suppress(Exception):
            sys.stdout.flush()
        stderr = _silence()
        endings = []
        for ending in reversed(_endings):
            with suppress(Exception):
                endings.append(ending())
        unfinished = self._wait(endings)
        _kill_children()
        for remove in reversed(list(_removals.values())):
            with suppress(Exception):
                remove()
        line = _last_line()
        if unfinished:
            line += ". Some jobs may still be queued: check your queueing system"
        with suppress(OSError):
            os.write(stderr, f"{_clean_line(stderr)}{line}\n".encode())

    def _wait(self, endings: list[Callable[[], bool]]) -> bool:
        """Wait for endings; return whether some have not ended in time."""
        deadline = time.monotonic() + PATIENCE
        while endings:
            endings = [ended for ended in endings if not _is_true(ended)]
            now = time.monotonic()
            if now > min(deadline, self.hurry_until or deadline):
                break
            time.sleep(0.02)
        return bool(endings)


def _last_line() -> str:
    if not _abandoned:
        return stopped_line()
    try:
        return _abandoned[0]()
    except Exception:
        return "mgdask: this process ran out of memory"


def _is_true(ended: Callable[[], bool]) -> bool:
    try:
        return ended()
    except Exception:
        return True


def _silence() -> int:
    """Hide what libraries print from now on; return a descriptor of standard error."""
    try:
        stderr = os.dup(2)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.dup2(nothing, 1)
    except OSError:
        return 2
    return stderr


def _clean_line(stderr: int) -> str:
    """Return what puts the cursor at the start of a line, after a bar and ``^C``."""
    if not os.isatty(stderr):
        return ""
    # rich hides the cursor while it shows a bar
    return "\x1b[?25h\r\n" if "rich.progress" in sys.modules else "\r\n"


def _kill_children() -> None:
    """Kill all processes below this one, and wait until they are gone.

    Then the resource tracker removes their semaphores and ends, because no process
    holds its pipe open.
    """
    deadline = time.monotonic() + KILL_TIMEOUT
    tracker = _resource_tracker_pid()
    closed = False
    while time.monotonic() < deadline:
        children = _processes_below(os.getpid())
        if not children:
            break
        for pid in children - {tracker}:  # a thread may just have started another one
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if children == {tracker} and not closed:
            closed = True
            with suppress(OSError, AttributeError, TypeError):
                os.close(sys.modules["multiprocessing.resource_tracker"]._resource_tracker._fd)
        time.sleep(0.005)


def _resource_tracker_pid() -> int | None:
    module = sys.modules.get("multiprocessing.resource_tracker")
    return getattr(getattr(module, "_resource_tracker", None), "_pid", None)


def _processes_below(pid: int) -> set[int]:
    """Return the descendants of a process that have not ended."""
    parents: dict[int, int] = {}
    try:
        names = os.listdir("/proc")
    except OSError:  # not Linux
        return _processes_of_psutil(pid)
    for name in names:
        if name.isdigit():
            with suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb") as stream:
                state, parent = stream.read().rsplit(b")", 1)[1].split()[:2]
                if state not in (b"Z", b"X"):
                    parents[int(name)] = int(parent)
    below: set[int] = set()
    new = {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - below
        below |= new
    return below


def _processes_of_psutil(pid: int) -> set[int]:
    psutil = sys.modules.get("psutil")
    if psutil is None:
        return set()
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}
