"""Appending and overwriting that fail, are killed or are stopped lose nothing (F4)."""

from __future__ import annotations

import errno
import gzip
import hashlib
import importlib
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import xarray

import mgdask
from mgdask.errors import AuditError, StoreError
from mgdask.pipelines import ingest_tasks
from mgdask.store import layout, staging
from mgdask.store.failures import StorageFullError
from mgdask.store.manifest import Manifest
from mgdask.store.progress import read_progress
from tests.conftest import SPECIES, threads_client
from tests.forked import Forked, run
from tests.pipelines.test_featurize import files
from tests.pipelines.test_ingest import dump, short_shards  # noqa: F401

pytestmark = pytest.mark.usefixtures("short_shards")


WAYS = {"append": "appended", "overwrite": "replaced"}
"""Options of ``ingest``, and the folder with what they make."""
N_WRITES = {}
"""Number of writes of each, as ``Writes`` counts them."""


def tree(folder):
    """Every file below a folder, hidden ones too, by digest."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ingest(folder, *names, **options):
    options = {"species": SPECIES, "timestep": 0.001, **options}
    return mgdask.ingest([str(folder / name) for name in names], folder / "a.zarr", **options)


@pytest.fixture(scope="module", autouse=True)
def threads():
    """One thread of this process computes, so that its writes can be counted."""
    with threads_client(1) as client:
        yield client


@pytest.fixture(scope="module")
def made(tmp_path_factory, threads):
    """Inputs, a store ``a.zarr`` of the first, and the same after appending and overwriting."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(5)
    path = rng.uniform(0, 10, (1, 6, 3)) + np.cumsum(rng.uniform(-3, 3, (12, 6, 3)), axis=0)
    inputs = folder / "inputs"
    inputs.mkdir()
    for name, frames in (("1", range(5)), ("2", range(5, 8)), ("3", range(8, 12))):
        dump(inputs / f"{name}.dump", path, frames)
    cut = layout.TrajectoryLayout(3, 1, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_tasks, "trajectory_layout", lambda n: cut)
        patch.setattr("mgdask.store.trajectory.trajectory_layout", lambda n: cut)
        ingest(inputs, "1.dump", temperature=300.0)
        for way, name in WAYS.items():
            shutil.copytree(inputs, folder / name)
            with pytest.MonkeyPatch.context() as counting:
                writes = Writes(counting, None)
                ingest(folder / name, "2.dump", "3.dump", **{way: True})
            N_WRITES[way] = writes.n
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of the inputs and the store."""
    return shutil.copytree(made / "inputs", tmp_path / "place")


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


def check_done(made, place, way):
    """Check that the next call makes what a call without failures makes."""
    ingest(place, "2.dump", "3.dump", **{way: True})
    expected = made / WAYS[way]
    assert files(place / "a.zarr") == files(expected / "a.zarr")
    assert Manifest(place / "a.zarr").content() == Manifest(expected / "a.zarr").content()
    assert sorted(p.name for p in place.iterdir()) == sorted(p.name for p in expected.iterdir())
    assert set(tree(place)) == set(tree(expected))


def spoiled(text):
    lines = text.splitlines()
    at = [k for k, line in enumerate(lines) if line.startswith("ITEM: ATOMS")][1] + 2
    lines[at] = " ".join(["oops" if k == 3 else w for k, w in enumerate(lines[at].split())])
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("packed", [False, True])
def test_a_bad_frame_in_the_second_file_changes_nothing(made, place, way, packed):
    before, good = tree(place / "a.zarr"), (place / "3.dump").read_text()
    if packed:
        whole = gzip.compress(good.encode(), mtime=0)
        half = len(whole) // 2
        (place / "3.dump").write_bytes(whole[:half] + bytes(40) + whole[half + 40 :])
    else:
        (place / "3.dump").write_text(spoiled(good))
    with pytest.raises(AuditError, match=r"3\.dump") as error:
        ingest(place, "2.dump", "3.dump", **{way: True})
    if not packed:  # headers of a packed file are read first, before anything is prepared
        assert str(error.value).endswith(f"{place / 'a.zarr'} is unchanged")
    assert tree(place / "a.zarr") == before
    assert sorted(path.name for path in place.iterdir()) == ["1.dump", "2.dump", "3.dump", "a.zarr"]
    (place / "3.dump").write_text(good)
    check_done(made, place, way)


class Writes:
    """Counts what is written, and acts before one of the writes."""

    PLACES = (
        "zarr.storage._local._put",
        "shutil.copyfile",
        "os.rename",
        "os.replace",
        "mgdask.store.manifest._append_whole",
    )

    def __init__(self, patch, act, at=-1) -> None:
        self.n, self.at, self.act = 0, at, act
        for place in self.PLACES:
            module, _, name = place.rpartition(".")
            original = getattr(importlib.import_module(module), name)
            patch.setattr(place, self._counted(original))

    def _counted(self, original):
        def counted(*arguments, **options):
            self.n += 1
            if self.n == self.at:
                self.act()
            return original(*arguments, **options)

        return counted


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refusal(folder, way):
    """Return what a call says that fails on a full disk; "" if it succeeds."""
    try:
        ingest(folder, "2.dump", "3.dump", **{way: True})
    except StorageFullError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("every", [47, pytest.param(1, marks=pytest.mark.slow)])
def test_a_full_disk_changes_nothing(made, place, way, tmp_path, every):
    before, n = tree(place / "a.zarr"), N_WRITES[way]
    assert n > 40
    for at in range(every // 2 + 1, n + 1, every):
        copy = shutil.copytree(place, tmp_path / f"{at}")
        with pytest.MonkeyPatch.context() as patch:
            Writes(patch, full, at)
            said = refusal(copy, way)
        if said and not staging.is_declared(copy / "a.zarr"):
            assert "Make room" in said
            assert said.endswith(f"{copy / 'a.zarr'} is unchanged")
            assert tree(copy / "a.zarr") == before
            mgdask.open_store(copy / "a.zarr")
        check_done(made, copy, way)
        shutil.rmtree(copy)


# -------------------------------------------------------------------- killed and stopped processes

START = """
import os, signal, sys
from pathlib import Path
import pytest
from mgdask.store import layout
from tests.conftest import threads_client
from tests.pipelines import test_append_failures as t
cut = layout.TrajectoryLayout(3, 1, 4)
patch = pytest.MonkeyPatch()
patch.setattr("mgdask.pipelines.ingest_tasks.trajectory_layout", lambda n: cut)
patch.setattr("mgdask.store.trajectory.trajectory_layout", lambda n: cut)
"""
KILLED = (
    START
    + """
folder, way, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with threads_client(1):
    t.Writes(patch, lambda: os.kill(os.getpid(), signal.SIGKILL), at)
    t.ingest(folder, "2.dump", "3.dump", **{way: True})
"""
)
STOPPED = (
    START
    + """
import time
def writing(*arguments):
    print("writing", flush=True)
    time.sleep(60)
patch.setattr("mgdask.pipelines.ingest_tasks.write_shard", writing)
from mgdask.cli import main
main()
"""
)


def kill(folder, way, at):
    """Kill a process before one of its writes; say whether that was before its end."""
    return run(KILLED, folder, way, at).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "fractions",
    [(0.6,), pytest.param(tuple(np.arange(0.05, 1, 0.09)), marks=pytest.mark.slow)],
    ids=["one moment", "many"],
)
def test_a_killed_process_loses_nothing(made, place, way, tmp_path, fractions):
    before, n = tree(place / "a.zarr"), N_WRITES[way]
    for fraction in fractions:
        copy = shutil.copytree(place, tmp_path / f"{fraction}")
        assert kill(copy, way, int(fraction * n))
        if not staging.is_declared(copy / "a.zarr") and fraction < 0.7:
            assert tree(copy / "a.zarr") == before
            assert mgdask.open_store(copy / "a.zarr").sizes["frame"] == 5
        check_done(made, copy, way)


def test_another_command_drops_what_was_begun(made, place):
    assert kill(place, "append", 60)
    assert len(list(place.glob(".a.zarr.append-*"))) == 1
    mgdask.attach(place / "a.zarr", variables={"energy": -1.0})
    assert not list(place.glob(".a.zarr.*"))
    ingest(place, "2.dump", append=True)
    ds = mgdask.open_store(place / "a.zarr")
    assert ds.sizes["frame"] == 8
    np.testing.assert_array_equal(ds.energy, [-1.0] * 5 + [np.nan] * 3)
    assert mgdask.verify(place / "a.zarr", progress=False).ok


@pytest.mark.parametrize("next_command", ["attach", "verify", "append"])
def test_frames_that_are_being_moved_are_finished_by_any_writer(made, place, next_command):
    """The process dies after it has declared the move, before it is complete."""
    moved = []

    def dying(source, target):
        if Path(source).parts[-2:] == ("manifest", "complete.json"):
            raise KeyboardInterrupt
        moved.append(target)
        return replace(source, target)

    replace = os.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging.os, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            ingest(place, "2.dump", "3.dump", append=True)
    store = place / "a.zarr"
    assert moved
    with pytest.raises(StoreError, match=r"being moved into it, or a process.*was stopped.*attach"):
        mgdask.open_store(store)
    if next_command == "attach":
        mgdask.attach(store)
    elif next_command == "verify":
        assert mgdask.verify(store, repair=True, progress=False).ok
    assert next_command == "append" or mgdask.open_store(store).sizes["frame"] == 12
    check_done(made, place, "append")


def test_a_stopped_command_says_that_nothing_is_lost(made, place, way):
    number = {"append": signal.SIGINT, "overwrite": signal.SIGTERM}[way]
    before = tree(place / "a.zarr")
    words = [f"{place}/2.dump", f"{place}/3.dump", "--out", f"{place}/a.zarr", f"--{way}"]
    process = Forked(STOPPED, "ingest", *words, "--species", "Zr,Cu", "--timestep", "0.001")
    assert process.readline() == "writing\n"
    process.send_signal(number)
    _, said = process.communicate(60)
    assert process.returncode == 128 + number
    assert "stopped: mgdask ingest; nothing of the store is lost, and finished blocks" in said
    assert tree(place / "a.zarr") == before
    check_done(made, place, way)


# ---------------------------------------------------------------------------------------- overwrite


def test_an_exchange_in_two_steps_can_be_killed_between_them(made, place, monkeypatch):
    """As on file systems that cannot exchange two folders at once."""
    monkeypatch.setattr(staging, "_swapped", lambda one, other: False)
    rename, store = os.rename, place / "a.zarr"

    def dying(source, target):
        if ".overwrite-" in Path(source).name and Path(target) == store:
            raise KeyboardInterrupt
        return rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", dying)
        with pytest.raises(KeyboardInterrupt):
            ingest(place, "2.dump", "3.dump", overwrite=True)
    assert not store.exists()
    with pytest.raises(StoreError, match=r"was being replaced.*mgdask ingest --overwrite"):
        mgdask.open_store(store)
    check_done(made, place, "overwrite")


def test_another_overwrite_drops_what_was_begun(made, place):
    assert kill(place, "overwrite", int(0.8 * N_WRITES["overwrite"]))
    assert len(list(place.glob(".a.zarr.overwrite-*"))) == 1
    ingest(place, "2.dump", overwrite=True)
    assert not list(place.glob(".a.zarr.*"))
    assert mgdask.open_store(place / "a.zarr").sizes["frame"] == 3


def test_readers_see_the_old_store_until_all_is_written(made, place, way):
    """While blocks are written; a reader during the last renames gets an error or a whole store."""
    seen = []

    def writing(*arguments):
        seen.append(mgdask.open_store(place / "a.zarr").sizes["frame"])
        assert not read_progress(place / "a.zarr").finished
        return write_shard(*arguments)

    def moving(source, target):
        if staging.DECLARED not in Path(source).parts:
            return replace(source, target)
        with suppress(StoreError):
            ds = mgdask.open_store(place / "a.zarr")
            seen.append(len(ds.step) if ds.position.compute().notnull().all() else None)
        return replace(source, target)

    write_shard, replace = ingest_tasks.write_shard, os.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_tasks, "write_shard", writing)
        patch.setattr(staging.os, "replace", moving)
        ingest(place, "2.dump", "3.dump", **{way: True})
    assert seen
    assert set(seen) <= {5, 12 if way == "append" else 7}
    assert read_progress(place / "a.zarr").finished


def test_a_store_that_changes_while_it_is_opened_is_no_mixture(made, place, monkeypatch):
    def changing(*arguments, **options):
        ds = open_zarr(*arguments, **options)
        with monkeypatch.context() as patch:
            patch.setattr(xarray, "open_zarr", open_zarr)
            ingest(place, "2.dump", "3.dump", append=True)
        return ds

    open_zarr = xarray.open_zarr
    monkeypatch.setattr(xarray, "open_zarr", changing)
    with pytest.raises(StoreError, match="changed by another process while it was opened"):
        mgdask.open_store(place / "a.zarr")


def test_frames_are_prepared_inside_a_store_whose_folder_cannot_be_written(
    made, place, monkeypatch
):
    allowed = os.access
    monkeypatch.setattr(
        staging.os, "access", lambda path, mode: Path(path) != place and allowed(path, mode)
    )
    assert staging.new_folder(place / "a.zarr", "append").parent == place / "a.zarr" / "manifest"
    (place / "3.dump").rename(place / "good")
    (place / "3.dump").write_text(spoiled((place / "good").read_text()))
    before = tree(place / "a.zarr")
    with pytest.raises(AuditError, match="is unchanged"):
        ingest(place, "2.dump", "3.dump", append=True)
    assert tree(place / "a.zarr") == before
    (place / "good").rename(place / "3.dump")
    check_done(made, place, "append")


def test_a_link_to_a_store_stays_a_link(made, place, way, tmp_path):
    (place / "a.zarr").rename(tmp_path / "far.zarr")
    (place / "a.zarr").symlink_to(tmp_path / "far.zarr")
    ingest(place, "2.dump", "3.dump", **{way: True})
    assert (place / "a.zarr").is_symlink()
    assert files(tmp_path / "far.zarr") == files(made / WAYS[way] / "a.zarr")
    assert not list(tmp_path.glob(".far*"))


def test_values_given_again_for_the_first_input_leave_those_of_later_frames(made, place):
    ingest(place, "2.dump", append=True, temperature=300.0)
    store = place / "a.zarr"
    mgdask.attach(store, temperature=300.0)
    report = ingest(place, "1.dump", temperature=300.0)
    assert (report.n_written, report.n_frames) == (0, 8)
    assert (mgdask.open_store(store).temperature == 300.0).all()
    with pytest.raises(StoreError, match="has another temperature"):
        ingest(place, "1.dump", temperature=400.0)
