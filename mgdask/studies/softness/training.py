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
from mgdask.learn.data.splits import Split, group_split, undersample
from mgdask.learn.evaluation.bootstrap import Interval, bootstrap
from mgdask.learn.evaluation.metrics import baseline_scores
from mgdask.learn.search.optimize import search
from mgdask.learn.search.space import SPACE
from mgdask.learn.training.boosting import train
from mgdask.learn.training.card import model_card, write_card
from mgdask.learn.training.model import Model
from mgdask.learn.training.parameters import main_names
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.feature_selection import Leading, cross_validate, leading_columns
from mgdask.studies.timing import Stages

Float = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

PARAMETERS: Mapping[str, Any] = {
    "learning_rate": 0.03,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "lambda_l2": 5.0,
}
"""Of the trees: small ones, strongly regularised, since a glass has some hundred plastic atoms only."""
JUDGED = 200_000
"""Rows at most that cross-validation and the choice of columns look at, drawn evenly from all."""
METRICS = ("roc_auc", "recall")


@dataclass(frozen=True)
class Softness:
    """A trained score of softness and how it did on the glass set aside.

    models: one a draw of the undersampling; columns: those the models take; train and test: names of the glasses; metrics of the test glass by name,
    with intervals over its regions; qs (atom,) of the test glass, NaN where an atom does not count; baselines: the same metrics of random, most
    frequent and minority guesses; folds: AUC of each fold of the cross-validation; choice: how the leading columns were found, with
    ``leading_metrics`` the metrics of models on those alone, None where not asked for; card: data, split, parameters, versions.
    """

    models: tuple[Model, ...]
    columns: tuple[str, ...]
    train: tuple[str, ...]
    test: str
    metrics: Mapping[str, Interval]
    baselines: Mapping[str, Mapping[str, Interval]]
    qs: Float
    folds: tuple[float, ...]
    choice: Leading | None
    leading_metrics: Mapping[str, Interval]
    card: Mapping[str, Any]

    @property
    def leading(self) -> tuple[str, ...]:
        """Columns kept by recursive elimination, most important first; empty where not asked for."""
        return () if self.choice is None else self.choice.columns

    def predict(self, values: Float) -> Float:
        """QS (row,) of features (row,column): the mean over the models."""
        return _mean_score(self.models, values, self.columns)

    def __str__(self) -> str:
        lines = [
            f"trained on {', '.join(self.train)}, tested on {self.test}, {len(self.columns)} columns, {len(self.models)} draws"
        ]
        lines += [f"  {name:14} {interval}" for name, interval in self.metrics.items()]
        for kind, found in self.baselines.items():
            lines.append(
                f"  {kind:14} "
                + ", ".join(f"{name} {one.value:.3f}" for name, one in found.items())
            )
        if self.folds:
            mean, spread = np.mean(self.folds), np.std(self.folds)
            lines.append(
                f"  cross-validation over {len(self.folds)} folds: roc_auc {mean:.3f}, deviation {spread:.3f}"
            )
        if self.choice is not None:
            lines.append(
                f"  {len(self.leading)} leading columns of {len(self.columns)}, most important first:"
            )
            lines += [f"  {name:14} {interval}" for name, interval in self.leading_metrics.items()]
            lines += [
                f"    {share:6.1%}  {name}"
                for name, share in zip(self.leading, self.choice.importance, strict=True)
            ]
        return "\n".join(lines)

    def save(self, folder: str | Path) -> None:
        """Write the models, their card, the scores of the test glass, and a summary that a person and a program can read."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for k, model in enumerate(self.models):
            model.save(target / f"model-{k}")
        np.save(target / "qs.npy", self.qs)
        write_card(self.card, target / "card")
        summary = {
            "train": list(self.train),
            "test": self.test,
            "columns": list(self.columns),
            "models": len(self.models),
            "metrics": {name: interval.as_dict() for name, interval in self.metrics.items()},
            "baselines": {
                kind: {name: one.as_dict() for name, one in found.items()}
                for kind, found in self.baselines.items()
            },
            "folds": list(self.folds),
            "choice": None if self.choice is None else self.choice.as_dict(),
            "leading_metrics": {
                name: interval.as_dict() for name, interval in self.leading_metrics.items()
            },
        }
        (target / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
        (target / "summary.txt").write_text(f"{self}\n", encoding="utf-8")


def learn_softness(
    train_on: Sequence[Glass],
    test_on: Glass,
    *,
    draws: int = 20,
    rounds: int = 150,
    params: Mapping[str, Any] | None = None,
    wanted: int | None = 15,
    correlated: float = 0.95,
    folds: int = 5,
    trials: int = 0,
    seed: int = 0,
    repeats: int = 1000,
    stages: Stages | None = None,
    client: Any = None,
    progress: bool = True,
) -> Softness:
    """Learn which atoms turn plastic, on some glasses, and test it on another that was set aside.

    Parameters
    ----------
    train_on, test_on: glasses from ``prepare_glass``, made with the same features. draws: of the undersampling, each of which gets a model
        with a seed of its own. rounds: trees of each. params: of LightGBM, over ``PARAMETERS``. wanted: leading columns to be found, None for no
        search; of columns with a correlation above ``correlated`` one is kept. folds: of the cross-validation on the training glasses, 0 for none;
        whole glasses where there are as many, else whole regions of 15 Å. trials: of a search for parameters that ``params`` does not name, over
        the same folds, on the workers of ``client``; 0 for none. repeats: of the bootstrap over regions of the test glass. stages: told how long each
        part takes.

    Returns a ``Softness`` whose score takes all columns; the leading ones are scored beside it. ``ParameterError`` where the test glass is among the
    training glasses, under another name too, or has other columns. Regions next to each other share atoms at their border, so cross-validation within
    a glass is a little too good, and intervals from one test glass know nothing of the spread between glasses.

    >>> found = learn_softness([prepare_glass("a.zarr", "out")], prepare_glass("b.zarr", "out"))  # doctest: +SKIP
    """
    if not train_on or draws < 1:
        raise ParameterError(f"train_on needs at least one glass and draws={draws} at least 1")
    if wanted is not None and wanted < 1:
        raise ParameterError(f"wanted={wanted} must be at least 1 column, or None for no search")
    if (wanted is not None or trials) and folds < 2:
        raise ParameterError(
            f"folds={folds}: leading columns and a search need at least 2 folds; give wanted=None and trials=0 for none"
        )
    columns = _check(train_on, test_on)
    stages = stages or Stages()
    settings = {**PARAMETERS, **dict(params or {})}
    with stages("rows"):
        x, y, glass, region = _training_rows(train_on, folds)
        xt, yt, atoms = test_on.rows()
        where = test_on.regions()[atoms]
    judged = _drawn(len(y), seed)
    if trials:
        with stages("parameters"):
            tried = search(
                x[judged],
                y[judged].astype(np.float64),
                region[judged],
                trials=trials,
                params=dict(params or {}),
                space={
                    name: ends
                    for name, ends in SPACE.items()
                    if name not in main_names(params or {})
                },
                folds=folds,
                rounds=rounds,
                columns=columns,
                seed=seed,
                client=client,
                progress=progress,
            )
        settings = {**settings, **tried.params}
    with stages("models"):
        balanced = [undersample(y, seed + draw, strata=glass) for draw in range(draws)]
        models = _models(x, y, balanced, columns, settings, rounds, seed, progress)
        score = _mean_score(models, xt, columns)
    if np.ptp(score) == 0.0:
        raise ParameterError(
            f"the trees have no split: {int(y.sum())} plastic atoms are too few for these parameters; take more glasses, a lower threshold, or a "
            "smaller min_data_in_leaf in params"
        )
    auc_of_folds: tuple[float, ...] = ()
    splits: list[Split] = []
    choice, leading = None, {}
    if folds:
        with stages("cross-validation"):
            auc_of_folds, splits = cross_validate(
                x[judged],
                y[judged],
                region[judged],
                params=settings,
                rounds=rounds,
                folds=folds,
                seed=seed,
            )
    if wanted is not None:
        with stages("leading columns"):
            choice = leading_columns(
                x[judged],
                y[judged],
                region[judged],
                columns,
                wanted=wanted,
                correlated=correlated,
                params=settings,
                rounds=rounds,
                folds=folds,
                seed=seed,
            )
            places = [columns.index(name) for name in choice.columns]
            few = _models(x[:, places], y, balanced, choice.columns, settings, rounds, seed, False)
            leading = _scored(
                yt, _mean_score(few, xt[:, places], choice.columns), where, repeats, seed
            )
    with stages("intervals"):
        metrics = _scored(yt, score, where, repeats, seed)
        baselines = {
            name: _scored(yt, guess, where, repeats, seed)
            for name, guess in baseline_scores(y, len(yt), seed).items()
        }
    qs = np.full(len(test_on.keep), np.nan)
    qs[atoms] = score
    names = [train_on[k].name for k in glass] + [test_on.name] * len(yt)
    card = model_card(
        f"quench-in softness of {test_on.name}",
        data={name: text for one in (*train_on, test_on) for name, text in one.digests().items()},
        columns=columns,
        split=[group_split(names, [test_on.name], seed), *splits],
        parameters={
            **settings,
            "rounds": rounds,
            "draws": draws,
            "threshold": test_on.threshold,
            "strain": float(test_on.strain[test_on.frame]),
        },
        metrics=metrics,
        baselines=baselines,
        seed=seed,
        notes=[
            "balanced by undersampling: the score is no probability of the unbalanced glass",
            "the first split is training against test glass, the others are folds of the training rows by region",
        ][: 1 + bool(splits)],
    )
    return Softness(
        models,
        columns,
        tuple(one.name for one in train_on),
        test_on.name,
        metrics,
        baselines,
        qs,
        auc_of_folds,
        choice,
        leading,
        card,
    )


def _check(train_on: Sequence[Glass], test_on: Glass) -> tuple[str, ...]:
    columns, content = test_on.columns(), test_on.digests()[f"{test_on.name} trajectory"]
    seen: dict[str, Glass] = {}
    for glass in train_on:
        if glass.columns() != columns:
            raise ParameterError(
                f"{glass.name} and {test_on.name} have other columns; prepare them with the same features"
            )
        same = glass.digests()[f"{glass.name} trajectory"]
        if same == content:
            raise ParameterError(
                f"{glass.name} is among the training glasses and {test_on.name}, the test glass, is the same trajectory: a score on atoms that "
                "trained says nothing; leave it out on one side"
            )
        if same in seen:
            raise ParameterError(
                f"{glass.name} and {seen[same].name} among the training glasses are the same; give each once"
            )
        seen[same] = glass
    names = [glass.name for glass in (*train_on, test_on)]
    if len(set(names)) < len(names):
        raise ParameterError(
            f"two glasses have one name among {names}; give their stores names of their own"
        )
    return columns


def _training_rows(
    train_on: Sequence[Glass], folds: int
) -> tuple[Float, Mask, npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Features, labels, number of the glass, and group for folds, of all atoms that count."""
    parts = [glass.rows() for glass in train_on]
    glass = np.concatenate([np.full(len(part[1]), k) for k, part in enumerate(parts)])
    if len(train_on) >= folds > 0:
        group = np.asarray([train_on[k].name for k in glass], dtype=object)
    else:
        group = np.asarray(
            [
                f"{one.name} region {k}"
                for one, part in zip(train_on, parts, strict=True)
                for k in one.regions()[part[2]]
            ],
            dtype=object,
        )
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        glass,
        group,
    )


def _drawn(rows: int, seed: int) -> npt.NDArray[np.int64]:
    if rows <= JUDGED:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, JUDGED, replace=False))


def _models(
    x: Float,
    y: Mask,
    balanced: Sequence[npt.NDArray[np.int64]],
    columns: Sequence[str],
    params: Mapping[str, Any],
    rounds: int,
    seed: int,
    progress: bool,
) -> tuple[Model, ...]:
    return tuple(
        train(
            x[some],
            y[some].astype(np.float64),
            objective="binary",
            columns=tuple(columns),
            rounds=rounds,
            params=params,
            seed=seed + draw,
            threads=1,
            progress=progress and draw == 0,
        )
        for draw, some in enumerate(balanced)
    )


def _mean_score(models: Sequence[Model], values: Float, columns: Sequence[str]) -> Float:
    # one by one, as ``predict`` adds them in its tasks: the same bits
    total = models[0].predict(values, names=columns, threads=1)
    for model in models[1:]:
        total += model.predict(values, names=columns, threads=1)
    found: Float = total / len(models)
    return found


def _scored(
    y: Mask, score: Float, where: npt.NDArray[np.int64], repeats: int, seed: int
) -> dict[str, Interval]:
    # a glass in one region has nothing but its atoms to resample
    groups = where if len(np.unique(where)) > 1 else None
    return {name: bootstrap(name, y, score, groups, repeats=repeats, seed=seed) for name in METRICS}
