"""Cache of compiled kernels: once per node, and only what this user has written."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

import pytest

from mgdask.ownership import tamper_risk
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
COMPILED, LOADED = "ready\n6.0 0\n", "ready\n6.0 1\n"


@pytest.fixture
def cache(tmp_path):
    """Folder of the cache of the processes that ``start`` starts."""
    (tmp_path / "once.py").write_text(MODULE)
    return tmp_path / "cache"


def start(cache):
    env = {**os.environ, "MGDASK_CACHE_DIR": str(cache), "PYTHONPATH": str(cache.parent)}
    return Forked(CODE, env=env)


def outcome(cache):
    """What a new process prints, and what it logs."""
    return start(cache).communicate(120)


def test_one_of_several_processes_compiles(cache):
    first = start(cache)
    assert first.communicate(120)[0] == COMPILED
    (lock,) = cache.rglob("once.total-*.lock")
    for file in cache.rglob("once*.nb*"):
        file.unlink()
    with open(lock, "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        both = [start(cache) for _ in range(2)]
        for process in both:
            process.readline()
        time.sleep(1.0)
        assert [process.poll() for process in both] == [None, None]
    ended = [process.communicate(120) for process in both]
    assert sorted(ended) == [(COMPILED, ""), (LOADED, "")]  # lost files are no damage


DAMAGE = """
import glob, pathlib, pickle, sys
import numpy as np, once
DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "garbage": lambda data: bytes(range(256)) * (len(data) // 256 + 1),
    "wrong pickle": lambda data: pickle.dumps({"key": "value"}),
    "one bit": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
}
def call():
    once.total._compiled = None
    total = once.total(np.arange(4.0))
    return total, sum(once.total._compiled.stats.cache_hits.values())
assert call() == (6.0, 0)
for file in map(pathlib.Path, sys.argv[1:]):
    (file,) = map(pathlib.Path, glob.glob(str(file)))
    for name, damage in DAMAGES.items():
        file.write_bytes(damage(file.read_bytes()))
        print(file.suffix, name, *call(), *call())
"""


def test_damaged_files_are_removed_with_one_warning(cache):
    env = {**os.environ, "MGDASK_CACHE_DIR": str(cache), "PYTHONPATH": str(cache.parent)}
    patterns = [cache / "*" / name for name in ("once*.json", "*/once*.nbi", "*/once*.nbc")]
    printed, log = Forked(DAMAGE, *patterns, env=env).communicate(120)
    expected = [
        f"{suffix} {name} 6.0 0 6.0 1"  # compiled, then loaded
        for suffix in (".json", ".nbi", ".nbc")
        for name in ("empty", "truncated", "garbage", "wrong pickle", "one bit")
    ]
    assert printed.splitlines() == expected, log
    lines = log.splitlines()
    assert len(lines) == len(expected)
    for line in lines:
        assert re.search(
            rf"the compiled kernel once\.total in {cache}/.* is damaged and will be recompiled",
            line,
        )


def test_files_without_a_record_are_never_loaded(cache):
    """As after a power cut before the record was written."""
    assert outcome(cache) == (COMPILED, "")
    (record,) = cache.rglob("once.total-*.json")
    record.unlink()
    assert outcome(cache) == (COMPILED, "")
    assert outcome(cache) == (LOADED, "")


REFUSE = """
import os, pathlib, pickle, sys
import numpy as np, once
from mgdask.kernels import _cache, _jit

class Planted:
    def __reduce__(self):
        return os.mkdir, (sys.argv[1],)

def call():
    _cache.cache_root.cache_clear()
    _jit.cache_directory.cache_clear()
    os.environ.pop("MGDASK_CACHE_REMARK_MADE", None)
    once.total._compiled = None
    return once.total(np.arange(4.0)), _jit.cache_directory() is not None

root = pathlib.Path(os.environ["MGDASK_CACHE_DIR"])
assert call() == (6.0, True)
(index,) = root.rglob("once*.nbi")
(record,) = root.rglob("once*.json")
index.write_bytes(pickle.dumps(Planted()))  # with a checksum of its own
text = record.read_text().split('"')
text[text.index(index.name) + 2] = _cache._checksum(index)
record.write_text('"'.join(text))
ATTACKS = {
    "none": lambda: None,
    "mode": lambda: root.chmod(0o777),
    "group": lambda: root.chmod(0o770),
    "mode above": lambda: root.parent.chmod(0o777),
    "owner": lambda: os.chown(root, 65534, 65534),
    "owner above": lambda: os.chown(root.parent, 65534, 65534),
}
for name in sys.argv[2:]:
    for folder in (root, root.parent):
        folder.chmod(0o700)
        os.chown(folder, os.getuid(), os.getgid())
    ATTACKS[name]()
    print(name, *call(), os.path.exists(sys.argv[1]))
"""


def test_a_cache_that_another_user_could_write_is_not_used(tmp_path):
    """A pickle that another user plants there would be executed."""
    above = tmp_path / "above"
    above.mkdir()
    (tmp_path / "once.py").write_text(MODULE)
    names = ["mode", "group", "mode above"] + ["owner", "owner above"] * (os.getuid() == 0)
    names.append("none")  # a folder of this user only: what is in it is executed
    env = {**os.environ, "MGDASK_CACHE_DIR": str(above / "cache"), "PYTHONPATH": str(tmp_path)}
    process = Forked(REFUSE, tmp_path / "executed", *names, env=env)
    printed, log = process.communicate(120)
    refused = [f"{name} 6.0 False False" for name in names[:-1]]
    assert printed.splitlines() == [*refused, "none 6.0 True True"], log
    lines = log.splitlines()
    for name, line in zip(names[:-1], lines, strict=True):
        at_fault = above if "above" in name else above / "cache"
        assert f"each process compiles them again: {at_fault} " in line
        assert line.endswith("Set MGDASK_CACHE_DIR to a folder that belongs to you and that only "
                             "you can write")  # fmt: skip


def test_folders_above_may_be_shared_if_only_owners_can_rename(tmp_path):
    shared = tmp_path / "shared"
    folder = shared / "own"
    folder.mkdir(parents=True)
    assert tamper_risk(folder) is None
    shared.chmod(0o1777)
    assert tamper_risk(folder) is None
    shared.chmod(0o777)
    assert tamper_risk(folder) == f"{shared} can be written by others: chmod go-w {shared}"
    shared.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert tamper_risk(link) == f"{link} is not a folder"
    assert tamper_risk(link / "..") == f"{link} is a link"


def test_a_full_disk_costs_the_cache_only(cache, monkeypatch):
    code = CODE.replace(
        "print(once",
        "import os; from numba.core import caching; import errno\n"
        "def full(*_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "caching.IndexDataCacheFile._save_data = full\nprint(once",
    )
    env = {**os.environ, "MGDASK_CACHE_DIR": str(cache), "PYTHONPATH": str(cache.parent)}
    assert Forked(code, env=env).communicate(120) == (COMPILED, "")
    assert outcome(cache) == (COMPILED, "")
    assert Path(cache).is_dir()
