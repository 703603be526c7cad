"""Displacements by lag: closed forms, scalings, uneven times, what lacks a lag, origins, runs, drift, precision, runs of pairs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.features import MediumRange, TrajectoryFeature, compute_features, make_feature
from mgdask.features.lag import LIU_2022, LagDisplacement, check_times, lag_pairs
from mgdask.features.window import FrameAxis, Trajectories

# Liu et al., J. Mater. Inf. 2, 20 (2022), Supplementary Table 1, as the issue lists them
TABLE = """0.01 0.02 0.03 0.04 0.05 0.06 0.08 0.1 0.13 0.16 0.2 0.25 0.32 0.4 0.5 0.63 0.79 1 1.3 1.6 2 2.5 3.2 4 5 6.3 7.9 10 13 16 20 25 32 40
50 63 79 100 126 158 200"""


def axis_of(*times):
    """An axis of runs, each by its times."""
    return FrameAxis(
        np.concatenate([np.asarray(t, dtype=float) for t in times]),
        np.concatenate([np.full(len(t), name) for name, t in zip("abcdef", times, strict=False)]),
    )


def naive_later(axis, frame, lag, tolerance):
    """The frame of the same run nearest to ``lag`` after ``frame``, the earlier of two that are as near; none beyond the end of the run."""
    best = -1
    time = axis.time[axis.run == axis.run[frame]]
    if axis.time[frame] + lag > time[-1] + 0.5 * (time[-1] - time[max(len(time) - 2, 0)]) + 1e-9:
        return best
    for k in range(frame + 1, len(axis.run)):
        off = abs(axis.time[k] - (axis.time[frame] + lag))
        near = axis.run[k] == axis.run[frame] and off <= tolerance * lag + 1e-9
        if near and (best < 0 or off < abs(axis.time[best] - (axis.time[frame] + lag))):
            best = k
    return best


def naive_squares(path, time, lags, origins, tolerance=0.01):
    """|r(t0 + lag) - r(t0)|² in a loop."""
    axis = FrameAxis(np.asarray(time, dtype=float), np.zeros(len(time), dtype=int))
    out = np.full((len(origins), path.shape[1], len(lags)), np.nan)
    for o, k in enumerate(origins):
        for j, lag in enumerate(lags):
            later = naive_later(axis, k, lag, tolerance)
            if later >= 0:
                for i in range(path.shape[1]):
                    dx, dy, dz = path[later, i] - path[k, i]
                    out[o, i, j] = dx * dx + dy * dy + dz * dz
    return out


# --------------------------------------------------------------------------------------------------------- closed forms
def test_ballistic(rng):
    velocity, start = rng.standard_normal((7, 3)), rng.uniform(-50, 50, (7, 3))
    time = np.arange(41) * 0.25
    path = start + time[:, None, None] * velocity
    lags = (0.25, 1.0, 2.5, 10.0)
    want = (velocity**2).sum(axis=1)[:, None] * np.square(lags)
    found = LagDisplacement(lags=lags).compute(path, time)
    assert found.shape == (1, 7, 4)
    np.testing.assert_allclose(found[0], want, rtol=1e-11)
    every = LagDisplacement(lags=lags, origins="all", missing="nan").compute(path, time)
    assert every.shape == (41, 7, 4)
    for j, lag in enumerate(lags):
        there = time + lag <= time[-1]
        np.testing.assert_allclose(
            every[there, :, j], np.tile(want[:, j], (there.sum(), 1)), rtol=1e-10
        )
        assert np.isnan(every[~there, :, j]).all()


def test_harmonic():
    """x = A cos(w t): the displacement from t0 is -2 A sin(w (t0 + lag / 2)) sin(w lag / 2); a whole period brings it back."""
    time = np.arange(64) * 0.125
    amplitude, w = 0.3, 2 * np.pi / 2.0
    path = np.zeros((64, 1, 3))
    path[:, 0, 1] = 12.0 + amplitude * np.cos(w * time)
    lags = (0.125, 0.5, 1.0, 2.0, 4.0)
    found = LagDisplacement(lags=lags, origins=8, scaling="displacement").compute(
        path, time, mass=[1.0]
    )
    t0 = time[:32:8]
    for j, lag in enumerate(lags):
        want = np.abs(2 * amplitude * np.sin(w * (t0 + lag / 2)) * np.sin(w * lag / 2))
        np.testing.assert_allclose(found[:4, 0, j], want, atol=1e-13)
    assert found[0, 0, 2] == pytest.approx(2 * amplitude, abs=1e-13)
    assert found[0, 0, 3] < 1e-13


def test_the_scalings(rng):
    path, time = np.cumsum(rng.standard_normal((12, 5, 3)), axis=0), np.arange(12.0)
    mass, kelvin = np.array([63.546, 91.224, 58.693, 47.867, 106.42]), rng.uniform(300, 900, 12)
    options = {"lags": (1.0, 4.0), "origins": (0.0, 3.0)}
    squared = LagDisplacement(**options).compute(path, time)
    np.testing.assert_array_equal(squared, naive_squares(path, time, (1.0, 4.0), [0, 3]))
    plain = LagDisplacement(scaling="displacement", **options).compute(path, time)
    np.testing.assert_allclose(plain, np.sqrt(squared), rtol=1e-15)
    scaled = LagDisplacement(scaling="logarithmic", **options).compute(
        path, time, mass=mass, temperature=kelvin
    )
    want = np.log10(squared / (kelvin[[0, 3], None, None] / mass[None, :, None]))  # T of the origin
    np.testing.assert_allclose(scaled, want, rtol=0, atol=1e-13)
    one = LagDisplacement(scaling="logarithmic", temperature=500.0, **options)
    found = one.compute(
        path, time, mass=mass, temperature=kelvin
    )  # the given one before the frames' own
    np.testing.assert_allclose(
        found, np.log10(squared * mass[None, :, None] / 500.0), rtol=0, atol=1e-13
    )
    by_element = one.compute(path, time, numbers=[29, 40, 28, 22, 46])
    np.testing.assert_allclose(by_element, found, rtol=0, atol=1e-4)
    plain_mass = LagDisplacement(scaling="logarithmic_mass", **options)
    assert plain_mass.frame_values == ()  # no temperature in the store is needed
    np.testing.assert_allclose(
        plain_mass.compute(path, time, mass=mass),
        np.log10(squared * mass[None, :, None]),
        rtol=0,
        atol=1e-13,
    )
    np.testing.assert_allclose(
        plain_mass.compute(path, time, mass=mass) - np.log10(500.0), found, rtol=0, atol=1e-13
    )
    still = plain_mass.compute(np.zeros((12, 1, 3)), time, mass=[1.0])
    assert (still == -np.inf).all()
    still = one.compute(np.zeros((12, 1, 3)), time, mass=[1.0])
    assert (still == -np.inf).all()


def test_units_of_the_logarithm():
    """Å², K and u: 1 Å in 1 lag, 100 K, 10 u gives lg(1 / (100 / 10)) = -1."""
    path = np.zeros((2, 1, 3))
    path[1, 0, 2] = 1.0
    feature = LagDisplacement(lags=(2.0,), scaling="logarithmic", temperature=100.0)
    assert feature.compute(path, [0.0, 2.0], mass=[10.0])[0, 0, 0] == pytest.approx(-1.0, abs=1e-15)


# ---------------------------------------------------------------------------------------------------------------- times
def test_uneven_frames_are_found_by_their_times(rng):
    """MDANSE#1217: times 0, 166, 1000 are not even."""
    time = np.array([0.0, 166.0, 1000.0, 1166.0, 2000.0])
    path = rng.standard_normal((5, 3, 3))
    found = LagDisplacement(lags=(166.0, 834.0, 1000.0), origins="all", missing="nan").compute(
        path, time
    )
    later = {(0, 0): 1, (0, 2): 2, (1, 1): 2, (1, 2): 3, (2, 0): 3, (2, 2): 4, (3, 1): 4}
    for k in range(5):
        for j in range(3):
            if (k, j) in later:
                want = ((path[later[k, j]] - path[k]) ** 2).sum(axis=1)
                np.testing.assert_allclose(found[k, :, j], want, rtol=1e-14)
            else:
                assert np.isnan(found[k, :, j]).all()


def test_the_published_lags():
    assert tuple(map(float, TABLE.split())) == LIU_2022
    assert len(LIU_2022) == 41
    feature = LagDisplacement()
    assert feature.times == LIU_2022
    assert feature.n_columns == 41
    assert feature.labels[:8] == (
        "0.01 ps",
        "0.02 ps",
        "0.03 ps",
        "0.04 ps",
        "0.05 ps",
        "0.06 ps",
        "0.08 ps",
        "0.1 ps",
    )
    assert feature.labels[-1] == "200 ps"
    assert feature.named("moved").coordinates()["moved_lag"].tolist() == list(LIU_2022)


def test_published_lags_on_frames_a_femtosecond_off(rng):
    """Frames at the lags as a simulation of 2 fs steps stores them: 0.13 and 0.63 ps are not steps of 0.02 ps."""
    time = np.concatenate([[0.0], np.round(np.array(LIU_2022) / 0.002) * 0.002])
    path = rng.standard_normal((42, 2, 3))
    found = LagDisplacement().compute(path, time)
    np.testing.assert_allclose(found[0], ((path[1:] - path[0]) ** 2).sum(axis=2).T, rtol=1e-14)


@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.2])
def test_tolerance_is_a_share_of_the_lag(tolerance):
    lag = 10.0
    for off, near in (
        (0.0, True),
        (0.05, tolerance > 0),
        (-0.0999, tolerance > 0),
        (0.11, tolerance > 0.1),
        (-2.1, False),
    ):
        feature = LagDisplacement(lags=(lag,), tolerance=tolerance, missing="nan")
        found = feature.compute(np.arange(6.0).reshape(2, 1, 3), [5.0, 15.0 + off])
        assert np.isfinite(found).all() == near, off


def test_the_nearest_of_several_frames_is_taken(rng):
    path = np.zeros((6, 1, 3))
    path[:, 0, 0] = 0, 1, 2, 3, 4, 5
    time = [0.0, 9.0, 9.8, 10.1, 11.0, 20.0]
    feature = LagDisplacement(lags=(10.0,), tolerance=0.2, scaling="displacement")
    assert feature.compute(path, time)[0, 0, 0] == 3.0
    tie = LagDisplacement(lags=(10.0,), tolerance=0.2, scaling="displacement").compute(
        path[:4], [0.0, 5.0, 9.5, 10.5]
    )
    assert tie[0, 0, 0] == 2.0  # the earlier one


def test_an_origin_is_not_its_own_later_frame():
    """A lag far below the spacing of frames is missing, not zero."""
    with pytest.raises(
        ParameterError,
        match=r"no frame is 0\.001 ps after any of the 1 origins; the nearest lag that exists is 1 ps",
    ):
        LagDisplacement(lags=(0.001,), tolerance=0.49).compute(np.zeros((3, 1, 3)), [0.0, 1.0, 2.0])
    axis = axis_of([0.0, 1.0, 2.0])
    assert axis.laters(1e-10).tolist() == [-1, -1, -1]
    assert axis.laters(0.0).tolist() == [0, 1, 2]


@pytest.mark.parametrize("tolerance", [0.0, 0.01, 0.3])
def test_laters_equal_the_naive_search(rng, tolerance):
    for _ in range(30):
        times = [np.cumsum(rng.choice([0.5, 1.0, 1.01, 2.0], rng.integers(1, 9))) for _ in range(3)]
        axis = axis_of(*times)
        for lag in (0.5, 1.0, 2.0, 2.7, 5.0, 50.0):
            want = [naive_later(axis, k, lag, tolerance) for k in range(len(axis.run))]
            assert axis.laters(lag, tolerance).tolist() == want
            assert [axis.later(k, lag, tolerance) for k in range(len(axis.run))] == want


def test_runs_and_their_first_frames():
    axis = axis_of([0, 1, 2], [0], [3, 4])
    assert axis.runs() == [(0, 3), (3, 4), (4, 6)]
    assert [axis.first_of_run(k) for k in range(6)] == [0, 0, 0, 3, 4, 4]
    assert axis.nearest_lag(5.0, np.arange(6)) == 2.0
    assert axis.nearest_lag(0.1, np.array([0, 4])) == 1.0
    assert np.isnan(axis.nearest_lag(1.0, np.array([3])))


# -------------------------------------------------------------------------------------------------------------- missing
def test_a_missing_lag_is_refused_with_the_nearest(rng):
    path, time = rng.standard_normal((5, 2, 3)), [0.0, 1.0, 2.0, 4.0, 8.0]
    with pytest.raises(
        ParameterError,
        match=r"no frame is 3 ps after any of the 1 origins; the nearest lag that exists is 2 ps.*missing='nan'",
    ):
        LagDisplacement(lags=(1.0, 3.0)).compute(path, time)
    # 3 ps is from 1 to 4
    found = LagDisplacement(lags=(1.0, 3.0), origins="all").compute(path, time)
    assert np.isfinite(found[..., 1]).any(axis=1).tolist() == [False, True, False, False, False]
    with pytest.raises(
        ParameterError,
        match=r"no frame is 10 ps after any of the 5 origins; the nearest lag that exists is 8 ps",
    ):
        LagDisplacement(lags=(1.0, 10.0), origins="all").compute(path, time)
    gone = LagDisplacement(lags=(1.0, 10.0), missing="nan").compute(path, time)
    assert np.isnan(gone[..., 1]).all()
    np.testing.assert_allclose(gone[0, :, 0], ((path[1] - path[0]) ** 2).sum(axis=1), rtol=1e-14)


def test_marks_of_origins_that_lack_a_lag(rng):
    axis = axis_of(np.arange(6.0))
    feature = LagDisplacement(lags=(1.0, 3.0), origins="all")
    origins, out = feature.origin_frames(axis), np.empty((6, 4, 2))
    path = rng.standard_normal((4, 6, 3))
    trajectories = Trajectories(np.arange(6), path, axis, np.ones(4))
    marks = feature.describe_trajectories(trajectories, origins, out)
    assert list(marks) == ["no_later_frame"]
    assert marks["no_later_frame"].shape == (6, 4)
    assert marks["no_later_frame"].all(axis=1).tolist() == [False] * 3 + [True] * 3
    assert (marks["no_later_frame"] == np.isnan(out).any(axis=2)).all()


# -------------------------------------------------------------------------------------------------------------- origins
@pytest.mark.parametrize(
    ("origins", "want"),
    [
        ("first", [0, 5]),
        ("all", list(range(9))),
        (1, list(range(9))),
        (3, [0, 3, 5, 8]),
        (100, [0, 5]),
        ((0.0,), [0, 5]),
        ((0.0, 2.0), [0, 2, 5, 7]),
        ((3.0,), [3, 8]),
        ((2.01,), [2, 7]),
    ],
)
def test_origins(origins, want):
    axis = axis_of(
        [0, 1, 2, 3, 4], [10, 11, 12, 13]
    )  # times of origins are counted from the first frame of a run
    feature = LagDisplacement(lags=(1.0,), origins=origins, missing="nan")
    assert feature.origin_frames(axis).tolist() == want
    for k in want:
        later = {3: 4, 4: None, 7: 8, 8: None}.get(k, k + 1)
        assert feature.frames_needed(axis, k) == ((k,) if later is None else (k, later))


def test_times_that_no_run_has():
    axis = axis_of([0, 1, 2, 3, 4], [10, 11, 12, 13])
    with pytest.raises(
        ParameterError, match=r"origins=\(4.0,\): not every run has a frame at each of these times"
    ):
        LagDisplacement(lags=(1.0,), origins=(4.0,), missing="nan").origin_frames(axis)
    with pytest.raises(ParameterError, match="not every run"):
        LagDisplacement(lags=(1.0,), origins=(0.5,), missing="nan").origin_frames(axis)


def test_runs_are_never_mixed(rng):
    """Times that go on over the border of two runs, and a third of the same times as the first."""
    axis = axis_of([0, 1, 2], [3, 4, 5], [0, 1, 2])
    feature = LagDisplacement(
        lags=(1.0, 2.0, 3.0), origins="all", missing="nan", scaling="displacement"
    )
    path = np.zeros((1, 9, 3))
    path[0, :, 0] = 10.0 ** np.arange(9)
    out = np.empty((9, 1, 3))
    trajectories = Trajectories(np.arange(9), path, axis, np.ones(1))
    feature.describe_trajectories(trajectories, np.arange(9), out)
    x = path[0, :, 0]
    for k in range(9):
        for j, lag in enumerate((1, 2, 3)):
            inside = k % 3 + lag < 3
            assert out[k, 0, j] == x[k + lag] - x[k] if inside else np.isnan(out[k, 0, j]), (k, lag)
    with pytest.raises(
        ParameterError,
        match="no frame is 3 ps after any of the 9 origins; the nearest lag that exists is 2 ps",
    ):
        LagDisplacement(lags=(3.0,), origins="all").origin_frames(axis)


# --------------------------------------------------------------------------------------------------------------- numbers
def test_drift_is_taken_away(rng):
    time, mass = np.arange(10.0), np.array([1.0, 3.0, 20.0, 5.0])
    own = rng.standard_normal((10, 4, 3))
    own -= np.einsum("a,fax->fx", mass / mass.sum(), own)[:, None]
    drift = np.cumsum(rng.standard_normal((10, 3)), axis=0)
    options = {"lags": (1.0, 5.0), "origins": 2, "missing": "nan"}
    found = LagDisplacement(remove_drift=True, **options).compute(
        own + drift[:, None], time, mass=mass
    )
    want = naive_squares(own, time, (1.0, 5.0), range(0, 10, 2))
    np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-12)
    kept = LagDisplacement(**options).compute(own + drift[:, None], time, mass=mass)
    assert np.nanmax(np.abs(kept - want)) > 1.0
    # the mean is weighted
    plain = LagDisplacement(remove_drift=True, **options).compute(
        own + drift[:, None], time, mass=np.ones(4)
    )
    assert np.nanmax(np.abs(plain - want)) > 0.1
    by_element = LagDisplacement(remove_drift=True, **options).compute(
        own, time, numbers=[29, 40, 29, 40]
    )
    weights = np.where(np.arange(4) % 2, 91.224, 63.546)
    np.testing.assert_allclose(
        by_element,
        LagDisplacement(remove_drift=True, **options).compute(own, time, mass=weights),
        rtol=1e-4,
        atol=1e-6,
    )


def test_far_from_the_origin_nothing_is_lost(rng):
    """freud in float32 errs by up to 68 % here: vibrations of 1e-3 Å at 1e5 Å, against exact fractions of the same doubles."""
    path = 1e5 + 1e-3 * rng.standard_normal((9, 6, 3))
    found = LagDisplacement(lags=(1.0, 2.0, 5.0), origins="all", missing="nan").compute(
        path, np.arange(9.0)
    )
    for k in range(9):
        for j, lag in enumerate((1, 2, 5)):
            for i in range(6):
                if k + lag < 9:
                    want = sum(
                        (Fraction(float(b)) - Fraction(float(a))) ** 2
                        for a, b in zip(path[k, i], path[k + lag, i], strict=True)
                    )
                    # subtraction of neighbours is exact; what is left is the rounding of squares and sums
                    assert abs(Fraction(float(found[k, i, j])) - want) <= want * Fraction(4, 2**53)
    single = path.astype(np.float32)
    assert np.abs(((single[1] - single[0]) ** 2).sum(axis=1) / found[0, :, 0] - 1).max() > 0.5


def test_any_layout_of_the_input(rng):
    path, time = rng.standard_normal((8, 5, 3)), np.arange(8)
    feature = LagDisplacement(lags=(1, 3), origins="all", missing="nan")
    want = feature.compute(path, time)
    assert feature.compute(np.asfortranarray(path), time.tolist()).tobytes() == want.tobytes()
    assert feature.compute(path[::-1][::-1], time.astype(np.float32)).tobytes() == want.tobytes()
    before = path.copy()
    LagDisplacement(lags=(1, 3), remove_drift=True).compute(path, time, mass=np.ones(5))
    assert (path == before).all()
    np.testing.assert_array_equal(want, naive_squares(path, time, (1, 3), range(8)))


# --------------------------------------------------------------------------------------------------------- runs of pairs
@pytest.mark.parametrize("origins", ["all", 2, 3, "some"])
def test_pairs_are_those_of_naive_enumeration(rng, origins):
    cases = [
        axis_of(np.arange(12.0)),
        axis_of(np.arange(5.0), np.arange(7.0), np.arange(2.0)),
        axis_of([0, 166, 1000, 1166, 2000, 2166, 3000]),
        axis_of(np.cumsum(rng.choice([1.0, 1.0, 1.0, 2.0], 25)), np.arange(6.0) + 3),
        axis_of([0.0]),
    ]
    for axis in cases:
        n = len(axis.run)
        chosen = {"all": np.arange(n), "some": np.flatnonzero(rng.random(n) < 0.6)}.get(origins)
        chosen = np.arange(0, n, origins) if chosen is None else chosen
        lags = (1.0, 2.0, 5.0, 166.0, 834.0, 1000.0, 9e4)
        start, first, second, length = lag_pairs(axis, lags, chosen)
        assert all(item.dtype == np.int64 for item in (start, first, second, length))
        assert len(start) == len(lags) + 1
        assert start[0] == 0
        assert start[-1] == len(first) == len(second) == len(length)
        for j, lag in enumerate(lags):
            found = [
                (int(first[r] + t), int(second[r] + t))
                for r in range(start[j], start[j + 1])
                for t in range(length[r])
            ]
            want = [(k, naive_later(axis, k, lag, 0.01)) for k in chosen.tolist()]
            assert found == [pair for pair in want if pair[1] >= 0], lag
            assert (length > 0).all()


def test_even_frames_are_one_run_of_pairs():
    start, first, second, length = lag_pairs(axis_of(np.arange(100.0)), (1.0, 30.0), np.arange(100))
    assert (start.tolist(), first.tolist(), second.tolist(), length.tolist()) == (
        [0, 1, 2],
        [0, 0],
        [1, 30],
        [99, 70],
    )
    start, _, _, length = lag_pairs(
        axis_of(np.arange(50.0), np.arange(50.0)), (1.0,), np.arange(100)
    )
    assert (start.tolist(), length.tolist()) == ([0, 2], [49, 49])


# ----------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lags": ()}, "must be increasing times in ps"),
        ({"lags": (2.0, 1.0)}, "must be increasing"),
        ({"lags": (1.0, 1.0)}, "must be increasing"),
        ({"lags": (0.0, 1.0)}, r"lags=\(0\.0, 1\.0\)"),
        ({"lags": (1.0, np.inf)}, "lags="),
        ({"lags": (np.nan,)}, "lags="),
        ({"lags": "liu2023"}, "lags='liu2023'"),
        ({"origins": 0}, "origins=0"),
        ({"origins": "last"}, "origins='last'"),
        ({"origins": (-1.0,)}, "origins="),
        ({"origins": ()}, "origins"),
        ({"scaling": "cubed"}, "scaling='cubed'"),
        ({"temperature": 0.0}, "temperature=0"),
        ({"temperature": -5}, "temperature=-5"),
        ({"missing": "zero"}, "missing='zero'"),
        ({"tolerance": 0.5}, "tolerance=0.5"),
        ({"tolerance": -0.1}, "tolerance=-0.1"),
    ],
)
def test_parameters_are_checked(options, words):
    with pytest.raises(ParameterError, match=f"LagDisplacement.*{words}"):
        LagDisplacement(**options)


def test_input_is_checked(rng):
    feature, path = LagDisplacement(lags=(1.0,)), rng.standard_normal((4, 3, 3))
    time = np.arange(4.0)
    with pytest.raises(
        ParameterError, match=r"path must be \(frame, atom, 3\) in Å; got shape \(4, 9\)"
    ):
        feature.compute(path.reshape(4, 9), time)
    with pytest.raises(ParameterError, match=r"got shape \(4, 3, 2\)"):
        feature.compute(path[..., :2], time)
    with pytest.raises(
        ParameterError, match=r"time must be \(frame,\), 4 numbers; got shape \(3,\)"
    ):
        feature.compute(path, time[:3])
    with pytest.raises(
        ParameterError, match=r"times must increase within a run; frame 2 is at 1 ps after 1 ps"
    ):
        feature.compute(path, [0.0, 1.0, 1.0, 2.0])
    with pytest.raises(ParameterError, match=r"the frames have no times; ingest with timestep="):
        feature.compute(path, [0.0, 1.0, np.nan, 3.0])
    for options in (
        {"scaling": "logarithmic", "temperature": 300.0},
        {"scaling": "logarithmic_mass"},
        {"remove_drift": True},
    ):
        with pytest.raises(ParameterError, match=r"mass= \(or numbers=\) is needed"):
            LagDisplacement(lags=(1.0,), **options).compute(path, time)
    with pytest.raises(ParameterError, match=r"scaling='logarithmic' needs temperature="):
        LagDisplacement(lags=(1.0,), scaling="logarithmic").compute(path, time, mass=np.ones(3))
    for mass in (np.ones(2), np.ones((3, 1)), [1.0, -1.0, 2.0], [1.0, np.nan, 1.0]):
        with pytest.raises(ParameterError, match="mass must be"):
            LagDisplacement(lags=(1.0,), remove_drift=True).compute(path, time, mass=mass)
    hot = LagDisplacement(lags=(1.0,), scaling="logarithmic")
    for kelvin in (np.ones(3), [300.0, -1.0, 300.0, 300.0]):
        with pytest.raises(ParameterError, match="temperature must be"):
            hot.compute(path, time, mass=np.ones(3), temperature=kelvin)
    frames = np.zeros((1, 3, 3)), np.eye(3)[None], np.full(3, 29), np.arange(3), (True,) * 3
    with pytest.raises(
        ParameterError, match="reads more than one frame and cannot be computed from single frames"
    ):
        compute_features((feature,), *frames)
    with pytest.raises(ParameterError, match=r"feature=LagDisplacement.*instance of FrameFeature"):
        MediumRange(feature)


def test_times_of_runs_may_begin_again():
    check_times(axis_of([0, 1, 2], [0, 1]))
    with pytest.raises(ParameterError, match="frame 4 is at 1 ps after 5 ps"):
        check_times(axis_of([0, 1, 2], [5, 1]))


def test_parameters_make_an_equal_feature():
    for feature in (
        LagDisplacement(),
        LagDisplacement(
            lags=(1, 2),
            origins=(0.0, 5.0),
            scaling="logarithmic",
            temperature=300,
            missing="nan",
            tolerance=0.1,
            remove_drift=True,
        ),
        LagDisplacement(lags=(1, 2), origins=4),
    ):
        assert make_feature("lag_displacement", feature.parameters()) == feature
    assert isinstance(LagDisplacement(lags=(1, 2), origins="all"), TrajectoryFeature)
    assert LagDisplacement(remove_drift=True).needs_drift
    assert not LagDisplacement().needs_drift
