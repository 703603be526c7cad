"""ReliefF: weights of columns by how well they separate neighboring classes.

No model is trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import coded, column_names, generator, matrix, refuse_nan, row_blocks

if TYPE_CHECKING:
    from distributed import Client

FORMS = ("per-class", "literal")
"""Forms of the weights; see ``relieff``."""
NEIGHBORS = {"per-class": 10, "literal": 50}
"""Default number of neighbors: the usual one, and that of Liu X. et al. (2022)."""
_BLOCK_VALUES = 2**23
"""Numbers in the largest temporary array."""


@dataclass(frozen=True)
class _Rows:
    """A subset of the rows and its search tree."""

    x: FloatArray
    rows: IntArray
    tree: cKDTree

    def nearest(self, points: IntArray, k: int, workers: int) -> IntArray:
        """Find the ``k`` nearest rows by Manhattan distance, shape (point, k)."""
        _, place = self.tree.query(self.x[points], k=np.arange(1, k + 1), p=1.0, workers=workers)
        return np.asarray(self.rows[np.asarray(place)], dtype=np.int64)

    def others(self, points: IntArray, k: int, workers: int) -> IntArray:
        """Find the ``k`` nearest rows of points among these rows, excluding each point.

        The point may be at any position among rows at distance 0.
        """
        neighbors = self.nearest(points, k + 1, workers)
        other = neighbors != points[:, None]
        # a point that is not among its k + 1 nearest: all of them are at distance 0
        other[other.all(axis=1), -1] = False
        return np.asarray(neighbors[other].reshape(len(points), k), dtype=np.int64)


def relieff(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    neighbors: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    form: str = "per-class",
    names: Sequence[str] | None = None,
    workers: int = 1,
) -> FloatArray:
    """Compute the ReliefF weights of columns for two or more classes.

    The sums run over m rows i, each of class t. P(c) is the share of class c among all
    rows::

        diff(A, i, j) = |x_iA - x_jA| / (max_A - min_A)

        per-class:
        W_A = - sum_i sum_(j in hits_k) diff / (m k)
              + sum_i sum_(c != t) P(c) / (1 - P(t))
                * sum_(j in misses_k of class c) diff / (m k)

        literal:
        W_A = - sum_i sum_(j in near_k, class of j = t) diff / (m k)
              + sum_i sum_(j in near_k, class n of j != t)
                P(n) / (1 - P(t)) diff / (m k)

    ``hits_k`` are the k nearest rows of the same class as i. ``misses_k`` are the k
    nearest rows of another class, and ``near_k`` those of any class. The distance is
    the Manhattan distance, the sum of diff over all columns.

    Parameters
    ----------
    X
        Numbers, shape (row, column).
    y
        Class of each row, shape (row,).
    neighbors
        Number k of neighbors. Default: 10 for "per-class", 50 for "literal".
    samples
        Number m of rows, drawn without replacement. Default: all rows.
    seed
        Seed of the sample.
    form
        "per-class" or "literal".
    names
        Names of the columns, for error messages.
    workers
        Threads of the neighbor search; -1 for all. The result does not depend on it.

    Returns
    -------
    weights
        Weights, shape (column,), between -1 and 1. A larger weight means a more
        relevant column. The weight of a constant column is 0.

    Raises
    ------
    ParameterError
        If a value is NaN, there is only one class, or there are too few rows.
        "per-class" needs k + 1 rows in every class, "literal" needs k + 1 in total.

    Notes
    -----
    Eq. (1) of Liu X. et al. (2022) has nh hits and nm misses among k = 50 neighbors.
    "literal" follows that text. Its weights also depend on the number of misses: a row
    surrounded by its own class can only lower them. A relevant column may then have a
    negative weight, below that of a constant column. "per-class" is the method that the
    paper cites, and very likely what its program did. It is the sound form and
    therefore the default.

    * The columns must be numbers, not unordered categories.
    * Duplicates of a column all have the same weight.
    * Classes count in proportion to their number of rows in the sample. If one is rare,
      undersample first.
    * If several rows are at the same distance, the search tree decides which of them
      are neighbors.

    The cost is m searches. With more than about ten columns, each search visits nearly
    all rows. With 80 columns, 1000 samples take about 1 s among 2e4 rows and 18 s among
    1e5. Memory: two copies of X as float64.

    References
    ----------
    "per-class": Kononenko, ECML 171 (1994); Robnik-Sikonja and Kononenko, Machine
    Learning 53, 23 (2003), Fig. 2.

    "literal": Liu X. et al., J. Mater. Inf. 2, 20 (2022), Eq. (1).

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = rng.normal(size=(200, 3))
    >>> int(relieff(x, x[:, 1] > 0).argmax())
    1
    """
    values = matrix("X", X)
    refuse_nan("X", values, column_names(names, values.shape[1]))
    kinds, label = coded("y", y, len(values))
    count = np.bincount(label)
    form = _current_form(form, len(kinds))
    k = NEIGHBORS[form] if neighbors is None else neighbors
    _validate(kinds, count, k, samples, form)
    rng = generator(seed)
    sampled = (
        np.arange(len(label))
        if samples is None
        else np.sort(rng.choice(len(label), samples, replace=False))
    )
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    x = values - low
    # a constant column becomes 0 and adds nothing to any distance
    x /= np.where(high > low, high - low, 1.0)
    share = count / len(label)
    weight = np.zeros(x.shape[1])
    if form == "literal":
        every = _Rows(x, np.arange(len(x)), cKDTree(x))
        for block in row_blocks(len(sampled), 1, max(1, _BLOCK_VALUES // (x.shape[1] * k))):
            weight += _literal_gain(every, label, share, sampled[block], k, workers)
        return weight / (len(sampled) * k)
    members = [np.flatnonzero(label == c) for c in range(len(kinds))]
    classes = [_Rows(x, rows, cKDTree(x[rows])) for rows in members]
    size = max(1, _BLOCK_VALUES // (x.shape[1] * k * len(kinds)))
    for kind in range(len(kinds)):
        points = sampled[label[sampled] == kind]
        for block in row_blocks(len(points), 1, size):
            weight += _per_class_gain(classes, share, points[block], kind, k, workers)
    return weight / (len(sampled) * k)


def relieff_forms(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    neighbors: int,
    *,
    names: Sequence[str] | None = None,
    folder: str | Path | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> dict[str, FloatArray]:
    """Compute the ReliefF weights of all rows in both forms.

    Parameters
    ----------
    X, y
        As for ``relieff``.
    neighbors
        Number of neighbors of both forms.
    names
        Names of the columns, for error messages.
    folder
        Folder for the scaled rows while tasks read them. Default: a temporary folder.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    weights
        Weights (column,) by form, "per-class" and "literal".

    Examples
    --------
    >>> relieff_forms(x, y, 50)["per-class"]  # doctest: +SKIP
    """
    del folder, client, progress
    return {form: relieff(X, y, neighbors, form=form, names=names) for form in FORMS}


def _current_form(form: str, n_classes: int) -> str:
    """Return the current name of a form; old names raise a warning or an error."""
    if form == "standard" or (form == "liu2022" and n_classes == 2):
        # for two classes P(c) / (1 - P(t)) = 1, so "liu2022" gave the same numbers
        warnings.warn(
            f"relieff: form={form!r} is form='per-class' since version 0.2",
            FutureWarning,
            stacklevel=3,
        )
        return "per-class"
    if form == "liu2022":
        raise ParameterError(
            "form='liu2022' left out the prior weights of Eq. (1) of Liu X. et al. (2022), and "
            f"its numbers for {n_classes} classes are no longer computed. Use form='literal' "
            "for the printed equation, or form='per-class' for the method it cites"
        )
    if form not in FORMS:
        raise ParameterError(f"form={form!r} is unknown; choose one of {', '.join(FORMS)}")
    return form


def _validate(
    kinds: Sequence[object], count: IntArray, k: int, samples: int | None, form: str
) -> None:
    """Refuse more neighbors or samples than the rows allow."""
    if len(kinds) < 2:
        raise ParameterError(
            f"y holds one class only ({kinds[0]!r}, {count[0]} rows); ReliefF needs two or more"
        )
    n_rows = int(count.sum())
    if form == "literal" and not 1 <= k < n_rows:
        raise ParameterError(
            f"neighbors={k} must be at least 1 and below the {n_rows} rows; use fewer neighbors"
        )
    if form == "per-class" and not 1 <= k < count.min():
        raise ParameterError(
            f"neighbors={k} must be at least 1 and below the number of rows of every "
            f"class; class {kinds[int(count.argmin())]!r} has {count.min()}. Use fewer "
            "neighbors, or leave that class out"
        )
    if samples is not None and not 1 <= samples <= n_rows:
        raise ParameterError(
            f"samples={samples} must be between 1 and the number of rows, {n_rows}, or None for all"
        )


def _literal_gain(
    every: _Rows, label: IntArray, share: FloatArray, points: IntArray, k: int, workers: int
) -> FloatArray:
    """Return Eq. (1) of Liu X. et al. (2022) summed over points, shape (column,)."""
    neighbors = every.others(points, k, workers)
    own = label[points][:, None]
    prior = np.where(label[neighbors] == own, -1.0, share[label[neighbors]] / (1.0 - share[own]))
    difference = np.abs(every.x[points][:, None, :] - every.x[neighbors])
    return np.asarray((prior[:, :, None] * difference).sum(axis=(0, 1)), dtype=np.float64)


def _per_class_gain(
    classes: Sequence[_Rows], share: FloatArray, points: IntArray, kind: int, k: int, workers: int
) -> FloatArray:
    """Sum the differences to misses minus those to hits over points of one class.

    Returns an array of shape (column,).
    """
    x = classes[kind].x
    gain = -_difference(x, points, classes[kind].others(points, k, workers))
    for c, one in enumerate(classes):
        if c != kind:
            prior = share[c] / (1.0 - share[kind])
            gain += prior * _difference(x, points, one.nearest(points, k, workers))
    return gain


def _difference(x: FloatArray, points: IntArray, rows: IntArray) -> FloatArray:
    """Sum |x_i - x_j| over points i and their neighbors j, shape (column,)."""
    return np.asarray(np.abs(x[points][:, None, :] - x[rows]).sum(axis=(0, 1)), dtype=np.float64)
