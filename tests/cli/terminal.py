"""A command in a terminal of its own, where Ctrl-C reaches all of its processes."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """What a command printed, its exit status and what it left.

    ``latency`` is the time in s from the first signal to the end. ``processes`` are those
    of its session that still live.
    """

    text: str
    status: int
    latency: float
    processes: list[str]


def run_in_terminal(
    words: Sequence[object],
    stop: Callable[[str, float, int], bool],
    *,
    presses: int = 1,
    pause: float = 0.1,
    number: int = signal.SIGINT,
    environment: dict[str, str] | None = None,
    timeout: float = 120.0,
) -> Ended:
    """Run ``mgdask`` in a pseudo-terminal, and stop it when ``stop(text, seconds, pid)``
    is true.

    Ctrl-C is typed ``presses`` times. Another signal goes to the main process only.
    """
    began = time.monotonic()
    pid, terminal = pty.fork()  # a session and a controlling terminal of its own
    if pid == 0:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        # the tests may run in the background of a shell, which makes them ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.environ.update({**(environment or {}), "PYTHONPATH": path})
        # a test run in the background of a shell ignores it, and its children would
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, "-m", "mgdask", *map(str, words)])
    text, pressed, first, due = b"", 0, 0.0, 0.0
    try:
        while True:
            now = time.monotonic()
            assert now - began < timeout, text.decode(errors="replace")
            if pressed < presses and (
                now >= due if pressed else stop(text.decode(errors="replace"), now - began, pid)
            ):
                first = first or now
                pressed, due = pressed + 1, now + pause
                with suppress(OSError):  # it may have ended
                    if number == signal.SIGINT:
                        os.write(terminal, b"\x03")
                    else:
                        os.kill(pid, number)
            if select.select([terminal], [], [], 0.01)[0]:
                try:
                    data = os.read(terminal, 65536)
                except OSError:  # nobody has the terminal open any more
                    data = b""
                if not data:
                    break
                text += data
        _, status = os.waitpid(pid, 0)
    except BaseException:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(terminal)
    latency = time.monotonic() - first
    said = text.decode(errors="replace").replace("\r", "")
    # a killed process disappears a moment later
    while (left := session_processes(pid)) and time.monotonic() < first + latency + 1.0:
        time.sleep(0.02)
    return Ended(said, os.waitstatus_to_exitcode(status), latency, left)


def handles_signals(pid: int) -> bool:
    """Return whether a process is ``mgdask`` and has a handler of SIGTERM."""
    with suppress(OSError):
        # before the new process has become mgdask, it is a copy of this one
        if b"-m\0mgdask" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return False
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def session_processes(session: int) -> list[str]:
    """Return the command lines of the processes of a session that have not ended."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, IndexError):
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[3]) == session and fields[0] not in "ZX":
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found.append(f"{folder.name} {command.decode(errors='replace')}")
    return found
