"""Neighbors within a cutoff by a cell list, for any cell and periodicity.

Cells may be smaller than the cutoff. Atoms are sorted into bins along the cell vectors,
with thin bins along the third. The candidates of an atom are then a few runs of
consecutive atoms, loaded by whole vector registers. Bins beyond a periodic face are
bins of another image, which also covers cells smaller than the cutoff. The neighbors of
an atom are in the order of the bins, then of the atoms' rows. That order depends on the
whole configuration only, never on the choice of central atoms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import boolean, float64, int64, types

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.geometry import check_shell, complete_cell, face_heights, fractional, volume, wrap
from mgdask.kernels._jit import array, inner, kernel
from mgdask.kernels.simd import LANES, address, displacements

BIN = np.array([1.0, 1.0, 0.25])
"""Minimum height of a bin along each cell vector, in cutoffs.

Few long lines of bins are fastest, because each line has a fixed cost.
"""


PAIR_BYTES = 40
"""Number of bytes of a pair in a list of neighbors."""
FIRST_PAIRS = 20_000_000
"""Maximum number of pairs for which memory is allocated before they are counted."""
SMALL_LISTS = 1 << 30
"""Number of bytes of lists that are made without looking at the available memory."""


class CellList(NamedTuple):
    """A configuration sorted into bins.

    Attributes
    ----------
    point
        Wrapped positions in the order of the bins (3,atom+spare) in Å.
    row
        Row of each point in the caller's arrays (atom,).
    rank
        Inverse of ``row`` (atom,).
    start
        First point of each bin (bin+1,).
    bin_of
        Bin of each row along the three vectors (atom,3).
    shape
        Number of bins along each vector (3,).
    reach
        Number of bins to search on either side (3,).
    wrapped
        Bin at each place from -reach on (3,bin+2*reach), or -1 if there is none.
    image
        Image of the cell at each of these places (3,bin+2*reach).
    room
        Maximum number of candidates of any atom, with spare entries.
    cell
        Cell vectors as rows (3,3) in Å.
    cutoff
        Cutoff distance in Å.
    """

    point: FloatArray
    row: IntArray
    rank: IntArray
    start: IntArray
    bin_of: IntArray
    shape: IntArray
    reach: IntArray
    wrapped: IntArray
    image: IntArray
    room: int
    cell: FloatArray
    cutoff: float


_i1, _i2, _f2 = array(int64, 1, out=True), array(int64, 2, out=True), array(float64, 2, out=True)
GRID = types.NamedTuple(
    (_f2, _i1, _i1, _i1, _i2, _i1, _i1, _i2, _i2, int64, _f2, float64), CellList
)
"""Numba type of a ``CellList``."""


def make_cell_list(position: FloatArray, cell: FloatArray, pbc: Any, cutoff: float) -> CellList:
    """Sort positions (atom,3) into bins for a ``cutoff`` in Å, in O(atoms) time."""
    pbc = np.array(pbc, dtype=bool)
    cell = complete_cell(cell, pbc)
    check_shell(cell, pbc, cutoff)
    wrapped, _ = wrap(np.asarray(position, dtype=np.float64), cell, np.zeros(3), pbc)
    fraction = fractional(wrapped, cell)
    n = len(wrapped)
    low, span = np.zeros(3), np.ones(3)
    for axis in np.flatnonzero(~pbc) if n else ():
        low[axis] = fraction[:, axis].min()
        span[axis] = (fraction[:, axis].max() - low[axis]) or 1.0
    height = face_heights(cell) * span
    # thin or sparse boxes need no more bins than atoms
    most = max(1, int(np.ceil((4 * n + 8) ** (1 / 3))) * 4)
    shape = np.clip(np.floor(height / (BIN * cutoff)), 1, most).astype(np.int64)
    while shape.prod() > 8 * n + 64:
        shape[shape.argmax()] = max(1, shape.max() // 2)
    reach = np.ceil(cutoff / (height / shape) * (1.0 + 1e-12)).astype(np.int64)
    bin_of = np.empty((n, 3), dtype=np.int64)
    point, order, rank = (
        np.zeros((3, n + LANES)),
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64),
    )
    start = np.zeros(shape.prod() + 2, dtype=np.int64)
    places = np.full((3, (shape + 2 * reach).max()), -1, dtype=np.int64)
    images = np.zeros_like(places)
    room = _sort(
        np.ascontiguousarray(wrapped),
        np.ascontiguousarray(fraction),
        low,
        span,
        pbc,
        shape,
        reach,
        bin_of,
        point,
        order,
        rank,
        start,
        places,
        images,
    )
    return CellList(
        point,
        order,
        rank,
        start[:-1],
        bin_of,
        shape,
        reach,
        places,
        images,
        room,
        cell,
        float(cutoff),
    )


@kernel(
    array(float64, 2),
    array(float64, 2),
    array(float64, 1),
    array(float64, 1),
    array(boolean, 1),
    array(int64, 1),
    array(int64, 1),
    _i2,
    _f2,
    _i1,
    _i1,
    _i1,
    _i2,
    _i2,
    returns=int64,
)
def _sort(
    wrapped: FloatArray,
    fraction: FloatArray,
    low: FloatArray,
    span: FloatArray,
    pbc: Any,
    shape: IntArray,
    reach: IntArray,
    bin_of: IntArray,
    point: FloatArray,
    order: IntArray,
    rank: IntArray,
    start: IntArray,
    places: IntArray,
    images: IntArray,
) -> int:
    # counting sort into bins, with rows in order inside a bin; returns the maximum
    # number of candidates of an atom
    n = len(wrapped)
    flat = np.empty(n, dtype=np.int64)
    for i in range(n):
        for axis in range(3):
            k = int((fraction[i, axis] - low[axis]) / span[axis] * shape[axis])
            bin_of[i, axis] = min(max(k, 0), shape[axis] - 1)
        flat[i] = (bin_of[i, 0] * shape[1] + bin_of[i, 1]) * shape[2] + bin_of[i, 2]
        start[flat[i] + 2] += 1
    for k in range(2, len(start)):
        start[k] += start[k - 1]
    for i in range(n):
        at = start[flat[i] + 1]
        start[flat[i] + 1] = at + 1
        order[at], rank[i] = i, at
        point[0, at], point[1, at], point[2, at] = wrapped[i, 0], wrapped[i, 1], wrapped[i, 2]
    for axis in range(3):
        for place in range(shape[axis] + 2 * reach[axis]):
            image = (place - reach[axis]) // shape[axis]
            images[axis, place] = image
            if pbc[axis] or image == 0:
                places[axis, place] = place - reach[axis] - image * shape[axis]
    # number of atoms in the bins within reach, summed axis by axis
    around = np.empty((shape[0], shape[1], shape[2]), dtype=np.int64)
    for a in range(shape[0]):
        for b in range(shape[1]):
            for c in range(shape[2]):
                line, total = (a * shape[1] + b) * shape[2], 0
                for d in range(c, c + 2 * reach[2] + 1):
                    if places[2, d] >= 0:
                        total += start[line + places[2, d] + 1] - start[line + places[2, d]]
                around[a, b, c] = total
    wide = np.empty((shape[0], shape[1], shape[2]), dtype=np.int64)
    for a in range(shape[0]):
        for b in range(shape[1]):
            for c in range(shape[2]):
                total = 0
                for d in range(b, b + 2 * reach[1] + 1):
                    if places[1, d] >= 0:
                        total += around[a, places[1, d], c]
                wide[a, b, c] = total
    most = 0
    for a in range(shape[0]):
        for b in range(shape[1]):
            for c in range(shape[2]):
                total = 0
                for d in range(a, a + 2 * reach[0] + 1):
                    if places[0, d] >= 0:
                        total += wide[places[0, d], b, c]
                most = max(most, total)
    return most + 2 * LANES


@inner
def scan(cell_list: CellList, row: int, raw: FloatArray, index: IntArray, found: IntArray) -> int:
    """Find the neighbors of atom ``row`` and return their number n.

    The i-th neighbor, in bin order, is candidate k = ``found[i]``: ``raw[:, k]`` holds
    dx, dy, dz and d^2, and its row is ``cell_list.row[index[k]]``. All arrays have
    ``room`` entries; ``raw`` has shape (4,room). The atom itself is left out, but its
    other images are not.
    """
    reach, start, cell, wrapped, image = (
        cell_list.reach,
        cell_list.start,
        cell_list.cell,
        cell_list.wrapped,
        cell_list.image,
    )
    me = cell_list.rank[row]
    origin = (cell_list.point[0, me], cell_list.point[1, me], cell_list.point[2, me])
    ba, bb, bc = cell_list.bin_of[row, 0], cell_list.bin_of[row, 1], cell_list.bin_of[row, 2]
    m = 0
    own = -1
    for a in range(ba, ba + 2 * reach[0] + 1):
        pa = wrapped[0, a]
        if pa < 0:
            continue
        ia = image[0, a]
        for b in range(bb, bb + 2 * reach[1] + 1):
            pb = wrapped[1, b]
            if pb < 0:
                continue
            ib = image[1, b]
            line = (pa * cell_list.shape[1] + pb) * cell_list.shape[2]
            c = bc
            last = bc + 2 * reach[2]
            while c <= last:
                pc, ic = wrapped[2, c], image[2, c]
                if pc < 0:
                    c += 1
                    continue
                # bins of one image are consecutive
                length = min(cell_list.shape[2] - pc, last - c + 1)
                c += length
                lo, hi = start[line + pc], start[line + pc + length]
                if ia == 0 and ib == 0 and ic == 0 and lo <= me < hi:
                    own = m + me - lo
                shift = (
                    ia * cell[0, 0] + ib * cell[1, 0] + ic * cell[2, 0],
                    ia * cell[0, 1] + ib * cell[1, 1] + ic * cell[2, 1],
                    ia * cell[0, 2] + ib * cell[1, 2] + ic * cell[2, 2],
                )
                for j in range(lo, hi, LANES):
                    # whole registers are written; the excess is overwritten by the
                    # next line, or not read
                    k = m + j - lo
                    displacements(
                        address(cell_list.point, j),
                        address(cell_list.point, cell_list.point.shape[1] + j),
                        address(cell_list.point, 2 * cell_list.point.shape[1] + j),
                        origin,
                        shift,
                        j,
                        address(raw, k),
                        address(raw, raw.shape[1] + k),
                        address(raw, 2 * raw.shape[1] + k),
                        address(raw, 3 * raw.shape[1] + k),
                        address(index, k),
                    )
                m += hi - lo
    if own >= 0:
        raw[3, own] = np.inf
    limit = cell_list.cutoff * cell_list.cutoff
    n = 0
    # every candidate is written but only those inside are counted, to avoid a branch
    for k in range(m):
        found[n] = k
        n += raw[3, k] <= limit
    return n


@inner
def gather(
    cell_list: CellList,
    row: int,
    raw: FloatArray,
    index: IntArray,
    found: IntArray,
    near: FloatArray,
) -> int:
    """List the neighbors of atom ``row`` one after the other and return their number.

    ``found`` gets their rows, ``near`` (4,room) dx, dy, dz and d^2. ``raw`` and
    ``index`` are scratch space, as in ``scan``. There is room for one more entry than
    neighbors.
    """
    n = scan(cell_list, row, raw, index, found)
    for i in range(n):
        k = found[i]
        near[0, i], near[1, i], near[2, i], near[3, i] = raw[0, k], raw[1, k], raw[2, k], raw[3, k]
        found[i] = cell_list.row[index[k]]
    return n


@kernel(
    GRID,
    array(int64, 1),
    int64,
    array(int64, 1, out=True),
    array(int64, 1, out=True),
    array(float64, 2, out=True),
    array(float64, 1, out=True),
    returns=int64,
)
def _list(
    cell_list: CellList,
    centers: IntArray,
    first: int,
    offset: IntArray,
    row: IntArray,
    vector: FloatArray,
    distance: FloatArray,
) -> int:
    # fills from center `first` on until the arrays are full; returns the first center
    # that did not fit
    room = cell_list.room
    raw, index, found = (
        np.empty((4, room)),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
    )
    total = offset[first]
    for k in range(first, len(centers)):
        n = scan(cell_list, centers[k], raw, index, found)
        if total + n > len(row):
            return k
        for i in range(n):
            j = found[i]
            row[total + i] = cell_list.row[index[j]]
            vector[total + i, 0], vector[total + i, 1], vector[total + i, 2] = (
                raw[0, j],
                raw[1, j],
                raw[2, j],
            )
            distance[total + i] = np.sqrt(raw[3, j])
        total += n
        offset[k + 1] = total
    return len(centers)


def _check_memory(cell_list: CellList, n_centers: int) -> None:
    """Refuse lists that will not fit into the memory, as in a nearly flat cell."""
    n_atoms = len(cell_list.row)
    sphere = 4 / 3 * np.pi * cell_list.cutoff**3
    each = min(n_atoms * sphere / volume(cell_list.cell), cell_list.room)
    _check_bytes(int(PAIR_BYTES * n_centers * each), cell_list, n_centers)


def _check_bytes(needed: int, cell_list: CellList, n_centers: int) -> None:
    if needed <= SMALL_LISTS:
        return
    import psutil

    available = int(psutil.virtual_memory().available)
    if needed > available:
        heights = ", ".join(f"{height:.4g}" for height in face_heights(cell_list.cell))
        raise ParameterError(
            f"the neighbors of {n_centers} atoms within {cell_list.cutoff:.4g} Å take "
            f"{needed / 1e9:.3g} GB, but {available / 1e9:.3g} GB of memory are available. "
            f"Opposite faces of the cell are {heights} Å apart. Check the cell vectors, or choose "
            "a smaller cutoff or fewer centers"
        )


def list_neighbors(
    cell_list: CellList, centers: IntArray
) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """List the neighbors of ``centers`` from a cell list, like ``neighbor_list``."""
    chosen = np.ascontiguousarray(centers, dtype=np.int64)
    offset = np.zeros(len(chosen) + 1, dtype=np.int64)
    n_bins = len(cell_list.start) - 1
    density = cell_list.start[-1] / max(n_bins, 1)
    shape = 2 * cell_list.reach + 1
    guess = min(int(len(chosen) * (0.35 * density * shape.prod() + 8)), FIRST_PAIRS)
    guess += cell_list.room
    _check_memory(cell_list, len(chosen))
    row, vector, distance = np.empty(guess, dtype=np.int64), np.empty((guess, 3)), np.empty(guess)
    done = 0
    while (done := _list(cell_list, chosen, done, offset, row, vector, distance)) < len(chosen):
        more = int(len(row) * max(0.5, 1.2 * (len(chosen) - done) / max(done, 1))) + cell_list.room
        _check_bytes(PAIR_BYTES * (len(row) + more), cell_list, len(chosen))
        row = np.concatenate([row, np.empty(more, dtype=np.int64)])
        vector, distance = (
            np.concatenate([vector, np.empty((more, 3))]),
            np.concatenate([distance, np.empty(more)]),
        )
    total = int(offset[-1])
    return offset, row[:total], vector[:total], distance[:total]


def neighbor_list(
    position: FloatArray,
    cell: FloatArray,
    cutoff: float,
    *,
    centers: IntArray | None = None,
    pbc: Any = (True, True, True),
) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
    """List all neighbors with d <= cutoff.

    Layout ``(atom,3),(3,3)->(center+1,),(pair,),(pair,3),(pair,)``: offset, row, vector
    and distance. The neighbors of center k are entries ``offset[k]:offset[k+1]``.
    ``vector`` points from the center to the neighbor's image. The list is exact for
    every cell. Own images count if they are within the cutoff. Cost: O(pairs).
    Twin: ``tests/reference/soap.py::neighbors``.
    """
    cell_list = make_cell_list(position, cell, pbc, cutoff)
    return list_neighbors(
        cell_list, np.arange(len(position)) if centers is None else np.asarray(centers)
    )
