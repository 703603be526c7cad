"""Vogel-Fulcher-Tammann fits of relaxation times, with T_g and fragility.

Temperatures are in K, times in ps, energies in eV.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.analysis.estimate import (
    BOLTZMANN,
    LN10,
    Estimate,
    as_standard_errors,
    as_vector,
    check_points,
    check_positive,
    describe,
    describe_freedom,
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
        2.5th percentile.
    high
        97.5th percentile.
    """

    error: float
    low: float
    high: float


@dataclass(frozen=True)
class VFT:
    """Vogel-Fulcher-Tammann fit lg(tau / ps) = A + B / (T - T0).

    An equivalent form is tau = tau0 exp(D T0 / (T - T0)) with the parameters ``tau0``,
    ``strength`` (D) and ``t0``.

    Parameters
    ----------
    a
        A, dimensionless.
    b
        B in K.
    t0
        T0 in K. Its error is NaN if T0 is held at 0.
    glass_temperature
        T_g in K, at which tau = ``at``.
    fragility
        Kinetic fragility m at T_g, dimensionless.
    at
        Relaxation time in ps at T_g.
    covariance
        Covariance of (A, B, T0), shape (3, 3).
    reduced_chi2
        Reduced chi squared; NaN if no errors of tau were given.
    bootstrap
        Bootstrap distributions, keyed "A", "B", "T0", "T_g", "m", "tau0" and
        "strength"; None without a bootstrap.
    note
        Reservations about the fit; empty if there are none.
    points
        Number of fitted temperatures.
    free
        Degrees of freedom: ``points`` minus the number of fitted parameters. That is 3,
        or 2 if T0 is held at 0.
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
    points: int = 0
    free: int = 0

    @property
    def freedom(self) -> str:
        """Points, parameters and degrees of freedom, for a legend."""
        return self._freedom(remark=False)

    def _freedom(self, *, remark: bool) -> str:
        return describe_freedom(
            self.points,
            "temperatures",
            self.points - self.free,
            math.isinf(self.a.dof),
            remark=remark,
        )

    @property
    def tau0(self) -> Estimate:
        """Prefactor tau0 = 10^A in ps, with error tau0 ln 10 error(A).

        The error is first order. If the error of A exceeds about 0.2, quote A and its
        error instead.
        """
        value = 10.0**self.a.value
        return Estimate(value, value * LN10 * self.a.error, "ps", self.a.dof)

    @property
    def strength(self) -> Estimate:
        """Strength D = B ln 10 / T0, dimensionless, with a first-order error.

        This is B of Zhang et al. SI, section 2.1. It is NaN if T0 is held at 0. The
        error includes the covariance of B and T0.
        """
        b, t0 = self.b.value, self.t0.value
        if not t0 > 0:
            return Estimate(math.nan, math.nan, "1", self.b.dof, self.t0.reason)
        by_b, by_t0 = LN10 / t0, -LN10 * b / t0**2
        (_, _, _), (_, bb, bt), (_, _, tt) = self.covariance
        variance = by_b**2 * bb + 2.0 * by_b * by_t0 * bt + by_t0**2 * tt
        return Estimate(LN10 * b / t0, math.sqrt(max(0.0, variance)), "1", self.b.dof)

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
        """Compute the apparent activation energy k_B ln 10 B T^2 / (T - T0)^2.

        Parameters
        ----------
        temperature
            Temperatures in K, any shape.

        Returns
        -------
        barrier, error
            Energies in eV and their standard errors, of the same shape; NaN at T0 and
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
                "tau0": self.tau0,
                "strength": self.strength,
                "T_g": f"{self.glass_temperature.text} at {self.at:g} ps",
                "m": self.fragility,
            },
            self._freedom(remark=True),
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
    """Return lg tau of the VFT law."""
    return np.asarray(a + b / (t - t0))


def _fit_parameters(t: FloatArray, lg: FloatArray, sigma: FloatArray | None) -> _VFTParameters:
    """Fit the VFT law, or the Arrhenius law if the data are not more curved."""
    coldest = float(t.min())

    def fit_at_gap(gap: float) -> tuple[FloatArray, float]:
        """Fit a line in 1 / (T - T0) for T0 = coldest - gap; with its residual."""
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
    """Return T_g and m; NaN if tau never reaches ``at``."""
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

    The result also has the parameters of the form that Zhang et al. use. The strength D
    is their B::

        tau = tau0 exp(D T0 / (T - T0)),  tau0 = 10^A ps,  D = B ln 10 / T0

    Parameters
    ----------
    temperature
        Temperatures in K, shape (n,).
    tau
        Relaxation times in ps, shape (n,).
    at
        Relaxation time in ps that defines T_g. Simulations reach about 10^4 ps. The
        laboratory convention, 10^14 ps (100 s), is far outside their range.
    error
        Standard errors of tau in ps, shape (n,). The fit weights lg tau with the
        standard error error / (tau ln 10).
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
    The fit is to lg tau, which is linear in A and B. tau0 and D follow from A, B and
    T0, with first-order errors from the covariance.

    The covariance C of (A, B, T0) is (J' W J)^-1, scaled by the residuals if no
    ``error`` is given. Errors of T_g and m are first order, sqrt(g' C g) with the
    analytic gradient g.

    The bootstrap draws new values of lg tau around the fitted curve and fits each
    sample. The noise is that of the given errors, or else the residuals times sqrt(n /
    (n - 3)). If the fit is strongly nonlinear, the bootstrap errors and percentiles are
    more accurate than the first-order errors.

    If the data are no more curved than the Arrhenius law, T0 is held at 0 and has no
    error. The other errors are then conditional on T0 = 0, and ``note`` says so.

    Valid for the equilibrium liquid. Leave out points below the glass transition of the
    simulation, where the system ages. A T_g outside the range of the data is an
    extrapolation, and ``note`` says so.

    References
    ----------
    Vogel, Phys. Z. 22, 645 (1921); Fulcher (1925); Tammann, Hesse (1926). The form with
    tau0, B and T0, T_g at 10^4 ps, and m: Zhang et al. SI (supporting information of
    "Intrinsic tensile ductility in strain hardening multi-principal element metallic
    glass"), section 2.1. Fragility: Böhmer et al., J. Chem. Phys. 99, 4201 (1993).

    Examples
    --------
    >>> T = np.array([900.0, 950, 1000, 1100, 1200, 1400])
    >>> fit = fit_vft(T, 10 ** (-2.0 + 1500.0 / (T - 600.0)))
    >>> round(fit.glass_temperature.value, 3)
    850.0
    >>> round(fit.tau0.value, 6), round(fit.strength.value, 3)
    (0.01, 5.756)
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
    held = "T0 is held at 0 K" if fit.t0_is_fixed else ""
    notes = [f"no curvature beyond the Arrhenius law: {held}"] if held else []
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
        t0=Estimate(t0, math.nan if fit.t0_is_fixed else float(errors[2]), "K", fit.dof, held),
        glass_temperature=glass_temperature,
        fragility=fragility,
        at=at,
        covariance=tuple((float(r[0]), float(r[1]), float(r[2])) for r in fit.covariance),
        reduced_chi2=fit.reduced_chi2,
        bootstrap=spreads,
        note="; ".join(notes),
        points=len(t),
        free=len(t) - (2 if fit.t0_is_fixed else 3),
    )


def _glass_estimates(
    fit: _VFTParameters, at: float, t: FloatArray
) -> tuple[Estimate, Estimate, str]:
    """Return T_g and m with first-order errors, and a reservation about them."""
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
    why = note if math.isnan(tg) else ""
    return (
        Estimate(tg, tg_error, "K", fit.dof, why),
        Estimate(m, m_error, "1", fit.dof, why),
        note,
    )


def _bootstrap_vft(
    t: FloatArray,
    lg: FloatArray,
    sigma: FloatArray | None,
    parameters: FloatArray,
    at: float,
    n_resamples: int,
    seed: int | None,
) -> tuple[dict[str, Spread], int]:
    """Return the bootstrap distributions, and the number of failed fits."""
    if n_resamples < 10:
        raise ParameterError(
            f"bootstrap={n_resamples} is too few for an error; give several hundred, or 0 for none"
        )
    if seed is None:
        raise ParameterError(
            "seed=None: a bootstrap needs a seed to be repeatable; give seed=0 or another integer"
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
    a, b, t0 = table[:, :3].T
    columns = dict(zip(("A", "B", "T0", "T_g", "m"), table.T, strict=True))
    columns["tau0"] = 10.0**a
    with np.errstate(divide="ignore"):
        columns["strength"] = np.where(t0 > 0, LN10 * b / t0, np.inf)
    return {k: _spread(v) for k, v in columns.items()}, n_resamples - len(table)


def _spread(values: FloatArray) -> Spread:
    """Return the standard deviation (NaN if a value is infinite) and percentiles."""
    finite = bool(np.isfinite(values).all())
    low, high = np.percentile(values, [2.5, 97.5], method="linear" if finite else "nearest")
    return Spread(float(values.std(ddof=1)) if finite else math.nan, float(low), float(high))
