"""Cutoffs by pair of species: naive twins, g(r) of a glass, bits, refusals."""

from __future__ import annotations

import dataclasses
import json
import threading

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.features import (
    BondMoments,
    BondOrder,
    Chemistry,
    Coordination,
    CutoffNeighbors,
    Interstice,
    MediumRange,
    SymmetryFunctions,
    VoronoiIndices,
    compute_features,
    feature_set,
    make_feature,
)
from mgdask.features import environments as surroundings
from mgdask.features.neighbor_lists import neighbor_list_bytes, within_cutoff
from mgdask.features.recipe import gather_features
from tests.reference import structure as reference

PAIRS = {"Zr-Zr": 4.1, "Zr-Cu": 3.3, "Cu-Cu": 2.7}
LIMIT = {(40, 40): 4.1, (29, 40): 3.3, (40, 29): 3.3, (29, 29): 2.7}
ORDERED = (("Cu-Cu", 2.7), ("Cu-Zr", 3.3), ("Zr-Zr", 4.1))
PERIODIC = (True, True, True)


@pytest.fixture(scope="module")
def atoms():
    rng = np.random.default_rng(11)
    cell = np.array([[9.5, 0, 0], [2.0, 10.0, 0], [-1.0, 1.5, 10.5]])
    return rng.random((70, 3)) @ cell, cell, rng.choice([29, 40], 70, p=(0.4, 0.6))


@pytest.fixture(scope="module")
def near(atoms):
    """(neighbour, vector) of every atom: all pairs within 4.1 Å, then those beyond their own cut-off left out."""
    position, cell, numbers = atoms
    lists = []
    for i, (row, vector) in enumerate(reference.pairs(position, cell, 4.1)):
        distance = np.linalg.norm(vector, axis=1)
        keep = [d <= LIMIT[numbers[i], numbers[j]] for j, d in zip(row, distance, strict=True)]
        lists.append((row[keep], vector[keep]))
    everything = sum(len(row) for row, _ in reference.pairs(position, cell, 4.1))
    assert 0.3 < sum(len(row) for row, _ in lists) / everything < 0.8
    return lists


def test_coordination_equals_the_twin(atoms, near):
    """Liu X. et al. (2022): CN is determined from partial radial distribution functions."""
    found = Coordination(pair_cutoffs=PAIRS).compute(*atoms)
    np.testing.assert_array_equal(found[:, 1], [len(row) for row, _ in near])
    np.testing.assert_array_equal(found[:, 0], Coordination().compute(*atoms)[:, 0])


def test_chemistry_equals_the_twin(atoms, near):
    numbers = atoms[2]
    composition = [(numbers == z).mean() for z in (29, 40)]
    feature = Chemistry(species=("Cu", "Zr"), neighbors=("cutoff",), pair_cutoffs=PAIRS)
    want = [
        np.concatenate(reference.warren_cowley(row, numbers, (29, 40), composition))
        for row, _ in near
    ]
    np.testing.assert_allclose(feature.compute(*atoms)[:, 1:], want, rtol=0, atol=1e-14)


def test_bond_order_equals_the_twin(atoms, near):
    pytest.importorskip("sympy")
    vectors, rows = [vector for _, vector in near], [row for row, _ in near]
    want = reference.bond_order(vectors, rows, (4, 6))
    feature = BondOrder(degrees=(4, 6), neighbors="cutoff", pair_cutoffs=PAIRS)
    expected = np.hstack([want[name] for name in ("q", "w", "coarse_q", "coarse_w")])
    np.testing.assert_allclose(feature.compute(*atoms), expected, rtol=0, atol=1e-12)
    moments = BondMoments(degrees=(4,), neighbors="cutoff", pair_cutoffs=PAIRS).compute(*atoms)
    squares = (moments**2).sum(axis=1)
    np.testing.assert_allclose(np.sqrt(4 * np.pi / 9 * squares), want["q"][:, 0], atol=1e-13)


def test_interstices_equal_the_twin(atoms, near):
    numbers = atoms[2]
    radius = np.where(numbers == 29, 1.26, 1.58)
    found = Interstice(pair_cutoffs=PAIRS, small_facets="none").compute(*atoms)
    for i, (row, vector) in enumerate(near):
        distance = np.linalg.norm(vector, axis=1)
        x = 1.0 - (radius[i] + radius[row]) / distance
        np.testing.assert_allclose(
            found[i, 4:8], [x.mean(), x.std(), x.min(), x.max()], rtol=1e-12, atol=1e-13
        )


@pytest.mark.parametrize(
    "feature",
    [
        MediumRange(Coordination(pair_cutoffs=PAIRS)),
        MediumRange(Coordination(cutoff=3.0), neighbors="cutoff", pair_cutoffs=PAIRS),
        MediumRange(Coordination(cutoff=3.0), pair_cutoffs=PAIRS),
    ],
    ids=["own", "cutoff", "own list, cutoffs by pair"],
)
def test_medium_range_equals_the_twin(atoms, near, feature):
    values = feature.feature.compute(*atoms)
    want = reference.medium_range(values, [row for row, _ in near])
    found = feature.compute(*atoms)
    # columns of Voronoi neighbours, if the lists are the feature's own, are tested elsewhere
    columns = slice(4, 8) if feature.neighbors == "own" else slice(0, 8)
    np.testing.assert_allclose(found[:, columns], want[:, columns], rtol=1e-12, atol=1e-12)


def test_pair_cutoffs_of_the_medium_range_are_used_or_refused(atoms):
    """They were ignored without a word unless ``neighbors="cutoff"``."""
    feature = MediumRange(Coordination(), pair_cutoffs=PAIRS)
    assert set(feature.neighborhood[4:]) == {CutoffNeighbors(4.1, ORDERED)}
    plain = MediumRange(Coordination())
    assert feature.neighborhood[:4] == plain.neighborhood[:4]
    found, without = feature.compute(*atoms), plain.compute(*atoms)
    assert found[:, :4].tobytes() == without[:, :4].tobytes()
    assert (found[:, 4:] != without[:, 4:]).any(axis=1).mean() > 0.5
    for inner, neighbors in ((Coordination(), "voronoi"), (VoronoiIndices(), "own")):
        with pytest.raises(ParameterError, match=r"would not be used, because neighbors=.*Voronoi"):
            MediumRange(inner, neighbors=neighbors, pair_cutoffs=PAIRS)
    roles = SymmetryFunctions(species=("Cu", "Zr"), roles="count")
    decided = MediumRange(roles, pair_cutoffs=PAIRS).for_atoms(atoms[2])
    assert set(decided.neighborhood) == {CutoffNeighbors(4.1, ORDERED)}


# -------------------------------------------------------------------------------------------- g(r)
def test_coordination_from_partial_rdfs(glass_store):
    """Z_A = sum_X Z_A(X), Liu X. et al. (2022), below Eq. (5), from the first minima of g_AX(r)."""
    rdf = mgdask.partial_rdf(glass_store, r_max=7.0, bins=700, frames=[7], progress=False)
    cutoffs = mgdask.pair_cutoffs(rdf)
    ds = mgdask.open_store(glass_store)
    arguments = ds.position[-1].values, ds.cell[-1].values, ds.species.values
    feature = Coordination(pair_cutoffs=cutoffs)
    found = feature.compute(*arguments)[:, 1]
    for name, z in (("Cu", 29), ("Zr", 40)):
        want = float(rdf["coordination"].sel(species=name).sum())
        # g(r) counts in bins of 0.01 Å
        assert abs(found[ds.species.values == z].mean() - want) < 0.02
    # it is neither that of one cutoff, nor that of Voronoi cells
    widest = Coordination(cutoff=max(cutoffs.values())).compute(*arguments)
    assert (widest[:, 1] - found).max() > 2
    assert (widest[:, 0] != found).mean() > 0.3


# -------------------------------------------------------------------------------------------- bits
FEATURES = [
    Coordination(pair_cutoffs=PAIRS),
    Chemistry(species=("Cu", "Zr"), neighbors=("voronoi", "cutoff"), pair_cutoffs=PAIRS),
    BondOrder(neighbors=("voronoi", "cutoff"), pair_cutoffs=PAIRS),
    Interstice(pair_cutoffs=PAIRS),
    MediumRange(BondOrder(neighbors="cutoff", pair_cutoffs=PAIRS)),
    MediumRange(Coordination(), neighbors="cutoff", pair_cutoffs=PAIRS),
    MediumRange(Coordination(), pair_cutoffs=PAIRS),
]


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_equal_cutoffs_are_one_cutoff(atoms, feature):
    def with_cutoffs(one, cutoffs):
        inner = getattr(one, "feature", None)
        nested = {"feature": with_cutoffs(inner, cutoffs)} if inner else {}
        return dataclasses.replace(one, **cutoffs, **nested)

    equal = dict.fromkeys(("Cu-Cu", "Cu-Zr", "Zr-Zr"), 3.6)
    one = with_cutoffs(feature, {"cutoff": 3.6, "pair_cutoffs": None})
    many = with_cutoffs(feature, {"cutoff": 2.0, "pair_cutoffs": equal})
    assert one.compute(*atoms).tobytes() == many.compute(*atoms).tobytes()
    assert one.compute(*atoms).tobytes() != feature.compute(*atoms).tobytes()


@pytest.mark.parametrize("large", [10**9, 10], ids=["small", "large"])
def test_blocks_and_company_do_not_change_a_bit(atoms, monkeypatch, large):
    monkeypatch.setattr(surroundings, "LARGE", large)
    monkeypatch.setattr(surroundings, "_RECENT", threading.local())
    whole = [feature.compute(*atoms) for feature in FEATURES]
    for some in (np.arange(30), np.array([69, 3, 40]), np.arange(10, 70)):
        together, _ = compute_features(
            FEATURES, atoms[0][None], atoms[1][None], atoms[2], some, PERIODIC
        )
        for found, all_rows in zip(together, whole, strict=True):
            assert found[0].tobytes() == all_rows[some].tobytes()


# ------------------------------------------------------------------------------------------ parameters
@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_parameters_make_an_equal_feature(feature):
    inner = getattr(feature, "feature", None)
    assert (feature.pair_cutoffs or inner.pair_cutoffs) == ORDERED
    again = make_feature(feature.family, json.loads(json.dumps(feature.parameters())))
    assert again == feature
    assert hash(again) == hash(feature)
    assert CutoffNeighbors(4.1, ORDERED) in feature.neighborhood
    feature.prepare()
    # older plans have no such parameter
    plain = type(feature)(
        **{"species": ("Cu", "Zr")} if isinstance(feature, Chemistry) else {},
        **{"feature": Coordination()} if inner else {},
    )
    assert "pair_cutoffs" not in plain.parameters()


def test_a_recipe_gives_them_as_a_mapping(tmp_path):
    recipe = tmp_path / "features.yaml"
    recipe.write_text(
        "features: [coordination: {pair_cutoffs: {Cu-Cu: 2.7, Zr-Zr: 4.1, Zr-Cu: 3.3}}]"
    )
    made = gather_features([], [], str(recipe), ("Cu", "Zr"))
    assert made == [Coordination(pair_cutoffs=PAIRS)]


def test_other_elements_than_copper_are_prepared():
    pairs = {"Al-Al": 3.5, "Ni-Al": 3.3, "Ni-Ni": 3.1}
    for feature in feature_set("interstice+sro+mro", ("Al", "Ni"), pair_cutoffs=pairs):
        feature.prepare()
    MediumRange(Interstice(), neighbors="cutoff", pair_cutoffs=pairs).prepare()


def test_memory_of_a_list_by_pair_is_larger():
    one, many = CutoffNeighbors(4.1), within_cutoff(9.0, ORDERED)
    assert many.cutoff == 4.1
    assert neighbor_list_bytes(many, 1000, 100) > neighbor_list_bytes(one, 1000, 100)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ({}, "must name each pair of species once"),
        ({"Cu-Zr": 3.0, "Zr-Cu": 3.1}, "must name each pair of species once"),
        ({"Cu": 3.0}, "'Cu' is not a pair of species such as 'Cu-Zr'"),
        ({"Cu-Xx": 3.0}, "'Xx' is not an element"),
        ({"Cu-Cu": -1.0}, "list of name:number > 0 in Å, such as"),
        ({"Cu-Cu": np.nan}, "finite"),
        (3.0, "must map pairs of species to distances in Å, such as {'Cu-Cu': 3.2"),
        ("g(r)", "mgdask.pair_cutoffs finds them in partial g"),
        ({("Cu", "Cu"): 3.0}, "must map pairs of species"),
    ],
)
def test_refusals_in_words(pairs, words):
    for kind in (Coordination, BondOrder, BondMoments, Interstice):
        with pytest.raises(ParameterError, match=words) as error:
            kind(pair_cutoffs=pairs)
        assert str(error.value).startswith(f"{kind.__name__}: pair_cutoffs=")


def test_a_pair_that_lacks_is_named(atoms, glass_store, tmp_path):
    message = r"Coordination: pair_cutoffs=\{'Cu-Cu': 3.0\} lacks Cu-Zr, Zr-Zr, which the atoms"
    few = Coordination(pair_cutoffs={"Cu-Cu": 3.0})
    with pytest.raises(ParameterError, match=message):
        few.compute(*atoms)
    with pytest.raises(ParameterError, match=message):
        MediumRange(few).compute(*atoms)
    with pytest.raises(ParameterError, match=r"MediumRange: pair_cutoffs=.*lacks Zr-Zr"):
        MediumRange(
            Coordination(), neighbors="cutoff", pair_cutoffs={"Cu-Cu": 3, "Cu-Zr": 3}
        ).compute(*atoms)
    with pytest.raises(ParameterError, match=message):
        mgdask.plan(glass_store, few, out=tmp_path / "out.zarr")
