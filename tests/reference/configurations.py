"""Crystals, clusters and pieces of the glass whose Voronoi cells are known or quick to work out with qhull."""

from __future__ import annotations

import itertools

import numpy as np

from mgdask.kernels.voronoi import EDGE_THRESHOLD
from tests.reference import structure as reference

NEVER = (False, False, False)
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
BCC = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
SIGNS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
GOLDEN = (1 + np.sqrt(5)) / 2
ICOSAHEDRON = np.array(
    [np.roll((0, a, b * GOLDEN), k) for a in (-1, 1) for b in (-1, 1) for k in range(3)]
)
TRICLINIC = np.array([[7.8, 0.0, 0.0], [2.6, 7.2, 0.0], [-1.5, 2.0, 8.7]])


def crystal(basis, a):
    """Cubic crystal of atoms at ``basis`` (in units of the lattice constant): positions and cell."""
    return basis * a, a * np.eye(3)


def laves():
    """C15 (MgCu2): 8 atoms with cells <0,0,12,4,0>, then 16 with <0,0,12,0,0>."""
    large = np.concatenate([FCC, FCC + 0.25])
    small = np.array([[5, 5, 5], [5, 7, 7], [7, 5, 7], [7, 7, 5]]) / 8
    return crystal(np.concatenate([large, (small[:, None] + FCC).reshape(-1, 3)]) % 1.0, 7.05)


def cluster(shell):
    """An atom at the origin and those of ``shell`` around it; only the first has a closed cell. Positions and cell."""
    return np.vstack([np.zeros(3), shell]), 100.0 * np.eye(3)


def spread(rng, cell, n, apart):
    """``n`` random atoms in a periodic cell, all images at least ``apart`` Å from each other."""
    shift = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ cell
    placed = np.zeros((0, 3))
    for point in rng.random((20000, 3)) @ cell:
        if (np.linalg.norm(placed[:, None] + shift - point, axis=2) > apart).all():
            placed = np.vstack([placed, point])
        if len(placed) == n:
            return placed
    raise AssertionError("no room")


def twin_cells(position, cell, pbc=(True, True, True)):
    """The twin's cells, with the package's meaning of an edge."""
    return [_clean(facets) for facets in reference.voronoi(position, cell, pbc, EDGE_THRESHOLD)]


def twin_cells_near(position, cell, radius=6.0, reach=15.5):
    """Atoms of an orthogonal periodic box within ``radius`` of a corner of it and, by qhull on a cluster, their cells."""
    side = np.diag(cell)
    relative = position - side * np.round(position / side)
    distance = np.linalg.norm(relative, axis=1)
    assert reach < side.min() / 2
    some = np.flatnonzero(distance < reach)
    cells = {}
    for i, facets in zip(
        some, reference.voronoi(relative[some], cell, NEVER, EDGE_THRESHOLD), strict=True
    ):
        if distance[i] < radius:
            cells[int(i)] = _clean({**facets, "neighbor": some[facets["neighbor"]]})
    return cells


def _clean(facets):
    if facets is None:
        return None
    real = facets["edges"] >= 3
    return {
        **{key: facets[key][real] for key in reference.PER_FACET},
        "cell_volume": facets["cell_volume"],
    }
