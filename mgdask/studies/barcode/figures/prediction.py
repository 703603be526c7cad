"""Figures of predicted energies: Figs. 2 and A3 of Liu et al. (2023), and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.plot.barcodes import draw_barcode
from mgdask.plot.curves import use_plain_log_ticks
from mgdask.plot.intervals import draw_rows
from mgdask.plot.parity import draw_diagonal, draw_error_density, draw_parity
from mgdask.plot.style import (
    DARK_GREY,
    GREEN,
    LIGHT_GREY,
    SKY_BLUE,
    figure,
    letter_panels,
    pale,
    save,
    style,
)
from mgdask.studies.barcode.figures.looks import (
    GROUPS,
    LOOKS,
    PAPER_ATOMS,
    PAPER_RMSE,
    per_atom,
    role,
)

if TYPE_CHECKING:
    from mgdask.plot.style import Axes, Figure, SubplotSpec
    from mgdask.studies.barcode.report_data import Predicted

MAX_BINS = 25
"""Maximum number of bins of a distribution of errors; few samples have fewer."""
MAX_SETS = 2
"""Sets of samples in one panel of errors: those of two sizes."""
SET_NAMES = {
    "train": "training samples",
    "test": "held-out coolings",
    "test_size": "samples of another size",
    "driven": "sheared samples",
}
"""Sets of samples in words."""


@style()
def draw_prediction(
    predicted: Sequence[Predicted],
    other_size: Sequence[Predicted],
    barcodes: Sequence[Mapping[str, Any]],
    groups: FloatArray,
    path: Path,
) -> None:
    """Draw predicted against true energies, and the barcodes of a few samples.

    The panels follow Fig. 2 of Liu et al. (2023). (a) Predictions of the trees on the
    leading ULEs, of the best baseline, and of the best other model. The inset has
    samples of another size. (b) Barcodes of the samples of the lowest, the median and
    the highest energy.

    Parameters
    ----------
    predicted
        Predictions of each model for the same test samples.
    other_size
        The same models for samples of another size. Empty: no inset.
    barcodes
        Samples with ``energy`` (eV), ``name`` and ``values`` (element,), from the
        lowest to the highest energy. Empty: no panel (b).
    groups
        Group of each element (element,), 1 or 2.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_prediction(predicted, [], [], groups, "prediction.png")  # doctest: +SKIP
    """
    fig = figure(11.0, 6.2) if len(barcodes) else figure(6.8, 6.4)
    grid = fig.add_gridspec(1, 2, width_ratios=(1.3, 1.0)) if len(barcodes) else None
    axes = fig.add_subplot(grid[0, 0] if grid is not None else fig.add_gridspec(1, 1)[0, 0])
    _draw_energies(axes, predicted)
    axes.set(
        xlabel="inherent-structure energy (eV per sample)",
        ylabel="predicted energy (eV per sample)",
        title=f"{len(predicted[0].energy)} samples of {SET_NAMES[predicted[0].set]}",
    )
    axes.legend(loc="upper left", fontsize=9, handletextpad=0.2)
    if other_size:
        inset = axes.inset_axes((0.6, 0.08, 0.38, 0.38))
        _draw_energies(inset, other_size, size=3.0)
        inset.set_title(f"{_atoms(other_size[0])} atoms", fontsize=9)
        inset.tick_params(labelsize=7)
        inset.locator_params(nbins=3)
    if grid is None:
        letter_panels([axes])
    else:
        letter_panels([axes, *_draw_barcodes(fig, grid[0, 1], barcodes, groups)[:1]])
    save(fig, path)


def _draw_energies(axes: Axes, predicted: Sequence[Predicted], *, size: float = 5.0) -> None:
    for one, (color, marker, filled) in zip(predicted, _distinct(predicted), strict=True):
        draw_parity(
            axes,
            one.energy,
            one.predicted,
            color=color,
            marker=marker,
            filled=filled,
            size=size,
            label=f"{one.model}: {one.rmse:.2f} eV",
        )
    draw_diagonal(axes, *(one.energy for one in predicted), *(one.predicted for one in predicted))


def _distinct(predicted: Sequence[Predicted]) -> list[tuple[str, str, bool]]:
    """Return the looks of models; a second model of the same role gets another look."""
    seen: dict[str, int] = {}
    looks: list[tuple[str, str, bool]] = []
    for one in predicted:
        kind = role(one.model)
        seen[kind] = seen.get(kind, 0) + 1
        look = LOOKS[kind]
        spare = (GREEN if kind == "ours" else SKY_BLUE, "^", look.filled)
        looks.append((look.color, look.marker, look.filled) if seen[kind] == 1 else spare)
    return looks


def _atoms(predicted: Predicted) -> str:
    sizes = np.unique(predicted.n_atoms)
    return f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _draw_barcodes(
    fig: Figure, spec: SubplotSpec, barcodes: Sequence[Mapping[str, Any]], groups: FloatArray
) -> list[Axes]:
    panels: list[Axes] = []
    grid = spec.subgridspec(len(barcodes), 1)
    top = 1.15 * max(float(np.max(one["values"])) for one in barcodes) or 1.0
    for k, one in enumerate(barcodes):
        axes = fig.add_subplot(grid[k, 0])
        draw_barcode(axes, one["values"], np.asarray(groups) - 1, GROUPS, labeled=k == 0)
        axes.set(ylim=(0, top), ylabel="fraction $s_i$")
        text = f"{one['energy']:.1f} eV, {one['name']}".replace("-", "−")
        axes.set_title(text, fontsize=9, loc="right")
        axes.tick_params(labelsize=8)
        panels.append(axes)
    panels[-1].set_xlabel("element $i$")
    fig.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=9
    )
    return panels


@style()
def draw_errors(sets: Sequence[Sequence[Predicted]], path: Path) -> None:
    """Draw the distribution of the errors of several models, for samples of each size.

    This is Fig. A3 of Liu et al. (2023), with baselines beside the trees. Thin curves
    are normal distributions of the same mean and standard deviation.

    Parameters
    ----------
    sets
        Predictions of the same models in the same order, one sequence for each set of
        samples.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_errors([tested, tested_larger], "errors.png")  # doctest: +SKIP
    """
    n = len(sets[0])
    columns = 2 if n > 1 else 1
    rows = -(-n // columns)
    fig = figure(5.0 * columns, 3.1 * rows + 0.5)
    panels = fig.subplots(rows, columns, squeeze=False).ravel()
    for k, axes in enumerate(panels):
        if k >= n:
            axes.set_visible(False)
            continue
        errors = [one[k].errors for one in sets[:MAX_SETS]]
        reach = max(float(np.abs(error).max()) for error in errors) or 1.0
        bins = min(MAX_BINS, max(5, round(2 * len(errors[0]) ** 0.5)))
        edges = np.linspace(-1.02 * reach, 1.02 * reach, bins + 1)
        for first, one, error in zip((True, False), sets, errors, strict=False):
            draw_error_density(
                axes,
                error,
                edges,
                color=LOOKS[role(one[k].model)].color if first else DARK_GREY,
                line="-" if first else "--",
                filled=first,
                normal=True,
                label=f"{_atoms(one[k])} atoms, {len(error)} samples",
            )
        axes.axvline(0.0, color=LIGHT_GREY, lw=0.8, zorder=0)
        axes.set_title(sets[0][k].model)
        axes.set(xlabel="predicted minus true energy (eV per sample)", ylabel="density (1/eV)")
    if len(sets) > 1:
        fig.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=MAX_SETS
        )
    letter_panels(panels[:n])
    save(fig, path)


@style()
def draw_scores(scores: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the error and R² of every model, with the paper's errors as lines.

    Parameters
    ----------
    scores
        One mapping per model and set of samples, with ``model``, ``set``,
        ``rmse_per_atom`` (``value``, ``low``, ``high`` in meV) and ``r2``.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_scores(scores, "scores.png")  # doctest: +SKIP
    """
    models = list(dict.fromkeys(str(one["model"]) for one in scores))
    sets = list(dict.fromkeys(str(one["set"]) for one in scores))
    found = {(one["model"], one["set"]): one for one in scores}
    fig = figure(11.0, 1.9 + 0.42 * len(models) * (1 + 0.25 * (len(sets) - 1)))
    left, right = fig.subplots(1, 2, sharey=True, width_ratios=(1.6, 1.0))
    for axes, name in ((left, "rmse_per_atom"), (right, "r2")):
        for k, which in enumerate(sets):
            offset = 0.26 * (k - 0.5 * (len(sets) - 1))
            ends = [_ends(found.get((model, which)), name) for model in models]
            looks = [LOOKS[role(model)] for model in models]
            draw_rows(
                axes,
                models,
                *np.array(ends).T,
                colors=[look.color if k == 0 else pale(look.color) for look in looks],
                markers=["osD^v"[k % 5]] * len(models),
                offset=offset,
                digits=3 if len(sets) == 1 and name == "rmse_per_atom" else None,
            )
            if len(sets) > 1:
                axes.plot([], [], "osD^v"[k % 5], color=DARK_GREY, label=SET_NAMES[which])
    left.set_xscale("log")
    use_plain_log_ticks(left.xaxis)
    for (name, value), line in zip(PAPER_RMSE.items(), ("--", ":"), strict=True):
        left.axvline(
            per_atom(value, PAPER_ATOMS), color="black", lw=1.0, ls=line, label=f"paper, {name}"
        )
    left.set_xlabel("RMSE (meV per atom), 95 % over runs")
    right.set_xlabel("R², 95 % over runs")
    right.axvline(1.0, color=LIGHT_GREY, lw=0.8, zorder=0)
    lowest = min((end for one in scores for end in _ends(one, "r2") if np.isfinite(end)), default=0)
    right.set_xlim(max(-1.0, lowest - 0.05), 1.04)
    fig.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(sets) + 2)
    )
    letter_panels((left, right))
    save(fig, path)


def _ends(score: Mapping[str, Any] | None, name: str) -> tuple[float, float, float]:
    if score is None or score.get(name) is None:
        return np.nan, np.nan, np.nan
    value, low, high = (score[name].get(end) for end in ("value", "low", "high"))
    return tuple(np.nan if end is None else float(end) for end in (value, low, high))  # type: ignore[return-value]
