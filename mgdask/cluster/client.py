"""A client of the workers that a site names, for as long as a ``with`` block lasts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ByteSize, TypeAdapter, ValidationError

from mgdask.cluster.local import connect, local_client
from mgdask.cluster.queue import queue_cluster
from mgdask.cluster.site import Site, read_site, seconds
from mgdask.errors import ParameterError, RunError

log = logging.getLogger(__name__)

FRUITLESS = 3
"""Jobs that may end without any worker before opening a cluster gives up."""


@contextmanager
def open_cluster(
    site: str | Path | Mapping[str, Any] | Site,
    *,
    memory: str | int | None = None,
    threads: int | None = None,
    fixed: bool = False,
    wait: bool = True,
) -> Iterator[Any]:
    """A ``distributed.Client`` of the workers that a site names; they end with the ``with`` block.

    Parameters: ``site`` as for ``read_site``; ``memory`` and ``threads`` that a worker must have (bytes or "2GiB"): a local site takes them where
    it says nothing itself, a queueing system whose workers have less is refused; ``fixed`` keeps one pool of workers, with no lifetime and no
    replacement, for training of LightGBM, whose ranks must not change (give it a walltime that is long enough); ``wait`` for the first worker
    of a queue before the block begins.

    Returns a context manager. Jobs of a queue that end are replaced until the block ends. Raises ``RunError`` with the words of the queueing
    system where it does not answer, refuses jobs, or jobs end before a worker comes; ``ParameterError`` for a wrong site;
    ``MissingDependencyError`` without dask-jobqueue.

    >>> with open_cluster("slurm.yaml") as client:  # doctest: +SKIP
    ...     mgdask.run(plan, client)
    """
    site = read_site(site)
    wanted = _bytes(memory)
    if site.kind == "local":
        found = site.worker_memory if site.memory is not None else wanted
        count = site.threads if "threads" in site.model_fields_set or threads is None else threads
        with local_client(site.workers, threads=count, memory=found, site=site) as client:
            yield client
        return
    if site.kind == "scheduler":
        with connect(str(site.address or site.file), tls=site.tls) as client:
            yield client
        return
    if wanted is not None and wanted > (site.worker_memory or 0):
        raise ParameterError(
            f"memory={memory}: a worker of this site has {(site.worker_memory or 0) / 2**30:.2f} GiB, its share of a job's memory among "
            f"{site.workers_per_job} processes; plan with less, or give fewer processes or more memory in the site"
        )
    if threads is not None and threads != site.worker_threads:
        raise ParameterError(
            f"threads={threads}: a worker of this site has {site.worker_threads} (cores {site.cores} over {site.workers_per_job} "
            "processes); change processes in the site"
        )
    from distributed import Client

    with (
        queue_cluster(site, fixed=fixed) as cluster,
        Client(cluster, security=cluster.security) as client,
    ):
        client.no_workers_timeout = seconds(site.patience)
        if wait:
            _wait_for_a_worker(cluster, client, site)
        yield client


def _bytes(memory: str | int | None) -> int | None:
    if memory is None:
        return None
    try:
        return int(TypeAdapter(ByteSize).validate_python(memory))
    except ValidationError:
        raise ParameterError(
            f"memory={memory!r} is no size; write 2GiB, 500MB or a number of bytes"
        ) from None


def _wait_for_a_worker(cluster: Any, client: Any, site: Site) -> None:
    began = said = time.monotonic()
    while not client.nthreads():
        time.sleep(0.5)
        now = time.monotonic()
        if cluster.fruitless >= FRUITLESS:
            where = (
                f"look into {site.log_directory}"
                if site.log_directory
                else "give the site a log_directory"
            )
            raise RunError(
                f"kind {site.kind}: {cluster.fruitless} jobs ended before a worker came from them; {where}, and at the script that "
                "mgdask cluster show prints"
            )
        if now - began > seconds(site.patience):
            raise RunError(
                f"kind {site.kind}: no worker came within {site.patience} (patience in the site)"
            )
        if now - said > 60:
            said = now
            log.warning(
                "%s jobs are in the queue since %.0f min, no worker yet",
                len(cluster.workers),
                (now - began) / 60,
            )
