"""Representative classes of the temperature study on rows whose clusters are known."""

import json

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from mgdask.errors import ParameterError
from mgdask.studies.temperature.classes import (
    ClusterStatistics,
    representative_classes,
    subset_of_row,
)
from tests.conftest import threads_client
from tests.studies.temperature_rows import ArrayRows

KINDS = (100.0, 300.0, 500.0, 900.0, 1500.0)
OPTIONS = {"subset_rows": 150, "min_leaves": 15, "cutoff": 1.5}


@pytest.fixture(scope="module")
def apart():
    """Rows of five temperatures: two of them move alike, the others differ."""
    rng = np.random.default_rng(7)
    center = {100.0: 0.0, 300.0: 0.0, 500.0: 10.0, 900.0: 20.0, 1500.0: 30.0}
    temperature = np.repeat(KINDS, [140, 90, 110, 130, 130])
    x = rng.normal(scale=0.3, size=(600, 4)) + np.array([center[t] for t in temperature])[:, None]
    order = rng.permutation(600)
    return ArrayRows(x[order], temperature[order])


def naive(rows, n_subsets, seed, cutoff, min_leaves, method):
    """Counts of labels, by scipy's tree and plain loops."""
    kinds = np.unique(rows.temperature)
    count, n_qualified = dict.fromkeys(kinds, 0), []
    shared = np.zeros((len(kinds), len(kinds)))
    subset = subset_of_row(rows.n_rows, n_subsets, seed)
    for number in range(n_subsets):
        here = np.flatnonzero(subset == number)
        cluster = fcluster(linkage(rows.x[here], method), cutoff, "distance")
        n_qualified.append(0)
        for one in np.unique(cluster):
            leaves = rows.temperature[here][cluster == one]
            if len(leaves) < min_leaves:
                continue
            n_qualified[-1] += 1
            values, often = np.unique(leaves, return_counts=True)
            count[values[often == often.max()].min()] += 1
            share = [(leaves == t).sum() / (rows.temperature[here] == t).sum() for t in kinds]
            shared += np.outer(share, share) / n_subsets
    return list(count.values()), n_qualified, shared


@pytest.mark.parametrize("method", ["single", "average"])
def test_statistics_are_those_of_plain_loops(apart, client, method):
    options = OPTIONS | {"cutoff": {"single": 0.55, "average": 0.9}[method], "linkage": method}
    found = representative_classes(apart, seed=3, client=client, progress=False, **options)
    count, n_qualified, shared = naive(apart, 4, 3, options["cutoff"], 15, method)
    assert found.count.tolist() == count
    assert found.n_qualified.tolist() == n_qualified
    np.testing.assert_allclose(found.shared, shared, rtol=1e-12)
    assert found.chance == sum(count) / 5
    assert (found.n_subsets, found.n_rows, found.linkage) == (4, 600, method)
    assert found.n_clusters.max() > max(n_qualified) > 2


def test_temperatures_that_move_alike_are_one_class(apart, client):
    found = representative_classes(apart, client=client, progress=False, **OPTIONS)
    assert found.group.tolist() == [0, 0, 1, 2, 3]
    # 100 K has more rows than 300 K, so it is the mode of their cluster
    assert found.by_rule.tolist() == found.classes.tolist() == [100.0, 500.0, 900.0, 1500.0]
    assert found.used.tolist() == [True, False, True, True, True]
    assert found.mode_share > 0.85 > 0.3 > found.subset_share
    assert "selects 100, 500, 900, 1500 K" in found.verdict


def test_form_of_the_feature_is_the_one_that_is_clustered(apart, client):
    far = ArrayRows(apart.x - np.log10(apart.temperature)[:, None], apart.temperature)
    plain = representative_classes(apart, client=client, progress=False, **OPTIONS)
    # dividing by 1/T undoes the shift
    shifted = ArrayRows(apart.x + np.log10(apart.temperature)[:, None], apart.temperature)
    run = representative_classes(
        shifted, feature_temperature="run", client=client, progress=False, **OPTIONS
    )
    assert run.form == "run"
    assert plain.form == "none"
    assert np.array_equal(run.n_clusters, plain.n_clusters)
    assert np.array_equal(run.count, plain.count)
    fixed = representative_classes(
        far, feature_temperature=300.0, client=client, progress=False, **OPTIONS
    )
    assert fixed.form == "300"


def test_the_other_form_stands_beside(apart, client):
    options = OPTIONS | {"cutoff": 0.6, "client": client, "progress": False}
    found = representative_classes(apart, **options)
    (other,) = found.beside
    alone = representative_classes(apart, feature_temperature="run", both_forms=False, **options)
    assert other.form == "run"
    assert other.to_json() == alone.to_json()
    assert not alone.beside
    # the rows of 100 and 300 K move apart by twice lg 3
    assert not np.array_equal(other.n_clusters, found.n_clusters)


def test_one_giant_cluster_selects_nothing_and_says_so(rng, client):
    rows = ArrayRows(rng.normal(size=(400, 3)), np.repeat(KINDS[:4], 100))
    found = representative_classes(
        rows, subset_rows=100, min_leaves=20, cutoff=4.0, client=client, progress=False
    )
    assert found.n_qualified.tolist() == [1] * 4
    assert found.by_rule.size == 0
    assert found.classes.tolist() == list(KINDS[:4])
    assert "do not distinguish the temperatures" in found.verdict
    assert found.mode_share == pytest.approx(found.subset_share, abs=0.02)
    none = representative_classes(
        rows, subset_rows=100, min_leaves=101, cutoff=4.0, client=client, progress=False
    )
    assert none.count.sum() == 0
    assert np.isnan(none.mode_share)
    assert "No cluster is large enough" in none.verdict


def test_a_group_without_qualified_clusters_is_left_out(apart, client):
    few = apart.temperature != 900.0
    few |= np.arange(600) % 5 == 0  # a fifth of 900 K: too few leaves
    rows = ArrayRows(apart.x[few], apart.temperature[few])
    found = representative_classes(rows, client=client, progress=False, **OPTIONS)
    assert found.classes.tolist() == [100.0, 500.0, 1500.0]
    assert found.frequency[3] == 0.0


def test_tasks_and_workers_do_not_change_a_bit(apart, client, monkeypatch):
    import mgdask.studies.temperature.classes as room

    one = representative_classes(apart, client=client, progress=False, **OPTIONS).to_json()
    with threads_client(2, default=False) as threads:
        for rows in (1, 300):
            monkeypatch.setattr(room, "TASK_ROWS", rows)
            found = representative_classes(apart, client=threads, progress=False, **OPTIONS)
            assert found.to_json() == one
    back = ClusterStatistics.from_json(json.loads(json.dumps(one)))
    assert back.to_json() == one
    assert back.count.dtype.kind == "i"


def test_subsets_are_a_random_partition():
    subset = subset_of_row(1003, 4, 5)
    assert sorted(np.bincount(subset)) == [250, 251, 251, 251]
    assert not np.array_equal(subset, subset_of_row(1003, 4, 6))
    # a run of rows is spread over all subsets
    assert np.bincount(subset[:200], minlength=4).min() > 20


def test_given_classes(apart, client):
    found = representative_classes(
        apart, classes=(901.0, 100.0), client=client, progress=False, **OPTIONS
    )
    assert found.given
    assert found.classes.tolist() == [100.0, 900.0]
    assert found.by_rule.tolist() == [100.0, 500.0, 900.0, 1500.0]


def test_refusals(apart, client):
    one = ArrayRows(apart.x, np.full(600, 300.0))
    unknown = ArrayRows(apart.x, np.where(np.arange(600) == 5, np.nan, apart.temperature))
    for rows, options, words in (
        (apart, {"classes": (100.0, 700.0)}, "700 K, but no training run .* 100, 300, 500"),
        (apart, {"classes": (100.0, 100.5)}, "at least two different temperatures"),
        (apart, {"cutoff": 0.0}, "linkage_cutoff=0.0 above 0"),
        (apart, {"subset_rows": 1}, "subset_rows=1"),
        (apart, {"seed": -1}, "seed=-1"),
        (apart, {"linkage": "ward"}, "'ward'; choose one of single, average"),
        (one, {}, "all training rows are at 300 K"),
        (unknown, {}, "no temperature; add it with mgdask attach"),
    ):
        with pytest.raises(ParameterError, match=words):
            representative_classes(rows, client=client, progress=False, **{**OPTIONS, **options})
