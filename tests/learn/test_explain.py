"""Explanations against scikit-learn and closed forms; the same whatever the blocks."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.learn.explain import importance as explain
from mgdask.learn.explain import shap_values as contributions
from mgdask.learn.explain.importance import partial_dependence, permutation_importance
from mgdask.learn.explain.shap_values import shap_by_blocks, shap_of_block


def test_examples():
    for module in (explain, contributions):
        assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def linear(X):
    return 3.0 * X[:, 0] - X[:, 2]


def test_permutation_importance_of_a_linear_function(rng):
    x = rng.normal(size=(20000, 4))
    y = linear(x)
    got = permutation_importance(linear, x, y, "r2", n_resamples=3, seed=1)
    # a permuted column with weight w adds 2 w^2 to the squared error, of a variance of 10
    np.testing.assert_allclose(got.mean, [1.8, 0, 0.2, 0], atol=0.05)
    assert got.order()[:2] == ["0", "2"]
    assert got.base == 1.0
    assert got.mean[1] == 0.0
    loss = permutation_importance(linear, x, y, "rmse", n_resamples=3, seed=1)
    np.testing.assert_allclose(loss.mean, np.sqrt([18, 0, 2, 0]), atol=0.1)
    assert loss.base == 0.0
    own = permutation_importance(linear, x, y, lambda y, s: -np.abs(y - s).mean(), n_resamples=1)
    assert own.mean[0] > own.mean[2] > 0


def test_permutation_importance_does_not_depend_on_blocks_or_on_a_mapped_file(rng, tmp_path):
    x = rng.normal(size=(500, 3)).astype("f4")
    y = linear(x) + rng.normal(size=500) > 0
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    first = permutation_importance(linear, x, y, seed=3)
    again = permutation_importance(linear, mapped, y, seed=3, block_rows=77)
    assert np.array_equal(first.each, again.each)
    assert not np.array_equal(first.each, permutation_importance(linear, x, y, seed=4).each)
    assert np.array_equal(x, np.load(tmp_path / "x.npy"))  # nothing was written to the columns


def test_permutation_importance_agrees_with_scikit_learn(rng):
    from sklearn.inspection import permutation_importance as theirs
    from sklearn.linear_model import LinearRegression

    x = rng.normal(size=(3000, 4))
    y = linear(x) + rng.normal(size=3000)
    model = LinearRegression().fit(x, y)
    want = theirs(model, x, y, n_repeats=10, random_state=0)
    got = permutation_importance(model.predict, x, y, "r2", n_resamples=10, seed=0)
    np.testing.assert_allclose(got.mean, want.importances_mean, atol=0.03)


def test_partial_dependence_is_that_of_scikit_learn(rng):
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.inspection import partial_dependence as theirs

    x = rng.normal(size=(400, 4))
    model = GradientBoostingRegressor(n_estimators=30, random_state=0).fit(x, linear(x) * x[:, 3])
    for columns in ([0], [0, 3]):
        want = theirs(model, x, columns, grid_resolution=6, method="brute", kind="average")
        got = partial_dependence(model.predict, x, columns, grid=want["grid_values"], block_rows=90)
        np.testing.assert_allclose(got.mean, want["average"][0], atol=1e-12)


def test_signed_dependence_is_the_margin_from_its_mean(rng):
    # Wang & Jain 2019, Fig. 5b: stable motifs have a negative partial dependence
    x = rng.normal(size=(300, 3)) + 1.0

    def margin(X):
        return X @ [2.0, -1.0, 0.5] - 4.0

    got = partial_dependence(margin, x, 0, grid=[[-1.0, 0.0, 3.0]], block_rows=70)
    np.testing.assert_allclose(got.signed, 2.0 * (got.grids[0] - x[:, 0].mean()), atol=1e-12)
    assert got.average == pytest.approx(margin(x).mean(), abs=1e-12)
    np.testing.assert_allclose(got.mean, got.signed + got.average, atol=1e-12)
    both = partial_dependence(margin, x, [0, 1], grid=4, samples=80, seed=5)
    rows = np.sort(np.random.default_rng(5).choice(300, 80, replace=False))
    u, v = both.grids
    want = 2.0 * (u - x[rows, 0].mean())[:, None] - (v - x[rows, 1].mean())
    np.testing.assert_allclose(both.signed, want, atol=1e-12)


def test_partial_dependence_of_known_functions(rng):
    x = rng.normal(size=(300, 3))
    got = partial_dependence(lambda X: X[:, 0] * X[:, 1], x, [0, 1], grid=7)
    np.testing.assert_allclose(got.mean, np.outer(*got.grids), atol=1e-12)
    assert got.names == ("0", "1")
    one = partial_dependence(lambda X: X[:, 0] ** 2 + X[:, 1], x, 0, grid=9)
    np.testing.assert_allclose(one.mean, one.grids[0] ** 2 + x[:, 1].mean(), atol=1e-12)
    np.testing.assert_allclose(
        one.grids[0], np.sort(x[:, 0])[[14, 48, 82, 116, 149, 183, 217, 251, 284]]
    )
    whole = partial_dependence(lambda X: X[:, 0], rng.integers(0, 3, (50, 2)), 0, grid=[[0.5, 1.5]])
    assert whole.mean.tolist() == [0.5, 1.5]
    assert len(partial_dependence(lambda X: X[:, 0], rng.integers(0, 3, (50, 2)), 0).grids[0]) == 3
    some = partial_dependence(linear, x, 0, samples=50, seed=1)
    assert some.rows == 50
    assert np.array_equal(some.mean, partial_dependence(linear, x, 0, samples=50, seed=1).mean)


def phi(X):
    return np.column_stack((X * [1.0, -2.0, 0.5], np.full(len(X), 0.25)))


def test_shap_sums_and_sample_do_not_depend_on_blocks(rng):
    x = rng.normal(size=(1000, 3))
    whole = shap_by_blocks(phi, [x], ["a", "b", "c"], size=40, seed=5)
    np.testing.assert_allclose(whole.mean_absolute, np.abs(x * [1, -2, 0.5]).mean(axis=0))
    np.testing.assert_allclose(whole.square, ((x * [1, -2, 0.5]) ** 2).sum(axis=0))
    assert whole.order() == ["b", "a", "c"]
    assert whole.expected == 0.25
    parts = shap_by_blocks(
        phi, (x[i : i + 77] for i in range(0, 1000, 77)), ["a", "b", "c"], size=40, seed=5
    )
    np.testing.assert_allclose(parts.total, whole.total, rtol=1e-9)
    for name in ("sample_rows", "sample_x", "sample_shap"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))
    np.testing.assert_array_equal(whole.sample_x, x[whole.sample_rows])
    np.testing.assert_array_equal(whole.sample_shap, phi(whole.sample_x)[:, :-1])
    tasks = [
        shap_of_block(phi, x[i : i + 250], i, ["a", "b", "c"], 40, 5) for i in (500, 0, 750, 250)
    ]
    merged = tasks[0].merge(tasks[1]).merge(tasks[2].merge(tasks[3]))
    assert np.array_equal(merged.sample_rows, whole.sample_rows)
    assert merged.rows == 1000


def test_sample_of_shap_is_even():
    count = np.zeros(50)
    for seed in range(2000):
        count[contributions._sampled(np.arange(50), 10, seed)] += 1
    assert abs(count - 400).max() < 4.5 * np.sqrt(2000 * 0.2 * 0.8)
    assert len(shap_by_blocks(phi, [np.ones((5, 3))], size=10).sample_rows) == 5


def test_shap_of_lightgbm_adds_up(rng):
    lightgbm = pytest.importorskip("lightgbm")
    x = rng.normal(size=(1000, 3))
    options = {"objective": "binary", "verbose": -1, "num_threads": 1}
    model = lightgbm.train(options, lightgbm.Dataset(x, x[:, 1] > 0), 20)
    got = shap_by_blocks(
        lambda X: model.predict(X, pred_contrib=True), np.array_split(x, 4), size=100, seed=1
    )
    assert got.order()[0] == "1"
    raw = model.predict(got.sample_x, raw_score=True)
    np.testing.assert_allclose(got.sample_shap.sum(axis=1) + got.expected, raw, atol=1e-9)


def test_refusals_in_words(rng):
    x = rng.normal(size=(20, 3))
    other = shap_of_block(lambda X: phi(X) + 1, x, 20)
    for call, words in (
        (lambda: permutation_importance(lambda X: X, x, x[:, 0], "r2"), "one number per row"),
        (lambda: permutation_importance(linear, x, x[:, 0], "roc_auc"), "0 and 1 only"),
        (lambda: permutation_importance(linear, x, x[:, 0], "x"), "choose one of"),
        (lambda: permutation_importance(linear, x, x[:, 0], "r2", n_resamples=0), "n_resamples=0"),
        (lambda: partial_dependence(linear, x, 3), "indices from 0 to 2"),
        (lambda: partial_dependence(linear, x, [0, 1, 2]), "one or two"),
        (lambda: partial_dependence(linear, x, 0, grid=1), "at least 2"),
        (lambda: partial_dependence(linear, x, 0, grid=[[1], [2]]), "2 lists for 1"),
        (lambda: partial_dependence(linear, x, 0, samples=99), "samples=99"),
        (lambda: shap_by_blocks(phi, []), "blocks is empty"),
        (lambda: shap_by_blocks(linear, [x]), "columns \\+ 1"),
        (lambda: shap_of_block(phi, x, 0).merge(other), "differ in columns"),
        (lambda: shap_of_block(phi, x, -1), "start=-1"),
    ):
        with pytest.raises(ParameterError, match=words):
            call()


def test_repeats_is_the_old_name_of_n_resamples(rng):
    x = rng.normal(size=(50, 3))
    with pytest.warns(FutureWarning, match="repeats= is n_resamples="):
        old = permutation_importance(linear, x, x[:, 0], "r2", repeats=2)
    assert np.array_equal(old.each, permutation_importance(linear, x, x[:, 0], "r2", 2).each)
