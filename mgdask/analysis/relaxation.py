"""Relaxation: times of correlation functions, Kohlrausch and VFT fits, barriers, diffusion, non-Gaussian parameter.

Times in ps, temperatures in K, energies in eV, lengths in Å. Standard errors come from the covariance of a
least-squares fit: weighted by the errors of the data where given, else scaled by the residuals. Both take the points as
independent. Points of one correlation function at neighbouring lags come from the same trajectory and are not: their
errors come out too small, and independent runs should be fitted one by one instead, the spread of their results being
the error. A ``reduced_chi2`` far above 1 says that the given errors are too small, or the law is not the data's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, gamma

from mgdask.analysis.estimate import (
    Estimate,
    Float,
    curve_of,
    enough,
    least_squares,
    line,
)
from mgdask.errors import ParameterError

LN10 = math.log(10.0)


@dataclass(frozen=True)
class RelaxationTime:
    """Time in ps at which a correlation falls below ``level``; NaN with a ``reason`` where it does not."""

    value: float
    error: float
    level: float
    bracket: tuple[float, float]
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether there is a value."""
        return not self.reason

    def __str__(self) -> str:
        if self.reason:
            return f"no relaxation time at level {self.level:.4g}: {self.reason}"
        return f"tau = {Estimate(self.value, self.error, 'ps')} at level {self.level:.4g}"


def relaxation_time(
    time: npt.ArrayLike | None,
    correlation: npt.ArrayLike,
    level: float = 1.0 / math.e,
    *,
    error: npt.ArrayLike | None = None,
) -> RelaxationTime:
    """Time at which a correlation function, such as F_s(q, t) or an overlap, first falls below a level.

        lg tau = lg t_1 + (F_1 - level) / (F_1 - F_2) (lg t_2 - lg t_1)

    with (t_1, F_1) the last point before, and (t_2, F_2) the first point below ``level``.

    Parameters: ``time`` (n,) in ps, increasing; None takes the coordinate ``time`` or ``lag`` of a DataArray with dim
    ``lag``. ``correlation`` (n,), NaN points left out; ``level`` above 0; ``error`` (n,) the standard errors of
    ``correlation``, propagated through the formula.

    Returns a ``RelaxationTime``: value and error in ps (error NaN without ``error``), ``bracket`` (t_1, t_2). It is
    NaN, with a reason, if the correlation never falls below, or is below at the shortest lag above zero. Valid where
    lags are dense against lg t (some 5 a decade). A noisy curve that hovers at the level gives the first of its
    crossings, which is biased low. ``ParameterError`` for arrays that do not fit together.

    Source: the usual definition, e.g. Kob, Andersen, Phys. Rev. E 52, 4134 (1995).

    >>> t = np.logspace(-1, 3, 81)
    >>> print(f"{relaxation_time(t, np.exp(-t / 20.0)).value:.2f}")
    20.00
    """
    if not (math.isfinite(level) and level > 0):
        raise ParameterError(f"level={level} must be a number above 0; 1/e is customary")
    t, f, sigma = curve_of(time, correlation, "correlation", error)
    later = t > 0
    t, f = t[later], f[later]
    sigma = None if sigma is None else sigma[later]

    def missing(reason: str) -> RelaxationTime:
        return RelaxationTime(math.nan, math.nan, level, (math.nan, math.nan), reason)

    if not len(t):
        return missing("there is no point at a lag above zero")
    below = np.flatnonzero(f < level)
    if not len(below):
        return missing(
            f"it never falls below; the smallest value is {f.min():.4g}, the longest lag {t[-1]:g} ps"
        )
    k = int(below[0])
    if k == 0:
        return missing(
            f"it starts below: {f[0]:.4g} at the shortest lag above zero, {t[0]:g} ps; shorter lags are needed"
        )
    drop, width = f[k - 1] - f[k], math.log(t[k] / t[k - 1])
    tau = float(t[k - 1] * math.exp((f[k - 1] - level) / drop * width))
    spread = math.nan
    if sigma is not None:
        before, after = (
            (level - f[k]) / drop**2 * sigma[k - 1],
            (f[k - 1] - level) / drop**2 * sigma[k],
        )
        spread = tau * width * math.hypot(before, after)
    return RelaxationTime(tau, spread, level, (float(t[k - 1]), float(t[k])))


@dataclass(frozen=True)
class Kohlrausch:
    """Fit f exp(-(t / tau)^beta) with the mean relaxation time tau / beta Gamma(1 / beta) and its window."""

    f: Estimate
    tau: Estimate
    beta: Estimate
    mean: Estimate
    window: tuple[float, float]
    points: int
    reduced_chi2: float
    note: str = ""

    def curve(self, time: npt.ArrayLike) -> Float:
        """The fitted correlation at ``time`` in ps."""
        ratio = np.asarray(time, dtype=np.float64) / self.tau.value
        return np.asarray(self.f.value * np.exp(-(ratio**self.beta.value)))

    def __str__(self) -> str:
        low, high = self.window
        text = f"f = {self.f}, tau = {self.tau}, beta = {self.beta}, mean = {self.mean}"
        text += f"; {self.points} points from {low:g} to {high:g} ps"
        return f"{text}; {self.note}" if self.note else text


def _stretched(t: Float, f: float, log_tau: float, beta: float) -> Float:
    exponent = np.minimum(beta * (np.log(t) - log_tau), 7.0)  # exp(-exp(7)) is zero
    return np.asarray(f * np.exp(-np.exp(exponent)))


def after_plateau(time: npt.ArrayLike, correlation: npt.ArrayLike) -> float:
    """Time in ps from which a correlation leaves its plateau: where it is flattest against lg t before its final decay.

    Slopes s(t) = -dF / d lg t are those of straight lines through the points within a quarter of a decade. From the
    time where F is 1/e of its first value (or the end), the flattest slope is sought towards shorter times until the
    slope has risen to 1.5 times the flattest one plus 2 % of F's range: that is the microscopic decay. Without a
    microscopic decay in the data it is the first lag.

    Parameters: ``time`` (n,) in ps, increasing; ``correlation`` (n,). Returns a time of the data in ps. Not valid where
    plateau and final decay are not separated (hot liquids): there is no such region then. ``ParameterError`` for arrays
    that do not fit together. A definition of mgdask's own.

    >>> t = np.logspace(-2, 4, 121)
    >>> two_steps = 0.3 * np.exp(-((t / 0.1) ** 2)) + 0.7 * np.exp(-((t / 500.0) ** 0.7))
    >>> 0.2 < after_plateau(t, two_steps) < 2.0
    True
    """
    t, f, _ = curve_of(time, correlation, "correlation", None)
    later = t > 0
    t, f = t[later], f[later]
    if not len(t):
        raise ParameterError("correlation has no finite value at a lag above zero; give some")
    x = np.log10(t)
    slope = np.full(len(t), np.nan)
    for k in range(len(t)):
        near = np.abs(x - x[k]) <= 0.25
        if near.sum() < 3:
            near = np.zeros(len(t), dtype=bool)
            near[max(0, k - 1) : k + 2] = True
        if near.sum() >= 2:
            slope[k] = -line(x[near], f[near], None).parameters[1]
    below = np.flatnonzero(f < f[0] / math.e)
    best = int(below[0]) if len(below) else len(t) - 1
    margin = 0.02 * float(np.ptp(f))
    for k in range(best, -1, -1):
        if slope[k] < slope[best]:
            best = k
        elif slope[k] > 1.5 * abs(slope[best]) + margin:
            break
    return float(t[best])


def fit_kohlrausch(
    time: npt.ArrayLike | None,
    correlation: npt.ArrayLike,
    from_time: float | None = None,
    *,
    error: npt.ArrayLike | None = None,
) -> Kohlrausch:
    """Kohlrausch (stretched exponential) fit of the final decay of a correlation function.

        F(t) = f exp(-(t / tau)^beta),   0 < beta <= 1.5,   <tau> = tau / beta Gamma(1 / beta)

    Parameters: ``time`` (n,) in ps or None, and ``correlation`` (n,), as in ``relaxation_time``; ``from_time`` in ps,
    points before are left out (None: from the plateau on, see ``after_plateau``; t = 0 is never used); ``error`` (n,)
    standard errors of ``correlation`` as weights.

    Returns a ``Kohlrausch`` with value and standard error of f, tau (ps), beta and <tau> (ps), and the window. tau is
    fitted as ln tau; errors come from (J' W J)^-1, scaled by the residuals where no ``error`` is given, first order in
    <tau>. Valid for a decay that is seen: where the data end above f / e, tau is extrapolated, and ``note`` says so; on
    the bound of beta the errors are NaN. Neighbouring lags of one trajectory are correlated, which makes the errors too
    small. ``ParameterError`` for fewer than 4 points and arrays that do not fit together.

    Source: Kohlrausch, Ann. Phys. 167, 179 (1854); Williams, Watts, Trans. Faraday Soc. 66, 80 (1970).

    >>> t = np.logspace(-1, 4, 60)
    >>> fit = fit_kohlrausch(t, 0.8 * np.exp(-((t / 300.0) ** 0.6)))
    >>> print(f"{fit.f.value:.3f} {fit.tau.value:.1f} {fit.beta.value:.3f}")
    0.800 300.0 0.600
    """
    t, y, sigma = curve_of(time, correlation, "correlation", error)
    if not (t > 0).any():
        raise ParameterError("correlation has no finite value at a lag above zero; give some")
    if from_time is not None and not math.isfinite(from_time):
        raise ParameterError(
            f"from_time={from_time} must be a time in ps, or None for the end of the plateau"
        )
    first = after_plateau(t, y) if from_time is None else from_time
    keep = (t > 0) & (t >= first)
    t, y = t[keep], y[keep]
    sigma = None if sigma is None else sigma[keep]
    enough(f"correlation from {first:g} ps on", len(t), 3, sigma is not None)
    height = float(y[: max(1, len(y) // 20)].mean())
    if height <= 0:
        raise ParameterError(
            f"correlation is {height:.3g} at {t[0]:g} ps, where the fit starts; it must be above 0: lower from_time"
        )
    fallen = np.flatnonzero(y < height / math.e)
    guess = float(t[fallen[0]]) if len(fallen) else 3.0 * float(t[-1])
    fit = least_squares(
        "Kohlrausch fit",
        _stretched,
        (height, math.log(guess), 0.7),
        t,
        y,
        sigma,
        (0.0, -np.inf, 1e-3),
        (np.inf, np.inf, 1.5),
    )
    f, log_tau, beta = fit.parameters.tolist()
    errors, notes = fit.errors, []
    if y[-1] > f / math.e:
        notes.append(f"the data end at {y[-1]:.3g}, above f/e: tau is extrapolated")
    if beta > 1.5 - 1e-6 or beta < 1e-3 + 1e-6:
        notes.append(f"beta is on its bound {beta:.3g}: no errors can be given")
        errors = np.full(3, np.nan)
    mean = math.exp(log_tau) / beta * float(gamma(1.0 / beta))
    gradient = np.array(
        [0.0, 1.0, -(1.0 + float(digamma(1.0 / beta)) / beta) / beta]
    )  # of ln <tau>
    spread = (
        mean * math.sqrt(max(0.0, gradient @ fit.covariance @ gradient))
        if np.isfinite(errors).all()
        else math.nan
    )
    tau, dof = math.exp(log_tau), fit.dof
    return Kohlrausch(
        Estimate(f, float(errors[0]), "1", dof),
        Estimate(tau, tau * float(errors[1]), "ps", dof),
        Estimate(beta, float(errors[2]), "1", dof),
        Estimate(mean, spread, "ps", dof),
        (float(t[0]), float(t[-1])),
        len(t),
        fit.reduced_chi2,
        "; ".join(notes),
    )
