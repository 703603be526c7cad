"""Logistic regression on standardized columns, a simple baseline for trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.execution.executor import one_library_thread
from mgdask.learn.data.arrays import binary, matrix

C = 0.05
"""Inverse strength of the L2 penalty.

Stronger than scikit-learn's 1, since classes of a few hundred rows face 80 correlated
columns.
"""
TOLERANCE = 1e-6
"""Largest gradient of the mean loss at which lbfgs stops."""
MAX_ITERATIONS = 1000
"""Maximum number of lbfgs iterations."""


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted logistic regression.

    Parameters
    ----------
    mean, scale
        Mean and population standard deviation of each training column (column,). The
        scale of a constant column is 1.
    weights
        Coefficients of the standardized columns (column,).
    intercept
        Log-odds at the mean of all columns.
    """

    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    intercept: float

    def predict(self, x: npt.ArrayLike) -> FloatArray:
        """Return the probability of label 1.

        Parameters
        ----------
        x
            Columns, shape (row, column). NaN is replaced by the training mean.

        Returns
        -------
        probability
            Probabilities, shape (row,). The bits of a row do not depend on other rows
            or on the number of threads.

        Raises
        ------
        ParameterError
            If the number of columns differs from that in training.
        """
        values = matrix("x", x)
        if values.shape[1] != len(self.weights):
            raise ParameterError(
                f"x has {values.shape[1]} columns; the model was trained on {len(self.weights)}: "
                "give the same columns in the same order"
            )
        # einsum without optimization does not call BLAS
        margin = np.einsum("ij,j->i", _standard(values, self.mean, self.scale), self.weights)
        # of -|margin|, because exp of a large number overflows
        small = np.exp(-np.abs(margin + self.intercept))
        above = margin + self.intercept >= 0
        return np.asarray(np.where(above, 1.0, small) / (1.0 + small), dtype=np.float64)


def logistic_regression(
    x: npt.ArrayLike, y: npt.ArrayLike, *, inverse_penalty: float = C
) -> Logistic:
    """Fit a logistic regression with an L2 penalty on standardized columns.

    With z_i the standardized columns of row i, and s_i = 1 or -1 for label 1 or 0::

        min over w, b of  |w|²/2 + C sum_i ln(1 + exp(-s_i (w·z_i + b)))
        P(1|x) = 1 / (1 + exp(-(w·z + b)))

    Parameters
    ----------
    x
        Columns, shape (row, column). NaN is replaced by the mean of its column.
    y
        Labels 0 and 1, shape (row,).
    inverse_penalty
        C, above 0. A smaller one shrinks the coefficients more.

    Returns
    -------
    model
        Means, standard deviations, coefficients and intercept.

    Raises
    ------
    ParameterError
        If there is only one class, rows do not match, ``inverse_penalty`` is not
        positive, or a value is infinite.

    Notes
    -----
    Fitted by scikit-learn's LogisticRegression (lbfgs) in float64 with one BLAS thread.
    The same rows in the same order give the same bits. A column of only NaN has no
    effect. Mean imputation is not what trees do: they learn on which side of a split
    NaN belongs.

    Examples
    --------
    >>> model = logistic_regression([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    >>> model.predict([[1.5], [3.0]]).round(3).tolist()
    [0.5, 0.514]
    """
    values = matrix("x", x).astype(np.float64)
    label = binary("y", y, len(values))
    if not inverse_penalty > 0 or not np.isfinite(inverse_penalty):
        raise ParameterError(
            f"inverse_penalty={inverse_penalty} must be a positive finite number, such as {C}"
        )
    if np.isinf(values).any():
        row, column = (int(k) for k in np.argwhere(np.isinf(values))[0])
        raise ParameterError(
            f"x is {values[row, column]} in row {row}, column {column}; it must be finite or NaN: "
            "leave such rows or columns out first"
        )
    from sklearn.linear_model import LogisticRegression

    known = ~np.isnan(values)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values, mean)
    scale = filled.std(axis=0)
    # the deviation of equal numbers may differ from 0 by the rounding of their mean
    scale[scale <= len(filled) * np.finfo(np.float64).eps * np.abs(mean)] = 1.0
    fit = LogisticRegression(C=inverse_penalty, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
    with one_library_thread():  # the order of BLAS sums depends on the number of threads
        fit.fit(_standard(filled, mean, scale), label)
    return Logistic(mean, scale, fit.coef_[0].astype(np.float64), float(fit.intercept_[0]))


def _standard(values: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    """Return the columns minus their means, over their deviations; NaN becomes 0."""
    standard = (values - mean) / scale
    standard[np.isnan(standard)] = 0.0
    return np.asarray(standard, dtype=np.float64)
