"""The faults: what is done to a command, when, and what it may say about it."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.faults.tries import Place, Running, mount

STOP_SECONDS = 2.0
"""How long SIGSTOP stops a process by default."""
OPEN_FILES = 64
"""Limit on the number of open files."""
CLOCK_BACK = 3600.0
"""How far the clock is set back, in s."""


def until(running: Running, due: Callable[[], bool]) -> bool:
    """Wait until something is due; return whether the command still runs then."""
    deadline = time.monotonic() + 120
    while not running.ended() and not due() and time.monotonic() < deadline:
        time.sleep(0.001)
    return not running.ended()


@dataclass
class Fault:
    """A fault that strikes at a moment.

    ``statuses`` are those that the disturbed command may end with, 0 apart. ``says`` is
    what its message must match if it ends with 1.
    """

    statuses: tuple[int | None, ...] = ()
    says: str = ""
    workers: tuple[int, ...] = ()
    """Remainders of the seed by 5 of tries with worker processes."""
    from_start: bool = False
    """Whether every third try begins with the fault."""

    def before(self, place: Place, running_size: int, rng: random.Random) -> dict:
        """Prepare the place; return settings of the process."""
        return {}

    def strike(self, running: Running, place: Place, rng: random.Random) -> bool:
        """Disturb a running command; return whether it was still running."""
        return True

    def repair(self, place: Place) -> None:
        """End the fault."""


class Kill(Fault):
    """A signal to the client."""

    def __init__(self, numbers: tuple[int, ...], status: int, group: bool = False) -> None:
        super().__init__((status,), workers=(0, 3))
        self.numbers, self.group = numbers, group

    def strike(self, running, place, rng):
        """Send the signals, 50 ms apart."""
        if running.ended():
            return False
        for k, number in enumerate(self.numbers):
            if k:
                time.sleep(0.05)
            with suppress(OSError):
                (os.killpg if self.group else os.kill)(running.pid, number)
        return True


class KillWorker(Fault):
    """SIGKILL to a worker process."""

    def __init__(self) -> None:
        super().__init__((), workers=(0, 1, 2, 3, 4))

    def strike(self, running, place, rng):
        """Kill one of the workers, as soon as there is one."""
        if not until(running, lambda: bool(running.workers())):
            return False
        with suppress(OSError, IndexError):
            os.kill(rng.choice(running.workers()), signal.SIGKILL)
        return True


class Stop(Fault):
    """SIGSTOP for some seconds, to the client or to a worker."""

    def __init__(self) -> None:
        super().__init__((), workers=(0,))

    def strike(self, running, place, rng):
        """Stop a process and continue it."""
        pids = [running.pid, *running.workers()]
        pid = rng.choice(pids)
        if running.ended():
            return False
        with suppress(OSError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STOP_SECONDS)
            os.kill(pid, signal.SIGCONT)
        return True


class FullDisk(Fault):
    """The disk of the target has less room than is needed."""

    def __init__(self) -> None:
        super().__init__((1,), r"(is|are) full.*(free|room)", workers=(0,))

    def before(self, place, running_size, rng):
        """Leave a random part of the room that an undisturbed run takes."""
        used = shutil.disk_usage(place.out).used
        room = used + int(rng.random() * max(running_size - used, 4096))
        mount("-o", f"remount,size={max(room // 4096, 1) * 4096}", place.out)
        return {}

    def repair(self, place):
        """Make room."""
        mount("-o", "remount,size=64m", place.out)


class ReadOnly(Fault):
    """A disk becomes read-only at a moment."""

    def __init__(self, disk: str) -> None:
        says = r"[Rr]ead-only|cannot be (written|created)"
        super().__init__((1,), says, workers=(0,), from_start=True)
        self.disk = disk

    def strike(self, running, place, rng):
        """Remount, as soon as no file is open for writing."""
        folder = getattr(place, self.disk)

        def done() -> bool:
            try:
                mount("-o", "remount,ro", folder)
            except subprocess.CalledProcessError:
                return False
            return True

        return until(running, done)

    def repair(self, place):
        """Make it writable again."""
        mount("-o", "remount,rw", getattr(place, self.disk))


class FullTmp(Fault):
    """TMPDIR is filled at a moment."""

    def __init__(self) -> None:
        super().__init__((1,), r"/try/tmp.* is full|TMPDIR", workers=(0,), from_start=True)

    def strike(self, running, place, rng):
        """Fill it."""
        mount("-o", "remount,size=64k", place.tmp)
        filler = place.tmp / "filler"
        with suppress(OSError), open(filler, "wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
        return not running.ended()

    def repair(self, place):
        """Empty it."""
        (place.tmp / "filler").unlink(missing_ok=True)
        mount("-o", "remount,size=64m", place.tmp)


class Limit(Fault):
    """A resource limit that is lowered at a moment."""

    def __init__(self, name: int, says: str) -> None:
        super().__init__((1,), says, workers=(0,), from_start=True)
        self.name = name

    def strike(self, running, place, rng):
        """Lower the limit of all processes of the command."""
        for pid in [running.pid, *running.workers()]:
            with suppress(OSError):
                value = OPEN_FILES
                if self.name == resource.RLIMIT_AS:
                    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
                    size = re.search(r"VmSize:\s+(\d+) kB", text)
                    if size is None:
                        continue
                    value = int(size[1]) * 1024 + int(rng.random() * 64 * 2**20)
                resource.prlimit(pid, self.name, (value, value))
        return not running.ended()


class ClockBack(Fault):
    """The clock is set back by an hour; every other try also kills the client."""

    def __init__(self) -> None:
        super().__init__((-9,))

    def before(self, place, running_size, rng):
        """Give the process a clock that can be set."""
        path = place.base / "clock"
        path.write_bytes(struct.pack("d", 0.0))
        return {"clock": str(path)}

    def strike(self, running, place, rng):
        """Set the clock back: what was written before is in the future now."""
        # in place: the process has mapped the file, and an empty one would be SIGBUS
        with open(place.base / "clock", "r+b") as stream:
            stream.write(struct.pack("d", -CLOCK_BACK))
        if rng.random() < 0.5:
            with suppress(OSError):
                os.kill(running.pid, signal.SIGKILL)
        for path in (*place.out.rglob("*"), *place.out.rglob(".*")):
            with suppress(OSError):
                later = path.stat().st_mtime + CLOCK_BACK
                os.utime(path, (later, later))
        return not running.ended()


FULL_FILES = r"open files"
FAULTS: dict[str, Fault] = {
    "kill-worker": KillWorker(),
    "kill-client": Kill((signal.SIGKILL,), -9),
    "sigterm": Kill((signal.SIGTERM,), 143),
    "sigint-twice": Kill((signal.SIGINT, signal.SIGINT), 130, group=True),
    "sigstop": Stop(),
    "full-disk": FullDisk(),
    "read-only": ReadOnly("out"),
    "tmpdir-full": FullTmp(),
    "home-read-only": ReadOnly("home"),
    "cwd-read-only": ReadOnly("cwd"),
    "64-handles": Limit(resource.RLIMIT_NOFILE, FULL_FILES),
    "memory-limit": Limit(resource.RLIMIT_AS, r"memory"),
    "clock-back": ClockBack(),
    "four-cold": Fault(),
}
"""The faults of the matrix."""
