"""The mark of a finished store: damaged metadata, small arrays and records are noticed."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile

import numpy as np
import pytest
import zarr

import mgdask
from mgdask.errors import StoreError
from mgdask.store import mark
from mgdask.store.failures import DamagedStoreError
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.progress import read_progress
from mgdask.store.unwrapped import unwrapped_source
from tests.conftest import GLASS, SPECIES


@pytest.fixture
def store(glass_store, tmp_path, monkeypatch):
    monkeypatch.setattr(mark, "PAUSE", 0.0)
    return shutil.copytree(glass_store, tmp_path / "g.zarr")


def edited(**changes):
    """Return a change of a JSON file: entries of its attributes, or of itself."""

    def change(data):
        described = json.loads(data)
        for key, value in changes.items():
            place = described if key in described else described["attributes"]
            assert place[key] != value
            place[key] = value
        return json.dumps(described, indent=2).encode()

    return change


DAMAGES = [
    ("zarr.json", edited(mgdask_kind="features"), "differs"),
    ("zarr.json", edited(input_digest=""), "differs"),
    ("zarr.json", lambda data: b"", "does not describe a Zarr group"),
    ("zarr.json", lambda data: b"[1]", "does not describe a Zarr group"),
    ("zarr.json", lambda data: b"\xff\x00garbage", "does not describe a Zarr group"),
    ("zarr.json", None, "is missing"),
    ("position/zarr.json", edited(shape=[4, 2000, 3]), "differs"),
    ("position/zarr.json", lambda data: b"[1]", "differs"),
    ("image/zarr.json", None, "is missing"),
    ("pbc/c/0", None, "is missing"),
    ("atom_id/c/0", lambda data: b"", "differs"),
    ("atom_id/c/0", None, "is missing"),
    ("species/c/0", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "differs"),
    ("manifest/zarr.json", lambda data: b"{}", "differs"),
    ("manifest/complete.json", lambda data: b"[1]", "is not the mark"),
    ("manifest/complete.json", lambda data: b"", "is empty"),
    ("manifest/complete.json", lambda data: data[:40], "is not JSON"),
    ("manifest/complete.json", edited(blocks=9), "differs"),
]
"""File, its change (None removes it), and what is said of it."""


@pytest.mark.parametrize(("file", "change", "what"), DAMAGES)
def test_damage_is_noticed_before_anything_is_read(store, file, change, what):
    assert check_complete(store)
    damage(store / file, change)
    for opens in (mgdask.open_store, check_complete, unwrapped_source):
        with pytest.raises(DamagedStoreError) as caught:
            opens(store)
        text = str(caught.value)
        assert text.startswith(f"{store / file} is damaged: it {what}")
        assert text.endswith(f"mgdask verify {store} --repair")


def damage(path, change):
    data = path.read_bytes()
    path.unlink()
    if change is not None:
        path.write_bytes(change(data))


def test_a_file_that_an_array_of_fill_values_never_had_is_noticed(store):
    array = store / "fill"
    zarr.create_array(array, shape=(3,), dtype="f8", fill_value=0.0, dimension_names=["k"])
    Manifest(store).reopen()
    Manifest(store).finish("x")
    assert (mgdask.open_store(store)["fill"] == 0).all()
    zarr.open_array(array, mode="r+")[:] = 7.0
    with pytest.raises(DamagedStoreError, match=r"fill/c/0 is damaged: it was not written by"):
        mgdask.open_store(store)


def test_files_are_read_once_per_process(store, monkeypatch):
    check_complete(store)
    monkeypatch.setattr(mark, "compare", None)  # would be called
    check_complete(store)
    mgdask.open_store(store)
    (store / "mass" / "c" / "0").touch()
    with pytest.raises(TypeError):
        check_complete(store)


def test_the_mark_has_digests_and_copies_of_all_metadata(store):
    known = json.loads((store / "manifest" / "complete.json").read_text())
    found = {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("zarr.json")}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    assert known["metadata"] == sums
    assert len(sums) == 13
    with zipfile.ZipFile(store / "manifest" / "kept.zip") as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    for name in kept:
        assert kept[name] == (store / name).read_bytes()
    assert set(kept) == {*sums, *known["small"], "manifest/complete.json"}


def test_whatever_changes_a_finished_store_keeps_its_mark(store, tmp_path):
    mgdask.attach(store, temperature=300.0)
    assert (mgdask.open_store(store).temperature == 300).all()
    before = (store / "manifest" / "complete.json").read_bytes()
    mgdask.attach(store, temperature=400.0, overwrite=True)
    assert (store / "manifest" / "complete.json").read_bytes() != before
    assert (mgdask.open_store(store).temperature == 400).all()
    mgdask.ingest(str(GLASS), store, species=SPECIES, timestep=0.002)
    assert mgdask.verify(store, progress=False).ok
    # unwrapped trajectories get values of frames when they are repeated
    mgdask.unwrap(store, tmp_path / "u.zarr", progress=False)
    mgdask.attach(store, variables={"energy": -1.0})
    mgdask.unwrap(store, tmp_path / "u.zarr", progress=False)
    assert (mgdask.open_store(tmp_path / "u.zarr").energy == -1).all()
    assert mgdask.verify(tmp_path / "u.zarr", progress=False).ok


@pytest.mark.parametrize("file", ["zarr.json", "time/c/0", "image/zarr.json"])
def test_a_repeated_command_does_not_seal_damage(store, file):
    mgdask.attach(store, temperature=300.0)
    change = edited(audit=["tampered"]) if file == "zarr.json" else lambda data: data + b"\n"
    damage(store / file, change)
    calls = [
        lambda: mgdask.ingest(str(GLASS), store, species=SPECIES, timestep=0.002),
        lambda: mgdask.attach(store, temperature=400.0, overwrite=True),
        lambda: mgdask.unwrap(store, store.with_name("u.zarr"), progress=False),
    ]
    for call in calls:
        with pytest.raises(DamagedStoreError, match=f"{file} is damaged"):
            call()


def test_values_that_are_being_attached_are_not_damage(store, monkeypatch):
    """Between the move of the values and the new mark, a reader sees neither as damaged."""
    mgdask.attach(store, temperature=300.0)
    seen = []
    update = Manifest.update

    def read_then_update(self, names):
        assert mark.compare(self.store, self.completion()) == {}
        seen.append(check_complete(self.store)[1])
        update(self, names)

    monkeypatch.setattr(Manifest, "update", read_then_update)
    mgdask.attach(store, temperature=400.0, overwrite=True)
    assert seen == [Manifest(store).content()]


def test_damaged_lines_of_the_records_count_as_missing(store):
    manifest = Manifest(store)
    records = manifest.records()
    assert manifest.count_damaged_records() == 0
    book = store / "manifest" / "blocks.jsonl"
    data = bytearray(book.read_bytes())
    rng = np.random.default_rng(3)
    for at in rng.choice(len(data), 60, replace=False):
        if data[at] in b"\n":
            continue
        data[at] ^= 2
        book.write_bytes(data)
        assert manifest.count_damaged_records() == 1
        assert len(manifest.records()) == len(records) - 1
        data[at] ^= 2
    # a line of version 0.1, without a digest of itself
    old = [json.dumps(record) for record in records.values()]
    book.write_text("\n".join(old) + "\n")
    assert manifest.records() == records


def test_a_lost_manifest_and_status_are_explained(store):
    (store / "manifest" / "complete.json").write_text("[1]")
    with pytest.raises(DamagedStoreError, match=r"complete\.json is damaged"):
        read_progress(store)
    shutil.rmtree(store / "manifest")
    with pytest.raises(StoreError, match=r"manifest is missing.*the same mgdask ingest again"):
        mgdask.open_store(store)


def test_a_group_without_description_that_mgdask_did_not_make(tmp_path):
    zarr.create_group(tmp_path / "other.zarr")
    (tmp_path / "other.zarr" / "zarr.json").write_text("[1]")
    with pytest.raises(StoreError, match=r"zarr\.json does not describe a Zarr group"):
        mgdask.open_store(tmp_path / "other.zarr")
