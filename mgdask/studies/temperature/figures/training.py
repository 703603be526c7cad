"""Figures of the training: Supplementary Figs. 1 to 3 of Liu X. et al. (2022)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask.plot.curves import use_plain_log_ticks
from mgdask.plot.style import DARK_GREY, LIGHT_GREY, SKY_BLUE, figure, letter_panels, save, style
from mgdask.studies.temperature.figures.looks import (
    PAPER_CLASSES,
    PAPER_FIRST_LAG,
    PAPER_NEIGHBORS,
    form_look,
    form_text,
)

if TYPE_CHECKING:
    from mgdask.plot.style import Axes
    from mgdask.studies.temperature.views import Clusters, NeighborCurve, Weights


@style()
def draw_classes(clusters: Clusters, path: Path) -> None:
    """Draw the number of qualified clusters labeled with each temperature.

    This is Supplementary Fig. 1 of Liu X. et al. (2022).

    Parameters
    ----------
    clusters
        Statistics over the random subsets.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_classes(clusters, "classes.png")  # doctest: +SKIP
    """
    n = len(clusters.temperature)
    fig = figure(max(5.6, min(10.6, 1.5 + 0.5 * n)), 3.9)
    axes = fig.subplots()
    places = np.arange(n)
    for chosen, color, hatch, label in (
        (True, SKY_BLUE, "", "representative class"),
        (False, LIGHT_GREY, "///", "left out"),
    ):
        some = (clusters.chosen == chosen) & (clusters.count > 0)
        if not some.any():
            continue
        axes.bar(
            places[some],
            clusters.count[some],
            color=color,
            edgecolor=DARK_GREY,
            lw=0.7,
            hatch=hatch or None,
            label=label,
        )
    top = float(clusters.count.max(initial=1))
    paper = np.isin(clusters.temperature, PAPER_CLASSES)
    axes.plot(
        places[paper],
        np.full(paper.sum(), 1.06 * top),
        "v",
        color="black",
        ms=6,
        label="class of the paper",
    )
    if np.isfinite(clusters.chance):
        axes.axhline(clusters.chance, color="black", lw=1.0, ls=":", label="random labels")
    turned = 45 if n > 12 else 0
    axes.set_xticks(places, [f"{t:g}" for t in clusters.temperature], rotation=turned)
    for tick, chosen in zip(axes.get_xticklabels(), clusters.chosen, strict=True):
        tick.set_fontweight("bold" if chosen else "normal")
    axes.locator_params(axis="y", integer=True)
    axes.set(
        xlabel="temperature (K)",
        ylabel=f"qualified clusters\nin {clusters.n_subsets} subsets",
        ylim=(0, 1.14 * top),
    )
    fig.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    save(fig, path)


@style()
def draw_weights(weights: Weights, path: Path) -> None:
    """Draw the ReliefF weight of each lag, with the knee.

    This is Supplementary Fig. 2 of Liu X. et al. (2022). Each form of ReliefF has a
    panel, because their weights differ in scale.

    Parameters
    ----------
    weights
        Weights of the lags.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_weights(weights, "weights.png")  # doctest: +SKIP
    """
    n = len(weights.weight)
    fig = figure(5.6 * n if n > 1 else 7.4, 4.3)
    panels = fig.subplots(1, n, squeeze=False)[0]
    for axes, (name, values) in zip(panels, weights.weight.items(), strict=True):
        _draw_weights_of(axes, weights, values)
        axes.set_title(name, fontsize=10)
    panels[0].set_ylabel("ReliefF weight")
    fig.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9
    )
    if n > 1:
        letter_panels(panels)
    save(fig, path)


def _draw_weights_of(axes: Axes, weights: Weights, values: np.ndarray) -> None:
    kept, lag = weights.kept, weights.lag
    axes.plot(lag, values, color=LIGHT_GREY, lw=1.0, zorder=1)
    axes.plot(lag[kept], values[kept], "o", color=SKY_BLUE, mec="black", mew=0.5, label="kept")
    axes.plot(lag[~kept], values[~kept], "s", color="white", mec=DARK_GREY, label="removed")
    if kept.any() and not kept.all():
        first = int(np.flatnonzero(kept)[0])
        edge = lag[first] if first == 0 else float(np.sqrt(lag[first - 1] * lag[first]))
        axes.axvline(edge, color="black", lw=1.0, label=f"knee, below {lag[first]:.3g} ps")
    axes.axvline(PAPER_FIRST_LAG, color="black", lw=1.0, ls=":", label="first lag of the paper")
    axes.axhline(0.0, color=LIGHT_GREY, lw=0.7, zorder=0)
    axes.set(xscale="log", xlabel="lag (ps)")
    use_plain_log_ticks(axes.xaxis)
    axes.tick_params(axis="x", labelsize=8)


@style()
def draw_neighbor_curve(curve: NeighborCurve, path: Path) -> None:
    """Draw the validation error against the number of neighbors.

    This is Supplementary Fig. 3 of Liu X. et al. (2022), for both forms of the feature.

    Parameters
    ----------
    curve
        Errors of all numbers of neighbors.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_neighbor_curve(curve, "k_curve.png")  # doctest: +SKIP
    """
    fig = figure(7.4, 4.4)
    axes = fig.subplots()
    for form, rmse in curve.rmse.items():
        look = form_look(form)
        best = curve.best.get(form)
        axes.plot(
            curve.n_neighbors,
            rmse,
            color=look.color,
            ls="-" if look.filled else "--",
            lw=1.6,
            label=form_text(form),
        )
        if best is not None and best in curve.n_neighbors:
            at = int(np.flatnonzero(curve.n_neighbors == best)[0])
            axes.plot(
                best,
                rmse[at],
                look.marker,
                ms=8,
                color=look.color,
                mec="black",
                mfc=look.color if look.filled else "white",
                label=f"selected: k = {best}",
            )
    axes.axvline(PAPER_NEIGHBORS, color="black", lw=1.0, ls=":", label="paper, k = 50")
    axes.set(xscale="log", xlabel="number of neighbors k", ylabel="validation RMSE (K)")
    use_plain_log_ticks(axes.xaxis)
    fig.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    save(fig, path)
