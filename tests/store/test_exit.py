"""The end of a process that has read a store."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys, time
import zarr, zarr.core.sync
import mgdask.store.shards
group = zarr.open_group(sys.argv[1], mode="w")
group.create_array("a", shape=(2,), dtype="f8")[:] = 1.0
zarr.core.sync.loop[0].call_soon_threadsafe(time.sleep, 0.7)  # a busy machine
"""


def test_no_traceback_after_the_work_is_done(tmp_path):
    """zarr 3.1 closes its running loop after 0.2 s, unless mgdask has waited for its thread."""
    words = [sys.executable, "-c", CODE, str(tmp_path / "a.zarr")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
