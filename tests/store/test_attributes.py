"""Attrs and coordinates of stores for programs that know nothing of mgdask."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pint
import pytest

import mgdask
from mgdask import features, variables
from mgdask.store.attributes import decode, encode
from mgdask.store.shards import open_group
from tests.conftest import DATA, write_dump

PLAIN = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "mgdask":
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import xarray as xr
found = {}
for path in sys.argv[1:-2]:
    ds = xr.open_zarr(path, consolidated=False)
    tree = xr.open_datatree(path, engine="zarr", consolidated=False)
    assert set(tree.coords) == set(ds.coords)
    attrs = [ds.attrs, *(v.attrs for v in ds.variables.values())]
    kinds = {type(value).__name__ for each in attrs for value in each.values()}
    found[path] = [sorted(map(str, ds.coords)), sorted(kinds)]
ds.isel(frame=[1]).to_netcdf(sys.argv[-2])
with xr.open_dataset(sys.argv[-1]) as nc:
    found["nc"] = [sorted(map(str, nc.coords)), nc.position.sel(atom=7, xyz="x").values.tolist()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A trajectory, its unwrapped paths, and features of two of its three frames."""
    folder = tmp_path_factory.mktemp("attrs")
    rows = [(i, 1 + i % 2, i, i % 3, 1) for i in range(1, 9)]
    dump = write_dump(folder / "a.lammpstrj", [(10 * k, rows) for k in range(3)])
    mgdask.ingest(
        dump, folder / "t.zarr", species={1: "Cu", 2: "Zr"}, timestep=0.002, temperature=300.0
    )
    mgdask.unwrap(folder / "t.zarr", folder / "p.zarr", progress=False)
    wanted = [mgdask.BondOrder(cutoff=3.0), mgdask.NonAffine(lag=0.02)]
    plan = mgdask.plan(folder / "t.zarr", wanted, out=folder / "f.zarr", frames=[1, 2])
    mgdask.run(plan, progress=False)
    return folder


def test_plain_xarray_finds_every_coordinate_and_writes_netcdf(stores):
    """In a process that cannot import mgdask."""
    ds = mgdask.open_store(stores / "t.zarr").isel(frame=[0, 2])
    ds.to_netcdf(stores / "s.nc")
    names = ["p.zarr", "f.zarr", "t.zarr"]
    paths = [str(stores / name) for name in names]
    arguments = [*paths, str(stores / "plain.nc"), str(stores / "s.nc")]
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, *arguments], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    trajectory = ["atom_id", "mass", "run", "species", "step", "time"]
    of_features = [
        *("atom_id", "bond_order_amlearn", "bond_order_feature", "frame", "nonaffine_feature"),
        *("nonaffine_unit", "run", "species", "step", "temperature", "time"),
    ]
    for path, want in zip(paths, (trajectory, of_features, trajectory), strict=True):
        coords, kinds = found[path]
        assert set(kinds) <= {"str", "int", "float"}
        assert set(coords) == set(want), path
    coords, x = found["nc"]
    assert set(ds.coords) == set(coords)
    assert x == [7.0, 7.0]


def test_features_name_the_frames_they_were_computed_in(stores):
    found = mgdask.open_store(stores / "f.zarr")
    assert found.frame.values.tolist() == [1, 2]
    lazy = mgdask.featurize(mgdask.open_store(stores / "t.zarr"), mgdask.BondOrder(cutoff=3.0))
    difference = found.bond_order - lazy.bond_order  # aligned by frame and id
    assert difference.frame.values.tolist() == [1, 2]
    assert float(abs(difference).max()) == 0.0


def test_structured_attrs_come_back(stores):
    ds = mgdask.open_store(stores / "f.zarr")
    assert decode(ds.attrs, "features")[0]["bond_order"]["cutoff"] == 3.0
    assert decode(ds.bond_order.attrs, "parameters")["cutoff"] == 3.0
    assert decode(open_group(stores / "t.zarr").attrs, "frame_values")[0]["from"] == "300 K"
    for value in ({"a": [1, None, "Å"]}, [], [True, 0.1], None):
        assert isinstance(encode(value), str)
        assert decode({"x": encode(value)}, "x") == value == decode({"x": value}, "x")
    assert encode(True) == 1
    assert encode(np.float64(0.1)) == 0.1
    assert decode({"x": "not JSON"}, "x") == "not JSON"


def test_old_stores_open_with_the_same_labels_and_are_not_changed(tmp_path):
    with zipfile.ZipFile(DATA / "stores_0_1.zip") as archive:
        archive.extractall(tmp_path)
    paths = [
        p.parent for p in sorted(tmp_path.rglob("zarr.json")) if (p.parent / "manifest").is_dir()
    ]
    assert paths
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for path in paths:
        ds = mgdask.open_store(path)
        attrs = [ds.attrs, *(v.attrs for v in ds.variables.values())]
        assert all(isinstance(v, str | int | float) for each in attrs for v in each.values())
        if "atom" in ds.sizes:
            assert {"frame", "atom"} <= set(ds.indexes)
            assert ds.species.attrs["units"] == "1"
            ds.isel(frame=[0]).to_netcdf(tmp_path.parent / f"{path.name}.nc")
        assert mgdask.verify(path, progress=False).ok
    # verifying adds the seals that version 0.1 had not yet
    changed = {p for p in before if p.read_bytes() != before[p] and "manifest" not in p.parts}
    assert not changed


def test_every_unit_is_known_to_pint():
    tables = (variables.VARIABLES, variables.DICTIONARY_VALUES, variables.FRAME_VALUES)
    units = {one.unit for table in tables for one in table.values()} - {""}
    made = (
        *(mgdask.SOAP(species=("Cu",), r_cut=3.0, n_max=2, l_max=2),),
        *(mgdask.NonAffine(lag=1.0), mgdask.BondOrder(cutoff=3.0), mgdask.Packing()),
        *(mgdask.LagDisplacement(lags=(1.0,)), mgdask.Interstice()),
        *(mgdask.FoldSymmetry(), mgdask.VoronoiIndices(), mgdask.Coordination(cutoff=3.0)),
    )
    units |= {unit for feature in made for unit in feature.units}
    units |= {str(cls.unit) for cls in features.FEATURES.values()}
    assert {"Å", "Å²", "Å³", "ps", "K", "1"} <= units
    registry = pint.UnitRegistry()
    for unit in units:
        registry.Quantity(1.0, unit)
    assert registry.Quantity(1.0, "Å").to("nm").magnitude == pytest.approx(0.1)


def test_a_store_whose_records_were_removed_is_no_selection(stores, tmp_path):
    shutil.copytree(stores / "t.zarr", tmp_path / "t.zarr")
    shutil.rmtree(tmp_path / "t.zarr" / "manifest")
    with pytest.raises(mgdask.errors.StoreError, match="is missing"):
        mgdask.open_store(tmp_path / "t.zarr")
