"""The accessor ``ds.mg``: registration, selections, and what it refuses."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask._accessor import register
from mgdask.errors import ParameterError
from mgdask.explore.selecting import as_mask
from tests import forked
from tests.conftest import write_dump
from tests.pipelines.test_lazy import SEEN, Height, computed


def small(n_frames=3, ids=(3, 5, 8, 13, 21), numbers=(29, 40, 29, 28, 40)):
    """A Dataset made by hand, with ids that are neither 1..N nor contiguous."""
    rng = np.random.default_rng(1)
    n = len(ids)
    return xr.Dataset(
        {
            "position": (("frame", "atom", "xyz"), rng.uniform(0, 10, (n_frames, n, 3))),
            "cell": (("frame", "vector", "xyz"), np.stack([10 * np.eye(3)] * n_frames)),
        },
        coords={
            "frame": 10 + np.arange(n_frames),
            "atom": list(ids),
            "atom_id": ("atom", list(ids)),
            "species": ("atom", list(numbers)),
        },
    )


def test_opened_stores_and_handmade_data_have_the_accessor(glass_store):
    ds = mgdask.open_store(glass_store)
    assert ds.mg.species("Cu").sizes["atom"] == int((ds.species == 29).sum())
    assert ds.position.mg.species("Cu").sizes["atom"] == int((ds.species == 29).sum())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register()  # again: no warning, and no second accessor


def test_the_accessor_is_imported_when_it_is_first_used():
    code = (
        "import sys, xarray, mgdask; assert hasattr(xarray.Dataset, 'mg');"
        "assert 'mgdask.explore.accessor' not in sys.modules;"
        "xarray.Dataset().mg; assert 'mgdask.explore.accessor' in sys.modules"
    )
    done = forked.run(code)
    assert done.returncode == 0, done.stderr


def test_it_survives_copies_and_pickle():
    ds = small()
    assert ds.mg is ds.mg
    assert {"species", "near", "join"} <= set(repr(ds.mg).replace(",", "").split())
    assert "by_run" in repr(ds.position.mg)
    for other in (copy.copy(ds), copy.deepcopy(ds), pickle.loads(pickle.dumps(ds)), ds.copy()):
        assert other.mg._ds is other
        assert other.mg.species("Ni").atom_id.values.tolist() == [13]


def test_species_keep_their_order_and_unknown_ones_are_named():
    ds = small()
    assert ds.mg.species("Zr", "Ni").atom_id.values.tolist() == [5, 13, 21]
    assert ds.position.mg.species("Cu").atom_id.values.tolist() == [3, 8]
    with pytest.raises(ParameterError, match="no Ti atoms; the elements are Cu, Ni, Zr"):
        ds.mg.species("Ti")
    with pytest.raises(ParameterError, match="did you mean 'Zr'"):
        ds.mg.species("zr")


def test_frames_go_by_their_number_in_the_store():
    ds = small()
    assert ds.mg.frame(11).position.equals(ds.position[1])
    assert ds.mg.frame(-1).position.equals(ds.position[2])
    assert ds.position.mg.frame(10).equals(ds.position[0])
    with pytest.raises(ParameterError, match="no frame 3; there are 3 frames from 10 to 12"):
        ds.mg.frame(3)
    with pytest.raises(ParameterError, match="no dimension 'frame' \\(one was selected before\\)"):
        ds.mg.frame(10).mg.frame(10)


@pytest.mark.parametrize(
    ("mask", "ids"),
    [
        (None, [3, 5, 8, 13, 21]),
        ("Cu", [3, 8]),
        (["Cu", "Ni"], [3, 8, 13]),
        (21, [21]),
        ([21, 5, 5], [5, 21]),
        (np.array([True, False, False, False, True]), [3, 21]),
        ([], []),
    ],
)
def test_masks_in_every_form(mask, ids):
    ds = small()
    assert ds.atom_id.values[as_mask(ds, mask)].tolist() == ids


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda ds: ds.mg.species(), "needs an element symbol; the elements are Cu, Ni, Zr"),
        (lambda ds: ds.position.mg.species(), "needs an element symbol"),
        (lambda ds: ds.mg.frame("last"), "frame 'last' must be the number of a frame"),
        (lambda ds: ds.mg.near(3, "4", frame=0), "radius='4' must be a distance"),
        (lambda ds: ds.isel(xyz=0).mg.near(3, 4.0, frame=0), "no dimension 'xyz'"),
        (lambda ds: ds.mg.slab(at="top", frame=0), "at='top' must be a finite coordinate"),
        (lambda ds: ds.mg.slab(thickness="2", frame=0), "thickness='2' must be a length"),
        (lambda ds: ds.mg.displacement("10"), "lag='10' must be a time"),
        (lambda ds: ds.mg.features(5), "features=5 must be features such as"),
        (lambda ds: mgdask.featurize(ds, None), "features=None must be features such as"),
        (lambda ds: mgdask.featurize(ds.position, mgdask.Packing()), "as .*, not DataArray"),
        (lambda ds: mgdask.featurize("a.zarr", mgdask.Packing()), "mgdask.open_store, not str"),
        (lambda ds: ds.drop_vars("cell").mg.rdf(), "has no cell, which rdf needs"),
    ],
)
def test_values_of_another_type_are_refused_in_words(ask, words):
    with pytest.raises(ParameterError, match=words):
        ask(small())


def test_masks_of_arrays_are_matched_by_id():
    ds = small()
    other = xr.DataArray([True, True, False], dims="atom", coords={"atom_id": ("atom", [21, 3, 5])})
    assert ds.atom_id.values[as_mask(ds, other)].tolist() == [3, 21]
    with pytest.raises(ParameterError, match="there are no atoms with id 3, 21; the 1 atoms"):
        as_mask(ds.isel(atom=[1]), other)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([4, 6], "there are no atoms with id 4, 6; the 5 atoms have ids from 3 to 21"),
        ([True, False], "shape \\(2,\\); it must have one value for each of the 5 atoms"),
        ([0.5], "must be booleans \\(one per atom\\), element symbols such as 'Cu', or integer"),
        (xr.DataArray(np.ones(5), dims="atom"), "dtype float64; it must be boolean"),
        (xr.DataArray(np.ones((3, 5), bool), dims=("frame", "atom")), "Choose a frame first"),
    ],
)
def test_bad_masks_are_refused_in_words(mask, words):
    with pytest.raises(ParameterError, match=words):
        as_mask(small(), mask)


def tilted(n=40, seed=3):
    """A Dataset of one frame in a strongly skewed cell, atoms outside it too."""
    rng = np.random.default_rng(seed)
    cell = np.array([[6.0, 0, 0], [4.5, 5.0, 0], [-3.0, 3.5, 7.0]])
    position = rng.uniform(-0.6, 1.6, (n, 3)) @ cell + 2.0
    return xr.Dataset(
        {
            "position": (("atom", "xyz"), position),
            "cell": (("vector", "xyz"), cell),
            "origin": ("xyz", [2.0, 2.0, 2.0]),
            "pbc": ("vector", [True, True, True]),
        },
        coords={
            "atom_id": ("atom", 100 + 2 * np.arange(n)),
            "species": ("atom", rng.choice([29, 40], n)),
        },
    )


def images(cell, pbc, reach=6):
    """All sums of up to ``reach`` periodic cell vectors in every direction."""
    steps = [range(-reach, reach + 1) if p else range(1) for p in pbc]
    return np.array(np.meshgrid(*steps, indexing="ij")).reshape(3, -1).T @ cell


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
@pytest.mark.parametrize("radius", [1.5, 3.0, 9.0])
def test_near_sees_every_image_of_a_skewed_cell(pbc, radius):
    ds = tilted().assign(pbc=("vector", list(pbc)))
    r = ds.position.values
    shifts = images(ds.cell.values, pbc)
    for center in (100, 146, (1.0, -7.0, 30.0)):
        point = r[(center - 100) // 2] if isinstance(center, int) else np.array(center)
        each = np.linalg.norm(r[:, None] + shifts - point, axis=2).min(axis=1)
        found = ds.mg.near(center, radius)
        assert found.atom_id.values.tolist() == ds.atom_id.values[each <= radius].tolist()
        assert found.center_distance.values == pytest.approx(each[each <= radius], abs=1e-9)
    assert 100 in ds.mg.near(100, radius).atom_id


def test_slab_continues_through_a_periodic_face():
    ds = tilted()
    z, height = ds.position.values[:, 2], 7.0
    for at in (None, 2.3, 8.9, 100.0):
        middle = 2.0 + height / 2 if at is None else at
        brute = (np.abs(z[:, None] + height * np.arange(-20, 21) - middle) <= 1.5).any(axis=1)
        found = ds.mg.slab("z", at=at, thickness=3.0)
        assert found.atom_id.values.tolist() == ds.atom_id.values[brute].tolist()
        assert 0 < brute.sum() < len(z)
    # no face is parallel to x: the atoms as they are stored
    x = ds.position.values[:, 0]
    assert (ds.mg.slab("x", at=3.0, thickness=2.0).sizes["atom"]) == (abs(x - 3.0) <= 1.0).sum()
    # the normal of the faces of a and b, of any length
    same = ds.mg.slab((0, 0, -2.5), at=-2.3, thickness=3.0)
    assert same.equals(ds.mg.slab("z", at=2.3, thickness=3.0))
    open_z = ds.assign(pbc=("vector", [True, True, False]))
    assert open_z.mg.slab("z", at=2.3, thickness=3.0).sizes["atom"] == (abs(z - 2.3) <= 1.5).sum()


def test_places_need_a_frame_and_say_so():
    ds = small()
    assert ds.mg.near(5, 4.0, frame=11).sizes["frame"] == 3  # its atoms in all frames
    alone = ds.mg.frame(11).mg.near(5, 4.0)
    assert ds.mg.near(5, 4.0, frame=11).isel(frame=1).identical(alone)
    array = ds.position.isel(xyz=0).isel(atom=[4, 1, 0])
    near = array.mg.near(5, 6.0, of=ds, frame=11).atom_id.values
    wanted = ds.mg.near(5, 6.0, frame=11).atom_id.values
    assert near.tolist() == [k for k in (21, 5, 3) if k in wanted]
    assert len(near) > 1
    assert array.mg.slab("x", of=ds, frame=11, thickness=99).sizes["atom"] == 3
    for name, call in (("near", lambda: ds.mg.near(5, 4.0)), ("slab", lambda: ds.mg.slab())):
        with pytest.raises(ParameterError, match=f"3 frames.*ds.mg.frame\\(0\\).mg.{name}"):
            call()
    one = ds.mg.frame(10)
    for call, words in (
        (lambda: one.mg.near(4, 3.0), "no atom with id 4 among the 5 atoms"),
        (lambda: one.mg.near(5, -1.0), "radius=-1.0 must be a distance"),
        (lambda: one.mg.near((1.0, 2.0), 3.0), "must be an atom id, or a point in Å"),
        (lambda: one.mg.near(5, 1000.0), "images of the cell"),
        (lambda: one.mg.slab("w"), "axis='w' must be 'x', 'y', 'z' or a vector"),
        (lambda: one.mg.slab((0, 0, 0)), "a vector of zeros"),
        (lambda: one.mg.slab(thickness=0), "thickness=0 must be a length"),
        (lambda: one.drop_vars("position").mg.near(5, 3.0), "has no position, which near needs"),
        (lambda: one.mg.near(5, 3.0, frame=10), "already one frame"),
    ):
        with pytest.raises(ParameterError, match=words):
            call()


def test_ase_atoms_have_all_that_the_frame_has(glass_store):
    ds = mgdask.open_store(glass_store)
    atoms = ds.mg.atoms(3)
    one = ds.isel(frame=3)
    assert (atoms.positions == one.position.values).all()
    assert (atoms.cell.array == one.cell.values).all()
    assert atoms.pbc.all()
    assert (atoms.get_celldisp().ravel() == one.origin.values).all()
    assert (atoms.numbers == ds.species.values).all()
    assert (atoms.get_masses() == ds.mass.values).all()
    assert (atoms.arrays["id"] == ds.atom_id.values).all()
    assert atoms.info["step"] == int(ds.step[3])
    assert atoms.info["run"] == str(ds.run.values[3])
    assert ds.isel(frame=[3]).mg.species("Cu").mg.atoms().get_chemical_symbols() == ["Cu"] * int(
        (ds.species == 29).sum()
    )


def test_groups_are_called_by_symbol_and_run():
    ds = small().assign(value=(("frame", "atom"), np.arange(15.0).reshape(3, 5)))
    mean = ds.value.mg.by_species().mean()
    assert mean.element.values.tolist() == ["Cu", "Ni", "Zr"]
    assert mean.sel(element="Zr").values.tolist() == [2.5, 7.5, 12.5]
    assert int((ds.value > 3).mg.by_species().sum().sel(element="Cu").sum()) == 4
    both = ds[["value"]].mg.by_species().mean()
    assert both.value.transpose("frame", "element").identical(mean)
    runs = ds.assign_coords(run=("frame", np.array(["b", "a", "b"], dtype=np.dtypes.StringDType())))
    assert runs.value.mg.by_run().mean().sel(run="b").values.tolist() == [5, 6, 7, 8, 9]
    assert runs[["value"]].mg.by_run().mean().run.values.tolist() == ["a", "b"]
    with pytest.raises(ParameterError, match="no coordinate run"):
        ds.mg.by_run()


def trajectory(runs=("a", "a", "b", "b"), steps=(0, 10, 0, 10), n=4):
    """A trajectory of several runs whose frames differ in run and step only together."""
    rng = np.random.default_rng(5)
    shape = (len(runs), n, 3)
    return xr.Dataset(
        {
            "position": (("frame", "atom", "xyz"), rng.uniform(0, 9, shape)),
            "image": (("frame", "atom", "xyz"), rng.integers(-2, 3, shape)),
            "cell": (("frame", "vector", "xyz"), np.stack([9 * np.eye(3)] * len(runs))),
        },
        coords={
            "atom_id": ("atom", [2, 4, 6, 8][:n]),
            "species": ("atom", [29, 40, 40, 29][:n]),
            "mass": ("atom", [60.0, 90.0, 90.0, 60.0][:n]),
            "run": ("frame", list(runs)),
            "step": ("frame", list(steps)),
            "time": ("frame", np.array(steps) * 0.1),
        },
    )


def described(ds, name="q"):
    """Features that say which frame and which atom they belong to."""
    run = np.array([ord(each) for each in ds.run.values])
    value = 1e6 * run[:, None] + 100 * ds.step.values[:, None] + ds.atom_id.values[None]
    return xr.Dataset(
        {name: (("frame", "atom", f"{name}_feature"), value[..., None].astype(float))},
        coords={f"{name}_feature": ["value"]}
        | {each: ds[each].variable for each in ("run", "step", "atom_id", "species")},
    )


def test_joined_features_are_those_of_the_same_atom_step_and_run(recwarn):
    ds = trajectory()
    features = described(ds).isel(frame=[3, 1, 2, 0], atom=[2, 0, 3, 1])
    joined = ds.mg.join(features)
    assert not recwarn
    assert joined.attrs["joined"] == "nothing was left out"
    expected = described(ds)
    assert (joined.q.values == expected.q.values).all()
    assert joined.position.equals(ds.position)
    assert joined.q.sel(q_feature="value").dims == ("frame", "atom")


def test_join_counts_what_has_no_partner():
    ds = trajectory()
    other = trajectory(runs=("a", "b", "c"), steps=(10, 10, 10))
    first = described(other).isel(atom=[0, 1, 3])
    second = described(ds, "p").isel(frame=[1, 3])
    with pytest.warns(UserWarning, match="no partner") as caught:
        joined = ds.mg.join(first, second)
    words = str(caught[0].message)
    assert caught[0].filename == __file__  # the warning points to the caller
    assert "2 of 4 frames of the trajectory have no partner" in words
    assert "1 of 3 frames of the features q have no partner and were left out" in words
    assert "run c" in words
    assert "1 of 4 atoms of the trajectory have no partner and were left out (6 to 6)" in words
    assert joined.attrs["joined"] == words
    assert joined.atom_id.values.tolist() == [2, 4, 8]
    assert [str(run) for run in joined.run.values] == ["a", "b"]
    chosen = ds.isel(frame=[1, 3], atom=[0, 1, 3])
    assert (joined.q.values == described(chosen).q.values).all()
    assert (joined.p.values == described(chosen, "p").p.values).all()


def test_join_refuses_what_has_no_meaning():
    ds = trajectory()
    features = described(ds)
    for others, words in (
        ((), "nothing to join"),
        ((features, features), "two variables 'q'; rename one before joining"),
        ((features.assign_coords(step=("frame", [1, 2, 3, 4])),), "no frames are in common"),
        ((features.assign_coords(atom_id=("atom", [1, 3, 5, 7])),), "no atoms are in common"),
        ((features.assign_coords(run=("frame", ["a"] * 4)),), "step 0 of run a occurs more than"),
        ((features.drop_vars("step"),), "no coordinate step"),
    ):
        with pytest.raises(ParameterError, match=words):
            ds.mg.join(*others)


def test_one_frame_is_joined_to_the_same_frame():
    ds = trajectory()
    features = described(ds)
    for k in range(4):
        for other in (features, features.isel(frame=k), features.isel(frame=[k])):
            joined = ds.isel(frame=k).mg.join(other)
            assert joined.q.dims == ("atom", "q_feature")
            assert joined.q.values.tolist() == features.q[k].values.tolist()
        with pytest.raises(ParameterError, match="no frames are in common: step"):
            ds.isel(frame=k).mg.join(features.isel(frame=k - 1))
    with pytest.warns(UserWarning, match="3 of 4 frames of the trajectory have no partner"):
        joined = ds.mg.join(features.isel(frame=2))
    assert joined.step.values.tolist() == [0]
    assert [str(run) for run in joined.run.values] == ["b"]
    assert joined.q.values.tolist() == features.q[[2]].values.tolist()


def test_joined_arrays_stay_lazy_and_frame_features_need_no_atoms():
    ds = trajectory()
    features = described(ds).chunk(frame=1)
    whole = xr.Dataset(
        {"energy": (("frame", "energy_feature"), np.arange(4.0)[:, None])},
        coords={"energy_feature": ["mean"], "run": features.run, "step": features.step},
    )
    joined = ds.mg.join(features, whole.isel(frame=[1, 0, 3, 2]))
    assert joined.q.chunks is not None
    assert joined.energy.values.ravel().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_displacements_stay_in_their_run():
    ds = trajectory()
    path = ds.position.values + 9.0 * ds.image.values
    moved = ds.mg.displacement(1.0)
    assert [str(run) for run in moved.run.values] == ["a", "b"]
    assert moved.step.values.tolist() == [0, 0]
    assert moved.later_step.values.tolist() == [10, 10]
    expected = path[[1, 3]] - path[[0, 2]]
    assert moved.displacement.values == pytest.approx(expected, abs=1e-12)
    assert moved.distance.values == pytest.approx(np.linalg.norm(expected, axis=2), abs=1e-12)
    weight = ds.mass.values / ds.mass.values.sum()
    still = ds.mg.displacement(1.0, remove_drift=True).displacement.values
    drift = np.einsum("a,fax->fx", weight, expected)
    assert still == pytest.approx(expected - drift[:, None], abs=1e-12)
    assert np.einsum("a,fax->fx", weight, still) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("growth", [0.0, 0.25])
def test_displacements_are_those_of_the_unwrapped_store(tmp_path, growth):
    rows = np.random.default_rng(4).uniform(0, 10, (3, 2, 3))
    dump = tmp_path / "move.dump"
    text = ""
    for k in range(3):
        atoms = [(a + 1, 1, *rows[k, a], 2 * k, -k, 0) for a in range(2)]
        box = ((0, 10 + growth * k),) * 3
        columns = "id type x y z ix iy iz"
        text += Path(write_dump(dump, [(100 * k, atoms)], columns=columns, box=box)).read_text()
    dump.write_text(text)
    dump = str(dump)
    mgdask.ingest(dump, tmp_path / "t.zarr", species={1: "Cu"}, timestep=0.01)
    mgdask.unwrap(tmp_path / "t.zarr", tmp_path / "u.zarr")
    ds = mgdask.open_store(tmp_path / "t.zarr")
    unwrapped = mgdask.open_store(tmp_path / "u.zarr")
    for lag in (1.0, 2.0):
        here, there = ds.mg.displacement(lag), unwrapped.mg.displacement(lag)
        assert here.displacement.chunks is not None
        assert here.displacement.values.tolist() == there.displacement.values.tolist()
    images = np.array([[20.0, -10.0, 0.0], [20.0, -10.0, 0.0]])  # crossed in each step
    images[0] *= 1 + growth / 10
    images[1] *= 1 + growth / 5
    assert here.displacement.values[0, 1] == pytest.approx(
        rows[2, 1] - rows[0, 1] + images.sum(axis=0), abs=1e-9
    )
    if growth:
        with pytest.raises(ParameterError, match=r"followed through all 3 frames.*has 2 of them"):
            ds.isel(frame=[0, 2]).mg.displacement(2.0)


def test_displacements_refuse_what_they_cannot_follow():
    ds = trajectory()
    for data, lag, words in (
        (ds, 0.0, "lag=0.0 must be a time"),
        (ds, 7.0, "no two frames of a run are 7 ps apart .* the nearest lag that exists is 1 ps"),
        (ds.isel(frame=[0, 2]), 1.0, "every run has one frame"),
        (ds.drop_vars("time"), 1.0, "times of the frames are not known"),
        (ds.drop_vars("image"), 1.0, "has no image"),
        (ds.isel(frame=0), 1.0, "no dimension 'frame'"),
    ):
        with pytest.raises(ParameterError, match=words):
            data.mg.displacement(lag)


def test_a_selection_is_joined_without_a_warning(glass_store, recwarn):
    ds = mgdask.open_store(glass_store)
    joined = ds.mg.species("Zr").isel(frame=[1]).mg.join(ds.mg.features(Height()))
    assert "1120 of 2000 atoms of the features height have no partner" in joined.attrs["joined"]
    assert not recwarn
    with pytest.warns(UserWarning, match="1120 of 2000 atoms of the trajectory"):
        ds.mg.join(ds.mg.species("Zr").mg.features(Height()))


def test_only_what_is_selected_is_computed(glass_store):
    """Selections of the accessor reach the kernel; counted, never timed."""
    ds = mgdask.open_store(glass_store)
    zirconium = int((ds.species == 40).sum())
    lazy = ds.mg.features(Height())
    near = ds.mg.near(17, 4.0, frame=3).atom_id.values
    high = ds.position.isel(frame=2).sel(xyz="z") > 10.0
    joined = ds.mg.join(lazy)
    first = 1 + np.flatnonzero(ds.species.values == 40)[0]
    for chosen, counts in (
        (lazy.mg.frame(3), [2000]),
        (lazy.mg.species("Zr").mg.frame(3), [zirconium]),
        (lazy.mg.frame(-1).mg.select([17, 4]), [2]),
        (lazy.height.mg.frame(2).mg.select(high), [int(high.sum())]),
        (lazy.height.mg.frame(3).mg.near(17, 4.0, of=ds, frame=3), [len(near)]),
        (joined.mg.frame(1).mg.slab("z", thickness=2.0).height, None),
        (joined.mg.near(17, 4.0, frame=3).height.isel(frame=[0, 1]), [len(near)] * 2),
        (ds.mg.species("Zr").mg.features(Height()).isel(frame=[5]), [zirconium]),
        (ds.mg.species("Zr").mg.join(lazy).height.sel(atom=[first]).isel(frame=0), [1]),
    ):
        _, seen = computed(chosen if isinstance(chosen, xr.DataArray) else chosen.height)
        counts = [chosen.sizes["atom"]] if counts is None else counts
        assert [n for _, n in seen] == counts
    SEEN.clear()
    facts = joined.mg.atom(17)
    assert [n for _, n in SEEN] == [1, 1]
    assert facts.values.loc[("height", "z"), "7"] == float(ds.position[7, 16, 2])
    means = lazy.height.isel(frame=[0]).mg.by_species().mean().compute(scheduler="sync")
    z = ds.position[0, :, 2].values
    assert means.sel(element="Zr").values[0, 0] == pytest.approx(z[ds.species == 40].mean())
