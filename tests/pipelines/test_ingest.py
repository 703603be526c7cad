"""Ingest into a store: the same whatever the cut, derived images, appending, resuming."""

from __future__ import annotations

import numpy as np
import pytest

import mgdask
from mgdask.errors import AuditError, RunError, StoreError
from mgdask.geometry import unwrap
from mgdask.pipelines import ingest_tasks
from mgdask.store import layout
from mgdask.store.manifest import Manifest
from tests.conftest import SPECIES, write_dump
from tests.pipelines.test_featurize import files


@pytest.fixture
def short_shards(monkeypatch):
    """Shards of three frames, so that a few frames make several blocks."""
    cut = layout.TrajectoryLayout(3, 1, 4)
    monkeypatch.setattr(ingest_tasks, "trajectory_layout", lambda n: cut)
    monkeypatch.setattr("mgdask.store.trajectory.trajectory_layout", lambda n: cut)


@pytest.fixture
def walk(rng):
    """True paths of 6 atoms in a sheared, breathing cell: 11 frames, steps below half a cell."""
    path = rng.uniform(0, 10, (1, 6, 3)) + np.cumsum(rng.uniform(-3, 3, (11, 6, 3)), axis=0)
    return path


def dump(path, walk, frames, images=False, tilt=(1.0, -0.5, 0.8)):
    cell = np.array([[10.0, 0, 0], [tilt[0], 10, 0], [tilt[1], tilt[2], 10]])
    s = walk @ np.linalg.inv(cell)
    n = np.floor(s).astype(int)
    wrapped = (s - n) @ cell
    data = []
    for k in frames:
        rows = [
            [i + 1, 1 + i % 2, *map(repr, map(float, wrapped[k, i])), *(n[k, i] if images else ())]
            for i in range(6)
        ]
        data.append((100 * k, rows))
    xs = [0, tilt[0], tilt[1], tilt[0] + tilt[1]]
    ys = [0, tilt[2]]
    box = ((min(xs), 10 + max(xs)), (min(ys), 10 + max(ys)), (0, 10))
    columns = "id type x y z" + (" ix iy iz" if images else "")
    return write_dump(path, data, columns, box=box, tilt=tilt)


def true_path(store):
    ds = mgdask.open_store(store)
    return np.array(
        [
            unwrap(ds.position[k].values, ds.image[k].values, ds.cell[k].values)
            for k in range(ds.sizes["frame"])
        ]
    )


@pytest.mark.parametrize("packed", [False, True])
def test_derived_images_follow_the_path_over_blocks(tmp_path, walk, short_shards, packed):
    name = dump(tmp_path / "a.dump", walk, range(11))
    if packed:  # one task for all its shards
        import gzip

        (tmp_path / "b.dump").write_bytes(gzip.compress((tmp_path / "a.dump").read_bytes()))
        name = str(tmp_path / "b.dump")
    report = mgdask.ingest(name, tmp_path / "a.zarr", species=SPECIES, timestep=0.001)
    assert report.n_blocks == 4
    found = true_path(tmp_path / "a.zarr")
    np.testing.assert_allclose(found - found[0], walk - walk[0], atol=1e-9)
    ds = mgdask.open_store(tmp_path / "a.zarr")
    assert ds.image.attrs["scheme"].startswith("derived: minimum image")
    assert "image_scratch" not in ds


def test_blocks_do_not_change_a_byte(tmp_path, walk, short_shards, monkeypatch):
    name = dump(tmp_path / "a.dump", walk, range(11), images=True)
    mgdask.ingest(name, tmp_path / "a.zarr", species=SPECIES)
    whole = ingest_tasks.write_shard

    def dying(group, variable, start, data):
        if (
            start[0] >= 6
        ):  # by its frames, not by a count: blocks are written by several threads at a time
            raise RuntimeError("killed")
        return whole(group, variable, start, data)

    monkeypatch.setattr(ingest_tasks, "write_shard", dying)
    with pytest.raises(RunError, match="killed"):
        mgdask.ingest(name, tmp_path / "b.zarr", species=SPECIES)
    with pytest.raises(StoreError, match=r"is not finished.*mgdask ingest"):
        mgdask.open_store(tmp_path / "b.zarr")
    monkeypatch.setattr(ingest_tasks, "write_shard", whole)
    report = mgdask.ingest(name, tmp_path / "b.zarr", species=SPECIES)
    assert 0 < report.n_written < report.n_blocks == 4
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")


@pytest.mark.parametrize("images", [True, False])
def test_appending_a_continued_simulation(tmp_path, walk, short_shards, images):
    mgdask.ingest(
        dump(tmp_path / "1.dump", walk, range(5), images),
        tmp_path / "a.zarr",
        species=SPECIES,
        timestep=0.001,
    )
    first = Manifest(tmp_path / "a.zarr").content()
    later = dump(
        tmp_path / "2.dump", walk, range(4, 11), images
    )  # the restart writes the last frame again
    report = mgdask.ingest(later, tmp_path / "a.zarr", species=SPECIES, timestep=0.001, append=True)
    assert report.n_frames == 11
    assert any(
        "already has are skipped" in note and "timestep 400" in note for note in report.notes
    )
    found = true_path(tmp_path / "a.zarr")
    np.testing.assert_allclose(found - found[0], walk - walk[0], atol=1e-9)
    ds = mgdask.open_store(tmp_path / "a.zarr")
    assert ds.step.values.tolist() == [100 * k for k in range(11)]
    assert set(ds.run.values) == {"1"}
    assert Manifest(tmp_path / "a.zarr").content() != first
    again = mgdask.ingest(later, tmp_path / "a.zarr", species=SPECIES, timestep=0.001, append=True)
    assert again.n_written == 0
    assert mgdask.open_store(tmp_path / "a.zarr").sizes["frame"] == 11


def test_appending_at_the_edge_of_a_shard_continues_the_images(tmp_path, walk, short_shards):
    """Three frames per shard, six stored: the first new frame is the first of its shard."""
    for name, frames, options in (("1", range(6), {}), ("2", range(6, 11), {"append": True})):
        mgdask.ingest(
            dump(tmp_path / f"{name}.dump", walk, frames),
            tmp_path / "a.zarr",
            species=SPECIES,
            timestep=0.001,
            **options,
        )
    found = true_path(tmp_path / "a.zarr")
    np.testing.assert_allclose(found - found[0], walk - walk[0], atol=1e-9)


def test_what_is_no_continuation_is_refused(tmp_path, walk, short_shards):
    mgdask.ingest(
        dump(tmp_path / "1.dump", walk, range(5), True), tmp_path / "a.zarr", species=SPECIES
    )
    for name, options, words in (
        (
            dump(tmp_path / "2.dump", walk, range(5, 8), True),
            {"species": {1: "Cu", 2: "Zr"}},
            "species differs",
        ),
        (
            dump(tmp_path / "3.dump", walk, range(5, 8), False),
            {"species": SPECIES},
            "the image scheme of the files is",
        ),
        (
            dump(tmp_path / "4.dump", walk, range(2, 5), True),
            {"species": SPECIES},
            "nothing to add",
        ),
        (
            dump(tmp_path / "5.dump", walk, range(5, 8), True),
            {"species": SPECIES, "timestep": 0.1},
            "do not both have times",
        ),
    ):
        with pytest.raises(StoreError, match=words):
            mgdask.ingest(name, tmp_path / "a.zarr", append=True, **options)
    assert mgdask.open_store(tmp_path / "a.zarr").sizes["frame"] == 5


def test_a_bad_frame_in_a_task_is_refused_with_its_place(tmp_path, walk, short_shards):
    name = dump(tmp_path / "a.dump", walk, range(11), True)
    text = (tmp_path / "a.dump").read_text().splitlines()
    at = [k for k, line in enumerate(text) if line.startswith("ITEM: ATOMS")][7] + 3
    text[at] = " ".join(["oops" if k == 3 else word for k, word in enumerate(text[at].split())])
    (tmp_path / "a.dump").write_text("\n".join(text) + "\n")
    with pytest.raises(AuditError, match=r"a.dump, frame 7 \(timestep 700\), line .*holds 'oops'"):
        mgdask.ingest(name, tmp_path / "a.zarr", species=SPECIES)


def test_no_array_travels_with_a_task(tmp_path, walk, short_shards, monkeypatch):
    """What was gained before a block is one vector an atom: with a million atoms it must not go through the scheduler."""
    asked = []

    def watched(client, function, tasks, **options):
        asked.extend((function.__name__, value) for _, arguments in tasks for value in arguments)
        return execute(client, function, tasks, **options)

    execute = ingest_tasks.execute
    monkeypatch.setattr(ingest_tasks, "execute", watched)
    mgdask.ingest(
        dump(tmp_path / "a.dump", walk, range(11)),
        tmp_path / "a.zarr",
        species=SPECIES,
        timestep=0.001,
    )
    second = [value for name, value in asked if name == "write_images"]
    assert any(str(value).endswith(".npy") for value in second)  # atoms do cross the cell here
    assert not any(isinstance(value, np.ndarray) for _, value in asked)
    assert not list((tmp_path / "a.zarr").rglob("*.npy"))
