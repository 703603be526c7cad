"""Von Mises strain between frames of a sheared cell, with flips and wrapped atoms."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.geometry import wrap
from mgdask.studies.barcode.strain import (
    StrainSpread,
    continued,
    shear_of,
    strain_spread,
    von_mises,
)

SIDE = 12.0
STEP = 0.3


def sheared(rng, n_frames=5):
    """Random atoms under simple shear; the tilt flips once it exceeds half the cell."""
    scaled = rng.random((120, 3))
    positions, cells = [], []
    for t in range(n_frames):
        tilt = SIDE * STEP * t
        tilt -= SIDE * np.rint(tilt / SIDE)
        cell = np.array([[SIDE, 0, 0], [tilt, SIDE, 0], [0, 0, SIDE]])
        # the material point moves with the true shear; the cell is only a description
        true = np.array([[SIDE, 0, 0], [SIDE * STEP * t, SIDE, 0], [0, 0, SIDE]])
        position, _ = wrap(scaled @ true, cell, np.zeros(3), (True, True, True))
        positions.append(position)
        cells.append(cell)
    return np.array(positions), np.array(cells), scaled


def test_cells_and_paths_continue_through_flips(rng):
    position, cell, scaled = sheared(rng)
    assert (np.diff(cell[:, 1, 0]) < 0).any()
    path, cells = continued(position, cell, (True, True, True))
    tilts = cells[:, 1, 0]
    np.testing.assert_allclose(np.diff(tilts), SIDE * STEP)
    moved = path[-1] - path[0]
    # every atom moves along x by the shear times its height
    np.testing.assert_allclose(moved[:, 0], 4 * STEP * path[0][:, 1], atol=1e-10)
    np.testing.assert_allclose(moved[:, 1:], 0.0, atol=1e-10)
    assert len(scaled) == len(moved)


def test_uniform_shear_has_the_strain_of_the_cell(rng):
    """With g = 0.3: eta_xy = g / 2 and eta_yy = g^2 / 2, so the strain is sqrt(g^2 / 4 + g^4 / 12)."""
    position, cell, _ = sheared(rng, 2)
    path, cells = continued(position, cell, (True, True, True))
    numbers = np.full(120, 29)
    found = von_mises(path[0], path[1], cells[0], cells[1], numbers, cutoff=5.0)
    expected = np.sqrt(STEP**2 / 4 + STEP**4 / 12)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert shear_of(np.linalg.solve(cells[0], cells[1])) == pytest.approx(expected)


def test_a_jump_is_refused():
    cells = np.array([np.eye(3), np.diag([1.0, 1.0, 2.2])]) * 10
    with pytest.raises(ParameterError, match="frame 1 of the pair has the cell"):
        continued(np.zeros((2, 1, 3)), cells, (True, True, True))


@pytest.fixture(scope="module")
def sheared_store(tmp_path_factory):
    """Store of a uniformly sheared sample, of which one atom moves by itself in the end."""
    position, cell, _ = sheared(np.random.default_rng(5))
    position[-1, 7] += [0.0, 0.0, 1.5]
    folder = tmp_path_factory.mktemp("sheared")
    lines = []
    for t, (frame, box) in enumerate(zip(position, cell, strict=True)):
        tilt = box[1, 0]
        low, high = min(0.0, tilt), SIDE + max(0.0, tilt)
        lines += ["ITEM: TIMESTEP", str(t), "ITEM: NUMBER OF ATOMS", "120"]
        lines += ["ITEM: BOX BOUNDS xy xz yz pp pp pp", f"{low} {high} {tilt}"]
        lines += [f"0 {SIDE} 0", f"0 {SIDE} 0", "ITEM: ATOMS id type x y z"]
        lines += [f"{k + 1} 1 {x:.12f} {y:.12f} {z:.12f}" for k, (x, y, z) in enumerate(frame)]
    dump = folder / "sheared.dump"
    dump.write_text("\n".join(lines) + "\n")
    out = folder / "sheared.zarr"
    mgdask.ingest(str(dump), out, species={1: "Cu"})
    return out


def test_spread_of_a_store(client, sheared_store):
    found = strain_spread(sheared_store, cutoff=5.0, client=client, progress=False)
    expected = np.sqrt(STEP**2 / 4 + STEP**4 / 12)
    np.testing.assert_allclose(found.applied, expected, rtol=1e-6)
    np.testing.assert_allclose(found.mean[:3], expected, rtol=1e-6)
    assert (found.relative[:3] < 1e-6).all()
    assert found.relative[3] > 0.01  # the atom that moved by itself, and its neighbors
    assert (found.density * np.diff(found.edges)).sum() == pytest.approx(1.0)
    assert found.n_undefined == 0
    again = StrainSpread.from_json(json.loads(json.dumps(found.to_json())))
    assert np.array_equal(again.std, found.std)
    twice = strain_spread(sheared_store, lag=2, cutoff=5.0, client=client, progress=False)
    assert len(twice.mean) == 3
    np.testing.assert_allclose(
        twice.applied, np.sqrt((2 * STEP) ** 2 / 4 + (2 * STEP) ** 4 / 12), rtol=1e-6
    )


def test_lag_must_fit(sheared_store):
    with pytest.raises(ParameterError, match="lag=5 must be from 1 to 4"):
        strain_spread(sheared_store, lag=5)
