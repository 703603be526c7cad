"""The ceiling of the AUC against closed forms and simulated runs of known propensity."""

from __future__ import annotations

import doctest
import json
import math

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.stats import beta, norm
from sklearn.metrics import roc_auc_score

from mgdask.errors import ParameterError
from mgdask.learn.evaluation import ceiling
from mgdask.learn.evaluation.ceiling import (
    beta_auc,
    beta_of_moments,
    extrapolated_auc,
    noise_ceiling,
)


def test_examples():
    given = {"np": np, "ndtr": ceiling.ndtr}
    assert doctest.testmod(ceiling, extraglobs=given).failed == 0


@pytest.mark.parametrize(("a", "b"), [(1.0, 9.0), (1.3, 6.0), (3.0, 2.0)])
def test_auc_of_beta_is_the_double_integral(a, b):
    f = beta(a, b).pdf
    mean = a / (a + b)
    wins = dblquad(lambda y, x: x * f(x) * (1 - y) * f(y), 0, 1, 0, lambda x: x, epsabs=1e-5)[0]
    assert beta_auc(a, b) == pytest.approx(wins / (mean * (1 - mean)), abs=2e-4)
    second = beta(a, b).moment(2)
    assert beta_of_moments(mean, second) == pytest.approx((a, b), rel=1e-9)


def test_limits_of_beta():
    assert beta_auc(*beta_of_moments(0.1, 0.01)) == 0.5
    assert beta_auc(*beta_of_moments(0.1, 0.0999)) > 0.999
    assert math.isnan(beta_of_moments(0.1, 0.11)[0])


def test_beta_propensity_is_found_from_labels(rng):
    propensity = rng.beta(0.5, 6.0, 40_000)
    runs = rng.random((5, 40_000)) < propensity
    truth = roc_auc_score(rng.random(40_000) < propensity, propensity)
    got = noise_ceiling(runs, n_resamples=40, seed=2)
    assert got.beta_ceiling.value == pytest.approx(truth, abs=0.015)
    assert got.beta_ceiling.low < beta_auc(0.5, 6.0) < got.beta_ceiling.high
    assert got.share == pytest.approx(runs.mean(), abs=1e-15)
    rising = [one.value for one in got.auc]
    assert rising == sorted(rising)
    assert rising[-1] < got.beta_ceiling.value
    one = np.mean([roc_auc_score(runs[a], runs[b]) for a in range(5) for b in range(5) if a != b])
    assert rising[0] == pytest.approx(one, abs=1e-12)
    rest = [roc_auc_score(runs[a], np.delete(runs, a, 0).mean(axis=0)) for a in range(5)]
    assert rising[-1] == pytest.approx(np.mean(rest), abs=1e-12)


@pytest.mark.parametrize("noise", [pytest.param(0.7, marks=pytest.mark.slow), 1.5])
def test_ceiling_of_noisy_values_is_that_of_the_propensity(rng, noise):
    # value = structure + noise, plastic above a threshold: the propensity is known
    structure = rng.normal(size=40_000)
    value = structure + noise * rng.normal(size=(5, 40_000))
    runs = value > 2.0
    propensity = norm.cdf((structure - 2.0) / noise)
    truth = np.mean([roc_auc_score(run, propensity) for run in runs])
    got = noise_ceiling(runs, value, n_resamples=20, seed=2)
    assert got.ceiling is not None
    assert got.ceiling.value == pytest.approx(truth, abs=0.01)
    assert got.auc[-1].value < truth + 0.003
    # labels alone say less, and the propensity is not beta distributed
    assert got.beta_ceiling.value == pytest.approx(truth, abs=0.03)


def test_two_runs_have_no_extrapolation_by_m(rng):
    runs = rng.random((2, 500)) < rng.beta(1, 4, 500)
    got = noise_ceiling(runs, n_resamples=20)
    assert got.ceiling is None
    assert len(got.auc) == 1
    assert 0.5 < got.auc[0].value < got.beta_ceiling.value
    json.dumps(got.as_dict(), allow_nan=False)


def test_labels_without_structure_have_no_ceiling_above_one_half(rng):
    got = noise_ceiling(rng.random((4, 20_000)) < 0.1, n_resamples=20)
    assert all(abs(one.value - 0.5) < 0.01 for one in got.auc)
    assert got.beta_ceiling.value < 0.56


def test_extrapolation_is_exact_for_normal_scores():
    z = 0.9 / np.sqrt(0.5 + 1.7 / np.arange(1, 6))
    assert extrapolated_auc(norm.cdf(z)) == pytest.approx(norm.cdf(0.9 / math.sqrt(0.5)))
    assert math.isnan(extrapolated_auc([0.7]))
    assert math.isnan(extrapolated_auc([0.4, 0.6]))


def test_groups_and_bits(rng):
    propensity = np.repeat(rng.beta(0.2, 0.8, 40), 50)  # all rows of a group alike
    runs = rng.random((3, 2000)) < propensity
    group = np.repeat(np.arange(40), 50)
    rows = noise_ceiling(runs, n_resamples=100, seed=4)
    groups = noise_ceiling(runs, groups=group, n_resamples=100, seed=4)
    assert rows.auc[0].value == groups.auc[0].value
    assert groups.auc[0].high - groups.auc[0].low > 1.5 * (rows.auc[0].high - rows.auc[0].low)
    again = noise_ceiling(runs, groups=group, n_resamples=100, seed=4)
    assert groups.as_dict() == again.as_dict()


def test_refusals_in_words():
    for labels, values, words in (
        (np.ones(4), None, "2 to 10 runs"),
        (np.ones((1, 4)), None, "2 to 10 runs"),
        (np.ones((2, 4)), None, "one class only"),
        (np.eye(2), np.ones((2, 3)), r"shape \(2, 2\) of labels"),
    ):
        with pytest.raises(ParameterError, match=words):
            noise_ceiling(labels, values)
