"""Metrics against scikit-learn and closed forms; coverage of the intervals, bits by seed, refusals in words."""

from __future__ import annotations

import doctest
import json
import math
import time

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from sklearn import calibration
from sklearn import metrics as theirs

from mgdask.errors import ParameterError
from mgdask.learn.evaluation import bootstrap as intervals
from mgdask.learn.evaluation import calibration as calibrated
from mgdask.learn.evaluation import metrics, single_models
from mgdask.learn.evaluation.bootstrap import bootstrap
from mgdask.learn.evaluation.calibration import (
    calibration_curve,
    corrected_probability,
    wilson_interval,
)
from mgdask.learn.evaluation.metrics import (
    METRICS,
    average_precision,
    baseline_scores,
    precision,
    prepare,
    r2,
    recall,
    rmse,
    roc_auc,
)
from mgdask.learn.evaluation.single_models import single_model_scores


def test_examples():
    for module in (metrics, intervals, calibrated, single_models):
        assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def drawn(rng, n=2000, ties=True):
    y = (rng.random(n) < 0.2).astype(int)
    s = y + rng.normal(size=n)
    return y, np.round(s, 1) if ties else s


@pytest.mark.parametrize("ties", [False, True])
def test_values_are_those_of_scikit_learn(rng, ties):
    y, s = drawn(rng, ties=ties)
    for w in (None, rng.integers(0, 4, len(y)).astype(float), rng.random(len(y))):
        given = {"sample_weight": w}
        assert roc_auc(y, s, w) == pytest.approx(theirs.roc_auc_score(y, s, **given), abs=1e-12)
        assert average_precision(y, s, w) == pytest.approx(
            theirs.average_precision_score(y, s, **given), abs=1e-12
        )
        assert recall(y, s, 0.3, w) == pytest.approx(
            theirs.recall_score(y, s > 0.3, **given), abs=1e-12
        )
        assert precision(y, s, 0.3, w) == pytest.approx(
            theirs.precision_score(y, s > 0.3, **given), abs=1e-12
        )
        assert rmse(y, s, w) == pytest.approx(
            math.sqrt(theirs.mean_squared_error(y, s, **given)), rel=1e-12
        )
        assert r2(y + 1e6, s + 1e6, w) == pytest.approx(theirs.r2_score(y, s, **given), rel=1e-9)


def test_a_score_at_the_threshold_does_not_count():
    # Wang & Jain 2019, Fig. 2: "the fraction of atoms predicted as plastic (QS > 0.5)"
    y, qs = [1, 1, 1, 1, 0, 0], [0.5, 0.5, 0.6, 0.4, 0.5, 0.7]
    assert recall(y, qs) == 0.25
    assert precision(y, qs) == 0.5
    assert bootstrap("recall", y, qs, n_resamples=20).value == 0.25


def test_closed_forms():
    assert roc_auc([0, 1], [0.0, 1.0]) == 1.0
    assert roc_auc([0, 1], [1.0, 1.0]) == 0.5
    assert roc_auc([True, False, False], [2, 1, 3]) == 0.5
    assert average_precision([0, 1, 0, 0], [1.0] * 4) == 0.25
    assert math.isnan(precision([0, 1], [0.1, 0.2]))
    assert math.isnan(r2([2.0, 2.0], [1.0, 2.0]))
    assert r2([1.0, 3.0], [2.0, 2.0]) == 0.0


@pytest.mark.parametrize("metric", METRICS)
def test_sums_by_group_are_those_of_weighted_rows(rng, metric):
    y, s = drawn(rng)
    group = rng.integers(0, 7, len(y))
    counts = rng.multinomial(7, np.full(7, 1 / 7), size=30).astype(float)
    ready = prepare(metric, y, s, 0.3)
    by_rows = [ready.value(c[group]) for c in counts]
    np.testing.assert_allclose(ready.resampled(group, counts), by_rows, rtol=1e-10)


def test_interval_of_rows_has_the_known_width(rng):
    y = np.repeat([0, 1], 500)
    s = y * (rng.random(1000) < 0.7).astype(float)
    got = bootstrap("recall", y, s, n_resamples=2000, seed=3)
    p = got.value
    assert (got.high - got.low) / 2 == pytest.approx(1.96 * math.sqrt(p * (1 - p) / 500), rel=0.06)
    assert got.reliable
    assert got.resampled == "rows"


@pytest.mark.parametrize(("metric", "truth"), [("roc_auc", 0.76025), ("rmse", math.sqrt(1.0))])
def test_intervals_of_rows_cover(metric, truth):
    hit = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        y = (rng.random(250) < 0.4).astype(int)
        s = y + rng.normal(size=250)
        got = bootstrap(metric, y, s, n_resamples=200, seed=seed)
        hit += got.low <= truth <= got.high
    assert 0.90 <= hit / 120 <= 0.985


def test_intervals_by_group_cover_where_those_of_rows_do_not():
    hit = {"groups": 0, "rows": 0}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(30), 40)
        y = rng.normal(size=1200)
        s = y + rng.normal(size=30)[group] + 0.1 * rng.normal(size=1200)  # the error is the group's
        for how, given in (("groups", group), ("rows", None)):
            got = bootstrap("rmse", y, s, given, n_resamples=200, seed=seed)
            hit[how] += got.low <= math.sqrt(1.01) <= got.high
    assert hit["groups"] / 100 > 0.86
    assert hit["rows"] / 100 < 0.5


def test_few_groups_are_said(rng):
    y, s = drawn(rng)
    got = bootstrap("roc_auc", y, s, rng.integers(0, 3, len(y)), n_resamples=200, seed=1)
    assert not got.reliable
    assert "3 groups are too few" in got.note
    assert got.resampled == "groups and rows"
    assert "unreliable" in str(got)
    assert got.low < got.value < got.high
    one = bootstrap("roc_auc", y, s, np.zeros(len(y)), n_resamples=200, seed=1)
    assert one.low < one.value < one.high
    assert not one.reliable
    assert bootstrap("roc_auc", y, s, np.arange(len(y)) % 5, n_resamples=200).reliable
    json.dumps(got.as_dict(), allow_nan=False)


def test_resamples_without_a_class_are_counted():
    y, group = np.array([1, 0, 0, 0, 0, 0]), np.arange(6)
    got = bootstrap("roc_auc", y, [0.9, 0.1, 0.2, 0.3, 0.4, 0.5], group, n_resamples=400, seed=1)
    count = got.n_undefined
    assert abs(count / 400 - (5 / 6) ** 6 - (1 / 6) ** 6) < 0.1
    assert not got.reliable


def test_bits_by_seed_and_callables(rng):
    y, s = drawn(rng)
    group = rng.integers(0, 12, len(y))
    for given in (None, group, group % 3):
        first = bootstrap("roc_auc", y, s, given, n_resamples=50, seed=7)
        assert first == bootstrap("roc_auc", y, s, given, n_resamples=50, seed=7)
        assert first != bootstrap("roc_auc", y, s, given, n_resamples=50, seed=8)
        own = bootstrap(
            lambda y, s, w: theirs.roc_auc_score(y, s, sample_weight=w),
            y,
            s,
            given,
            n_resamples=50,
            seed=7,
        )
        assert (own.value, own.low, own.high) == pytest.approx(
            (first.value, first.low, first.high), abs=1e-12
        )


def test_a_million_rows_by_group_take_seconds():
    rng = np.random.default_rng(0)
    y = (rng.random(10**6) < 0.05).astype(int)
    start = time.perf_counter()
    got = bootstrap(
        "roc_auc",
        y,
        y + rng.normal(size=10**6),
        rng.integers(0, 20, 10**6),
        n_resamples=1000,
        seed=1,
    )
    assert time.perf_counter() - start < 10
    assert got.low < got.value < got.high


def test_calibration_is_that_of_scikit_learn(rng):
    p = rng.random(5000)
    y = (rng.random(5000) < p**2).astype(int)
    for strategy in ("uniform", "quantile"):
        got = calibration_curve(y, p, bins=8, strategy=strategy, n_resamples=100)
        observed, predicted = calibration.calibration_curve(y, p, n_bins=8, strategy=strategy)
        np.testing.assert_allclose(got.observed, observed, atol=2e-3)
        np.testing.assert_allclose(got.predicted, predicted, atol=2e-3)
        assert (got.low < got.observed).all()
        assert (got.observed < got.high).all()
    assert got.expected_error == pytest.approx(1 / 6, abs=0.02)
    group = rng.integers(0, 9, 5000)
    by_group = calibration_curve(y, p, group, bins=8, n_resamples=100, seed=2)
    assert (by_group.low < by_group.high).all()
    assert not calibration_curve(y, p, group % 2, n_resamples=50).reliable
    empty = calibration_curve([0, 1], [0.05, 0.95], bins=4, n_resamples=50)
    assert np.isnan(empty.observed).tolist() == [False, True, True, False]
    assert calibration_curve(
        [1, 1], [0.3, 0.3], strategy="quantile", n_resamples=50
    ).observed.tolist() == [1.0]


def test_wilson_interval_is_that_of_scipy():
    for level in (0.68, 0.95):
        for k, n in ((0, 7), (3, 7), (7, 7), (1, 1), (40, 900)):
            theirs = binomtest(k, n).proportion_ci(level, method="wilson")
            assert wilson_interval(k, n, level) == pytest.approx(theirs, abs=1e-12)
    assert np.isnan(wilson_interval([0], [0])).all()


def test_calibration_with_wilson_intervals(rng):
    p = rng.random(400)
    y = rng.random(400) < p
    got = calibration_curve(y, p, bins=5, interval="wilson")
    for b in range(5):
        inside = (p >= got.edges[b]) & (p < got.edges[b + 1])
        theirs = binomtest(int(y[inside].sum()), int(inside.sum())).proportion_ci(method="wilson")
        assert (got.low[b], got.high[b]) == pytest.approx(theirs, abs=1e-12)
    assert got.reliable
    sure = calibration_curve([0, 0, 0, 1], [0.1, 0.1, 0.1, 0.9], bins=2, interval="wilson")
    assert sure.low[0] == 0.0 < sure.high[0]


def test_corrected_probability_is_that_of_the_population(rng):
    # two normal distributions: the posterior is known for every share of positive rows
    share, x = 0.06, np.linspace(-4, 5, 200)
    above, below = norm.pdf(x, loc=1.0), norm.pdf(x)
    for training in (0.5, 0.3):
        learned = training * above / (training * above + (1 - training) * below)
        truth = share * above / (share * above + (1 - share) * below)
        got = corrected_probability(learned, share, training_share=training)
        np.testing.assert_allclose(got, truth, rtol=1e-12)
    # Wang & Jain 2019, Fig. 3b: QS = 0.5 is a plastic likelihood of the overall fraction
    assert corrected_probability(0.5, share) == pytest.approx(share)
    assert np.array_equal(corrected_probability(x[100:] / 5, 0.5), x[100:] / 5)
    y = rng.random(40_000) < share
    z = rng.normal(size=40_000) + y
    qs = 1.0 / (1.0 + np.exp(0.5 - z))  # what balanced classes teach
    options = {"strategy": "quantile", "interval": "wilson", "level": 0.999}
    after = calibration_curve(y, corrected_probability(qs, share), **options)
    assert ((after.low <= after.predicted) & (after.predicted <= after.high)).all()
    assert after.expected_error < 0.005
    assert calibration_curve(y, qs, **options).expected_error > 0.3


def test_single_models_beside_their_mean(rng):
    y = rng.random(3000) < 0.2
    scores = y + 1.5 * rng.normal(size=(6, 3000))  # independent errors: the mean is better
    region = rng.integers(0, 15, 3000)
    got = single_model_scores("roc_auc", y, scores, region, n_resamples=200, seed=3)
    each = [theirs.roc_auc_score(y, s) for s in scores]
    np.testing.assert_allclose(got.each, each, atol=1e-12)
    assert got.mean == pytest.approx(np.mean(each), abs=1e-12)
    assert got.deviation == pytest.approx(np.std(each, ddof=1), abs=1e-12)
    # means 0 and 1, deviation 1.5 of one model and 1.5/sqrt(6) of six
    assert got.mean == pytest.approx(norm.cdf(1 / (1.5 * math.sqrt(2))), abs=0.02)
    assert got.ensemble.value == pytest.approx(norm.cdf(math.sqrt(3) / 1.5), abs=0.02)
    assert got.ensemble == bootstrap(
        "roc_auc", y, scores.sum(axis=0) / 6, region, n_resamples=200, seed=3
    )
    assert got.gain.value == pytest.approx(got.ensemble.value - got.mean)
    assert 0 < got.gain.low < got.gain.value < got.gain.high
    assert "of 6 single models" in str(got)
    json.dumps(got.as_dict(), allow_nan=False)
    alone = single_model_scores("recall", y, scores[:1], n_resamples=20)
    assert alone.as_dict()["deviation"] is None
    assert alone.gain.value == pytest.approx(0.0, abs=1e-15)


def test_calibration_keeps_its_old_place():
    with pytest.warns(FutureWarning, match="evaluation.calibration.calibration_curve since"):
        old = intervals.calibration_curve
    assert old is calibration_curve


def test_calibration_covers():
    hit = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        p = rng.random(1000)
        got = calibration_curve(rng.random(1000) < p, p, bins=5, n_resamples=200, seed=seed)
        hit.append((got.low <= got.predicted) & (got.predicted <= got.high))
    assert 0.9 < np.mean(hit) < 0.98


def test_baselines(rng):
    y, _ = drawn(rng, 20000)
    scores = baseline_scores(y, len(y), seed=1)
    auc = {k: roc_auc(y, s) for k, s in scores.items()}
    assert auc["most_frequent"] == auc["minority"] == 0.5
    assert auc["random"] == pytest.approx(0.5, abs=0.02)
    assert [recall(y, scores[k]) for k in ("most_frequent", "minority")] == [0.0, 1.0]
    assert recall(y, scores["random"]) == pytest.approx(0.5, abs=0.03)
    assert np.array_equal(scores["random"], baseline_scores(y, len(y), seed=1)["random"])
    assert baseline_scores(1 - y, 1, 0)["most_frequent"] == 1.0


def test_refusals_in_words():
    for call, words in (
        (lambda: roc_auc([1, 1], [0.1, 0.2]), "one class only"),
        (lambda: roc_auc([1, 2], [0.1, 0.2]), "0 and 1 only"),
        (lambda: roc_auc([0, 1], [0.1, np.nan]), r"score\[1\] is nan"),
        (lambda: roc_auc([0, 1, 1], [0.1, 0.2]), "3 rows, but 2"),
        (lambda: roc_auc([0, 1], [0.1, 0.2], [1, -1]), "below 0"),
        (lambda: rmse([np.nan, 1], [0.1, 0.2]), r"y\[0\] is nan"),
        (lambda: bootstrap("auc", [0, 1], [0.1, 0.2]), "choose one of roc_auc"),
        (lambda: bootstrap("roc_auc", [0, 1], [0.1, 0.2], n_resamples=3), "at least 20"),
        (lambda: bootstrap("roc_auc", [0, 1], [0.1, 0.2], level=95), "between 0 and 1"),
        (lambda: bootstrap("roc_auc", [0, 1], [0.1, 0.2], ["a"]), "groups has 1 rows"),
        (lambda: calibration_curve([0, 1], [0.1, 1.2]), "must lie in"),
        (lambda: calibration_curve([0, 1], [0.1, 0.2], strategy="x"), "'uniform' or 'quantile'"),
        (lambda: calibration_curve([0, 1], [0.1, 0.2], interval="x"), ".bootstrap. or .wilson."),
        (
            lambda: calibration_curve([0, 1], [0.1, 0.2], [0, 1], interval="wilson"),
            "it cannot use groups",
        ),
        (lambda: wilson_interval(3, 2), "0 <= positive <= count"),
        (lambda: corrected_probability([1.2], 0.1), "must lie in"),
        (lambda: corrected_probability([0.2], 0.0), "share=0.0"),
        (lambda: single_model_scores("roc_auc", [0, 1], np.ones((0, 2))), "scores is empty"),
    ):
        with pytest.raises(ParameterError, match=words):
            call()
