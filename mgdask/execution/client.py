"""Select the Dask client that runs the tasks of a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mgdask.execution.quiet import quiet_dask
from mgdask.execution.scratch import scratch_folder, working_in
from mgdask.execution.steady import keep_time
from mgdask.interruption import shielded

if TYPE_CHECKING:
    from distributed import Client, LocalCluster, SpecCluster

LOOPBACK = "127.0.0.1:0"
"""Address for Dask's HTTP servers.

Dask starts them even without a dashboard, by default on all interfaces.
"""
_HTTP_ROUTES = ("distributed.scheduler.http.routes", "distributed.worker.http.routes")


@contextmanager
def without_pages() -> Iterator[None]:
    """Let schedulers and workers that start in the ``with`` block serve no HTTP page.

    Dask's HTTP servers cannot be switched off, and they ask for no certificate. Their
    pages show tasks, call stacks and logs to every user of the machine.
    """
    import dask

    with dask.config.set({route: [] for route in _HTTP_ROUTES}):
        yield


@contextmanager
def resolve_client(client: Client | None = None, threads: int | None = None) -> Iterator[Client]:
    """Yield the given client, the current one, or a temporary one in this process.

    Parameters
    ----------
    client
        Client to use. Default: the current client of this process or task.
    threads
        Number of threads of a temporary client. Default: one per core.

    Yields
    ------
    client
        A connected client. A temporary one is closed when the context ends.
    """
    from distributed import Client, LocalCluster, get_client

    keep_time()
    if client is not None:
        yield client
        return
    try:
        current = get_client()
    except ValueError:
        current = None
    if current is not None:
        yield current
        return
    # Processes would need `if __name__ == "__main__"` in the user's script. Threads are
    # enough, because the kernels release the GIL.
    with quiet_dask() as shown, scratch_folder() as scratch:

        def start() -> LocalCluster:
            with working_in(scratch), without_pages():
                return LocalCluster(
                    processes=False,
                    n_workers=1,
                    threads_per_worker=threads,
                    memory_limit=0,
                    silence_logs=shown,
                    dashboard_address=LOOPBACK,
                    worker_dashboard_address=LOOPBACK,
                    scheduler_kwargs={"dashboard": False},
                )

        with shielded(start, close_cluster) as cluster, Client(cluster) as temporary:
            yield temporary


def close_cluster(cluster: SpecCluster) -> None:
    """Close a cluster whose start was interrupted."""
    cluster.close()
