"""Search of near entries through limits of their distance; used by ``nearest.py``.

Rows are taken in batches whose components stay in the first-level cache. Entries come
in tiles (few + 1, WIDTH) with a few components of each. One small matrix product gives
the limits for a tile. The other components give tighter limits for the entries that
remain, one by one. Few entries are left to be compared in full.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float32, float64, int64

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.kernels._jit import array, inner, kernel
from mgdask.kernels.distances import at_address, squared_distance
from mgdask.kernels.projection import (
    ROWS,
    STRETCH,
    WIDTH,
    Single,
    at_least,
    lowest_bit,
    product_tile,
    project_rows,
    single_product,
)
from mgdask.kernels.simd import address

BATCH = 64
"""Rows that are compared with a run of tiles while it is in cache."""
RUN = 16
"""Tiles of a run."""
CANDIDATES = 64
"""Candidates of a row that are kept before some are compared in full."""


@inner
def _least(square: float, norm: float, most: float, slack: float, tiny: float) -> float:
    # an entry that is at most sqrt(most) away has a product not below this
    product = 0.5 * (square + 1.0 - most) - slack * norm - tiny * (norm + 1.0) ** 2
    return product - 1.2e-7 * abs(product) - 1e-30


@inner
def _refined(
    product: float, left: float, right: float, other: Single, i: int, rest: Single, j: int
) -> float:
    # the residuals of the first components are replaced by the other components
    others = single_product(
        address(other, i * other.shape[1]), address(rest, j * rest.shape[1]), rest.shape[1] // WIDTH
    )
    return product - left * right + float(others)


@inner
def _compare(
    rows: FloatArray,
    row: int,
    n_candidates: int,
    candidate: IntArray,
    product: FloatArray,
    square: float,
    slack: float,
    tiny: float,
    place: IntArray,
    found: IntArray,
    best: FloatArray,
) -> None:
    # compare the candidates of a row in full, the most promising first
    n = rows.shape[1]
    norm = np.sqrt(square)
    for _ in range(n_candidates):
        top, at = -np.inf, -1
        for i in range(n_candidates):
            if product[i] > top:
                top, at = product[i], i
        if at < 0 or top < _least(square, norm, best[row], slack, tiny):
            return
        product[at] = -np.inf
        j = candidate[at]
        d = squared_distance(address(rows, row * n), at_address(place[j]), n, best[row])
        if d < best[row] or (d == best[row] and j < found[row]):
            best[row], found[row] = d, j


@kernel(
    array(float64, 2),
    array(int64, 1),
    boolean,
    array(float32, 3),
    int64,
    float64,
    float64,
    float64,
    array(float32, 3),
    array(float32, 2),
    int64,
    array(int64, 1),
    array(int64, 1),
    array(int64, 1, out=True),
    array(float64, 1, out=True),
)
def nearest_entries(
    rows: FloatArray,
    row_group: IntArray,
    grouped: bool,
    strips: Single,
    k: int,
    allowance: float,
    slack: float,
    tiny: float,
    tiles: Single,
    rest: Single,
    n_entries: int,
    place: IntArray,
    group: IntArray,
    found: IntArray,
    best: FloatArray,
) -> None:
    """Find the nearest entry of every row.

    Layout ``(row,column),(row,),(strip,column,WIDTH),(tile,few+1,WIDTH),(entry,others),
    (entry,),(entry,)->(row,),(row,)``. ``found`` is -1 and ``best`` infinity on
    entry. Cost: 15 to 25 microseconds per row at 5223 entries and 3289 columns, a third
    of it for the projection. Twin: ``tests/reference/nearest.py``.
    """
    n, width = rows.shape[1], tiles.shape[1]
    few, more = width - 1, rest.shape[1]
    zeros, some = np.zeros(n), np.zeros((ROWS, STRETCH), dtype=np.float32)
    tile = np.zeros((ROWS, WIDTH), dtype=np.float32)
    bits = np.zeros(ROWS, dtype=np.int64)
    total = np.zeros((ROWS, len(strips) * WIDTH))
    part = np.empty((BATCH, width), dtype=np.float32)
    other = np.zeros((BATCH, more), dtype=np.float32)
    square, upper = np.empty(BATCH), np.empty(BATCH)
    limit = np.empty(BATCH, dtype=np.float32)
    n_candidates = np.empty(BATCH, dtype=np.int64)
    candidate = np.empty((BATCH, CANDIDATES), dtype=np.int64)
    product = np.empty((BATCH, CANDIDATES))
    n_tiles = -(-n_entries // WIDTH)
    for first in range(0, len(rows), BATCH):
        count = min(BATCH, len(rows) - first)
        project_rows(
            rows, first, count, strips, k, allowance, zeros, some, tile, total, part, other, square
        )
        for i in range(BATCH):
            limit[i] = -np.inf if i < count else np.inf
            upper[i], n_candidates[i] = np.inf, 0
        for begin in range(0, n_tiles, RUN):
            for g in range(0, count, ROWS):
                for t in range(begin, min(begin + RUN, n_tiles)):
                    product_tile(
                        address(part, g * width),
                        width,
                        address(tiles, t * width * WIDTH),
                        width,
                        address(tile, 0),
                    )
                    if at_least(address(tile, 0), address(limit, g), address(bits, 0)) == 0:
                        continue
                    for m in range(ROWS):
                        left, i = bits[m], g + m
                        while left != 0:
                            e = lowest_bit(left)
                            left &= left - 1
                            j = t * WIDTH + e
                            if j >= n_entries or tile[m, e] < limit[i]:
                                continue
                            if grouped and group[j] != row_group[first + i]:
                                continue
                            value = _refined(
                                tile[m, e], part[i, few], tiles[t, few, e], other, i, rest, j
                            )
                            if value < limit[i]:
                                continue
                            norm = np.sqrt(square[i])
                            if n_candidates[i] == CANDIDATES:
                                _compare(
                                    rows,
                                    first + i,
                                    CANDIDATES,
                                    candidate[i],
                                    product[i],
                                    square[i],
                                    slack,
                                    tiny,
                                    place,
                                    found,
                                    best,
                                )
                                n_candidates[i] = 0
                                upper[i] = min(upper[i], best[first + i])
                                limit[i] = _least(square[i], norm, upper[i], slack, tiny)
                            candidate[i, n_candidates[i]] = j
                            product[i, n_candidates[i]] = value
                            n_candidates[i] += 1
                            above = square[i] + 1.0 - 2.0 * value
                            above += 4.0 * other[i, k - few] * rest[j, k - few]
                            above += 2.0 * (slack * norm + tiny * (norm + 1.0) ** 2)
                            if above < upper[i]:
                                upper[i] = above
                                limit[i] = _least(square[i], norm, above, slack, tiny)
        for i in range(count):
            _compare(
                rows,
                first + i,
                n_candidates[i],
                candidate[i],
                product[i],
                square[i],
                slack,
                tiny,
                place,
                found,
                best,
            )


@inner
def _any_within(
    rows: FloatArray,
    row: int,
    n_candidates: int,
    candidate: IntArray,
    middle: FloatArray,
    below: float,
    most: float,
    place: IntArray,
) -> bool:
    # compare in full, the most promising first, up to a middle of ``below``
    n = rows.shape[1]
    for _ in range(n_candidates):
        least, at = np.inf, -1
        for i in range(n_candidates):
            if middle[i] < least:
                least, at = middle[i], i
        if at < 0 or least > below:
            return False
        middle[at] = np.inf
        j = candidate[at]
        if squared_distance(address(rows, row * n), at_address(place[j]), n, most) <= most:
            return True
    return False


@kernel(
    array(float64, 2),
    array(int64, 1),
    boolean,
    array(float32, 3),
    int64,
    float64,
    float64,
    float64,
    array(float32, 3),
    array(float32, 2),
    int64,
    array(int64, 1),
    array(int64, 1),
    float64,
    array(boolean, 1, out=True),
)
def covered_rows(
    rows: FloatArray,
    row_group: IntArray,
    grouped: bool,
    strips: Single,
    k: int,
    allowance: float,
    slack: float,
    tiny: float,
    tiles: Single,
    rest: Single,
    n_entries: int,
    place: IntArray,
    group: IntArray,
    most: float,
    covered: BoolArray,
) -> None:
    """Find which rows have an entry at most ``sqrt(most)`` away.

    Layout as in ``nearest_entries``. ``covered`` is False on entry. Rows leave a batch
    as soon as they are covered. Early entries of a leader clustering have the most
    followers, so most rows leave long before the last entry.
    """
    n, width = rows.shape[1], tiles.shape[1]
    few, more = width - 1, rest.shape[1]
    zeros, some = np.zeros(n), np.zeros((ROWS, STRETCH), dtype=np.float32)
    tile = np.zeros((ROWS, WIDTH), dtype=np.float32)
    bits = np.zeros(ROWS, dtype=np.int64)
    total = np.zeros((ROWS, len(strips) * WIDTH))
    part = np.empty((BATCH, width), dtype=np.float32)
    other = np.zeros((BATCH, more), dtype=np.float32)
    square = np.empty(BATCH)
    limit = np.empty(BATCH, dtype=np.float32)
    who = np.empty(BATCH, dtype=np.int64)
    n_candidates = np.empty(BATCH, dtype=np.int64)
    candidate = np.empty((BATCH, CANDIDATES), dtype=np.int64)
    middle = np.empty((BATCH, CANDIDATES))
    n_tiles = -(-n_entries // WIDTH)
    for first in range(0, len(rows), BATCH):
        count = min(BATCH, len(rows) - first)
        project_rows(
            rows, first, count, strips, k, allowance, zeros, some, tile, total, part, other, square
        )
        # place s of the batch holds row who[s]; candidates stay with the row
        for i in range(BATCH):
            who[i], n_candidates[i] = i, 0
            limit[i] = np.inf
            if i < count:
                limit[i] = _least(square[i], np.sqrt(square[i]), most, slack, tiny)
        begin, size, active = 0, RUN, count
        while begin < n_tiles and active > 0:
            end = min(begin + size, n_tiles)
            for start in range(begin, end, RUN):
                for g in range(0, active, ROWS):
                    for t in range(start, min(start + RUN, end)):
                        product_tile(
                            address(part, g * width),
                            width,
                            address(tiles, t * width * WIDTH),
                            width,
                            address(tile, 0),
                        )
                        if at_least(address(tile, 0), address(limit, g), address(bits, 0)) == 0:
                            continue
                        for m in range(ROWS):
                            left, s = bits[m], g + m
                            i = who[s]
                            while left != 0:
                                e = lowest_bit(left)
                                left &= left - 1
                                j = t * WIDTH + e
                                if j >= n_entries or covered[first + i]:
                                    continue
                                if grouped and group[j] != row_group[first + i]:
                                    continue
                                value = _refined(
                                    tile[m, e], part[s, few], tiles[t, few, e], other, i, rest, j
                                )
                                if value < limit[s]:
                                    continue
                                norm = np.sqrt(square[i])
                                reach = 2.0 * other[i, k - few] * rest[j, k - few]
                                centre = square[i] + 1.0 - 2.0 * value + reach
                                margin = 2.0 * (slack * norm + tiny * (norm + 1.0) ** 2)
                                if centre + reach + margin <= most:
                                    covered[first + i] = True
                                    limit[s] = np.inf
                                    continue
                                if n_candidates[i] == CANDIDATES:
                                    if _any_within(
                                        rows,
                                        first + i,
                                        CANDIDATES,
                                        candidate[i],
                                        middle[i],
                                        np.inf,
                                        most,
                                        place,
                                    ):
                                        covered[first + i] = True
                                        limit[s] = np.inf
                                        continue
                                    n_candidates[i] = 0
                                candidate[i, n_candidates[i]] = j
                                middle[i, n_candidates[i]] = centre
                                n_candidates[i] += 1
            kept = 0
            for s in range(active):
                i = who[s]
                if not covered[first + i] and n_candidates[i] > 0:
                    covered[first + i] = _any_within(
                        rows,
                        first + i,
                        n_candidates[i],
                        candidate[i],
                        middle[i],
                        np.inf if end == n_tiles else most,
                        most,
                        place,
                    )
                if not covered[first + i]:
                    if kept < s:
                        for c in range(width):
                            part[kept, c] = part[s, c]
                        limit[kept], who[kept] = limit[s], i
                    kept += 1
            for s in range(kept, active):
                limit[s] = np.inf
            active = kept
            begin, size = end, 2 * size


__all__ = ["BATCH", "covered_rows", "nearest_entries"]
