"""Statistics and histograms of lists of different lengths, and the arc tangent, against NumPy, SciPy and the standard library."""

from __future__ import annotations

import numpy as np
import pytest
from numba import float64
from scipy.stats import norm

from mgdask.kernels._jit import array, kernel
from mgdask.kernels.statistics import KINDS, histogram, statistics, statistics_of_rows
from mgdask.kernels.vector_math import arctan2_upper
from tests.reference import structure as reference


@kernel(array(float64, 1), array(float64, 1), array(float64, 1, out=True))
def _arctan(y, x, out):
    arctan2_upper(len(out), y, x, out)


def arctan(y, x):
    out = np.empty(len(y))
    _arctan(np.asarray(y, float), np.asarray(x, float), out)
    return out


def lists(rng, n=60):
    """Spans into a pool, in any order, overlapping, some empty."""
    value = rng.normal(size=400)
    first = rng.integers(0, 380, n)
    last = first + rng.integers(0, 20, n)
    last[::7] = first[::7]
    return first, last, value


def summary(first, last, value, empty=np.nan):
    out = np.full((len(first), 5), 99.0)
    statistics(first, last, value, empty, out)
    return out


def shares(first, last, value, low, high, bins, smearing=0.0):
    out = np.full((len(first), bins), 99.0)
    histogram(first, last, value, low, high, bins, smearing, out)
    return out


def of_rows(centers, first, last, row, value, columns, include_self):
    out = np.full((len(centers), 5 * len(columns)), 99.0)
    places, kinds = 5 * np.arange(len(columns)), np.arange(5)
    statistics_of_rows(centers, first, last, row, value, columns, kinds, places, include_self, out)
    return out.reshape(len(centers), len(columns), 5)


def test_chosen_statistics_of_rows_go_to_their_places():
    value, out = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 20.0]]), np.full((1, 6), -1.0)
    zero, row = np.array([0]), np.array([1, 2])
    kinds, columns = np.array([KINDS.index("max"), KINDS.index("sum")]), np.array([1, 0])
    statistics_of_rows(
        zero, zero, np.array([2]), row, value, columns, kinds, np.array([4, 0]), False, out
    )
    assert out.tolist() == [[5.0, 8.0, -1.0, -1.0, 30.0, 50.0]]


def naive(x):
    return [*reference._stats(x), np.sum(x)] if len(x) else [np.nan] * 5


# ---------------------------------------------------------------------------------------------------------- statistics
def test_kinds():
    assert KINDS == ("mean", "std", "min", "max", "sum")


def test_statistics_equal_the_twins(rng):
    first, last, value = lists(rng)
    wanted = [naive(value[a:b]) for a, b in zip(first, last, strict=True)]
    np.testing.assert_allclose(summary(first, last, value), wanted, rtol=1e-13, atol=1e-14)


def test_nan_are_left_out(rng):
    first, last, value = lists(rng)
    value[rng.random(400) < 0.4] = np.nan
    some = [value[a:b][~np.isnan(value[a:b])] for a, b in zip(first, last, strict=True)]
    assert any(len(x) == 0 and b > a for x, a, b in zip(some, first, last, strict=True))
    for empty in (np.nan, 0.0):
        wanted = [naive(x) if len(x) else [empty] * 5 for x in some]
        np.testing.assert_allclose(
            summary(first, last, value, empty), wanted, rtol=1e-13, atol=1e-14
        )


def test_one_value_and_a_constant():
    one = summary(np.array([0, 1]), np.array([1, 4]), np.array([0.1, 7.0, 7.0, 7.0]))
    assert one.tolist() == [[0.1, 0.0, 0.1, 0.1, 0.1], [7.0, 0.0, 7.0, 7.0, 21.0]]


def test_std_far_from_zero(rng):
    """The difference of squares would have no digits left."""
    x = rng.normal(size=50)
    found = summary(np.array([0]), np.array([50]), x + 1e8)[0]
    assert found[1] == pytest.approx(x.std(), rel=1e-7)


# ------------------------------------------------------------------------------------------------------ rows of tables
@pytest.mark.parametrize("include_self", [False, True])
def test_rows_equal_the_twins(rng, include_self):
    value, row = rng.normal(size=(30, 7)), rng.integers(0, 30, 400)
    first, last, _ = lists(rng)
    centers, columns = rng.integers(0, 30, 60), np.array([6, 0, 3])
    own = [[c] if include_self else [] for c in centers]
    listed = [[*o, *row[a:b]] for o, a, b in zip(own, first, last, strict=True)]
    wanted = [[naive(value[those, c] if those else []) for c in columns] for those in listed]
    found = of_rows(centers, first, last, row, value, columns, include_self)
    np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-14)
    assert np.isnan(found).any() != include_self


def test_rows_keep_nan_of_one_column_to_itself(rng):
    value = rng.normal(size=(5, 3))
    value[2, 1] = np.nan
    first, last, row = np.array([0, 3]), np.array([3, 5]), np.array([0, 2, 4, 1, 3])
    found = of_rows(np.array([1, 0]), first, last, row, value, np.arange(3), False)
    assert np.isnan(found[0, 1]).all()
    assert not np.isnan(found[0, [0, 2]]).any()
    assert not np.isnan(found[1]).any()
    # the centre's own value counts only where it is asked for
    centers = np.array([2, 2])
    assert not np.isnan(
        of_rows(centers, first[1:], last[1:], row, value, np.arange(3), False)[0]
    ).any()
    assert np.isnan(
        of_rows(centers[1:], first[1:], last[1:], row, value, np.arange(3), True)[0, 1]
    ).all()


def test_a_row_listed_twice_counts_twice():
    value = np.array([[1.0], [4.0]])
    one = of_rows(
        np.array([0]),
        np.array([0]),
        np.array([3]),
        np.array([1, 0, 0]),
        value,
        np.array([0]),
        False,
    )[0, 0]
    np.testing.assert_allclose(one, [2.0, np.sqrt(2), 1.0, 4.0, 6.0])


# ----------------------------------------------------------------------------------------------------------- histogram
def test_histogram_equals_numpys_of_clipped_values(rng):
    first, last, value = lists(rng)
    assert value.min() < -0.5
    assert value.max() > 1.0
    for low, high, bins in ((-0.5, 1.0, 7), (-3.0, 3.0, 40), (0.2, 0.3, 1)):
        inside = np.clip(value, low, high)
        found = shares(first, last, value, low, high, bins)
        for k, (a, b) in enumerate(zip(first, last, strict=True)):
            if a == b:
                assert np.isnan(found[k]).all()
            else:
                wanted = np.histogram(inside[a:b], bins, (low, high))[0] / (b - a)
                np.testing.assert_allclose(found[k], wanted, atol=1e-15)


def test_edges_of_bins():
    value = np.array([0.0, 0.25, 0.5, 1.0, -np.inf, -1e300, np.inf, 1e300])
    for i, b in enumerate([0, 1, 2, 3, 0, 0, 3, 3]):
        assert np.flatnonzero(
            shares(np.array([i]), np.array([i + 1]), value, 0.0, 1.0, 4)[0]
        ).tolist() == [b]


def test_smeared_histogram_is_of_normal_distributions(rng):
    first, last, value = lists(rng)
    low, high, bins = -0.5, 1.0, 6
    edges = np.concatenate([[-np.inf], np.linspace(low, high, bins + 1)[1:-1], [np.inf]])
    for width in (0.02, 0.3, 5.0):
        found = shares(first, last, value, low, high, bins, width)
        for k, (a, b) in enumerate(zip(first, last, strict=True)):
            if a < b:
                wanted = np.diff(norm.cdf(edges[:, None], value[a:b], width), axis=0).mean(axis=1)
                np.testing.assert_allclose(found[k], wanted, atol=1e-14)
        full = first < last
        np.testing.assert_allclose(found[full].sum(axis=1), 1.0, rtol=1e-14)
        assert np.isnan(found[~full]).all()
        assert not full.all()


def test_smearing_of_almost_nothing_is_none(rng):
    first, last, value = lists(rng)
    sharp, smeared = (shares(first, last, value, -1.0, 1.0, 5, width) for width in (0.0, 1e-9))
    np.testing.assert_allclose(smeared, sharp, atol=1e-12)


@pytest.mark.parametrize("smearing", [0.0, 0.2])
def test_histogram_leaves_nan_out(smearing):
    value = np.array([np.nan, 0.1, 0.9, np.nan, np.nan])
    first, last = np.array([0, 1, 3]), np.array([4, 3, 5])
    found = shares(first, last, value, 0.0, 1.0, 2, smearing)
    assert found[0].tolist() == found[1].tolist()
    assert found[0].sum() == pytest.approx(1.0, abs=1e-15)
    assert np.isnan(found[2]).all()


# --------------------------------------------------------------------------------------------------------- arc tangent
def test_arctan_everywhere(rng):
    y, x = 10.0 ** rng.uniform(-12, 12, (2, 200_000))
    x *= rng.choice([-1.0, 1.0], len(x))
    angle = rng.uniform(0, np.pi, 200_000)
    y, x = np.concatenate([y, np.sin(angle)]), np.concatenate([x, np.cos(angle)])
    wanted = np.arctan2(y, x)
    found = arctan(y, x)
    assert np.abs(found - wanted).max() < 1e-15
    small = wanted < 1e-3
    assert small.any()
    np.testing.assert_allclose(found[small], wanted[small], rtol=1e-15)


def test_arctan_where_the_branches_meet():
    around = np.array([1 - 2e-16, 1.0, 1 + 3e-16])
    t = np.concatenate(
        [around * centre for centre in (np.tan(np.pi / 8), 1.0, 1 / np.tan(np.pi / 8))]
    )
    y, x = np.concatenate([t, t]), np.concatenate([np.ones(len(t)), -np.ones(len(t))])
    assert np.abs(arctan(y, x) - np.arctan2(y, x)).max() < 1e-15


def test_arctan_of_exact_angles():
    y, x = [0.0, 1.0, 1.0, 1.0, 0.0, 3.0], [2.0, 1.0, 0.0, -1.0, -2.0, -0.0]
    np.testing.assert_allclose(
        arctan(y, x), np.pi * np.array([0, 0.25, 0.5, 0.75, 1, 0.5]), atol=2e-16
    )
    assert np.isnan(arctan([0.0], [0.0])).all()
