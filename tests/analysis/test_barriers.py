"""Barriers: closed forms, the paper's equations, and whether stated errors cover."""

from __future__ import annotations

import doctest
import math
import warnings

import numpy as np
import pytest
from scipy.optimize import curve_fit

from mgdask.analysis import activation, barriers, vft
from mgdask.analysis.activation import apparent_activation_energy
from mgdask.analysis.barriers import (
    arithmetic_mean_barrier,
    effective_barrier,
    mean_barrier_per_atom,
)
from mgdask.analysis.estimate import BOLTZMANN, Estimate
from mgdask.analysis.vft import fit_vft
from mgdask.errors import ParameterError

T = np.array([900.0, 930, 960, 1000, 1050, 1100, 1200, 1300, 1500])
A, B, T0 = -2.0, 1500.0, 620.0
TAU = 10 ** (A + B / (T - T0))


def coverage(estimates, truth):
    """Share of estimates within one and within three standard errors of the truth."""
    off = np.abs([(e.value - truth) / e.error for e in estimates])
    return (off <= 1).mean(), (off <= 3).mean()


@pytest.mark.parametrize("module", [activation, barriers, vft])
def test_examples(module):
    names = {"np": np, **vars(module)}
    assert doctest.testmod(module, extraglobs=names).failed == 0


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


def test_vft_shows_its_degrees_of_freedom():
    few = fit_vft(T[::2][:4], TAU[::2][:4] * np.array([1.05, 0.95, 1.05, 0.95]))
    assert few.freedom == "4 temperatures, 3 parameters: 1 degree of freedom"
    # Student's t of one degree of freedom, tan(0.95 pi / 2): an error from one residual is vague
    assert f"{few.freedom}, so a 95 % interval is ± {math.tan(0.475 * math.pi):.1f}" in str(few)
    low, high = few.b.interval(0.95)
    assert high - low == pytest.approx(2 * math.tan(0.475 * math.pi) * few.b.error)
    many = fit_vft(T, TAU)
    assert many.free == len(T) - 3
    assert f"{len(T) - 3} degrees of freedom;" in f"{many};"
    exact = fit_vft(T[:3], TAU[:3], error=0.05 * TAU[:3])
    assert "0 degrees of freedom, so the law is not tested" in str(exact)
    arrhenius = fit_vft(T, 0.1 * np.exp(0.8 / (BOLTZMANN * T) - 1e4 / T**2))
    assert arrhenius.freedom.endswith(f"2 parameters: {len(T) - 2} degrees of freedom")
    assert "no error: T0 is held at 0 K" in str(arrhenius)
    assert "T0 is held" in str(arrhenius.strength)


def test_one_barrier_has_no_error_and_says_so():
    assert "no error: there is only one barrier" in str(effective_barrier([0.4], 600.0))
    assert "no error: there is only one barrier" in str(arithmetic_mean_barrier([0.4]))
    assert "only one atom" in mean_barrier_per_atom([0.4], [3]).overall_error.attrs["note"]
    slope = apparent_activation_energy(T[:2], TAU[:2])
    assert "give the errors of tau" in slope.local_error.attrs["note"]


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


def test_apparent_activation_energy():
    found = apparent_activation_energy(T[::-1], TAU[::-1], error=0.01 * TAU[::-1])
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
        noisy.append(apparent_activation_energy(T[:2], tau[:2], error=0.01 * tau[:2]))
    one = np.mean([abs(n.local[0] - found.local[0]) < n.local_error[0] for n in noisy])
    assert 0.6 < one < 0.76
    assert "no VFT" in noisy[0].attrs["note"]
    with pytest.raises(ParameterError, match="at least 2"):
        apparent_activation_energy([900.0], [1.0])
    with pytest.raises(ParameterError, match="increase strictly"):
        apparent_activation_energy([900.0, 900.0], [1.0, 2.0])


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


def test_vft_in_the_form_of_the_paper():
    """Zhang et al. SI, section 2.1: tau = tau_0 exp(B T_0 / (T - T_0)), fitted by SciPy."""
    noise = np.random.default_rng(5).normal(0, 0.02, len(T))
    lg = np.log10(TAU) + noise
    fit = fit_vft(T, 10**lg)

    def law(t, log_tau0, b, t0):
        return (log_tau0 + b * t0 / (t - t0)) / math.log(10)

    best, covariance = curve_fit(
        law, T, lg, p0=(math.log(0.01), 5.0, 600.0), xtol=1e-13, ftol=1e-13, gtol=1e-13
    )
    error = np.sqrt(np.diagonal(covariance))
    assert fit.tau0.value == pytest.approx(math.exp(best[0]), rel=1e-5)
    assert fit.tau0.error == pytest.approx(math.exp(best[0]) * error[0], rel=1e-3)
    assert fit.strength.value == pytest.approx(best[1], rel=1e-5)
    assert fit.strength.error == pytest.approx(error[1], rel=1e-3)
    assert fit.t0.value == pytest.approx(best[2], rel=1e-6)
    curve = fit.tau0.value * np.exp(fit.strength.value * fit.t0.value / (T - fit.t0.value))
    np.testing.assert_allclose(curve, fit.curve(T), rtol=1e-10)
    assert (fit.tau0.unit, fit.strength.unit) == ("ps", "1")
    assert "strength = " in str(fit)


def test_errors_of_the_paper_s_form_cover():
    fits = []
    for seed in range(200):
        lg = np.log10(TAU) + np.random.default_rng(seed).normal(0, 0.005, len(T))
        fits.append(fit_vft(T, 10**lg))
    for name, truth in (("tau0", 10**A), ("strength", B * math.log(10) / T0)):
        one, three = coverage([getattr(fit, name) for fit in fits], truth)
        assert 0.58 < one < 0.76, name
        assert three > 0.95, name


def test_strength_of_an_arrhenius_law_is_unknown():
    fit = fit_vft(T, 0.1 * np.exp(0.8 / (BOLTZMANN * T)) * (1 + 0.01 * (-1.0) ** np.arange(9)))
    if fit.t0.value == 0:
        assert math.isnan(fit.strength.value)
    straight = fit_vft(T, 0.1 * np.exp(0.8 / (BOLTZMANN * T) - 1e4 / T**2))
    assert math.isnan(straight.strength.value) == (straight.t0.value == 0)


@pytest.mark.filterwarnings("ignore:effective_barrier")
def test_effective_barrier_is_equation_9():
    """Zhang et al. SI, Eq. (9): E = -k_B T ln int P(E) exp(-E / k_B T) dE."""
    e = np.random.default_rng(0).uniform(0.2, 0.5, 200)
    for temperature in (300.0, 900.0):
        thermal = BOLTZMANN * temperature
        literal = -thermal * math.log(np.mean(np.exp(-e / thermal)))
        found = effective_barrier(np.r_[e, np.nan], temperature)
        assert found.value == pytest.approx(literal, rel=1e-12)
        assert e.min() < found.value < e.mean()
        assert found.count == 200
    # P(E) on a grid, integrated by the trapezoidal rule
    grid = np.linspace(0.0, 1.0, 20001)
    density = np.exp(-((grid - 0.5) ** 2) / (2 * 0.04**2))
    thermal = BOLTZMANN * 600.0
    integral = np.trapezoid(density * np.exp(-grid / thermal), grid) / np.trapezoid(density, grid)
    found = effective_barrier(grid, 600.0, density)
    assert found.value == pytest.approx(-thermal * math.log(integral), rel=1e-6)
    # weights are numbers of copies
    copies = np.random.default_rng(1).integers(0, 4, 200)
    assert effective_barrier(e, 500.0, copies).value == pytest.approx(
        effective_barrier(np.repeat(e, copies), 500.0).value, rel=1e-12
    )


@pytest.mark.filterwarnings("ignore:effective_barrier")
def test_effective_barrier_of_known_spectra():
    """Audit: gamma(4, 0.25 eV) has 0.2307 eV at 300 K, 0.3450 at 600 K in a finite sample.

    The integral is exact: E = 4 k_B T ln(1 + 0.25 eV / k_B T), 0.2448 and 0.3648 eV.
    """
    for temperature, audit in ((300.0, 0.2307), (600.0, 0.3450)):
        thermal = BOLTZMANN * temperature
        exact = 4 * thermal * math.log(1 + 0.25 / thermal)
        quantiles = np.linspace(0, 12, 400_001)[1:]
        density = quantiles**3 * np.exp(-quantiles / 0.25)
        assert effective_barrier(quantiles, temperature, density).value == pytest.approx(
            exact, rel=1e-4
        )
        samples = [
            effective_barrier(np.random.default_rng(seed).gamma(4, 0.25, 3500), temperature).value
            for seed in range(60)
        ]
        assert np.min(samples) < audit < np.max(samples)
        assert np.median(samples) == pytest.approx(exact, abs=0.01)
    # Gaussian: mu - sigma^2 / (2 k_B T)
    for spread in (0.5, 1.0, 1.5, 2.0):
        thermal = BOLTZMANN * 600.0
        e = np.random.default_rng(2).normal(1.0, spread * thermal, 200_000)
        found = effective_barrier(e, 600.0)
        assert abs(found.value - (1.0 - 0.5 * spread**2 * thermal)) < 3 * found.error
        assert found.spread == pytest.approx(spread, rel=0.01)
    # audit: bias of 3500 Gaussian barriers at sigma / k_B T = 2.5, 5.8, 11.6
    thermal = BOLTZMANN * 300.0
    for spread, bias, tolerance in ((2.5, 0.001, 0.001), (5.8, 0.09, 0.015), (11.6, 0.87, 0.03)):
        off = [
            effective_barrier(
                np.random.default_rng(k).normal(1.0, spread * thermal, 3500), 300.0
            ).value
            - (1.0 - 0.5 * spread**2 * thermal)
            for k in range(100)
        ]
        assert np.mean(off) == pytest.approx(bias, abs=tolerance)


def test_error_of_the_effective_barrier_covers():
    thermal = BOLTZMANN * 600.0
    for spread in (0.5, 1.5):
        found = []
        for seed in range(300):
            e = np.random.default_rng(seed).normal(1.0, spread * thermal, 1500)
            found.append(effective_barrier(e, 600.0))
        off = np.abs([(f.value - (1.0 - 0.5 * spread**2 * thermal)) / f.error for f in found])
        assert 0.6 < (off < 1).mean() < 0.76
        assert 0.9 < (off < 2).mean() < 0.98
    # weighted: drawn from another spectrum and weighted back
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        e = rng.uniform(0.0, 0.2, 800)
        found.append(effective_barrier(e, 600.0, e))
    grid = np.linspace(0, 0.2, 100_001)[1:]
    truth = -thermal * math.log((grid * np.exp(-grid / thermal)).sum() / grid.sum())
    off = np.abs([(f.value - truth) / f.error for f in found])
    assert 0.6 < (off < 1).mean() < 0.76
    assert 0.9 < (off < 2).mean() < 0.98


def test_effective_barrier_warns_beyond_a_spread_of_3():
    e = np.random.default_rng(0).normal(1.0, 1.0, 3500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        narrow = effective_barrier(e * 2.9 * BOLTZMANN * 300 / e.std(), 300.0)
    assert "above 3" not in narrow.note
    with pytest.warns(UserWarning, match=r"sigma / k_B T is 3\.1, above 3") as caught:
        wide = effective_barrier(e * 3.1 * BOLTZMANN * 300 / e.std(), 300.0)
    assert caught[0].filename == __file__
    assert "above 3" in wide.note
    assert "barriers dominate the mean" in wide.note
    assert "above 3" in str(wide)


@pytest.mark.filterwarnings("ignore:effective_barrier")
def test_effective_barrier_is_stable_at_low_temperature():
    """exp(-1 eV / k_B 1 K) is 10^-5040: the literal formula gives infinity."""
    found = effective_barrier([1.0, 1.2, 1.4], 1.0)
    thermal = BOLTZMANN * 1.0
    assert found.value == pytest.approx(1.0 + thermal * math.log(3), rel=1e-12)
    assert found.effective_count == pytest.approx(1.0)
    single = effective_barrier([0.7], 300.0)
    assert single.value == pytest.approx(0.7)
    assert math.isnan(single.error)
    # adding a constant to all barriers adds it to the result
    e = np.random.default_rng(0).random(50) * 0.1
    assert effective_barrier(e + 900.0, 400.0).value - 900.0 == pytest.approx(
        effective_barrier(e, 400.0).value
    )


def test_effective_barrier_refuses_the_old_form_and_names_the_new_function():
    for arguments, options in (
        ((T, TAU), {}),
        ((T, TAU), {"error": 0.01 * TAU}),
        ((T,), {"tau": TAU}),
        ((), {"temperature": T, "tau": TAU}),
        ((), {"temperature": T, "tau": TAU, "fit": None}),
    ):
        with pytest.raises(ParameterError, match=r"apparent_activation_energy\(temperature, tau\)"):
            effective_barrier(*arguments, **options)
    for bad, words in (
        (([], 300.0), "no finite value"),
        (([1.0], 0.0), "above 0, in K"),
        (([1.0], math.nan), "above 0, in K"),
        (([1.0], "300"), "temperature='300' must be one number"),
        (([1.0], 300.0, [-1.0]), "must not be negative"),
        (([[1.0]], 300.0), "one-dimensional"),
    ):
        with pytest.raises(ParameterError, match=words):
            effective_barrier(*bad)


def test_mean_barrier_per_atom_is_equation_10():
    """Zhang et al. SI, Eq. (10): E_k = 1 / N_event,k sum_i E(i, k)."""
    rng = np.random.default_rng(0)
    atoms = rng.integers(0, 40, 120) * 10 + 5
    e = rng.normal(1.0, 0.3, 120)
    e[::17] = np.nan
    atoms[3], e[3] = 9999, np.nan
    found = mean_barrier_per_atom(e, atoms)
    assert found.atom.values.tolist() == sorted(set(atoms.tolist()))
    means = []
    for atom in found.atom.values:
        own = [x for x, k in zip(e, atoms, strict=True) if k == atom and not math.isnan(x)]
        one = found.sel(atom=atom)
        assert int(one["count"]) == len(own)
        if own:
            means.append(sum(own) / len(own))
            assert float(one["mean"]) == pytest.approx(means[-1])
        else:
            assert math.isnan(float(one["mean"]))
        if len(own) > 1:
            assert float(one.mean_error) == pytest.approx(np.std(own, ddof=1) / len(own) ** 0.5)
        else:
            assert math.isnan(float(one.mean_error))
    assert float(found.overall) == pytest.approx(np.mean(means))
    assert float(found.overall_error) == pytest.approx(np.std(means, ddof=1) / len(means) ** 0.5)
    # not the mean over all events, which counts atoms with many events more
    uneven = mean_barrier_per_atom([1.0, 1.0, 1.0, 2.0], [0, 0, 0, 1])
    assert float(uneven.overall) == 1.5
    assert arithmetic_mean_barrier([1.0, 1.0, 1.0, 2.0]).mean.value == 1.25
    hits = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        level = rng.normal(1.0, 0.2, 60)
        atoms = rng.integers(0, 60, 200)
        one = mean_barrier_per_atom(rng.normal(level[atoms], 0.3), atoms)
        hits.append(abs(float(one.overall) - 1.0) / float(one.overall_error))
    assert 0.6 < np.mean(np.array(hits) < 1) < 0.76
    for bad, words in (
        (([1.0], [0.5]), "1 integers"),
        (([1.0, 2.0], [1]), "2 integers"),
        (([np.nan], [1]), "no finite value"),
    ):
        with pytest.raises(ParameterError, match=words):
            mean_barrier_per_atom(*bad)


def test_names_of_the_old_module_stay():
    assert barriers.fit_vft is fit_vft
    assert barriers.VFT is vft.VFT
