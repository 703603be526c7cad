"""Distances between touching atoms, from a sample of one frame.

The sample is a few parts of the cell, so the cost does not grow with the frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray, IntArray
from mgdask.geometry import face_heights, fractional, volume

MAX_CENTERS = 4000
"""Approximate maximum number of atoms whose neighbors are searched."""
N_PARTS = 4
"""Number of parts of the cell, if not all atoms are searched."""
MIN_DISTANCES = 100
"""Minimum number of distances for which a first peak is determined."""
MAX_PAIRS = 2_000_000
"""Approximate maximum number of distances; above it, fewer atoms are searched."""
MAX_IMAGES = 3
"""Maximum number of periodic images in each direction; bounds the search distance."""
REACH = 1.9
"""Search distance, in units of the edge of a cube with the volume per atom."""
MIN_REACH = 0.1
"""Search distance, in the same unit, below which nothing is searched."""
N_BINS, SMOOTHING = 190, 3.0
"""Bins of g(r), and standard deviation of the smoothing in bins."""
MIN_HEIGHT = 1.5
"""Minimum height of a first peak over the mean; it is about 1 for random positions."""


class Contacts(NamedTuple):
    """Distances of one pair of species; ``peak`` is NaN if there are too few.

    ``peak`` is the position of the first peak of g(r) and ``shortest`` the shortest
    distance, both in the unit of the positions.
    """

    peak: float
    shortest: float


def contacts(
    position: FloatArray,
    cell: FloatArray,
    origin: FloatArray,
    pbc: Sequence[bool],
    species: npt.NDArray[Any],
    longest: float = np.inf,
) -> dict[tuple[int, int], Contacts]:
    """Return the distances at which atoms touch, by pair of species.

    Parameters
    ----------
    position, cell, origin
        Positions (atom,3), cell vectors (3,3) and lower corner (3,), in one unit.
    pbc
        Whether the cell repeats along each vector.
    species
        Species (atom,), as any integers.
    longest
        Upper limit of the search distance.

    Returns
    -------
    contacts
        By (species, species) in ascending order. Pairs that do not occur within the
        search distance are left out.
    """
    kinds, kind = np.unique(species, return_inverse=True)
    n_atoms = len(position)
    edge = (volume(cell) / n_atoms) ** (1 / 3)
    reach = min(REACH * edge, longest, MAX_IMAGES * float(face_heights(cell).min()))
    fraction = fractional(position, cell, origin)
    fraction -= np.where(np.asarray(pbc, dtype=bool), np.floor(fraction), 0.0)
    if reach < MIN_REACH * edge:  # a nearly flat cell, in which images touch
        return {}
    pairs, distance = _sampled_pairs(fraction, cell, pbc, kind, reach)
    code = pairs.min(axis=0) * len(kinds) + pairs.max(axis=0)
    found = {}
    for a, b in itertools.combinations_with_replacement(range(len(kinds)), 2):
        own = distance[code == a * len(kinds) + b]
        if own.size:
            peak = _first_peak(own, reach) if own.size >= MIN_DISTANCES else np.nan
            found[int(kinds[a]), int(kinds[b])] = Contacts(peak, float(own.min()))
    return found


def _sampled_pairs(
    fraction: FloatArray, cell: FloatArray, pbc: Sequence[bool], kind: IntArray, reach: float
) -> tuple[IntArray, FloatArray]:
    """Return species (2,pair) and distances (pair,) of neighbors of sampled atoms."""
    n_atoms = len(fraction)
    if n_atoms <= MAX_CENTERS:
        centers, width = np.full((1, 3), 0.5), 1.0
    else:
        # around atoms spread over the file, not points, which could lie in a void
        rows = np.linspace(0, n_atoms - 1, N_PARTS + 2).astype(np.int64)[1:-1]
        centers, width = fraction[rows], (MAX_CENTERS / N_PARTS / n_atoms) ** (1 / 3)
    pairs: list[Any] = []
    distances: list[FloatArray] = []
    for center in centers:
        found, distance = _pairs_in_part(fraction, cell, pbc, center, width, reach)
        pairs.append(kind[found])
        distances.append(distance)
    return np.concatenate(pairs, axis=1), np.concatenate(distances)


def _pairs_in_part(
    fraction: FloatArray,
    cell: FloatArray,
    pbc: Sequence[bool],
    center: FloatArray,
    width: float,
    reach: float,
) -> tuple[IntArray, FloatArray]:
    """Return atoms (2,pair) and distances of all neighbors of the atoms in a part.

    The part is a cell of relative ``width``. Its neighbors may be periodic images.
    """
    margin = reach / face_heights(cell)
    low, high = center - width / 2, center + width / 2
    if width == 1.0:  # along an open direction, atoms may lie outside the cell
        is_open = ~np.asarray(pbc, dtype=bool)
        low, high = np.where(is_open, -np.inf, low), np.where(is_open, np.inf, high)
    row, place = np.arange(len(fraction)), fraction
    for axis in range(3):
        first, last = low[axis] - margin[axis], high[axis] + margin[axis]
        images = range(int(np.floor(first - 1)), int(np.ceil(last)) + 1) if pbc[axis] else (0,)
        rows, places = [], []
        for image in images:
            moved = place[:, axis] + image
            kept = np.flatnonzero((moved >= first) & (moved < last))
            rows.append(row[kept])
            places.append(place[kept])
            places[-1][:, axis] = moved[kept]
        row, place = np.concatenate(rows), np.concatenate(places)
    inner = np.flatnonzero(((place >= low) & (place < high)).all(axis=1))
    if inner.size == 0:
        return np.empty((2, 0), dtype=np.int64), np.empty(0)
    first_row, second_row, distance = _neighbors(place @ cell, inner, reach)
    pairs = np.stack([row[first_row], row[second_row]])
    other = pairs[0] != pairs[1]  # in a flat cell, an atom is near its own image
    return pairs[:, other], distance[other]


def _neighbors(
    points: FloatArray, centers: IntArray, reach: float
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return center, neighbor and distance of all pairs below ``reach``.

    Points are sorted into cubes of this edge. SciPy's tree takes longer to import than
    this takes to run.
    """
    cube = np.floor((points - points.min(axis=0)) / reach).astype(np.int64) + 1
    size = cube.max(axis=0) + 2
    strides = np.array([size[1] * size[2], size[2], 1])
    code = cube @ strides
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    # atoms may all be in a few cubes, such as those of a cluster in a vacuum
    near_center = np.searchsorted(ordered, code[centers], side="right")
    near_center -= np.searchsorted(ordered, code[centers], side="left")
    centers = centers[:: 1 + int(27 * near_center.sum()) // MAX_PAIRS]
    found: list[tuple[IntArray, IntArray, FloatArray]] = []
    for x, y in itertools.product((-1, 0, 1), repeat=2):
        # three cubes along z are next to each other in the order
        middle = code[centers] + x * strides[0] + y * strides[1]
        first = np.searchsorted(ordered, middle - 1, side="left")
        count = np.searchsorted(ordered, middle + 1, side="right") - first
        begin = np.cumsum(count) - count
        i = np.repeat(centers, count)
        j = order[np.arange(len(i)) + np.repeat(first - begin, count)]
        distance = np.sqrt(((points[i] - points[j]) ** 2).sum(axis=1))
        near = (distance < reach) & (i != j)
        found.append((i[near], j[near], distance[near]))
    a, b, distances = (np.concatenate(part) for part in zip(*found, strict=True))
    return a, b, distances


def _first_peak(distance: FloatArray, reach: float) -> float:
    """Return the highest maximum of g(r) below ``reach``; NaN without a clear one."""
    count, edges = np.histogram(distance, bins=N_BINS, range=(0.0, reach))
    middle = (edges[1:] + edges[:-1]) / 2
    half = int(3 * SMOOTHING)
    weight = np.exp(-0.5 * (np.arange(-half, half + 1) / SMOOTHING) ** 2)
    weight /= weight.sum()
    smooth = np.convolve(count, weight, "same")
    # a few distances at small r, where r² is small, are no peak
    smooth[smooth < 0.002 * len(distance)] = 0.0
    g = smooth / middle**2 * ((middle**2).sum() / len(distance))
    g = g[: N_BINS - half]
    return float(middle[np.argmax(g)]) if g.max() > MIN_HEIGHT else float("nan")
