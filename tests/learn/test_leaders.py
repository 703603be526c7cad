"""Leader clustering: the naive twin, batches, groups, thresholds at their ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.learn.leaders import LeaderClustering, leaders
from tests.reference import leaders as naive


@pytest.fixture
def vectors(rng):
    """Unit vectors around a few centers, so that some are similar and some are not."""
    centers = rng.random((12, 9))
    rows = centers[rng.integers(0, 12, 90)] + 0.12 * rng.random((90, 9))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("threshold", [0.5, 0.84, 0.9, 0.97])
@pytest.mark.parametrize("grouped", [False, True])
def test_leaders_are_those_of_the_naive_twin(vectors, rng, threshold, grouped):
    group = rng.integers(0, 3, len(vectors)) if grouped else None
    found = leaders(vectors, threshold, group)
    assert found.tolist() == naive.leaders(vectors, threshold, group)
    assert 1 < len(found) < len(vectors)
    order = rng.permutation(len(vectors))  # another order gives other leaders, by the same rule
    again = leaders(vectors[order], threshold, None if group is None else group[order])
    assert again.tolist() == naive.leaders(
        vectors[order], threshold, None if group is None else group[order]
    )


def test_the_cut_into_batches_does_not_matter(vectors, rng):
    whole = LeaderClustering(0.05).settle(vectors).tolist()
    for _ in range(3):
        clustering, found = LeaderClustering(0.05), []
        cuts = [0, *np.sort(rng.integers(0, len(vectors) + 1, 5)), len(vectors)]
        for first, last in itertools.pairwise(cuts):
            found += (clustering.settle(vectors[first:last]) + first).tolist()
        assert found == whole
        assert clustering.n_leaders == len(whole)


def test_thresholds_at_their_ends(vectors):
    twice = np.concatenate([vectors, vectors])
    assert leaders(twice, 1.0).tolist() == list(range(len(vectors)))  # only equal ones are similar
    assert leaders(twice, 0.0).tolist() == [0]  # p.q >= 0, so that M >= 0


def test_a_similarity_equal_to_the_threshold_is_similar():
    """Two vectors of norm 1 with |p - q|^2 / 2 = 1/4, all of it exact in binary numbers."""
    p, q = np.eye(8)[0], np.array([0.75, *[0.25] * 7])
    assert (q**2).sum() == 1.0
    assert ((p - q) ** 2).sum() == 0.5
    assert leaders([p, q], 0.5).tolist() == [0]
    assert leaders([p, q], np.nextafter(0.5, 1.0)).tolist() == [0, 1]
    assert leaders([p, q], 0.5, group=[29, 40]).tolist() == [0, 1]


def test_vectors_are_scaled():
    assert leaders([[2.0, 0.0], [1e-3, 0.0], [0.0, 5.0]], 0.99).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("vectors", "threshold", "group", "says"),
    [
        ([[1.0, 0.0], [0.0, 0.0]], 0.8, None, "row 1 has norm 0"),
        ([[1.0, np.nan]], 0.8, None, "row 0 has norm nan"),
        ([[1.0, 0.0]], 1.5, None, "threshold=1.5 must be a similarity from 0"),
        ([[1.0, 0.0]], np.nan, None, "threshold=nan must be"),
        ([1.0, 0.0], 0.8, None, "must be a 2-D array"),
        ([[1.0, 0.0]], 0.8, [1, 2], "give one integer for each of the 1 vectors"),
    ],
)
def test_what_is_not_allowed_is_refused_in_words(vectors, threshold, group, says):
    with pytest.raises(ParameterError, match=says.replace("(", r"\(")):
        leaders(vectors, threshold, group)
