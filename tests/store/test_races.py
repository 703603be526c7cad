"""Two commands on one store: one is refused in one line, and what the other makes is right."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import mgdask
from mgdask.errors import StoreError
from mgdask.store import lock, lock_owner
from mgdask.store.creation import created_whole
from mgdask.store.manifest import Manifest
from tests import racing

FEW = ("ingest | ingest other", "overwrite | overwrite other", "featurize | featurize other")
"""Pairs that left stores which no command could use any more, before stores were made under a lock."""


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    inputs = tmp_path_factory.mktemp("inputs")
    return racing.Arena(racing.prepare(inputs), tmp_path_factory.mktemp("races"))


def race(arena, pair, n_races):
    chance = random.Random(str(pair))
    for _ in range(n_races):
        delay = chance.uniform(0.0, chance.choice((0.15, 0.01)))
        _, flaw = arena.race(pair, delay)
        assert not flaw, f"{pair}, {delay:.4f} s apart: {flaw}"


@pytest.mark.parametrize("pair", [one for one in racing.PAIRS if str(one) in FEW], ids=str)
def test_two_commands_at_once(arena, pair):
    race(arena, pair, 2)


@pytest.mark.slow
@pytest.mark.parametrize("pair", racing.PAIRS, ids=str)
def test_any_two_commands_at_once(arena, pair):
    race(arena, pair, 3)


def refused(store):
    with pytest.raises(StoreError) as error, lock.locked(store):
        pass
    text = str(error.value)
    assert "\n" not in text
    return text


def test_the_lock_is_beside_the_store_and_leaves_nothing(tmp_path):
    store = tmp_path / "new" / "folder" / "a.zarr"
    with Manifest(store).locked() as held:
        assert [path.name for path in store.parent.iterdir()] == [".a.zarr.lock"]
        assert f"process {os.getpid()}, which is this one, since " in refused(store)
        held.check()
        (tmp_path / "link").symlink_to(store)
        assert "is being written by" in refused(tmp_path / "link")
        lock.lock_file(store).unlink()
        with pytest.raises(StoreError, match="removed or taken over"):
            held.check()
    (tmp_path / "link").unlink()
    assert list(tmp_path.iterdir()) == []
    long = tmp_path / ("x" * 250)
    with lock.locked(long):
        assert len(lock.lock_file(long).name) < 80


def test_the_message_says_who_since_when_and_what(tmp_path):
    store, name = tmp_path / "a.zarr", tmp_path / ".a.zarr.lock"
    sleeper = subprocess.Popen(["sleep", "100"])
    owner = {
        **lock_owner.this_process(),
        "pid": sleeper.pid,
        "began": lock_owner.start_time(sleeper.pid),
        "user": "anna",
        "command": "mgdask featurize a.zarr",
        "since": time.time() + 7200,  # the clock was set back since
    }
    owner["uptime"] -= 240.0
    try:
        name.write_text(json.dumps(owner))
        where = rf"a.zarr is being written by process {sleeper.pid} of user anna on {owner['host']}"
        with pytest.raises(StoreError, match=where) as error, lock.locked(store):
            pass
        began = time.strftime("%H:%M", time.localtime(time.time() - 240))
        assert f" since {began}" in str(error.value)
        assert "(4 min ago) (mgdask featurize a.zarr): wait for it" in str(error.value)
        with pytest.raises(StoreError, match=where):
            lock.check_unlocked(store)
        os.kill(sleeper.pid, signal.SIGSTOP)
        while lock_owner._stat(sleeper.pid)[0] != "T":
            time.sleep(0.005)
        assert f"kill -CONT {sleeper.pid}" in refused(store)
        with pytest.raises(StoreError, match=r"a\.zarr cannot be read now, because .*of user anna"):
            mgdask.open_store(store)
        sleeper.kill()
        while lock_owner._stat(sleeper.pid)[0] != "Z":
            time.sleep(0.005)
        with lock.locked(store):  # killed, though its parent has not collected it yet
            pass
        assert list(tmp_path.iterdir()) == []
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_strange_lock_is_named(tmp_path):
    store, name = tmp_path / "a.zarr", tmp_path / ".a.zarr.lock"
    for text in ("", "[1]", '{"pid": 1', "[" * 100_000):
        name.write_text(text)
        assert f"wait 300 s, after which the lock expires, or remove {name}" in refused(store)
    old = time.time() - lock.LEASE - 1
    os.utime(name, (old, old))
    with lock.locked(store):
        pass
    name.write_text("{}")
    os.utime(name, (time.time() + 86400, time.time() + 86400))
    refused(store)  # the clock was set back by a day: its lease begins now
    assert abs(name.stat().st_mtime - time.time()) < 60
    name.unlink()
    name.mkdir()
    assert refused(store) == f"{name} is a folder where the lock file of {store} belongs; remove it"
    name.rmdir()
    name.symlink_to(tmp_path / "nothing")
    assert "remove" in refused(store)


def test_a_lock_of_this_process_that_nobody_holds_is_no_lock(tmp_path):
    store, name = tmp_path / "a.zarr", tmp_path / ".a.zarr.lock"
    # an interrupt between taking a lock and holding it, in a notebook that lives on
    name.write_text(json.dumps({**lock_owner.this_process(), "token": "lost"}))
    with lock.locked(store):
        assert "which is this one" in refused(store)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def open_folder():
    """A folder that other users can enter, which that of pytest is not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_the_lock_is_inside_if_the_folder_cannot_be_written(open_folder):
    store = open_folder / "a.zarr"
    inside = Manifest(store)
    inside.create()
    for path in (store, inside.folder):
        os.chown(path, 65534, 65534)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with lock.locked(store):
                status = 0 if (inside.folder / "lock").exists() else 2
                status = status or (0 if not lock.lock_file(store).exists() else 4)
            status = status or (5 if (inside.folder / "lock").exists() else 0)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # each respects the other's place
    (inside.folder / "lock").write_text(json.dumps(lock_owner.this_process()))
    refused(store)
    assert not lock.lock_file(store).exists()


def test_a_store_appears_whole_or_not_at_all(tmp_path):
    store = tmp_path / "a.zarr"
    (tmp_path / ".a.zarr.new").mkdir()
    (tmp_path / ".a.zarr.new" / "left").write_text("by a killed process")

    def fail():
        with created_whole(store) as folder:
            Manifest(folder).create()
            assert not store.exists()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with created_whole(store) as folder:
        Manifest(folder).create()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    assert not (store / "left").exists()


def test_what_is_seen_of_a_store_in_the_making_does_not_count(tmp_path):
    store, name = tmp_path / "a.zarr", tmp_path / ".a.zarr.lock"
    looks = []

    def look():
        looks.append(len(looks))
        if len(looks) == 1:  # it is made and finished meanwhile
            raise StoreError("half of it")
        return "whole"

    assert lock.settled(store, look) == "whole"
    assert lock.read_settled(store, look) == "whole"
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        began = lock_owner.start_time(sleeper.pid)

        def made():
            owner = {**lock_owner.this_process(), "pid": sleeper.pid, "began": began}
            name.write_text(json.dumps(owner))
            raise StoreError("half of it")

        for see in (lock.settled, lock.read_settled):
            name.unlink(missing_ok=True)
            with pytest.raises(StoreError, match="is being written by process"):
                see(store, made)
    finally:
        sleeper.kill()
        sleeper.wait()
