"""What the blocks of a run use: memory above that of the process, and CPU time.

A worker may be the user's own process, which holds other data, and its kernels may have
to be compiled first. Neither belongs to a block. So the features are prepared before
the first block, and memory counts from there.
"""

from __future__ import annotations

import mmap
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

PAGE = mmap.PAGESIZE
"""Size of a page of memory in bytes."""
SAMPLE_INTERVAL = 0.04
"""Time in s between two samples of the memory while a block is computed."""


@dataclass
class Usage:
    """What was used while one block was computed.

    Attributes
    ----------
    memory
        Highest memory of all blocks of the run so far in this process, in bytes. That
        of the process before the first block is not included.
    cpu
        CPU time of the block in s. Blocks that run at the same time share it equally.
    prepared
        Time in s that the preparation before the first block took in this process.
    """

    memory: int = 0
    cpu: float = 0.0
    prepared: float = 0.0


def peak_memory() -> int:
    """Return the highest resident memory of this process so far, in bytes."""
    try:  # ru_maxrss of a spawned process starts at that of its parent, VmHWM does not
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory() -> int:
    """Return the resident memory of this process, in bytes."""
    with suppress(OSError), open("/proc/self/statm", encoding="ascii") as counts:
        return int(counts.read().split()[1]) * PAGE
    import psutil

    return int(psutil.Process().memory_info().rss)


class _Meter:
    """Memory and CPU time of the blocks that run in this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.run = ""
        self.base = self.earlier_peak = self.highest = 0
        self.n_running = 0
        self.cpu_share = 0.0
        self.prepared = 0.0
        self.cpu_before = 0.0
        self.idle = threading.Event()

    def start(self, run: str, prepare: Callable[[], None]) -> float:
        with self.lock:  # other threads of the run wait until the features are prepared
            if run != self.run:
                began = time.monotonic()
                prepare()
                self.prepared = time.monotonic() - began
                self.run = run
                self.base = self.highest = resident_memory()
                self.earlier_peak = peak_memory()
            self._share()
            self.n_running += 1
            if self.n_running == 1:
                self.idle = threading.Event()
                threading.Thread(
                    target=self._sample, args=(self.idle,), name="mgdask-memory", daemon=True
                ).start()
            return self.cpu_share

    def stop(self, cpu_share: float) -> Usage:
        with self.lock:
            self._share()
            self.n_running -= 1
            if not self.n_running:
                self.idle.set()
            self.highest = max(self.highest, resident_memory())
            peak = peak_memory()
            if peak > self.earlier_peak:  # the system saw it, between two samples
                self.highest = max(self.highest, peak)
            return Usage(self.highest - self.base, self.cpu_share - cpu_share, self.prepared)

    def _share(self) -> None:
        """Divide the CPU time since the last call among the running blocks."""
        now = time.process_time()
        self.cpu_share += (now - self.cpu_before) / max(self.n_running, 1)
        self.cpu_before = now

    def _sample(self, idle: threading.Event) -> None:
        # the peak that the system keeps may be from before the run
        while not idle.wait(SAMPLE_INTERVAL):
            self.highest = max(self.highest, resident_memory())


_METER = _Meter()


@contextmanager
def measured(run: str, prepare: Callable[[], None]) -> Iterator[Usage]:
    """Measure what one block uses.

    Parameters
    ----------
    run
        Identifies the run that the block belongs to.
    prepare
        Called before the first block of the run in this process. Nothing of it counts.

    Yields
    ------
    usage
        Its values are set when the context ends.
    """
    usage = Usage()
    share = _METER.start(run, prepare)
    try:
        yield usage
    finally:
        found = _METER.stop(share)
        usage.memory, usage.cpu, usage.prepared = found.memory, found.cpu, found.prepared
