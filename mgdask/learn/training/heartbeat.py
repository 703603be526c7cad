"""The heartbeat of a rank, which also ends the rank when it is no longer needed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from mgdask.learn.training.control_files import BEAT, read_small, write_in_place

_ORPHAN_AFTER = 120.0
"""Default seconds without a sign of life of the client after which a rank ends."""
_PR_SET_PDEATHSIG = 1


PARENT = "MGDASK_RANK_PARENT"
"""Environment variable with the process ID of the worker that started a rank."""


class Heartbeat:
    """A thread that reports the state of a rank and kills it when it is orphaned.

    A rank is orphaned if its parent or its client is gone, or if another attempt runs.

    Parameters
    ----------
    folder
        Checkpoint folder.
    attempt
        Name of the attempt: its subfolder.
    rank
        Number of the rank.
    """

    def __init__(self, folder: Path, attempt: str, rank: int) -> None:
        self._control = folder / "control.json"
        self._path = folder / attempt / f"rank-{rank}.json"
        self._attempt = attempt
        # the parent may have died while this process imported its libraries
        self._parent = int(os.environ.get(PARENT, os.getppid()))
        if sys.platform == "linux":  # the kernel ends it with its parent, even if it is stopped
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        self._phase, self._steps, self._iteration, self._ticks = "is starting", 0, 0, 0
        threading.Thread(target=self._run, daemon=True).start()

    def step(self, phase: str | None = None) -> None:
        """Record that some work was done.

        Parameters
        ----------
        phase
            New phase of the rank. None: the phase does not change.
        """
        self._phase = phase or self._phase
        self._steps += 1

    def round_done(self, iteration: int) -> None:
        """Record that a boosting round was done.

        Parameters
        ----------
        iteration
            Number of rounds done.
        """
        self._iteration = iteration
        self.step("is training")

    def write(self) -> None:
        """Write the state to the file that the client reads."""
        write_in_place(
            self._path,
            {
                "pid": os.getpid(),
                "phase": self._phase,
                "steps": self._steps,
                "iteration": self._iteration,
                "ticks": self._ticks,
            },
        )

    def _run(self) -> None:
        client_beat, client_seen = -1, time.monotonic()
        while True:
            self._ticks += 1
            with suppress(OSError):
                self.write()
            control = read_small(self._control)
            if control.get("beat", client_beat) != client_beat:
                client_beat, client_seen = control["beat"], time.monotonic()
            other_attempt = bool(control) and control.get("attempt") != self._attempt
            silence = time.monotonic() - client_seen
            client_gone = silence > float(control.get("orphan", _ORPHAN_AFTER))
            if other_attempt or client_gone or os.getppid() != self._parent:
                # no cleanup: native code may block it
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(BEAT)
