"""Relaxation times against temperature: Vogel-Fulcher-Tammann, glass temperature, fragility, activation energies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

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
            return np.asarray(
                np.where(above > 0, 10.0 ** (self.a.value + self.b.value / above), np.nan)
            )

    def barrier(self, temperature: npt.ArrayLike) -> tuple[Float, Float]:
        """Effective barrier k_B ln 10 B T^2 / (T - T0)^2 in eV at ``temperature`` in K, with its standard error."""
        t = np.asarray(temperature, dtype=np.float64)
        above = np.where(t > self.t0.value, t - self.t0.value, np.nan)
        energy = BOLTZMANN * LN10 * self.b.value * (t / above) ** 2
        by_b, by_t0 = energy / self.b.value, 2.0 * energy / above
        (_, _, _), (_, bb, bt), (_, _, tt) = self.covariance
        return energy, np.sqrt(
            np.maximum(0.0, by_b**2 * bb + 2.0 * by_b * by_t0 * bt + by_t0**2 * tt)
        )

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
        raise ParameterError(
            f"at={at} must be a relaxation time in ps above 0; 1e4 is customary in simulations"
        )
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
    t: Float,
    lg: Float,
    sigma: Float | None,
    parameters: Float,
    at: float,
    repeats: int,
    seed: int | None,
) -> tuple[dict[str, Spread], int]:
    if repeats < 10:
        raise ParameterError(
            f"bootstrap={repeats} is too few for an error; give some hundreds, or 0 for none"
        )
    if seed is None:
        raise ParameterError(
            "bootstrap needs a seed; give seed=0 or another whole number, so that it can be repeated"
        )
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
    found = {
        n: Spread(float(table[:, k].std(ddof=1)), float(low[k]), float(high[k]))
        for k, n in enumerate(names)
    }
    return found, repeats - len(table)


def effective_barrier(
    temperature: npt.ArrayLike,
    tau: npt.ArrayLike,
    *,
    error: npt.ArrayLike | None = None,
    fit: VFT | None = None,
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
    vft, vft_error = (
        fit.barrier(t) if fit is not None else (np.full(len(t), np.nan), np.full(len(t), np.nan))
    )
    unit = {"units": "eV"}
    return xr.Dataset(
        {
            "local": (
                "interval",
                local,
                {**unit, "long_name": "effective barrier between successive temperatures"},
            ),
            "local_error": ("interval", spread, unit),
            "vft": ("temperature", vft, {**unit, "long_name": "effective barrier of the VFT fit"}),
            "vft_error": ("temperature", vft_error, unit),
        },
        coords={
            "temperature": ("temperature", t, {"units": "K"}),
            "interval_temperature": (
                "interval",
                2.0 / (1.0 / t[1:] + 1.0 / t[:-1]),
                {"units": "K"},
            ),
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
        return (
            f"mean barrier {self.mean}, standard deviation {self.deviation:.4g} eV, of {self.count}"
        )


def arithmetic_mean_barrier(
    barriers: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> MeanBarrier:
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
        raise ParameterError(
            f"weights[{int(np.argmin(w))}] is {w.min():g}; weights must not be negative"
        )
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
    return MeanBarrier(
        Estimate(mean, float(error), "eV", float(n - 1)),
        deviation,
        n,
        float(total**2 / (w**2).sum()),
    )
