"""Exact nearest neighbors of lag displacements: mgdask beside scikit-learn, SciPy and faiss.

OMP_NUM_THREADS=1 nice python tests/benchmarks/neighbors_speed.py --data ../shared/data [--rows 350000] [--queries 5000]
    [--noise 0.05] [--workers 2] [--work /tmp/neighbors]

Rows are lg[r² m] of the six shared isothermal runs at the 17 lags of 5 ps and more, repeated with Gaussian noise (in
lg units) up to --rows, scaled to [0, 1]. Neighbors are of the same species; k = 50. Peers and mgdask alternate in one
thread of one process on the same queries of every species; CPU times are printed with the smallest of three rounds. The
time to prepare the rows is in it for all, and also apart, since it is paid once for all queries. "same" is the share of
queries whose set of neighbors is that of mgdask. At last all rows are searched among all rows as tasks.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.update(
    dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
    )
)

import numpy as np

K = 50
TEMPERATURES = (100, 500, 1000, 1200, 1300, 2000)


def real_rows(data, work):
    """Return lg[r² m] (row, lag) and the species (row,) of the shared runs."""
    import mgdask

    kinds = dict(enumerate(("Cu", "Zr", "Ni", "Ti", "Pd"), start=1))
    feature, rows, species = mgdask.LagDisplacement(scaling="logarithmic_mass"), [], []
    for kelvin in TEMPERATURES:
        store = work / f"{kelvin}.zarr"
        if not store.exists():
            mgdask.ingest(
                str(data / "cuzrnitipd_isothermal" / f"hemg_{kelvin}.lammpstrj.gz"), store, species=kinds, timestep=0.002
            )  # fmt: skip
        out = work / f"{kelvin}_lags.zarr"
        if not out.exists():
            mgdask.run(mgdask.plan(store, feature, out=out), progress=False)
        with mgdask.open_store(out) as found:
            rows.append(found["lag_displacement"].values[0])
        with mgdask.open_store(store) as found:
            species.append(found.species.values)
    return np.concatenate(rows)[:, 24:], np.concatenate(species)


def peers():
    """Return how each peer prepares rows and finds neighbors, by name."""
    from scipy.spatial import cKDTree
    from sklearn.neighbors import NearestNeighbors

    def sklearn(algorithm):
        def prepare(x):
            return NearestNeighbors(n_neighbors=K, algorithm=algorithm, n_jobs=1).fit(x)

        return prepare, lambda model, q: model.kneighbors(q, return_distance=False)

    found = {
        "scikit-learn, default": sklearn("auto"),
        "scikit-learn, kd_tree": sklearn("kd_tree"),
        "scikit-learn, ball_tree": sklearn("ball_tree"),
        "scipy cKDTree": (cKDTree, lambda tree, q: tree.query(q, K)[1]),
    }
    try:
        import faiss
    except ImportError:
        print("faiss is not installed: pip install faiss-cpu")
        return found
    faiss.omp_set_num_threads(1)

    def flat(x):
        index = faiss.IndexFlatL2(x.shape[1])
        index.add(x.astype(np.float32))
        return index

    found["faiss flat, float32"] = (flat, lambda index, q: index.search(q.astype(np.float32), K)[1])
    return found


def ours():
    from mgdask.learn.neighbors import neighbor_index

    return neighbor_index, lambda index, q: index.nearest(q, K)[0]


def timed(function, *args):
    began = time.process_time()
    result = function(*args)
    return result, time.process_time() - began


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp/neighbors"))
    parser.add_argument("--rows", type=int, default=350_000)
    parser.add_argument("--queries", type=int, default=5000, help="of all species together")
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    x, species = real_rows(args.data, args.work)
    rng = np.random.default_rng(1)
    if args.rows != len(x):
        which = rng.permutation(np.arange(args.rows) % len(x))
        x, species = x[which] + rng.normal(0.0, args.noise, (args.rows, x.shape[1])), species[which]
    x = (x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0))
    kinds = np.unique(species)
    groups = [np.ascontiguousarray(x[species == kind]) for kind in kinds]
    some = [g[rng.choice(len(g), args.queries // len(kinds), replace=False)] for g in groups]
    print(f"{len(x)} rows of {x.shape[1]} columns, {len(kinds)} species, k = {K}, "
          f"{sum(map(len, some))} queries, noise {args.noise}")  # fmt: skip
    methods = {"mgdask": ours(), **peers()}
    best = {name: [np.inf, np.inf] for name in methods}
    first, shares = None, {}
    for _ in range(args.rounds):
        for name, (prepare, search) in methods.items():
            spent, found = [0.0, 0.0], []
            for rows, queries in zip(groups, some, strict=True):
                index, seconds = timed(prepare, rows)
                spent[0] += seconds
                near, seconds = timed(search, index, queries)
                spent[1] += seconds
                found.append(np.sort(near, axis=1))
            best[name] = [min(pair) for pair in zip(best[name], spent, strict=True)]
            all_found = np.concatenate(found)
            first = all_found if first is None else first
            shares[name] = float((all_found == first).all(axis=1).mean())
    print(f"{'method':26}{'prepare s':>10}{'us/query':>10}{'ratio':>8}{'same':>10}")
    n = sum(map(len, some))
    for name, (prepare, search) in best.items():
        print(f"{name:26}{prepare:10.2f}{1e6 * search / n:10.1f}{search / best['mgdask'][1]:8.2f}{100 * shares[name]:9.2f}%",
              flush=True)  # fmt: skip

    from mgdask.cluster import local_client
    from mgdask.learn.neighbors import nearest_rows_tasks

    with local_client(args.workers, memory="1GiB") as client:
        began = time.perf_counter()
        found = nearest_rows_tasks(
            args.work / "all", x, x, K, group=species, query_group=species, client=client, progress=False
        )  # fmt: skip
        wall = time.perf_counter() - began
    own = np.asarray(found.index[:, 0])
    print(f"{os.getloadavg()[0]:.1f} load; all {len(x)} among all {len(x)} as tasks in {args.workers} workers: {wall:.1f} s wall; "
          f"{100 * (own == np.arange(len(x))).mean():.2f} % of rows are their own nearest")  # fmt: skip


if __name__ == "__main__":
    main()
