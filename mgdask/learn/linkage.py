"""Clusters of rows by single linkage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgdask._typing import IntArray
from mgdask.errors import ParameterError
from mgdask.kernels.linkage import connected_rows
from mgdask.learn.data.arrays import column_names, matrix, refuse_nan


def single_linkage(X: npt.ArrayLike, cutoff: float) -> IntArray:
    """Cluster rows by single linkage below a cutoff.

    Two rows are in one cluster if a chain of rows connects them whose successive
    Euclidean distances are all shorter than the cutoff. These are the clusters that
    remain if the tree of single linkage is cut at that distance.

    Parameters
    ----------
    X
        Numbers, shape (row, column). The columns are not scaled.
    cutoff
        Distance above 0, in the unit of the columns.

    Returns
    -------
    cluster
        Number of the cluster of each row, shape (row,). Clusters are numbered from 0
        in the order of their first rows.

    Raises
    ------
    ParameterError
        If a value is not finite, or the cutoff is not above 0.

    Notes
    -----
    Memory: a copy of X as float64, if it is not that already, and no matrix of
    distances. Time: at most that of all pairs, and much less if most rows are in a few
    clusters.

    References
    ----------
    Gower and Ross, Appl. Stat. 18, 54 (1969).

    Examples
    --------
    >>> single_linkage([[0.0], [5.0], [0.9], [1.8]], cutoff=1.0).tolist()
    [0, 1, 0, 0]
    """
    values = matrix("X", X)
    refuse_nan("X", values, column_names(None, values.shape[1]))
    if not cutoff > 0.0:
        raise ParameterError(f"cutoff={cutoff} must be above 0")
    cluster = np.empty(len(values), dtype=np.int64)
    connected_rows(np.ascontiguousarray(values, dtype=np.float64), float(cutoff), cluster)
    return cluster
