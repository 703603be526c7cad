"""Bond-orientational order: moments of neighbor directions, averages and invariants.

    q_lm(i) = sum_j w_j Y_lm(r_ij) / sum_j w_j
    Q_lm(i) = (q_lm(i) + sum_j q_lm(j)) / (n_i + 1)
    q_l = sqrt(4 pi / (2l+1) sum_m |q_lm|^2)
    w_l = sum_{m1+m2+m3=0} (l l l; m1 m2 m3) q_lm1 q_lm2 q_lm3 / (sum_m |q_lm|^2)^(3/2)

Moments use the real harmonics of ``harmonics.py``, one degree after the other,
m = -l..l. BLOCK central atoms are processed together, the j-th neighbor of each at the
same time. Vector registers are then full, and no sum runs across a register. Every sum
is over the neighbors of one atom in their order, so a row does not depend on the other
central atoms.

Sources: Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983). Average: Lechner,
Dellago, J. Chem. Phys. 129, 114707 (2008). Facet-area weights: Mickel, Kapfer,
Schröder-Turk, Mecke, J. Chem. Phys. 138, 044501 (2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import factorial, sqrt
from typing import NamedTuple

import numpy as np
from numba import float64, int64

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import array, inner, kernel
from mgdask.kernels.harmonics import coefficients

BLOCK = 128
"""Central atoms processed together.

They fill whole vector registers, and their sums (60 kB for l = 4, 6, 8, 10) stay in
cache.
"""

VANISHING = 1e-30
"""If the sum of squares of the moments is below this, w_l is NaN."""

_coefficients = inner(coefficients)


def wigner_3j(degree: int, m1: int, m2: int, m3: int) -> float:
    """Compute (l l l; m1 m2 m3) from Racah's sum in exact integers.

    The result is accurate to the last bit or two of a float64.
    """
    if m1 + m2 + m3 != 0 or max(abs(m1), abs(m2), abs(m3)) > degree:
        return 0.0
    total = Fraction(0)
    for k in range(max(0, -m1, m2), degree + min(0, -m1, m2) + 1):
        bottom = (
            factorial(k)
            * factorial(degree - k)
            * factorial(degree - m1 - k)
            * factorial(degree + m2 - k)
        )
        total += Fraction((-1) ** k, bottom * factorial(m1 + k) * factorial(k - m2))
    square = Fraction(factorial(degree) ** 3, factorial(3 * degree + 1)) * total**2
    for m in (m1, m2, m3):
        square *= factorial(degree + m) * factorial(degree - m)
    sign = (-1) ** m3 * (1 if total > 0 else -1)
    return sign * sqrt(square) if square else 0.0


@lru_cache(maxsize=64)
def wigner_table(degree: int) -> tuple[tuple[int, int, int, float], ...]:
    """List the distinct terms of the triple product of real moments R_m.

    Terms are (a, b, c, factor) with 0 <= a <= b and c = a + b <= l, ordered by c:

        sum_{m1+m2+m3=0} (l l l; m1 m2 m3) q_lm1 q_lm2 q_lm3
            = sum factor Re(x_a x_b conj(x_c)),  x_m = R_m + i R_-m,  x_0 = R_0

    For m > 0 the complex moments are q_lm = (-1)^m x_m / sqrt(2) and q_l-m = (-1)^m
    conj(q_lm). ``factor`` combines these signs and roots, all permutations, and the
    mirror images m -> -m. For odd l all terms cancel and the list is empty.
    """
    found: dict[tuple[int, int], float] = {}
    if degree % 2:
        return ()
    for c in range(degree + 1):
        for a in range(c // 2 + 1):
            b = c - a
            # distinct orders of (a, b, -c) and of its mirror image
            triples = {
                order
                for x, y, z in ((a, b, -c), (-a, -b, c))
                for order in ((x, y, z), (x, z, y), (y, x, z), (y, z, x), (z, x, y), (z, y, x))
            }
            halves = (a > 0) + (b > 0) + (c > 0)
            found[a, b] = len(triples) * wigner_3j(degree, a, b, -c) * (-1) ** c * sqrt(0.5**halves)
    return tuple((a, b, a + b, factor) for (a, b), factor in found.items())


class Triples(NamedTuple):
    """Terms of ``wigner_table`` of several degrees.

    Attributes
    ----------
    m
        Indices (a, b, c) of each term (term,3).
    factor
        Factor of each term (term,).
    start
        First term of each degree (degree+1,).
    """

    m: IntArray
    factor: FloatArray
    start: IntArray


@lru_cache(maxsize=64)
def _triples(degrees: tuple[int, ...]) -> Triples:
    tables = [wigner_table(degree) for degree in degrees]
    terms = [term for table in tables for term in table]
    start = np.cumsum([0, *map(len, tables)], dtype=np.int64)
    m = np.array([term[:3] for term in terms], dtype=np.int64).reshape(-1, 3)
    factor = np.array([term[3] for term in terms], dtype=np.float64)
    for values in (m, factor, start):
        values.flags.writeable = False  # shared by all callers
    return Triples(m, factor, start)


def triples(degrees: Sequence[int] | IntArray) -> Triples:
    """Return the terms that ``invariants`` needs for ``degrees``; they are cached."""
    return _triples(tuple(int(degree) for degree in degrees))


@inner
def _by_count(first: IntArray, last: IntArray) -> IntArray:
    # centers sorted by their number of neighbors, so that a block needs little padding
    n = len(first)
    most = 0
    for k in range(n):
        most = max(most, last[k] - first[k])
    start = np.zeros(most + 2, dtype=np.int64)
    for k in range(n):
        start[max(last[k] - first[k], 0) + 1] += 1
    for c in range(1, most + 2):
        start[c] += start[c - 1]
    order = np.empty(n, dtype=np.int64)
    for k in range(n):
        c = max(last[k] - first[k], 0)
        order[start[c]] = k
        start[c] += 1
    return order


@inner
def _add(
    l_max: int,
    at: IntArray,
    recurrence: FloatArray,
    unit: FloatArray,
    power: FloatArray,
    legendre: FloatArray,
    total: FloatArray,
) -> None:
    # total[lm] += w Y_lm / N_lm of one direction per lane, by monic Legendre functions
    # that include the weight: P_mm = w, P_lm = z P_l-1,m - g_lm P_l-2,m
    for i in range(BLOCK):
        power[0, i], power[1, i] = 1.0, 0.0
    for m in range(l_max + 1):
        if m > 0:
            for i in range(BLOCK):
                re, im = power[0, i], power[1, i]
                power[0, i] = re * unit[0, i] - im * unit[1, i]
                power[1, i] = re * unit[1, i] + im * unit[0, i]
        for degree in range(m, l_max + 1):
            # the new function overwrites that of two degrees before
            now, before = degree & 1, (degree + 1) & 1
            if degree == m:
                for i in range(BLOCK):
                    legendre[now, i] = unit[3, i]
            elif degree == m + 1:
                for i in range(BLOCK):
                    legendre[now, i] = unit[2, i] * legendre[before, i]
            else:
                g = recurrence[degree, m]
                for i in range(BLOCK):
                    legendre[now, i] = unit[2, i] * legendre[before, i] - g * legendre[now, i]
            if at[degree] >= 0:
                plus, minus = at[degree] + m, at[degree] - m
                for i in range(BLOCK):
                    total[plus, i] += legendre[now, i] * power[0, i]
                if m > 0:
                    for i in range(BLOCK):
                        total[minus, i] += legendre[now, i] * power[1, i]


@kernel(
    array(int64, 1),
    array(int64, 1),
    array(float64, 2),
    array(float64, 1),
    array(int64, 1),
    array(float64, 2, out=True),
)
def moments(
    first: IntArray,
    last: IntArray,
    vector: FloatArray,
    weight: FloatArray,
    degrees: IntArray,
    out: FloatArray,
) -> None:
    """Compute the moments q_lm = sum_j w_j Y_lm(r_j) / sum_j w_j of every center.

    Layout ``(center,),(center,),(pair,3),(pair,)->(center,lm)``. Neighbors of center k
    are entries ``first[k]:last[k]``. ``weight`` is 1 for plain moments. ``degrees``
    (degree,) are distinct. Columns are m = -l..l of each degree in turn, for real
    harmonics. A row is NaN if there are no neighbors, if the weights sum to 0, or if a
    neighbor is at distance 0. Cost: 25 ns per pair for degrees 4, 6, 8, 10. Twin:
    ``tests/reference/structure.py::bond_order``. Source: Steinhardt et al. (1983),
    weights of Mickel et al. (2013).
    """
    if len(degrees) == 0 or len(first) == 0:
        return
    l_max = degrees.max()
    width = out.shape[1]
    table = _coefficients(l_max)
    at, recurrence, scale = (
        np.full(l_max + 1, -1),
        np.zeros((l_max + 1, l_max + 1)),
        np.empty(width),
    )
    column = 0
    for degree in degrees:
        at[degree] = column + degree
        column += 2 * degree + 1
    for m in range(l_max + 1):
        norm = table[2, m, m] * (np.sqrt(2.0) if m > 0 else 1.0)
        for degree in range(m, l_max + 1):
            if degree > m:
                norm *= table[0, degree, m]
            if degree > m + 1:
                recurrence[degree, m] = table[1, degree, m] / table[0, degree - 1, m]
            if at[degree] >= 0:
                scale[at[degree] + m], scale[at[degree] - m] = norm, norm
    order = _by_count(first, last)
    unit, power, legendre = np.empty((4, BLOCK)), np.empty((2, BLOCK)), np.empty((2, BLOCK))
    total, weights = np.empty((width, BLOCK)), np.empty(BLOCK)
    for block in range(0, len(order), BLOCK):
        lanes = min(BLOCK, len(order) - block)
        total[:] = 0.0
        weights[:] = 0.0
        most = last[order[block + lanes - 1]] - first[order[block + lanes - 1]]
        for i in range(BLOCK):  # empty lanes have weight 0
            unit[0, i], unit[1, i], unit[2, i], unit[3, i] = 0.0, 0.0, 1.0, 0.0
        for j in range(most):
            for i in range(lanes):
                k = order[block + i]
                p = first[k] + j
                if p < last[k]:
                    x, y, z, w = vector[p, 0], vector[p, 1], vector[p, 2], weight[p]
                    r = np.sqrt(x * x + y * y + z * z)
                    weights[i] += w if r > 0.0 else np.nan
                    inverse = 1.0 / r
                    unit[0, i], unit[1, i], unit[2, i], unit[3, i] = (
                        x * inverse,
                        y * inverse,
                        z * inverse,
                        w,
                    )
                else:
                    unit[3, i] = 0.0
            _add(l_max, at, recurrence, unit, power, legendre, total)
        for i in range(lanes):
            k = order[block + i]
            factor = 1.0 / weights[i] if weights[i] != 0.0 else np.nan
            for f in range(width):
                out[k, f] = total[f, i] * scale[f] * factor


@kernel(
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(float64, 2),
    array(float64, 2, out=True),
)
def coarse(
    first: IntArray,
    last: IntArray,
    row: IntArray,
    slot: IntArray,
    own: IntArray,
    moments_in: FloatArray,
    out: FloatArray,
) -> None:
    """Average moments over each center and its neighbors.

        (q_lm(i) + sum_j q_lm(j)) / (n_i + 1)

    Layout ``(center,),(center,),(pair,),(atom,),(center,),(place,lm)->(center,lm)``.
    ``row`` (pair,) is the atom of each neighbor. Row ``slot[atom]`` of ``moments_in``
    holds the moments of an atom, row ``own[k]`` those of center k, and -1 means none. A
    missing row or NaN moments make the result NaN. Every neighbor counts once per
    image, without weight. Cost: 10 ns per pair for degrees 4,
    6, 8, 10. Twin: ``tests/reference/structure.py::bond_order``. Source: Lechner and
    Dellago (2008).
    """
    width = out.shape[1]
    for k in range(len(first)):
        place = own[k]
        for p in range(first[k], last[k]):
            if slot[row[p]] < 0:
                place = -1
        if place < 0:
            out[k] = np.nan
            continue
        for f in range(width):
            out[k, f] = moments_in[place, f]
        for p in range(first[k], last[k]):
            place = slot[row[p]]
            for f in range(width):
                out[k, f] += moments_in[place, f]
        factor = 1.0 / (max(last[k] - first[k], 0) + 1)
        for f in range(width):
            out[k, f] *= factor


@kernel(
    array(float64, 2),
    array(int64, 1),
    array(int64, 2),
    array(float64, 1),
    array(int64, 1),
    array(float64, 2, out=True),
)
def invariants(
    moments: FloatArray,
    degrees: IntArray,
    m: IntArray,
    factor: FloatArray,
    start: IntArray,
    out: FloatArray,
) -> None:
    """Compute q_l of all degrees, then w_l of all degrees.

    Layout ``(center,lm)->(center,2*degree)``. ``m``, ``factor`` and ``start`` come from
    ``triples(degrees)``. NaN moments give NaN. If sum_m |q_lm|^2 < 1e-30, w_l is NaN;
    for odd l it is 0 by symmetry. Cost: 0.1 microseconds per center for degrees 4, 6,
    8, 10. Twin: ``tests/reference/structure.py::bond_order``. Source: Steinhardt et al.
    (1983).
    """
    if len(degrees) == 0:
        return
    l_max = degrees.max()
    re, im = np.zeros((l_max + 1, BLOCK)), np.zeros((l_max + 1, BLOCK))  # im[0] stays 0
    square, triple = np.zeros(BLOCK), np.zeros(BLOCK)
    sum_re, sum_im = np.zeros(BLOCK), np.zeros(BLOCK)
    for block in range(0, len(moments), BLOCK):
        lanes = min(BLOCK, len(moments) - block)
        column = 0
        for d in range(len(degrees)):
            degree = degrees[d]
            middle = column + degree
            column += 2 * degree + 1
            for i in range(lanes):
                k = block + i
                re[0, i] = moments[k, middle]
                for c in range(1, degree + 1):
                    re[c, i], im[c, i] = moments[k, middle + c], moments[k, middle - c]
            for i in range(BLOCK):
                square[i], triple[i] = re[0, i] * re[0, i], 0.0
            for c in range(1, degree + 1):
                for i in range(BLOCK):
                    square[i] += re[c, i] * re[c, i] + im[c, i] * im[c, i]
            t = start[d]
            while t < start[d + 1]:
                # all terms with the same c = a + b
                c = m[t, 2]
                for i in range(BLOCK):
                    sum_re[i], sum_im[i] = 0.0, 0.0
                while t < start[d + 1] and m[t, 2] == c:
                    a, b, w = m[t, 0], m[t, 1], factor[t]
                    for i in range(BLOCK):
                        sum_re[i] += w * (re[a, i] * re[b, i] - im[a, i] * im[b, i])
                        sum_im[i] += w * (re[a, i] * im[b, i] + im[a, i] * re[b, i])
                    t += 1
                for i in range(BLOCK):
                    triple[i] += sum_re[i] * re[c, i] + sum_im[i] * im[c, i]
            scale = 4.0 * np.pi / (2.0 * degree + 1.0)
            for i in range(lanes):
                k = block + i
                out[k, d] = np.sqrt(scale * square[i])
                out[k, len(degrees) + d] = (
                    triple[i] / (square[i] * np.sqrt(square[i]))
                    if square[i] >= VANISHING
                    else np.nan
                )


__all__ = ["Triples", "coarse", "invariants", "moments", "triples", "wigner_3j", "wigner_table"]
