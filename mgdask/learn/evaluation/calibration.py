"""Calibration: comparison of predicted probabilities with observed shares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from mgdask._renamed import renamed_arguments
from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import binary, vector
from mgdask.learn.evaluation.bootstrap import MIN_GROUPS, interval_ends, resampled_metric


@dataclass(frozen=True, eq=False)
class Calibration:
    """Observed share of positive rows by predicted probability, in bins.

    All arrays have shape (bin,), except ``edges`` (bin + 1,). Empty bins are NaN.
    ``low`` and ``high`` bound the interval of ``observed``.
    """

    predicted: FloatArray
    observed: FloatArray
    low: FloatArray
    high: FloatArray
    count: IntArray
    edges: FloatArray
    reliable: bool

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean of abs(observed - predicted) over rows."""
        return float(
            np.nansum(self.count * np.abs(self.observed - self.predicted)) / self.count.sum()
        )


@dataclass(frozen=True, eq=False)
class _Binned:
    bin: IntArray
    value_of: FloatArray
    bins: int

    def value(self, weight: FloatArray) -> FloatArray:
        up = np.bincount(self.bin, weights=weight * self.value_of, minlength=self.bins)
        return _divided(up, np.bincount(self.bin, weights=weight, minlength=self.bins))

    def resampled(self, group: IntArray, counts: FloatArray) -> FloatArray:
        shape = (counts.shape[1], self.bins)
        cell = group * self.bins + self.bin
        up = np.bincount(cell, weights=self.value_of, minlength=math.prod(shape)).reshape(shape)
        return _divided(
            counts @ up, counts @ np.bincount(cell, minlength=math.prod(shape)).reshape(shape)
        )


def _divided(up: AnyArray, below: AnyArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(up / below, dtype=np.float64)


@renamed_arguments(repeats="n_resamples")
def calibration_curve(
    y: npt.ArrayLike,
    probability: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    bins: int = 10,
    strategy: str = "uniform",
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    interval: Literal["bootstrap", "wilson"] = "bootstrap",
) -> Calibration:
    """Compute the share of positive rows by predicted probability, with intervals.

    Over the rows of bin b::

        predicted_b = <p>_b,   observed_b = <y>_b

    Parameters
    ----------
    y
        Labels 0 and 1, shape (row,).
    probability
        Predicted probabilities in [0, 1], shape (row,).
    groups
        Group of each row, shape (row,). By default rows are resampled.
    bins
        Number of bins, at least 1.
    strategy
        "uniform" for bins of equal width, "quantile" for bins of equally many rows.
    n_resamples
        Number of resamples, at least 20.
    seed
        Integer. The same seed gives the same bits.
    level
        Confidence level between 0 and 1.
    interval
        "bootstrap" resamples rows or groups. "wilson" is the closed form for
        independent rows; it takes no groups.

    Returns
    -------
    calibration
        Arrays (bin,). Bins are half-open, [low, high), but the last is closed. Empty
        bins are NaN.

    Raises
    ------
    ParameterError
        If arrays do not fit, a probability is outside [0, 1], or an option is out of
        range.

    See Also
    --------
    corrected_probability : Undo the undersampling.

    Notes
    -----
    With fewer than 5 groups, the curve is marked as unreliable. If all rows of a bin
    have the same label, its bootstrap interval has width 0, but Wilson's interval does
    not. The curve is valid for probabilities of the whole population. After
    undersampling it lies below the diagonal, unless the probabilities are converted
    with ``corrected_probability``. scikit-learn's calibration_curve gives the same
    values, except for rows at a bin edge.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Supplementary Fig. 7.

    Examples
    --------
    >>> p = np.array([0.1, 0.2, 0.7, 0.9])
    >>> calibration_curve([0, 1, 1, 1], p, bins=2).observed.tolist()
    [0.5, 1.0]
    """
    p = vector("probability", probability)
    positive = binary("y", y, len(p), both=False).astype(np.float64)
    if p.min() < 0 or p.max() > 1:
        raise ParameterError(
            f"probability spans {p.min():g} to {p.max():g}; it must lie in [0, 1] (no raw scores)"
        )
    if bins < 1 or strategy not in ("uniform", "quantile"):
        raise ParameterError(
            f"bins={bins} must be at least 1, and strategy={strategy!r} 'uniform' or 'quantile'"
        )
    if interval not in ("bootstrap", "wilson"):
        raise ParameterError(f"interval={interval!r} is unknown; choose 'bootstrap' or 'wilson'")
    if interval == "wilson" and groups is not None:
        raise ParameterError(
            "interval='wilson' treats rows as independent, so it cannot use groups; choose "
            "interval='bootstrap', or leave groups out"
        )
    share = np.linspace(0.0, 1.0, bins + 1)
    edges = share if strategy == "uniform" else np.unique(np.quantile(p, share))
    bins = max(len(edges) - 1, 1)
    which = np.clip(np.searchsorted(edges, p, side="right") - 1, 0, bins - 1)
    ready = _Binned(which, positive, bins)
    count = np.bincount(which, minlength=bins)
    n_groups = None
    if interval == "wilson":
        low, high = wilson_interval(
            np.bincount(which, weights=positive, minlength=bins), count, level
        )
    else:
        resamples, n_groups, _ = resampled_metric(ready, len(p), groups, n_resamples, seed, level)
        low, high = interval_ends(resamples, level)
    ones = np.ones(len(p))
    predicted, observed = _Binned(which, p, bins).value(ones), ready.value(ones)
    return Calibration(
        predicted, observed, low, high, count, edges, n_groups is None or n_groups >= MIN_GROUPS
    )


def wilson_interval(
    positive: npt.ArrayLike, count: npt.ArrayLike, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Compute Wilson's interval for a share.

    With p = positive / count and the normal quantile z of the level::

        (p + z²/2n -+ z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)

    Parameters
    ----------
    positive
        Number of positive rows, any shape.
    count
        Number n of rows, of the same shape.
    level
        Confidence level between 0 and 1.

    Returns
    -------
    low, high
        Ends of the interval, in [0, 1]; NaN if the count is 0.

    Raises
    ------
    ParameterError
        If a number is negative, more rows are positive than there are, or the level is
        out of range.

    Notes
    -----
    Valid for independent rows. The interval has a finite width even for 0 or n positive
    rows.

    References
    ----------
    Wilson, J. Am. Stat. Assoc. 22, 209 (1927).

    Examples
    --------
    >>> [round(float(end), 4) for end in wilson_interval(0, 10)]
    [0.0, 0.2775]
    """
    hits, n = np.asarray(positive, dtype=np.float64), np.asarray(count, dtype=np.float64)
    if hits.shape != n.shape or not ((hits >= 0) & (hits <= n)).all():
        raise ParameterError(
            f"positive (shape {hits.shape}) and count (shape {n.shape}) must be equal, and "
            "0 <= positive <= count"
        )
    if not 0.0 < level < 1.0:
        raise ParameterError(f"level={level} must lie between 0 and 1; 0.95 is customary")
    z2 = float(ndtri(0.5 + 0.5 * level)) ** 2
    share = _divided(hits, n)
    center = _divided(hits + 0.5 * z2, n + z2)
    half = np.sqrt(z2 * _divided(hits * (1.0 - share) + 0.25 * z2, (n + z2) ** 2))
    # exactly 0 if no row is positive, and 1 if every row is
    low = np.where(hits == 0, 0.0, np.clip(center - half, 0.0, 1.0))
    high = np.where(hits == n, 1.0, np.clip(center + half, 0.0, 1.0))
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def corrected_probability(
    probability: npt.ArrayLike, share: float, *, training_share: float = 0.5
) -> FloatArray:
    """Convert a probability learned on undersampled rows to that of the population.

    Undersampling preserves the ratio of the densities of the two classes, so only the
    prior odds change. With the share pi of positive rows in the population and s in
    training::

        p' / (1 - p') = p / (1 - p) * pi / (1 - pi) * (1 - s) / s

    Parameters
    ----------
    probability
        Probability p of the model in [0, 1], any shape.
    share
        Share pi of positive rows in the population.
    training_share
        Share s of positive rows in training.

    Returns
    -------
    corrected
        Probability p' of the same shape.

    Raises
    ------
    ParameterError
        If a probability is outside [0, 1], or a share outside (0, 1).

    Notes
    -----
    Valid if the rows of each class were drawn at random. The order of the rows, and
    thus the AUC, does not change. For balanced classes, p = 1/2 becomes the share: "a
    value of QS = 0.5 corresponds to a plastic likelihood that is equal to the overall
    fraction of plastic atoms" (Wang & Jain).

    References
    ----------
    Saerens, Latinne, Decaestecker, Neural Comput. 14, 21 (2002). Wang, Jain, Nat.
    Commun. 10, 5537 (2019), Fig. 3b.

    Examples
    --------
    >>> corrected_probability([0.0, 0.5, 1.0], 0.04).tolist()
    [0.0, 0.04, 1.0]
    """
    p = np.asarray(probability, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ParameterError(
            "probability must lie in [0, 1] and not be NaN; raw scores are not allowed"
        )
    for name, value in (("share", share), ("training_share", training_share)):
        if not 0.0 < value < 1.0:
            raise ParameterError(
                f"{name}={value} must lie between 0 and 1; it is the share of positive rows"
            )
    up = p * (share * (1.0 - training_share))
    result: FloatArray = up / (up + (1.0 - p) * (training_share * (1.0 - share)))
    return result
