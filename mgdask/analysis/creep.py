"""Creep: steady stages of strain-time curves, and activation volumes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.analysis.estimate import (
    BOLTZMANN,
    Estimate,
    as_standard_errors,
    as_vector,
    check_increasing,
    check_points,
    check_positive,
    describe,
    describe_window,
    fit_line,
)
from mgdask.errors import ParameterError

GPA_A3 = 6.241509e-3
"""One GPa Å^3 in eV."""


@dataclass(frozen=True)
class SteadyState:
    """Steady creep rate and the window in which it was found.

    Parameters
    ----------
    rate
        Strain rate in 1/ps; NaN if there is no steady stage.
    drift
        Change of the rate across the window, relative to the rate.
    offset
        Strain of the fitted line at t = 0.
    window
        First and last fitted time in ps.
    points
        Number of fitted points.
    autocorrelation
        Autocorrelation of the residuals from point to point.
    reason
        Why there is no steady stage; empty if there is one.
    note
        Reservations about the rate; empty if there are none.
    """

    rate: Estimate
    drift: Estimate
    offset: float
    window: tuple[float, float]
    points: int
    autocorrelation: float
    reason: str = ""
    note: str = ""

    @property
    def found(self) -> bool:
        """Whether there is a steady stage."""
        return not self.reason

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


def _rate_is_constant(t: FloatArray, y: FloatArray, significance: float, tolerance: float) -> bool:
    """Whether quadratic and cubic terms of y(t) are insignificant or negligible."""
    u = _centered(t)
    basis = np.stack([np.ones_like(u), u, 1.5 * u**2 - 0.5, 2.5 * u**3 - 1.5 * u], axis=1)
    q, r = np.linalg.qr(basis)
    c = q.T @ y
    noise = math.sqrt(float(((y - q @ c) ** 2).sum()) / (len(t) - 4))
    if max(abs(c[2]), abs(c[3])) <= significance * noise:
        return True
    second, third = (c[2] - r[2, 3] * c[3] / r[3, 3]) / r[2, 2], c[3] / r[3, 3]
    return bool(3.0 * abs(second) + 6.0 * abs(third) <= tolerance * abs(c[1] / r[1, 1]))


def _centered(t: FloatArray) -> FloatArray:
    """Map times to [-1, 1]."""
    return np.asarray((2.0 * t - (t[-1] + t[0])) / (t[-1] - t[0]))


def steady_state(
    time: npt.ArrayLike,
    strain: npt.ArrayLike,
    *,
    significance: float = 2.0,
    tolerance: float = 0.01,
    min_share: float = 0.2,
    min_points: int = 20,
    edges: int = 100,
    trim: float = 0.25,
) -> SteadyState:
    """Find the steady stage of a creep curve and its strain rate.

    The line is fitted in the longest window in which the rate is constant::

        strain = offset + rate t

    The rule is mgdask's own. Windows start and end at ``edges`` points spread evenly
    over the data. A window is steady if both its quadratic and its cubic term are below
    ``significance`` standard errors. The cubic term is needed because an S-shaped
    curve, primary and tertiary creep together, has no quadratic term about its middle.
    A window is also steady if both terms together change the rate by less than
    ``tolerance``. The longest steady window is used, the latest one among equals. A
    remnant of primary or tertiary creep may hide in the noise at its ends. Therefore
    ``trim`` of its length is cut off at each end that is not an end of the data.

    Parameters
    ----------
    time
        Times in ps, shape (n,), increasing.
    strain
        Strains, shape (n,). NaN points are left out.
    significance
        Number of standard errors below which a term is insignificant, above 0.
    tolerance
        Relative change of the rate that is negligible, from 0 to below 1.
    min_share
        Minimum share of the whole time that a window spans before the trim.
    min_points
        Minimum number of points in a window before the trim, at least 6.
    edges
        Number of points at which windows may start or end, at least 2.
    trim
        Share of the window cut off at each end, from 0 to below 0.4.

    Returns
    -------
    steady
        ``rate`` in 1/ps, the fitted ``window`` in ps, and ``drift``. All are NaN, with
        a reason, if no window is steady.

    Raises
    ------
    ParameterError
        If the arrays do not fit together, points are too few or an option is out of
        range.

    Notes
    -----
    The standard error of the rate is that of the line. It is raised by sqrt((1 + r) /
    (1 - r)) if the autocorrelation r of the residuals from point to point exceeds 2 /
    sqrt(n).

    Valid if primary creep is over in a small part of the run. The standard error
    accounts for noise only. Tests used a strain 0.02 (1 - exp(-t / t_1)) + 2e-5 t over
    1000 ps with noise of 1e-2 of the primary strain. For t_1 = 30 ps, 69 % of the rates
    lie within one standard error. For t_1 = 100 ps the rate is 0.7 %, or about one
    standard error, too high. Andrade's creep, t^(1/3), is never steady but passes for
    steady with a rate 20 % too high. Check ``drift`` and compare runs of different
    lengths. Strains written at short intervals have correlated noise. The rule is then
    too strict, and windows are shorter. Thin such data.

    Examples
    --------
    >>> t = np.linspace(0, 1000, 401)
    >>> steady = steady_state(t, 0.01 * (1 - np.exp(-t / 20)) + 2e-6 * t)
    >>> print(f"{steady.rate.value:.1e} per ps, {steady.window[0] > 100}")
    2.0e-06 per ps, True
    """
    t, y = as_vector("time", time), as_vector("strain", strain, finite=False)
    if len(t) != len(y):
        raise ParameterError(
            f"strain has {len(y)} values but time has {len(t)}; give arrays of the same points"
        )
    check_increasing("time", t)
    _validate_options(significance, tolerance, min_share, min_points, edges, trim)
    keep = np.isfinite(y)
    t, y = t[keep], y[keep]
    if len(t) < min_points:
        raise ParameterError(
            f"strain has {len(t)} finite points, fewer than min_points={min_points}; "
            "give more points or lower it"
        )
    for start, stop in _windows(t, edges, min_share):
        if stop - start >= min_points and _rate_is_constant(
            t[start:stop], y[start:stop], significance, tolerance
        ):
            inner = _trimmed(t, start, stop, trim)
            return _fit_steady(t[inner], y[inner])
    nan = math.nan
    return SteadyState(
        rate=Estimate(nan, nan, "1/ps", 0.0),
        drift=Estimate(nan, nan, "1", 0.0),
        offset=nan,
        window=(nan, nan),
        points=0,
        autocorrelation=nan,
        reason=f"no window of at least {min_share:g} of the time has a constant rate; "
        "the run is too short, or min_share is too large",
    )


def _validate_options(
    significance: float,
    tolerance: float,
    min_share: float,
    min_points: int,
    edges: int,
    trim: float,
) -> None:
    for name, value, valid in (
        ("significance", significance, significance > 0.0),
        ("tolerance", tolerance, 0.0 <= tolerance < 1.0),
        ("min_share", min_share, 0.0 < min_share <= 1.0),
        ("trim", trim, 0.0 <= trim < 0.4),
    ):
        if not valid:
            raise ParameterError(
                f"{name}={value} is out of range (significance above 0, tolerance from 0 to "
                "below 1, min_share above 0 to 1, trim from 0 to below 0.4); "
                "leave it out for the default"
            )
    if min_points < 6 or edges < 2:
        raise ParameterError(
            f"min_points={min_points} must be at least 6 and edges={edges} at least 2; "
            "leave them out for the defaults"
        )


def _windows(t: FloatArray, edges: int, min_share: float) -> list[tuple[int, int]]:
    """Half-open index ranges of candidate windows, longest first, then latest first."""
    cuts = np.unique(np.round(np.linspace(0, len(t) - 1, edges)).astype(np.int64))
    first, last = (cuts[k] for k in np.triu_indices(len(cuts), 1))
    length = np.round((t[last] - t[first]) / (t[-1] - t[0]), 9)
    order = np.lexsort((-first, -length))
    order = order[length[order] >= min_share]
    return [(int(i), int(j) + 1) for i, j in zip(first[order], last[order], strict=True)]


def _trimmed(t: FloatArray, start: int, stop: int, trim: float) -> npt.NDArray[np.bool_]:
    """Mask of the window without its trimmed ends; ends of the data stay."""
    cut = trim * (t[stop - 1] - t[start])
    low = t[start] + (cut if start > 0 else 0.0)
    high = t[stop - 1] - (cut if stop < len(t) else 0.0)
    inner = (t >= low) & (t <= high)
    if inner.sum() < 4:  # very uneven spacing: the trim would leave too few points
        inner = (t >= t[start]) & (t <= t[stop - 1])
    return np.asarray(inner)


def _fit_steady(t: FloatArray, y: FloatArray) -> SteadyState:
    """Rate and drift within the trimmed window."""
    fit = fit_line(t, y, None)
    residual = y - fit.parameters[0] - fit.parameters[1] * t
    power = float((residual**2).sum())
    r = float((residual[1:] * residual[:-1]).sum()) / power if power > 0 else 0.0
    error = float(fit.errors[1])
    if r > 2.0 / math.sqrt(len(t)):
        error *= math.sqrt((1.0 + r) / (1.0 - r))
    rate = Estimate(float(fit.parameters[1]), error, "1/ps", fit.dof)
    u = _centered(t)
    basis = np.stack([np.ones_like(u), u, u**2], axis=1)
    c, inverse = np.linalg.lstsq(basis, y, rcond=None)[0], np.linalg.inv(basis.T @ basis)
    variance = float(((y - basis @ c) ** 2).sum()) / (len(t) - 3) * float(inverse[2, 2])
    noise = math.sqrt(variance) * error / float(fit.errors[1] or 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        drift = Estimate(
            float(4.0 * c[2] / c[1]), float(np.abs(4.0 * noise / c[1])), "1", fit.dof - 1
        )
    insignificant = abs(rate.value) <= 2.0 * error
    return SteadyState(
        rate=rate,
        drift=drift,
        offset=float(fit.parameters[0]),
        window=(float(t[0]), float(t[-1])),
        points=len(t),
        autocorrelation=r,
        note="the rate does not differ from zero by 2 standard errors" if insignificant else "",
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
            {"V*": f"{self.angstrom3} = {self.nm3}"},
            f"{self.points} rates at {self.temperature:g} K",
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

    The slope is that of a straight line through ln(rate) against stress::

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
        Standard errors of the rates, shape (n,), used as weights through error / rate.
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
    The standard error comes from the scatter about the line, or from ``error`` if
    given. With few stresses use ``.angstrom3.interval()``, which is based on Student's
    t. Valid if stress-driven flow outweighs backward flow (sigma V* / sqrt(3) >> k_B T)
    and ln(rate) is linear in stress. For a power law, the volume refers to the middle
    of the stresses.

    Liu et al. (2022) print 27 nm^3 at 100 K and 2.2 to 2.4 GPa. Only 27 Å^3 is
    possible: with 27 nm^3 the rates would differ by a factor of e^2258.

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
