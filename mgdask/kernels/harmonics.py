"""Real spherical harmonics of many directions at once, one degree after the other.

    Y_l0  = Q_l0(z)
    Y_lm  = sqrt(2) Q_lm(z) Re (x + iy)^m    (m > 0)
    Y_l-m = sqrt(2) Q_lm(z) Im (x + iy)^m    (m > 0)

Here (x, y, z) is the unit vector. Q_lm is the associated Legendre function without
its factor (1 - z^2)^(m/2), normalized so that the Y_lm are orthonormal on the sphere.
The recurrences are stable for increasing l:

    Q_00 = 1 / sqrt(4 pi)
    Q_mm = sqrt((2m+1) / 2m) Q_m-1,m-1
    Q_lm = a_lm (z Q_l-1,m - b_lm Q_l-2,m)
    a_lm = sqrt((4 l^2 - 1) / (l^2 - m^2))
    b_lm = sqrt(((l-1)^2 - m^2) / (4 (l-1)^2 - 1))

There is no Condon-Shortley phase. Sums of products over m do not depend on it.
"""

from __future__ import annotations

import numpy as np

from mgdask._typing import FloatArray
from mgdask.kernels._jit import inner


def coefficients(l_max: int) -> FloatArray:
    """Tabulate a_lm, b_lm and Q_mm up to degree ``l_max``.

    The result has shape (3, l_max+1, l_max+1) and is indexed [which, l, m];
    [2, m, m] is Q_mm.
    """
    table = np.zeros((3, l_max + 1, l_max + 1))
    diagonal = np.sqrt(1.0 / (4.0 * np.pi))
    for m in range(l_max + 1):
        if m > 0:
            diagonal = diagonal * np.sqrt((2 * m + 1) / (2 * m))
        table[2, m, m] = diagonal
        for degree in range(m + 1, l_max + 1):
            table[0, degree, m] = np.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
            table[1, degree, m] = np.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
    return table


@inner
def start_powers(x: FloatArray, y: FloatArray, n: int, l_max: int, power: FloatArray) -> None:
    """Fill power[m, 0] and power[m, 1] with the real and imaginary part of (x + iy)^m.

    For m > 0 they are multiplied by sqrt(2). ``power`` has shape (l_max+1, 2, n).
    """
    for i in range(n):
        power[0, 0, i] = 1.0
        power[0, 1, i] = 0.0
    if l_max > 0:
        for i in range(n):
            power[1, 0, i] = x[i] * np.sqrt(2.0)
            power[1, 1, i] = y[i] * np.sqrt(2.0)
    for m in range(2, l_max + 1):
        for i in range(n):
            re, im = power[m - 1, 0, i], power[m - 1, 1, i]
            power[m, 0, i] = re * x[i] - im * y[i]
            power[m, 1, i] = re * y[i] + im * x[i]


@inner
def next_degree(
    degree: int,
    z: FloatArray,
    n: int,
    table: FloatArray,
    power: FloatArray,
    legendre: FloatArray,
    out: FloatArray,
) -> None:
    """Write all Y_lm of one degree l to out[m + l, :n], m = -l..l.

    Call it for l = 0, 1, 2, ... in turn. ``legendre`` (3, l_max+1, n) holds Q of this
    degree and of the two degrees before it.
    """
    now, before, earlier = degree % 3, (degree + 2) % 3, (degree + 1) % 3
    for m in range(degree + 1):
        if m == degree:
            value = table[2, m, m]
            for i in range(n):
                legendre[now, m, i] = value
        elif m == degree - 1:
            a = table[0, degree, m]
            for i in range(n):
                legendre[now, m, i] = a * z[i] * legendre[before, m, i]
        else:
            a = table[0, degree, m]
            b = table[1, degree, m]
            for i in range(n):
                legendre[now, m, i] = a * (
                    z[i] * legendre[before, m, i] - b * legendre[earlier, m, i]
                )
        for i in range(n):
            out[degree + m, i] = legendre[now, m, i] * power[m, 0, i]
        if m > 0:
            for i in range(n):
                out[degree - m, i] = legendre[now, m, i] * power[m, 1, i]
