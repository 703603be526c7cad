"""Landmarks: the ridge on their directions is kernel ridge regression, by scikit-learn and by its formula."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import KernelCenterer

from mgdask.errors import ParameterError
from mgdask.learn import ridge
from mgdask.learn.training import landmarks as module
from mgdask.learn.training.landmarks import landmark_basis


def table(seed=0, rows=30, columns=8):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)) + 1.0
    return x, np.sin(x).sum(axis=1), np.arange(rows) % 3


def scaled_penalty(columns, penalty):
    """Penalty of the columns as they are, of a fit that divides them by one number."""
    return penalty / columns.var(axis=0).mean()


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_basis_is_orthonormal_and_spans_the_landmarks():
    q = np.random.default_rng(0).normal(size=(6, 9))
    q[4] = q[0] - q[1]
    basis = landmark_basis(q)
    assert basis.shape == (9, 5)
    np.testing.assert_allclose(basis.T @ basis, np.eye(5), atol=1e-12)
    np.testing.assert_allclose(q @ basis @ basis.T, q, atol=1e-12)


def test_every_training_row_as_a_landmark_is_kernel_ridge_of_scikit_learn():
    x, y, groups = table()
    new = table(1)[0]
    penalty = 0.3
    basis = landmark_basis(x)
    own = x @ basis
    fit = ridge(own, y, groups, penalties=[scaled_penalty(own, penalty)], standardize=False)
    center = KernelCenterer().fit(x @ x.T)
    peer = KernelRidge(alpha=len(x) * penalty, kernel="precomputed")
    peer.fit(center.transform(x @ x.T), y - y.mean())
    expected = peer.predict(center.transform(new @ x.T)) + y.mean()
    np.testing.assert_allclose(fit.predict(new @ basis), expected, rtol=1e-10)


@pytest.mark.parametrize("n_landmarks", [3, 5])
def test_few_landmarks_minimize_the_penalized_error(n_landmarks):
    x, y, groups = table()
    q = np.random.default_rng(5).normal(size=(n_landmarks, x.shape[1]))
    penalty = 0.1
    basis = landmark_basis(q)
    own = x @ basis
    fit = ridge(own, y, groups, penalties=[scaled_penalty(own, penalty)], standardize=False)
    # the closed form of the kernel's weights a
    k, kmm = x @ q.T, q @ q.T
    k0 = k - k.mean(axis=0)
    a = np.linalg.solve(k0.T @ k0 + len(x) * penalty * kmm, k0.T @ (y - y.mean()))
    new = table(1)[0]
    expected = (new @ q.T - k.mean(axis=0)) @ a + y.mean()
    np.testing.assert_allclose(fit.predict(new @ basis), expected, rtol=1e-9)


def test_errors():
    with pytest.raises(ParameterError, match="landmarks"):
        landmark_basis([[1.0, np.nan]])
