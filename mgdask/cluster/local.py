"""Workers of this machine, and clients of a running scheduler.

Workers of one machine are processes with one thread each by default. If a worker dies,
only one block is lost. BLAS, OpenMP and numba use one thread inside each worker.
"""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from mgdask.cluster.checks import check_local, find_scheduler
from mgdask.cluster.site import Site, Tls
from mgdask.cluster.tls import local_security, make_security
from mgdask.errors import ParameterError, RunError
from mgdask.execution.client import LOOPBACK, close_cluster, without_pages
from mgdask.execution.quiet import quiet_dask
from mgdask.execution.scratch import scratch_folder, working_in
from mgdask.execution.steady import keep_time
from mgdask.interruption import end_when_stopped, shielded
from mgdask.kernels._cache import cache_root
from mgdask.store.failures import explanation

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

log = logging.getLogger(__name__)

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""Environment of a worker. Its threads are Dask's, not those of a library."""


def available_cores() -> int:
    """Return the number of cores that this process may use.

    Queueing systems and ``taskset`` may allow fewer than the machine has.

    Returns
    -------
    n_cores
        Number of cores.

    Examples
    --------
    >>> available_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def dashboard_options(dashboard: str) -> dict[str, bool | str]:
    """Return the scheduler options for a dashboard: off, loopback or an address."""
    address = {"off": LOOPBACK, "loopback": "127.0.0.1:8787"}.get(dashboard, dashboard)
    return {"dashboard": dashboard != "off", "dashboard_address": address}


def _restarting_cluster() -> type[LocalCluster]:
    """Return ``LocalCluster``, except that no worker is given up while it restarts.

    Dask gives up a worker that is away 15 s after any loss, even if it was lost again
    just before. Nobody would replace it. The nannies restart workers without that.
    """
    from distributed import LocalCluster
    from distributed.deploy.cluster import Cluster

    class RestartingCluster(LocalCluster):
        def _update_worker_status(self, op: str, msg: Any) -> None:
            # not that of SpecCluster, which closes the nanny
            Cluster._update_worker_status(self, op, msg)

    RestartingCluster.__name__ = LocalCluster.__name__  # for its repr
    return RestartingCluster


def local_cluster(
    workers: int | None = None,
    *,
    threads: int = 1,
    memory: str | int | None = None,
    site: Site | None = None,
    scratch: str | None = None,
) -> LocalCluster:
    """Start worker processes; scheduler and workers listen on the loopback address.

    They admit only holders of their certificate, see ``mgdask.cluster.tls``. Data that
    do not fit into memory go to the folder ``scratch``. Workers do not receive Ctrl-C.
    """
    check_local(workers, threads, memory)
    keep_time()
    cluster_class = _restarting_cluster()
    workers = available_cores() if workers is None else workers
    security = local_security(site, scratch)
    options = dashboard_options(site.dashboard if site is not None else "off")
    cache_root()  # warn here once, not in each worker

    def start_workers() -> LocalCluster:
        with (
            quiet_dask() as shown,
            warnings.catch_warnings(),
        ):  # the address that is used instead is logged
            warnings.filterwarnings("ignore", message="Port .* is already in use")
            return cluster_class(
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
                silence_logs=shown,
            )

    with (
        nullcontext() if scratch is None else working_in(scratch),
        nullcontext() if options["dashboard"] else without_pages(),
    ):
        cluster = _started(start_workers)
    if options["dashboard"]:
        log.info("dashboard at %s", cluster.dashboard_link)
    end_when_stopped(lambda: _leave_dead(cluster))
    return cluster


def _started(start_workers: Callable[[], LocalCluster]) -> LocalCluster:
    """Start workers; if one ends while it starts, start all of them once more."""
    for last in (False, True):
        try:
            return shielded(start_workers, close_cluster)
        except (RuntimeError, OSError) as error:
            explained = explanation(error)
            if explained is not None:
                raise explained from error
            if last:
                raise RunError(
                    f"the worker processes do not start ({error}). Is there enough memory? "
                    "--verbose shows what Dask logs"
                ) from error
            log.warning("a worker process ended while it started; all are started once more")
    raise AssertionError


def end_workers(cluster: LocalCluster) -> None:
    """Kill the workers of a cluster that has no client any more, and close it.

    Their records are on disk. A worker takes seconds to end by itself on a busy
    machine.
    """
    from distributed.core import Status

    for nanny in list(cluster.workers.values()):
        if nanny.status == Status.running and nanny.pid:
            nanny.status = Status.closing_gracefully  # it closes when its worker has gone
            with suppress(OSError):
                os.kill(nanny.pid, signal.SIGKILL)
    cluster.close()


def _leave_dead(cluster: LocalCluster) -> Callable[[], bool]:
    """Keep the workers of a cluster from being replaced when they are killed."""
    from distributed.core import Status

    for nanny in list(cluster.workers.values()):
        nanny.status = Status.closing
    return lambda: True


@contextmanager
def local_client(
    workers: int | None = None,
    *,
    threads: int = 1,
    memory: str | int | None = None,
    site: Site | None = None,
) -> Iterator[Client]:
    """Open a client of worker processes of this machine.

    Everything listens on the loopback address only, and only this process can connect.
    The workers end with the ``with`` block.

    Parameters
    ----------
    workers
        Number of worker processes. Default: the cores that this process may use.
    threads
        Threads of each worker.
    memory
        Memory limit of each worker, in bytes or as ``"2GiB"``. Dask restarts a worker
        that exceeds it. Default: an even share of the machine.
    site
        Site whose dashboard and TLS settings apply.

    Yields
    ------
    client
        Connected client.

    Raises
    ------
    ParameterError
        If ``workers`` or ``threads`` is less than 1, ``memory`` is not a size, or a TLS
        file is missing.

    Examples
    --------
    >>> with local_client(2, memory="2GiB") as client:  # doctest: +SKIP
    ...     mgdask.run(plan, client)
    """
    from distributed import Client

    with (
        quiet_dask(),
        scratch_folder() as scratch,
        local_cluster(
            workers, threads=threads, memory=memory, site=site, scratch=scratch
        ) as cluster,
    ):
        try:
            with Client(cluster, security=cluster.security) as client:
                yield client
        finally:
            end_workers(cluster)


def _has_own_certificate() -> bool:
    """Return whether Dask's own configuration names a certificate for clients."""
    from distributed import Security

    return bool(Security().get_tls_config_for_role("client")["cert"])


@contextmanager
def connect(scheduler: str, *, timeout: float = 30.0, tls: Tls | None = None) -> Iterator[Client]:
    """Open a client of a running scheduler.

    Parameters
    ----------
    scheduler
        Address such as ``"tcp://10.0.0.1:8786"``, or path of a scheduler file.
    timeout
        Seconds to wait for an answer.
    tls
        Files for encryption. A scheduler file of ``mgdask cluster start`` names them.

    Yields
    ------
    client
        Connected client.

    Raises
    ------
    ParameterError
        If ``scheduler`` is neither an address nor a scheduler file of this user, or a
        TLS file is missing.
    RunError
        If no scheduler answers.

    Examples
    --------
    >>> with connect("scheduler.json") as client:  # doctest: +SKIP
    ...     mgdask.run(plan, client)
    """
    address, tls = find_scheduler(scheduler, tls)
    from distributed import Client

    security = make_security(tls)
    if security is None and address.startswith("tls://") and not _has_own_certificate():
        raise ParameterError(
            f"{scheduler} admits only holders of its key: give its scheduler file, or a site with "
            "kind: scheduler, its address and tls"
        )

    options: dict[str, Any] = {"address": address, "timeout": timeout, "security": security}
    try:
        # A client that fails to connect would stay the default client of this process,
        # and all later work would go to it. So a first client tests it.
        Client(**options, set_as_default=False).close()
        client = Client(**options)
    except (OSError, TimeoutError) as error:
        raise RunError(
            f"no scheduler answers at {scheduler} within {timeout:g} s ({error}). Is it running, "
            "and can this machine reach it?"
        ) from error
    with client:
        yield client
