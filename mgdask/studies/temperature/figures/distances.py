"""Figure of the partial g(r) and its cutoffs: Supplementary Fig. 4."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask.plot.style import BLUE, LIGHT_GREY, VERMILION, figure, save, style

if TYPE_CHECKING:
    from mgdask.studies.temperature.views import PairDistances

N_COLUMNS = 5


@style()
def draw_pair_distances(distances: PairDistances, path: Path) -> None:
    """Draw the partial radial distribution functions, with the first troughs as lines.

    This is Supplementary Fig. 4 of Liu X. et al. (2022).

    Parameters
    ----------
    distances
        Partial g(r) and cutoffs.
    path
        PNG file to write.

    Examples
    --------
    >>> draw_pair_distances(distances, "rdf.png")  # doctest: +SKIP
    """
    n = len(distances.g)
    n_columns = min(N_COLUMNS, n)
    n_rows = -(-n // n_columns)
    fig = figure(2.15 * n_columns + 0.5, 1.75 * n_rows + 0.6)
    panels = fig.subplots(n_rows, n_columns, squeeze=False, sharex=True).ravel()
    for axes, (pair, g) in zip(panels, distances.g.items(), strict=False):
        axes.plot(distances.r, g, color=BLUE, lw=1.2)
        axes.axhline(1.0, color=LIGHT_GREY, lw=0.7, zorder=0)
        cutoff = distances.cutoff.get(pair, np.nan)
        if np.isfinite(cutoff):
            axes.axvline(cutoff, color=VERMILION, lw=1.2, ls="--")
            axes.set_title(f"{pair}, {cutoff:.2f} Å", fontsize=9)
        else:
            axes.set_title(pair, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.set_ylim(bottom=0.0)
    for axes in panels[n:]:
        axes.set_visible(False)
    fig.supxlabel("distance r (Å)", fontsize=10)
    fig.supylabel("partial g(r)", fontsize=10)
    save(fig, path)
