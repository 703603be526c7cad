"""Ceiling of the AUC if labels are one random draw of a repeatable experiment.

A label may differ between runs that start alike. No model of the start can then reach
an AUC of 1. Repeated runs measure how high it can be.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincinv, ndtr, ndtri

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import binary, matrix
from mgdask.learn.evaluation.bootstrap import Interval, interval_of, resampled_metric
from mgdask.learn.evaluation.metrics import Ranks

MAX_RUNS = 10
"""Maximum number of runs: all subsets of the others are averaged."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)


@dataclass(frozen=True, eq=False)
class NoiseCeiling:
    """How well runs from one start predict each other, and the limit for any model.

    Parameters
    ----------
    n_runs
        Number of runs.
    share
        Share of positive labels, mean over the runs.
    averaged
        Number m of other runs whose mean predicts a run (m,): 1 ... n_runs - 1.
    auc
        AUC of one run's labels predicted by the mean of m others, one per m.
    ceiling
        AUC for infinitely many others, extrapolated; None for two runs.
    beta_ceiling
        AUC of the propensity itself if it is beta distributed over rows.
    beta
        Parameters a and b of that distribution.
    """

    n_runs: int
    share: float
    averaged: IntArray
    auc: tuple[Interval, ...]
    ceiling: Interval | None
    beta_ceiling: Interval
    beta: tuple[float, float]

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {
            "n_runs": self.n_runs,
            "share": self.share,
            "averaged": self.averaged.tolist(),
            "auc": [one.as_dict() for one in self.auc],
            "ceiling": None if self.ceiling is None else self.ceiling.as_dict(),
            "beta_ceiling": self.beta_ceiling.as_dict(),
            "beta": list(self.beta),
        }

    def __str__(self) -> str:
        lines = [f"{self.n_runs} runs, {self.share:.2%} positive"]
        lines += [
            f"  one run from the mean of {m}: {one}"
            for m, one in zip(self.averaged.tolist(), self.auc, strict=True)
        ]
        if self.ceiling is not None:
            lines.append(f"  from infinitely many:     {self.ceiling}")
        lines.append(f"  beta-distributed:         {self.beta_ceiling}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class _Curve:
    """Mean AUC by the number m of averaged runs, then the two extrapolations."""

    pairs: tuple[tuple[Ranks, ...], ...]
    count: FloatArray
    n_runs: int

    def value(self, weight: FloatArray) -> FloatArray:
        curve = [np.mean([one.value(weight) for one in ranks]) for ranks in self.pairs]
        found = self._finish(np.array([curve]), self._moments(weight[None, :]))
        return np.asarray(found[0], dtype=np.float64)

    def resampled(self, group: IntArray, counts: FloatArray) -> FloatArray:
        curve = [
            np.mean([one.resampled(group, counts) for one in ranks], axis=0) for ranks in self.pairs
        ]
        of_groups = np.stack(
            [np.bincount(group, weights=term, minlength=counts.shape[1]) for term in self._terms()],
            axis=1,
        )
        sums = counts @ of_groups
        return self._finish(np.stack(curve, axis=1), sums[:, :2] / sums[:, 2:])

    def _terms(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        k, r = self.count, self.n_runs
        return k / r, k * (k - 1.0) / (r * (r - 1.0)), np.ones_like(k)

    def _moments(self, weight: FloatArray) -> FloatArray:
        """Mean of the propensity and of its square, shape (resample, 2)."""
        first, second, ones = self._terms()
        return np.stack([weight @ first, weight @ second], axis=1) / (weight @ ones)[:, None]

    def _finish(self, curve: FloatArray, moments: FloatArray) -> FloatArray:
        beta = [beta_auc(*beta_of_moments(*row)) for row in moments.tolist()]
        return np.column_stack([curve, [extrapolated_auc(row) for row in curve], beta])


def noise_ceiling(
    labels: npt.ArrayLike,
    values: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    *,
    n_resamples: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> NoiseCeiling:
    """Measure how high the AUC of any model of the start can be.

    Row i is positive with its propensity p_i in every run. The best score of any model
    is p_i. The mean over m other runs approaches it. Two extrapolations are given, with
    z the normal quantile and K_i the number of runs in which row i is positive::

        ceiling:      1 / z(AUC_m)² = alpha + beta / m,   ceiling = Phi(alpha^(-1/2))
        beta_ceiling: <p> = <K> / R,   <p²> = <K (K - 1)> / (R (R - 1)),
                      p ~ Beta(a, b),   AUC = P(Beta(a + 1, b) > Beta(a, b + 1))

    Parameters
    ----------
    labels
        Labels 0 and 1, shape (run, row), 2 to 10 runs from one start.
    values
        Numbers that the labels were made from, shape (run, row), larger for positive
        ones. Their mean predicts. Take logarithms if they span decades. Default: the
        labels.
    groups
        Group of each row, shape (row,), such as its region. By default rows are drawn.
    n_resamples
        Number of resamples, at least 20.
    seed
        Integer. The same seed gives the same bits.
    level
        Confidence level between 0 and 1.

    Returns
    -------
    ceiling
        AUC between runs, from the mean of several, and both extrapolations.

    Raises
    ------
    ParameterError
        If there are fewer than 2 or more than 10 runs, or a run has one class.

    Notes
    -----
    The AUC from the mean of all others is a lower bound of the ceiling: that mean is a
    noisy estimate of the propensity. ``ceiling`` is exact if signal and noise of the
    score are normal in both classes. It needs three runs; more than the R - 1 averages
    cannot be checked. ``beta_ceiling`` uses labels only and is exact if the propensity
    is beta distributed. A resample whose estimate does not exist is left out and
    counted.

    Runs must be independent given the start: same start, fresh randomness. Two parts of
    one run are not. Intervals include the rows, not the choice of runs.

    References
    ----------
    Isoconfigurational ensemble: Widmer-Cooper, Harrowell, Fynewever, Phys. Rev. Lett.
    93, 135701 (2004). Why labels of one run are noisy: Wang, Jain, Nat. Commun. 10,
    5537 (2019), Discussion.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> propensity = rng.beta(1.0, 9.0, 20000)
    >>> found = noise_ceiling(rng.random((4, 20000)) < propensity, n_resamples=20)
    >>> abs(found.beta_ceiling.value - beta_auc(1.0, 9.0)) < 0.02
    True
    """
    table = np.asarray(labels)
    if table.ndim != 2 or not 2 <= len(table) <= MAX_RUNS:
        raise ParameterError(
            f"labels must be (run, row) with 2 to {MAX_RUNS} runs; got shape {table.shape}"
        )
    n_runs, n_rows = table.shape
    positive: list[BoolArray] = [binary("labels", row, n_rows) for row in table]
    score = np.asarray(matrix("values", table if values is None else values), dtype=np.float64)
    if score.shape != table.shape:
        raise ParameterError(
            f"values must have the shape {table.shape} of labels; got {score.shape}"
        )
    averaged = np.arange(1, n_runs)
    pairs = tuple(
        tuple(
            Ranks(positive[target], score[list(others)].mean(axis=0))
            for target in range(n_runs)
            for others in combinations([k for k in range(n_runs) if k != target], int(m))
        )
        for m in averaged
    )
    count = np.asarray(np.sum(positive, axis=0, dtype=np.float64))
    ready = _Curve(pairs, count, n_runs)
    resamples, n_groups, resampled = resampled_metric(
        ready, n_rows, groups, n_resamples, seed, level
    )
    whole = ready.value(np.ones(n_rows))
    intervals = [
        interval_of(float(whole[k]), resamples[:, k], n_groups, resampled, level)
        for k in range(len(whole))
    ]
    first, second = ready._moments(np.ones((1, n_rows)))[0].tolist()
    return NoiseCeiling(
        n_runs=n_runs,
        share=first,
        averaged=averaged,
        auc=tuple(intervals[: n_runs - 1]),
        ceiling=intervals[-2] if n_runs > 2 else None,
        beta_ceiling=intervals[-1],
        beta=beta_of_moments(first, second),
    )


def extrapolated_auc(auc: npt.ArrayLike) -> float:
    """Extrapolate AUCs from the mean of m = 1, 2, ... runs to infinitely many.

        1 / z(AUC_m)² = alpha + beta / m,   AUC = Phi(alpha^(-1/2))

    Parameters
    ----------
    auc
        AUC for m = 1, 2, ... (m,).

    Returns
    -------
    auc
        NaN for fewer than two values, for one not above 1/2, or if the line does not
        end above 0.

    Notes
    -----
    Exact for a normal score whose noise has the variance nu / m: then z = D / sqrt(s² +
    nu / m). The line is fitted with weights m, since large m are near the limit.

    Examples
    --------
    >>> z = 1.0 / np.sqrt(1.0 + 2.0 / np.arange(1, 4))
    >>> round(extrapolated_auc(ndtr(z)), 6), round(float(ndtr(1.0)), 6)
    (0.841345, 0.841345)
    """
    values = np.asarray(auc, dtype=np.float64)
    if len(values) < 2 or not (values > 0.5).all() or (values >= 1.0).any():
        return float("nan")
    m = np.arange(1.0, len(values) + 1.0)
    alpha = float(np.polyfit(1.0 / m, ndtri(values) ** -2.0, 1, w=m)[1])
    return float(ndtr(alpha**-0.5)) if alpha > 0.0 else float("nan")


def beta_of_moments(first: float, second: float) -> tuple[float, float]:
    """Return the parameters of a beta distribution from its first two moments.

        rho = (<p²> - <p>²) / (<p> (1 - <p>)) = 1 / (a + b + 1)

    Parameters
    ----------
    first, second
        Mean of p and of p².

    Returns
    -------
    a, b
        Infinite if there is no spread, NaN if no such distribution exists.

    Examples
    --------
    >>> a, b = beta_of_moments(0.1, 2 / 110)
    >>> round(a, 9), round(b, 9)
    (1.0, 9.0)
    """
    between = first * (1.0 - first)
    rho = (second - first**2) / between if between > 0.0 else float("nan")
    if not rho < 1.0:
        return float("nan"), float("nan")
    if rho <= 1e-12:
        return float("inf"), float("inf")
    total = 1.0 / rho - 1.0
    return first * total, (1.0 - first) * total


def beta_auc(a: float, b: float) -> float:
    """Return the AUC of a beta-distributed propensity for its own labels.

        AUC = P(X > Y),   X ~ Beta(a + 1, b),   Y ~ Beta(a, b + 1)

    Parameters
    ----------
    a, b
        Parameters of the distribution; infinite without spread.

    Returns
    -------
    auc
        1/2 without spread, 1 if every propensity is 0 or 1.

    Notes
    -----
    Positive rows have the density p f(p), negative ones (1 - p) f(p). The integral is
    taken over quantiles of X, with an error below 1e-6 for a, b > 0.05.

    Examples
    --------
    >>> round(beta_auc(1.0, 1.0), 6)  # uniform: 5/6
    0.833333
    """
    if not (np.isfinite(a) and np.isfinite(b)):
        return 0.5 if np.isinf(a) else float("nan")
    quantile = 0.5 * (_NODES + 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        x = betaincinv(a + 1.0, b, quantile)
    return float(0.5 * _WEIGHTS @ betainc(a, b + 1.0, x))
