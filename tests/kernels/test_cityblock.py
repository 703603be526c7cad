"""Nearest rows by Manhattan distance against a naive twin and scipy."""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from mgdask.errors import ParameterError
from mgdask.kernels.cityblock import MAX_COLUMNS, cityblock_index, nearest_by_cityblock
from tests.reference.cityblock import nearest


def indexed(x):
    x = np.ascontiguousarray(x, dtype=float)
    return cityblock_index(x, x.min(axis=0), x.max(axis=0))


@pytest.mark.parametrize(
    ("rows", "columns", "k"), [(150, 3, 5), (600, 41, 50), (400, 1, 7), (65, 200, 3)]
)
def test_neighbors_are_those_of_plain_comparison(rng, rows, columns, k):
    x = rng.normal(size=(rows, columns)) * rng.uniform(0.1, 5.0, columns) - 3.0
    who = np.arange(0, rows, 1 + rows // 15)
    for first, last, own in ((0, rows, who), (37, 60, who), (10, rows - 3, who * 0 - 1)):
        index, distance = nearest_by_cityblock(
            indexed(x), x[who], k, first=first, last=last, own=own
        )
        naive_index, naive_distance = nearest(x, x[who], k, first, last, own)
        assert np.array_equal(index, naive_index)
        assert np.array_equal(distance, naive_distance)


def test_equal_distances_are_in_order_of_the_row(rng):
    for levels in (2, 3, 8):
        x = rng.integers(0, levels, (900, 4)) / 8.0
        who = np.arange(0, 900, 60)
        index, distance = nearest_by_cityblock(indexed(x), x[who], 20, own=who)
        naive_index, naive_distance = nearest(x, x[who], 20, 0, 900, who)
        assert np.array_equal(index, naive_index)
        assert np.array_equal(distance, naive_distance)
        assert (distance == 0.0).any()


def test_equal_rows_fill_any_buffer():
    x = np.zeros((5000, 3))
    x[3000:, 1] = 1.0
    index, distance = nearest_by_cityblock(indexed(x), x[[0, 4000]], 9)
    assert index.tolist() == [list(range(9)), list(range(3000, 3009))]
    assert not distance.any()
    index, _ = nearest_by_cityblock(indexed(np.ones((70, 2))), np.ones((1, 2)), 4)
    assert index.tolist() == [[0, 1, 2, 3]]


def test_near_rows_that_rounding_cannot_separate(rng):
    # all rows within a step of each other but for one that sets the step
    x = np.concatenate([rng.normal(scale=1e-6, size=(1000, 5)), np.full((1, 5), 1e3)])
    index, distance = nearest_by_cityblock(indexed(x), x[:5], 10, own=np.arange(5))
    naive_index, naive_distance = nearest(x, x[:5], 10, 0, 1001, np.arange(5))
    assert np.array_equal(index, naive_index)
    assert np.array_equal(distance, naive_distance)


def test_neighbors_are_those_of_scipy(rng):
    x = rng.normal(size=(3000, 17)).cumsum(axis=1)
    x[:1500] *= 3.0
    index, distance = nearest_by_cityblock(indexed(x), x, 30)
    tree_distance, tree_index = cKDTree(x).query(x, 30, p=1)
    assert np.array_equal(index, tree_index)
    np.testing.assert_allclose(distance, tree_distance, rtol=1e-13)
    np.testing.assert_allclose(
        distance[:9, 29], np.sort(cdist(x[:9], x, "cityblock"), axis=1)[:, 29], rtol=1e-13
    )


def test_missing_neighbors_and_too_many_columns(rng):
    x = rng.normal(size=(5, 2))
    index, distance = nearest_by_cityblock(indexed(x), x[:1], 6, own=np.array([0]))
    assert index[0, 4:].tolist() == [-1, -1]
    assert np.isinf(distance[0, 4:]).all()
    assert set(index[0, :4]) == {1, 2, 3, 4}
    with pytest.raises(ParameterError, match=f"at most {MAX_COLUMNS}"):
        indexed(np.zeros((2, MAX_COLUMNS + 1)))
