"""Pearson's correlation of columns: SciPy's values, and intervals equal to those of repeated rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mgdask.errors import ParameterError
from mgdask.learn.evaluation.correlation import correlation_intervals, correlations


def test_equal_to_scipy(rng):
    x, y = rng.normal(size=(40, 6)) + 1e3, rng.normal(size=40) - 1e4
    expected = [stats.pearsonr(column, y).statistic for column in x.T]
    np.testing.assert_allclose(correlations(x, y), expected, rtol=1e-10)


def test_closed_forms():
    y = np.array([-1.0, 0.0, 1.0])
    # (1, 0, 0) has covariance -1 / 3 with y, and variances 2 / 9 and 2 / 3
    x = np.column_stack([2.0 * y + 5.0, -y, [1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    np.testing.assert_allclose(correlations(x, y), [1.0, -1.0, -np.sqrt(3) / 2, 0.0], atol=1e-15)


def test_constant_columns_have_none(rng):
    x = np.column_stack([np.full(9, 0.1), rng.normal(size=9)])
    found = correlations(x, rng.normal(size=9))
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
    assert np.isnan(correlations(x, np.full(9, 0.3))).all()


def test_intervals_are_those_of_repeated_runs(rng):
    """The same draws as in ``resampled_metric``, but with rows copied and NumPy's corrcoef."""
    run = np.repeat(np.arange(6), 7)
    y = rng.normal(size=42) + run
    x = np.column_stack([y + rng.normal(size=42), rng.normal(size=42)])
    found = correlation_intervals(x, y, run, n_resamples=50, seed=3)
    counts = np.random.default_rng(3).multinomial(6, np.full(6, 1 / 6), size=50)
    values = []
    for count in counts:
        rows = np.concatenate([np.flatnonzero(run == k) for k in range(6) for _ in range(count[k])])
        values.append([np.corrcoef(x[rows, c], y[rows])[0, 1] for c in range(2)])
    low, high = np.quantile(values, [0.025, 0.975], axis=0)
    np.testing.assert_allclose([one.low for one in found], low, rtol=1e-10)
    np.testing.assert_allclose([one.high for one in found], high, rtol=1e-10)
    assert found[0].groups == 6
    assert found[0].reliable


def test_few_runs_are_unreliable(rng):
    y = rng.normal(size=30)
    (found,) = correlation_intervals(y[:, None] ** 2, y, np.repeat(["a", "b"], 15), n_resamples=20)
    assert not found.reliable
    assert found.resampled == "groups and rows"


def test_rows_must_fit():
    with pytest.raises(ParameterError, match="x has 3 rows and y has 2"):
        correlations(np.eye(3), [0.0, 1.0])
    with pytest.raises(ParameterError, match=r"x is nan in column '1', row 0"):
        correlations([[0.0, np.nan], [1.0, 1.0]], [0.0, 1.0])
