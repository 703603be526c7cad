"""Upper limit of the AUC if labels differ between repeated runs.

A label may differ between runs from the same initial configuration. No model of that
configuration can then reach an AUC of 1. Repeated runs measure how high it can be.
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
"""Maximum number of runs, since all subsets of the other runs are averaged."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(400)


@dataclass(frozen=True, eq=False)
class NoiseCeiling:
    """How well runs from one configuration predict each other, and the limit of models.

    Parameters
    ----------
    n_runs
        Number of runs.
    share
        Share of positive labels, averaged over the runs.
    averaged
        Numbers m (m,) of other runs whose mean predicts a run: 1 ... n_runs - 1.
    auc
        AUC of the labels of one run predicted from the mean of m others, for each m.
    ceiling
        AUC extrapolated to infinitely many other runs; None for two runs.
    beta_ceiling
        AUC of the propensity itself, if it has a beta distribution over rows.
    beta
        Parameters a and b of the beta distribution.
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
    """Mean AUC for each number m of averaged runs, then the two extrapolations."""

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
        """Return the mean of the propensity and of its square, shape (resample, 2)."""
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
    """Measure the highest AUC that a model of the initial configuration can reach.

    In every run, row i is positive with probability p_i, its propensity. The best
    possible score of a model is p_i. The mean over m other runs approaches p_i as m
    grows. Two extrapolations are returned. z is the normal quantile, R the number of
    runs, and K_i the number of runs in which row i is positive::

        ceiling:      1 / z(AUC_m)² = alpha + beta / m,   ceiling = Phi(alpha^(-1/2))
        beta_ceiling: <p> = <K> / R,   <p²> = <K (K - 1)> / (R (R - 1)),
                      p ~ Beta(a, b),   AUC = P(Beta(a + 1, b) > Beta(a, b + 1))

    Parameters
    ----------
    labels
        Labels 0 and 1, shape (run, row), of 2 to 10 runs from one configuration.
    values
        Numbers that the labels were derived from, shape (run, row), larger for positive
        rows. Their mean over runs is used as the score. If they span decades, pass
        logarithms. Default: the labels.
    groups
        Group of each row, shape (row,), such as its region. By default rows are
        resampled.
    n_resamples
        Number of resamples, at least 20.
    seed
        Integer. The same seed gives the same bits.
    level
        Confidence level between 0 and 1.

    Returns
    -------
    ceiling
        AUC from one run and from the mean of several, and both extrapolations.

    Raises
    ------
    ParameterError
        If there are fewer than 2 or more than 10 runs, or a run has only one class.

    Notes
    -----
    The AUC from the mean of all other runs is a lower bound of the ceiling, because
    that mean is a noisy estimate of the propensity. ``ceiling`` is exact if signal and
    noise of the score are normally distributed in both classes. It needs three runs.
    The extrapolation can be checked only up to m = R - 1. ``beta_ceiling`` uses only
    the labels. It is exact if the propensity has a beta distribution. Resamples without
    an estimate are left out and counted.

    Runs must be independent given the configuration: the same start with a new random
    seed. Two parts of one run are not independent. Intervals account for the choice of
    rows, not for the choice of runs.

    References
    ----------
    Isoconfigurational ensemble: Widmer-Cooper, Harrowell, Fynewever, Phys. Rev. Lett.
    93, 135701 (2004). Noise in the labels of a single run: Wang, Jain, Nat. Commun. 10,
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
    """Extrapolate AUCs from the mean of m = 1, 2, ... runs to infinitely many runs.

        1 / z(AUC_m)² = alpha + beta / m,   AUC = Phi(alpha^(-1/2))

    Parameters
    ----------
    auc
        AUC for m = 1, 2, ..., shape (m,).

    Returns
    -------
    auc
        Extrapolated AUC. NaN if there are fewer than two values, if one is not above
        1/2, or if alpha is not above 0.

    Notes
    -----
    Exact for a normally distributed score with noise of variance nu / m. In that case,
    z = D / sqrt(s² + nu / m). The line is fitted with weights m, since large m are
    closer to the limit.

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
        Infinite if the variance is 0; NaN if no such distribution exists.

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
        Parameters of the distribution; infinite if the variance is 0.

    Returns
    -------
    auc
        1/2 if the variance is 0; 1 if every propensity is 0 or 1.

    Notes
    -----
    The propensity of positive rows has the density p f(p), that of negative rows (1 -
    p) f(p), up to normalization. The integral is taken over quantiles of X. Its error
    is below 1e-6 for a, b > 0.05.

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
