"""What a score of atoms says: closed forms, counts by hand, dimensions of known bodies."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import xarray as xr

from mgdask.errors import ParameterError
from mgdask.features.window import FrameAxis
from mgdask.studies.softness import score
from mgdask.studies.softness.score import (
    QUANTILES,
    conditional,
    frame_of_strain,
    mass_radius,
    predicted_share,
    score_at_ratio,
    score_at_yield,
    spectrum,
)


def test_examples():
    names = {"np": np, "FrameAxis": FrameAxis}
    assert doctest.testmod(score, extraglobs=names).failed == 0


def frame(position, side, pbc=(True, True, True)):
    return xr.Dataset(
        {
            "position": (("atom", "xyz"), position),
            "cell": (("vector", "xyz"), side * np.eye(3)),
            "pbc": ("vector", np.array(pbc)),
        }
    )


def test_spectrum_is_a_density(rng):
    x = rng.random(5000) ** 2
    x[::50] = np.nan
    found = spectrum(x, bins=25)
    assert float(found.density.sum()) / 25 == pytest.approx(1.0)
    assert int(found["count"].sum()) == found.attrs["atoms"] == np.isfinite(x).sum()
    assert float(found["std"]) == pytest.approx(np.nanstd(x))
    with pytest.raises(ParameterError, match="needs atoms with a score"):
        spectrum([np.nan])


def test_probability_follows_the_score(rng):
    x = rng.random(200_000)
    happened = rng.random(len(x)) < 0.1 * x
    found = conditional(x, happened, bins=10)
    np.testing.assert_array_less(np.abs(found.probability - 0.1 * found.score), 4 * found.error)
    assert float(found.base) == pytest.approx(happened.mean())
    np.testing.assert_allclose(found.ratio, found.probability / found.base)
    assert int(found["count"].sum()) == len(x)
    empty = conditional([0.05, 0.05], [True, True], bins=10)
    assert float(empty.probability[0]) == 1.0
    assert float(empty.error[0]) == 0.5  # not 0: two atoms say little
    assert np.isnan(empty.probability[1:]).all()
    with pytest.raises(ParameterError, match="both must be"):
        conditional([0.1], [True, False])


def test_intervals_of_a_share():
    """Wilson, J. Am. Stat. Assoc. 22, 209 (1927): roots of (p - k/n)^2 = z^2 p (1 - p) / n."""
    score = np.repeat([0.1, 0.9], [50, 40])
    happened = np.arange(90) < 7
    found = conditional(score, happened, bins=2)
    for k, (hits, n) in enumerate(((7, 50), (0, 40))):
        z, p = 1.959964, np.array([found.low[k], found.high[k]])
        np.testing.assert_allclose((p - hits / n) ** 2, z**2 * p * (1 - p) / n, atol=1e-7)
    assert found.probability.values[1] == 0.0 < found.high.values[1]  # has a place on a log axis


def test_intervals_know_that_neighbors_are_alike():
    # regions of 20 atoms that are all plastic or none: 20 times fewer independent atoms
    happened = np.repeat(np.arange(40) % 4 == 0, 20)
    region = np.repeat(np.arange(40), 20)
    score = np.full(800, 0.5)
    alone = conditional(score, happened, bins=1)
    grouped = conditional(score, happened, bins=1, groups=region, seed=1)
    width = ((grouped.high - grouped.low) / (alone.high - alone.low)).values
    assert width == pytest.approx(np.sqrt(20), rel=0.15)
    assert (grouped.low <= alone.low).all()
    assert grouped.probability.values == alone.probability.values == 0.25


def test_a_score_without_information_has_the_ratio_1_everywhere():
    """Fig. 3b: P(plastic|QS)/P(plastic) of a score that knows nothing."""
    score = np.tile((np.arange(20) + 0.5) / 20, 500)
    happened = np.repeat(np.arange(500) % 25 == 0, 20)
    found = conditional(score, happened, bins=20)
    np.testing.assert_allclose(found.ratio, 1.0, rtol=1e-12)
    assert float(found.base) == 0.04
    assert np.isnan(float(score_at_ratio(score, happened).score))


@pytest.mark.parametrize("share", [0.04, 0.2])
def test_calibrated_score_is_at_the_base_rate_at_one_half(rng, share):
    """Wang & Jain: QS = 0.5 corresponds to the overall fraction of plastic atoms.

    By Bayes' rule, P(plastic|QS) = QS pi / (QS pi + (1 - QS) (1 - pi)) for a QS calibrated on
    balanced classes; the ratio is 1 at 0.5, and 0.1 where P is 0.1 pi.
    """
    # balanced draws: half of the rows plastic with density 2 q, half not with 2 (1 - q)
    n = 400_000
    plastic = rng.random(n) < share
    score = np.where(plastic, np.sqrt(rng.random(n)), 1 - np.sqrt(rng.random(n)))
    group = rng.integers(0, 40, n)
    found = score_at_ratio(score, plastic, groups=group, seed=2)
    assert float(found.score) == pytest.approx(0.5, abs=0.02)
    assert float(found.low) < float(found.score) < float(found.high)
    assert float(found.high - found.low) < 0.05
    odds = 0.1 * share / (1 - 0.1 * share) * (1 - share) / share
    tenth = float(score_at_ratio(score, plastic, 0.1, bins=100).score)
    assert tenth == pytest.approx(odds / (1 + odds), abs=0.02)
    assert np.isnan(float(score_at_ratio(score, plastic, 1e6).score))


def test_crossing_by_hand():
    # P = 0.1, 0.5, 0.3, 0.9 in equal bins; the two in the middle are pooled to 0.4 at 0.5
    score = np.repeat([0.125, 0.375, 0.625, 0.875], 10)
    happened = np.concatenate([np.arange(10) < k for k in (1, 5, 3, 9)])
    base = happened.mean()
    found = float(score_at_ratio(score, happened, bins=4).score)
    assert found == pytest.approx(np.interp(base, [0.1, 0.4, 0.9], [0.125, 0.5, 0.875]))
    with pytest.raises(ParameterError, match="a ratio needs atoms with a score"):
        score_at_ratio([np.nan], [True])


def test_share_by_the_true_value():
    found = predicted_share(
        [0.1, 0.6, 0.7, 0.9, np.nan], [1.0, 1.0, 3.0, 3.0, 3.0], edges=[0, 2, 4, 6]
    )
    assert found.share.values[:2].tolist() == [0.5, 1.0]
    assert np.isnan(found.share.values[2])
    assert found["count"].values.tolist() == [2, 2, 0]
    with pytest.raises(ParameterError, match="increasing"):
        predicted_share([0.1], [1.0], edges=[2, 1])


def test_atoms_turn_once():
    value = np.array([[0, 0, 0, 0], [6, 0, 0, np.nan], [1, 7, 0, np.nan], [9, 9, 0, np.nan]])
    found = score_at_yield([0.9, 0.4, 0.1, 0.5], value, 5.0)
    assert found["count"].values.tolist() == [0, 1, 1, 0]
    assert found.score.values[1:3].tolist() == [0.9, 0.4]
    assert np.isnan(found.score.values[[0, 3]]).all()
    with pytest.raises(ParameterError, match=r"value \(frame, atom\)"):
        score_at_yield([0.1], [[1.0, 2.0]], 5.0)


def test_distribution_of_activated_atoms(rng):
    """Fig. 3e: QS of the atoms activated at each strain, by a loop over atoms."""
    score, value = rng.random(300), rng.random((6, 300)) * 4
    score[::40] = np.nan
    found = score_at_yield(score, value, 3.0, bins=4)
    for k in range(6):
        activated = [
            score[i]
            for i in range(300)
            if np.isfinite(score[i]) and value[k, i] > 3 and not (value[:k, i] > 3).any()
        ]
        assert found["count"].values[k] == len(activated)
        counts = [sum(j / 4 <= x < (j + 1) / 4 for x in activated) for j in range(4)]
        np.testing.assert_allclose(found.share.values[k], np.array(counts) / len(activated))
        expected = [np.percentile(activated, 100 * q) for q in QUANTILES]
        np.testing.assert_allclose(found.quantiles.values[:, k], expected)
    assert found["edges"].values.tolist() == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(("body", "dimension"), [("volume", 3.0), ("plane", 2.0), ("line", 1.0)])
def test_dimension_of_known_bodies(rng, body, dimension):
    """Fig. 3c: M(r) ~ r^D below and beyond 10 Å."""
    side = 60.0
    position = rng.uniform(0, side, (4000, 3))
    chosen = np.arange(4000) < (4000 if body == "volume" else 1000)
    position[chosen, {"volume": 3, "plane": 2, "line": 1}[body] :] = 30.0
    found = mass_radius(frame(position, side), chosen, r_min=4.0)
    np.testing.assert_allclose(found.dimension, dimension, atol=0.08)
    assert (found.dimension_error > 0).all()
    if body == "volume":
        assert float(found.g[20:].mean()) == pytest.approx(1.0, abs=0.02)
        # M(r) of an even spread: density x volume of the sphere, without the atom itself
        expected = (len(position) - 1) / side**3 * 4 / 3 * np.pi * found.r**3
        np.testing.assert_allclose(found.mass[50:], expected[50:], rtol=0.02)


def test_mass_counts_chosen_atoms_only(rng):
    position = rng.uniform(0, 20, (500, 3))
    chosen = np.zeros(500, dtype=bool)
    chosen[:2] = True
    position[0], position[1] = (1.0, 1.0, 1.0), (19.0, 1.0, 1.0)  # 2 Å apart through the face
    found = mass_radius(frame(position, 20.0), chosen, r_max=4.0, bins=8)
    # a distance on an edge belongs to the bin above; the atom itself is not counted
    assert found.mass.values.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert np.isnan(found.dimension).all()  # no two ranges within 4 Å
    free = mass_radius(frame(position, 20.0, (False, True, True)), chosen, r_max=4.0, bins=8)
    assert free.mass.values.tolist() == [0] * 8
    with pytest.raises(ParameterError, match="at least 2"):
        mass_radius(frame(position, 20.0), np.arange(500) == 3)
    with pytest.raises(ParameterError, match="true or false for every atom"):
        mass_radius(frame(position, 20.0), chosen[:10])


def test_frame_of_a_strain():
    axis = FrameAxis(np.arange(4.0), np.zeros(4))
    assert frame_of_strain(axis, [0, 0.019, 0.041, 0.06], 0.04) == 2
    with pytest.raises(
        ParameterError,
        match=r"no frame is within 0.002 of a strain of 0.05; the nearest, frame 2, has 0.041",
    ):
        frame_of_strain(axis, [0, 0.019, 0.041, 0.06], 0.05)
