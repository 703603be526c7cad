"""Results of the temperature study in words and as metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mgdask._typing import FloatArray
from mgdask.studies.temperature.classes import ClusterStatistics
from mgdask.studies.temperature.data import Instances
from mgdask.studies.temperature.weights import LagWeights

SAME_TEMPERATURE = 0.01
"""Relative difference below which two temperatures are probably meant to be equal."""


def about_training(train: Instances, classes: ClusterStatistics, weights: LagWeights) -> list[str]:
    """Say what was trained on, and what was found about classes and lags.

    Parameters
    ----------
    train
        Instances of the training stores.
    classes
        Representative classes.
    weights
        Weights of the lags.
    """
    kelvin = train.temperatures
    lines = [
        f"training: {train.n_rows} atoms of {len(train.runs)} runs at {_listed(kelvin)} K",
        f"classes: {_listed(classes.classes)} K "
        f"({'given' if classes.given else 'found'}). {classes.verdict}",
        f"lags: {_lags(weights)} ({'given' if weights.given else 'found'}). {weights.verdict}",
    ]
    close = np.flatnonzero(np.diff(kelvin) < SAME_TEMPERATURE * kelvin[1:])
    if len(close):
        low, high = kelvin[close[0]], kelvin[close[0] + 1]
        lines.append(
            f"the runs at {low:.6g} and {high:.6g} K are different classes. If both are meant to "
            "be at one temperature, give it to both with mgdask attach --overwrite --temperature"
        )
    return lines


def _lags(weights: LagWeights) -> str:
    selected = weights.selected
    if np.array_equal(selected, weights.lag[-len(selected) :]):
        return f"{len(selected)} of {selected[0]:g} ps and more"
    return f"{len(selected)}: {_listed(selected)} ps"


def _listed(values: Sequence[float] | FloatArray) -> str:
    return ", ".join(f"{value:g}" for value in values)
