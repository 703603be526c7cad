"""A convex polytope that is cut by one plane after the other.

It yields Voronoi cells and, by polarity, convex hulls. Three planes meet at every
vertex. A vertex is stored as its planes (a, b, c), counter-clockwise seen from outside.
``edge[a, b]`` is the vertex in which a is followed by b, so the vertex across the edge
of planes a and b is ``edge[b, a]``. A cut tests all vertices in whole registers,
removes those beyond the plane, and puts a vertex on every edge that crosses the plane.
New vertices lie between two old ones. The polytope thus stays valid if planes are
nearly parallel or pass through vertices, as in crystals.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import float64, int16, int64, types

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import array, inner
from mgdask.kernels.simd import LANES, address, beyond

Short = npt.NDArray[np.int16]

TOLERANCE = 1e-11
"""Relative distance beyond a plane up to which a vertex counts as lying on it.

Such a vertex is kept. The distance is relative to the plane's offset.
"""

FIRST_PLANE = 6
"""First plane after those of the cube (0 to 5) that a polytope starts from."""

UNTOUCHED, CUT, FULL, BROKEN = 0, 1, 2, 3
"""Results of a cut: nothing removed, vertices removed, no space, broken by rounding."""


class Polytope(NamedTuple):
    """Work space of one polytope.

    Attributes
    ----------
    point
        Vertices (3,room).
    plane
        The three planes of each vertex (room,3).
    side
        n.p of each vertex in the last cut (room,).
    edge
        Vertex in which one plane is followed by another (plane,plane).
    link
        Next plane along the border of the last cut, for each plane (plane,).
    gone
        Vertices that the last cut removed (room,).
    fresh
        Vertices that the last cut added (3,room).
    border
        Planes of the edges on which these lie (room,2).
    size
        Number of vertices and of planes (2,).
    """

    point: FloatArray
    plane: Short
    side: FloatArray
    edge: Short
    link: Short
    gone: IntArray
    fresh: FloatArray
    border: Short
    size: IntArray


POLYTOPE = types.NamedTuple(
    (
        array(float64, 2, out=True),
        array(int16, 2, out=True),
        array(float64, 1, out=True),
        array(int16, 2, out=True),
        array(int16, 1, out=True),
        array(int64, 1, out=True),
        array(float64, 2, out=True),
        array(int16, 2, out=True),
        array(int64, 1, out=True),
    ),
    Polytope,
)


@inner
def new_polytope(planes: int) -> Polytope:
    """Allocate work space for ``planes`` planes and the vertices they can make."""
    room = -(-2 * planes // LANES) * LANES + LANES
    return Polytope(
        np.zeros((3, room)),
        np.zeros((room, 3), dtype=np.int16),
        np.zeros(room),
        np.zeros((planes, planes), dtype=np.int16),
        np.zeros(planes, dtype=np.int16),
        np.zeros(room, dtype=np.int64),
        np.zeros((3, room)),
        np.zeros((room, 2), dtype=np.int16),
        np.zeros(2, dtype=np.int64),
    )


@inner
def start_cube(body: Polytope, half: float) -> None:
    """Start with the cube from -half to half.

    Plane 2k is its upper face along axis k, plane 2k + 1 the lower one.
    """
    for axis in range(3):
        for v in range(8, body.size[0]):
            body.point[axis, v] = 0.0
    for v in range(8):
        x, y, z = v & 1, (v >> 1) & 1, (v >> 2) & 1
        body.point[0, v] = half if x == 0 else -half
        body.point[1, v] = half if y == 0 else -half
        body.point[2, v] = half if z == 0 else -half
        a, b, c = x, 2 + y, 4 + z
        if (x + y + z) % 2 == 1:
            b, c = c, b
        body.plane[v, 0], body.plane[v, 1], body.plane[v, 2] = a, b, c
        body.edge[a, b], body.edge[b, c], body.edge[c, a] = v, v, v
    body.size[0], body.size[1] = 8, FIRST_PLANE


@inner
def cut(body: Polytope, normal: Any, offset: float) -> int:
    """Keep the part with normal.p <= offset.

    ``offset`` must be positive, so that the origin stays inside. A polytope that cannot
    be cut is left unchanged.
    """
    n_vertices, p = body.size[0], body.size[1]
    limit = offset * (1.0 + TOLERANCE)
    room = body.point.shape[1]
    n_gone = 0
    for first in range(0, n_vertices, LANES):
        bits = beyond(
            address(body.point, first),
            address(body.point, room + first),
            address(body.point, 2 * room + first),
            normal,
            limit,
            address(body.side, first),
        )
        if bits != 0:
            for v in range(LANES):
                if (bits >> v) & 1:
                    body.gone[n_gone] = first + v
                    n_gone += 1
    if n_gone == 0:
        return UNTOUCHED
    if p >= len(body.edge):
        return FULL
    n_fresh = 0
    for i in range(n_gone):
        v = body.gone[i]
        for k in range(3):
            a, b = body.plane[v, k], body.plane[v, k + 1 if k < 2 else 0]
            u = body.edge[b, a]
            if body.side[u] > limit:
                continue
            inside = offset - body.side[u]
            t = max(inside / (inside + body.side[v] - offset), 0.0)
            for axis in range(3):
                body.fresh[axis, n_fresh] = (
                    body.point[axis, u] + (body.point[axis, v] - body.point[axis, u]) * t
                )
            body.border[n_fresh, 0], body.border[n_fresh, 1] = a, b
            body.link[a] = b
            n_fresh += 1
    # the removed part must be connected without holes: its border must be one ring
    steps, at = 0, body.border[0, 0] if n_fresh else 0
    while steps < n_fresh:
        at = body.link[at]
        steps += 1
        if at == body.border[0, 0]:
            break
    if n_fresh < 3 or steps != n_fresh or at != body.border[0, 0]:
        return BROKEN
    if n_vertices - n_gone + n_fresh > room - LANES:
        return FULL
    for i in range(n_fresh):
        v = n_vertices + i - n_gone if i >= n_gone else body.gone[i]
        a, b = body.border[i, 0], body.border[i, 1]
        for axis in range(3):
            body.point[axis, v] = body.fresh[axis, i]
        body.plane[v, 0], body.plane[v, 1], body.plane[v, 2] = a, b, p
        body.edge[a, b], body.edge[b, p], body.edge[p, a] = v, v, v
    body.size[0] = n_vertices - n_gone + n_fresh
    body.size[1] = p + 1
    # if fewer vertices are added than removed, the last ones move into the gaps, which
    # are filled from the back
    last = n_vertices - 1
    for i in range(n_gone - 1, n_fresh - 1, -1):
        hole = body.gone[i]
        if hole != last:
            a, b, c = body.plane[last, 0], body.plane[last, 1], body.plane[last, 2]
            for axis in range(3):
                body.point[axis, hole] = body.point[axis, last]
            body.plane[hole, 0], body.plane[hole, 1], body.plane[hole, 2] = a, b, c
            body.edge[a, b], body.edge[b, c], body.edge[c, a] = hole, hole, hole
        for axis in range(3):
            # the last register of a cut also tests unused entries; 0 is never beyond
            body.point[axis, last] = 0.0
        last -= 1
    return CUT


@inner
def reach_squared(body: Polytope) -> float:
    """Compute the largest squared distance of a vertex from the origin."""
    most = 0.0
    for v in range(body.size[0]):
        x, y, z = body.point[0, v], body.point[1, v], body.point[2, v]
        most = max(most, x * x + y * y + z * z)
    return most
