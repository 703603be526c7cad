"""Counts of pairs against trying every image; peaks and troughs where they are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgdask.kernels.neighbors import make_cell_list
from mgdask.kernels.rdf import first_minimum, first_peak, pair_counts, smooth
from tests.reference import structure as reference

PERIODIC = (True, True, True)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 40),
    tilt=st.floats(0.0, 3.0),
    reach=st.floats(1.0, 6.0),
    bins=st.integers(1, 60),
    pbc=st.sampled_from([PERIODIC, (True, True, False), (False, False, False)]),
)
def test_counts_of_every_image(seed, n, tilt, reach, bins, pbc):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3, 8, 3)) + tilt * np.tril(rng.uniform(-1, 1, (3, 3)), -1)
    position = rng.uniform(-0.5, 1.5, (n, 3)) @ cell
    numbers = rng.choice([29, 40], n)
    slot = np.where(numbers == 29, 0, 1)
    edges = np.linspace(0.0, reach, bins + 1)
    counts = pair_counts(make_cell_list(position, cell, pbc, reach), np.arange(n), slot, 2, edges)
    assert counts.dtype == np.int64
    for a, first in enumerate((29, 40)):
        for b, second in enumerate((29, 40)):
            theirs = reference.rdf_counts(position, cell, numbers, (first, second), edges, pbc)
            assert counts[a, b].tolist() == theirs.tolist()
    assert (counts == counts.transpose(1, 0, 2)).all()


def test_counts_of_some_centers_sum_to_those_of_all(glass):
    position, cell, numbers = glass
    slot = np.where(numbers == 29, 0, 1).astype(np.int64)
    edges = np.linspace(0.0, 6.0, 121)
    for cutoff in (6.0, 7.5):  # a grid made for more
        grid = make_cell_list(position, cell, PERIODIC, cutoff)
        every = pair_counts(grid, np.arange(2000), slot, 2, edges)
        parts = [pair_counts(grid, np.arange(k, 2000, 3), slot, 2, edges) for k in (2, 0, 1)]
        assert (sum(parts) == every).all()
        assert (every == every.transpose(1, 0, 2)).all()
        assert every.sum() > 100_000
    assert (pair_counts(grid, np.arange(0), slot, 2, edges) == 0).all()


def test_glass_is_a_glass(glass):
    position, cell, numbers = glass
    edges = np.linspace(0.0, 8.0, 401)
    grid = make_cell_list(position, cell, PERIODIC, 8.0)
    counts = pair_counts(grid, np.arange(2000), np.zeros(2000, dtype=np.int64), 1, edges)[0, 0]
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    g = counts / shell / 2000 / (2000 / np.linalg.det(cell))
    assert g[:80].max() == 0.0  # nothing below 1.6 Å
    assert g[-50:].mean() == pytest.approx(1.0, abs=0.1)
    peak, trough = first_peak(g, edges), first_minimum(g, edges)
    assert 2.3 < peak < 3.2
    assert 3.2 < trough < 4.6
    inside = counts[edges[1:] <= trough].sum() / 2000
    assert 11.0 < inside < 15.0  # coordination number
    # the scale of g does not matter
    assert first_peak(7.0 * g, edges) == pytest.approx(peak, abs=1e-12)
    # like pairs: zirconium is larger than copper
    slot = np.where(numbers == 29, 0, 1).astype(np.int64)
    pairs = pair_counts(grid, np.arange(2000), slot, 2, edges) / shell
    copper, mixed, zirconium = (first_peak(pairs[a, b], edges) for a, b in ((0, 0), (0, 1), (1, 1)))
    assert copper < mixed < zirconium


def gaussian(r, at, width, height=1.0):
    return height * np.exp(-0.5 * ((r - at) / width) ** 2)


@pytest.mark.parametrize("width", [0.01, 0.02, 0.03])
@pytest.mark.parametrize("at", [2.413, 2.7, 3.0571])
def test_known_peak_and_trough(at, width):
    edges = np.arange(0, 10.0, width)
    r = 0.5 * (edges[1:] + edges[:-1])
    trough = 1.4 * at
    g = gaussian(r, at, 0.15, 3.0) + (r > at) * (
        1.0 + gaussian(r, 1.85 * at, 0.4, 0.5) - gaussian(r, trough, 0.3, 0.9)
    )
    g[r <= at] += gaussian(r[r <= at], at, 0.1)  # no step at the peak
    fine = np.linspace(at + 0.3, 1.75 * at, 100_001)
    whole = (
        gaussian(fine, at, 0.15, 3.0)
        + 1.0
        + gaussian(fine, 1.85 * at, 0.4, 0.5)
        - gaussian(fine, trough, 0.3, 0.9)
    )
    assert first_peak(g, edges) == pytest.approx(at, abs=0.02)
    assert first_minimum(g, edges) == pytest.approx(fine[whole.argmin()], abs=0.02)


def test_peak_between_two_bins():
    # the parabola finds it to a fraction of a bin, and does not care where the bins begin
    edges = np.arange(0, 8.0, 0.05)
    r = 0.5 * (edges[1:] + edges[:-1])
    for at in 2.5 + np.arange(11) * 0.005:
        assert first_peak(gaussian(r, at, 0.2), edges) == pytest.approx(at, abs=0.002)
        well = 1.0 - gaussian(r, 1.4 * at, 0.2, 0.8) + gaussian(r, at, 0.1, 3.0)
        assert first_minimum(well, edges) == pytest.approx(1.4 * at, abs=0.005)


def test_first_peak_is_the_first_high_one_not_the_highest():
    edges = np.arange(0, 8.0, 0.02)
    r = 0.5 * (edges[1:] + edges[:-1])
    g = gaussian(r, 1.5, 0.1, 0.2) + gaussian(r, 2.6, 0.1, 0.7) + gaussian(r, 4.4, 0.2, 1.0)
    assert first_peak(g, edges) == pytest.approx(2.6, abs=0.01)
    low = gaussian(r, 2.6, 0.1, 0.3) + gaussian(r, 4.0, 0.1, 1.0)
    assert first_peak(low, edges) == pytest.approx(4.0, abs=0.01)


def test_nothing_counted_is_nan():
    edges = np.linspace(0.0, 8.0, 401)
    assert np.isnan(first_peak(np.zeros(400), edges))
    assert np.isnan(first_minimum(np.zeros(400), edges))


def test_smoothing_keeps_the_sum_and_the_middle():
    values = np.zeros(101)
    values[50] = 1.0
    found = smooth(values)
    assert len(found) == 101
    assert found.sum() == pytest.approx(1.0, rel=1e-12)
    assert found.argmax() == 50
    np.testing.assert_allclose(found, found[::-1], atol=1e-15)
    assert found[52] / found[50] == pytest.approx(np.exp(-0.5), rel=1e-12)
    np.testing.assert_allclose(smooth(np.full(30, 2.5)), 2.5, rtol=1e-14)
