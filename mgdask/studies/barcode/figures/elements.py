"""Figures of the elements of the barcode: Figs. 3, 4 and A2 of Liu et al. (2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.elements import symbol
from mgdask.plot.clusters import add_species_legend, draw_cluster, species_colors
from mgdask.plot.curves import use_plain_log_ticks
from mgdask.plot.intervals import draw_points, error_lengths
from mgdask.plot.maps import draw_colored_points, draw_rings
from mgdask.plot.style import DARK_GREY, LIGHT_GREY, VERMILION, figure, save, style
from mgdask.studies.barcode.figures.looks import GROUPS, ICOSAHEDRAL, OTHER, shown_polyhedron

if TYPE_CHECKING:
    from mgdask.plot.style import Axes
    from mgdask.studies.barcode.report_data import Cluster

PER_ROW = 6
"""Pictures of environments in a row."""
SHAP_BINS = 40
"""Bins of the histogram of SHAP values."""


@style()
def draw_environments(
    clusters: Sequence[Cluster], elements: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Draw the leading ULEs, group by group, with the Voronoi index of each kernel.

    This is Fig. 3 of Liu et al. (2023).

    Parameters
    ----------
    clusters
        Atoms around the center of each element.
    elements
        Elements in the same order, with ``label``, ``origin`` and ``polyhedron``, as in
        ``element_table.json``.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_environments(clusters, elements, "environments.png")  # doctest: +SKIP
    """
    groups = {
        k: [i for i, one in enumerate(elements) if one["polyhedron"]["group"] == k] for k in (1, 2)
    }
    groups = {k: members for k, members in groups.items() if members}
    lines = {k: -(-len(members) // PER_ROW) for k, members in groups.items()}
    heights = [part for k in groups for part in (0.16, *([1.0] * lines[k]))]
    fig = figure(11.0, 2.0 * sum(lines.values()) + 0.5 * len(groups) + 0.5)
    grid = fig.add_gridspec(len(heights), PER_ROW, height_ratios=heights)
    colors = species_colors(np.concatenate([one.species for one in clusters]))
    limit = 1.06 * max(float(np.linalg.norm(one.position, axis=1).max()) for one in clusters)
    row = 0
    panels: list[Axes] = []
    for k, members in groups.items():
        head = fig.add_subplot(grid[row, :])
        head.axis("off")
        head.text(
            0.0,
            0.5,
            f"{GROUPS[k - 1].name} kernel: {len(members)} elements",
            fontweight="bold",
            fontsize=12,
            va="center",
            transform=head.transAxes,
        )
        for place, i in enumerate(members):
            axes = fig.add_subplot(grid[row + 1 + place // PER_ROW, place % PER_ROW])
            one, element = clusters[i], elements[i]
            draw_cluster(axes, one.position, one.species, one.kernel, colors=colors, limit=limit)
            index = shown_polyhedron(element["polyhedron"]["index"])
            name = f"{_subscript(element['label'])}  {element['origin']['species']} {index}"
            axes.set_title(name, pad=2, fontsize=10.5)
            panels.append(axes)
        row += 1 + lines[k]
    add_species_legend(panels[0], colors, shell="kernel, the Voronoi neighbors")
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    save(fig, path)


def _subscript(label: str) -> str:
    """Return "s12" as s with a subscript."""
    return f"$s_{{{label.removeprefix('s')}}}$"


@style()
def draw_correlation(elements: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the correlation of each element with the energy, with its interval.

    This is Fig. 4 of Liu et al. (2023). Elements with an icosahedral kernel are
    circles, and the others are gray squares.

    Parameters
    ----------
    elements
        Elements with ``pearson`` (``value``, ``low``, ``high``) and ``polyhedron``.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_correlation(elements, "correlation.png")  # doctest: +SKIP
    """
    fig = figure(10.6, 4.6)
    axes = fig.subplots()
    value, low, high = (
        np.array([_number(one["pearson"], end) for one in elements])
        for end in ("value", "low", "high")
    )
    place = np.arange(1, len(elements) + 1)
    icosahedral = np.array([bool(one["polyhedron"]["icosahedral"]) for one in elements])
    for some, color, marker, label in (
        (icosahedral, ICOSAHEDRAL, "o", "⟨0,0,12,0⟩ kernel"),
        (~icosahedral, OTHER, "s", "other kernel"),
    ):
        if some.any():
            lengths = np.nan_to_num(error_lengths(value, low, high))[:, some]
            draw_points(
                axes, place[some], value[some], lengths, color=color, marker=marker, label=label
            )
    # larger, so that they stand out without colors
    axes.plot(place[icosahedral], value[icosahedral], "o", ms=9, color=ICOSAHEDRAL, mec="black")
    axes.axhline(0.0, color="black", lw=0.8)
    first = sum(one["polyhedron"]["group"] == 1 for one in elements)
    ends = (0.3, len(elements) + 0.7)
    if 0 < first < len(elements):
        axes.axvline(first + 0.5, color="black", lw=0.8, ls="--")
    for text, left, right in (
        (GROUPS[0].name, ends[0], first + 0.5),
        (GROUPS[1].name, first + 0.5, ends[1]),
    ):
        if right - left > 1.0:
            axes.text(
                0.5 * (left + right),
                1.02,
                text,
                ha="center",
                va="bottom",
                fontsize=9 if right - left > 8 else 7.5,
                transform=axes.get_xaxis_transform(),
            )
    axes.set(
        xlabel="element $i$",
        ylabel="Pearson correlation of $s_i$\nwith the energy per atom",
        xlim=ends,
        ylim=(-1.05, 1.05),
    )
    axes.set_xticks(place if len(place) <= 12 else [1, *range(5, len(place) + 1, 5)])
    fig.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save(fig, path)


def _number(bounds: Mapping[str, Any] | None, end: str) -> float:
    value = None if bounds is None else bounds.get(end)
    return np.nan if value is None else float(value)


@style()
def draw_importance(shap: FloatArray, n_elements: int, path: Path) -> None:
    """Draw the mean absolute SHAP value of every ULE, and its histogram.

    This is Fig. A2 of Liu et al. (2023). There, about 40 values are above 0.05.

    Parameters
    ----------
    shap
        Mean absolute SHAP values of all ULEs in eV per sample (entry,).
    n_elements
        Number of elements of the barcode.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_importance(shap, 40, "importance.png")  # doctest: +SKIP
    """
    fig = figure(8.6, 5.0)
    axes = fig.subplots()
    values = np.sort(np.asarray(shap, dtype=np.float64))[::-1]
    rank = np.arange(1, len(values) + 1)
    some = values > 0
    for inside, color, marker, label in (
        (rank <= n_elements, VERMILION, "o", f"the {n_elements} elements of the barcode"),
        (rank > n_elements, DARK_GREY, ".", f"the other {len(values) - n_elements} ULEs"),
    ):
        drawn = inside & some
        axes.plot(rank[drawn], values[drawn], marker, ms=4.5, color=color, label=label)
    axes.set(
        xlabel="rank of the ULE", ylabel="mean |SHAP| (eV per sample)", xscale="log", yscale="log"
    )
    use_plain_log_ticks(axes.xaxis, axes.yaxis)
    # on two logarithmic axes, the curve leaves the lower left free
    low, high = axes.get_ylim()
    axes.set_ylim(low * (low / high) ** 0.8, high)
    inset = axes.inset_axes((0.12, 0.16, 0.46, 0.42))
    count, edges = np.histogram(values, bins=SHAP_BINS)
    inset.stairs(count, edges, fill=True, color=LIGHT_GREY)
    inset.stairs(count, edges, color=DARK_GREY)
    inset.set_yscale("log")
    inset.set_ylim(0.5, 2.0 * float(max(count.max(), 1)))
    if n_elements < len(values):
        cut = 0.5 * float(values[n_elements - 1] + values[n_elements])
        inset.axvline(cut, color=VERMILION, ls="--", lw=1.2)
    inset.set_xlabel("mean |SHAP| (eV per sample)", fontsize=9)
    inset.set_ylabel("number of ULEs", fontsize=9)
    inset.tick_params(labelsize=8)
    fig.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    save(fig, path)


@style()
def draw_similarity_map(
    coordinates: FloatArray,
    correlation: FloatArray,
    species: IntArray,
    leading: IntArray,
    path: Path,
    *,
    axis: str = "axis {} of the embedding (units of 1 − M)",
) -> None:
    """Draw a map on which similar ULEs are close, colored by correlation with energy.

    Parameters
    ----------
    coordinates
        Place of each entry of the dictionary on the map (entry, 2).
    correlation
        Pearson correlation of its fraction with the energy (entry,).
    species
        Atomic number of its center (entry,).
    leading
        Entries that are elements of the barcode; they have rings.
    path
        PNG file to write.
    axis
        Label of an axis, with a place for its number.

    Examples
    --------
    >>> draw_similarity_map(place, r, species, leading, "map.png")  # doctest: +SKIP
    """
    fig = figure(8.6, 6.4)
    axes = fig.subplots()
    values = np.asarray(correlation, dtype=np.float64)
    reach = max(0.1, float(np.nanmax(np.abs(values), initial=0.0)))
    kinds = [f"{symbol(int(z))} centers" for z in species]
    colored = draw_colored_points(axes, coordinates, values, kinds, span=(-reach, reach), size=14.0)
    if len(leading):
        draw_rings(axes, coordinates[leading], size=42.0, label="elements of the barcode")
    fig.colorbar(
        colored, ax=axes, label="Pearson correlation of the fraction with the energy per atom"
    )
    axes.set(xlabel=axis.format(1), ylabel=axis.format(2))
    axes.set_aspect("equal", adjustable="datalim")
    fig.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save(fig, path)
