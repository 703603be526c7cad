"""Select the leading columns of the softness score.

Strongly correlated columns are removed. The others are eliminated by their importance
on held-out atoms, as in Wang, Jain, Nat. Commun. 10, 5537 (2019), who keep 15. The
elimination follows Guyon et al., Machine Learning 46, 389 (2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mgdask._typing import AnyArray, BoolArray, FloatArray
from mgdask.learn.data.splits import Split, group_folds, undersample
from mgdask.learn.data.targets import rank_targets
from mgdask.learn.evaluation.metrics import roc_auc
from mgdask.learn.selection.elimination import drop_correlated, recursive_elimination
from mgdask.learn.training.boosting import train
from mgdask.learn.training.model import Model

MAX_EXPLAINED_ROWS = 400
"""Held-out rows per fold for SHAP values; more change the importance little."""


@dataclass(frozen=True)
class Leading:
    """Selected columns, most important first, and how they were selected.

    Parameters
    ----------
    columns
        The selected columns.
    importance
        Share of the mean absolute SHAP value on held-out atoms, by column.
    correlated
        For each dropped column, the kept column it repeats and their correlation.
    constant
        Columns that were dropped because they have one value.
    scores
        Number of columns, mean AUC over folds and its standard deviation, from the
        largest number to the smallest.
    """

    columns: tuple[str, ...]
    importance: tuple[float, ...]
    correlated: Mapping[str, tuple[str, float]]
    constant: tuple[str, ...]
    scores: tuple[tuple[int, float, float], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Leading:
        """Restore a selection from the values of ``as_dict``."""
        return cls(
            columns=tuple(plain["columns"]),
            importance=tuple(plain["importance"]),
            correlated={name: (kept, r) for name, (kept, r) in plain["correlated"].items()},
            constant=tuple(plain["constant"]),
            scores=tuple((n, mean, deviation) for n, mean, deviation in plain["scores"]),
        )


def fit_balanced(
    x: FloatArray,
    y: BoolArray,
    params: Mapping[str, Any],
    num_boost_round: int,
    seed: int,
    values: FloatArray | None = None,
) -> Model:
    """Train one model on equal numbers of plastic and other rows.

    With ``values`` (row,), the targets are their ranks among these rows.
    """
    rows = undersample(y, seed)
    return train(
        x[rows],
        y[rows].astype(np.float64) if values is None else rank_targets(values[rows]),
        objective="binary" if values is None else "cross_entropy",
        num_boost_round=num_boost_round,
        params=params,
        seed=seed,
        threads=1,
        progress=False,
    )


def cross_validate(
    x: FloatArray,
    y: BoolArray,
    groups: AnyArray,
    *,
    params: Mapping[str, Any],
    num_boost_round: int,
    folds: int,
    seed: int,
    values: FloatArray | None = None,
) -> tuple[tuple[float, ...], list[Split]]:
    """Return the AUC of each fold, and the folds.

    Folds are whole groups. Models are trained on balanced rows and tested on all
    held-out rows. ``values`` are those of ``fit_balanced``.
    """
    splits = group_folds(groups, folds, seed, y)
    scores = []
    for split in splits:
        inside, outside = split.rows(groups)
        own = None if values is None else values[inside]
        model = fit_balanced(x[inside], y[inside], params, num_boost_round, seed, own)
        scores.append(float(roc_auc(y[outside], model.predict(x[outside], threads=1))))
    return tuple(scores), splits


def leading_columns(
    x: FloatArray,
    y: BoolArray,
    groups: AnyArray,
    columns: Sequence[str],
    *,
    n_features: int,
    correlated: float,
    params: Mapping[str, Any],
    num_boost_round: int,
    folds: int,
    seed: int,
) -> Leading:
    """Select the leading columns by cross-validated recursive elimination.

    Of two correlated columns the one with less gain is dropped. Each round then drops
    the tenth with the smallest mean absolute SHAP value (log-odds) on held-out rows.

    Parameters
    ----------
    x, y, groups
        Features (row,column), labels (row,) and groups of the folds (row,). Rows of the
        test glass must not be among them.
    columns
        Names of the columns.
    n_features
        Number of columns to select.
    correlated
        Correlation above which one of two columns is dropped.
    params, num_boost_round
        LightGBM parameters, and trees per model.
    folds
        Number of folds.
    seed
        Seed of all random choices.

    Returns
    -------
    leading
        The columns, most important first.
    """
    gain = np.asarray(
        fit_balanced(x, y, params, num_boost_round, seed).booster.feature_importance("gain")
    )
    uncorrelated = drop_correlated(x, columns, correlated, gain)
    kept = x[:, list(uncorrelated.columns)]

    def shares(model: Model, held: FloatArray, _: Any) -> FloatArray:
        rows = np.random.default_rng(seed).permutation(len(held))[:MAX_EXPLAINED_ROWS]
        importance: FloatArray = np.abs(
            model.booster.predict(held[np.sort(rows)], pred_contrib=True, num_threads=1)[:, :-1]
        ).mean(axis=0)
        return importance

    elimination = recursive_elimination(
        lambda a, b: fit_balanced(a, b, params, num_boost_round, seed),
        shares,
        kept,
        y,
        groups,
        uncorrelated.names,
        min(n_features, len(uncorrelated.names)),
        0.1,
        folds,
        seed,
    )
    return Leading(
        elimination.selected,
        elimination.importance,
        uncorrelated.dropped,
        uncorrelated.constant,
        elimination.scores,
    )
