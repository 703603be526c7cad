"""Blocks of any input of a store are made again, whatever was appended after it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mgdask
from mgdask.errors import RunError, StoreError
from mgdask.pipelines import ingest_tasks
from mgdask.store import layout
from mgdask.store.appends import read_appends
from mgdask.store.attributes import decode
from mgdask.store.manifest import Manifest
from mgdask.store.shards import open_group
from tests.conftest import SPECIES, threads_client
from tests.pipelines.test_featurize import files
from tests.pipelines.test_ingest import dump, short_shards  # noqa: F401

pytestmark = pytest.mark.usefixtures("short_shards")
PARTS = ((0, 5), (5, 8), (8, 13))
"""Frames of the first input and of two appended ones; a block holds three frames."""


def add(store, folder, k, **options):
    """Ingest input ``k`` of the store."""
    first = {} if k == 0 else {"append": True}
    name = str(folder / f"{k}.dump")
    return mgdask.ingest(name, store, species=SPECIES, timestep=0.001, **first, **options)


def drop(store, blocks, kinds):
    """Lose blocks as ``verify --repair`` does: their records and their files."""
    names = {f"{kind}-{block:08d}" for kind in kinds for block in blocks}
    records = Manifest(store).records()
    lost = {file for name in names for file in records[name]["files"]}
    Manifest(store).drop(names)
    for file in lost:
        (store / file).unlink(missing_ok=True)


@pytest.fixture(scope="module", autouse=True)
def threads():
    """One thread of this process, in place of a cluster for each call."""
    with threads_client(1) as client:
        yield client


@pytest.fixture(scope="module", params=[True, False], ids=["images in the file", "derived images"])
def grown(request, tmp_path_factory, threads):
    """A store of three inputs, the folder of these, and its content."""
    cut = layout.TrajectoryLayout(3, 1, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_tasks, "trajectory_layout", lambda n: cut)
        patch.setattr("mgdask.store.trajectory.trajectory_layout", lambda n: cut)
        return grow(tmp_path_factory.mktemp("grown"), images=request.param)


def grow(folder, *, images):
    """Make a store of three inputs in a folder, and return it."""
    rng = np.random.default_rng(3)
    path = rng.uniform(0, 10, (1, 6, 3)) + np.cumsum(rng.uniform(-3, 3, (13, 6, 3)), axis=0)
    for k, part in enumerate(PARTS):
        dump(folder / f"{k}.dump", path, range(*part), images=images)
        add(folder / "a.zarr", folder, k)
    return folder / "a.zarr"


def test_history_names_every_append(grown):
    appends = read_appends(open_group(grown))
    assert [(a.start, a.n_frames, a.sources) for a in appends] == [
        (5, 3, ("1.dump",)),
        (8, 5, ("2.dump",)),
    ]
    assert len({a.digest for a in appends}) == 2


@pytest.mark.parametrize(
    ("blocks", "inputs", "lost"),
    [
        ((0,), [0], [["frames"]]),
        ((1,), [0, 1], [["frames"], ["images"], ["frames", "images"]]),
        ((2,), [1, 2], [["images"]]),
        ((3, 4), [2], [["images"]]),
        ((0, 1, 2, 3, 4), [0, 1, 2], [["frames", "images"]]),
    ],
)
def test_lost_blocks_are_made_again_from_their_inputs(grown, tmp_path, blocks, inputs, lost):
    before, content = files(grown), Manifest(grown).content()
    derived = "images-00000000" in Manifest(grown).records()
    for kinds in lost if derived else (["frames"],):
        store = tmp_path / "_".join(kinds)
        shutil.copytree(grown, store)
        drop(store, blocks, kinds)
        reports = []
        for k in inputs:
            with pytest.raises(StoreError, match="is not finished"):
                mgdask.open_store(store)
            reports.append(add(store, grown.parent, k))
        assert files(store) == before
        assert Manifest(store).content() == content
        if blocks == (1,):
            assert mgdask.verify(store, progress=False).ok
        assert sum(report.n_written for report in reports) <= len(blocks) + len(inputs) - 1
        assert all(report.n_frames == 13 for report in reports)
        for k, report in zip(inputs[1:], reports, strict=False):
            assert f"run mgdask ingest --append of {k}.dump again" in report.notes[-1]
        assert "not finished" not in " ".join(reports[-1].notes)


def test_an_input_that_continues_lost_frames_waits_for_them(grown, tmp_path):
    shutil.copytree(grown, store := tmp_path / "a.zarr")
    derived = "images-00000000" in Manifest(store).records()
    drop(store, [1], ["frames", "images"] if derived else ["frames"])
    before = files(store)
    words = r"frames 3 to 4 were dropped.*First run mgdask ingest of 0\.dump again, then repeat"
    with pytest.raises(StoreError, match=words):
        add(store, grown.parent, 1)
    assert files(store) == before


def test_repeating_any_input_of_a_finished_store_does_nothing(grown):
    before = files(grown)
    for k in range(3):
        report = add(grown, grown.parent, k)
        assert (report.n_written, report.n_frames) == (0, 13)
    assert files(grown) == before
    assert len(read_appends(open_group(grown))) == 2


def test_a_store_with_one_pair_of_attributes_is_continued(grown, tmp_path):
    """Version 0.1 named the last append only, no frame in a record, and had no copies."""
    shutil.copytree(grown, store := tmp_path / "a.zarr")
    Path(store, "manifest", "kept.zip").unlink()
    group = open_group(store, mode="r+")
    attrs = dict(group.attrs)
    last = decode(attrs, "appends")[-1]
    del attrs["appends"]
    group.attrs.put({**attrs, "append_digest": last["digest"], "append_start": last["start"]})
    joined = Path(store, "manifest", "blocks.jsonl")
    lines = [json.loads(line) for line in joined.read_text().splitlines()]
    joined.write_text(
        "".join(
            json.dumps({k: v for k, v in r.items() if k not in ("stop", "sum")}) + "\n"
            for r in lines
        )
    )
    assert [(a.start, a.n_frames) for a in read_appends(open_group(store))] == [(8, 5)]
    before = files(grown)
    derived = "images-00000000" in Manifest(store).records()
    drop(store, [0, 3], ["frames", "images"] if derived else ["frames"])
    add(store, grown.parent, 0)
    add(store, grown.parent, 2)
    changed = {name for name, digest in files(store).items() if before[name] != digest}
    assert changed == {"zarr.json"}
    assert Manifest(store).content() == Manifest(grown).content()


def test_images_lost_after_an_interrupted_repair_are_not_joined_from_nothing(
    grown, tmp_path, monkeypatch
):
    """The scratch array of the first repair lacks the block that is lost second."""
    if "images-00000000" not in Manifest(grown).records():
        pytest.skip("images in the file are not joined")
    shutil.copytree(grown, store := tmp_path / "a.zarr")
    drop(store, [0], ["images"])
    with monkeypatch.context() as patch:
        patch.setattr(ingest_tasks, "write_images", killed)
        with pytest.raises(RunError, match="killed"):
            add(store, grown.parent, 0)
    assert (store / "image_scratch").exists()
    drop(store, [1], ["images"])
    add(store, grown.parent, 0)
    add(store, grown.parent, 1)
    assert files(store) == files(grown)


def killed(*arguments):
    raise RuntimeError("killed")
