"""The Chebyshev feature: the naive twin, the order of species, derivatives through images, refusals."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.features import SphericalChebyshev, compute_features, make_feature
from tests.reference import structure as reference

CELL = np.array([[4.3, 0, 0], [0.9, 4.8, 0], [-0.6, 0.5, 5.1]])


def crowd(n=6, seed=3):
    """A cell so small that every atom sees its own images."""
    rng = np.random.default_rng(seed)
    kept = np.empty((0, 3))
    while len(kept) < n:
        trial = rng.random(3)
        away = kept - trial
        if not len(kept) or np.linalg.norm((away - np.round(away)) @ CELL, axis=1).min() > 1.3:
            kept = np.vstack([kept, trial])
    return kept @ CELL, CELL, rng.permutation([13, 29, 40] * n)[:n]


def theirs(position, cell, numbers, weight, n_max=4, l_max=8, r_cut=7.0, pbc=(True, True, True)):
    lists = reference.pairs(position, cell, r_cut, pbc)
    return [
        np.concatenate(
            [
                reference.chebyshev(v, [w[numbers[j]] for j in row], n_max, l_max, r_cut).ravel()
                for w in weight
            ]
        )
        for row, v in lists
    ]


def test_published_columns_equal_the_twin(glass):
    position, cell, numbers = glass
    feature, centers = SphericalChebyshev(species=("Cu", "Zr")), np.array([3, 1000])
    found = feature.compute(position, cell, numbers, centers=centers)
    assert found.shape == (2, 90)
    lengths = np.diag(cell)
    for row, i in zip(found, centers, strict=True):
        vector = np.delete(position - position[i], i, axis=0)
        vector -= np.round(vector / lengths) * lengths
        kinds = np.delete(numbers, i)
        weight = np.where(kinds == 29, 1.0, -2.0), np.ones(len(kinds))
        want = np.concatenate([reference.chebyshev(vector, w).ravel() for w in weight])
        np.testing.assert_allclose(row, want, rtol=1e-11, atol=1e-13 * want.max())


def test_ninety_inputs_are_two_channels():
    """Zhang et al., SI: n = 0..4, l = 0..8, a network 90-16-16-16-16-1, 9156 degrees of freedom, four elements."""
    feature = SphericalChebyshev(species=("Ti", "Zr", "Hf", "Co"))
    printed = SphericalChebyshev(species=("Ti", "Zr", "Hf", "Co"), channels=("type",))
    assert (feature.n_columns, printed.n_columns) == (90, 5 * 9)

    def degrees_of_freedom(n_inputs):
        layers = (n_inputs, 16, 16, 16, 16, 1)
        return sum((a + 1) * b for a, b in pairwise(layers))

    # weights and biases of one network per element
    assert 4 * degrees_of_freedom(feature.n_columns) == 9156
    assert 4 * degrees_of_freedom(printed.n_columns) != 9156


def test_labels_in_their_order():
    labels = SphericalChebyshev(species=("Cu", "Zr")).labels
    assert len(set(labels)) == len(labels) == 90
    assert list(labels) == [
        f"{kind} n={n} l={l}" for kind in ("type", "unit") for n in range(5) for l in range(9)
    ]


def test_own_images_and_three_species_equal_the_twin():
    position, cell, numbers = crowd()
    assert set(numbers) == {13, 29, 40}
    options = {"n_max": 3, "l_max": 5, "r_cut": 5.5}
    types = {40: 1.0, 13: -2.0, 29: 3.0}
    feature = SphericalChebyshev(species=("Zr", "Al", "Cu"), channels=("unit", "type"), **options)
    found = feature.compute(position, cell, numbers)
    want = np.array(theirs(position, cell, numbers, (dict.fromkeys(types, 1.0), types), **options))
    np.testing.assert_allclose(found, want, rtol=1e-11, atol=1e-13 * want.max())
    assert any((row == i).any() for i, (row, _) in enumerate(reference.pairs(position, cell, 5.5)))
    slab = (True, False, True)
    found = feature.compute(position, cell, numbers, pbc=slab)
    free = np.array(
        theirs(position, cell, numbers, (dict.fromkeys(types, 1.0), types), pbc=slab, **options)
    )
    np.testing.assert_allclose(found, free, rtol=1e-11, atol=1e-13 * want.max())
    assert np.abs(free - want).max() > 1.0


def test_the_order_of_species_matters(glass):
    centers = np.arange(0, 2000, 100)
    one, other = (SphericalChebyshev(species=names) for names in (("Cu", "Zr"), ("Zr", "Cu")))
    assert one != other
    assert one.species == ("Cu", "Zr")
    assert other.species == ("Zr", "Cu")
    a, b = one.compute(*glass, centers=centers), other.compute(*glass, centers=centers)
    assert (a[:, 45:] == b[:, 45:]).all()
    assert np.abs(a[:, :45] / b[:, :45] - 1).max() > 0.1
    # with one species the type's weight is 1, with a second of weight -2 it is 4 times the density squared
    all_zr = glass[0], glass[1], np.full(2000, 40)
    alone = SphericalChebyshev(species=("Zr",)).compute(*all_zr, centers=centers)
    assert (alone[:, :45] == alone[:, 45:]).all()
    second = one.compute(*all_zr, centers=centers)
    np.testing.assert_allclose(second[:, :45], 4.0 * second[:, 45:], rtol=1e-13)


def test_nobody_and_atoms_in_one_place():
    feature = SphericalChebyshev(species=("Cu",), n_max=1, l_max=2, r_cut=3.0)
    position = np.array([[0, 0, 0], [0, 0, 0], [2.0, 0, 0], [12, 12, 12.0]])
    cell, numbers = 30.0 * np.eye(3), np.full(4, 29)
    found, counts = compute_features(
        (feature,), position[None], cell[None], numbers, np.arange(4), (True,) * 3
    )
    assert np.isnan(found[0][0, :2]).all()
    assert np.isfinite(found[0][0, 2]).all()
    assert (found[0][0, 3] == 0.0).all()
    assert counts == [{"coincident_atom": 2}]


def whole_derivative(feature, position, cell, numbers, pbc):
    """(center, column, atom, 3) from the pairs of ``gradient``."""
    gradient = feature.gradient(position, cell, numbers, pbc=pbc)
    n = len(position)
    found = np.zeros((n, feature.n_columns, n, 3))
    for i in range(n):
        here = slice(gradient.offset[i], gradient.offset[i + 1])
        for j, value in zip(gradient.row[here], gradient.value[here], strict=True):
            found[i, :, j] += value
            found[i, :, i] -= value
    return found


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_gradient_equals_differences_of_compute(pbc):
    position, cell, numbers = crowd()
    feature = SphericalChebyshev(species=("Zr", "Al", "Cu"), n_max=2, l_max=4, r_cut=5.5)
    found = whole_derivative(feature, position, cell, numbers, pbc)
    step = 1e-4
    want = np.empty_like(found)
    for j in range(len(position)):
        for axis in range(3):
            moved = [position.copy() for _ in range(4)]
            for k, shift in enumerate((-2, -1, 1, 2)):
                moved[k][j, axis] += shift * step
            a, b, c, d = (feature.compute(r, cell, numbers, pbc=pbc) for r in moved)
            want[:, :, j, axis] = (8 * (c - b) - (d - a)) / (12 * step)
    scale = np.abs(want).max(axis=(0, 2, 3), keepdims=True)
    assert (np.abs(found - want) / scale).max() < 1e-8
    # sum rule: moving all atoms together changes nothing
    assert (np.abs(found.sum(axis=2)) / scale[:, :, 0]).max() < 1e-12
    # the part of an atom's own images cancels in its own derivative: without it the sums above would not agree
    gradient = feature.gradient(position, cell, numbers, pbc=pbc)
    own = np.repeat(np.arange(6), np.diff(gradient.offset)) == gradient.row
    assert own.any()
    assert np.abs(gradient.value[own]).max() > 1e-3


def test_gradient_of_some_centers():
    position, cell, numbers = crowd()
    feature = SphericalChebyshev(species=("Al", "Cu", "Zr"), n_max=1, l_max=2, r_cut=4.5)
    every, some = (feature.gradient(position, cell, numbers, centers) for centers in (None, [4, 1]))
    assert len(some.offset) == 3
    for k, i in enumerate((4, 1)):
        here, there = slice(*some.offset[k : k + 2]), slice(*every.offset[i : i + 2])
        assert some.row[here].tolist() == every.row[there].tolist()
        assert some.value[here].tobytes() == every.value[there].tobytes()
    assert some.value.shape == (some.offset[-1], feature.n_columns, 3)
    with pytest.raises(ParameterError, match="lacks Al"):
        SphericalChebyshev(species=("Cu", "Zr")).gradient(position, cell, numbers)
    with pytest.raises(ParameterError, match="centers must be indices"):
        feature.gradient(position, cell, numbers, [6])


def test_parameters_make_an_equal_feature():
    feature = SphericalChebyshev(species=("Zr", "Cu"), n_max=2, channels=("unit",))
    assert make_feature("chebyshev", json.loads(json.dumps(feature.parameters()))) == feature
    assert (
        make_feature(
            "chebyshev", {"species": "Zr+Cu", "n_max": "2", "channels": "unit"}, ["Cu", "Zr"]
        )
        == feature
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"species": ()}, "one or more distinct elements"),
        ({"species": ("Cu", "Cu")}, "distinct"),
        ({"species": ("Xx",)}, "'Xx' is not an element"),
        ({"n_max": -1}, "n_max=-1"),
        ({"l_max": 21}, "l_max=21"),
        ({"r_cut": 0.0}, "r_cut=0.0"),
        ({"channels": ()}, "channels=.* must be one or more"),
        ({"channels": ("unit", "unit")}, "distinct"),
        ({"channels": ("mass",)}, "channels="),
    ],
)
def test_refusals_in_words(options, words):
    with pytest.raises(ParameterError, match=words):
        SphericalChebyshev(**{"species": ("Cu", "Zr"), **options})


def test_missing_species_are_refused(glass):
    with pytest.raises(ParameterError, match=r"SphericalChebyshev: species=\('Cu',\) lacks Zr"):
        SphericalChebyshev(species=("Cu",)).compute(*glass, centers=[0])
