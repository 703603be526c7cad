"""Figures of T_ML against temperature: Fig. 1 of Liu X. et al. (2022)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask.plot.style import LIGHT_GREY, figure, letter_panels, save, style
from mgdask.studies.temperature.figures.looks import (
    SPECIES_LOOKS,
    form_look,
    form_text,
    species_look,
)

if TYPE_CHECKING:
    from mgdask._typing import FloatArray
    from mgdask.plot.style import Axes
    from mgdask.studies.temperature.views import AppliedPutIn, PutIn, Thermometer


@style()
def draw_thermometer(curves: Sequence[Thermometer], path: Path) -> None:
    """Draw T_ML against the temperature of the run, per species and of all atoms.

    This is Fig. 1 of Liu X. et al. (2022), with both forms of the feature, and with
    temperatures that were not trained on. Error bars are standard deviations over
    atoms.

    Parameters
    ----------
    curves
        T_ML of the same runs, one per form of the feature.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_thermometer(curves, "thermometer.png")  # doctest: +SKIP
    """
    names = curves[0].species
    n_columns = 3 if len(names) > 2 else len(names)
    n_rows = -(-len(names) // n_columns)
    fig = figure(10.6, 3.55 * n_rows + 0.5)
    panels = fig.subplots(n_rows, n_columns, squeeze=False).ravel()
    ends = _common_limits(curves)
    for k, (axes, name) in enumerate(zip(panels, names, strict=False)):
        for place, one in enumerate(curves):
            _draw_curve(axes, one, k, shift=18.0 * (place - 0.5 * (len(curves) - 1)))
        axes.plot(ends, ends, color="black", lw=0.9, ls=":", zorder=0)
        axes.set(xlim=ends, ylim=ends, aspect="equal", title="all atoms" if name == "all" else name)
        axes.locator_params(nbins=5)
        if k % n_columns == 0:
            axes.set_ylabel("$T_{ML}$ (K)")
        if k >= len(names) - n_columns:
            axes.set_xlabel("temperature of the run (K)")
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for one in curves:
        look = form_look(one.form)
        panels[0].plot(
            [],
            [],
            look.marker,
            color=look.color,
            mfc=_face(look.filled, look.color),
            label=form_text(one.form),
        )
    if any(one.unseen.any() for one in curves):
        panels[0].plot([], [], "o", ms=11, mfc="none", mec="black", mew=0.9, label="not trained on")
    panels[0].plot([], [], color="black", lw=0.9, ls=":", label="$T_{ML}$ = T")
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    letter_panels(panels[: len(names)])
    save(fig, path)


def _face(filled: bool, color: str) -> str:
    return color if filled else "white"


def _draw_curve(axes: Axes, one: Thermometer, k: int, *, shift: float) -> None:
    look = form_look(one.form)
    x = one.temperature + shift  # apart, so that the bars of both forms are seen
    axes.errorbar(
        x,
        one.mean[k],
        one.deviation[k],
        fmt=look.marker,
        ms=5,
        color=look.color,
        mfc=_face(look.filled, look.color),
        elinewidth=0.9,
        capsize=2,
    )
    axes.plot(x[one.unseen], one.mean[k][one.unseen], "o", ms=11, mfc="none", mec="black", mew=0.9)


def _common_limits(curves: Sequence[Thermometer]) -> tuple[float, float]:
    low = min(float(np.nanmin(one.mean - np.nan_to_num(one.deviation))) for one in curves)
    high = max(float(np.nanmax(one.mean + np.nan_to_num(one.deviation))) for one in curves)
    low = min(low, *(float(one.temperature.min()) for one in curves), 0.0)
    high = max(high, *(float(one.temperature.max()) for one in curves))
    margin = 0.05 * (high - low)
    return low - margin, high + margin


@style()
def draw_put_in(one: PutIn, path: Path) -> None:
    """Draw the mean T_ML of runs against the temperature put into the feature.

    A temperature read off consistently is where a curve crosses T_ML = T.

    Parameters
    ----------
    one
        Mean T_ML of each run for each T put into the feature.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_put_in(put_in, "put_in.png")  # doctest: +SKIP
    """
    curves = [
        (f"run at {true:.0f} K", one.put_in, mean, solution[np.isfinite(solution)])
        for true, mean, solution in zip(one.run, one.mean, one.consistent[:, None], strict=True)
    ]
    _draw_curves_put_in(curves, path)


@style()
def draw_applied_put_in(curves: Sequence[AppliedPutIn], path: Path) -> None:
    """Draw the mean T_ML of applied runs against the temperature put into the feature.

    Parameters
    ----------
    curves
        Mean T_ML of each run for each T put into the feature.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_applied_put_in(curves, "put_in_applied.png")  # doctest: +SKIP
    """
    _draw_curves_put_in([(one.name, one.put_in, one.mean, one.solutions) for one in curves], path)


def _draw_curves_put_in(
    curves: Sequence[tuple[str, FloatArray, FloatArray, FloatArray]], path: Path
) -> None:
    """Draw curves: name, T put in, mean T_ML, and solutions of T_ML(T) = T."""
    fig = figure(8.4, 5.4)
    axes = fig.subplots()
    low = min(float(put_in.min()) for _, put_in, _, _ in curves)
    high = max(float(put_in.max()) for _, put_in, _, _ in curves)
    axes.plot([low, high], [low, high], color="black", lw=1.0, ls=":", label="$T_{ML}$ = T")
    for k, (name, put_in, mean, solutions) in enumerate(curves):
        look = species_look(k)
        axes.plot(
            put_in,
            mean,
            look.marker,
            ls="-",
            color=look.color,
            ms=5,
            mfc="white" if k >= len(SPECIES_LOOKS) else look.color,
            label=name,
        )
        axes.plot(solutions, solutions, "o", ms=11, mfc="none", mec="black")
    if any(len(solutions) for _, _, _, solutions in curves):
        axes.plot([], [], "o", ms=11, mfc="none", mec="black", label="self-consistent")
    axes.axhline(0.0, color=LIGHT_GREY, lw=0.6)
    axes.set(xlabel="temperature put into the feature (K)", ylabel="mean $T_{ML}$ of the run (K)")
    axes.set_ylim(bottom=0.0)
    fig.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    save(fig, path)
