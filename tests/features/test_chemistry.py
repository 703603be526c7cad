"""Chemical short-range order: the naive twin, two lists of neighbours, compositions, what has no answer, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.features import Chemistry, Coordination, compute_features, make_feature
from mgdask.features.environments import CutoffNeighbors, VoronoiNeighbors
from mgdask.kernels.voronoi import EDGE_THRESHOLD, OPEN, voronoi_cells
from tests.reference import structure as reference

SPECIES, Z = ("Al", "Cu", "Zr"), (13, 29, 40)


def atoms(n=60, seed=2):
    rng = np.random.default_rng(seed)
    cell = np.array([[9.5, 0, 0], [2.0, 10.0, 0], [-1.0, 1.5, 10.5]])
    return rng.random((n, 3)) @ cell, cell, rng.choice(Z, n, p=(0.2, 0.3, 0.5))


def listed(position, cell, neighbors, cutoff=4.0, rule="static", pbc=(True, True, True)):
    """Neighbours of every atom by the twin; None where the cell is open."""
    if neighbors == "cutoff":
        return [row for row, _ in reference.pairs(position, cell, cutoff, pbc)]
    cells = reference.voronoi(position, cell, pbc, threshold=EDGE_THRESHOLD)
    return [None if c is None else reference.drop_small(c, rule)["neighbor"] for c in cells]


def theirs(lists, numbers, species, composition):
    """(atom, quantity x species) of the twin."""
    return np.array(
        [
            np.concatenate(reference.warren_cowley(row, numbers, species, composition))
            for row in lists
        ]
    )


@pytest.mark.parametrize(
    ("neighbors", "options"),
    [("voronoi", {}), ("voronoi", {"small_facets": "none"}), ("cutoff", {"cutoff": 3.1})],
)
def test_equals_the_twin(neighbors, options):
    position, cell, numbers = atoms()
    composition = [(numbers == z).mean() for z in Z]
    feature = Chemistry(species=SPECIES, neighbors=(neighbors,), **options)
    found = feature.compute(position, cell, numbers)
    lists = listed(
        position, cell, neighbors, options.get("cutoff", 4.0), options.get("small_facets", "static")
    )
    want = theirs(lists, numbers, Z, composition)
    assert found.shape == (60, 10)
    assert (found[:, 0] == numbers).all()
    assert (found[:, 1:4] == want[:, :3]).all()
    np.testing.assert_allclose(found[:, 4:], want[:, 3:], rtol=0, atol=1e-14)
    assert np.abs(found[:, 7:]).max() > 0.5
    assert feature.labels == (
        "element",
        *(
            f"{quantity}_{name}"
            for quantity in ("count", "fraction", "deviation")
            for name in SPECIES
        ),
    )


def test_dropped_facets_matter():
    lists = [listed(*atoms()[:2], "voronoi", rule=rule) for rule in ("static", "none")]
    assert sum(map(len, lists[0])) < sum(map(len, lists[1]))


def test_two_lists_stand_one_after_the_other():
    arguments = atoms()
    both = Chemistry(
        species=SPECIES,
        quantities=("element", "count", "deviation"),
        neighbors=("cutoff", "voronoi"),
        cutoff=3.3,
    )
    assert both.labels == (
        "element",
        *(
            f"{q}_{x}_{kind}"
            for kind in ("cutoff", "voronoi")
            for q in ("count", "deviation")
            for x in SPECIES
        ),
    )
    assert both.neighborhood == (CutoffNeighbors(3.3),) * 7 + (VoronoiNeighbors("static"),) * 6
    found = both.compute(*arguments)
    for k, kind in enumerate(both.neighbors):
        alone = Chemistry(
            species=SPECIES, quantities=("count", "deviation"), neighbors=(kind,), cutoff=3.3
        )
        assert (alone.compute(*arguments) == found[:, 1 + 6 * k : 7 + 6 * k]).all()
    assert (found[:, 1:4] != found[:, 7:10]).any()
    # the counts of species are those of all
    total = Coordination(cutoff=3.3).compute(*arguments)
    assert (found[:, 1:4].sum(axis=1) == total[:, 1]).all()
    assert (found[:, 7:10].sum(axis=1) == total[:, 0]).all()


def test_quantities_in_any_order():
    arguments = atoms()
    every = Chemistry(species=SPECIES)
    whole = dict(zip(every.labels, every.compute(*arguments).T, strict=True))
    some = Chemistry(species=SPECIES, quantities=("deviation", "element", "count"))
    # the element comes first wherever it is named
    assert some.labels[0] == "element"
    assert some.labels[1:4] == ("deviation_Al", "deviation_Cu", "deviation_Zr")
    for label, column in zip(some.labels, some.compute(*arguments).T, strict=True):
        assert (column == whole[label]).all()
    assert (
        Chemistry(species=SPECIES, quantities=("element",)).compute(*arguments)[:, 0].tolist()
        == arguments[2].tolist()
    )


def test_composition_given_or_that_of_the_atoms():
    position, cell, numbers = atoms()
    own = {name: float((numbers == z).mean()) for name, z in zip(SPECIES, Z, strict=True)}
    derived = Chemistry(species=SPECIES, quantities=("deviation",)).compute(position, cell, numbers)
    same = Chemistry(species=SPECIES, quantities=("deviation",), composition=own).compute(
        position, cell, numbers
    )
    np.testing.assert_allclose(same, derived, rtol=0, atol=1e-14)
    nominal = {"Zr": 0.5, "Al": 0.1, "Cu": 0.4}
    given = Chemistry(
        species=("Zr", "Cu", "Al"), quantities=("fraction", "deviation"), composition=nominal
    )
    found = given.compute(position, cell, numbers)
    np.testing.assert_allclose(
        found[:, 3:], found[:, :3] / [0.1, 0.4, 0.5] - 1.0, rtol=0, atol=1e-14
    )
    assert np.abs(found[:, 3:] - derived).max() > 0.1
    # it is that of all atoms, not of the centres
    centers = np.flatnonzero(numbers == 13)
    part = Chemistry(species=SPECIES, quantities=("deviation",)).compute(
        position, cell, numbers, centers=centers
    )
    assert (part == derived[centers]).all()


def test_a_mapping_and_pairs_are_the_same_composition():
    pairs = Chemistry(species=("Cu", "Zr"), composition=(("Cu", 0.4), ("Zr", 0.6)))
    mapping = Chemistry(species=("Zr", "Cu"), composition={"Zr": 0.6, "Cu": 0.4})
    assert pairs == mapping
    assert hash(pairs) == hash(mapping)
    assert make_feature("chemistry", json.loads(json.dumps(mapping.parameters()))) == mapping
    # species default to those of the store
    assert make_feature("chemistry", {}, ["Cu", "Zr"]) == Chemistry(species=("Cu", "Zr"))


def test_an_ordered_crystal():
    # CsCl: 8 unlike neighbours share a hexagon with the atom, 6 like ones a square
    position, cell, numbers = (
        np.array([[0, 0, 0], [1.5, 1.5, 1.5]]),
        3.0 * np.eye(3),
        np.array([29, 40]),
    )
    near, cells = (
        Chemistry(species=("Cu", "Zr"), neighbors=("cutoff",), cutoff=2.8),
        Chemistry(species=("Cu", "Zr")),
    )
    assert near.compute(position, cell, numbers).tolist() == [
        [29, 0, 8, 0, 1, -1, 1],
        [40, 8, 0, 1, 0, 1, -1],
    ]
    np.testing.assert_allclose(
        cells.compute(position, cell, numbers),
        [[29, 6, 8, 3 / 7, 4 / 7, -1 / 7, 1 / 7], [40, 8, 6, 4 / 7, 3 / 7, 1 / 7, -1 / 7]],
        rtol=0,
        atol=1e-14,
    )


def test_a_species_that_is_not_there():
    position, cell, numbers = atoms()
    numbers = np.where(numbers == 13, 40, numbers)
    found = Chemistry(species=SPECIES).compute(position, cell, numbers)
    plain = Chemistry(species=("Cu", "Zr")).compute(position, cell, numbers)
    assert (found[:, 1] == 0).all()
    assert (found[:, 4] == 0).all()
    assert np.isnan(found[:, 7]).all()  # there is nothing to deviate from
    assert (found[:, [0, 2, 3, 5, 6, 8, 9]] == plain).all()
    given = Chemistry(
        species=SPECIES, quantities=("deviation",), composition={"Al": 0.1, "Cu": 0.4, "Zr": 0.5}
    )
    assert (given.compute(position, cell, numbers)[:, 0] == -1.0).all()


def test_open_cells_and_lonely_atoms():
    position, cell, numbers = atoms()
    cell = cell @ np.diag([1.0, 1.0, 4.0])
    position = np.vstack([position, [5.0, 5.0, 30.0]])
    numbers, pbc = np.append(numbers, 29), (True, True, False)
    is_open = voronoi_cells(position, cell, pbc=pbc).state == OPEN
    endless = np.array([row is None for row in listed(position, cell, "voronoi", pbc=pbc)])
    assert is_open[endless].all()
    assert 1 < is_open.sum() < 61
    assert is_open[60]
    feature = Chemistry(
        species=SPECIES,
        quantities=("element", "count", "fraction"),
        neighbors=("voronoi", "cutoff"),
    )
    found, counts = compute_features(
        (feature,), position[None], cell[None], numbers, np.arange(61), pbc
    )
    values = found[0][0]
    assert (values[:, 0] == numbers).all()
    assert (np.isnan(values[:, 1:7]) == is_open[:, None]).all()
    want = listed(position, cell, "cutoff", pbc=pbc)
    assert values[:, 7:10].sum(axis=1).tolist() == [len(row) for row in want]
    assert np.isnan(values[60, 10:]).all()
    assert np.isfinite(values[:60, 10:]).all()
    assert counts[0]["open_cell"] == is_open.sum()
    assert counts[0]["no_neighbor"] == is_open.sum()  # the lonely atom is one of them


def test_one_list_of_neighbors_may_be_a_text():
    for text, names in (("cutoff", ("cutoff",)), ("voronoi+cutoff", ("voronoi", "cutoff"))):
        assert Chemistry(species=SPECIES, neighbors=text) == Chemistry(
            species=SPECIES, neighbors=names
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"species": ("Cu", "Qq")}, "'Qq' is not an element"),
        ({"species": ("Cu", "Cu")}, "names an element twice"),
        ({"quantities": ()}, "quantities=.* must be one or more"),
        ({"quantities": ("count", "count")}, "distinct"),
        ({"quantities": ("number",)}, "quantities="),
        ({"neighbors": ()}, "neighbors=.* must be one or more"),
        ({"neighbors": ("cutoff", "cutoff")}, "distinct"),
        ({"cutoff": -1.0}, "cutoff=-1.0"),
        ({"composition": {"Cu": 0.5}}, "must give each of"),
        ({"composition": {"Cu": 0.5, "Zr": 0.6}}, "sum to 1"),
        ({"composition": {"Cu": 1.0, "Zr": 0.0}}, "positive fraction"),
        ({"composition": (("Cu", 1.0), ("Zr", 0.0))}, "composition="),
        ({"composition": {"Cu": 0.5, "Zr": 0.4, "Al": 0.1}}, "must give each of"),
    ],
)
def test_refusals_in_words(options, words):
    with pytest.raises(ParameterError, match=words):
        Chemistry(**{"species": ("Cu", "Zr"), **options})


def test_unknown_atoms_are_refused():
    with pytest.raises(ParameterError, match="lacks Al, which the atoms contain"):
        Chemistry(species=("Cu", "Zr")).compute(*atoms())
