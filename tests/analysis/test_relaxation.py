"""Relaxation: closed forms, recovered parameters, and whether stated errors cover the truth as often as they should."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import xarray as xr

from mgdask.analysis import barriers, diffusion, estimate, relaxation
from mgdask.analysis.barriers import arithmetic_mean_barrier, effective_barrier, fit_vft
from mgdask.analysis.diffusion import fit_diffusion, non_gaussian_parameter
from mgdask.analysis.estimate import BOLTZMANN, Estimate
from mgdask.analysis.relaxation import after_plateau, fit_kohlrausch, relaxation_time
from mgdask.errors import ParameterError

T = np.array([900.0, 930, 960, 1000, 1050, 1100, 1200, 1300, 1500])
A, B, T0 = -2.0, 1500.0, 620.0
TAU = 10 ** (A + B / (T - T0))


def coverage(estimates, truth):
    """Share of estimates within one and within three standard errors of the truth."""
    off = np.abs([(e.value - truth) / e.error for e in estimates])
    return (off <= 1).mean(), (off <= 3).mean()


@pytest.mark.parametrize("module", [barriers, diffusion, estimate, relaxation])
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


def test_vft_closed_form_and_fragility_as_a_derivative():
    fit = fit_vft(T, TAU)
    assert [fit.a.value, fit.b.value, fit.t0.value] == pytest.approx([A, B, T0], rel=1e-6)
    tg = T0 + B / (4 - A)
    assert fit.glass_temperature.value == pytest.approx(tg)
    assert fit.curve(tg) == pytest.approx(1e4)
    h = 1e-6  # d lg tau / d (T_g / T) at 1
    slope = (np.log10(fit.curve(tg / (1 + h))) - np.log10(fit.curve(tg / (1 - h)))) / (2 * h)
    assert fit.fragility.value == pytest.approx(slope, rel=1e-6)
    assert fit.fragility.value == pytest.approx(B * tg / (tg - T0) ** 2)
    assert np.isnan(fit.curve(500.0))
    assert "extrapolated" in fit.note
    assert "T_g =" in str(fit)
    assert fit_vft(T, TAU, at=1e14).glass_temperature.value == pytest.approx(T0 + B / 16)
    assert "never reaches" in fit_vft(T, TAU, at=1e-3).note


@pytest.mark.parametrize("weighted", [False, True])
def test_vft_errors_cover(weighted):
    sigma = np.linspace(0.05, 0.01, len(T)) if weighted else np.full(len(T), 0.02)
    fits = []
    for seed in range(200):
        tau = 10 ** (np.log10(TAU) + np.random.default_rng(seed).normal(0, sigma))
        fits.append(fit_vft(T, tau, error=sigma * tau * math.log(10) if weighted else None))
    tg = T0 + B / 6
    truths = {
        "a": A,
        "b": B,
        "t0": T0,
        "glass_temperature": tg,
        "fragility": B * tg / (tg - T0) ** 2,
    }
    for name, truth in truths.items():
        one, three = coverage([getattr(fit, name) for fit in fits], truth)
        assert 0.58 < one < 0.76, name
        assert three > 0.95, name  # 6 degrees of freedom: 97.6 % within three
    barrier = BOLTZMANN * math.log(10) * B * (1000 / (1000 - T0)) ** 2
    one, _ = coverage([Estimate(*map(float, fit.barrier(1000.0))) for fit in fits], barrier)
    assert 0.58 < one < 0.76


def test_vft_bootstrap_agrees_and_is_repeatable():
    tau = 10 ** (np.log10(TAU) + np.random.default_rng(3).normal(0, 0.02, len(T)))
    fit = fit_vft(T, tau, bootstrap=120, seed=1)
    assert fit.bootstrap == fit_vft(T, tau, bootstrap=120, seed=1).bootstrap
    assert 0.6 < fit.bootstrap["T_g"].error / fit.glass_temperature.error < 1.6
    assert fit.bootstrap["m"].low < fit.fragility.value < fit.bootstrap["m"].high
    with pytest.raises(ParameterError, match="seed"):
        fit_vft(T, tau, bootstrap=100)


def test_vft_of_arrhenius_and_bad_data():
    tau = 0.1 * np.exp(0.8 / (BOLTZMANN * T)) * (1 + 0.01 * (-1.0) ** np.arange(len(T)))
    fit = fit_vft(T, 0.1 * np.exp(0.8 / (BOLTZMANN * T) - 1e4 / T**2))
    assert "T0 is held" in fit.note or fit.t0.value < 50
    assert fit_vft(T, tau).b.value > 0
    with pytest.raises(ParameterError, match="does not rise on cooling"):
        fit_vft(T, TAU[::-1])
    with pytest.raises(ParameterError, match="4 are needed"):
        fit_vft(T[:3], TAU[:3])
    with pytest.raises(ParameterError, match="above 0"):
        fit_vft(T, -TAU)
    with pytest.raises(ParameterError, match="all must be finite"):
        fit_vft(T, np.where(T > 1000, np.nan, TAU))


def test_effective_barrier():
    found = effective_barrier(T[::-1], TAU[::-1], error=0.01 * TAU[::-1])
    assert found.temperature.values.tolist() == T.tolist()
    expected = BOLTZMANN * math.log(10) * B * (T / (T - T0)) ** 2
    np.testing.assert_allclose(found.vft.values, expected, rtol=1e-4)
    middle = found.interval_temperature.values
    np.testing.assert_allclose(
        found.local.values, BOLTZMANN * math.log(10) * B * (middle / (middle - T0)) ** 2, rtol=0.03
    )
    noisy = []
    for seed in range(300):
        tau = TAU * (1 + np.random.default_rng(seed).normal(0, 0.01, len(T)))
        noisy.append(effective_barrier(T[:2], tau[:2], error=0.01 * tau[:2]))
    one = np.mean([abs(n.local[0] - found.local[0]) < n.local_error[0] for n in noisy])
    assert 0.6 < one < 0.76
    assert "no VFT" in noisy[0].attrs["note"]
    with pytest.raises(ParameterError, match="at least 2"):
        effective_barrier([900.0], [1.0])
    with pytest.raises(ParameterError, match="increase strictly"):
        effective_barrier([900.0, 900.0], [1.0, 2.0])


def test_mean_barrier():
    e = np.random.default_rng(0).normal(1, 0.3, 50)
    found = arithmetic_mean_barrier(np.r_[e, np.nan])
    assert found.mean.value == pytest.approx(e.mean())
    assert found.mean.error == pytest.approx(e.std(ddof=1) / math.sqrt(50))
    assert found.deviation == pytest.approx(e.std(ddof=1))
    assert found.effective_count == pytest.approx(50)
    assert "of 50" in str(found)
    means = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        means.append(arithmetic_mean_barrier(rng.normal(1, 0.3, 60), rng.uniform(0.5, 2, 60)).mean)
    one, three = coverage(means, 1.0)
    assert 0.6 < one < 0.75
    assert three > 0.985
    for bad, words in (([np.nan], "no finite value"), ([[1.0]], "one-dimensional")):
        with pytest.raises(ParameterError, match=words):
            arithmetic_mean_barrier(bad)
    with pytest.raises(ParameterError, match="must not be negative"):
        arithmetic_mean_barrier([1.0, 2.0], [1, -1])


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
