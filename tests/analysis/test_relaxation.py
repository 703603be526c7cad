"""Relaxation: closed forms, recovered parameters, and whether stated errors cover the truth as often as they should."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import xarray as xr

from mgdask.analysis import diffusion, estimate, relaxation
from mgdask.analysis.diffusion import fit_diffusion, non_gaussian_parameter
from mgdask.analysis.estimate import Estimate
from mgdask.analysis.relaxation import after_plateau, fit_kohlrausch, relaxation_time
from mgdask.errors import ParameterError


def coverage(estimates, truth):
    """Share of estimates within one and within three standard errors of the truth."""
    off = np.abs([(e.value - truth) / e.error for e in estimates])
    return (off <= 1).mean(), (off <= 3).mean()


@pytest.mark.parametrize("module", [diffusion, estimate, relaxation])
def test_examples(module):
    names = {"np": np, **vars(module)}
    assert doctest.testmod(module, extraglobs=names).failed == 0


def test_relaxation_time_is_linear_in_f_against_lg_t():
    t, f = np.array([0.0, 1.0, 10.0, 100.0]), np.array([1.0, 0.9, 0.5, 0.1])
    found = relaxation_time(t, f, 0.3)
    assert found.value == pytest.approx(10**1.5)
    assert found.bracket == (10.0, 100.0)
    assert found.found
    assert "tau =" in str(found)
    lag = xr.DataArray(f, dims="lag", coords={"lag": t})
    assert relaxation_time(None, lag, 0.3).value == found.value
    steps = xr.DataArray(f, dims="lag", coords={"lag": [0, 1, 2, 3], "time": ("lag", t)})
    assert relaxation_time(None, steps, 0.3).value == found.value
    assert relaxation_time(t, [1, 0.9, np.nan, 0.1], 0.5).value == pytest.approx(10.0)


def test_relaxation_time_says_why_there_is_none():
    t = np.array([0.0, 1.0, 10.0])
    never = relaxation_time(t, [1, 0.9, 0.8])
    assert math.isnan(never.value)
    assert "never falls below" in never.reason
    assert "0.8" in str(never)
    assert "starts below" in relaxation_time(t, [1, 0.2, 0.1]).reason
    assert "no point" in relaxation_time([0.0], [1.0]).reason


def test_error_of_the_relaxation_time():
    t = np.logspace(0, 3, 13)
    f = np.exp(-((t / 50) ** 0.7))
    truth, found = relaxation_time(t, f).value, []
    for seed in range(300):
        found.append(
            relaxation_time(
                t, f + np.random.default_rng(seed).normal(0, 0.004, 13), error=np.full(13, 0.004)
            )
        )
    one, three = coverage(found, truth)
    assert 0.6 < one < 0.76
    assert three > 0.985


@pytest.mark.parametrize("weighted", [False, True])
def test_kohlrausch_errors_cover(weighted):
    t = np.logspace(0, 4, 40)
    clean = 0.75 * np.exp(-((t / 400.0) ** 0.6))
    mean = 400 / 0.6 * math.gamma(1 / 0.6)
    sigma = np.where(t > 100, 0.01, 0.003) if weighted else np.full(40, 0.005)
    fits = [
        fit_kohlrausch(
            t,
            clean + np.random.default_rng(s).normal(0, sigma),
            0.0,
            error=sigma if weighted else None,
        )
        for s in range(200)
    ]
    for name, truth in (("f", 0.75), ("tau", 400.0), ("beta", 0.6), ("mean", mean)):
        one, three = coverage([getattr(fit, name) for fit in fits], truth)
        assert 0.6 < one < 0.76, name
        assert three >= 0.98, name
    if weighted:
        assert np.mean([fit.reduced_chi2 for fit in fits]) == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(fits[0].curve(t), clean, atol=0.01)
    assert "beta" in str(fits[0])


@pytest.mark.parametrize("seed", range(20))
def test_kohlrausch_finds_the_region_after_the_plateau(seed):
    t = np.r_[0.0, np.logspace(-3, 5, 161)]
    clean = 0.35 * np.exp(-((t / 0.1) ** 2)) + 0.65 * np.exp(-((t / 2000.0) ** 0.6))
    noisy = clean + np.random.default_rng(seed).normal(0, 0.003, len(t))
    assert 0.15 < after_plateau(t, noisy) < 10
    fit = fit_kohlrausch(t, noisy)
    for name, truth in (("f", 0.65), ("tau", 2000.0), ("beta", 0.6)):
        found = getattr(fit, name)
        assert abs(found.value - truth) < 4 * found.error
    assert not fit.note


def test_kohlrausch_says_where_it_does_not_hold():
    t = np.logspace(0, 2, 40)
    fit = fit_kohlrausch(t, 0.7 * np.exp(-((t / 1000.0) ** 0.6)), 0.0)
    assert "extrapolated" in fit.note
    fit = fit_kohlrausch(t, 0.7 * np.exp(-((t / 10.0) ** 2)), 0.0)
    assert "bound" in fit.note
    assert math.isnan(fit.beta.error)
    with pytest.raises(ParameterError, match="4 are needed"):
        fit_kohlrausch(t, np.exp(-t), 80.0)
    with pytest.raises(ParameterError, match="lower from_time"):
        fit_kohlrausch(t, -np.exp(-t / 100), 0.0)
    with pytest.raises(ParameterError, match="must increase strictly"):
        fit_kohlrausch([1.0, 1.0, 2.0], [1, 1, 1])
    with pytest.raises(ParameterError, match="shape"):
        fit_kohlrausch(t, np.ones((40, 2)))
    with pytest.raises(ParameterError, match="dim 'lag'"):
        fit_kohlrausch(None, np.ones(40))


def test_non_gaussian_parameter():
    assert non_gaussian_parameter(1.0, 5 / 3) == pytest.approx(0)
    assert non_gaussian_parameter(np.array([0.0, 2.0]), np.array([0.0, 4.0]))[1] == pytest.approx(
        -0.4
    )  # all of one length
    lag = xr.DataArray([1.0, 2.0], dims="lag")
    assert non_gaussian_parameter(lag, lag**2).dims == ("lag",)
    with pytest.raises(ParameterError, match="negative"):
        non_gaussian_parameter(-1.0, 1.0)


def test_diffusion():
    t = np.linspace(0, 200, 81)
    fits = []
    for seed in range(300):
        msd = 0.5 + 6 * 0.02 * t + np.random.default_rng(seed).normal(0, 0.05, len(t))
        fits.append(fit_diffusion(t, msd, (50, 200)))
    one, three = coverage([fit.coefficient for fit in fits], 0.02)
    assert 0.6 < one < 0.76
    assert three > 0.985
    assert all(fit.linear for fit in fits)
    assert fits[0].si.value == pytest.approx(fits[0].coefficient.value * 1e-8)
    assert fits[0].curve(100.0) == pytest.approx(12.5, abs=0.1)
    bent = fit_diffusion(t, 0.3 * t**0.6, (50, 200))
    assert bent.exponent.value == pytest.approx(0.6)
    assert not bent.linear
    assert "NOT linear" in str(bent)
    with pytest.raises(ParameterError, match="3 are needed"):
        fit_diffusion(t, t, (199, 200))
    with pytest.raises(ParameterError, match="window"):
        fit_diffusion(t, t, (200, 100))
    with pytest.raises(ParameterError, match="dimensions"):
        fit_diffusion(t, t, dimensions=4)


def test_estimates_read_well():
    assert str(Estimate(2.0e-9, 1.5e-10, "1/ps")) == "(2.00 ± 0.15)e-09 1/ps"
    assert str(Estimate(3.0, math.nan)) == "3 ± ?"
    assert str(Estimate(math.nan, math.nan, "K")) == "nan K"
    assert str(Estimate(0.5, 0.0)) == "0.5 ± 0"
    with pytest.raises(ParameterError, match="between 0 and 1"):
        Estimate(1, 1).interval(95)
