"""Creep: steady stages of strain-time curves, and activation volumes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.analysis.creep_forms import RatePosterior, longest_run
from mgdask.analysis.estimate import (
    BOLTZMANN,
    Estimate,
    as_standard_errors,
    as_vector,
    check_increasing,
    check_points,
    check_positive,
    describe,
    describe_freedom,
    describe_window,
    fit_line,
)
from mgdask.errors import ParameterError

GPA_A3 = 6.241509e-3
"""One GPa Å^3 in eV."""


@dataclass(frozen=True)
class SteadyState:
    """Steady creep rate and the window in which creep is steady.

    Parameters
    ----------
    rate
        Steady strain rate in 1/ps; NaN if there is no steady stage.
    drift
        Change of the strain rate across the window, relative to the rate.
    offset
        Strain at t = 0 to which the line of steady creep extrapolates.
    window
        First and last time of the steady stage in ps.
    points
        Number of points in the window.
    autocorrelation
        Autocorrelation of the residuals of successive points in the window.
    reason
        Why there is no steady stage; empty if there is one.
    note
        Reservations about the rate; empty if there are none.
    forms
        Probability of each form of the transient, the most probable first. "line" means
        no transient.
    transient
        Magnitude of the transient rate at the end of the data, relative to the
        extrapolated steady rate.
    """

    rate: Estimate
    drift: Estimate
    offset: float
    window: tuple[float, float]
    points: int
    autocorrelation: float
    reason: str = ""
    note: str = ""
    forms: Mapping[str, float] = field(default_factory=dict)
    transient: float = math.nan

    @property
    def found(self) -> bool:
        """Whether there is a steady stage."""
        return not self.reason

    @property
    def steady(self) -> bool:
        """Whether there is a steady stage; the same as ``found``."""
        return self.found

    def curve(self, time: npt.ArrayLike) -> FloatArray:
        """Evaluate the line of steady creep.

        Parameters
        ----------
        time
            Times in ps, any shape.

        Returns
        -------
        strain
            Strains of the same shape.
        """
        return np.asarray(self.offset + self.rate.value * np.asarray(time, dtype=np.float64))

    def __str__(self) -> str:
        if self.reason:
            return f"no steady creep: {self.reason}"
        return describe(
            {"rate": self.rate, "drift": self.drift},
            describe_window(self.points, self.window),
            self.note,
        )


def steady_state(
    time: npt.ArrayLike,
    strain: npt.ArrayLike,
    *,
    tolerance: float = 0.05,
    probability: float = 0.8,
    min_share: float = 0.2,
    min_points: int = 20,
    significance: float | None = None,
    edges: int | None = None,
    trim: float | None = None,
) -> SteadyState:
    """Find the steady stage of a creep curve and its strain rate.

    The curve is a line plus transient terms plus noise::

        strain(t) = offset + rate t + primary(t) + tertiary(t) + noise(t)

    The rate is averaged over forms of the transient, weighted by their probability
    given the curve. The forms are no transient, exponential, stretched exponential,
    logarithm, power of time, tertiary exponential, and pairs of these. The rate is also
    averaged over white and correlated noise. See ``mgdask.analysis.creep_forms``.

    Creep counts as steady at times at which the transient rate is below ``tolerance``
    times the steady rate with at least the given ``probability``. If no window of
    ``min_share`` of the total time is steady, the rate is NaN and ``reason`` says why.
    A tertiary stage is cut off, and the rest is analyzed again.

    Parameters
    ----------
    time
        Times in ps, shape (n,), increasing. The first is the start of the hold at
        constant stress.
    strain
        Strains, shape (n,). NaN points are ignored.
    tolerance
        Fraction of the steady rate below which a transient rate is negligible, above 0
        and below 1.
    probability
        Required probability that the transient is negligible, above 0 and below 1.
    min_share
        Minimum fraction of the total time that the steady stage must span.
    min_points
        Minimum number of points, at least 6.
    significance, edges, trim
        No effect since version 0.2.

    Returns
    -------
    steady
        ``rate`` in 1/ps, the ``window`` of the steady stage in ps, and ``drift``. If
        creep is not steady, all are NaN and ``reason`` says why. ``forms`` contains the
        probabilities of the forms.

    Raises
    ------
    ParameterError
        If the arrays do not fit together, points are too few or an option is out of
        range.

    Notes
    -----
    The criterion is mgdask's own; Liu et al. read the stages off the curves. The value
    of the rate is the median of its distribution. The error is half the width of the
    central interval with probability 0.683. It includes the noise and the uncertainty
    of the transient.

    For bias and coverage, see "Do the errors hold?" in the benchmarks of the manual.
    The errors are too small if the strain noise is a random walk. They are too large if
    it oscillates about the curve or is correlated over several points. If the transient
    decays so slowly that only some repeats have steady creep, their rates are biased. A
    transient that lasts much longer than the run cannot be distinguished from steady
    creep: compare runs of different lengths.

    References
    ----------
    Liu X. et al., J. Mater. Inf. 2, 20 (2022), Figure 2B: transient, steady-state and
    tertiary stage.

    Examples
    --------
    >>> t = np.linspace(0, 1000, 401)
    >>> steady = steady_state(t, 0.01 * (1 - np.exp(-t / 20)) + 2e-6 * t)
    >>> print(f"{steady.rate.value:.1e} per ps, {steady.window[0] > 100}")
    2.0e-06 per ps, True
    >>> steady_state(t, 0.01 * np.cbrt(t / 1000)).found
    False
    """
    t, y = as_vector("time", time), as_vector("strain", strain, finite=False)
    if len(t) != len(y):
        raise ParameterError(
            f"strain has {len(y)} values but time has {len(t)}; give arrays of the same points"
        )
    check_increasing("time", t)
    _validate_options(tolerance, probability, min_share, min_points)
    for name, value in (("significance", significance), ("edges", edges), ("trim", trim)):
        if value is not None:
            warnings.warn(
                f"steady_state: {name}= has no effect since version 0.2",
                FutureWarning,
                stacklevel=2,
            )
    keep = np.isfinite(y)
    t, y = t[keep], y[keep]
    if len(t) < min_points:
        raise ParameterError(
            f"strain has {len(t)} finite points, fewer than min_points={min_points}; "
            "give more points or lower it"
        )
    shortest = min_share * float(t[-1] - t[0])
    end = len(t)
    while True:
        posterior = RatePosterior(t[:end] - t[0], y[:end])
        elapsed, negligible, share = posterior.transient(tolerance)
        run = longest_run(negligible >= probability)
        if run is None or elapsed[run[1]] - elapsed[run[0]] < shortest:
            return _not_steady(posterior, tolerance, min_share, share)
        first, last = float(elapsed[run[0]]), float(elapsed[run[1]])
        inner = int(np.searchsorted(t - t[0], last, side="right"))
        if run[1] == len(elapsed) - 1 or posterior.tertiary < 0.5 or inner < min_points:
            break
        end = inner  # without the tertiary stage
    window = (t - t[0] >= first) & (t - t[0] <= last)
    if window.sum() < 4:
        return _not_steady(posterior, tolerance, min_share, share)
    return _steady(posterior, t[window], y[window], float(share[-1]))


def _validate_options(
    tolerance: float, probability: float, min_share: float, min_points: int
) -> None:
    for name, value, valid in (
        ("tolerance", tolerance, 0.0 < tolerance < 1.0),
        ("probability", probability, 0.0 < probability < 1.0),
        ("min_share", min_share, 0.0 < min_share <= 1.0),
    ):
        if not valid:
            raise ParameterError(
                f"{name}={value} is out of range (tolerance and probability above 0 and below "
                "1, min_share above 0 to 1); leave it out for the default"
            )
    if min_points < 6:
        raise ParameterError(
            f"min_points={min_points} must be at least 6; leave it out for the default"
        )


def _not_steady(
    posterior: RatePosterior, tolerance: float, min_share: float, share: FloatArray
) -> SteadyState:
    nan = math.nan
    return SteadyState(
        rate=Estimate(nan, nan, "1/ps", 0.0),
        drift=Estimate(nan, nan, "1", 0.0),
        offset=nan,
        window=(nan, nan),
        points=0,
        autocorrelation=nan,
        reason=f"no window of at least {min_share:g} of the time has a transient rate reliably "
        f"below {tolerance:g} of the steady rate; at the end it is about "
        f"{share[-1]:.2g} of it, most likely of the form {next(iter(posterior.forms))!r}: "
        "run longer, or raise tolerance",
        forms=posterior.forms,
        transient=float(share[-1]),
    )


def _steady(
    posterior: RatePosterior, t: FloatArray, y: FloatArray, transient: float
) -> SteadyState:
    """Return the steady rate, with its drift and the residuals within the window."""
    value, error = posterior.rate()
    rate = Estimate(value, error, "1/ps", math.inf)
    offset = float((y - value * t).mean())
    residual = y - y.mean() - value * (t - t.mean())
    power = float((residual**2).sum())
    r = float((residual[1:] * residual[:-1]).sum()) / power if power > 0 else 0.0
    inflation = math.sqrt((1.0 + r) / (1.0 - r)) if r > 2.0 / math.sqrt(len(t)) else 1.0
    u = (2.0 * t - (t[-1] + t[0])) / (t[-1] - t[0])
    basis = np.stack([np.ones_like(u), u, u**2], axis=1)
    c, inverse = np.linalg.lstsq(basis, y, rcond=None)[0], np.linalg.inv(basis.T @ basis)
    variance = float(((y - basis @ c) ** 2).sum()) / (len(t) - 3) * float(inverse[2, 2])
    noise = inflation * math.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        drift = Estimate(
            float(4.0 * c[2] / c[1]), float(np.abs(4.0 * noise / c[1])), "1", len(t) - 3.0
        )
    insignificant = abs(value) <= 2.0 * error
    return SteadyState(
        rate=rate,
        drift=drift,
        offset=offset,
        window=(float(t[0]), float(t[-1])),
        points=len(t),
        autocorrelation=r,
        note="the rate does not differ from zero by 2 standard errors" if insignificant else "",
        forms=posterior.forms,
        transient=transient,
    )


@dataclass(frozen=True)
class ActivationVolume:
    """Activation volume of creep from rates at one temperature.

    Parameters
    ----------
    angstrom3
        Activation volume in Å^3.
    log_rate_slope
        Slope of ln(rate) against stress, in 1/GPa.
    log_rate_offset
        ln(rate) at zero stress.
    temperature
        Temperature in K.
    points
        Number of rates.
    reduced_chi2
        Reduced chi squared; NaN if no errors of the rates were given.
    """

    angstrom3: Estimate
    log_rate_slope: Estimate
    log_rate_offset: Estimate
    temperature: float
    points: int
    reduced_chi2: float

    @property
    def nm3(self) -> Estimate:
        """Activation volume in nm^3: 1 nm^3 = 1000 Å^3."""
        return self.angstrom3.scaled(1e-3, "nm^3")

    def curve(self, stress: npt.ArrayLike) -> FloatArray:
        """Evaluate the fitted rate.

        Parameters
        ----------
        stress
            Stresses in GPa, any shape.

        Returns
        -------
        rate
            Rates of the same shape, in the unit of the rates that were fitted.
        """
        slope = self.log_rate_slope.value * np.asarray(stress, dtype=np.float64)
        return np.asarray(np.exp(self.log_rate_offset.value + slope))

    def __str__(self) -> str:
        return describe(
            {"V*": f"{self.angstrom3.text} = {self.nm3.text}"},
            f"{self.points} rates at {self.temperature:g} K",
            describe_freedom(self.points, "rates", 2, math.isinf(self.angstrom3.dof)),
        )


def activation_volume(
    stress: npt.ArrayLike,
    rate: npt.ArrayLike,
    temperature: float,
    *,
    error: npt.ArrayLike | None = None,
    unit: str = "GPa",
) -> ActivationVolume:
    """Fit the activation volume of creep from steady rates at one temperature.

    The slope is that of a straight-line fit of ln(rate) against stress::

        V* = sqrt(3) k_B T d ln(rate) / d sigma
        1 GPa Å^3 = 6.241509e-3 eV,   k_B = 8.617333262e-5 eV/K

    The factor sqrt(3) converts uniaxial stress to the von Mises shear stress.

    Parameters
    ----------
    stress
        Uniaxial stresses, shape (n,), in ``unit``. Compression counts as positive.
    rate
        Steady rates, shape (n,), above 0, in any unit such as 1/ps.
    temperature
        Temperature in K.
    error
        Standard errors of the rates, shape (n,), used for ln(rate) as error / rate.
    unit
        Unit of the stresses, "GPa" or "MPa".

    Returns
    -------
    volume
        Activation volume in Å^3 and nm^3 with the standard error of the slope.

    Raises
    ------
    ParameterError
        If there are fewer than 3 different stresses (2 with errors) or rates are not
        positive. Also if stresses exceed 100 GPa, which suggests values in MPa.

    Notes
    -----
    The standard error comes from ``error`` if given, or else from the scatter about the
    line. For few stresses, use ``.angstrom3.interval()``, which is based on Student's
    t. The fit is valid if forward flow exceeds backward flow (sigma V* / sqrt(3) >> k_B
    T) and ln(rate) is linear in stress. For a power law, the volume refers to the
    middle of the stress range.

    Liu et al. (2022) print 27 nm^3 at 100 K and 2.2 to 2.4 GPa. Only 27 Å^3 is
    possible: with 27 nm^3, the rates would differ by a factor of e^2258.

    References
    ----------
    The relation is that of Liu et al., J. Mater. Inf. 2, 20 (2022), in the text on Fig.
    2B. Spaepen, Acta Metall. 25, 407 (1977). For the factor sqrt(3): Wei, Cheng,
    Ramesh, Ma, Mater. Sci. Eng. A 381, 71 (2004).

    Examples
    --------
    >>> s = np.array([0.5, 1.0, 1.5, 2.0])
    >>> slope = 100.0 * 6.241509e-3 / (3**0.5 * 8.617333262e-5 * 600.0)
    >>> round(activation_volume(s, 1e-7 * np.exp(slope * s), 600.0).nm3.value, 6)
    0.1
    """
    if unit not in ("GPa", "MPa"):
        raise ParameterError(f"unit={unit!r} must be 'GPa' or 'MPa'")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ParameterError(f"temperature={temperature} must be above 0 K")
    s = as_vector("stress", stress)
    s = s / 1000.0 if unit == "MPa" else s
    if len(s) and np.abs(s).max() > 100.0:
        raise ParameterError(
            f"stress reaches {np.abs(s).max():g} GPa, more than a glass can bear; "
            "give unit='MPa' if that is the unit"
        )
    y = check_positive("rate", as_vector("rate", rate, length=len(s)))
    rate_error = as_standard_errors("error", error, len(s))
    sigma = None if rate_error is None else rate_error / y
    check_points("stress (different values)", len(np.unique(s)), 2, sigma is not None)
    fit = fit_line(s, np.log(y), sigma)
    slope = Estimate(float(fit.parameters[1]), float(fit.errors[1]), "1/GPa", fit.dof)
    return ActivationVolume(
        angstrom3=slope.scaled(math.sqrt(3.0) * BOLTZMANN * temperature / GPA_A3, "Å^3"),
        log_rate_slope=slope,
        log_rate_offset=Estimate(float(fit.parameters[0]), float(fit.errors[0]), "1", fit.dof),
        temperature=float(temperature),
        points=len(s),
        reduced_chi2=fit.reduced_chi2,
    )
