"""Bond-orientational order: the naive twin, closed values of crystals, symmetries, bits, and freud."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mgdask.kernels import bondorder
from mgdask.kernels.neighbors import neighbor_list

DEGREES = [0, 1, 2, 3, 4, 5, 6, 10]
GOLDEN = (1 + np.sqrt(5)) / 2
SIGNS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
AXES = np.vstack([np.eye(3), -np.eye(3)])
FCC = np.array([v for v in itertools.product((-1.0, 0.0, 1.0), repeat=3) if sum(map(abs, v)) == 2])
HCP = np.array(
    [[np.cos(t), np.sin(t), 0] for t in np.arange(6) * np.pi / 3]
    + [
        [np.cos(t) / np.sqrt(3), np.sin(t) / np.sqrt(3), s * np.sqrt(2 / 3)]
        for s in (-1, 1)
        for t in np.pi / 6 + np.arange(3) * 2 * np.pi / 3
    ]
)
ICOSAHEDRON = np.array(
    [np.roll((0, a, b * GOLDEN), k) for a in (-1, 1) for b in (-1, 1) for k in range(3)]
)


@pytest.fixture(scope="module")
def twin():
    pytest.importorskip("sympy")
    from tests.reference import structure as reference_structure

    return reference_structure.bond_order


def moments(first, last, vector, degrees, weight=None):
    weight = np.ones(len(vector)) if weight is None else weight
    out = np.full((len(first), sum(2 * l + 1 for l in degrees)), 7.0)
    bondorder.moments(first, last, vector, weight, np.array(degrees, np.int64), out)
    return out


def coarse(first, last, row, values, slot=None, own=None):
    slot = np.arange(len(values)) if slot is None else slot
    own = np.arange(len(first)) if own is None else own
    out = np.full((len(first), values.shape[1]), 7.0)
    bondorder.coarse(first, last, row, slot, own, values, out)
    return out


def invariants(values, degrees):
    out = np.full((len(values), 2 * len(degrees)), 7.0)
    bondorder.invariants(values, np.array(degrees, np.int64), *bondorder.triples(degrees), out)
    return out


def of_shell(vectors, degrees, weight=None):
    """q_l then w_l of one centre."""
    vectors = np.ascontiguousarray(vectors, dtype=float).reshape(-1, 3)
    ends = np.array([0]), np.array([len(vectors)])
    return invariants(moments(*ends, vectors, degrees, weight), degrees)[0]


def bits(values):
    return np.ascontiguousarray(values).view(np.int64)


def random_lists():
    """30 atoms in a small tilted cell: own images are neighbours, and some atoms have none."""
    rng = np.random.default_rng(11)
    cell = np.array([[7.0, 0, 0], [2.0, 8.0, 0], [-1.0, 1.5, 30.0]])
    position = rng.random((30, 3)) * [1, 1, 0.4] @ cell
    position[:2] = [0.5, 0.5, 0.7] @ cell, [0.0, 0.0, 0.85] @ cell  # nobody is near these
    offset, row, vector, _ = neighbor_list(position, cell, 4.0)
    assert (np.diff(offset) == 0).sum() == 2
    return offset, row, vector


def glass_lists(glass):
    """An atom of the glass, its neighbours, and theirs: the whole surroundings of the first two, nobody around the third."""
    position, cell, _ = glass
    offset, row, _, _ = neighbor_list(position, cell, 4.0)
    centers = np.array([5, *row[offset[5] : offset[6]]])
    outer = np.unique(np.concatenate([row[offset[i] : offset[i + 1]] for i in centers]))
    atoms = np.concatenate([centers, np.setdiff1d(outer, centers)])
    assert len(centers) < len(atoms) <= 100
    offset, row, vector, _ = neighbor_list(position, cell, 4.0, centers=atoms)
    place = np.full(len(position), -1)
    place[atoms] = np.arange(len(atoms))
    listed = [
        place[row[offset[k] : offset[k + 1]]] if k < len(centers) else [] for k in range(len(atoms))
    ]
    return offset, row, vector, place, listed, len(centers)


@pytest.mark.parametrize("weighted", [False, True])
def test_twin_on_random_atoms(twin, rng, weighted):
    offset, row, vector = random_lists()
    weight = rng.uniform(0.1, 3.0, len(row)) if weighted else np.ones(len(row))
    cuts = offset[1:-1]
    naive = twin(
        np.split(vector, cuts),
        np.split(row, cuts),
        DEGREES,
        np.split(weight, cuts) if weighted else None,
    )
    values = moments(offset[:-1], offset[1:], vector, DEGREES, weight)
    average = coarse(offset[:-1], offset[1:], row, values)
    assert np.isnan(values).all(axis=1).sum() == 2
    ours, ours_average = invariants(values, DEGREES), invariants(average, DEGREES)
    np.testing.assert_allclose(ours, np.hstack([naive["q"], naive["w"]]), atol=1e-12, rtol=0)
    np.testing.assert_allclose(
        ours_average, np.hstack([naive["coarse_q"], naive["coarse_w"]]), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_twin_on_the_glass(twin, glass, rng, weighted):
    offset, row, vector, place, listed, n = glass_lists(glass)
    degrees = [4, 6, 8, 10]
    weight = rng.uniform(0.1, 3.0, len(row)) if weighted else np.ones(len(row))
    cuts = offset[1:-1]
    naive = twin(
        np.split(vector, cuts), listed, degrees, np.split(weight, cuts) if weighted else None
    )
    values = moments(offset[:-1], offset[1:], vector, degrees, weight)
    average = coarse(offset[:n], offset[1 : n + 1], row, values, place, np.arange(n))
    np.testing.assert_allclose(
        invariants(values, degrees), np.hstack([naive["q"], naive["w"]]), atol=1e-12, rtol=0
    )
    expected = np.hstack([naive["coarse_q"], naive["coarse_w"]])[:n]
    np.testing.assert_allclose(invariants(average, degrees), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [
        (FCC, [0.19094, 0.57452, -0.15932, -0.01316]),
        (HCP, [0.09722, 0.48476, 0.13410, -0.01244]),
        (ICOSAHEDRON, [0.0, 0.66332, np.nan, -0.16975]),
        (AXES, [0.76376, 0.35355, 0.15932, 0.01316]),
        (SIGNS, [0.50918, 0.62854, -0.15932, 0.01316]),
        (np.vstack([SIGNS, 2 * AXES]), [0.03637, 0.51069, 0.15932, 0.01316]),
    ],
    ids=["fcc-12", "hcp-12", "icosahedron", "sc-6", "bcc-8", "bcc-14"],
)
def test_closed_values(vectors, expected):
    for turn in Rotation.random(5, random_state=3):
        np.testing.assert_allclose(of_shell(turn.apply(2.7 * vectors), [4, 6]), expected, atol=6e-6)


def test_one_neighbor_has_the_order_of_its_axis(rng):
    degrees = list(range(31))
    closed = [bondorder.wigner_3j(l, 0, 0, 0) for l in degrees]
    for vector in [*rng.normal(size=(10, 3)), *AXES, [1e-9, 0.0, 1.0]]:
        np.testing.assert_allclose(of_shell(vector, degrees), [1.0] * 31 + closed, atol=1e-12)


def test_moments_are_means_of_real_harmonics(rng):
    from scipy.special import sph_harm_y

    vector, weight = rng.normal(size=(7, 3)), rng.uniform(0.5, 2.0, 7)
    theta, phi = (
        np.arccos(vector[:, 2] / np.linalg.norm(vector, axis=1)),
        np.arctan2(vector[:, 1], vector[:, 0]),
    )
    expected = []
    for l in (3, 20):
        plus = [
            (-1) ** m * sph_harm_y(l, m, theta, phi) * np.sqrt(2 if m else 1) for m in range(l + 1)
        ]
        expected += [y.imag for y in plus[:0:-1]] + [y.real for y in plus]
    got = moments(np.array([0]), np.array([7]), vector, [3, 20], weight)[0]
    np.testing.assert_allclose(got, np.array(expected) @ weight / weight.sum(), atol=1e-13)


def test_rotation_reflection_and_scale_change_nothing(rng):
    degrees = [2, 3, 4, 5, 6, 8, 10, 12]
    vectors, weight = rng.normal(size=(13, 3)), rng.uniform(0.5, 2.0, 13)
    before = of_shell(vectors, degrees, weight)
    for turn in Rotation.random(20, random_state=5):
        np.testing.assert_allclose(
            of_shell(turn.apply(vectors), degrees, weight), before, atol=1e-12
        )
    np.testing.assert_allclose(of_shell(vectors * [1, 1, -1], degrees, weight), before, atol=1e-12)
    np.testing.assert_allclose(of_shell(vectors * 3.7, degrees, weight * 5), before, atol=1e-12)


def test_wigner_3j_is_that_of_sympy():
    physics = pytest.importorskip("sympy.physics.wigner")
    for l in range(2, 7):
        span = range(-l, l + 1)
        for a, b in itertools.product(span, span):
            c = -a - b
            expected = float(physics.wigner_3j(l, l, l, a, b, c)) if abs(c) <= l else 0.0
            assert abs(bondorder.wigner_3j(l, a, b, c) - expected) < 1e-15, (l, a, b, c)
        assert bondorder.wigner_3j(l, 1, 1, 0) == 0.0


def test_degree_zero_is_one_and_odd_degrees_have_no_w(rng):
    degrees = [0, 1, 3, 5, 7]
    got = of_shell(rng.normal(size=(9, 3)), degrees)
    assert got[0] == pytest.approx(1.0, abs=1e-15)
    assert got[5] == pytest.approx(1.0, abs=1e-15)
    assert (got[1:5] > 0).all()
    assert got[6:].tolist() == [0.0] * 4
    assert bondorder.wigner_table(5) == ()


def test_degrees_in_any_order(rng):
    vectors = rng.normal(size=(9, 3))
    q4, q6, w4, w6 = of_shell(vectors, [4, 6])
    assert of_shell(vectors, [6, 4]).tolist() == [q6, q4, w6, w4]


def test_bits_do_not_depend_on_who_is_asked_for_or_how(glass, rng):
    position, cell, _ = glass
    offset, row, vector, _ = neighbor_list(position, cell, 4.0)
    degrees, n = [4, 6, 10], len(position)
    first, last, weight = offset[:-1].copy(), offset[1:].copy(), rng.uniform(0.1, 3.0, len(row))
    values = moments(first, last, vector, degrees, weight)
    average = coarse(first, last, row, values)
    order = invariants(average, degrees)
    for size in (1, 7, bondorder.BLOCK, bondorder.BLOCK + 1, n):
        chosen = rng.permutation(n)[: min(n, 40 * size)]
        for start in range(0, len(chosen), size):
            some = chosen[start : start + size]
            part = moments(first[some], last[some], vector, degrees, weight)
            assert (bits(part) == bits(values[some])).all()
            around = coarse(first[some], last[some], row, values, own=some)
            assert (bits(around) == bits(average[some])).all()
            assert (bits(invariants(around, degrees)) == bits(order[some])).all()
    offset2, _, vector2, _ = neighbor_list(position, cell, 4.0, centers=chosen[:50])
    weight2 = np.concatenate([weight[first[i] : last[i]] for i in chosen[:50]])
    again = moments(offset2[:-1], offset2[1:], vector2, degrees, weight2)
    assert (bits(again) == bits(values[chosen[:50]])).all()
    # nor on which other degrees are asked for
    alone = moments(first, last, vector, [6], weight)
    assert (bits(alone) == bits(values[:, 9:22])).all()


def test_nothing_to_do():
    nothing, none = np.zeros(0, np.int64), np.zeros((0, 3))
    assert moments(nothing, nothing, none, [4, 6]).shape == (0, 22)
    assert coarse(nothing, nothing, nothing, np.zeros((0, 22))).shape == (0, 22)
    assert invariants(np.zeros((0, 22)), [4, 6]).shape == (0, 4)
    assert moments(np.array([0]), np.array([1]), np.ones((1, 3)), []).shape == (1, 0)
    assert invariants(np.zeros((1, 0)), []).shape == (1, 0)
    assert np.isnan(moments(np.array([0]), np.array([0]), none, [4])).all()


def test_rows_that_have_no_answer_are_nan_and_leave_the_others_alone(rng):
    # centres: fine, no neighbour, a neighbour at distance 0, weights that cancel, fine
    first, last = np.array([0, 3, 3, 5, 7]), np.array([3, 3, 5, 7, 12])
    vector, weight = rng.normal(size=(12, 3)), rng.uniform(0.5, 2.0, 12)
    vector[4], weight[5:7] = 0.0, (1.5, -1.5)
    values = moments(first, last, vector, [0, 4, 6], weight)
    assert np.isnan(values).all(axis=1).tolist() == [False, True, True, True, False]
    for k in (0, 4):
        alone = moments(first[k : k + 1], last[k : k + 1], vector, [0, 4, 6], weight)
        assert (bits(alone[0]) == bits(values[k])).all()
    assert np.isnan(invariants(values, [0, 4, 6])).all(axis=1).tolist() == [
        False,
        True,
        True,
        True,
        False,
    ]
    # averages: over one's own, over a NaN neighbour, over one that is not there, of a centre that is not there
    first, last, row = np.array([0, 0, 1, 2]), np.array([0, 1, 2, 3]), np.array([3, 1, 4])
    slot, own = np.array([0, -1, -1, 1, 4]), np.array([4, 0, 0, -1])
    average = coarse(first, last, row, values, slot, own)
    assert (average[0] == values[4]).all()
    assert np.isnan(average[1:]).all()
    # w_l of moments that are nothing but rounding
    q4, w4 = invariants(np.full((1, 9), 1e-17), [4])[0]
    assert q4 < 1e-15
    assert np.isnan(w4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("averaged", [False, True])
def test_same_as_freud(glass, rng, averaged, weighted):
    freud = pytest.importorskip("freud")
    position, cell, _ = glass
    n, degrees = len(position), [2, 4, 6, 8, 10]
    offset, row, vector, _ = neighbor_list(position, cell, 4.0)
    center = np.repeat(np.arange(n), np.diff(offset))
    # float32 in both: freud keeps no more of the vectors and weights
    vector, weight = vector.astype(np.float32), rng.uniform(0.5, 2.0, len(row)).astype(np.float32)
    lists = freud.locality.NeighborList.from_arrays(
        n, n, center.astype(np.uint32), row.astype(np.uint32), vector, weight
    )
    system = freud.box.Box.from_matrix(cell.T), position.astype(np.float32)
    if not weighted:
        weight = np.ones(len(row))
    values = moments(offset[:-1], offset[1:], vector.astype(float), degrees, weight.astype(float))
    if averaged:
        values = coarse(offset[:-1], offset[1:], row, values)
    q, w = np.hsplit(invariants(values, degrees), 2)
    theirs = [
        freud.order.Steinhardt(
            degrees, average=averaged, wl=third, weighted=weighted, wl_normalize=third
        )
        .compute(system, neighbors=lists)
        .particle_order
        for third in (False, True)
    ]
    # its float32 angles cost freud digits near the poles, the more the higher the degree
    assert (np.abs(q - theirs[0]) < np.where(np.array(degrees) < 10, 1e-5, 2e-5)).all()
    # the rounding of float32 moments comes into w_l divided by q_l
    assert (np.abs(w - theirs[1]) * np.minimum(q, 1.0) < 1e-5).all()
