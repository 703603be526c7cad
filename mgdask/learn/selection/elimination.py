"""Which columns to keep: none that repeats another, and the most important ones by recursive elimination."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import (
    Float,
    Matrix,
    column_names,
    matrix,
    refuse_nan,
    row_blocks,
    vector,
)
from mgdask.learn.data.splits import group_folds
from mgdask.learn.evaluation.metrics import r2, roc_auc

Fit = Callable[[Matrix, npt.NDArray[Any]], Any]
Judge = Callable[[Any, Matrix, npt.NDArray[Any]], npt.ArrayLike]


@dataclass(frozen=True)
class Uncorrelated:
    """Columns kept, in their order, with their places ``columns``; ``dropped`` name: (kept one it repeats, r).

    ``constant`` are those without spread, dropped too. JSON-able by ``as_dict``.
    """

    names: tuple[str, ...]
    columns: tuple[int, ...]
    dropped: dict[str, tuple[str, float]]
    constant: tuple[str, ...]
    threshold: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def correlation(X: npt.ArrayLike, block_rows: int | None = None) -> Float:
    """Pearson correlations of columns (column, column), from two passes over blocks of rows.

        r_ab = C_ab / sqrt(C_aa C_bb),   C = sum_i (x_i - <x>)(x_i - <x>)'

    Parameters: ``X`` (row, column), memory-mapped welcome; ``block_rows`` 64 MiB worth of rows where None. NaN for a
    column without spread. Sums of blocks are added in order, in float64: the same bits for the same blocks.
    ``ParameterError`` for NaN. Memory: two blocks and column^2. numpy.corrcoef gives the same, with two copies of X.

    >>> correlation(np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 5.0]])).round(12).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    x = matrix("X", X)
    refuse_nan("X", x, column_names(None, x.shape[1]))
    mean = np.zeros(x.shape[1])
    largest = np.zeros(x.shape[1])
    for rows in row_blocks(len(x), x.shape[1], block_rows):
        mean += x[rows].sum(axis=0, dtype=np.float64) / len(x)
        largest = np.maximum(largest, np.abs(x[rows].astype(np.float64)).max(axis=0))
    product = np.zeros((x.shape[1], x.shape[1]))
    for rows in row_blocks(len(x), x.shape[1], block_rows):
        block = x[rows].astype(np.float64) - mean
        product += block.T @ block
    spread = np.sqrt(np.diagonal(product))
    spread[spread <= 1e-13 * math.sqrt(len(x)) * largest] = (
        np.nan
    )  # the rounding of the mean is no spread
    return np.asarray(np.clip(product / np.outer(spread, spread), -1.0, 1.0), dtype=np.float64)


def drop_correlated(
    X: npt.ArrayLike,
    names: Sequence[str] | None = None,
    threshold: float = 0.95,
    importance: npt.ArrayLike | None = None,
    block_rows: int | None = None,
) -> Uncorrelated:
    """Columns of which no two are linearly correlated by more than ``threshold``.

        keep a if |r_ab| <= threshold for all b kept before it

    Parameters: ``X`` (row, column); ``names`` (column,); ``threshold`` above 0, at most 1; ``importance`` (column,):
    columns are gone through from the most important down, equal ones in their order, or in their order where None;
    ``block_rows`` bounds the memory.

    Returns ``Uncorrelated``; the kept columns stand in their order in X. A dropped column goes with the first kept one
    that it repeats. Valid for linear relations of pairs: a column that is a sum of others stays. Correlations of test
    rows must not decide: give training rows. ``ParameterError`` for NaN, options out of range, only constant columns.

    >>> x = np.array([[0.0, 1.0, 5.0], [1.0, 3.0, 5.0], [2.0, 5.1, 5.0]])
    >>> found = drop_correlated(x, ["a", "b", "c"])
    >>> found.names, found.dropped["b"][0], found.constant
    (('a',), 'a', ('c',))
    """
    x = matrix("X", X)
    label = column_names(names, x.shape[1])
    if not 0.0 < threshold <= 1.0:
        raise ParameterError(
            f"threshold={threshold} must be above 0 and at most 1; 0.95 is customary"
        )
    weight = (
        np.zeros(len(label)) if importance is None else vector("importance", importance, len(label))
    )
    refuse_nan("X", x, label)
    r = correlation(x, block_rows)
    constant = np.isnan(np.diagonal(r))
    if constant.all():
        raise ParameterError(
            f"all {len(label)} columns of X are constant over these {len(x)} rows; look at the columns"
        )
    kept: list[int] = []
    dropped: dict[str, tuple[str, float]] = {}
    for a in np.argsort(-weight, kind="stable").tolist():
        if constant[a]:
            continue
        same = next((b for b in kept if abs(r[a, b]) > threshold), None)
        if same is None:
            kept.append(a)
        else:
            dropped[label[a]] = (label[same], float(r[a, same]))
    kept.sort()
    still = tuple(label[i] for i in np.flatnonzero(constant))
    return Uncorrelated(tuple(label[i] for i in kept), tuple(kept), dropped, still, threshold)


@dataclass(frozen=True)
class Elimination:
    """Columns that were left, most important first, and what was seen on the way; JSON-able by ``as_dict``.

    ``selected`` names with ``columns`` their places and ``importance`` the mean over folds, scaled to a sum of 1;
    ``ranking`` name: place among all columns, 1 the most important, columns eliminated later before those eliminated
    earlier; ``scores`` for each number of columns, falling: (number, mean over folds, standard deviation over folds).
    """

    selected: tuple[str, ...]
    columns: tuple[int, ...]
    importance: tuple[float, ...]
    ranking: dict[str, int]
    scores: tuple[tuple[int, float, float], ...]
    folds: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def held_out_score(model: Any, X: Matrix, y: npt.NDArray[Any]) -> float:
    """AUC of ``model.predict`` for labels 0 and 1, R2 for other numbers, on rows that did not train."""
    score = np.asarray(model.predict(X))
    return roc_auc(y, score) if np.isin(y, (0, 1)).all() else r2(y, score)


def recursive_elimination(
    fit: Fit,
    importance: Judge,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike,
    names: Sequence[str] | None = None,
    wanted: int = 15,
    step: int | float = 1,
    folds: int = 5,
    seed: int = 0,
    score: Judge = held_out_score,
) -> Elimination:
    """Recursive feature elimination with importance from cross-validation over groups.

        I_a = 1/K sum_k max(I_a^(k), 0) / sum_b max(I_b^(k), 0);   the ``step`` columns with the lowest I go; repeat

    Parameters: ``fit`` of (X, y) of training rows to a model, which may undersample; ``importance`` of (model, X, y) of
    held-out rows to (column,), larger is more important; ``X`` (row, column), ``y``, ``groups`` (row,); ``names``
    (column,); ``wanted`` columns to be left; ``step`` columns a round, or a share of those left between 0 and 1, at
    least one; ``folds`` of groups, the same in all rounds; ``seed`` draws them; ``score`` of (model, X, y) of held-out
    rows to a number, the AUC or R2 of ``model.predict`` where not given.

    Returns an ``Elimination``. Of equally important columns the later one goes first; a fold whose importances are all
    0 counts for none. Same bits for the same seed if ``fit`` has them. Costs folds times rounds trainings and holds one
    fold's rows and columns as a copy. Valid for ranking; the score of the selected columns is too good, as the held-out
    rows chose them: report one from groups set aside. ``ParameterError`` for too few groups, importances that do not
    fit.

    Source: Guyon et al., Machine Learning 46, 389 (2002). scikit-learn's RFECV takes importances from the training rows
    and eliminates in each fold apart; here a round's importance is the mean over folds on held-out rows.

    >>> fit = lambda X, y: np.linalg.lstsq(X, y, rcond=None)[0]
    >>> rng = np.random.default_rng(1)
    >>> x = rng.normal(size=(60, 4))
    >>> found = recursive_elimination(
    ...     fit, lambda m, X, y: abs(m), x, 2 * x[:, 2] + x[:, 0], np.arange(60) % 6, list("abcd"), wanted=2,
    ...     score=lambda m, X, y: -np.abs(y - X @ m).max())
    >>> found.selected
    ('c', 'a')
    """
    x = matrix("X", X)
    label = column_names(names, x.shape[1])
    target = np.asarray(y)
    if target.shape != (len(x),):
        raise ParameterError(
            f"y has shape {target.shape}; one value for each of the {len(x)} rows of X is needed"
        )
    if not 1 <= wanted <= len(label):
        raise ParameterError(
            f"wanted={wanted} must be between 1 and the {len(label)} columns there are"
        )
    if not (step >= 1 and step == int(step)) and not 0.0 < step < 1.0:
        raise ParameterError(
            f"step={step} must be a whole number of columns, or a share between 0 and 1"
        )
    strata = target if np.isin(target, (0, 1)).all() else None
    parts = [fold.rows(groups) for fold in group_folds(groups, folds, seed, strata)]
    left = list(range(len(label)))
    gone: list[int] = []
    scores: list[tuple[int, float, float]] = []
    while True:
        mean, values = _round(fit, importance, score, x, target, parts, left)
        scores.append((len(left), float(values.mean()), float(values.std())))
        order = np.argsort(-mean, kind="stable")
        if len(left) <= wanted:
            break
        number = max(int(step * len(left)), 1) if step < 1 else int(step)
        out = order[max(len(left) - number, wanted) :][::-1].tolist()
        gone += [left[i] for i in out]
        left = [c for i, c in enumerate(left) if i not in set(out)]
    kept = [left[i] for i in order]
    ranking = {label[c]: place for place, c in enumerate(kept + gone[::-1], start=1)}
    chosen = tuple(label[c] for c in kept)
    return Elimination(
        chosen, tuple(kept), tuple(mean[order].tolist()), ranking, tuple(scores), folds, int(seed)
    )


def _round(
    fit: Fit,
    importance: Judge,
    score: Judge,
    x: Matrix,
    y: npt.NDArray[Any],
    parts: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    columns: list[int],
) -> tuple[Float, Float]:
    """Mean importance (column,) and scores (fold,) of one set of columns."""
    total, values = np.zeros(len(columns)), np.empty(len(parts))
    places = np.asarray(columns, dtype=np.int64)
    for k, (train, test) in enumerate(parts):
        model = fit(x[np.ix_(train, places)], y[train])
        held = x[np.ix_(test, places)]
        found = np.asarray(importance(model, held, y[test]), dtype=np.float64)
        if found.shape != (len(columns),) or not np.isfinite(found).all():
            raise ParameterError(
                f"importance gave {found.shape} values{'' if np.isfinite(found).all() else ' with NaN'} for "
                f"{len(columns)} columns; it must return one finite number a column"
            )
        found = np.maximum(found, 0.0)
        total += found / found.sum() if found.sum() > 0 else 0.0
        values[k] = float(np.asarray(score(model, held, y[test])))
    return total / len(parts), values
