"""Maps of vectors: planes are found again, distances are SciPy's, and the stress never rises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from mgdask.errors import ParameterError
from mgdask.learn.embedding import principal_coordinates, smacof, stress


@pytest.mark.parametrize("n", [6, 40], ids=["fewer rows than columns", "more rows"])
@pytest.mark.parametrize("make", [principal_coordinates, smacof])
def test_a_plane_is_found_again(rng, n, make):
    """Points of a tilted plane in 9 dimensions keep all their distances."""
    plane = rng.normal(size=(n, 2)) * [3.0, 1.0]
    axes = np.linalg.qr(rng.normal(size=(9, 2)))[0]
    found = make(plane @ axes.T + 7.0)
    np.testing.assert_allclose(pdist(found.coordinates), pdist(plane), atol=1e-7)
    assert found.stress < 1e-7
    assert found.explained == pytest.approx(1.0)


def test_stress_by_scipy(rng):
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(30, 2))
    far, near = pdist(x), pdist(y)
    expected = np.sqrt(((near - far) ** 2).sum() / (far**2).sum())
    value, n_pairs, sampled = stress(x, y)
    assert value == pytest.approx(expected, rel=1e-12)
    assert (n_pairs, sampled) == (435, False)
    value, n_pairs, sampled = stress(x, y, max_pairs=400)
    assert value == pytest.approx(expected, rel=0.1)
    assert (n_pairs, sampled) == (400, True)


def test_explained_variance(rng):
    """Variances 9, 4 and 1 along three axes: two axes explain 13 of 14."""
    x = np.zeros((8, 3))
    x[:, 0], x[:, 1], x[:, 2] = np.repeat([3, -3], 4), [2, 2, -2, -2] * 2, [1, -1] * 4
    assert principal_coordinates(x).explained == pytest.approx(13 / 14)


def test_smacof_lowers_the_stress_of_a_simplex():
    """Corners of a simplex are equally far apart; principal components collapse most of them."""
    corners = np.eye(12)
    flat, found = principal_coordinates(corners), smacof(corners)
    assert found.stress < 0.6 * flat.stress
    assert found.stress == pytest.approx(stress(corners, found.coordinates)[0], rel=1e-9)
    again = smacof(corners)
    assert np.array_equal(again.coordinates, found.coordinates)


def test_equal_vectors():
    found = smacof(np.ones((4, 3)))
    assert not found.coordinates.any()
    assert found.stress == 0.0


def test_dimensions_must_fit():
    with pytest.raises(ParameterError, match="n_dimensions=4 must be from 1 to"):
        principal_coordinates(np.eye(3), 4)
