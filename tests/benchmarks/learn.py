"""Training on ranks: a store larger than one would hold twice, and the same beside the stock estimator at a size it can take.

    python tests/benchmarks/learn.py [--rows 10000000] [--stock-rows 1000000] [--rounds 100] [--columns 80] [--folder /tmp]

Writes a feature store of random correlated columns (float32; 3.2 GB at the default size) in blocks, trains a regression on
two workers with one thread each, and prints time, and peak memory of each rank beside its share of the matrix; says NO where
a rank took 4 GiB, or above its libraries twice its share and more. Then both engines in turn on ``--stock-rows`` rows, each
in fresh workers; the memory of an engine is the peak of the largest process that works for it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from mgdask.cluster import local_client
from mgdask.execution.records import record
from mgdask.learn import Part, Rows, train
from mgdask.store import features
from mgdask.store.layout import BlockLayout
from mgdask.store.manifest import Manifest
from mgdask.store.shards import open_group, write_shard

ATOMS = 10_000


def write_store(path, rows, columns):
    frames = max(2, rows // ATOMS)
    cut = BlockLayout(1, ATOMS, ATOMS)
    shapes = {"x": (columns, "float32"), "target": (1, "float32")}
    outputs = [
        features.Output(
            name,
            f"{name}_feature",
            (frames, ATOMS, p),
            dtype,
            cut,
            [f"c{k}" for k in range(p)],
            {},
            {},
        )
        for name, (p, dtype) in shapes.items()
    ]
    features.create(
        path,
        {},
        {"atom_id": ("atom", np.arange(ATOMS)), "time": ("frame", np.arange(float(frames)))},
        outputs,
    )
    group, mix = (
        open_group(path, mode="r+"),
        np.random.default_rng(1).normal(size=(8, columns)).astype(np.float32),
    )
    for frame in range(frames):
        rng = np.random.default_rng([2, frame])
        x = rng.normal(size=(ATOMS, 8)).astype(np.float32) @ mix + rng.normal(
            size=(ATOMS, columns)
        ).astype(np.float32)
        y = x[:, 0] + 2 * np.sin(x[:, 1]) + 0.2 * x[:, 2] * x[:, 3] + rng.normal(size=ATOMS)
        wrote = [
            write_shard(group, "x", (frame, 0, 0), x[None]),
            write_shard(group, "target", (frame, 0, 0), y[None, :, None].astype(np.float32)),
        ]
        Manifest(path).append(record(f"{frame}", "", wrote, 0.0))
    Manifest(path).finish("benchmark")
    return frames * ATOMS


class Peaks(threading.Thread):
    """Peak resident bytes of the processes below this one, by what they are: ranks by number, workers by process."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.over = {}, False

    def run(self):
        while not self.over:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error, OSError):
                    line = process.cmdline()
                    name = f"worker {process.pid}"
                    if "mgdask.learn.training.rank_worker" in line:
                        name = f"rank {line[line.index('mgdask.learn.training.rank_worker') + 3]}"
                    # the system's own high-water mark: nothing is missed between two looks
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    high = int(status.split("VmHWM:")[1].split()[0]) * 1024
                    self.peak[name] = max(high, self.peak.get(name, 0))
            time.sleep(0.5)


def measured(rows, options, engine):
    """Seconds, peaks and model of a training in fresh workers."""
    with local_client(2, memory="8GiB") as client:
        more = (
            {"ranks": 2, "threads": 1}
            if engine == "mgdask"
            else {"engine": engine, "trust_network": True}
        )
        watcher = Peaks()
        watcher.start()
        began = time.perf_counter()
        model = train(rows, client=client, **more, **options)
        spent = time.perf_counter() - began
        watcher.over = True
        watcher.join()
    return spent, watcher.peak, model


def libraries():
    """Peak bytes of a process that has loaded what a rank loads."""
    code = "import lightgbm, mgdask.learn; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    return 1024 * int(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
    )


def gib(size):
    return f"{size / 2**30:.2f} GiB"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, value in (
        ("rows", 10_000_000),
        ("stock-rows", 1_000_000),
        ("rounds", 100),
        ("columns", 80),
    ):
        parser.add_argument(f"--{name}", type=lambda text: int(float(text)), default=value)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    given = parser.parse_args()
    need = 4.4 * given.rows * given.columns
    if shutil.disk_usage(given.folder).free < need:
        parser.error(
            f"{given.folder} has less than {gib(need)} free; give another --folder, or fewer --rows"
        )
    options = {
        "objective": "regression",
        "rounds": given.rounds,
        "progress": False,
        "params": {"num_leaves": 31},
    }
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="mgdask-benchmark-") as name:
        began, path = time.perf_counter(), str(Path(name) / "f.zarr")
        rows = write_store(path, given.rows, given.columns)
        print(
            f"wrote {rows} rows x {given.columns} columns in {time.perf_counter() - began:.0f} s",
            flush=True,
        )
        table = Rows((Part(path),), ("x",), labels="target")
        spent, peaks, model = measured(table, options, "mgdask")
        base, share = libraries(), rows * given.columns * 4 / 2
        print(f"trained {given.rounds} rounds on 2 ranks of 1 thread in {spent:.0f} s")
        print(f"a share of the matrix {gib(share)}, libraries of a rank {gib(base)}")
        for who, peak in sorted(peaks.items()):
            if who.startswith("rank"):
                fits = peak - base < 2 * share and peak < 4 * 2**30
                print(
                    f"{who}: peak {gib(peak)}, {peak / share:.2f} of its share, {(peak - base) / share:.2f} without libraries"
                    + ("" if fits else "   NO"),
                    flush=True,
                )
        part = Rows(
            (Part(path, frames=(0, max(2, min(rows, given.stock_rows) // ATOMS))),),
            ("x",),
            labels="target",
        )
        print(f"{part.count()} rows, {given.rounds} rounds, in turn:", flush=True)
        found = {}
        for engine in ("mgdask", "lightgbm.dask") * 2:
            seconds, peaks, model = measured(part, options, engine)
            found.setdefault(engine, []).append((seconds, max(peaks.values())))
            print(
                f"    {engine:14} {seconds:7.1f} s   largest process {gib(max(peaks.values()))}",
                flush=True,
            )
        ours, stock = (np.min(found[engine], axis=0) for engine in ("mgdask", "lightgbm.dask"))
        print(
            f"stock over mgdask (best of two): time {stock[0] / ours[0]:.2f}, memory {stock[1] / ours[1]:.2f}"
        )
