"""Tables of the temperature report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mgdask._typing import FloatArray
from mgdask.report.page import Table
from mgdask.studies.temperature.captions import (
    FEW_TEMPERATURES,
    error_text,
    kelvin,
    percent,
    rounded,
)
from mgdask.studies.temperature.figures.looks import (
    FORMS,
    PAPER_AREA,
    PAPER_CLASSES,
    PAPER_FEATURES,
    PAPER_NEIGHBORS,
    PAPER_PEAK,
    PAPER_PEARSON,
    PAPER_TEMPERATURES,
    SHORT,
    form_text,
    role,
)
from mgdask.studies.temperature.figures.validation import number
from mgdask.studies.temperature.report_data import ReportData, Row
from mgdask.studies.temperature.views import Distribution, LagCorrelation, Thermometer

ROLES = {"baseline": "baseline", "paper": "the paper's", "ours": "ours"}
NO_FORM = ""
FORM_NOTE = "Features with T: {}; without T: {}.".format(
    *(text.partition(",")[0] for text in FORMS.values())
)


def validation_table(scheme: str, rows: Sequence[Row]) -> Table:
    """Return the table of the errors of all models in both forms.

    Parameters
    ----------
    scheme
        Name of the scheme in words.
    rows
        Errors of each model and form.

    Returns
    -------
    table
        One row per model, in the order of the study.
    """
    found = {(str(row["model"]), str(row["form"])): row for row in rows}
    cells = []
    for model in dict.fromkeys(str(row["model"]) for row in rows):
        both = found.get((model, NO_FORM))
        texts = [
            "–" if one is None else error_text(one)
            for one in (found.get((model, form), both) for form in FORMS)
        ]
        cells.append((model, ROLES[role(model)], *texts))
    numbers = [row.get("n_test") for row in rows if row.get("n_test")]
    atoms = f", {numbers[0]} test atoms" if numbers else ""
    return Table(
        f"RMSE in K: {scheme}{atoms}",
        ("model", "role", *SHORT.values()),
        cells,
        note=f"{FORM_NOTE} Brackets: 95 % intervals. {FEW_TEMPERATURES}",
    )


def thermometer_table(curves: Sequence[Thermometer]) -> Table:
    """Return the table of the mean T_ML of each run in each form.

    Parameters
    ----------
    curves
        T_ML of the same runs, one per form.

    Returns
    -------
    table
        One row per run.
    """
    first = curves[0]
    rows = [
        (
            f"{t:g}",
            "no" if first.unseen[k] else "yes",
            *(
                f"{kelvin(float(one.mean[-1, k]))} ± {kelvin(float(one.deviation[-1, k]))}"
                for one in curves
            ),
        )
        for k, t in enumerate(first.temperature)
    ]
    return Table(
        "Mean T_ML in K and its standard deviation over atoms",
        (
            "temperature of the run (K)",
            "in the training data",
            *(form_text(one.form, short=True) for one in curves),
        ),
        rows,
        note=f"Model: {first.model}. {FORM_NOTE}",
    )


def distribution_table(
    distributions: Sequence[Distribution], glass_temperature: float | None
) -> Table:
    """Return the table of Gaussian peaks and tails of T_ML.

    Parameters
    ----------
    distributions
        Distributions of applications and controls.
    glass_temperature
        Glass transition in K; None if it is not given.

    Returns
    -------
    table
        One row per trajectory and form.
    """
    head = ["trajectory", "feature", "peak (K)", "width (K)", "area of the peak", "excess tail"]
    if glass_temperature is not None:
        head.append(f"above {glass_temperature:g} K")
    rows = []
    for one in distributions:
        name = f"{one.name} (unstressed control)" if one.control else one.name
        row = [name, form_text(one.form, short=True), kelvin(one.center), kelvin(one.width)]
        row += [percent(one.area), percent(one.tail)]
        if glass_temperature is not None:
            row.append(percent(one.above))
        rows.append(row)
    return Table("Distribution of T_ML", head, rows)


def excess_table(rows: Sequence[Row]) -> Table:
    """Return the table of hot atoms in excess of the unstressed control.

    Parameters
    ----------
    rows
        ``name``, ``form``, ``control``, ``threshold`` in K, ``share``, ``excess`` and
        ``moved`` with intervals, and ``chance``.

    Returns
    -------
    table
        One row per trajectory and form.
    """
    return Table(
        "Hot atoms in excess of the unstressed control",
        (
            "trajectory",
            "feature",
            "control",
            "threshold (K)",
            "atoms above",
            "excess over the control",
            "became hotter",
            "by chance",
        ),
        [
            (
                str(row["name"]),
                form_text(str(row["form"]), short=True),
                str(row["control"]),
                kelvin(number(row, "threshold")),
                *(share_text(row[part]) for part in ("share", "excess", "moved")),
                percent(number(row, "chance")),
            )
            for row in rows
        ],
        note="The threshold is the 99th percentile of T_ML in the control. At least the fraction "
        "'became hotter' did so: it is the largest difference, over all thresholds, between the "
        "fractions of atoms above a threshold. 'By chance' is the value that 95 % of runs without "
        "a difference stay below. Brackets: 95 % intervals from resampled atoms.",
    )


def share_text(bounds: Row) -> str:
    """Format a share with its interval in percent.

    Examples
    --------
    >>> share_text({"value": 0.1, "low": 0.08, "high": 0.125})
    '10.0 [8.0, 12.5] %'
    """
    value, low, high = (
        rounded(100 * number(bounds, end), decimals=1) for end in ("value", "low", "high")
    )
    return f"{value} %" if "–" in (low, high) else f"{value} [{low}, {high}] %"


def model_table(rows: Sequence[Row]) -> Table:
    """Return the table of T_ML of all applied models on the same atoms.

    Parameters
    ----------
    rows
        ``name``, ``model``, ``form``, ``mean`` in K, ``quantile`` and its ``t_ml`` in
        K, and ``correlation``: the view of its correlation with D2min; None without.

    Returns
    -------
    table
        One row per trajectory, model and form.
    """
    cells = []
    for row in rows:
        quantile: dict[float, float] = dict(zip(row["quantile"], row["t_ml"], strict=True))
        plain = row["correlation"]
        pearson = LagCorrelation.from_json(plain).value if plain else np.full(1, np.nan)
        cells.append(
            (
                str(row["name"]),
                str(row["model"]),
                form_text(str(row["form"]), short=True),
                kelvin(number(row, "mean")),
                *(kelvin(quantile.get(q, np.nan)) for q in (0.5, 0.99)),
                ", ".join(rounded(float(value), decimals=2) for value in pearson),
            )
        )
    known = next((row["correlation"] for row in rows if row["correlation"]), None)
    lags: Sequence[float] | FloatArray = (
        [] if known is None else LagCorrelation.from_json(known).lag
    )
    return Table(
        "T_ML of all models on the same atoms",
        (
            "trajectory",
            "model",
            "feature",
            "mean (K)",
            "median (K)",
            "99th percentile (K)",
            "Pearson with D²min",
        ),
        cells,
        note=f"Lags of D²min: {', '.join(f'{lag:g}' for lag in lags) or 'none'}"
        f"{' ps' if known else ''}.",
    )


def paper_table(data: ReportData) -> Table:
    """Return a table that compares the paper's numbers with ours and gives reasons.

    Parameters
    ----------
    data
        Results of the study.

    Returns
    -------
    table
        One row per number.
    """
    rows: list[tuple[str, str, str, str]] = []
    if data.clusters is not None:
        paper, chosen = (
            f"{len(some)} of {of}"
            for some, of in (
                (PAPER_CLASSES, PAPER_TEMPERATURES),
                (np.flatnonzero(data.clusters.chosen), len(data.clusters.temperature)),
            )
        )
        rows.append(("representative classes", paper, chosen, "other temperatures and atoms"))
    if data.weights is not None:
        rows.append(
            (
                "lags kept",
                f"{PAPER_FEATURES} of 41",
                f"{int(data.weights.kept.sum())} of {len(data.weights.lag)}",
                "the paper states no rule for the knee",
            )
        )
    if data.neighbor_curve is not None:
        best = ", ".join(
            f"{k} ({form_text(form, short=True)})" for form, k in data.neighbor_curve.best.items()
        )
        rows.append(("neighbors k", str(PAPER_NEIGHBORS), best, "fewer atoms per temperature"))
    stressed = [one for one in data.distributions if not one.control]
    if stressed:
        why = "other stress, time and model"
        peaks = ", ".join(
            f"{kelvin(one.center)} ({form_text(one.form, short=True)})" for one in stressed
        )
        rows.append(("peak of T_ML in creep (K)", f"about {PAPER_PEAK:g}", peaks, why))
        areas = ", ".join(
            f"{percent(one.area)} ({form_text(one.form, short=True)})" for one in stressed
        )
        paper = f"{percent(PAPER_AREA[0], 0)} to {percent(PAPER_AREA[1], 0)}"
        rows.append(("area of the peak", paper, areas, why))
    for one in data.correlations:
        if not np.isfinite(one.value).any():  # all atoms have the same T_ML
            continue
        rows.append(
            (
                f"Pearson with D²min, {one.name}, {form_text(one.form, short=True)}",
                f"{PAPER_PEARSON[0]:g} to {PAPER_PEARSON[1]:g}",
                f"{rounded(float(one.value[0]), decimals=2)} to "
                f"{rounded(float(one.value[-1]), decimals=2)} "
                f"(largest {rounded(float(np.nanmax(one.value)), decimals=2)})",
                "other stress; the paper gives no intervals",
            )
        )
    return Table(
        "Comparison with the paper", ("number", "paper", "here", "why they may differ"), rows
    )
