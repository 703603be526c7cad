"""SOAP and assignment to a dictionary beside DScribe and NumPy, CPU microseconds per atom.

    OMP_NUM_THREADS=1 python tests/benchmarks/barcode_speed.py STORE [STORE ...] --folder FOLDER

One core; peer and mgdask alternate in one process. The peer computes the polynomial SOAP with
DScribe (r_cut=5 n_max=11 l_max=12 sigma=0.5) and takes the arg-max of a float32 matrix product.
mgdask goes from positions to indices and exact similarities with ``LocalEnvironment``.
The dictionary is a leader clustering of the stores, cut at 5223 entries, and kept in FOLDER. Rows
are atoms of the last frame of the last store. The table also gives the search alone, at several
sizes of the dictionary.
"""

from __future__ import annotations

import os

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
)

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np

import mgdask
from mgdask.features.local_environment import LocalEnvironment
from mgdask.kernels.nearest import covered, make_index, nearest, unit_rows
from mgdask.learn.leaders import LeaderClustering
from tests.dictionaries import write_dictionary

OPTIONS = {"species": ("Cu", "Zr"), "r_cut": 5.0, "n_max": 11, "l_max": 12, "sigma": 0.5}
PEER_ATOMS = 40
BLAS_ROWS = 500


def glass(store, frame):
    data = mgdask.open_store(store)
    return data.position[frame].values, data.cell[frame].values, data.species.values


def dictionary(path, soap, stores, threshold, n_entries):
    """The first leaders of the frames, in the order frame, store; a dictionary store."""
    if not path.exists():
        clustering = LeaderClustering(2.0 * (1.0 - threshold) ** 2)
        vectors, species = [], []
        for frame in range(10**6):
            for store in stores:
                position, cell, numbers = glass(store, frame)
                rows = unit_rows(soap.compute(position, cell, numbers))
                new = clustering.settle(rows)
                vectors.append(rows[new])
                species.append(numbers[new])
            print(f"frame {frame}: {clustering.n_leaders} entries", flush=True)
            if clustering.n_leaders >= n_entries:
                break
        write_dictionary(
            path,
            soap,
            np.concatenate(vectors)[:n_entries],
            np.concatenate(species)[:n_entries],
            threshold=threshold,
        )
    return LocalEnvironment(path)


def cpu(function, atoms):
    began = time.process_time()
    function()
    return 1e6 * (time.process_time() - began) / atoms


def show(name, times):
    print(f"{name:58}{np.median(times):10.1f}{np.min(times):10.1f}{np.max(times):10.1f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stores", nargs="+")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--threshold", type=float, default=0.88)
    parser.add_argument("--entries", type=int, default=5223)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    soap = mgdask.SOAP(**OPTIONS, rbf="polynomial")
    path = Path(options.folder) / f"ules_{options.threshold}_{options.entries}.zarr"
    ours = dictionary(path, soap, options.stores, options.threshold, options.entries)
    vectors = mgdask.store.dictionaries.read_dictionary(str(path)).vectors()
    single = vectors.astype(np.float32)
    sample = glass(options.stores[-1], -1)
    n = len(sample[0])
    rows = unit_rows(soap.compute(*sample))
    few = rows[:BLAS_ROWS].astype(np.float32)
    theirs = mgdask.SOAP(**OPTIONS, rbf="polynomial", engine="dscribe")
    some = np.linspace(0, n - 1, PEER_ATOMS).astype(int)
    index = make_index(vectors)

    found, squared = nearest(index, rows)
    values = ours.compute(*sample)
    assert np.array_equal(values[:, 0], found)
    exact = (rows[:BLAS_ROWS] @ vectors.T).argmax(axis=1)
    print(f"{options.entries} entries, threshold {options.threshold}; {n} atoms")
    print(f"equal to the arg-max in float64 on {(exact == found[:BLAS_ROWS]).sum()} of {len(few)}")
    limit = 2.0 * (1.0 - options.threshold) ** 2
    print(f"{100 * (squared <= limit).mean():.1f} % of the atoms are within the threshold\n")

    functions = {
        "DScribe, polynomial": (lambda: theirs.compute(*sample, some), len(some)),
        "NumPy, float32 product and arg-max": (lambda: (few @ single.T).argmax(axis=1), len(few)),
        "mgdask, positions to indices and similarities": (lambda: ours.compute(*sample), n),
        "search alone": (lambda: nearest(index, rows), n),
        "search, only whether within the threshold": (lambda: covered(index, rows, limit), n),
    }
    times = {name: [] for name in functions}
    for round_ in range(options.rounds + 1):
        for name, (function, atoms) in functions.items():
            value = cpu(function, atoms)
            if round_:  # the first compiles, and builds tables
                times[name].append(value)
    print(f"{'CPU us per atom':58}{'median':>10}{'min':>10}{'max':>10}")
    for name, values in times.items():
        show(name, values)
    peer, numpy, own = list(times.values())[:3]
    show("ratio", [(a + b) / c for a, b, c in zip(peer, numpy, own, strict=True)])
    print()
    for size in (500, 1500, 5000, 15000, 60000):
        if size <= len(vectors):
            part = make_index(vectors[:size])
            search = partial(nearest, part, rows)
            show(f"search among {size}", [cpu(search, n) for _ in range(5)])


if __name__ == "__main__":
    main()
