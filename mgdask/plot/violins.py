"""Violins of many values: densities of groups side by side, with their quartiles."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import FloatArray
from mgdask.plot.style import CYCLE

if TYPE_CHECKING:
    from mgdask.plot.style import Axes

TAIL = 0.005
"""Share of the values beyond either end of a violin."""
CELLS = (512, 20_000)
"""Least and largest number of bins of the histogram that is smoothed."""
POINTS = 201
"""Points of the outline of a violin: even ones, and as many even quantiles."""


def smooth_density(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a Gaussian kernel density of many values, and where it is known.

    Parameters
    ----------
    values
        Finite values (value,), not all equal.

    Returns
    -------
    grid
        Points between the quantiles 0.005 and 0.995.
    density
        Density at the points.

    Notes
    -----
    The bandwidth is 0.9 min(s, IQR / 1.34) n^(-1/5), with the standard deviation s and
    the interquartile range IQR. It is s alone if the quartiles are equal. Values are
    first counted in bins, so the cost does not grow with their number.

    References
    ----------
    Silverman, Density Estimation for Statistics and Data Analysis (1986), Eq. (3.31).

    Examples
    --------
    >>> grid, density = smooth_density(np.random.default_rng(0).normal(size=10000))
    >>> bool(abs(density.max() - 0.3989) < 0.02)
    True
    """
    low, first, third, high = np.quantile(values, [TAIL, 0.25, 0.75, 1.0 - TAIL])
    spread = float(values.std())
    width = min(spread, (third - first) / 1.34) if third > first else spread
    bandwidth = 0.9 * width * len(values) ** -0.2
    if high <= low:  # nearly all values are equal
        low, high = float(values.min()), float(values.max())
    reach = 4.0 * bandwidth
    cells = int(np.clip(8.0 * (high - low + 2.0 * reach) / bandwidth, *CELLS))
    edges = np.linspace(low - reach, high + reach, cells + 1)
    count, _ = np.histogram(values, edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    # quantiles, so that a long tail leaves enough points to the bulk
    inner = np.quantile(values, np.linspace(TAIL, 1.0 - TAIL, POINTS))
    even = np.linspace(low, high, POINTS)
    grid: FloatArray = np.unique(np.concatenate([even, np.clip(inner, low, high)]))
    kernel = np.exp(-0.5 * ((grid[:, None] - middle) / bandwidth) ** 2)
    density: FloatArray = kernel @ count / (len(values) * bandwidth * np.sqrt(2.0 * np.pi))
    return grid, density


def draw_violins(axes: Axes, groups: Mapping[str, FloatArray]) -> None:
    """Draw a violin for each group, with its quartiles and its number of values.

    All violins have the same width. The bar spans the quartiles, and the white dot is
    the median.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    groups
        Finite values by the name of their group. A group of equal values is a line.

    Examples
    --------
    >>> draw_violins(axes, {"Cu": q6[copper], "Zr": q6[~copper]})  # doctest: +SKIP
    """
    for k, (color, values) in enumerate(zip(cycle(CYCLE), groups.values(), strict=False)):
        if not len(values):
            continue
        first, median, third = np.quantile(values, [0.25, 0.5, 0.75])
        if values.min() < values.max():
            grid, density = smooth_density(values)
            half = 0.42 * density / density.max()
            axes.fill_betweenx(grid, k - half, k + half, facecolor=color, alpha=0.55, lw=0)
            axes.plot(k - half, grid, color=color, lw=1.0)
            axes.plot(k + half, grid, color=color, lw=1.0)
        else:
            axes.plot([k - 0.3, k + 0.3], [median, median], color=color, lw=1.5)
        axes.plot([k, k], [first, third], color="black", lw=4.0, solid_capstyle="butt")
        axes.plot([k], [median], "o", ms=5, mfc="white", mec="black")
    names = [f"{name}\n({len(values):,})" for name, values in groups.items()]
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
