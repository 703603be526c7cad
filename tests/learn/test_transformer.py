"""The transformer against stores and plain arrays, and scikit-learn's own checks."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import ClassVar

import ase
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data

import mgdask
from mgdask.errors import ParameterError
from mgdask.learn import FeatureTransformer, Rows
from mgdask.learn.data.rows import Part
from tests.plain_feature import PlainFeature

CELL = np.array([[9.0, 0.0, 0.0], [1.5, 8.5, 0.0], [-0.75, 2.0, 8.0]])
NUMBERS = np.array([29] * 20 + [40] * 16)


@dataclass(frozen=True)
class Moments(PlainFeature):
    """Mean and mean square of the positions of each frame."""

    family: ClassVar[str] = "moments"
    long_name: ClassVar[str] = "moments of the positions"
    labels = ("x", "y", "z", "square")
    level = "frame"

    def describe(self, environments, centers, out):
        position = environments.position[centers]
        out[:3] = position.mean(axis=0)
        out[3] = (position**2).mean()
        return {}


@dataclass(frozen=True)
class Heights(PlainFeature):
    """Height of each atom, and its atomic number."""

    power: float = 1.0
    family: ClassVar[str] = "heights"
    long_name: ClassVar[str] = "heights"
    labels = ("z", "number")

    def describe(self, environments, centers, out):
        out[:, 0] = environments.position[centers, 2] ** self.power
        out[:, 1] = environments.numbers[centers]
        return {}


def make_atoms(seed):
    """Thirty-six atoms, all inside of the cell."""
    position = np.random.default_rng(seed).random((36, 3)) @ CELL
    return ase.Atoms(numbers=NUMBERS, positions=position, cell=CELL, pbc=True)


@pytest.fixture(scope="module")
def atoms():
    return [make_atoms(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def store(atoms, tmp_path_factory):
    """A trajectory store of the same atoms."""
    path = tmp_path_factory.mktemp("transformer") / "three.zarr"
    mgdask.ingest(atoms, path, timestep=0.002)
    return path


def test_rows_are_the_bits_of_a_run_and_have_its_names(atoms, store, tmp_path):
    features = [mgdask.Coordination(cutoff=4.0), mgdask.FoldSymmetry().named("fold")]
    out = tmp_path / "features.zarr"
    mgdask.run(mgdask.plan(store, features, out=out, centers="Zr"), progress=False)
    stored = Rows((Part(str(out)),), ("coordination", "fold"), dtype="float64")
    expected = stored.read(0, stored.count())
    assert expected.shape == (3 * 16, 7)
    transformer = FeatureTransformer(features, centers="Zr")
    for X in ([store], [mgdask.open_store(store)], atoms):
        assert np.array_equal(transformer.fit_transform(X), expected)
    assert tuple(transformer.get_feature_names_out()) == stored.names()
    # models are trained on rows of float32 by default
    narrow = Rows((Part(str(out)),), ("coordination", "fold"))
    found = FeatureTransformer(features, centers="Zr", dtype="float32").fit_transform([store])
    assert np.array_equal(found, narrow.read(0, narrow.count()))
    mixed = transformer.transform([atoms[2], str(store)])
    assert np.array_equal(mixed, np.concatenate([expected[32:], expected]))
    rows = transformer.rows([atoms[2], store])
    assert rows.configuration.tolist() == [0] * 16 + [1] * 48
    assert rows.frame.tolist() == [0] * 16 + [0] * 16 + [1] * 16 + [2] * 16
    assert rows.atom_id.tolist() == list(range(21, 37)) * 4
    assert set(rows.element) == {"Zr"}
    last = transformer.rows([mgdask.open_store(store).isel(frame=[2])])
    assert last.frame.tolist() == [2] * 16


def test_columns_come_from_the_elements_of_all_configurations(atoms):
    copper = ase.Atoms("Cu4", positions=3.0 * np.arange(12).reshape(4, 3), cell=9 * np.eye(3))
    features = mgdask.SymmetryFunctions(species=("Cu", "Zr"), roles="count")
    transformer = FeatureTransformer([features]).fit([copper, atoms[0]])
    # twenty-four Cu and sixteen Zr: by the number of atoms in all configurations together
    assert (
        transformer.features_[0].roles == features.for_atoms(np.array([29] * 24 + [40] * 16)).roles
    )
    assert transformer.species_ == ("Cu", "Zr")
    only = FeatureTransformer(Heights(), centers=["Zr"]).fit(atoms)
    assert only.transform([copper]).shape == (0, 2)
    by_index = FeatureTransformer(Heights(), centers=[3, 30], dtype="float32").fit(atoms)
    found = by_index.transform(atoms[:2])
    assert found.dtype == np.float32
    assert found[:, 1].tolist() == [29, 40, 29, 40]
    assert found[2, 0] == np.float32(atoms[1].positions[3, 2])


def test_a_clone_and_a_pickle_are_the_same_transformer(atoms):
    features = [Heights(), mgdask.Coordination(cutoff=4.0).named("near")]
    first = FeatureTransformer(features, centers="Cu", dtype="float32").fit(atoms)
    other = clone(first)
    assert not hasattr(other, "features_")
    assert other.features is not features
    assert [each.name for each in other.features] == ["heights", "near"]
    assert other.features == features
    for again in (other.fit(atoms), pickle.loads(pickle.dumps(first))):
        assert again.get_feature_names_out().tolist() == first.get_feature_names_out().tolist()
        assert np.array_equal(again.transform(atoms), first.transform(atoms))
    with pytest.raises(NotFittedError):
        clone(first).transform(atoms)
    with pytest.raises(NotFittedError):
        clone(first).get_feature_names_out()


def test_a_pipeline_of_atoms(atoms):
    pandas = FeatureTransformer([Heights(), Heights(power=2.0).named("squares")])
    pandas.set_output(transform="pandas")
    frame = pandas.fit_transform(atoms)
    assert list(frame.columns) == ["heights/z", "heights/number", "squares/z", "squares/number"]
    z = np.concatenate([each.positions[:, 2] for each in atoms])
    assert np.array_equal(frame["squares/z"], z**2)
    target = 3.0 * z**2 - z + 0.5 * np.tile(NUMBERS, 3)
    pipeline = make_pipeline(pandas, StandardScaler(), LinearRegression())
    assert pipeline.fit(atoms, target).score(atoms, target) == pytest.approx(1.0)
    later = make_atoms(11)
    height = later.positions[:, 2]
    expected = 3.0 * height**2 - height + 0.5 * NUMBERS
    np.testing.assert_allclose(pipeline.predict([later]), expected, rtol=1e-9)


def test_targets_of_atoms_are_refused_by_a_cross_validation(atoms):
    pipeline = make_pipeline(FeatureTransformer(Heights()), LinearRegression())
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        cross_val_score(pipeline, atoms, np.zeros(3 * 36), cv=3)


def test_searches_over_frames(atoms):
    many = [make_atoms(seed) for seed in range(12)]
    target = np.array([each.positions.mean(axis=0) @ [2.0, -1.0, 3.0] for each in many])
    pipeline = make_pipeline(FeatureTransformer(Moments()), LinearRegression())
    assert cross_val_score(pipeline, many, target, cv=3).min() > 0.999
    # another feature is a parameter like any other
    grid = {"featuretransformer__features": [Moments(), Moments().named("other")]}
    found = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(many, target)
    assert found.best_score_ > 0.999
    assert found.predict(many[:1])[0] == pytest.approx(target[0])
    assert FeatureTransformer(Moments()).fit(many).rows(many).columns.tolist() == [
        "configuration",
        "frame",
    ]


@pytest.mark.parametrize(
    ("options", "X", "message"),
    [
        ({}, None, "features=None: give at least one feature, such as"),
        ({"features": []}, None, r"features=\[\]: give at least one"),
        ({"features": "soap"}, None, "'soap' is not a feature; give .*make_feature makes"),
        (
            {"features": mgdask.NonAffine(cutoff=4.0)},
            None,
            "nonaffine reads several frames .* mgdask.plan and mgdask.run",
        ),
        ({"features": [Heights(), Heights(power=2.0)]}, None, "two are called heights"),
        ({"features": [Heights(), Moments()]}, None, "heights has a row per atom and moments has"),
        ({"features": Heights(), "dtype": "int"}, None, "dtype='int'; allowed are float64 and fl"),
        ({"features": Heights(), "centers": "Ni"}, None, "there is no Ni in X, which has Cu, Zr"),
        ({"features": Heights(), "centers": [99]}, None, r"X\[0\]: centers must be indices from 0"),
        ({"features": Heights()}, make_atoms(0), r"got Atoms. Put a single one into a list: \[X\]"),
        ({"features": Heights()}, np.zeros((2, 3)), r"got ndarray of shape \(2, 3\)"),
        ({"features": Heights()}, [], "X is an empty list"),
        ({"features": Heights()}, [make_atoms(0), 5], r"X\[1\]: an object of type int cannot be"),
        (
            {"features": mgdask.SymmetryFunctions(species=("Cu", "Ni"))},
            None,
            "lacks Zr, which the atoms contain",
        ),
    ],
)
def test_refusals(options, X, message):
    given = [make_atoms(0)] if X is None else X
    with pytest.raises(ParameterError, match=message):
        FeatureTransformer(**options).fit_transform(given)


def test_a_part_of_a_universe():
    mda = pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed")
    universe = mda.Universe.empty(3, trajectory=True)
    universe.add_TopologyAttr("elements", ["Cu", "Zr", "Cu"])
    universe.atoms.positions = np.arange(9).reshape(3, 3)
    part = universe.atoms[[2, 1]]
    assert FeatureTransformer(Heights()).fit_transform([part]).tolist() == [[8, 29], [5, 40]]
    assert FeatureTransformer(Heights(), centers="Cu").fit_transform([part]).tolist() == [[8, 29]]
    with pytest.raises(ParameterError, match="selects atoms already"):
        FeatureTransformer(Heights(), centers=[0]).fit_transform([part])


class OfRows(FeatureTransformer):
    """The transformer behind rows of numbers, which the checks of scikit-learn feed.

    A row becomes a configuration of one atom per three numbers.
    """

    def fit(self, X, y=None):
        return super().fit(self.configurations(X, reset=True), y)

    def transform(self, X):
        return super().transform(self.configurations(X, reset=False))

    def configurations(self, X, reset):
        values = validate_data(self, X, reset=reset, dtype=np.float64)
        padded = np.pad(values, ((0, 0), (0, -values.shape[1] % 3)))
        return [ase.Atoms(f"Cu{len(row) // 3}", positions=row.reshape(-1, 3)) for row in padded]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.no_validation = True, False
        return tags


@parametrize_with_checks([OfRows([Moments(), Moments().named("other")])])
def test_checks_of_scikit_learn(estimator, check):
    """All checks of scikit-learn that are made for transformers pass."""
    check(estimator)


def test_the_tags_say_that_a_matrix_is_not_accepted():
    tags = FeatureTransformer().__sklearn_tags__()
    assert tags.estimator_type == "transformer" or tags.transformer_tags is not None
    assert not tags.input_tags.two_d_array
    assert tags.requires_fit
