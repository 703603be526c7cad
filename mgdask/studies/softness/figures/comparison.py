"""Figures that compare scores by feature set, glass, or number of training atoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask.plot.intervals import draw_bars, draw_categories, draw_points, error_lengths
from mgdask.plot.maps import draw_matrix
from mgdask.plot.style import BLUE, SKY_BLUE, figure, save, style
from mgdask.studies.softness.transfer import transfer_by_category

CHANCE = 0.5
"""AUC and recall of a random guess."""
DPI = 110.0


@renamed_arguments(found="comparison")
@style()
def compare_figure(comparison: xr.Dataset, path: str | Path) -> Path:
    """Draw AUC and recall of each feature set, and the difference of the AUC.

    Parameters
    ----------
    comparison
        Result of ``compare``.
    path
        PNG file to write.

    Returns
    -------
    path
        The path.

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
            axes, shown, value, low, high, base=CHANCE, xlabel=f"{label}; dotted: random guess"
        )
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


@renamed_arguments(found="result")
@style()
def transfer_figure(result: xr.Dataset, path: str | Path) -> Path:
    """Draw the AUC by training and test glass, and every pair by category.

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

    Examples
    --------
    >>> result = transfer(["g1.zarr", "g2.zarr"], "out")  # doctest: +SKIP
    >>> transfer_figure(result, "out/transfer.png")       # doctest: +SKIP
    """
    auc, low, high = (result[f"roc_auc{end}"].values for end in ("", "_low", "_high"))
    rows, columns = auc.shape
    fig = figure(7.0 + 0.8 * columns, max(3.6, 1.8 + 0.6 * rows))
    left, right = fig.subplots(1, 2)
    image = draw_matrix(
        left,
        auc,
        list(result["train"].values),
        list(result["test"].values),
        low=low,
        high=high,
        span=(CHANCE, max(0.75, float(np.nanmax(auc)))),
    )
    left.set(xlabel="tested on", ylabel="trained on")
    fig.colorbar(image, ax=left, label="AUC-ROC")
    mean = transfer_by_category(result)
    pairs = [result["category"].values == name for name in mean["category"].values]
    draw_categories(
        right,
        [
            f"{name}\n({int(n)} pairs)"
            for name, n in zip(mean["category"].values, mean["pairs"].values, strict=True)
        ],
        [auc[pair] for pair in pairs],
        [error_lengths(auc[pair], low[pair], high[pair]) for pair in pairs],
        [float(value) for value in mean["roc_auc"].values],
    )
    right.axhline(CHANCE, color="0.4", ls=":")
    right.set(ylabel="AUC-ROC; bar: mean, dotted: random guess")
    return save(fig, path, dpi=DPI)


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
