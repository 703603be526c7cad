"""Pearson correlation of many columns with one target, with intervals over groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import column_names, matrix, refuse_nan, vector
from mgdask.learn.evaluation.bootstrap import Interval, interval_of, resampled_metric


def correlations(x: npt.ArrayLike, y: npt.ArrayLike) -> FloatArray:
    """Compute Pearson's correlation of each column with the target.

        r = sum (x - <x>)(y - <y>) / sqrt(sum (x - <x>)^2 sum (y - <y>)^2)

    Parameters
    ----------
    x
        Columns, shape (row, column).
    y
        Target, shape (row,).

    Returns
    -------
    correlation
        Shape (column,). NaN for a column that is constant, or if the target is.

    Raises
    ------
    ParameterError
        If the arrays do not fit or have values that are not finite.

    Examples
    --------
    >>> correlations([[0.0, 3.0], [1.0, 2.0], [2.0, 1.0]], [5.0, 6.0, 7.0])
    array([ 1., -1.])
    """
    return _prepared(x, y).value(np.ones(len(np.asarray(y))))


def correlation_intervals(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Interval, ...]:
    """Compute Pearson's correlation of each column with bootstrap intervals.

    Parameters
    ----------
    x
        Columns, shape (row, column).
    y
        Target, shape (row,).
    groups
        Group of each row, text or numbers, shape (row,). Whole groups are drawn. By
        default rows are drawn.
    n_resamples
        Number of resamples, at least 20. All columns share them.
    seed
        Integer. The same seed gives the same bits.
    level
        Confidence level between 0 and 1.

    Returns
    -------
    intervals
        One per column, from ``bootstrap``. They hold for each column alone, and do not
        allow for the number of columns.

    Raises
    ------
    ParameterError
        If the arrays do not fit or an option is out of range.

    See Also
    --------
    mgdask.learn.evaluation.bootstrap.bootstrap : How groups are drawn.

    Examples
    --------
    >>> y = np.arange(60.0)
    >>> one = correlation_intervals(y[:, None] % 7, y, y // 10)[0]
    >>> one.low < one.value < one.high, one.groups
    (True, 6)
    """
    prepared = _prepared(x, y)
    n_rows = len(prepared.y)
    resamples, n_groups, resampled = resampled_metric(
        prepared, n_rows, groups, n_resamples, seed, level
    )
    values = prepared.value(np.ones(n_rows))
    return tuple(
        interval_of(float(value), resamples[:, k], n_groups, resampled, level)
        for k, value in enumerate(values)
    )


@dataclass(frozen=True, eq=False)
class _Pearson:
    """Centered columns (row, column) and target (row,)."""

    x: FloatArray
    y: FloatArray

    def value(self, weight: FloatArray) -> FloatArray:
        """Return the correlations (column,) for weights of the rows, shape (row,)."""
        x, y = self.x, self.y
        return _pearson(
            weight.sum(), weight @ x, weight @ y, weight @ x**2, weight @ y**2, (weight * y) @ x
        )

    def resampled(self, group: IntArray, counts: FloatArray) -> FloatArray:
        """Return the correlations (resample, column) for counts (resample, group)."""
        x, y = self.x, self.y
        member = (group == np.arange(counts.shape[1])[:, None]).astype(np.float64)
        size, sum_y, sum_yy = (counts @ (member @ part) for part in (np.ones_like(y), y, y**2))
        sum_x, sum_xx, sum_xy = (counts @ (member @ part) for part in (x, x**2, y[:, None] * x))
        return _pearson(size[:, None], sum_x, sum_y[:, None], sum_xx, sum_yy[:, None], sum_xy)


def _pearson(
    size: npt.ArrayLike,
    x: FloatArray,
    y: npt.ArrayLike,
    xx: FloatArray,
    yy: npt.ArrayLike,
    xy: FloatArray,
) -> FloatArray:
    """Correlation from sums over rows; NaN if a variance is rounding noise."""
    n, sum_y, sum_yy = (np.asarray(part, dtype=np.float64) for part in (size, y, yy))
    spread_x, spread_y = n * xx - x**2, n * sum_yy - sum_y**2
    noise = 1e-12
    defined = (spread_x > noise * n * xx) & (spread_y > noise * n * sum_yy)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (n * xy - x * sum_y) / np.sqrt(spread_x * spread_y)
    result: FloatArray = np.where(defined, np.clip(ratio, -1.0, 1.0), np.nan)
    return result


def _prepared(x: npt.ArrayLike, y: npt.ArrayLike) -> _Pearson:
    columns, target = np.asarray(matrix("x", x), dtype=np.float64), vector("y", y)
    if len(columns) != len(target):
        raise ParameterError(
            f"x has {len(columns)} rows and y has {len(target)}; give one target per row"
        )
    refuse_nan("x", columns, column_names(None, columns.shape[1]))
    centered = columns - columns.mean(axis=0)
    # the mean of equal numbers may differ from them by rounding
    centered[:, np.ptp(columns, axis=0) == 0.0] = 0.0
    return _Pearson(centered, target - target.mean() if np.ptp(target) else 0.0 * target)
