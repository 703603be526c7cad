"""Clusters of rows by single linkage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage

from mgdask._typing import IntArray
from mgdask.errors import ParameterError
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
    if len(values) == 1:
        return np.zeros(1, dtype=np.int64)
    tree = linkage(np.asarray(values, dtype=np.float64), "single")
    found = fcluster(tree, np.nextafter(cutoff, 0.0), "distance")
    _, first, number = np.unique(found, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[number], dtype=np.int64)
