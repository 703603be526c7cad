"""Clusters by single linkage below a cutoff, without a distance matrix."""

from __future__ import annotations

import numpy as np
from numba import float64, int64

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import array, kernel

STRETCH = 8
"""Number of columns that are added before a sum is compared with the cutoff."""


@kernel(array(float64, 2), float64, array(int64, 1, out=True))
def connected_rows(x: FloatArray, cutoff: float, cluster: IntArray) -> None:
    """Find the clusters of rows that are connected by distances below the cutoff.

    Layout ``(row,column)->(row,)``. Clusters are numbered in the order of their first
    rows. Each row is compared only with rows that are not yet in a cluster. If no rows
    are connected, all pairs are compared; if most rows are in one cluster, few are.
    Memory: three numbers per row. Twin: ``tests/reference/linkage.py``.
    """
    n, width = x.shape
    # a sum above this is above the cutoff, whatever the rounding of the square
    most = cutoff * cutoff * (1.0 + 1e-9)
    queue = np.empty(n, dtype=np.int64)
    open_rows = np.arange(n)
    n_open, number = n, 0
    while n_open > 0:
        queue[0] = open_rows[0]
        for i in range(1, n_open):
            open_rows[i - 1] = open_rows[i]
        n_open -= 1
        head, tail = 0, 1
        while head < tail:
            i = queue[head]
            head += 1
            cluster[i] = number
            left = 0
            for at in range(n_open):
                j = open_rows[at]
                total = 0.0
                for first in range(0, width, STRETCH):
                    for c in range(first, min(first + STRETCH, width)):
                        difference = x[i, c] - x[j, c]
                        total += difference * difference
                    if total > most:
                        break
                if np.sqrt(total) < cutoff:
                    queue[tail] = j
                    tail += 1
                else:
                    open_rows[left] = j
                    left += 1
            n_open = left
        number += 1
