"""Labels of opened stores: lookups by id, symbol and name; mistyped labels; alignment."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import mgdask
from mgdask.errors import LabelError, ParameterError
from mgdask.store.labels import Labels, with_labels
from mgdask.store.manifest import Manifest
from tests.conftest import write_dump

IDS = [5, 3, 12, 40, 7]
"""Neither 1 to N, nor sorted, nor without gaps."""
TYPES = [1, 2, 1, 2, 2]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store whose x tells the id and y the frame."""
    folder = tmp_path_factory.mktemp("labels")
    frames = [
        (100 * k, [(i, t, i / 10, k, 1) for i, t in zip(IDS, TYPES, strict=True)]) for k in range(4)
    ]
    dump = write_dump(folder / "a.lammpstrj", frames)
    mgdask.ingest(dump, folder / "a.zarr", species={1: "Cu", 2: "Zr"})
    return folder / "a.zarr"


@pytest.fixture(scope="module")
def ds(store):
    return mgdask.open_store(store)


def test_atoms_are_looked_up_by_id(ds):
    assert ds.atom.values.tolist() == sorted(IDS) == ds.atom_id.values.tolist()
    for i in IDS:
        assert float(ds.position.sel(atom=i, frame=2, xyz="x")) == pytest.approx(i / 10)
    found = ds.sel(atom=[40, 5]).position.sel(xyz="x", frame=0)
    np.testing.assert_allclose(found, [4.0, 0.5])
    with pytest.raises(KeyError):
        ds.sel(atom=4)


def test_frames_keep_their_numbers(ds):
    assert ds.isel(frame=[1, 3]).sel(frame=3).step.item() == 300
    assert ds.sel(frame=slice(1, 2)).step.values.tolist() == [100, 200]


def test_axes_have_names(ds):
    assert ds.position.sel(xyz="z").values.tolist() == [[1.0] * 5] * 4
    assert ds.cell.sel(vector="b", xyz="y").values.tolist() == [10.0] * 4
    assert ds.pbc.sel(vector=["a", "c"]).values.all()


def test_species_are_selected_by_symbol(ds):
    want = dict(zip(IDS, TYPES, strict=True))
    assert ds.element.dtype.kind == "U"
    for symbol, type_ in (("Cu", 1), ("Zr", 2)):
        ids = sorted(i for i in IDS if want[i] == type_)
        assert ds.sel(atom=ds.element == symbol).atom.values.tolist() == ids
        by_index = ds.set_xindex("element").sel(element=symbol)
        assert by_index.atom_id.values.tolist() == ids


def test_an_opened_store_says_where_it_comes_from(ds, store):
    assert json.loads(ds.attrs["mgdask_opened"]) == {
        "store": str(store.absolute()),
        "content": Manifest(store).content(),
        "n_frames": 4,
        "n_atoms": 5,
    }
    assert "mgdask_opened" not in xr.open_zarr(store, consolidated=False).attrs


@pytest.fixture(scope="module")
def features(ds, tmp_path_factory):
    """The same columns, lazy and stored."""
    out = tmp_path_factory.mktemp("labels") / "f.zarr"
    wanted = [mgdask.BondOrder(cutoff=3.0), mgdask.Coordination(cutoff=3.0)]
    mgdask.run(mgdask.plan(json.loads(ds.attrs["mgdask_opened"])["store"], wanted, out=out))
    return mgdask.featurize(ds, wanted), mgdask.open_store(out)


@pytest.mark.parametrize("which", [0, 1], ids=["lazy", "stored"])
def test_a_mistyped_column_names_the_nearest(features, which):
    array = features[which].bond_order
    assert isinstance(array.xindexes["bond_order_feature"], Labels)
    for wrong, near in (("Q6", "'q6'"), (["q4", "coarsew6"], "'coarse_w6'")):
        with pytest.raises(LabelError) as caught:
            array.sel(bond_order_feature=wrong)
        text = str(caught.value)
        shown = "'q4'" in text.split("?")[0]
        assert f"did you mean {near}" in text, text
        assert not shown  # labels that exist are not called missing
        assert "16 labels, from 'q4' to" in text
    with pytest.raises(ParameterError, match=r"no label 'zzzz'\. It has 16") as caught:
        array.sel(bond_order_feature="zzzz")
    assert isinstance(caught.value, KeyError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_lazy_and_stored_features_have_the_labels_of_the_trajectory(features, ds):
    lazy, stored = features
    for found in features:
        for name in ("frame", "atom", "element"):
            np.testing.assert_array_equal(found[name], ds[name])
    want = lazy.bond_order.sel(atom=12, bond_order_feature="q6").values
    got = stored.bond_order.sel(atom=12, bond_order_feature="q6").values
    assert want.tobytes() == got.tobytes()


def test_arithmetic_aligns_by_id_and_label(ds):
    """Values of different atoms are never combined by their place."""
    x = ds.position.sel(xyz="x")
    moved = x.isel(atom=[4, 1, 2]) - x.isel(atom=[0, 2, 4])
    assert sorted(moved.atom.values.tolist()) == [7, 40]
    assert (moved == 0).all()


def test_column_labels_work_like_a_plain_index():
    """Whatever the plain index of a NetCDF file gives, labels give too."""
    values = np.arange(6.0).reshape(2, 3)
    plain = xr.Dataset(
        {"d": (("frame", "d_feature"), values)},
        coords={"d_feature": ["r", "s", "t"], "frame": [0, 1]},
    )
    labeled = with_labels(plain)
    assert type(labeled.xindexes["d_feature"]) is Labels
    other = plain.isel(d_feature=[2, 0])
    operations = (
        lambda a: a + other,
        lambda a: other + a,
        lambda a: xr.merge([a, other.rename(d="e")], join="outer"),
        lambda a: xr.concat([a, plain], "frame"),
        lambda a: xr.concat([a.isel(d_feature=[0]), a.isel(d_feature=[2])], "d_feature"),
        lambda a: a.reindex(d_feature=["t", "q"]),
        lambda a: a.where(a.d_feature != "s", drop=True),
        lambda a: a.sel(d_feature=slice("r", "s")),
        lambda a: a.sortby("d_feature", ascending=False),
        lambda a: a.assign(e=other.d),
        lambda a: pickle.loads(pickle.dumps(a.copy(deep=True))),
    )
    for operation in operations:
        xr.testing.assert_equal(operation(labeled), operation(plain))
    pd.testing.assert_frame_equal(labeled.d.to_pandas(), plain.d.to_pandas())
