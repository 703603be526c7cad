"""Verifying stores: what is damaged on disk is found, named, dropped, and computed again to the same bytes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import zarr

import mgdask
from mgdask.errors import StoreError
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.store import features as feature_store
from mgdask.store import layout, shards
from mgdask.store.layout import BlockLayout
from mgdask.store.manifest import Manifest
from mgdask.store.provenance import digest
from tests.conftest import GLASS, SPECIES, write_dump
from tests.forked import COMMAND_LINE, run
from tests.pipelines.test_featurize import files

SOAP = "r_cut=4,n_max=3,l_max=2,sigma=0.5,rbf=polynomial"


@pytest.fixture(scope="module")
def made(glass_store, tmp_path_factory, client):
    """Features of the glass in many blocks, and the files of the store."""
    out = tmp_path_factory.mktemp("made") / "f.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "MAX_BLOCK", 2**19)
        mgdask.run(small_plan(glass_store, out), client, progress=False)
    return out


def small_plan(store, out):
    features = [
        mgdask.SOAP(species=("Cu", "Zr"), r_cut=4.0, n_max=3, l_max=2, sigma=0.5, rbf="polynomial"),
        mgdask.BondOrder(degrees=(6,), neighbors="cutoff", cutoff=3.8),
    ]
    return mgdask.plan(store, features, out=out)


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made, tmp_path / "f.zarr")
    return tmp_path / "f.zarr"


def flip(file, at=-30):
    data = bytearray(file.read_bytes())
    data[at] ^= 4
    file.write_bytes(data)


def shard_files(store, name):
    return sorted(p for p in (store / name / "c").rglob("*") if p.is_file())


def find(report):
    """What is said of each bad file."""
    return {damage.file: damage.what for damage in report.damages}


def test_a_sound_store_has_nothing_wrong(made, glass_store, client):
    report = mgdask.verify(made, client=client, progress=False)
    assert report.ok
    assert (
        report.n_shards
        == len(shard_files(made, "soap")) + len(shard_files(made, "bond_order"))
        > 10
    )
    assert report.n_bytes == sum(
        p.stat().st_size for n in ("soap", "bond_order") for p in shard_files(made, n)
    )
    assert "nothing is wrong" in str(report)
    assert mgdask.verify(glass_store, client=client, progress=False).ok


def test_damaged_blocks_are_found_named_and_computed_again(
    made, copy, glass_store, client, monkeypatch
):
    monkeypatch.setattr(plan_module, "MAX_BLOCK", 2**19)
    plan, before = small_plan(glass_store, copy), files(made)
    content = Manifest(made).content()
    flipped, cut, lost, other, *_ = shard_files(copy, "soap")
    swapped = shard_files(copy, "bond_order")[
        4:6
    ]  # each is whole, and has the values of the other: no CRC sees that
    flip(flipped, at=100)
    cut.write_bytes(cut.read_bytes()[:-9])
    lost.unlink()
    first, second = (p.read_bytes() for p in swapped)
    swapped[0].write_bytes(second)
    swapped[1].write_bytes(first)
    flip(other, at=-3)  # in the index of the shard
    bad = {str(p.relative_to(copy)) for p in (flipped, cut, lost, other, *swapped)}

    report = mgdask.verify(copy, client=client, progress=False)
    assert not report.ok
    said = find(report)
    assert set(said) == bad
    assert "cannot be read" in said[str(flipped.relative_to(copy))]
    assert "hecksum" in said[str(flipped.relative_to(copy))]
    assert "bytes instead of" in said[str(cut.relative_to(copy))]
    assert "is missing" in said[str(lost.relative_to(copy))]
    sizes = [len(first), len(second)]
    for p in swapped:
        what = said[str(p.relative_to(copy))]
        assert (
            "not those that were written" if sizes[0] == sizes[1] else "bytes instead of"
        ) in what
    where = {damage.file: (damage.block, damage.where) for damage in report.damages}
    blocks = {b.name: b for b in plan.blocks}
    for name, region in where.values():
        b = blocks[name]
        frames = f"frames {b.frame} to {b.frame + len(b.frames) - 1}"
        assert region == f"{frames}, atoms (rows) {b.row} to {b.row + b.n_rows - 1}"
        assert name in str(report)
        assert region in str(report)
    assert files(copy) != before
    assert plan.done > len(plan.blocks) - len(
        bad
    )  # sizes alone do not tell: nothing was dropped by looking

    names = {name for name, _ in where.values()}
    report = mgdask.verify(copy, repair=True, client=client, progress=False)
    assert set(report.dropped) == names
    assert "mgdask featurize again" in str(report)
    with pytest.raises(StoreError, match="is not finished"):
        mgdask.open_store(copy)
    done = mgdask.run(plan, client, progress=False)
    assert done.blocks - done.skipped == len(names)
    assert files(copy) == before
    assert Manifest(copy).content() == content
    assert mgdask.verify(copy, client=client, progress=False).ok


def test_same_size_other_values_are_found(copy, client):
    """A whole shard, written by Zarr with right checksums, but not what the record says."""
    group = zarr.open_group(copy, mode="r+")
    array = group["bond_order"]
    rows = array.shards[1]
    data = array[0:1, 0:rows]
    name = "bond_order/c/0/0/0"
    size = (copy / name).stat().st_size
    for k in range(200):  # compressed sizes differ by chance; some change keeps it
        changed = data.copy()
        changed.view(np.uint64)[0, k % data.shape[1], 0] ^= 1 << (k // 8)
        array[0 : array.shards[0], 0:rows] = np.concatenate(
            [changed, array[1 : array.shards[0], 0:rows]]
        )
        if (copy / name).stat().st_size == size:
            break
    else:
        raise AssertionError("no change kept the size")
    assert find(mgdask.verify(copy, client=client, progress=False)) == {
        name: "its values differ from those that were written"
    }


def test_coordinates_are_compared_and_written_again(made, copy, glass_store, client, monkeypatch):
    """From their copies, or by the command that made the store."""
    monkeypatch.setattr(plan_module, "MAX_BLOCK", 2**19)
    for has_copies in (True, False):
        flip(copy / "atom_id" / "c" / "0", at=-8)
        (copy / "soap_feature" / "c" / "0").unlink()
        if not has_copies:
            (copy / "manifest" / "kept.zip").unlink()
        found = find(mgdask.verify(copy, client=client, progress=False))
        found.pop("manifest/kept.zip", None)
        assert found == {
            "atom_id/c/0": "it differs from the file that was written",
            "soap_feature/c/0": "it is missing",
        }
        mgdask.verify(copy, repair=True, client=client, progress=False)
        if not has_copies:
            done = mgdask.run(small_plan(glass_store, copy), client, progress=False)
            assert done.skipped == done.blocks
        assert files(copy) == files(made)
        assert mgdask.verify(copy, client=client, progress=False).ok


def test_records_that_are_lost_torn_or_of_other_work(copy, client):
    book = copy / "manifest" / "blocks.jsonl"
    lines = book.read_text().splitlines(keepends=True)
    other = json.dumps({**json.loads(lines[1]), "digest": "of other parameters"}) + "\n"
    book.write_text("".join([lines[0][:80] + "\n", other, *lines[3:]]))
    report = mgdask.verify(copy, client=client, progress=False)
    assert not report.ok
    assert find(report) == {"manifest/blocks.jsonl": "2 of its lines are damaged"}
    lost = {json.loads(line)["block"] for line in lines[:3]}
    wrote = {file for line in lines[:3] for file in json.loads(line)["files"]}
    assert {shard.file for shard in report.never_written} == wrote
    assert len(wrote) == 2 * len(lost) == 6
    assert "6 shards have no record" in str(report)


def test_an_array_whose_description_is_gone(copy, client):
    (copy / "soap" / "zarr.json").unlink()
    (copy / "manifest" / "kept.zip").unlink()
    report = mgdask.verify(copy, client=client, progress=False)
    assert find(report)["soap/zarr.json"] == "it is missing"
    with pytest.raises(
        StoreError,
        match=r"soap/zarr.json is damaged .* belongs to no block, and has no copy.*"
        r"make it again with mgdask featurize",
    ):
        mgdask.verify(copy, repair=True, client=client, progress=False)


def test_fill_is_not_missing(tmp_path, client):
    """Shards and chunks of nothing but NaN have no file; NaN of either sign are one."""
    out = tmp_path / "f.zarr"
    cut = feature_store.Output(
        "stub", "stub_feature", (8, 6, 2), "float64", BlockLayout(4, 6, 2), ["a", "b"], {}, {}
    )
    axes = {
        "step": ("frame", np.zeros(8, dtype=np.int64)),
        "run": ("frame", np.array(["a"] * 8, dtype=object)),
        "atom_id": ("atom", np.arange(6)),
        "species": ("atom", np.full(6, 29)),
    }
    feature_store.create(out, {"plan_digest": "x"}, axes, [cut])
    group, manifest = shards.open_group(out, mode="r+"), Manifest(out)
    data = np.full((8, 6, 2), -np.nan)
    data[5, 3] = 1.0, np.nan
    for start in (0, 4):
        wrote = shards.write_shard(group, "stub", (start, 0, 0), data[start : start + 4])
        manifest.append(
            {
                "block": f"b{start}",
                "digest": digest(["x", f"b{start}"]),
                "files": {wrote["file"]: wrote["size"]},
                "checksum": {wrote["file"]: wrote["sha256"]},
            }
        )
    manifest.finish("x")
    assert [p.parent.parent.name for p in shard_files(out, "stub")] == ["1"]
    assert not (out / "step" / "c").exists()  # zeros are the fill of numbers
    report = mgdask.verify(out, client=client, progress=False)
    assert report.ok, str(report)
    assert report.n_shards == 2
    shard_files(out, "stub")[0].unlink()
    assert set(find(mgdask.verify(out, client=client, progress=False))) == {"stub/c/1/0/0"}


def test_a_trajectory_and_its_paths(glass_store, tmp_path, client):
    store, paths = shutil.copytree(glass_store, tmp_path / "g.zarr"), tmp_path / "p.zarr"
    mgdask.unwrap(store, paths, client=client, progress=False)
    assert mgdask.verify(paths, client=client, progress=False).ok
    before, content = files(paths), Manifest(paths).content()
    flip(shard_files(paths, "path")[0], at=50)
    flip(paths / "center_of_mass" / "c" / "0" / "0", at=10)
    report = mgdask.verify(paths, repair=True, client=client, progress=False)
    assert set(report.dropped) == {"path-00000000-0000000000", "mass-joined"}
    mgdask.unwrap(store, paths, client=client, progress=False)
    assert files(paths) == before
    assert Manifest(paths).content() == content

    flip(shard_files(store, "position")[0], at=50)
    assert list(find(mgdask.verify(store, client=client, progress=False))) == ["position/c/0/0/0"]
    # the dump has no images, which follow from the frames before
    report = mgdask.verify(store, repair=True, client=client, progress=False)
    assert report.dropped == ("frames-00000000",)
    before = files(glass_store)
    mgdask.ingest(str(GLASS), store, species=SPECIES, timestep=0.002, client=client)
    assert files(store) == before
    assert Manifest(store).content() == Manifest(glass_store).content()


def test_blocks_of_a_trajectory_with_images_are_read_again(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(layout, "MIN_SHARD", 1)  # a shard a frame
    rows = [[k + 1, 1, *rng.uniform(0, 10, 3).round(4), *rng.integers(-2, 3, 3)] for k in range(40)]
    dump = write_dump(
        tmp_path / "d.lammpstrj",
        [(100 * k, rows) for k in range(6)],
        columns="id type x y z ix iy iz",
    )
    store = tmp_path / "g.zarr"

    def ingest():
        return mgdask.ingest(dump, store, species=["Cu"])

    assert ingest().n_written == 6
    before, content = files(store), Manifest(store).content()
    flip(store / "position" / "c" / "2" / "0" / "0", at=50)
    (store / "image" / "c" / "4" / "0" / "0").unlink()
    report = mgdask.verify(store, repair=True, progress=False)
    assert {damage.where for damage in report.damages} == {
        "frames 2 to 2, atoms (rows) 0 to 39",
        "frames 4 to 4, atoms (rows) 0 to 39",
    }
    assert report.dropped == ("frames-00000002", "frames-00000004")
    assert ingest().n_written == 2
    assert files(store) == before
    assert Manifest(store).content() == content
    flip(store / "cell" / "c" / "0" / "0" / "0", at=5)
    (store / "manifest" / "kept.zip").unlink()
    with pytest.raises(
        StoreError,
        match=r"cell/c/0/0/0 is damaged .* belongs to no block, and has no copy.*with mgdask ingest",
    ):
        mgdask.verify(store, repair=True, progress=False)


def test_what_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="is not a Zarr store"):
        mgdask.verify(tmp_path / "none.zarr")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="no records to compare with"):
        mgdask.verify(tmp_path / "other.zarr")


def test_repair_waits_for_no_run(copy, client):
    with Manifest(copy).locked(), pytest.raises(StoreError, match="is being written by process"):
        mgdask.verify(copy, repair=True, client=client, progress=False)


def test_the_command(copy):
    def command(*words):
        return run(COMMAND_LINE, "verify", copy, "--workers", 1, *words)

    sound = command()
    assert sound.returncode == 0, sound.stderr
    assert "nothing is wrong" in sound.stdout
    flip(shard_files(copy, "soap")[1], at=60)
    bad = command("--repair")
    assert bad.returncode == 1
    assert "BAD soap/c/" in bad.stdout
    assert "1 blocks were dropped" in bad.stdout
    assert "Traceback" not in bad.stderr
