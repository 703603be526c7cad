"""Figures of T_ML and D2min: Fig. 3 of Liu X. et al. (2022)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from mgdask.plot.intervals import error_lengths
from mgdask.plot.slab import draw_slab
from mgdask.plot.style import DARK_GREY, LIGHT_GREY, figure, letter_panels, save, style
from mgdask.studies.temperature.figures.looks import PAPER_PEARSON, form_look, form_text, lag_text

if TYPE_CHECKING:
    from mgdask._typing import FloatArray
    from mgdask.plot.style import Axes, Figure
    from mgdask.studies.temperature.views import LagCorrelation, SlabMap

CMAP = "inferno"
"""Dark to bright, with even steps of lightness."""
MAX_MAPS = 4
"""Number of maps of D2min, shown with that of T_ML."""


@style()
def draw_maps(one: SlabMap, path: Path) -> None:
    """Draw a slab colored by T_ML, and by D2min at several lags.

    These are Figs. 3A to 3E of Liu X. et al. (2022).

    Parameters
    ----------
    one
        Atoms with their T_ML and D2min.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_maps(slab_map, "maps.png")  # doctest: +SKIP
    """
    lags = one.lag[:MAX_MAPS]
    n = 1 + len(lags)
    n_columns = 3 if n > 2 else n
    n_rows = -(-n // n_columns)
    fig = figure(3.75 * n_columns, 4.0 * n_rows + 0.4)
    panels = fig.subplots(n_rows, n_columns, squeeze=False).ravel()
    _draw_map(fig, panels[0], one, one.t_ml, "$T_{ML}$ (K)", "machine-learned temperature")
    for axes, lag, d2min in zip(panels[1:], lags, one.d2min, strict=False):
        title = f"$D^2_{{min}}$ over {lag_text(lag)}"
        _draw_map(fig, axes, one, d2min, "$D^2_{min}$ (Å²)", title)
    for axes in panels[n:]:
        axes.set_visible(False)
    fig.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=9
    )
    letter_panels(panels[:n])
    save(fig, path)


def _draw_map(
    fig: Figure, axes: Axes, one: SlabMap, values: FloatArray, label: str, title: str
) -> None:
    array = xr.DataArray(values, dims="atom", coords={"atom_id": ("atom", one.atom_id)})
    mappable = draw_slab(axes, one.frame, array, slab=one.slab, cmap=CMAP)
    legend = axes.get_legend()
    if legend is not None:
        legend.remove()  # one legend for all maps is below
    axes.set_title(title, fontsize=10)
    fig.colorbar(
        mappable, ax=axes, label=label, orientation="horizontal", shrink=0.8, aspect=25, pad=0.02
    )


@style()
def draw_lag_correlations(curves: Sequence[LagCorrelation], path: Path) -> None:
    """Draw the Pearson correlation of T_ML with D2min against lag.

    This is Fig. 3F of Liu X. et al. (2022), with intervals and both forms of the
    feature.

    Parameters
    ----------
    curves
        Correlations of each trajectory in each form.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_lag_correlations(curves, "correlation.png")  # doctest: +SKIP
    """
    fig = figure(7.8, 4.9)
    axes = fig.subplots()
    # the solid line is that of the trajectory, and the control is dashed
    names = sorted(dict.fromkeys(one.name for one in curves), key=lambda name: "control" in name)
    lines = ("-", "--", ":", "-.")
    forms = list(dict.fromkeys(one.form for one in curves))
    for one in curves:
        look, k = form_look(one.form), names.index(one.name)
        # the forms have the same lags; a small factor keeps their bars apart
        x = one.lag * 1.03 ** (forms.index(one.form) - 0.5 * (len(forms) - 1))
        text = form_text(one.form) if len(names) == 1 else f"{one.name}, {form_text(one.form)}"
        axes.errorbar(
            x,
            one.value,
            np.nan_to_num(error_lengths(one.value, one.low, one.high)),
            fmt=look.marker,
            ls=lines[k % len(lines)],
            color=look.color,
            mfc=look.color if look.filled else "white",
            ms=6,
            capsize=2.5,
            label=text,
        )
    longest = max(float(one.lag.max()) for one in curves)
    for value, ls in zip(PAPER_PEARSON, (":", "--"), strict=True):
        axes.axhline(value, color=DARK_GREY, lw=1.0, ls=ls, label=f"paper, {value:g}", zorder=0)
    axes.axhline(0.0, color=LIGHT_GREY, lw=0.8, zorder=0)
    axes.set(
        xlabel="lag of $D^2_{min}$ (ps)",
        ylabel="Pearson correlation of $T_{ML}$\nwith $D^2_{min}$, 95 %",
        xlim=(0.0, 1.05 * longest),
    )
    fig.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    save(fig, path)
