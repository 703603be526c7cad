"""Counts of pairs by distance, and the peaks and troughs of the radial distribution function made of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import float64, int64

from mgdask.kernels._jit import array, kernel
from mgdask.kernels.neighbors import GRID, CellList, scan

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]


@kernel(GRID, array(int64, 1), array(int64, 1), float64, array(int64, 3, out=True))
def _count(grid: CellList, centers: Integer, slot: Integer, width: float, counts: Integer) -> None:
    room = grid.room
    raw, index, found = (
        np.empty((4, room)),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
    )
    n_bins = counts.shape[2]
    for k in range(len(centers)):
        own = slot[centers[k]]
        n = scan(grid, centers[k], raw, index, found)
        for i in range(n):
            j = found[i]
            at = int(np.sqrt(raw[3, j]) / width)
            if at < n_bins:
                counts[own, slot[grid.row[index[j]]], at] += 1


def pair_counts(
    grid: CellList, centers: Integer, slot: Integer, n_species: int, edges: Float
) -> Integer:
    """Neighbours of each species by distance, grid,(center,),(atom,) -> (species of the centre, species of the neighbour, bin).

    ``slot`` (atom,) is the species index of each atom; ``edges`` are equally spaced
    from 0 to at most the grid's cut-off. Whole numbers, so that sums over blocks and
    frames do not depend on their order. Twin:
    ``tests/reference_structure.py::rdf_counts``.
    """
    counts = np.zeros((n_species, n_species, len(edges) - 1), dtype=np.int64)
    _count(
        grid,
        np.ascontiguousarray(centers, dtype=np.int64),
        slot,
        float(edges[1] - edges[0]),
        counts,
    )
    return counts


def smooth(values: Float, width: int = 2) -> Float:
    """Gaussian mean over neighbouring bins, ``width`` bins wide."""
    reach = np.arange(-3 * width, 3 * width + 1)
    weight = np.exp(-0.5 * (reach / width) ** 2)
    found: Float = np.convolve(
        np.pad(values, 3 * width, mode="edge"), weight / weight.sum(), mode="valid"
    )
    return found


def _vertex(values: Float, middle: Float, k: int) -> float:
    # top or bottom of the parabola through three bins
    if k == 0 or k == len(values) - 1:
        return float(middle[k])
    a, b, c = values[k - 1 : k + 2]
    bend = a - 2 * b + c
    return float(middle[k] + (0.5 * (a - c) / bend if bend else 0.0) * (middle[1] - middle[0]))


def first_peak(g: Float, edges: Float) -> float:
    """Distance of the first peak of g(r), smoothed over two bins: the first local maximum of at least half the highest one; NaN if empty."""
    smoothed, middle = smooth(g), 0.5 * (edges[1:] + edges[:-1])
    k = _peak(smoothed)
    return np.nan if k is None else _vertex(smoothed, middle, k)


def _peak(smoothed: Float) -> int | None:
    if not (smoothed > 0).any():
        return None
    tops = np.flatnonzero((smoothed[1:-1] >= smoothed[:-2]) & (smoothed[1:-1] > smoothed[2:])) + 1
    high = tops[smoothed[tops] >= 0.5 * smoothed.max()]
    return int(high[0]) if len(high) else int(smoothed.argmax())


def first_minimum(g: Float, edges: Float) -> float:
    """Distance of the first trough of g(r), smoothed over two bins: its lowest point between 1 and 1.75 distances of the first peak."""
    smoothed, middle = smooth(g), 0.5 * (edges[1:] + edges[:-1])
    k = _peak(smoothed)
    if k is None:
        return np.nan
    end = int(np.searchsorted(middle, 1.75 * middle[k]))
    after = smoothed[k:end]
    return _vertex(smoothed, middle, k + int(after.argmin())) if len(after) else float("nan")
