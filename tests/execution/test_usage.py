"""Memory and CPU time of blocks: what the process held before is not theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

import mgdask
from mgdask.execution.usage import measured
from mgdask.features.feature import FrameFeature
from mgdask.pipelines.featurize.run import SLACK, Report

MIB = 2**20
REQUEST = "ABOVE THE PROJECTION: please report it"
HELD: list[np.ndarray] = []


@dataclass(frozen=True)
class Hungry(FrameFeature):
    """Takes memory when it is prepared and in every block; states none of it."""

    compiling: int = 0
    computing: int = 0
    family: ClassVar[str] = "hungry"
    citation: ClassVar[str] = "none"
    long_name: ClassVar[str] = "hungry"
    labels = ("zero",)

    def footprint(self, n_atoms, n_centers):
        return 0

    def cost(self, n_centers):
        return 0.0

    def prepare(self):
        HELD.append(np.ones(self.compiling * MIB, dtype=np.uint8))

    def describe(self, environments, centers, out):
        taken = np.ones(self.computing * MIB, dtype=np.uint8)
        time.sleep(0.05)
        out[...] = 0.0
        del taken
        return {}


@pytest.fixture(autouse=True)
def nothing_held():
    yield
    HELD.clear()


def run(store, feature, out):
    return mgdask.run(mgdask.plan(store, feature, out=out, frames=[0]), progress=False)


def test_what_the_process_held_and_compiled_is_not_reported(glass_store, tmp_path):
    data = np.ones(150 * MIB, dtype=np.uint8)
    report = run(glass_store, Hungry(compiling=150), tmp_path / "f.zarr")
    assert len(HELD) == 1  # prepared once, for all blocks
    assert report.peak_memory > report.projected + len(data) // 2
    assert report.block_memory < report.projected_blocks + SLACK
    assert REQUEST not in str(report)


def test_time_to_load_or_compile_kernels_is_named(glass_store, tmp_path):
    with measured("slow", lambda: time.sleep(0.2)) as first:
        pass
    with measured("slow", lambda: time.sleep(9.0)) as second:  # prepared already
        pass
    assert 0.2 <= first.prepared == second.prepared < 2.0
    report = run(glass_store, Hungry(), tmp_path / "f.zarr")
    assert 0.0 < report.prepared < report.seconds
    assert "kernels" not in str(replace(report, prepared=0.5))
    slow = str(replace(report, seconds=20.0, prepared=18.0))
    assert "(20.0 s, of which 18.0 s to load or compile kernels)" in slow


def test_real_excess_is_reported(glass_store, tmp_path):
    np.ones(300 * MIB, dtype=np.uint8)  # freed before, which must not hide it
    report = run(glass_store, Hungry(computing=150), tmp_path / "f.zarr")
    assert 140 * MIB < report.block_memory < 200 * MIB
    assert report.excess_memory > 60 * MIB
    assert REQUEST in str(report)


def test_a_worker_within_its_projection_has_no_excess():
    # a block that is larger than thought, in a process smaller than thought
    report = Report("f.zarr", 1, 0, 1, 1.0, 400 * MIB, 450 * MIB, 100 * MIB, 30 * MIB)
    assert report.excess_memory == 0
    assert REQUEST not in str(report)


def test_blocks_at_the_same_time_share_the_cpu():
    barrier, used = threading.Barrier(2), []

    def block():
        with measured("shared", lambda: None) as usage:
            barrier.wait()
            began = time.thread_time()
            while time.thread_time() - began < 0.2:
                sum(range(1000))
            barrier.wait()
        used.append(usage.cpu)

    began = time.process_time()
    threads = [threading.Thread(target=block) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.process_time() - began
    assert sum(used) == pytest.approx(spent, rel=0.1)
    assert used[0] == pytest.approx(used[1], rel=0.1)


COLD = """
import sys
import mgdask
from mgdask.features import NonAffine

plan = mgdask.plan(sys.argv[1], NonAffine(cutoff=3.5), out=sys.argv[2], frames=[1])
print(mgdask.run(plan, progress=False))
"""


@pytest.mark.slow
def test_first_run_with_a_cold_cache(glass_store, tmp_path):
    environment = {**os.environ, "MGDASK_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", COLD, glass_store, str(tmp_path / "f.zarr")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert list((tmp_path / "cache").rglob("*.nbi"))  # it did compile
    assert "peak memory" in done.stdout
    assert REQUEST not in done.stdout
