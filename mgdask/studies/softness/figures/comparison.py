"""Figures that compare scores by feature set, glass, or number of training atoms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask.plot.boxes import draw_box, draw_violin
from mgdask.plot.intervals import draw_bars, draw_points, error_lengths
from mgdask.plot.maps import draw_matrix
from mgdask.plot.style import BLUE, GREEN, ORANGE, SKY_BLUE, VERMILION, figure, save, style
from mgdask.studies.softness.compared_sets import MRO, SHORT_RANGE
from mgdask.studies.softness.transfer import transfer_by_category

if TYPE_CHECKING:
    from mgdask.plot.style import Axes

CHANCE = 0.5
"""AUC and recall of a random guess."""
DPI = 110.0


@renamed_arguments(found="comparison")
@style()
def compare_figure(comparison: xr.Dataset, path: str | Path) -> Path:
    """Draw AUC and recall of each feature set, and the difference of the AUC.

    Bars show the mean score of all models; diamonds show the mean over single models.

    Parameters
    ----------
    comparison
        Result of ``compare``.
    path
        PNG file to write.

    Returns
    -------
    path
        Path of the PNG file.

    Examples
    --------
    >>> comparison = compare("g1.zarr", "g2.zarr", "out")   # doctest: +SKIP
    >>> compare_figure(comparison, "out/compare.png")       # doctest: +SKIP
    """
    names = [str(name) for name in comparison["set"].values]
    fig = figure(13.0, 1.6 + 0.3 * len(names))
    left, middle, right = fig.subplots(1, 3, sharey=False)
    counted = [f"{name} ({n})" for name, n in zip(names, comparison["columns"].values, strict=True)]
    for axes, metric, label, shown in (
        (left, "roc_auc", "AUC-ROC", counted),
        (middle, "recall", "recall", [""] * len(names)),
    ):
        value, low, high = (comparison[f"{metric}{end}"].values for end in ("", "_low", "_high"))
        draw_bars(
            axes,
            shown,
            value,
            low,
            high,
            base=CHANCE,
            xlabel=f"{label}; diamonds: single models; dotted: guess",
        )
        single = comparison[f"single_{metric}"].values
        axes.plot(single, np.arange(len(single)), "D", ms=5, mfc="white", mec="black")
        low, high = np.minimum(low, single), np.maximum(high, single)
        start = min(CHANCE, float(low.min())) - 0.05
        axes.set_xlim(max(0.0, start), min(1.0, float(high.max()) + 0.03))
    at = np.arange(1, len(names))
    value, low, high = (comparison[f"difference{end}"].values[1:] for end in ("", "_low", "_high"))
    right.errorbar(
        value, at, xerr=error_lengths(value, low, high), fmt="o", ms=4, capsize=2.5, color=BLUE
    )
    right.axvline(0.0, color="0.4", ls=":")
    reference = comparison.attrs["reference"]
    right.set(xlabel=f"AUC minus that of {reference}, paired", ylim=left.get_ylim())
    right.locator_params(axis="x", nbins=5)
    right.set_yticks(at, [""] * len(at))
    about = comparison.attrs
    fig.suptitle(
        f"Trained on {', '.join(about['train'])} ({about['train_plastic']} of "
        f"{about['train_atoms']} atoms plastic), tested on {about['test']} "
        f"({about['test_plastic']} of {about['test_atoms']}); in parentheses: columns",
        fontsize=11,
    )
    return save(fig, path, dpi=DPI)


@style()
def box_figure(comparison: xr.Dataset, path: str | Path) -> Path:
    """Draw the AUC of each set, alone and with its medium range.

    Parameters
    ----------
    comparison
        Result of ``compare_glasses``.
    path
        PNG file to write.

    Returns
    -------
    path
        The path.

    Notes
    -----
    Fig. 5a of Wang, Jain, Nat. Commun. 10, 5537 (2019): a point is the mean AUC of the
    single models on one glass. With one glass, a point is one model.

    Examples
    --------
    >>> comparison = compare_glasses(pair, pair, "out")  # doctest: +SKIP
    >>> box_figure(comparison, "out/boxes.png")          # doctest: +SKIP
    """
    several = comparison.sizes["test"] > 1
    values = {
        str(name): (
            comparison["single_roc_auc"].sel(set=name).values
            if several
            else comparison["model_roc_auc"].isel(test=0).sel(set=name).values
        )
        for name in comparison["set"].values
    }
    places = _box_places(list(values))
    fig = figure(max(7.0, 1.5 + 0.85 * (1 + max(at for at, *_ in places.values()))), 5.0)
    axes = fig.subplots()
    shown: set[str] = set()
    for name, (at, offset, color, text) in places.items():
        draw_box(
            axes,
            at + offset,
            values[name],
            color=color,
            filled=not name.endswith(MRO) or offset == 0.0,
            label=None if text in shown else text,
        )
        shown.add(text)
    ticks = {at: _box_text(name) for name, (at, *_) in reversed(places.items())}
    axes.set_xticks(list(ticks), list(ticks.values()), rotation=40, ha="right", fontsize=9)
    axes.axhline(CHANCE, color="0.4", ls=":")
    about = comparison.attrs
    over = f"{len(about['test'])} glasses" if several else f"single models on {about['test'][0]}"
    axes.set_ylabel("AUC-ROC of single models")
    axes.set_title(
        f"boxes over {over}: 25 to 75 %, dashed median, minimum and maximum", fontsize=10
    )
    fig.legend(loc="outside lower center", ncols=3)
    return save(fig, path, dpi=DPI)


def _box_places(names: Sequence[str]) -> dict[str, tuple[int, float, str, str]]:
    """Return column, offset, color and legend entry; a set shares its MRO's column."""
    places: dict[str, tuple[int, float, str, str]] = {}
    columns: dict[str, int] = {}
    for name in sorted(names, key=lambda one: _box_order(one, names)):
        base = name.removesuffix(MRO) if name.removesuffix(MRO) in names else name
        paired = f"{base}{MRO}" in names and base in names
        at = columns.setdefault(base, len(columns))
        if not paired:
            places[name] = (at, 0.0, GREEN, "other sets")
        elif name == base:
            places[name] = (at, -0.2, BLUE, "set alone")
        else:
            places[name] = (at, 0.2, VERMILION, "set and its medium range")
    return places


def _box_order(name: str, names: Sequence[str]) -> tuple[int, int]:
    base = name.removesuffix(MRO)
    if base in SHORT_RANGE:
        return SHORT_RANGE.index(base), int(name != base)
    first = list(names).index(base) if base in names else list(names).index(name)
    return len(SHORT_RANGE) + first, int(name != base)


def _box_text(name: str) -> str:
    base = name.removesuffix(MRO)
    if base not in SHORT_RANGE:
        return name
    return f"{ROMAN[SHORT_RANGE.index(base)]}  {base.replace('_', ' ')}"


ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii")
"""Numbers of the short-range sets in the paper."""
CATEGORY_TEXT = {
    "same": "i  same C, same QR\nnew glass",
    "other rate": "ii  same C\nother QR",
    "other composition": "iii  other C\nsame QR",
    "other composition and rate": "iv  other C\nother QR",
    "other system": "v  other\nsystem",
    "not labelled": "not labeled",
}
"""Categories as in Fig. 4; C is the composition, QR the quenching rate."""


@renamed_arguments(found="result")
@style()
def transfer_figure(result: xr.Dataset, path: str | Path) -> Path:
    """Draw the AUC by training and test glass, and the change of AUC by category.

    Parameters
    ----------
    result
        Result of ``transfer``.
    path
        PNG file to write.

    Returns
    -------
    path
        The path.

    Notes
    -----
    The right panel is Fig. 4 of Wang, Jain, Nat. Commun. 10, 5537 (2019): AUC of the
    transferred model minus that of a model trained on the target. The first feature set
    is filled; others are not. If no model was trained on a target, the panel shows the
    AUC itself.

    Examples
    --------
    >>> result = transfer(["g1.zarr", "g2.zarr"], "out")  # doctest: +SKIP
    >>> transfer_figure(result, "out/transfer.png")       # doctest: +SKIP
    """
    sets = _by_set(result)
    rows, columns = sets[0][1]["roc_auc"].shape
    wide = 3.0 + 1.2 * columns
    fig = figure(wide + 6.5, max(4.6, len(sets) * (1.8 + 0.6 * rows)))
    left, right = fig.subfigures(1, 2, squeeze=False, width_ratios=(wide, 6.5))[0]
    top = max(0.75, max(float(np.nanmax(one["roc_auc"].values)) for _, one in sets))
    panels = left.subplots(len(sets), 1, squeeze=False)[:, 0]
    for axes, (name, one) in zip(panels, sets, strict=True):
        auc, low, high = (one[f"roc_auc{end}"].values for end in ("", "_low", "_high"))
        image = draw_matrix(
            axes,
            auc,
            list(one["train"].values),
            list(one["test"].values),
            low=low,
            high=high,
            span=(CHANCE, top),
        )
        axes.set(xlabel="tested on", ylabel="trained on", title=name)
        for text in axes.get_xticklabels():
            text.set_horizontalalignment("right" if text.get_rotation() else "center")
        left.colorbar(image, ax=axes, label="AUC-ROC")
    _draw_by_category(right.subplots(), result, sets)
    return save(fig, path, dpi=DPI)


def _by_set(result: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Return the results of each feature set with its name."""
    if "set" not in result.dims:
        return [(str(result.attrs.get("features", "")), result)]
    return [(str(name), result.sel(set=name)) for name in result["set"].values]


def _draw_by_category(
    axes: Axes, result: xr.Dataset, sets: Sequence[tuple[str, xr.Dataset]]
) -> None:
    """Draw a violin per category and feature set, with its mean and interval."""
    relative = bool(np.isfinite(result["difference"].values).any())
    variable = "difference" if relative else "roc_auc"
    tables = [transfer_by_category(one) for _, one in sets]
    names = [str(name) for name in tables[0]["category"].values]
    step = 0.8 / len(sets)
    for s, ((name, one), table) in enumerate(zip(sets, tables, strict=True)):
        color = (BLUE, VERMILION, GREEN, ORANGE)[s % 4]
        for k, category in enumerate(names):
            at = k + (s - (len(sets) - 1) / 2) * step
            values = one[variable].values[one["category"].values == category]
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            draw_violin(axes, at, values, color=color, filled=s == 0, width=0.42 * step)
            mean, low, high = (
                float(table[f"{variable}{end}"].sel(category=category))
                for end in ("", "_low", "_high")
            )
            axes.errorbar(
                at, mean, error_lengths([mean], [low], [high]), fmt="_", ms=14, color="black",
                capsize=3, lw=1.2,
            )  # fmt: skip
        axes.plot([], [], "s", ms=8, color=color, mfc=color if s == 0 else "white", label=name)
    axes.axhline(0.0 if relative else CHANCE, color="0.4", ls=":")
    pairs = tables[0]["compared_pairs" if relative else "pairs"].values
    axes.set_xticks(
        range(len(names)),
        [
            f"{CATEGORY_TEXT[name]}\n{_pair_text(int(n))}"
            for name, n in zip(names, pairs, strict=True)
        ],
        fontsize=8,
    )
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel(
        "AUC(transferred) - AUC(trained on the target)"
        if relative
        else "AUC-ROC (no model was trained on the target)"
    )
    axes.set_title("bars: mean over pairs and 95 % interval", fontsize=9)
    if len(sets) > 1:
        axes.legend(loc="best")


def _pair_text(n: int) -> str:
    return "1 pair" if n == 1 else f"{n} pairs" if n else "no model to compare"


@renamed_arguments(found="growth")
@style()
def growth_figure(growth: xr.Dataset, path: str | Path) -> Path:
    """Draw the AUC against the number of training atoms.

    Parameters
    ----------
    growth
        Result of ``score_growth``.
    path
        PNG file to write.

    Returns
    -------
    path
        The path.

    Examples
    --------
    >>> growth_figure(score_growth([glass], other), "out/growth.png")  # doctest: +SKIP
    """
    fig = figure(7.0, 4.6)
    axes = fig.subplots()
    n, mean = growth["atoms"].values, growth["mean"].values
    auc = growth["roc_auc"].values
    axes.plot(n, auc[:, 0], "o", ms=4, color=SKY_BLUE, label="random subsets")
    axes.plot(n, auc[:, 1:], "o", ms=4, color=SKY_BLUE)
    draw_points(
        axes,
        n,
        mean,
        error_lengths(mean, growth["mean_low"].values, growth["mean_high"].values),
        color=BLUE,
        line=True,
        marker="s",
        label="mean of the subsets, 95 % over regions of the test glass",
    )
    axes.set(
        xscale="log",
        xlabel="training atoms (of which plastic)",
        ylabel=f"AUC-ROC on {growth.attrs['test']}",
        title=f"Trained on {', '.join(growth.attrs['train'])}, {growth.attrs['columns']} columns",
    )
    axes.set_xticks(
        n,
        [f"{size}\n({k})" for size, k in zip(n, growth["plastic"].values, strict=True)],
        fontsize=8,
    )
    axes.minorticks_off()
    axes.legend()
    return save(fig, path, dpi=DPI)
