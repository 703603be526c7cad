"""What checks of sources and flushed files cost: CPU and wall time with and without, alternating in one process.

    python tests/benchmarks/trust.py [rounds]

Reading: all frames of a trajectory, and few atoms of all frames, with seals and trusted. Writing: ingest
and features, with files that are flushed to the disk before their record, and not. Sizes of 10 000
shards are compared with their records as before a first task.
"""

from __future__ import annotations

import gzip
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

import mgdask
from mgdask.execution.records import record
from mgdask.store import manifest, source_checks, sources
from mgdask.store.shards import new_array, new_group, open_group, write_shard
from mgdask.store.trajectory import read_window
from mgdask.store.trust import trusting
from mgdask.store.unwrapped import unwrapped_source

SPECIES = {1: "Zr", 2: "Cu"}
SOAP = mgdask.SOAP(species=("Cu", "Zr"), r_cut=4.0, n_max=4, l_max=3, sigma=0.5, rbf="polynomial")


def spent(call):
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(what, with_it, without, rounds):
    """Print the ratio of medians of CPU and wall time; which comes first alternates."""
    times = {True: [], False: []}
    for k in range(rounds):
        for on in (k % 2 == 0, k % 2 == 1):
            os.sync()
            times[on].append(spent(with_it if on else without))
    cpu, wall = (
        [statistics.median(t[i] for t in times[on]) for on in (True, False)] for i in (0, 1)
    )
    print(
        f"{what:42} CPU {cpu[0]:.3f} s against {cpu[1]:.3f} s ({cpu[0] / cpu[1] - 1:+.1%}), "
        f"wall {wall[0]:.3f} s against {wall[1]:.3f} s ({wall[0] / wall[1] - 1:+.1%})",
        flush=True,
    )


def reading(store, rounds):
    source, _ = unwrapped_source(store)
    frames = np.arange(source.n_frames)

    def every_frame(trust):
        sources._LOADED.clear()  # as in a new process
        with trusting(trust):
            for first in range(0, source.n_frames, 32):
                read_window(store, frames[first : first + 32])

    def few_atoms(trust):
        sources._LOADED.clear()
        with trusting(trust):
            source.read(frames, 0, 32)

    for what, call in (("reading all frames", every_frame), ("reading 32 atoms", few_atoms)):
        compare(what, lambda c=call: c(False), lambda c=call: c(True), rounds)


def writing(dump, folder, rounds):
    flush = manifest.flush_files

    def ingest():
        shutil.rmtree(folder / "w.zarr", ignore_errors=True)
        mgdask.ingest(dump, folder / "w.zarr", species=SPECIES, repeated="all")

    def features():
        shutil.rmtree(folder / "f.zarr", ignore_errors=True)
        made = mgdask.plan(folder / "g.zarr", [SOAP], out=folder / "f.zarr", frames=slice(0, 40))
        mgdask.run(made, progress=False)

    def unflushed(call):
        manifest.flush_files = lambda *_: None
        try:
            call()
        finally:
            manifest.flush_files = flush

    for what, call in (("ingest, flushed", ingest), ("features, flushed", features)):
        compare(what, call, lambda c=call: unflushed(c), rounds)


def many_shards(folder, n=10_000):
    path = folder / "many.zarr"
    group = new_group(path, {"mgdask_kind": "trajectory"}, overwrite=False)
    manifest.Manifest(path).create()
    new_array(group, "position", ("frame",), (n,), "float64", chunks=(1,), shards=(1,))
    flush, manifest.flush_files = manifest.flush_files, lambda *_: None
    wrote = [write_shard(group, "position", (k,), np.array([float(k)])) for k in range(n)]
    manifest.Manifest(path).append(record("all", "", wrote, 0.0))
    manifest.flush_files = flush
    manifest.Manifest(path).finish("x")
    _, first = spent(lambda: source_checks.check_source(path, ("position",)))
    _, again = spent(lambda: source_checks.check_source(path, ("position",)))
    array = sources.source_array(open_group(path), "position")
    seals = sources.seals_of(path)
    _, check = spent(lambda: [seals.check(f"position/c/{k}", 1) for k in range(n)])
    print(
        f"{n} shards: sizes compared in {first:.2f} s with the records, {again:.2f} s without; "
        f"seals in {check:.2f} s ({len(array.shape)} axis)"
    )


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory(dir=os.environ.get("MGDASK_SCRATCH")) as name:
        folder = Path(name)
        text = gzip.decompress(Path(mgdask.datasets.path("zrcu")).read_bytes())
        dump = folder / "dump.lammpstrj"
        with open(dump, "wb") as out:
            while out.tell() < 100e6:
                out.write(text)
        mgdask.ingest(dump, folder / "g.zarr", species=SPECIES, repeated="all")
        n_frames, n_atoms = open_group(folder / "g.zarr")["position"].shape[:2]
        print(f"{n_frames} frames of {n_atoms} atoms")
        reading(folder / "g.zarr", rounds)
        writing(dump, folder, rounds)
        many_shards(folder)


if __name__ == "__main__":
    main()
