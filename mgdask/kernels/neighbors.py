"""Neighbours within a cut-off by a cell list: any cell, any periodicity, cells smaller than the cut-off included.

Atoms are sorted into bins along the cell vectors; a bin is about half the cut-off high, so that few candidates are looked at in
vain. Bins beyond a periodic face are bins of another image, which is all that a cell smaller than the cut-off needs. The order of
the neighbours of an atom is that of the bins, then of the atoms' rows: it depends on the whole configuration only, never on which
central atoms were asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import boolean, float64, int64, types

from mgdask.box import complete_cell, face_heights, fractional, wrap
from mgdask.kernels._jit import array, inner, kernel

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]


class Grid(NamedTuple):
    """A configuration sorted into bins; arrays named ``sorted_*`` are in the order of the bins.

    sorted_position (3,atom) Å, wrapped; sorted_row (atom,) row in the caller's arrays; rank (atom,) the reverse; start (bin+1,)
    first atom of a bin; bin_of (atom,3) bin of each caller's row; shape (3,) number of bins; reach (3,) bins to look at on either
    side; cell (3,3) Å; pbc (3,); cutoff Å.
    """

    sorted_position: Float
    sorted_row: Integer
    rank: Integer
    start: Integer
    bin_of: Integer
    shape: Integer
    reach: Integer
    cell: Float
    pbc: npt.NDArray[np.bool_]
    cutoff: float


_i1, _f2 = array(int64, 1, out=True), array(float64, 2, out=True)
GRID = types.NamedTuple(
    (_f2, _i1, _i1, _i1, array(int64, 2, out=True), _i1, _i1, _f2, array(boolean, 1, out=True), float64), Grid
)
"""Numba's type of a ``Grid``."""


def make_grid(position: Float, cell: Float, pbc: Any, cutoff: float) -> Grid:
    """Sort (atom,3) positions into bins for a ``cutoff`` in Å; O(atoms)."""
    pbc = np.array(pbc, dtype=bool)
    cell = complete_cell(cell, pbc)
    wrapped, _ = wrap(np.asarray(position, dtype=np.float64), cell, np.zeros(3), pbc)
    fraction = fractional(wrapped, cell)
    n = len(wrapped)
    low = np.where(pbc, 0.0, fraction.min(axis=0, initial=np.inf) if n else 0.0)
    high = np.where(pbc, 1.0, fraction.max(axis=0, initial=-np.inf) if n else 1.0)
    span = np.where(high > low, high - low, 1.0)
    height = face_heights(cell) * span
    most = max(1, int(np.ceil((4 * n + 8) ** (1 / 3))) * 4)  # thin or sparse boxes need no more bins than atoms
    shape = np.clip(np.floor(height / (0.5 * cutoff)), 1, most).astype(np.int64)
    while shape.prod() > 8 * n + 64:
        shape[shape.argmax()] = max(1, shape.max() // 2)
    reach = np.ceil(cutoff / (height / shape) * (1.0 + 1e-12)).astype(np.int64)
    bin_of = np.clip(((fraction - low) / span * shape).astype(np.int64), 0, shape - 1)
    flat = (bin_of[:, 0] * shape[1] + bin_of[:, 1]) * shape[2] + bin_of[:, 2]
    order = np.argsort(flat, kind="stable")
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n)
    start = np.zeros(shape.prod() + 1, dtype=np.int64)
    np.cumsum(np.bincount(flat, minlength=shape.prod()), out=start[1:])
    return Grid(
        np.ascontiguousarray(wrapped[order].T), order.astype(np.int64), rank, start, np.ascontiguousarray(bin_of),
        shape, reach, cell, pbc, float(cutoff),
    )  # fmt: skip


@inner
def candidates(grid: Grid, row: int) -> int:
    """Upper bound of the neighbours of atom ``row``: all atoms of the bins that its cut-off may touch."""
    shape, reach, start = grid.shape, grid.reach, grid.start
    total = 0
    for a in range(grid.bin_of[row, 0] - reach[0], grid.bin_of[row, 0] + reach[0] + 1):
        ia = a // shape[0]
        if ia != 0 and not grid.pbc[0]:
            continue
        for b in range(grid.bin_of[row, 1] - reach[1], grid.bin_of[row, 1] + reach[1] + 1):
            ib = b // shape[1]
            if ib != 0 and not grid.pbc[1]:
                continue
            line = ((a - ia * shape[0]) * shape[1] + b - ib * shape[1]) * shape[2]
            first, last = grid.bin_of[row, 2] - reach[2], grid.bin_of[row, 2] + reach[2]
            for ic in range(first // shape[2], last // shape[2] + 1):
                if ic == 0 or grid.pbc[2]:
                    lo, hi = max(first - ic * shape[2], 0), min(last - ic * shape[2], shape[2] - 1)
                    total += start[line + hi + 1] - start[line + lo]
    return total


@inner
def gather(grid: Grid, row: int, found: Integer, dx: Float, dy: Float, dz: Float, d2: Float) -> int:
    """Neighbours of atom ``row``: rows in bin order, displacements and squared distances; returns their number.

    The buffers hold at least ``candidates(grid, row)`` entries. The atom itself is left out, its other images are not.
    """
    shape, reach, start, cell = grid.shape, grid.reach, grid.start, grid.cell
    x, y, z = grid.sorted_position[0], grid.sorted_position[1], grid.sorted_position[2]
    me = grid.rank[row]
    px, py, pz = x[me], y[me], z[me]
    limit = grid.cutoff * grid.cutoff
    n = 0
    for a in range(grid.bin_of[row, 0] - reach[0], grid.bin_of[row, 0] + reach[0] + 1):
        ia = a // shape[0]
        if ia != 0 and not grid.pbc[0]:
            continue
        for b in range(grid.bin_of[row, 1] - reach[1], grid.bin_of[row, 1] + reach[1] + 1):
            ib = b // shape[1]
            if ib != 0 and not grid.pbc[1]:
                continue
            line = ((a - ia * shape[0]) * shape[1] + b - ib * shape[1]) * shape[2]
            first, last = grid.bin_of[row, 2] - reach[2], grid.bin_of[row, 2] + reach[2]
            for ic in range(first // shape[2], last // shape[2] + 1):
                if ic != 0 and not grid.pbc[2]:
                    continue
                lo, hi = max(first - ic * shape[2], 0), min(last - ic * shape[2], shape[2] - 1)
                sx = ia * cell[0, 0] + ib * cell[1, 0] + ic * cell[2, 0]
                sy = ia * cell[0, 1] + ib * cell[1, 1] + ic * cell[2, 1]
                sz = ia * cell[0, 2] + ib * cell[1, 2] + ic * cell[2, 2]
                home = ia == 0 and ib == 0 and ic == 0
                for j in range(start[line + lo], start[line + hi + 1]):
                    # written always, counted only if inside: no branch to mispredict
                    ex, ey, ez = (x[j] - px) + sx, (y[j] - py) + sy, (z[j] - pz) + sz
                    e2 = ex * ex + ey * ey + ez * ez
                    found[n] = grid.sorted_row[j]
                    dx[n], dy[n], dz[n], d2[n] = ex, ey, ez, e2
                    n += (e2 <= limit) & ((j != me) | (not home))
    return n


@kernel(GRID, array(int64, 1), returns=int64)
def _most(grid: Grid, centers: Integer) -> int:
    most = 0
    for k in range(len(centers)):
        most = max(most, candidates(grid, centers[k]))
    return most


@kernel(
    GRID, array(int64, 1), int64, array(int64, 1, out=True), array(int64, 1, out=True), array(float64, 2, out=True),
    array(float64, 1, out=True), returns=int64,
)  # fmt: skip
def _list(
    grid: Grid, centers: Integer, room: int, offset: Integer, row: Integer, vector: Float, distance: Float
) -> int:
    found = np.empty(room, dtype=np.int64)
    dx, dy, dz, d2 = np.empty(room), np.empty(room), np.empty(room), np.empty(room)
    total = 0
    for k in range(len(centers)):
        n = gather(grid, centers[k], found, dx, dy, dz, d2)
        if total + n <= len(row):
            for i in range(n):
                row[total + i] = found[i]
                vector[total + i, 0], vector[total + i, 1], vector[total + i, 2] = dx[i], dy[i], dz[i]
                distance[total + i] = np.sqrt(d2[i])
        total += n
        offset[k + 1] = total
    return total


def neighbor_list(
    position: Float,
    cell: Float,
    cutoff: float,
    *,
    centers: Integer | None = None,
    pbc: Any = (True, True, True),
) -> tuple[Integer, Integer, Float, Float]:
    """All neighbours with d <= cutoff: (atom,3),(3,3) -> offset (center+1,), row (pair,), vector (pair,3), distance (pair,).

    Neighbours of centre k are entries ``offset[k]:offset[k+1]``; ``vector`` points from the centre to the neighbour's image.
    Exact for every cell; an atom's own images count where they are near enough. Cost O(pairs). Twin:
    ``tests/reference.py::neighbors``.
    """
    grid = make_grid(position, cell, pbc, cutoff)
    chosen = np.arange(len(position)) if centers is None else np.asarray(centers)
    chosen = np.ascontiguousarray(chosen, dtype=np.int64)
    offset = np.zeros(len(chosen) + 1, dtype=np.int64)
    room = _most(grid, chosen) + 1
    guess = min(room, 96) * len(chosen)
    while True:
        row, vector, distance = np.empty(guess, dtype=np.int64), np.empty((guess, 3)), np.empty(guess)
        total = _list(grid, chosen, room, offset, row, vector, distance)
        if total <= guess:
            return offset, row[:total], vector[:total], distance[:total]
        guess = total
