"""Distributions: histograms, and split violins of two classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.plot.style import DARK_GREY, LIGHT_GREY, legend_below

if TYPE_CHECKING:
    from mgdask.plot.style import Axes, ScalarMappable


def draw_density(axes: Axes, middle: npt.ArrayLike, density: npt.ArrayLike) -> None:
    """Draw a histogram as a filled outline.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    middle
        Middle of each bin (bin,).
    density
        Height of each bin (bin,).

    Examples
    --------
    >>> draw_density(axes, [0.25, 0.75], [1.5, 0.5])  # doctest: +SKIP
    """
    axes.fill_between(middle, density, step="mid", color=LIGHT_GREY, lw=0)
    axes.step(middle, density, where="mid", color=DARK_GREY)


def draw_column_histograms(
    axes: Axes, x: npt.ArrayLike, edges: npt.ArrayLike, share: npt.ArrayLike, *, cmap: str = "Greys"
) -> ScalarMappable:
    """Draw one histogram per abscissa as a column of shaded cells.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    x
        Increasing abscissas (column,). Cells extend halfway to the next one.
    edges
        Edges of the bins (bin + 1,) along y.
    share
        Share of each column in each bin (column, bin). Columns of NaN stay empty.
    cmap
        Name of a matplotlib colormap.

    Returns
    -------
    mappable
        Mappable for a color bar.

    Examples
    --------
    >>> draw_column_histograms(axes, strain, edges, share)  # doctest: +SKIP
    """
    values = np.ma.masked_invalid(np.asarray(share, dtype=np.float64).T)
    sides = cell_sides(x)
    return axes.pcolormesh(sides, np.asarray(edges), values, cmap=cmap, vmin=0.0, shading="flat")


def cell_sides(x: npt.ArrayLike) -> FloatArray:
    """Return the edges of cells around increasing points, halfway between neighbors.

    Parameters
    ----------
    x
        Increasing points (point,).

    Returns
    -------
    sides
        Edges (point + 1,). The outermost cells are symmetric.

    Examples
    --------
    >>> cell_sides([1.0, 2.0, 4.0]).tolist()
    [0.5, 1.5, 3.0, 5.0]
    """
    points = np.asarray(x, dtype=np.float64)
    if len(points) == 1:
        return np.array([points[0] - 0.5, points[0] + 0.5])
    middle = 0.5 * (points[1:] + points[:-1])
    first, last = 2 * points[0] - middle[0], 2 * points[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])


@dataclass(frozen=True)
class HalfViolin:
    """Density of one class, and its quartiles.

    Parameters
    ----------
    density
        Density at the points of the common grid (point,).
    quartiles
        First quartile, median and third quartile.
    """

    density: FloatArray
    quartiles: Sequence[float]


def draw_half_violins(
    axes: Axes,
    names: Sequence[str],
    grids: Sequence[npt.ArrayLike],
    pairs: Sequence[tuple[HalfViolin, HalfViolin]],
    classes: Mapping[str, str],
) -> None:
    """Draw violins whose right half is one class and whose left half is another.

    Both halves of a violin share one scale. A line along each half spans the quartiles,
    and a line across marks the median.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    names
        Name of each violin.
    grids
        Values (point,) at which the densities of each violin are known.
    pairs
        Right and left half of each violin.
    classes
        Colors of the right and left classes by their names in the legend.

    Examples
    --------
    >>> classes = {"plastic": "red", "other": "blue"}               # doctest: +SKIP
    >>> draw_half_violins(axes, ["area"], [grid], [pair], classes)  # doctest: +SKIP
    """
    for k, (grid, pair) in enumerate(zip(grids, pairs, strict=True)):
        largest = max((float(np.nanmax(half.density, initial=0.0)) for half in pair), default=0.0)
        scale = 0.44 / (largest or 1.0)
        for half, (label, color), side in zip(pair, classes.items(), (1.0, -1.0), strict=True):
            axes.fill_betweenx(
                grid,
                k,
                k + side * scale * half.density,
                color=color,
                alpha=0.75,
                lw=0,
                label=label if k == 0 else None,
            )
            first, median, third = half.quartiles
            axes.plot([k + side * 0.05] * 2, [first, third], color="black", lw=1.5)
            axes.plot([k, k + side * 0.3], [median] * 2, color="black", lw=2.5)
    axes.set_xticks(range(len(names)), names, fontsize=9)
    axes.set_xlim(-0.6, len(names) - 0.4)
    legend_below(axes, lines=max((name.count("\n") + 1 for name in names), default=1))
