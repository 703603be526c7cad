"""Local deformation between two configurations: gradient, strain and residual.

The neighbors j of an atom i are those in the reference configuration. The vector to the
neighbor's image is r_j there, and r_j + w_j in the current configuration:

    w_j = (u_j - u_i) + n_j (h' - h)
    u = current - reference,   n_j h = r_j - (reference_j - reference_i)

h and h' are the cells with the vectors as rows, and n_j are integers: an image moves
with its cell. The gradient is

    F = I + G,   G = W X^-1,   W = sum_j w_j r_j^T,   X = sum_j r_j r_j^T

This is Falk and Langer's Y X^-1 with Y = sum_j (r_j + w_j) r_j^T, but it loses no
digits if the deformation is small. The Green-Lagrange strain and the residual are also
computed from G:

    E = (F^T F - I) / 2 = (G + G^T + G^T G) / 2
    D2 = sum_j |r_j + w_j - F r_j|^2 = sum_j |w_j - G r_j|^2

Sources: Falk, Langer, Phys. Rev. E 57, 7192 (1998). Shear invariant: Shimizu, Ogata,
Li, Mater. Trans. 48, 2923 (2007).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float64, int64

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import array, inner, kernel

FLAT = 1e-12
"""Neighbors with det X <= FLAT (tr X)^3 are coplanar with the atom, so F is undefined.

A layer 3e-6 as thick as wide is just above the limit. Atoms of a glass have 0.028 to
1/27, the value of an isotropic neighborhood.
"""


class Deformation(NamedTuple):
    """Deformation around each center.

    All but ``neighbors`` are NaN if F is undefined.

    Attributes
    ----------
    d2
        Residual D2, the sum over neighbors (center,) in Å².
    neighbors
        Number of neighbors (center,).
    gradient
        F_xx, F_xy, F_xz, F_yx, ... (center,9), with F_ab = d current_a / d reference_b.
    shear
        Shear invariant of the strain (center,).
    volumetric
        Volumetric strain (center,).
    """

    d2: FloatArray
    neighbors: IntArray
    gradient: FloatArray
    shear: FloatArray
    volumetric: FloatArray


@inner
def _reciprocal(cell: FloatArray) -> FloatArray:
    # columns b_k such that r @ b_k is the fraction along vector k
    out = np.empty((3, 3))
    for k in range(3):
        p, q = (k + 1) % 3, (k + 2) % 3
        for a in range(3):
            b, c = (a + 1) % 3, (a + 2) % 3
            out[a, k] = cell[p, b] * cell[q, c] - cell[p, c] * cell[q, b]
    size = cell[0, 0] * out[0, 0] + cell[0, 1] * out[1, 0] + cell[0, 2] * out[2, 0]
    for a in range(3):
        for k in range(3):
            out[a, k] /= size
    return out


@kernel(
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(float64, 2),
    array(float64, 2),
    array(float64, 2),
    array(float64, 2),
    array(float64, 2),
    int64,
    array(float64, 1, out=True),
    array(int64, 1, out=True),
    array(float64, 2, out=True),
    array(float64, 1, out=True),
    array(float64, 1, out=True),
)
def _nonaffine(
    centers: IntArray,
    first: IntArray,
    last: IntArray,
    row: IntArray,
    vector: FloatArray,
    reference: FloatArray,
    current: FloatArray,
    cell: FloatArray,
    current_cell: FloatArray,
    most: int,
    d2: FloatArray,
    count: IntArray,
    gradient: FloatArray,
    shear: FloatArray,
    volumetric: FloatArray,
) -> None:
    inverse = _reciprocal(cell)
    change = current_cell - cell
    moved = np.empty((most, 3))
    for k in range(len(centers)):
        i, begin, n = centers[k], first[k], last[k] - first[k]
        ox, oy, oz = reference[i, 0], reference[i, 1], reference[i, 2]
        ux, uy, uz = current[i, 0] - ox, current[i, 1] - oy, current[i, 2] - oz
        xx, xy, xz, yy, yz, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        w00, w01, w02, w10, w11, w12, w20, w21, w22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for p in range(n):
            j = row[begin + p]
            x, y, z = vector[begin + p, 0], vector[begin + p, 1], vector[begin + p, 2]
            qx, qy, qz = reference[j, 0], reference[j, 1], reference[j, 2]
            wx, wy, wz = (
                (current[j, 0] - qx) - ux,
                (current[j, 1] - qy) - uy,
                (current[j, 2] - qz) - uz,
            )
            sx, sy, sz = x - (qx - ox), y - (qy - oy), z - (qz - oz)
            na = np.rint(sx * inverse[0, 0] + sy * inverse[1, 0] + sz * inverse[2, 0])
            nb = np.rint(sx * inverse[0, 1] + sy * inverse[1, 1] + sz * inverse[2, 1])
            nc = np.rint(sx * inverse[0, 2] + sy * inverse[1, 2] + sz * inverse[2, 2])
            wx += na * change[0, 0] + nb * change[1, 0] + nc * change[2, 0]
            wy += na * change[0, 1] + nb * change[1, 1] + nc * change[2, 1]
            wz += na * change[0, 2] + nb * change[1, 2] + nc * change[2, 2]
            moved[p, 0], moved[p, 1], moved[p, 2] = wx, wy, wz
            xx += x * x
            xy += x * y
            xz += x * z
            yy += y * y
            yz += y * z
            zz += z * z
            w00 += wx * x
            w01 += wx * y
            w02 += wx * z
            w10 += wy * x
            w11 += wy * y
            w12 += wy * z
            w20 += wz * x
            w21 += wz * y
            w22 += wz * z
        count[k] = n
        # X / tr X has a dimensionless determinant
        trace = xx + yy + zz
        s = 1.0 / trace if trace > 0.0 else 0.0
        xx, xy, xz, yy, yz, zz = s * xx, s * xy, s * xz, s * yy, s * yz, s * zz
        cxx, cxy, cxz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
        cyy, cyz, czz = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
        size = xx * cxx + xy * cxy + xz * cxz
        if n < 3 or not size > FLAT:
            d2[k], shear[k], volumetric[k] = np.nan, np.nan, np.nan
            for c in range(9):
                gradient[k, c] = np.nan
            continue
        s /= size
        gxx, gxy, gxz = (
            s * (w00 * cxx + w01 * cxy + w02 * cxz),
            s * (w00 * cxy + w01 * cyy + w02 * cyz),
            s * (w00 * cxz + w01 * cyz + w02 * czz),
        )
        gyx, gyy, gyz = (
            s * (w10 * cxx + w11 * cxy + w12 * cxz),
            s * (w10 * cxy + w11 * cyy + w12 * cyz),
            s * (w10 * cxz + w11 * cyz + w12 * czz),
        )
        gzx, gzy, gzz = (
            s * (w20 * cxx + w21 * cxy + w22 * cxz),
            s * (w20 * cxy + w21 * cyy + w22 * cyz),
            s * (w20 * cxz + w21 * cyz + w22 * czz),
        )
        total = 0.0
        for p in range(n):
            x, y, z = vector[begin + p, 0], vector[begin + p, 1], vector[begin + p, 2]
            rx = moved[p, 0] - (gxx * x + gxy * y + gxz * z)
            ry = moved[p, 1] - (gyx * x + gyy * y + gyz * z)
            rz = moved[p, 2] - (gzx * x + gzy * y + gzz * z)
            total += rx * rx + ry * ry + rz * rz
        d2[k] = total
        gradient[k, 0], gradient[k, 1], gradient[k, 2] = 1.0 + gxx, gxy, gxz
        gradient[k, 3], gradient[k, 4], gradient[k, 5] = gyx, 1.0 + gyy, gyz
        gradient[k, 6], gradient[k, 7], gradient[k, 8] = gzx, gzy, 1.0 + gzz
        exx = gxx + 0.5 * (gxx * gxx + gyx * gyx + gzx * gzx)
        eyy = gyy + 0.5 * (gxy * gxy + gyy * gyy + gzy * gzy)
        ezz = gzz + 0.5 * (gxz * gxz + gyz * gyz + gzz * gzz)
        exy = 0.5 * ((gxy + gyx) + (gxx * gxy + gyx * gyy + gzx * gzy))
        exz = 0.5 * ((gxz + gzx) + (gxx * gxz + gyx * gyz + gzx * gzz))
        eyz = 0.5 * ((gyz + gzy) + (gxy * gxz + gyy * gyz + gzy * gzz))
        normal = (eyy - ezz) ** 2 + (exx - ezz) ** 2 + (exx - eyy) ** 2
        shear[k] = np.sqrt(eyz * eyz + exz * exz + exy * exy + normal / 6.0)
        volumetric[k] = (exx + eyy + ezz) / 3.0


def nonaffine(
    centers: IntArray,
    first: IntArray,
    last: IntArray,
    row: IntArray,
    vector: FloatArray,
    reference: FloatArray,
    current: FloatArray,
    reference_cell: FloatArray,
    current_cell: FloatArray,
) -> Deformation:
    """Compute the deformation around each center between two configurations.

    Layout
    ``(center,),(center,),(center,),(pair,),(pair,3),(atom,3),(atom,3),(3,3),(3,3)->
    Deformation``. The neighbors of center k are entries ``first[k]:last[k]`` of ``row``
    and ``vector`` (Å), in the reference configuration. ``reference`` and ``current``
    are unwrapped positions in Å. Cells have their vectors as rows in Å, none zero, and
    equal along non-periodic axes. D2 comes from the residuals in a second pass. Fewer
    than 3 neighbors or coplanar neighbors give NaN. Cost: 0.3 microseconds for 20
    neighbors. Twin: ``tests/features/test_nonaffine.py::twin``.
    """
    m = len(centers)
    out = Deformation(
        np.empty(m), np.empty(m, dtype=np.int64), np.empty((m, 9)), np.empty(m), np.empty(m)
    )
    most = int((last - first).max(initial=0))
    _nonaffine(
        centers,
        first,
        last,
        row,
        vector,
        reference,
        current,
        reference_cell,
        current_cell,
        most,
        *out,
    )
    return out


@kernel(
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(float64, 1),
    array(int64, 1),
    array(float64, 2),
    array(int64, 1, out=True),
    array(int64, 1, out=True),
)
def _within(
    centers: IntArray,
    first: IntArray,
    last: IntArray,
    row: IntArray,
    distance: FloatArray,
    slot: IntArray,
    cutoff: FloatArray,
    offset: IntArray,
    pick: IntArray,
) -> None:
    at = 0
    for k in range(len(centers)):
        own = slot[centers[k]]
        for p in range(first[k], last[k]):
            # every pair is written but only those inside are counted, to avoid a branch
            pick[at] = p
            at += distance[p] <= cutoff[own, slot[row[p]]]
        offset[k + 1] = at


def within(
    centers: IntArray,
    first: IntArray,
    last: IntArray,
    row: IntArray,
    distance: FloatArray,
    slot: IntArray,
    cutoff: FloatArray,
) -> tuple[IntArray, IntArray, IntArray]:
    """Select the neighbors within the cutoff of their pair of species, in order.

    Layout ``(center,),(center,),(center,),(pair,),(pair,),(atom,),(species,species)->
    (center,),(center,),(entry,)``: ``first``, ``last`` and ``pick``. The neighbors of
    center k are entries ``pick[first[k]:last[k]]`` of ``row`` and ``distance``.
    ``slot`` (atom,) is the species index of each atom; ``cutoff`` is in Å. Cost: 2 ns
    per pair. Twin: ``tests/features/test_nonaffine.py::test_cutoffs_of_pairs``.
    """
    offset, pick = (
        np.zeros(len(centers) + 1, dtype=np.int64),
        np.empty(int((last - first).sum()) + 1, dtype=np.int64),
    )
    _within(centers, first, last, row, distance, slot, cutoff, offset, pick)
    return offset[:-1], offset[1:], pick[: offset[-1]]
