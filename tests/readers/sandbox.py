"""Runs functions on hostile files in a forked child with little memory and time."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mgdask.errors import MgdaskError

MEMORY = 500 << 20
"""Bytes of memory that a file may take beyond what the imported modules take."""
SECONDS = 10.0
"""CPU time that a file may take in s."""
STUCK = 120.0
"""Wall time in s after which a child that reports nothing is stopped."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file: "accepted", "refused", or anything else, with its text."""

    kind: str
    text: str

    @property
    def is_fine(self) -> bool:
        return self.kind in ("accepted", "refused")


def _memory(word: str) -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith(word))
    return 1024 * int(line.split()[1])


def _child(jobs: Sequence[Callable[[], object]], first: int, out: int) -> None:
    limit = _memory("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()  # the parent reports crashes
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for number in range(first, len(jobs)):
        os.write(out, f"{json.dumps([number, 'begun', ''])}\n".encode())
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        kind, text = "accepted", ""
        try:
            jobs[number]()
        except MgdaskError as error:
            kind, text = "refused", str(error)
            if "MemoryError" in text or not text:
                kind = "memory"
        except MemoryError:
            kind, text = "memory", traceback.format_exc()
        except BaseException:
            kind, text = "traceback", traceback.format_exc()
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        line = json.dumps([number, kind, text[-6000:]]).encode() + b"\n"
        while line:
            line = line[os.write(out, line) :]
    os._exit(0)


def run(jobs: Sequence[Callable[[], object]], *, is_alone: bool = False) -> list[Outcome]:
    """Run jobs one after the other in a child, and a new one after each that dies.

    A job that crashes is run again in a child of its own, unless it was alone.
    """
    outcomes: list[Outcome] = []
    while len(outcomes) < len(jobs):
        read, write = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(read)
                _child(jobs, len(outcomes), write)
            finally:
                os._exit(1)
        os.close(write)
        _collect(read, outcomes, pid)
        os.close(read)
        _, status = os.waitpid(pid, 0)
        if len(outcomes) < len(jobs) and not (outcomes and outcomes[-1].kind == "hung"):
            name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else status
            late = "more than 10 s of CPU" if name == "SIGPROF" else f"the child died: {name}"
            outcomes.append(Outcome("died", late))
            if is_alone or name == "SIGPROF":
                continue
            # a library may crash because of a file that it could not read before
            outcomes[-1:] = run([jobs[len(outcomes) - 1]], is_alone=True)
    return outcomes


def _collect(read: int, outcomes: list[Outcome], pid: int) -> None:
    rest = b""
    while True:
        if not select.select([read], [], [], STUCK)[0]:
            os.kill(pid, signal.SIGKILL)
            outcomes.append(Outcome("hung", f"nothing for {STUCK} s"))
            return
        data = os.read(read, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _, kind, text = json.loads(line)
            if kind != "begun":
                outcomes.append(Outcome(kind, text))
