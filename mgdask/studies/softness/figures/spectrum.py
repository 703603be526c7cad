"""Figure of the distribution of QS, with the panels of Fig. 3 of Wang & Jain (2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._renamed import renamed_arguments
from mgdask.plot.curves import draw_quantiles, use_log_distances
from mgdask.plot.distributions import (
    HalfViolin,
    draw_column_histograms,
    draw_density,
    draw_half_violins,
)
from mgdask.plot.intervals import draw_log_shares
from mgdask.plot.style import (
    BLUE,
    CYCLE,
    GREEN,
    LIGHT_GREY,
    ORANGE,
    VERMILION,
    figure,
    legend_below,
    letter_panels,
    save,
    style,
)
from mgdask.studies.softness.figures.columns import short

if TYPE_CHECKING:
    from mgdask.plot.style import Axes, Figure

Numbers = Mapping[str, Any]

CLASSES = {"hardest": (GREEN, "--"), "softest": (ORANGE, "-"), "all": ("black", ":")}
"""Color and line of each group of atoms."""
G_END = 10.0
"""Largest distance in Å of g(r), about the third shell; g(r) is 1 beyond."""
MAX_PEAK_RATIO = 4.0
"""Height of the axis of g(r), in first peaks of the group with the lower one."""
MAX_VIOLINS = 4
"""Number of violins that fit into the panel."""
QS_LABEL = "quench-in softness, QS"


@renamed_arguments(told="numbers")
@style()
def draw_scores(numbers: Numbers, path: Path) -> None:
    """Draw the distribution of QS in six panels, (a) to (f) of the paper's Fig. 3.

    (a) the distribution of QS, (b) P(plastic | QS) on a logarithmic axis with its ratio
    to P(plastic) on a second one, (c) the mass distribution M(r) of the hardest, the
    softest and all atoms with g(r) inset, (d) violins of the hardest and the softest
    atoms, (e) QS of the atoms activated at each strain, (f) QS of several glasses.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_scores(softness_numbers(softness, glass), "softness.png")  # doctest: +SKIP
    """
    # two columns: three would be shrunk on a page until their text is too small
    fig = figure(10.6, 13.4)
    panels = fig.subplots(3, 2).ravel()
    _draw_spectrum(panels[0], numbers["spectrum"])
    _draw_conditional(panels[1], numbers["conditional"])
    _draw_mass(panels[2], numbers["packing"])
    _draw_violins(panels[3], numbers["violins"][:MAX_VIOLINS])
    _draw_activated(fig, panels[4], numbers["at_yield"])
    _draw_glasses(panels[5], numbers["glasses"])
    letter_panels(panels)
    save(fig, path)


def _draw_spectrum(axes: Axes, spectrum: Numbers) -> None:
    draw_density(axes, spectrum["score"], spectrum["density"])
    axes.axvline(spectrum["mean"], color="black", ls=":", label="mean")
    axes.set(
        xlabel=QS_LABEL,
        ylabel="probability density",
        title="distribution of QS",
        xlim=(0, 1),
        ylim=(0, None),
    )
    axes.legend()


def _draw_conditional(axes: Axes, conditional: Numbers) -> None:
    shown = conditional["count"] >= conditional["fewest"]
    score, probability, low, high = (
        conditional[name][shown] for name in ("score", "probability", "low", "high")
    )
    base = conditional["base"]
    draw_log_shares(axes, score, probability, low, high, color=VERMILION)
    axes.axhline(base, color="black", ls=":", label="P(plastic), ratio 1")
    equal = conditional["equal"]
    if np.isfinite(equal["score"]):
        text = f"ratio 1 at QS = {equal['score']:.2f}"
        axes.axvline(equal["score"], color=BLUE, ls="--", label=text)
        if np.isfinite(equal["low"]):
            axes.axvspan(equal["low"], equal["high"], color=BLUE, alpha=0.15, lw=0)
    if base > 0:
        right = axes.secondary_yaxis("right", functions=(lambda p: p / base, lambda q: q * base))
        right.set_ylabel("P(plastic|QS) / P(plastic)")
        right.spines["right"].set_visible(True)
    axes.set(xlabel=QS_LABEL, ylabel="P(plastic|QS)", title="plastic atoms by QS", xlim=(0, 1))
    axes.legend(loc="lower right")


def _draw_mass(axes: Axes, packing: Numbers) -> None:
    groups = packing["groups"]
    axes.set(xlabel="r (Å)", ylabel="M(r)", title="fractal dimensionality, M(r) ~ r^D")
    axes.set_xscale("log")
    axes.set_yscale("log")
    use_log_distances(axes)
    if not groups:
        return
    r = packing["r"]
    for name in CLASSES:
        if name not in groups:
            continue
        group, (color, line) = groups[name], CLASSES[name]
        some = group["mass"] > 0
        slopes = group["dimension"]
        label = f"{name}: D = {slopes[0]:.2f}, {slopes[1]:.2f}" if np.isfinite(slopes[0]) else name
        axes.plot(r[some], group["mass"][some], color=color, ls=line, lw=2, label=label)
    axes.axvline(packing["split"], color=LIGHT_GREY, lw=0.8, zorder=0)
    axes.set_xlim(2.0, float(r[-1]) * 1.05)
    axes.legend(loc="upper left", fontsize=9, title=f"D below, beyond {packing['split']:g} Å")
    _draw_rdf(axes.inset_axes((0.54, 0.17, 0.44, 0.34)), packing)


def _draw_rdf(axes: Axes, packing: Numbers) -> None:
    """Draw g(r) of the hardest and the softest atoms from contact to the third shell.

    A few atoms can have a first peak of hundreds. Such a peak is cut off, and its
    height is written beside it, so that the curve of the other group is visible.
    """
    shell, groups = packing["shell"], packing["groups"]
    drawn = {
        name: np.nan_to_num(groups[name]["g"]) for name in ("hardest", "softest") if name in groups
    }
    for name, g in drawn.items():
        color, line = CLASSES[name]
        axes.plot(shell, g, color=color, ls=line, lw=1.3)
    axes.axhline(1.0, color=LIGHT_GREY, lw=0.8, zorder=0)
    peaks = {name: float(g.max()) for name, g in drawn.items() if g.max() > 0}
    if peaks:
        top = 1.1 * min(max(peaks.values()), MAX_PEAK_RATIO * min(peaks.values()))
        occupied = np.any([g > 0.05 for g in drawn.values()], axis=0)
        first = float(shell[np.argmax(occupied)])
        axes.set(xlim=(first - 0.3, max(min(G_END, float(shell[-1])), first + 1.0)), ylim=(0, top))
        for name, peak in peaks.items():
            if peak > top:
                place = (float(shell[np.argmax(drawn[name])]), top)
                axes.annotate(
                    f"↑ {peak:.3g}",
                    place,
                    xytext=(4, -2),
                    textcoords="offset points",
                    va="top",
                    fontsize=8,
                    color=CLASSES[name][0],
                )
    axes.set_xlabel("r (Å)", fontsize=9, labelpad=1)
    axes.set_ylabel("g(r)", fontsize=9, labelpad=1)
    axes.tick_params(labelsize=8)


def _draw_violins(axes: Axes, violins: Sequence[Numbers]) -> None:
    draw_half_violins(
        axes,
        [fill(short(violin["column"]), 12) for violin in violins],
        [violin["value"] for violin in violins],
        [
            (
                HalfViolin(violin["softest"], violin["softest_quartiles"]),
                HalfViolin(violin["hardest"], violin["hardest_quartiles"]),
            )
            for violin in violins
        ],
        {"softest": ORANGE, "hardest": GREEN},
    )
    axes.set(
        ylabel="standard deviations from the mean", title="site environments", ylim=(-3.0, 3.0)
    )


def _draw_activated(fig: Figure, axes: Axes, at_yield: Numbers) -> None:
    shown = at_yield["count"] >= at_yield["fewest"]
    axes.set(
        xlabel="strain (%)",
        ylabel=f"{QS_LABEL}, of activated atoms",
        title="plastic atoms activated at each strain",
        ylim=(0, 1),
    )
    if not shown.any():
        return
    strain = 100 * at_yield["strain"]
    order = np.argsort(strain, kind="stable")
    order = order[shown[order]]
    if len(np.unique(strain[order])) < len(order):  # a strain that is reached twice has one column
        order = order[np.concatenate([[True], np.diff(strain[order]) > 0])]
    cells = draw_column_histograms(axes, strain[order], at_yield["edges"], at_yield["share"][order])
    # in the space of the second axis of (b), so that all panels have the same width
    bar = axes.inset_axes((1.03, 0.0, 0.035, 1.0))
    fig.colorbar(cells, cax=bar, label="share of the activated atoms")
    draw_quantiles(
        axes,
        strain[order],
        at_yield["quantiles"][:, order],
        list(at_yield["quantile"]),
        color=VERMILION,
    )
    axes.set_ylim(0, 1)
    legend_below(axes)


def _draw_glasses(axes: Axes, glasses: Sequence[Numbers]) -> None:
    for k, one in enumerate(glasses):
        axes.step(
            one["score"],
            one["density"],
            where="mid",
            color=CYCLE[k % len(CYCLE)],
            ls="-" if k < len(CYCLE) else "--",
            label=f"{one['glass']}, std(QS) = {one['std']['value']:.3f}",
        )
    axes.set(
        xlabel=QS_LABEL,
        ylabel="probability density",
        title="QS of several glasses" if len(glasses) > 1 else "QS of one glass",
        xlim=(0, 1),
        ylim=(0, (1.1 + 0.09 * len(glasses)) * max(float(max(one["density"])) for one in glasses)),
    )
    axes.legend(fontsize=9)
