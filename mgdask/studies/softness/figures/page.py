"""Figures of the softness report: scores, columns, partial dependence, and a slice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask.plot.curves import draw_band, use_log_distances
from mgdask.plot.distributions import HalfViolin, draw_density, draw_half_violins
from mgdask.plot.intervals import draw_points
from mgdask.plot.maps import PointGroup, draw_point_groups, draw_surface
from mgdask.plot.slab import draw_slab, ring_atoms
from mgdask.plot.style import (
    BLUE,
    DARK_GREY,
    FILL_GREY,
    GREEN,
    LIGHT_GREY,
    ORANGE,
    SKY_BLUE,
    VERMILION,
    YELLOW,
    figure,
    letter_panels,
    save,
    style,
)
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.training import Softness

if TYPE_CHECKING:
    from mgdask.plot.style import Axes

Numbers = Mapping[str, Any]

PLASTIC, OTHER = VERMILION, BLUE
CLASSES = {"softest": (ORANGE, "-"), "hardest": (GREEN, "--"), "random": (DARK_GREY, ":")}
"""Color and line of each class of atoms."""
MOTIFS = {
    "<0,0,12,0,0>": ("o", YELLOW, 240.0),
    "<0,0,12,4,0>": ("s", SKY_BLUE, 110.0),
    "other Kasper": ("^", "white", 110.0),
    "plastic": ("X", PLASTIC, 110.0),
}
"""Marker, color and size of the median of each motif.

The medians of the first two often coincide, so the first is larger.
"""


def short(column: str) -> str:
    """Return a column's name without that of its variable.

    Parameters
    ----------
    column
        Name of a column.

    Returns
    -------
    name
        The part after the slash, with spaces for underscores.

    Examples
    --------
    >>> short("interstice/area_mean")
    'area mean'
    """
    return column.split("/", 1)[-1].replace("_", " ")


def _label(column: str, numbers: Numbers) -> str:
    units = {row["column"]: row["units"] for row in numbers["leading"]}
    return short(column) if units[column] == "1" else f"{short(column)} ({units[column]})"


@renamed_arguments(told="numbers")
@style()
def draw_scores(numbers: Numbers, path: Path) -> None:
    """Draw the spectrum and the predictions of the score, in six panels.

    The panels are the spectrum of QS, P(plastic | QS), the share predicted plastic, QS
    of the atoms turning plastic, the mass-radius relation, and g(r).

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
    fig = figure(13.0, 7.6)
    panels = fig.subplots(2, 3).ravel()
    _draw_spectrum(panels[0], numbers["spectrum"])
    _draw_conditional(panels[1], numbers["conditional"])
    _draw_predicted(panels[2], numbers["predicted"], numbers["threshold"])
    _draw_at_yield(panels[3], numbers["at_yield"], numbers["spectrum"]["mean"])
    _draw_mass(panels[4], numbers["extremes"])
    _draw_rdf(panels[5], numbers["extremes"], numbers["rdf"])
    letter_panels(panels)
    save(fig, path)


def _draw_spectrum(axes: Axes, spectrum: Numbers) -> None:
    draw_density(axes, spectrum["score"], spectrum["density"])
    axes.axvline(spectrum["mean"], color="black", ls=":", label="mean")
    axes.set(
        xlabel="quench-in softness QS",
        ylabel="density of atoms",
        title="spectrum",
        xlim=(0, 1),
        ylim=(0, None),
    )
    axes.legend()


def _draw_conditional(axes: Axes, conditional: Numbers) -> None:
    shown = conditional["count"] >= conditional["fewest"]
    score, probability, error = (
        conditional[name][shown] for name in ("score", "probability", "error")
    )
    draw_points(axes, score, probability, error, color=PLASTIC)
    axes.axhline(conditional["base"], color="black", ls=":", label="all atoms")
    axes.set(
        xlabel="quench-in softness QS",
        ylabel="P(plastic | QS)",
        title="probability of turning plastic",
        xlim=(0, 1),
        ylim=(0, None),
    )
    axes.legend()


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
        axes.axvline(threshold, color=PLASTIC, ls=":", label=f"plastic above {threshold:g} Å²")
        axes.legend()
    axes.set(
        xlabel="D²min (Å²), tenths of the atoms",
        ylabel="share with QS > 0.5",
        title="predicted plastic",
        xscale="log",
    )


def _draw_at_yield(axes: Axes, at_yield: Numbers, mean: float) -> None:
    shown = at_yield["count"] >= at_yield["fewest"]
    strain, score, error = (at_yield[name][shown] for name in ("strain", "score", "error"))
    draw_points(axes, 100 * strain, score, error, color=PLASTIC, line=True)
    axes.axhline(mean, color="black", ls=":", label="all atoms")
    axes.set(
        xlabel="strain (%)",
        ylabel="mean QS of atoms turning plastic",
        title="softness by strain of yield",
    )
    axes.legend()


def _draw_mass(axes: Axes, extremes: Numbers) -> None:
    for name, group in extremes.items():
        color, line = CLASSES[name]
        shown = group["mass"] > 1.0
        axes.loglog(
            group["r"][shown],
            group["mass"][shown] - 1.0,
            color=color,
            ls=line,
            lw=2,
            label=f"{name}, D = {group['dimension']:.2f}",
        )
    axes.set(
        xlabel="r (Å)",
        ylabel="other atoms of the class within r",
        title="mass-radius relation",
        xlim=(2.0, None),
        ylim=(0.1, None),
    )
    use_log_distances(axes)
    if extremes:
        axes.legend()


def _draw_rdf(axes: Axes, extremes: Numbers, rdf: Numbers) -> None:
    for name in ("softest", "hardest"):
        if name in extremes:
            color, line = CLASSES[name]
            axes.plot(rdf["r"], extremes[name]["g"], color=color, ls=line, lw=1.5, label=name)
    if rdf:
        axes.plot(rdf["r"], rdf["g"], color="black", ls=":", lw=1.5, label="all atoms")
        axes.axhline(1.0, color=LIGHT_GREY, lw=0.8, zorder=0)
        axes.legend()
        axes.set(xlim=(1.5, float(rdf["r"][-1])))
    axes.set(
        xlabel="r (Å)",
        ylabel="g(r) among atoms of a class",
        title="radial distribution",
        ylim=(0, None),
    )


@renamed_arguments(told="numbers")
@style()
def draw_features(numbers: Numbers, path: Path) -> None:
    """Draw the importance of the leading columns, and plastic against other atoms.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_features(softness_numbers(softness, glass), "f.png")  # doctest: +SKIP
    """
    fig = figure(13.0, 5.6)
    bars, violins = fig.subplots(1, 2, width_ratios=(1.0, 1.9))
    rows = numbers["leading"][::-1]
    bars.barh(
        [short(row["column"]) for row in rows],
        [100 * row["importance"] for row in rows],
        color=FILL_GREY,
    )
    bars.set(xlabel=fill(f"share of the {numbers['importance']} (%)", 32), title="importance")
    draw_half_violins(
        violins,
        [fill(short(violin["column"]), 13) for violin in numbers["violins"]],
        [violin["value"] for violin in numbers["violins"]],
        [
            (
                HalfViolin(violin["plastic"], violin["plastic_quartiles"]),
                HalfViolin(violin["other"], violin["other_quartiles"]),
            )
            for violin in numbers["violins"]
        ],
        {"plastic": PLASTIC, "not plastic": OTHER},
    )
    violins.set(
        ylabel="standard deviations from the mean",
        title="plastic against other atoms",
        ylim=(-3.0, 3.0),
    )
    letter_panels((bars, violins))
    save(fig, path)


@renamed_arguments(told="numbers")
@style()
def draw_dependence(numbers: Numbers, path: Path) -> None:
    """Draw the partial dependence of QS on the two leading columns.

    Two panels show each column alone, with a histogram of the atoms below. The third
    shows both columns, with the atoms of Voronoi motifs on top.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_dependence(softness_numbers(softness, glass), "d.png")  # doctest: +SKIP
    """
    alone, together = numbers["dependence"]["alone"], numbers["dependence"]["together"]
    fig = figure(13.0, 5.0)
    places = fig.add_gridspec(2, 3, width_ratios=(1, 1, 1.5), height_ratios=(2.4, 1))
    lettered = []
    low = min((float((curve["qs"] - curve["deviation"]).min()) for curve in alone), default=0.0)
    high = max((float((curve["qs"] + curve["deviation"]).max()) for curve in alone), default=1.0)
    margin = 0.05 * (high - low) + 1e-6
    for k, curve in enumerate(alone):
        upper, lower = fig.add_subplot(places[0, k]), fig.add_subplot(places[1, k])
        draw_band(upper, curve["value"], curve["qs"], curve["deviation"])
        upper.set(ylabel="mean QS", title="partial dependence", ylim=(low - margin, high + margin))
        lower.stairs(curve["count"], curve["edges"], fill=True, color=FILL_GREY)
        lower.set(xlabel=_label(curve["column"], numbers), ylabel="atoms")
        lower.sharex(upper)
        upper.tick_params(labelbottom=False)
        lettered.append(upper)
    if together:
        axes = fig.add_subplot(places[:, 2])
        surface = draw_surface(axes, together["x"], together["y"], together["qs"])
        fig.colorbar(surface, ax=axes, label="mean QS")
        draw_point_groups(axes, _motif_points(numbers["motifs"]))
        axes.set(
            xlabel=_label(together["columns"][0], numbers),
            ylabel=_label(together["columns"][1], numbers),
            title="both columns, and where atoms are",
        )
        lettered.append(axes)
    letter_panels(lettered)
    save(fig, path)


def _motif_points(motifs: Numbers) -> dict[str, PointGroup]:
    return {
        name: PointGroup(motifs[name]["drawn"], motifs[name]["median"], marker, color, size)
        for name, (marker, color, size) in MOTIFS.items()
        if motifs[name]["atoms"]
    }


@renamed_arguments(found="softness")
@style()
def draw_slice(softness: Softness, glass: Glass, path: Path, *, slab: float = 6.0) -> None:
    """Draw a slice of the undeformed glass, colored by QS and by D²min.

    Rings mark the plastic atoms.

    Parameters
    ----------
    softness
        Trained score.
    glass
        Held-out glass.
    path
        PNG file to write.
    slab
        Thickness of the slice in Å, across y.

    Examples
    --------
    >>> draw_slice(softness, glass, "slice.png")  # doctest: +SKIP
    """
    frame = glass.undeformed()
    d2min = glass.d2min()[glass.frame]
    strain = 100 * glass.strain[glass.frame]
    fig = figure(13.0, 5.6)
    panels = fig.subplots(1, 2)
    for axes, values, label, title in (
        (panels[0], softness.qs, "quench-in softness QS", "undeformed"),
        (panels[1], d2min, "D²min (Å²)", f"at {strain:.1f} % strain"),
    ):
        array = xr.DataArray(values, dims="atom", coords={"atom_id": frame["atom_id"].variable})
        mappable = draw_slab(axes, frame, array, slab=slab, along="y", cmap="cividis", size=60)
        fig.colorbar(mappable, ax=axes, label=label, shrink=0.9)
        ring_atoms(
            axes,
            frame,
            d2min > glass.threshold,
            slab=slab,
            along="y",
            color=PLASTIC,
            label="plastic",
        )
        axes.set_title(title)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3)
    letter_panels(panels)
    save(fig, path)
