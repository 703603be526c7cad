"""Search among the rows of one group, by metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.kernels.cityblock import CityblockIndex, cityblock_index, nearest_by_cityblock
from mgdask.kernels.euclidean import EuclideanIndex, euclidean_index, nearest_by_euclid

METRICS = ("euclidean", "manhattan")
"""Allowed values of ``metric``."""
_SPARE = 256
"""Maximum number of excluded rows that are found by Manhattan distance and dropped."""


class GroupRows(Protocol):
    """Rows of one group, prepared for the search."""

    def nearest(self, queries: FloatArray, k: int, code: IntArray) -> tuple[IntArray, FloatArray]:
        """Find the k nearest rows of each query.

        Parameters
        ----------
        queries
            Queries (query, column), finite numbers.
        k
            Number of rows.
        code
            Rows with the same code as the query (query,) are not its neighbors; -1
            excludes none.

        Returns
        -------
        index, distance
            Rows (query, k) in order of distance and then of row, and their distances.
            They are -1 and infinity beyond the number of rows.
        """


@dataclass(frozen=True, eq=False)
class EuclideanRows:
    """Rows of one group for the Euclidean distance.

    Parameters
    ----------
    index
        The rows, with their codes.
    """

    index: EuclideanIndex

    def nearest(self, queries: FloatArray, k: int, code: IntArray) -> tuple[IntArray, FloatArray]:
        """Find the k nearest rows of each query; see ``GroupRows``."""
        found, square = nearest_by_euclid(self.index, queries, k, code=code)
        return found, np.sqrt(square)


@dataclass(frozen=True, eq=False)
class ManhattanRows:
    """Rows of one group for the Manhattan distance.

    Parameters
    ----------
    index
        The rows.
    high
        Highest value of each column (column,).
    code
        Code of each row (row,).
    """

    index: CityblockIndex
    high: FloatArray
    code: IntArray

    def nearest(self, queries: FloatArray, k: int, code: IntArray) -> tuple[IntArray, FloatArray]:
        """Find the k nearest rows of each query; see ``GroupRows``."""
        found = np.empty((len(queries), k), dtype=np.int64)
        distance = np.empty((len(queries), k))
        within = ((queries >= self.index.low) & (queries <= self.high)).all(axis=1)
        inside, outside = np.flatnonzero(within), np.flatnonzero(~within)
        if len(outside):
            # rounded values must have room for them; the result does not depend on it
            low = np.minimum(self.index.low, queries[outside].min(axis=0))
            high = np.maximum(self.high, queries[outside].max(axis=0))
            wider = _cityblock(self.index.x, low, high)
            found[outside], distance[outside] = self._allowed(
                high, wider, queries[outside], k, code[outside]
            )
        found[inside], distance[inside] = self._allowed(
            self.high, self.index, queries[inside], k, code[inside]
        )
        return found, distance

    def _allowed(
        self, high: FloatArray, index: CityblockIndex, queries: FloatArray, k: int, code: IntArray
    ) -> tuple[IntArray, FloatArray]:
        kinds, counts = np.unique(self.code, return_counts=True)
        at = np.minimum(np.searchsorted(kinds, code), len(kinds) - 1)
        excluded = np.where((kinds[at] == code) & (code >= 0), counts[at], 0)
        found = np.full((len(queries), k), -1, dtype=np.int64)
        distance = np.full((len(queries), k), np.inf)
        # few rows are excluded: the k nearest allowed ones are among a few more
        here = np.flatnonzero(excluded <= _SPARE)
        enough = k + int(excluded[here].max(initial=0))
        near, far = nearest_by_cityblock(index, queries[here], enough)
        own = code[here, None]
        allowed = (near >= 0) & ((own < 0) | (self.code[near] != own))
        near[~allowed], far[~allowed] = -1, np.inf
        order = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
        found[here] = np.take_along_axis(near, order, axis=1)
        distance[here] = np.take_along_axis(far, order, axis=1)
        # many are excluded, such as a fold: only the others are searched
        for which in np.unique(code[excluded > _SPARE]):
            here, rows = np.flatnonzero(code == which), np.flatnonzero(self.code != which)
            if not len(rows):
                continue
            others = cityblock_index(np.ascontiguousarray(index.x[rows]), index.low, high)
            near, far = nearest_by_cityblock(others, queries[here], k)
            found[here] = np.where(near >= 0, rows[near], -1)
            distance[here] = far
        return found, distance


def _cityblock(x: FloatArray, low: FloatArray, high: FloatArray) -> CityblockIndex:
    with np.errstate(over="ignore"):
        spread = float((high - low).sum())
    if not np.isfinite(spread):
        raise ParameterError(
            "the range of the columns is beyond the largest float64; scale the columns first"
        )
    return cityblock_index(x, low, high)


def prepare(metric: str, x: FloatArray, code: IntArray) -> GroupRows:
    """Prepare the rows of one group for the search.

    Parameters
    ----------
    metric
        "euclidean" or "manhattan".
    x
        Rows (row, column), contiguous finite numbers, at least one.
    code
        Code of each row (row,).

    Raises
    ------
    ParameterError
        If the metric is unknown, or columns are too many or too wide for it.
    """
    if metric == "euclidean":
        return EuclideanRows(euclidean_index(x, code))
    if metric == "manhattan":
        low, high = x.min(axis=0), x.max(axis=0)
        return ManhattanRows(_cityblock(x, low, high), high, code)
    raise ParameterError(f"metric={metric!r} is unknown; choose 'euclidean' or 'manhattan'")
