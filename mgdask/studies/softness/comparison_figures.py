"""Figures of the studies that hold scores against each other: feature sets, glasses, numbers of training atoms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mgdask.studies.softness.transfer import transfer_by_category

CHANCE = 0.5


def _figure(size: tuple[float, float]) -> Any:
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _bars(axes: Any, found: xr.Dataset, name: str, at: Any, *, dim: str) -> None:
    """Horizontal bars, from what a guess has, with the ends of the intervals; the first entry is on top and darker."""
    value = found[name].values
    ends = np.abs(np.stack([found[f"{name}_low"].values, found[f"{name}_high"].values]) - value)
    colour = ["tab:blue" if k == 0 else "lightsteelblue" for k in range(len(value))]
    axes.barh(
        at,
        value - CHANCE,
        left=CHANCE,
        xerr=ends,
        color=colour,
        error_kw={"lw": 1.2, "capsize": 2.5},
    )
    axes.set_yticks(at, [str(one) for one in found[dim].values])
    axes.invert_yaxis()


def compare_figure(found: xr.Dataset, path: str | Path) -> Path:
    """Bar chart of a ``compare``: AUC and recall of each set, and the AUC less that of the first, with 95 % intervals; returns the path.

    >>> compare_figure(compare("g1.zarr", "g2.zarr", "out"), "out/compare.png")  # doctest: +SKIP
    """
    at = np.arange(found.sizes["set"])
    figure = _figure((13.0, 1.6 + 0.3 * len(at)))
    left, middle, right = figure.subplots(1, 3, sharey=False)
    for axes, name, label in ((left, "roc_auc", "AUC-ROC"), (middle, "recall", "recall")):
        _bars(axes, found, name, at, dim="set")
        axes.axvline(CHANCE, color="0.4", ls=":")
        axes.set_xlabel(f"{label}; dotted: a guess")
        low = min(CHANCE, float(found[f"{name}_low"].min()))
        axes.set_xlim(max(0.0, low - 0.05), min(1.0, float(found[f"{name}_high"].max()) + 0.03))
    left.set_yticks(
        at,
        [
            f"{one} ({n})"
            for one, n in zip(found["set"].values, found["columns"].values, strict=True)
        ],
    )
    value = found["difference"].values[1:]
    ends = np.abs(
        np.stack([found[f"difference_{end}"].values[1:] for end in ("low", "high")]) - value
    )
    right.errorbar(value, at[1:], xerr=ends, fmt="o", ms=4, capsize=2.5)
    right.axvline(0.0, color="0.4", ls=":")
    right.set(xlabel=f"AUC less that of {found.attrs['reference']}, paired", ylim=left.get_ylim())
    right.locator_params(axis="x", nbins=5)
    for axes in (middle, right):
        axes.set_yticks(at, [])
    trained = ", ".join(found.attrs["train"])
    figure.suptitle(
        f"Trained on {trained} ({found.attrs['train_plastic']} of {found.attrs['train_atoms']} atoms plastic), tested on {found.attrs['test']} "
        f"({found.attrs['test_plastic']} of {found.attrs['test_atoms']}); columns in brackets",
        fontsize=11,
    )
    figure.savefig(path, dpi=110)
    return Path(path)


def transfer_figure(found: xr.Dataset, path: str | Path) -> Path:
    """Heat map of a ``transfer``, AUC by training and test glass, and beside it every pair with the mean by category; returns the path.

    >>> transfer_figure(transfer(["g1.zarr", "g2.zarr"], "out"), "out/transfer.png")  # doctest: +SKIP
    """
    auc, kind = found["roc_auc"].values, found["category"].values
    rows, columns = auc.shape
    figure = _figure((7.0 + 0.8 * columns, max(3.6, 1.8 + 0.6 * rows)))
    left, right = figure.subplots(1, 2)
    drawn = left.imshow(
        auc, cmap="viridis", vmin=CHANCE, vmax=max(0.75, float(np.nanmax(auc))), aspect="auto"
    )
    left.set_facecolor("0.9")
    for i, k in zip(*np.nonzero(np.isfinite(auc)), strict=True):
        text = f"{auc[i, k]:.3f}\n[{found['roc_auc_low'].values[i, k]:.3f}, {found['roc_auc_high'].values[i, k]:.3f}]"
        low = drawn.norm(auc[i, k]) < 0.6
        left.text(
            k, i, text, ha="center", va="center", fontsize=8, color="white" if low else "black"
        )
    left.set_xticks(range(columns), found["test"].values, rotation=30 if columns > 4 else 0)
    left.set_yticks(range(rows), found["train"].values)
    left.set(xlabel="tested on", ylabel="trained on")
    figure.colorbar(drawn, ax=left, label="AUC-ROC")
    mean = transfer_by_category(found)
    for k, name in enumerate(mean["category"].values):
        pairs = np.flatnonzero((kind == name).ravel())
        value = auc.ravel()[pairs]
        ends = [
            np.abs(found[f"roc_auc_{end}"].values.ravel()[pairs] - value) for end in ("low", "high")
        ]
        # side by side in the order of the matrix, so that pictures of the same numbers are the same
        aside = k + (np.linspace(-0.25, 0.25, len(pairs)) if len(pairs) > 1 else np.zeros(1))
        right.errorbar(aside, value, ends, fmt="o", ms=4, capsize=2, color="lightsteelblue")
        right.plot([k - 0.35, k + 0.35], [float(mean["roc_auc"][k])] * 2, color="tab:blue", lw=2)
    right.axhline(CHANCE, color="0.4", ls=":")
    labels = [
        f"{name}\n({int(n)} pairs)"
        for name, n in zip(mean["category"].values, mean["pairs"].values, strict=True)
    ]
    right.set_xticks(range(len(labels)), labels)
    right.set(ylabel="AUC-ROC; bar: mean, dotted: a guess", xlim=(-0.6, len(labels) - 0.4))
    figure.savefig(path, dpi=110)
    return Path(path)


def growth_figure(found: xr.Dataset, path: str | Path) -> Path:
    """AUC of a ``score_growth`` against the number of training atoms: every part, and the mean of them with its 95 % interval; returns the path.

    >>> growth_figure(score_growth([one], other), "out/growth.png")  # doctest: +SKIP
    """
    figure = _figure((7.0, 4.6))
    axes = figure.subplots()
    n, mean = found["atoms"].values, found["mean"].values
    for k in range(found.sizes["subset"]):
        axes.plot(
            n,
            found["roc_auc"].values[:, k],
            "o",
            ms=4,
            color="lightsteelblue",
            label="random parts" if k == 0 else None,
        )
    ends = [np.abs(found[f"mean_{end}"].values - mean) for end in ("low", "high")]
    axes.errorbar(
        n,
        mean,
        ends,
        fmt="s-",
        ms=5,
        capsize=3,
        color="tab:blue",
        label="mean of the parts, 95 % over regions of the test glass",
    )
    axes.set(
        xscale="log",
        xlabel="training atoms (of which plastic)",
        ylabel=f"AUC-ROC on {found.attrs['test']}",
    )
    axes.set_xticks(
        n,
        [f"{one}\n({plastic})" for one, plastic in zip(n, found["plastic"].values, strict=True)],
        fontsize=8,
    )
    axes.minorticks_off()
    axes.legend()
    axes.set_title(
        f"Trained on {', '.join(found.attrs['train'])}, {found.attrs['columns']} columns"
    )
    figure.savefig(path, dpi=110)
    return Path(path)
