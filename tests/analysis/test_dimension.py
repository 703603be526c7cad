"""Fractal dimension: known bodies, both ranges, coverage of the error, a real glass."""

from __future__ import annotations

import doctest
import gzip
from pathlib import Path

import numpy as np
import pytest

from mgdask.analysis import dimension
from mgdask.analysis.dimension import fractal_dimension
from mgdask.errors import ParameterError
from mgdask.features import mass_distribution

GLASS_2 = Path("/work/shared/data/cu65zr35_compression/glass_2.lammpstrj.gz")


def test_examples():
    assert doctest.testmod(dimension, extraglobs={"np": np}).failed == 0


def known_bodies(rng, side=60.0):
    """Atoms on a line, on a plane, in the volume, and on planes 30 Å apart."""
    masks, rows = {}, []
    for name, axes in (("line", 2), ("plane", 1), ("volume", 0)):
        r = rng.uniform(0, side, (3000 if name != "line" else 600, 3))
        r[:, 3 - axes :] = side / 2
        rows.append(r)
        masks[name] = len(r)
    position, end, out = np.concatenate(rows), 0, {}
    for name, n in masks.items():
        out[name] = np.zeros(len(position), dtype=bool)
        out[name][end : end + n] = True
        end += n
    return position, side * np.eye(3), out


def test_dimension_of_known_bodies_in_both_ranges(rng):
    """M(r) ~ r^D (Wang & Jain, Fig. 3c) with D = 1, 2, 3."""
    position, cell, groups = known_bodies(rng)
    found = fractal_dimension(mass_distribution(position, cell, groups), r_min=3.0)
    assert found.range.values.tolist() == ["below", "beyond"]
    assert found.range_start.values.tolist() == [3.0, 10.0]
    for name, expected in (("line", 1.0), ("plane", 2.0), ("volume", 3.0)):
        one = found.sel(group=name)
        np.testing.assert_allclose(one.dimension, expected, atol=0.1)
        assert (np.abs(one.dimension - expected) < 4 * one.dimension_error).all()
    # M(r) of an even spread is density times volume of the sphere, so its prefactor too
    np.testing.assert_allclose(
        found.prefactor.sel(group="volume"), 3000 / 60.0**3 * 4 / 3 * np.pi, rtol=0.3
    )


def test_both_ranges_are_fitted_and_differ(rng):
    """Below 10 Å and beyond have their own D; one fit beyond 0.3 r_max hides the first."""
    # 81 lines 6.7 Å apart: a line nearby, a volume far away
    along = rng.uniform(0, 60, (9, 9, 40))
    row, column = np.meshgrid(*2 * [(np.arange(9) + 0.5) * 60 / 9], indexing="ij")
    flat = np.broadcast_arrays(along, row[..., None], column[..., None])
    position = np.stack(flat, axis=-1).reshape(-1, 3)
    found = fractal_dimension(
        mass_distribution(position, 60 * np.eye(3), {}), r_min=1.0, split=6.0
    ).sel(group="whole")
    assert float(found.dimension[0]) == pytest.approx(1.0, abs=0.05)
    assert float(found.dimension[1]) == pytest.approx(3.0, abs=0.3)


def test_error_of_a_dimension_covers():
    """M(r) is cumulative: the error of a regression over its points would cover nothing."""
    hits, naive = [], []
    for seed in range(100):
        r = np.random.default_rng(seed).uniform(0, 36, (400, 3))
        mass = mass_distribution(r, 36 * np.eye(3), {}, width=0.2, blocks=3)
        found = fractal_dimension(mass, r_min=3.0).sel(group="whole", range="below")
        off = abs(float(found.dimension) - 3.0)
        hits.append((off < found.dimension_error, off < 2 * found.dimension_error))
        use = (mass.r >= 3.0) & (mass.r <= 10.0)
        y = np.log(mass.mass.sel(group="whole")[use])
        slope, covariance = np.polyfit(np.log(mass.r[use]), y, 1, cov=True)
        naive.append(abs(slope[0] - 3.0) < np.sqrt(covariance[0, 0]))
    one, two = np.mean(hits, axis=0)
    assert 0.55 < one < 0.8
    assert 0.88 < two <= 1.0
    assert np.mean(naive) < 0.4


def test_error_of_a_dimension_covers_for_clusters():
    """Clusters inside blocks: atoms are far from independent, blocks are."""
    dimensions, errors = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        block = rng.integers(0, 3, (rng.poisson(60), 3))
        center = 12.0 * block + rng.uniform(3.5, 8.5, block.shape)
        size = rng.poisson(8, len(center))
        r = np.repeat(center, size, axis=0) + rng.uniform(-3, 3, (size.sum(), 3))
        mass = mass_distribution(r, 36 * np.eye(3), {}, width=0.2, blocks=3)
        found = fractal_dimension(mass, r_min=3.0).sel(group="whole", range="below")
        dimensions.append(float(found.dimension))
        errors.append(float(found.dimension_error))
    off = np.abs(np.array(dimensions) - np.mean(dimensions)) / errors
    assert np.mean(dimensions) < 2.7
    assert 0.55 < np.mean(off < 1) < 0.8
    assert 0.88 < np.mean(off < 2) <= 1.0


def test_dimension_refuses_in_words(rng):
    mass = mass_distribution(rng.uniform(0, 30, (200, 3)), 30 * np.eye(3), {}, width=0.5)
    with pytest.raises(ParameterError, match=r"must increase, and M\(r\) ends at 15 Å"):
        fractal_dimension(mass, r_min=3.0, r_max=20.0)
    with pytest.raises(ParameterError, match="must increase"):
        fractal_dimension(mass, r_min=11.0)
    with pytest.raises(ParameterError, match=r"no lag, pairs"):
        fractal_dimension(mass.drop_vars(["lag", "pairs"]))
    one = mass_distribution(
        rng.uniform(0, 30, (200, 3)), 30 * np.eye(3), {"two": np.arange(200) < 2}, width=0.5
    )
    assert np.isnan(fractal_dimension(one, r_min=1.0, split=1.6).dimension[1, 0])


@pytest.mark.skipif(not GLASS_2.exists(), reason="the shared glass is not here")
def test_dimensions_of_all_atoms_of_a_glass(tmp_path):
    """Audit of glass_2: all atoms have D = 3.13 below 10 Å, 3.00 beyond."""
    with gzip.open(GLASS_2, "rt") as lines:
        head = [next(lines) for _ in range(9)]
        rows = np.loadtxt(lines, max_rows=int(head[3]))
    bounds = np.array([line.split() for line in head[5:8]], dtype=float)
    cell = np.diag(bounds[:, 1] - bounds[:, 0])
    mass = mass_distribution(rows[:, 2:5] - bounds[:, 0], cell, {})
    assert float(mass.first_minimum) == pytest.approx(3.73, abs=0.05)
    found = fractal_dimension(mass).sel(group="whole")
    np.testing.assert_allclose(found.dimension, [3.13, 3.00], atol=0.03)
