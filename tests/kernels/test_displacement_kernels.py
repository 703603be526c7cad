"""Displacements between frames against naive twins, laws of motion that are known, and what they must not depend on."""

from __future__ import annotations

from itertools import pairwise

import mpmath
import numpy as np
import pytest

from mgdask.kernels.displacement import (
    GROUP,
    lag_rows,
    moments,
    overlap,
    per_atom,
    scattering,
    van_hove,
)
from mgdask.kernels.vector_math import sine_ratios, sines

LAGS = (1, 2, 3, 5, 40, 75, 99)
Q = np.array([0.0, 1e-9, 0.3, 2.6, 11.0])


def even(n_frames, lags):
    """One run a lag: all origins of evenly spaced frames."""
    lags = np.array(lags, dtype=np.int64)
    return np.arange(len(lags) + 1), np.zeros(len(lags), dtype=np.int64), lags, n_frames - lags


def uneven(pairs):
    """Runs of length 1 from lists of (origin, later), one list a lag."""
    flat = np.array([p for lag in pairs for p in lag], dtype=np.int64).reshape(-1, 2)
    start = np.concatenate([[0], np.cumsum([len(lag) for lag in pairs])]).astype(np.int64)
    return start, flat[:, 0].copy(), flat[:, 1].copy(), np.ones(len(flat), dtype=np.int64)


def pairs_of(runs, k):
    start, origin, later, length = runs
    return [
        (origin[r] + t, later[r] + t)
        for r in range(start[k], start[k + 1])
        for t in range(length[r])
    ]


def squares(path, pairs):
    """|dr|^2 -> (atom, pair): the displacement first, then its square."""
    if not pairs:
        return np.empty((len(path), 0))
    a, b = np.array(pairs).T
    d = path[:, b] - path[:, a]
    return d[..., 0] ** 2 + d[..., 1] ** 2 + d[..., 2] ** 2


def n_groups(path):
    return -(-len(path) // GROUP)


def run_moments(path, runs, slot, n_species):
    out = np.full((n_groups(path), n_species, len(runs[0]) - 1, 2), np.nan)
    moments(path, *runs, slot, n_species, out)
    return out


def run_per_atom(path, runs):
    out = np.full((len(path), len(runs[0]) - 1), -1.0)
    per_atom(path, *runs, out)
    return out


def run_scattering(path, runs, slot, n_species, q=Q):
    out = np.full((n_groups(path), n_species, len(runs[0]) - 1, len(q)), np.nan)
    scattering(path, *runs, slot, n_species, q, out)
    return out


def run_van_hove(path, runs, slot, n_species, width, n_bins):
    counts = np.full((n_species, len(runs[0]) - 1, n_bins), -1, dtype=np.int64)
    van_hove(path, *runs, slot, n_species, width, counts)
    return counts


def run_overlap(path, origin, later, slot, n_species, radius):
    counts = np.full((n_species, *later.shape), -1, dtype=np.int64)
    overlap(path, origin, later, slot, n_species, radius, counts)
    return counts


def walk(n_atoms, n_frames, seed=0, step=0.2):
    rng = np.random.default_rng(seed)
    start = rng.uniform(-50, 50, (n_atoms, 1, 3))
    return start + np.cumsum(rng.normal(0, step, (n_atoms, n_frames, 3)), axis=1)


UNEVEN = [
    [(0, 1), (5, 6), (98, 99)],
    [],
    [(a, a + 7) for a in (0, 3, 4, 50)],
    [(a, a + 30) for a in range(0, 70, 2)],
    [],
]
MIXED = (
    np.array([0, 3, 3, 5]),
    np.array([0, 50, 7, 2, 90]),
    np.array([4, 54, 11, 9, 97]),
    np.array([40, 1, 0, 90, 3]),
)


@pytest.fixture(scope="module")
def glassy():
    """Atoms of three species and some of none, over the edge of two groups, one at rest and one that jumps."""
    path = walk(2 * GROUP + 11, 100)
    path[3] = path[3, :1]
    path[7, 60:] += 30.0
    slot = np.random.default_rng(1).integers(-1, 4, len(path))
    return path, slot


@pytest.mark.parametrize(
    "runs", [even(100, LAGS), uneven(UNEVEN), MIXED], ids=["even", "uneven", "mixed"]
)
class TestTwins:
    def test_moments(self, glassy, runs):
        path, slot = glassy
        ours = run_moments(path, runs, slot, 3)
        for k in range(len(runs[0]) - 1):
            r2 = squares(path, pairs_of(runs, k)).astype(np.longdouble)
            for g in range(n_groups(path)):
                for s in range(3):
                    chosen = r2[g * GROUP : (g + 1) * GROUP][slot[g * GROUP : (g + 1) * GROUP] == s]
                    expected = np.array([chosen.sum(), (chosen**2).sum()], dtype=float)
                    np.testing.assert_allclose(ours[g, s, k], expected, rtol=1e-12)

    def test_per_atom(self, glassy, runs):
        path, _ = glassy
        ours = run_per_atom(path, runs)
        for k in range(len(runs[0]) - 1):
            pairs = pairs_of(runs, k)
            if pairs:
                np.testing.assert_allclose(
                    ours[:, k], squares(path, pairs).mean(axis=1), rtol=1e-12
                )
            else:
                assert np.isnan(ours[:, k]).all()

    def test_scattering(self, glassy, runs):
        path, slot = glassy
        ours = run_scattering(path, runs, slot, 3)
        for k in range(len(runs[0]) - 1):
            waves = np.sinc(Q * np.sqrt(squares(path, pairs_of(runs, k)))[..., None] / np.pi).sum(
                axis=1
            )
            for g in range(n_groups(path)):
                for s in range(3):
                    block = slice(g * GROUP, (g + 1) * GROUP)
                    expected = waves[block][slot[block] == s].sum(axis=0)
                    n_terms = max(1, (slot[block] == s).sum() * len(pairs_of(runs, k)))
                    np.testing.assert_allclose(
                        ours[g, s, k] / n_terms, expected / n_terms, rtol=1e-12, atol=1e-15
                    )

    def test_van_hove(self, glassy, runs):
        path, slot = glassy
        width, n_bins = 0.13, 20
        ours = run_van_hove(path, runs, slot, 3, width, n_bins)
        for k in range(len(runs[0]) - 1):
            bins = np.minimum(
                np.floor(np.sqrt(squares(path, pairs_of(runs, k))) / width), n_bins - 1
            ).astype(int)
            for s in range(3):
                np.testing.assert_array_equal(
                    ours[s, k], np.bincount(bins[slot == s].ravel(), minlength=n_bins)
                )


def rows(n_frames, origins, lags):
    later = np.asarray(origins)[:, None] + np.asarray(lags)
    later[later >= n_frames] = -1
    return np.asarray(origins, dtype=np.int64), later


def test_lag_rows_and_overlap_against_twins(glassy):
    path, slot = glassy
    origin, later = rows(100, [0, 10, 33, 90], [0, 1, 9, 60])
    ours = np.zeros((len(origin), len(path), later.shape[1]))
    lag_rows(path, origin, later, ours)
    near = run_overlap(path, origin, later, slot, 3, 1.0)
    for o in range(len(origin)):
        for k in range(later.shape[1]):
            if later[o, k] < 0:
                assert np.isnan(ours[o, :, k]).all()
                assert (near[:, o, k] == 0).all()
                continue
            r2 = squares(path, [(origin[o], later[o, k])])[:, 0]
            np.testing.assert_array_equal(ours[o, :, k], r2)
            for s in range(3):
                assert near[s, o, k] == (r2[slot == s] < 1.0).sum()
    assert (near[:, :, 0] == [[(slot == s).sum()] * len(origin) for s in range(3)]).all()


def test_displacement_of_exactly_the_radius_is_outside():
    path = np.zeros((9, 2, 3))
    path[:, 1, 0] = 0.5
    origin, later = rows(2, [0], [1])
    assert run_overlap(path, origin, later, np.zeros(9, dtype=np.int64), 1, 0.5)[0, 0, 0] == 0
    assert (
        run_overlap(path, origin, later, np.zeros(9, dtype=np.int64), 1, np.nextafter(0.5, 1))[
            0, 0, 0
        ]
        == 9
    )


def test_ballistic_atoms():
    velocity = np.random.default_rng(2).normal(0, 1, (10, 3))
    path = np.ascontiguousarray(velocity[:, None] * np.arange(100.0)[None, :, None])
    expected = (velocity**2).sum(1)[:, None] * np.array(LAGS) ** 2.0
    np.testing.assert_allclose(run_per_atom(path, even(100, LAGS)), expected, rtol=1e-11)


def test_harmonic_atoms():
    """x = A cos(w t) over whole periods of origins: the mean of |dr|^2 is A^2 (1 - cos w t)."""
    period, amplitude = 60, 0.1
    lags = np.array([1, 7, 15, 30, 59, 60])
    t = np.arange(2 * period)
    path = np.zeros((9, 2 * period, 3))
    path[:, :, 1] = amplitude * np.cos(2 * np.pi * t / period + np.arange(9)[:, None])
    runs = (np.arange(7), np.zeros(6, dtype=np.int64), lags, np.full(6, period))
    expected = amplitude**2 * (1 - np.cos(2 * np.pi * lags / period))
    np.testing.assert_allclose(
        run_per_atom(path, runs), np.tile(expected, (9, 1)), rtol=1e-11, atol=1e-16
    )


def test_random_walk_diffuses():
    """Steps of variance s^2 an axis: MSD = 3 s^2 t, Gaussian: <r^4> = 5/3 <r^2>^2, F_s = exp(-q^2 MSD / 6)."""
    path, lags = walk(4000, 60, seed=3), np.array([1, 4, 16])
    runs, slot = even(60, lags), np.zeros(4000, dtype=np.int64)
    sums = run_moments(path, runs, slot, 1).sum(axis=0)[0] / (4000 * (60 - lags))[:, None]
    np.testing.assert_allclose(sums[:, 0], 3 * 0.04 * lags, rtol=0.02)
    np.testing.assert_allclose(3 * sums[:, 1] / (5 * sums[:, 0] ** 2) - 1, 0, atol=0.02)
    waves = run_scattering(path, runs, slot, 1).sum(axis=0)[0] / (4000 * (60 - lags))[:, None]
    np.testing.assert_allclose(waves, np.exp(-(Q**2) * (3 * 0.04 * lags)[:, None] / 6), atol=0.01)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no longer doubles here")
def test_vibration_far_from_the_origin_keeps_its_digits():
    rng = np.random.default_rng(4)
    path = 1e4 + rng.normal(0, 0.1, (40, 100, 3))
    runs = even(100, LAGS)
    exact = np.stack(
        [squares(path.astype(np.longdouble), pairs_of(runs, k)).mean(axis=1) for k in range(7)],
        axis=1,
    )
    np.testing.assert_allclose(run_per_atom(path, runs), exact.astype(float), rtol=1e-14)
    # the transform's way, for comparison: r(a)^2 + r(b)^2 - 2 r(a).r(b)
    a, b = path[:, :-1], path[:, 1:]
    crude = ((a**2).sum(-1) + (b**2).sum(-1) - 2 * (a * b).sum(-1)).mean(axis=1)
    assert np.abs(crude / exact[:, 0] - 1).max() > 1e-8


@pytest.mark.parametrize(
    "runs", [even(100, LAGS), uneven(UNEVEN), MIXED], ids=["even", "uneven", "mixed"]
)
def test_bits_do_not_depend_on_how_atoms_are_cut(glassy, runs):
    path, slot = glassy
    whole = (
        run_moments(path, runs, slot, 3),
        run_scattering(path, runs, slot, 3),
        run_per_atom(path, runs),
    )
    for cuts in ([0, GROUP, 2 * GROUP, len(path)], [0, 2 * GROUP, len(path)]):
        blocks = [(path[a:b], slot[a:b]) for a, b in pairwise(cuts)]
        np.testing.assert_array_equal(
            np.concatenate([run_moments(p, runs, s, 3) for p, s in blocks]), whole[0]
        )
        np.testing.assert_array_equal(
            np.concatenate([run_scattering(p, runs, s, 3) for p, s in blocks]), whole[1]
        )
        counts = sum(run_van_hove(p, runs, s, 3, 0.1, 30) for p, s in blocks)
        np.testing.assert_array_equal(counts, run_van_hove(path, runs, slot, 3, 0.1, 30))
    for at in (0, 5, 100, 300, len(path) - 1):  # an atom by itself has the bits it has among others
        np.testing.assert_array_equal(run_per_atom(path[at : at + 1], runs)[0], whole[2][at])


def test_one_run_and_its_pairs_one_by_one_have_the_same_bits(glassy):
    path, slot = glassy
    runs = even(100, LAGS)
    single = uneven([pairs_of(runs, k) for k in range(len(LAGS))])
    np.testing.assert_array_equal(
        run_moments(path, runs, slot, 3), run_moments(path, single, slot, 3)
    )
    np.testing.assert_array_equal(
        run_scattering(path, runs, slot, 3), run_scattering(path, single, slot, 3)
    )


def test_nothing_to_do():
    nothing = uneven([[], []])
    path, slot = walk(3, 4), np.zeros(3, dtype=np.int64)
    assert (run_moments(path, nothing, slot, 2) == 0).all()
    assert (run_scattering(path, nothing, slot, 2) == 0).all()
    assert (run_van_hove(path, nothing, slot, 2, 0.1, 5) == 0).all()
    assert np.isnan(run_per_atom(path, nothing)).all()
    no_atoms, no_slot = np.empty((0, 4, 3)), np.empty(0, dtype=np.int64)
    assert run_moments(no_atoms, even(4, [1]), no_slot, 1).shape == (0, 1, 1, 2)
    assert (run_van_hove(no_atoms, even(4, [1]), no_slot, 1, 0.1, 5) == 0).all()
    assert run_moments(path, even(4, []), slot, 1).shape == (1, 1, 0, 2)
    assert run_scattering(path, even(4, [1]), slot, 1, np.empty(0)).shape == (1, 1, 1, 0)


def test_nan_stays_with_its_atom():
    path = walk(20, 30)
    path[5, 10] = np.nan
    slot = np.zeros(20, dtype=np.int64)
    slot[5] = 1
    runs = even(30, [1, 25])
    ours = run_per_atom(path, runs)
    assert np.isnan(ours[5, 0])
    assert np.isfinite(ours[5, 1])
    assert np.isfinite(np.delete(ours, 5, axis=0)).all()
    assert np.isfinite(run_moments(path, runs, slot, 2)[:, 0]).all()
    assert run_van_hove(path, runs, slot, 2, 0.1, 1000)[1, 0, -1] == 2
    origin, later = rows(30, [0], [10])
    assert run_overlap(path, origin, later, slot, 2, 1e9)[:, 0, 0].tolist() == [19, 0]


@pytest.mark.parametrize("n_atoms", [1, 7, 8, 9])
def test_few_atoms(n_atoms):
    path, slot = walk(n_atoms, 90), np.zeros(n_atoms, dtype=np.int64)
    runs = even(90, [1, 64, 70])
    r2 = [squares(path, pairs_of(runs, k)) for k in range(3)]
    np.testing.assert_allclose(
        run_moments(path, runs, slot, 1)[0, 0, :, 0], [x.sum() for x in r2], rtol=1e-12
    )
    assert run_van_hove(path, runs, slot, 1, 0.5, 7).sum(axis=2).tolist() == [[x.size for x in r2]]


def test_freud_agrees():
    """To what its single precision and its Fourier transforms leave: small numbers next to large ones suffer most."""
    freud = pytest.importorskip("freud")
    path = walk(50, 120)
    path -= path[:, :1].copy()
    theirs = freud.msd.MSD(freud.box.Box.cube(1000.0), mode="window").compute(
        path.transpose(1, 0, 2)
    )
    lags = np.array([1, 5, 30, 100])
    ours = run_per_atom(path, even(120, lags)).mean(axis=0)
    np.testing.assert_allclose(ours, theirs.msd[lags], rtol=1e-5, atol=1e-6 * ours.max())


def test_sine():
    rng = np.random.default_rng(5)
    near = np.pi * rng.integers(1, 300000, 500) * 0.5  # where digits cancel
    t = np.concatenate(
        [[0.0, 5e-324, 1e-200, 1e-9], rng.uniform(-4, 4, 2000), rng.uniform(-1e6, 1e6, 1000), near]
    )
    t = np.concatenate([t, -t, np.nextafter(near, np.inf)])
    ours, ratio = np.empty_like(t), np.empty_like(t)
    sines(t, ours)
    with mpmath.workdps(60):
        exact = [mpmath.sin(mpmath.mpf(x)) for x in t]
        nearest = np.array([float(x) for x in exact])
        off = np.array([float(mpmath.mpf(o) - e) for o, e in zip(ours, exact, strict=True)])
        assert np.abs(off / np.spacing(np.abs(nearest)))[t != 0].max() < 2.0
    assert (ours[t == 0] == 0).all()
    positive = np.abs(t)
    sine_ratios(positive, ratio)
    with mpmath.workdps(60):
        expected = [
            float(mpmath.mpf(e) / mpmath.mpf(x)) if x else 1.0
            for e, x in zip(exact, t, strict=True)
        ]
    np.testing.assert_allclose(ratio, expected, rtol=2e-15, atol=0)
    special = np.array([np.inf, -np.inf, np.nan])
    sines(special, ours[:3])
    assert np.isnan(ours[:3]).all()
