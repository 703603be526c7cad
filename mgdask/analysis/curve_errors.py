"""Errors of curves with correlated points, and their propagation to fits.

The lags of one trajectory share its atoms and steps, so deviations of neighboring
points of F_s or of an MSD are correlated. There are three inputs for this. ``samples``
are curves of independent parts: runs, or groups of atoms far from each other.
``covariance`` is the covariance of the points. ``error`` contains only their standard
errors. The range of the correlation is then estimated from the residuals of the fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray
from mgdask.analysis.estimate import as_curve, as_vector
from mgdask.errors import ParameterError

_N_LENGTHS = 8
_INDEPENDENT = 0.8
"""Prior probability that points are independent."""
_NUGGET = 0.01
"""Share of independent noise in the variance of smooth noise."""


@dataclass(frozen=True, eq=False)
class CurveErrors:
    """Known errors of the points of a curve.

    Parameters
    ----------
    sigma
        Standard errors, shape (n,), or None.
    covariance
        Covariance of the points, shape (n, n), or None.
    dof
        Degrees of freedom behind the covariance.
    exact
        Whether the covariance may be inverted, because it was given and not computed
        from samples.
    """

    sigma: FloatArray | None = None
    covariance: FloatArray | None = None
    dof: float = math.inf
    exact: bool = False

    @property
    def known(self) -> bool:
        """Whether errors of any kind were given."""
        return self.sigma is not None

    @property
    def weights(self) -> FloatArray | None:
        """Standard errors to use as weights; None with samples."""
        return self.sigma if self.covariance is None or self.exact else None

    def select(self, keep: BoolArray) -> CurveErrors:
        """Return the errors of some of the points."""
        return replace(
            self,
            sigma=None if self.sigma is None else self.sigma[keep],
            covariance=None if self.covariance is None else self.covariance[np.ix_(keep, keep)],
        )

    def scaled(self, factor: FloatArray) -> CurveErrors:
        """Return the errors of the points times ``factor``, shape (n,)."""
        matrix = self.covariance
        return replace(
            self,
            sigma=None if self.sigma is None else self.sigma * factor,
            covariance=None if matrix is None else matrix * factor[:, None] * factor,
        )


def as_uncertain_curve(
    time: npt.ArrayLike | None,
    values: npt.ArrayLike,
    name: str,
    error: npt.ArrayLike | None,
    covariance: npt.ArrayLike | None,
    samples: npt.ArrayLike | None,
) -> tuple[FloatArray, FloatArray, CurveErrors]:
    """Convert a curve against lag time, and one of three kinds of errors, to arrays.

    Parameters
    ----------
    time
        Lag times in ps, shape (n,), or None, as in ``as_curve``.
    values
        Ordinates, shape (n,). NaN points are dropped.
    name
        Argument named in error messages.
    error
        Standard errors of ``values``, shape (n,), or None.
    covariance
        Covariance of ``values``, shape (n, n), or None.
    samples
        Curves of m independent parts, shape (m, n), whose mean is ``values``, or None.

    Returns
    -------
    time, values, errors
        Times and values of the finite points, and their errors.

    Raises
    ------
    ParameterError
        If the arrays do not fit together, or several kinds of errors are given.
    """
    given = [
        word
        for word, array in (("error", error), ("covariance", covariance), ("samples", samples))
        if array is not None
    ]
    if len(given) > 1:
        raise ParameterError(f"{' and '.join(given)} are given; give only one of them")
    t, y, sigma = as_curve(time, values, name, error)
    if sigma is not None:
        return t, y, CurveErrors(sigma=sigma)
    finite = np.isfinite(np.asarray(values, dtype=np.float64))
    if samples is not None:
        return t, y, _from_samples(samples, finite)
    if covariance is not None:
        return t, y, _from_covariance(covariance, finite)
    return t, y, CurveErrors()


def _from_samples(samples: npt.ArrayLike, finite: BoolArray) -> CurveErrors:
    try:
        curves = np.asarray(samples, dtype=np.float64)
    except (TypeError, ValueError) as problem:
        raise ParameterError(f"samples must be numbers, one curve per row; {problem}") from None
    if curves.ndim != 2 or curves.shape[1] != len(finite) or len(curves) < 3:
        raise ParameterError(
            f"samples has shape {curves.shape}; it must be (m, {len(finite)}) with m of at least "
            "3: one curve per independent part, at the same lags"
        )
    curves = curves[:, finite]
    bad = np.argwhere(~np.isfinite(curves))
    if len(bad):
        raise ParameterError(
            f"samples[{bad[0][0]}] is not finite at a lag at which the curve is finite; "
            "give the same lags for all parts, or leave that part out"
        )
    m = len(curves)
    deviation = curves - curves.mean(axis=0)
    covariance = deviation.T @ deviation / (m * (m - 1))
    return CurveErrors(np.sqrt(covariance.diagonal()), covariance, m - 1.0)


def _from_covariance(covariance: npt.ArrayLike, finite: BoolArray) -> CurveErrors:
    n = len(finite)
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.shape != (n, n):
        raise ParameterError(f"covariance has shape {matrix.shape}; it must be ({n}, {n})")
    matrix = matrix[np.ix_(finite, finite)]
    if not np.isfinite(matrix).all() or (matrix.diagonal() <= 0).any():
        raise ParameterError(
            "covariance must be finite, with variances above 0 on its diagonal; "
            "drop lags without a variance, such as t = 0"
        )
    if np.abs(matrix - matrix.T).max() > 1e-9 * np.abs(matrix).max():
        raise ParameterError("covariance must be symmetric; give cov(i, j) of the points")
    return CurveErrors(np.sqrt(matrix.diagonal()), 0.5 * (matrix + matrix.T), exact=True)


def propagate(
    errors: CurveErrors,
    gradient: FloatArray,
    design: FloatArray,
    residual: FloatArray,
    position: FloatArray,
) -> FloatArray:
    """Return the covariance of quantities that are linear in the points.

        cov = G C G'

    Without ``covariance`` or ``samples``, C is averaged over exponential correlations
    exp(-|x_i - x_j| / L). The range L varies from zero to ten times the length of the
    curve. The weights are the restricted likelihoods of the residuals. The variances
    are the given ones, or a single variance determined from the residuals.

    Parameters
    ----------
    errors
        Known errors of the points.
    gradient
        Derivatives G of k quantities with respect to the points, shape (k, n).
    design
        Derivatives of the points with respect to the fitted parameters, shape (n, p).
    residual
        Residuals of the fit, shape (n,).
    position
        Abscissa x of the points, such as ln t, shape (n,).

    Returns
    -------
    covariance
        Covariance of the quantities, shape (k, k). NaN if no degree of freedom is left.

    References
    ----------
    For the restricted likelihood: Patterson, Thompson, Biometrika 58, 545 (1971).
    """
    if errors.covariance is not None:
        return gradient @ errors.covariance @ gradient.T
    n, p = design.shape
    scale = np.ones(n) if errors.sigma is None else errors.sigma
    null = np.linalg.qr(design, mode="complete")[0][
        :, p:
    ]  # contrasts that do not depend on the parameters
    if null.shape[1] < 1:
        if errors.sigma is None:
            return np.full((len(gradient), len(gradient)), math.nan)
        return (gradient * scale**2) @ gradient.T
    contrast = null.T @ residual
    log_weights, terms = [], []
    for correlation, prior in _correlations(position, errors.sigma is not None):
        matrix = correlation * scale[:, None] * scale
        factor = np.linalg.cholesky(null.T @ matrix @ null)
        power = float((np.linalg.solve(factor, contrast) ** 2).sum())
        log_weight = math.log(prior) - float(np.log(factor.diagonal()).sum())
        term = gradient @ matrix @ gradient.T
        if errors.sigma is None:
            free = null.shape[1]
            log_weight -= 0.5 * free * math.log(max(power, 1e-300))
            term = term * (power / free)
        else:
            log_weight -= 0.5 * power
        log_weights.append(log_weight)
        terms.append(term)
    weight = np.exp(np.array(log_weights) - max(log_weights))
    return np.asarray(np.tensordot(weight / weight.sum(), np.stack(terms), axes=1))


def _correlations(x: FloatArray, variances_known: bool) -> list[tuple[FloatArray, float]]:
    """Return correlation matrices of all ranges, with their prior probabilities.

    Smooth noise is considered only if its variance is known. Residuals do not determine
    the variance of noise that is smoother than the curve.
    """
    distance, unit = np.abs(x[:, None] - x), np.eye(len(x))
    shortest, span = 0.7 * float(np.median(np.diff(x))), float(x[-1] - x[0])
    lengths = np.geomspace(shortest, (10.0 if variances_known else 0.5) * span, _N_LENGTHS)
    matrices = [np.exp(-distance / length) for length in lengths]
    if variances_known:
        smooth = [np.exp(-0.5 * (distance / length) ** 2) for length in lengths]
        matrices += [(1.0 - _NUGGET) * matrix + _NUGGET * unit for matrix in smooth]
    share = (1.0 - _INDEPENDENT) / len(matrices)
    return [(unit, _INDEPENDENT), *((matrix, share) for matrix in matrices)]


def as_size(name: str, value: float, minimum: float) -> float:
    """Return a finite number of at least ``minimum``, else raise ``ParameterError``."""
    number = float(as_vector(name, [value])[0])
    if number < minimum:
        raise ParameterError(f"{name}={value} must be at least {minimum:g}")
    return number
