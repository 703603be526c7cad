"""Formulas that Liu X. et al. 2022 and Zhang et al. SI print without a number, word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mgdask.analysis import (
    activation_volume,
    composition,
    extreme_groups,
    fit_vft,
    relaxation_time,
    score_correlation,
)
from mgdask.analysis.estimate import BOLTZMANN


def test_activation_volume_of_liu_2022_is_in_cubic_angstrom():
    """Omega = sqrt(3) k_b T d ln(rate) / d sigma; 100 K, 2.2 to 2.4 GPa; "27 nm^3"."""
    stress = np.array([2.2, 2.3, 2.4])
    joule = 1.380649e-23 * 100.0
    for volume, exponent in ((27e-30, 2.258), (27e-27, 2258.0)):
        slope = volume * 1e9 / (math.sqrt(3) * joule)
        assert slope * 0.2 == pytest.approx(exponent, rel=1e-3)
    rate = 1e-6 * np.exp(27e-30 * 1e9 / (math.sqrt(3) * joule) * (stress - 2.2))
    assert rate[-1] / rate[0] < 10  # what a simulation can show
    found = activation_volume(stress, rate, 100.0)
    assert found.angstrom3.value == pytest.approx(27.0, rel=1e-6)
    assert found.nm3.value == pytest.approx(0.027, rel=1e-6)


def test_correlation_of_liu_2022():
    """Text on Fig. 3F: zeta = cov(T_ML, D2min) / (sigma(T_ML) sigma(D2min))."""
    rng = np.random.default_rng(0)
    t_ml = rng.normal(300, 50, 200)
    d2min = 0.01 * t_ml + rng.normal(0, 1, 200)
    literal = np.mean((t_ml - t_ml.mean()) * (d2min - d2min.mean())) / (t_ml.std() * d2min.std())
    found = score_correlation(t_ml, d2min, seed=0, bootstrap=20)
    assert float(found.pearson[0]) == pytest.approx(literal, rel=1e-12)


def test_liquid_and_solid_like_atoms_of_liu_2022():
    """LAs and SAs are the 10 % of highest and lowest T_ML; Fig. 5A shows their composition."""
    t_ml = np.random.default_rng(1).permutation(np.arange(1000.0))
    low, high = extreme_groups(t_ml)
    assert sorted(t_ml[high]) == list(range(900, 1000))
    assert sorted(t_ml[low]) == list(range(100))
    z = np.where(np.arange(1000) % 5 == 0, 28, 46)
    found = composition(z, {"LA": high}).sel(group="LA", species="Ni")
    assert float(found.fraction) == pytest.approx((z[high] == 28).mean())
    assert float(found.overall) == pytest.approx(0.2)


def test_relaxation_time_and_glass_transition_of_zhang_si():
    """Section 2.1: F_s(tau_alpha) = 1/e, tau(T_g) = 10^4 ps, m = d lg tau / d(T_g / T)."""
    t = np.geomspace(0.1, 1000, 200)
    assert relaxation_time(t, np.exp(-t / 50.0)).value == pytest.approx(50.0, rel=1e-3)
    temperature = np.linspace(900, 1500, 9)
    tau0, b, t0 = 0.02, 3.0, 700.0
    fit = fit_vft(temperature, tau0 * np.exp(b * t0 / (temperature - t0)))
    tg = t0 * (1 + b / math.log(1e4 / tau0))
    assert fit.glass_temperature.value == pytest.approx(tg, rel=1e-6)
    assert fit.tau0.value == pytest.approx(tau0, rel=1e-5)
    assert fit.strength.value == pytest.approx(b, rel=1e-6)
    m = b * t0 * tg / (tg - t0) ** 2 / math.log(10)
    assert fit.fragility.value == pytest.approx(m, rel=1e-6)
    energy, _ = fit.barrier(1000.0)
    assert energy == pytest.approx(BOLTZMANN * b * t0 * (1000 / (1000 - t0)) ** 2, rel=1e-6)
