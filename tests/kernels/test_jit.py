"""Compilation of kernels: once per node, also if several processes need one at once."""

from __future__ import annotations

import fcntl
import os
import time

from tests.forked import Forked

MODULE = """
import numpy as np
from numba import types
from mgdask.kernels._jit import array, kernel

@kernel(array(types.float64, 1), returns=types.float64)
def total(values):
    s = 0.0
    for k in range(values.size):
        s += values[k]
    return s
"""
CODE = """
import numpy as np, once
print("ready", flush=True)
print(once.total(np.arange(4.0)), sum(once.total._compiled.stats.cache_hits.values()))
"""


def test_one_of_several_processes_compiles(tmp_path):
    (tmp_path / "once.py").write_text(MODULE)
    cache = tmp_path / "cache"
    env = {**os.environ, "MGDASK_CACHE_DIR": str(cache), "PYTHONPATH": str(tmp_path)}
    first = Forked(CODE, env=env)
    assert first.communicate(120)[0] == "ready\n6.0 0\n"
    (lock,) = cache.rglob("once.total-*.lock")
    for file in cache.rglob("once*.nb*"):
        file.unlink()
    lock.write_bytes(b"")
    with open(lock, "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        both = [Forked(CODE, env=env) for _ in range(2)]
        for process in both:
            process.readline()
        time.sleep(1.0)
        assert [process.poll() for process in both] == [None, None]
    assert sorted(process.communicate(120)[0] for process in both) == [
        "ready\n6.0 0\n",
        "ready\n6.0 1\n",
    ]
