"""A million atoms in a frame, ten thousand frames of 2000 atoms, and more workers: memory, time an atom, tasks, the client.

    OMP_NUM_THREADS=1 python tests/benchmarks/scale.py [--frames 10000] [--cells 8] [--only weak|large|long] [--folder DIR]

SOAP, interstices and lag displacements in two worker processes of 2 GiB. "large": the shipped glass of 2000 atoms, ``cells`` times along each
axis with a little noise, four frames; "long": its last frame with noise, ``frames`` times. Time an atom and worker beside a small case of 200
frames, peak memory of a worker against the plan's projection, most tasks that the scheduler held (looked at ten times a second), most memory
of this process. "weak": as many frames a worker on 1, 2, 4 workers, beside as many processes that multiply matrices, relative to one.
Needs about 50 GB under ``--folder`` at full size, which it removes.
"""

from __future__ import annotations

import os

os.environ.update(
    dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
    )
)

import argparse
import shutil
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from soap import GLASS

import mgdask
from mgdask.cluster import local_client
from mgdask.execution.usage import peak_memory

SPECIES = {1: "Zr", 2: "Cu"}
FRESH = get_context("spawn")  # a fork of a process with threads of Dask may wait for ever
LAGS = tuple(float(k) for k in range(1, 42))


def families():
    """Features by name; SOAP is small, so that ten thousand frames fit on a disk."""
    return {
        "soap": [
            mgdask.SOAP(
                species=("Cu", "Zr"),
                r_cut=5.0,
                n_max=4,
                l_max=4,
                sigma=0.5,
                rbf="polynomial",
                dtype="float32",
            )
        ],
        "interstice": mgdask.feature_set("interstice", ("Cu", "Zr")),
        "lag": [mgdask.LagDisplacement(lags=LAGS, origins="all", missing="nan")],
    }


def write_dump(path, frames, cells, _workers, seed=0):
    """The last frame of the shipped glass, ``cells`` times along each axis, with noise of 0.02 Å that differs from frame to frame, 1 ps apart."""
    import gzip

    with gzip.open(GLASS, "rt") as stream:
        lines = stream.read().splitlines()
    n = int(lines[3])
    last = lines[-(9 + n) :]
    table = np.array([line.split() for line in last[9:]], dtype=float)
    low, high = (float(word) for word in last[5].split()[:2])
    side, rng = high - low, np.random.default_rng(seed)
    shift = side * np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = (table[None, :, 2:5] + shift[:, None]).reshape(-1, 3)
    kinds = np.tile(table[:, 1].astype(int), len(shift))
    head = (
        f"{len(places)}\nITEM: BOX BOUNDS pp pp pp\n"
        + f"{low!r} {low + cells * side!r}\n" * 3
        + "ITEM: ATOMS id type x y z\n"
    )
    words = [f"{k + 1} {kind} " for k, kind in enumerate(kinds)]
    with open(path, "w") as out:
        for frame in range(frames):
            now = places + rng.normal(0, 0.02, places.shape)
            out.write(f"ITEM: TIMESTEP\n{500 * frame}\nITEM: NUMBER OF ATOMS\n{head}")
            out.write(
                "".join(
                    f"{word}{x:.4f} {y:.4f} {z:.4f}\n"
                    for word, (x, y, z) in zip(words, now.tolist(), strict=True)
                )
            )


def make_store(folder, name, frames, cells, workers):
    """A store, made in other processes: the peak memory of this one and of its workers is that of the features."""
    for step in (write_dump, ingest):
        with ProcessPoolExecutor(1, mp_context=FRESH) as pool:
            pool.submit(step, folder / f"{name}.dump", frames, cells, workers).result()
    return folder / f"{name}.zarr"


def ingest(dump, frames, cells, workers):
    with local_client(workers, memory="2GiB") as client:
        began = time.perf_counter()
        mgdask.ingest(
            str(dump), dump.with_suffix(".zarr"), species=SPECIES, timestep=0.002, client=client
        )
        spent, size = time.perf_counter() - began, dump.stat().st_size
    print(
        f"{dump.stem}: {size / 1e6:.0f} MB of text read in {spent:.1f} s, client {peak_memory() / 2**20:.0f} MiB",
        flush=True,
    )
    dump.unlink()


class Watch:
    """Looks ten times a second at how many tasks the scheduler holds."""

    def __init__(self, client):
        self.client, self.most, self.over = client, 0, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def look(self):
        while not self.over.wait(0.1):
            self.most = max(
                self.most,
                self.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)),
            )

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def measure(store, name, features, frames, client, workers):
    """Microseconds an atom and worker, with a line of all that was seen."""
    out = store.with_name(f"{store.stem}-{name}.zarr")
    plan = mgdask.plan(store, features, out=out, memory="2GiB", frames=frames)
    if plan.paths:
        mgdask.unwrap(store, plan.paths, client=client, progress=False)
    began = time.perf_counter()
    with Watch(client) as watch:
        report = mgdask.run(plan, client, progress=False)
    spent = time.perf_counter() - began
    each = 1e6 * spent * workers / report.rows
    print(
        f"  {store.stem:6}{name:11}{report.rows:>10} atoms{report.blocks:6} blocks{spent:8.1f} s{each:8.1f} us an atom and worker, worker "
        f"{report.peak_memory / 2**20:5.0f} of {report.projected / 2**20:5.0f} MiB, tasks {watch.most:4}, client {peak_memory() / 2**20:4.0f} MiB",
        flush=True,
    )
    shutil.rmtree(out)
    return each


def product(seconds):
    a, count, end = np.ones((512, 512)), 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        a = a @ a / 512
        count += 1
    return count


def weak(folder):
    """As many frames a worker on more workers, beside matrix products in as many processes."""
    base = {}
    for workers in (1, 2, 4):
        with ProcessPoolExecutor(workers, mp_context=FRESH) as pool:
            list(pool.map(product, [0.2] * workers))
            peer = sum(pool.map(product, [4.0] * workers))
        store = make_store(folder, f"weak{workers}", 400 * workers, 1, workers)
        with local_client(workers, memory="2GiB") as client:
            line = []
            for name in ("soap", "interstice"):
                plan = mgdask.plan(
                    store,
                    families()[name],
                    out=store.with_name(f"{store.stem}-{name}.zarr"),
                    memory="2GiB",
                )
                warm = mgdask.plan(
                    store,
                    families()[name],
                    out=store.with_name("warm.zarr"),
                    memory="2GiB",
                    frames=list(range(8)),
                )
                mgdask.run(warm, client, progress=False)
                shutil.rmtree(store.with_name("warm.zarr"))
                began = time.perf_counter()
                report = mgdask.run(plan, client, progress=False)
                rate = report.rows / (time.perf_counter() - began)
                line.append(f"{name} {rate / base.setdefault(name, rate):.2f}")
                shutil.rmtree(plan.out)
        print(
            f"  {workers} workers: matrix product {peer / base.setdefault('peer', peer):.2f}, {', '.join(line)}",
            flush=True,
        )


def main():
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--frames", type=int, default=10_000)
    options.add_argument("--cells", type=int, default=8)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--only", choices=("weak", "large", "long"))
    options.add_argument("--folder", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        if chosen.only in (None, "weak"):
            weak(folder)
        if chosen.only == "weak":
            return
        small = make_store(folder, "small", 200, 1, chosen.workers)
        shapes = {"large": (4, chosen.cells), "long": (chosen.frames, 1)}
        stores = [
            make_store(folder, case, *shape, chosen.workers)
            for case, shape in shapes.items()
            if chosen.only in (None, case)
        ]
        for family, features in families().items():
            with local_client(
                chosen.workers, memory="2GiB"
            ) as client:  # the peak of a worker is that of this family
                measure(
                    small, family, features, None, client, chosen.workers
                )  # kernels are loaded here
                for store in stores:
                    # the small case in the same minute, since the machine is shared
                    one = measure(small, family, features, None, client, chosen.workers)
                    frames = [0] if store.stem == "large" and family != "lag" else None
                    print(
                        f"    ratio to small: {measure(store, family, features, frames, client, chosen.workers) / one:.2f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
