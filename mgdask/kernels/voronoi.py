"""Voronoi cells, cut by the planes halfway to the neighbors.

Neighbors cut in the order of their distance. Once the next one is farther away than
twice the farthest vertex, no other can cut, and the cell is final. A cell that is not
final with the neighbors within one radius is repeated with a larger radius.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import float64, int64

from mgdask._typing import FloatArray, IntArray
from mgdask.geometry import complete_cell, fractional
from mgdask.kernels._jit import array, inner, kernel
from mgdask.kernels.neighbors import GRID, CellList, make_cell_list, scan
from mgdask.kernels.polytope import (
    BROKEN,
    FIRST_PLANE,
    FULL,
    Polytope,
    cut,
    new_polytope,
    reach_squared,
    start_cube,
)

EDGE_THRESHOLD = 2e-5
"""Edges up to this length in Å are not counted.

Facets with fewer than three longer edges are left out. Rounding makes such edges if
more than four atoms are equally far from a point, as in most crystals.
"""

CLOSED, OPEN, COINCIDENT, UNCERTAIN = 0, 1, 2, 3
"""States of a cell: closed, open, coincident atoms, needs more distant neighbors."""
_TOO_LARGE = 4
_SLIVER = -2

PLANES = 64
"""Initial room for planes of a cell."""


class Cells(NamedTuple):
    """Voronoi cells of a set of centers.

    The facets of center k are entries ``offset[k]:offset[k+1]``, nearest neighbor
    first. Cells that are not CLOSED have no facets, and their volume is NaN.

    Attributes
    ----------
    offset
        First facet of each center (center+1,).
    row
        Row of the neighbor (facet,).
    vector
        Vector from the center to the neighbor's image (facet,3) in Å.
    area
        Area (facet,) in Å².
    edges
        Number of edges (facet,).
    pyramid
        Volume area x distance / 6 (facet,) in Å³.
    distance
        Distance of the neighbor (facet,) in Å.
    volume
        Volume of the cell (center,) in Å³.
    state
        CLOSED, OPEN, COINCIDENT or UNCERTAIN (center,).
    """

    offset: IntArray
    row: IntArray
    vector: FloatArray
    area: FloatArray
    edges: IntArray
    pyramid: FloatArray
    distance: FloatArray
    volume: FloatArray
    state: IntArray


PER_FACET: tuple[tuple[tuple[int, ...], type[Any]], ...] = (
    ((), np.int64),
    ((3,), np.float64),
    ((), np.float64),
    ((), np.int64),
    ((), np.float64),
    ((), np.float64),
)
"""Shapes and dtypes of the per-facet arrays, in the order of ``Cells``."""


def make_cells(
    offset: IntArray, per_facet: Sequence[Any], volume: FloatArray, state: IntArray
) -> Cells:
    """Make ``Cells`` from the per-facet arrays in their order."""
    row, vector, area, edges, pyramid, distance = per_facet
    return Cells(offset, row, vector, area, edges, pyramid, distance, volume, state)


@inner
def _sort(n: int, key: FloatArray, found: IntArray) -> None:
    # insertion sort, with the strides of shell sort for the many neighbors of a cell at
    # a wide gap; equal keys are in the order of `found`
    gap = 1
    while 64 * gap < n:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            k, d = found[i], key[i]
            j = i
            while j >= gap and (key[j - gap] > d or (key[j - gap] == d and found[j - gap] > k)):
                key[j], found[j] = key[j - gap], found[j - gap]
                j -= gap
            key[j], found[j] = d, k
        gap //= 3


@inner
def _cell(
    body: Polytope,
    n: int,
    raw: FloatArray,
    found: IntArray,
    key: FloatArray,
    cutoff: float,
    owner: IntArray,
) -> int:
    start_cube(body, cutoff)
    most = np.inf
    for i in range(n):
        d2 = key[i]
        if d2 > 4.0 * most:
            return CLOSED
        if d2 == 0.0:
            return COINCIDENT
        k = found[i]
        done = cut(body, (raw[0, k], raw[1, k], raw[2, k]), 0.5 * d2)
        if done == FULL:
            return _TOO_LARGE
        if done == BROKEN:
            return UNCERTAIN
        if done:
            owner[body.size[1] - 1] = k
            most = reach_squared(body)
    return CLOSED if 4.0 * most <= cutoff * cutoff else UNCERTAIN


@inner
def _facets(body: Polytope, threshold: float, surface: FloatArray, count: IntArray) -> None:
    # twice the area vector of every plane, and the number of its edges longer than the
    # threshold
    for p in range(body.size[1]):
        surface[0, p], surface[1, p], surface[2, p], count[p] = 0.0, 0.0, 0.0, 0
    point = body.point
    for v in range(body.size[0]):
        x, y, z = point[0, v], point[1, v], point[2, v]
        for k in range(3):
            a, b = body.plane[v, k], body.plane[v, k + 1 if k < 2 else 0]
            u = body.edge[b, a]
            if u < v:
                continue
            ux, uy, uz = point[0, u], point[1, u], point[2, u]
            cx, cy, cz = y * uz - z * uy, z * ux - x * uz, x * uy - y * ux
            surface[0, a] += cx
            surface[1, a] += cy
            surface[2, a] += cz
            surface[0, b] -= cx
            surface[1, b] -= cy
            surface[2, b] -= cz
            long = (ux - x) ** 2 + (uy - y) ** 2 + (uz - z) ** 2 > threshold * threshold
            count[a] += long
            count[b] += long
    for p in range(FIRST_PLANE, body.size[1]):
        if count[p] == 2:
            count[p] = _SLIVER
    for p in range(FIRST_PLANE, body.size[1]):
        if count[p] == _SLIVER:
            _close_sliver(body, p, threshold, count)


@inner
def _long_edge(body: Polytope, v: int, k: int, threshold: float) -> bool:
    u = body.edge[body.plane[v, k + 1 if k < 2 else 0], body.plane[v, k]]
    square = 0.0
    for axis in range(3):
        square += (body.point[axis, u] - body.point[axis, v]) ** 2
    return square > threshold * threshold


@inner
def _sliver_between(body: Polytope, p: int, threshold: float, pair: Any) -> Any:
    # the two facets that share a long edge with facet p, or `pair` if there are none
    first, second = -1, -1
    for v in range(body.size[0]):
        for k in range(3):
            if body.plane[v, k] == p and _long_edge(body, v, k, threshold):
                other = body.plane[v, k + 1 if k < 2 else 0]
                if first < 0:
                    first = other
                else:
                    second = other
    return (min(first, second), max(first, second)) if second >= 0 else pair


@inner
def _close_sliver(body: Polytope, p: int, threshold: float, count: IntArray) -> None:
    # facet p is a line and is removed, so its two neighbors f and g share an edge. It
    # counts only once if they already share one, a true one or that of another sliver.
    f, g = _sliver_between(body, p, threshold, (-1, -1))
    if f < 0:
        return
    again = False
    for v in range(body.size[0]):
        for k in range(3):
            if body.plane[v, k] == f and body.plane[v, k + 1 if k < 2 else 0] == g:
                again |= _long_edge(body, v, k, threshold)
    for q in range(FIRST_PLANE, p):
        if count[q] == _SLIVER and not again:
            a, b = _sliver_between(body, q, threshold, (-1, -1))
            again |= a == f and b == g
    if again:
        count[f] -= 1
        count[g] -= 1


@kernel(
    GRID,
    array(int64, 1),
    int64,
    int64,
    float64,
    array(int64, 1, out=True),
    array(int64, 1, out=True),
    array(float64, 2, out=True),
    array(float64, 1, out=True),
    array(int64, 1, out=True),
    array(float64, 1, out=True),
    array(float64, 1, out=True),
    array(float64, 1, out=True),
    array(int64, 1, out=True),
    returns=int64,
)
def _cells(
    cell_list: CellList,
    centers: IntArray,
    first: int,
    planes: int,
    threshold: float,
    offset: IntArray,
    row: IntArray,
    vector: FloatArray,
    area: FloatArray,
    edges: IntArray,
    pyramid: FloatArray,
    distance: FloatArray,
    volume: FloatArray,
    state: IntArray,
) -> int:
    # fills from center `first` on until the arrays are full; returns the first center
    # that did not fit
    room = cell_list.room
    raw, index, found = (
        np.empty((4, room)),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
    )
    key = np.empty(room)
    body = new_polytope(planes)
    owner, count, surface = (
        np.empty(planes, dtype=np.int64),
        np.empty(planes, dtype=np.int64),
        np.empty((3, planes)),
    )
    for k in range(first, len(centers)):
        total = offset[k]
        if total + planes > len(row):
            return k
        n = scan(cell_list, centers[k], raw, index, found)
        for i in range(n):
            key[i] = raw[3, found[i]]
        _sort(n, key, found)
        state[k] = _cell(body, n, raw, found, key, cell_list.cutoff, owner)
        volume[k] = np.nan
        if state[k] == CLOSED:
            _facets(body, threshold, surface, count)
            whole = 0.0
            for p in range(FIRST_PLANE, body.size[1]):
                j = owner[p]
                dx, dy, dz, d2 = raw[0, j], raw[1, j], raw[2, j], raw[3, j]
                # the area vector is parallel to the bond
                twice = abs(surface[0, p] * dx + surface[1, p] * dy + surface[2, p] * dz)
                whole += twice
                if count[p] >= 3:
                    d = np.sqrt(d2)
                    row[total] = cell_list.row[index[j]]
                    vector[total, 0], vector[total, 1], vector[total, 2] = dx, dy, dz
                    area[total], edges[total], distance[total] = 0.5 * twice / d, count[p], d
                    pyramid[total] = twice / 12.0
                    total += 1
            volume[k] = whole / 12.0
        offset[k + 1] = total
    return len(centers)


def _run(cell_list: CellList, centers: IntArray, threshold: float, planes: int) -> Cells:
    n = len(centers)
    offset, volume, state = (
        np.zeros(n + 1, dtype=np.int64),
        np.empty(n),
        np.empty(n, dtype=np.int64),
    )

    def arrays(size: int) -> list[Any]:
        return [np.empty((size, *width), dtype) for width, dtype in PER_FACET]

    found = arrays(16 * n + 2 * planes)
    done = 0
    while True:
        row, vector, area, edges, pyramid, distance = found
        done = _cells(
            cell_list,
            centers,
            done,
            planes,
            threshold,
            offset,
            row,
            vector,
            area,
            edges,
            pyramid,
            distance,
            volume,
            state,
        )
        if done == n:
            break
        found = [
            np.concatenate(pair)
            for pair in zip(found, arrays(4 * (n - done) + 16 * planes), strict=True)
        ]
    total = int(offset[-1])
    return make_cells(offset, [item[:total] for item in found], volume, state)


def _join(parts: list[Cells], place: list[IntArray]) -> Cells:
    # cell place[k][i] of the result is cell i of part k; a later part replaces cells
    # that an earlier one left undone
    n = len(place[0])
    count, start = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    volume, state = np.empty(n), np.empty(n, dtype=np.int64)
    base = 0
    for part, where in zip(parts, place, strict=True):
        count[where], start[where] = np.diff(part.offset), base + part.offset[:-1]
        volume[where], state[where] = part.volume, part.state
        base += len(part.row)
    offset = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(count, out=offset[1:])
    pick = np.repeat(start - offset[:-1], count) + np.arange(offset[-1])
    return make_cells(
        offset,
        [np.concatenate([part[k] for part in parts])[pick] for k in range(1, 7)],
        volume,
        state,
    )


def mean_spacing(position: FloatArray, cell: FloatArray, pbc: Any) -> float:
    """Compute (V / N)^(1/3) in Å.

    Along non-periodic axes, V extends from the first atom to the last.
    """
    free = ~np.asarray(pbc, dtype=bool)
    sides = np.linalg.norm(cell, axis=1)
    share = np.ones(3)
    if len(position) and free.any():
        fraction = fractional(position, cell)
        share[free] = (fraction.max(axis=0) - fraction.min(axis=0))[free]
        # a plane or line of atoms has no volume, but still a spacing
        share = np.maximum(share, max(1e-3 * float((share * sides).max()), 1e-6) / sides)
    return float((abs(np.linalg.det(cell)) * share.prod() / max(len(position), 1)) ** (1 / 3))


FIRST_RADIUS, GROWTH, OPEN_RADIUS = 2.0, 1.5, 6.75
"""Search radii in mean spacings.

They are the first radius, its growth factor, and the largest radius along non-periodic
axes. A cell that is not final at that radius is called open: a vertex of it is farther
from its atom than half that radius.
"""


def cells_by_radius(
    cell_list_of: Any,
    spacing: float,
    periodic: bool,
    centers: IntArray,
    threshold: float = EDGE_THRESHOLD,
) -> Cells:
    """Compute Voronoi cells with cell lists from ``cell_list_of(cutoff)``."""
    chosen = np.ascontiguousarray(centers, dtype=np.int64)
    parts, place = [], []
    todo = np.arange(len(chosen))
    radius = FIRST_RADIUS * spacing
    while True:
        planes = PLANES
        cell_list = cell_list_of(radius)
        found = _run(cell_list, chosen[todo], threshold, planes)
        while (found.state == _TOO_LARGE).any():
            planes *= 4
            found = _run(cell_list, chosen[todo], threshold, planes)
        parts.append(found)
        place.append(todo)
        at_end = radius >= OPEN_RADIUS * spacing and not periodic
        if at_end:
            found.state[found.state == UNCERTAIN] = OPEN
        elif periodic and radius > 2.0 * np.sqrt((cell_list.cell**2).sum(axis=1)).sum():
            # no periodic cell reaches this far: rounding broke this one at every radius
            break
        again = found.state == UNCERTAIN
        if not again.any():
            break
        todo = todo[again]
        radius *= GROWTH
    return parts[0] if len(parts) == 1 else _join(parts, place)


def voronoi_cells(
    position: FloatArray,
    cell: FloatArray,
    *,
    centers: IntArray | None = None,
    pbc: Any = (True, True, True),
    threshold: float = EDGE_THRESHOLD,
) -> Cells:
    """Compute the Voronoi cells of atoms.

    Layout ``(atom,3),(3,3)->Cells``. Cells are exact for every box and periodicity; the
    volumes of a periodic configuration sum to that of the box. Along non-periodic axes,
    a cell that is not closed within half of ``OPEN_RADIUS`` mean spacings is OPEN and
    has no values. Two atoms at one position are COINCIDENT. A cell that rounding breaks
    at every radius stays UNCERTAIN. Edges up to ``threshold`` Å are not counted. Cost:
    4 to 8 microseconds per cell. Twin: ``tests/reference/structure.py::voronoi``.

    Sources: Voronoi, J. reine angew. Math. 134, 198 (1908). Cutting one cell at a time:
    Rycroft, Chaos 19, 041111 (2009).
    """
    full = complete_cell(cell, pbc)
    chosen = np.arange(len(position)) if centers is None else np.asarray(centers)
    if len(chosen) == 0:
        nothing = np.empty(0)
        return Cells(
            np.zeros(1, dtype=np.int64),
            nothing.astype(np.int64),
            np.empty((0, 3)),
            nothing,
            nothing.astype(np.int64),
            nothing,
            nothing,
            nothing,
            nothing.astype(np.int64),
        )
    return cells_by_radius(
        lambda radius: make_cell_list(position, full, pbc, radius),
        mean_spacing(position, full, pbc),
        bool(np.all(pbc)),
        chosen,
        threshold,
    )


def images(cells: Cells, position: FloatArray, cell: FloatArray, centers: IntArray) -> IntArray:
    """Find the cell vectors (facet,3) by which each facet's neighbor is shifted.

    r_center + vector = r_row + image @ cell
    """
    own = np.repeat(position[centers], np.diff(cells.offset), axis=0)
    return np.rint(fractional(own + cells.vector - position[cells.row], cell)).astype(np.int64)
