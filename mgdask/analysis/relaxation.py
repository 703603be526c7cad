"""Relaxation: times of correlation functions, Kohlrausch and VFT fits, barriers, diffusion, non-Gaussian parameter.

Times in ps, temperatures in K, energies in eV, lengths in Å. Standard errors come from the covariance of a
least-squares fit: weighted by the errors of the data where given, else scaled by the residuals. Both take the points as
independent. Points of one correlation function at neighbouring lags come from the same trajectory and are not: their
errors come out too small, and independent runs should be fitted one by one instead, the spread of their results being
the error. A ``reduced_chi2`` far above 1 says that the given errors are too small, or the law is not the data's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.special import digamma, gamma

from mgdask.analysis.estimate import (
    BOLTZMANN,
    Estimate,
    Float,
    enough,
    errors_of,
    increasing,
    least_squares,
    line,
    positive,
    vector,
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


def _curve(
    time: npt.ArrayLike | None, values: npt.ArrayLike, name: str, error: npt.ArrayLike | None
) -> tuple[Float, Float, Float | None]:
    """Time and values without the NaN points, times increasing and not negative."""
    if time is None:
        if not isinstance(values, xr.DataArray) or "lag" not in values.dims:
            raise ParameterError(
                f"time=None needs {name} as a DataArray with dim 'lag'; give the times of its points in ps"
            )
        if "time" in values.coords and values["time"].dims == ("lag",):
            time = values["time"].values
        elif "lag" in values.coords:
            time = values["lag"].values
        else:
            raise ParameterError(f"{name} has dim 'lag' without a coordinate; give time, or .assign_coords(lag=...)")
    y = vector(name, values, finite=False)
    t = increasing("time", vector("time", time, length=len(y)))
    sigma = None if error is None else vector("error", error, length=len(y), finite=False)
    if len(t) and t[0] < 0:
        raise ParameterError(f"time[0] is {t[0]:g} ps; lag times cannot be negative: give the distance in time")
    keep = np.isfinite(y)
    if sigma is not None:
        sigma = errors_of("error", sigma[keep], int(keep.sum()))
    return t[keep], y[keep], sigma


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
    t, f, sigma = _curve(time, correlation, "correlation", error)
    later = t > 0
    t, f = t[later], f[later]
    sigma = None if sigma is None else sigma[later]

    def missing(reason: str) -> RelaxationTime:
        return RelaxationTime(math.nan, math.nan, level, (math.nan, math.nan), reason)

    if not len(t):
        return missing("there is no point at a lag above zero")
    below = np.flatnonzero(f < level)
    if not len(below):
        return missing(f"it never falls below; the smallest value is {f.min():.4g}, the longest lag {t[-1]:g} ps")
    k = int(below[0])
    if k == 0:
        return missing(
            f"it starts below: {f[0]:.4g} at the shortest lag above zero, {t[0]:g} ps; shorter lags are needed"
        )
    drop, width = f[k - 1] - f[k], math.log(t[k] / t[k - 1])
    tau = float(t[k - 1] * math.exp((f[k - 1] - level) / drop * width))
    spread = math.nan
    if sigma is not None:
        before, after = (level - f[k]) / drop**2 * sigma[k - 1], (f[k - 1] - level) / drop**2 * sigma[k]
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
    t, f, _ = _curve(time, correlation, "correlation", None)
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
    t, y, sigma = _curve(time, correlation, "correlation", error)
    if not (t > 0).any():
        raise ParameterError("correlation has no finite value at a lag above zero; give some")
    if from_time is not None and not math.isfinite(from_time):
        raise ParameterError(f"from_time={from_time} must be a time in ps, or None for the end of the plateau")
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
    gradient = np.array([0.0, 1.0, -(1.0 + float(digamma(1.0 / beta)) / beta) / beta])  # of ln <tau>
    spread = mean * math.sqrt(max(0.0, gradient @ fit.covariance @ gradient)) if np.isfinite(errors).all() else math.nan
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


@dataclass(frozen=True)
class Spread:
    """Bootstrap of one parameter: standard deviation, and the percentiles 2.5 and 97.5."""

    error: float
    low: float
    high: float


@dataclass(frozen=True)
class VFT:
    """Fit lg(tau / ps) = A + B / (T - T0) with the T_g where tau = ``at`` ps and the kinetic fragility m there."""

    a: Estimate
    b: Estimate
    t0: Estimate
    glass_temperature: Estimate
    fragility: Estimate
    at: float
    covariance: tuple[tuple[float, float, float], ...]
    reduced_chi2: float
    bootstrap: Mapping[str, Spread] | None = None
    note: str = ""

    def curve(self, temperature: npt.ArrayLike) -> Float:
        """The fitted relaxation time in ps at ``temperature`` in K; NaN at T0 and below."""
        above = np.asarray(temperature, dtype=np.float64) - self.t0.value
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray(np.where(above > 0, 10.0 ** (self.a.value + self.b.value / above), np.nan))

    def barrier(self, temperature: npt.ArrayLike) -> tuple[Float, Float]:
        """Effective barrier k_B ln 10 B T^2 / (T - T0)^2 in eV at ``temperature`` in K, with its standard error."""
        t = np.asarray(temperature, dtype=np.float64)
        above = np.where(t > self.t0.value, t - self.t0.value, np.nan)
        energy = BOLTZMANN * LN10 * self.b.value * (t / above) ** 2
        by_b, by_t0 = energy / self.b.value, 2.0 * energy / above
        (_, _, _), (_, bb, bt), (_, _, tt) = self.covariance
        return energy, np.sqrt(np.maximum(0.0, by_b**2 * bb + 2.0 * by_b * by_t0 * bt + by_t0**2 * tt))

    def __str__(self) -> str:
        text = f"A = {self.a}, B = {self.b}, T0 = {self.t0}"
        text += f", T_g = {self.glass_temperature} at {self.at:g} ps, m = {self.fragility}"
        return f"{text}; {self.note}" if self.note else text


def _vft(t: Float, a: float, b: float, t0: float) -> Float:
    return np.asarray(a + b / (t - t0))


def _vft_fit(t: Float, lg: Float, sigma: Float | None) -> tuple[Float, Float, float, float, bool]:
    """Parameters, covariance, dof, reduced chi2, whether T0 is held at zero."""
    coldest = float(t.min())

    def at_gap(gap: float) -> tuple[Float, float]:
        found = line(1.0 / (t - coldest + gap), lg, sigma)
        miss = lg - found.parameters[0] - found.parameters[1] / (t - coldest + gap)
        return found.parameters, float(((miss / (1.0 if sigma is None else sigma)) ** 2).sum())

    gaps = coldest * np.logspace(-3, 0, 61)
    best = int(np.argmin([at_gap(gap)[1] for gap in gaps]))
    if best < len(gaps) - 1:
        a, b = at_gap(gaps[best])[0]
        start = (a, max(b, 1e-6), coldest - gaps[best])
        lower, upper = (-np.inf, 0.0, 0.0), (np.inf, np.inf, coldest * (1.0 - 1e-6))
        fit = least_squares("VFT fit", _vft, start, t, lg, sigma, lower, upper)
        if fit.parameters[2] > 1e-6 * coldest:
            return fit.parameters, fit.covariance, fit.dof, fit.reduced_chi2, False
    flat = line(1.0 / t, lg, sigma)
    covariance = np.zeros((3, 3))
    covariance[:2, :2] = flat.covariance
    return np.append(flat.parameters, 0.0), covariance, flat.dof, flat.reduced_chi2, True


def _glass(a: float, b: float, t0: float, at: float) -> tuple[float, float]:
    """T_g and m; NaN where tau never reaches ``at``."""
    rise = math.log10(at) - a
    if rise <= 0:
        return math.nan, math.nan
    tg = t0 + b / rise
    return tg, b * tg / (tg - t0) ** 2


def fit_vft(
    temperature: npt.ArrayLike,
    tau: npt.ArrayLike,
    at: float = 1e4,
    *,
    error: npt.ArrayLike | None = None,
    bootstrap: int = 0,
    seed: int | None = None,
) -> VFT:
    """Vogel-Fulcher-Tammann fit of relaxation times, with the glass transition temperature and the kinetic fragility.

        lg(tau / ps) = A + B / (T - T0),  0 <= T0 < min T,   T_g = T0 + B / (lg at - A)
        m = d lg tau / d(T_g / T) at T_g = B T_g / (T_g - T0)^2

    (with x = T_g / T: d/dx B / (T_g / x - T0) = B T_g x^-2 / (T_g / x - T0)^2, at x = 1.)

    Parameters: ``temperature`` (n,) in K; ``tau`` (n,) in ps; ``at`` the relaxation time in ps that defines T_g: 10^4
    ps is what a simulation reaches, 10^14 ps (100 s) the laboratory's, far outside the data; ``error`` (n,) standard
    errors of tau in ps, as weights through error / (tau ln 10); ``bootstrap`` the number of resamples with ``seed``.

    Returns a ``VFT``. The covariance C of (A, B, T0) is (J' W J)^-1, scaled by the residuals where no ``error`` is
    given; the errors of T_g and m are first order, sqrt(g' C g), with g the analytic gradient. The bootstrap draws new
    lg tau around the fitted curve, from the stated errors where given, else from the residuals times sqrt(n / (n - 3)),
    fits each anew, and gives standard deviations and 95 % percentiles by the names "A", "B", "T0", "T_g", "m": better
    where the fit is far from linear. Where the data bend no more than Arrhenius', T0 is set to 0 without an error,
    those of the others hold it fixed, and ``note`` says so.

    Valid for the equilibrium liquid. Points below the simulation's own glass transition, which age, must be left out.
    T_g outside the data is an extrapolation (in ``note``). ``ParameterError`` for fewer than 4 points (3 with errors),
    tau that does not rise on cooling, no seed.

    Source: Vogel, Phys. Z. 22, 645 (1921); Fulcher (1925); Tammann, Hesse (1926); fragility: Böhmer et al., J. Chem.
    Phys. 99, 4201 (1993).

    >>> T = np.array([900.0, 950, 1000, 1100, 1200, 1400])
    >>> print(round(fit_vft(T, 10 ** (-2.0 + 1500.0 / (T - 600.0))).glass_temperature.value, 3))
    850.0
    """
    t = positive("temperature", vector("temperature", temperature))
    times = positive("tau", vector("tau", tau, length=len(t)))
    if not (math.isfinite(at) and at > 0):
        raise ParameterError(f"at={at} must be a relaxation time in ps above 0; 1e4 is customary in simulations")
    given = errors_of("error", error, len(t))
    sigma = None if given is None else given / (times * LN10)
    distinct = len(np.unique(t))
    enough("temperature (different values)", distinct, 3, sigma is not None)
    lg = np.log10(times)
    if line(1.0 / t, lg, sigma).parameters[1] <= 0:
        raise ParameterError(
            "tau does not rise on cooling, so no VFT law describes it; "
            "check that temperature is in K and tau in its order"
        )
    parameters, covariance, dof, chi2, held = _vft_fit(t, lg, sigma)
    a, b, t0 = parameters.tolist()
    tg, m = _glass(a, b, t0, at)
    notes = []
    if held:
        notes.append("no bend beyond Arrhenius' law: T0 is held at 0 K")
    tg_error = m_error = math.nan
    if math.isnan(tg):
        notes.append(f"tau never reaches {at:g} ps: 10^A is {10.0**a:.3g} ps")
    else:
        rise = math.log10(at) - a
        of_tg = np.array([b / rise**2, 1.0 / rise, 1.0])
        of_m = np.array([-2.0 * rise * t0 / b - 1.0, -(rise**2) * t0 / b**2, rise**2 / b])
        tg_error, m_error = (math.sqrt(max(0.0, g @ covariance @ g)) for g in (of_tg, of_m))
        if not t.min() <= tg <= t.max():
            notes.append(f"T_g is extrapolated: the data span {t.min():g} to {t.max():g} K")
    spreads = None
    if bootstrap:
        spreads, failed = _vft_bootstrap(t, lg, sigma, parameters, at, bootstrap, seed)
        if failed:
            notes.append(f"{failed} of {bootstrap} bootstrap fits failed and were left out")
    errors = np.sqrt(np.maximum(0.0, np.diagonal(covariance)))
    return VFT(
        Estimate(a, float(errors[0]), "1", dof),
        Estimate(b, float(errors[1]), "K", dof),
        Estimate(t0, math.nan if held else float(errors[2]), "K", dof),
        Estimate(tg, tg_error, "K", dof),
        Estimate(m, m_error, "1", dof),
        at,
        tuple((float(r[0]), float(r[1]), float(r[2])) for r in covariance),
        chi2,
        spreads,
        "; ".join(notes),
    )


def _vft_bootstrap(
    t: Float, lg: Float, sigma: Float | None, parameters: Float, at: float, repeats: int, seed: int | None
) -> tuple[dict[str, Spread], int]:
    if repeats < 10:
        raise ParameterError(f"bootstrap={repeats} is too few for an error; give some hundreds, or 0 for none")
    if seed is None:
        raise ParameterError("bootstrap needs a seed; give seed=0 or another whole number, so that it can be repeated")
    rng = np.random.default_rng(seed)
    fitted = _vft(t, *parameters)
    residual = (lg - fitted) * math.sqrt(len(t) / max(1, len(t) - 3))
    rows: list[tuple[float, ...]] = []
    for _ in range(repeats):
        noise = rng.choice(residual, len(t)) if sigma is None else rng.normal(0.0, sigma)
        try:
            a, b, t0 = _vft_fit(t, fitted + noise, sigma)[0].tolist()
        except ParameterError:
            continue
        rows.append((a, b, t0, *_glass(a, b, t0, at)))
    table = np.array(rows).reshape(-1, 5)
    table = table[np.isfinite(table).all(axis=1)]
    if len(table) < 10:
        raise ParameterError(
            f"only {len(table)} of {repeats} bootstrap fits succeeded; the data do not determine the law"
        )
    low, high = np.percentile(table, [2.5, 97.5], axis=0)
    names = ("A", "B", "T0", "T_g", "m")
    found = {n: Spread(float(table[:, k].std(ddof=1)), float(low[k]), float(high[k])) for k, n in enumerate(names)}
    return found, repeats - len(table)


def effective_barrier(
    temperature: npt.ArrayLike, tau: npt.ArrayLike, *, error: npt.ArrayLike | None = None, fit: VFT | None = None
) -> xr.Dataset:
    """Effective activation energy of relaxation against temperature, from successive temperatures and from a VFT fit.

        E_eff = k_B d ln tau / d(1/T),   VFT: E_eff = k_B ln 10 B T^2 / (T - T0)^2,   k_B = 8.617333262e-5 eV/K

    Parameters: ``temperature`` (n,) in K, all different, in any order; ``tau`` (n,) in ps; ``error`` (n,) standard
    errors of tau in ps; ``fit`` a ``VFT``, else one is fitted where there are points enough (4, or 3 with errors).

    Returns a Dataset in eV: ``local`` and ``local_error`` (interval,) between successive temperatures, at
    ``interval_temperature`` 2 / (1/T_1 + 1/T_2), errors NaN without ``error``; ``vft`` and ``vft_error``
    (temperature,), NaN without a fit. Local values of neighbouring intervals share a point, so their errors are
    anticorrelated. Valid as a slope; as the height of a barrier only where it does not depend on T (a constant entropy
    drops out of the slope, a changing one does not). ``ParameterError`` for fewer than 2 temperatures or two equal
    ones.

    Source: e.g. Debenedetti, Stillinger, Nature 410, 259 (2001).

    >>> T = np.array([800.0, 900.0, 1000.0])
    >>> effective_barrier(T, 0.1 * np.exp(0.5 / (8.617333262e-5 * T))).local.values.round(6).tolist()
    [0.5, 0.5]
    """
    t = positive("temperature", vector("temperature", temperature))
    times = positive("tau", vector("tau", tau, length=len(t)))
    sigma = errors_of("error", error, len(t))
    if len(t) < 2:
        raise ParameterError(f"temperature has {len(t)} values; a slope needs at least 2")
    order = np.argsort(t, kind="stable")
    t, times = increasing("temperature (sorted)", t[order]), times[order]
    step = np.diff(1.0 / t)
    local = BOLTZMANN * np.diff(np.log(times)) / step
    spread = np.full(len(local), np.nan)
    if sigma is not None:
        relative = sigma[order] / times
        spread = BOLTZMANN * np.hypot(relative[1:], relative[:-1]) / np.abs(step)
        sigma = sigma[order]
    note = ""
    if fit is None:
        if len(t) >= (4 if sigma is None else 3):
            fit = fit_vft(t, times, error=sigma)
            note = fit.note if math.isnan(fit.t0.error) else ""
        else:
            note = f"no VFT fit of {len(t)} temperatures"
    vft, vft_error = fit.barrier(t) if fit is not None else (np.full(len(t), np.nan), np.full(len(t), np.nan))
    unit = {"units": "eV"}
    return xr.Dataset(
        {
            "local": ("interval", local, {**unit, "long_name": "effective barrier between successive temperatures"}),
            "local_error": ("interval", spread, unit),
            "vft": ("temperature", vft, {**unit, "long_name": "effective barrier of the VFT fit"}),
            "vft_error": ("temperature", vft_error, unit),
        },
        coords={
            "temperature": ("temperature", t, {"units": "K"}),
            "interval_temperature": ("interval", 2.0 / (1.0 / t[1:] + 1.0 / t[:-1]), {"units": "K"}),
        },
        attrs={"note": note} if note else {},
    )


@dataclass(frozen=True)
class MeanBarrier:
    """Mean of barriers, their standard deviation, how many there are, and how many of equal weight would do."""

    mean: Estimate
    deviation: float
    count: int
    effective_count: float

    def __str__(self) -> str:
        return f"mean barrier {self.mean}, standard deviation {self.deviation:.4g} eV, of {self.count}"


def arithmetic_mean_barrier(barriers: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> MeanBarrier:
    """Arithmetic mean of barriers, weighted on request, with its standard error.

        <E> = sum_i w_i E_i / sum_i w_i,   error^2 = n / (n - 1) sum_i w_i^2 (E_i - <E>)^2 / (sum_i w_i)^2

    which is s / sqrt(n) for equal weights. The standard deviation is sqrt(sum_i w_i (E_i - <E>)^2 / sum_i w_i n / (n -
    1)), the effective count (sum w)^2 / sum w^2.

    This stands where Eqs. 9-10 of the supporting information of the paper on ductility belong. They were not at hand:
    the formulas above are the plain definition of a weighted mean, to be compared with the paper before results are
    called by its name.

    Parameters: ``barriers`` (n,) in eV, NaN left out; ``weights`` (n,), not negative, any scale: how much a barrier
    counts, such as how many atoms it stands for (not 1 / error^2). Returns a ``MeanBarrier`` in eV; the error is NaN
    for one barrier. Valid for independent barriers: those found from one starting minimum, or of neighbouring atoms,
    are not. ``ParameterError`` for no barrier, or weights that are negative or all 0.

    Source of the error: Cochran, Sampling Techniques (1977), ch. 6.

    >>> print(arithmetic_mean_barrier([1.0, 2.0, 3.0, 4.0]).mean)
    2.50 ± 0.65 eV
    """
    e = vector("barriers", barriers, finite=False)
    w = np.ones(len(e)) if weights is None else vector("weights", weights, length=len(e))
    if (w < 0).any():
        raise ParameterError(f"weights[{int(np.argmin(w))}] is {w.min():g}; weights must not be negative")
    keep = np.isfinite(e) & (w > 0)
    e, w = e[keep], w[keep]
    n = len(e)
    if not n:
        raise ParameterError("barriers has no finite value of a weight above 0; give at least one")
    total = w.sum()
    mean = float((w * e).sum() / total)
    away = (e - mean) ** 2
    correction = n / (n - 1) if n > 1 else math.nan
    error = math.sqrt(correction * float((w**2 * away).sum())) / total if n > 1 else math.nan
    deviation = math.sqrt(correction * float((w * away).sum() / total)) if n > 1 else math.nan
    return MeanBarrier(Estimate(mean, float(error), "eV", float(n - 1)), deviation, n, float(total**2 / (w**2).sum()))


def non_gaussian_parameter(second: npt.ArrayLike, fourth: npt.ArrayLike) -> npt.ArrayLike:
    """Non-Gaussian parameter of displacements in three dimensions, from their second and fourth moments.

        alpha_2 = 3 <r^4> / (5 <r^2>^2) - 1

    Parameters: ``second`` <r^2> in Å^2 and ``fourth`` <r^4> in Å^4, of one shape or broadcasting, such as (lag,);
    DataArrays stay DataArrays. Returns alpha_2: 0 for Gaussian displacements, NaN where <r^2> is 0 (lag 0). Valid in
    three dimensions, for averages over the same atoms and starts; an average of alpha_2 over parts is another quantity.
    The estimate from N independent displacements is biased by order 1/N. ``ParameterError`` for negative moments.

    Source: Rahman, Phys. Rev. 136, A405 (1964).

    >>> r = np.random.default_rng(0).normal(size=(200_000, 3))
    >>> r2 = (r**2).sum(axis=1)
    >>> bool(abs(non_gaussian_parameter(r2.mean(), (r2**2).mean())) < 0.01)
    True
    """
    m2 = second if isinstance(second, xr.DataArray) else np.asarray(second, dtype=np.float64)
    m4 = fourth if isinstance(fourth, xr.DataArray) else np.asarray(fourth, dtype=np.float64)
    for name, moment in (("second", m2), ("fourth", m4)):
        if bool((moment < 0).any()):
            raise ParameterError(
                f"{name} has negative values; even moments of displacements cannot be below 0: give <r^2> and <r^4>"
            )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: npt.ArrayLike = 3.0 * m4 / (5.0 * m2**2) - 1.0  # 0 / 0 is NaN, as it should be
    return ratio


@dataclass(frozen=True)
class Diffusion:
    """Diffusion coefficient in Å^2/ps from MSD = offset + 2 d D t, and the exponent d lg MSD / d lg t there."""

    coefficient: Estimate
    offset: Estimate
    exponent: Estimate
    linear: bool
    dimensions: int
    window: tuple[float, float]
    points: int
    reduced_chi2: float

    @property
    def si(self) -> Estimate:
        """The coefficient in m^2/s: 1 Å^2/ps = 1e-8 m^2/s."""
        return self.coefficient.scaled(1e-8, "m^2/s")

    def curve(self, time: npt.ArrayLike) -> Float:
        """The fitted MSD in Å^2 at ``time`` in ps."""
        t = np.asarray(time, dtype=np.float64)
        return np.asarray(self.offset.value + 2 * self.dimensions * self.coefficient.value * t)

    def __str__(self) -> str:
        judged = "" if self.linear else "; the MSD is NOT linear here, so this is no diffusion coefficient"
        return (
            f"D = {self.coefficient}, exponent {self.exponent} from {self.window[0]:g} to {self.window[1]:g} ps{judged}"
        )


def fit_diffusion(
    time: npt.ArrayLike | None,
    msd: npt.ArrayLike,
    window: tuple[float, float] | None = None,
    *,
    error: npt.ArrayLike | None = None,
    dimensions: int = 3,
    tolerance: float = 0.05,
) -> Diffusion:
    """Diffusion coefficient from a mean-square displacement, with the exponent that shows whether it is linear.

        <r^2>(t) = offset + 2 d D t,   exponent = d lg <r^2> / d lg t

    both by least squares over the window.

    Parameters: ``time`` (n,) in ps or None for a DataArray with dim ``lag``; ``msd`` (n,) in Å^2, NaN left out;
    ``window`` (first, last) lag in ps, None for all above zero; ``error`` (n,) standard errors of the MSD in Å^2 as
    weights; ``dimensions`` d, 1 to 3; ``tolerance`` by which the exponent may differ from 1 (a choice of mgdask's own).

    Returns a ``Diffusion``: D in Å^2/ps (``.si`` in m^2/s), offset in Å^2, exponent, and ``linear``, whether |exponent
    - 1| <= tolerance. Valid where linear, with displacements that are true paths and the drift of the centre of mass
    taken out. Points of one trajectory are strongly correlated, so the standard errors are too small: trust the spread
    over independent runs. ``ParameterError`` for fewer than 3 points in the window (2 with errors).

    Source: Einstein, Ann. Phys. 322, 549 (1905).

    >>> t = np.linspace(0, 100, 51)
    >>> print(round(fit_diffusion(t, 0.3 + 6 * 0.05 * t, window=(20, 100)).coefficient.value, 6))
    0.05
    """
    if dimensions not in (1, 2, 3):
        raise ParameterError(f"dimensions={dimensions} must be 1, 2 or 3; displacements in space have 3")
    if not tolerance > 0:
        raise ParameterError(f"tolerance={tolerance} must be above 0; 0.05 is the default")
    t, y, sigma = _curve(time, msd, "msd", error)
    low, high = window if window is not None else (0.0, math.inf)
    if not low < high:
        raise ParameterError(f"window={window} must be (first, last) lag in ps, the first below the last")
    keep = (t > 0) & (t >= low) & (t <= high)
    t, y = t[keep], positive("msd (in the window)", y[keep])
    sigma = None if sigma is None else sigma[keep]
    enough(f"msd within the window {(low, high)}", len(t), 2, sigma is not None)
    fit = line(t, y, sigma)
    slope = line(np.log(t), np.log(y), None if sigma is None else sigma / y)
    scale = 1.0 / (2 * dimensions)
    exponent = float(slope.parameters[1])
    return Diffusion(
        Estimate(float(fit.parameters[1]), float(fit.errors[1]), "Å^2/ps", fit.dof).scaled(scale, "Å^2/ps"),
        Estimate(float(fit.parameters[0]), float(fit.errors[0]), "Å^2", fit.dof),
        Estimate(exponent, float(slope.errors[1]), "1", slope.dof),
        abs(exponent - 1.0) <= tolerance,
        dimensions,
        (float(t[0]), float(t[-1])),
        len(t),
        fit.reduced_chi2,
    )
