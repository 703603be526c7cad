"""Figures of the structure of liquid-like and solid-like atoms: Figs. 4 and 5."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.plot.bubbles import bubble_areas, draw_bubble_columns, draw_bubble_scale
from mgdask.plot.intervals import draw_points
from mgdask.plot.maps import draw_signed_matrix
from mgdask.plot.style import figure, letter_panels, pale, save, style
from mgdask.studies.temperature.figures.looks import GROUPS, shown_polyhedron

if TYPE_CHECKING:
    from mgdask.plot.style import Axes
    from mgdask.studies.temperature.views import Structure

PERCENT = 100.0


def values_of(plain: Mapping[str, Any], name: str) -> FloatArray:
    """Return a variable of a result in plain form as an array; null becomes NaN."""
    return np.array(plain[name], dtype=np.float64)


def group_rows(plain: Mapping[str, Any]) -> dict[str, int]:
    """Return the row of each group that the figures show."""
    names = [str(name) for name in plain["group"]]
    return {name: names.index(name) for name in GROUPS if name in names}


@style()
def draw_polyhedra(structure: Structure, path: Path) -> None:
    """Draw the fractions of polyhedra among liquid-like and solid-like atoms.

    These are Figs. 4A and 4B of Liu X. et al. (2022). Columns end at the relative
    deviation of the fraction from that among all atoms. The area of a bubble is the
    fraction in the group.

    Parameters
    ----------
    structure
        Structure of both groups.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_polyhedra(structure, "polyhedra.png")  # doctest: +SKIP
    """
    plain = structure.polyhedra
    fig = figure(11.0, 9.4)
    upper, lower = fig.subplots(2, 1, height_ratios=(1.15, 1.0))
    fraction = PERCENT * values_of(plain, "fraction")
    deviation = PERCENT * values_of(plain, "deviation")
    error = PERCENT * values_of(plain, "deviation_error")
    rows, largest = group_rows(plain), float(np.nanmax(fraction))
    names = [shown_polyhedron(str(name)) for name in plain["polyhedron"]]
    lffs = values_of(plain, "lffs")
    for k, (name, row) in enumerate(rows.items()):
        look = GROUPS[name]
        draw_bubble_columns(
            upper,
            names,
            deviation[row],
            fraction[row],
            color=look.color,
            largest=largest,
            errors=error[row],
            offset=0.3 * (k - 0.5 * (len(rows) - 1)),
            label=f"{name} atoms",
        )
        order = np.argsort(lffs, kind="stable")
        lower.errorbar(
            lffs[order],
            deviation[row][order],
            error[row][order],
            fmt="none",
            ecolor=look.color,
            elinewidth=0.8,
            zorder=1,
        )
        lower.scatter(
            lffs[order],
            deviation[row][order],
            s=bubble_areas(fraction[row][order], largest),
            color=look.color,
            alpha=0.75,
            edgecolors="black",
            linewidths=0.5,
            zorder=2,
        )
    draw_bubble_scale(upper, _scale(largest), largest, unit="% of the group")
    upper.tick_params(axis="x", rotation=55, labelsize=9)
    for tick in upper.get_xticklabels():
        tick.set_horizontalalignment("right")
        tick.set_rotation_mode("anchor")
    lower.axhline(0.0, color="black", lw=0.8, zorder=0)
    upper.set_ylabel("Δf (%)")
    lower.set(xlabel="local five-fold symmetry, LFFS", ylabel="Δf (%)")
    fig.legend(
        *upper.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=5,
        fontsize=9,
        handletextpad=1.2,
        columnspacing=2.4,
        borderpad=1.0,
    )
    letter_panels((upper, lower))
    save(fig, path)


def _scale(largest: float) -> list[float]:
    """Return three round amounts below the largest."""
    step = 10.0 ** np.floor(np.log10(largest)) if largest > 0 else 1.0
    top = float(step * np.floor(largest / step)) if largest > 0 else 1.0
    return [float(f"{top * part:.1g}") for part in (0.2, 0.5, 1.0)]


@style()
def draw_composition(structure: Structure, path: Path) -> None:
    """Draw composition, coordination and chemical order of the groups.

    These are Figs. 5A, 5B and 5C of Liu X. et al. (2022), with both groups and standard
    errors.

    Parameters
    ----------
    structure
        Structure of both groups.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_composition(structure, "composition.png")  # doctest: +SKIP
    """
    fig = figure(11.0, 6.3)
    grid = fig.add_gridspec(2, 2, width_ratios=(1.0, 1.25))
    bars = fig.add_subplot(grid[0, 0])
    change = fig.add_subplot(grid[1, 0])
    matrix = fig.add_subplot(grid[:, 1])
    _draw_fractions(bars, structure.composition)
    _draw_change(change, structure.coordination)
    _draw_order(matrix, structure.order)
    fig.legend(*bars.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    letter_panels((bars, change, matrix))
    save(fig, path)


def _draw_fractions(axes: Axes, plain: Mapping[str, Any]) -> None:
    names = [str(name) for name in plain["species"]]
    fraction = PERCENT * values_of(plain, "fraction")
    error = PERCENT * values_of(plain, "fraction_error")
    overall = PERCENT * values_of(plain, "overall")
    places, rows = np.arange(len(names)), group_rows(plain)
    width = 0.8 / max(len(rows), 1)
    for k, (name, row) in enumerate(rows.items()):
        axes.bar(
            places + width * (k - 0.5 * (len(rows) - 1)),
            fraction[row],
            width,
            yerr=error[row],
            color=pale(GROUPS[name].color, 0.25),
            edgecolor="black",
            lw=0.6,
            hatch="///" if k else None,
            error_kw={"lw": 1.0, "capsize": 2},
            label=f"{name} atoms",
        )
    edges = np.concatenate([places - 0.5, [len(names) - 0.5]])
    axes.stairs(overall, edges, color="black", ls="--", lw=1.2, baseline=None, label="all atoms")
    axes.set_xticks(places, names)
    axes.set(ylabel="share of atoms (%)", xlim=(-0.6, len(names) - 0.4))


def _draw_change(axes: Axes, plain: Mapping[str, Any]) -> None:
    names = [str(name) for name in plain["species"]]
    change, error = values_of(plain, "relative_change"), values_of(plain, "relative_change_error")
    places, rows = np.arange(len(names)), group_rows(plain)
    for k, (name, row) in enumerate(rows.items()):
        draw_points(
            axes,
            places + 0.2 * (k - 0.5 * (len(rows) - 1)),
            change[row],
            np.nan_to_num(error[row]),
            color=GROUPS[name].color,
            marker=GROUPS[name].marker,
        )
    axes.axhline(0.0, color="black", lw=0.9, ls="--")
    axes.set_xticks(places, names)
    axes.set(ylabel="ΔCN (%)", xlim=(-0.6, len(names) - 0.4))


def _draw_order(axes: Axes, plain: Mapping[str, Any]) -> None:
    names = [str(name) for name in plain["group"]]
    whole = values_of(plain, "order")[names.index("whole")]
    rows = group_rows(plain)
    signs = {name: plain["sign"][row] for name, row in rows.items()}
    reach = float(np.nanmax(np.abs(whole))) or 1.0
    # rows are the neighbors B and columns the central atoms A, as in the paper
    mappable = draw_signed_matrix(
        axes,
        whole.T,
        [f"({name})" for name in plain["neighbor_species"]],
        [str(name) for name in plain["species"]],
        {name: [list(row) for row in zip(*part, strict=True)] for name, part in signs.items()},
        colors={name: GROUPS[name].color for name in signs},
        span=(-reach, reach),
    )
    axes.set(xlabel="central atom A", ylabel="neighbor B")
    axes.figure.colorbar(
        mappable, ax=axes, label="$-\\alpha_{A(B)}$ of all atoms", shrink=0.75, aspect=30
    )
