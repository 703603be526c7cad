"""Distribution of T_ML: its Gaussian peak, and the excess over a control.

Liu X. et al., J. Mater. Inf. 2, 20 (2022), Fig. 2C, describe T_ML as a Gaussian peak
with a fat tail of hot atoms. The paper does not say how the peak is fitted. Our rule is
stated in ``fit_peak``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from mgdask._typing import FloatArray
from mgdask.learn.evaluation.bootstrap import interval_ends
from mgdask.learn.evaluation.calibration import wilson_interval
from mgdask.studies.records import Record
from mgdask.studies.temperature.views import Distribution

COLD, HOT = 2.5, 1.0
"""Window of the fit in widths below and above the center."""
PASSES = 8
"""Number of fits, each in the window given by the previous one."""
MAX_STEPS = 60
"""Newton steps of a fit."""
FLATTEST = -0.02
"""Quadratic parameter -1/2 (window unit / width)² of the widest Gaussian, 5 units."""
LARGEST_SHARE = 0.2
"""Share of atoms with exactly the same T_ML above which there is no Gaussian."""
FEWEST = 50
"""Minimum number of atoms for a fit."""
TAIL = 3.0
"""Widths above the center beyond which atoms are counted as the tail."""
CONTROL_QUANTILE = 0.99
"""Quantile of the control above which atoms are hot."""
N_RESAMPLES, LEVEL = 200, 0.95
N_BINS = 60


@dataclass(frozen=True)
class Measured(Record):
    """A number with its bootstrap interval over atoms.

    Parameters
    ----------
    value
        The number; NaN if it is not defined.
    low, high
        Ends of the 95 % interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GaussianPeak(Record):
    """Gaussian peak of a distribution of T_ML (Fig. 2C).

    Parameters
    ----------
    center, width
        Center and standard deviation in K.
    area
        Share of the atoms in the Gaussian. It may exceed 1 if the peak is not Gaussian.
    tail
        Share of the atoms more than 3 widths above the center, minus the 0.13 % of the
        Gaussian that are there.
    misfit
        Largest distance between the cumulative distributions of data and Gaussian in
        the window of the fit; 0 for a perfect Gaussian.
    reason
        Why no peak was fitted; empty if there is one.
    """

    center: Measured
    width: Measured
    area: Measured
    tail: Measured
    misfit: float
    reason: str = ""


@dataclass(frozen=True)
class Excess(Record):
    """Hot atoms of a run in excess of its unstressed control.

    Parameters
    ----------
    control
        Name of the control.
    threshold
        99th percentile of T_ML of the control in K.
    share
        Share of the atoms of the run above the threshold.
    excess
        That share minus the share of the atoms of the control above it.
    moved
        Largest difference, over all thresholds, between the shares of atoms above a
        threshold in the run and in the control. At least this share became hotter.
    chance
        Value of ``moved`` that 95 % of runs without a difference stay below.
    """

    control: str
    threshold: float
    share: Measured
    excess: Measured
    moved: Measured
    chance: float


def fit_peak(t_ml: FloatArray, *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> GaussianPeak:
    """Fit a Gaussian to the peak of a distribution, without its tails.

    The fit is the maximum-likelihood Gaussian of the atoms in a window::

        center - 2.5 width < T_ML < center + width

    The window excludes the hot tail, and the Gaussian is normalized within it. The
    first window comes from the half-sample mode and the median deviation of the atoms
    below it. Eight fits follow, each in the window given by the previous one. The area
    is the share of the atoms in the window, divided by that of a Gaussian, 0.835.

    Parameters
    ----------
    t_ml
        T_ML in K (atom,).
    seed
        Seed of the bootstrap.
    n_resamples
        Resamples of atoms for the intervals.

    Returns
    -------
    peak
        The fit. It has a ``reason`` instead if there are fewer than 50 atoms, if more
        than 20 % of them have exactly the same T_ML, or if fewer than 25 are in the
        window. The second happens if all neighbors of many atoms belong to the coldest
        class.

    Notes
    -----
    Intervals are too narrow, because neighboring atoms are not independent. Hot atoms
    below ``center + width`` count as part of the peak.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> t = np.concatenate([rng.normal(300, 40, 8000), rng.uniform(500, 1500, 2000)])
    >>> peak = fit_peak(t, n_resamples=20)
    >>> round(peak.center.value), round(peak.area.value, 2)  # 300 and 0.8 were put in
    (299, 0.78)
    """
    x = np.sort(np.asarray(t_ml, dtype=np.float64))
    reason = _why_none(x)
    values = np.full(4, np.nan) if reason else np.array(_fit(x))
    if not reason and not np.isfinite(values).all():
        reason = f"fewer than {FEWEST // 2} atoms are near the densest T_ML, too few for a peak"
    if reason:
        nothing = Measured(np.nan, np.nan, np.nan)
        return GaussianPeak(nothing, nothing, nothing, nothing, np.nan, reason)
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [_fit(x[np.sort(rng.integers(0, len(x), len(x)))]) for _ in range(n_resamples)]
    )
    low, high = interval_ends(drawn, LEVEL)
    center, width, area, tail = _measured(values, low, high)
    return GaussianPeak(center, width, area, tail, _misfit(x, values[0], values[1]))


def _measured(values: FloatArray, low: FloatArray, high: FloatArray) -> list[Measured]:
    return [
        Measured(float(v), float(a), float(b)) for v, a, b in zip(values, low, high, strict=True)
    ]


def _why_none(x: FloatArray) -> str:
    if len(x) < FEWEST:
        return f"{len(x)} atoms are too few for a peak; at least {FEWEST} are needed"
    value, count = np.unique(x, return_counts=True)
    share = float(count.max() / len(x))
    if share > LARGEST_SHARE:
        return (
            f"{100 * share:.0f} % of the atoms have a T_ML of exactly {value[count.argmax()]:.0f} "
            "K, so the distribution is not a Gaussian"
        )
    return ""


def _fit(x: FloatArray) -> tuple[float, float, float, float]:
    """Return center, width, area and tail of sorted values."""
    center = half_sample_mode(x)
    below = center - x[x <= center]
    width = float(np.median(below)) / 0.6745 or float(x.std()) or 1.0
    total, square = (np.concatenate([[0.0], np.cumsum(part)]) for part in (x, x**2))
    for _ in range(PASSES):
        ends = center - COLD * width, center + HOT * width
        first, last = np.searchsorted(x, ends)
        n = int(last - first)
        if n < FEWEST // 2:
            return (np.nan,) * 4
        mean = float(total[last] - total[first]) / n
        variance = max(float(square[last] - square[first]) / n - mean**2, 1e-12)
        found = _most_likely((mean - center) / width, variance / width**2)
        # a step that leaves the window by far says that the window has no maximum
        center = center + width * min(max(found[0], -1.0), 1.0)
        width = width * min(max(found[1], 0.5), 2.0)
    first, last = np.searchsorted(x, [center - COLD * width, center + HOT * width])
    area = float(last - first) / len(x) / float(ndtr(HOT) - ndtr(-COLD))
    hot = len(x) - int(np.searchsorted(x, center + TAIL * width))
    return center, width, area, hot / len(x) - area * float(ndtr(-TAIL))


def _most_likely(mean: float, variance: float) -> tuple[float, float]:
    """Return center and width of the Gaussian that has these moments in the window.

    Lengths are in units of the last width, from the last center. Gaussians in a window
    are an exponential family, so Newton's method on its two parameters converges.
    """
    square = variance + mean**2
    linear, quadratic = 0.0, -0.5
    c, w = 0.0, 1.0
    for _ in range(MAX_STEPS):
        e = _moments(c, w)
        off = mean - e[1], square - e[2]
        v11, v12, v22 = e[2] - e[1] ** 2, e[3] - e[1] * e[2], e[4] - e[2] ** 2
        det = v11 * v22 - v12**2
        if not det > 0:
            break
        step = (v22 * off[0] - v12 * off[1]) / det, (v11 * off[1] - v12 * off[0]) / det
        share = 1.0
        while quadratic + share * step[1] > FLATTEST and share > 1e-3:
            share /= 2.0
        if share <= 1e-3:
            break
        linear, quadratic = linear + share * step[0], quadratic + share * step[1]
        w = math.sqrt(-0.5 / quadratic)
        c = linear * w**2
        if max(abs(step[0]), abs(step[1])) < 1e-10:
            break
    return c, w


def _moments(center: float, width: float) -> tuple[float, ...]:
    """Return the moments 0 to 4 of a Gaussian in the window."""
    a, b = (-COLD - center) / width, (HOT - center) / width
    inside = 0.5 * (math.erf(b / math.sqrt(2.0)) - math.erf(a / math.sqrt(2.0)))
    if inside < 1e-12:
        return (1.0, center, center**2, center**3, center**4)
    norm = inside * math.sqrt(2.0 * math.pi)
    at_a, at_b = math.exp(-0.5 * a * a) / norm, math.exp(-0.5 * b * b) / norm
    m = [1.0, at_a - at_b]
    for k in range(2, 5):
        m.append((k - 1) * m[k - 2] + a ** (k - 1) * at_a - b ** (k - 1) * at_b)
    return tuple(
        sum(math.comb(k, n) * center ** (k - n) * width**n * m[n] for n in range(k + 1))
        for k in range(5)
    )


def _misfit(x: FloatArray, center: float, width: float) -> float:
    inside = x[(x > center - COLD * width) & (x < center + HOT * width)]
    if len(inside) < 2:
        return np.nan
    value, count = np.unique(inside, return_counts=True)
    expected = (ndtr((value - center) / width) - ndtr(-COLD)) / (ndtr(HOT) - ndtr(-COLD))
    # the middle of a step: T_ML is a mean of k classes and has steps
    middle = (np.cumsum(count) - 0.5 * count) / len(inside)
    return float(np.abs(middle - expected).max())


def half_sample_mode(x: FloatArray) -> float:
    """Return the half-sample mode: the densest half of the densest half of ....

    Parameters
    ----------
    x
        Sorted values (row,).

    References
    ----------
    Bickel, Fruehwirth, Comput. Stat. Data Anal. 50, 3500 (2006).

    Examples
    --------
    >>> half_sample_mode(np.array([0.0, 1.0, 1.1, 1.2, 5.0, 9.0]))
    1.15
    """
    while len(x) > 3:
        n = (len(x) + 1) // 2
        spans = x[n - 1 :] - x[: len(x) - n + 1]
        narrow = np.flatnonzero(spans == spans.min())
        first = int(narrow[len(narrow) // 2])
        x = x[first : first + n]
    if len(x) == 3:
        x = x[:2] if x[1] - x[0] < x[2] - x[1] else x[1:]
    return float(x.mean())


def excess_over(
    t_ml: FloatArray,
    control: FloatArray,
    name: str,
    *,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
) -> Excess:
    """Compare hot atoms of a run with those of its unstressed control.

    Parameters
    ----------
    t_ml
        T_ML in K (atom,).
    control
        T_ML of the control from the same model (atom,).
    name
        Name of the control.
    seed
        Seed of the bootstrap.
    n_resamples
        Resamples of the atoms of both.

    Examples
    --------
    >>> cold = np.arange(1000.0)
    >>> hot = np.where(np.arange(1000) < 100, 5000.0, cold)
    >>> round(excess_over(hot, cold, "100", n_resamples=20).excess.value, 6)
    0.1
    """
    x, y = (np.sort(np.asarray(part, dtype=np.float64)) for part in (t_ml, control))
    rng = np.random.default_rng(seed)
    threshold = float(np.quantile(y, CONTROL_QUANTILE))
    drawn, chance = [], []
    both = np.sort(np.concatenate([x, y]))
    for _ in range(n_resamples):
        a, b = (np.sort(part[rng.integers(0, len(part), len(part))]) for part in (x, y))
        # the threshold is estimated too
        limit = float(np.quantile(b, CONTROL_QUANTILE))
        drawn.append((_above(a, limit), _above(a, limit) - _above(b, limit), _moved(a, b)))
        a, b = (np.sort(both[rng.integers(0, len(both), len(part))]) for part in (x, y))
        chance.append(_moved(a, b))
    low, high = interval_ends(np.array(drawn), LEVEL)
    share = _above(x, threshold)
    values = np.array([share, share - _above(y, threshold), _moved(x, y)])
    hot, excess, moved = _measured(values, low, high)
    return Excess(name, threshold, hot, excess, moved, float(np.quantile(chance, 0.95)))


def _above(x: FloatArray, limit: float) -> float:
    """Return the share of sorted values above a limit."""
    return float(1.0 - np.searchsorted(x, limit, side="right") / len(x))


def _moved(x: FloatArray, y: FloatArray) -> float:
    """Return the largest excess of the share above any limit; both are sorted."""
    at = np.unique(np.concatenate([x, y]))
    shares = [np.searchsorted(part, at, side="right") / len(part) for part in (x, y)]
    return float(max((shares[1] - shares[0]).max(), 0.0))


def share_above(t_ml: FloatArray, limit: float) -> Measured:
    """Return the share of the atoms above a temperature, with Wilson's interval.

    Parameters
    ----------
    t_ml
        T_ML in K (atom,).
    limit
        Temperature in K, such as the glass transition.
    """
    n, hot = np.array([len(t_ml)]), np.array([int((t_ml > limit).sum())])
    low, high = wilson_interval(hot, n, LEVEL)
    return Measured(float(hot[0] / n[0]), float(low[0]), float(high[0]))


def bin_edges(every: Sequence[FloatArray]) -> FloatArray:
    """Return edges of bins that hold all values, 60 bins of equal width.

    Parameters
    ----------
    every
        T_ML in K of the distributions that share the bins.
    """
    low = min(float(part.min()) for part in every)
    high = max(float(part.max()) for part in every)
    return np.linspace(low, high if high > low else low + 1.0, N_BINS + 1)


def distribution_of(
    name: str,
    form: str,
    t_ml: FloatArray,
    edges: FloatArray,
    peak: GaussianPeak,
    *,
    glass_temperature: float | None = None,
    control: bool = False,
) -> Distribution:
    """Return the view of a distribution for the figures.

    Parameters
    ----------
    name, form
        Name of the store, and form of the feature.
    t_ml
        T_ML in K (atom,).
    edges
        Edges of the bins in K.
    peak
        Its Gaussian peak.
    glass_temperature
        Glass transition in K; None if it is not given.
    control
        Whether this is the unstressed control.
    """
    count, _ = np.histogram(t_ml, edges)
    above = np.nan if glass_temperature is None else share_above(t_ml, glass_temperature).value
    return Distribution(
        name,
        form,
        edges,
        count / (len(t_ml) * np.diff(edges)),
        peak.center.value,
        peak.width.value,
        peak.area.value,
        peak.tail.value,
        above,
        control,
    )
