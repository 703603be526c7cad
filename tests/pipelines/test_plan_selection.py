"""Selections: written by xarray, opened again, planned and run; Datasets and trees in plans."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask.errors import ParameterError, StoreError
from mgdask.pipelines.featurize.selection import _only_reads
from mgdask.store.failures import SourceChangedError
from tests.conftest import write_dump

FEATURES = [mgdask.Coordination(cutoff=3.0)]
CELL = ((0, 8), (0, 8), (0, 8))


def make(folder, name, n_atoms, n_frames=6, seed=5):
    rng = np.random.default_rng(seed)
    frames = [
        (10 * k, [(3 * i + 1, 1 + i % 2, *rng.uniform(0, 8, 3)) for i in range(n_atoms)])
        for k in range(n_frames)
    ]
    dump = write_dump(folder / f"{name}.lammpstrj", frames, box=CELL)
    mgdask.ingest(dump, folder / f"{name}.zarr", species={1: "Cu", 2: "Zr"}, timestep=0.002)
    return folder / f"{name}.zarr"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selections")
    for name, n_atoms in (("a", 30), ("b", 20), ("c", 25)):
        make(folder, name, n_atoms)
    return folder


@pytest.fixture(scope="module")
def store(folder):
    return folder / "a.zarr"


@pytest.fixture(scope="module")
def ds(store):
    return mgdask.open_store(store)


@pytest.fixture(scope="module")
def wanted(store, folder):
    """Result of a run over frames 1, 3 and 4 of the store."""
    plan = mgdask.plan(store, FEATURES, out=folder / "wanted.zarr", frames=[1, 3, 4])
    mgdask.run(plan, progress=False)
    return mgdask.open_store(folder / "wanted.zarr")


def write(ds, path):
    with warnings.catch_warnings():  # zarr says that its text arrays are new
        warnings.simplefilter("ignore")
        ds.to_netcdf(path) if path.suffix == ".nc" else ds.to_zarr(path)
    return path


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_written_selection_opens_and_runs_like_the_frames_of_its_store(
    ds, wanted, tmp_path, suffix
):
    path = write(ds.isel(frame=[1, 3, 4]), tmp_path / f"s{suffix}")
    again = mgdask.open_store(path)
    for name, variable in ds.isel(frame=[1, 3, 4]).variables.items():
        assert again[name].dims == variable.dims
        np.testing.assert_array_equal(again[name].astype(variable.dtype), variable, str(name))
    assert again.position.chunks is not None
    assert again.sel(atom=4, frame=3).step == 30
    assert {k: v for k, v in again.attrs.items() if k != "mgdask_opened"} == {
        k: v for k, v in ds.attrs.items() if k != "mgdask_opened"
    }
    plans = [
        mgdask.plan(one, FEATURES, out=tmp_path / "f.zarr") for one in (path, str(path), again)
    ]
    assert len({plan.digest for plan in plans}) == 1
    mgdask.run(plans[0], progress=False)
    found = mgdask.open_store(tmp_path / "f.zarr")
    assert found.coordination.values.tobytes() == wanted.coordination.values.tobytes()
    for name in ("step", "run", "time", "atom_id", "species"):
        np.testing.assert_array_equal(found[name], wanted[name])
    lazy = mgdask.featurize(again, FEATURES).coordination
    assert lazy.values.tobytes() == wanted.coordination.values.tobytes()
    resumed = mgdask.run(mgdask.plan(path, FEATURES, out=tmp_path / "f.zarr"), progress=False)
    assert resumed.skipped == resumed.blocks == 1


def test_a_selection_of_a_selection(ds, wanted, tmp_path):
    first = mgdask.open_store(write(ds.isel(frame=slice(1, 5)), tmp_path / "one.nc"))
    path = write(first.sel(frame=[1, 3, 4]), tmp_path / "two.zarr")
    plan = mgdask.plan(path, FEATURES, out=tmp_path / "f.zarr", frames=slice(1, 3))
    mgdask.run(plan, progress=False)
    found = mgdask.open_store(tmp_path / "f.zarr")
    assert found.coordination.values.tobytes() == wanted.coordination[1:].values.tobytes()


def test_a_written_part_of_the_atoms_opens_but_is_not_planned(ds, tmp_path):
    """Its neighbors are missing, which neither a plan nor the lazy way may overlook."""
    path = write(ds.sel(atom=ds.element == "Cu"), tmp_path / "cu.nc")
    again = mgdask.open_store(path)
    assert again.atom_id.values.tolist() == [3 * i + 1 for i in range(0, 30, 2)]
    for given in (path, again, ds.sel(atom=ds.element == "Cu")):
        with pytest.raises(ParameterError, match="15 of the 30 atoms"):
            mgdask.plan(given, FEATURES, out=tmp_path / "f.zarr")
    with pytest.raises(ParameterError, match="30 atoms"):
        mgdask.featurize(again, FEATURES)


def test_rechunked_and_lazy_selections_are_written(ds, tmp_path):
    path = write(ds.isel(atom=[1, 5, 9]).chunk(atom=2, frame=4), tmp_path / "e.zarr")
    assert mgdask.open_store(path).position.shape == (6, 3, 3)
    lazy = mgdask.featurize(ds.isel(frame=[0, 2]), FEATURES)
    for name in ("l.nc", "l.zarr"):
        with xr.open_dataset(write(lazy, tmp_path / name), chunks=None) as found:
            assert found.coordination.values.tobytes() == lazy.coordination.values.tobytes()
            assert found.sel(atom=4, frame=2).step == 20


def test_features_of_a_selection_come_back_with_suggestions(wanted, tmp_path):
    again = mgdask.open_store(write(wanted.isel(atom=[0, 3]), tmp_path / "f.nc"))
    assert again.frame.values.tolist() == [1, 3, 4]
    with pytest.raises(KeyError, match="did you mean 'cutoff'"):
        again.coordination.sel(coordination_feature="Cutof")


def test_a_dataset_is_planned_as_the_frames_of_its_store(ds, store, tmp_path):
    out = tmp_path / "f.zarr"
    cases = [
        (ds, None, None),
        (ds.isel(frame=slice(1, 5)), None, slice(1, 5)),
        (ds.isel(frame=4), None, [4]),
        (ds.sel(frame=[0, 5]).chunk(frame=1).load(), None, [0, 5]),
        (ds.isel(frame=slice(1, 6, 2)), slice(1, None), [3, 5]),
        (ds.assign_coords(note=("frame", np.arange(6.0))), [2], [2]),
    ]
    for given, chosen, frames in cases:
        plan = mgdask.plan(given, FEATURES, out=out, frames=chosen)
        want = mgdask.plan(store, FEATURES, out=out, frames=frames)
        assert (plan.digest, plan.store) == (want.digest, str(store))
        assert plan.attrs() == want.attrs()
    assert _only_reads(ds.isel(frame=[1, 2]).chunk(frame=1).position.data)


def test_changed_values_are_not_planned(ds, tmp_path):
    out = tmp_path / "f.zarr"
    hidden = ds.position.where(ds.frame != 3, 0.0)  # its ends are those of the store
    for name, given in (
        ("position", ds.assign(position=ds.position + 1.0)),
        ("position", ds.assign(position=hidden)),
        ("position", ds.assign(position=hidden).load()),
        ("species", ds.assign_coords(species=ds.species[::-1].variable)),
        ("cell", ds.assign(cell=ds.cell * 2)),
        ("position", ds.isel(atom=slice(None, None, -1))),
    ):
        with pytest.raises(ParameterError, match=f"^{name}.* of the Dataset differs.*ingest"):
            mgdask.plan(given, FEATURES, out=out)
    with pytest.raises(ParameterError, match=r"\[3, 1\].*increasing"):
        mgdask.plan(ds.isel(frame=[3, 1]), FEATURES, out=out)
    with pytest.raises(ParameterError, match="does not come from"):
        mgdask.plan(xr.Dataset(ds.data_vars), FEATURES, out=out)
    with pytest.raises(ParameterError, match="type int"):
        mgdask.plan(3, FEATURES, out=out)


def test_a_store_that_has_changed_since_it_was_opened(folder, tmp_path):
    copy = shutil.copytree(folder / "b.zarr", tmp_path / "b.zarr")
    ds = mgdask.open_store(copy)
    shutil.rmtree(copy)
    shutil.copytree(folder / "c.zarr", copy)
    with pytest.raises(SourceChangedError, match="has changed"):
        mgdask.plan(ds, FEATURES, out=tmp_path / "f.zarr")


def test_stores_of_several_sizes_are_a_tree(folder, tmp_path):
    tree = mgdask.open_tree([folder / f"{name}.zarr" for name in "abc"])
    sizes = {name: node.sizes["atom"] for name, node in tree.children.items()}
    assert sizes == {"a": 30, "b": 20, "c": 25}
    out = tmp_path / "f.zarr"
    plan = mgdask.plan(tree["b"], FEATURES, out=out)
    assert plan.digest == mgdask.plan(folder / "b.zarr", FEATURES, out=out).digest
    nodes = tree.map_over_datasets(lambda ds: ds.isel(frame=[2]) if "frame" in ds.dims else ds)
    assert mgdask.plan(nodes["c"], FEATURES, out=out).frames.tolist() == [2]
    lazy = mgdask.featurize(tree["a"], FEATURES)
    assert lazy.sizes["atom"] == 30
    with pytest.raises(ParameterError, match="tree of 3: /a, /b, /c"):
        mgdask.plan(tree, FEATURES, out=out)
    written = write(tree, tmp_path / "tree.zarr")
    again = xr.open_datatree(written, engine="zarr")
    assert mgdask.plan(again["c"], FEATURES, out=out).n_atoms == 25
    for wrong, text in (
        ([folder / "a.zarr", tmp_path / "a.zarr"], "same name"),
        (str(folder / "a.zarr"), "several stores"),
        ([], "at least one"),
    ):
        with pytest.raises(ParameterError, match=text):
            mgdask.open_tree(wrong)


def test_damaged_and_misplaced_selections_are_refused_in_words(ds, tmp_path):
    path = write(ds.isel(frame=[0]), tmp_path / "s.zarr")
    with pytest.raises(StoreError, match=r"selection of a store that xarray wrote.*ingest"):
        mgdask.partial_rdf(path)
    attrs = json.loads((path / "zarr.json").read_text())
    attrs["attributes"]["mgdask_opened"] = "{}"
    (path / "zarr.json").write_text(json.dumps(attrs))
    with pytest.raises(StoreError, match="damaged"):
        mgdask.open_store(path)
    (tmp_path / "n.nc").write_bytes(b"\x89HDF\r\n\x1a\nnothing")
    with pytest.raises(StoreError, match=r"n\.nc is a NetCDF or HDF5 file that xarray cannot"):
        mgdask.open_store(tmp_path / "n.nc")
