"""Diffusion: coefficients from mean squared displacements, non-Gaussian parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask._typing import FloatArray
from mgdask.analysis.estimate import (
    Estimate,
    as_curve,
    check_points,
    check_positive,
    describe,
    describe_window,
    fit_line,
)
from mgdask.errors import ParameterError


def non_gaussian_parameter(second: npt.ArrayLike, fourth: npt.ArrayLike) -> npt.ArrayLike:
    """Compute the non-Gaussian parameter of displacements in three dimensions.

    From the second and fourth moments of the displacements::

        alpha_2 = 3 <r^4> / (5 <r^2>^2) - 1

    Parameters
    ----------
    second
        <r^2> in Å^2, any shape, such as (lag,).
    fourth
        <r^4> in Å^4, of a shape that broadcasts with ``second``.

    Returns
    -------
    alpha_2
        alpha_2 of the common shape; a DataArray if the moments are DataArrays. It is 0
        for Gaussian displacements and NaN where <r^2> is 0 (lag 0).

    Raises
    ------
    ParameterError
        If a moment is negative.

    Notes
    -----
    Valid in three dimensions, for averages over the same atoms and origins. An average
    of alpha_2 over subsets is a different quantity. The estimate from N independent
    displacements is biased by order 1/N.

    References
    ----------
    Rahman, Phys. Rev. 136, A405 (1964).

    Examples
    --------
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
                f"{name} has negative values; even moments of displacements cannot be below 0: "
                "give <r^2> and <r^4>"
            )
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: npt.ArrayLike = 3.0 * m4 / (5.0 * m2**2) - 1.0  # 0 / 0 gives NaN, as intended
    return ratio


@dataclass(frozen=True)
class Diffusion:
    """Diffusion coefficient from a linear fit of the mean squared displacement.

    Parameters
    ----------
    coefficient
        D in Å^2/ps, from MSD = offset + 2 d D t.
    offset
        MSD of the fitted line at t = 0, in Å^2.
    exponent
        d lg MSD / d lg t within the window.
    linear
        Whether the exponent is 1 within the tolerance.
    dimensions
        Number of dimensions d.
    window
        First and last fitted lag in ps.
    points
        Number of fitted points.
    reduced_chi2
        Reduced chi squared; NaN if no errors of the MSD were given.
    """

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
        """Diffusion coefficient in m^2/s: 1 Å^2/ps = 1e-8 m^2/s."""
        return self.coefficient.scaled(1e-8, "m^2/s")

    def curve(self, time: npt.ArrayLike) -> FloatArray:
        """Evaluate the fitted line.

        Parameters
        ----------
        time
            Lag times in ps, any shape.

        Returns
        -------
        msd
            MSD in Å^2, of the same shape.
        """
        t = np.asarray(time, dtype=np.float64)
        return np.asarray(self.offset.value + 2 * self.dimensions * self.coefficient.value * t)

    def __str__(self) -> str:
        warning = "" if self.linear else "the MSD is NOT linear here: D is not meaningful"
        return describe(
            {"D": self.coefficient, "exponent": self.exponent},
            describe_window(self.points, self.window),
            warning,
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
    """Fit a diffusion coefficient to a mean squared displacement.

    Two least-squares fits over the window give::

        <r^2>(t) = offset + 2 d D t,   exponent = d lg <r^2> / d lg t

    The exponent shows whether the displacement is diffusive.

    Parameters
    ----------
    time
        Lag times in ps, shape (n,). None takes them from a DataArray with dim ``lag``.
    msd
        Mean squared displacement in Å^2, shape (n,). NaN points are left out.
    window
        First and last lag in ps. All lags above zero by default.
    error
        Standard errors of the MSD in Å^2, shape (n,), used as weights.
    dimensions
        Number of dimensions d, 1 to 3.
    tolerance
        Largest deviation of the exponent from 1 that still counts as linear. The
        default is mgdask's own choice.

    Returns
    -------
    fit
        D in Å^2/ps (``.si`` in m^2/s), offset in Å^2, exponent and ``linear``.

    Raises
    ------
    ParameterError
        If the window holds fewer than 3 points (2 with errors), or an option is out of
        range.

    Notes
    -----
    Valid if the MSD is linear, from an unwrapped trajectory whose center-of-mass drift
    was removed. Points of one trajectory are strongly correlated, so the standard
    errors are too small. The spread over independent runs is the better error.

    References
    ----------
    Einstein, Ann. Phys. 322, 549 (1905).

    Examples
    --------
    >>> t = np.linspace(0, 100, 51)
    >>> fit = fit_diffusion(t, 0.3 + 6 * 0.05 * t, window=(20, 100))
    >>> round(fit.coefficient.value, 6)
    0.05
    """
    if dimensions not in (1, 2, 3):
        raise ParameterError(
            f"dimensions={dimensions} must be 1, 2 or 3; displacements in space have 3"
        )
    if not tolerance > 0:
        raise ParameterError(f"tolerance={tolerance} must be above 0; 0.05 is the default")
    t, y, sigma = as_curve(time, msd, "msd", error)
    low, high = window if window is not None else (0.0, math.inf)
    if not low < high:
        raise ParameterError(
            f"window={window} must be (first, last) lag in ps, the first below the last"
        )
    keep = (t > 0) & (t >= low) & (t <= high)
    t, y = t[keep], check_positive("msd (in the window)", y[keep])
    sigma = None if sigma is None else sigma[keep]
    check_points(f"msd within the window {(low, high)}", len(t), 2, sigma is not None)
    fit = fit_line(t, y, sigma)
    log_fit = fit_line(np.log(t), np.log(y), None if sigma is None else sigma / y)
    slope = Estimate(float(fit.parameters[1]), float(fit.errors[1]), "Å^2/ps", fit.dof)
    exponent = float(log_fit.parameters[1])
    return Diffusion(
        coefficient=slope.scaled(1.0 / (2 * dimensions), "Å^2/ps"),
        offset=Estimate(float(fit.parameters[0]), float(fit.errors[0]), "Å^2", fit.dof),
        exponent=Estimate(exponent, float(log_fit.errors[1]), "1", log_fit.dof),
        linear=abs(exponent - 1.0) <= tolerance,
        dimensions=dimensions,
        window=(float(t[0]), float(t[-1])),
        points=len(t),
        reduced_chi2=fit.reduced_chi2,
    )
