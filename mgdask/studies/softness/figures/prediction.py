"""Figures of predicted plastic atoms: D² map of a slice, and calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._renamed import renamed_arguments
from mgdask.plot.intervals import draw_points, error_lengths
from mgdask.plot.maps import draw_rings, draw_surface
from mgdask.plot.style import (
    BLUE,
    DARK_GREY,
    VERMILION,
    figure,
    legend_below,
    letter_panels,
    save,
    style,
)

if TYPE_CHECKING:
    from mgdask.plot.style import Axes, Figure

Numbers = Mapping[str, Any]

MAP_LEVELS = 10
"""Contours of D² between 0 and twice the threshold, one of them at the threshold."""


@renamed_arguments(told="numbers")
@style()
def draw_prediction(numbers: Numbers, path: Path) -> None:
    """Draw the predicted plastic atoms over D², and their fraction against D².

    The panels follow Fig. 2 of Wang and Jain (2019). (a) Filled contours of D² in a
    slice of 2 Å, with the atoms with QS > 0.5 as white rings. (b) The fraction of atoms
    with QS > 0.5 as a function of D².

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_prediction(softness_numbers(softness, glass), "p.png")  # doctest: +SKIP
    """
    fig = figure(13.0, 5.8)
    left, right = fig.subplots(1, 2, width_ratios=(1.15, 1.0))
    _draw_map(fig, left, numbers["map"], numbers["threshold"], numbers["strain"])
    _draw_predicted(right, numbers["predicted"], numbers["threshold"])
    letter_panels((left, right))
    save(fig, path)


def _draw_map(fig: Figure, axes: Axes, slab: Numbers, threshold: float, strain: float) -> None:
    surface = draw_surface(
        axes,
        slab["x"],
        slab["y"],
        slab["d2"],
        cmap="viridis",
        levels=np.linspace(0.0, 2.0 * threshold, MAP_LEVELS + 1),
        extend="max",
    )
    fig.colorbar(surface, ax=axes, label="D² (Å²)", shrink=0.9)
    draw_rings(axes, slab["flagged"], label="QS > 0.5")
    axes.set(
        xlabel=f"{slab['across'].upper()} (Å)",
        ylabel=f"{slab['up'].upper()} (Å)",
        aspect="equal",
        title=f"D² at {100 * strain:.1f} % strain,\nslice of {slab['slab']:g} Å",
    )
    if len(slab["flagged"]):
        legend_below(axes)


def _draw_predicted(axes: Axes, predicted: Numbers, threshold: float) -> None:
    edges, median = predicted["edges"], predicted["median"]
    if len(median):
        width = np.abs(np.stack([median - edges[:-1], edges[1:] - median]))
        draw_points(
            axes,
            median,
            predicted["share"],
            predicted["error"],
            x_error=width,
            color=DARK_GREY,
            marker="s",
        )
        axes.axvline(threshold, color=VERMILION, ls=":", label=f"plastic above {threshold:g} Å²")
        axes.legend()
    axes.set(
        xlabel="D² (Å²)",
        ylabel="fraction predicted as plastic (QS > 0.5)",
        title="predicted as plastic",
        xscale="log",
        ylim=(0, None),
    )


@style()
def draw_calibration(numbers: Numbers, path: Path) -> None:
    """Draw the observed fraction of plastic atoms against QS, for balanced classes.

    This is the calibration curve of Supplementary Fig. 7 of Wang and Jain (2019).

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_calibration(softness_numbers(softness, glass), "c.png")  # doctest: +SKIP
    """
    calibration = numbers["calibration"]
    fig = figure(5.6, 5.0)
    axes = fig.subplots()
    shown = np.isfinite(calibration["observed"])
    predicted, observed, low, high = (
        calibration[name][shown] for name in ("predicted", "observed", "low", "high")
    )
    axes.plot([0, 1], [0, 1], color="black", ls=":", label="perfectly calibrated")
    draw_points(
        axes,
        predicted,
        observed,
        error_lengths(observed, low, high),
        color=BLUE,
        line=True,
        label="tenths of the atoms, 95 %",
    )
    axes.set(
        xlabel="predicted probability, QS",
        ylabel="fraction of plastic atoms, classes balanced",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    axes.legend(loc="upper left")
    save(fig, path)
