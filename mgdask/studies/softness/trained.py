"""A trained softness score: its models, its metrics, and its files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.learn.evaluation.bootstrap import Interval
from mgdask.learn.training.card import read_card, write_card
from mgdask.learn.training.model import Model
from mgdask.report.json import to_plain
from mgdask.store.artifacts import read_artifact, write_artifact
from mgdask.studies.softness.feature_selection import Leading
from mgdask.studies.softness.simple_model import LOGISTIC, simple_model_text, simple_model_wins

METRICS = ("roc_auc", "recall")
"""Metrics of every score."""
QS, LEADING_QS, LOGISTIC_QS = "qs.npy", "leading_qs.npy", "logistic_qs.npy"
"""Files of the probabilities: of the models, with fewer columns, of the baseline."""


@dataclass(frozen=True)
class Softness:
    """A trained softness score and its metrics on a test glass.

    Parameters
    ----------
    models
        One model per undersample. QS is the mean of their probabilities.
    columns
        Columns that the models use: all, or the leading ones.
    train, test
        Names of the glasses.
    metrics
        Intervals on the test glass by name of the metric, resampled over its regions.
    baselines
        The same metrics of guesses that use no column (random, most frequent, minority)
        and of ``logistic_regression`` on the columns and undersamples of QS.
    qs
        QS of every atom of the test glass (atom,); NaN for excluded atoms.
    folds
        AUC of each fold of the cross-validation.
    choice
        How the leading columns were selected; None if they were not.
    leading_metrics
        Metrics of models that use only the leading columns.
    card
        Data, split, parameters and versions.
    leading_qs
        QS (atom,) of models of only the leading columns; None without a selection.
    source
        Which columns QS is computed from: "all" or "leading".
    all_metrics
        Metrics of models of all columns, if QS comes from the leading ones.
    single, leading_single
        Scores of single models and of their mean, by name of the metric. They are for
        the models of QS, and for the models of the leading columns. They have the
        values of ``mgdask.learn.evaluation.single_models.SingleModelScores``. The paper
        reports the mean over single models.
    logistic_qs
        Mean probability of the logistic regressions (atom,); None in older files.
    minus_logistic
        Metrics of QS minus those of logistic regression, paired; empty in older files.
    """

    models: tuple[Model, ...]
    columns: tuple[str, ...]
    train: tuple[str, ...]
    test: str
    metrics: Mapping[str, Interval]
    baselines: Mapping[str, Mapping[str, Interval]]
    qs: FloatArray
    folds: tuple[float, ...]
    choice: Leading | None
    leading_metrics: Mapping[str, Interval]
    card: Mapping[str, Any]
    leading_qs: FloatArray | None = None
    source: str = "all"
    all_metrics: Mapping[str, Interval] = field(default_factory=dict)
    single: Mapping[str, Any] = field(default_factory=dict)
    leading_single: Mapping[str, Any] = field(default_factory=dict)
    logistic_qs: FloatArray | None = None
    minus_logistic: Mapping[str, Interval] = field(default_factory=dict)

    @property
    def leading(self) -> tuple[str, ...]:
        """Selected columns, most important first; empty without a selection."""
        return () if self.choice is None else self.choice.columns

    @property
    def n_columns(self) -> int:
        """Number of columns before the selection."""
        return int(self.card.get("parameters", {}).get("all_columns", len(self.columns)))

    @property
    def simple_text(self) -> str:
        """Sentences on trees against logistic regression; empty in older files."""
        if not self.minus_logistic:
            return ""
        return simple_model_text(
            self.metrics["roc_auc"].value,
            self.baselines[LOGISTIC]["roc_auc"].value,
            self.minus_logistic["roc_auc"].as_dict(),
        )

    def predict(self, values: FloatArray) -> FloatArray:
        """Return the QS of atoms, the mean over the models.

        Parameters
        ----------
        values
            Features (atom,column), in the order of ``columns``.

        Returns
        -------
        qs
            QS (atom,).
        """
        return mean_score(self.models, values, self.columns)

    def margin(self, values: FloatArray) -> FloatArray:
        """Return the log-odds of atoms, averaged over the models.

        Parameters
        ----------
        values
            Features (atom,column), in the order of ``columns``.

        Returns
        -------
        margin
            Log-odds (atom,), the quantity of partial dependence in the paper.
        """
        return np.asarray(
            sum(
                model.predict(values, names=self.columns, raw=True, threads=1)
                for model in self.models
            )
            / len(self.models)
        )

    def each(self, values: FloatArray) -> FloatArray:
        """Return the probabilities of every single model (model,atom).

        Parameters
        ----------
        values
            Features (atom,column), in the order of ``columns``.

        Returns
        -------
        probability
            Probabilities (model,atom), whose mean over models is QS.
        """
        return score_each(self.models, values, self.columns)

    def __str__(self) -> str:
        lines = [
            f"trained on {', '.join(self.train)}, tested on {self.test}, "
            f"{len(self.columns)} columns, {len(self.models)} draws"
        ]
        if self.source == "leading":
            lines[0] += "; QS from the leading columns"
        lines += [f"  {name:14} {interval}" for name, interval in self.metrics.items()]
        lines += [f"  {text}" for text in single_lines(self.single)]
        if self.all_metrics:
            lines.append("  all columns:")
            lines += [f"  {name:14} {interval}" for name, interval in self.all_metrics.items()]
        for kind, scores in self.baselines.items():
            values = ", ".join(f"{name} {one.value:.3f}" for name, one in scores.items())
            lines.append(f"  {kind:19} {values}")
        if self.minus_logistic:
            values = ", ".join(
                f"{name} {one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
                for name, one in self.minus_logistic.items()
            )
            lines.append(f"  trees minus logistic regression: {values}")
            if simple_model_wins(self.minus_logistic["roc_auc"].as_dict()):
                # a simple model that is as good is stated first
                lines.insert(0, self.simple_text)
            elif self.simple_text:
                lines.append(f"  {self.simple_text}")
        if self.folds:
            lines.append(
                f"  cross-validation over {len(self.folds)} folds: roc_auc "
                f"{np.mean(self.folds):.3f}, deviation {np.std(self.folds):.3f}"
            )
        if self.choice is not None:
            lines.append(
                f"  {len(self.leading)} leading columns of {self.n_columns}, most important first:"
            )
            lines += [f"  {name:14} {interval}" for name, interval in self.leading_metrics.items()]
            lines += [f"  {text}" for text in single_lines(self.leading_single)]
            lines += [
                f"    {share:6.1%}  {name}"
                for name, share in zip(self.leading, self.choice.importance, strict=True)
            ]
        return "\n".join(lines)

    def save(self, folder: str | Path) -> None:
        """Write models, card, scores of the test glass and a summary to a folder.

        Parameters
        ----------
        folder
            Folder, made if missing. ``summary.txt`` is for reading; ``summary.json``
            has the same numbers.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for k, model in enumerate(self.models):
            model.save(target / f"model-{k}")
        scores = {QS: self.qs, LEADING_QS: self.leading_qs, LOGISTIC_QS: self.logistic_qs}
        files = {name: _npy(values) for name, values in scores.items() if values is not None}
        write_card(self.card, target / "card")
        summary = {
            "train": list(self.train),
            "test": self.test,
            "columns": list(self.columns),
            "models": len(self.models),
            "metrics": _plain(self.metrics),
            "baselines": {kind: _plain(scores) for kind, scores in self.baselines.items()},
            "folds": list(self.folds),
            "choice": None if self.choice is None else self.choice.as_dict(),
            "leading_metrics": _plain(self.leading_metrics),
            "source": self.source,
            "all_metrics": _plain(self.all_metrics),
            "single": to_plain(self.single),
            "leading_single": to_plain(self.leading_single),
            "minus_logistic": _plain(self.minus_logistic),
        }
        write_artifact(target / "summary.json", summary, files)
        (target / "summary.txt").write_text(f"{self}\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Softness:
        """Read what ``save`` has written.

        Parameters
        ----------
        folder
            Folder of ``save``, such as ``OUT/softness`` of a study.

        Raises
        ------
        StoreError
            If there is no softness score in the folder, or a damaged one.
        """
        target = Path(folder)
        present = [name for name in (LEADING_QS, LOGISTIC_QS) if (target / name).is_file()]
        artifact = read_artifact(
            target / "summary.json",
            QS,
            *present,
            what="softness score",
            remedy="run the study again",
        )
        summary = artifact.content
        choice = summary["choice"]
        scores = {name: np.load(io.BytesIO(data)) for name, data in artifact.files.items()}
        return cls(
            models=tuple(Model.load(target / f"model-{k}") for k in range(summary["models"])),
            columns=tuple(summary["columns"]),
            train=tuple(summary["train"]),
            test=summary["test"],
            metrics=_intervals(summary["metrics"]),
            baselines={kind: _intervals(one) for kind, one in summary["baselines"].items()},
            qs=scores[QS],
            folds=tuple(summary["folds"]),
            choice=None if choice is None else Leading.from_dict(choice),
            leading_metrics=_intervals(summary["leading_metrics"]),
            card=read_card(target / "card.json"),
            leading_qs=None if choice is None else scores[LEADING_QS],
            source=summary.get("source", "all"),
            all_metrics=_intervals(summary.get("all_metrics", {})),
            single=summary.get("single", {}),
            leading_single=summary.get("leading_single", {}),
            logistic_qs=scores.get(LOGISTIC_QS),
            minus_logistic=_intervals(summary.get("minus_logistic", {})),
        )


def _npy(values: FloatArray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def single_lines(single: Mapping[str, Any]) -> list[str]:
    """Describe the scores of single models and the gain of their mean.

    Parameters
    ----------
    single
        ``Softness.single``.

    Returns
    -------
    lines
        One line per metric.
    """
    lines = []
    for name, scores in single.items():
        deviation = scores["deviation"]
        spread = f" ± {deviation:.3f}" if deviation is not None and np.isfinite(deviation) else ""
        lines.append(
            f"{name:14} {scores['mean']:.3f}{spread}, mean of {scores['n_models']} single models; "
            f"gain of the ensemble {scores['gain']['value']:+.3f} "
            f"[{scores['gain']['low']:+.3f}, {scores['gain']['high']:+.3f}]"
        )
    return lines


def _plain(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: one.as_dict() for name, one in intervals.items()}


def _intervals(plain: Mapping[str, Any]) -> dict[str, Interval]:
    names = {"repeats": "n_resamples"}  # files use the key of version 0.1
    return {
        name: Interval(**{names.get(key, key): value for key, value in one.items()})
        for name, one in plain.items()
    }


def mean_score(models: Sequence[Model], values: FloatArray, columns: Sequence[str]) -> FloatArray:
    """Return the mean of the models' probabilities (row,).

    They are summed in the order of ``predict``, which gives the same bits.
    """
    total = models[0].predict(values, names=columns, threads=1)
    for model in models[1:]:
        total += model.predict(values, names=columns, threads=1)
    score: FloatArray = total / len(models)
    return score


def score_each(models: Sequence[Model], values: FloatArray, columns: Sequence[str]) -> FloatArray:
    """Return the probabilities of every model (model,row)."""
    return np.stack([model.predict(values, names=columns, threads=1) for model in models])
