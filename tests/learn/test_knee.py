"""The knee against curves whose knee is known."""

import doctest

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.learn.selection import knee as room
from mgdask.learn.selection.knee import find_knee


def test_examples():
    assert doctest.testmod(room).failed == 0


def test_knee_of_a_hyperbola_is_at_the_root_of_the_product_of_its_ends():
    # the chord of 1/x from 1 to 100 has slope -1/100, as has the curve at x = 10
    found = find_knee(1.0 / np.arange(1.0, 101.0))
    assert found.weight == pytest.approx(1 / 10)
    assert found.kept.sum() == 9
    assert found.depth == pytest.approx(90 / 99 - (0.1 - 0.01) / 0.99)


def test_knee_of_an_exponential():
    # chord slope -(1 - exp(-8)) / 8 is reached at x = ln(8 / (1 - exp(-8)))
    x = np.linspace(0.0, 8.0, 801)
    found = find_knee(np.exp(-x))
    assert abs(-np.log(found.weight) - np.log(8 / (1 - np.exp(-8)))) <= 0.01


@pytest.mark.parametrize("n_large", [1, 5, 20])
def test_knee_of_two_lines_is_where_they_meet(n_large, rng):
    # a steep and a gentle line; the first point of the gentle one is the knee
    weights = np.concatenate([2.0 + 0.3 * np.arange(n_large), 1.0 - 0.01 * np.arange(21)])
    order = rng.permutation(len(weights))
    found = find_knee(weights[order])
    assert np.array_equal(found.kept, weights[order] >= 2.0)
    assert found.weight == 1.0


def test_plateau_then_drop_keeps_the_plateau():
    found = find_knee([5.0, 4.99, 4.98, 4.97, 0.02, 0.01, 0.0])
    assert found.kept.tolist() == [True] * 4 + [False] * 3
    assert found.depth > 0.3


def test_curves_without_knee_keep_all():
    for weights in ([3.0, 3.0, 3.0, 3.0], np.arange(30.0) * 0.1, [2.0, 1.0], [-1.0]):
        found = find_knee(weights)
        assert found.kept.all()
        assert found.depth == 0.0
        assert np.isnan(found.weight)
    assert find_knee(np.sqrt(np.arange(50.0))).kept.all()  # falls ever faster: above the line


def test_scale_and_offset_do_not_matter(rng):
    weights = rng.exponential(size=40)
    found = find_knee(weights)
    assert np.array_equal(find_knee(3.0 * weights - 7.0).kept, found.kept)
    assert 0 < found.kept.sum() < 40
    assert weights[found.kept].min() > weights[~found.kept].max() == found.weight


def test_refusals():
    with pytest.raises(ParameterError, match="weights\\[1\\] is nan"):
        find_knee([1.0, np.nan])
