"""Fixtures shared by the tests: real small dumps, the shipped glass, a store of it, a client of worker processes."""

from __future__ import annotations

import os
from pathlib import Path

# several tests run side by side: threads of OpenMP, which LightGBM starts on every core, would wait for each other spinning
os.environ.setdefault("OMP_NUM_THREADS", "1")

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import mgdask

DATA = Path(__file__).parent / "data"
GLASS = Path(mgdask.__file__).parent / "datasets" / "data" / "zrcu.lammpstrj.gz"
SPECIES = {1: "Zr", 2: "Cu"}


LONG = (
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
"""Files of tests that take longest: they begin first, so that none is left running alone at the end."""


def pytest_collection_modifyitems(items):
    """Long files first, the others in their order."""
    place = {f"test_{name}": k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def write_dump(
    path,
    frames,
    columns="id type x y z",
    box=((0, 10), (0, 10), (0, 10)),
    flags="pp pp pp",
    tilt=None,
):
    """A dump of frames: (step, rows) with rows as lists of words."""
    with open(path, "w") as out:
        for step, rows in frames:
            head = "xy xz yz " if tilt else ""
            out.write(
                f"ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{len(rows)}\nITEM: BOX BOUNDS {head}{flags}\n"
            )
            for k, (lo, hi) in enumerate(box):
                out.write(f"{lo} {hi}" + (f" {tilt[k]}" if tilt else "") + "\n")
            out.write(f"ITEM: ATOMS {columns}\n")
            out.writelines(" ".join(map(str, row)) + "\n" for row in rows)
    return str(path)


@pytest.fixture(scope="session")
def glass_store(tmp_path_factory):
    """The shipped glass as a finished store."""
    path = tmp_path_factory.mktemp("glass") / "glass.zarr"
    mgdask.ingest(str(GLASS), path, species=SPECIES, timestep=0.002)
    return str(path)


@pytest.fixture(scope="session")
def glass(glass_store):
    """Positions, cell and atomic numbers of its last frame."""
    ds = mgdask.open_store(glass_store)
    return ds.position[-1].values, ds.cell[-1].values, ds.species.values


@pytest.fixture
def small_soap():
    """A SOAP that is quick."""
    return mgdask.SOAP(
        species=("Cu", "Zr"), r_cut=4.0, n_max=4, l_max=3, sigma=0.5, rbf="polynomial"
    )


@pytest.fixture(autouse=True)
def dask_without_a_client():
    """A client that could not connect ends late, and then leaves its setting behind: without a client, Dask works in threads."""
    from distributed.client import _get_global_client

    if _get_global_client() is None and dask.config.get("scheduler", None) == "dask.distributed":
        dask.config.config.pop("scheduler")


@pytest.fixture
def rng():
    return np.random.default_rng(20261121)


@pytest.fixture(scope="module")
def client():
    """Two worker processes, and the default client of the module."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit="4GiB",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
