"""Quench-in softness, second half: a classifier of plastic atoms, tested on a glass that was set aside, and what its score says.

Undersampled to equal classes in training, not in the test; several draws of the undersampling are averaged, so that no atom of the majority is
without a say. The score of an atom, its predicted probability of being plastic, is the quench-in softness (QS).

Source: Wang, Jain, Nat. Commun. 10, 5537 (2019).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.learn.boosting import train
from mgdask.learn.bootstrap import Interval, bootstrap
from mgdask.learn.metrics import baseline_scores, recall, roc_auc
from mgdask.learn.model import Model
from mgdask.learn.splits import check_disjoint, undersample
from mgdask.studies.softness import Glass

Float = npt.NDArray[np.float64]

PARAMETERS: Mapping[str, Any] = {
    "learning_rate": 0.03, "num_leaves": 15, "min_data_in_leaf": 20, "bagging_fraction": 0.8, "bagging_freq": 1,
    "feature_fraction": 0.5, "lambda_l2": 5.0,
}  # fmt: skip
"""Of the trees: small ones, strongly regularised, since a glass has some hundred plastic atoms only."""


@dataclass(frozen=True)
class Softness:
    """A trained score of softness and how it did on the glass set aside.

    models: one a draw of the undersampling; columns; train and test: names of the glasses; metrics: by name, with intervals; qs (atom,) of the test
    glass, NaN where an atom does not count; baselines: AUC and recall of random, most frequent and minority guesses.
    """

    models: tuple[Model, ...]
    columns: tuple[str, ...]
    train: tuple[str, ...]
    test: str
    metrics: Mapping[str, Interval]
    baselines: Mapping[str, Mapping[str, float]]
    qs: Float

    def predict(self, values: Float) -> Float:
        """QS (row,) of features (row,column): the mean over the models."""
        found: Float = np.mean([model.predict(values, names=self.columns) for model in self.models], axis=0)
        return found

    def __str__(self) -> str:
        lines = [
            f"trained on {', '.join(self.train)}, tested on {self.test}, {len(self.columns)} columns, {len(self.models)} draws"
        ]
        lines += [f"  {name:10} {interval}" for name, interval in self.metrics.items()]
        lines += [
            f"  {kind:14} " + ", ".join(f"{name} {value:.3f}" for name, value in found.items())
            for kind, found in self.baselines.items()
        ]
        return "\n".join(lines)

    def save(self, folder: str | Path) -> None:
        """Write the models, the scores of the test glass, and a summary that a person and a program can read."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for k, model in enumerate(self.models):
            model.save(target / f"model-{k}")
        np.save(target / "qs.npy", self.qs)
        summary = {
            "train": list(self.train), "test": self.test, "columns": list(self.columns), "models": len(self.models),
            "metrics": {name: interval.as_dict() for name, interval in self.metrics.items()}, "baselines": self.baselines,
        }  # fmt: skip
        (target / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
        (target / "summary.txt").write_text(f"{self}\n", encoding="utf-8")


def learn_softness(
    train_on: Sequence[Glass], test_on: Glass, *, draws: int = 5, rounds: int = 300, params: Mapping[str, Any] | None = None, seed: int = 0,
    repeats: int = 1000, progress: bool = True,
) -> Softness:  # fmt: skip
    """Learn which atoms turn plastic, on some glasses, and test it on another that was set aside.

    Parameters
    ----------
    train_on, test_on: glasses from ``prepare_glass``, made with the same features. draws: of the undersampling, each of which gets a model
        with a seed of its own. rounds: trees of each. params: of LightGBM, over ``PARAMETERS``. repeats: of the bootstrap over the test
        atoms.

    Returns a ``Softness``. ``ParameterError`` where the test glass is among the training glasses or has other columns. Intervals resample atoms of
    one glass: neighbouring atoms are alike, so they are too narrow; more glasses, tested each in turn, say more.

    >>> found = learn_softness([prepare_glass("a.zarr", "out")], prepare_glass("b.zarr", "out"))  # doctest: +SKIP
    """
    if not train_on or draws < 1:
        raise ParameterError(f"train_on needs at least one glass and draws={draws} at least 1")
    check_disjoint([str(glass.store.resolve()) for glass in train_on], [str(test_on.store.resolve())])
    columns = test_on.columns()
    for glass in train_on:
        if glass.columns() != columns:
            raise ParameterError(
                f"{glass.name} and {test_on.name} have other columns; prepare them with the same features"
            )
    parts = [glass.rows() for glass in train_on]
    x, y = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    where = np.concatenate([np.full(len(part[1]), k) for k, part in enumerate(parts)])
    xt, yt, atoms = test_on.rows()
    models = []
    for draw in range(draws):
        some = undersample(y, seed + draw, strata=where)
        models.append(
            train(
                x[some],
                y[some].astype(np.float64),
                objective="binary",
                columns=columns,
                rounds=rounds,
                params={**PARAMETERS, **dict(params or {})},
                seed=seed + draw,
                progress=progress and draw == 0,
            )
        )
    score = np.mean([model.predict(xt, names=columns) for model in models], axis=0)
    if np.ptp(score) == 0.0:
        raise ParameterError(
            f"the trees have no split: {int(y.sum())} plastic atoms are too few for these parameters; take more glasses, a lower threshold, or a "
            "smaller min_data_in_leaf in params"
        )
    metrics = {name: bootstrap(name, yt, score, repeats=repeats, seed=seed) for name in ("roc_auc", "recall")}
    baselines = {}
    for name, guess in baseline_scores(y, len(yt), seed).items():
        baselines[name] = {"roc_auc": roc_auc(yt, guess), "recall": recall(yt, guess)}
    qs = np.full(len(test_on.keep), np.nan)
    qs[atoms] = score
    return Softness(
        tuple(models), columns, tuple(glass.name for glass in train_on), test_on.name, metrics, baselines, qs
    )
