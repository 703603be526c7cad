"""Profiles: closed forms in orthogonal and triclinic cells, free axes, differences."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from mgdask import geometry as box
from mgdask.analysis import profiles
from mgdask.analysis.profiles import difference, grid_profile, profile
from mgdask.errors import ParameterError

CELL = np.array([[24.0, 1.0, 2.0], [7.0, 20.0, -3.0], [-5.0, 6.0, 11.0]])
ORIGIN = np.array([3.0, -2.0, 1.0])


def atoms(rng, n=4000):
    s = rng.random((n, 3))
    return s, box.cartesian(s + rng.integers(-2, 3, (n, 3)), CELL, ORIGIN)


def test_examples():
    assert doctest.testmod(profiles, extraglobs={"np": np}).failed == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slabs_of_a_triclinic_cell(rng, axis):
    s, position = atoms(rng)
    z = rng.choice([29, 40], len(s))
    value = 3.0 * s[:, axis] + rng.normal(0, 0.1, len(s))
    value[5] = np.nan
    found = profile(
        position, CELL, ORIGIN, axis="abc"[axis], bins=8, numbers=z, values={"q": value}
    )
    slab = np.floor(s[:, axis] * 8).astype(int)
    assert found["count"].values.tolist() == np.bincount(slab, minlength=8).tolist()
    np.testing.assert_allclose(found.density * box.volume(CELL) / 8, found["count"])
    for k in range(8):
        v = value[(slab == k) & np.isfinite(value)]
        assert found.q.values[k] == pytest.approx(v.mean())
        assert found.q_error.values[k] == pytest.approx(v.std(ddof=1) / np.sqrt(len(v)))
        assert found.composition.sel(species="Cu").values[k] == pytest.approx(
            (z[slab == k] == 29).mean()
        )
    np.testing.assert_allclose(found.composition.sum("species"), 1)
    assert found.slab_distance.values[-1] == pytest.approx(15 / 16 * box.face_heights(CELL)[axis])
    assert found.attrs["outside"] == 0
    # distance along the normal of the face is that of the atoms
    normal = np.cross(CELL[(axis + 1) % 3], CELL[(axis + 2) % 3])
    height = (box.cartesian(s, CELL) @ normal) / np.linalg.norm(normal)
    assert (
        np.abs(height - found.slab_distance.values[slab]).max()
        <= box.face_heights(CELL)[axis] / 16 + 1e-9
    )


def test_errors_of_a_profile_cover():
    hits = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        _, position = atoms(rng, 2000)
        found = profile(
            position,
            CELL,
            ORIGIN,
            numbers=rng.choice([29, 40], 2000, p=[0.3, 0.7]),
            values=rng.normal(2, 1, 2000),
        )
        hits.append(
            [
                np.abs(found.value - 2) <= found.value_error,
                np.abs(found.composition.sel(species="Cu") - 0.3)
                <= found.composition_error.sel(species="Cu"),
                np.abs(found.density - 2000 / box.volume(CELL)) <= found.density_error,
            ]
        )
    shares = np.mean(hits, axis=(0, 2))
    assert ((shares > 0.63) & (shares < 0.75)).all(), shares


def test_grid_sums_to_slabs(rng):
    _, position = atoms(rng)
    value = rng.normal(size=len(position))
    grid = grid_profile(position, CELL, ORIGIN, bins=(2, 3, 4), values=value)
    assert grid["count"].dims == ("a", "b", "c")
    for axis, (dim, bins) in enumerate(zip("abc", (2, 3, 4), strict=True)):
        slab = profile(position, CELL, ORIGIN, axis=axis, bins=bins, values=value)
        others = [d for d in "abc" if d != dim]
        assert (grid["count"].sum(others).values == slab["count"].values).all()
        np.testing.assert_allclose(
            (grid.value * grid.value_count).sum(others), slab.value * slab.value_count
        )
    assert grid_profile(position, CELL, ORIGIN, bins=2)["count"].shape == (2, 2, 2)


def test_free_axes_and_empty_slabs():
    position = np.array([[1.0, 1, 1], [1, 1, 9.5], [1, 1, 10.0], [1, 1, -3]])
    cell = np.eye(3) * 10
    free = profile(position, cell, bins=4, pbc=(True, True, False), values=np.arange(4.0))
    assert free["count"].values.tolist() == [1, 0, 0, 1]
    assert free.attrs["outside"] == 2
    assert np.isnan(free.value.values[1])
    assert np.isnan(free.value_error.values[0])
    assert "fewer than 2 atoms" in free.value_error.attrs["note"]
    assert free.density.values[1] == 0
    assert profile(position, cell, bins=4)["count"].values.tolist() == [2, 0, 1, 1]
    edge = profile(np.array([[0.0, 0, -1e-17]]), cell, bins=7)
    assert edge["count"].values.sum() == 1


def test_difference(rng):
    _, position = atoms(rng)
    value = rng.normal(size=len(position))
    before = profile(position, CELL, ORIGIN, values=value)
    after = profile(position, CELL * 1.1, ORIGIN * 1.1, values=value + 1)
    found = difference(before, profile(position, CELL, ORIGIN, values=value + 1))
    np.testing.assert_allclose(found.value, 1)
    np.testing.assert_allclose(found.value_error, np.sqrt(2) * before.value_error)
    assert (found["count"] == 0).all()
    assert difference(before, after).sizes == before.sizes
    with pytest.raises(ParameterError, match="the profiles differ"):
        difference(before, profile(position, CELL, ORIGIN, bins=5, values=value))


def test_bad_input_in_words():
    r, cell = np.zeros((2, 3)), np.eye(3)
    for arguments, options, words in (
        ((r[0], cell), {}, "shape"),
        ((r, cell * 0), {}, "zeros"),
        ((r, cell), {"axis": "q"}, "axis"),
        ((r, cell), {"bins": 0}, "bins"),
        ((r, cell), {"values": [1.0]}, "2 are needed"),
        ((r, cell), {"numbers": [1.0, 2.0]}, "atomic numbers"),
        ((r, cell), {"values": {"count": [1.0, 2.0]}}, "another name"),
        ((r, cell, [0.0, 0.0]), {}, "origin"),
    ):
        with pytest.raises(ParameterError, match=words):
            profile(*arguments, **options)
    with pytest.raises(ParameterError, match="three"):
        grid_profile(r, cell, bins=(1, 2))
