"""A value with its standard error, least squares that gives them, and the checks of arguments the analyses share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.stats import t as student

from mgdask.errors import ParameterError

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

BOLTZMANN = 8.617333262e-5
"""k_B in eV/K (CODATA 2018, exact in the SI)."""


@dataclass(frozen=True)
class Estimate:
    """``value`` with its standard ``error``, both in ``unit``; ``dof`` degrees of freedom behind it (inf: given).

    >>> print(Estimate(1234.5678, 3.21, "K"))
    1234.6 ± 3.2 K
    >>> low, high = Estimate(10.0, 1.0, "K", dof=4).interval(0.95)
    >>> round(high, 2)
    12.78
    """

    value: float
    error: float
    unit: str = "1"
    dof: float = math.inf

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided confidence interval from Student's t with ``dof`` degrees of freedom (normal where infinite)."""
        if not 0.0 < level < 1.0:
            raise ParameterError(f"level={level} must lie between 0 and 1; 0.95 is customary")
        reach = (
            float(student.ppf(0.5 + 0.5 * level, min(self.dof, 1e9))) * self.error
            if self.dof > 0
            else math.nan
        )
        return self.value - reach, self.value + reach

    def scaled(self, factor: float, unit: str) -> Estimate:
        """The same in another unit."""
        return Estimate(self.value * factor, self.error * abs(factor), unit, self.dof)

    def __str__(self) -> str:
        unit = "" if self.unit == "1" else f" {self.unit}"
        if not math.isfinite(self.value):
            return f"nan{unit}"
        size = max(abs(self.value), self.error if math.isfinite(self.error) else 0.0)
        power = math.floor(math.log10(size)) if size > 0 else 0
        power = 0 if -4 < power < 6 else power
        value, error = self.value / 10.0**power, self.error / 10.0**power
        end = f"e{power:+03d}" if power else ""
        if not (math.isfinite(error) and error > 1e-9 * abs(value)):
            text = "?" if not math.isfinite(error) else "0"
            return f"({value:.5g} ± {text}){end}{unit}" if end else f"{value:.5g} ± {text}{unit}"
        digits = min(max(0, 1 - math.floor(math.log10(error))), 12)
        body = f"{value:.{digits}f} ± {error:.{digits}f}"
        return f"({body}){end}{unit}" if end else f"{body}{unit}"


def vector(
    name: str, values: npt.ArrayLike, *, length: int | None = None, finite: bool = True
) -> Float:
    """``values`` as float64 (n,), of ``length`` where given and without NaN unless allowed; else ``ParameterError``."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be numbers, one a point; {error}") from None
    if array.ndim != 1:
        raise ParameterError(
            f"{name} has shape {array.shape}; it must be one-dimensional: "
            "choose one curve first, such as .sel(species='Cu')"
        )
    if length is not None and len(array) != length:
        raise ParameterError(
            f"{name} has {len(array)} values where {length} are needed; give arrays of the same points"
        )
    bad = np.flatnonzero(~np.isfinite(array))
    if finite and len(bad):
        raise ParameterError(
            f"{name}[{bad[0]}] is {array[bad[0]]} ({len(bad)} such values); "
            "all must be finite numbers: drop those points first"
        )
    return array


def positive(name: str, values: Float) -> Float:
    """``values``, all above zero."""
    bad = np.flatnonzero(values <= 0)
    if len(bad):
        raise ParameterError(
            f"{name}[{bad[0]}] is {values[bad[0]]:g}; all must be above 0: drop those points or check the units"
        )
    return values


def increasing(name: str, values: Float) -> Float:
    """``values``, strictly increasing."""
    bad = np.flatnonzero(np.diff(values) <= 0)
    if len(bad):
        k = int(bad[0])
        raise ParameterError(
            f"{name} must increase strictly; {name}[{k + 1}] = {values[k + 1]:g} follows {values[k]:g}: "
            "sort the points and drop repeats"
        )
    return values


def errors_of(name: str, error: npt.ArrayLike | None, length: int) -> Float | None:
    """Standard errors (n,) of the data, all above zero, or None where none are given."""
    return None if error is None else positive(name, vector(name, error, length=length))


def enough(name: str, points: int, parameters: int, known: bool) -> None:
    """Refuses fits without a degree of freedom; with known errors as many points as parameters will do."""
    least = parameters if known else parameters + 1
    if points < least:
        raise ParameterError(
            f"{name} has {points} points, {least} are needed for {parameters} parameters"
            f"{'' if known else ' and their standard errors'}: give more points"
            f"{'' if known else ', or the errors of these'}"
        )


@dataclass(frozen=True, eq=False)
class Fitted:
    """Parameters (p,) with covariance (p, p), degrees of freedom, and reduced chi squared (NaN without errors)."""

    parameters: Float
    covariance: Float
    dof: float
    reduced_chi2: float

    @property
    def errors(self) -> Float:
        """Standard errors (p,)."""
        return np.sqrt(np.diagonal(self.covariance))


def least_squares(
    what: str,
    function: Callable[..., Float],
    start: Sequence[float] | Float,
    x: Float,
    y: Float,
    error: Float | None,
    lower: Sequence[float],
    upper: Sequence[float],
) -> Fitted:
    """Bounded least squares; covariance (J' W J)^-1, scaled by the residuals unless errors are given."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)
            parameters, covariance = curve_fit(
                function,
                x,
                y,
                p0=np.asarray(start, dtype=np.float64),
                sigma=error,
                absolute_sigma=error is not None,
                bounds=(list(lower), list(upper)),
                method="trf",
                x_scale="jac",
                ftol=1e-13,
                xtol=1e-13,
                gtol=1e-13,
                max_nfev=5000,
            )
    except (RuntimeError, OptimizeWarning, np.linalg.LinAlgError) as problem:
        raise ParameterError(
            f"the {what} does not determine its parameters from these {len(x)} points ({problem}): "
            "look at the data, give more points or another window"
        ) from None
    return _judged(
        np.asarray(parameters), np.asarray(covariance), y - function(x, *parameters), error
    )


def _judged(parameters: Float, covariance: Float, residual: Float, error: Float | None) -> Fitted:
    free = len(residual) - len(parameters)
    if error is None:
        return Fitted(parameters, covariance, float(free), math.nan)
    chi2 = float(((residual / error) ** 2).sum())
    return Fitted(parameters, covariance, math.inf, chi2 / free if free else math.nan)


def line(x: Float, y: Float, error: Float | None) -> Fitted:
    """Straight line y = p0 + p1 x by least squares, weighted by 1 / error^2 where given."""
    weight = np.ones_like(x) if error is None else 1.0 / error**2
    total = weight.sum()
    center = (weight * x).sum() / total
    spread = (weight * (x - center) ** 2).sum()
    mean = (weight * y).sum() / total
    slope = (weight * (x - center) * (y - mean)).sum() / spread
    parameters = np.array([mean - slope * center, slope])
    covariance = np.array(
        [[1.0 / total + center**2 / spread, -center / spread], [-center / spread, 1.0 / spread]]
    )
    residual = y - parameters[0] - slope * x
    if error is None:
        free = len(x) - 2
        covariance = covariance * (float((residual**2).sum()) / free if free > 0 else math.nan)
    return _judged(parameters, covariance, residual, error)


def share_variance(successes: npt.ArrayLike, trials: npt.ArrayLike) -> Float:
    """Variance of a share, p (1 - p) / n with p = (x + 1/2) / (n + 1): never zero; NaN for n = 0."""
    x, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    p = (x + 0.5) / (n + 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(n > 0, p * (1.0 - p) / n, np.nan), dtype=np.float64)


def curve_of(
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
            raise ParameterError(
                f"{name} has dim 'lag' without a coordinate; give time, or .assign_coords(lag=...)"
            )
    y = vector(name, values, finite=False)
    t = increasing("time", vector("time", time, length=len(y)))
    sigma = None if error is None else vector("error", error, length=len(y), finite=False)
    if len(t) and t[0] < 0:
        raise ParameterError(
            f"time[0] is {t[0]:g} ps; lag times cannot be negative: give the distance in time"
        )
    keep = np.isfinite(y)
    if sigma is not None:
        sigma = errors_of("error", sigma[keep], int(keep.sum()))
    return t[keep], y[keep], sigma


def pearson(weight: Float, x: Float, y: Float) -> Float:
    """Weighted Pearson correlations, one a row: weight (b, n), x and y (b or 1, n)."""
    total = weight.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        dx = x - (weight * x).sum(axis=1, keepdims=True) / total
        dy = y - (weight * y).sum(axis=1, keepdims=True) / total
        up = (weight * dx * dy).sum(axis=1)
        below = np.sqrt((weight * dx**2).sum(axis=1) * (weight * dy**2).sum(axis=1))
        return np.asarray(
            np.where(below > 0, np.clip(up / below, -1.0, 1.0), np.nan), dtype=np.float64
        )
