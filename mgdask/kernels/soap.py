"""SOAP power spectra: neighbors, expansion coefficients, products.

    c_nlm^s(i) = sum_{j of species s} h_nl(r_ij) Y_lm(r_ij)
    p_nn'l^ss'(i) = pi sqrt(8 / (2l+1)) sum_m c_nlm^s c_n'lm^s'

Columns are ordered by species s, s' >= s, then l, n, n' (n' >= n if s = s'), as in
DScribe. Radial functions are tabulated (``radial.py``). The sums over neighbors and
over m are small matrix products in registers (``simd.tile``). Degrees l are processed
one after the other, all neighbors at once. Working memory is thus about 100 kB per
thread, which stays in cache.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import array, inner, kernel
from mgdask.kernels.harmonics import next_degree, start_powers
from mgdask.kernels.neighbors import GRID, CellList, gather
from mgdask.kernels.simd import LANES, PRODUCT_LANES, ROWS, address, contract, scaled_copy, tile

_TWO, _THREE = 2 * PRODUCT_LANES, 3 * PRODUCT_LANES
STENCIL = 6


def padded(n_max: int) -> int:
    """Round the number of radial functions up to whole vector registers."""
    return -(-n_max // PRODUCT_LANES) * PRODUCT_LANES


@inner
def _weights(t: float, w: FloatArray, i: int) -> None:
    # Lagrange weights of the nodes -2..3 at t in [0, 1); at a knot they are exactly
    # (0, 0, 1, 0, 0, 0)
    a, b, c, d, e, f = t + 2.0, t + 1.0, t, t - 1.0, t - 2.0, t - 3.0
    w[i, 0] = b * c * d * e * f * (-1.0 / 120.0)
    w[i, 1] = a * c * d * e * f * (1.0 / 24.0)
    w[i, 2] = a * b * d * e * f * (-1.0 / 12.0)
    w[i, 3] = a * b * c * e * f * (1.0 / 12.0)
    w[i, 4] = a * b * c * d * f * (-1.0 / 24.0)
    w[i, 5] = a * b * c * d * e * (1.0 / 120.0)


@inner
def _expand(
    cell_list: CellList,
    row: int,
    slot: IntArray,
    n_species: int,
    table: FloatArray,
    step: float,
    degrees: FloatArray,
    keep: FloatArray,
    raw_row: IntArray,
    raw: FloatArray,
    scratch: FloatArray,
    index: IntArray,
    unit: FloatArray,
    w: FloatArray,
    knot: IntArray,
    power: FloatArray,
    legendre: FloatArray,
    harmonic: FloatArray,
    radial: FloatArray,
    c: FloatArray,
) -> None:
    n_degrees, n_knots, width = table.shape
    n = gather(cell_list, row, scratch, index, raw_row, raw)
    # the atom itself, at r = 0, for its own species
    raw_row[n] = row
    raw[0, n], raw[1, n], raw[2, n], raw[3, n] = 0.0, 0.0, 0.0, 0.0
    n += 1
    room = unit.shape[1]
    filled = 0
    for s in range(n_species):
        first = filled
        for k in range(n):
            if slot[raw_row[k]] == s:
                r = np.sqrt(raw[3, k])
                inverse = 1.0 / r if r > 0.0 else 0.0
                unit[0, filled] = raw[0, k] * inverse
                unit[1, filled] = raw[1, k] * inverse
                unit[2, filled] = raw[2, k] * inverse if r > 0.0 else 1.0
                u = r / step
                k0 = min(int(u), n_knots - STENCIL)
                knot[filled] = k0
                _weights(u - k0, w, filled)
                filled += 1
        knot[room + s] = first
    knot[room + n_species] = filled
    # loops over neighbors run over whole registers, for which rows have room
    whole = -(-filled // LANES) * LANES
    start_powers(unit[0], unit[1], whole, n_degrees - 1, power)
    per_species = c.shape[1] * width
    for degree in range(n_degrees):
        next_degree(degree, unit[2], whole, degrees, power, legendre, harmonic)
        for m in range(2 * degree + 1):
            if keep[degree * degree + m] == 0.0:
                for i in range(filled):
                    harmonic[m, i] = 0.0
        for i in range(filled):
            at = (degree * n_knots + knot[i]) * width
            column = 0
            while column + _THREE <= width:
                tile(
                    address(w, i * STENCIL),
                    1,
                    0,
                    address(table, at + column),
                    width,
                    address(radial, i * width + column),
                    width,
                    STENCIL,
                    1,
                    3,
                )
                column += _THREE
            if column + _TWO <= width:
                tile(
                    address(w, i * STENCIL),
                    1,
                    0,
                    address(table, at + column),
                    width,
                    address(radial, i * width + column),
                    width,
                    STENCIL,
                    1,
                    2,
                )
                column += _TWO
            if column < width:
                tile(
                    address(w, i * STENCIL),
                    1,
                    0,
                    address(table, at + column),
                    width,
                    address(radial, i * width + column),
                    width,
                    STENCIL,
                    1,
                    1,
                )
        for s in range(n_species):
            first, last = knot[room + s], knot[room + s + 1]
            contract(
                harmonic,
                first,
                1,
                room,
                2 * degree + 1,
                radial,
                first * width,
                c,
                s * per_species + degree * degree * width,
                width,
                last - first,
            )


@inner
def _spectrum(
    c: FloatArray, n_species: int, n_max: int, n_degrees: int, square: FloatArray, out: FloatArray
) -> None:
    width = c.shape[2]
    per_species = c.shape[1] * width
    column = 0
    for s in range(n_species):
        for s2 in range(s, n_species):
            for degree in range(n_degrees):
                at = degree * degree * width
                contract(
                    c,
                    s * per_species + at,
                    width,
                    1,
                    n_max,
                    c,
                    s2 * per_species + at,
                    square,
                    0,
                    width,
                    2 * degree + 1,
                )
                scale = np.pi * np.sqrt(8.0 / (2.0 * degree + 1.0))
                for i in range(n_max):
                    first = i if s == s2 else 0
                    j = first
                    # whole registers are written; the excess is overwritten by the
                    # next row
                    while j < n_max and column + j - first + LANES <= len(out):
                        scaled_copy(
                            address(square, i * width + j),
                            address(out, column + j - first),
                            scale,
                            1,
                        )
                        j += LANES
                    while j < n_max:
                        out[column + j - first] = scale * square[i, j]
                        j += 1
                    column += n_max - first


@kernel(
    GRID,
    array(int64, 1),
    array(int64, 1),
    int64,
    int64,
    array(float64, 3),
    float64,
    array(float64, 3),
    array(float64, 1),
    int64,
    array(float64, 2, out=True),
)
def soap(
    cell_list: CellList,
    centers: IntArray,
    slot: IntArray,
    n_species: int,
    n_max: int,
    table: FloatArray,
    step: float,
    degrees: FloatArray,
    keep: FloatArray,
    average: int,
    out: FloatArray,
) -> None:
    """Compute the power spectra of ``centers``.

    Layout ``cell_list,(center,),(atom,)->(center,feature)``, or ``(1,feature)`` if
    averaged. ``slot`` is the species index of every atom; ``table`` (l,knot,padded n)
    has knots ``step`` Å apart; ``degrees`` comes from ``harmonics.coefficients``;
    ``keep`` (lm,) is 1 or 0. ``average`` 0 writes one row per center, 1 adds up the
    spectra in ``out[0]``, 2 adds up the coefficients in ``out`` (1, species*lm*padded
    n). Sums run in the order of the centers. Cost: 15 to 30 microseconds per center at
    n_max = 11 and l_max = 12. Twin: ``tests/reference/soap.py::soap``.
    """
    n_degrees, _, width = table.shape
    n_lm = n_degrees * n_degrees
    room = cell_list.room
    stride = -(-room // LANES) * LANES
    raw_row, raw = np.empty(room, dtype=np.int64), np.empty((4, room))
    index, scratch = np.empty(room, dtype=np.int64), np.empty((4, room))
    unit, w = np.zeros((3, stride)), np.empty((stride, STENCIL))
    knot = np.empty(stride + n_species + 1, dtype=np.int64)
    power, legendre = np.empty((n_degrees, 2, stride)), np.zeros((3, n_degrees, stride))
    harmonic = np.zeros((2 * n_degrees - 1 + ROWS, stride))
    radial, square = np.empty((stride, width)), np.zeros((width + ROWS, width))
    c = np.zeros((n_species, n_lm + ROWS, width))
    line = np.empty(out.shape[1])
    for k in range(len(centers)):
        _expand(
            cell_list,
            centers[k],
            slot,
            n_species,
            table,
            step,
            degrees,
            keep,
            raw_row,
            raw,
            scratch,
            index,
            unit,
            w,
            knot,
            power,
            legendre,
            harmonic,
            radial,
            c,
        )
        if average == 0:
            _spectrum(c, n_species, n_max, n_degrees, square, out[k])
        elif average == 1:
            _spectrum(c, n_species, n_max, n_degrees, square, line)
            for i in range(len(line)):
                out[0, i] += line[i]
        else:
            i = 0
            for s in range(n_species):
                for lm in range(n_lm):
                    for j in range(width):
                        out[0, i] += c[s, lm, j]
                        i += 1


@kernel(array(float64, 3), int64, int64, array(float64, 1, out=True))
def spectrum(c: FloatArray, n_max: int, n_degrees: int, out: FloatArray) -> None:
    """Compute the power spectrum of coefficients (species,lm+spare,padded n)."""
    width = c.shape[2]
    _spectrum(c, c.shape[0], n_max, n_degrees, np.zeros((width + ROWS, width)), out)


def table_rows(values: FloatArray) -> FloatArray:
    """Pad the last axis of a table (l,knot,n) with zeros to whole registers."""
    n_degrees, n_knots, n_max = values.shape
    table = np.zeros((n_degrees, n_knots, padded(n_max)))
    table[:, :, :n_max] = values
    return table


__all__ = ["ROWS", "padded", "soap", "spectrum", "table_rows"]
