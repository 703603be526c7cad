"""Labels, weights and groups of a training table, checked before training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray
from mgdask.errors import ParameterError
from mgdask.learn.data.rows import Rows
from mgdask.learn.training.rank_worker import run_lengths

MIN_ROWS = 20
"""Minimum number of rows to train trees."""


class Table:
    """Labels, weights and groups of ``Rows`` or of a matrix.

    Shapes are checked at once. The matrix is read when it is asked for.

    Parameters
    ----------
    x
        Rows, or a matrix of numbers, shape (row, column).
    y
        Labels, shape (row,). Default: those of the rows.
    weights
        Weights, shape (row,). Default: those of the rows, if any.
    group
        Query of each row, shape (row,). Equal values stand together. Default: those of
        the rows, if any.
    columns
        Names of the columns of a matrix. Default: its own, or "column 0", ...
    name
        Name of the table, for errors.

    Raises
    ------
    ParameterError
        If shapes differ, labels are missing, or values are not finite.
    """

    def __init__(
        self,
        x: Any,
        y: npt.ArrayLike | None,
        weights: npt.ArrayLike | None,
        group: npt.ArrayLike | None,
        columns: tuple[str, ...] | None,
        name: str,
    ) -> None:
        self.rows = x if isinstance(x, Rows) else None
        self.name = name
        if self.rows is not None:
            self.n, self.columns = self.rows.count(), self.rows.names()
            y = self.rows.values("labels") if y is None else y
            weights = self.rows.values("weights") if weights is None else weights
            group = self.rows.values("group") if group is None else group
            self.x = None
        else:
            self.x = np.asarray(x)
            if self.x.ndim != 2 or self.x.dtype.kind not in "fiub":
                raise ParameterError(
                    f"{name} has shape {self.x.shape} of {self.x.dtype}; it must be a 2-D numeric "
                    "array (row, column)"
                )
            self.n = len(self.x)
            if columns is None:
                columns = _own_names(x)
            self.columns = columns or tuple(f"column {k}" for k in range(self.x.shape[1]))
            if len(self.columns) != self.x.shape[1]:
                raise ParameterError(
                    f"{len(self.columns)} names for {self.x.shape[1]} columns of {name}; "
                    "give one per column"
                )
        if y is None:
            raise ParameterError(f"{name} has no labels; give y=, or labels= in Rows")
        self.y = self._vector("labels", y, "float32")
        self.w = None if weights is None else self._vector("weights", weights, "float32")
        self.sizes = None if group is None else run_lengths(self._vector("group", group, "float64"))

    def _vector(self, what: str, values: npt.ArrayLike, dtype: str) -> AnyArray:
        array = np.asarray(values)
        if array.shape != (self.n,):
            raise ParameterError(
                f"{what} of {self.name} have shape {array.shape}; one value for each of {self.n} "
                "rows is needed"
            )
        if array.dtype.kind == "f" and (bad := np.flatnonzero(~np.isfinite(array))).size:
            raise ParameterError(
                f"{what} of {self.name}: row {bad[0]} is {array[bad[0]]} ({bad.size} such rows); "
                "leave those rows out (keep=)"
            )
        return np.ascontiguousarray(array, dtype=dtype)

    def matrix(self) -> AnyArray:
        """Return all rows, reading them now."""
        if self.rows is not None:
            return self.rows.read(0, self.n)
        assert self.x is not None
        return self.x if self.x.dtype.kind == "f" else self.x.astype(np.float32)

    def take(self, index: AnyArray) -> AnyArray:
        """Return selected rows.

        Parameters
        ----------
        index
            Increasing row numbers, shape (m,).

        Returns
        -------
        matrix
            Shape (m, column).
        """
        if self.rows is not None:
            return self.rows.take(index)
        return self.matrix() if len(index) == self.n else self.matrix()[index]

    def rows_only(self) -> Rows:
        """Return the rows.

        Raises
        ------
        ParameterError
            If the table is a matrix.
        """
        if self.rows is None:
            raise ParameterError(
                "engine='lightgbm.dask' needs Rows; train on a matrix in memory with "
                "engine='mgdask'"
            )
        return self.rows


def _own_names(x: Any) -> tuple[str, ...]:
    """Names of the columns of a pandas or xarray object; empty for others."""
    names, dims = getattr(x, "columns", None), getattr(x, "dims", None)
    if names is not None:
        return tuple(str(name) for name in names)
    if dims and dims[-1] in x.coords:
        return tuple(str(name) for name in x.coords[dims[-1]].values)
    return ()


def check_labels(table: Table, objective: str, training: bool = True) -> float | None:
    """Check that labels suit an objective, and return the initial score of all rows.

    Parameters
    ----------
    table
        Training or validation table.
    objective
        Objective of LightGBM.
    training
        Whether the table is trained on. Validation may have few or equal rows.

    Returns
    -------
    score
        Initial score. None if LightGBM finds its own.

    Raises
    ------
    ParameterError
        If the labels cannot be learned.
    """
    y, w = table.y, table.w
    if table.n < MIN_ROWS and training:
        raise ParameterError(
            f"{table.n} rows are too few to train trees; at least {MIN_ROWS} are needed"
        )
    if w is not None and (w < 0).any():
        raise ParameterError(
            f"weights of {table.name} are negative at row {np.flatnonzero(w < 0)[0]}; they "
            "must be 0 or more"
        )
    if objective == "lambdarank":
        if table.sizes is None:
            raise ParameterError(
                "lambdarank needs group: the query of each row, with equal values adjacent"
            )
        return 0.0
    if objective == "binary":
        classes = np.unique(y)
        if not np.isin(classes, [0, 1]).all():
            raise ParameterError(
                f"labels of {table.name} are {classes[:5]}; a classifier needs 0 and 1"
            )
        if len(classes) == 1:
            raise ParameterError(
                f"labels of {table.name} are all {classes[0]:g}: one class only; take rows in "
                "which both occur"
            )
    elif objective == "cross_entropy" and not (0.0 <= y.min() <= y.max() <= 1.0):
        raise ParameterError(
            f"labels of {table.name} span {y.min():g} to {y.max():g}; cross_entropy needs labels "
            "between 0 and 1, such as those of rank_targets"
        )
    elif training and y.min() == y.max():
        raise ParameterError(f"labels of {table.name} are all {y[0]:g}: there is nothing to learn")
    if objective not in ("binary", "cross_entropy", "regression"):
        return None
    # an exactly rounded sum does not depend on the order of rows or the number of ranks
    total = float(table.n) if w is None else math.fsum(w)
    mean = math.fsum(y if w is None else w.astype(np.float64) * y) / total
    if objective == "regression":
        return mean
    return math.log(mean / (1.0 - mean)) if 0.0 < mean < 1.0 else None
