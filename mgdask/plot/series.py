"""Series over frames: the mean of the atoms, with the middle half of their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import FloatArray
from mgdask.plot.style import CYCLE, legend_below

if TYPE_CHECKING:
    from mgdask.plot.style import Axes

MARKERS = "osD^vP"
"""Markers of the lines, used in turn."""


@dataclass(frozen=True)
class Line:
    """A line of a series.

    Parameters
    ----------
    name
        Name in the legend.
    x
        Abscissas (point,).
    y
        Ordinates (point,), such as means. NaN leaves a gap.
    low, high
        Ends of the band (point,), such as quartiles. ``None``: no band.
    """

    name: str
    x: FloatArray
    y: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None


def draw_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw lines with their bands, and a legend below if there are several.

    Up to six lines have the colors of groups; more have those of a scale from dark to
    light.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    lines
        Lines in the order of the legend.

    Examples
    --------
    >>> draw_lines(axes, [Line("Cu", time, q6)])  # doctest: +SKIP
    """
    from matplotlib import colormaps

    many = colormaps["viridis"](np.linspace(0.0, 0.9, len(lines)))
    for k, line in enumerate(lines):
        color = CYCLE[k] if len(lines) <= len(CYCLE) else many[k]
        if line.low is not None and line.high is not None and len(line.x) > 1:
            axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, lw=0)
        marker = MARKERS[k % len(MARKERS)] if len(line.x) <= 60 else ""
        axes.plot(line.x, line.y, color=color, marker=marker, ms=3.5, lw=1.3, label=line.name)
    if len(lines) > 1:
        legend_below(axes)
