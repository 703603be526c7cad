"""Workers of this machine, and those of a scheduler that already runs.

Workers of one machine are processes with one thread each by default, so a worker that dies takes one block with
it, and BLAS, OpenMP and numba are held to one thread inside each of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgdask.cluster.site import Site, Tls, is_scheduler_file
from mgdask.errors import ParameterError, RunError

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""Environment of a worker: its threads are dask's, never those of a library underneath."""
LOOPBACK = "127.0.0.1:0"
"""Where Dask's HTTP servers listen, which it starts even without a dashboard, and on all addresses if not told."""


def available_cores() -> int:
    """Cores this process may use: what the queueing system or ``taskset`` left it, not what the machine has."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    )


def make_security(tls: Tls | None) -> Any:
    """``distributed.Security`` that refuses anything unencrypted, from the files of a site; None without."""
    from distributed import Security

    if tls is None:
        return None
    for name, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if not Path(path).is_file():
            raise ParameterError(
                f"tls.{name}: {path} does not exist; deploy/README.md says how to make one"
            )
    roles = {
        f"tls_{role}_{part}": path
        for role in ("client", "scheduler", "worker")
        for part, path in (("cert", tls.cert), ("key", tls.key))
    }
    return Security(tls_ca_file=tls.ca, require_encryption=True, **roles)


def dashboard_options(dashboard: str) -> dict[str, Any]:
    """Options of a scheduler for ``dashboard`` of a site: off, loopback or an address."""
    where = {"off": LOOPBACK, "loopback": "127.0.0.1:8787"}.get(dashboard, dashboard)
    return {"dashboard": dashboard != "off", "dashboard_address": where}


def local_cluster(
    workers: int | None = None,
    *,
    threads: int = 1,
    memory: str | int | None = None,
    site: Site | None = None,
) -> Any:
    """A ``distributed.LocalCluster`` of worker processes where scheduler, nannies and workers listen on the loopback address only."""
    from distributed import LocalCluster

    workers = available_cores() if workers is None else workers
    if workers < 1 or threads < 1:
        raise ParameterError(f"workers={workers}, threads={threads}: both must be at least 1")
    security = make_security(site.tls) if site is not None else None
    options = dashboard_options(site.dashboard if site is not None else "off")
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        memory_limit=memory if memory is not None else "auto",
        processes=True,
        host="127.0.0.1",
        protocol="tcp://" if security is None else "tls://",
        security=security,
        dashboard_address=options["dashboard_address"],
        scheduler_kwargs={"dashboard": options["dashboard"]},
        worker_dashboard_address=LOOPBACK,
        env=ONE_THREAD,
    )


@contextmanager
def local_client(
    workers: int | None = None,
    *,
    threads: int = 1,
    memory: str | int | None = None,
    site: Site | None = None,
) -> Iterator[Any]:
    """A ``distributed.Client`` on worker processes of this machine, closed at the end.

    ``workers`` defaults to the cores this process may use; ``memory`` is the limit of one worker, above which dask
    restarts it (default: an even share of the machine); a ``site`` adds its dashboard and TLS. Everything listens on the
    loopback address only.
    """
    from distributed import Client

    with (
        local_cluster(workers, threads=threads, memory=memory, site=site) as cluster,
        Client(cluster, security=cluster.security) as client,
    ):
        yield client


@contextmanager
def connect(scheduler: str, *, timeout: float = 30.0, tls: Tls | None = None) -> Iterator[Any]:
    """A ``distributed.Client`` of a running scheduler, given by its address or its scheduler file.

    ``tls`` are the files of an encrypted one; a scheduler file of ``mgdask cluster start`` names them itself.
    """
    from distributed import Client

    path = Path(scheduler)
    if "://" not in scheduler and ":" not in scheduler and not path.exists():
        raise ParameterError(
            f"scheduler={scheduler!r} is neither an address such as tcp://10.0.0.1:8786 nor an existing scheduler "
            "file; start one with: mgdask cluster start site.yaml --scheduler-file FILE"
        )
    where: dict[str, Any] = {"address": scheduler}
    if path.is_file():
        if not is_scheduler_file(path):
            raise ParameterError(
                f"scheduler={scheduler!r} is no scheduler file: it has no address in JSON"
            )
        about = json.loads(path.read_text(encoding="utf-8"))
        where = {"address": about["address"]}
        named = about.get("mgdask", {}).get("tls")
        tls = Tls(**named) if tls is None and named else tls
    where |= {"timeout": timeout, "security": make_security(tls)}
    try:
        # a client that cannot connect would stay the default one of this process, and all later work would go to it
        Client(**where, set_as_default=False).close()
        client = Client(**where)
    except (OSError, TimeoutError) as error:
        raise RunError(
            f"no scheduler answers at {scheduler} within {timeout:g} s ({error}). Is it running, and reachable from "
            "this machine?"
        ) from error
    with client:
        yield client
