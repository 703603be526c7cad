"""Creep: the steady stage of a strain-time curve, and the activation volume from its rate against stress."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask.analysis.estimate import (
    BOLTZMANN,
    Estimate,
    Float,
    enough,
    errors_of,
    increasing,
    line,
    positive,
    vector,
)
from mgdask.errors import ParameterError

GPA_A3 = 6.241509e-3
"""eV in a GPa Å^3."""


@dataclass(frozen=True)
class SteadyState:
    """Steady creep rate in 1/ps with the window in ps it was found in; NaN with a ``reason`` where there is none."""

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

    def curve(self, time: npt.ArrayLike) -> Float:
        """The line of steady creep, the strain at ``time`` in ps."""
        return np.asarray(self.offset + self.rate.value * np.asarray(time, dtype=np.float64))

    def __str__(self) -> str:
        if self.reason:
            return f"no steady creep: {self.reason}"
        text = f"rate = {self.rate} from {self.window[0]:g} to {self.window[1]:g} ps ({self.points} points)"
        text += f", which drifts by {self.drift}"
        return f"{text}; {self.note}" if self.note else text


def _constant(t: Float, y: Float, significance: float, tolerance: float) -> bool:
    """Whether quadratic and cubic terms of y(t) are insignificant, or change the rate by less than a tolerance."""
    u = (2.0 * t - (t[-1] + t[0])) / (t[-1] - t[0])
    basis = np.stack([np.ones_like(u), u, 1.5 * u**2 - 0.5, 2.5 * u**3 - 1.5 * u], axis=1)
    q, r = np.linalg.qr(basis)
    c = q.T @ y
    noise = math.sqrt(float(((y - q @ c) ** 2).sum()) / (len(t) - 4))
    if max(abs(c[2]), abs(c[3])) <= significance * noise:
        return True
    second, third = (c[2] - r[2, 3] * c[3] / r[3, 3]) / r[2, 2], c[3] / r[3, 3]
    return bool(3.0 * abs(second) + 6.0 * abs(third) <= tolerance * abs(c[1] / r[1, 1]))


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
    """Steady stage of a creep curve and its strain rate.

        strain = offset + rate t   in the longest window in which the rate is constant

    The rule, mgdask's own: windows start and end at ``edges`` points spread evenly over the data. A window will do if,
    fitted by polynomials, both its quadratic and its cubic term are below ``significance`` standard errors (the cubic
    one because an S-shaped curve, primary and tertiary creep together, has no quadratic term about its middle), or if
    both together change the rate by less than ``tolerance`` of itself. The longest such window wins, of equally long
    ones the latest. From it, ``trim`` of its length is cut off at either end that is not an end of the data, where a
    remnant of primary or tertiary creep hides in the noise; the line is fitted to what is left.

    Parameters: ``time`` (n,) in ps, increasing; ``strain`` (n,), NaN left out; ``min_share`` of the whole time that a
    window must span at least, ``min_points`` in it, both before the trim; ``trim`` from 0 to below 0.4.

    Returns a ``SteadyState``: ``rate`` in 1/ps with the standard error of the line, which is raised by sqrt((1 + r) /
    (1 - r)) where the residuals' autocorrelation r from point to point is above 2 / sqrt(n); the ``window`` in ps that
    was fitted; ``drift``, the change of the rate from its first to its last point, relative to the rate, with its
    error. NaN with a reason if no window will do.

    Valid where primary creep is over in a small part of the run. The standard error knows the noise only. With a strain
    0.02 (1 - exp(-t / t_1)) + 2e-5 t, 1000 ps and noise of 1e-2 of the primary strain, it covers for t_1 = 30 ps (69 %
    within one), but for t_1 = 100 ps the rate is 0.7 % or about one standard error too high, and Andrade's creep,
    t^(1/3), which is never steady, passes for steady with a rate 20 % too high: read ``drift``, and compare runs of
    other lengths. Strains written often have correlated noise, for which the rule is strict and windows come out
    shorter; thin such data. ``ParameterError`` for arrays that do not fit together, too few points, limits outside
    their range.

    >>> t = np.linspace(0, 1000, 401)
    >>> found = steady_state(t, 0.01 * (1 - np.exp(-t / 20)) + 2e-6 * t)
    >>> print(f"{found.rate.value:.1e} per ps, {found.window[0] > 100}")
    2.0e-06 per ps, True
    """
    t, y = vector("time", time), vector("strain", strain, finite=False)
    if len(t) != len(y):
        raise ParameterError(
            f"strain has {len(y)} values where time has {len(t)}; give arrays of the same points"
        )
    increasing("time", t)
    for name, value, good in (
        ("significance", significance, significance > 0.0),
        ("tolerance", tolerance, 0.0 <= tolerance < 1.0),
        ("min_share", min_share, 0.0 < min_share <= 1.0),
        ("trim", trim, 0.0 <= trim < 0.4),
    ):
        if not good:
            raise ParameterError(
                f"{name}={value} is outside its range (significance above 0, tolerance from 0 to below 1, "
                "min_share above 0 to 1, trim from 0 to below 0.4); leave it out for the default"
            )
    if min_points < 6 or edges < 2:
        raise ParameterError(
            f"min_points={min_points} must be at least 6 and edges={edges} at least 2; leave them out for the defaults"
        )
    keep = np.isfinite(y)
    t, y = t[keep], y[keep]
    if len(t) < min_points:
        raise ParameterError(
            f"strain has {len(t)} finite points, fewer than min_points={min_points}; give more points or lower it"
        )
    cuts = np.unique(np.round(np.linspace(0, len(t) - 1, edges)).astype(np.int64))
    first, last = (cuts[k] for k in np.triu_indices(len(cuts), 1))
    whole = t[-1] - t[0]
    length = np.round((t[last] - t[first]) / whole, 9)
    order = np.lexsort((-first, -length))
    for k in order:
        i, j = int(first[k]), int(last[k]) + 1
        if length[k] < min_share:
            break
        if j - i >= min_points and _constant(t[i:j], y[i:j], significance, tolerance):
            cut = trim * (t[j - 1] - t[i])
            low = t[i] + (cut if i > 0 else 0.0)
            high = t[j - 1] - (cut if j < len(t) else 0.0)
            inner = (t >= low) & (t <= high)
            if inner.sum() < 4:
                inner = (t >= t[i]) & (t <= t[j - 1])  # points so uneven that nothing would be left
            return _steady(t[inner], y[inner])
    nan = math.nan
    reason = f"the rate is constant in no window of {min_share:g} of the time; the run is too short, or min_share too large"
    return SteadyState(
        Estimate(nan, nan, "1/ps", 0.0),
        Estimate(nan, nan, "1", 0.0),
        nan,
        (nan, nan),
        0,
        nan,
        reason,
    )


def _steady(t: Float, y: Float) -> SteadyState:
    fit = line(t, y, None)
    residual = y - fit.parameters[0] - fit.parameters[1] * t
    power = float((residual**2).sum())
    r = float((residual[1:] * residual[:-1]).sum()) / power if power > 0 else 0.0
    error = float(fit.errors[1])
    if r > 2.0 / math.sqrt(len(t)):
        error *= math.sqrt((1.0 + r) / (1.0 - r))
    rate = Estimate(float(fit.parameters[1]), error, "1/ps", fit.dof)
    u = (2.0 * t - (t[-1] + t[0])) / (t[-1] - t[0])
    basis = np.stack([np.ones_like(u), u, u**2], axis=1)
    c, inverse = np.linalg.lstsq(basis, y, rcond=None)[0], np.linalg.inv(basis.T @ basis)
    noise = (
        math.sqrt(float(((y - basis @ c) ** 2).sum()) / (len(t) - 3) * float(inverse[2, 2]))
        * error
        / float(fit.errors[1] or 1)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        drift = Estimate(
            float(4.0 * c[2] / c[1]), float(np.abs(4.0 * noise / c[1])), "1", fit.dof - 1
        )
    note = (
        ""
        if abs(rate.value) > 2.0 * error
        else "the rate does not differ from zero by 2 standard errors"
    )
    return SteadyState(
        rate, drift, float(fit.parameters[0]), (float(t[0]), float(t[-1])), len(t), r, "", note
    )


@dataclass(frozen=True)
class ActivationVolume:
    """Activation volume with its standard error in Å^3 and nm^3, from rates at one temperature in K."""

    angstrom3: Estimate
    log_rate_slope: Estimate
    log_rate_offset: Estimate
    temperature: float
    points: int
    reduced_chi2: float

    @property
    def nm3(self) -> Estimate:
        """The volume in nm^3: 1 nm^3 = 1000 Å^3."""
        return self.angstrom3.scaled(1e-3, "nm^3")

    def curve(self, stress: npt.ArrayLike) -> Float:
        """The fitted rate at ``stress`` in GPa, in the unit of the rates given."""
        slope = self.log_rate_slope.value * np.asarray(stress, dtype=np.float64)
        return np.asarray(np.exp(self.log_rate_offset.value + slope))

    def __str__(self) -> str:
        return f"V* = {self.angstrom3} = {self.nm3} at {self.temperature:g} K, from {self.points} rates"


def activation_volume(
    stress: npt.ArrayLike,
    rate: npt.ArrayLike,
    temperature: float,
    *,
    error: npt.ArrayLike | None = None,
    unit: str = "GPa",
) -> ActivationVolume:
    """Activation volume of creep from the steady rate against stress at one temperature.

        V* = sqrt(3) k_B T d ln(rate) / d sigma,   1 GPa Å^3 = 6.241509e-3 eV,   k_B = 8.617333262e-5 eV/K

    with the slope of a straight line through ln(rate) against sigma. sqrt(3) turns the uniaxial stress into von Mises'
    shear stress.

    Parameters: ``stress`` (n,) uniaxial, in ``unit`` "GPa" or "MPa"; ``rate`` (n,) above 0, in any unit (1/ps);
    ``temperature`` in K; ``error`` (n,) standard errors of the rate, as weights through error / rate.

    Returns an ``ActivationVolume`` in Å^3 and nm^3, its standard error that of the slope: from the scatter about the
    line, or from ``error`` where given. With few stresses use ``.angstrom3.interval()``, which is Student's. Valid
    where stress-driven flow outweighs flow backwards (sigma V* / sqrt(3) >> k_B T) and ln(rate) is straight: a power
    law bends, and the volume is that at the middle of the stresses. Compression counts as positive stress with positive
    rate. ``ParameterError`` for fewer than 3 different stresses (2 with errors), rates of 0 or below, and stresses
    above 100 GPa, which are MPa.

    Source: Spaepen, Acta Metall. 25, 407 (1977); for sqrt(3) Wei, Cheng, Ramesh, Ma, Mater. Sci. Eng. A 381, 71 (2004).

    >>> s = np.array([0.5, 1.0, 1.5, 2.0])
    >>> slope = 100.0 * 6.241509e-3 / (3**0.5 * 8.617333262e-5 * 600.0)
    >>> print(round(activation_volume(s, 1e-7 * np.exp(slope * s), 600.0).nm3.value, 6))
    0.1
    """
    if unit not in ("GPa", "MPa"):
        raise ParameterError(f"unit={unit!r} must be 'GPa' or 'MPa'")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ParameterError(f"temperature={temperature} must be above 0 K")
    s = vector("stress", stress)
    s = s / 1000.0 if unit == "MPa" else s
    if len(s) and np.abs(s).max() > 100.0:
        raise ParameterError(
            f"stress reaches {np.abs(s).max():g} GPa, more than a glass bears; give unit='MPa' if that is what it is"
        )
    y = positive("rate", vector("rate", rate, length=len(s)))
    given = errors_of("error", error, len(s))
    sigma = None if given is None else given / y
    enough("stress (different values)", len(np.unique(s)), 2, sigma is not None)
    fit = line(s, np.log(y), sigma)
    slope = Estimate(float(fit.parameters[1]), float(fit.errors[1]), "1/GPa", fit.dof)
    return ActivationVolume(
        slope.scaled(math.sqrt(3.0) * BOLTZMANN * temperature / GPA_A3, "Å^3"),
        slope,
        Estimate(float(fit.parameters[0]), float(fit.errors[0]), "1", fit.dof),
        float(temperature),
        len(s),
        fit.reduced_chi2,
    )
