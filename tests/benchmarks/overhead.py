"""What a task spends besides its kernel, at the default size of a block: one thread, the shipped glass repeated in time.

    OMP_NUM_THREADS=1 python tests/benchmarks/overhead.py [frames]

Stages of ``compute_block``, in microseconds an atom and in percent: opening (metadata of both stores), reading, the kernel, packing and checksums,
writing the file, the record. What dask adds to a task is measured beside them, with tasks that spin for a quarter of a second, on one worker process:
the next task waits on the worker already, so most of what dask does for it is done by then.
"""

from __future__ import annotations

import os

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
)

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from soap import GLASS

import mgdask
from mgdask.cluster import local_client
from mgdask.execution.executor import execute
from mgdask.features import engine
from mgdask.pipelines.featurize import block as room
from mgdask.pipelines.featurize.block import compute_block, create_output

SPENT: Counter[str] = Counter()


def timed(owner, name, stage):
    """Replace a function of a module by one that adds its time to a stage."""
    inner = getattr(owner, name)

    def outer(*arguments, **options):
        began = time.perf_counter()
        try:
            return inner(*arguments, **options)
        finally:
            SPENT[stage] += time.perf_counter() - began

    setattr(owner, name, outer)


BUSY = 0.25


def spin():
    end = time.perf_counter() + BUSY
    while time.perf_counter() < end:
        pass
    return {}


def repeated(folder, copies):
    """A store of the shipped glass, its eight frames several times."""
    text = __import__("gzip").open(GLASS, "rt").read()
    lines = text.splitlines(keepends=True)
    n = int(lines[3])
    frames = [lines[k : k + 9 + n] for k in range(0, len(lines), 9 + n)]
    with open(folder / "long.dump", "w") as out:
        for copy in range(copies):
            for k, frame in enumerate(frames):
                out.write(
                    "".join(
                        ["ITEM: TIMESTEP\n", f"{1000 * (copy * len(frames) + k)}\n", *frame[2:]]
                    )
                )
    mgdask.ingest(
        str(folder / "long.dump"), folder / "glass.zarr", species={1: "Zr", 2: "Cu"}, timestep=0.002
    )
    return folder / "glass.zarr"


def measure(name, store, folder, features, per_task):
    out = folder / f"{name}.zarr"
    plan = mgdask.plan(store, features, out=out)
    if plan.paths:
        mgdask.unwrap(store, plan.paths, progress=False)
    create_output(plan)
    job, first, *rest = plan.job(), *plan.blocks
    compute_block(job, first, plan.block_digest(first))  # kernels are loaded here
    SPENT.clear()
    began, rows = time.perf_counter(), 0
    for block in rest[:6] or [first]:
        rows += compute_block(job, block, plan.block_digest(block))["rows"]
    whole = time.perf_counter() - began
    SPENT["metadata and the rest"] = whole - sum(SPENT.values())
    SPENT["dask"] = per_task * len(rest[:6] or [first])
    total = sum(SPENT.values())
    kernel = SPENT["kernel"]
    output = SPENT["packing, checksum, file"]
    print(
        f"{name}: blocks of {first.n_rows * len(first.frames)} atoms, {1e6 * total / rows:.1f} us an atom; not the kernel: "
        f"{1 - kernel / total:.1%}, neither the kernel nor the output: {1 - (kernel + output) / total:.1%}"
    )
    for stage, spent in SPENT.most_common():
        print(f"    {stage:24} {1e6 * spent / rows:8.2f} us {spent / total:7.1%}")


def main():
    copies = max(1, int(sys.argv[1]) // 8) if len(sys.argv) > 1 else 40
    with local_client(1) as client:
        execute(client, spin, [(str(k), ()) for k in range(4)], what="warm", progress=False)
        began = time.perf_counter()
        execute(client, spin, [(str(k), ()) for k in range(40)], what="spin", progress=False)
        per_task = max(0.0, (time.perf_counter() - began) / 40 - BUSY)
    print(f"dask adds to a task of {BUSY} s: {1e3 * per_task:.1f} ms")
    timed(room, "read_window", "reading")
    timed(room, "read_images", "reading")
    timed(room, "path_source", "reading")
    timed(engine, "compute_trajectories", "kernel")
    timed(engine, "compute_window", "kernel")
    timed(room, "write_shard", "packing, checksum, file")
    timed(room.Manifest, "append", "record")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = repeated(folder, copies)
        soap = {
            "species": ("Cu", "Zr"),
            "r_cut": 5.0,
            "n_max": 11,
            "l_max": 12,
            "sigma": 0.5,
            "rbf": "polynomial",
        }
        for case, features in (
            ("interstice", mgdask.feature_set("interstice", ("Cu", "Zr"))),
            ("sro", mgdask.feature_set("sro", ("Cu", "Zr"))),
            ("symmetry", mgdask.feature_set("symmetry_functions", ("Cu", "Zr"))),
            ("soap_float32", [mgdask.SOAP(**soap, dtype="float32")]),
            ("soap_mean", [mgdask.SOAP(**soap, average="inner")]),
        ):
            try:
                measure(case, store, folder, features, per_task)
            except mgdask.errors.MgdaskError as error:
                print(f"{case}: {error}")


if __name__ == "__main__":
    main()
