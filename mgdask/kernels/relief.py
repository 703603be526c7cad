"""Sums of differences between rows and their neighbors, for ReliefF."""

from __future__ import annotations

import numpy as np
from numba import float64, int64

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import array, kernel


@kernel(
    array(float64, 2),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(float64, 2),
    array(int64, 3),
    array(float64, 3),
    array(float64, 2, out=True),
)
def relief_gains(
    x: FloatArray,
    kind: IntArray,
    number: IntArray,
    points: IntArray,
    prior: FloatArray,
    neighbor: IntArray,
    distance: FloatArray,
    gain: FloatArray,
) -> None:
    """Add differences to neighbors, weighted with the prior of a pair of classes.

    Layout ``(row,column),(row,),(row,),(point,),(class,class),(point,class,k),
    (point,class,k)->(2,column)``. The first row of ``gain`` uses all neighbors of each
    class. The second uses the k nearest of any class, in order of distance and then of
    ``number``. Neighbors of -1 are left out. Sums run over points, then classes, then
    neighbors, so their bits depend on the points only. Cost: one row of x per
    neighbor. Twin: ``naive`` in ``tests/learn/test_selection.py``.
    """
    n_columns = x.shape[1]
    n_classes, k = neighbor.shape[1], neighbor.shape[2]
    total = np.empty(n_columns)
    head = np.empty(n_classes, dtype=np.int64)
    for p in range(len(points)):
        i = points[p]
        own = kind[i]
        for c in range(n_classes):
            total[:] = 0.0
            for m in range(k):
                j = neighbor[p, c, m]
                if j < 0:
                    break
                for column in range(n_columns):
                    total[column] += abs(x[i, column] - x[j, column])
            for column in range(n_columns):
                gain[0, column] += prior[own, c] * total[column]
            head[c] = 0
        # merge the sorted neighbors of all classes
        for _ in range(k):
            best = -1
            for c in range(n_classes):
                if head[c] == k or neighbor[p, c, head[c]] < 0:
                    continue
                if best >= 0:
                    d, least = distance[p, c, head[c]], distance[p, best, head[best]]
                    if d > least:
                        continue
                    j, other = neighbor[p, c, head[c]], neighbor[p, best, head[best]]
                    if d == least and number[j] > number[other]:
                        continue
                best = c
            if best < 0:
                break
            j = neighbor[p, best, head[best]]
            head[best] += 1
            for column in range(n_columns):
                gain[1, column] += prior[own, best] * abs(x[i, column] - x[j, column])
