"""Clusters of rows by single or average linkage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.cluster import hierarchy

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.kernels.linkage import connected_rows
from mgdask.learn.data.arrays import column_names, matrix, refuse_nan

LINKAGES = ("single", "average")
"""Linkage methods of ``linkage_clusters``."""


def linkage_clusters(X: npt.ArrayLike, cutoff: float, linkage: str = "single") -> IntArray:
    """Cluster rows by single or average linkage below a cutoff.

    Parameters
    ----------
    X, cutoff
        As for ``single_linkage``.
    linkage
        "single" or "average". Average linkage merges clusters while the mean distance
        of their rows is shorter than the cutoff.

    Returns
    -------
    cluster
        As ``single_linkage``.

    Raises
    ------
    ParameterError
        If the method is unknown, or as in ``single_linkage``.

    Notes
    -----
    Average linkage uses SciPy. It stores the distances of all pairs of rows: 64 MB for
    4000 rows, and 100 times as much for ten times as many rows.

    References
    ----------
    Sokal and Michener, Univ. Kansas Sci. Bull. 38, 1409 (1958).

    Examples
    --------
    >>> rows = [[0.0], [0.9], [1.8], [2.7]]
    >>> linkage_clusters(rows, 1.0, "single").tolist()
    [0, 0, 0, 0]
    >>> linkage_clusters(rows, 1.0, "average").tolist()
    [0, 0, 1, 1]
    """
    if linkage == "single":
        return single_linkage(X, cutoff)
    if linkage != "average":
        raise ParameterError(f"linkage={linkage!r}; choose one of {', '.join(LINKAGES)}")
    values = _checked(X, cutoff)
    if len(values) == 1:
        return np.zeros(1, dtype=np.int64)
    tree = hierarchy.linkage(values, "average")
    # below the cutoff, not at it
    found = hierarchy.fcluster(tree, np.nextafter(cutoff, 0.0), "distance")
    _, first, number = np.unique(found, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[number], dtype=np.int64)


def single_linkage(X: npt.ArrayLike, cutoff: float) -> IntArray:
    """Cluster rows by single linkage below a cutoff.

    Two rows are in the same cluster if they are connected by a chain of rows with
    successive Euclidean distances below the cutoff. These are the clusters obtained by
    cutting the tree of single linkage at this distance.

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
    Memory: a copy of X as float64, unless it already is. There is no distance matrix.
    Time: at most that of all pairs, and much less if most rows are in a few clusters.

    References
    ----------
    Gower and Ross, Appl. Stat. 18, 54 (1969).

    Examples
    --------
    >>> single_linkage([[0.0], [5.0], [0.9], [1.8]], cutoff=1.0).tolist()
    [0, 1, 0, 0]
    """
    values = _checked(X, cutoff)
    cluster = np.empty(len(values), dtype=np.int64)
    connected_rows(values, float(cutoff), cluster)
    return cluster


def _checked(X: npt.ArrayLike, cutoff: float) -> FloatArray:
    values = matrix("X", X)
    refuse_nan("X", values, column_names(None, values.shape[1]))
    if not cutoff > 0.0:
        raise ParameterError(f"cutoff={cutoff} must be above 0")
    return np.ascontiguousarray(values, dtype=np.float64)
