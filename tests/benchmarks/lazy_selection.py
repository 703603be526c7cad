"""What selecting after featurize costs against selecting before: CPU time, alternating in one process.

    python tests/benchmarks/lazy_selection.py [rounds] [store]

One frame, some atoms of it and one element, of 74 frames of 2048 atoms; 100 atoms of a frame of a
million. "Before" is featurize(ds.isel(frame=[5]), features), with centers= for atoms. Atoms stand on
an fcc lattice and are displaced at random, unless a store is given.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import dask
import numpy as np
import xarray as xr

import mgdask
from mgdask.features import environments

SHORT = (mgdask.Coordination(cutoff=3.6),)
ATOMS = np.arange(3, 2000, 20)


def lattice(n_frames, n_cells, seed=1):
    """A Dataset of displaced fcc lattices, one chunk as in a store."""
    rng, side = np.random.default_rng(seed), 4.05
    corners = np.stack(np.meshgrid(*[np.arange(n_cells)] * 3, indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    basis = 0.5 * np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]])
    sites = side * (corners[:, None] + basis).reshape(-1, 3)
    cell = side * n_cells * np.eye(3)
    position = (sites + rng.normal(0, 0.15, (n_frames, *sites.shape))) % (side * n_cells)
    ds = xr.Dataset(
        {
            "position": (("frame", "atom", "xyz"), position),
            "cell": (("frame", "vector", "xyz"), np.tile(cell, (n_frames, 1, 1))),
            "species": ("atom", rng.choice([29, 40], len(sites))),
        }
    )
    return ds.assign(position=ds.position.chunk({"frame": n_frames}))


def compare(what, after, before, rounds):
    """Print medians of CPU time and their ratio; which comes first alternates."""
    times = {True: [], False: []}
    for k in range(rounds + 1):
        for is_after in (k % 2 == 0, k % 2 == 1):
            environments._RECENT.frame = None  # a thread keeps the lists of its last large frame
            began = time.process_time()
            values = (after if is_after else before)().compute(scheduler="sync")
            if k:  # the first round compiles
                times[is_after].append(time.process_time() - began)
            if is_after:
                found = values
            else:
                wanted = values
    for name in wanted.data_vars:
        assert np.array_equal(found[name].values, wanted[name].values, equal_nan=True), (what, name)
    late, early = (statistics.median(times[which]) for which in (True, False))
    print(f"{what:58} {late:8.4f} s against {early:8.4f} s: {late / early:5.2f}", flush=True)


def main(rounds=7, store=None):
    ds = mgdask.open_store(store) if store else lattice(74, 8)
    species = sorted({mgdask.elements.symbol(int(z)) for z in ds.species.values})
    many = (mgdask.Interstice(), mgdask.MediumRange(mgdask.Interstice()))
    first = np.flatnonzero(ds.species.values == ds.species.values[0])
    sets = {
        "coordination": SHORT,
        "interstice, 80 columns": many,
        "sro": tuple(mgdask.feature_set("sro", species)),
    }
    for name, features in sets.items():
        whole = mgdask.featurize(ds, features)
        for what, after, before in (
            (
                "one frame",
                lambda w=whole: w.isel(frame=[5]),
                lambda f=features: mgdask.featurize(ds.isel(frame=[5]), f),
            ),
            (
                "100 atoms of it",
                lambda w=whole: w.isel(frame=[5], atom=ATOMS),
                lambda f=features: mgdask.featurize(ds.isel(frame=[5]), f, centers=ATOMS),
            ),
            (
                "one element of it, by where(drop=True)",
                lambda w=whole: w.isel(frame=[5]).where(w.species == w.species[0], drop=True),
                lambda f=features: mgdask.featurize(ds.isel(frame=[5]), f, centers=first),
            ),
            (
                "one frame, drawn by featurize as well",
                lambda f=features: mgdask.featurize(ds, f).isel(frame=[5]),
                lambda f=features: mgdask.featurize(ds.isel(frame=[5]), f),
            ),
        ):
            compare(f"{name}: {what}", after, before, rounds)
    large = lattice(1, 63)
    atoms = np.arange(7, large.sizes["atom"], large.sizes["atom"] // 100)[:100]
    whole = mgdask.featurize(large, SHORT)
    compare(
        f"coordination: 100 of {large.sizes['atom']} atoms",
        lambda: whole.isel(frame=[0], atom=atoms),
        lambda: mgdask.featurize(large, SHORT, centers=atoms),
        min(rounds, 5),
    )
    compare(
        "the same, drawn by featurize as well",
        lambda: mgdask.featurize(large, SHORT).isel(frame=[0], atom=atoms),
        lambda: mgdask.featurize(large, SHORT, centers=atoms),
        min(rounds, 5),
    )


if __name__ == "__main__":
    with dask.config.set(scheduler="sync"):
        main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))
