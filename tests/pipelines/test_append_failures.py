"""Appending and overwriting that fail, are killed or are stopped lose nothing (F4)."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import mgdask
from mgdask.errors import AuditError, StoreError
from mgdask.pipelines import ingest_tasks
from mgdask.store import layout, staging
from mgdask.store.failures import StorageFullError
from mgdask.store.manifest import Manifest
from tests.conftest import SPECIES, threads_client
from tests.forked import Forked, run
from tests.pipelines.test_featurize import files
from tests.pipelines.test_ingest import dump, short_shards  # noqa: F401

pytestmark = pytest.mark.usefixtures("short_shards")


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
        shutil.copytree(inputs, folder / "appended")
        ingest(folder / "appended", "2.dump", "3.dump", append=True)
        shutil.copytree(inputs, folder / "replaced")
        ingest(folder / "replaced", "2.dump", "3.dump", overwrite=True)
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of the inputs and the store."""
    return shutil.copytree(made / "inputs", tmp_path / "place")


WAYS = {"append": "appended", "overwrite": "replaced"}
"""Options of ``ingest``, and the folder with what they make."""


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
        assert str(error.value).endswith(f"{place / 'a.zarr'} is as it was before")
    assert tree(place / "a.zarr") == before
    assert sorted(path.name for path in place.iterdir()) == ["1.dump", "2.dump", "3.dump", "a.zarr"]
    (place / "3.dump").write_text(good)
    check_done(made, place, way)


class Writes:
    """Counts what is written below a folder, and acts before one of the writes."""

    def __init__(self, patch, act) -> None:
        import zarr.storage._local as local

        self.n, self.at, self.act = 0, -1, act
        for owner, name in (
            (local, "_put"),
            (shutil, "copyfile"),
            (os, "rename"),
            (os, "replace"),
            ("mgdask.store.manifest", "_append_whole"),
        ):
            target = f"{owner}.{name}" if isinstance(owner, str) else None
            original = _get(target) if target else getattr(owner, name)
            patch.setattr(*([target] if target else [owner, name]), self._counted(original))

    def _counted(self, original):
        def counted(*arguments, **options):
            self.n += 1
            if self.n == self.at:
                self.act()
            return original(*arguments, **options)

        return counted


def _get(name):
    import importlib

    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def n_writes(place, way, tmp_path):
    """Number of writes of a call that succeeds."""
    copy = shutil.copytree(place, tmp_path / "counted")
    with pytest.MonkeyPatch.context() as patch:
        writes = Writes(patch, full)
        ingest(copy, "2.dump", "3.dump", **{way: True})
    return writes.n


@pytest.mark.parametrize("every", [23, pytest.param(1, marks=pytest.mark.slow)])
def test_a_full_disk_changes_nothing(made, place, way, tmp_path, every):
    before, n = tree(place / "a.zarr"), n_writes(place, way, tmp_path)
    assert n > 40
    for at in range(every // 2 + 1, n + 1, every):
        copy = shutil.copytree(place, tmp_path / f"{at}")
        with pytest.MonkeyPatch.context() as patch:
            Writes(patch, full).at = at
            try:
                ingest(copy, "2.dump", "3.dump", **{way: True})
            except StorageFullError as error:
                assert "Make room" in str(error)
                if not staging.is_declared(copy / "a.zarr"):
                    assert str(error).endswith(f"{copy / 'a.zarr'} is as it was before")
                    assert tree(copy / "a.zarr") == before
                    mgdask.open_store(copy / "a.zarr")
        check_done(made, copy, way)
        shutil.rmtree(copy)
