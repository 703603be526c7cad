"""Temperature dependence of relaxation times, and the barriers behind it.

Vogel-Fulcher-Tammann fits with glass transition temperature and fragility, effective
activation energies, and means of barriers. Temperatures are in K, energies in eV.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask._typing import FloatArray
from mgdask.analysis.estimate import (
    BOLTZMANN,
    LN10,
    Estimate,
    as_standard_errors,
    as_vector,
    check_increasing,
    check_points,
    check_positive,
    describe,
    fit_line,
    least_squares,
)
from mgdask.errors import ParameterError


@dataclass(frozen=True)
class Spread:
    """Bootstrap distribution of one parameter.

    Parameters
    ----------
    error
        Standard deviation.
    low
        Percentile 2.5.
    high
        Percentile 97.5.
    """

    error: float
    low: float
    high: float


@dataclass(frozen=True)
class VFT:
    """Vogel-Fulcher-Tammann fit lg(tau / ps) = A + B / (T - T0).

    Parameters
    ----------
    a
        A, dimensionless.
    b
        B in K.
    t0
        T0 in K. Its error is NaN if it is held at 0.
    glass_temperature
        T_g in K, at which tau = ``at``.
    fragility
        Kinetic fragility m at T_g.
    at
        Relaxation time in ps that defines T_g.
    covariance
        Covariance of (A, B, T0), shape (3, 3).
    reduced_chi2
        Reduced chi squared; NaN if no errors of tau were given.
    bootstrap
        Bootstrap distributions by the names "A", "B", "T0", "T_g" and "m", or None.
    note
        Reservations about the fit; empty if there are none.
    """

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

    def curve(self, temperature: npt.ArrayLike) -> FloatArray:
        """Evaluate the fitted relaxation time.

        Parameters
        ----------
        temperature
            Temperatures in K, any shape.

        Returns
        -------
        tau
            Relaxation times in ps, of the same shape; NaN at T0 and below.
        """
        above = np.asarray(temperature, dtype=np.float64) - self.t0.value
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray(
                np.where(above > 0, 10.0 ** (self.a.value + self.b.value / above), np.nan)
            )

    def barrier(self, temperature: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Compute the effective barrier k_B ln 10 B T^2 / (T - T0)^2.

        Parameters
        ----------
        temperature
            Temperatures in K, any shape.

        Returns
        -------
        barrier, error
            Barriers in eV and their standard errors, of the same shape; NaN at T0 and
            below.
        """
        t = np.asarray(temperature, dtype=np.float64)
        above = np.where(t > self.t0.value, t - self.t0.value, np.nan)
        energy = BOLTZMANN * LN10 * self.b.value * (t / above) ** 2
        by_b, by_t0 = energy / self.b.value, 2.0 * energy / above
        (_, _, _), (_, bb, bt), (_, _, tt) = self.covariance
        variance = by_b**2 * bb + 2.0 * by_b * by_t0 * bt + by_t0**2 * tt
        return energy, np.sqrt(np.maximum(0.0, variance))

    def __str__(self) -> str:
        return describe(
            {
                "A": self.a,
                "B": self.b,
                "T0": self.t0,
                "T_g": f"{self.glass_temperature} at {self.at:g} ps",
                "m": self.fragility,
            },
            self.note,
        )


@dataclass(frozen=True, eq=False)
class _VFTParameters:
    """Fitted (A, B, T0) with their covariance."""

    values: FloatArray
    covariance: FloatArray
    dof: float
    reduced_chi2: float
    t0_is_fixed: bool = False


def _vft(t: FloatArray, a: float, b: float, t0: float) -> FloatArray:
    """VFT law lg tau."""
    return np.asarray(a + b / (t - t0))


def _fit_parameters(t: FloatArray, lg: FloatArray, sigma: FloatArray | None) -> _VFTParameters:
    """Fit the VFT law, or the Arrhenius law if the data are not more curved."""
    coldest = float(t.min())

    def fit_at_gap(gap: float) -> tuple[FloatArray, float]:
        """Line in 1 / (T - T0) for T0 = coldest - gap, and its squared deviation."""
        fit = fit_line(1.0 / (t - coldest + gap), lg, sigma)
        residual = lg - fit.parameters[0] - fit.parameters[1] / (t - coldest + gap)
        return fit.parameters, float(((residual / (1.0 if sigma is None else sigma)) ** 2).sum())

    gaps = coldest * np.logspace(-3, 0, 61)
    best = int(np.argmin([fit_at_gap(gap)[1] for gap in gaps]))
    if best < len(gaps) - 1:
        a, b = fit_at_gap(gaps[best])[0]
        start = (a, max(b, 1e-6), coldest - gaps[best])
        bounds = (-np.inf, 0.0, 0.0), (np.inf, np.inf, coldest * (1.0 - 1e-6))
        fit = least_squares("VFT fit", _vft, start, t, lg, sigma, bounds)
        if fit.parameters[2] > 1e-6 * coldest:
            return _VFTParameters(fit.parameters, fit.covariance, fit.dof, fit.reduced_chi2)
    arrhenius = fit_line(1.0 / t, lg, sigma)
    covariance = np.zeros((3, 3))
    covariance[:2, :2] = arrhenius.covariance
    values = np.append(arrhenius.parameters, 0.0)
    return _VFTParameters(values, covariance, arrhenius.dof, arrhenius.reduced_chi2, True)


def _glass_transition(a: float, b: float, t0: float, at: float) -> tuple[float, float]:
    """T_g and m; NaN if tau never reaches ``at``."""
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
    """Fit relaxation times with the Vogel-Fulcher-Tammann law.

    The fit gives the glass transition temperature and the kinetic fragility::

        lg(tau / ps) = A + B / (T - T0),  0 <= T0 < min T
        T_g = T0 + B / (lg at - A)
        m = d lg tau / d(T_g / T) at T_g = B T_g / (T_g - T0)^2

    Parameters
    ----------
    temperature
        Temperatures in K, shape (n,).
    tau
        Relaxation times in ps, shape (n,).
    at
        Relaxation time in ps that defines T_g. Simulations reach about 10^4 ps. The
        laboratory value, 10^14 ps or 100 s, is far outside the data.
    error
        Standard errors of tau in ps, shape (n,), used as weights through
        error / (tau ln 10).
    bootstrap
        Number of bootstrap resamples, at least 10; 0 for none.
    seed
        Seed of the bootstrap. Required if ``bootstrap`` is above 0.

    Returns
    -------
    fit
        Parameters with standard errors, T_g, m and, on request, bootstrap
        distributions.

    Raises
    ------
    ParameterError
        If there are fewer than 4 points (3 with errors), tau does not rise on cooling,
        or the seed is missing.

    Notes
    -----
    The covariance C of (A, B, T0) is (J' W J)^-1, scaled by the residuals if no
    ``error`` is given. Errors of T_g and m are first order, sqrt(g' C g) with the
    analytic gradient g.

    The bootstrap draws new lg tau around the fitted curve and fits each sample. Noise
    comes from the given errors, else from the residuals times sqrt(n / (n - 3)). The
    resulting standard deviations and 95 % percentiles are more accurate if the fit is
    far from linear.

    If the data curve no more than the Arrhenius law, T0 is held at 0 and has no error.
    The other errors are then conditional on it, and ``note`` says so.

    Valid for the equilibrium liquid. Leave out points below the simulation's own glass
    transition, which age. A T_g outside the data is an extrapolation, see ``note``.

    References
    ----------
    Vogel, Phys. Z. 22, 645 (1921); Fulcher (1925); Tammann, Hesse (1926). Fragility:
    Böhmer et al., J. Chem. Phys. 99, 4201 (1993).

    Examples
    --------
    >>> T = np.array([900.0, 950, 1000, 1100, 1200, 1400])
    >>> fit = fit_vft(T, 10 ** (-2.0 + 1500.0 / (T - 600.0)))
    >>> round(fit.glass_temperature.value, 3)
    850.0
    """
    t = check_positive("temperature", as_vector("temperature", temperature))
    times = check_positive("tau", as_vector("tau", tau, length=len(t)))
    if not (math.isfinite(at) and at > 0):
        raise ParameterError(
            f"at={at} must be a relaxation time in ps above 0; 1e4 is customary in simulations"
        )
    tau_error = as_standard_errors("error", error, len(t))
    sigma = None if tau_error is None else tau_error / (times * LN10)
    check_points("temperature (different values)", len(np.unique(t)), 3, sigma is not None)
    lg = np.log10(times)
    if fit_line(1.0 / t, lg, sigma).parameters[1] <= 0:
        raise ParameterError(
            "tau does not rise on cooling, so it does not follow a VFT law; "
            "check that temperature is in K and that tau is in the same order"
        )
    fit = _fit_parameters(t, lg, sigma)
    notes = ["no curvature beyond the Arrhenius law: T0 is held at 0 K"] if fit.t0_is_fixed else []
    glass_temperature, fragility, note = _glass_estimates(fit, at, t)
    notes += [note] if note else []
    spreads = None
    if bootstrap:
        spreads, n_failed = _bootstrap_vft(t, lg, sigma, fit.values, at, bootstrap, seed)
        if n_failed:
            notes.append(f"{n_failed} of {bootstrap} bootstrap fits failed and were left out")
    a, b, t0 = fit.values.tolist()
    errors = np.sqrt(np.maximum(0.0, np.diagonal(fit.covariance)))
    return VFT(
        a=Estimate(a, float(errors[0]), "1", fit.dof),
        b=Estimate(b, float(errors[1]), "K", fit.dof),
        t0=Estimate(t0, math.nan if fit.t0_is_fixed else float(errors[2]), "K", fit.dof),
        glass_temperature=glass_temperature,
        fragility=fragility,
        at=at,
        covariance=tuple((float(r[0]), float(r[1]), float(r[2])) for r in fit.covariance),
        reduced_chi2=fit.reduced_chi2,
        bootstrap=spreads,
        note="; ".join(notes),
    )


def _glass_estimates(
    fit: _VFTParameters, at: float, t: FloatArray
) -> tuple[Estimate, Estimate, str]:
    """T_g and m with first-order errors, and a reservation about them."""
    a, b, t0 = fit.values.tolist()
    tg, m = _glass_transition(a, b, t0, at)
    tg_error = m_error = math.nan
    note = ""
    if math.isnan(tg):
        note = f"tau never reaches {at:g} ps: 10^A is {10.0**a:.3g} ps"
    else:
        rise = math.log10(at) - a
        tg_gradient = np.array([b / rise**2, 1.0 / rise, 1.0])
        m_gradient = np.array([-2.0 * rise * t0 / b - 1.0, -(rise**2) * t0 / b**2, rise**2 / b])
        tg_error, m_error = (
            math.sqrt(max(0.0, g @ fit.covariance @ g)) for g in (tg_gradient, m_gradient)
        )
        if not t.min() <= tg <= t.max():
            note = f"T_g is extrapolated: the data span {t.min():g} to {t.max():g} K"
    return Estimate(tg, tg_error, "K", fit.dof), Estimate(m, m_error, "1", fit.dof), note


def _bootstrap_vft(
    t: FloatArray,
    lg: FloatArray,
    sigma: FloatArray | None,
    parameters: FloatArray,
    at: float,
    n_resamples: int,
    seed: int | None,
) -> tuple[dict[str, Spread], int]:
    """Distributions of the parameters, T_g and m, and the number of failed fits."""
    if n_resamples < 10:
        raise ParameterError(
            f"bootstrap={n_resamples} is too few for an error; give several hundred, or 0 for none"
        )
    if seed is None:
        raise ParameterError(
            "bootstrap needs a seed to be repeatable; give seed=0 or another integer"
        )
    rng = np.random.default_rng(seed)
    fitted = _vft(t, *parameters)
    residual = (lg - fitted) * math.sqrt(len(t) / max(1, len(t) - 3))
    rows: list[tuple[float, ...]] = []
    for _ in range(n_resamples):
        noise = rng.choice(residual, len(t)) if sigma is None else rng.normal(0.0, sigma)
        try:
            a, b, t0 = _fit_parameters(t, fitted + noise, sigma).values.tolist()
        except ParameterError:
            continue
        rows.append((a, b, t0, *_glass_transition(a, b, t0, at)))
    table = np.array(rows).reshape(-1, 5)
    table = table[np.isfinite(table).all(axis=1)]
    if len(table) < 10:
        raise ParameterError(
            f"only {len(table)} of {n_resamples} bootstrap fits succeeded; "
            "the data do not determine the law"
        )
    low, high = np.percentile(table, [2.5, 97.5], axis=0)
    spreads = {
        name: Spread(float(table[:, k].std(ddof=1)), float(low[k]), float(high[k]))
        for k, name in enumerate(("A", "B", "T0", "T_g", "m"))
    }
    return spreads, n_resamples - len(table)


def effective_barrier(
    temperature: npt.ArrayLike,
    tau: npt.ArrayLike,
    *,
    error: npt.ArrayLike | None = None,
    fit: VFT | None = None,
) -> xr.Dataset:
    """Compute the effective activation energy of relaxation by temperature.

    It comes from successive temperatures and from a VFT fit::

        E_eff = k_B d ln tau / d(1/T)
        VFT: E_eff = k_B ln 10 B T^2 / (T - T0)^2,   k_B = 8.617333262e-5 eV/K

    Parameters
    ----------
    temperature
        Temperatures in K, shape (n,), all different, in any order.
    tau
        Relaxation times in ps, shape (n,).
    error
        Standard errors of tau in ps, shape (n,).
    fit
        VFT fit to evaluate. By default one is fitted if there are at least 4 points, or
        3 with errors.

    Returns
    -------
    local, local_error (interval)
        Barriers in eV between successive temperatures, at ``interval_temperature``
        2 / (1/T_1 + 1/T_2). Errors are NaN without ``error``.
    vft, vft_error (temperature)
        Barriers in eV of the VFT fit; NaN without one.

    Raises
    ------
    ParameterError
        If there are fewer than 2 temperatures or two are equal.

    Notes
    -----
    Local values of neighboring intervals share a point, so their errors are
    anticorrelated. Valid as a slope. It is the height of a barrier only if that does
    not depend on T: a constant entropy drops out of the slope, a changing one does not.

    References
    ----------
    See Debenedetti, Stillinger, Nature 410, 259 (2001).

    Examples
    --------
    >>> T = np.array([800.0, 900.0, 1000.0])
    >>> tau = 0.1 * np.exp(0.5 / (8.617333262e-5 * T))
    >>> effective_barrier(T, tau).local.values.round(6).tolist()
    [0.5, 0.5]
    """
    t = check_positive("temperature", as_vector("temperature", temperature))
    times = check_positive("tau", as_vector("tau", tau, length=len(t)))
    sigma = as_standard_errors("error", error, len(t))
    if len(t) < 2:
        raise ParameterError(f"temperature has {len(t)} values; a slope needs at least 2")
    order = np.argsort(t, kind="stable")
    t, times = check_increasing("temperature (sorted)", t[order]), times[order]
    step = np.diff(1.0 / t)
    local = BOLTZMANN * np.diff(np.log(times)) / step
    local_error = np.full(len(local), np.nan)
    if sigma is not None:
        relative = sigma[order] / times
        local_error = BOLTZMANN * np.hypot(relative[1:], relative[:-1]) / np.abs(step)
        sigma = sigma[order]
    note = ""
    if fit is None:
        if len(t) >= (4 if sigma is None else 3):
            fit = fit_vft(t, times, error=sigma)
            note = fit.note if math.isnan(fit.t0.error) else ""
        else:
            note = f"no VFT fit of {len(t)} temperatures"
    missing = np.full(len(t), np.nan)
    vft, vft_error = fit.barrier(t) if fit is not None else (missing, missing)
    middle = 2.0 / (1.0 / t[1:] + 1.0 / t[:-1])
    unit = {"units": "eV"}
    local_name = {"long_name": "effective barrier between successive temperatures"}
    vft_name = {"long_name": "effective barrier of the VFT fit"}
    return xr.Dataset(
        {
            "local": ("interval", local, unit | local_name),
            "local_error": ("interval", local_error, unit),
            "vft": ("temperature", vft, unit | vft_name),
            "vft_error": ("temperature", vft_error, unit),
        },
        coords={
            "temperature": ("temperature", t, {"units": "K"}),
            "interval_temperature": ("interval", middle, {"units": "K"}),
        },
        attrs={"note": note} if note else {},
    )


@dataclass(frozen=True)
class MeanBarrier:
    """Mean of barriers.

    Parameters
    ----------
    mean
        Mean in eV with its standard error.
    deviation
        Standard deviation in eV.
    count
        Number of barriers.
    effective_count
        Number of equally weighted barriers that would be as informative.
    """

    mean: Estimate
    deviation: float
    count: int
    effective_count: float

    def __str__(self) -> str:
        return describe(
            {"mean": self.mean, "standard deviation": f"{self.deviation:.4g} eV"},
            f"of {self.count} barriers",
        )


def arithmetic_mean_barrier(
    barriers: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> MeanBarrier:
    """Compute the arithmetic mean of barriers with its standard error.

    The mean is weighted if weights are given::

        <E> = sum_i w_i E_i / sum_i w_i
        error^2 = n / (n - 1) sum_i w_i^2 (E_i - <E>)^2 / (sum_i w_i)^2
        deviation^2 = n / (n - 1) sum_i w_i (E_i - <E>)^2 / sum_i w_i

    The error is s / sqrt(n) for equal weights. The effective count is
    (sum w)^2 / sum w^2.

    Parameters
    ----------
    barriers
        Barriers in eV, shape (n,). NaN is left out.
    weights
        How much each barrier counts, such as the number of atoms that it represents.
        Shape (n,), not negative, on any scale. These are not 1 / error^2.

    Returns
    -------
    result
        Mean, standard deviation and counts. The error is NaN for a single barrier.

    Raises
    ------
    ParameterError
        If there is no barrier, or weights are negative or all 0.

    Notes
    -----
    Valid for independent barriers. Those found from one starting minimum, or of
    neighboring atoms, are not independent.

    This function takes the place of Eqs. (9) and (10) of the supporting information of
    the paper on ductility, which was not available. It implements the standard
    definition of a weighted mean. Compare it with the paper before citing the paper for
    results.

    References
    ----------
    Error: Cochran, Sampling Techniques (1977), ch. 6.

    Examples
    --------
    >>> print(arithmetic_mean_barrier([1.0, 2.0, 3.0, 4.0]).mean)
    2.50 ± 0.65 eV
    """
    e = as_vector("barriers", barriers, finite=False)
    w = np.ones(len(e)) if weights is None else as_vector("weights", weights, length=len(e))
    if (w < 0).any():
        raise ParameterError(
            f"weights[{int(np.argmin(w))}] is {w.min():g}; weights must not be negative"
        )
    keep = np.isfinite(e) & (w > 0)
    e, w = e[keep], w[keep]
    n = len(e)
    if not n:
        raise ParameterError("barriers has no finite value of weight above 0; give at least one")
    total = w.sum()
    mean = float((w * e).sum() / total)
    squares = (e - mean) ** 2
    error = deviation = math.nan
    if n > 1:
        correction = n / (n - 1)
        error = math.sqrt(correction * float((w**2 * squares).sum())) / total
        deviation = math.sqrt(correction * float((w * squares).sum() / total))
    return MeanBarrier(
        Estimate(mean, float(error), "eV", float(n - 1)),
        deviation,
        n,
        float(total**2 / (w**2).sum()),
    )
