"""How good a score is: ranking, decisions at a threshold, calibration, regression; baselines to hold it against.

Each metric prepares rows once (sorts them, say) and is then evaluated for any weights of the rows, which is what the
intervals of ``mgdask.learn.evaluation.bootstrap`` are made of. scikit-learn's functions give the same values, but sort the rows
again at each call, which at a million rows and a thousand resamples is minutes in place of seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import Float, Integer, binary, generator, vector


class Prepared(Protocol):
    """Rows made ready: the metric for weights (row,), and for many counts of groups (resample, group)."""

    def value(self, weight: Float) -> Float: ...

    def resampled(self, group: Integer, counts: Float) -> Float: ...


def _looped(prepared: Prepared, group: Integer, counts: Float) -> Float:
    return np.array([prepared.value(row[group]) for row in counts])


@dataclass(frozen=True, eq=False)
class Sums:
    """A metric that is a function of sums over rows: ``terms`` (term, row), ``finish`` of sums (..., term)."""

    terms: Float
    finish: Callable[[Float], Float]

    def value(self, weight: Float) -> Float:
        return self.finish(self.terms @ weight)

    def resampled(self, group: Integer, counts: Float) -> Float:
        each = [np.bincount(group, weights=term, minlength=counts.shape[1]) for term in self.terms]
        return self.finish(counts @ np.stack(each, axis=1))


class Ranks:
    """Area under the ROC curve: for each positive row the weight of the negative rows below it, ties half."""

    def __init__(self, positive: npt.NDArray[np.bool_], score: Float) -> None:
        self._negative, self._positive = np.flatnonzero(~positive), np.flatnonzero(positive)
        self._negative = self._negative[np.argsort(score[self._negative], kind="stable")]
        self._positive = self._positive[np.argsort(score[self._positive], kind="stable")]
        below = score[self._negative]
        self._low = np.searchsorted(below, score[self._positive], side="left")
        self._high = np.searchsorted(below, score[self._positive], side="right")

    def _below(self, weight: Float) -> Float:
        sums = np.concatenate(([0.0], np.cumsum(weight)))
        return 0.5 * (sums[self._low] + sums[self._high])

    def value(self, weight: Float) -> Float:
        negative, positive = weight[self._negative], weight[self._positive]
        return _ratio(positive @ self._below(negative), positive.sum() * negative.sum())

    def resampled(self, group: Integer, counts: Float) -> Float:
        number = counts.shape[1]
        if number > len(counts):
            return _looped(self, group, counts)
        # one matrix of the wins of group a's positive over group b's negative rows serves all resamples
        above, under = group[self._positive], group[self._negative]
        wins = np.empty((number, number))
        for b in range(number):
            wins[:, b] = np.bincount(
                above, weights=self._below((under == b).astype(np.float64)), minlength=number
            )
        pairs = (counts @ np.bincount(above, minlength=number)) * (
            counts @ np.bincount(under, minlength=number)
        )
        return _ratio(np.einsum("ra,ab,rb->r", counts, wins, counts, optimize=True), pairs)


class Steps:
    """Average precision: the precision at each score from above, weighted by the recall it adds."""

    def __init__(self, positive: npt.NDArray[np.bool_], score: Float) -> None:
        self._order = np.argsort(-score, kind="stable")
        falling = score[self._order]
        self._ends = np.flatnonzero(np.concatenate((falling[1:] != falling[:-1], [True])))
        self._positive = positive[self._order]

    def value(self, weight: Float) -> Float:
        w = weight[self._order]
        found = np.cumsum(w * self._positive)[self._ends]
        precision = found / np.maximum(np.cumsum(w)[self._ends], np.finfo(np.float64).tiny)
        return _ratio(np.diff(found, prepend=0.0) @ precision, found[-1])

    def resampled(self, group: Integer, counts: Float) -> Float:
        return _looped(self, group, counts)


def _ratio(up: npt.ArrayLike, below: npt.ArrayLike) -> Float:
    """up / below, NaN where below is 0: a resample without such rows has no value."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(
            np.where(np.asarray(below) > 0, np.divide(up, below), np.nan), dtype=np.float64
        )


def _recall(y: npt.ArrayLike, score: Float, threshold: float) -> Prepared:
    positive = binary("y", y, len(score))
    return Sums(np.array([positive & (score >= threshold), positive], dtype=np.float64), _share)


def _precision(y: npt.ArrayLike, score: Float, threshold: float) -> Prepared:
    positive, chosen = binary("y", y, len(score)), score >= threshold
    return Sums(np.array([positive & chosen, chosen], dtype=np.float64), _share)


def _share(s: Float) -> Float:
    return _ratio(s[..., 0], s[..., 1])


def _rmse(y: npt.ArrayLike, score: Float, threshold: float) -> Prepared:
    error = vector("y", y, len(score)) - score
    return Sums(np.array([error**2, np.ones_like(error)]), lambda s: np.sqrt(_share(s)))


def _r2(y: npt.ArrayLike, score: Float, threshold: float) -> Prepared:
    true = vector("y", y, len(score))
    middle = true - true.mean()  # the sum of squares about the mean loses no digits then

    def finish(s: Float) -> Float:
        return np.asarray(1.0 - _ratio(s[..., 0], s[..., 1] - _ratio(s[..., 2] ** 2, s[..., 3])))

    return Sums(np.array([(true - score) ** 2, middle**2, middle, np.ones_like(true)]), finish)


_PREPARE: dict[str, Callable[[npt.ArrayLike, Float, float], Prepared]] = {
    "roc_auc": lambda y, score, threshold: Ranks(binary("y", y, len(score)), score),
    "average_precision": lambda y, score, threshold: Steps(binary("y", y, len(score)), score),
    "recall": _recall,
    "precision": _precision,
    "rmse": _rmse,
    "r2": _r2,
}
METRICS = tuple(_PREPARE)
"""Names of the metrics that ``bootstrap`` and others take."""
LOSSES = ("rmse",)
"""Those of them that are better when smaller."""


def prepare(
    metric: str, y: npt.ArrayLike, score: npt.ArrayLike, threshold: float = 0.5
) -> Prepared:
    """Rows made ready for ``metric``: checked, sorted; ``ParameterError`` for an unknown name, other arrays."""
    if metric not in _PREPARE:
        raise ParameterError(
            f"metric={metric!r} is not known; choose one of {', '.join(METRICS)}, or give a callable"
        )
    return _PREPARE[metric](y, vector("score", score), threshold)


def _valued(
    metric: str,
    y: npt.ArrayLike,
    score: npt.ArrayLike,
    weights: npt.ArrayLike | None,
    threshold: float = 0.5,
) -> float:
    ready = prepare(metric, y, score, threshold)
    rows = len(np.asarray(score))
    weight = np.ones(rows) if weights is None else vector("weights", weights, rows)
    if (weight < 0).any():
        raise ParameterError(
            f"weights has {int((weight < 0).sum())} values below 0; a row counts 0 times or more"
        )
    return float(ready.value(weight))


def roc_auc(y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Area under the receiver operating characteristic: the chance that a positive row scores above a negative one.

        AUC = sum_(i pos, j neg) w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / (W_pos W_neg)

    Parameters: ``y`` (row,) 0 and 1; ``score`` (row,) any numbers; ``weights`` (row,) 0 or above, 1 where None.

    Returns a number between 0 and 1; 1/2 for scores that know nothing. Computed by ranks in n log n. NaN where all rows
    of a class have weight 0. ``ParameterError`` for one class, NaN, arrays that do not fit.

    Source: the Mann-Whitney statistic; scikit-learn's roc_auc_score gives the same.

    >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return _valued("roc_auc", y, score, weights)


def average_precision(
    y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Area under the steps of precision over recall.

        AP = sum_t (R_t - R_(t-1)) P_t   over the different scores t from above

    Parameters and errors as ``roc_auc``. Returns a number between 0 and 1; a score that knows nothing has the share of
    positive rows. Source: scikit-learn's average_precision_score gives the same.

    >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return _valued("average_precision", y, score, weights)


def recall(
    y: npt.ArrayLike,
    score: npt.ArrayLike,
    threshold: float = 0.5,
    weights: npt.ArrayLike | None = None,
) -> float:
    """Share of the positive rows that score at or above ``threshold``.

        R = TP / (TP + FN)

    Parameters and errors as ``roc_auc``. Valid beside the precision only: a threshold low enough gives 1.

    >>> recall([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.5
    """
    return _valued("recall", y, score, weights, threshold)


def precision(
    y: npt.ArrayLike,
    score: npt.ArrayLike,
    threshold: float = 0.5,
    weights: npt.ArrayLike | None = None,
) -> float:
    """Share of positive rows among those that score at or above ``threshold``.

        P = TP / (TP + FP)

    Parameters and errors as ``roc_auc``. NaN where no row scores that high. It depends on the share of positive rows.

    >>> precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], threshold=0.3)
    0.6666666666666666
    """
    return _valued("precision", y, score, weights, threshold)


def rmse(y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Root of the mean squared error, in the unit of ``y``.

        RMSE = sqrt(sum w (y - s)^2 / sum w)

    Parameters: ``y``, ``score`` (row,) finite numbers; ``weights`` as in ``roc_auc``. ``ParameterError`` for NaN.

    >>> rmse([0.0, 0.0], [1.0, 7.0])
    5.0
    """
    return _valued("rmse", y, score, weights)


def r2(y: npt.ArrayLike, score: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Coefficient of determination.

        R2 = 1 - sum w (y - s)^2 / sum w (y - <y>)^2

    Parameters as ``rmse``. 1 for exact scores, 0 for the mean of ``y``, negative below that; NaN where all ``y`` are
    equal. <y> is the mean of these rows, not of the training rows.

    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0])
    0.5
    """
    return _valued("r2", y, score, weights)


def baseline_scores(y_train: npt.ArrayLike, rows: int, seed: int) -> dict[str, Float]:
    """Scores of three classifiers that look at no column, to be put through the same metrics and intervals.

    Parameters: ``y_train`` (row,) 0 and 1, which tell the more frequent class; ``rows`` to score; ``seed`` a whole
    number. Returns ``random`` uniform in [0, 1), ``most_frequent`` and ``minority`` the constant class, each (rows,):
    AUC 1/2 all of them, in expectation for ``random``; recall 1/2, 0, 1 at a threshold of 1/2 where 1 is the rarer.
    For as many rows of both classes 0 is the more frequent. ``ParameterError`` for one class.

    >>> {name: score.tolist() for name, score in baseline_scores([0, 0, 1], 2, seed=1).items() if name != "random"}
    {'most_frequent': [0.0, 0.0], 'minority': [1.0, 1.0]}
    """
    often = float(2 * np.count_nonzero(binary("y_train", y_train)) > np.asarray(y_train).size)
    return {
        "random": generator(seed).random(rows),
        "most_frequent": np.full(rows, often),
        "minority": np.full(rows, 1.0 - often),
    }
