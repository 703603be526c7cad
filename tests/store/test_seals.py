"""Seals of shards, and files that are flushed before their record."""

import hashlib
import os
import struct

import google_crc32c
import numpy as np
import pytest

from mgdask.errors import StoreError
from mgdask.execution.records import record
from mgdask.store import durable, shards
from mgdask.store.manifest import Manifest
from mgdask.store.seals import read_seal


@pytest.fixture
def written(tmp_path, rng):
    """A store with a sharded array of 12 frames, its group, and one whole shard of values."""
    path = tmp_path / "s.zarr"
    group = shards.new_group(path, {}, overwrite=False)
    Manifest(path).create()
    shards.new_array(
        group, "x", ("frame", "atom"), (12, 6), "float64", chunks=(2, 3), shards=(4, 6)
    )
    return path, group, rng.normal(size=(4, 6))


def naive_seal(data, n_chunks):
    """The definition, read with struct; also checks every checksum that it uses."""
    index = data[-(16 * n_chunks + 4) :]
    assert struct.unpack("<I", index[-4:])[0] == google_crc32c.value(index[:-4])
    sums = b""
    for k in range(n_chunks):
        offset, length = struct.unpack_from("<QQ", index, 16 * k)
        if offset == length == 2**64 - 1:
            continue
        chunk = data[offset : offset + length]
        assert struct.unpack("<I", chunk[-4:])[0] == google_crc32c.value(chunk[:-4])
        sums += chunk[-4:]
    return hashlib.blake2b(index + sums, digest_size=16).hexdigest()


def test_a_seal_is_the_digest_of_the_index_and_of_the_checksums(written, monkeypatch):
    path, group, data = written
    data[:2] = np.nan  # chunks of fill values are not stored
    wrote = shards.write_shard(group, "x", (4, 0), data)
    stored = (path / wrote["file"]).read_bytes()
    assert wrote["seal"] == naive_seal(stored, 4)
    monkeypatch.setattr("mgdask.store.seals.READ_WHOLE", 0)  # as for a large file
    assert read_seal(path / wrote["file"], 4) == wrote["seal"]


def test_a_seal_changes_with_every_chunk(written):
    _, group, data = written
    seals = {shards.write_shard(group, "x", (0, 0), data)["seal"]}
    for row in (0, 2):
        for column in (0, 3):
            data[row, column] += 1.0
            seals.add(shards.write_shard(group, "x", (0, 0), data)["seal"])
    assert len(seals) == 5
    assert shards.write_shard(group, "x", (0, 0), np.full((4, 6), np.nan))["seal"] == ""


@pytest.mark.parametrize("n_bytes", [0, 3, 67, 68, 100, -1])
def test_files_that_cannot_be_a_shard_have_no_seal_or_another(written, n_bytes):
    path, group, data = written
    wrote = shards.write_shard(group, "x", (0, 0), data)
    file = path / wrote["file"]
    whole = file.read_bytes()
    file.write_bytes(whole[:n_bytes])
    assert read_seal(file, 4) != wrote["seal"]
    file.write_bytes(b"\xff" * len(whole))
    assert read_seal(file, 4) != wrote["seal"]
    file.write_bytes(whole)
    assert read_seal(file, 4) == wrote["seal"]


def test_files_and_folders_are_flushed_before_their_record(written, monkeypatch):
    path, group, data = written
    wrote = shards.write_shard(group, "x", (0, 0), data)
    flushed = []
    fsync = os.fsync

    def logged(handle):
        flushed.append(os.readlink(f"/proc/self/fd/{handle}").removeprefix(f"{path}"))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", logged)
    Manifest(path).append(record("b", "d", [wrote], 0.0))
    journal = flushed[-2] if flushed[-1] == "/manifest" else flushed[-1]
    assert flushed[:5] == ["/x/c/0/0", "/x/c/0", "/x/c", "/x", ""]
    assert flushed[5] == str(path.parent)
    assert journal.endswith(".jsonl")
    flushed.clear()
    wrote = shards.write_shard(group, "x", (4, 0), data)
    Manifest(path).append(record("c", "d", [wrote], 0.0))
    assert flushed == ["/x/c/1/0", "/x/c/1", "/x/c", journal]


def test_a_shard_that_the_disk_did_not_take_has_no_record(written, monkeypatch):
    path, group, data = written
    wrote = shards.write_shard(group, "x", (0, 0), data)

    def failing(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", failing)
    with pytest.raises(StoreError, match="is full"):
        Manifest(path).append(record("b", "d", [wrote], 0.0))
    assert not Manifest(path).records()
