"""Ridge regression whose penalty is chosen by leaving out one group at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.execution.executor import one_library_thread
from mgdask.learn.data.arrays import coded, matrix, refuse_nan, vector

PENALTIES = tuple(10.0 ** (0.5 * k) for k in range(-24, 9))
"""Default penalties per row: 1e-12 to 1e4, two per decade."""
MIN_GROUPS = 2
"""Minimum number of groups."""


@dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted ridge regression.

    Parameters
    ----------
    mean, scale
        Mean and divisor of each training column (column,).
    weights
        Coefficients of the scaled columns (column,); 0 for a constant column.
    intercept
        Prediction at the mean of all columns.
    penalty
        Penalty per row, the best of ``penalties``.
    penalties
        The penalties that were tried (penalty,), increasing.
    errors
        Root of the mean squared error on the groups left out, for each penalty
        (penalty,).
    left_out
        Prediction (row,) of each training row without its group, with the best penalty.
    """

    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    intercept: float
    penalty: float
    penalties: FloatArray
    errors: FloatArray
    left_out: FloatArray

    @property
    def error(self) -> float:
        """Root mean square error on the groups left out.

        The penalty was chosen to minimize it, so it is slightly optimistic.
        """
        return float(self.errors.min())

    @property
    def at_the_edge(self) -> str:
        """Which end of the range of penalties was chosen: "lowest", "highest" or ""."""
        if self.penalty == self.penalties[0]:
            return "lowest"
        return "highest" if self.penalty == self.penalties[-1] else ""

    def coefficients(self) -> FloatArray:
        """Return the coefficients (column,) of the unscaled columns."""
        return np.asarray(self.weights / self.scale, dtype=np.float64)

    def predict(self, x: npt.ArrayLike) -> FloatArray:
        """Predict for rows.

        Parameters
        ----------
        x
            Columns, shape (row, column).

        Returns
        -------
        values
            Shape (row,). The bits of a row do not depend on other rows or on the number
            of threads.

        Raises
        ------
        ParameterError
            If the number of columns differs from that in training, or a value is not
            finite.
        """
        values = matrix("x", x)
        if values.shape[1] != len(self.weights):
            raise ParameterError(
                f"x has {values.shape[1]} columns; the model was trained on {len(self.weights)}: "
                "give the same columns in the same order"
            )
        refuse_nan("x", values, range_names(values.shape[1]))
        # einsum without optimization does not call BLAS
        standard = (values - self.mean) / self.scale
        return np.asarray(np.einsum("ij,j->i", standard, self.weights) + self.intercept)

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Build a model from the values of ``to_json``."""
        values: dict[str, Any] = {
            name: np.array(value, dtype=np.float64) if isinstance(value, list) else value
            for name, value in plain.items()
        }
        return cls(**values)


def range_names(width: int) -> tuple[str, ...]:
    """Return "0", "1", ... as names of columns."""
    return tuple(map(str, range(width)))


def ridge(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    penalties: Sequence[float] = PENALTIES,
    standardize: bool = True,
) -> Ridge:
    """Fit a ridge regression, and choose its penalty by leaving out groups.

    With z_i the scaled columns of row i, of n rows::

        min over w, b of  1/n sum_i (y_i - b - w·z_i)² + penalty |w|²

    The penalty has the smallest mean squared error of the rows that are predicted
    without their group, each group in turn.

    Parameters
    ----------
    x
        Columns, shape (row, column).
    y
        Numbers to predict, shape (row,).
    groups
        Group of each row, such as its simulation, shape (row,). At least two.
    penalties
        Penalties to try, each above 0.
    standardize
        Whether to divide each column by its own standard deviation. Otherwise all are
        divided by one number, the root of their mean variance, so columns of small
        variation are penalized more.

    Returns
    -------
    model
        The regression on all rows, with the predictions on the groups left out.

    Raises
    ------
    ParameterError
        If there is only one group, shapes do not match, a value is not finite, or a
        penalty is not positive.

    Notes
    -----
    One singular value decomposition of the centered columns serves all penalties. The
    prediction of a group left out is exact and needs no further fit. With H the matrix
    that turns y into predictions, the residuals of group g are::

        y_g - yhat_g(without g) = (1 - H_gg)^-1 (y_g - (H y)_g)

    Means and deviations of the columns are those of all rows, including the groups left
    out. The intercept is not penalized, so the means do not affect the predictions. A
    group left out therefore affects its own prediction only through the scale. One BLAS
    thread is used, so the same rows in the same order give the same bits.

    References
    ----------
    Golub, Heath, Wahba, Technometrics 21, 215 (1979); for groups: Hastie, Tibshirani,
    Friedman, The Elements of Statistical Learning (2009), sec. 7.10.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = ridge(x, 2 * x[:, 0] + 1, ["a", "a", "b", "b"])
    >>> model.predict([[10.0]]).round(4).tolist()
    [21.0]
    """
    values = matrix("x", x).astype(np.float64)
    target = vector("y", y, len(values))
    refuse_nan("x", values, range_names(values.shape[1]))
    kinds, group = coded("groups", groups, len(values))
    if len(kinds) < MIN_GROUPS:
        raise ParameterError(
            f"groups has only one group ({kinds[0]!r}), so none can be left out; "
            "give at least two, such as blocks of successive frames"
        )
    tried = np.unique(vector("penalties", penalties))
    if tried[0] <= 0.0:
        raise ParameterError(f"penalties has {tried[0]:g}; each must be above 0")
    mean, scale, constant = _scaling(values, standardize)
    standard = (values - mean) / scale
    standard[:, constant] = 0.0
    n, middle = len(target), float(target.mean())
    with one_library_thread():  # the order of BLAS sums depends on the number of threads
        left, singular, right = _decomposed(standard)
        along = left.T @ (target - middle)
        parts = _parts(left, target - middle, along, [group == k for k in range(len(kinds))])
        attempts = [target - _residuals(parts, singular, along, n * p) for p in tried]
        errors = np.array([np.sqrt(np.mean((one - target) ** 2)) for one in attempts])
        best = int(np.argmin(errors))
        weights = right.T @ (singular / (singular**2 + n * tried[best]) * along)
    weights[constant] = 0.0
    return Ridge(mean, scale, weights, middle, float(tried[best]), tried, errors, attempts[best])


def _scaling(values: FloatArray, standardize: bool) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return mean and scale of each column, and which columns are constant."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    # the deviation of equal numbers may differ from 0 by the rounding of their mean
    constant = deviation <= len(values) * np.finfo(np.float64).eps * np.abs(mean)
    deviation[constant] = 0.0
    if standardize:
        scale = np.where(constant, 1.0, deviation)
    else:
        common = float(np.sqrt(np.mean(deviation[~constant] ** 2))) if not constant.all() else 1.0
        scale = np.full(len(mean), common)
    return mean, scale, constant


def _decomposed(standard: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the singular vectors and values of centered columns that are not zero."""
    left, singular, right = np.linalg.svd(standard, full_matrices=False)
    none = max(standard.shape) * np.finfo(np.float64).eps * singular.max(initial=0.0)
    kept = singular > none
    return left[:, kept], singular[kept], right[kept]


class _Part(NamedTuple):
    """Quantities of a group from which its residuals follow for every penalty."""

    rows: IntArray
    left: FloatArray
    """Left singular vectors (row, component) at its rows."""
    unexplained: FloatArray
    """Its block (row, row) of the projector on what no weights can fit."""
    rest: FloatArray
    """What no weights can fit of its values (row,)."""


def _parts(
    left: FloatArray, target: FloatArray, along: FloatArray, masks: Sequence[BoolArray]
) -> list[_Part]:
    """Yield the quantities of each group.

    1 - H is written as a sum of two parts that are not negative. As a difference, it
    would be lost in rounding for a small penalty and more columns than rows.
    """
    n, rank = left.shape
    parts = []
    for mask in masks:
        rows = np.flatnonzero(mask)
        own = left[rows]
        if rank == n - 1:  # the weights and the intercept can fit everything
            unexplained, rest = np.zeros((len(rows), len(rows))), np.zeros(len(rows))
        else:
            unexplained = np.eye(len(rows)) - 1.0 / n - own @ own.T
            rest = target[rows] - own @ along
        parts.append(_Part(rows, own, unexplained, rest))
    return parts


def _residuals(
    parts: Sequence[_Part], singular: FloatArray, along: FloatArray, penalty: float
) -> FloatArray:
    """Return the residuals (row,) of rows that are predicted without their group."""
    out = np.empty(sum(len(part.rows) for part in parts))
    kept = penalty / (singular**2 + penalty)
    for part in parts:
        block = (part.left * kept) @ part.left.T + part.unexplained
        out[part.rows] = np.linalg.solve(block, part.left @ (kept * along) + part.rest)
    return out
