"""OVITO opens what is exported: exact cell, ids, types, columns."""

from __future__ import annotations

import numpy as np
import pytest

import mgdask
from mgdask.explore import export
from tests.explore.exported import BOX, IDS, make_features, make_trajectory

pytestmark = pytest.mark.peers


def close(found, want):
    """Compare up to the last bit, by which OVITO misses a number in its text now and then."""
    np.testing.assert_allclose(found, want, rtol=2 * np.finfo(float).eps, atol=0)


def rotated(store, folder):
    """The same atoms in a cell that is no lower triangle, as a Dataset."""
    ds = mgdask.open_store(store).load()
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    return ds.assign(
        {name: (ds[name].dims, ds[name].values @ turn) for name in ("position", "cell", "origin")}
    )


@pytest.mark.parametrize("name", ["a.dump", "a.extxyz", "a.data"])
@pytest.mark.parametrize("cell", ["orthogonal", "triclinic", "rotated"])
def test_ovito_opens_the_file(tmp_path, name, cell):
    ovito = pytest.importorskip("ovito.io", reason="ovito is not installed")
    tilt = None if cell == "orthogonal" else (0.9, -1.3, 0.4)
    store = make_trajectory(tmp_path, tilt=tilt, flags="pp pp pp")
    features = make_features(store, tmp_path / "f.zarr")
    ds = rotated(store, tmp_path) if cell == "rotated" else mgdask.open_store(store)
    f = mgdask.open_store(features)
    is_data = name == "a.data"
    source = ds.isel(frame=[3]) if is_data else ds
    export(source, tmp_path / name, features=[] if is_data else [f])

    style = {"atom_style": "atomic"} if is_data else {}
    pipeline = ovito.import_file(str(tmp_path / name), **style)
    assert pipeline.source.num_frames == (1 if is_data else 5)
    data = pipeline.compute(0 if is_data else 3)
    found, frame = data.cell[...], ds.isel(frame=3)
    assert np.array_equal(found[:, :3].T, frame.cell.values)  # to the last bit
    assert np.array_equal(found[:, 3], frame.origin.values)
    if cell != "rotated" and tilt is None:
        assert found[:, 3].tolist() == [low for low, _ in BOX]
    assert data.cell.pbc == (True, True, True)
    particles = data.particles
    assert particles.identifiers[...].tolist() == IDS.tolist()
    close(particles.positions[...], frame.position.values)
    kinds = {kind.id: kind.name for kind in particles.particle_types.types}
    names = [kinds[kind] for kind in particles.particle_types[...]]
    assert names == ["Cu", "Zr"] * 7
    if is_data:
        return
    assert data.attributes["Timestep"] == 3007
    assert data.attributes["Time"] == frame.time.item()
    # OVITO writes the names of columns of a dump in lower case
    columns = ("awkward_far", "soap_Cu-Zr_l2_n1_3", "awkward_x", "awkward_Far_2")
    keys = {key.lower(): key for key in particles}
    values = np.stack([particles[keys[each.lower()]][...] for each in columns], axis=1)
    close(values, f.awkward[3].values)
    if name == "a.dump":
        assert np.array_equal(particles["Periodic Image"][...], frame.image.values)
        close(particles["Velocity"][:, 1], frame.vy.values)
