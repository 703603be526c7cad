"""Figures of the validation: all models in both forms, controls and averaging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask.plot.intervals import draw_points, draw_rows, error_lengths
from mgdask.plot.style import BLUE, DARK_GREY, LIGHT_GREY, figure, letter_panels, pale, save, style
from mgdask.studies.temperature.figures.looks import FORM_LOOKS, FORMS, ROLES, role

if TYPE_CHECKING:
    from mgdask.plot.style import Axes
    from mgdask.studies.temperature.views import AveragingCurve

Row = Mapping[str, Any]
MAX_COLUMNS = 3
"""Maximum number of panels in a row."""
OFFSET = {"run": -0.15, "none": 0.15, "": 0.0}
"""Offset of each form from the middle of its row."""


def number(row: Row, name: str) -> float:
    """Return a number of a row; NaN if it has none."""
    value = row.get(name)
    return np.nan if value is None else float(value)


@style()
def draw_validation(schemes: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Draw the error of every model in both forms, one panel per scheme of validation.

    Parameters
    ----------
    schemes
        Rows by the name of the scheme in words. A row has ``model``, ``form`` ("run",
        "none", or "" for models without features), ``rmse``, ``low`` and ``high`` in K.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_validation({"temperatures left out": rows}, "v.png")  # doctest: +SKIP
    """
    models = list(dict.fromkeys(str(row["model"]) for rows in schemes.values() for row in rows))
    n, n_columns = len(schemes), min(len(schemes), MAX_COLUMNS)
    n_rows = -(-n // n_columns)
    fig = figure(min(11.0, 4.8 + 3.2 * n_columns), 1.0 + n_rows * (0.9 + 0.55 * len(models)))
    grid = fig.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
    panels = grid[:n]
    for axes in grid[n:]:
        axes.set_axis_off()
    for axes, (scheme, rows) in zip(panels, schemes.items(), strict=True):
        for form in dict.fromkeys(str(row["form"]) for row in rows):
            _draw_form(axes, models, [row for row in rows if row["form"] == form], form)
        axes.set_title(scheme, fontsize=10)
        axes.set_xlabel("RMSE (K), 95 %")
        axes.set_xlim(left=0.0)
        axes.locator_params(axis="x", nbins=6)
    for form in ("run", "none"):
        look = FORM_LOOKS[form]
        panels[0].plot([], [], look.marker, color=DARK_GREY, mfc=_face(form), label=FORMS[form])
    for kind, label in (("baseline", "baseline"), ("paper", "the paper's"), ("ours", "ours")):
        panels[0].plot([], [], "s", ms=8, color=ROLES[kind].color, label=label)  # type: ignore[index]
    fig.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9
    )
    letter_panels(panels)
    save(fig, path)


def _face(form: str) -> str:
    return DARK_GREY if FORM_LOOKS[form].filled else "white"


def _draw_form(axes: Axes, models: Sequence[str], rows: Sequence[Row], form: str) -> None:
    found = {str(row["model"]): row for row in rows}
    ends = [
        tuple(number(found[model], end) if model in found else np.nan for end in ENDS)
        for model in models
    ]
    colors = [ROLES[role(model)].color for model in models]
    marker = FORM_LOOKS[form].marker if form in FORM_LOOKS else "s"
    draw_rows(
        axes,
        models,
        *np.array(ends, dtype=np.float64).T,
        colors=[pale(color, 0.65) if form == "run" else color for color in colors],
        markers=[marker] * len(models),
        offset=OFFSET.get(form, 0.0),
        digits=3,
    )


ENDS = ("rmse", "low", "high")


@style()
def draw_control(rows: Sequence[Row], path: Path) -> None:
    """Draw the variance of temperature that is explained by shuffled motion.

    Parameters
    ----------
    rows
        One mapping per model and form, with ``model``, ``form``, and ``explained``: the
        share of the variance of temperature that is predicted, with ``low`` and
        ``high``. Displacements were shuffled among labels.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_control(rows, "control.png")  # doctest: +SKIP
    """
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    fig = figure(8.4, 1.7 + 0.55 * len(models))
    axes = fig.subplots()
    for form, look in FORM_LOOKS.items():
        found = {str(row["model"]): row for row in rows if row["form"] == form}
        ends = [
            [
                np.round(100 * number(found.get(model, {}), end), 1)
                for end in ("explained", "low", "high")
            ]
            for model in models
        ]
        draw_rows(
            axes,
            models,
            *np.array(ends).T,
            colors=[look.color] * len(models),
            markers=[look.marker] * len(models),
            offset=OFFSET[form],
            digits=2,
        )
        axes.plot([], [], look.marker, color=look.color, mec="black", label=FORMS[form])
    axes.axvline(0.0, color="black", lw=0.9)
    axes.set_xlabel("variance of temperature explained by shuffled motion (%)")
    fig.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    save(fig, path)


@style()
def draw_averaging(curve: AveragingCurve, path: Path) -> None:
    """Draw the error against the radius within which motion is averaged.

    Parameters
    ----------
    curve
        Errors of all radii.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_averaging(curve, "averaging.png")  # doctest: +SKIP
    """
    fig = figure(7.4, 4.2)
    axes = fig.subplots()
    draw_points(
        axes,
        curve.radius,
        curve.rmse,
        np.nan_to_num(error_lengths(curve.rmse, curve.low, curve.high)),
        color=BLUE,
        line=True,
        marker="D",
    )
    axes.axhline(curve.rmse[0], color=LIGHT_GREY, lw=1.0, ls="--", zorder=0)
    axes.set(
        xlabel="radius of averaging (Å); 0: the atom alone",
        ylabel="RMSE at temperatures\nthat were left out (K)",
    )
    axes.set_ylim(bottom=0.0)
    save(fig, path)
