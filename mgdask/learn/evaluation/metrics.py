"""Metrics of ranking, of decisions at a threshold and of regression, and baselines.

A metric first prepares the rows, for example by sorting them. It can then be evaluated
for any weights of the rows, which the intervals of
``mgdask.learn.evaluation.bootstrap`` need. scikit-learn's functions give the same
values but sort in every call. With a million rows and a thousand resamples, that takes
minutes instead of seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import binary, generator, vector


class Prepared(Protocol):
    """Rows prepared for a metric."""

    def value(self, weight: FloatArray) -> FloatArray:
        """Return the metric for weights of the rows, shape (row,)."""
        ...

    def resampled(self, group: IntArray, counts: FloatArray) -> FloatArray:
        """Return the metric of each resample.

        Parameters
        ----------
        group
            Group of each row, shape (row,).
        counts
            How often each group is drawn, shape (resample, group).

        Returns
        -------
        values
            Shape (resample,).
        """
        ...


def _one_by_one(prepared: Prepared, group: IntArray, counts: FloatArray) -> FloatArray:
    return np.array([prepared.value(row[group]) for row in counts])


@dataclass(frozen=True, eq=False)
class Sums:
    """A metric that is a function of sums over rows.

    Parameters
    ----------
    terms
        Summands of each row, shape (term, row).
    finish
        Function of the sums, shape (..., term), that returns the metric, shape (...).
    """

    terms: FloatArray
    finish: Callable[[FloatArray], FloatArray]

    def value(self, weight: FloatArray) -> FloatArray:
        """Return the metric for weights of the rows, shape (row,)."""
        return self.finish(self.terms @ weight)

    def resampled(self, group: IntArray, counts: FloatArray) -> FloatArray:
        """Return the metric of each resample, shape (resample,)."""
        each = [np.bincount(group, weights=term, minlength=counts.shape[1]) for term in self.terms]
        return self.finish(counts @ np.stack(each, axis=1))


class Ranks:
    """Area under the ROC curve by ranks.

    For each positive row, the weights of the negative rows below it are summed. Ties
    count half.

    Parameters
    ----------
    positive
        True for rows of the positive class, shape (row,).
    score
        Score of each row, shape (row,).
    """

    def __init__(self, positive: BoolArray, score: FloatArray) -> None:
        self._negative, self._positive = np.flatnonzero(~positive), np.flatnonzero(positive)
        self._negative = self._negative[np.argsort(score[self._negative], kind="stable")]
        self._positive = self._positive[np.argsort(score[self._positive], kind="stable")]
        below = score[self._negative]
        self._low = np.searchsorted(below, score[self._positive], side="left")
        self._high = np.searchsorted(below, score[self._positive], side="right")

    def _below(self, weight: FloatArray) -> FloatArray:
        sums = np.concatenate(([0.0], np.cumsum(weight)))
        return 0.5 * (sums[self._low] + sums[self._high])

    def value(self, weight: FloatArray) -> FloatArray:
        """Return the metric for weights of the rows, shape (row,)."""
        negative, positive = weight[self._negative], weight[self._positive]
        return _ratio(positive @ self._below(negative), positive.sum() * negative.sum())

    def resampled(self, group: IntArray, counts: FloatArray) -> FloatArray:
        """Return the metric of each resample, shape (resample,)."""
        number = counts.shape[1]
        if number > len(counts):
            return _one_by_one(self, group, counts)
        # wins of the positive rows of group a over the negative rows of group b:
        # computed once for all resamples
        upper, lower = group[self._positive], group[self._negative]
        wins = np.empty((number, number))
        for b in range(number):
            wins[:, b] = np.bincount(
                upper, weights=self._below((lower == b).astype(np.float64)), minlength=number
            )
        pairs = (counts @ np.bincount(upper, minlength=number)) * (
            counts @ np.bincount(lower, minlength=number)
        )
        return _ratio(np.einsum("ra,ab,rb->r", counts, wins, counts, optimize=True), pairs)


class Steps:
    """Average precision by sorting.

    The precision at each score is weighted by the recall that the score adds, from the
    highest score down.

    Parameters
    ----------
    positive
        True for rows of the positive class, shape (row,).
    score
        Score of each row, shape (row,).
    """

    def __init__(self, positive: BoolArray, score: FloatArray) -> None:
        self._order = np.argsort(-score, kind="stable")
        falling = score[self._order]
        self._ends = np.flatnonzero(np.concatenate((falling[1:] != falling[:-1], [True])))
        self._positive = positive[self._order]

    def value(self, weight: FloatArray) -> FloatArray:
        """Return the metric for weights of the rows, shape (row,)."""
        w = weight[self._order]
        true_positive = np.cumsum(w * self._positive)[self._ends]
        precision = true_positive / np.maximum(np.cumsum(w)[self._ends], np.finfo(np.float64).tiny)
        return _ratio(np.diff(true_positive, prepend=0.0) @ precision, true_positive[-1])

    def resampled(self, group: IntArray, counts: FloatArray) -> FloatArray:
        """Return the metric of each resample, shape (resample,)."""
        return _one_by_one(self, group, counts)


def _ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> FloatArray:
    """Divide; NaN if the denominator is 0, as in a resample without such rows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            np.where(np.asarray(denominator) > 0, np.divide(numerator, denominator), np.nan),
            dtype=np.float64,
        )


def _recall(y: npt.ArrayLike, score: FloatArray, threshold: float) -> Prepared:
    positive = binary("y", y, len(score))
    return Sums(np.array([positive & (score > threshold), positive], dtype=np.float64), _share)


def _precision(y: npt.ArrayLike, score: FloatArray, threshold: float) -> Prepared:
    positive, predicted = binary("y", y, len(score)), score > threshold
    return Sums(np.array([positive & predicted, predicted], dtype=np.float64), _share)


def _share(s: FloatArray) -> FloatArray:
    return _ratio(s[..., 0], s[..., 1])


def _rmse(y: npt.ArrayLike, score: FloatArray, threshold: float) -> Prepared:
    error = vector("y", y, len(score)) - score
    return Sums(np.array([error**2, np.ones_like(error)]), lambda s: np.sqrt(_share(s)))


def _r2(y: npt.ArrayLike, score: FloatArray, threshold: float) -> Prepared:
    true = vector("y", y, len(score))
    centered = true - true.mean()  # so that the sum of squares loses no digits

    def finish(s: FloatArray) -> FloatArray:
        return np.asarray(1.0 - _ratio(s[..., 0], s[..., 1] - _ratio(s[..., 2] ** 2, s[..., 3])))

    return Sums(np.array([(true - score) ** 2, centered**2, centered, np.ones_like(true)]), finish)


_PREPARE: dict[str, Callable[[npt.ArrayLike, FloatArray, float], Prepared]] = {
    "roc_auc": lambda y, score, threshold: Ranks(binary("y", y, len(score)), score),
    "average_precision": lambda y, score, threshold: Steps(binary("y", y, len(score)), score),
    "recall": _recall,
    "precision": _precision,
    "rmse": _rmse,
    "r2": _r2,
}
METRICS = tuple(_PREPARE)
"""Names of the metrics that ``bootstrap`` and other functions accept."""
LOSSES = ("rmse",)
"""Metrics that are better when smaller."""


def prepare(
    metric: str, y: npt.ArrayLike, score: npt.ArrayLike, threshold: float = 0.5
) -> Prepared:
    """Check the rows and prepare them for a metric.

    Parameters
    ----------
    metric
        One of ``METRICS``.
    y
        Labels or target values, shape (row,).
    score
        Scores, shape (row,).
    threshold
        Rows strictly above this score count as positive, for recall and precision.

    Raises
    ------
    ParameterError
        If the metric is unknown, or the arrays do not suit it.
    """
    if metric not in _PREPARE:
        raise ParameterError(
            f"metric={metric!r} is not known; choose one of {', '.join(METRICS)}, or "
            "give a callable"
        )
    return _PREPARE[metric](y, vector("score", score), threshold)


def _evaluate(
    metric: str,
    y: npt.ArrayLike,
    score: npt.ArrayLike,
    weights: npt.ArrayLike | None,
    threshold: float = 0.5,
) -> float:
    prepared = prepare(metric, y, score, threshold)
    rows = len(np.asarray(score))
    weight = np.ones(rows) if weights is None else vector("weights", weights, rows)
    if (weight < 0).any():
        raise ParameterError(
            f"weights has {int((weight < 0).sum())} values below 0; weights must be 0 or above"
        )
    return float(prepared.value(weight))


def roc_auc(y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Compute the area under the receiver operating characteristic.

    It is the probability that a positive row scores above a negative one::

        AUC = sum_(i pos, j neg) w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / (W_pos W_neg)

    Parameters
    ----------
    y
        Labels 0 and 1, shape (row,).
    score
        Finite scores, shape (row,).
    weights
        Weights, 0 or above, shape (row,). Default: 1.

    Returns
    -------
    auc
        Between 0 and 1. Scores without information give 1/2. NaN if all rows of a class
        have weight 0.

    Raises
    ------
    ParameterError
        If there is only one class, a value is NaN, or lengths differ.

    Notes
    -----
    Computed by ranks in n log n. scikit-learn's roc_auc_score gives the same value.

    References
    ----------
    Mann and Whitney, Ann. Math. Stat. 18, 50 (1947).

    Examples
    --------
    >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return _evaluate("roc_auc", y, score, weights)


def average_precision(
    y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Compute the area under the steps of precision over recall.

    With the distinct scores t in decreasing order::

        AP = sum_t (R_t - R_(t-1)) P_t

    Parameters
    ----------
    y
        Labels 0 and 1, shape (row,).
    score
        Finite scores, shape (row,).
    weights
        Weights, 0 or above, shape (row,). Default: 1.

    Returns
    -------
    ap
        Between 0 and 1. Scores without information give the share of positive rows.

    Raises
    ------
    ParameterError
        If there is only one class, a value is NaN, or lengths differ.

    Notes
    -----
    scikit-learn's average_precision_score gives the same value.

    Examples
    --------
    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return _evaluate("average_precision", y, score, weights)


def recall(
    y: npt.ArrayLike,
    score: npt.ArrayLike,
    threshold: float = 0.5,
    weights: npt.ArrayLike | None = None,
) -> float:
    """Compute the share of the positive rows that score above a threshold.

    ::

        R = TP / (TP + FN)

    Parameters
    ----------
    y
        Labels 0 and 1, shape (row,).
    score
        Finite scores, shape (row,).
    threshold
        Rows strictly above this score count as positive.
    weights
        Weights, 0 or above, shape (row,). Default: 1.

    Raises
    ------
    ParameterError
        If there is only one class, a value is NaN, or lengths differ.

    Notes
    -----
    Recall is meaningful only together with precision, since a low enough threshold
    gives 1. A score equal to the threshold does not count: in the paper, atoms
    predicted as plastic have QS > 0.5. scikit-learn's recall_score of ``score >
    threshold`` gives the same value.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 2.

    Examples
    --------
    >>> recall([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.5
    >>> recall([0, 1], [0.1, 0.5], threshold=0.5)
    0.0
    """
    return _evaluate("recall", y, score, weights, threshold)


def precision(
    y: npt.ArrayLike,
    score: npt.ArrayLike,
    threshold: float = 0.5,
    weights: npt.ArrayLike | None = None,
) -> float:
    """Compute the share of positive rows among those above a threshold.

    ::

        P = TP / (TP + FP)

    Parameters
    ----------
    y
        Labels 0 and 1, shape (row,).
    score
        Finite scores, shape (row,).
    threshold
        Rows strictly above this score count as positive.
    weights
        Weights, 0 or above, shape (row,). Default: 1.

    Returns
    -------
    precision
        Between 0 and 1. NaN if no row is above the threshold.

    Raises
    ------
    ParameterError
        If there is only one class, a value is NaN, or lengths differ.

    Notes
    -----
    Precision depends on the share of positive rows. A score equal to the threshold does
    not count.

    Examples
    --------
    >>> precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], threshold=0.3)
    0.6666666666666666
    """
    return _evaluate("precision", y, score, weights, threshold)


def rmse(y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Compute the root of the mean squared error.

    ::

        RMSE = sqrt(sum w (y - s)^2 / sum w)

    Parameters
    ----------
    y
        Finite target values, shape (row,).
    score
        Finite predictions, shape (row,).
    weights
        Weights, 0 or above, shape (row,). Default: 1.

    Returns
    -------
    error
        In the unit of ``y``.

    Raises
    ------
    ParameterError
        If a value is NaN, or lengths differ.

    Examples
    --------
    >>> rmse([0.0, 0.0], [1.0, 7.0])
    5.0
    """
    return _evaluate("rmse", y, score, weights)


def r2(y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Compute the coefficient of determination.

    With the mean <y> of these rows, not of the training rows::

        R2 = 1 - sum w (y - s)^2 / sum w (y - <y>)^2

    Parameters
    ----------
    y
        Finite target values, shape (row,).
    score
        Finite predictions, shape (row,).
    weights
        Weights, 0 or above, shape (row,). Default: 1.

    Returns
    -------
    r2
        1 for exact predictions, 0 for the mean of ``y``, negative for worse ones. NaN
        if all ``y`` are equal.

    Raises
    ------
    ParameterError
        If a value is NaN, or lengths differ.

    Examples
    --------
    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    0.5
    """
    return _evaluate("r2", y, score, weights)


def baseline_scores(y_train: npt.ArrayLike, rows: int, seed: int) -> dict[str, FloatArray]:
    """Return the scores of three classifiers that use no column.

    They go through the same metrics and intervals as those of a model.

    Parameters
    ----------
    y_train
        Training labels 0 and 1, shape (row,). They decide which class is more frequent.
        In a tie, it is 0.
    rows
        Number of rows to score.
    seed
        Seed of the random scores.

    Returns
    -------
    scores
        ``random``, uniform in [0, 1), and the constants ``most_frequent`` and
        ``minority``, each of shape (rows,).

    Raises
    ------
    ParameterError
        If there is only one class.

    Notes
    -----
    The AUC of all three is 1/2, for ``random`` in expectation. At a threshold of 1/2,
    with 1 the rarer class, their recall is 1/2, 0 and 1.

    Examples
    --------
    >>> scores = baseline_scores([0, 0, 1], 2, seed=1)
    >>> scores["most_frequent"].tolist(), scores["minority"].tolist()
    ([0.0, 0.0], [1.0, 1.0])
    """
    frequent = float(2 * np.count_nonzero(binary("y_train", y_train)) > np.asarray(y_train).size)
    return {
        "random": generator(seed).random(rows),
        "most_frequent": np.full(rows, frequent),
        "minority": np.full(rows, 1.0 - frequent),
    }
