"""Feature selection by correlation and by recursive elimination."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask._renamed import renamed_arguments
from mgdask._typing import AnyArray, FloatArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import column_names, matrix, refuse_nan, row_blocks, vector
from mgdask.learn.data.splits import group_folds
from mgdask.learn.evaluation.metrics import r2, roc_auc

Fit = Callable[[AnyArray, npt.NDArray[Any]], Any]
Judge = Callable[[Any, AnyArray, npt.NDArray[Any]], npt.ArrayLike]


@dataclass(frozen=True)
class Uncorrelated:
    """Columns of which no two are strongly correlated.

    Parameters
    ----------
    names
        Names of the kept columns, in their order.
    columns
        Indices of the kept columns.
    dropped
        By the name of a dropped column: the kept column that it repeats, and r.
    constant
        Names of columns without spread, which are dropped too.
    threshold
        Largest absolute correlation of two kept columns.
    """

    names: tuple[str, ...]
    columns: tuple[int, ...]
    dropped: dict[str, tuple[str, float]]
    constant: tuple[str, ...]
    threshold: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def correlation(X: npt.ArrayLike, block_rows: int | None = None) -> FloatArray:
    """Compute Pearson correlations of columns in two passes over blocks of rows.

    With the covariance sums C::

        r_ab = C_ab / sqrt(C_aa C_bb),   C = sum_i (x_i - <x>)(x_i - <x>)'

    Parameters
    ----------
    X
        Matrix, shape (row, column). It may be memory-mapped.
    block_rows
        Rows per block. Blocks of 64 MiB by default.

    Returns
    -------
    correlation
        Correlations, shape (column, column). NaN for a column without spread.

    Raises
    ------
    ParameterError
        If there are NaN values.

    Notes
    -----
    Sums of blocks are added in order, in float64, so the same blocks give the same
    bits. Memory: two blocks and column^2. numpy.corrcoef gives the same with two copies
    of X.

    Examples
    --------
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
    )  # rounding errors of the mean do not count as spread
    return np.asarray(np.clip(product / np.outer(spread, spread), -1.0, 1.0), dtype=np.float64)


def drop_correlated(
    X: npt.ArrayLike,
    names: Sequence[str] | None = None,
    threshold: float = 0.95,
    importance: npt.ArrayLike | None = None,
    block_rows: int | None = None,
) -> Uncorrelated:
    """Drop columns that are linearly correlated with a more important one.

    Column a is kept if it does not repeat a column b kept before it::

        |r_ab| <= threshold for all kept b

    Parameters
    ----------
    X
        Matrix of training rows, shape (row, column).
    names
        Names of the columns. Numbers by default.
    threshold
        Largest absolute correlation of two kept columns, above 0 and at most 1.
    importance
        Importances, shape (column,). The most important columns are considered first,
        equal ones in their order. By default the order of the columns decides.
    block_rows
        Rows per block. Blocks of 64 MiB by default.

    Returns
    -------
    result
        Kept columns in their order, and the dropped ones with the column they repeat.

    Raises
    ------
    ParameterError
        If there are NaN values, an option is out of range or all columns are constant.

    Notes
    -----
    Valid for linear relations of pairs: a column that is a sum of others is kept. Test
    rows must not influence the selection, so give training rows only.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0, 5.0], [1.0, 3.0, 5.0], [2.0, 5.1, 5.0]])
    >>> result = drop_correlated(x, ["a", "b", "c"])
    >>> result.names, result.dropped["b"][0], result.constant
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
            f"all {len(label)} columns of X are constant over these {len(x)} rows; "
            "check the columns"
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
    """Columns kept by recursive elimination.

    Parameters
    ----------
    selected
        Names of the kept columns, most important first.
    columns
        Their indices.
    importance
        Their mean importances over folds, scaled to a sum of 1.
    ranking
        Rank of every column by name; 1 is the most important. Columns eliminated later
        rank before those eliminated earlier.
    scores
        (number of columns, mean over folds, standard deviation over folds), from all
        columns down.
    folds
        Number of folds.
    seed
        Seed of the folds.
    """

    selected: tuple[str, ...]
    columns: tuple[int, ...]
    importance: tuple[float, ...]
    ranking: dict[str, int]
    scores: tuple[tuple[int, float, float], ...]
    folds: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def held_out_score(model: Any, X: AnyArray, y: npt.NDArray[Any]) -> float:
    """Compute the AUC of ``model.predict`` for labels 0 and 1, else R2.

    Parameters
    ----------
    model
        Model with a method ``predict``.
    X
        Held-out matrix, shape (row, column).
    y
        Labels or numbers, shape (row,).

    Returns
    -------
    score
        AUC or R2.
    """
    score = np.asarray(model.predict(X))
    return roc_auc(y, score) if np.isin(y, (0, 1)).all() else r2(y, score)


@renamed_arguments(wanted="n_features")
def recursive_elimination(
    fit: Fit,
    importance: Judge,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    groups: npt.ArrayLike,
    names: Sequence[str] | None = None,
    n_features: int = 15,
    step: int | float = 1,
    folds: int = 5,
    seed: int = 0,
    score: Judge = held_out_score,
) -> Elimination:
    """Eliminate features recursively, with cross-validated importance.

    In each round the ``step`` columns with the lowest I are dropped::

        I_a = 1/K sum_k max(I_a^(k), 0) / sum_b max(I_b^(k), 0)

    Parameters
    ----------
    fit
        Function of (X, y) of training rows that returns a model. It may undersample.
    importance
        Function of (model, X, y) of held-out rows that returns importances (column,).
        Larger is more important.
    X
        Matrix, shape (row, column).
    y
        Labels or numbers, shape (row,).
    groups
        Group of each row, shape (row,).
    names
        Names of the columns. Numbers by default.
    n_features
        Number of columns to keep.
    step
        Columns dropped per round, or the share of those left, between 0 and 1.
    folds
        Number of folds of groups, the same in all rounds.
    seed
        Seed of the folds.
    score
        Function of (model, X, y) of held-out rows that returns a number. By default the
        AUC or R2 of ``model.predict``.

    Returns
    -------
    result
        Selected columns, ranking of all columns and score for each number of columns.

    Raises
    ------
    ParameterError
        If there are too few groups or the importances do not fit.

    Notes
    -----
    Of equally important columns the later one is dropped first. A fold whose
    importances are all 0 does not contribute. Results are the same bits for the same
    seed if ``fit`` is deterministic. The cost is folds times rounds trainings. One fold
    is held as a copy.

    Valid for ranking. The score of the selected columns is optimistic, since the
    held-out rows selected them. Report a score from groups set aside. scikit-learn's
    RFECV takes importances from the training rows and eliminates in each fold
    separately.

    References
    ----------
    Guyon et al., Machine Learning 46, 389 (2002).

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = rng.normal(size=(60, 4))
    >>> y, groups = 2 * x[:, 2] + x[:, 0], np.arange(60) % 6
    >>> result = recursive_elimination(
    ...     lambda X, y: np.linalg.lstsq(X, y, rcond=None)[0],
    ...     lambda model, X, y: abs(model),
    ...     x, y, groups, list("abcd"), n_features=2,
    ...     score=lambda model, X, y: -np.abs(y - X @ model).max(),
    ... )
    >>> result.selected
    ('c', 'a')
    """
    x = matrix("X", X)
    label = column_names(names, x.shape[1])
    target = np.asarray(y)
    if target.shape != (len(x),):
        raise ParameterError(
            f"y has shape {target.shape}; one value for each of the {len(x)} rows of X is needed"
        )
    if not 1 <= n_features <= len(label):
        raise ParameterError(
            f"n_features={n_features} must be between 1 and {len(label)}, the number of columns"
        )
    if not (step >= 1 and step == int(step)) and not 0.0 < step < 1.0:
        raise ParameterError(
            f"step={step} must be an integer number of columns, or a share between 0 and 1"
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
        if len(left) <= n_features:
            break
        number = max(int(step * len(left)), 1) if step < 1 else int(step)
        out = order[max(len(left) - number, n_features) :][::-1].tolist()
        gone += [left[i] for i in out]
        left = [c for i, c in enumerate(left) if i not in set(out)]
    kept = [left[i] for i in order]
    ranking = {label[c]: place for place, c in enumerate(kept + gone[::-1], start=1)}
    names_kept = tuple(label[c] for c in kept)
    return Elimination(
        names_kept,
        tuple(kept),
        tuple(mean[order].tolist()),
        ranking,
        tuple(scores),
        folds,
        int(seed),
    )


def _round(
    fit: Fit,
    importance: Judge,
    score: Judge,
    x: AnyArray,
    y: npt.NDArray[Any],
    parts: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    columns: list[int],
) -> tuple[FloatArray, FloatArray]:
    """Mean importance (column,) and scores (fold,) of one set of columns."""
    total, values = np.zeros(len(columns)), np.empty(len(parts))
    places = np.asarray(columns, dtype=np.int64)
    for k, (train, test) in enumerate(parts):
        model = fit(x[np.ix_(train, places)], y[train])
        held = x[np.ix_(test, places)]
        measured = np.asarray(importance(model, held, y[test]), dtype=np.float64)
        if measured.shape != (len(columns),) or not np.isfinite(measured).all():
            raise ParameterError(
                f"importance gave {measured.shape} values"
                f"{'' if np.isfinite(measured).all() else ' with NaN'} for "
                f"{len(columns)} columns; it must return one finite number per column"
            )
        measured = np.maximum(measured, 0.0)
        total += measured / measured.sum() if measured.sum() > 0 else 0.0
        values[k] = float(np.asarray(score(model, held, y[test])))
    return total / len(parts), values
