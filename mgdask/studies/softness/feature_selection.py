"""Which columns lead: strongly correlated ones removed, the rest eliminated by how much they matter on atoms that did not train.

Source: Wang, Jain, Nat. Commun. 10, 5537 (2019), who keep 15; elimination after Guyon et al., Machine Learning 46, 389 (2002).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.learn.data.splits import Split, group_folds, undersample
from mgdask.learn.evaluation.metrics import roc_auc
from mgdask.learn.selection.elimination import drop_correlated, recursive_elimination
from mgdask.learn.training.boosting import train
from mgdask.learn.training.model import Model

Float = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
EXPLAINED = 400
"""Held-out rows a fold that the importance is taken from: SHAP values of more change it little."""


@dataclass(frozen=True)
class Leading:
    """Columns that were kept, most important first, and how the choice went.

    importance: share of the mean absolute SHAP value on held-out atoms; correlated: name of each column that was dropped, with the kept column it
    repeats and their correlation; scores: (number of columns, mean AUC over folds, deviation over folds), falling numbers.
    """

    columns: tuple[str, ...]
    importance: tuple[float, ...]
    correlated: Mapping[str, tuple[str, float]]
    constant: tuple[str, ...]
    scores: tuple[tuple[int, float, float], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def fit_balanced(x: Float, y: Mask, params: Mapping[str, Any], rounds: int, seed: int) -> Model:
    """One model of equally many plastic and other rows."""
    some = undersample(y, seed)
    return train(
        x[some],
        y[some].astype(np.float64),
        objective="binary",
        rounds=rounds,
        params=params,
        seed=seed,
        threads=1,
        progress=False,
    )


def cross_validate(
    x: Float,
    y: Mask,
    groups: npt.NDArray[Any],
    *,
    params: Mapping[str, Any],
    rounds: int,
    folds: int,
    seed: int,
) -> tuple[tuple[float, ...], list[Split]]:
    """AUC of each fold of whole groups, trained on balanced and tested on all held-out rows, and the folds themselves."""
    splits = group_folds(groups, folds, seed, y)
    scores = []
    for split in splits:
        inside, outside = split.rows(groups)
        model = fit_balanced(x[inside], y[inside], params, rounds, seed)
        scores.append(float(roc_auc(y[outside], model.predict(x[outside], threads=1))))
    return tuple(scores), splits


def leading_columns(
    x: Float,
    y: Mask,
    groups: npt.NDArray[Any],
    columns: Sequence[str],
    *,
    wanted: int,
    correlated: float,
    params: Mapping[str, Any],
    rounds: int,
    folds: int,
    seed: int,
) -> Leading:
    """Columns left of ``x`` (row,column) for labels ``y`` (row,), by folds of ``groups`` (row,): ``wanted`` of them, most important first.

    Of two columns with a correlation above ``correlated`` the one with less gain goes. Then a tenth goes a round, the one with the smallest mean
    absolute SHAP value on the held-out rows of all folds, in log-odds. Rows of the test glass must not be among them.
    """
    gain = np.asarray(fit_balanced(x, y, params, rounds, seed).booster.feature_importance("gain"))
    apart = drop_correlated(x, columns, correlated, gain)
    kept = x[:, list(apart.columns)]

    def shares(model: Model, held: Float, _: Any) -> Float:
        some = np.random.default_rng(seed).permutation(len(held))[:EXPLAINED]
        found: Float = np.abs(
            model.booster.predict(held[np.sort(some)], pred_contrib=True, num_threads=1)[:, :-1]
        ).mean(axis=0)
        return found

    found = recursive_elimination(
        lambda a, b: fit_balanced(a, b, params, rounds, seed),
        shares,
        kept,
        y,
        groups,
        apart.names,
        min(wanted, len(apart.names)),
        0.1,
        folds,
        seed,
    )
    return Leading(found.selected, found.importance, apart.dropped, apart.constant, found.scores)
