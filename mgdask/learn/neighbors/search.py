"""Exact and unique search for the k nearest rows of each query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import matrix
from mgdask.learn.neighbors.metrics import GroupRows, prepare


@dataclass(frozen=True, eq=False)
class NeighborIndex:
    """Rows prepared for the neighbor search, by group.

    Parameters
    ----------
    parts
        Rows of each group, prepared for the search.
    members
        Numbers (row,) of the rows of each group, increasing.
    n_columns
        Number of columns.
    """

    parts: Mapping[int, GroupRows]
    members: Mapping[int, IntArray]
    n_columns: int

    def nearest(
        self,
        queries: npt.ArrayLike,
        k: int,
        *,
        group: npt.ArrayLike | None = None,
        exclude: npt.ArrayLike | None = None,
    ) -> tuple[IntArray, FloatArray]:
        """Find the k nearest rows of each query.

        Parameters
        ----------
        queries
            Finite numbers, shape (query, column).
        k
            Number of neighbors.
        group
            Group of each query (query,). Needed if the rows have groups.
        exclude
            Rows with the same number as the query (query,) are not its neighbors; -1
            excludes none.

        Returns
        -------
        index, distance
            Rows (query, k) in order of distance, and their distances. Rows at the same
            distance are in order of their number.

        Raises
        ------
        ParameterError
            If shapes do not fit, a value is not finite, a group has no rows, or has
            fewer than ``k`` that are not excluded.
        """
        x = finite_matrix("queries", queries)
        if x.shape[1] != self.n_columns:
            raise ParameterError(
                f"queries have {x.shape[1]} columns, but the rows have {self.n_columns}; "
                "give the same columns in the same order"
            )
        if k < 1:
            raise ParameterError(f"k={k} must be at least 1")
        groups = codes("group", group, len(x), 0)
        code = codes("exclude", exclude, len(x), -1)
        index = np.empty((len(x), k), dtype=np.int64)
        distance = np.empty((len(x), k))
        for which in np.unique(groups).tolist():
            here = np.flatnonzero(groups == which)
            if which not in self.parts:
                raise ParameterError(
                    f"no row belongs to group {which}, but {len(here)} queries do; the groups are "
                    f"{', '.join(map(str, self.parts))}"
                )
            members = self.members[which]
            found, distance[here] = self.parts[which].nearest(x[here], k, code[here])
            short = np.flatnonzero(found[:, -1] < 0)
            if len(short):
                raise ParameterError(self._too_few(which, k, int((found[short[0]] >= 0).sum())))
            index[here] = members[found]
        return index, distance

    def _too_few(self, which: int, k: int, found: int) -> str:
        where = f" of group {which}" if len(self.parts) > 1 else ""
        return (
            f"k={k} neighbors are needed, but a query has only {found} rows{where}; use at most "
            f"{found} neighbors, or more rows"
        )


def neighbor_index(
    rows: npt.ArrayLike,
    *,
    group: npt.ArrayLike | None = None,
    exclude: npt.ArrayLike | None = None,
    metric: str = "euclidean",
) -> NeighborIndex:
    """Prepare rows for the neighbor search.

    Parameters
    ----------
    rows
        Finite numbers, shape (row, column).
    group
        Group of each row (row,), whole numbers. Neighbors of a query are in its group.
        Default: one group.
    exclude
        Number of each row (row,), such as its fold, at least 0. See
        ``NeighborIndex.nearest``.
    metric
        "euclidean" or "manhattan", see ``nearest_rows``.

    Raises
    ------
    ParameterError
        If shapes do not fit, a value is not finite, or the metric is unknown.
    """
    x = finite_matrix("rows", rows)
    groups = codes("group", group, len(x), 0)
    code = codes("exclude", exclude, len(x), -1)
    members = {which: np.flatnonzero(groups == which) for which in np.unique(groups).tolist()}
    parts = {
        which: prepare(metric, np.ascontiguousarray(x[here]), code[here])
        for which, here in members.items()
    }
    return NeighborIndex(parts, members, x.shape[1])


def nearest_rows(
    rows: npt.ArrayLike,
    queries: npt.ArrayLike,
    k: int,
    *,
    group: npt.ArrayLike | None = None,
    query_group: npt.ArrayLike | None = None,
    exclude: npt.ArrayLike | None = None,
    query_exclude: npt.ArrayLike | None = None,
    metric: str = "euclidean",
) -> tuple[IntArray, FloatArray]:
    """Find the k nearest rows of each query.

        euclidean:  d(p, q) = [sum_c (p_c - q_c)²]^(1/2)
        manhattan:  d(p, q) = sum_c |p_c - q_c|

    Parameters
    ----------
    rows
        Finite numbers, shape (row, column).
    queries
        Finite numbers, shape (query, column).
    k
        Number of neighbors.
    group, query_group
        Groups (row,) and (query,). Neighbors of a query are in its group.
    exclude, query_exclude
        Whole numbers (row,) and (query,). Rows with the same number as a query are not
        its neighbors. With fold numbers, one search finds the neighbors of every row
        in other folds. With row numbers, no row is its own neighbor.
    metric
        "euclidean" or "manhattan".

    Returns
    -------
    index, distance
        Rows (query, k) in order of distance, and their distances. Rows at the same
        distance are in order of their number.

    Raises
    ------
    ParameterError
        As in ``neighbor_index`` and ``NeighborIndex.nearest``.

    Notes
    -----
    The result is the same as from comparing each query with all rows. Squared or
    absolute differences are added in float64 in the order of the columns. The result
    does not depend on how queries are divided into blocks.

    Examples
    --------
    >>> index, distance = nearest_rows([[0.0], [1.0], [3.0]], [[0.9]], 2)
    >>> index.tolist(), distance.round(3).tolist()
    ([[1, 0]], [[0.1, 0.9]])
    """
    prepared = neighbor_index(rows, group=group, exclude=exclude, metric=metric)
    return prepared.nearest(queries, k, group=query_group, exclude=query_exclude)


def finite_matrix(name: str, values: npt.ArrayLike) -> FloatArray:
    """Return a non-empty matrix of finite numbers as float64.

    Raises
    ------
    ParameterError
        If it is not such a matrix. The message names the first bad row and column.
    """
    x = np.asarray(matrix(name, values), dtype=np.float64)
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        row, column = bad[0]
        raise ParameterError(
            f"{name}[{row}, {column}] is {x[row, column]} ({len(bad)} such values); all must be "
            "finite: remove these rows first"
        )
    return x


def codes(name: str, values: npt.ArrayLike | None, length: int, default: int) -> IntArray:
    """Return whole numbers (row,), or a default for all rows.

    Raises
    ------
    ParameterError
        If there is not one whole number per row.
    """
    if values is None:
        return np.full(length, default, dtype=np.int64)
    array: AnyArray = np.asarray(values)
    if array.shape != (length,) or array.dtype.kind not in "iub":
        raise ParameterError(
            f"{name} is {array.dtype} of shape {array.shape}; it must be one whole number for "
            f"each of {length} rows"
        )
    return array.astype(np.int64)
