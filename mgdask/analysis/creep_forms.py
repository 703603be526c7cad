"""Steady creep rate, averaged over forms of the transient and of the noise.

A creep curve is a line plus up to two transient terms plus noise::

    strain(t) = offset + rate t + sum_k A_k g_k(t) + noise(t),   k = 0, 1 or 2 terms
    primary   g = 1 - exp(-t / p),  1 - exp(-sqrt(t / p)),  ln(1 + t / p),  t^p
    tertiary  g = exp((t - T) / p)

The noise is white, or white plus an Ornstein-Uhlenbeck process, whose limit is a random
walk. Forms, their parameters p, and noise models are on grids. For each member of the
grids, the likelihood is Gaussian in offset, rate and A_k. Its weight is the marginal
likelihood. The priors of offset and rate are flat. The prior of A_k is normal, with the
width of the range of strains. The prior of the variance is 1 / sigma^2. The
distribution of the rate is the resulting mixture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

from mgdask._typing import FloatArray, IntArray

MAX_BLOCKS = 100
"""Maximum number of blocks into which consecutive points are averaged."""
N_TIMES = 41
"""Number of times at which the transient rate is compared with the steady rate."""

_LINE, _ONE, _TWO = math.log(0.5), math.log(0.45), math.log(0.05)
"""Logarithms of the prior probabilities of zero, one and two transient terms."""
_WHITE = 0.8
"""Prior probability of white noise."""
_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 5.0, 50.0)
"""Variance of the change of correlated noise per block, relative to white noise."""
_N_NOISE_LENGTHS = 7
_ZOOM = np.array([-0.6, -0.4, -0.2, 0.2, 0.4, 0.6])
_N_ZOOMS = 3
_KEPT = 0.998
"""Total weight of the members that are kept."""

_Curve = Callable[[float, FloatArray, float], FloatArray]


def _exponential(p: float, t: FloatArray, end: float) -> FloatArray:
    return np.asarray(np.expm1(-t / p) / math.expm1(-end / p))


def _exponential_slope(p: float, t: FloatArray, end: float) -> FloatArray:
    return np.asarray(-np.exp(-t / p) / (p * math.expm1(-end / p)))


def _stretched(p: float, t: FloatArray, end: float) -> FloatArray:
    return np.asarray(np.expm1(-np.sqrt(t / p)) / math.expm1(-math.sqrt(end / p)))


def _stretched_slope(p: float, t: FloatArray, end: float) -> FloatArray:
    root = np.sqrt(np.maximum(t, 1e-9 * end) / p)
    return np.asarray(-np.exp(-root) / (2.0 * p * root * math.expm1(-math.sqrt(end / p))))


def _logarithm(p: float, t: FloatArray, end: float) -> FloatArray:
    return np.asarray(np.log1p(t / p) / math.log1p(end / p))


def _logarithm_slope(p: float, t: FloatArray, end: float) -> FloatArray:
    return np.asarray(1.0 / ((p + t) * math.log1p(end / p)))


def _power(p: float, t: FloatArray, end: float) -> FloatArray:
    return np.asarray((t / end) ** p)


def _power_slope(p: float, t: FloatArray, end: float) -> FloatArray:
    return np.asarray(p / end * (np.maximum(t, 1e-9 * end) / end) ** (p - 1.0))


def _tertiary(p: float, t: FloatArray, end: float) -> FloatArray:
    return np.asarray((np.exp((t - end) / p) - math.exp(-end / p)) / -math.expm1(-end / p))


def _tertiary_slope(p: float, t: FloatArray, end: float) -> FloatArray:
    return np.asarray(np.exp((t - end) / p) / (-p * math.expm1(-end / p)))


_FORMS: dict[str, tuple[_Curve, _Curve]] = {
    "exponential": (_exponential, _exponential_slope),
    "stretched": (_stretched, _stretched_slope),
    "logarithm": (_logarithm, _logarithm_slope),
    "power": (_power, _power_slope),
    "tertiary": (_tertiary, _tertiary_slope),
}
"""Curves g(p, t, end), which change by 1 from 0 to ``end``, and their slopes."""


def _coarse_grids(step: float, end: float) -> dict[str, FloatArray]:
    """Return coarse grids of the parameter p of each form."""
    shortest = max(step, 1e-3 * end)
    return {
        "exponential": np.geomspace(shortest, 2.0 * end, 20),
        "stretched": np.geomspace(shortest, end, 8),
        "logarithm": np.geomspace(0.3 * shortest, end / 3.0, 8),
        "power": np.geomspace(0.2, 0.8, 4),
        "tertiary": np.geomspace(0.02 * end, 0.5 * end, 6),
    }


def _cell_widths(p: FloatArray) -> FloatArray:
    """Return the prior weight of each grid point, for a prior uniform in ln p."""
    x = np.log(p)
    edges = np.concatenate(
        [[1.5 * x[0] - 0.5 * x[1]], 0.5 * (x[1:] + x[:-1]), [1.5 * x[-1] - 0.5 * x[-2]]]
    )
    return np.asarray(np.diff(edges) / (edges[-1] - edges[0]))


@dataclass(frozen=True, eq=False)
class _Noise:
    """Whitening of one noise model, with offset and rate projected out."""

    project: FloatArray  # (block, block)
    line: FloatArray  # (2, block): offset and rate of a curve
    rate_variance: float  # per unit variance of the noise
    log_weight: float


def _noise_models(t: FloatArray, counts: FloatArray) -> list[_Noise]:
    """Return white noise, and white plus Ornstein-Uhlenbeck noise on a grid."""
    white = np.diag(counts.mean() / counts)
    lag, step = np.abs(t[:, None] - t), float(np.median(np.diff(t)))
    models = [_noise_model(t, white, math.log(_WHITE))]
    prior = math.log((1.0 - _WHITE) / (_N_NOISE_LENGTHS * len(_STRENGTHS)))
    for length in np.geomspace(0.7 * step, 10.0 * t[-1], _N_NOISE_LENGTHS):
        correlated = np.exp(-lag / length) / (-2.0 * math.expm1(-step / length))
        models += [_noise_model(t, white + s * correlated, prior) for s in _STRENGTHS]
    return models


def _noise_model(t: FloatArray, covariance: FloatArray, log_prior: float) -> _Noise:
    factor = np.linalg.cholesky(covariance)
    whiten = np.linalg.inv(factor)
    q, r = np.linalg.qr(whiten @ np.stack([np.ones_like(t), t], axis=1))
    inverse = np.linalg.inv(r)
    log_determinant = float(np.log(factor.diagonal()).sum() + np.log(np.abs(r.diagonal())).sum())
    return _Noise(
        project=whiten - q @ (q.T @ whiten),
        line=inverse @ (q.T @ whiten),
        rate_variance=float(inverse[1] @ inverse[1]),
        log_weight=log_prior - log_determinant,
    )


@dataclass(frozen=True, eq=False)
class _Members:
    """All members under one noise model: no form, each of K forms, and each pair."""

    log_weight: FloatArray
    rate: FloatArray
    rate_variance: FloatArray
    amplitude: FloatArray  # (member, 2)
    covariance: FloatArray  # (member, 3): var A_1, var A_2, cov(A_1, A_2)


@dataclass(frozen=True, eq=False)
class _Family:
    """Forms on the current grids, averaged over blocks."""

    names: list[str]
    parameters: FloatArray
    curves: FloatArray  # (form, block)
    log_prior: FloatArray  # (member,)
    first: IntArray  # (member,): first form, -1 if there is none
    second: IntArray


class RatePosterior:
    """Distribution of the steady rate of a creep curve.

    Parameters
    ----------
    time
        Times in ps, shape (n,), increasing from 0.
    strain
        Strains, shape (n,).

    Notes
    -----
    The cost is about 0.2 s. Averaging over blocks introduces no bias, because the forms
    are averaged in the same way.
    """

    def __init__(self, time: FloatArray, strain: FloatArray) -> None:
        n = len(time)
        parts = np.array_split(np.arange(n), min(n, MAX_BLOCKS))
        self._starts = np.array([part[0] for part in parts])
        self._counts = np.diff(np.append(self._starts, n)).astype(np.float64)
        self._end = float(time[-1])
        self._time = time / self._end
        self._scale = float(np.ptp(strain)) or 1.0
        y = self._average((strain - strain[0]) / self._scale)
        self._noise = _noise_models(self._average(self._time), self._counts)
        grids = _coarse_grids(float(np.diff(self._time).min()), 1.0)
        self._zoom(y, grids)
        family = self._family(grids)
        self._collect(family, [_evaluate(family, y, model) for model in self._noise], len(y) - 2)

    def _average(self, values: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(values, self._starts, axis=-1) / self._counts)

    def _family(self, grids: dict[str, FloatArray]) -> _Family:
        """Return the curves and priors of the forms on the grids."""
        names = [name for name in grids for _ in grids[name]]
        parameters = np.concatenate(list(grids.values()))
        curves = np.array(
            [
                self._average(_FORMS[name][0](p, self._time, 1.0))
                for name, p in zip(names, parameters, strict=True)
            ]
        )
        prior = np.concatenate([_cell_widths(p) for p in grids.values()]) / len(grids)
        i, j = np.triu_indices(len(names), 1)
        pair = prior[i] * prior[j]
        log_prior = [[_LINE], _ONE + np.log(prior), _TWO + np.log(pair / pair.sum())]
        none, single = np.array([-1]), np.arange(len(names))
        return _Family(
            names,
            parameters,
            curves,
            np.concatenate(log_prior),
            np.concatenate([none, single, i]),
            np.concatenate([none, np.full(len(names), -1), j]),
        )

    def _zoom(self, y: FloatArray, grids: dict[str, FloatArray]) -> None:
        """Refine the grids around the parameters with the largest weight."""
        width = {name: math.log(p[1] / p[0]) for name, p in grids.items()}
        some = [self._noise[0], *self._noise[4::7]]
        for _ in range(_N_ZOOMS):
            family = self._family(grids)
            log_weight = np.stack([_evaluate(family, y, model).log_weight for model in some])
            weight = np.exp(log_weight - log_weight.max()).sum(axis=0)
            weight /= weight.sum()
            share = np.zeros(len(family.names) + 1)  # the last entry is for no form
            np.add.at(share, family.first, weight)
            np.add.at(share, family.second, weight)
            for name in grids:
                here = np.flatnonzero([other == name for other in family.names])
                peaks = _peaks(family.parameters[here], share[here], width[name])
                if peaks:
                    new = [p * np.exp(width[name] * _ZOOM) for p in peaks]
                    grids[name] = np.unique(np.concatenate([grids[name], *new]))
                    width[name] *= 0.2

    def _collect(self, family: _Family, members: list[_Members], dof: int) -> None:
        """Keep the members with the largest weights."""
        log_weight = np.stack([one.log_weight for one in members])
        weight = np.exp(log_weight - log_weight.max()).ravel()
        order = np.argsort(-weight, kind="stable")
        total = np.cumsum(weight[order])
        kept = order[: int(np.searchsorted(total, _KEPT * total[-1])) + 1]
        model, which = np.divmod(kept, log_weight.shape[1])
        self._weight = weight[kept] / weight[kept].sum()
        self._white = float(self._weight[model == 0].sum())

        def take(name: str) -> FloatArray:
            return np.asarray(np.stack([getattr(one, name) for one in members])[model, which])

        # Student's t is replaced by a normal distribution of the same central interval
        student = float(stdtrit(dof, 0.841345))
        self._rate = take("rate")
        self._deviation = np.maximum(student * np.sqrt(take("rate_variance")), 1e-300)
        self._amplitude, self._covariance = take("amplitude"), take("covariance")
        self._first, self._second = family.first[which], family.second[which]
        self._names, self._parameters = family.names, family.parameters

    @property
    def forms(self) -> dict[str, float]:
        """Probability of each combination of forms; "line" means no transient."""
        names = ["line", *self._names]
        found: dict[str, float] = {}
        for w, i, j in zip(self._weight, self._first + 1, self._second + 1, strict=True):
            label = names[i] if j == 0 else " + ".join(sorted((names[i], names[j])))
            found[label] = found.get(label, 0.0) + float(w)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def white(self) -> float:
        """Probability that the noise is white."""
        return self._white

    @property
    def tertiary(self) -> float:
        """Probability of a tertiary stage."""
        return sum(p for form, p in self.forms.items() if "tertiary" in form)

    def rate(self) -> tuple[float, float]:
        """Return the median, and half the width of the central interval of 0.683."""
        low, middle, high = (self._quantile(p) for p in (0.158655, 0.5, 0.841345))
        unit = self._scale / self._end
        return middle * unit, 0.5 * (high - low) * unit

    def _quantile(self, probability: float) -> float:
        """Return a quantile of the mixture of the members' normal distributions."""
        low = float((self._rate - 8.0 * self._deviation).min())
        high = float((self._rate + 8.0 * self._deviation).max())
        for _ in range(45):
            middle = 0.5 * (low + high)
            if float(self._weight @ ndtr((middle - self._rate) / self._deviation)) < probability:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)

    def transient(self, tolerance: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Compare the transient rate with the steady rate.

        Parameters
        ----------
        tolerance
            Fraction of the steady rate below which a transient rate is negligible.

        Returns
        -------
        time, probability, share
            Times in ps, evenly spaced over the curve. Probability that the transient
            rate is negligible, and its mean magnitude relative to the mean steady rate.
        """
        t = np.linspace(0.0, 1.0, N_TIMES)
        slopes = np.zeros((len(self._names) + 1, N_TIMES))  # the last row is for no form
        for k, (name, p) in enumerate(zip(self._names, self._parameters, strict=True)):
            slopes[k] = _FORMS[name][1](p, t, 1.0)
        one, two = slopes[self._first], slopes[self._second]
        mean = self._amplitude[:, :1] * one + self._amplitude[:, 1:] * two
        variance = self._covariance[:, :1] * one**2 + self._covariance[:, 1:2] * two**2
        variance = variance + 2.0 * self._covariance[:, 2:] * one * two
        deviation = np.sqrt(np.maximum(variance, 1e-300))
        limit = tolerance * np.abs(self._rate)[:, None] + 1e-12
        inside = ndtr((limit - mean) / deviation) - ndtr((-limit - mean) / deviation)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = self._weight @ np.abs(mean) / abs(float(self._weight @ self._rate))
        return t * self._end, np.asarray(self._weight @ inside), np.asarray(share)


def _peaks(parameters: FloatArray, share: FloatArray, width: float) -> list[float]:
    """Return up to two parameters with the largest weights that are not neighbors."""
    peaks: list[float] = []
    for k in np.argsort(-share, kind="stable"):
        p = float(parameters[k])
        if share[k] < 0.02 or len(peaks) == 2:
            break
        if all(abs(math.log(p / other)) >= 1.5 * width for other in peaks):
            peaks.append(p)
    return peaks


def _evaluate(family: _Family, y: FloatArray, noise: _Noise) -> _Members:
    """Fit all members under one noise model in closed form."""
    n_forms, dof = len(family.names), len(y) - 2
    curves = np.vstack([family.curves, y])
    white = noise.project @ curves.T
    slope = (noise.line @ curves.T)[1]
    gram = white.T @ white
    b, power, floor = gram[-1, :-1], float(gram[-1, -1]), 1e-26 * max(float(y @ y), 1e-4)
    diagonal, first = gram.diagonal()[:-1], family.first[1 + n_forms :]
    second = family.second[1 + n_forms :]
    g = gram[first, second]
    variance = power / dof
    for _ in range(4):  # the prior of A is in units of the noise, which the best member shows
        prior = max(variance, floor)
        a = diagonal + prior
        one = b / a
        determinant = a[first] * a[second] - g * g
        left = (a[second] * b[first] - g * b[second]) / determinant
        right = (a[first] * b[second] - g * b[first]) / determinant
        pairs = power - b[first] * left - b[second] * right
        squares = np.maximum(np.concatenate([[power], power - b * one, pairs]), floor)
        previous, variance = variance, float(squares.min()) / dof
        if variance > 0.99 * previous:
            break
    scale = squares / dof
    occam = np.concatenate([[0.0], np.log(a / prior), np.log(determinant / prior**2)])
    zero, rho = np.zeros(1), slope[:-1]
    amplitude = np.stack(
        [np.concatenate([zero, one, left]), np.concatenate([zero, 0.0 * one, right])], axis=1
    )
    covariance = np.stack(
        [
            np.concatenate([zero, 1.0 / a, a[second] / determinant]),
            np.concatenate([zero, 0.0 * one, a[first] / determinant]),
            np.concatenate([zero, 0.0 * one, -g / determinant]),
        ],
        axis=1,
    )
    rho_one = np.append(rho, 0.0)[family.first]
    rho_two = np.append(rho, 0.0)[family.second]
    rate_variance = noise.rate_variance + (
        rho_one**2 * covariance[:, 0]
        + rho_two**2 * covariance[:, 1]
        + 2.0 * rho_one * rho_two * covariance[:, 2]
    )
    return _Members(
        log_weight=family.log_prior + noise.log_weight - 0.5 * occam - 0.5 * dof * np.log(squares),
        rate=slope[-1] - rho_one * amplitude[:, 0] - rho_two * amplitude[:, 1],
        rate_variance=rate_variance * scale,
        amplitude=amplitude,
        covariance=covariance * scale[:, None],
    )


def longest_run(flags: npt.NDArray[np.bool_]) -> tuple[int, int] | None:
    """Return first and last index of the longest run of True, the latest if equal."""
    best: tuple[int, int] | None = None
    for first, last in _true_runs(flags):
        if best is None or last - first >= best[1] - best[0]:
            best = first, last
    return best


def _true_runs(flags: npt.NDArray[np.bool_]) -> Iterable[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return ((int(i), int(j) - 1) for i, j in list(pairwise(edges))[::2])
