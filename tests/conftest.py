"""Fixtures shared by all tests: the shipped glass, small dumps, and a Dask client."""

from __future__ import annotations

import multiprocessing
import os
import re
from contextlib import contextmanager
from pathlib import Path

# Several tests run at the same time. LightGBM starts OpenMP threads on every core,
# which would wait for each other in busy loops.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context

import mgdask
from tests.forked import PRELOAD

DATA = Path(__file__).parent / "data"
GLASS = mgdask.datasets.path("zrcu")
SPECIES = {1: "Zr", 2: "Cu"}
NO_PORT = "127.0.0.1:0"
"""Dashboard address of clusters; ``None`` would mean port 8787, which may be taken."""

# Workers are forked from a server with all imports done, see tests/forked.py.
dask.config.set(
    {
        "distributed.worker.multiprocessing-method": "forkserver",
        # clusters that wait for their next test; by default they wake 150 times a second
        "distributed.admin.tick.interval": "500ms",
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.worker.profile.enabled": False,
        # after 15 s, a LocalCluster would give up a worker that a test has killed and that
        # restarts slowly, or that was killed again; those of mgdask itself never do
        "distributed.deploy.lost-worker-timeout": "1h",
    }
)
get_mp_context()  # sets Dask's own list of imports, once
multiprocessing.set_forkserver_preload(PRELOAD)

SLOWEST_FIRST = (
    "slurm",
    "notebooks",
    "deploy",
    "training",
    "softness_transfer",
    "softness_comparison",
    "cluster",
    "faults",
    "predict",
    "search",
    "softness_training",
)
"""Test files that take longest. They start first: none then runs alone at the end."""


def pytest_collection_modifyitems(items):
    """Order the slowest files first and keep the order of the others."""
    rank = {f"test_{name}": k for k, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def tracebacks(text):
    """Return the part of a log from its first traceback on.

    Dask logs one if a heartbeat is under way while its cluster closes. That one is
    skipped, since it depends on chance.
    """
    records = re.split(r"(?m)^(?=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ - )", text)
    kept = "".join(record for record in records if "during heartbeat" not in record)
    return kept[kept.find("Traceback (most") :] if "Traceback (most" in kept else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Let a test of commands or clusters fail if they print a traceback."""
    report = yield
    if report.passed and item.path.parent.name in ("cli", "cluster"):
        noise = tracebacks(report.capstderr)
        if noise:
            report.outcome = "failed"
            report.longrepr = f"The test passed, but a traceback was printed:\n{noise}"
    return report


def write_dump(
    path,
    frames,
    columns="id type x y z",
    box=((0, 10), (0, 10), (0, 10)),
    flags="pp pp pp",
    tilt=None,
):
    """Write a LAMMPS text dump; each frame is (step, rows of values)."""
    names = "xy xz yz " if tilt else ""
    with open(path, "w") as out:
        for step, rows in frames:
            out.write(f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\n")
            out.write(f"ITEM: BOX BOUNDS {names}{flags}\n")
            for k, (lo, hi) in enumerate(box):
                out.write(f"{lo} {hi}" + (f" {tilt[k]}" if tilt else "") + "\n")
            out.write(f"ITEM: ATOMS {columns}\n")
            out.writelines(" ".join(map(str, row)) + "\n" for row in rows)
    return str(path)


@pytest.fixture(scope="session")
def glass_store(tmp_path_factory):
    """Path of a trajectory store of the shipped glass."""
    path = tmp_path_factory.mktemp("glass") / "glass.zarr"
    mgdask.ingest(str(GLASS), path, species=SPECIES, timestep=0.002)
    return str(path)


@pytest.fixture(scope="session")
def glass(glass_store):
    """Positions, cell and atomic numbers of the last frame of the shipped glass."""
    ds = mgdask.open_store(glass_store)
    return ds.position[-1].values, ds.cell[-1].values, ds.species.values


@pytest.fixture
def small_soap():
    """A SOAP with few columns."""
    return mgdask.SOAP(
        species=("Cu", "Zr"), r_cut=4.0, n_max=4, l_max=3, sigma=0.5, rbf="polynomial"
    )


@pytest.fixture
def rng():
    """A random generator with a fixed seed."""
    return np.random.default_rng(20261121)


@contextmanager
def threads_client(threads=1, *, default=True):
    """Open a client of one worker with some threads of this process."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=threads,
            processes=False,
            dashboard_address=NO_PORT,
            memory_limit=0,
        ) as cluster,
        Client(cluster, set_as_default=default) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def two_processes():
    """Cluster of two worker processes for tests that leave them as they are."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=NO_PORT,
        memory_limit="4GiB",
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(two_processes):
    """Client of two worker processes, which is the default client of the module."""
    with Client(two_processes) as client:
        yield client


@pytest.fixture(autouse=True)
def no_stale_scheduler():
    """Let Dask use threads again after a client that could not connect.

    Such a client closes late and leaves its scheduler in Dask's configuration.
    """
    from distributed.client import _get_global_client

    if _get_global_client() is None and dask.config.get("scheduler", None) == "dask.distributed":
        dask.config.config.pop("scheduler")
