"""Figure of the error against the number of ULEs: Fig. A1 of Liu et al. (2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mgdask.plot.curves import use_plain_log_ticks
from mgdask.plot.intervals import error_lengths
from mgdask.plot.style import DARK_GREY, figure, save, style
from mgdask.studies.barcode.figures.looks import LOOKS, PAPER_RMSE, role

PAPER_POINT = (5223, PAPER_RMSE["5223 ULEs"])
"""ULEs and RMSE (eV per sample) of the paper's triangle in Fig. A1."""
LINES = ("-", "--", ":")
"""Lines of curves by decreasing number of coolings."""
ASIDE = 1.06
"""Factor between the abscissas of curves of different numbers of coolings."""
ASIDE_BY = {"baseline": 0.0, "paper": 0.5, "ours": 1.0}
"""Steps by which curves of each role are shifted."""


@style()
def draw_accuracy(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the error against the number of ULEs, one curve per number of coolings.

    Models that read no ULEs are horizontal lines. The triangle is the paper's model.

    Parameters
    ----------
    rows
        One mapping per trained model, with ``model``, ``n_entries`` (None for models
        without ULEs), ``n_runs``, and ``rmse``, ``low``, ``high`` in eV per sample.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_accuracy(rows, "accuracy.png")  # doctest: +SKIP
    """
    fig = figure(10.0, 5.6)
    whole, zoom = fig.subplots(1, 2)
    for axes in (whole, zoom):
        _draw_curves(axes, rows)
        axes.set(xscale="log", xlabel="ULEs in the dictionary")
        axes.margins(x=0.08)
        axes.tick_params(axis="x", labelsize=9)
    runs = max(int(one["n_runs"]) for one in rows)
    lines = [one for one in rows if not one.get("n_entries") and one["n_runs"] == runs]
    for one, ls in zip(lines, ("-", "--", "-.", ":"), strict=False):
        label = f"{one['model']}, {coolings(runs)}"
        whole.axhline(one["rmse"], color=DARK_GREY, ls=ls, lw=1.2, label=label)
    whole.plot(*PAPER_POINT, "^", ms=10, color="black", label="paper, 10 000 samples")
    whole.set(yscale="log", ylabel="RMSE on held-out coolings (eV per sample)")
    whole.set_title("(a) all models", loc="left", fontsize=10)
    zoom.set_title("(b) models that read fractions", loc="left", fontsize=10)
    use_plain_log_ticks(whole.xaxis, whole.yaxis, zoom.xaxis)
    fig.legend(
        *whole.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8.5
    )
    save(fig, path)


def coolings(n: int) -> str:
    """Return a number of coolings in words.

    Examples
    --------
    >>> coolings(1), coolings(3)
    ('1 cooling', '3 coolings')
    """
    return "1 cooling" if n == 1 else f"{n} coolings"


def _draw_curves(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the errors of the models with ULEs, one curve per number of coolings."""
    with_ules = [one for one in rows if one.get("n_entries")]
    runs = sorted({int(one["n_runs"]) for one in rows})
    for model in dict.fromkeys(str(one["model"]) for one in with_ules):
        color, marker, _ = LOOKS[role(model)]
        for k, n in enumerate(runs):
            curve = sorted(
                (one for one in with_ules if one["model"] == model and one["n_runs"] == n),
                key=lambda one: int(one["n_entries"]),
            )
            if not curve:
                continue
            value, low, high = (
                np.array([np.nan if one.get(name) is None else one[name] for one in curve])
                for name in ("rmse", "low", "high")
            )
            fewer = len(runs) - 1 - k
            axes.errorbar(
                # side by side, so that intervals do not hide each other
                [one["n_entries"] * ASIDE ** (fewer - ASIDE_BY[role(model)]) for one in curve],
                value,
                np.nan_to_num(error_lengths(value, low, high)),
                color=color,
                marker=marker,
                mfc=color if fewer == 0 else "white",
                ls=LINES[fewer % len(LINES)],
                ms=5,
                capsize=2,
                label=f"{model}, {coolings(n)}",
            )
