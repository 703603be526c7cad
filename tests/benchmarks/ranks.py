"""What encrypted connections between ranks cost beside LightGBM's own, which are open to everyone.

    python -m tests.benchmarks.ranks [--rows 200000] [--columns 80] [--rounds 30] [--ranks 2] [--repeats 3]

Trains a classifier on random rows with one thread per rank, over both kinds of connections in turn. Prints CPU time of all
ranks and wall time, and says NO if the trees differ. LightGBM's sockets listen on all addresses while this runs.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import resource
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def table(rows, columns):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    noise = rng.normal(size=rows)
    return x, (x[:, 0] + np.sin(x[:, 1]) + x[:, 2] * x[:, 3] / 2 + noise > 0.5).astype(float)


def one_rank(own, rank, given, bins, ports, identity, start, results):
    import lightgbm

    from mgdask.learn.training.collectives import exchanging
    from mgdask.learn.training.links import connect, listen

    warnings.simplefilter("ignore")
    x, y = table(given.rows, given.columns)
    share = slice(given.rows * rank // given.ranks, given.rows * (rank + 1) // given.ranks)
    data = lightgbm.Dataset(x[share], y[share], reference=lightgbm.Dataset(bins))
    about = {"objective": "binary", "num_threads": 1, "verbosity": -1, "deterministic": True}
    about |= {"tree_learner": "data", "pre_partition": True, "num_machines": given.ranks}
    about |= {"force_col_wise": True, "feature_pre_filter": False}
    start.wait()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if own:
        listener = listen("127.0.0.1")
        ports[rank] = listener.getsockname()[1]

        def place_of(peer):
            return ("127.0.0.1", ports[peer]) if ports[peer] else None

        links = connect(rank, given.ranks, identity, listener, place_of)
        with exchanging(rank, given.ranks, links, lambda error: os._exit(1)):
            text = lightgbm.train(about, data, given.rounds).model_to_string()
    else:
        about["machines"] = ",".join(f"127.0.0.1:{port}" for port in ports)
        about["local_listen_port"] = ports[rank]
        text = lightgbm.train(about, data, given.rounds).model_to_string()
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    trees = hashlib.sha256(text.partition("\nparameters:")[0].encode()).hexdigest()
    results.put((used, time.perf_counter() - began, trees))


def measured(own, given, bins):
    from mgdask.learn.training.links import new_identity

    first = random.randrange(20_000, 30_000)
    ports = multiprocessing.Array("i", [0 if own else first + k for k in range(given.ranks)])
    results, start = multiprocessing.Queue(), multiprocessing.Barrier(given.ranks)
    more = given, bins, ports, new_identity(), start, results
    ranks = [
        multiprocessing.Process(target=one_rank, args=(own, k, *more)) for k in range(given.ranks)
    ]
    for rank in ranks:
        rank.start()
    found = [results.get(timeout=600) for _ in ranks]
    for rank in ranks:
        rank.join()
    cpu, wall, trees = zip(*found, strict=True)
    return sum(cpu), max(wall), set(trees)


def main():
    parser = argparse.ArgumentParser()
    for name, default in {
        "rows": 200_000,
        "columns": 80,
        "rounds": 30,
        "ranks": 2,
        "repeats": 3,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    import lightgbm

    every = set()
    with tempfile.TemporaryDirectory() as folder:
        bins = str(Path(folder) / "bins")
        x, _ = table(min(given.rows, 20_000), given.columns)
        about = {"feature_pre_filter": False, "verbosity": -1}
        lightgbm.Dataset(x, params=about).construct().save_binary(bins)
        for _ in range(given.repeats):
            for own, name in ((True, "own"), (False, "LightGBM's")):
                cpu, wall, trees = measured(own, given, bins)
                every |= trees
                print(
                    f"{given.ranks} ranks, {name:10} connections: {cpu:6.2f} s CPU, {wall:6.2f} s",
                    flush=True,
                )
    print("the same trees" if len(every) == 1 else "other trees   NO")


if __name__ == "__main__":
    main()
