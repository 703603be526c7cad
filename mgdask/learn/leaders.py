"""Leader clustering: select vectors that are not similar to any earlier leader.

    M_ij = 1 - sqrt(|p_i - p_j|^2 / 2),   p of norm 1

A vector becomes a leader if M is below the threshold for every earlier leader. The
result depends on the order of the vectors. Every decision compares a distance computed
in a fixed order, so the result is the same for any batch size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.kernels.nearest import VectorIndex, covered, make_index, squared_distances, unit_rows

BATCH = 64
"""Vectors that are compared with each other at a time."""


class LeaderClustering:
    """Leaders of vectors that arrive in batches, in order.

    Parameters
    ----------
    max_squared_distance
        Largest squared distance at which two vectors are similar.
    index
        Leaders that are already known. Default: none.

    Attributes
    ----------
    n_leaders
        Number of leaders so far.
    """

    def __init__(self, max_squared_distance: float, index: VectorIndex | None = None) -> None:
        self.max_squared_distance = max_squared_distance
        self._index = index

    @property
    def n_leaders(self) -> int:
        """Number of leaders so far."""
        return 0 if self._index is None else self._index.n_entries

    def settle(self, vectors: FloatArray, group: npt.ArrayLike | None = None) -> IntArray:
        """Decide which vectors of a batch become leaders.

        Parameters
        ----------
        vectors
            Vectors (row, column) of norm 1.
        group
            Group (row,) of each. Vectors of different groups are never similar.

        Returns
        -------
        rows
            Increasing indices of the rows that became leaders.
        """
        groups = np.zeros(len(vectors), dtype=np.int64) if group is None else np.asarray(group)
        found = [
            first + self._settle(vectors[first : first + BATCH], groups[first : first + BATCH])
            for first in range(0, len(vectors), BATCH)
        ]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _settle(self, vectors: FloatArray, groups: IntArray) -> IntArray:
        if self._index is None:
            fresh = np.arange(len(vectors))
        else:
            fresh = np.flatnonzero(
                ~covered(self._index, vectors, self.max_squared_distance, groups)
            )
        # the first is a leader, and so is each that is similar to no leader before it
        near = squared_distances(vectors[fresh], vectors[fresh]) <= self.max_squared_distance
        near &= groups[fresh, None] == groups[None, fresh]
        chosen: list[int] = []
        for row in range(len(fresh)):
            if not near[row, chosen].any():
                chosen.append(row)
        rows = fresh[chosen]
        if len(rows):
            new = np.ascontiguousarray(vectors[rows])
            self._index = (
                make_index(new, groups[rows])
                if self._index is None
                else self._index.extended(new, groups[rows])
            )
        return rows.astype(np.int64)


def leaders(
    vectors: npt.ArrayLike, threshold: float, group: npt.ArrayLike | None = None
) -> IntArray:
    """Return the leaders of vectors, in their order.

    The first vector is a leader. Every other one is, if its similarity to each earlier
    leader is below the threshold::

        M_ij = 1 - sqrt(|p_i - p_j|^2 / 2),   p of norm 1

    Parameters
    ----------
    vectors
        Vectors (row, column), of any length above 0. They are scaled to norm 1.
    threshold
        Similarity at or above which two vectors are similar, from 0 to 1.
    group
        Group (row,) of each, an integer. Vectors of different groups are never similar.

    Returns
    -------
    rows
        Increasing indices (leader,) of the rows.

    Raises
    ------
    ParameterError
        If a vector is zero or not finite, or the threshold is out of range.

    References
    ----------
    Liu C. et al., Acta Mater. 259, 119281 (2023).

    Examples
    --------
    >>> leaders([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], 0.8).tolist()
    [0, 2]
    """
    check_threshold(threshold)
    rows = np.ascontiguousarray(vectors, dtype=np.float64)
    if rows.ndim != 2:
        raise ParameterError(f"vectors must be a 2-D array (row, column); got shape {rows.shape}")
    rows = unit_rows(rows)
    norms = np.einsum("ij,ij->i", rows, rows)
    bad = np.flatnonzero(~(norms > 0.5))
    if len(bad):
        raise ParameterError(
            f"vectors: row {bad[0]} has norm {norms[bad[0]]}, so it has no direction; "
            f"remove such rows ({len(bad)} of {len(rows)})"
        )
    groups = None if group is None else np.asarray(group)
    if groups is not None and groups.shape != (len(rows),):
        raise ParameterError(
            f"group has shape {groups.shape}; give one integer for each of the {len(rows)} vectors"
        )
    return LeaderClustering(2.0 * (1.0 - threshold) ** 2).settle(rows, groups)


def check_threshold(threshold: float) -> None:
    """Raise ``ParameterError`` unless a threshold is a similarity from 0 to 1.

    Parameters
    ----------
    threshold
        The threshold.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ParameterError(
            f"threshold={threshold} must be a similarity from 0 to 1, such as 0.84. At 1, only "
            "equal vectors are similar"
        )
