"""Values with standard errors, least squares that yields them, and argument checks.

All analyses share these helpers: the result types, one way to print them, weighted
linear and nonlinear fits, and the validation of curves.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.stats import t as student_t

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError

BOLTZMANN = 8.617333262e-5
"""Boltzmann constant in eV/K (CODATA 2018; exact in the SI)."""
LN10 = math.log(10.0)


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error.

    Parameters
    ----------
    value
        Best estimate, in ``unit``.
    error
        Standard error, in ``unit``. NaN if it is unknown.
    unit
        Unit of both numbers; "1" if dimensionless.
    dof
        Degrees of freedom behind the error. Infinite if the errors of the data were
        given.
    reason
        Why the error, or the value, is NaN.

    Examples
    --------
    >>> print(Estimate(1234.5678, 3.21, "K"))
    1234.6 ± 3.2 K
    >>> print(Estimate(1234.5678, math.nan, "K", reason="one sample"))
    1234.6 ± ? K (no error: one sample)
    >>> low, high = Estimate(10.0, 1.0, "K", dof=4).interval(0.95)
    >>> round(high, 2)
    12.78
    """

    value: float
    error: float
    unit: str = "1"
    dof: float = math.inf
    reason: str = ""

    @property
    def missing(self) -> str:
        """Why the error or the value is missing; empty if both are known."""
        if not math.isfinite(self.value):
            return self.reason
        return "" if math.isfinite(self.error) else f"no error: {self.reason or 'none was given'}"

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Compute the two-sided confidence interval from Student's t distribution.

        Parameters
        ----------
        level
            Confidence level between 0 and 1.

        Returns
        -------
        low, high
            Lower and upper end, in ``unit``. Infinite ``dof`` gives the normal
            interval.

        Raises
        ------
        ParameterError
            If ``level`` is not between 0 and 1.
        """
        if not 0.0 < level < 1.0:
            raise ParameterError(f"level={level} must lie between 0 and 1; 0.95 is customary")
        half_width = math.nan
        if self.dof > 0:
            quantile = float(student_t.ppf(0.5 + 0.5 * level, min(self.dof, 1e9)))
            half_width = quantile * self.error
        return self.value - half_width, self.value + half_width

    def scaled(self, factor: float, unit: str) -> Estimate:
        """Convert to another unit.

        Parameters
        ----------
        factor
            Size of the present unit in the new one.
        unit
            Name of the new unit.

        Returns
        -------
        estimate
            The same estimate in the new unit.
        """
        return Estimate(self.value * factor, self.error * abs(factor), unit, self.dof, self.reason)

    def __str__(self) -> str:
        return f"{self.text} ({self.missing})" if self.missing else self.text

    @property
    def text(self) -> str:
        """Value, error and unit, without the reason for a missing error."""
        unit = "" if self.unit == "1" else f" {self.unit}"
        if not math.isfinite(self.value):
            return f"nan{unit}"
        size = max(abs(self.value), self.error if math.isfinite(self.error) else 0.0)
        power = math.floor(math.log10(size)) if size > 0 else 0
        power = 0 if -4 < power < 6 else power
        value, error = self.value / 10.0**power, self.error / 10.0**power
        if not (math.isfinite(error) and error > 1e-9 * abs(value)):
            body = f"{value:.5g} ± {'0' if math.isfinite(error) else '?'}"
        else:
            digits = min(max(0, 1 - math.floor(math.log10(error))), 12)
            body = f"{value:.{digits}f} ± {error:.{digits}f}"
        return f"({body})e{power:+03d}{unit}" if power else f"{body}{unit}"


def describe(estimates: Mapping[str, object], *details: str) -> str:
    """Format the estimates of a result, and remarks about them, on one line.

    Each reason for a missing error is given once, after the remarks.

    Parameters
    ----------
    estimates
        Values by the symbols they are printed with.
    *details
        Remarks such as the fitted window. Empty and repeated ones are left out.

    Returns
    -------
    text
        One line of text.

    Examples
    --------
    >>> describe({"D": Estimate(0.05, 0.001)}, "40 points", "")
    'D = 0.0500 ± 0.0010; 40 points'
    >>> describe({"tau": Estimate(2.37, math.nan, "ps", reason="one sample")})
    'tau = 2.37 ± ? ps; no error: one sample'
    """
    head, missing = [], []
    for symbol, value in estimates.items():
        estimate = value if isinstance(value, Estimate) else None
        head.append(f"{symbol} = {value if estimate is None else estimate.text}")
        missing.append("" if estimate is None else estimate.missing)
    clauses = [clause for detail in details for clause in detail.split("; ")]
    said = [clause for clause in clauses if f"no error: {clause}" not in missing]
    remarks = dict.fromkeys(clause for clause in (*said, *missing) if clause)
    return "; ".join([", ".join(head), *remarks])


FEW_DEGREES = 3
"""Degrees of freedom up to which a fit remarks on the uncertainty of its errors."""


def describe_freedom(
    n_points: int, what: str, n_parameters: int, errors_known: bool, *, remark: bool = True
) -> str:
    """Format the degrees of freedom of a fit, with a remark if they are few.

    Parameters
    ----------
    n_points
        Number of points.
    what
        What the points are, such as "temperatures".
    n_parameters
        Number of fitted parameters.
    errors_known
        Whether the errors come from given errors of the points, not from their scatter.
    remark
        Whether to say what few degrees of freedom mean for the errors.

    Returns
    -------
    text
        One or two clauses.

    Examples
    --------
    >>> describe_freedom(9, "temperatures", 3, False)
    '9 temperatures, 3 parameters: 6 degrees of freedom'
    >>> describe_freedom(4, "rates", 3, False)  # doctest: +ELLIPSIS
    '4 rates, 3 parameters: ... so a 95 % interval is ± 12.7 standard errors'
    """
    free = n_points - n_parameters
    text = (
        f"{n_points} {what}, {n_parameters} parameters: "
        f"{free} degree{'' if free == 1 else 's'} of freedom"
    )
    if not remark or free > FEW_DEGREES:
        return text
    if errors_known:
        return f"{text}, so the law is {'hardly' if free else 'not'} tested"
    quantile = float(student_t.ppf(0.975, free)) if free > 0 else math.nan
    return f"{text}, so a 95 % interval is ± {quantile:.1f} standard errors"


def error_attrs(long_name: str, error: npt.ArrayLike, why: str, unit: str = "1") -> dict[str, str]:
    """Return the attributes of an array of standard errors.

    Parameters
    ----------
    long_name
        What the errors are of.
    error
        The standard errors, any shape.
    why
        Why an error is NaN. It is added as ``note`` if one is.
    unit
        Unit of the errors.

    Returns
    -------
    attrs
        Attributes ``units``, ``long_name`` and, if needed, ``note``.

    Examples
    --------
    >>> error_attrs("standard error of mean", [0.1, math.nan], "one atom")["note"]
    'no error where NaN: one atom'
    """
    attrs = {"units": unit, "long_name": long_name}
    if np.isnan(np.asarray(error, dtype=np.float64)).any():
        attrs["note"] = f"no error where NaN: {why}"
    return attrs


def describe_window(n_points: int, window: tuple[float, float]) -> str:
    """Format the number of fitted points and the window in ps that they span."""
    return f"{n_points} points from {window[0]:g} to {window[1]:g} ps"


def as_vector(
    name: str, values: npt.ArrayLike, *, length: int | None = None, finite: bool = True
) -> FloatArray:
    """Convert an argument to a one-dimensional float64 array.

    Parameters
    ----------
    name
        Argument named in error messages.
    values
        Numbers, shape (n,).
    length
        Required n. Any by default.
    finite
        Whether NaN and infinities are refused.

    Returns
    -------
    array
        Array of shape (n,).

    Raises
    ------
    ParameterError
        If the values are not numbers, have another shape, or contain NaN.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be numbers, one per point; {error}") from None
    if array.ndim != 1:
        raise ParameterError(
            f"{name} has shape {array.shape}; it must be one-dimensional: "
            "select one curve first, such as .sel(species='Cu')"
        )
    if length is not None and len(array) != length:
        raise ParameterError(
            f"{name} has {len(array)} values but {length} are needed; "
            "give arrays of the same points"
        )
    bad = np.flatnonzero(~np.isfinite(array))
    if finite and len(bad):
        raise ParameterError(
            f"{name}[{bad[0]}] is {array[bad[0]]} ({len(bad)} such values); "
            "all must be finite numbers: drop those points first"
        )
    return array


def check_positive(name: str, values: FloatArray) -> FloatArray:
    """Return ``values`` if all are above zero, else raise ``ParameterError``."""
    bad = np.flatnonzero(values <= 0)
    if len(bad):
        raise ParameterError(
            f"{name}[{bad[0]}] is {values[bad[0]]:g}; all must be above 0: "
            "drop those points or check the units"
        )
    return values


def check_increasing(name: str, values: FloatArray) -> FloatArray:
    """Return ``values`` if they increase strictly, else raise ``ParameterError``."""
    bad = np.flatnonzero(np.diff(values) <= 0)
    if len(bad):
        k = int(bad[0])
        raise ParameterError(
            f"{name} must increase strictly; {name}[{k + 1}] = {values[k + 1]:g} follows "
            f"{values[k]:g}: sort the points and drop repeats"
        )
    return values


def as_standard_errors(name: str, error: npt.ArrayLike | None, length: int) -> FloatArray | None:
    """Convert standard errors to an array (n,) of positive numbers; None stays None."""
    if error is None:
        return None
    return check_positive(name, as_vector(name, error, length=length))


def check_points(name: str, n_points: int, n_parameters: int, errors_known: bool) -> None:
    """Refuse a fit without a degree of freedom to estimate its errors.

    If the errors of the data are known, the minimum is one point per parameter.

    Parameters
    ----------
    name
        What has the points, for the error message.
    n_points
        Number of points.
    n_parameters
        Number of fitted parameters.
    errors_known
        Whether standard errors of the data were given.

    Raises
    ------
    ParameterError
        If there are too few points.
    """
    minimum = n_parameters if errors_known else n_parameters + 1
    if n_points < minimum:
        raise ParameterError(
            f"{name} has {n_points} points, {minimum} are needed for {n_parameters} parameters"
            f"{'' if errors_known else ' and their standard errors'}: give more points"
            f"{'' if errors_known else ', or the errors of these'}"
        )


@dataclass(frozen=True, eq=False)
class FitResult:
    """Parameters (p,) with covariance (p, p), degrees of freedom and goodness of fit.

    ``reduced_chi2`` is NaN if no errors of the data were given.
    """

    parameters: FloatArray
    covariance: FloatArray
    dof: float
    reduced_chi2: float

    @property
    def errors(self) -> FloatArray:
        """Standard errors (p,)."""
        return np.sqrt(np.diagonal(self.covariance))


def least_squares(
    name: str,
    function: Callable[..., FloatArray],
    start: Sequence[float] | FloatArray,
    x: FloatArray,
    y: FloatArray,
    error: FloatArray | None,
    bounds: tuple[Sequence[float], Sequence[float]],
) -> FitResult:
    """Fit a function by bounded least squares.

    The covariance is (J' W J)^-1, scaled by the residuals unless errors are given.

    Parameters
    ----------
    name
        What is fitted, for the error message.
    function
        Model, called as ``function(x, *parameters)``.
    start
        Initial parameters, shape (p,).
    x
        Abscissae, shape (n,).
    y
        Ordinates, shape (n,).
    error
        Standard errors of ``y``, shape (n,), or None.
    bounds
        Lower and upper bounds of the parameters, each of length p.

    Returns
    -------
    fit
        Fitted parameters and their covariance.

    Raises
    ------
    ParameterError
        If the data do not determine the parameters.
    """
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
                bounds=(list(bounds[0]), list(bounds[1])),
                method="trf",
                x_scale="jac",
                ftol=1e-13,
                xtol=1e-13,
                gtol=1e-13,
                max_nfev=5000,
            )
    except (RuntimeError, OptimizeWarning, np.linalg.LinAlgError) as problem:
        raise ParameterError(
            f"the {name} does not determine its parameters from these {len(x)} points "
            f"({problem}): inspect the data, and give more points or another window"
        ) from None
    return _fit_result(
        np.asarray(parameters), np.asarray(covariance), y - function(x, *parameters), error
    )


def _fit_result(
    parameters: FloatArray, covariance: FloatArray, residual: FloatArray, error: FloatArray | None
) -> FitResult:
    """Add degrees of freedom and reduced chi squared to fitted parameters."""
    free = len(residual) - len(parameters)
    if error is None:
        return FitResult(parameters, covariance, float(free), math.nan)
    chi2 = float(((residual / error) ** 2).sum())
    return FitResult(parameters, covariance, math.inf, chi2 / free if free else math.nan)


def fit_line(x: FloatArray, y: FloatArray, error: FloatArray | None) -> FitResult:
    """Fit y = p0 + p1 x by least squares, weighted by 1 / error^2 if errors are given.

    Parameters
    ----------
    x
        Abscissae, shape (n,).
    y
        Ordinates, shape (n,).
    error
        Standard errors of ``y``, shape (n,), or None.

    Returns
    -------
    fit
        Intercept and slope with their covariance.
    """
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
    return _fit_result(parameters, covariance, residual, error)


def proportion_variance(successes: npt.ArrayLike, trials: npt.ArrayLike) -> FloatArray:
    """Estimate the variance of a proportion so that it is never zero.

    The estimate is p (1 - p) / n with p = (x + 1/2) / (n + 1).

    Parameters
    ----------
    successes
        Counts x, any shape.
    trials
        Numbers of trials n, of the same shape.

    Returns
    -------
    variance
        Variances of the same shape; NaN where n = 0.
    """
    x, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    p = (x + 0.5) / (n + 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(n > 0, p * (1.0 - p) / n, np.nan), dtype=np.float64)


def as_curve(
    time: npt.ArrayLike | None, values: npt.ArrayLike, name: str, error: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Convert a curve against lag time to arrays without its NaN points.

    Parameters
    ----------
    time
        Lag times in ps, shape (n,), not negative and strictly increasing. None takes
        the coordinate ``time``, ``mean_lag`` or ``lag`` of a DataArray with dim
        ``lag``, whichever is there first.
    values
        Ordinates, shape (n,). NaN points are dropped.
    name
        Argument named in error messages.
    error
        Standard errors of ``values``, shape (n,), or None.

    Returns
    -------
    time, values, error
        Times, values and errors of the finite points.

    Raises
    ------
    ParameterError
        If the arrays do not fit together or the times do not increase.
    """
    if time is None:
        time = _lag_times(values, name)
    y = as_vector(name, values, finite=False)
    t = check_increasing("time", as_vector("time", time, length=len(y)))
    sigma = None if error is None else as_vector("error", error, length=len(y), finite=False)
    if len(t) and t[0] < 0:
        raise ParameterError(
            f"time[0] is {t[0]:g} ps; lag times cannot be negative: give time differences"
        )
    keep = np.isfinite(y)
    if sigma is not None:
        sigma = as_standard_errors("error", sigma[keep], int(keep.sum()))
    return t[keep], y[keep], sigma


def _lag_times(values: npt.ArrayLike, name: str) -> npt.ArrayLike:
    """Lag times of a DataArray with dim ``lag``."""
    if not isinstance(values, xr.DataArray) or "lag" not in values.dims:
        raise ParameterError(
            f"time=None needs {name} as a DataArray with dim 'lag'; "
            "give the times of its points in ps"
        )
    if "time" in values.coords and values["time"].dims == ("lag",):
        return values["time"].values
    if "mean_lag" in values.coords and values["mean_lag"].dims == ("lag",):
        return values["mean_lag"].values
    if "lag" not in values.coords:
        raise ParameterError(
            f"{name} has dim 'lag' without a coordinate; give time, or .assign_coords(lag=...)"
        )
    return values["lag"].values


def weighted_pearson(weight: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Compute weighted Pearson correlations, one per row.

    Parameters
    ----------
    weight
        Weights, shape (b, n).
    x
        First variable, shape (b, n) or (1, n).
    y
        Second variable, shape (b, n) or (1, n).

    Returns
    -------
    correlation
        Correlations, shape (b,). NaN if either variable does not vary.
    """
    total = weight.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        dx = x - (weight * x).sum(axis=1, keepdims=True) / total
        dy = y - (weight * y).sum(axis=1, keepdims=True) / total
        numerator = (weight * dx * dy).sum(axis=1)
        denominator = np.sqrt((weight * dx**2).sum(axis=1) * (weight * dy**2).sum(axis=1))
        return np.asarray(
            np.where(denominator > 0, np.clip(numerator / denominator, -1.0, 1.0), np.nan),
            dtype=np.float64,
        )
