"""Ridge regression against scikit-learn: coefficients, and every group left out by a fit of its own."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Twin
from threadpoolctl import threadpool_limits

from mgdask.errors import ParameterError
from mgdask.learn import ridge
from mgdask.learn.training import ridge as module
from mgdask.learn.training.ridge import Ridge


def table(rows=40, columns=12, groups=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)) * rng.lognormal(size=columns) + rng.normal(size=columns)
    x[:, 1] = 0.1  # constant
    x[:, 2] = x[:, 0]  # the rank is lower than the number of columns
    y = x @ rng.normal(size=columns) + rng.normal(size=rows) + 7.0
    return x, y, np.array([f"run {k}" for k in rng.integers(0, groups, rows)])


def standardized(x):
    scale = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), 1.0)
    return (x - x.mean(axis=0)) / scale


def test_examples():
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


@pytest.mark.parametrize(("rows", "columns"), [(40, 12), (30, 29), (24, 60)])
@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 3.0])
def test_scikit_learn_with_each_group_left_out(rows, columns, penalty):
    x, y, groups = table(rows, columns)
    model = ridge(x, y, groups, penalties=[penalty])
    z = standardized(x)
    twin = Twin(alpha=rows * penalty, solver="svd").fit(z, y)
    np.testing.assert_allclose(model.weights, twin.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(model.predict(x), twin.predict(z), rtol=1e-9)
    for name in set(groups):
        out = groups == name
        # n * penalty is that of all rows: the twin keeps it
        without = Twin(alpha=rows * penalty, solver="svd").fit(z[~out], y[~out])
        np.testing.assert_allclose(model.left_out[out], without.predict(z[out]), rtol=1e-6)


def test_the_penalty_has_the_least_error():
    x, y, groups = table(columns=39)
    penalties = np.logspace(-6, 3, 19)
    model = ridge(x, y, groups, penalties=penalties)
    errors = [ridge(x, y, groups, penalties=[p]).error for p in penalties]
    np.testing.assert_allclose(model.errors, errors, rtol=1e-9)
    assert model.penalty == penalties[np.argmin(errors)]
    assert model.error == pytest.approx(np.sqrt(np.mean((model.left_out - y) ** 2)))
    assert not model.at_the_edge
    assert ridge(x, y, groups, penalties=[1e6, 1e7]).at_the_edge == "lowest"


def test_a_penalty_near_zero_with_more_columns_than_rows():
    """The limit is the least-norm fit, of which a difference 1 - H would leave nothing."""
    x, y, groups = table(24, 60)
    model = ridge(x, y, groups, penalties=[1e-12])
    z, middle = standardized(x), y.mean()
    for name in set(groups):
        out = groups == name
        a = np.hstack([z[~out], np.full(((~out).sum(), 1), 1e8)])  # an intercept without penalty
        w = np.linalg.lstsq(a, y[~out] - middle, rcond=1e-13)[0]
        want = middle + z[out] @ w[:-1] + 1e8 * w[-1]
        np.testing.assert_allclose(model.left_out[out], want, rtol=1e-4)


def test_one_scale_for_all_columns():
    """Units of the whole matrix do not matter, those of single columns do."""
    x, y, groups = table()
    model = ridge(x, y, groups, penalties=[0.3], standardize=False)
    common = np.sqrt(np.delete(x, 1, axis=1).var(axis=0).mean())
    twin = Twin(alpha=len(x) * 0.3, solver="svd").fit(x / common, y)
    np.testing.assert_allclose(model.coefficients() * common, twin.coef_, rtol=1e-8, atol=1e-12)
    again = ridge(1e3 * x, y, groups, penalties=[0.3], standardize=False)
    np.testing.assert_allclose(again.predict(1e3 * x), model.predict(x), rtol=1e-10)
    assert model.weights[1] == 0.0


def test_bits_do_not_depend_on_threads_or_other_rows():
    x, y, groups = table(300, 200)
    models = []
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            models.append(ridge(x, y, groups))
    assert models[0].weights.tobytes() == models[1].weights.tobytes()
    assert models[0].left_out.tobytes() == models[1].left_out.tobytes()
    parts = np.concatenate([models[0].predict(x[:1]), models[0].predict(x[1:])])
    assert parts.tobytes() == models[0].predict(x).tobytes()


def test_json():
    x, y, groups = table()
    model = ridge(x, y, groups)
    again = Ridge.from_json(json.loads(json.dumps(model.to_json())))
    assert again.predict(x).tobytes() == model.predict(x).tobytes()
    assert again.to_json() == model.to_json()


def test_bad_input_in_words():
    x, y, groups = table()
    with pytest.raises(ParameterError, match=r"only one group \('a'\).*blocks of successive"):
        ridge(x, y, ["a"] * len(y))
    with pytest.raises(ParameterError, match="penalties has 0; each must be above 0"):
        ridge(x, y, groups, penalties=[0.0, 1.0])
    with pytest.raises(ParameterError, match="y has 3 rows, but 40 are needed"):
        ridge(x, y[:3], groups)
    bad = x.copy()
    bad[3, 4] = np.nan
    with pytest.raises(ParameterError, match=r"x is nan in column '4', row 3"):
        ridge(bad, y, groups)
    with pytest.raises(ParameterError, match="x has 5 columns; the model was trained on 12"):
        ridge(x, y, groups).predict(x[:, :5])
