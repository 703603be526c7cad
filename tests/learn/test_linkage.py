"""Single linkage against scipy's trees and a naive twin."""

import doctest

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

import mgdask.learn.linkage as room
from mgdask.errors import ParameterError
from mgdask.learn.linkage import linkage_clusters, single_linkage
from tests.reference.linkage import clusters


def renumbered(label):
    first = {}
    return [first.setdefault(one, len(first)) for one in label]


def test_examples():
    assert doctest.testmod(room).failed == 0


@pytest.mark.parametrize("columns", [1, 2, 7, 41])
def test_clusters_are_those_of_scipys_tree_cut_at_the_distance(rng, columns):
    x = rng.normal(size=(180, columns))
    tree = linkage(x, "single")
    for cutoff in np.quantile(tree[:, 2], [0.02, 0.4, 0.8, 0.97]) * 1.0001:
        found = single_linkage(x, cutoff)
        assert found.tolist() == renumbered(fcluster(tree, cutoff, "distance"))
        assert 1 < found.max() + 1 < 180


def test_clusters_are_those_of_repeated_merging(rng):
    x = rng.normal(size=(40, 3))
    for cutoff in (0.4, 0.8, 1.2):
        assert single_linkage(x, cutoff).tolist() == clusters(x, cutoff).tolist()


def test_rows_exactly_at_the_cutoff_are_apart():
    x = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [0.0, 9.0]])
    assert single_linkage(x, 5.0).tolist() == [0, 1, 1, 2]
    assert single_linkage(x, np.nextafter(5.0, 6.0)).tolist() == [0, 0, 0, 1]
    assert single_linkage(x, 100.0).tolist() == [0, 0, 0, 0]


def test_order_and_kind_of_rows_do_not_matter(rng):
    x = np.round(rng.normal(size=(150, 5)), 2)
    order = rng.permutation(150)
    found = single_linkage(x, 1.2)
    assert 5 < found.max() < 145
    assert renumbered(found[order]) == single_linkage(x[order], 1.2).tolist()
    mapped = np.asfortranarray(x)
    assert np.array_equal(single_linkage(mapped, 1.2), found)
    assert single_linkage(x[:1], 1.0).tolist() == [0]


def test_average_linkage_is_the_mean_distance_of_the_rows_of_two_clusters(rng):
    x = rng.normal(size=(40, 3))
    for cutoff in (0.7, 1.5, 2.5):
        found = linkage_clusters(x, cutoff, "average")
        assert found.tolist() == clusters(x, cutoff, np.mean).tolist()
        assert linkage_clusters(x, cutoff).tolist() == single_linkage(x, cutoff).tolist()
    assert linkage_clusters(x[:1], 1.0, "average").tolist() == [0]
    assert linkage_clusters([[0.0], [2.0]], 2.0, "average").tolist() == [0, 1]
    with pytest.raises(ParameterError, match="'ward'; choose one of single, average"):
        linkage_clusters(x, 1.0, "ward")


def test_refusals():
    for x, cutoff, words in (
        ([[0.0], [np.nan]], 1.0, "row 1"),
        ([[0.0], [1.0]], 0.0, "above 0"),
        ([[0.0], [1.0]], np.nan, "above 0"),
        ([0.0, 1.0], 1.0, "2-D"),
    ):
        with pytest.raises(ParameterError, match=words):
            single_linkage(x, cutoff)
