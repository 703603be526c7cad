"""What a model has learnt: permutation importance and partial dependence, by blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import (
    Float,
    Matrix,
    column_names,
    generator,
    matrix,
    row_blocks,
    vector,
)
from mgdask.learn.evaluation.metrics import LOSSES, prepare

Predict = Callable[[Matrix], npt.ArrayLike]


def _predicted(predict: Predict, block: Matrix) -> Float:
    found = np.asarray(predict(block), dtype=np.float64)
    if found.shape != (len(block),):
        raise ParameterError(
            f"predict gave shape {found.shape} for {len(block)} rows; it must return one number a row, such as the "
            "probability of one class: lambda X: model.predict_proba(X)[:, 1]"
        )
    return found


@dataclass(frozen=True, eq=False)
class Permutation:
    """Importance of columns: ``mean`` and ``deviation`` (column,) over repeats, of ``each`` (column, repeat)."""

    names: tuple[str, ...]
    mean: Float
    deviation: Float
    each: Float
    metric: str
    base: float

    def order(self) -> list[str]:
        """Names, most important first; equal ones in their order."""
        return [self.names[i] for i in np.argsort(-self.mean, kind="stable")]


def permutation_importance(
    predict: Predict,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    metric: str | Callable[[Any, Float], float] = "roc_auc",
    repeats: int = 5,
    seed: int = 0,
    names: Sequence[str] | None = None,
    block_rows: int | None = None,
) -> Permutation:
    """How much worse a model scores when the values of one column are shuffled among rows.

        I_a = metric(y, f(X)) - metric(y, f(X with column a permuted))

    with the sign turned for metrics that are better when smaller.

    Parameters: ``predict`` of (rows, columns) to (rows,); ``X`` (row, column), memory-mapped welcome; ``y`` (row,);
    ``metric`` a name of ``mgdask.learn.evaluation.metrics.METRICS``, or a callable of (y, score), larger being better; ``repeats``
    shuffles of a column; ``seed`` a whole number: the shuffles of a column are its own, whatever the others and the
    blocks; ``names`` (column,); ``block_rows`` 64 MiB worth of rows where None.

    Returns ``Permutation``. Memory: a block, a column and the scores. Valid on rows that did not train. Of correlated
    columns each looks unimportant, as the others stand in for it: remove them first. ``ParameterError`` for a
    prediction that is not one number a row, and as the metric.

    Source: Breiman, Machine Learning 45, 5 (2001). scikit-learn's permutation_importance shuffles copies of all rows
    and asks for an estimator.

    >>> x = np.random.default_rng(1).normal(size=(500, 3))
    >>> permutation_importance(lambda X: X[:, 2], x, x[:, 2] > 0).order()[0]
    '2'
    """
    x = matrix("X", X)
    label = column_names(names, x.shape[1])
    if repeats < 1:
        raise ParameterError(f"repeats={repeats} must be at least 1; 5 is customary")
    generator(seed)
    ones = np.ones(len(x))

    def judged(score: Float) -> float:
        if not isinstance(metric, str):
            return float(metric(y, score))
        value = float(prepare(metric, y, score).value(ones))
        return -value if metric in LOSSES else value

    def scored(column: int, values: Matrix | None) -> float:
        score = np.empty(len(x))
        for rows in row_blocks(len(x), x.shape[1], block_rows):
            block = x[rows]
            if values is not None:
                block = np.array(block)
                block[:, column] = values[rows]
            score[rows] = _predicted(predict, block)
        return judged(score)

    base = scored(0, None)
    each = np.empty((len(label), repeats))
    for column in range(len(label)):
        rng = np.random.default_rng([int(seed), column])
        mine = np.array(x[:, column])
        for k in range(repeats):
            each[column, k] = base - scored(column, rng.permutation(mine))
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "callable")
    return Permutation(
        label, each.mean(axis=1), each.std(axis=1), each, name, -base if name in LOSSES else base
    )


@dataclass(frozen=True, eq=False)
class Dependence:
    """Mean prediction ``mean`` (grid,) or (grid, grid) over ``rows`` rows, at ``grids`` of the columns ``names``."""

    names: tuple[str, ...]
    grids: tuple[Float, ...]
    mean: Float
    rows: int


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
    """Mean prediction when one or two columns are set to each value of a grid, in all rows.

        PD(v) = 1/n sum_i f(x_i with columns set to v)

    Parameters: ``predict`` of (rows, columns) to (rows,); ``X`` (row, column); ``columns`` one place or two; ``grid``
    the number of quantiles between the two ``ends``, values that occur, equal ones merged, or a list of grids, one a
    column; ``samples`` rows drawn without replacement by ``seed``, all where None; ``names`` (column,); ``block_rows``
    64 MiB worth.

    Returns ``Dependence``. Costs a prediction of all rows for each point of the grid: with two columns give
    ``samples``. Valid where the columns are not correlated with others; else it asks the model about rows that do not
    occur. ``ParameterError`` for columns that are not there, three of them, a prediction that is not one number a row.

    Source: Friedman, Ann. Stat. 29, 1189 (2001); scikit-learn's partial_dependence asks for an estimator, not for a
    function.

    >>> x = np.random.default_rng(1).normal(size=(100, 2))
    >>> found = partial_dependence(lambda X: 3 * X[:, 0], x, 0, grid=[[-1.0, 1.0]])
    >>> found.mean.round(12).tolist()
    [-3.0, 3.0]
    """
    x = matrix("X", X)
    label = column_names(names, x.shape[1])
    chosen = [int(columns)] if isinstance(columns, int | np.integer) else [int(c) for c in columns]
    if (
        len(chosen) not in (1, 2)
        or len(set(chosen)) != len(chosen)
        or not all(0 <= c < len(label) for c in chosen)
    ):
        raise ParameterError(
            f"columns={columns} must be one or two different places from 0 to {len(label) - 1}"
        )
    rng = generator(seed)
    if samples is not None and not 1 <= samples <= len(x):
        raise ParameterError(
            f"samples={samples} must be between 1 and the {len(x)} rows, or None for all"
        )
    rows = None if samples is None else np.sort(rng.choice(len(x), samples, replace=False))
    grids = _grids(x, chosen, grid, ends)
    points = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, len(chosen))
    total, count = np.zeros(len(points)), len(x) if rows is None else len(rows)
    kind = np.result_type(x.dtype, np.float32)  # whole numbers would cut the grid
    for part in row_blocks(count, x.shape[1], block_rows):
        block = np.array(x[part] if rows is None else x[rows[part]], dtype=kind)
        for i, point in enumerate(points):
            block[:, chosen] = point
            total[i] += _predicted(predict, block).sum()
    mean = (total / count).reshape([len(g) for g in grids])
    return Dependence(tuple(label[c] for c in chosen), grids, mean, count)


def _grids(
    x: Matrix, chosen: list[int], grid: int | Sequence[npt.ArrayLike], ends: tuple[float, float]
) -> tuple[Float, ...]:
    if not isinstance(grid, int | np.integer):
        if len(grid) != len(chosen):
            raise ParameterError(
                f"grid has {len(grid)} lists for {len(chosen)} columns; give one a column"
            )
        return tuple(vector("grid", g) for g in grid)
    if grid < 2 or not 0.0 <= ends[0] < ends[1] <= 1.0:
        raise ParameterError(
            f"grid={grid} must be at least 2, ends={ends} two rising shares from 0 to 1"
        )
    share = np.linspace(*ends, int(grid))
    values = (vector(f"column {c} of X", x[:, c]) for c in chosen)
    # quantiles that occur: between two counts a model is not asked
    return tuple(np.unique(np.quantile(v, share, method="inverted_cdf")) for v in values)
