"""Labels, weights and groups of a training table, checked in words before anything is trained."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.learn.data.rows import Rows
from mgdask.learn.training.rank_worker import run_lengths

Array = npt.NDArray[Any]


class Table:
    """Labels, weights and groups of rows or of a matrix, checked for shape; the matrix itself only when asked for."""

    def __init__(
        self, x: Any, y: Any, weights: Any, group: Any, columns: tuple[str, ...] | None, name: str
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
                    f"{name} has shape {self.x.shape} of {self.x.dtype}; a matrix of numbers (n, p) is needed"
                )
            self.n = len(self.x)
            found = getattr(x, "columns", None)
            dims = getattr(x, "dims", None)
            if columns is None and found is not None:
                columns = tuple(str(c) for c in found)
            elif columns is None and dims and dims[-1] in x.coords:
                columns = tuple(str(c) for c in x.coords[dims[-1]].values)
            self.columns = columns or tuple(f"column {k}" for k in range(self.x.shape[1]))
            if len(self.columns) != self.x.shape[1]:
                raise ParameterError(
                    f"{len(self.columns)} names for {self.x.shape[1]} columns of {name}; give one each"
                )
        if y is None:
            raise ParameterError(f"{name} has no labels; give y=, or labels= of the rows")
        self.y = self._vector("labels", y, "float32")
        self.w = None if weights is None else self._vector("weights", weights, "float32")
        self.sizes = None if group is None else run_lengths(self._vector("group", group, "float64"))

    def _vector(self, what: str, values: Any, dtype: str) -> Array:
        found = np.asarray(values)
        if found.shape != (self.n,):
            raise ParameterError(
                f"{what} of {self.name} have shape {found.shape}; one for each of {self.n} rows is needed"
            )
        if found.dtype.kind in "f" and (bad := np.flatnonzero(~np.isfinite(found))).size:
            raise ParameterError(
                f"{what} of {self.name}: row {bad[0]} is {found[bad[0]]} ({bad.size} such rows); leave those rows out (keep=)"
            )
        return np.ascontiguousarray(found, dtype=dtype)

    def matrix(self) -> Array:
        """All rows; read here, once."""
        if self.rows is not None:
            return self.rows.read(0, self.n)
        assert self.x is not None
        return self.x if self.x.dtype.kind == "f" else self.x.astype(np.float32)

    def take(self, index: Array) -> Array:
        """Some rows."""
        if self.rows is not None:
            return self.rows.take(index)
        return self.matrix() if len(index) == self.n else self.matrix()[index]

    def rows_only(self) -> Rows:
        """The rows; ``ParameterError`` for a matrix."""
        if self.rows is None:
            raise ParameterError(
                "engine='lightgbm.dask' needs Rows; a matrix in memory is trained with engine='mgdask'"
            )
        return self.rows


def check_labels(table: Table, objective: str, training: bool = True) -> float | None:
    """The score all rows begin with, None where LightGBM finds its own; ``ParameterError`` for labels that cannot be learned."""
    y, w = table.y, table.w
    if table.n < 20 and training:
        raise ParameterError(f"{table.n} rows; at least 20 are needed")
    if w is not None and (w < 0).any():
        raise ParameterError(
            f"weights of {table.name} are negative at row {np.flatnonzero(w < 0)[0]}; they must be 0 or more"
        )
    if objective == "lambdarank":
        if table.sizes is None:
            raise ParameterError(
                "lambdarank needs group: the query of each row, equal values together"
            )
        return 0.0
    if objective == "binary":
        found = np.unique(y)
        if not np.isin(found, [0, 1]).all():
            raise ParameterError(
                f"labels of {table.name} are {found[:5]}; a classifier needs 0 and 1"
            )
        if len(found) == 1:
            raise ParameterError(
                f"labels of {table.name} are all {found[0]:g}: one class only; take rows in which both occur"
            )
    elif training and y.min() == y.max():
        raise ParameterError(f"labels of {table.name} are all {y[0]:g}: there is nothing to learn")
    if objective not in ("binary", "regression"):
        return None
    # an exactly rounded sum does not know in what order, or on how many ranks, the rows are
    total = float(table.n) if w is None else math.fsum(w)
    mean = math.fsum(y if w is None else w.astype(np.float64) * y) / total
    return math.log(mean / (1.0 - mean)) if objective == "binary" else mean
