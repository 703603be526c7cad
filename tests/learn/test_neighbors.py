"""Exact neighbors against a naive twin and scikit-learn; estimators by scikit-learn's own checks."""

from contextlib import suppress
from unittest import SkipTest

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from mgdask.errors import ParameterError
from mgdask.learn.neighbors import (
    NeighborsClassifier,
    NeighborsRegressor,
    nearest_rows,
    nearest_rows_tasks,
)
from tests.reference import cityblock
from tests.reference.neighbors import nearest


def lag_rows(rng, n, columns=17):
    """Rows like those of displacements at several lags: strongly correlated columns."""
    mobility = rng.normal(size=(n, 1)) * np.linspace(0.3, 1.5, columns)
    return mobility + rng.normal(scale=0.3, size=(n, columns))


@pytest.mark.parametrize(
    ("rows", "columns", "k"), [(700, 17, 50), (130, 1, 5), (300, 3, 300), (260, 41, 7), (1, 2, 1)]
)
def test_neighbors_are_those_of_plain_comparison(rng, rows, columns, k):
    x = lag_rows(rng, rows, columns)
    queries = np.concatenate([x[::40], lag_rows(rng, 9, columns) * 2])
    index, distance = nearest_rows(x, queries, k)
    naive_index, naive_distance = nearest(x, queries, k)
    assert np.array_equal(index, naive_index)
    assert np.array_equal(distance, naive_distance)


def test_rows_at_the_same_distance_are_in_order_of_their_number(rng):
    x = rng.integers(0, 3, (900, 4)) / 8.0
    index, distance = nearest_rows(x, x[::60], 40)
    naive_index, naive_distance = nearest(x, x[::60], 40)
    assert np.array_equal(index, naive_index)
    assert np.array_equal(distance, naive_distance)
    assert (distance == 0.0).any()
    same, zero = nearest_rows(np.ones((500, 2)), np.ones((1, 2)), 9)
    assert same.tolist() == [list(range(9))]
    assert not zero.any()


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e9])
def test_rows_that_float32_cannot_separate(rng, offset):
    # differences of 1e-9 beside a range of 1 and an offset
    x = offset + np.concatenate([1e-9 * lag_rows(rng, 400, 5), [[1.0] * 5]])
    queries = np.concatenate([x[:4], x[:1] + 1e-9])
    index, distance = nearest_rows(x, queries, 20)
    naive_index, naive_distance = nearest(x, queries, 20)
    assert np.array_equal(index, naive_index)
    assert np.array_equal(distance, naive_distance)


@pytest.mark.parametrize("far", [3.0, 1e4, 1e7, 1e13, 1e100])
def test_queries_far_outside_the_rows(rng, far):
    x = lag_rows(rng, 300, 4)
    queries = np.full((2, 4), far)
    queries[1, 1:] = 0.0
    index, distance = nearest_rows(x, queries, 12)
    naive_index, naive_distance = nearest(x, queries, 12)
    assert np.array_equal(index, naive_index)
    assert np.array_equal(distance, naive_distance)


def test_neighbors_are_of_the_same_group_and_of_another_fold(rng):
    x = lag_rows(rng, 600)
    group, fold = rng.integers(0, 3, 600) * 7, rng.integers(0, 5, 600)
    index, distance = nearest_rows(
        x, x[:40], 15, group=group, query_group=group[:40], exclude=fold, query_exclude=fold[:40]
    )
    naive_index, naive_distance = nearest(
        x, x[:40], 15, lambda i, j: group[i] == group[j] and fold[i] != fold[j]
    )
    assert np.array_equal(index, naive_index)
    assert np.array_equal(distance, naive_distance)
    own, _ = nearest_rows(x, x, 1, exclude=np.arange(600), query_exclude=np.arange(600))
    assert (own[:, 0] != np.arange(600)).all()


def test_neighbors_are_those_of_scikit_learn(rng):
    x, queries = lag_rows(rng, 5000), lag_rows(rng, 300)
    index, distance = nearest_rows(x, queries, 50)
    theirs, rows = NearestNeighbors(n_neighbors=50, algorithm="kd_tree").fit(x).kneighbors(queries)
    assert np.array_equal(index, rows)
    assert distance == pytest.approx(theirs, rel=1e-12)


def test_tasks_give_the_same_bits(tmp_path, rng, client):
    x, queries = lag_rows(rng, 2000), lag_rows(rng, 500)
    group, other = rng.integers(0, 2, 2000), rng.integers(0, 2, 500)
    plain = nearest_rows(x, queries, 30, group=group, query_group=other)
    for block_rows, workers in ((70, client), (500, None), (1, None)):
        part = slice(0, 5 if block_rows == 1 else 500)
        found = nearest_rows_tasks(
            tmp_path,
            x,
            queries[part],
            30,
            group=group,
            query_group=other[part],
            block_rows=block_rows,
            client=workers,
            progress=False,
        )
        assert np.array_equal(found.index, plain[0][part])
        assert np.array_equal(found.distance, plain[1][part])


def test_tasks_search_the_rows_of_their_own_search(tmp_path, rng):
    # a second search in the same folder replaces the rows that a worker holds
    for scale in (1.0, 2.0):
        x = scale * lag_rows(rng, 200)
        found = nearest_rows_tasks(tmp_path, x, x[:20], 1, progress=False)
        assert found.index[:, 0].tolist() == list(range(20))
        assert not found.distance.any()


def test_a_second_search_leaves_an_earlier_result_as_it_is(tmp_path, rng):
    x = lag_rows(rng, 200)
    first = nearest_rows_tasks(tmp_path, x, x[:20], 3, progress=False)
    before = np.array(first.index), np.array(first.distance)
    # rows mapped from the folder that is written to
    again = np.load(tmp_path / "rows.npy", mmap_mode="r")
    second = nearest_rows_tasks(tmp_path, again, x[100:120], 3, progress=False)
    assert np.array_equal(first.index, before[0])
    assert np.array_equal(first.distance, before[1])
    assert second.index[:, 0].tolist() == list(range(100, 120))


@pytest.mark.parametrize("tied", [False, True])
def test_neighbors_by_manhattan_distance(rng, tmp_path, tied, monkeypatch):
    x = rng.integers(0, 3, (300, 4)) / 8.0 if tied else lag_rows(rng, 300, 41)
    queries = np.concatenate([x[:12], x[:2] * 40.0 - 1e3])
    index, distance = nearest_rows(x, queries, 15, metric="manhattan")
    naive_index, naive_distance = cityblock.nearest(x, queries, 15, 0, 300, [-1] * 14)
    assert np.array_equal(index, naive_index)
    assert np.array_equal(distance, naive_distance)
    # groups with the row itself excluded, and as tasks
    group = rng.integers(0, 3, 300)
    own = np.arange(300)
    given = {"group": group, "exclude": own, "query_exclude": own[:12], "metric": "manhattan"}
    index, distance = nearest_rows(x, x[:12], 15, query_group=group[:12], **given)
    for i in range(12):
        here = np.flatnonzero(group == group[i])
        itself = [int(np.searchsorted(here, i))]
        near, far = cityblock.nearest(x[here], x[i : i + 1], 15, 0, len(here), itself)
        assert np.array_equal(index[i], here[near[0]])
        assert np.array_equal(distance[i], far[0])
    found = nearest_rows_tasks(
        tmp_path, x, x[:12], 15, query_group=group[:12], block_rows=5, progress=False, **given
    )
    assert np.array_equal(found.index, index)
    assert np.array_equal(found.distance, distance)
    # rows of other folds, searched among all rows and among the others only
    fold = rng.integers(0, 4, 300)
    for spare in (256, 70, 0):
        monkeypatch.setattr("mgdask.learn.neighbors.metrics._SPARE", spare)
        index, distance = nearest_rows(
            x, queries, 15, exclude=fold, query_exclude=fold[:14], metric="manhattan"
        )
        for i in (0, 7, 13):
            others = np.flatnonzero(fold != fold[i])
            near, far = cityblock.nearest(x[others], queries[i : i + 1], 15, 0, len(others), [-1])
            assert np.array_equal(index[i], others[near[0]])
            assert np.array_equal(distance[i], far[0])
    with pytest.raises(ParameterError, match=r"a query has only 0 rows"):
        nearest_rows(x, x, 1, exclude=fold * 0, query_exclude=fold * 0, metric="manhattan")


def test_too_few_rows_by_manhattan_distance(rng):
    x = lag_rows(rng, 30)
    fold = np.repeat([0, 1, 2], 10)
    with pytest.raises(ParameterError, match=r"k=21 neighbors .* only 20 rows; use at most 20"):
        nearest_rows(x, x, 21, exclude=fold, query_exclude=fold, metric="manhattan")
    with pytest.raises(ParameterError, match=r"k=31 neighbors .* only 30 rows; use at most 30"):
        nearest_rows(x, x, 31, metric="manhattan")


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
def test_estimators_agree_with_scikit_learn(rng, metric):
    x, queries = lag_rows(rng, 800), lag_rows(rng, 60)
    y = x[:, 0] + rng.normal(scale=0.1, size=800)
    ours = NeighborsRegressor(9, metric=metric, scale=None).fit(x, y)
    theirs = KNeighborsRegressor(9, metric=metric).fit(x, y)
    assert ours.predict(queries) == pytest.approx(theirs.predict(queries), rel=1e-12)
    kind = np.array(["cold", "warm", "hot"])[np.digitize(y, [-0.3, 0.3])]
    some = NeighborsClassifier(9, metric=metric, scale=None).fit(x, kind)
    others = KNeighborsClassifier(9, metric=metric).fit(x, kind)
    assert some.predict_proba(queries) == pytest.approx(others.predict_proba(queries))
    assert some.predict(queries).tolist() == others.predict(queries).tolist()


def test_columns_are_scaled_to_the_range_of_training(rng):
    x, queries = lag_rows(rng, 300) * np.linspace(1, 1e3, 17), lag_rows(rng, 40)
    y = x[:, 3]
    low, high = x.min(axis=0), x.max(axis=0)
    index, _ = nearest((x - low) / (high - low), (queries - low) / (high - low), 6)
    model = NeighborsRegressor(6).fit(x, y)
    assert model.predict(queries) == pytest.approx(y[index].mean(axis=1), rel=1e-12)
    # a constant column changes nothing
    wide = NeighborsRegressor(6).fit(np.c_[x, np.full(300, 4.0)], y)
    assert (
        wide.predict(np.c_[queries, np.full(40, 4.0)]).tolist() == model.predict(queries).tolist()
    )


def test_groups_of_an_estimator(rng):
    x, group = lag_rows(rng, 400), rng.integers(0, 2, 400)
    model = NeighborsRegressor(5).fit(x, group.astype(float), groups=group)
    assert model.predict(x[:50], groups=group[:50]).tolist() == group[:50].tolist()
    with pytest.raises(ParameterError, match=r"groups= was given for training"):
        model.predict(x[:50])
    with pytest.raises(ParameterError, match=r"no row belongs to group 5, but 50 queries do"):
        model.predict(x[:50], groups=np.full(50, 5))
    with pytest.raises(ParameterError, match=r"leave it out here"):
        NeighborsRegressor(5).fit(x, x[:, 0]).predict(x, groups=group)


@pytest.mark.parametrize(
    "estimator", [NeighborsRegressor(n_neighbors=2), NeighborsClassifier(n_neighbors=2)], ids=str
)
def test_checks_of_scikit_learn(estimator):
    done = 0
    for model, check in estimator_checks_generator(estimator):
        with suppress(SkipTest):  # needs pandas or array_api
            check(model)
            done += 1
    assert done > 40


def test_estimators_in_a_pipeline(rng):
    x = lag_rows(rng, 200)
    model = make_pipeline(StandardScaler(), NeighborsRegressor(3)).fit(x, x[:, 0])
    assert model.score(x, x[:, 0]) > 0.8
    copy = clone(model[-1])
    assert copy.get_params() == {"n_neighbors": 3, "metric": "euclidean", "scale": "minmax"}


def test_bad_input_is_named(rng, tmp_path):
    x = lag_rows(rng, 30)
    with pytest.raises(ParameterError, match=r"queries have 3 columns, but the rows have 17"):
        nearest_rows(x, x[:, :3], 2)
    with pytest.raises(ParameterError, match=r"k=31 neighbors .* only 30 rows; use at most 30"):
        nearest_rows(x, x, 31)
    group = np.array([1] * 2 + [0] * 28)
    with pytest.raises(ParameterError, match=r"k=5 .* only 2 rows of group 1; use at most 2"):
        nearest_rows(x, x, 5, group=group, query_group=group)
    with pytest.raises(ParameterError, match=r"k=0 must be at least 1"):
        nearest_rows(x, x, 0)
    y = x.copy()
    y[4, 2] = np.nan
    with pytest.raises(ParameterError, match=r"rows\[4, 2\] is nan \(1 such values\)"):
        nearest_rows(y, x, 2)
    y[4, 2] = -np.inf
    with pytest.raises(ParameterError, match=r"queries\[4, 2\] is -inf"):
        nearest_rows_tasks(tmp_path, x, y, 2)
    with pytest.raises(
        ParameterError, match=r"group is float64 .* one whole number for each of 30"
    ):
        nearest_rows(x, x, 2, group=x[:, 0])
    with pytest.raises(ParameterError, match=r"n_neighbors=50, but there are only 30 samples"):
        NeighborsRegressor().fit(x, x[:, 0])
    with pytest.raises(ParameterError, match=r"group 3 has only 1 samples"):
        NeighborsClassifier(2).fit(x, x[:, 0] > 0, groups=[3] + [4] * 29)
    with pytest.raises(ParameterError, match=r"scale='standard' is unknown"):
        NeighborsRegressor(2, scale="standard").fit(x, x[:, 0])
    with pytest.raises(ParameterError, match=r"metric='cosine' is unknown; choose 'euclidean' or"):
        NeighborsRegressor(2, metric="cosine").fit(x, x[:, 0])
    with pytest.raises(ParameterError, match=r"beyond the largest float64; scale the columns"):
        nearest_rows(x, x * 1e307, 2, metric="manhattan")
    with pytest.raises(ParameterError, match=r"block_rows=0"):
        nearest_rows_tasks(tmp_path, x, x, 2, block_rows=0)
