"""Logistic regression against scikit-learn's own pipeline, its optimum, and other numbers of threads."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mgdask.errors import ParameterError
from mgdask.learn import logistic_regression
from mgdask.learn.training import logistic


def table(rows=600, columns=30, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)) * rng.lognormal(size=columns) + rng.normal(size=columns)
    x[:, 1] = x[:, 0] + 0.01 * x[:, 1]
    x[:, 2] = 0.1  # constant
    return x, x[:, 0] - x[:, 3] + rng.normal(size=rows) > np.median(x[:, 0] - x[:, 3])


def test_examples():
    assert doctest.testmod(logistic).failed == 0


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_pipeline_of_scikit_learn(share):
    x, y = table()
    x[np.random.default_rng(1).random(x.shape) < share] = np.nan
    twin = make_pipeline(
        SimpleImputer(strategy="mean"),
        StandardScaler(),
        LogisticRegression(C=0.05, tol=1e-6, max_iter=1000),
    ).fit(x[:400], y[:400])
    model = logistic_regression(x[:400], y[:400])
    want = twin.predict_proba(x[400:])[:, 1]
    np.testing.assert_allclose(model.predict(x[400:]), want, rtol=0, atol=1e-12)
    assert abs(model.weights[2]) < 1e-12


def test_the_gradient_vanishes():
    """|w|²/2 + C sum ln(1 + exp(-s (w·z + b))) has its minimum at w = C sum (y - P) z."""
    x, y = table()
    model = logistic_regression(x, y, inverse_penalty=0.5)
    z = (x - x.mean(axis=0)) / np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), 1.0)
    rest = y - model.predict(x)
    assert abs(rest.sum()) < 1e-3
    assert np.abs(model.weights - 0.5 * rest @ z).max() < 1e-3
    assert np.abs(model.weights).max() > 0.1


def test_threads_and_blocks_do_not_change_bits():
    x, y = table(rows=6000, columns=80)
    models = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            models.append(logistic_regression(x, y))
            if threads == 2:
                scores = [model.predict(x) for model in models]
    one, two = models
    assert one.weights.tobytes() == two.weights.tobytes()
    assert one.intercept == two.intercept
    assert scores[0].tobytes() == scores[1].tobytes()
    parts = np.concatenate([one.predict(x[:1]), one.predict(x[1:1234]), one.predict(x[1234:])])
    assert parts.tobytes() == scores[0].tobytes()


def test_far_atoms_do_not_overflow():
    model = logistic_regression([[0.0], [1.0], [0.0], [1.0]], [0, 1, 0, 1], inverse_penalty=100.0)
    with np.errstate(over="raise"):
        assert model.predict([[-1e6], [1e6], [np.nan]]).round(6).tolist() == [0.0, 1.0, 0.5]


def test_bad_input_in_words():
    x, y = table(rows=20, columns=4)
    with pytest.raises(ParameterError, match="one class only"):
        logistic_regression(x, np.ones(20))
    with pytest.raises(ParameterError, match="y has 19 rows, but 20"):
        logistic_regression(x, y[:19])
    with pytest.raises(ParameterError, match="inverse_penalty=0 must be a positive"):
        logistic_regression(x, y, inverse_penalty=0)
    with pytest.raises(ParameterError, match="has 3 columns; the model was trained on 4"):
        logistic_regression(x, y).predict(x[:, :3])
    x[7, 2] = np.inf
    with pytest.raises(ParameterError, match="x is inf in row 7, column 2"):
        logistic_regression(x, y)
