"""The nearest of many vectors, exact, without reading most of them.

Every entry q is projected on a few orthonormal vectors Q: a_q = Q^T q, and r_q =
|q - Q a_q| is what they leave. The inequality of Cauchy and Schwarz in the complement
of Q limits the product with a row p,

    a_p.a_q - r_p r_q <= p.q <= a_p.a_q + r_p r_q,

and so the squared distance |p|^2 + |q|^2 - 2 p.q from both sides. Only entries whose
lower limit is not above the best distance so far are compared in full
(``distances.py``). The result is that of comparing with all of them, with the lowest
index if distances tie. For ``covered``, an upper limit below the distance asked for
settles a row without reading an entry.

Rounding never loses an entry. With n columns, k components, v = 2^-24 and the error h
of ``projection.error_of``, relative to |p| |q|:

1. Both projections are wrong by h, which changes a_p.a_q by less than 2.1 h.
2. r is computed from above, so r_p r_q is never too small. It is too large by less than
   the root of 4 h |p|^2, which only weakens the limits.
3. a and r are rounded to float32 and multiplied there in any order, for the first few
   components and for all: (k + 8) v.
4. The distance that decides is computed in float64 within 2 n 2^-53 of itself.
5. The number that a product is compared with is rounded to float32 too: 2 v.
6. |q|^2 is taken to be 1, which ``make_index`` has checked within 1e-9.

``_slack`` adds these up, with a tenth on top for terms of second order. Numbers below
1e-38, which float32 cannot hold, are far below it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.kernels.distances import addresses, squared_distances, unit_rows
from mgdask.kernels.projection import (
    WIDTH,
    Single,
    allowance_of,
    error_of,
    project,
    rest_width,
    strips_of,
)
from mgdask.kernels.pruning import covered_rows, nearest_entries

COMPONENTS = 47
"""Components of the tighter limits; one less than a multiple of 16 is best."""
FEW = 8
"""Components of the limits for all entries."""
_UNIT = 1e-9
_SAMPLE = 512
_REBASE = 4
"""A basis is made anew once there are so many times the entries it was made for."""


def _basis_of(vectors: FloatArray, n_components: int) -> Single:
    """Return orthonormal columns along the principal vectors of some entries."""
    dim = vectors.shape[1]
    width = min(n_components, dim)
    # directions beyond the rank of the entries are arbitrary, but orthonormal too
    columns = np.random.default_rng(0).normal(size=(dim, width))
    if len(vectors):
        chosen = np.unique(np.linspace(0, len(vectors) - 1, _SAMPLE).astype(np.int64))
        some = vectors[chosen]
        values, turn = np.linalg.eigh(some @ some.T)
        good = values > 1e-10 * values[-1]
        leading = some.T @ turn[:, good][:, ::-1][:, :width]
        columns[:, : leading.shape[1]] = leading / np.linalg.norm(leading, axis=0)
    return np.linalg.qr(columns)[0].astype(np.float32)


class _Entries:
    """Tiles, groups and addresses of entries, with room for more.

    Indices of different length share it. Each reads only its own entries, so adding
    more does not disturb the shorter ones.
    """

    def __init__(self, few: int, more: int, room: int) -> None:
        self.tiles = np.zeros((-(-room // WIDTH), few + 1, WIDTH), dtype=np.float32)
        self.rest = np.zeros((room, more), dtype=np.float32)
        self.group = np.zeros(room, dtype=np.int64)
        self.place = np.zeros(room, dtype=np.int64)
        self.filled = 0
        self.lock = threading.Lock()

    def add(self, projected: tuple[Single, Single], group: IntArray, place: IntArray) -> None:
        """Append entries; there must be room."""
        entry = np.arange(self.filled, self.filled + len(place))
        self.tiles[entry // WIDTH, :, entry % WIDTH] = projected[0]
        self.rest[entry] = projected[1]
        self.group[entry] = group
        self.place[entry] = place
        self.filled += len(place)

    def with_room(self, n_entries: int, more: int) -> _Entries:
        """Return these entries, or a copy of the first ``n_entries``, with room."""
        if self.filled == n_entries and n_entries + more <= len(self.place):
            return self
        shape = self.tiles.shape[1] - 1, self.rest.shape[1]
        grown = _Entries(*shape, 2 * (n_entries + more))
        last = -(-n_entries // WIDTH)
        grown.tiles[:last] = self.tiles[:last]
        grown.rest[:n_entries] = self.rest[:n_entries]
        grown.group[:n_entries] = self.group[:n_entries]
        grown.place[:n_entries] = self.place[:n_entries]
        grown.filled = n_entries
        return grown


@dataclass(frozen=True)
class VectorIndex:
    """Vectors prepared for the search of the nearest one; see ``make_index``.

    Parameters
    ----------
    parts
        The vectors (entry, column) of norm 1 in order, in one or more arrays. They may
        be mapped from files.
    n_entries
        Number of vectors.
    basis
        Orthonormal columns (column, component) in float32.
    n_when_based
        Number of entries that the basis was made for; 0 if it was given.
    """

    parts: tuple[FloatArray, ...]
    n_entries: int
    basis: Single
    n_when_based: int
    error: float = field(repr=False)
    strips: Single = field(repr=False)
    entries: _Entries = field(repr=False)

    @property
    def n_columns(self) -> int:
        """Number of columns of a vector."""
        return len(self.basis)

    @property
    def vectors(self) -> FloatArray:
        """The vectors (entry, column) in one array."""
        return self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)

    @property
    def group(self) -> IntArray:
        """Group (entry,) of every vector."""
        return self.entries.group[: self.n_entries]

    def extended(self, vectors: FloatArray, group: IntArray | None = None) -> VectorIndex:
        """Return an index with more entries after those of this one.

        Vectors of this index are shared, not copied.
        """
        vectors, group = _checked(vectors, group, self.n_columns)
        if not len(vectors):
            return self
        n = self.n_entries + len(vectors)
        parts = (*(part for part in self.parts if len(part)), vectors)
        if self.n_when_based and n > _REBASE * self.n_when_based:
            groups = np.concatenate([self.group, group])
            return _assemble(parts, groups, None, self.basis.shape[1])
        k = self.basis.shape[1]
        projected = project(vectors, self.strips, k, min(FEW, k), self.error)
        with self.entries.lock:
            entries = self.entries.with_room(self.n_entries, len(vectors))
            entries.add(projected, group, addresses(vectors))
        return VectorIndex(
            parts, n, self.basis, self.n_when_based, self.error, self.strips, entries
        )


def _checked(
    vectors: FloatArray, group: IntArray | None, n_columns: int | None
) -> tuple[FloatArray, IntArray]:
    vectors = np.ascontiguousarray(vectors, dtype=np.float64)
    if vectors.ndim != 2:
        raise ParameterError(f"vectors must be (entry, column), not of shape {vectors.shape}")
    if n_columns is not None and vectors.shape[1] != n_columns:
        raise ParameterError(
            f"vectors have {vectors.shape[1]} columns, but those of the index have {n_columns}"
        )
    if group is None:
        group = np.zeros(len(vectors), dtype=np.int64)
    group = np.ascontiguousarray(group, dtype=np.int64)
    if group.shape != (len(vectors),):
        raise ParameterError(
            f"group must give one number per vector, ({len(vectors)},), not {group.shape}"
        )
    for first in range(0, len(vectors), 1024):
        some = vectors[first : first + 1024]
        square = np.einsum("ij,ij->i", some, some)
        wrong = np.flatnonzero(~(np.abs(square - 1.0) < _UNIT))
        if len(wrong):
            norm = np.sqrt(square[wrong[0]])
            raise ParameterError(
                f"vector {first + wrong[0]} has norm {norm:.6g}, but entries must have norm 1; "
                "scale them with unit_rows, and leave out vectors of norm 0: "
                "atoms without neighbors have no direction"
            )
    return vectors, group


def make_index(
    vectors: FloatArray,
    group: IntArray | None = None,
    *,
    basis: FloatArray | None = None,
    n_components: int = COMPONENTS,
) -> VectorIndex:
    """Prepare vectors for the search of the nearest one.

    Parameters
    ----------
    vectors
        Vectors (entry, column) of norm 1; see ``unit_rows``. They are not copied if
        they are contiguous and float64, and must not change afterwards.
    group
        Group (entry,) of every vector, such as the species of the center.
    basis
        Orthonormal columns (column, component). By default the principal vectors of
        the entries. The basis changes the speed, not the result.
    n_components
        Number of components if ``basis`` is not given.

    Raises
    ------
    ParameterError
        If the norm of a vector is not 1.
    """
    vectors, group = _checked(vectors, group, None)
    return _assemble((vectors,), group, basis, n_components)


def _assemble(
    parts: tuple[FloatArray, ...], group: IntArray, basis: FloatArray | None, n_components: int
) -> VectorIndex:
    n, based = sum(map(len, parts)), 0
    if basis is None:
        based = max(n, 64)
        step = max(1, n // _SAMPLE)
        starts = np.cumsum([0, *map(len, parts)])[:-1]
        some = [part[-start % step :: step] for start, part in zip(starts, parts, strict=True)]
        single = _basis_of(np.concatenate(some), n_components)
    else:
        single = np.ascontiguousarray(basis, dtype=np.float32)
    error, strips = error_of(single), strips_of(single)
    k = single.shape[1]
    few = min(FEW, k)
    entries = _Entries(few, rest_width(k, few), n)
    at = 0
    for part in parts:
        projected = project(part, strips, k, few, error)
        entries.add(projected, group[at : at + len(part)], addresses(part))
        at += len(part)
    return VectorIndex(parts, n, single, based, error, strips, entries)


def _slacks(index: VectorIndex) -> tuple[int, float, float, float]:
    """Return k, the allowance of residuals, and slacks of products and of squares."""
    n, k = index.basis.shape
    slack = 1.1 * (2.1 * index.error + (k + 10) * 2.0**-24)
    return k, allowance_of(n, index.error), slack, 1.1 * (4.0 * n * 2.0**-53 + _UNIT)


def _rows_of(
    index: VectorIndex, rows: FloatArray, group: IntArray | None
) -> tuple[FloatArray, IntArray, bool]:
    rows = np.ascontiguousarray(rows, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != index.n_columns:
        raise ParameterError(
            f"rows must be (row, {index.n_columns}) as the vectors of the index are, "
            f"not {rows.shape}"
        )
    if group is None:
        return rows, np.zeros(len(rows), dtype=np.int64), False
    group = np.ascontiguousarray(group, dtype=np.int64)
    if group.shape != (len(rows),):
        raise ParameterError(
            f"group must give one number per row, ({len(rows)},), not {group.shape}"
        )
    return rows, group, True


def nearest(
    index: VectorIndex, rows: FloatArray, group: IntArray | None = None
) -> tuple[IntArray, FloatArray]:
    """Find the entry nearest to every row.

    Parameters
    ----------
    index
        The entries.
    rows
        Vectors (row, column) of norm 1 or 0.
    group
        Group (row,) of every row. Only entries of the same group are compared. By
        default all are.

    Returns
    -------
        Index (row,) of the entry, the lowest one if several are equally near, and
        squared distance (row,). They are -1 and infinity if there is no entry, or none
        of the group, and for rows that contain NaN.
    """
    rows, group, grouped = _rows_of(index, rows, group)
    found, best = np.full(len(rows), -1, dtype=np.int64), np.full(len(rows), np.inf)
    entries = index.entries
    nearest_entries(
        rows,
        group,
        grouped,
        index.strips,
        *_slacks(index),
        entries.tiles,
        entries.rest,
        index.n_entries,
        entries.place,
        entries.group,
        found,
        best,
    )
    return found, best


def covered(
    index: VectorIndex, rows: FloatArray, max_squared_distance: float, group: IntArray | None = None
) -> BoolArray:
    """Find which rows have an entry within a squared distance.

    Parameters
    ----------
    index, rows, group
        As in ``nearest``.
    max_squared_distance
        Largest squared distance; an entry exactly at it is within.
    """
    rows, group, grouped = _rows_of(index, rows, group)
    found = np.zeros(len(rows), dtype=np.bool_)
    entries = index.entries
    covered_rows(
        rows,
        group,
        grouped,
        index.strips,
        *_slacks(index),
        entries.tiles,
        entries.rest,
        index.n_entries,
        entries.place,
        entries.group,
        max_squared_distance,
        found,
    )
    return found


__all__ = ["VectorIndex", "covered", "make_index", "nearest", "squared_distances", "unit_rows"]
