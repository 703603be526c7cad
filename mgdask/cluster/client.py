"""A client of the workers that a site describes, open during a ``with`` block."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mgdask.cluster.checks import check_site, parse_bytes
from mgdask.cluster.local import connect, local_client
from mgdask.cluster.queue import queue_cluster, with_certificate
from mgdask.cluster.site import Site, read_site, seconds
from mgdask.errors import RunError
from mgdask.execution.scratch import scratch_folder

if TYPE_CHECKING:
    from distributed import Client as Client

    from mgdask.cluster.jobs import SupervisedCluster

log = logging.getLogger(__name__)

MAX_FRUITLESS_JOBS = 3
"""Number of consecutive jobs that may end without a worker before giving up."""
REPORT_INTERVAL = 60.0
"""Seconds between two messages while waiting for the first worker."""


@contextmanager
def open_cluster(
    site: str | Path | Mapping[str, object] | Site,
    *,
    memory: str | int | None = None,
    threads: int | None = None,
    fixed: bool = False,
    wait: bool = True,
) -> Iterator[Client]:
    """Open a client of the workers that a site describes.

    The workers end with the ``with`` block. Until then, jobs that end are replaced.

    Parameters
    ----------
    site
        As for ``read_site``.
    memory
        Memory that each worker must have, in bytes or as ``"2GiB"``. It applies to a
        local site without a memory of its own.
    threads
        Threads that each worker must have. They apply to a local site without
        ``threads``.
    fixed
        Keep one pool of workers without lifetime or replacement, for distributed
        training with LightGBM. The walltime of the site must cover the whole training.
    wait
        Wait for the first worker of a queueing system before the block begins.

    Yields
    ------
    client
        Connected client. The workers end when the context ends.

    Raises
    ------
    ParameterError
        If the site is invalid, or its workers have too little memory or other threads.
    RunError
        If the queueing system does not answer or refuses jobs, or if jobs end before a
        worker has connected. The message quotes the queueing system.
    MissingDependencyError
        If dask-jobqueue is not installed.

    Examples
    --------
    >>> with open_cluster("slurm.yaml") as client:  # doctest: +SKIP
    ...     mgdask.run(plan, client)
    """
    site = read_site(site)
    check_site(site, memory, threads)
    required = parse_bytes(memory)
    if site.kind == "local":
        opened = _local_client(site, required, threads)
    elif site.kind == "scheduler":
        opened = connect(str(site.address or site.file), tls=site.tls_files)
    else:
        opened = _queue_client(site, fixed=fixed, wait=wait)
    with opened as client:
        yield client


def _local_client(
    site: Site, memory: int | None, threads: int | None
) -> AbstractContextManager[Client]:
    if threads is None or "threads" in site.model_fields_set:
        threads = site.threads
    memory = memory if site.memory is None else site.worker_memory
    return local_client(site.workers, threads=threads, memory=memory, site=site)


@contextmanager
def _queue_client(site: Site, *, fixed: bool, wait: bool) -> Iterator[Client]:
    from distributed import Client

    with (
        scratch_folder() as scratch,
        with_certificate(site) as secured,
        queue_cluster(secured, fixed=fixed, scratch=scratch) as cluster,
        Client(cluster, security=cluster.security) as client,
    ):
        client.no_workers_timeout = seconds(site.patience)
        if wait:
            _wait_for_worker(cluster, client, site)
        yield client


def _wait_for_worker(cluster: SupervisedCluster, client: Client, site: Site) -> None:
    started = last_report = time.monotonic()
    while not client.nthreads():
        time.sleep(0.5)
        now = time.monotonic()
        if cluster.fruitless_jobs >= MAX_FRUITLESS_JOBS:
            hint = (
                f"see their output in {site.log_directory}"
                if site.log_directory
                else "give the site a log_directory"
            )
            raise RunError(
                f"kind {site.kind}: {cluster.fruitless_jobs} jobs ended before a worker connected; "
                f"{hint}, and check the script that mgdask cluster show prints"
            )
        if now - started > seconds(site.patience):
            raise RunError(
                f"kind {site.kind}: no worker connected within {site.patience} (patience in the "
                "site)"
            )
        if now - last_report > REPORT_INTERVAL:
            last_report = now
            log.warning(
                "%s jobs have been queued for %.0f min, no worker has connected yet",
                len(cluster.workers),
                (now - started) / 60,
            )
