"""Where workers come from: processes of this machine, or a scheduler that already runs.

Workers of one machine are processes with one thread each by default, so a worker that dies takes one block with
it, and BLAS, OpenMP and numba are held to one thread inside each of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgdask.errors import ParameterError, RunError

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
"""Environment of a worker: its threads are dask's, never those of a library underneath."""


def available_cores() -> int:
    """Cores this process may use: what the queueing system or ``taskset`` left it, not what the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextmanager
def local_client(workers: int | None = None, *, threads: int = 1, memory: str | int | None = None) -> Iterator[Any]:
    """A ``distributed.Client`` on worker processes of this machine, closed at the end.

    ``workers`` defaults to the cores this process may use; ``memory`` is the limit of one worker, above which dask
    restarts it (default: an even share of the machine). Everything listens on the loopback address only.
    """
    from distributed import Client, LocalCluster

    workers = available_cores() if workers is None else workers
    if workers < 1 or threads < 1:
        raise ParameterError(f"workers={workers}, threads={threads}: both must be at least 1")
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            memory_limit=memory if memory is not None else "auto",
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            env=ONE_THREAD,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def connect(scheduler: str, *, timeout: float = 30.0) -> Iterator[Any]:
    """A ``distributed.Client`` of a running scheduler, given by its address or its scheduler file."""
    from distributed import Client

    if "://" not in scheduler and ":" not in scheduler and not Path(scheduler).exists():
        raise ParameterError(
            f"scheduler={scheduler!r} is neither an address such as tcp://10.0.0.1:8786 nor an existing scheduler "
            "file; start one with: dask scheduler --scheduler-file FILE"
        )
    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client = Client(**where, timeout=timeout)
    except (OSError, TimeoutError) as error:
        raise RunError(
            f"no scheduler answers at {scheduler} within {timeout:g} s ({error}). Is it running, and reachable from "
            "this machine?"
        ) from error
    with client:
        yield client
