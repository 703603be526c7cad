"""The spherical Chebyshev descriptor against a naive twin, its gradient against complex steps and differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mgdask.kernels.chebyshev import chebyshev, chebyshev_gradient
from mgdask.kernels.neighbors import neighbor_list
from tests.reference import structure as reference

CUTOFF = 7.0


def arguments(first, last, row, vector, distance, weight, n_max, l_max, cutoff):
    first, last, row = (np.ascontiguousarray(a, dtype=np.int64) for a in (first, last, row))
    vector, weight = np.ascontiguousarray(vector), np.ascontiguousarray(weight, dtype=float)
    return first, last, row, vector, np.ascontiguousarray(distance), weight, n_max, l_max, cutoff


def compute(first, last, row, vector, distance, weight, n_max=4, l_max=8, cutoff=CUTOFF):
    out = np.full((len(first), len(weight) * (n_max + 1) * (l_max + 1)), np.nan)
    chebyshev(*arguments(first, last, row, vector, distance, weight, n_max, l_max, cutoff), out)
    return out


def gradient(first, last, row, vector, distance, weight, n_max=4, l_max=8, cutoff=CUTOFF):
    n_pairs = int((np.asarray(last) - np.asarray(first)).sum())
    out = np.full((n_pairs, len(weight) * (n_max + 1) * (l_max + 1), 3), np.inf)
    chebyshev_gradient(
        *arguments(first, last, row, vector, distance, weight, n_max, l_max, cutoff), out
    )
    return out


def alone(vector, weight):
    """Arguments of a single centre whose neighbours, and their (channel,neighbour) weights, are given."""
    vector = np.asarray(vector, dtype=float).reshape(-1, 3)
    return (
        [0],
        [len(vector)],
        np.arange(len(vector)),
        vector,
        np.sqrt((vector**2).sum(axis=1)),
        weight,
    )


def by_pairs(vector, weight, n_max, l_max, cutoff):
    """P_nl of one channel as a sum over pairs with Legendre polynomials: analytic, so coordinates may be complex."""
    r = np.sqrt((vector * vector).sum(axis=1))
    unit = vector / r[:, None]
    x, cosine = 1 - 2 * r / cutoff, unit @ unit.T
    power = np.empty((n_max + 1, l_max + 1), dtype=vector.dtype)
    for n in range(n_max + 1):
        radial = (
            np.polynomial.chebyshev.chebval(x, np.eye(n_max + 1)[n])
            * (1 - (r / cutoff) ** 2) ** 4
            * weight
        )
        for degree in range(l_max + 1):
            legendre = np.polynomial.legendre.legval(cosine, np.eye(l_max + 1)[degree])
            power[n, degree] = radial @ legendre @ radial
    return power.ravel()


def complex_steps(vector, weight, n_max, l_max, cutoff, step=1e-40):
    """dP/dr (neighbour, channel n l, 3) without any difference: Im P(r + i step) / step."""
    result = np.empty((len(vector), len(weight) * (n_max + 1) * (l_max + 1), 3))
    for j in range(len(vector)):
        for axis in range(3):
            moved = vector.astype(complex)
            moved[j, axis] += 1j * step
            result[j, :, axis] = (
                np.concatenate([by_pairs(moved, w, n_max, l_max, cutoff).imag for w in weight])
                / step
            )
    return result


@pytest.fixture(scope="module")
def pairs(glass):
    position, cell, numbers = glass
    offset, row, vector, distance = neighbor_list(position, cell, CUTOFF)
    kind = np.where(np.asarray(numbers) == 29, 1.0, 2.0)
    return (
        offset,
        row,
        vector,
        distance,
        np.array([(-1.0) ** (kind - 1) * kind, np.ones(len(kind))]),
    )


def environment(rng, n=12, channels=3):
    vector = rng.normal(0, 2.0, (n, 3))
    vector *= (rng.uniform(0.8, 6.9, n) / np.linalg.norm(vector, axis=1))[:, None]
    return vector, rng.normal(0, 1, (channels, n))


def test_published_columns_equal_the_twin(pairs):
    """To 1e-12 of each number."""
    offset, row, vector, distance, weight = pairs
    some = np.arange(0, 2000, 100)
    ours = compute(offset[some], offset[some + 1], row, vector, distance, weight)
    assert ours.shape == (20, 90)
    for values, i in zip(ours, some, strict=True):
        near = slice(offset[i], offset[i + 1])
        theirs = [reference.chebyshev(vector[near], w[row[near]]).ravel() for w in weight]
        np.testing.assert_allclose(values, np.concatenate(theirs), rtol=1e-12)


@pytest.mark.parametrize(
    ("n_max", "l_max", "channels"), [(0, 0, 1), (0, 5, 2), (1, 1, 1), (6, 3, 3), (2, 12, 4)]
)
def test_other_sizes_equal_the_twin(rng, n_max, l_max, channels):
    vector, weight = environment(rng, 15, channels)
    ours = compute(*alone(vector, weight), n_max, l_max, 6.0)
    theirs = np.concatenate(
        [reference.chebyshev(vector, w, n_max, l_max, 6.0).ravel() for w in weight]
    )
    np.testing.assert_allclose(ours[0], theirs, rtol=1e-12, atol=1e-13 * theirs.max())
    inside = np.linalg.norm(vector, axis=1) < 6.0
    pairwise = np.concatenate(
        [by_pairs(vector[inside], w[inside], n_max, l_max, 6.0) for w in weight]
    )
    np.testing.assert_allclose(ours[0], pairwise, rtol=1e-10, atol=1e-12 * theirs.max())


def test_few_neighbours():
    """None: zeros. One: P_nl = (w R_n)^2 for every l, whatever its direction; the poles are nothing special."""
    assert not compute(*alone(np.empty((0, 3)), np.empty((2, 0)))).any()
    assert gradient(*alone(np.empty((0, 3)), np.empty((2, 0)))).shape == (0, 90, 3)
    x, cut = 1 - 2 * 2.5 / CUTOFF, (1 - (2.5 / CUTOFF) ** 2) ** 4
    radial = np.array([1, x, 2 * x**2 - 1, 4 * x**3 - 3 * x, 8 * x**4 - 8 * x**2 + 1]) * cut
    expected = np.concatenate([np.repeat((w * radial) ** 2, 9) for w in (-2.0, 1.0)])
    for direction in ([0, 0, 2.5], [0, 0, -2.5], [2.5, 0, 0], [1.5, 0, 2.0]):
        np.testing.assert_allclose(
            compute(*alone(direction, [[-2.0], [1.0]]))[0], expected, rtol=1e-13
        )
    for far in (CUTOFF, np.nextafter(CUTOFF, 9), 8.0):
        assert not compute(*alone([0, 0, far], [[-2.0], [1.0]])).any()
        assert not gradient(*alone([0, 0, far], [[-2.0], [1.0]])).any()


def test_coincident_atoms(rng):
    """On the centre: NaN, for that centre only. Two neighbours in one place: one of twice the weight."""
    vector, weight = environment(rng)
    base = compute(*alone(vector, weight))
    double = compute(*alone(np.vstack([vector, vector]), np.hstack([weight, weight])))
    np.testing.assert_allclose(double, 4 * base, rtol=1e-12)
    two = np.vstack([vector, np.zeros((1, 3)), vector])
    n = len(vector)
    weights = np.hstack([weight, weight[:, :1], weight])
    both = (
        [0, n + 1],
        [n + 1, 2 * n + 1],
        np.arange(2 * n + 1),
        two,
        np.linalg.norm(two, axis=1),
        weights,
    )
    found = compute(*both)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], base[0], rtol=1e-13)
    slopes = gradient(*both)
    assert np.isnan(slopes[: n + 1]).all()
    np.testing.assert_allclose(
        slopes[n + 1 :], gradient(*alone(vector, weight)), rtol=1e-12, atol=1e-14
    )


def test_rotation(pairs):
    offset, row, vector, distance, weight = pairs
    some = np.arange(0, 2000, 50)
    turn = Rotation.from_euler("zyx", [0.3, 1.2, -2.1]).as_matrix()
    turned = vector @ turn.T
    before = compute(offset[some], offset[some + 1], row, vector, distance, weight)
    after = compute(offset[some], offset[some + 1], row, turned, distance, weight)
    np.testing.assert_allclose(after, before, rtol=1e-11, atol=1e-13)
    few = some[:5]
    slopes = gradient(offset[few], offset[few + 1], row, vector, distance, weight)
    rotated = gradient(offset[few], offset[few + 1], row, turned, distance, weight)
    np.testing.assert_allclose(
        rotated, slopes @ turn.T, rtol=1e-10, atol=1e-12 * np.abs(slopes).max()
    )


def test_rows_do_not_depend_on_the_other_centres(pairs):
    offset, row, vector, distance, weight = pairs
    for function, some in ((compute, np.arange(0, 2000, 10)), (gradient, np.arange(0, 2000, 200))):
        whole = function(offset[some], offset[some + 1], row, vector, distance, weight)
        ends = (
            np.cumsum(offset[some + 1] - offset[some])
            if function is gradient
            else np.arange(1, len(some) + 1)
        )
        for cut in (1, 3, 7):
            parts = [
                function(offset[s], offset[s + 1], row, vector, distance, weight)
                for s in (some[:cut], some[cut:])
            ]
            np.testing.assert_array_equal(np.concatenate(parts), whole)
            assert len(parts[0]) == ends[cut - 1]


@pytest.mark.parametrize(("n_max", "l_max"), [(0, 0), (1, 1), (4, 8), (2, 11)])
def test_gradient_equals_complex_steps(rng, n_max, l_max):
    """To 1e-11 of the largest slope of the column; neighbours exactly along and next to the axes included."""
    vector, weight = environment(rng)
    vector[:5] = [[0, 0, 2.7], [0, 0, -3.1], [3.3, 0, 0], [0, -2.2, 0], [1e-9, -1e-12, 4.0]]
    ours = gradient(*alone(vector, weight), n_max, l_max)
    theirs = complex_steps(vector, weight, n_max, l_max, CUTOFF)
    scale = np.abs(theirs).max(axis=(0, 2), keepdims=True)
    assert (np.abs(ours - theirs) / np.maximum(scale, 1e-300)).max() < 1e-11


def test_gradient_of_neighbours_at_the_poles_only():
    """All neighbours on the z axis: complex steps; one neighbour: the closed form along z, exactly 0 across."""
    vector = np.array([[0, 0, 2.5], [0, 0, -3.5], [0, 0, 4.0]])
    weight = np.array([[1.0, -2.0, 1.0], [1.0, 1.0, 1.0]])
    theirs = complex_steps(vector, weight, 4, 8, CUTOFF)
    np.testing.assert_allclose(
        gradient(*alone(vector, weight)), theirs, rtol=0, atol=1e-12 * np.abs(theirs).max()
    )
    for sign in (1.0, -1.0):
        slope = gradient(*alone([0, 0, 2.5 * sign], [[1.0]]))[0]
        assert not slope[:, :2].any()
        s = 2.5 / CUTOFF
        expected = -16 * s / CUTOFF * (1 - s * s) ** 7 * sign  # of (1 - s^2)^8, n = 0
        np.testing.assert_allclose(slope[:9, 2], expected, rtol=1e-13)


def test_gradient_equals_differences(pairs):
    """Central differences of the kernel itself, fourth order, 1e-6 of the largest slope of each column or better."""
    offset, row, vector, distance, weight = pairs
    i, step = 17, 1e-3
    near = slice(offset[i], offset[i + 1])
    mine, rows = vector[near], row[near]
    slopes = gradient([0], [len(mine)], rows, mine, distance[near], weight)
    scale = np.abs(slopes).max(axis=(0, 2))
    for j in range(0, len(mine), 9):
        for axis in range(3):
            value = {}
            for k in (-2, -1, 1, 2):
                moved = mine.copy()
                moved[j, axis] += k * step
                value[k] = compute(
                    [0], [len(mine)], rows, moved, np.linalg.norm(moved, axis=1), weight
                )[0]
            difference = (8 * (value[1] - value[-1]) - (value[2] - value[-2])) / (12 * step)
            assert (np.abs(difference - slopes[j, :, axis]) / scale).max() < 1e-6


def test_moving_the_centre_is_moving_all_neighbours_back(pairs):
    """Minus the sum over the pairs is the derivative with respect to the centre."""
    offset, row, vector, distance, weight = pairs
    i, step = 42, 1e-3
    near = slice(offset[i], offset[i + 1])
    mine, rows = vector[near], row[near]
    total = gradient([0], [len(mine)], rows, mine, distance[near], weight).sum(axis=0)
    for axis in range(3):
        value = {}
        for k in (-2, -1, 1, 2):
            moved = mine.copy()
            moved[:, axis] -= k * step
            value[k] = compute(
                [0], [len(mine)], rows, moved, np.linalg.norm(moved, axis=1), weight
            )[0]
        difference = (8 * (value[1] - value[-1]) - (value[2] - value[-2])) / (12 * step)
        np.testing.assert_allclose(
            -total[:, axis], difference, rtol=1e-6, atol=1e-8 * np.abs(total).max()
        )


def test_turning_all_neighbours_changes_nothing(pairs):
    """sum_j r_j x dP/dr_j = 0: the tangential parts belong together."""
    offset, row, vector, distance, weight = pairs
    near = slice(offset[3], offset[4])
    slopes = gradient(
        [0], [near.stop - near.start], row[near], vector[near], distance[near], weight
    )
    torque = np.cross(vector[near][:, None, :], slopes)
    assert np.abs(torque.sum(axis=0)).max() < 1e-12 * np.abs(torque).sum(axis=0).max()
