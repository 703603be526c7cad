"""Diffusion: coefficients from mean squared displacements, non-Gaussian parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask._typing import FloatArray
from mgdask.analysis.curve_errors import CurveErrors, as_size, as_uncertain_curve
from mgdask.analysis.estimate import (
    Estimate,
    FitResult,
    as_vector,
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
        Reduced chi squared; NaN without errors of the MSD, and with ``samples``.
    note
        Reservations about the fit; empty if there are none.
    """

    coefficient: Estimate
    offset: Estimate
    exponent: Estimate
    linear: bool
    dimensions: int
    window: tuple[float, float]
    points: int
    reduced_chi2: float
    note: str = ""

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
            self.note,
        )


def random_walk_covariance(
    lags: npt.ArrayLike,
    *,
    interval: float,
    frames: int,
    atoms: int,
    diffusion: float,
    offset: float = 0.0,
    dimensions: int = 3,
) -> FloatArray:
    """Compute the covariance of the MSD of random walkers at overlapping lags.

    The MSD is averaged over ``atoms`` independent walkers and over all origins of a run
    with evenly spaced frames. Lag i spans n_i frames and has K_i = frames - n_i
    origins::

        cov(i, j) = 2 d / (atoms K_i K_j) sum_{s, s'} c(s, s')^2

    c is the covariance of one component of the displacements from s to s + n_i and from
    s' to s' + n_j. It is 2 D times the time that they share, with an additional term
    for each shared end. This term is offset / (2 d) if both start or both end there,
    and -offset / (2 d) if one starts where the other ends.

    Parameters
    ----------
    lags
        Lags in ps, shape (n,), multiples of ``interval`` above zero.
    interval
        Time between frames in ps.
    frames
        Number of frames of the run.
    atoms
        Number of independent atoms.
    diffusion
        Diffusion coefficient in Å^2/ps.
    offset
        MSD in Å^2 to which the line extrapolates at t = 0, from vibration in the cage.
    dimensions
        Number of dimensions d, 1 to 3.

    Returns
    -------
    covariance
        Covariance in Å^4, shape (n, n).

    Raises
    ------
    ParameterError
        If a lag is not a multiple of the interval or longer than the run.

    Notes
    -----
    Exact for Gaussian steps and Gaussian vibration. In a glass-forming liquid,
    neighboring atoms move together, so the number of independent atoms is smaller than
    that of all atoms. For several runs of the same length, multiply ``atoms`` by their
    number. The cost is 20 ms for 40 lags and 1000 frames.

    References
    ----------
    Qian, Sheetz, Elson, Biophys. J. 60, 910 (1991); Bullerjahn, von Bülow, Hummer, J.
    Chem. Phys. 153, 024116 (2020); McCluskey et al., J. Chem. Theory Comput. 21, 79
    (2025).

    Examples
    --------
    >>> run = {"interval": 1.0, "frames": 11, "atoms": 5}
    >>> covariance = random_walk_covariance([1.0], **run, diffusion=0.5)
    >>> bool(np.isclose(covariance[0, 0], 2 * 3 / (5 * 10)))
    True
    """
    t = check_positive("lags", as_vector("lags", lags))
    step = as_size("interval", interval, 1e-12)
    steps = np.round(t / step).astype(np.int64)
    if np.abs(steps * step - t).max() > 0.01 * step or steps.max() >= frames:
        raise ParameterError(
            f"lags from {t[0]:g} to {t[-1]:g} ps must be multiples of interval={interval} ps, "
            f"shorter than the run of {frames} frames"
        )
    if atoms < 1 or dimensions not in (1, 2, 3) or diffusion < 0 or offset < 0:
        raise ParameterError(
            f"atoms={atoms} must be at least 1, dimensions={dimensions} 1 to 3, "
            f"diffusion={diffusion} and offset={offset} not negative"
        )
    step_variance, cage = 2.0 * diffusion * step, offset / (2.0 * dimensions)
    covariance = np.empty((len(steps), len(steps)))
    for i, n in enumerate(steps):
        for j, m in enumerate(steps[: i + 1]):
            origins_n, origins_m = frames - int(n), frames - int(m)
            shift = np.arange(-min(int(m), origins_m - 1), min(int(n), origins_n - 1) + 1)
            # displacement m starts ``shift`` frames after displacement n
            pairs = np.minimum(origins_n, origins_m - shift) - np.maximum(0, -shift)
            common = np.minimum(n, shift + m) - np.maximum(0, shift)
            c = step_variance * np.maximum(common, 0)
            c = c + cage * ((shift == 0) + 1.0 * (shift + m == n))
            c = c - cage * ((shift + m == 0) + 1.0 * (shift == n))
            total = float((np.maximum(pairs, 0) * c**2).sum())
            covariance[i, j] = covariance[j, i] = total / (origins_n * origins_m)
    return np.asarray(2.0 * dimensions / atoms * covariance)


@dataclass(frozen=True)
class Trajectory:
    """Size of the run from which an MSD was computed, for ``fit_diffusion``.

    Parameters
    ----------
    atoms
        Number of atoms in the average, times the number of runs.
    frames
        Number of frames of a run, evenly spaced and all used as origins.
    interval
        Time between frames in ps.
    """

    atoms: int
    frames: int
    interval: float


def fit_diffusion(
    time: npt.ArrayLike | None,
    msd: npt.ArrayLike,
    window: tuple[float, float] | None = None,
    *,
    error: npt.ArrayLike | None = None,
    covariance: npt.ArrayLike | None = None,
    samples: npt.ArrayLike | None = None,
    trajectory: Trajectory | None = None,
    independent: bool = False,
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
        First and last lag in ps. Default: all lags above zero.
    error
        Standard errors of the MSD in Å^2, shape (n,), for independent points.
    covariance
        Covariance of the MSD in Å^4, shape (n, n), for generalized least squares.
    samples
        MSD of m independent parts, shape (m, n), whose mean is ``msd``. Parts are runs,
        or groups of atoms far from each other. At least 3, better 16 or more.
    trajectory
        Size of the run. The covariance for generalized least squares is then that of
        ``random_walk_covariance`` with the fitted D and offset.
    independent
        Whether the points are independent, each from a separate run. The error then
        comes from the scatter about the line.
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
    Valid if the MSD is linear and comes from an unwrapped trajectory without
    center-of-mass drift. Give one of ``samples``, ``trajectory``, ``covariance``,
    ``error`` and ``independent``. Otherwise the errors are NaN, because the scatter of
    correlated lags about the line says nothing about the error of its slope.

    ``samples`` makes no assumptions about the motion. The points are weighted by 1 /
    t^2. The error is A C A' with the covariance C of the samples. ``trajectory``
    assumes independent random walkers with cage vibration. Collective motion increases
    the scatter: if ``reduced_chi2`` exceeds 1, the errors are multiplied by its square
    root. Above 2, ``note`` says so.

    References
    ----------
    Einstein, Ann. Phys. 322, 549 (1905). For the covariance see
    ``random_walk_covariance``.

    Examples
    --------
    >>> t = np.linspace(0, 100, 51)
    >>> fit = fit_diffusion(t, 0.3 + 6 * 0.05 * t, window=(20, 100))
    >>> round(fit.coefficient.value, 6), fit.coefficient.error
    (0.05, nan)
    """
    if dimensions not in (1, 2, 3):
        raise ParameterError(
            f"dimensions={dimensions} must be 1, 2 or 3; displacements in space have 3"
        )
    if not tolerance > 0:
        raise ParameterError(f"tolerance={tolerance} must be above 0; 0.05 is the default")
    given = [
        name
        for name, value in (
            ("error", error is not None),
            ("covariance", covariance is not None),
            ("samples", samples is not None),
            ("trajectory", trajectory is not None),
            ("independent", independent),
        )
        if value
    ]
    if len(given) > 1:
        raise ParameterError(f"{' and '.join(given)} are given; give only one of them")
    t, y, errors = as_uncertain_curve(time, msd, "msd", error, covariance, samples)
    low, high = window if window is not None else (0.0, math.inf)
    if not low < high:
        raise ParameterError(
            f"window={window} must be (first, last) lag in ps, the first below the last"
        )
    keep = (t > 0) & (t >= low) & (t <= high)
    t, y, errors = t[keep], check_positive("msd (in the window)", y[keep]), errors.select(keep)
    known = errors.known or trajectory is not None
    check_points(f"msd within the window {(low, high)}", len(t), 2, known)
    why = "" if given else "give samples, trajectory, covariance or error"
    note = f"no error: {why}" if why else ""
    if trajectory is not None:
        errors = _walk_errors(t, y, trajectory, dimensions)
    fit = _fit_correlated(t, y, errors, independent, 1.0 / t)
    if trajectory is not None and fit.reduced_chi2 > 1.0:
        fit = replace(fit, covariance=fit.covariance * fit.reduced_chi2)
        if fit.reduced_chi2 > 2.0:
            note = f"chi^2 is {fit.reduced_chi2:.2g}: atoms are not independent random walkers"
    log_fit = _fit_correlated(
        np.log(t), np.log(y), errors.scaled(1.0 / y), independent, np.ones_like(t)
    )
    slope = Estimate(float(fit.parameters[1]), float(fit.errors[1]), "Å^2/ps", fit.dof, why)
    exponent = float(log_fit.parameters[1])
    return Diffusion(
        coefficient=slope.scaled(1.0 / (2 * dimensions), "Å^2/ps"),
        offset=Estimate(float(fit.parameters[0]), float(fit.errors[0]), "Å^2", fit.dof, why),
        exponent=Estimate(exponent, float(log_fit.errors[1]), "1", log_fit.dof, why),
        linear=abs(exponent - 1.0) <= tolerance,
        dimensions=dimensions,
        window=(float(t[0]), float(t[-1])),
        points=len(t),
        reduced_chi2=fit.reduced_chi2,
        note=note,
    )


def _walk_errors(
    t: FloatArray, y: FloatArray, trajectory: Trajectory, dimensions: int
) -> CurveErrors:
    """Return the covariance of the MSD of random walkers, with fitted D and offset."""
    intercept, slope = fit_line(t, y, t).parameters.tolist()
    errors = CurveErrors()
    for _ in range(3):
        matrix = random_walk_covariance(
            t,
            interval=trajectory.interval,
            frames=trajectory.frames,
            atoms=trajectory.atoms,
            diffusion=max(slope, 1e-3 * float(y[-1] / t[-1])) / (2 * dimensions),
            offset=max(intercept, 0.0),
            dimensions=dimensions,
        )
        errors = CurveErrors(np.sqrt(matrix.diagonal()), matrix, exact=True)
        intercept, slope = _fit_correlated(t, y, errors, False, 1.0 / t).parameters.tolist()
    return errors


def _fit_correlated(
    x: FloatArray, y: FloatArray, errors: CurveErrors, independent: bool, weight: FloatArray
) -> FitResult:
    """Fit a line to points with given, correlated or unknown errors.

    ``weight`` is the inverse of relative standard errors, used with samples.
    """
    if errors.covariance is None:
        fit = fit_line(x, y, errors.sigma)
        if errors.sigma is None and not independent:
            fit = replace(fit, covariance=np.full((2, 2), math.nan))
        return fit
    basis = np.stack([np.ones_like(x), x], axis=1)
    if not errors.exact:
        solve = np.linalg.pinv(basis * weight[:, None]) * weight
        parameters = solve @ y
        return FitResult(parameters, solve @ errors.covariance @ solve.T, errors.dof, math.nan)
    try:
        factor = np.linalg.cholesky(errors.covariance)
    except np.linalg.LinAlgError:
        raise ParameterError(
            f"the covariance of the {len(x)} points is not positive definite; "
            "give fewer lags, or an exact covariance"
        ) from None
    white = np.linalg.solve(factor, np.column_stack([basis, y]))
    inverse = np.linalg.inv(white[:, :2].T @ white[:, :2])
    parameters = inverse @ (white[:, :2].T @ white[:, 2])
    residual = white[:, 2] - white[:, :2] @ parameters
    free = len(x) - 2
    chi2 = float((residual**2).sum()) / free if free else math.nan
    return FitResult(parameters, inverse, math.inf, chi2)
