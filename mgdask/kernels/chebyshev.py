"""Spherical Chebyshev descriptor: power spectrum of the weighted neighbor density.

    c_nlm = sum_j w_j R_n(r_j) Y_lm(r_j / |r_j|)                           (r_j < r_c)
    R_n(r) = T_n(1 - 2 r / r_c) (1 - (r / r_c)^2)^4
    P_nl = 4 pi / (2l+1) sum_m |c_nlm|^2
         = sum_jk w_j w_k R_n(r_j) R_n(r_k) P_l(cos theta_jk)

T_n is the Chebyshev polynomial of the first kind, P_l that of Legendre. The central
atom is not among its neighbors. Each channel has its own weights w. The ductility
predictor for metallic glasses uses (-1)^(t-1) t, with t = 1, 2, ... the type of the
neighbor, and 1.

Sources: Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013), power spectrum;
Artrith, Urban, Ceder, Phys. Rev. B 96, 014112 (2017), Chebyshev polynomials with a
channel of species weights.

The harmonics are vectorized over the neighbors (``harmonics.py``). The sums over
neighbors are one small matrix product per center (``simd.tile``). Every number is one
chain of multiply-adds in the order of the neighbors, for any width of the registers.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import array, inner, kernel
from mgdask.kernels.harmonics import coefficients, next_degree, start_powers
from mgdask.kernels.simd import LANES, ROWS, contract


@inner
def _whole(n: int) -> int:
    # n rounded up to whole vector registers
    return -(-n // LANES) * LANES


@inner
def _near(
    first: int,
    last: int,
    vector: FloatArray,
    distance: FloatArray,
    cutoff: float,
    unit: FloatArray,
    r: FloatArray,
    pair: IntArray,
) -> int:
    # directions, distances and pairs of the neighbors within the cutoff; returns their
    # number, or -1 if one has no direction
    n = 0
    coincident = False
    # every pair is written but only those inside are counted, which avoids a branch
    for p in range(first, last):
        d = distance[p]
        inverse = 1.0 / d
        unit[0, n], unit[1, n], unit[2, n] = (
            vector[p, 0] * inverse,
            vector[p, 1] * inverse,
            vector[p, 2] * inverse,
        )
        r[n], pair[n] = d, p
        coincident |= d == 0.0
        n += d < cutoff
    return -1 if coincident else n


@inner
def _radial(
    r: FloatArray, n: int, n_max: int, cutoff: float, value: FloatArray, slope: FloatArray
) -> None:
    # R_n and dR_n/dr of n distances (n_max+1, n), by the recurrence T_k+1 = 2 x T_k -
    # T_k-1 and its derivative
    for i in range(n):
        value[0, i], slope[0, i] = 1.0, 0.0
    if n_max > 0:
        for i in range(n):
            value[1, i], slope[1, i] = 1.0 - 2.0 * (r[i] / cutoff), 1.0
    for k in range(2, n_max + 1):
        for i in range(n):
            x = 1.0 - 2.0 * (r[i] / cutoff)
            value[k, i] = 2.0 * x * value[k - 1, i] - value[k - 2, i]
            slope[k, i] = 2.0 * (value[k - 1, i] + x * slope[k - 1, i]) - slope[k - 2, i]
    for k in range(n_max + 1):
        for i in range(n):
            s = r[i] / cutoff
            base = 1.0 - s * s
            cube = base * base * base
            slope[k, i] = (-2.0 * slope[k, i] * base - 8.0 * s * value[k, i]) * cube / cutoff
            value[k, i] *= cube * base


@inner
def _coefficients(
    n: int,
    row: IntArray,
    pair: IntArray,
    weight: FloatArray,
    value: FloatArray,
    harmonic: FloatArray,
    stride: int,
    n_lm: int,
    weighted: FloatArray,
    c: FloatArray,
) -> None:
    # c[lm, channel * (n_max+1) + n]; the padding columns of `weighted` stay zero
    n_channels, n_radial, width = len(weight), len(value), weighted.shape[1]
    for i in range(n):
        atom = row[pair[i]]
        for channel in range(n_channels):
            w = weight[channel, atom]
            for k in range(n_radial):
                weighted[i, channel * n_radial + k] = w * value[k, i]
    contract(harmonic, 0, 1, stride, n_lm, weighted, 0, c, 0, width, n)


@inner
def _gradients(
    x: FloatArray,
    y: FloatArray,
    z: FloatArray,
    n: int,
    l_max: int,
    table: FloatArray,
    power: FloatArray,
    legendre: FloatArray,
    slope: FloatArray,
    field: FloatArray,
) -> None:
    # Y_lm and its derivatives along x, y and z go to field (4, l^2 + l + m, n). Y_lm is
    # the polynomial Q_lm(z) Re or Im (x + iy)^m of harmonics.py, which has no poles.
    # Its slopes along the sphere are those of Y_lm; off the sphere it differs. slope
    # (3, l_max+1, n) holds dQ/dz as legendre holds Q, by the derivative of the
    # recurrence.
    start_powers(x, y, n, l_max, power)
    for degree in range(l_max + 1):
        middle = degree * degree + degree
        next_degree(
            degree,
            z,
            n,
            table,
            power,
            legendre,
            field[0, degree * degree : (degree + 1) * (degree + 1)],
        )
        now, before, earlier = degree % 3, (degree + 2) % 3, (degree + 1) % 3
        for m in range(degree + 1):
            if m == degree:
                for i in range(n):
                    slope[now, m, i] = 0.0
            elif m == degree - 1:
                a = table[0, degree, m]
                for i in range(n):
                    slope[now, m, i] = a * legendre[before, m, i]
            else:
                a, b = table[0, degree, m], table[1, degree, m]
                for i in range(n):
                    slope[now, m, i] = a * (
                        legendre[before, m, i]
                        + z[i] * slope[before, m, i]
                        - b * slope[earlier, m, i]
                    )
            if m == 0:
                for i in range(n):
                    field[1, middle, i], field[2, middle, i] = 0.0, 0.0
                    field[3, middle, i] = slope[now, 0, i]
                continue
            # power[0] is the only one without the factor sqrt(2)
            factor = float(m) if m > 1 else np.sqrt(2.0)
            for i in range(n):
                q = factor * legendre[now, m, i]
                re, im = q * power[m - 1, 0, i], q * power[m - 1, 1, i]
                field[1, middle + m, i], field[1, middle - m, i] = re, im
                field[2, middle + m, i], field[2, middle - m, i] = -im, re
                field[3, middle + m, i] = slope[now, m, i] * power[m, 0, i]
                field[3, middle - m, i] = slope[now, m, i] * power[m, 1, i]


@inner
def _most(first: IntArray, last: IntArray) -> int:
    # maximum number of pairs of a center plus one, in whole registers
    most = 0
    for i in range(len(first)):
        most = max(most, last[i] - first[i])
    return _whole(most + 1)


_table = inner(coefficients)

_ARGUMENTS = (
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(float64, 2),
    array(float64, 1),
    array(float64, 2),
    int64,
    int64,
    float64,
)


@kernel(*_ARGUMENTS, array(float64, 2, out=True))
def chebyshev(
    first: IntArray,
    last: IntArray,
    row: IntArray,
    vector: FloatArray,
    distance: FloatArray,
    weight: FloatArray,
    n_max: int,
    l_max: int,
    cutoff: float,
    out: FloatArray,
) -> None:
    """Compute P_nl of each center.

    Layout
    ``(center,),(center,),(pair,),(pair,3),(pair,),(channel,atom)->(center,feature)``.
    Columns are ordered by channel, then n = 0..n_max, then l = 0..l_max. ``vector``,
    ``distance`` and ``cutoff`` are in Å. Pairs at or beyond the cutoff do not
    contribute, and an atom without neighbors has zeros. A neighbor at distance 0 makes
    the row NaN. Cost: 6 microseconds per center in a glass (80 neighbors within 7 Å)
    for two channels, n_max = 4 and l_max = 8. Twin:
    ``tests/reference/structure.py::chebyshev``.
    """
    n_channels, n_radial, n_lm = len(weight), n_max + 1, (l_max + 1) * (l_max + 1)
    table = _table(l_max)
    stride = _most(first, last)
    unit, r, pair = np.zeros((3, stride)), np.zeros(stride), np.zeros(stride, dtype=np.int64)
    value, slope = np.zeros((n_radial, stride)), np.zeros((n_radial, stride))
    power, legendre = np.zeros((l_max + 1, 2, stride)), np.zeros((3, l_max + 1, stride))
    harmonic = np.zeros((n_lm + ROWS, stride))
    width = _whole(n_channels * n_radial)
    weighted, c = np.zeros((stride, width)), np.zeros((n_lm + ROWS, width))
    total = np.empty(width)
    for i in range(len(first)):
        n = _near(first[i], last[i], vector, distance, cutoff, unit, r, pair)
        if n < 0:
            out[i, :] = np.nan
            continue
        # loops run over whole registers; values beyond n do not enter the sums
        whole = _whole(n)
        _radial(r, whole, n_max, cutoff, value, slope)
        start_powers(unit[0], unit[1], whole, l_max, power)
        for degree in range(l_max + 1):
            next_degree(degree, unit[2], whole, table, power, legendre, harmonic[degree * degree :])
        _coefficients(n, row, pair, weight, value, harmonic, stride, n_lm, weighted, c)
        for degree in range(l_max + 1):
            for k in range(width):
                total[k] = 0.0
            for lm in range(degree * degree, (degree + 1) * (degree + 1)):
                for k in range(width):
                    total[k] += c[lm, k] * c[lm, k]
            scale = 4.0 * np.pi / (2.0 * degree + 1.0)
            for k in range(n_channels * n_radial):
                out[i, k * (l_max + 1) + degree] = scale * total[k]


@kernel(*_ARGUMENTS, array(float64, 3, out=True))
def chebyshev_gradient(
    first: IntArray,
    last: IntArray,
    row: IntArray,
    vector: FloatArray,
    distance: FloatArray,
    weight: FloatArray,
    n_max: int,
    l_max: int,
    cutoff: float,
    out: FloatArray,
) -> None:
    """Compute dP_nl/dr_j for the neighbor of each pair, in 1/Å.

        dP_nl/dr_j = 8 pi w_j / (2l+1) sum_m c_nlm
                     (R_n' Y_lm u + R_n / r (grad Y_lm - u (u . grad Y_lm))),
        u = r_j / r

    Layout as in ``chebyshev``, ``->(pair,feature,3)``. The formula is regular in all
    directions, the poles included. The derivative with respect to the center is minus
    the sum over its pairs. If an atom is a neighbor by several images, its derivative
    is the sum over them. The rows of ``out`` are the pairs of the first center, then
    those of the second, and so on. Pairs at or beyond the cutoff are zero. All pairs of
    a center with a neighbor at distance 0 are NaN. ``out`` takes 170 kB per center for
    80 neighbors and 90 columns, so call it for a few hundred centers at a time. Cost:
    45 microseconds per center at that size. Twin: complex steps in
    ``tests/kernels/test_chebyshev_kernels.py``.
    """
    n_channels, n_radial, n_degrees = len(weight), n_max + 1, l_max + 1
    n_lm = n_degrees * n_degrees
    table = _table(l_max)
    stride = _most(first, last)
    unit, r, pair = np.zeros((3, stride)), np.zeros(stride), np.zeros(stride, dtype=np.int64)
    value, slope = np.zeros((n_radial, stride)), np.zeros((n_radial, stride))
    power = np.zeros((n_degrees, 2, stride))
    legendre, steep = np.zeros((3, n_degrees, stride)), np.zeros((3, n_degrees, stride))
    field = np.zeros((4, n_lm + ROWS, stride))
    width = _whole(n_channels * n_radial)
    weighted, c = np.zeros((stride, width)), np.zeros((n_lm + ROWS, width))
    product = np.zeros((4, stride, width))
    at = 0
    for i in range(len(first)):
        n = _near(first[i], last[i], vector, distance, cutoff, unit, r, pair)
        n_pairs = last[i] - first[i]
        out[at : at + n_pairs] = np.nan if n < 0 else 0.0
        if n > 0:
            whole = _whole(n)
            _radial(r, whole, n_max, cutoff, value, slope)
            _gradients(
                unit[0], unit[1], unit[2], whole, l_max, table, power, legendre, steep, field
            )
            _coefficients(n, row, pair, weight, value, field, stride, n_lm, weighted, c)
            for degree in range(n_degrees):
                low = degree * degree
                for q in range(4):
                    # sum over m of c_nlm times Y_lm or one of its three slopes:
                    # (neighbor, channel n)
                    contract(
                        field,
                        (q * (n_lm + ROWS) + low) * stride,
                        stride,
                        1,
                        n,
                        c,
                        low * width,
                        product,
                        q * stride * width,
                        width,
                        2 * degree + 1,
                    )
                scale = 8.0 * np.pi / (2.0 * degree + 1.0)
                for j in range(n):
                    x, y, z = unit[0, j], unit[1, j], unit[2, j]
                    to = at + pair[j] - first[i]
                    for channel in range(n_channels):
                        w = scale * weight[channel, row[pair[j]]]
                        for k in range(n_radial):
                            col = channel * n_radial + k
                            a, b, d = product[1, j, col], product[2, j, col], product[3, j, col]
                            along = w * value[k, j] / r[j]
                            radial = w * slope[k, j] * product[0, j, col] - along * (
                                x * a + y * b + z * d
                            )
                            feature = col * n_degrees + degree
                            out[to, feature, 0] = radial * x + along * a
                            out[to, feature, 1] = radial * y + along * b
                            out[to, feature, 2] = radial * z + along * d
        at += n_pairs


__all__ = ["chebyshev", "chebyshev_gradient"]
