"""Logistic regression on the columns and atoms of the trees, as a simple baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.learn.training.logistic import Logistic, logistic_regression
from mgdask.studies.results import POOLED, Metric

LOGISTIC = "logistic_regression"
"""Name of the simple model among the baselines."""
MINUS = " minus logistic regression"
"""Suffix of the names of differences in ``results.json``."""


def logistic_models(
    x: FloatArray, y: BoolArray, balanced: Sequence[IntArray]
) -> tuple[Logistic, ...]:
    """Fit a logistic regression to each balanced sample that trees were trained on.

    Parameters
    ----------
    x, y
        Columns (row,column) and labels (row,) of all training atoms.
    balanced
        Rows of each sample.

    Returns
    -------
    models
        One per sample. Columns are standardized with the statistics of the sample.

    Notes
    -----
    Labels are learned, even if trees learn ranks. ``Glass.rows`` leaves out atoms with
    NaN for all models alike. NaN in ``x`` is replaced by the mean of its column.
    """
    return tuple(logistic_regression(x[sample], y[sample]) for sample in balanced)


def logistic_score(models: Sequence[Logistic], x: FloatArray) -> FloatArray:
    """Return the mean probability of the models (row,), summed in their order."""
    total = models[0].predict(x)
    for model in models[1:]:
        total += model.predict(x)
    score: FloatArray = total / len(models)
    return score


def simple_model_wins(difference: Mapping[str, Any]) -> bool:
    """Return whether trees are not significantly better than logistic regression.

    Parameters
    ----------
    difference
        AUC of the trees minus that of logistic regression: value, low and high.

    Returns
    -------
    wins
        False if numbers are not finite.
    """
    return _known(difference) and bool(difference["low"] <= 0)


def simple_model_text(trees: float, logistic: float, difference: Mapping[str, Any]) -> str:
    """Describe whether trees predict better than logistic regression.

    Parameters
    ----------
    trees, logistic
        Their AUC.
    difference
        See ``simple_model_wins``.

    Returns
    -------
    text
        The finding, then the numbers; empty if the interval is not defined.

    Examples
    --------
    >>> difference = {"value": 0.05, "low": 0.02, "high": 0.07}
    >>> print(simple_model_text(0.75, 0.70, difference)[:47])
    The trees predict plastic atoms better than log
    """
    if not _known(difference):
        return ""
    value, low, high = (difference[end] for end in ("value", "low", "high"))
    if high < 0:
        found = (
            "Logistic regression on the same columns predicts plastic atoms better than the trees."
        )
    elif low <= 0:
        found = (
            "Logistic regression on the same columns predicts plastic atoms as well as the trees. "
            "This glass does not show which of the two is better."
        )
    else:
        found = (
            "The trees predict plastic atoms better than logistic regression on the same columns."
        )
    return (
        f"{found} The AUC of logistic regression is {logistic:.3f}, that of the trees {trees:.3f}; "
        f"trees minus logistic regression is {value:+.3f} [{low:+.3f}, {high:+.3f}]."
    )


def pooled_simple_text(metrics: Sequence[Metric]) -> str:
    """Return the sentences of ``simple_model_text`` on all test glasses together.

    Parameters
    ----------
    metrics
        Metrics of the study.

    Returns
    -------
    text
        Empty if a simple model was not scored, as in files of an older version.
    """
    pooled = {(one.model, one.name): one for one in metrics if one.test == POOLED}
    trees = pooled.get(("softness", "roc_auc"))
    logistic = pooled.get((f"baseline: {LOGISTIC.replace('_', ' ')}", "roc_auc"))
    minus = pooled.get(("softness", f"roc_auc{MINUS}"))
    if trees is None or logistic is None or minus is None:
        return ""
    if trees.value is None or logistic.value is None:
        return ""
    return simple_model_text(
        trees.value, logistic.value, {"value": minus.value, "low": minus.low, "high": minus.high}
    )


def _known(difference: Mapping[str, Any]) -> bool:
    ends = [difference[end] for end in ("value", "low", "high")]
    return all(end is not None and np.isfinite(end) for end in ends)
