"""Where workers come from: this machine, a scheduler that already runs, or jobs of a queueing system."""

from __future__ import annotations

from mgdask.cluster.client import open_cluster
from mgdask.cluster.local import ONE_THREAD, available_cores, connect, local_client
from mgdask.cluster.queue import job_script
from mgdask.cluster.scheduler import start, stop
from mgdask.cluster.site import Site, read_site

__all__ = [
    "ONE_THREAD",
    "Site",
    "available_cores",
    "connect",
    "job_script",
    "local_client",
    "open_cluster",
    "read_site",
    "start",
    "stop",
]
