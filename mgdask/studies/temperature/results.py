"""Results of the temperature study in words and as metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.report.json import to_plain
from mgdask.studies.results import Metric
from mgdask.studies.temperature.application_results import (
    control_of,
    creep_curves,
    describe_application,
    describe_control,
)
from mgdask.studies.temperature.applied import Application
from mgdask.studies.temperature.captions import FEW_TEMPERATURES, SELECTED, solution_text
from mgdask.studies.temperature.classes import ClusterStatistics
from mgdask.studies.temperature.data import Instances
from mgdask.studies.temperature.deformation import Creep, volume_of
from mgdask.studies.temperature.figures.looks import SHORT, form_text
from mgdask.studies.temperature.levels import SAME_TEMPERATURE
from mgdask.studies.temperature.model import NEAREST
from mgdask.studies.temperature.options import TemperatureOptions
from mgdask.studies.temperature.report_data import ReportData
from mgdask.studies.temperature.weights import LagWeights


def about_training(train: Instances, classes: ClusterStatistics, weights: LagWeights) -> list[str]:
    """Describe the training data, and the classes and lags that were selected.

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
            f"the runs at {low:.6g} and {high:.6g} K are different classes, but are left out "
            "together. If both should have the same temperature, set it for both with mgdask "
            "attach --overwrite --temperature"
        )
    return lines


def _lags(weights: LagWeights) -> str:
    selected = weights.selected
    if np.array_equal(selected, weights.lag[-len(selected) :]):
        return f"{len(selected)} of {selected[0]:g} ps and longer"
    return f"{len(selected)}: {_listed(selected)} ps"


def _listed(values: Sequence[float] | FloatArray) -> str:
    return ", ".join(f"{value:g}" for value in values)


def describe_applications(
    done: Mapping[str, Application], columns: Sequence[int], options: TemperatureOptions
) -> dict[str, dict[str, Any]]:
    """Return the content of ``application_STORE.json`` of all stores, by name.

    Parameters
    ----------
    done
        Applied stores and controls by name.
    columns
        Indices of the lags that the models read.
    options
        Options of the study.
    """
    applied = [done[store.stem] for store in options.apply]
    controls = [done[store.stem] for store in options.control]
    plain = {
        one.name: describe_application(
            one,
            control_of(one, controls),
            columns=columns,
            applied_form=options.feature_temperature,
            glass_temperature=options.glass_temperature,
            extreme_fraction=options.extreme_fraction,
            slab=options.slab,
            seed=options.seed,
        )
        for one in applied
    }
    creep = [(curve, kelvin) for one in applied for curve, kelvin in _creep(one)]
    if len(creep) > 1:
        volume = to_plain(volume_of(*(list(part) for part in zip(*creep, strict=True))))
        for values in plain.values():
            values["volume"] = volume
    for one in controls:
        if one.name not in plain:
            plain[one.name] = describe_control(
                one, glass_temperature=options.glass_temperature, seed=options.seed
            )
    return plain


def _creep(application: Application) -> list[tuple[Creep, float]]:
    """Return the creep of each run with its temperature in K."""
    kelvin = [run.temperature for run in application.instances.runs]
    return list(zip(creep_curves(application), kelvin, strict=True))


def score_metrics(rows: Sequence[Mapping[str, Any]]) -> list[Metric]:
    """Return the RMSE of every model, form and scheme as metrics of ``results.json``.

    Parameters
    ----------
    rows
        Rows of ``validation.json``.
    """
    return [
        Metric(
            model=f"{row['model']}, {form_text(row['form'])}" if row["form"] else row["model"],
            test=row["scheme"],
            name="rmse",
            value=row["rmse"],
            low=row.get("low"),
            high=row.get("high"),
            unit="K",
        )
        for row in rows
    ]


def score_lines(schemes: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return the errors of each scheme as lines of a table for a terminal.

    Parameters
    ----------
    schemes
        Rows of ``validation.json`` by scheme. A model without features has the form "".
    """
    lines: list[str] = []
    for scheme, rows in schemes.items():
        n_test = next((row["n_test"] for row in rows if row.get("n_test")), None)
        atoms = "" if n_test is None else f" ({n_test} atoms)"
        notes = [str(row["note"]) for row in rows if row.get("note")]
        if n_test is not None and notes:
            atoms = f" ({n_test} atoms; {notes[0]})"
        lines.append(f"RMSE in K, {scheme}{atoms}:")
        lines.append(f"  {'model':36}  {SHORT['run']:20}  {SHORT['none']:20}")
        found = {(row["model"], row["form"]): row for row in rows}
        for model in dict.fromkeys(row["model"] for row in rows):
            cells = [
                _error_text(found.get((model, form), found.get((model, "")))) for form in SHORT
            ]
            lines.append(f"  {model:36}  {cells[0]:20}  {cells[1]:20}".rstrip())
    if lines:
        lines += [FEW_TEMPERATURES, SELECTED]
    return lines


def _error_text(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    if row.get("low") is None or row.get("high") is None:
        return f"{row['rmse']:.0f}"
    return f"{row['rmse']:.0f} [{row['low']:.0f}, {row['high']:.0f}]"


def application_metrics(data: ReportData) -> list[Metric]:
    """Return the excess of hot atoms over the control, and correlations with D²min.

    Parameters
    ----------
    data
        Results of the study.
    """
    metrics = [
        Metric(
            model=f"{NEAREST}, {form_text(row['form'])}",
            test=row["name"],
            name="excess_over_control",
            value=row["excess"]["value"],
            low=row["excess"]["low"],
            high=row["excess"]["high"],
        )
        for row in data.excess
    ]
    return metrics + [
        Metric(
            model=f"{NEAREST}, {form_text(one.form)}",
            test=one.name,
            name=f"pearson_d2min_{lag:g}_ps",
            value=float(value),
            low=float(low),
            high=float(high),
        )
        for one in data.correlations
        for lag, value, low, high in zip(one.lag, one.value, one.low, one.high, strict=True)
    ]


def application_lines(data: ReportData) -> list[str]:
    """Describe the hot atoms of the applied stores, compared with the control.

    Parameters
    ----------
    data
        Results of the study.
    """
    lines = []
    for row in data.excess:
        more = row["excess"]
        lines.append(
            f"{row['name']}, {form_text(row['form'])}: {_percent(row['share']['value'])} of the "
            f"atoms are above {row['threshold']:.0f} K, {_percent(more['value'])} "
            f"[{_percent(more['low'])}, {_percent(more['high'])}] more than in the unstressed "
            f"control {row['control']}"
        )
    for one in data.distributions:
        if data.glass_temperature is not None and np.isfinite(one.above):
            name = f"{one.name} (control)" if one.control else one.name
            lines.append(
                f"{name}, {form_text(one.form)}: {_percent(one.above)} of the atoms are above the "
                f"glass transition of {data.glass_temperature:g} K"
            )
    for found in data.applied_put_in:
        lines.append(
            f"{found.name}, {form_text('run')}: the mean T_ML is {found.mean[0]:.0f} K if T is "
            f"said to be {found.put_in[0]:g} K, and {found.mean[-1]:.0f} K if {found.put_in[-1]:g} "
            f"K; {solution_text(found)}"
        )
    for curve in data.correlations:
        values = ", ".join(
            f"{value:.2f} [{low:.2f}, {high:.2f}] at {lag:g} ps"
            for lag, value, low, high in zip(
                curve.lag, curve.value, curve.low, curve.high, strict=True
            )
            if np.isfinite(value)
        )
        if values:
            lines.append(
                f"{curve.name}, {form_text(curve.form)}: Pearson of T_ML with D²min {values}"
            )
    return [*lines, *data.application_notes]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
