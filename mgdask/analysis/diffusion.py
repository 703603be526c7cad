"""What mean squared displacements say: diffusion coefficients, and how far from Gaussian displacements are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.analysis.estimate import (
    Estimate,
    Float,
    curve_of,
    enough,
    line,
    positive,
)
from mgdask.errors import ParameterError

LN10 = math.log(10.0)


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
        judged = (
            ""
            if self.linear
            else "; the MSD is NOT linear here, so this is no diffusion coefficient"
        )
        return f"D = {self.coefficient}, exponent {self.exponent} from {self.window[0]:g} to {self.window[1]:g} ps{judged}"


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
        raise ParameterError(
            f"dimensions={dimensions} must be 1, 2 or 3; displacements in space have 3"
        )
    if not tolerance > 0:
        raise ParameterError(f"tolerance={tolerance} must be above 0; 0.05 is the default")
    t, y, sigma = curve_of(time, msd, "msd", error)
    low, high = window if window is not None else (0.0, math.inf)
    if not low < high:
        raise ParameterError(
            f"window={window} must be (first, last) lag in ps, the first below the last"
        )
    keep = (t > 0) & (t >= low) & (t <= high)
    t, y = t[keep], positive("msd (in the window)", y[keep])
    sigma = None if sigma is None else sigma[keep]
    enough(f"msd within the window {(low, high)}", len(t), 2, sigma is not None)
    fit = line(t, y, sigma)
    slope = line(np.log(t), np.log(y), None if sigma is None else sigma / y)
    scale = 1.0 / (2 * dimensions)
    exponent = float(slope.parameters[1])
    return Diffusion(
        Estimate(float(fit.parameters[1]), float(fit.errors[1]), "Å^2/ps", fit.dof).scaled(
            scale, "Å^2/ps"
        ),
        Estimate(float(fit.parameters[0]), float(fit.errors[0]), "Å^2", fit.dof),
        Estimate(exponent, float(slope.errors[1]), "1", slope.dof),
        abs(exponent - 1.0) <= tolerance,
        dimensions,
        (float(t[0]), float(t[-1])),
        len(t),
        fit.reduced_chi2,
    )
