"""Figures of heterogeneity and of group sums: Figs. 6 and 7 of Liu et al. (2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.plot.barcodes import draw_barcode
from mgdask.plot.intervals import draw_points, error_lengths
from mgdask.plot.slab import draw_slab_groups
from mgdask.plot.style import BLUE, DARK_GREY, ORANGE, VERMILION, figure, letter_panels, save, style
from mgdask.studies.barcode.figures.looks import GROUP_COLORS, GROUPS, SUM_LOOKS

if TYPE_CHECKING:
    from mgdask.plot.style import Axes
    from mgdask.studies.barcode.report_data import Sample

THOUSAND = 1000.0
MARKERS = ("o", "^")
"""Markers of group 1 and group 2."""


@style()
def draw_heterogeneity(comparisons: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw barcodes of thermal and driven samples of equal energy, and how they differ.

    The panels follow Fig. 6 of Liu et al. (2023). Left: mean barcodes of each pair of
    sets. Middle: ratio of the sums of each group, thermal divided by driven. Right: the
    standard deviation of delta s within each group, with that of pairs of thermal
    samples as a control, and the spread of the von Mises strain.

    Parameters
    ----------
    comparisons
        Comparisons of one driven set each, as in ``heterogeneity.json``.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_heterogeneity(comparisons, "heterogeneity.png")  # doctest: +SKIP
    """
    n = len(comparisons)
    fig = figure(11.0, max(5.2, 2.2 * n + 1.0))
    grid = fig.add_gridspec(1, 2, width_ratios=(1.35, 1.0))
    left = grid[0, 0].subgridspec(n, 1)
    right = grid[0, 1].subgridspec(2, 1)
    means = [[np.mean(one[name], axis=0) for name in ("thermal", "driven")] for one in comparisons]
    top = 1.15 * max(float(mean.max()) for pair in means for mean in pair)
    panels: list[Axes] = []
    for k, one in enumerate(comparisons):
        axes = fig.add_subplot(left[k, 0])
        _draw_pair(axes, one, means[k], top)
        panels.append(axes)
    panels[-1].set_xlabel("element $i$")
    ratio, deviation = fig.add_subplot(right[0, 0]), fig.add_subplot(right[1, 0])
    _draw_ratios(ratio, comparisons)
    _draw_deviations(deviation, comparisons)
    letter_panels([panels[0], ratio, deviation])
    entries = [axes.get_legend_handles_labels() for axes in (panels[0], deviation)]
    fig.legend(
        [handle for handles, _ in entries for handle in handles],
        [label for _, labels in entries for label in labels],
        loc="outside lower center",
        ncols=4,
        fontsize=9,
    )
    save(fig, path)


def _draw_pair(axes: Axes, one: Mapping[str, Any], means: Sequence[FloatArray], top: float) -> None:
    """Draw the mean thermal barcode upward and the mean driven one downward."""
    thermal, driven = means
    group = np.asarray(one["groups"]) - 1
    draw_barcode(axes, thermal, group, GROUPS)
    draw_barcode(axes, -driven, group, GROUPS, labeled=False)
    axes.axhline(0.0, color="black", lw=0.8)
    axes.set(ylim=(-top, top), ylabel="fraction $s_i$")
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    energy = f"{np.mean(one['energy']):.4f} eV per atom".replace("-", "−")
    axes.set_title(f"thermal (up) and {one['name']} (down), {energy}", fontsize=9)
    axes.tick_params(labelsize=8)


def _places(n: int) -> tuple[np.ndarray, tuple[float, float]]:
    return np.arange(n, dtype=np.float64), (-0.6, n - 0.4)


def _draw_ratios(axes: Axes, comparisons: Sequence[Mapping[str, Any]]) -> None:
    place, ends = _places(len(comparisons))
    for k, (look, marker) in enumerate(zip(GROUPS, MARKERS, strict=True)):
        bounds = [_contrast(one, k + 1)["ratio"] for one in comparisons]
        _draw_bounds(
            axes, place + 0.16 * (2 * k - 1), bounds, color=GROUP_COLORS[k], marker=marker,
            label=look.name,
        )  # fmt: skip
    axes.axhline(1.0, color="black", lw=0.8, ls=":")
    axes.set(ylabel="ratio of group sums,\nthermal / driven", xlim=ends)
    axes.set_xticks(place, [str(one["name"]) for one in comparisons])


def _draw_deviations(axes: Axes, comparisons: Sequence[Mapping[str, Any]]) -> None:
    place, ends = _places(len(comparisons))
    for k, marker in enumerate(MARKERS):
        contrasts = [_contrast(one, k + 1) for one in comparisons]
        for name, offset, color, label in (
            ("std", -0.04, GROUP_COLORS[k], f"group {k + 1}"),
            ("control", 0.04, DARK_GREY, f"group {k + 1}, thermal pairs"),
        ):
            _draw_bounds(
                axes, place + 0.2 * (2 * k - 1) + offset, [one[name] for one in contrasts],
                color=color, marker=marker, scale=THOUSAND, label=label,
                filled=name == "std",
            )  # fmt: skip
    axes.set(ylabel="std. deviation of δ$s_i$\nin a group (10⁻³)", xlim=ends)
    axes.set_xticks(place, [str(one["name"]) for one in comparisons])
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    strains = [_spread(one["strain"]) if one.get("strain") else None for one in comparisons]
    if any(strain is not None for strain in strains):
        second = axes.twinx()
        some = [k for k, strain in enumerate(strains) if strain is not None]
        known = [strain for strain in strains if strain is not None]
        _draw_bounds(second, place[some], known, color=VERMILION, marker="s", line=True)
        second.spines["right"].set_visible(True)
        second.set_ylabel("std. deviation / mean of\nthe von Mises strain", color=VERMILION)
        second.set_ylim(0, 1.1 * second.get_ylim()[1])
        axes.plot([], [], "s--", color=VERMILION, ms=4, label="von Mises strain (right axis)")


def _spread(strain: Mapping[str, Any]) -> dict[str, float]:
    """Return the mean over pairs of frames, and one standard deviation to each side."""
    each = np.array(strain["relative"], dtype=np.float64)
    mean, deviation = float(np.nanmean(each)), float(np.nanstd(each))
    return {"value": mean, "low": mean - deviation, "high": mean + deviation}


def _contrast(comparison: Mapping[str, Any], group: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(one for one in comparison["contrasts"] if one["group"] == group)
    return found


def _draw_bounds(
    axes: Axes,
    x: np.ndarray,
    bounds: Sequence[Mapping[str, Any]],
    *,
    color: str,
    marker: str,
    scale: float = 1.0,
    line: bool = False,
    filled: bool = True,
    label: str | None = None,
) -> None:
    value, low, high = (
        scale * np.array([_number(one, end) for one in bounds]) for end in ("value", "low", "high")
    )
    lengths = np.nan_to_num(error_lengths(value, low, high))
    axes.errorbar(
        x,
        value,
        lengths,
        fmt=f"{marker}--" if line else marker,
        ms=5,
        color=color,
        mfc=color if filled else "white",
        capsize=2,
        elinewidth=1.0,
        label=label,
    )


def _number(bounds: Mapping[str, Any] | None, end: str) -> float:
    value = None if bounds is None else bounds.get(end)
    return np.nan if value is None else float(value)


@style()
def draw_group_sums(sums: Mapping[str, Any], voronoi: Mapping[str, Any], path: Path) -> None:
    """Draw the sums of fractions of each group, and of the icosahedral elements.

    This is Fig. 7 of Liu et al. (2023). Small points are samples. Large markers are
    means in bins of energy, with standard deviations. The fraction of all atoms with
    <0,0,12,0> is drawn beside the icosahedral elements, as a baseline.

    Parameters
    ----------
    sums
        Content of ``group_sums.json``.
    voronoi
        Content of ``voronoi.json``; empty if there is none.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_group_sums(sums, voronoi, "group_sums.png")  # doctest: +SKIP
    """
    fig = figure(10.6, 4.8)
    left, right = fig.subplots(1, 2)
    energy = np.asarray(sums["energy"], dtype=np.float64)
    for axes, names in ((left, ("group1", "group2")), (right, ("icosahedral",))):
        for name in names:
            label, color, marker = SUM_LOOKS[name]
            values = np.asarray(sums[name], dtype=np.float64)
            if not values.any():  # no element has such a kernel
                axes.plot([], [], marker, color=color, label=f"no {label}")
                continue
            axes.plot(energy, values, marker, ms=2.5, color=color, alpha=0.3, mew=0)
            curve = sums["curves"][name]
            some = np.asarray(curve["count"]) > 1
            middle, mean, deviation = (
                np.array(curve[kind], dtype=np.float64)[some] for kind in ("energy", "mean", "std")
            )
            draw_points(
                axes,
                middle,
                mean,
                deviation,
                color=color,
                marker=marker,
                line=True,
                label=_with_correlation(label, sums["pearson"][name]),
            )
        axes.set(xlabel="energy (eV per atom)", ylabel="sum of fractions in the barcode")
        axes.locator_params(axis="x", nbins=5)
    if voronoi:
        label = _with_correlation("⟨0,0,12,0⟩, all atoms", voronoi["pearson"]["icosahedral"])
        share = voronoi["fractions"]["icosahedral"]
        right.plot(voronoi["energy"], share, "s", ms=3, mfc="none", mec=DARK_GREY, label=label)
        right.set_ylabel("sum of fractions in the barcode,\nor fraction of all atoms")
    for axes, limits in ((left, (0.0, 1.0)), (right, (0.0, None))):
        axes.set_ylim(*limits)
        bottom, top = axes.get_ylim()
        axes.set_ylim(bottom, top + 0.2 * (top - bottom))
        axes.legend(loc="upper left", fontsize=9)
    letter_panels((left, right))
    save(fig, path)


def _with_correlation(label: str, bounds: Mapping[str, Any]) -> str:
    r = _number(bounds, "value")
    return f"{label}, r = {r:+.2f}".replace("-0", "−0") if np.isfinite(r) else label


@style()
def draw_sample_groups(samples: Sequence[Sample], path: Path) -> None:
    """Draw slabs of samples, with their atoms in the color of their ULE's group.

    Parameters
    ----------
    samples
        Samples, one panel each.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_sample_groups(samples, "slab.png")  # doctest: +SKIP
    """
    n = len(samples)
    fig = figure(6.6, 7.2) if n == 1 else figure(5.4 * n, 6.0)
    groups = [("no element", "0.93"), (GROUPS[1].name, ORANGE), (GROUPS[0].name, BLUE)]
    order = np.array([0, 2, 1])
    panels = fig.subplots(1, n, squeeze=False)[0]
    for axes, one in zip(panels, samples, strict=True):
        draw_slab_groups(axes, one.frame, order[one.group], groups, slab=5.0)
        legend = axes.get_legend()
        assert legend is not None, "the slab has a legend"
        legend.remove()  # it is too wide for one line below the axes
    names = ";   ".join(one.name for one in samples)
    entries = panels[0].get_legend_handles_labels()
    fig.legend(*entries, loc="outside lower center", ncols=3 if n == 1 else 5)
    fig.suptitle(names, fontsize=11)
    save(fig, path)
