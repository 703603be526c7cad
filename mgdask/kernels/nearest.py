"""The nearest of many vectors, exact, without reading most of them.

Every entry q is projected on a few orthonormal vectors; a = Q^T q, and r = |q - Q a| is
what they leave. The same numbers of a row p bound its distance from below:

    |p - q|^2 >= |a_p - a_q|^2 + (r_p - r_q)^2
               = |p|^2 + |q|^2 - 2 (a_p.a_q + r_p r_q)

by the inequality of Cauchy and Schwarz in the complement of Q. Only entries whose bound
is not above the best distance so far are compared in full (``distances.py``). The
result is that of comparing with all of them, with the lowest index if distances tie.

Rounding never loses an entry. Let e = |B^T B - I| of the stored basis B, n the number
of columns, k that of components, u = 2^-53 and v = 2^-24.

1. Q = B (B^T B)^(-1/2) is orthonormal, and Q^T p differs from B^T p by at most e |p|
   (e < 0.1). Sums of n products add n u |b| |p| per component. Together the projection
   is wrong by at most h |p| with h = 1.1 e + 1.2 n u sqrt(k).
2. r^2 = |p|^2 - |Q^T p|^2 is computed within (3 h + 4 n u) |p|^2. This is added before
   the root is taken, so r is never too small, and r_p r_q still bounds the product of
   the residuals.
3. a and r are rounded to float32, each by v, and multiplied in float32 in any order,
   which costs at most (k + 1) v. All of (1) to (3) is below (k + 8) v + 4 h times
   |p| |q|.
4. The distance that decides has a relative error below 2 n u.
5. The limit of the float32 product is itself rounded: 2 v.
6. |q|^2 of an entry is taken to be 1, which ``make_index`` has checked within 1e-9.

``_slack`` adds these up, with a tenth on top for terms of second order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import boolean, float32, float64, int64

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.kernels._jit import array, kernel
from mgdask.kernels.distances import (
    addresses,
    at_address,
    squared_distance,
    squared_distances,
    unit_rows,
)
from mgdask.kernels.simd import address

Single: TypeAlias = npt.NDArray[np.float32]

COMPONENTS = 32
BATCH = 64
_UNIT = 1e-9
_SAMPLE = 512
_REBASE = 4
"""A basis is made anew once there are so many times the entries it was made for."""


def _basis_of(vectors: FloatArray, n_components: int) -> FloatArray:
    """Return orthonormal columns along the principal vectors of some entries."""
    dim = vectors.shape[1]
    width = min(n_components, dim)
    some = vectors[np.unique(np.linspace(0, len(vectors) - 1, _SAMPLE).astype(np.int64))]
    _, turn = np.linalg.eigh(some @ some.T)
    leading = some.T @ turn[:, ::-1][:, :width]
    leading /= np.maximum(np.linalg.norm(leading, axis=0), 1e-300)
    # directions beyond the rank of the entries are arbitrary, but orthonormal too
    random = np.random.default_rng(0).normal(size=(dim, width)) * 1e-3 / np.sqrt(dim)
    random[:, : leading.shape[1]] *= 1e-6
    random[:, : leading.shape[1]] += leading
    q, _ = np.linalg.qr(random)
    return np.ascontiguousarray(q)


@dataclass(frozen=True)
class VectorIndex:
    """Vectors prepared for the search of the nearest one.

    Parameters
    ----------
    parts
        The vectors (entry, column) of norm 1 in order, in one or more arrays. They may
        be mapped from files.
    group
        Group (entry,) of every vector. Rows are compared with entries of their own
        group if groups are given for them.
    basis
        Orthonormal columns (column, component).
    projected
        Components and norm of the residual (entry, component + 1) of every vector, in
        float32.
    place
        Address (entry,) of every vector in memory.
    n_when_based
        Number of entries that the basis was made for; 0 if it was given.
    """

    parts: tuple[FloatArray, ...]
    group: IntArray
    basis: FloatArray
    projected: Single
    place: IntArray
    n_when_based: int

    @property
    def n_entries(self) -> int:
        """Number of entries."""
        return len(self.place)

    @property
    def n_columns(self) -> int:
        """Number of columns of a vector."""
        return len(self.basis)

    @property
    def vectors(self) -> FloatArray:
        """The vectors (entry, column) in one array."""
        return self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)

    def extended(self, vectors: FloatArray, group: IntArray | None = None) -> VectorIndex:
        """Return an index with more entries after those of this one.

        Vectors of this index are shared, not copied.
        """
        vectors, group = _checked(vectors, group, self.n_columns)
        if not len(vectors):
            return self
        n = self.n_entries + len(vectors)
        parts = (*(part for part in self.parts if len(part)), vectors)
        groups = np.concatenate([self.group, group])
        if self.n_when_based and n > _REBASE * self.n_when_based:
            return _assemble(parts, groups, None, self.basis.shape[1])
        return replace(
            self,
            parts=parts,
            group=groups,
            projected=np.concatenate([self.projected, _project(vectors, self.basis)[0]]),
            place=np.concatenate([self.place, addresses(vectors)]),
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


def _error_of(basis: FloatArray) -> float:
    """Return h, the largest error of a projection of a vector of norm 1."""
    n, k = basis.shape
    e = float(np.linalg.norm(basis.T @ basis - np.eye(k))) + n * 2.0**-52
    if not e < 0.01:
        raise ParameterError(
            f"the basis is not orthonormal: its products differ from 0 and 1 by {e:.3g}"
        )
    return float(1.1 * e + 1.2 * n * 2.0**-53 * np.sqrt(k))


def _slack(n: int, k: int, h: float) -> float:
    return 1.1 * ((k + 10) * 2.0**-24 + 4.0 * h + 8.0 * n * 2.0**-53) + 2.0 * _UNIT


def _project(rows: FloatArray, basis: FloatArray) -> tuple[Single, FloatArray]:
    """Return components and residual in float32, and the squared norms of the rows."""
    n, k = basis.shape
    square = np.einsum("ij,ij->i", rows, rows)
    out = np.empty((len(rows), k + 1), dtype=np.float32)
    component = rows @ basis
    out[:, :k] = component
    rest = square - np.einsum("ij,ij->i", component, component)
    allowance = (3.0 * _error_of(basis) + 4.0 * n * 2.0**-53) * square
    out[:, k] = np.sqrt(np.maximum(rest, 0.0) + allowance)
    return out, square


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
        If a vector has not the norm 1.
    """
    vectors, group = _checked(vectors, group, None)
    return _assemble((vectors,), group, basis, n_components)


def _assemble(
    parts: tuple[FloatArray, ...], group: IntArray, basis: FloatArray | None, n_components: int
) -> VectorIndex:
    n = sum(map(len, parts))
    based = 0
    if basis is None:
        based = max(n, 64)
        step = max(1, n // _SAMPLE)
        starts = np.cumsum([0, *map(len, parts)])
        some = [
            part[(-start) % step :: step] for start, part in zip(starts[:-1], parts, strict=True)
        ]
        basis = _basis_of(np.concatenate(some), n_components) if n else _any(parts, n_components)
    basis = np.ascontiguousarray(basis, dtype=np.float64)
    return VectorIndex(
        parts=parts,
        group=group,
        basis=basis,
        projected=np.concatenate([_project(part, basis)[0] for part in parts]),
        place=np.concatenate([addresses(part) for part in parts]),
        n_when_based=based,
    )


def _any(parts: tuple[FloatArray, ...], n_components: int) -> FloatArray:
    dim = parts[0].shape[1]
    return np.eye(dim, min(dim, n_components))


@kernel(
    array(float64, 2),
    array(float64, 1),
    array(int64, 1),
    boolean,
    array(int64, 1),
    array(int64, 1),
    array(float32, 2, out=True),
    float64,
    boolean,
    array(int64, 1, out=True),
    array(float64, 1, out=True),
)
def _refine(
    rows: FloatArray,
    square: FloatArray,
    row_group: IntArray,
    grouped: bool,
    place: IntArray,
    group: IntArray,
    product: Single,
    slack: float,
    first_within: bool,
    found: IntArray,
    best: FloatArray,
) -> None:
    # on entry, ``best`` is the largest squared distance that counts
    n = rows.shape[1]
    for i in range(len(rows)):
        norm = np.sqrt(square[i])
        limit = best[i]
        while True:
            # the most similar entry that has not been compared
            least = 0.5 * (square[i] + 1.0 - limit) - slack * (norm + square[i] + 1.0 + limit)
            if limit == np.inf:
                least = -np.inf
            top, at = -np.inf, -1
            for j in range(len(place)):
                if product[i, j] > top and (not grouped or group[j] == row_group[i]):
                    top, at = product[i, j], j
            if at < 0 or top < least:
                break
            product[i, at] = -np.inf
            d = squared_distance(address(rows, i * n), at_address(place[at]), n, limit)
            if d < limit or (d == limit and (found[i] < 0 or at < found[i])):
                found[i], best[i], limit = at, d, d
                if first_within:
                    break


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


def _search(
    index: VectorIndex, rows: FloatArray, group: IntArray | None, limit: float, first_within: bool
) -> tuple[IntArray, FloatArray]:
    rows, group, grouped = _rows_of(index, rows, group)
    found = np.full(len(rows), -1, dtype=np.int64)
    best = np.full(len(rows), limit)
    if not index.n_entries:
        return found, best
    n, k = index.basis.shape
    slack = _slack(n, k, _error_of(index.basis))
    for first in range(0, len(rows), BATCH):
        last = first + BATCH
        projected, square = _project(rows[first:last], index.basis)
        product = projected @ index.projected.T
        _refine(
            rows[first:last],
            square,
            group[first:last],
            grouped,
            index.place,
            index.group,
            product,
            slack,
            first_within,
            found[first:last],
            best[first:last],
        )
    return found, best


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
    found, best = _search(index, rows, group, np.inf, False)
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
    found, _ = _search(index, rows, group, max_squared_distance, True)
    return np.asarray(found >= 0)


__all__ = ["VectorIndex", "covered", "make_index", "nearest", "squared_distances", "unit_rows"]
