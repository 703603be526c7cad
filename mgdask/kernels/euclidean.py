"""Exact nearest rows by Euclidean distance, searched in tiles of nearby rows.

    |p - q|² = sum_c (p_c - q_c)²

Terms are added in the order of the columns in float64. Rows are divided into tiles of
``WIDTH`` at medians of their leading principal components, so that the rows of a tile
are close to each other. Queries are divided into batches in the same way. A batch
visits tiles in order of the distance between its bounding box and theirs. It stops at
the first tile that is farther than the k-th nearest row found so far. Principal
components are a rotation, so the distance between boxes of some of them is a lower
bound of the distance between rows.

Within a tile, distances are first computed in float32 from values of at most 1. The
rounding of n columns changes |p - q| by less than sqrt(n) 2^-22, apart from a factor
close to 1. Only rows that may be among the k nearest are compared in float64. The
result is the same as from comparing all rows. If distances are equal, the lowest row is
first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import float32, float64, int64

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.kernels._jit import array, inner, kernel

WIDTH = 128
"""Rows of a tile."""
BATCH = 32
"""Maximum number of queries that share the order of tiles."""
COMPONENTS = 5
"""Number of principal components of the boxes. More of them would cost more time."""
_CHUNK = 16
_NO_ROW = 2**62
_FAR = 1e15
"""Value of rows that pad a tile; its square is far below the largest float32."""
_OUTSIDE = 1e6
"""Queries with larger values, relative to the rows, are compared in float64 only."""


@inner
def _squares(query: AnyArray, tile: AnyArray, out: AnyArray) -> None:
    # four columns at a time: one load and store of the sum instead of four
    n = len(query)
    for i in range(WIDTH):
        out[i] = np.float32(0.0)
    c = 0
    while c + 4 <= n:
        q0, q1, q2, q3 = query[c], query[c + 1], query[c + 2], query[c + 3]
        for i in range(WIDTH):
            d0, d1 = q0 - tile[c, i], q1 - tile[c + 1, i]
            d2, d3 = q2 - tile[c + 2, i], q3 - tile[c + 3, i]
            out[i] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
        c += 4
    while c < n:
        q0 = query[c]
        for i in range(WIDTH):
            d0 = q0 - tile[c, i]
            out[i] += d0 * d0
        c += 1


@inner
def _slack(query: AnyArray) -> float:
    # what the rounding of a query and a row may change in their distance
    reach = 1.0
    for c in range(len(query)):
        reach = max(reach, abs(query[c]))
    slack = np.sqrt(float(len(query))) * 2.0**-22 * reach
    return slack if reach <= _OUTSIDE else np.inf


@inner
def _limit(worst: float, scale: float, slack: float, n: int) -> float:
    # the largest float32 square that may belong to a row not beyond the worst one
    distance = np.sqrt(worst) / scale + slack
    return float(distance * distance * (1.0 + (n + 8) * 2.0**-22))


@inner
def _before(d: float, i: int, other: float, j: int) -> bool:
    return d < other or (d == other and i < j)


@inner
def _replace_last(distance: FloatArray, row: IntArray, d: float, i: int) -> None:
    # the last of the k nearest is at the top of a heap
    k, at = len(distance), 0
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        if child + 1 < k and _before(
            distance[child], row[child], distance[child + 1], row[child + 1]
        ):
            child += 1
        if not _before(d, i, distance[child], row[child]):
            break
        distance[at], row[at] = distance[child], row[child]
        at = child
    distance[at], row[at] = d, i


@inner
def _sort_heap(distance: FloatArray, row: IntArray) -> None:
    for end in range(len(distance) - 1, 0, -1):
        d, i = distance[end], row[end]
        distance[end], row[end] = distance[0], row[0]
        _replace_last(distance[:end], row[:end], d, i)


@kernel(
    array(float64, 2),
    array(int64, 1),
    array(float32, 3),
    array(float64, 2),
    array(float64, 2),
    array(int64, 1),
    float64,
    array(float64, 2),
    array(float32, 2),
    array(float64, 2),
    array(int64, 1),
    array(int64, 1),
    array(int64, 2, out=True),
    array(float64, 2, out=True),
)
def _nearest_rows(
    x: FloatArray,
    row: IntArray,
    tiles: AnyArray,
    low: FloatArray,
    high: FloatArray,
    code: IntArray,
    scale: float,
    queries: FloatArray,
    small: AnyArray,
    component: FloatArray,
    own: IntArray,
    batches: IntArray,
    index: IntArray,
    square: FloatArray,
) -> None:
    """Find the k nearest rows of each query.

    Layout ``(tile*WIDTH,column),(tile*WIDTH,),(tile,column,WIDTH),(tile,component),
    (tile,component),(tile*WIDTH,),(),(query,column),(query,column),(query,component),
    (query,),(batch+1,)->(query,k),(query,k)``. A row with the same ``code`` as the
    query (``own``) is not a neighbor, unless the code is negative. Twin:
    ``tests/reference/neighbors.py``.
    """
    n_tiles, n, k = len(tiles), x.shape[1], index.shape[1]
    n_components = low.shape[1]
    out = np.empty(WIDTH, dtype=np.float32)
    gap = np.empty(n_tiles)
    bottom, top = np.empty(n_components), np.empty(n_components)
    slack = np.empty(BATCH)
    for batch in range(len(batches) - 1):
        start, stop = batches[batch], batches[batch + 1]
        for p in range(n_components):
            bottom[p], top[p] = component[start, p], component[start, p]
            for q in range(start + 1, stop):
                bottom[p] = min(bottom[p], component[q, p])
                top[p] = max(top[p], component[q, p])
        for tile in range(n_tiles):
            total = 0.0
            for p in range(n_components):
                d = max(max(low[tile, p] - top[p], bottom[p] - high[tile, p]), 0.0)
                total += d * d
            # orthonormal up to rounding
            gap[tile] = total * (1.0 - 1e-9)
        for q in range(start, stop):
            slack[q - start] = _slack(small[q])
            for i in range(k):
                square[q, i], index[q, i] = np.inf, _NO_ROW
        worst = np.inf
        for tile in np.argsort(gap):
            if gap[tile] > worst:
                break
            for q in range(start, stop):
                total = 0.0
                for p in range(n_components):
                    d = max(
                        max(low[tile, p] - component[q, p], component[q, p] - high[tile, p]), 0.0
                    )
                    total += d * d
                if total * (1.0 - 1e-9) > square[q, 0]:
                    continue
                _squares(small[q], tiles[tile], out)
                limit = np.float32(_limit(square[q, 0], scale, slack[q - start], n))
                for chunk in range(0, WIDTH, _CHUNK):
                    least = out[chunk]
                    for i in range(chunk + 1, chunk + _CHUNK):
                        least = min(least, out[i])
                    if least > limit:
                        continue
                    for i in range(chunk, chunk + _CHUNK):
                        at = tile * WIDTH + i
                        if out[i] > limit or row[at] < 0:
                            continue
                        if own[q] >= 0 and code[at] == own[q]:
                            continue
                        total = 0.0
                        for c in range(n):
                            d = queries[q, c] - x[at, c]
                            total += d * d
                        if _before(total, row[at], square[q, 0], index[q, 0]):
                            _replace_last(square[q], index[q], total, row[at])
                            limit = np.float32(_limit(square[q, 0], scale, slack[q - start], n))
            worst = 0.0
            for q in range(start, stop):
                worst = max(worst, square[q, 0])
        for q in range(start, stop):
            _sort_heap(square[q], index[q])
            for i in range(k):
                if index[q, i] == _NO_ROW:
                    index[q, i] = -1


def _near_parts(component: FloatArray, size: int) -> list[IntArray]:
    """Cut rows into parts of at most ``size`` by medians of the widest component."""
    parts, rest = [], [np.arange(len(component))]
    while rest:
        rows = rest.pop()
        if len(rows) <= size:
            parts.append(rows)
            continue
        here = component[rows]
        widest = int(np.argmax(here.max(axis=0) - here.min(axis=0)))
        # whole parts on the left, so that few of them have gaps
        middle = -(-(len(rows) // 2) // size) * size if len(rows) > 2 * size else size
        order = np.argpartition(here[:, widest], middle - 1)
        rest += [rows[order[middle:]], rows[order[:middle]]]
    return parts


@dataclass(frozen=True, eq=False)
class EuclideanIndex:
    """Rows prepared for the search of nearest rows by Euclidean distance.

    Parameters
    ----------
    x
        Rows in the order of the tiles (tile * WIDTH, column).
    row
        Number of each of them, -1 for those that pad a tile.
    code
        Code of each of them, see ``nearest_by_euclid``.
    tiles
        Values relative to ``center`` and ``scale`` in float32 (tile, column, WIDTH).
    low, high
        Bounds of the leading components of each tile (tile, component).
    center, scale
        Mean of the rows (column,), and the largest deviation from it.
    basis
        Leading principal components (column, component).
    """

    x: FloatArray
    row: IntArray
    code: IntArray
    tiles: AnyArray
    low: FloatArray
    high: FloatArray
    center: FloatArray
    scale: float
    basis: FloatArray


def _project(x: FloatArray, center: FloatArray, basis: FloatArray) -> FloatArray:
    return np.ascontiguousarray((x - center) @ basis)


def euclidean_index(x: FloatArray, code: IntArray | None = None) -> EuclideanIndex:
    """Prepare rows for the search of nearest rows by Euclidean distance.

    Parameters
    ----------
    x
        Rows (row, column) of finite numbers, at least one.
    code
        Code of each row (row,), see ``nearest_by_euclid``. Default: -1.
    """
    n = x.shape[1]
    center = x.mean(axis=0)
    centered = x - center
    _, vectors = np.linalg.eigh(centered.T @ centered)
    basis = np.ascontiguousarray(vectors[:, ::-1][:, :COMPONENTS])
    component = _project(x, center, basis)
    scale = float(np.abs(centered).max()) or 1.0
    parts = _near_parts(component, WIDTH)
    row = np.full((len(parts), WIDTH), -1, dtype=np.int64)
    tiles = np.full((len(parts), n, WIDTH), _FAR, dtype=np.float32)
    ordered = np.zeros((len(parts), WIDTH, n))
    codes = np.full((len(parts), WIDTH), -1, dtype=np.int64)
    low = np.empty((len(parts), basis.shape[1]))
    high = np.empty_like(low)
    # rounding of the components, with a wide margin
    margin = 1e-12 * scale * n
    for k, rows in enumerate(parts):
        m = len(rows)
        row[k, :m], ordered[k, :m] = rows, x[rows]
        tiles[k, :, :m] = (centered[rows] / scale).T
        if code is not None:
            codes[k, :m] = code[rows]
        low[k] = component[rows].min(axis=0) - margin
        high[k] = component[rows].max(axis=0) + margin
    return EuclideanIndex(
        ordered.reshape(-1, n),
        row.reshape(-1),
        codes.reshape(-1),
        tiles,
        low,
        high,
        center,
        scale,
        basis,
    )


def nearest_by_euclid(
    index: EuclideanIndex, queries: FloatArray, k: int, *, code: IntArray | None = None
) -> tuple[IntArray, FloatArray]:
    """Find the k rows nearest to each query by Euclidean distance.

    Parameters
    ----------
    index
        The rows.
    queries
        Queries (query, column), finite numbers.
    k
        Number of rows, at least 1.
    code
        Rows with the same code as the query (query,) are not its neighbors. -1
        excludes no row. Default: -1.

    Returns
    -------
    index, square
        Rows (query, k) in order of distance and then of row, and the squares of their
        distances. They are -1 and infinity beyond the number of rows.
    """
    queries = np.ascontiguousarray(queries, dtype=np.float64)
    component = _project(queries, index.center, index.basis)
    parts = _near_parts(component, BATCH)
    order = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
    batches = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    centered = queries[order] - index.center
    small = np.clip(centered / index.scale, -_FAR, _FAR).astype(np.float32)
    found = np.empty((len(queries), k), dtype=np.int64)
    square = np.empty((len(queries), k))
    _nearest_rows(
        index.x,
        index.row,
        index.tiles,
        index.low,
        index.high,
        index.code,
        index.scale,
        np.ascontiguousarray(queries[order]),
        small,
        np.ascontiguousarray(component[order]),
        np.full(len(queries), -1, dtype=np.int64) if code is None else code[order],
        batches,
        found,
        square,
    )
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return found[back], square[back]


__all__ = ["EuclideanIndex", "euclidean_index", "nearest_by_euclid"]
