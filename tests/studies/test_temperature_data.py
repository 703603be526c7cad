"""Instances of the temperature study: read block by block, equal to logarithms taken here; unusable input refused in words."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.studies.temperature import data
from mgdask.studies.temperature.options import TemperatureOptions
from mgdask.studies.temperature.prepare import check_finite, compute_lags
from tests.conftest import write_dump
from tests.studies.temperature_stores import (
    LAGS,
    MASS,
    N_ATOMS,
    SIDE,
    TIMESTEP,
    write_run,
    write_store,
)

KELVIN = (300.0, 900.0, 1500.0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One store of two runs at different temperatures, one of another size and composition, and their positions."""
    folder = tmp_path_factory.mktemp("runs")
    positions = []
    for kelvin, options in zip(KELVIN, ({}, {}, {"types": (2, 2, 1), "n": 40}), strict=True):
        path, position = write_run(folder, f"{kelvin:g}", kelvin, seed=int(kelvin), **options)
        positions.append((path, position))
    both = folder / "both.zarr"
    for k in (0, 1):
        mgdask.ingest(
            positions[k][0],
            both,
            species={1: "Cu", 2: "Zr"},
            timestep=TIMESTEP,
            temperature=KELVIN[k],
            run=f"{KELVIN[k]:g}K",
            append=k > 0,
        )
    third = write_store(folder, "third", 1500.0, seed=1500, types=(2, 2, 1), n=40)
    return [both, third], [position for _, position in positions]


@pytest.fixture(scope="module")
def instances(runs, tmp_path_factory):
    return compute_lags(runs[0], tmp_path_factory.mktemp("features"), LAGS, progress=False)


def expected(positions):
    """lg[r² m] by hand, rows in order run and atom; and the temperature of each row."""
    tables = []
    for position, types in zip(positions, ((1, 2), (1, 2), (2, 2, 1)), strict=True):
        mass = np.array([MASS[k] for k in np.resize(types, position.shape[1])])
        squared = ((position[1:] - position[0]) ** 2).sum(axis=2).T
        tables.append(np.log10(squared * mass[:, None]))
    return np.concatenate(tables), np.repeat(KELVIN, [len(table) for table in tables])


def test_the_matrix_is_the_logarithm_taken_by_hand(instances, runs, monkeypatch):
    want, kelvin = expected(runs[1])
    labels = instances.labels()
    assert instances.n_rows == len(want) == 2 * N_ATOMS + 40
    np.testing.assert_array_equal(labels.temperature, kelvin)
    np.testing.assert_array_equal(instances.temperatures, KELVIN)
    np.testing.assert_array_equal(labels.species[:4], [29, 40, 29, 40])
    np.testing.assert_array_equal(labels.species[-40:][:3], [40, 40, 29])
    np.testing.assert_array_equal(labels.run, np.repeat([0, 1, 2], [60, 60, 40]))
    np.testing.assert_array_equal(labels.atom[60:63], [0, 1, 2])
    assert [run.label for run in instances.runs] == ["300K", "900K", "1500.0K"]

    plain = instances.matrix()
    np.testing.assert_allclose(plain, want, rtol=0, atol=1e-9)
    assert plain.flags.c_contiguous
    own = instances.matrix(feature_temperature="run")
    np.testing.assert_allclose(own, want - np.log10(kelvin)[:, None], rtol=0, atol=1e-9)
    given = instances.matrix(feature_temperature=450.0)
    np.testing.assert_allclose(given, want - np.log10(450.0), rtol=0, atol=1e-9)

    # parts have the bits of the whole, for any blocks and any order of rows
    some = np.random.default_rng(0).permutation(instances.n_rows)[:70]
    for size in (1, 700, data.BLOCK_BYTES):
        monkeypatch.setattr(data, "BLOCK_BYTES", size)
        np.testing.assert_array_equal(instances.matrix(), plain)
        np.testing.assert_array_equal(
            instances.matrix(rows=some, columns=[3, 1], feature_temperature="run"),
            own[some][:, [3, 1]],
        )
        np.testing.assert_array_equal(instances.matrix(rows=slice(50, 130)), plain[50:130])
        np.testing.assert_array_equal(
            instances.matrix(runs=[2, 0], rows=[99, 3, 39]),
            np.concatenate([plain[120:], plain[:60]])[[99, 3, 39]],
        )
    np.testing.assert_array_equal(
        instances.of_temperatures([1500.0, 300.0]).matrix(), instances.matrix(runs=[0, 2])
    )
    with pytest.raises(ParameterError, match="rows are -1 to 5; there are rows 0 to 159"):
        instances.matrix(rows=[-1, 5])


def test_a_task_carries_no_arrays(instances):
    instances.labels()
    sent = pickle.dumps(instances)
    assert len(sent) < 2000
    back = pickle.loads(sent)
    np.testing.assert_array_equal(back.matrix(rows=[150]), instances.matrix(rows=[150]))
    np.testing.assert_array_equal(back.runs[2].mass, instances.runs[2].mass)


def test_features_are_computed_once(instances, runs):
    folder = instances.runs[0].path.parent
    marks = {path: path.stat().st_mtime_ns for path in folder.rglob("c/*")}
    again = compute_lags(runs[0], folder, LAGS, progress=False)
    assert marks == {path: path.stat().st_mtime_ns for path in folder.rglob("c/*")}
    np.testing.assert_array_equal(again.matrix(), instances.matrix())


def test_atoms_that_have_not_moved_are_refused(tmp_path):
    _, position = write_run(tmp_path, "moving", 300)
    position[2, 5] = position[0, 5]
    position[3, 7] = position[0, 7]
    frames = [
        (round(t / TIMESTEP), [(i + 1, 1, *map(float, r[i])) for i in range(N_ATOMS)])
        for t, r in zip((0.0, *LAGS), position, strict=True)
    ]
    dump = write_dump(tmp_path / "held.dump", frames, "id type xu yu zu", ((0, SIDE),) * 3)
    store = tmp_path / "held.zarr"
    mgdask.ingest(dump, store, species={1: "Cu"}, timestep=TIMESTEP, temperature=300.0, run="a")
    with pytest.raises(
        ParameterError,
        match=r"held.zarr: the run 'a' has 2 displacements of zero.*first is of atom 6 \(Cu\) at 1",
    ):
        compute_lags([store], tmp_path / "features", LAGS, progress=False)


def test_missing_values_are_refused(instances, monkeypatch):
    """A feature store with NaN, as if a lag had not been there."""
    inside = data.features_of

    def holed(run):
        values = inside(run)[:].copy()
        values[run.frame, 11, 2] = np.nan
        return values

    monkeypatch.setattr("mgdask.studies.temperature.prepare.features_of", holed)
    with pytest.raises(ParameterError, match=r"has 1 displacements that are NaN.*atom 12 .*5 ps"):
        check_finite(instances, progress=False)


# ------------------------------------------------------------------------------------------ input that cannot be used
@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return {
        "cold": write_store(folder, "cold", 300),
        "hot": write_store(folder, "hot", 1500),
        "unknown_t": write_store(folder, "unknown_t", 900, temperature=None),
        "short": write_store(folder, "short", 900, lags=LAGS[:-1]),
        "holes": write_store(folder, "holes", 900, lags=(0.1, 1.0, 20.0)),
        "nickel": write_store(folder, "nickel", 900, types=(1, 2, 3)),
        "other_mass": write_store(folder, "other_mass", 900, species={1: "Cu", 2: "Hf"}),
        "same_t": write_store(folder, "same_t", 300, seed=5),
    }


def options_of(stores, **names):
    own = {"train": ("cold", "hot"), "lags": LAGS, "folds": 3, "out": "nowhere"} | names
    sets = {
        name: [stores[one] for one in own.pop(name)]
        for name in ("train", "test", "apply", "control")
        if name in own
    }
    return TemperatureOptions(**sets, **own)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"train": ("cold", "unknown_t")}, "the run '900K' has no temperature, which is the label"),
        ({"train": ("cold", "unknown_t")}, r"mgdask attach \S*unknown_t.zarr --run 900K --temp"),
        ({"test": ("unknown_t",)}, "no temperature"),
        ({"train": ("cold", "same_t")}, "at 300 K. With one class there is nothing to learn"),
        ({"classes": (300, 700)}, "no training run is at this temperature.*300, 1500 K"),
        ({"apply": ("short",)}, r"short.zarr: the run '900K' is 5 ps long, .*longest lag of 20 ps"),
        ({"apply": ("short",)}, r"give a longer trajectory, or only 0.1,1,5$"),
        ({"apply": ("cold",), "d2min_lags": (5, 50)}, r"longest lag of 50 ps of d2min_lags"),
        ({"apply": ("holes",)}, r"no frame 5 ps after its first \(1 of 4.*that exists is 1 ps"),
        ({"apply": ("nickel",)}, r"nickel.zarr has Ni, but the training stores only have Cu, Zr"),
        ({"test": ("other_mass",)}, "other_mass.zarr has Hf"),
        (
            {"neighbors": 41},
            r"needs 41 atoms of Cu .*there are 40 \(of 60 in all training runs\): give a",
        ),
        (
            {"apply": ("unknown_t",), "feature_temperature": "run"},
            "no temperature, which feature_temperature='run'.*needs",
        ),
    ],
)
def test_stores_that_do_not_suit_are_refused(stores, names, words):
    with pytest.raises(ParameterError, match=words):
        options_of(stores, **names).check_inputs()


def test_stores_that_suit_are_taken(stores):
    options_of(stores, apply=("unknown_t",), control=("cold",), neighbors=40).check_inputs()
    options_of(stores, train=("cold", "hot", "nickel"), apply=("cold",)).check_inputs()


def test_classes_name_measured_temperatures(tmp_path):
    # 300.1 K in every frame has a mean that differs in the last digit
    one = write_store(tmp_path, "one", 300, temperature=300.1)
    two = write_store(tmp_path, "two", 900, temperature=901.23456789)
    options = TemperatureOptions(
        train=[one, two], classes=(300.1, 901.235), lags=LAGS, folds=3, out="nowhere",
        relief_neighbors=5,
    )  # fmt: skip
    options.check_inputs()


def test_a_species_has_one_mass(stores, monkeypatch, tmp_path):
    """Copper of another mass: 65 u, where the training stores have 63.546 u."""
    from mgdask.studies.temperature import stores as module

    options = options_of(stores, apply=("same_t",))
    read = module.read_array

    def heavier(group, name):
        values = read(group, name)
        here = module.read_array is heavier and str(group.store).endswith("same_t.zarr")
        return np.where(values < 64, 65.0, values) if name == "mass" and here else values

    monkeypatch.setattr(module, "read_array", heavier)
    with pytest.raises(ParameterError, match=r"Cu has a mass of 65 u, but 63.546 u in .*cold.zarr"):
        options.check_inputs()


def test_a_temperature_that_changes_is_no_label(tmp_path):
    dump, _ = write_run(tmp_path, "heated", 300)
    store = tmp_path / "heated.zarr"
    mgdask.ingest(
        dump,
        store,
        species={1: "Cu", 2: "Zr"},
        timestep=TIMESTEP,
        run="a",
        variables={"temperature": np.array([300.0, 400.0, 500.0, 600.0, 700.0])},
    )
    cold = write_store(tmp_path, "cold", 300)
    options = TemperatureOptions(train=[cold, store], lags=LAGS, out=tmp_path / "out")
    with pytest.raises(
        ParameterError,
        match="temperature of the run 'a' is not constant: its mean is 500 K, its standard dev",
    ):
        options.check_inputs()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"test": "a.zarr"}, "the store is also in train"),
        ({"apply": "b/a.zarr"}, "another store named a is in train"),
        ({"train": ("a.zarr", "a.zarr")}, "a store named a is already in train"),
        ({"feature_temperature": "warm"}, "warm: must be none, run, or a positive temperature"),
        ({"feature_temperature": -3}, "must be none, run, or a positive temperature"),
        ({"classes": (300.0,)}, "with one class there is nothing to learn"),
        ({"lags": (1.0, 1.0)}, "must increase"),
        ({"selected_lags": (7.0,), "lags": (1.0, 5.0)}, "has 7 ps, which are not in lags: 1, 5"),
        ({"extreme_fraction": 0.5}, "less than 0.5"),
        ({"lags": ()}, "at least one lag"),
    ],
)
def test_options_are_checked(given, words):
    with pytest.raises(ParameterError, match=words):
        TemperatureOptions(**({"train": ("a.zarr",), "out": "out"} | given))


def test_options_as_typed():
    options = TemperatureOptions(
        train="a.zarr", out="out", classes="300, 900", feature_temperature="0450", control="a.zarr"
    )
    assert options.classes == (300.0, 900.0)
    assert options.applied_temperature == 450.0
    assert TemperatureOptions(train="a.zarr", out="out").applied_temperature is None
    assert len(options.lags) == 41
    assert all(a < b for a, b in pairwise(options.lags))
    assert set(options.all_stores()) == {"a"}
