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
    conditional,
    frame_of_strain,
    mass_radius,
    predicted_share,
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


@pytest.mark.parametrize(("body", "dimension"), [("volume", 3.0), ("plane", 2.0), ("line", 1.0)])
def test_dimension_of_known_bodies(rng, body, dimension):
    side = 60.0
    position = rng.uniform(0, side, (4000, 3))
    position[:, {"volume": 3, "plane": 2, "line": 1}[body] :] = 30.0
    found = mass_radius(frame(position, side), np.ones(len(position), dtype=bool))
    assert float(found.dimension) == pytest.approx(dimension, abs=0.05)
    if body == "volume":
        assert float(found.g[20:].mean()) == pytest.approx(1.0, abs=0.02)
        # M(r) of an even spread: 1 + density x volume of the sphere
        expected = 1 + (len(position) - 1) / side**3 * 4 / 3 * np.pi * found.r**3
        np.testing.assert_allclose(found.mass[50:], expected[50:], rtol=0.02)


def test_mass_counts_chosen_atoms_only(rng):
    position = rng.uniform(0, 20, (500, 3))
    chosen = np.zeros(500, dtype=bool)
    chosen[:2] = True
    position[0], position[1] = (1.0, 1.0, 1.0), (19.0, 1.0, 1.0)  # 2 Å apart through the face
    found = mass_radius(frame(position, 20.0), chosen, r_max=4.0, bins=8)
    assert found.mass.values.tolist() == [
        1,
        1,
        1,
        1,
        2,
        2,
        2,
        2,
    ]  # a distance on an edge belongs to the bin above
    free = mass_radius(frame(position, 20.0, (False, True, True)), chosen, r_max=4.0, bins=8)
    assert free.mass.values.tolist() == [1] * 8
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
