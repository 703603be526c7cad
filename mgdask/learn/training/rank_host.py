"""The Dask task that runs one rank as a child process and watches over it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from mgdask.learn.training.control_files import BEAT, read_small, write_in_place
from mgdask.learn.training.heartbeat import PARENT
from mgdask.learn.training.outcomes import RankOutcome, Reason

_OWN_SIGNALS = frozenset({signal.SIGILL, signal.SIGABRT, signal.SIGFPE, signal.SIGSEGV})
"""Signals that a process raises by its own fault."""
_BUSY = frozenset("RD")
"""States of threads that run or wait for a core, and of those that wait for a disk."""
_LOG_TAIL = 2000
"""Characters at the end of a log that are searched for its last line."""


def run_rank(
    folder: str, attempt: str, rank: int, ranks: int, address: str, threads: int, identity: str
) -> RankOutcome:
    """Run one rank as a child process; kill it when the client gives the attempt up.

    Parameters
    ----------
    folder
        Checkpoint folder, visible to all workers.
    attempt
        Name of the attempt: its subfolder.
    rank, ranks
        Number of this rank, and of all ranks.
    address
        Host name or IP address at which the other ranks reach this one.
    threads
        Threads of LightGBM.
    identity
        Key and certificate that the ranks of the attempt share.

    Returns
    -------
    RankOutcome
        How the child ended.
    """
    base = Path(folder) / attempt
    if not base.is_dir():
        return RankOutcome(
            Reason.FAILED,
            f"{base} does not exist on the worker; choose a checkpoint folder that all workers see",
        )
    if (base / f"rank-{rank}.json").exists():
        # Dask handed this task out again after a loss; the client starts a new attempt
        return RankOutcome(Reason.LOST, "started twice")
    # -P: the folder that a worker runs in may be /tmp, where others can put modules
    command = [sys.executable, "-P", "-m", "mgdask.learn.training.rank_worker"]
    command += [folder, attempt, str(rank), str(ranks), address, str(threads)]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(name for name in sys.path if name),
        "OMP_WAIT_POLICY": "PASSIVE",
        PARENT: str(os.getpid()),
    }
    log = base / f"rank-{rank}.log"
    with open(log, "wb") as stream, _pipe_with(identity) as secret:
        child = subprocess.Popen(command, stdin=secret, stdout=stream, stderr=stream, env=env)
        try:
            code = _supervise(child, Path(folder), attempt, rank)
        finally:
            child.kill()
            child.wait()
    return _outcome(code, base / f"error-{rank}.json", log)


@contextmanager
def _pipe_with(text: str) -> Iterator[int]:
    """Yield the end of a pipe from which a child can read ``text``.

    Other users can read the arguments of a process, and perhaps files of a shared disk.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"):
        with os.fdopen(writing, "w") as pipe:
            pipe.write(text)  # fits into the pipe, so that nothing waits
        yield reading


def _supervise(child: subprocess.Popen[bytes], folder: Path, attempt: str, rank: int) -> int:
    """Report that the child lives; kill it when its attempt is over."""
    looks = 0
    while True:
        try:
            return child.wait(BEAT)
        except subprocess.TimeoutExpired:
            looks += _is_alive(child.pid)
        with suppress(OSError):
            write_in_place(
                folder / attempt / f"host-{rank}.json", {"pid": child.pid, "alive": looks}
            )
        control = read_small(folder / "control.json")
        if control and control.get("attempt") != attempt:  # empty: it was being written
            child.kill()  # SIGKILL also ends a stopped process


def _is_alive(pid: int) -> bool:
    """Return whether a process waits for a core or a disk; a stopped one does not.

    It may then be unable to send heartbeats. Its main thread often sleeps until a peer
    answers, so the state of the process alone does not show that its heartbeat waits.
    """
    states = []
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError, IndexError):
            states.append(task.read_text(encoding="utf-8").rpartition(")")[2].split()[0])
    if states:
        return bool(_BUSY.intersection(states))
    with suppress(psutil.Error):  # a system without /proc
        return psutil.Process(pid).status() in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
    return False


def _outcome(code: int, error_file: Path, log: Path) -> RankOutcome:
    """Translate an exit status; negative statuses are signals."""
    if code == 0:
        return RankOutcome(Reason.FINISHED)
    if code < 0:
        own = -code in _OWN_SIGNALS
        return RankOutcome(Reason.CRASHED if own else Reason.KILLED, str(-code))
    error = read_small(error_file)
    if error:
        return RankOutcome(Reason(error["reason"]), error["detail"])
    tail = log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
    lines = [line for line in tail.splitlines() if line.strip()]
    return RankOutcome(Reason.FAILED, lines[-1] if lines else "")
