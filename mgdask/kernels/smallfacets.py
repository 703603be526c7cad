"""Voronoi cells without the small facets that thermal motion makes and removes."""

from __future__ import annotations

import numpy as np
from numba import float64, int64

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import array, kernel
from mgdask.kernels.voronoi import Cells, make_cells

RULES = {"static": 1, "amlearn": 2, "none": 0}
"""Rules of ``select``.

"static" drops facets below a fraction of the cell's mean facet area. "amlearn" visits
facets by the rows of their neighbors and raises the threshold with each facet dropped,
as amlearn does. "none" keeps all facets.
"""


@kernel(
    array(int64, 1),
    array(int64, 1),
    array(float64, 1),
    int64,
    float64,
    array(int64, 1, out=True),
    array(int64, 1, out=True),
    returns=int64,
)
def _choose(
    offset: IntArray,
    row: IntArray,
    area: FloatArray,
    rule: int,
    fraction: float,
    fresh: IntArray,
    kept: IntArray,
) -> int:
    n = 0
    order = np.empty(len(row), dtype=np.int64)
    keep = np.empty(len(row), dtype=np.int64)
    for k in range(len(offset) - 1):
        first, last = offset[k], offset[k + 1]
        total = 0.0
        for i in range(first, last):
            total += area[i]
        m = last - first
        if rule == 1:
            for i in range(first, last):
                keep[i] = area[i] >= fraction * total / m
        else:
            for i in range(first, last):
                j = i
                while j > first and row[order[j - 1]] > row[i]:
                    order[j] = order[j - 1]
                    j -= 1
                order[j] = i
            for i in range(first, last):
                facet = order[i]
                keep[facet] = area[facet] >= fraction * total / m
                m -= 1 - keep[facet]
        for i in range(first, last):
            kept[n] = i
            n += keep[i]
        fresh[k + 1] = n
    return n


def select(cells: Cells, rule: int, fraction: float = 0.05) -> Cells:
    """Drop the small facets of Voronoi cells by one of ``RULES``.

    Areas, edges and volumes of the other facets do not change.
    Twin: ``tests/reference/structure.py::drop_small``.
    """
    if rule == 0 or not len(cells.row):
        return cells
    offset, kept = np.zeros_like(cells.offset), np.empty(len(cells.row) + 1, dtype=np.int64)
    n = _choose(
        cells.offset,
        np.ascontiguousarray(cells.row),
        np.ascontiguousarray(cells.area),
        rule,
        fraction,
        offset,
        kept,
    )
    return make_cells(offset, [item[kept[:n]] for item in cells[1:7]], cells.volume, cells.state)
