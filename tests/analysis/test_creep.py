"""Creep: the steady stage of made curves, activation volumes, coverage of their errors."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from mgdask.analysis import creep
from mgdask.analysis.creep import activation_volume, steady_state
from mgdask.errors import ParameterError

TIME = np.linspace(0, 1000, 401)
RATE = 2e-5
CLEAN = 0.02 * (1 - np.exp(-TIME / 30)) + RATE * TIME


def test_examples():
    assert doctest.testmod(creep, extraglobs={"np": np}).failed == 0


def test_steady_stage_after_primary_creep():
    found = [
        steady_state(TIME, CLEAN + np.random.default_rng(s).normal(0, 2e-4, len(TIME)))
        for s in range(200)
    ]
    off = np.array([(f.rate.value - RATE) / f.rate.error for f in found])
    assert 0.58 < (np.abs(off) <= 1).mean() < 0.76
    assert (np.abs(off) <= 3).mean() > 0.97
    starts = np.array([f.window[0] for f in found])
    assert np.median(starts) > 200
    drift = np.array([f.drift.value / f.drift.error for f in found])
    assert (np.abs(drift) < 3).mean() > 0.97
    assert np.median([f.window[1] for f in found]) > 950
    np.testing.assert_allclose(found[0].curve(800.0), 0.02 + RATE * 800, atol=2e-4)
    assert "rate =" in str(found[0])


def test_tertiary_creep_is_left_out():
    strain = (
        CLEAN
        + 0.02 * np.exp((TIME - 1000) / 40)
        + np.random.default_rng(0).normal(0, 1e-4, len(TIME))
    )
    found = steady_state(TIME, strain)
    assert found.window[0] > 60
    assert found.window[1] < 900
    assert found.rate.value == pytest.approx(RATE, rel=0.03)


def test_creep_that_is_never_steady_shows_in_the_drift():
    andrade = 1e-3 * np.cbrt(TIME) + RATE * TIME
    for seed in range(20):
        found = steady_state(TIME, andrade + np.random.default_rng(seed).normal(0, 2e-4, len(TIME)))
        low, high = found.window
        true = 1e-3 / 3 * (high ** (-2 / 3) - low ** (-2 / 3)) / found.rate.value
        assert abs(found.drift.value - true) < 4 * found.drift.error
        assert found.rate.value == pytest.approx(RATE, rel=0.35)
        assert found.rate.value > 1.1 * RATE


def test_pure_line_without_noise_takes_all():
    found = steady_state(TIME, 3e-6 * TIME + 0.1)
    assert found.window == (0.0, 1000.0)
    assert found.rate.value == pytest.approx(3e-6)


def test_no_steady_stage():
    found = steady_state(TIME, 0.02 * (TIME / 1000) ** 3, min_share=0.5)
    assert not found.found
    assert math.isnan(found.rate.value)
    assert "no steady creep" in str(found)
    flat = steady_state(TIME, np.random.default_rng(1).normal(0, 1e-4, len(TIME)))
    assert flat.note == "" or "zero" in flat.note


def test_correlated_noise_widens_the_error():
    off = []
    for seed in range(150):
        white = np.random.default_rng(seed).normal(0, 1e-4, len(TIME))
        noise = np.empty_like(white)
        last = 0.0
        for k, w in enumerate(white):
            noise[k] = last = 0.5 * last + w
        found = steady_state(TIME, RATE * TIME + noise)
        off.append((found.rate.value - RATE) / found.rate.error)
    assert 0.5 < (np.abs(off) <= 1).mean() < 0.8


def test_activation_volume_and_its_error():
    s = np.linspace(0.5, 2.0, 7)
    slope = 120.0 * creep.GPA_A3 / (math.sqrt(3) * creep.BOLTZMANN * 650)
    exact = activation_volume(1000 * s, 1e-6 * np.exp(slope * s), 650, unit="MPa")
    assert exact.angstrom3.value == pytest.approx(120.0)
    assert exact.nm3.value == pytest.approx(0.12)
    assert exact.curve(1.0) == pytest.approx(1e-6 * math.exp(slope))
    assert "nm^3" in str(exact)
    assert math.sqrt(3) * 1.380649e-23 * 650 * slope / 1e9 / 1e-30 == pytest.approx(
        120.0, rel=1e-6
    )  # in SI
    inside, student, weighted = [], [], []
    for seed in range(300):
        rate = 1e-6 * np.exp(slope * s + np.random.default_rng(seed).normal(0, 0.1, len(s)))
        found = activation_volume(s, rate, 650).angstrom3
        inside.append(abs(found.value - 120) <= found.error)
        low, high = found.interval(0.95)
        student.append(low <= 120 <= high)
        given = activation_volume(s, rate, 650, error=0.1 * rate).angstrom3
        weighted.append(abs(given.value - 120) <= given.error)
    assert 0.56 < np.mean(inside) < 0.72  # 5 degrees of freedom: 63.7 %
    assert 0.92 < np.mean(student) < 0.98
    assert 0.61 < np.mean(weighted) < 0.76


def test_bad_input_in_words():
    with pytest.raises(ParameterError, match="unit='MPa'"):
        activation_volume([500.0, 1000, 1500], [1, 2, 3], 600)
    with pytest.raises(ParameterError, match="above 0"):
        activation_volume([1.0, 2, 3], [0, 1, 2], 600)
    with pytest.raises(ParameterError, match="3 are needed"):
        activation_volume([1.0, 2], [1, 2], 600)
    with pytest.raises(ParameterError, match="temperature"):
        activation_volume([1.0, 2, 3], [1, 2, 3], -5)
    with pytest.raises(ParameterError, match="unit"):
        activation_volume([1.0, 2, 3], [1, 2, 3], 600, unit="bar")
    with pytest.raises(ParameterError, match="401"):
        steady_state(TIME, CLEAN[:-1])
    with pytest.raises(ParameterError, match="fewer than min_points"):
        steady_state(TIME[:10], CLEAN[:10])
    with pytest.raises(ParameterError, match="min_share"):
        steady_state(TIME, CLEAN, min_share=2.0)
    with pytest.raises(ParameterError, match="min_points"):
        steady_state(TIME, CLEAN, min_points=3)
    with pytest.raises(ParameterError, match=r"trim=0\.5"):
        steady_state(TIME, CLEAN, trim=0.5)
