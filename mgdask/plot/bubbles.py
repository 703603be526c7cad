"""Columns that end in bubbles: two quantities per kind in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mgdask.plot.style import Axes

BUBBLE = 700.0
"""Area in points² of a bubble of the largest amount."""


def draw_bubble_columns(
    axes: Axes,
    names: Sequence[str],
    heights: npt.ArrayLike,
    amounts: npt.ArrayLike,
    *,
    color: str,
    largest: float,
    errors: npt.ArrayLike | None = None,
    offset: float = 0.0,
    marker: str = "o",
    label: str | None = None,
) -> None:
    """Draw one column per kind, which ends in a bubble.

    The height of a column is one quantity, and the area of its bubble is another.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    names
        Name of each kind.
    heights
        Height of each column (kind,). NaN leaves a kind empty.
    amounts
        Amount of each kind (kind,), not negative.
    color
        Color of columns and bubbles.
    largest
        Amount of the largest bubble, common to all calls for one picture.
    errors
        Standard errors of the heights (kind,). Default: no error bars.
    offset
        Distance of the columns to the right of their place, for several groups.
    marker
        matplotlib marker of the bubbles.
    label
        Legend entry.

    Examples
    --------
    >>> draw_bubble_columns(axes, ["a", "b"], [10, -5], [3, 1], color="red",
    ...                     largest=3)  # doctest: +SKIP
    """
    at = np.arange(len(names)) + offset
    height = np.asarray(heights, dtype=np.float64)
    axes.vlines(at, 0.0, height, color=color, lw=2.2, zorder=1)
    if errors is not None:
        axes.errorbar(
            at, height, np.asarray(errors), fmt="none", color="black", elinewidth=0.8, zorder=3
        )
    axes.scatter(
        at,
        height,
        s=bubble_areas(amounts, largest),
        marker=marker,
        color=color,
        edgecolors="black",
        linewidths=0.5,
        alpha=0.75,
        zorder=2,
    )
    if label is not None:
        axes.plot([], [], marker, ms=8, color=color, mec="black", mew=0.5, label=label)
    axes.axhline(0.0, color="black", lw=0.8, zorder=0)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.7, len(names) - 0.3)


def bubble_areas(amounts: npt.ArrayLike, largest: float) -> npt.NDArray[np.float64]:
    """Return the areas of bubbles, which are proportional to their amounts.

    Parameters
    ----------
    amounts
        Amounts (kind,), not negative.
    largest
        Amount of the largest bubble.

    Returns
    -------
    areas
        Areas in points² (kind,).

    Examples
    --------
    >>> bubble_areas([1.0, 4.0], 4.0).tolist()
    [175.0, 700.0]
    """
    return BUBBLE * np.asarray(amounts, dtype=np.float64) / (largest or 1.0)


def draw_bubble_scale(axes: Axes, amounts: Sequence[float], largest: float, *, unit: str) -> None:
    """Add empty bubbles of known amounts to the legend.

    Parameters
    ----------
    axes
        Axes whose legend gets the entries.
    amounts
        Amounts to show.
    largest
        Amount of the largest bubble of the picture.
    unit
        Unit of the amounts.

    Examples
    --------
    >>> draw_bubble_scale(axes, [1, 5], 10, unit="%")  # doctest: +SKIP
    """
    for amount, area in zip(amounts, bubble_areas(amounts, largest), strict=True):
        axes.plot(
            [], [], "o", ms=area**0.5, mfc="none", mec="black", mew=0.6, label=f"{amount:g} {unit}"
        )
