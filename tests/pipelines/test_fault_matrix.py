"""Cells of the fault matrix that once broke, or are most likely to, through the command line.

The whole matrix is a benchmark: ``python -m tests.benchmarks.faults``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mgdask.kernels._cache import cache_root
from tests.benchmarks.faults.table import KINDS, read_results

CELLS = {
    "stores": (
        "ingest:memory-limit:0",
        "append:kill-client:1",
        "append:full-disk:2",
        "append:read-only:1",
        "verify --repair:sigterm:1",
    ),
    "models": (
        "featurize:kill-worker:0",
        "featurize:tmpdir-full:0",
        "train:full-disk:0",
        "train:kill-client:1",
    ),
}
"""Command, fault and seed of each try."""


@pytest.mark.slow
@pytest.mark.parametrize("part", CELLS)
def test_disturbed_commands_leave_what_undisturbed_ones_leave(tmp_path, part):
    space = ["unshare", "--mount"]
    if os.getuid():
        space = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*space, "true"], check=False).returncode:
        pytest.skip("no mount name space can be made here: neither root nor user name spaces")
    results = tmp_path / "faults.jsonl"
    words = [word for cell in CELLS[part] for word in ("--cell", cell)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.faults", *words,
         "--work", str(tmp_path / "work"), "--results", str(results)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "MGDASK_CACHE_DIR": str(cache_root())},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = read_results(results)
    assert {":".join(map(str, key)) for key in found} == set(CELLS[part]), done.stdout
    misses = {
        key: {kind: result[kind] for kind in KINDS if result[kind]} for key, result in found.items()
    }
    assert not any(misses.values()), done.stdout
