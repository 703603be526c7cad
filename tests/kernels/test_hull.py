"""Convex hulls against qhull and bodies that are known."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from mgdask.kernels.hull import hull, solid_angle
from mgdask.kernels.polytope import new_polytope

GOLDEN = (1 + 5**0.5) / 2
CUBE = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
OCTAHEDRON = np.vstack([np.eye(3), -np.eye(3)])
ICOSAHEDRON = np.array(
    [np.roll((0, a, b * GOLDEN), k) for a in (-1, 1) for b in (-1, 1) for k in range(3)]
)
CUBOCTAHEDRON = np.array(
    [v for v in itertools.product((-1.0, 0.0, 1.0), repeat=3) if np.abs(v).sum() == 2]
)
TURN = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]


@numba.njit
def _triangles(x, y, z, planes):
    body = new_polytope(planes)
    owner, triangle = np.zeros(planes, dtype=np.int64), np.zeros((2 * planes, 3), dtype=np.int64)
    found = hull(body, x, y, z, len(x), owner, triangle)
    return found, triangle


def triangles(points, planes=64):
    """Number that ``hull`` returns, and the triangles (triangle,3)."""
    found, triangle = _triangles(
        *np.ascontiguousarray(np.asarray(points, float).reshape(-1, 3).T), planes
    )
    return found, triangle[: max(found, 0)]


def volume_and_area(points, triangle):
    a, b, c = (points[triangle[:, k]] - points.mean(axis=0) for k in range(3))
    normal = np.cross(b - a, c - a)
    return (a * normal).sum() / 6, np.linalg.norm(normal, axis=1).sum() / 2


def closed(points, triangle):
    """Every edge belongs to two triangles, once each way, and all triangles face outwards."""
    edges = [(t[k], t[(k + 1) % 3]) for t in triangle.tolist() for k in range(3)]
    assert len(set(edges)) == len(edges)
    assert {(b, a) for a, b in edges} == set(edges)
    corners = np.unique(triangle)
    assert len(corners) - len(edges) // 2 + len(triangle) == 2
    a, b, c = (points[triangle[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    height = ((points[:, None] - a) * normal).sum(axis=2)
    assert height.max() < 1e-9 * np.abs(height).max()


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(4, 30),
    scale=st.floats(1e-3, 1e3),
    far=st.floats(0, 3),
)
def test_same_body_as_qhulls(seed, n, scale, far):
    rng = np.random.default_rng(seed)
    points = scale * (rng.normal(size=(n, 3)) + far * rng.normal(size=3))
    theirs = ConvexHull(points)
    found, triangle = triangles(points)
    assert found == len(theirs.simplices)
    assert {frozenset(t) for t in triangle.tolist()} == {
        frozenset(t) for t in theirs.simplices.tolist()
    }
    assert set(triangle.ravel().tolist()) == set(theirs.vertices.tolist())
    closed(points, triangle)
    volume, area = volume_and_area(points, triangle)
    assert volume == pytest.approx(theirs.volume, rel=1e-10)
    assert area == pytest.approx(theirs.area, rel=1e-10)


@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e-7])
@pytest.mark.parametrize("turn", [np.eye(3), TURN], ids=["straight", "turned"])
@pytest.mark.parametrize(
    ("points", "number", "volume"),
    [
        (CUBE, 12, 8.0),
        (OCTAHEDRON, 8, 4 / 3),
        (ICOSAHEDRON, 20, 20 * GOLDEN**2 / 3),
        (CUBOCTAHEDRON, 20, 20 / 3),  # 8 triangles, 6 squares
        (np.vstack([CUBE, 2 * OCTAHEDRON]), 24, 16.0),  # rhombic dodecahedron
    ],
    ids=["cube", "octahedron", "icosahedron", "cuboctahedron", "rhombic"],
)
def test_symmetric_bodies(points, number, volume, turn, noise):
    points = points @ turn + noise * np.random.default_rng(1).normal(size=points.shape)
    found, triangle = triangles(points)
    assert set(triangle.ravel().tolist()) == set(range(len(points)))
    assert found == number == 2 * len(points) - 4
    closed(points, triangle)
    assert volume_and_area(points, triangle)[0] == pytest.approx(volume, rel=1e-10 + 10 * noise)


def test_points_inside_and_on_the_body_change_nothing(rng):
    inside = 0.7 * rng.uniform(-1, 1, (20, 3))
    found, triangle = triangles(np.vstack([ICOSAHEDRON, inside, np.zeros(3)]))
    assert found == 20
    assert triangle.max() < 12
    twice, _ = triangles(np.vstack([ICOSAHEDRON, ICOSAHEDRON[:3]]))
    assert twice in (0, 20)  # "two in one place": none, or the same body
    centers = np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, 1.0]])
    points = np.vstack([CUBE, centers])  # in the middle of faces
    found, triangle = triangles(points)
    assert found >= 12
    assert volume_and_area(points, triangle)[0] == pytest.approx(8.0, rel=1e-10)


@pytest.mark.parametrize("turn", [np.eye(3), TURN], ids=["straight", "turned"])
@pytest.mark.parametrize("move", [0.0, 7.3])
def test_what_has_no_volume_has_no_hull(turn, move, rng):
    plane = np.column_stack([rng.normal(size=(9, 2)), np.zeros(9)])
    line = rng.normal(size=(7, 1)) * [[1.0, 2.0, -0.5]]
    square = np.array([[1.0, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]])
    for points in (
        plane,
        line,
        square,
        np.ones((6, 3)),
        np.zeros((4, 3)),
        np.vstack([square[:3], square[:1]]),
    ):
        assert triangles(points @ turn + move)[0] == 0
    assert triangles(CUBE @ turn + move)[0] == 12


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_fewer_than_four_points(n):
    assert triangles(CUBE[:n])[0] == 0


def test_thin_but_solid():
    for height in (1e-2, 1e-4, 1e-6):
        points = np.array([[1.0, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0], [0.1, 0.2, height]])
        found, triangle = triangles(points)
        assert found == 6
        assert volume_and_area(points, triangle)[0] == pytest.approx(4 * height / 3, rel=1e-6)


def test_too_little_room_is_said(rng):
    points = rng.normal(size=(60, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    assert triangles(points, planes=32)[0] == -1
    assert triangles(points, planes=66)[0] == 2 * 60 - 4  # all points and the cube's six


def test_order_of_the_points_does_not_matter_without_ties(rng):
    points = rng.normal(size=(16, 3))
    order = rng.permutation(16)
    one = {frozenset(t) for t in triangles(points)[1].tolist()}
    other = {frozenset(order[t].tolist()) for t in triangles(points[order])[1]}
    assert one == other


# --------------------------------------------------------------------------------------------------------- solid angle
def test_octant_and_flat_and_half():
    x, y, z = np.eye(3)
    assert solid_angle(*x, *y, *z) == pytest.approx(np.pi / 2, rel=1e-15)
    assert solid_angle(*(3 * x), *(0.1 * z), *(7 * y)) == pytest.approx(np.pi / 2, rel=1e-14)
    assert solid_angle(*x, *y, *(x + y)) == pytest.approx(0.0, abs=1e-15)
    # almost a half space, which is 2 pi: three points around the equator
    around = [(np.cos(t), np.sin(t), 1e-9) for t in (0.0, 2 * np.pi / 3, 4 * np.pi / 3)]
    assert solid_angle(*around[0], *around[1], *around[2]) == pytest.approx(2 * np.pi, abs=1e-7)
    assert solid_angle(*np.array([1.0, 0, 0]), *[0.0, 1e-6, 0], *[0.0, 0, 1e-6]) == pytest.approx(
        np.pi / 2, rel=1e-12
    )


def test_regular_corner():
    # the corner of a regular tetrahedron: 3 arccos(1/3) - pi
    corner = np.array([[1.0, 1, 0], [1, 0, 1], [0, 1, 1]])
    assert solid_angle(*corner.ravel()) == pytest.approx(3 * np.arccos(1 / 3) - np.pi, rel=1e-14)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(4, 30))
def test_hull_around_a_point_is_the_whole_sphere(seed, n):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3))
    found, triangle = triangles(points)
    assert found > 0
    weight = rng.dirichlet(np.ones(n))
    inside = weight @ points
    total = sum(solid_angle(*(points[t] - inside).ravel()) for t in triangle)
    assert total == pytest.approx(4 * np.pi, rel=1e-9)
    outside = 100.0 * rng.normal(size=3)
    assert sum(solid_angle(*(points[t] - outside).ravel()) for t in triangle) < 4 * np.pi
