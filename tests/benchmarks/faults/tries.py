"""One try: start a command, disturb it, resume it, compare what it wrote."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.faults.child import CODE
from tests.benchmarks.faults.commands import COMMANDS, Command, content
from tests.cli.terminal import session_processes
from tests.forked import Forked

PATIENCE = 150.0
"""Seconds after which a command counts as hung; this machine may be busy."""
GRACE = 15.0
"""Seconds in which the processes of a command that has ended must be gone."""
NOISE = re.compile(
    "Traceback|CancelledError|Exception ignored|Exception in|distributed|asyncio|tornado|"
    "Warning|WARNING|resource_tracker|semaphore|OpenBLAS|terminate called|libgomp|MemoryError"
)
RAW = re.compile(r"\(--debug shows the traceback\)")
KEPT = ("tmp/filler", "home/.cache")
"""What commands keep on purpose, such as the measured speed of a machine."""
CONTINUED = re.compile(r"^out/\.[^/]+\.(append|overwrite)-")
"""Folders in which the same command continues; it also removes them."""
UNFINISHED = re.compile(r"\.(partial|new|fresh|tmp|undo|old)$|(^|[./])lock$|^\.")
"""Names that only unfinished work has."""


@dataclass
class Ran:
    """How one process of a try ended."""

    status: int | None
    out: str
    err: str
    processes: list[str]
    cpu: float
    wall: float


@dataclass
class Try:
    """The result of one try; empty lists mean that all went well."""

    command: str
    fault: str
    seed: int
    moment: float = 0.0
    struck: bool = False
    statuses: list[int | None] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    message: list[str] = field(default_factory=list)
    said: str = ""
    cpu: float = 0.0
    version: str = ""

    def misses(self) -> dict[str, list[str]]:
        """Return what went wrong, by kind."""
        kinds = ("wrong", "lost", "hung", "left", "noise", "message")
        return {kind: getattr(self, kind) for kind in kinds if getattr(self, kind)}

    def line(self) -> str:
        """Return the try as a line of JSON."""
        return json.dumps(asdict(self))


class Place:
    """The folders of a try, each a small disk of its own at a fixed path."""

    def __init__(self, work: Path) -> None:
        self.inputs = work / "inputs"
        self.base = work / "try"
        self.kernels = work / "kernels"
        self.out, self.tmp, self.home, self.cwd = (
            self.base / name for name in ("out", "tmp", "home", "cwd")
        )

    def open(self, size: str = "64m") -> None:
        """Mount empty disks."""
        self.close()
        for folder, room in (
            (self.out, size),
            (self.tmp, "64m"),
            (self.home, "16m"),
            (self.cwd, "16m"),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            mount("-t", "tmpfs", "-o", f"size={room}", "faults", folder)

    def close(self) -> None:
        """Unmount the disks."""
        for folder in (self.out, self.tmp, self.home, self.cwd):
            if os.path.ismount(folder):
                subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(self.base, ignore_errors=True)

    def environment(self, kernels: Path | None = None) -> dict[str, str]:
        """Return the environment of a command."""
        kept = ("PATH", "LANG", "OMP_NUM_THREADS", "PYTHONPATH")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "MGDASK_CACHE_DIR": str(kernels or self.kernels),
        }

    def seed(self, command: Command) -> None:
        """Copy what a command starts from."""
        for name in command.seeded:
            shutil.copytree(self.inputs / name, self.out / name, symlinks=True)


def mount(*words: object) -> None:
    """Mount, or change a mount; raise what it says if that fails."""
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)


class Running:
    """A command that runs."""

    def __init__(self, place: Place, words: list[str], name: str = "", **settings: Any) -> None:
        self.place, self.began = place, time.monotonic()
        self.started = place.base / f"started{name}"
        self.started.unlink(missing_ok=True)
        kernels = settings.pop("kernels", None)
        settings["started"] = str(self.started)
        self.process = Forked(
            CODE, json.dumps(settings), *words, cwd=place.cwd, env=place.environment(kernels)
        )
        self.pid = self.process.pid
        self._cpu = 0.0
        while not self.started.exists() and self.process.poll() is None:
            time.sleep(0.002)

    def cpu(self) -> float:
        """Return the CPU time of the main process so far, in s."""
        with suppress(OSError):
            self._cpu = time.clock_gettime((~self.pid << 3) | 2)
        return self._cpu

    def wall(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.began

    def workers(self) -> list[int]:
        """Return the worker processes, which have the socket of a server as parent."""
        found = []
        for line in session_processes(self.pid):
            pid = int(line.split()[0])
            if pid != self.pid and "resource_tracker" not in line:
                found.append(pid)
        # the first one is the server
        return sorted(found)[1:]

    def ended(self) -> bool:
        """Return whether the process has ended."""
        return self.process.poll() is not None

    def finish(self) -> Ran:
        """Wait for the end, at most ``PATIENCE`` s; return how it came."""
        status: int | None = None
        deadline = self.began + PATIENCE
        while status is None and time.monotonic() < deadline:
            self.cpu()
            with suppress(subprocess.TimeoutExpired):
                status = self.process.wait(0.02)
        wall = self.wall()
        if status is None:  # tell where it hangs, then end it
            with suppress(OSError):
                os.kill(self.pid, signal.SIGCONT)
                os.kill(self.pid, signal.SIGUSR1)
                time.sleep(0.5)
        out, err = (self.process.printed(f) for f in (self.process.stdout, self.process.stderr))
        ends = time.monotonic() + GRACE
        left = session_processes(self.pid)
        while status is not None and left and time.monotonic() < ends:
            time.sleep(0.05)
            left = session_processes(self.pid)
        if status is None:
            left = []
        for pid in [int(line.split()[0]) for line in session_processes(self.pid)]:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        self.process.process.close()
        self.process.stdout.close()
        self.process.stderr.close()
        return Ran(status, out, err, left, self._cpu, wall)


def words_of(
    command: Command, place: Place, out: Path | None = None, *, workers: bool = False
) -> list[str]:
    """Return the words of a command with its paths."""
    paths = {"inputs": str(place.inputs), "out": str(out or place.out)}
    words = command.words + (command.workers if workers else ())
    return [word.format(**paths) for word in words]


def leftovers(place: Place, *, stores: bool = True, finished: bool = True) -> list[str]:
    """Return what a command should have removed, as paths in the place.

    One that has not ``finished`` may keep a folder in which it continues.
    """
    found = []
    for folder in (place.tmp, place.home, place.cwd) + ((place.out,) if stores else ()):
        for path in sorted(folder.rglob("*")):
            inside = folder == place.out
            if path.is_dir() and inside and not path.name.startswith("."):
                continue
            if not inside or UNFINISHED.search(path.name):
                found.append(str(path.relative_to(place.base)))
    return [
        name
        for name in found
        if not name.startswith(KEPT) and (finished or not CONTINUED.search(name))
    ]


def reference(name: str, place: Place, *, workers: bool) -> tuple[dict[str, str], Ran]:
    """Run a command undisturbed; return what it wrote and how it ran."""
    command = COMMANDS[name]
    place.open()
    place.seed(command)
    ran = Running(place, words_of(command, place, workers=workers)).finish()
    if command.after:
        paths = {"inputs": str(place.inputs), "out": str(place.out)}
        after = [word.format(**paths) for word in command.after]
        Running(place, after).finish()
    elif ran.status != 0:
        raise RuntimeError(f"{name} fails undisturbed ({ran.status}):\n{ran.out}\n{ran.err}")
    wrote = content(place.out / command.target, place.out)
    if left := leftovers(place):
        raise RuntimeError(f"{name} leaves {left} undisturbed")
    if ran.processes:
        raise RuntimeError(f"{name} leaves {ran.processes} undisturbed")
    return wrote, ran


def generator(command: str, fault: str, seed: int) -> random.Random:
    """Return the random numbers of one try."""
    return random.Random(f"{command}/{fault}/{seed}")
