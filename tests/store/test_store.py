"""Layout, shards and manifest: whole shards only, records after data, failures in words."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
import zarr

import mgdask
from mgdask.errors import StoreError
from mgdask.store import shards
from mgdask.store.failures import StorageFullError, explained
from mgdask.store.layout import CHUNK, MAX_BLOCK, MIN_SHARD, block_layout, trajectory_layout
from mgdask.store.lock import lock_file
from mgdask.store.manifest import Manifest
from tests.conftest import GLASS, SPECIES


@pytest.mark.parametrize("n_atoms", [1, 300, 2000, 8788, 50_000, 10**6, 3 * 10**7])
def test_trajectory_layout(n_atoms):
    cut = trajectory_layout(n_atoms)
    assert cut.shard_frames * n_atoms * 24 >= MIN_SHARD
    assert cut.shard_frames % cut.chunk_frames == 0
    assert cut.shard_atoms(n_atoms) % cut.chunk_atoms == 0
    assert cut.chunk_frames * cut.chunk_atoms * 24 <= CHUNK
    if n_atoms * 24 > MIN_SHARD:
        assert cut.shard_frames == 1


@pytest.mark.parametrize("shape", [(1, 300), (8, 2000), (10_000, 2000), (1, 10**6), (1000, 10**6)])
@pytest.mark.parametrize("row", [16, 9792, 26312])
def test_block_layout(shape, row):
    frames, rows = shape
    cut = block_layout(frames, rows, row)
    assert cut.rows % cut.chunk_rows == 0
    assert cut.frames == 1 or cut.rows >= rows
    size = cut.frames * min(cut.rows, rows) * row
    assert size <= MAX_BLOCK + cut.chunk_rows * row
    if frames * rows * row > 4 * MIN_SHARD:
        assert size >= MIN_SHARD / 2
    assert cut.chunk_rows * row <= max(CHUNK, row)


def small(path, n=10):
    group = shards.new_group(path, {"mgdask_kind": "features"}, overwrite=False)
    Manifest(path).create()
    shards.new_array(
        group,
        "soap",
        ("frame", "atom", "soap_feature"),
        (n, 6, 2),
        "float64",
        chunks=(1, 2, 2),
        shards=(4, 4, 2),
    )
    return group


def test_only_whole_shards_are_written(tmp_path, rng):
    group = small(tmp_path / "a.zarr")
    data = rng.normal(size=(10, 6, 2))
    wrote = [
        shards.write_shard(group, "soap", (f, a, 0), data[f : f + 4, a : a + 4])
        for f in (0, 4, 8)
        for a in (0, 4)
    ]
    assert (group["soap"][...] == data).all()
    assert all((tmp_path / "a.zarr" / w["file"]).stat().st_size == w["size"] > 0 for w in wrote)
    for start, part in (
        ((0, 0, 0), data[:3, :4]),
        ((2, 0, 0), data[2:6, :4]),
        ((4, 4, 0), data[4:8, 4:5]),
    ):
        with pytest.raises(StoreError, match="not a whole shard"):
            shards.write_shard(group, "soap", start, part)


def test_a_shard_of_nothing_but_fill_has_no_file_and_is_done_all_the_same(tmp_path):
    group = small(tmp_path / "a.zarr")
    wrote = shards.write_shard(group, "soap", (0, 0, 0), np.full((4, 4, 2), np.nan))
    assert wrote["size"] == 0
    manifest = Manifest(tmp_path / "a.zarr")
    manifest.append({"block": "b", "digest": "d", "files": {wrote["file"]: 0}, "checksum": {}})
    assert manifest.done("b", "d", manifest.records())


def test_a_flipped_byte_is_caught(tmp_path, rng):
    group = small(tmp_path / "a.zarr")
    wrote = shards.write_shard(group, "soap", (0, 0, 0), rng.normal(size=(4, 4, 2)))
    file = tmp_path / "a.zarr" / wrote["file"]
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"[Cc]hecksum"):
        group["soap"][:4, :4]


def test_manifest_records_are_appended_joined_and_checked(tmp_path):
    small(tmp_path / "a.zarr")
    manifest = Manifest(tmp_path / "a.zarr")
    record = {
        "block": "b1",
        "digest": "d",
        "files": {"soap/c/0/0/0": 7},
        "checksum": {"soap/c/0/0/0": "x"},
    }
    manifest.append(record)
    manifest.append(record | {"block": "b2", "files": {}})
    part = next(manifest.folder.glob("*.jsonl"))
    part.write_bytes(part.read_bytes() + b'{"block": "b3", "dig')  # torn by a kill
    records = manifest.records()
    assert set(records) == {"b1", "b2"}
    assert manifest.done("b2", "d", records)
    assert not manifest.done("b2", "other parameters", records)
    assert not manifest.done("b1", "d", records)  # its file is not there
    assert not manifest.done("b3", "d", records)
    assert manifest.content() is None
    content = manifest.finish("x")
    assert manifest.content() == content
    assert [name.name for name in manifest.folder.glob("*.jsonl")] == ["blocks.jsonl"]
    assert set(manifest.records()) == {"b1", "b2"}


def test_one_writer_at_a_time(tmp_path):
    small(tmp_path / "a.zarr")
    manifest = Manifest(tmp_path / "a.zarr")
    with (
        manifest.locked(),
        pytest.raises(StoreError, match=f"is being written by process {os.getpid()}"),
        manifest.locked(),
    ):
        pass
    lock = lock_file(manifest.store)
    lock.write_text(
        json.dumps({"host": socket.gethostname(), "pid": 2**22 - 3})
    )  # left by a killed process
    with manifest.locked():
        assert lock.exists()
    lock.write_text(json.dumps({"host": "another-node", "pid": 1}))
    with pytest.raises(StoreError, match=r"another-node.*remove"), manifest.locked():
        pass


def test_failures_of_the_disk_in_words(tmp_path):
    for number, words in (
        (errno.ENOSPC, "is full.*run the same command again"),
        (errno.EROFS, "cannot be written"),
    ):
        with pytest.raises(StorageFullError, match=words), explained(tmp_path / "x"):
            raise OSError(number, os.strerror(number))
    with pytest.raises(OSError, match="pipe"), explained(tmp_path):
        raise OSError(errno.EPIPE, "pipe")


def test_opening(tmp_path, glass_store):
    ds = mgdask.open_store(glass_store)
    assert dict(ds.sizes) == {"frame": 8, "atom": 2000, "xyz": 3, "vector": 3}
    assert ds.position.attrs["units"] == "Å"
    assert {"time", "step", "run", "atom_id", "species", "mass"} <= set(ds.coords)
    assert ds.position.chunks is not None
    assert np.isfinite(ds.position.values).all()
    plain = xr.open_zarr(glass_store, consolidated=False)  # nothing but xarray is needed to read it
    assert (plain.position.values == ds.position.values).all()
    with pytest.raises(StoreError, match=r"is not a Zarr store"):
        mgdask.open_store(tmp_path / "none.zarr")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="not one that mgdask wrote"):
        mgdask.open_store(tmp_path / "other.zarr")
    small(tmp_path / "half.zarr")
    with pytest.raises(StoreError, match=r"is not finished.*mgdask featurize"):
        mgdask.open_store(tmp_path / "half.zarr")


def test_existing_targets_are_not_overwritten(tmp_path, glass_store):
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="is not a Zarr store"):
        mgdask.ingest(str(GLASS), tmp_path / "folder", species=SPECIES)
    with pytest.raises(StoreError, match="exists already; overwrite=True"):
        mgdask.ingest(str(GLASS), glass_store, species={1: "Cu", 2: "Zr"}, timestep=0.002)
    report = mgdask.ingest(str(GLASS), glass_store, species=SPECIES, timestep=0.002)
    assert report.n_written == 0


def test_parts_of_a_large_frame_are_not_small():
    """Atoms around a block are worked on too, so a block of few atoms costs much; a small frame is cut for more workers."""
    large, small = block_layout(1, 1_024_000, 512), block_layout(8, 2000, 26312)
    assert large.frames == 1
    assert 40 * 2**20 <= large.rows * 512 <= 48 * 2**20 + large.chunk_rows * 512
    assert -(-2000 // small.rows) * 8 == 32
    assert (
        block_layout(1, 1_024_000, 512, limit=2**20).rows * 512 <= 2**20 + large.chunk_rows * 512
    )  # memory comes first


WITHOUT_POSIX = """
import sys
from pathlib import Path
import psutil  # its build for Linux needs resource
sys.modules |= {"fcntl": None, "resource": None}  # as on Windows
import mgdask
ds = mgdask.open_store(sys.argv[1])
assert ds.position.shape == (8, 2000, 3)
from mgdask.pipelines import dynamics, ingest, rdf, unwrap, verify
from mgdask.pipelines.featurize import block, lazy, plan, run
from mgdask.store.lock import held
real_open = open
def without_proc(file, *words, **options):
    if str(file).startswith("/proc"):
        raise FileNotFoundError(file)
    return real_open(file, *words, **options)
block.open = without_proc
assert block.peak_memory() > 2**20
folder = Path(sys.argv[2])
name = folder / "lock"
name.write_text('{"pid": 4194301}')  # left by a dead process
with held(name, folder):
    try:
        with held(name, folder):
            raise AssertionError("held twice")
    except mgdask.errors.StoreError as error:
        print(error)
"""


def test_opening_needs_no_module_of_posix(glass_store, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, glass_store, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "is being written by process" in done.stdout
