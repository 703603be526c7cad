"""ReliefF weights of both forms at the size of the paper, beside scipy's tree.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.relief_speed [--rows 50000] [--workers 2]

Rows are those of seven temperatures with 41 lags: vibration in cages, and hops whose rates
follow the temperature. First, the search of the neighbors of some rows in one class alternates
with scipy's cKDTree (p=1) and cdist in one process. Then all rows are weighed, as tasks of
worker processes. Times are CPU times; those of the workers are the sum over processes.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
)

import numpy as np
import psutil
from distributed import Client, LocalCluster
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from mgdask.kernels.cityblock import cityblock_index, nearest_by_cityblock
from mgdask.learn.selection.relief import relieff_forms

TEMPERATURES = (100.0, 800.0, 1000.0, 1100.0, 1200.0, 1300.0, 2000.0)
LAGS = np.array(
    [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.32, 0.4, 0.5, 0.63]
    + [0.79, 1, 1.3, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 7.9, 10, 13, 16, 20, 25, 32, 40, 50, 63, 79]
    + [100, 126, 158, 200]
)
MASSES = np.array([63.546, 91.224, 58.693, 47.867, 106.42])
"""Masses of Cu, Zr, Ni, Ti and Pd in u."""
MODES = 16
QUERIES = 200
ROUNDS = 5


def motion(kelvin, n_atoms, rng):
    """lg[r² m] of atoms that vibrate in cages and hop between them."""
    blocks = []
    for first in range(0, n_atoms, 2000):
        mass = MASSES[np.arange(first, min(first + 2000, n_atoms)) % 5]
        n = len(mass)
        omega = 2 * np.pi * rng.uniform(1.0, 8.0, (n, 3, MODES, 1))  # 1/ps
        phase = rng.uniform(0.0, 2 * np.pi, (n, 3, MODES, 1))
        speed = np.sqrt(2 * 0.83145 * kelvin / mass)[:, None, None, None]  # Å/ps, two axes
        cage = np.exp(0.25 * rng.normal(size=(n, 1, 1, 1)))
        path = (
            speed / omega / np.sqrt(MODES) * cage * (np.cos(omega * LAGS + phase) - np.cos(phase))
        )
        barrier = np.maximum(rng.normal(0.72, 0.12, n), 0.1)  # eV
        rate = 10.0 * np.exp(-barrier / (8.617e-5 * kelvin))
        hops = rng.poisson(rate[:, None] * np.diff(LAGS, prepend=0.0))
        jump = rng.normal(size=(n, 3, len(LAGS))) * 1.5 * np.sqrt(hops / 3.0)[:, None, :]
        r = path.sum(axis=2) + np.cumsum(jump, axis=2)
        blocks.append(np.log10((r**2).sum(axis=1) * mass[:, None]))
    return np.concatenate(blocks)


def cpu(function):
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def search(x, n_rows):
    """Time the neighbors of some rows among those of one class, by peers and mgdask."""
    scaled = np.ascontiguousarray((x - x.min(axis=0)) / np.ptp(x, axis=0))
    some = scaled[:: len(x) // QUERIES][:QUERIES]
    one = np.ascontiguousarray(scaled[:n_rows])
    tree = cKDTree(one)
    index = cityblock_index(one, np.zeros(x.shape[1]), np.ones(x.shape[1]))
    nearest_by_cityblock(index, some[:1], 50)
    times = {"cKDTree": [], "cdist and argpartition": [], "mgdask": []}
    for _ in range(ROUNDS):
        seconds, (_, theirs) = cpu(lambda: tree.query(some, 50, p=1))
        times["cKDTree"].append(seconds)
        seconds, _ = cpu(lambda: np.argpartition(cdist(some, one, "cityblock"), 50, axis=1))
        times["cdist and argpartition"].append(seconds)
        seconds, (ours, _) = cpu(lambda: nearest_by_cityblock(index, some, 50))
        times["mgdask"].append(seconds)
        assert np.array_equal(ours, theirs)
    for name, seconds in times.items():
        each = np.array(seconds) / QUERIES * 1e6
        print(f"{name}: {np.median(each):.0f} µs per row ({each.min():.0f} to {each.max():.0f})")


def workers_cpu():
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children(recursive=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000, help="rows per temperature")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rng = np.random.default_rng(3)
    x = np.concatenate([motion(kelvin, options.rows, rng) for kelvin in TEMPERATURES])
    label = np.repeat(TEMPERATURES, options.rows)
    print(f"{len(x)} rows, {x.shape[1]} columns, {len(TEMPERATURES)} classes, k = 50")
    search(x, options.rows)
    with (
        LocalCluster(
            n_workers=options.workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        forms = {"lg[r² m]": x, "lg[r² m / T]": x - np.log10(label)[:, None]}
        for name, values in forms.items():
            before, start = workers_cpu(), time.monotonic()
            weights = relieff_forms(values, label, 50, client=client, progress=False)
            print(
                f"{name}: both forms of ReliefF, {workers_cpu() - before:.0f} s of CPU in "
                f"{options.workers} workers, {time.monotonic() - start:.0f} s of wall time"
            )
            peak = max(
                getattr(child.memory_full_info(), "uss", 0)
                for child in psutil.Process().children(recursive=True)
            )
            print(f"memory of a worker that is its own: {peak / 2**20:.0f} MiB")
            print("per-class, 1000 w:", " ".join(f"{1e3 * w:.1f}" for w in weights["per-class"]))


if __name__ == "__main__":
    main()
