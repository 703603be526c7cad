"""Permutation importance and partial dependence, by blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._renamed import renamed_arguments
from mgdask._typing import AnyArray, FloatArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import column_names, generator, matrix, row_blocks, vector
from mgdask.learn.evaluation.metrics import LOSSES, prepare

Predict = Callable[[AnyArray], npt.ArrayLike]
"""Takes rows (row, column); returns one number (row,) per row."""
Metric = Callable[[npt.ArrayLike, FloatArray], float]
"""Takes labels and scores (row,); larger is better."""


def _predicted(predict: Predict, block: AnyArray) -> FloatArray:
    scores = np.asarray(predict(block), dtype=np.float64)
    if scores.shape != (len(block),):
        raise ParameterError(
            f"predict returned shape {scores.shape} for {len(block)} rows; it must return one "
            "number per row, such as the probability of one class: "
            "lambda X: model.predict_proba(X)[:, 1]"
        )
    return scores


@dataclass(frozen=True, eq=False)
class Permutation:
    """Permutation importance of columns.

    Parameters
    ----------
    names
        Names (column,) of the columns.
    mean, deviation
        Mean and standard deviation (column,) over the resamples.
    each
        Importance (column, resample) of each resample.
    metric
        Name of the metric.
    base
        Metric without permutation.
    """

    names: tuple[str, ...]
    mean: FloatArray
    deviation: FloatArray
    each: FloatArray
    metric: str
    base: float

    def order(self) -> list[str]:
        """Sort the columns by importance.

        Returns
        -------
        list
            Names, most important first. Equally important ones keep their order.
        """
        return [self.names[i] for i in np.argsort(-self.mean, kind="stable")]


@renamed_arguments(repeats="n_resamples")
def permutation_importance(
    predict: Predict,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    metric: str | Metric = "roc_auc",
    n_resamples: int = 5,
    seed: int = 0,
    names: Sequence[str] | None = None,
    block_rows: int | None = None,
) -> Permutation:
    """Measure how much a score drops when the values of one column are shuffled.

        I_a = metric(y, f(X)) - metric(y, f(X with column a permuted))

    The sign is reversed for metrics that are better if smaller.

    Parameters
    ----------
    predict
        Function of rows (row, column) that returns one number (row,) per row.
    X
        Rows (row, column), which may be memory-mapped.
    y
        Labels (row,).
    metric
        A key of ``mgdask.learn.evaluation.metrics.METRICS``, or a function of (y,
        score) that is larger for better scores.
    n_resamples
        Number of permutations per column.
    seed
        Seed of the permutations. Those of a column do not depend on the other columns.
    names
        Names (column,) of the columns. Default: "0", "1", ...
    block_rows
        Number of rows to predict at a time. Default: 64 MiB of rows.

    Returns
    -------
    Permutation

    Raises
    ------
    ParameterError
        If ``predict`` does not return one number per row, or the metric refuses the
        labels.

    Notes
    -----
    Use rows that were not used for training. Each of several correlated columns looks
    unimportant, because the others replace it: remove them first. Memory: a block, a
    column and the scores.

    References
    ----------
    Breiman, Machine Learning 45, 5 (2001).

    Examples
    --------
    >>> x = np.random.default_rng(1).normal(size=(500, 3))
    >>> permutation_importance(lambda X: X[:, 2], x, x[:, 2] > 0).order()[0]
    '2'
    """
    x = matrix("X", X)
    labels = column_names(names, x.shape[1])
    if n_resamples < 1:
        raise ParameterError(f"n_resamples={n_resamples} must be at least 1, such as 5")
    generator(seed)
    ones = np.ones(len(x))

    def evaluate(score: FloatArray) -> float:
        if not isinstance(metric, str):
            return float(metric(y, score))
        value = float(prepare(metric, y, score).value(ones))
        return -value if metric in LOSSES else value

    def score_with(column: int, values: AnyArray | None) -> float:
        score = np.empty(len(x))
        for rows in row_blocks(len(x), x.shape[1], block_rows):
            block = x[rows]
            if values is not None:
                block = np.array(block)
                block[:, column] = values[rows]
            score[rows] = _predicted(predict, block)
        return evaluate(score)

    base = score_with(0, None)
    each = np.empty((len(labels), n_resamples))
    for column in range(len(labels)):
        rng = np.random.default_rng([int(seed), column])
        values = np.array(x[:, column])
        for k in range(n_resamples):
            each[column, k] = base - score_with(column, rng.permutation(values))
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "callable")
    return Permutation(
        labels, each.mean(axis=1), each.std(axis=1), each, name, -base if name in LOSSES else base
    )


@dataclass(frozen=True, eq=False)
class Dependence:
    """Partial dependence on one or two columns.

    Parameters
    ----------
    names
        Names of the columns.
    grids
        Values of each column.
    mean
        Mean prediction (grid,) or (grid, grid).
    rows
        Number of rows that were averaged.
    average
        Mean prediction of the same rows, unchanged.
    """

    names: tuple[str, ...]
    grids: tuple[FloatArray, ...]
    mean: FloatArray
    rows: int
    average: float

    @property
    def signed(self) -> FloatArray:
        """``mean`` minus ``average``: positive if the value raises the prediction."""
        return self.mean - self.average


def partial_dependence(
    predict: Predict,
    X: npt.ArrayLike,
    columns: int | Sequence[int],
    grid: int | Sequence[npt.ArrayLike] = 20,
    ends: tuple[float, float] = (0.05, 0.95),
    samples: int | None = None,
    seed: int = 0,
    names: Sequence[str] | None = None,
    block_rows: int | None = None,
) -> Dependence:
    """Average predictions while one or two columns are set to each value of a grid.

        PD(v) = 1/n sum_i f(x_i with columns set to v)
        signed PD(v) = PD(v) - 1/n sum_i f(x_i)

    Parameters
    ----------
    predict
        Function of rows (row, column) that returns one number per row, shape (row,): a
        margin (log-odds) or a probability.
    X
        Rows (row, column).
    columns
        Index of the column, or of both columns.
    grid
        Number of quantiles per column, or the values of each column. Quantiles are
        values that occur in the rows; equal ones are merged.
    ends
        Lowest and highest quantile.
    samples
        Number of rows to draw without replacement. Default: all rows.
    seed
        Seed of the drawing.
    names
        Names (column,) of the columns. Default: "0", "1", ...
    block_rows
        Number of rows to predict at a time. Default: 64 MiB of rows.

    Returns
    -------
    Dependence

    Raises
    ------
    ParameterError
        If a column does not exist, more than two are given, or ``predict`` does not
        return one number per row.

    Notes
    -----
    Each grid point requires a prediction for all rows. With two columns, set
    ``samples``. If the columns are correlated with others, the model is evaluated on
    rows that do not occur in the data.

    The dependence in Fig. 5b of Wang & Jain is signed, and negative for hard atoms, so
    it is the dependence of the margin. To reproduce it, pass ``lambda x:
    model.predict(x, raw=True)`` and use ``signed``. For probabilities, pass
    ``model.predict`` and use ``mean``.

    References
    ----------
    Friedman, Ann. Stat. 29, 1189 (2001). Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig.
    5b.

    Examples
    --------
    >>> x = np.random.default_rng(1).normal(size=(100, 2))
    >>> dependence = partial_dependence(lambda X: 3 * X[:, 0], x, 0, grid=[[-1.0, 1.0]])
    >>> dependence.mean.round(12).tolist()
    [-3.0, 3.0]
    >>> (dependence.signed + 3 * x[:, 0].mean()).round(12).tolist()
    [-3.0, 3.0]
    """
    x = matrix("X", X)
    labels = column_names(names, x.shape[1])
    places = _validate_columns(columns, len(labels))
    rng = generator(seed)
    if samples is not None and not 1 <= samples <= len(x):
        raise ParameterError(
            f"samples={samples} must be between 1 and the {len(x)} rows, or None for all"
        )
    rows = None if samples is None else np.sort(rng.choice(len(x), samples, replace=False))
    grids = _grids(x, places, grid, ends)
    points = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, len(places))
    total, count = np.zeros(len(points)), len(x) if rows is None else len(rows)
    as_they_are = 0.0
    dtype = np.result_type(x.dtype, np.float32)  # integers would truncate the grid
    for part in row_blocks(count, x.shape[1], block_rows):
        block = np.array(x[part] if rows is None else x[rows[part]], dtype=dtype)
        as_they_are += float(_predicted(predict, block).sum())
        for i, point in enumerate(points):
            block[:, places] = point
            total[i] += _predicted(predict, block).sum()
    mean = (total / count).reshape([len(g) for g in grids])
    names_of_places = tuple(labels[c] for c in places)
    return Dependence(names_of_places, grids, mean, count, as_they_are / count)


def _validate_columns(columns: int | Sequence[int], width: int) -> list[int]:
    places = [int(columns)] if isinstance(columns, int | np.integer) else [int(c) for c in columns]
    distinct = len(places) in (1, 2) and len(set(places)) == len(places)
    if not distinct or not all(0 <= c < width for c in places):
        raise ParameterError(
            f"columns={columns} must be one or two different indices from 0 to {width - 1}"
        )
    return places


def _grids(
    x: AnyArray, places: list[int], grid: int | Sequence[npt.ArrayLike], ends: tuple[float, float]
) -> tuple[FloatArray, ...]:
    """Return the values of each column."""
    if not isinstance(grid, int | np.integer):
        if len(grid) != len(places):
            raise ParameterError(
                f"grid has {len(grid)} lists for {len(places)} columns; give one per column"
            )
        return tuple(vector("grid", g) for g in grid)
    if grid < 2 or not 0.0 <= ends[0] < ends[1] <= 1.0:
        raise ParameterError(
            f"grid={grid} must be at least 2, and ends={ends} two increasing numbers from 0 to 1"
        )
    quantiles = np.linspace(*ends, int(grid))
    values = (vector(f"column {c} of X", x[:, c]) for c in places)
    # quantiles that occur: a count between two others means nothing to a model
    return tuple(np.unique(np.quantile(v, quantiles, method="inverted_cdf")) for v in values)
