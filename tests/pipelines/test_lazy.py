"""Lazy features compute what is selected, before or after: counted, never timed."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from typing import ClassVar

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask.errors import ParameterError
from mgdask.features import environments
from mgdask.features.engine import compute_features
from mgdask.features.environments import LocalEnvironments
from mgdask.pipelines.featurize import lazy_blocks, lazy_graph
from mgdask.pipelines.featurize.lazy_array import SelectableArray
from mgdask.store.sources import SourceArray
from tests.conftest import threads_client
from tests.explore.test_questions import HOWTO, answers
from tests.plain_feature import PlainFeature

SEEN = []


@dataclass(frozen=True)
class Height(PlainFeature):
    """Height and its square; notes the frame and the atoms that it is asked for."""

    family: ClassVar[str] = "height"
    long_name: ClassVar[str] = "height"
    labels = ("z", "z2")

    def neighbor_lists(self, n_atoms, n_centers):
        return {}

    def describe(self, environments, centers, out):
        SEEN.append((float(environments.position[0, 2]), len(centers)))
        z = environments.position[centers, 2]
        out[...] = np.stack([z, z * z], axis=-1)
        return {}


@pytest.fixture
def ds(glass_store):
    """The shipped glass, 8 frames of 2000 atoms, with labels of frames and atoms."""
    ds = mgdask.open_store(glass_store)
    return ds.assign_coords(frame=np.arange(8), atom=ds.atom_id.values)


def expected(ds):
    """What Height is, from the positions alone."""
    z = ds.position.sel(xyz="z").values if "xyz" in ds.indexes else ds.position.values[..., 2]
    return np.stack([z, z * z], axis=-1)


def computed(lazy):
    """Values, and the frames (number) and atoms that were computed for them."""
    SEEN.clear()
    values = np.asarray(lazy.compute(scheduler="sync").values)
    return values, list(SEEN)


COPPER = "copper"
SELECTIONS = {
    "one frame": (lambda x, cu: x.isel(frame=5), lambda v, cu: v[5], [(5, 2000)]),
    "a list of frames": (
        lambda x, cu: x.isel(frame=[6, 2]),
        lambda v, cu: v[[6, 2]],
        [(6, 2000), (2, 2000)],
    ),
    "frames by label": (
        lambda x, cu: x.sel(frame=slice(3, 4)),
        lambda v, cu: v[3:5],
        [(3, 2000), (4, 2000)],
    ),
    "every third": (lambda x, cu: x[::3], lambda v, cu: v[::3], [(0, 2000), (3, 2000), (6, 2000)]),
    "backward": (lambda x, cu: x[:1:-5], lambda v, cu: v[:1:-5], [(7, 2000), (2, 2000)]),
    "negative": (lambda x, cu: x[-1, -2], lambda v, cu: v[-1, -2], [(7, 1)]),
    "atoms by id, unsorted and repeated": (
        lambda x, cu: x.isel(frame=5).sel(atom=[17, 4, 17]),
        lambda v, cu: v[5][[16, 3, 16]],
        [(5, 2)],
    ),
    "one atom": (lambda x, cu: x.sel(atom=17).isel(frame=5), lambda v, cu: v[5, 16], [(5, 1)]),
    "a mask, then a frame": (
        lambda x, cu: x.sel(atom=x.species == 29).isel(frame=5),
        lambda v, cu: v[5][cu],
        [(5, COPPER)],
    ),
    "a frame, then a mask": (
        lambda x, cu: x.isel(frame=5).isel(atom=cu),
        lambda v, cu: v[5][cu],
        [(5, COPPER)],
    ),
    "where and drop": (
        lambda x, cu: x.isel(frame=[5]).where(x.species == 29, drop=True),
        lambda v, cu: v[[5]][:, cu],
        [(5, COPPER)],
    ),
    "where without drop": (
        lambda x, cu: x.isel(frame=5).where(x.species == 29),
        lambda v, cu: np.where(cu[:, None], v[5], np.nan),
        [(5, 2000)],
    ),
    "a column": (
        lambda x, cu: x.isel(frame=5, atom=[8]).sel(height_feature="z2"),
        lambda v, cu: v[5, [8], 1],
        [(5, 1)],
    ),
    "columns in another order": (
        lambda x, cu: x.isel(frame=5, atom=slice(3)).sel(height_feature=["z2", "z"]),
        lambda v, cu: v[5, :3, ::-1],
        [(5, 3)],
    ),
    "atoms along another dimension": (
        lambda x, cu: x.isel(frame=[5], atom=xr.DataArray([4, 9], dims="near")).transpose(
            "near", ...
        ),
        lambda v, cu: v[[5]][:, [4, 9]].transpose(1, 0, 2),
        [(5, 2)],
    ),
    "all at once": (
        lambda x, cu: x[{"frame": [5, 1], "atom": cu, "height_feature": [1]}],
        lambda v, cu: v[[5, 1]][:, cu][..., [1]],
        [(5, COPPER), (1, COPPER)],
    ),
    "the first of a copy": (
        lambda x, cu: x.copy(deep=True).isel(frame=0, atom=[1]),
        lambda v, cu: v[0, [1]],
        [(0, 1)],
    ),
    "nothing": (lambda x, cu: x.isel(frame=[], atom=slice(4)), lambda v, cu: v[[], :4], []),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_computes_its_frames_and_atoms(ds, name):
    take, wanted, counts = SELECTIONS[name]
    copper = ds.species.values == 29
    first_z = [float(z) for z in ds.position.values[:, 0, 2]]
    whole = mgdask.featurize(ds, Height()).height
    values, seen = computed(take(whole, copper))
    np.testing.assert_array_equal(values, wanted(expected(ds), copper))
    n = {COPPER: int(copper.sum())}
    assert sorted(seen) == sorted((first_z[f], n.get(atoms, atoms)) for f, atoms in counts)


def test_a_single_frame_is_described_too(ds):
    before = mgdask.featurize(ds.isel(frame=5), Height())
    after = mgdask.featurize(ds, Height()).isel(frame=5)
    assert before.height.dims == ("atom", "height_feature")
    xr.testing.assert_identical(before.compute(scheduler="sync"), after.compute(scheduler="sync"))
    with pytest.raises(ParameterError, match=r"nonaffine compares frames.*isel\(frame="):
        mgdask.featurize(ds.isel(frame=5), mgdask.NonAffine())


def small(n_frames=5, n_atoms=12, seed=3):
    """A Dataset made by hand, of few random atoms."""
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "position": (("frame", "atom", "xyz"), rng.uniform(0, 9, (n_frames, n_atoms, 3))),
            "cell": (("frame", "vector", "xyz"), np.tile(9 * np.eye(3), (n_frames, 1, 1))),
            "species": ("atom", rng.choice([29, 40], n_atoms)),
        }
    )


def some_key(rng, n):
    """A key for one axis: a number, slice, list or mask."""
    kind = rng.integers(6)
    if kind == 0:
        return int(rng.integers(-n, n))
    if kind == 1:
        return slice(*sorted(rng.integers(-n, n + 1, 2).tolist()), int(rng.integers(1, 3)))
    if kind == 2:
        return slice(None, None, -int(rng.integers(1, 3)))
    if kind == 3:
        return rng.integers(-n, n, rng.integers(1, 5)).tolist()
    if kind == 4:
        return rng.random(n) < 0.5
    return slice(None)


def test_chains_of_selections_are_those_of_numpy(monkeypatch):
    """Against NumPy: each key selects along the axes that the ones before have left."""
    monkeypatch.setattr(lazy_graph, "LARGE_FRAME", 5)  # three chunks a frame
    ds, rng = small(), np.random.default_rng(11)
    whole = mgdask.featurize(ds, Height()).height.data
    assert whole.chunks == ((1,) * 5, (4, 4, 4), (2,))
    n_lists = 0
    for _ in range(60):
        lazy, plain = whole, expected(ds)
        for _ in range(3):
            if not plain.ndim or not plain.size:
                break
            axis = int(rng.integers(plain.ndim))
            key = some_key(rng, plain.shape[axis])
            n_lists += not isinstance(key, int | slice)
            lazy, plain = (
                lazy[(slice(None),) * axis + (key,)],
                plain[(slice(None),) * axis + (key,)],
            )
        assert lazy.shape == plain.shape
        np.testing.assert_array_equal(np.asarray(lazy.compute(scheduler="sync")), plain)
        assert isinstance(lazy, SelectableArray) or not plain.size
    assert n_lists > 20


def test_wrong_keys_are_errors_as_in_numpy():
    whole = mgdask.featurize(small(), Height()).height.data
    for key in (5, -6, [0, 5], (0, 12), np.ones(4, dtype=bool), (0, 0, 0, 0), "z", 1.5):
        with pytest.raises((IndexError, NotImplementedError, TypeError, KeyError)):
            whole[key]
    assert whole[..., 1].shape == (5, 12)
    assert whole[0, ..., 1].shape == (12,)
    assert whole[:, None].shape == (5, 1, 12, 2)  # by Dask
    assert whole[da.from_array(np.array([0, 2]))].compute(scheduler="sync").shape == (2, 12, 2)


def test_other_arrays_of_dask_are_refused(monkeypatch):
    """Dask has a second class of arrays, which its query planning turns on."""
    monkeypatch.setattr(da, "Array", type("Array", (), {"__module__": "dask.array._array_expr"}))
    with pytest.raises(ParameterError, match="DASK_ARRAY__QUERY_PLANNING=False"):
        mgdask.featurize(small(), Height())


def test_what_is_no_selection_has_the_same_values():
    ds = small()
    lazy, plain = mgdask.featurize(ds, Height()).height, expected(ds)
    points = xr.DataArray([1, 3], dims="point")
    for found, wanted in (
        ((2 * lazy).isel(frame=[3]), 2 * plain[[3]]),
        (lazy.transpose("atom", ...).isel(atom=[5, 2]), plain.transpose(1, 0, 2)[[5, 2]]),
        (lazy.isel(frame=points, atom=points + 4), plain[[1, 3], [5, 7]]),
        (pickle.loads(pickle.dumps(lazy)).isel(atom=[5]), plain[:, [5]]),
        (lazy.persist(scheduler="sync").isel(atom=[5]), plain[:, [5]]),
        (lazy.groupby(xr.DataArray(ds.species, name="z")).max(), None),
        (lazy.stack(row=("frame", "atom")).isel(row=[14]), plain.reshape(-1, 2)[[14]].T),
    ):
        if wanted is None:
            wanted = np.stack(
                [plain[:, ds.species.values == z].max(axis=1) for z in (29, 40)], axis=0
            )
            found = found.transpose("z", ...)
        np.testing.assert_array_equal(found.compute(scheduler="sync").values, wanted)
    changed = mgdask.featurize(ds, Height()).height.data
    changed[0] = -1.0  # Dask gives the array another graph
    np.testing.assert_array_equal(changed[:2, [3]].compute(scheduler="sync")[0], [[-1.0, -1.0]])
    np.testing.assert_array_equal(lazy.data[:1].compute(scheduler="sync"), plain[:1])


def test_other_lazy_arrays_stand_beside_them():
    """xarray refuses to compute arrays of several types in one Dataset."""
    ds = small().chunk()
    lazy = mgdask.featurize(ds, Height())
    both = lazy.assign(position=ds.position, twice=2 * lazy.height).isel(frame=[3], atom=[1, 4])
    z = expected(ds)[[3]][:, [1, 4]]
    for found in (both.compute(), both.load(), both.persist().compute()):
        np.testing.assert_array_equal(found.height, z)
        np.testing.assert_array_equal(found.twice, 2 * z)
        np.testing.assert_array_equal(found.position[..., 2], z[..., 0])
    tree = xr.DataTree.from_dict({"a": lazy, "b": ds}).load()
    np.testing.assert_array_equal(tree["a/height"], expected(ds))
    total = xr.apply_ufunc(np.add, lazy.height, ds.position[..., 0], dask="allowed")
    assert (total[..., 0] == lazy.height[..., 0] + ds.position[..., 0]).all()
    assert type(lazy.height.data) is SelectableArray


def test_a_hundred_of_a_million_atoms():
    n = 10**6
    ds = xr.Dataset(
        {
            "position": (("frame", "atom", "xyz"), np.zeros((1, n, 3))),
            "cell": (("frame", "vector", "xyz"), 300 * np.eye(3)[None]),
            "species": ("atom", np.full(n, 29)),
        }
    )
    lazy = mgdask.featurize(ds, Height()).height
    assert lazy.chunks[:2] == ((1,), (62500,) * 16)
    _, seen = computed(lazy.isel(frame=0, atom=np.arange(0, n, n // 100)))
    assert [atoms for _, atoms in seen] == [100]


def test_atoms_of_a_store_have_all_their_neighbors(glass_store):
    ds = mgdask.open_store(glass_store)
    for part in (ds.isel(atom=slice(10)), ds.sel(atom=17), ds.sel(atom=ds.species == 29)):
        with pytest.raises(ParameterError, match=r"of the 2000 atoms of its store.*centers="):
            mgdask.featurize(part, Height())


@pytest.fixture
def counted(monkeypatch):
    """What was made: environments, atoms with Voronoi cells, unwrapped atoms; what was read."""
    made = {"environments": [], "cells": [], "unwrapped": [], "read": []}
    init, cells, read = LocalEnvironments.__init__, LocalEnvironments._cells, SourceArray._read
    unwrap = lazy_blocks.unwrap

    def counting_init(self, position, *rest):
        made["environments"].append(len(position))
        init(self, position, *rest)

    def counting_cells(self, atoms):
        made["cells"].append(len(atoms))
        return cells(self, atoms)

    def counting_unwrap(position, *rest):
        made["unwrapped"].append(len(position))
        return unwrap(position, *rest)

    def counting_read(self, key, how):
        values = read(self, key, how)
        made["read"].append((self.name, values.shape))
        return values

    monkeypatch.setattr(LocalEnvironments, "__init__", counting_init)
    monkeypatch.setattr(LocalEnvironments, "_cells", counting_cells)
    monkeypatch.setattr(lazy_blocks, "unwrap", counting_unwrap)
    monkeypatch.setattr(SourceArray, "_read", counting_read)
    return made


FAMILY = [
    mgdask.Coordination(cutoff=3.5),
    mgdask.VoronoiIndices(),
    mgdask.Motifs(),
    mgdask.BondOrder(degrees=(6,), quantities=("q",)),
    mgdask.MediumRange(mgdask.Coordination(cutoff=3.5)),
]


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_features_of_one_call_share_lists_and_cells(ds, counted, scheduler):
    lazy = mgdask.featurize(ds, FAMILY).isel(frame=[5, 2])
    found = lazy.compute(scheduler=scheduler)
    assert counted["environments"] == [2000, 2000]
    assert counted["cells"] == [2000, 2000]
    assert counted["read"] == [("position", (4, 2000, 3))]  # frames 2 to 5 of one file
    numbers = ds.species.values
    one = compute_features(
        [feature.for_atoms(numbers) for feature in FAMILY],
        ds.position[[5, 2]].values,
        ds.cell[[5, 2]].values,
        numbers,
        np.arange(2000),
        (True,) * 3,
    )
    for feature, values in zip(FAMILY, one.values, strict=True):
        assert found[feature.name].values.tobytes() == values.tobytes(), feature.name


def test_only_what_is_asked_for_is_made(ds, counted):
    lazy = mgdask.featurize(ds, [FAMILY[0], mgdask.NonAffine(), Height()])
    _, seen = computed(lazy.height.isel(frame=5, atom=[3]))
    assert [atoms for _, atoms in seen] == [1]
    assert counted["cells"] == []
    assert counted["read"] == [("position", (1, 2000, 3))]
    counted["read"].clear()
    lazy.coordination.isel(frame=5, atom=[3, 700]).compute(scheduler="sync")
    assert counted["cells"] == [2]
    assert counted["read"] == [("position", (1, 2000, 3))]


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_selected_atoms_have_the_bits_of_compute(ds, scheduler, monkeypatch, small_soap):
    """Also in chunks of few atoms, several frames a chunk, and with a mask of centers."""
    features = [
        *FAMILY,
        small_soap,
        mgdask.SOAP(**{**small_soap.parameters(), "average": "inner"}).named("mean"),
    ]
    monkeypatch.setattr(lazy_graph, "LARGE_FRAME", 300)
    zirconium = np.flatnonzero(ds.species.values == 40)
    lazy = mgdask.featurize(ds, features, centers="Zr")
    assert lazy.soap.chunks[1] == (294, 294, 292)
    pick = np.array([800, 3, 3, 411, 77])
    some = lazy.isel(frame=[6, 1]).isel(atom=pick).compute(scheduler=scheduler)
    monkeypatch.setattr(lazy_graph, "MAX_TASKS", 20)
    grouped = lazy.isel(frame=[6, 1, 6])
    assert len(grouped.coordination.chunks[0]) < 3
    grouped = grouped.coordination.compute(scheduler=scheduler)
    frame = ds.position[6].values, ds.cell[6].values, ds.species.values
    for feature in features:
        if feature.level == "frame":
            want = feature.compute(*frame, centers=zirconium)
        else:
            want = feature.compute(*frame, centers=np.unique(zirconium[pick]))
            want = want[np.unique(pick, return_inverse=True)[1]]
        assert some[feature.name].values[0].tobytes() == want.tobytes(), feature.name
    want = FAMILY[0].compute(*frame, centers=zirconium)
    assert grouped.values[2].tobytes() == grouped.values[0].tobytes() == want.tobytes()
    assert (some.atom.values == ds.atom.values[zirconium[pick]]).all()


def test_blocks_of_a_large_frame_in_several_threads(ds, monkeypatch):
    """Blocks share the cell lists and values that a thread keeps of its last large frame."""
    monkeypatch.setattr(environments, "LARGE", 300)
    monkeypatch.setattr(environments, "HALO_BATCH", 64)
    monkeypatch.setattr(environments._RECENT, "frame", None, raising=False)
    monkeypatch.setattr(lazy_graph, "LARGE_FRAME", 300)
    features = [*FAMILY, mgdask.FoldSymmetry(average=True)]
    lazy = mgdask.featurize(ds, features).isel(frame=[5])
    interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        found = lazy.compute(scheduler="threads", num_workers=6)
    finally:
        sys.setswitchinterval(interval)
    frame = ds.position[5].values, ds.cell[5].values, ds.species.values
    for feature in features:
        assert found[feature.name].values[0].tobytes() == feature.compute(*frame).tobytes()


def test_windows_read_and_compare_the_frames_they_need(ds, counted):
    strain = mgdask.NonAffine(reference=4, cutoff=3.5)
    lazy = mgdask.featurize(ds, strain).nonaffine
    values = lazy.isel(frame=6, atom=[9, 2]).compute(scheduler="sync").values
    assert sorted(counted["read"]) == [("image", (3, 2000, 3)), ("position", (3, 2000, 3))]
    path = [ds.position[k].values + ds.image[k].values @ ds.cell[k].values for k in (4, 6)]
    cells = ds.cell[4].values, ds.cell[6].values
    want = strain.compute(*path, *cells, ds.species.values, centers=[2, 9])
    assert values.tobytes() == want[::-1].tobytes()
    both = lazy.isel(frame=[6, 4, 6], atom=slice(40)).compute(scheduler="threads").values
    assert (both[1, :, 0] == 0).all()
    assert both[0].tobytes() == both[2].tobytes()


def test_trajectories_unwrap_the_atoms_and_frames_they_need(counted):
    ds, images = small(20, 50), np.random.default_rng(1).integers(-2, 3, (20, 50, 3))
    ds = ds.assign(image=(("frame", "atom", "xyz"), images), time=("frame", 0.5 * np.arange(20)))
    feature = mgdask.LagDisplacement(lags=(0.5, 2.0), origins="all", missing="nan")
    lazy = mgdask.featurize(ds, feature).lag_displacement
    values = lazy.isel(frame=[7, 3, 18], atom=[8, 1, 8]).compute(scheduler="sync").values
    # atoms 1 and 8, in frames 7, 8, 11 and 3, 4, 7 and 18, 19: once each
    assert counted["unwrapped"] == [2] * 7
    path = ds.position.values + 9.0 * images
    for k, origin in enumerate((7, 3, 18)):
        for column, step in enumerate((1, 4)):
            want = np.full(3, np.nan)
            if origin + step < 20:
                moved = path[origin + step, [8, 1, 8]] - path[origin, [8, 1, 8]]
                want = (moved**2).sum(axis=1)
            np.testing.assert_allclose(values[k, :, column], want, rtol=1e-12)


def test_two_processes_give_the_same_bits(glass_store, client):
    ds = mgdask.open_store(glass_store)
    features = [FAMILY[0], FAMILY[4], mgdask.NonAffine(cutoff=3.5)]
    lazy = mgdask.featurize(ds, features).isel(frame=slice(3, 6), atom=slice(0, 2000, 7))
    here = lazy.compute(scheduler="sync")
    xr.testing.assert_identical(lazy.compute(), here)


@pytest.mark.skipif(not HOWTO.exists(), reason="the manual is in the source checkout only")
def test_the_page_of_the_manual_prints_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with threads_client(2):  # worker processes have another working directory
        pairs = [(shown, printed) for _, shown, printed in answers(HOWTO / "lazy.md")]
    assert len(pairs) == 5
    assert all(shown == printed != "" for shown, printed in pairs)
