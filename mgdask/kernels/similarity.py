"""Sums over atoms of a smooth weight for every entry of a dictionary.

    kernel:  s_k = sum_i (p_i.q_k)^z
    shares:  s_k = sum_i max(p_i.q_k, 0)^z / sum_k' max(p_i.q_k', 0)^z

Every product is one chain of fused multiply-adds in the order of the columns
(``simd.tile``), and atoms are added in their order. The bits therefore depend neither
on the machine nor on how the atoms are divided into calls.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.kernels._jit import array, inner, kernel
from mgdask.kernels.simd import PRODUCT_LANES, ROWS, address, tile

PANEL = 2 * PRODUCT_LANES
"""Entries whose products with some atoms are computed together."""


@inner
def _products(rows: FloatArray, vectors: FloatArray, panel: FloatArray, out: FloatArray) -> None:
    # out (row, padded entry); panel (column, PANEL) holds some entries, transposed
    n_rows, n_columns = rows.shape
    n_entries, width = len(vectors), out.shape[1]
    for first in range(0, n_entries, PANEL):
        here = min(PANEL, n_entries - first)
        for column in range(n_columns):
            for j in range(here):
                panel[column, j] = vectors[first + j, column]
        row = 0
        while row + ROWS <= n_rows:
            tile(
                address(rows, row * n_columns),
                1,
                n_columns,
                address(panel, 0),
                PANEL,
                address(out, row * width + first),
                width,
                n_columns,
                ROWS,
                2,
            )
            row += ROWS
        while row < n_rows:
            tile(
                address(rows, row * n_columns),
                1,
                n_columns,
                address(panel, 0),
                PANEL,
                address(out, row * width + first),
                width,
                n_columns,
                1,
                2,
            )
            row += 1


@inner
def _raise_to(base: FloatArray, power: FloatArray, n: int, exponent: int) -> None:
    # power = base^exponent by squaring, whose roundings are the same everywhere
    for k in range(n):
        power[k] = 1.0
    left = exponent
    while left > 0:
        if left & 1:
            for k in range(n):
                power[k] *= base[k]
        left >>= 1
        if left > 0:
            for k in range(n):
                base[k] *= base[k]


@kernel(
    array(float64, 2),
    array(boolean, 1),
    array(int64, 1),
    array(float64, 2),
    array(int64, 1),
    boolean,
    int64,
    boolean,
    array(float64, 1, out=True),
)
def add_weights(
    rows: FloatArray,
    taken: BoolArray,
    row_group: IntArray,
    vectors: FloatArray,
    group: IntArray,
    grouped: bool,
    exponent: int,
    shares: bool,
    total: FloatArray,
) -> None:
    """Add the weights of some atoms to those of every entry.

    Layout ``(row,column),(row,),(row,),(entry,column),(entry,)->(entry,)``. Rows and
    vectors have norm 1. Rows that are not ``taken`` add nothing. If ``grouped``, an
    entry gets weight from rows of its own group only. With ``shares``, the weights of a
    row are divided by their sum. Cost: a multiply-add per row, entry and column. Twin:
    ``tests/reference/local_environment.py::weights``.
    """
    n_rows, n_columns = rows.shape
    n_entries = len(vectors)
    width = -(-n_entries // PANEL) * PANEL
    product = np.empty((n_rows, width))
    _products(rows, vectors, np.zeros((n_columns, PANEL)), product)
    power = np.empty(n_entries)
    for i in range(n_rows):
        if not taken[i]:
            continue
        base = product[i]
        largest = 0.0
        for k in range(n_entries):
            if grouped and group[k] != row_group[i]:
                base[k] = 0.0
            if shares:
                base[k] = max(base[k], 0.0)
            largest = max(largest, base[k])
        if shares:
            if largest == 0.0:
                continue
            # powers of the ratio to the largest one never become 0 all together
            for k in range(n_entries):
                base[k] /= largest
        _raise_to(base, power, n_entries, exponent)
        scale = 1.0
        if shares:
            whole = 0.0
            for k in range(n_entries):
                whole += power[k]
            scale = 1.0 / whole
        for k in range(n_entries):
            total[k] += power[k] * scale


@kernel(array(float64, 2), array(boolean, 1), array(int64, 1), array(float64, 2, out=True))
def add_rows(rows: FloatArray, taken: BoolArray, slot: IntArray, total: FloatArray) -> None:
    """Add rows that are ``taken`` to the total of their slot, in their order.

    Layout ``(row,column),(row,),(row,)->(slot,column)``. Cost: an addition per row and
    column.
    """
    for i in range(len(rows)):
        if taken[i]:
            s = slot[i]
            for c in range(rows.shape[1]):
                total[s, c] += rows[i, c]


@kernel(array(float64, 2), array(float64, 2), array(float64, 2, out=True))
def products(rows: FloatArray, vectors: FloatArray, out: FloatArray) -> None:
    """Compute the products (row,entry) of rows and vectors as ``add_weights`` does.

    With exponent 1, the sum of the weights of some rows is the product of their sum.
    """
    n_entries = len(vectors)
    width = -(-n_entries // PANEL) * PANEL
    padded = np.empty((len(rows), width))
    _products(rows, vectors, np.zeros((rows.shape[1], PANEL)), padded)
    out[...] = padded[:, :n_entries]


__all__ = ["PANEL", "add_rows", "add_weights", "products"]
