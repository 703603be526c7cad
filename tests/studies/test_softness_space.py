"""Slices and groups in space: maps of known fields, neighbors counted by hand."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import xarray as xr

from mgdask.errors import ParameterError
from mgdask.studies.softness import space
from mgdask.studies.softness.space import d2_map, extremes, group_values, packing


def test_examples():
    assert doctest.testmod(space, extraglobs={"np": np}).failed == 0


def frame(position, sides, pbc=(True, True, True), origin=(0.0, 0.0, 0.0)):
    return xr.Dataset(
        {
            "position": (("atom", "xyz"), position),
            "cell": (("vector", "xyz"), np.diag(sides).astype(float)),
            "origin": ("xyz", np.array(origin, dtype=float)),
            "pbc": ("vector", np.array(pbc)),
        }
    )


def test_extremes_by_hand():
    qs = np.concatenate([np.full(60, 0.8), np.full(40, 0.05), np.linspace(0.2, 0.5, 300), [np.nan]])
    found = extremes(qs)
    assert found["softest"][0] == "QS > 0.7"
    assert found["softest"][1].sum() == 60
    # 40 are too few for the paper's threshold, and the rule says so; the tenth of 400 is
    # 0.9 of the way from the 40th to the 41st, from 0.05 to 0.2
    assert found["hardest"][0] == "hardest tenth, QS <= 0.185; 40 atoms have QS < 0.1"
    assert found["hardest"][1].sum() == 40
    tenths = extremes(qs, "tenths")
    assert tenths["softest"][0] == "softest tenth, QS >= 0.800"
    assert not tenths["softest"][1][-1]  # an atom without QS is in no group
    with pytest.raises(ParameterError, match="groups='quarters' must be one of paper, tenths"):
        extremes(qs, "quarters")


def test_map_of_a_plane(rng):
    """Fig. 2a: linear interpolation reproduces a linear D² exactly, and D² at each atom."""
    position = rng.uniform(0, [30.0, 10.0, 40.0], (4000, 3))
    d2 = 1.0 + 0.2 * position[:, 0] + 0.1 * position[:, 2]
    found = d2_map(
        frame(position, (30.0, 10.0, 40.0), (False, True, False)), d2, d2 > 7.0, deformed=2
    )
    assert (found["across"], found["up"], found["normal"]) == ("x", "z", "y")
    x, z = np.meshgrid(found["x"], found["y"], indexing="ij")
    known = np.isfinite(found["d2"])
    assert known.mean() > 0.8  # outside the atoms nothing is known
    np.testing.assert_allclose(found["d2"][known], (1.0 + 0.2 * x + 0.1 * z)[known])
    inside = np.abs(position[:, 1] - 5.0) < 1.0  # 2 Å
    assert found["atoms"] == inside.sum()
    expected = position[inside & (d2 > 7.0)][:, [0, 2]]
    assert sorted(map(tuple, found["flagged"])) == sorted(map(tuple, expected))
    assert max(np.diff(found["x"]).max(), np.diff(found["y"]).max()) <= 0.5


def test_map_continues_across_faces(rng):
    sides = np.array([20.0, 8.0, 24.0])
    position = rng.uniform(0, sides, (3000, 3))
    d2 = rng.exponential(2.0, 3000)
    d2[0] = np.nan
    whole = d2_map(frame(position, sides), d2, d2 > 5, deformed=2)
    assert np.isfinite(whole["d2"]).all()
    np.testing.assert_allclose(whole["d2"][0], whole["d2"][-1], atol=1e-9)
    np.testing.assert_allclose(whole["d2"][:, 0], whole["d2"][:, -1], atol=1e-9)
    assert whole["d2"].max() <= np.nanmax(d2)
    # the same glass, cut elsewhere along x, has the same map moved by as much
    moved = position.copy()
    moved[:, 0] = (moved[:, 0] + 5.0) % 20.0
    again = d2_map(frame(moved, sides), d2, d2 > 5, deformed=2)
    np.testing.assert_allclose(np.roll(whole["d2"][:-1], 10, axis=0), again["d2"][:-1], atol=1e-9)
    # deformed along x, the thinner of y and z is normal
    turned = d2_map(frame(position, sides), d2, d2 > 5, deformed=0)
    assert (turned["across"], turned["up"], turned["normal"]) == ("z", "x", "y")


def test_groups_by_counting_neighbors(rng):
    """Fig. 3c: M(r) of a group counts its other atoms within r."""
    side, n = 24.0, 600
    position = rng.uniform(0, side, (n, 3))
    hard = position[:, 0] < 4.0
    eligible = position[:, 1] < 23.0
    found = packing(
        frame(position, (side,) * 3),
        {"hardest": ("a slab", hard), "softest": ("one atom", np.arange(n) == 3)},
        eligible,
    )
    assert list(found["groups"]) == ["all", "hardest"]  # one atom is no group
    own = 0.0
    for name, mask in (("all", eligible), ("hardest", hard & eligible)):
        apart = position[mask][:, None] - position[mask]
        distance = np.linalg.norm(apart - side * np.round(apart / side), axis=-1)
        np.fill_diagonal(distance, np.inf)
        group = found["groups"][name]
        assert group["atoms"] == mask.sum()
        for k in (40, 119, 239):
            close = (distance < found["r"][k]).sum() / mask.sum()
            assert group["mass"][k] == pytest.approx(close)
        near = ((distance < found["near"]).sum() / mask.sum()) / mask.sum()
        own = near if name == "all" else own
        assert group["near_ratio"] == pytest.approx(near / own)
        # g(r) in the merged shells, from the same distances
        k = 50
        low, high = found["shell"][k] - 0.075, found["shell"][k] + 0.075
        pairs = ((distance >= low - 1e-9) & (distance < high - 1e-9)).sum()
        volume = 4 / 3 * np.pi * (high**3 - low**3)
        assert group["g"][k] == pytest.approx(pairs / mask.sum() / (mask.sum() / side**3 * volume))
    assert found["end"] == pytest.approx(12.0)
    assert np.diff(found["shell"]) == pytest.approx(0.15)
    short = packing(
        frame(position, (side,) * 3), {"hardest": ("a slab", hard)}, eligible, r_max=8.0
    )
    assert np.isnan(short["groups"]["hardest"]["dimension"]).all()


def test_values_of_groups():
    qs = np.array([0.05, 0.05, 0.5, 0.9])
    classes = {"softest": ("QS > 0.7", qs > 0.7), "hardest": ("QS < 0.1", qs < 0.1)}
    atoms = np.array([0, 1, 3])
    found = group_values(classes, atoms, np.array([1.0, 3.0, 9.0]), np.array([False, False, True]))
    assert found["hardest"]["share"] == pytest.approx(2 / 3)
    assert found["hardest"]["d2_mean"] == 2.0
    assert found["hardest"]["d2_error"] == pytest.approx(1.0)  # sqrt(2) / sqrt(2)
    assert found["softest"]["plastic_share"] == 1.0
    assert found["all"]["plastic_share"] == pytest.approx(1 / 3)
