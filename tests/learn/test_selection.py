"""Selection of columns: correlation, recursive elimination, ReliefF against a naive twin and known relevance."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.learn.selection import elimination as selection
from mgdask.learn.selection import relief
from mgdask.learn.selection.elimination import correlation, drop_correlated, recursive_elimination
from mgdask.learn.selection.relief import relieff, relieff_forms


def test_examples():
    for module in (selection, relief):
        assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def test_correlation_by_blocks_is_that_of_numpy(rng, tmp_path):
    x = (rng.normal(size=(1000, 6)) @ rng.normal(size=(6, 6)) + 1e5).astype("f4")
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    truth = np.corrcoef(x.astype(float), rowvar=False)
    for rows in (1000, 137, 1):
        np.testing.assert_allclose(correlation(mapped, rows), truth, atol=1e-9)
    assert np.array_equal(correlation(mapped, 100), correlation(x, 100))
    still = correlation(np.column_stack((np.full(1000, 0.1), np.full(1000, 1e9), x[:, 0])))
    assert np.isnan(still[:2]).all()
    assert still[2, 2] == 1.0


def test_correlated_columns_go_in_a_known_order(rng):
    a, b = rng.normal(size=(2, 500))
    x = np.column_stack((a, b, -2 * a + 0.01 * b, a + b, np.ones(500), b + 0.01 * a))
    found = drop_correlated(x, list("abcdef"))
    assert found.names == ("a", "b", "d")
    assert {k: v[0] for k, v in found.dropped.items()} == {"c": "a", "f": "b"}
    assert found.dropped["c"][1] < -0.99
    assert found.constant == ("e",)
    by_weight = drop_correlated(x, list("abcdef"), importance=[0, 0, 1, 0, 9, 2])
    assert by_weight.names == ("c", "d", "f")
    assert drop_correlated(x, list("abcdef"), threshold=0.5).names in (("a", "b"), ("a", "b", "d"))
    assert drop_correlated(np.column_stack((a, a)), threshold=1.0).names == ("0", "1")
    json.dumps(found.as_dict(), allow_nan=False)


class Linear:
    def __init__(self, X, y):
        self.w = np.linalg.lstsq(
            np.column_stack((X, np.ones(len(X)))), y.astype(float), rcond=None
        )[0]

    def predict(self, X):
        return X @ self.w[:-1] + self.w[-1]


def test_elimination_finds_the_relevant_columns(rng):
    x = rng.normal(size=(3000, 20))
    y = (3 * x[:, 4] + 2 * x[:, 11] + x[:, 7] + rng.normal(size=3000) > 1).astype(int)
    groups = np.arange(3000) % 25
    seen = []

    def fit(X, y):
        seen.append(X.shape)
        return Linear(X, y)

    def judge(model, X, y):
        return np.abs(model.w[:-1])

    options = {"groups": groups, "n_features": 3, "folds": 4, "seed": 2}
    found = recursive_elimination(fit, judge, x, y, step=3, **options)
    assert found.selected == ("4", "11", "7")
    assert found.columns == (4, 11, 7)
    assert sorted(found.ranking.values()) == list(range(1, 21))
    assert [found.ranking[n] for n in found.selected] == [1, 2, 3]
    assert [n for n, _, _ in found.scores] == [20, 17, 14, 11, 8, 5, 3]
    assert all(0.8 < mean < 1 for _, mean, _ in found.scores)
    assert sum(found.importance) == pytest.approx(1)
    assert len(seen) == 4 * 7
    assert found == recursive_elimination(fit, judge, x, y, step=3, **options)
    one = recursive_elimination(fit, judge, x, y, step=1, **options)
    assert [n for n, _, _ in one.scores] == list(range(20, 2, -1))
    share = recursive_elimination(fit, judge, x, y, step=0.5, **options)
    assert [n for n, _, _ in share.scores] == [20, 10, 5, 3]
    json.dumps(found.as_dict(), allow_nan=False)


def test_elimination_keeps_groups_apart_and_judges_on_held_out_rows(rng):
    x = np.column_stack((np.arange(60.0), rng.normal(size=60)))
    groups = np.arange(60) % 6

    def judge(rows, X, y):
        assert not set(rows % 6) & set(X[:, 0] % 6)
        return [1.0, 0.0]

    found = recursive_elimination(
        lambda X, y: X[:, 0],
        judge,
        x,
        x[:, 1],
        groups,
        n_features=2,
        folds=3,
        score=lambda m, X, y: 0.0,
    )
    assert found.columns == (0, 1)


def test_elimination_with_lightgbm(rng):
    lightgbm = pytest.importorskip("lightgbm")
    x = rng.normal(size=(2000, 8))
    y = (x[:, 2] * x[:, 5] > 0).astype(int)  # no column alone tells anything

    def fit(X, y):
        options = {
            "objective": "binary",
            "verbose": -1,
            "num_threads": 1,
            "seed": 1,
            "deterministic": True,
        }
        return lightgbm.train(options, lightgbm.Dataset(X, y), 40)

    def judge(model, X, y):
        return np.abs(model.predict(X, pred_contrib=True)[:, :-1]).mean(axis=0)

    found = recursive_elimination(
        fit, judge, x, y, np.arange(2000) % 10, n_features=2, step=3, folds=3, seed=1
    )
    assert set(found.columns) == {2, 5}
    assert found.scores[-1][1] > 0.9


def naive(x, y, k, rows, form):
    """ReliefF by the formula, row by row.

    "literal" is Eq. (1) of Liu X. et al. (2022) as printed: k neighbors of any class, nh hits
    and nm misses among them, and P_n / (1 - P_t) on each miss.
    """
    span = np.ptp(x, axis=0)
    weight = np.zeros(x.shape[1])
    share = {c: np.mean(y == c) for c in set(y.tolist())}
    for i in rows:
        diff = np.abs(x[i] - x) / span
        order = [j for j in np.argsort(diff.sum(axis=1), kind="stable") if j != i]
        if form == "literal":
            for n in order[:k]:
                prior = share[y[n]] / (1 - share[y[i]])
                weight += -diff[n] if y[n] == y[i] else prior * diff[n]
            continue
        weight -= diff[[j for j in order if y[j] == y[i]][:k]].sum(axis=0)
        for c in share:
            if c != y[i]:
                misses = diff[[j for j in order if y[j] == c][:k]].sum(axis=0)
                weight += share[c] / (1 - share[y[i]]) * misses
    return weight / (len(rows) * k)


@pytest.mark.parametrize("form", ["per-class", "literal"])
@pytest.mark.parametrize("classes", [2, 4])
def test_relieff_is_its_formula(rng, form, classes):
    x = rng.normal(size=(150, 5)) * [1, 10, 0.1, 3, 1] + 7
    y = rng.choice(classes, 150, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    np.testing.assert_allclose(
        relieff(x, y, 6, form=form), naive(x, y, 6, range(150), form), atol=1e-12
    )
    some = np.sort(np.random.default_rng(4).choice(150, 40, replace=False))
    got = relieff(x, y, 6, samples=40, seed=4, form=form)
    np.testing.assert_allclose(got, naive(x, y, 6, some, form), atol=1e-12)
    assert np.array_equal(got, relieff(x, y, 6, samples=40, seed=4, form=form, workers=2))
    assert not np.array_equal(got, relieff(x, y, 6, samples=40, seed=5, form=form))


def test_both_forms_come_from_one_search_with_the_same_bits_for_any_cut(rng, client, monkeypatch):
    x, y = rng.normal(size=(700, 6)), rng.choice(3, 700, p=[0.05, 0.35, 0.6])
    truth = {form: relieff(x, y, 12, form=form) for form in ("per-class", "literal")}
    monkeypatch.setattr(relief, "_BLOCK_NEIGHBORS", 12 * 3 * 16)
    blocks = {form: relieff(x, y, 12, form=form) for form in truth}
    for n_tasks in (1, 7):
        monkeypatch.setattr(relief, "_TASKS", n_tasks)
        found = relieff_forms(x, y, 12, client=client, progress=False)
        assert list(found) == ["per-class", "literal"]
        for form, weights in found.items():
            assert np.array_equal(weights, blocks[form])
            np.testing.assert_allclose(weights, truth[form], atol=1e-14)
    for form, weights in relieff_forms(x, y, 12, workers=2).items():
        assert np.array_equal(weights, blocks[form])
    some = relieff(x, y, 12, samples=90, seed=3, client=client, progress=False)
    assert np.array_equal(some, relieff(x, y, 12, samples=90, seed=3))


def test_of_rows_at_one_distance_the_first_are_neighbors(rng):
    # a grid of quarters: distances are exact, and most are equal
    x = np.concatenate([rng.integers(0, 5, (90, 3)), [[0, 0, 0], [4, 4, 4]]]) / 4.0
    y = rng.integers(0, 3, 92)
    for form in ("per-class", "literal"):
        expected = naive(x, y, 4, range(92), form)
        np.testing.assert_allclose(relieff(x, y, 4, form=form), expected, atol=1e-13)


def test_relieff_by_default_is_per_class_with_10_and_literal_with_50_neighbors(rng):
    x, y = rng.normal(size=(90, 3)), rng.integers(0, 3, 90)
    np.testing.assert_allclose(relieff(x, y), naive(x, y, 10, range(90), "per-class"), atol=1e-12)
    np.testing.assert_allclose(
        relieff(x, y, form="literal"), naive(x, y, 50, range(90), "literal"), atol=1e-12
    )
    # "literal" needs no k + 1 rows in every class
    assert np.isfinite(relieff(x, np.arange(90) < 2, form="literal")).all()


def test_literal_relieff_has_the_prior_weights_of_eq_1():
    # four equal rows of each of two classes at 0 and 1, and two rows of a third at 1:
    # P = 0.4, 0.4, 0.2; with k = 9 each row sees all others
    x = np.repeat([[0.0], [1.0]], [4, 6], axis=0)
    y = np.repeat(["a", "b", "c"], [4, 4, 2])
    of_a = 4 * (4 * 0.4 / 0.6 + 2 * 0.2 / 0.6)
    of_b, of_c = 4 * (4 * 0.4 / 0.6), 2 * (4 * 0.4 / 0.8)
    assert relieff(x, y, 9, form="literal")[0] == pytest.approx((of_a + of_b + of_c) / 90)


@pytest.mark.peers
def test_relieff_is_that_of_scikit_rebate(rng):
    skrebate = pytest.importorskip("skrebate", reason="peer: pip install skrebate")
    x = rng.normal(size=(120, 6))
    y = (x[:, 2] + 0.3 * rng.normal(size=120) > 0).astype(int)
    theirs = skrebate.ReliefF(n_neighbors=7).fit(x, y)
    np.testing.assert_allclose(relieff(x, y, 7), theirs.feature_importances_, atol=1e-9)


def test_old_forms_of_relieff_warn_or_are_refused(rng):
    x, y = rng.normal(size=(200, 4)), rng.integers(0, 3, 200)
    with pytest.warns(FutureWarning, match="'standard' is form='per-class'"):
        assert np.array_equal(relieff(x, y, form="standard"), relieff(x, y))
    with pytest.warns(FutureWarning, match="'liu2022' is form='per-class'"):
        assert np.array_equal(relieff(x, y < 1, form="liu2022"), relieff(x, y < 1))
    with pytest.raises(ParameterError, match="for 3 classes are no longer computed"):
        relieff(x, y, form="liu2022")


def test_relieff_sees_columns_that_tell_only_together(rng):
    x = rng.random((1500, 8))
    x[:, 6] = 5.0
    y = np.where((x[:, 1] > 0.5) ^ (x[:, 3] > 0.5), "odd", "even")
    for form in ("per-class", "literal"):
        w = relieff(x, y, 10, form=form)
        assert set(np.argsort(-np.delete(w, 6))[:2]) == {1, 3}
        assert w[6] == 0.0
    assert relieff(x, y)[[1, 3]].min() > 0.03 > relieff(x, y)[[0, 2, 4, 5, 7]].max()


def test_relieff_leaves_a_row_out_of_its_own_hits():
    x = np.repeat([[0.0], [1.0]], 20, axis=0)
    assert relieff(x, np.repeat([0, 1], 20), neighbors=5).tolist() == [1.0]
    y = np.tile([0, 1], 20)  # every row among equal rows of both classes
    for form in ("per-class", "literal"):
        assert relieff(x, y, 5, form=form).tolist() == [0.0]


def test_refusals_in_words(rng):
    x, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    hole = x.copy()
    hole[4, 1] = np.nan

    def eliminate(importance=lambda m, X, y: [1, 1, 1], y=y, **options):
        return recursive_elimination(
            Linear, importance, x, y, np.arange(20) % 4, folds=2, **options
        )

    for call, words in (
        (lambda: drop_correlated(hole, ["a", "b", "c"]), "nan in column 'b', row 4"),
        (lambda: drop_correlated(x, ["a", "b", "b"]), "'b' more than once"),
        (lambda: drop_correlated(x, ["a"]), "1 entries for 3 columns"),
        (lambda: drop_correlated(x, threshold=95), "threshold=95"),
        (lambda: drop_correlated(np.ones((3, 2))), "all 2 columns"),
        (lambda: drop_correlated(x[:, 0]), r"\(row, column\)"),
        (lambda: drop_correlated(x, block_rows=0), "block_rows=0"),
        (lambda: eliminate(n_features=4), "n_features=4"),
        (lambda: eliminate(n_features=1, step=0), "step=0"),
        (lambda: eliminate(n_features=1, step=1.5), "step=1.5"),
        (lambda: eliminate(lambda m, X, y: [1, 2], n_features=1), "one finite number per column"),
        (lambda: eliminate(y=y[:5], n_features=1), "each of the 20 rows"),
        (lambda: relieff(hole, y), "row 4"),
        (lambda: relieff(x, y * 0), "one class only"),
        (lambda: relieff(x, y, 10), "class 0 has 10. Use fewer"),
        (lambda: relieff(x, y, 5, form="x"), "choose one of per-class, literal"),
        (lambda: relieff(x, y, 20, form="literal"), "below the 20 rows"),
        (lambda: relieff(x, y, 5, samples=21), "samples=21"),
    ):
        with pytest.raises(ParameterError, match=words):
            call()
