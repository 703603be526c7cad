"""Results of a study: metrics and where they come from, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mgdask import _html
from mgdask.report.page import Page, Section, Table, Text

SHOWN_DIGITS = 12
"""Digits of a digest shown in a report; ``results.json`` has all."""
POOLED = "pooled"
"""Value of ``Metric.test`` for all test data together."""


METRIC_HEADS = ("model", "test", "metric", "value", "low", "high", "unit")
"""Heads of the table of metrics."""


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A number that JSON can hold; NaN and infinity become null."""


class Bounded(Protocol):
    """A value between two bounds, such as ``mgdask.learn.Interval``."""

    @property
    def value(self) -> float:
        """The value itself."""

    @property
    def low(self) -> float:
        """Its lower bound."""

    @property
    def high(self) -> float:
        """Its upper bound."""


class Metric(BaseModel):
    """One number of one model on one test set, with its confidence interval.

    Baselines are models, too: ``"baseline: most frequent"``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str = Field(description="Name of the tested model.")
    test: str = Field(description=f"Name of the test set; {POOLED!r} for all test data.")
    name: str = Field(description="Name of the metric, such as 'roc_auc'.")
    value: Number = Field(description="The value; null if it is not defined.")
    low: Number = Field(
        default=None, description="Lower end of the interval; null if there is none."
    )
    high: Number = Field(
        default=None, description="Upper end of the interval; null if there is none."
    )
    unit: str = Field(default="1", description="Unit of the three numbers.")


def metrics_of(
    model: str, test: str, intervals: Mapping[str, Bounded], unit: str = "1"
) -> list[Metric]:
    """Return the metrics of one model on one test set.

    Parameters
    ----------
    model, test
        See ``Metric``.
    intervals
        Intervals by metric name.
    unit
        Unit of all intervals.

    Returns
    -------
    metrics
        One per interval.
    """
    return [
        Metric(
            model=model,
            test=test,
            name=name,
            value=float(one.value),
            low=float(one.low),
            high=float(one.high),
            unit=unit,
        )
        for name, one in intervals.items()
    ]


class Results(BaseModel):
    """Results of a study, as written to ``OUT/results.json``.

    Examples
    --------
    >>> import json
    >>> auc = Metric(model="trees", test="pooled", name="roc_auc", value=0.7)
    >>> results = Results(study="demo", version="0.2", digest="0", metrics=(auc,))
    >>> json.loads(results.to_json())["metrics"][0]["value"]
    0.7
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    study: str = Field(description="Name of the study.")
    version: str = Field(description="Version of mgdask.")
    options: dict[str, Any] = Field(default_factory=dict, description="All options.")
    inputs: dict[str, str] = Field(
        default_factory=dict, description="Digest of the content of each input."
    )
    digest: str = Field(description="Digest of the options, the inputs and the version.")
    metrics: tuple[Metric, ...] = Field(default=(), description="Every score, baselines included.")
    date: str = Field(
        default="", description="Day (UTC) on which the study was run; resuming keeps it."
    )
    data: dict[str, str] = Field(
        default_factory=dict, description="Atoms and composition of each input, in words."
    )
    timing: dict[str, float] = Field(
        default_factory=dict, description="Seconds that each stage took when it was computed."
    )
    summary: str = Field(default="", description="The results in words, for a terminal.")

    def to_json(self) -> str:
        """Return the results as JSON text."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def read(cls, path: str | Path) -> Results:
        """Read the results that a study wrote.

        Parameters
        ----------
        path
            The file, or the folder that holds ``results.json``.
        """
        file = Path(path)
        file = file / "results.json" if file.is_dir() else file
        return cls.model_validate_json(file.read_text(encoding="utf-8"))

    def __str__(self) -> str:
        if self.summary:
            return self.summary
        return "\n".join(
            f"  {one.model:30} {one.test:20} {one.name:12} {_interval_text(one)}"
            for one in self.metrics
        )

    def _repr_html_(self) -> str:
        origin = [f"{label}: {text}" for label, text in self.about()]
        notes = [*self.summary.splitlines(), *origin]
        return metrics_html(f"Study: {self.study}", self.metrics, notes)

    def page(self) -> Page:
        """Return a report page with the table of metrics."""
        rows = [
            (one.model, one.test, one.name, *map(_text, (one.value, one.low, one.high)), one.unit)
            for one in self.metrics
        ]
        summary, table = Text(self.summary.splitlines()), Table("Metrics", METRIC_HEADS, rows)
        sections = [Section("", [summary, table])]
        return Page(f"Study: {self.study}", sections, about=self.about())

    def about(self) -> list[tuple[str, str]]:
        """Return version, date, seed and data, as label and text of each."""
        return about_rows(self.version, self.date, self.options.get("seed"), self.inputs, self.data)


def metrics_html(title: str, metrics: Sequence[Metric], notes: Sequence[str]) -> str:
    """Return metrics as a table for notebooks.

    Parameters
    ----------
    title
        First line.
    metrics
        Metrics of all models.
    notes
        Lines below the table.
    """
    rows = [
        (one.model, one.test, one.name, *map(_text, (one.value, one.low, one.high)), one.unit)
        for one in metrics
    ]
    return _html.grid(title, METRIC_HEADS, rows, notes)


def about_rows(
    version: str, date: str, seed: int | None, inputs: Mapping[str, str], data: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return what a report says about its origin, as label and text of each line.

    Parameters
    ----------
    version
        Version of mgdask.
    date
        Day of the run; left out if empty.
    seed
        Seed of the study; left out if None.
    inputs
        Digest of the content of each input.
    data
        Atoms and composition of each input, in words.

    Returns
    -------
    rows
        For example ("mgdask", "0.2") and ("train glass_1", "2000 atoms, ...").
    """
    rows = [("mgdask", version), ("date", date)]
    rows += [("seed", "" if seed is None else str(seed))]
    for name, digest in inputs.items():
        texts = [data.get(name, ""), f"content {digest[:SHOWN_DIGITS]}…"]
        rows.append((name, "; ".join(filter(None, texts))))
    return [(label, text) for label, text in rows if text]


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval_text(metric: Metric) -> str:
    text = _text(metric.value)
    return text if metric.low is None else f"{text} [{_text(metric.low)}, {_text(metric.high)}]"
