"""Relaxation times of correlation functions, and Kohlrausch fits of their decay.

Times are in ps. Neighboring lags of one correlation function come from the same
trajectory, so their errors are correlated. Give ``samples`` if you can: the curves of
independent runs, or of distant groups of atoms. The standard errors are then right for
any correlation of the lags. With ``error``, or without any, the range of the
correlation is estimated from the residuals. That works if it is short compared with the
decay. A ``reduced_chi2`` far above 1 means that the given errors are too small or that
the law does not hold. See ``mgdask.analysis.curve_errors``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.special import digamma, gamma

from mgdask._typing import BoolArray, FloatArray
from mgdask.analysis.curve_errors import CurveErrors, as_uncertain_curve, propagate
from mgdask.analysis.estimate import (
    Estimate,
    FitResult,
    as_curve,
    check_points,
    describe,
    describe_window,
    fit_line,
    least_squares,
)
from mgdask.errors import ParameterError

_BETA_RANGE = (1e-3, 1.5)
_NO_ERRORS = "give samples (self_scattering with regions=3 has them), covariance or error"


@dataclass(frozen=True)
class RelaxationTime:
    """Time at which a correlation function falls below a level.

    Parameters
    ----------
    value
        Relaxation time in ps; NaN if there is none.
    error
        Standard error in ps; NaN if no errors of the correlation were given.
    level
        Level of the correlation function.
    bracket
        Times in ps of the last point above and the first point below the level.
    reason
        Why there is no value; empty if there is one.
    points
        Number of points that determine the value; 2 if it is interpolated.
    note
        Why there is a value without an error; empty if there is an error.
    dof
        Degrees of freedom behind the error: the number of samples minus 1. Infinite if
        the errors of the points or their covariance were given.
    """

    value: float
    error: float
    level: float
    bracket: tuple[float, float]
    reason: str = ""
    points: int = 0
    note: str = ""
    dof: float = math.inf

    @property
    def found(self) -> bool:
        """Whether there is a value."""
        return not self.reason

    @property
    def estimate(self) -> Estimate:
        """Value and error in ps, with the degrees of freedom behind the error."""
        return Estimate(self.value, self.error, "ps", self.dof, self.reason or self.note)

    def __str__(self) -> str:
        if self.reason:
            return f"no relaxation time at level {self.level:.4g}: {self.reason}"
        return describe({"tau": self.estimate}, f"at level {self.level:.4g}")


def relaxation_time(
    time: npt.ArrayLike | None,
    correlation: npt.ArrayLike,
    level: float = 1.0 / math.e,
    *,
    error: npt.ArrayLike | None = None,
    covariance: npt.ArrayLike | None = None,
    samples: npt.ArrayLike | None = None,
) -> RelaxationTime:
    """Find the time at which a correlation function falls below a level.

    The function may be F_s(q, t) or an overlap. If its points are precise, it is
    interpolated linearly in lg t::

        lg tau = lg t_1 + (F_1 - level) / (F_1 - F_2) (lg t_2 - lg t_1)

    (t_1, F_1) is the last point above ``level``, and (t_2, F_2) the first point below
    it. Any rise of F is removed before by isotonic regression. If the noise exceeds 5 %
    of F_1 - F_2, a polynomial in ln t is fitted to the points near the level instead.

    Parameters
    ----------
    time
        Lag times in ps, shape (n,), increasing. None takes the coordinate ``time``,
        ``mean_lag`` or ``lag`` of a DataArray with dim ``lag``.
    correlation
        Correlation function, shape (n,). NaN points are left out.
    level
        Level above 0. Default: 1/e.
    error
        Standard errors of ``correlation``, shape (n,).
    covariance
        Covariance of ``correlation``, shape (n, n), in place of ``error``.
    samples
        Correlation functions of m independent parts, shape (m, n), whose mean is
        ``correlation``. At least 3, better 16 or more. In place of ``error``.

    Returns
    -------
    result
        Value and error in ps with the bracket (t_1, t_2). The value is NaN if the
        correlation never falls below the level, starts below it, or is too noisy to
        locate the crossing. ``reason`` then says why.

    Raises
    ------
    ParameterError
        If the arrays do not fit together or ``level`` is not positive.

    Notes
    -----
    Valid if lags are dense in lg t, about five per decade. The fit takes points within
    8 standard errors of the level, and at least the 11 nearest ones. They lie between
    0.4 times the level and 60 % of the way from the level to the largest value. The
    degree is 3 with 8 points and more, 2 with 6 and 7, and 1 with 4 and 5.

    The first crossing of a noisy curve is biased to short times; the fit is not. If
    only ``error`` is given, the range of the correlation between points is estimated
    from the residuals. These do not reveal noise that varies as slowly as the decay
    itself: give ``samples``. If no errors are given, the error is NaN and ``note`` says
    why.

    References
    ----------
    Usual definition: Kob, Andersen, Phys. Rev. E 52, 4134 (1995); Zhang et al.,
    supporting information, section 2.1: the time at which F_s has decayed to 1/e.

    Examples
    --------
    >>> t = np.logspace(-1, 3, 81)
    >>> print(f"{relaxation_time(t, np.exp(-t / 20.0)).value:.2f}")
    20.00
    """
    if not (math.isfinite(level) and level > 0):
        raise ParameterError(f"level={level} must be a number above 0; 1/e is customary")
    t, f, errors = as_uncertain_curve(time, correlation, "correlation", error, covariance, samples)
    positive = t > 0
    t, f, errors = t[positive], f[positive], errors.select(positive)
    smooth = _falling(f, errors.weights)
    below = np.flatnonzero(smooth < level)
    reason = _why_no_crossing(t, smooth, below)
    if reason:
        return RelaxationTime(math.nan, math.nan, level, (math.nan, math.nan), reason)
    return _crossing(t, f, smooth, int(below[0]), level, errors)


def _falling(f: FloatArray, sigma: FloatArray | None) -> FloatArray:
    """Return the nearest curve that never rises (isotonic regression)."""
    if len(f) < 2:
        return f
    weights = None if sigma is None else 1.0 / sigma**2
    return np.asarray(isotonic_regression(f, weights=weights, increasing=False).x)


def _crossing(
    t: FloatArray, f: FloatArray, smooth: FloatArray, k: int, level: float, errors: CurveErrors
) -> RelaxationTime:
    """Locate the level between points k - 1 and k: interpolate, or fit if noisy."""
    x, bracket = np.log(t), (float(t[k - 1]), float(t[k]))
    drop, width = float(smooth[k - 1] - smooth[k]), float(x[k] - x[k - 1])
    middle = float(x[k - 1]) + (float(smooth[k - 1]) - level) / drop * width
    top = level + 0.6 * (float(smooth[0]) - level)
    near = (smooth >= 0.4 * level) & (smooth <= top)
    near[[k - 1, k]] = True
    note = "" if errors.known else _NO_ERRORS
    if errors.sigma is not None:
        noise = float(errors.sigma[[k - 1, k]].max())
    else:
        wide = _local_fit(x, f, near, middle, level, errors)
        noise = 0.0 if wide is None else wide.scatter
    near = _narrowed(near, x - middle, smooth - level, 8.0 * noise)
    fitted = _local_fit(x, f, near, middle, level, errors)
    plain = bool(smooth[k - 1] == f[k - 1] and smooth[k] == f[k])
    if near.sum() < 4 or (plain and noise < 0.05 * drop):
        tau, error = math.exp(middle), math.nan
        if errors.sigma is not None:
            gradient = np.array([[level - f[k], f[k - 1] - level]]) * (width / drop**2)
            pair = np.zeros(len(f), dtype=bool)
            pair[[k - 1, k]] = True
            own = errors.select(pair)
            variance = propagate(own, gradient, np.eye(2), np.zeros(2), x[[k - 1, k]])
            error = tau * math.sqrt(float(variance[0, 0]))
        return RelaxationTime(tau, error, level, bracket, points=2, note=note, dof=errors.dof)
    if fitted is None:
        reason = (
            "the noise is too large to locate the crossing; a polynomial through the points near "
            f"{bracket[0]:g} ps does not fall through the level. Give more samples"
        )
        return RelaxationTime(math.nan, math.nan, level, bracket, reason)
    tau = math.exp(fitted.x)
    points = int(near.sum())
    return RelaxationTime(
        tau, tau * fitted.error, level, bracket, points=points, note=note, dof=errors.dof
    )


def _narrowed(
    near: BoolArray, distance: FloatArray, above: FloatArray, half_width: float
) -> BoolArray:
    """Keep points within a half-width of the level, and the 11 nearest ones."""
    order = np.argsort(np.where(near, np.abs(distance), np.inf), kind="stable")
    nearest = np.zeros_like(near)
    nearest[order[:11]] = True
    return np.asarray(near & (nearest | (np.abs(above) <= half_width)))


_DEGREES = ((3, 8), (2, 6), (1, 4))
"""Degree of the local polynomial and the minimum number of points for it."""


@dataclass(frozen=True)
class _LocalFit:
    x: float
    error: float
    scatter: float


def _local_fit(
    x: FloatArray, f: FloatArray, near: BoolArray, guess: float, level: float, errors: CurveErrors
) -> _LocalFit | None:
    """Fit a polynomial near the level; None if it does not fall through the level."""
    degree = next((d for d, minimum in _DEGREES if near.sum() >= minimum), 0)
    if not degree:
        return None
    x, f, errors = x[near], f[near], errors.select(near)
    u = x - guess
    basis = np.vander(u, degree + 1, increasing=True)
    weight = np.ones_like(u) if errors.weights is None else 1.0 / errors.weights
    smoother = np.linalg.pinv(basis * weight[:, None]) * weight
    c = smoother @ f
    roots = np.roots([*c[:0:-1], c[0] - level])
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real >= u[0]) & (roots.real <= u[-1])]
    slopes = np.polyval(np.polyder(c[::-1]), real)
    real, slopes = real[slopes < 0], slopes[slopes < 0]
    if not len(real):
        return None
    nearest = int(np.abs(real).argmin())
    root, slope = float(real[nearest]), float(slopes[nearest])
    residual = f - basis @ c
    free = len(u) - degree - 1
    scatter = math.sqrt(float((residual**2).sum()) / free) if free > 0 else 0.0
    gradient = -(np.array([root]) ** np.arange(degree + 1))[None] @ smoother / slope
    error = math.nan
    if errors.sigma is not None:
        variance = propagate(errors, gradient, basis, residual, x)
        error = math.sqrt(float(variance[0, 0]))
    return _LocalFit(guess + root, error, scatter)


def _why_no_crossing(t: FloatArray, f: FloatArray, below: npt.NDArray[np.intp]) -> str:
    """Explain why a level is not crossed from above; empty if it is."""
    if not len(t):
        return "there is no point at a lag above zero"
    if not len(below):
        return (
            f"it never falls below; the smallest value is {f.min():.4g}, "
            f"the longest lag {t[-1]:g} ps"
        )
    if below[0] == 0:
        return (
            f"it starts below: {f[0]:.4g} at the shortest lag above zero, {t[0]:g} ps; "
            "shorter lags are needed"
        )
    return ""


@dataclass(frozen=True)
class Kohlrausch:
    """Fit of a stretched exponential f exp(-(t / tau)^beta).

    Parameters
    ----------
    f
        Height of the plateau.
    tau
        Relaxation time in ps.
    beta
        Stretching exponent.
    mean
        Mean relaxation time tau / beta Gamma(1 / beta) in ps.
    window
        First and last fitted lag in ps.
    points
        Number of fitted points.
    reduced_chi2
        Reduced chi squared; NaN if no errors of the correlation were given.
    note
        Reservations about the fit; empty if there are none.
    """

    f: Estimate
    tau: Estimate
    beta: Estimate
    mean: Estimate
    window: tuple[float, float]
    points: int
    reduced_chi2: float
    note: str = ""

    def curve(self, time: npt.ArrayLike) -> FloatArray:
        """Evaluate the fitted correlation function.

        Parameters
        ----------
        time
            Lag times in ps, any shape.

        Returns
        -------
        correlation
            Correlation of the same shape.
        """
        ratio = np.asarray(time, dtype=np.float64) / self.tau.value
        return np.asarray(self.f.value * np.exp(-(ratio**self.beta.value)))

    def __str__(self) -> str:
        return describe(
            {"f": self.f, "tau": self.tau, "beta": self.beta, "mean": self.mean},
            describe_window(self.points, self.window),
            self.note,
        )


def _stretched_exponential(t: FloatArray, f: float, log_tau: float, beta: float) -> FloatArray:
    """Kohlrausch function with ln tau as parameter."""
    exponent = np.minimum(beta * (np.log(t) - log_tau), 7.0)  # exp(-exp(7)) is zero
    return np.asarray(f * np.exp(-np.exp(exponent)))


def after_plateau(time: npt.ArrayLike, correlation: npt.ArrayLike) -> float:
    """Find the time at which a correlation function leaves its plateau.

    The plateau is the flattest part in lg t before the final decay. Slopes s(t) = -dF /
    d lg t are those of straight lines through the points within a quarter of a decade.
    The search starts where F is 1/e of its first value, or at the end. It goes to
    shorter times until the slope exceeds 1.5 times the flattest slope plus 2 % of the
    range of F. This rise marks the microscopic decay. Without a microscopic decay in
    the data the result is the first lag.

    Parameters
    ----------
    time
        Lag times in ps, shape (n,), increasing.
    correlation
        Correlation function, shape (n,).

    Returns
    -------
    time
        Time in ps, one of the data.

    Raises
    ------
    ParameterError
        If the arrays do not fit together or hold no finite point.

    Notes
    -----
    The definition is mgdask's own. It is not valid if plateau and final decay are not
    separated, as in hot liquids.

    Examples
    --------
    >>> t = np.logspace(-2, 4, 121)
    >>> fast, slow = np.exp(-((t / 0.1) ** 2)), np.exp(-((t / 500.0) ** 0.7))
    >>> 0.2 < after_plateau(t, 0.3 * fast + 0.7 * slow) < 2.0
    True
    """
    t, f, _ = as_curve(time, correlation, "correlation", None)
    positive = t > 0
    t, f = t[positive], f[positive]
    if not len(t):
        raise ParameterError(
            "correlation has no finite value at a lag above zero; give at least one"
        )
    slope = _local_slopes(np.log10(t), f)
    below = np.flatnonzero(f < f[0] / math.e)
    flattest = int(below[0]) if len(below) else len(t) - 1
    margin = 0.02 * float(np.ptp(f))
    for k in range(flattest, -1, -1):
        if slope[k] < slope[flattest]:
            flattest = k
        elif slope[k] > 1.5 * abs(slope[flattest]) + margin:
            break
    return float(t[flattest])


def _local_slopes(log_time: FloatArray, f: FloatArray) -> FloatArray:
    """Slopes -dF / d lg t of lines through the points within a quarter of a decade."""
    slope = np.full(len(f), np.nan)
    for k in range(len(f)):
        near = np.abs(log_time - log_time[k]) <= 0.25
        if near.sum() < 3:
            near = np.zeros(len(f), dtype=bool)
            near[max(0, k - 1) : k + 2] = True
        if near.sum() >= 2:
            slope[k] = -fit_line(log_time[near], f[near], None).parameters[1]
    return slope


def fit_kohlrausch(
    time: npt.ArrayLike | None,
    correlation: npt.ArrayLike,
    from_time: float | None = None,
    *,
    error: npt.ArrayLike | None = None,
    covariance: npt.ArrayLike | None = None,
    samples: npt.ArrayLike | None = None,
) -> Kohlrausch:
    """Fit a Kohlrausch (stretched exponential) law to the final decay of a correlation.

    The law and its mean relaxation time are::

        F(t) = f exp(-(t / tau)^beta),   0 < beta <= 1.5
        <tau> = tau / beta Gamma(1 / beta)

    Parameters
    ----------
    time
        Lag times in ps, shape (n,), or None, as in ``relaxation_time``.
    correlation
        Correlation function, shape (n,). NaN points are left out.
    from_time
        Time in ps before which points are left out. None starts at the end of the
        plateau; see ``after_plateau``. The point t = 0 is never used.
    error
        Standard errors of ``correlation``, shape (n,), used as weights.
    covariance
        Covariance of ``correlation``, shape (n, n), in place of ``error``. Its diagonal
        gives the weights.
    samples
        Correlation functions of m independent parts, shape (m, n), whose mean is
        ``correlation``. At least 3, better 16 or more. In place of ``error``.

    Returns
    -------
    fit
        Value and standard error of f, tau, beta and <tau>, with the fitted window.

    Raises
    ------
    ParameterError
        If fewer than 4 points remain or the arrays do not fit together.

    Notes
    -----
    tau is fitted as ln tau. With A = (J' W J)^-1 J' W, errors come from A C A', where C
    is the covariance of the points. The error of <tau> is first order. C is given, or
    computed from ``samples``. Otherwise it is an exponential correlation in ln t, with
    a range determined from the residuals. These do not reveal noise that varies as
    slowly as the decay itself: give ``samples``. If the data end above f / e, tau is
    extrapolated and ``note`` says so. If beta is at its bound, the errors are NaN.

    References
    ----------
    Kohlrausch, Ann. Phys. 167, 179 (1854); Williams, Watts, Trans. Faraday Soc. 66, 80
    (1970).

    Examples
    --------
    >>> t = np.logspace(-1, 4, 60)
    >>> fit = fit_kohlrausch(t, 0.8 * np.exp(-((t / 300.0) ** 0.6)))
    >>> print(f"{fit.f.value:.3f} {fit.tau.value:.1f} {fit.beta.value:.3f}")
    0.800 300.0 0.600
    """
    t, y, errors = as_uncertain_curve(time, correlation, "correlation", error, covariance, samples)
    if not (t > 0).any():
        raise ParameterError(
            "correlation has no finite value at a lag above zero; give at least one"
        )
    if from_time is not None and not math.isfinite(from_time):
        raise ParameterError(
            f"from_time={from_time} must be a time in ps, or None for the end of the plateau"
        )
    start = after_plateau(t, y) if from_time is None else from_time
    keep = (t > 0) & (t >= start)
    t, y = t[keep], y[keep]
    errors = errors.select(keep)
    check_points(f"correlation from {start:g} ps on", len(t), 3, errors.known)
    fit = least_squares(
        "Kohlrausch fit",
        _stretched_exponential,
        _kohlrausch_start(t, y),
        t,
        y,
        errors.weights,
        ((0.0, -np.inf, _BETA_RANGE[0]), (np.inf, np.inf, _BETA_RANGE[1])),
    )
    return _kohlrausch(_with_correlation(fit, t, y, errors), t, y)


def _with_correlation(
    fit: FitResult, t: FloatArray, y: FloatArray, errors: CurveErrors
) -> FitResult:
    """Replace the covariance of the parameters with one for correlated points."""
    f, log_tau, beta = fit.parameters.tolist()
    shape = _stretched_exponential(t, 1.0, log_tau, beta)
    exponent = np.exp(np.minimum(beta * (np.log(t) - log_tau), 7.0))
    jacobian = np.stack(
        [shape, f * shape * exponent * beta, -f * shape * exponent * (np.log(t) - log_tau)], axis=1
    )
    weight = np.ones_like(t) if errors.weights is None else 1.0 / errors.weights
    solve = np.linalg.pinv(jacobian * weight[:, None]) * weight
    residual = y - f * shape
    covariance = propagate(errors, solve, jacobian, residual, np.log(t))
    dof = fit.dof if errors.covariance is None else errors.dof
    return replace(fit, covariance=covariance, dof=dof)


def _kohlrausch_start(t: FloatArray, y: FloatArray) -> tuple[float, float, float]:
    """Guess f, ln tau and beta."""
    height = float(y[: max(1, len(y) // 20)].mean())
    if height <= 0:
        raise ParameterError(
            f"correlation is {height:.3g} at {t[0]:g} ps, where the fit starts; "
            "it must be above 0: lower from_time"
        )
    below = np.flatnonzero(y < height / math.e)
    tau = float(t[below[0]]) if len(below) else 3.0 * float(t[-1])
    return height, math.log(tau), 0.7


def _kohlrausch(fit: FitResult, t: FloatArray, y: FloatArray) -> Kohlrausch:
    """Turn fitted (f, ln tau, beta) into the result, with its reservations."""
    f, log_tau, beta = fit.parameters.tolist()
    errors, notes, why = fit.errors, [], ""
    if y[-1] > f / math.e:
        notes.append(f"the data end at {y[-1]:.3g}, above f/e: tau is extrapolated")
    if beta > _BETA_RANGE[1] - 1e-6 or beta < _BETA_RANGE[0] + 1e-6:
        why = f"beta is on its bound {beta:.3g}"
        notes.append(why)
        errors = np.full(3, np.nan)
    tau, dof = math.exp(log_tau), fit.dof
    mean = tau / beta * float(gamma(1.0 / beta))
    mean_error = math.nan
    if np.isfinite(errors).all():
        # gradient of ln <tau>
        gradient = np.array([0.0, 1.0, -(1.0 + float(digamma(1.0 / beta)) / beta) / beta])
        mean_error = mean * math.sqrt(max(0.0, gradient @ fit.covariance @ gradient))
    return Kohlrausch(
        f=Estimate(f, float(errors[0]), "1", dof, why),
        tau=Estimate(tau, tau * float(errors[1]), "ps", dof, why),
        beta=Estimate(beta, float(errors[2]), "1", dof, why),
        mean=Estimate(mean, mean_error, "ps", dof, why),
        window=(float(t[0]), float(t[-1])),
        points=len(t),
        reduced_chi2=fit.reduced_chi2,
        note="; ".join(notes),
    )
