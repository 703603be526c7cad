"""Pair counts by distance, and the peaks and minima of g(r)."""

from __future__ import annotations

import numpy as np
from numba import float64, int64

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import array, kernel
from mgdask.kernels.neighbors import GRID, CellList, scan


@kernel(GRID, array(int64, 1), array(int64, 1), float64, array(int64, 3, out=True))
def _count(
    cell_list: CellList, centers: IntArray, slot: IntArray, width: float, counts: IntArray
) -> None:
    room = cell_list.room
    raw, index, found = (
        np.empty((4, room)),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
    )
    n_bins = counts.shape[2]
    for k in range(len(centers)):
        own = slot[centers[k]]
        n = scan(cell_list, centers[k], raw, index, found)
        for i in range(n):
            j = found[i]
            at = int(np.sqrt(raw[3, j]) / width)
            if at < n_bins:
                counts[own, slot[cell_list.row[index[j]]], at] += 1


def pair_counts(
    cell_list: CellList, centers: IntArray, slot: IntArray, n_species: int, edges: FloatArray
) -> IntArray:
    """Count the neighbors of each species by distance.

    Layout ``cell_list,(center,),(atom,)->(species,species,bin)``: the species of the
    center comes first. ``slot`` (atom,) is the species index of each atom. ``edges``
    are equally spaced from 0 to at most the cutoff of the cell list. Counts are
    integers, so sums over blocks and frames do not depend on their order. Twin:
    ``tests/reference/structure.py::rdf_counts``.
    """
    counts = np.zeros((n_species, n_species, len(edges) - 1), dtype=np.int64)
    _count(
        cell_list,
        np.ascontiguousarray(centers, dtype=np.int64),
        slot,
        float(edges[1] - edges[0]),
        counts,
    )
    return counts


def smooth(values: FloatArray, width: int = 2) -> FloatArray:
    """Smooth with a Gaussian whose standard deviation is ``width`` bins."""
    reach = np.arange(-3 * width, 3 * width + 1)
    weight = np.exp(-0.5 * (reach / width) ** 2)
    found: FloatArray = np.convolve(
        np.pad(values, 3 * width, mode="edge"), weight / weight.sum(), mode="valid"
    )
    return found


def local_maxima(values: FloatArray) -> IntArray:
    """Return the bins whose neighbors are lower, in order; the ends are left out."""
    return np.flatnonzero((values[1:-1] >= values[:-2]) & (values[1:-1] > values[2:])) + 1


def vertex(values: FloatArray, middle: FloatArray, k: int) -> float:
    """Return the extremum of the parabola through bin ``k`` and its neighbors."""
    if k == 0 or k == len(values) - 1:
        return float(middle[k])
    a, b, c = values[k - 1 : k + 2]
    bend = a - 2 * b + c
    return float(middle[k] + (0.5 * (a - c) / bend if bend else 0.0) * (middle[1] - middle[0]))


def first_peak(g: FloatArray, edges: FloatArray) -> float:
    """Find the distance of the first peak of g(r), smoothed over two bins.

    The first peak is the first local maximum of at least half the highest one. The
    result is NaN if ``g`` is zero everywhere.
    """
    smoothed, middle = smooth(g), 0.5 * (edges[1:] + edges[:-1])
    k = _peak(smoothed)
    return np.nan if k is None else vertex(smoothed, middle, k)


def _peak(smoothed: FloatArray) -> int | None:
    if not (smoothed > 0).any():
        return None
    tops = local_maxima(smoothed)
    high = tops[smoothed[tops] >= 0.5 * smoothed.max()]
    return int(high[0]) if len(high) else int(smoothed.argmax())


def first_minimum(g: FloatArray, edges: FloatArray) -> float:
    """Find the distance of the first minimum of g(r), smoothed over two bins.

    It is the lowest point between 1 and 1.75 times the distance of the first peak.
    """
    smoothed, middle = smooth(g), 0.5 * (edges[1:] + edges[:-1])
    k = _peak(smoothed)
    return np.nan if k is None else minimum_after(smoothed, middle, k)


def minimum_after(smoothed: FloatArray, middle: FloatArray, k: int) -> float:
    """Find the lowest point between 1 and 1.75 times the distance of bin ``k``."""
    after = smoothed[k : int(np.searchsorted(middle, 1.75 * middle[k]))]
    return vertex(smoothed, middle, k + int(after.argmin())) if len(after) else float("nan")
