"""Averages of squared displacements over origins, against loops and closed forms."""

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.features.averaged_displacement import AveragedDisplacement
from mgdask.features.window import FrameAxis, Trajectories


def naive(path, time, lags, spacing):
    """Mean of |r(t0 + lag) - r(t0)|² over origins at least ``spacing`` apart, in loops."""
    origins = [0]
    for k in range(1, len(time)):
        if time[k] - time[origins[-1]] >= spacing - 1e-9:
            origins.append(k)
    out = np.empty((path.shape[1], len(lags)))
    for j, lag in enumerate(lags):
        pairs = [
            (a, b) for a in origins for b in range(len(time)) if abs(time[b] - time[a] - lag) < 1e-6
        ]
        for i in range(path.shape[1]):
            out[i, j] = np.mean([np.sum((path[b, i] - path[a, i]) ** 2) for a, b in pairs])
    return out


def test_averages_equal_those_of_loops(rng):
    time = np.unique(np.concatenate([np.arange(21) * 5.0, [0.5, 1.0, 2.0, 6.0, 13.0, 13.5]]))
    path = np.cumsum(rng.normal(size=(len(time), 11, 3)), axis=0)
    found = AveragedDisplacement(lags=(5, 10, 50)).compute(path, time)
    np.testing.assert_allclose(found, naive(path, time, (5, 10, 50), 5.0), rtol=1e-12)
    wide = AveragedDisplacement(lags=(5, 10, 50), spacing=20.0).compute(path, time)
    np.testing.assert_allclose(wide, naive(path, time, (5, 10, 50), 20.0), rtol=1e-12)
    assert not np.allclose(found, wide)


def test_uniform_motion_is_exact_and_has_mass_in_the_logarithm():
    time = np.arange(11) * 1.0
    path = np.zeros((11, 2, 3))
    path[:, 0, 0], path[:, 1, 2] = 2 * time, 3 * time
    feature = AveragedDisplacement(lags=(1, 4), scaling="logarithmic_mass")
    expected = np.log10([[4 * 50, 64 * 50], [9 * 2, 144 * 2]])
    np.testing.assert_allclose(feature.compute(path, time, mass=[50.0, 2.0]), expected)
    assert feature.units == ("1", "1")


def test_pairs_stay_within_their_run_and_subsets_of_frames_suffice(rng):
    time = np.tile(np.arange(9) * 1.0, 2)
    axis = FrameAxis(time, np.repeat(["a", "b"], 9))
    path = rng.normal(size=(18, 5, 3))
    feature = AveragedDisplacement(lags=(2, 6))
    origins = feature.origin_frames(axis)
    assert origins.tolist() == [0, 9]
    assert feature.frames_needed(axis, 9) == (9, 11, 13, 15, 17)
    frames = np.array(sorted({f for o in origins for f in feature.frames_needed(axis, int(o))}))
    position = np.ascontiguousarray(path[frames].transpose(1, 0, 2))
    out = np.empty((2, 5, 2))
    feature.describe_trajectories(Trajectories(frames, position, axis, np.ones(5)), origins, out)
    for k, here in enumerate((slice(0, 9), slice(9, 18))):
        np.testing.assert_allclose(out[k], naive(path[here], time[here], (2, 6), 2.0), rtol=1e-12)


def test_what_a_run_lacks_is_refused_in_words():
    path, time = np.zeros((5, 1, 3)), np.arange(5) * 1.0
    with pytest.raises(ParameterError, match=r"no frame is 7 ps after any of the 5 origins"):
        AveragedDisplacement(lags=(1, 7)).compute(path, time)
    with pytest.raises(ParameterError, match="must be increasing times"):
        AveragedDisplacement(lags=(2, 1))
    with pytest.raises(ParameterError, match="mass= is needed"):
        AveragedDisplacement(lags=(1,), scaling="logarithmic_mass").compute(path, time)


def test_a_store_gives_the_same_bits_beside_another_feature(tmp_path, rng):
    import xarray as xr

    time = np.arange(9) * 1.0
    path = 5 + np.cumsum(rng.normal(0, 0.1, (9, 6, 3)), axis=0)
    store = tmp_path / "small.zarr"
    text = []
    for k, frame in enumerate(path):
        rows = "\n".join(
            f"{i + 1} 1 {x:.17g} {y:.17g} {z:.17g}" for i, (x, y, z) in enumerate(frame)
        )
        text.append(
            f"ITEM: TIMESTEP\n{k}\nITEM: NUMBER OF ATOMS\n6\nITEM: BOX BOUNDS pp pp pp\n"
            f"0 10\n0 10\n0 10\nITEM: ATOMS id type xu yu zu\n{rows}\n"
        )
    (tmp_path / "small.lammpstrj").write_text("".join(text))
    mgdask.ingest(str(tmp_path / "small.lammpstrj"), store, species={1: "Cu"}, timestep=1.0)
    feature = AveragedDisplacement(lags=(1, 3))
    plan = mgdask.plan(
        store, [feature, mgdask.LagDisplacement(lags=(1.0, 3.0))], out=tmp_path / "f.zarr"
    )
    mgdask.run(plan, progress=False)
    found: xr.Dataset = mgdask.open_store(tmp_path / "f.zarr")
    assert found["averaged_displacement"].shape == (1, 6, 2)
    unwrapped = mgdask.open_store(store)
    position = unwrapped["position"].values + np.einsum(
        "fak,fkx->fax", unwrapped["image"].values, unwrapped["cell"].values
    )
    np.testing.assert_allclose(
        found["averaged_displacement"].values[0], naive(position, time, (1, 3), 1.0), rtol=1e-9
    )
