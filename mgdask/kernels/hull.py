"""Convex hull of the neighbors of an atom, as triangles.

The hull is found by polarity. With c a point inside, neighbor p corresponds to the
plane (p - c).x = 1. The planes enclose a polytope. Each vertex of it, at which three
planes meet, corresponds to a triangle of the hull. Planes of neighbors inside the hull
remove nothing.
"""

from __future__ import annotations

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import inner
from mgdask.kernels.polytope import BROKEN, FIRST_PLANE, FULL, Polytope, cut, start_cube

FLAT = 1e8
"""Points in a hull thinner than 1 / FLAT of its width count as coplanar."""


@inner
def hull(
    body: Polytope,
    x: FloatArray,
    y: FloatArray,
    z: FloatArray,
    n: int,
    owner: IntArray,
    triangle: IntArray,
) -> int:
    """Find the triangles (triangle,3) of the hull of points 0 to n - 1.

    Triangles are counter-clockwise seen from outside. Returns their number. It is 0 for
    fewer than 4 points, coplanar points, or two points at one position. It is -1 if the
    work space is too small. A facet of more than three points is cut into triangles in
    a way that depends on the order of the points.
    """
    if n < 4:
        return 0
    cx, cy, cz = 0.0, 0.0, 0.0
    for i in range(n):
        cx += x[i]
        cy += y[i]
        cz += z[i]
    cx, cy, cz = cx / n, cy / n, cz / n
    width = 0.0
    for i in range(n):
        width = max(width, (x[i] - cx) ** 2 + (y[i] - cy) ** 2 + (z[i] - cz) ** 2)
    if width == 0.0:
        return 0
    scale = 1.0 / np.sqrt(width)
    start_cube(body, FLAT)
    for i in range(n):
        normal = ((x[i] - cx) * scale, (y[i] - cy) * scale, (z[i] - cz) * scale)
        done = cut(body, normal, 1.0)
        if done == FULL:
            return -1
        if done == BROKEN:
            return 0
        if done:
            owner[body.size[1] - 1] = i
    for v in range(body.size[0]):
        for k in range(3):
            p = body.plane[v, k]
            if p < FIRST_PLANE:
                return 0
            triangle[v, k] = owner[p]
    return int(body.size[0])


@inner
def solid_angle(
    px: float,
    py: float,
    pz: float,
    qx: float,
    qy: float,
    qz: float,
    rx: float,
    ry: float,
    rz: float,
) -> float:
    """Compute the solid angle of the triangle p, q, r seen from the origin, 0 to 2 pi.

        2 atan2(|p.(q x r)|, pqr + (p.q) r + (q.r) p + (r.p) q)

    Source: Van Oosterom, Strackee, IEEE Trans. Biomed. Eng. 30, 125 (1983).
    """
    p = np.sqrt(px * px + py * py + pz * pz)
    q = np.sqrt(qx * qx + qy * qy + qz * qz)
    r = np.sqrt(rx * rx + ry * ry + rz * rz)
    triple = px * (qy * rz - qz * ry) + py * (qz * rx - qx * rz) + pz * (qx * ry - qy * rx)
    pq, qr, rp = (
        px * qx + py * qy + pz * qz,
        qx * rx + qy * ry + qz * rz,
        rx * px + ry * py + rz * pz,
    )
    return float(2.0 * np.arctan2(abs(triple), p * q * r + pq * r + qr * p + rp * q))
