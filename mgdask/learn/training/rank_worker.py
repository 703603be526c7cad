"""One rank of distributed training: a process of its own, so that it can be killed and nothing is left behind."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from mgdask.errors import MgdaskError

BEAT = 0.25
"""Seconds between two looks at the control file, and between two heartbeats."""
PORTS = range(18_000, 32_000)
"""Where ranks listen: below the ports that systems give to outgoing connections, which would take one away."""


def write_in_place(path: Path, about: dict[str, Any]) -> None:
    """A small file that is always the same inode: a network file system shows it afresh to whoever opens it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(handle, json.dumps(about).encode().ljust(512), 0)
    finally:
        os.close(handle)


def read_small(path: Path) -> dict[str, Any]:
    """What ``write_in_place`` wrote; empty where there is nothing, or half of it."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def host(
    folder: str, attempt: str, rank: int, ranks: int, address: str, threads: int
) -> dict[str, Any]:
    """The task of a Dask worker: runs the rank as a child process and kills it when the client gives it up.

    Returns {"rc", "tail"}: exit status (negative: a signal) and the last lines of its log.
    """
    base = Path(folder) / attempt
    if not base.is_dir():
        return {
            "rc": 1,
            "tail": f"{base} is not there: the checkpoint folder must be on a file system all workers see",
        }
    if (
        base / f"rank-{rank}.json"
    ).exists():  # dask gave this task out again after a loss; the client starts anew
        return {"rc": 1, "tail": "started twice"}
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(name for name in sys.path if name),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    command = [
        sys.executable,
        "-m",
        "mgdask.learn.training.rank_worker",
        folder,
        attempt,
        str(rank),
        str(ranks),
        address,
        str(threads),
    ]
    log, looks = base / f"rank-{rank}.log", 0
    with open(log, "wb") as stream:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=env
        )
        try:
            process = psutil.Process(child.pid)
            while True:
                try:
                    code = child.wait(BEAT)
                    break
                except subprocess.TimeoutExpired:
                    looks += _alive(process)
                    with suppress(OSError):
                        write_in_place(
                            base / f"host-{rank}.json", {"pid": child.pid, "alive": looks}
                        )
                    control = read_small(Path(folder) / "control.json")
                    if (
                        control and control.get("attempt") != attempt
                    ):  # empty: it was being written just now
                        child.kill()  # SIGKILL also ends a process that was stopped
        finally:
            child.kill()
            child.wait()
    return {"rc": code, "tail": log.read_text(encoding="utf-8", errors="replace")[-2000:]}


def _alive(process: psutil.Process) -> bool:
    # a rank that waits for a core or a disk cannot beat, and is not dead; one that was stopped is
    with suppress(psutil.Error):
        return process.status() in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
    return False


class Beat:
    """Heartbeat of a rank, and its end where nobody wants it any more: parent gone, client gone, other attempt."""

    def __init__(self, folder: Path, attempt: str, rank: int) -> None:
        self.control, self.path, self.attempt = (
            folder / "control.json",
            folder / attempt / f"rank-{rank}.json",
            attempt,
        )
        self.parent = os.getppid()
        if sys.platform == "linux":  # the kernel ends it with its parent, even where it was stopped
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        self.phase, self.steps, self.iteration, self.ticks = "starts", 0, 0, 0
        threading.Thread(target=self._run, daemon=True).start()

    def step(self, phase: str | None = None) -> None:
        """Some work was done."""
        self.phase = phase or self.phase
        self.steps += 1

    def round(self, iteration: int) -> None:
        """A round was done."""
        self.iteration = iteration
        self.step("trains")

    def write(self) -> None:
        """Tell the client."""
        about = {
            "pid": os.getpid(),
            "phase": self.phase,
            "steps": self.steps,
            "iteration": self.iteration,
        }
        write_in_place(self.path, {**about, "ticks": self.ticks})

    def _run(self) -> None:
        seen, since = -1, time.monotonic()
        while True:
            self.ticks += 1
            with suppress(OSError):
                self.write()
            control = read_small(self.control)
            if control.get("beat", seen) != seen:
                seen, since = control["beat"], time.monotonic()
            other = bool(control) and control.get("attempt") != self.attempt
            if (
                other
                or os.getppid() != self.parent
                or time.monotonic() - since > float(control.get("orphan", 120.0))
            ):
                os.kill(os.getpid(), signal.SIGKILL)  # no clean-up: native code may hold everything
            time.sleep(BEAT)


def share(n: int, rank: int, ranks: int, starts: Any = None) -> tuple[int, int]:
    """First and last row of a rank: even shares in row order, cut at ``starts`` of groups where given."""
    import numpy as np

    edges = [n * k // ranks for k in (rank, rank + 1)]
    if starts is not None:
        bounds = np.append(starts, n)
        edges = [int(bounds[np.searchsorted(bounds, edge)]) for edge in edges]
    return edges[0], edges[1]


def main(folder: str, attempt: str, rank: int, ranks: int, address: str, threads: int) -> None:
    """Read a share of the rows, meet the other ranks, train."""
    import numpy as np

    from mgdask.learn.data.rows import Rows
    from mgdask.learn.training.rounds import Decision, Job, State, boost, dataset, reference

    home = Path(folder)
    base = home / attempt
    beat = Beat(home, attempt, rank)
    job = Job.load(home / "job.json")
    assert job.rows is not None
    rows = Rows.from_json(job.rows)
    state = State.load(home, job.digest)
    label = np.load(home / "labels.npy", mmap_mode="r")
    weight = (
        np.load(home / "weights.npy", mmap_mode="r") if (home / "weights.npy").exists() else None
    )
    sizes = np.load(home / "sizes.npy") if (home / "sizes.npy").exists() else None
    starts = None if sizes is None else np.concatenate([[0], np.cumsum(sizes)[:-1]])
    begin, end = share(len(label), rank, ranks, starts)
    beat.step("reads")
    job = Job(**{**job.__dict__, "params": {**job.params, "num_threads": threads}})
    mine = None if sizes is None or starts is None else sizes[(starts >= begin) & (starts < end)]
    fresh = state.iteration == 0
    train = dataset(
        job,
        rows.read(begin, end, beat.step),
        np.asarray(label[begin:end]),
        None if weight is None else np.asarray(weight[begin:end]),
        mine,
        like=reference(job, home),
        fresh=fresh,
    )
    valid = None
    if rank == 0 and job.valid is not None:  # the leader alone measures, on all of it
        held = Rows.from_json(job.valid)
        group = held.values("group")
        valid = dataset(
            job,
            held.read(0, held.count(), beat.step),
            held.values("labels"),
            held.values("weights"),
            None if group is None else run_lengths(group),
            like=train,
            fresh=fresh,
        )
    network = meet(base, rank, ranks, address, beat)
    state = boost(
        job,
        train,
        valid,
        state,
        home,
        decision=Decision(base / "decision"),
        leader=rank == 0,
        network=network,
        began=beat.round,
    )
    beat.step("done")
    beat.write()
    if rank == 0:
        write_in_place(base / "done.json", {"iteration": state.iteration})


def meet(base: Path, rank: int, ranks: int, address: str, beat: Beat) -> dict[str, Any]:
    """Network parameters of LightGBM: every rank says where it listens, and waits for the others' words."""
    if ranks == 1:
        return {}
    port = _free_port(f"{base.name} {rank}")
    write_in_place(base / f"port-{rank}", {"at": f"{address}:{port}"})
    beat.step("meets")
    while not all(found := [read_small(base / f"port-{k}").get("at") for k in range(ranks)]):
        time.sleep(0.05)  # the client's watchdog ends this where somebody does not come
    return {
        "machines": ",".join(str(at) for at in found),
        "num_machines": ranks,
        "local_listen_port": port,
        "time_out": 60,
        "tree_learner": "data",
        "pre_partition": True,
    }


def _free_port(word: str) -> int:
    # drawn from the name of the attempt and the rank: ranks of one machine do not find the same one free
    first = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    for step in range(100):
        port = PORTS[(first + 137 * step) % len(PORTS)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise OSError(f"no free port among a hundred from {PORTS[0]} to {PORTS[-1]}")


def run_lengths(group: Any) -> Any:
    """Sizes of the runs of equal values: rows of a query lie together."""
    import numpy as np

    edges = np.flatnonzero(np.diff(group)) + 1
    return np.diff(np.concatenate([[0], edges, [len(group)]]))


if __name__ == "__main__":
    where, name, *numbers = sys.argv[1:]
    try:
        main(where, name, int(numbers[0]), int(numbers[1]), numbers[2], int(numbers[3]))
    except MgdaskError as error:
        write_in_place(
            Path(where) / name / f"error-{numbers[0]}.json",
            {"kind": type(error).__name__, "text": str(error)[:400]},
        )
        sys.exit(3)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
