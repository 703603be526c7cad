"""Forward selection of the columns that explain a value best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgdask._typing import IntArray
from mgdask.errors import ParameterError
from mgdask.execution.executor import one_library_thread
from mgdask.learn.data.arrays import matrix, refuse_nan, vector

INDEPENDENT = 1e-5
"""Minimum fraction of a column's norm that earlier columns leave unexplained."""


def forward_selection(x: npt.ArrayLike, y: npt.ArrayLike, n_columns: int) -> IntArray:
    """Select columns for a linear regression, one at a time.

    Each step adds the column that minimizes the squared error of a linear regression
    with an intercept on all selected columns (orthogonal least squares).

    Parameters
    ----------
    x
        Columns, shape (row, column).
    y
        Numbers to explain, shape (row,).
    n_columns
        Number of columns to choose.

    Returns
    -------
    columns
        Indices in the order of selection. There are fewer than ``n_columns`` if no
        other column is independent of those selected. Of equally good columns, the
        first is selected.

    Raises
    ------
    ParameterError
        If ``n_columns`` is below 1, shapes do not match, or a value is not finite.

    Notes
    -----
    A column is not selected if the earlier ones explain all but 1e-5 of its norm. The
    result does not depend on the scale of the columns. One BLAS thread is used, so
    the same rows in the same order give the same choice.

    References
    ----------
    Chen, Billings, Luo, Int. J. Control 50, 1873 (1989).

    Examples
    --------
    >>> x = np.array([[1, 0, 2], [0, 1, 1], [1, 1, 0], [0, 0, 5]])
    >>> forward_selection(x, 3 * x[:, 1] + 0.1 * x[:, 0], 2).tolist()
    [1, 0]
    """
    values = matrix("x", x).astype(np.float64)
    target = vector("y", y, len(values))
    refuse_nan("x", values, tuple(map(str, range(values.shape[1]))))
    if n_columns < 1:
        raise ParameterError(f"n_columns={n_columns} must be at least 1")
    rest = values - values.mean(axis=0)
    size = np.sqrt(np.einsum("ij,ij->j", rest, rest))
    # a constant column differs from its mean by rounding only
    varies = size > len(values) * np.finfo(np.float64).eps * np.abs(values).max(axis=0, initial=0.0)
    rest /= np.where(varies, size, 1.0)
    error = target - target.mean()
    chosen: list[int] = []
    free = varies.copy()
    with one_library_thread():  # the order of BLAS sums depends on the number of threads
        while len(chosen) < n_columns:
            norm = np.sqrt(np.einsum("ij,ij->j", rest, rest))
            free &= norm > INDEPENDENT
            if not free.any():
                break
            gain = np.where(free, np.abs(error @ rest) / np.where(free, norm, 1.0), -1.0)
            best = int(np.argmax(gain))
            direction = rest[:, best] / norm[best]
            chosen.append(best)
            free[best] = False
            error = error - direction * (direction @ error)
            rest -= np.outer(direction, direction @ rest)
    return np.array(chosen, dtype=np.int64)
