"""Apparent activation energy: the slope of ln tau against 1/T."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.analysis.estimate import (
    BOLTZMANN,
    as_standard_errors,
    as_vector,
    check_increasing,
    check_positive,
)
from mgdask.analysis.vft import VFT, fit_vft
from mgdask.errors import ParameterError


def apparent_activation_energy(
    temperature: npt.ArrayLike,
    tau: npt.ArrayLike,
    *,
    error: npt.ArrayLike | None = None,
    fit: VFT | None = None,
) -> xr.Dataset:
    """Compute the apparent activation energy of relaxation at each temperature.

    It is the slope of ln tau against 1/T, both between successive temperatures and from
    a VFT fit::

        E = k_B d ln tau / d(1/T)
        VFT: E = k_B ln 10 B T^2 / (T - T0)^2,   k_B = 8.617333262e-5 eV/K

    Parameters
    ----------
    temperature
        Temperatures in K, shape (n,). They must be distinct; the order does not matter.
    tau
        Relaxation times in ps, shape (n,).
    error
        Standard errors of tau in ps, shape (n,).
    fit
        VFT fit to evaluate. By default a fit is made if there are at least 4 points, or
        3 with errors.

    Returns
    -------
    local, local_error (interval)
        Energies in eV between successive temperatures, at ``interval_temperature``
        2 / (1/T_1 + 1/T_2). Errors are NaN without ``error``.
    vft, vft_error (temperature)
        Energies in eV of the VFT fit; NaN without one.

    Raises
    ------
    ParameterError
        If there are fewer than 2 temperatures or two are equal.

    Notes
    -----
    Local values of neighboring intervals share a point, so their errors are
    anticorrelated. The slope equals the height of a barrier only if that height does
    not depend on T. A constant entropy of activation drops out of the slope, but a
    temperature-dependent one does not. The effective barrier of a spectrum is a
    different quantity: see ``effective_barrier``.

    References
    ----------
    See Debenedetti, Stillinger, Nature 410, 259 (2001).

    Examples
    --------
    >>> T = np.array([800.0, 900.0, 1000.0])
    >>> tau = 0.1 * np.exp(0.5 / (8.617333262e-5 * T))
    >>> apparent_activation_energy(T, tau).local.values.round(6).tolist()
    [0.5, 0.5]
    """
    t = check_positive("temperature", as_vector("temperature", temperature))
    times = check_positive("tau", as_vector("tau", tau, length=len(t)))
    sigma = as_standard_errors("error", error, len(t))
    if len(t) < 2:
        raise ParameterError(f"temperature has {len(t)} values; a slope needs at least 2")
    order = np.argsort(t, kind="stable")
    t, times = check_increasing("temperature (sorted)", t[order]), times[order]
    step = np.diff(1.0 / t)
    local = BOLTZMANN * np.diff(np.log(times)) / step
    local_error = np.full(len(local), np.nan)
    if sigma is not None:
        relative = sigma[order] / times
        local_error = BOLTZMANN * np.hypot(relative[1:], relative[:-1]) / np.abs(step)
        sigma = sigma[order]
    note = ""
    if fit is None:
        if len(t) >= (4 if sigma is None else 3):
            fit = fit_vft(t, times, error=sigma)
            note = fit.note if math.isnan(fit.t0.error) else ""
        else:
            note = f"no VFT fit of {len(t)} temperatures"
    missing = np.full(len(t), np.nan)
    vft, vft_error = fit.barrier(t) if fit is not None else (missing, missing)
    middle = 2.0 / (1.0 / t[1:] + 1.0 / t[:-1])
    unit = {"units": "eV"}
    local_name = {"long_name": "apparent activation energy between successive temperatures"}
    local_error_name = {"long_name": "standard error of local"}
    if sigma is None:
        local_error_name["note"] = "no error: give the errors of tau as error="
    vft_error_name = {"long_name": "standard error of vft"}
    vft_name = {"long_name": "apparent activation energy of the VFT fit"}
    return xr.Dataset(
        {
            "local": ("interval", local, unit | local_name),
            "local_error": ("interval", local_error, unit | local_error_name),
            "vft": ("temperature", vft, unit | vft_name),
            "vft_error": ("temperature", vft_error, unit | vft_error_name),
        },
        coords={
            "temperature": ("temperature", t, {"units": "K"}),
            "interval_temperature": ("interval", middle, {"units": "K"}),
        },
        attrs={"note": note} if note else {},
    )
