"""Predicted against true values, and the distribution of their differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mgdask.plot.style import Axes

MANY_POINTS = 500
"""Number of points above which markers are small and translucent."""


def draw_parity(
    axes: Axes,
    actual: npt.ArrayLike,
    predicted: npt.ArrayLike,
    *,
    color: str,
    marker: str = "o",
    filled: bool = True,
    size: float = 5.0,
    label: str | None = None,
) -> None:
    """Draw predicted against true values as points.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    actual, predicted
        Values, each (sample,).
    color
        Color of the markers.
    marker
        matplotlib marker.
    filled
        Whether markers are filled. Otherwise they are outlines on white.
    size
        Size of a marker in points. Above 500 samples, it is halved.
    label
        Legend entry.

    Examples
    --------
    >>> draw_parity(axes, [1.0, 2.0], [1.1, 1.9], color="blue")  # doctest: +SKIP
    """
    x = np.asarray(actual, dtype=np.float64)
    many = len(x) > MANY_POINTS
    axes.plot(
        x,
        predicted,
        marker,
        ms=0.5 * size if many else size,
        mfc=color if filled else "white",
        mec=color,
        mew=0.8,
        alpha=0.5 if many else 0.85,
        label=label,
        rasterized=many,
    )


def draw_diagonal(axes: Axes, *values: npt.ArrayLike, margin: float = 0.05) -> None:
    """Draw the line of equal values, and make both axes span all values.

    Parameters
    ----------
    axes
        matplotlib axes to draw on. Both axes get the same limits.
    *values
        Arrays of values of either axis. NaN is ignored.
    margin
        Free space at both ends, as a fraction of the range.

    Examples
    --------
    >>> draw_diagonal(axes, actual, predicted)  # doctest: +SKIP
    """
    every = np.concatenate([np.ravel(np.asarray(one, dtype=np.float64)) for one in values])
    every = every[np.isfinite(every)]
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    space = margin * (high - low) or 0.5
    ends = (low - space, high + space)
    axes.plot(ends, ends, color="black", lw=0.9, ls=":", zorder=0)
    axes.set(xlim=ends, ylim=ends, aspect="equal")


def draw_error_density(
    axes: Axes,
    errors: npt.ArrayLike,
    edges: npt.ArrayLike,
    *,
    color: str,
    line: str = "-",
    filled: bool = False,
    normal: bool = False,
    label: str | None = None,
) -> None:
    """Draw the probability density of errors as a histogram.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    errors
        Errors (sample,). Those outside the edges are counted in the first and last bin.
    edges
        Edges of the bins (bin + 1,).
    color, line
        Color, and matplotlib line style, of the outline.
    filled
        Whether the histogram is filled with a pale color.
    normal
        Whether to add the normal density of equal mean and standard deviation.
    label
        Legend entry.

    Examples
    --------
    >>> draw_error_density(axes, errors, edges, color="blue")  # doctest: +SKIP
    """
    x, sides = (np.asarray(array, dtype=np.float64) for array in (errors, edges))
    count, _ = np.histogram(np.clip(x, sides[0], sides[-1]), bins=sides)
    density = count / (count.sum() * np.diff(sides))
    if filled:
        axes.stairs(density, sides, fill=True, color=color, alpha=0.25)
    axes.stairs(density, sides, color=color, ls=line, lw=1.4, label=label)
    deviation = float(x.std())
    if normal and deviation > 0:
        grid = np.linspace(sides[0], sides[-1], 201)
        curve = np.exp(-0.5 * ((grid - x.mean()) / deviation) ** 2)
        axes.plot(grid, curve / (deviation * np.sqrt(2 * np.pi)), color=color, lw=0.8, ls=line)
