"""Figures of the leading columns: importance, and partial dependence with motifs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from mgdask._renamed import renamed_arguments
from mgdask.plot.curves import draw_band
from mgdask.plot.maps import PointGroup, draw_point_groups, draw_surface, symmetric_levels
from mgdask.plot.style import FILL_GREY, SKY_BLUE, YELLOW, figure, letter_panels, save, style

Numbers = Mapping[str, Any]

MOTIFS = {
    "<0,0,12,0,0>": ("o", YELLOW, 240.0),
    "<0,0,12,4,0>": ("s", SKY_BLUE, 110.0),
    "other Frank-Kasper": ("^", "white", 110.0),
}
"""Marker, color and size of the median of each motif.

The medians of the first two often coincide, so the first is larger.
"""
SIGNED = "partial dependence (log-odds)"


def short(column: str) -> str:
    """Return the name of a column without the name of its variable.

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
def draw_features(numbers: Numbers, path: Path) -> None:
    """Draw the importance of the leading columns, and the dependence on the first two.

    The order is that of Supplementary Table 2 of Wang and Jain (2019).

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
    alone = numbers["dependence"]["alone"]
    fig = figure(13.0, 5.4)
    places = fig.add_gridspec(2, 3, width_ratios=(1.1, 1, 1), height_ratios=(2.4, 1))
    bars = fig.add_subplot(places[:, 0])
    rows = numbers["leading"][::-1]
    bars.barh(
        [short(row["column"]) for row in rows],
        [100 * row["importance"] for row in rows],
        color=FILL_GREY,
    )
    bars.set(xlabel=fill(f"share of the {numbers['importance']} (%)", 32), title="importance")
    lettered = [bars]
    low = min((float((one["signed"] - one["deviation"]).min()) for one in alone), default=-1.0)
    high = max((float((one["signed"] + one["deviation"]).max()) for one in alone), default=1.0)
    margin = 0.05 * (high - low) + 1e-6
    for k, curve in enumerate(alone):
        upper, lower = fig.add_subplot(places[0, k + 1]), fig.add_subplot(places[1, k + 1])
        draw_band(upper, curve["value"], curve["signed"], curve["deviation"])
        upper.axhline(0.0, color="0.4", ls=":")
        upper.set(ylabel=SIGNED, title="one column", ylim=(low - margin, high + margin))
        lower.stairs(curve["count"], curve["edges"], fill=True, color=FILL_GREY)
        lower.set(xlabel=_label(curve["column"], numbers), ylabel="atoms")
        lower.sharex(upper)
        upper.tick_params(labelbottom=False)
        lettered.append(upper)
    letter_panels(lettered)
    save(fig, path)


@renamed_arguments(told="numbers")
@style()
def draw_dependence(numbers: Numbers, path: Path) -> None:
    """Draw the partial dependence on the top two columns, with the atoms of motifs.

    This is Fig. 5b of Wang and Jain (2019): the two-dimensional partial dependence plot
    of the top-2 features, with the <0,0,12,0,0>, <0,0,12,4,0> and other Frank-Kasper
    clusters.

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
    together = numbers["dependence"]["together"]
    fig = figure(7.4, 6.0)
    axes = fig.subplots()
    if together:
        signed = together["signed"]
        surface = draw_surface(
            axes,
            together["x"],
            together["y"],
            signed,
            cmap="RdBu_r",
            levels=symmetric_levels(signed),
        )
        fig.colorbar(surface, ax=axes, label=SIGNED)
        axes.contour(together["x"], together["y"], signed.T, [0.0], colors="black", linewidths=1.0)
        draw_point_groups(axes, _motif_points(numbers["motifs"]))
        axes.set(
            xlabel=_label(together["columns"][0], numbers),
            ylabel=_label(together["columns"][1], numbers),
        )
    else:
        axes.text(0.5, 0.5, "fewer than two columns vary", ha="center", va="center")
        axes.set_axis_off()
    save(fig, path)


def _motif_points(motifs: Numbers) -> dict[str, PointGroup]:
    return {
        name: PointGroup(motifs[name]["drawn"], motifs[name]["median"], marker, color, size)
        for name, (marker, color, size) in MOTIFS.items()
        if motifs[name]["atoms"]
    }
