"""Scores of models on a test glass, and of models trained on that glass itself.

All scores of one test glass are resampled together, so that their differences are
paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import coded, generator
from mgdask.learn.data.splits import group_folds, undersample
from mgdask.learn.evaluation.bootstrap import MIN_GROUPS
from mgdask.learn.evaluation.metrics import prepare
from mgdask.learn.training.boosting import train
from mgdask.learn.training.model import Model
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.feature_selection import fit_balanced
from mgdask.studies.softness.training import PARAMETERS

METRICS = ("roc_auc", "recall")
LEVEL = 0.95
"""Confidence level of all intervals."""
REFERENCE_FOLDS = 5
"""Folds of the cross-validation within a glass or an undersample."""
SINGLE = ("undersamples", "folds")
"""Training sets of single models: an undersample, or four fifths of it."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Metrics of several models of one kind on a test glass.

    Parameters
    ----------
    ensemble
        Metrics of the mean of the models' scores.
    single
        Metrics of each model (model,).
    ensemble_resamples, single_resamples
        The metrics, and their means over the models, in each resample (resample,).
    """

    ensemble: Mapping[str, float]
    single: Mapping[str, FloatArray]
    ensemble_resamples: Mapping[str, FloatArray]
    single_resamples: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Target:
    """A test glass with its resamples.

    Parameters
    ----------
    glass
        The glass, with the columns and atoms that are tested.
    n_resamples
        Number of resamples of its regions of 15 Å. If there are fewer than 5 regions,
        atoms are resampled, and the interval is too narrow.
    seed
        Seed of the resamples.
    """

    glass: Glass
    n_resamples: int
    seed: int
    values: FloatArray = field(init=False)
    plastic: BoolArray = field(init=False)
    regions: IntArray = field(init=False)
    group: IntArray = field(init=False)
    counts: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        values, plastic, atoms = self.glass.rows()
        regions = self.glass.regions()[atoms]
        kinds, group = coded("regions", regions)
        if len(kinds) < MIN_GROUPS:
            kinds, group = tuple(range(len(plastic))), np.arange(len(plastic))
        n = len(kinds)
        counts = generator(self.seed).multinomial(n, np.full(n, 1.0 / n), size=self.n_resamples)
        for name, value in (
            ("values", values),
            ("plastic", plastic),
            ("regions", regions),
            ("group", group),
            ("counts", counts.astype(np.float64)),
        ):
            object.__setattr__(self, name, value)

    def test(self, models: Sequence[Model], single: Sequence[Model] = ()) -> Scores:
        """Return the scores of models trained on other glasses.

        Parameters
        ----------
        models
            Models whose scores are averaged.
        single
            Models that are scored one by one. Default: the same models.
        """
        return self.scores(self._predict(models), self._predict(single) if single else None)

    def _predict(self, models: Sequence[Model]) -> FloatArray:
        names = self.glass.columns()
        places = [names.index(name) for name in models[0].columns]
        return np.array(
            [
                model.predict(self.values[:, places], names=model.columns, threads=1)
                for model in models
            ]
        )

    def scores(self, averaged: FloatArray, single_ones: FloatArray | None = None) -> Scores:
        """Return the metrics of models, given their scores (model,row).

        Parameters
        ----------
        averaged
            Scores of the models whose mean is tested.
        single_ones
            Scores of the single models. Default: the same scores.
        """
        each = averaged if single_ones is None else single_ones
        mean = np.zeros(averaged.shape[1])
        for one in averaged:  # a fixed order of the sum
            mean += one
        mean /= len(averaged)
        ensemble = {name: prepare(name, self.plastic, mean) for name in METRICS}
        single = {name: [prepare(name, self.plastic, one) for one in each] for name in METRICS}
        ones = np.ones(len(mean))
        return Scores(
            {name: float(ready.value(ones)) for name, ready in ensemble.items()},
            {
                name: np.array([float(ready.value(ones)) for ready in parts])
                for name, parts in single.items()
            },
            {name: ready.resampled(self.group, self.counts) for name, ready in ensemble.items()},
            {
                name: np.mean([ready.resampled(self.group, self.counts) for ready in parts], axis=0)
                for name, parts in single.items()
            },
        )

    def own_score(self, learning: Mapping[str, Any], seed: int) -> Scores:
        """Return the scores of models trained on the other regions of the same glass.

        Each region is scored by models trained on the other four fifths of the regions.
        Adjacent regions share neighborhoods, so the result is slightly optimistic.

        Parameters
        ----------
        learning
            Arguments of ``learn_softness``.
        seed
            Seed of the folds, undersamples and models.

        Raises
        ------
        ParameterError
            If the glass has fewer than five regions.
        """
        n_regions = len(np.unique(self.regions))
        if n_regions < REFERENCE_FOLDS:
            raise ParameterError(
                f"{self.glass.name} has {n_regions} regions of 15 Å with included atoms; "
                f"reference='glass' needs at least {REFERENCE_FOLDS}. Use reference='condition' "
                "with two or more glasses of a condition"
            )
        params = {**PARAMETERS, **dict(learning.get("params") or {})}
        each = np.empty((learning.get("n_undersamples", 20), len(self.plastic)))
        for split in group_folds(self.regions, REFERENCE_FOLDS, seed, self.plastic):
            inside, outside = split.rows(self.regions)
            for k, row in enumerate(each):
                model = fit_balanced(
                    self.values[inside],
                    self.plastic[inside],
                    params,
                    learning.get("num_boost_round", 150),
                    seed + k,
                )
                row[outside] = model.predict(self.values[outside], threads=1)
        return self.scores(each)


def fold_models(
    train_on: Sequence[Glass], learning: Mapping[str, Any], seed: int
) -> tuple[Model, ...]:
    """Return the models of a 5-fold cross-validation of every undersample.

    These are the paper's models: "random equal undersampling to create a balanced
    dataset", then "5-fold cross-validation on the sampled datasets". Each is trained on
    four fifths of an undersample. Folds are whole regions of 15 Å of the training
    glasses, never single rows.

    Parameters
    ----------
    train_on
        Training glasses.
    learning
        Arguments of ``learn_softness``: ``n_undersamples``, ``num_boost_round`` and
        ``params`` are used.
    seed
        Seed of undersamples, folds and models.

    Returns
    -------
    models
        Five per undersample.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Methods, "Machine Learning".
    """
    parts = [glass.rows() for glass in train_on]
    x = np.concatenate([values for values, _, _ in parts])
    y = np.concatenate([plastic for _, plastic, _ in parts])
    glass = np.concatenate([np.full(len(part[1]), k) for k, part in enumerate(parts)])
    region = np.array(
        [
            f"{one.name} {place}"
            for one, (_, _, atoms) in zip(train_on, parts, strict=True)
            for place in one.regions()[atoms]
        ],
        dtype=object,
    )
    models = []
    for k in range(learning.get("n_undersamples", 20)):
        drawn = undersample(y, seed + k, strata=glass)
        for split in group_folds(region[drawn], REFERENCE_FOLDS, seed, y[drawn]):
            rows = drawn[split.rows(region[drawn])[0]]
            models.append(
                train(
                    x[rows],
                    y[rows].astype(np.float64),
                    objective="binary",
                    columns=train_on[0].columns(),
                    num_boost_round=learning.get("num_boost_round", 150),
                    params={**PARAMETERS, **dict(learning.get("params") or {})},
                    seed=seed + k,
                    threads=1,
                    progress=False,
                )
            )
    return tuple(models)


def resampling(regions: IntArray, n_resamples: int) -> str:
    """Describe how the intervals of a glass with these regions were computed."""
    n_regions = len(np.unique(regions))
    if n_regions < MIN_GROUPS:
        return (
            f"{100 * LEVEL:g} %, {n_resamples} resamples of {len(regions)} atoms; there are too "
            f"few regions to resample ({n_regions}), so the interval is too narrow"
        )
    return f"{100 * LEVEL:g} %, {n_resamples} resamples of {n_regions} regions"


def check_single(single_models: str) -> None:
    """Raise ``ParameterError`` unless the argument is one of ``SINGLE``."""
    if single_models not in SINGLE:
        raise ParameterError(
            f"single_models={single_models!r} must be {' or '.join(map(repr, SINGLE))}"
        )


def interval_ends(draws: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the intervals over the last axis (resample), without NaN."""
    low, high = np.full((2, *draws.shape[:-1]), np.nan)
    defined = ~np.isnan(draws).all(axis=-1)
    if defined.any():
        low[defined], high[defined] = np.nanquantile(
            draws[defined], [0.5 - 0.5 * LEVEL, 0.5 + 0.5 * LEVEL], axis=-1
        )
    return low, high


def pooled_ends(draws: FloatArray, used: BoolArray, seed: int) -> tuple[float, float]:
    """Return the ends of the interval of a mean over pairs.

    Parameters
    ----------
    draws
        Values in each resample (train,test,resample).
    used
        Which pairs are averaged (train,test).
    seed
        Seed for resampling test glasses, which needs at least five of them.

    Returns
    -------
    low, high
        Ends of the 95 % interval; NaN if there is no pair.
    """
    if not used.any():
        return np.nan, np.nan
    n_targets, n_resamples = used.shape[1], draws.shape[-1]
    present = np.flatnonzero(used.any(axis=0))
    weight = np.ones((n_resamples, n_targets))
    if len(present) >= MIN_GROUPS:
        n = len(present)
        weight[:] = 0.0
        weight[:, present] = generator(seed).multinomial(n, np.full(n, 1.0 / n), size=n_resamples)
    pair_weight = weight.T[None] * used[..., None]
    total = (pair_weight * np.where(used[..., None], draws, 0.0)).sum(axis=(0, 1))
    low, high = interval_ends((total / pair_weight.sum(axis=(0, 1)))[None])
    return float(low[0]), float(high[0])
