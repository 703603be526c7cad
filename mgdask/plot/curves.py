"""Curves: a mean with its spread, and axes of distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mgdask._typing import FloatArray

if TYPE_CHECKING:
    from mgdask.plot.style import Axes, Axis


def draw_band(axes: Axes, x: FloatArray, mean: FloatArray, deviation: FloatArray) -> None:
    """Draw a curve with a gray band one standard deviation to each side.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    x
        Abscissa (point,).
    mean, deviation
        Curve and its standard deviation, each (point,).

    Examples
    --------
    >>> draw_band(axes, x, mean, deviation)  # doctest: +SKIP
    """
    axes.fill_between(x, mean - deviation, mean + deviation, color="0.82", lw=0)
    axes.plot(x, mean, color="black", marker=".")


def draw_quantiles(
    axes: Axes, x: FloatArray, quantiles: FloatArray, levels: Sequence[float], *, color: str
) -> None:
    """Draw the middle quantile as a line, and the others as dashed and dotted lines.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    x
        Abscissa (point,).
    quantiles
        Quantiles (level, point), for an odd number of levels in increasing order.
    levels
        Levels of the quantiles, such as 0.1, 0.5, 0.9.
    color
        Color of the lines.

    Examples
    --------
    >>> draw_quantiles(axes, x, bands, (0.1, 0.5, 0.9), color="red")  # doctest: +SKIP
    """
    middle = len(levels) // 2
    lines = {0: "-", 1: "--", 2: ":"}
    for k, values in enumerate(quantiles):
        away = abs(k - middle)
        pair = f"{100 * levels[middle - away]:g} and {100 * levels[middle + away]:g} %"
        axes.plot(
            x,
            values,
            color=color,
            ls=lines.get(away, ":"),
            lw=2.0 if away == 0 else 1.2,
            marker="o" if len(x) == 1 else "",
            label="median" if away == 0 else pair if k < middle else None,
        )


def use_log_distances(axes: Axes) -> None:
    """Label a logarithmic x axis with plain numbers, for distances of 2 to 100 Å.

    Parameters
    ----------
    axes
        matplotlib axes with a logarithmic x axis.

    Examples
    --------
    >>> use_log_distances(axes)  # doctest: +SKIP
    """
    from matplotlib.ticker import FixedLocator, NullFormatter

    axes.xaxis.set_major_locator(FixedLocator([2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def use_plain_log_ticks(*axis: Axis) -> None:
    """Label logarithmic axes with plain numbers at 1, 2 and 5 of each decade.

    Parameters
    ----------
    *axis
        Logarithmic axes of matplotlib: ``axes.xaxis`` or ``axes.yaxis``.

    Examples
    --------
    >>> use_plain_log_ticks(axes.xaxis)  # doctest: +SKIP
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    for one in axis:
        one.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        one.set_major_formatter("{x:g}")
        one.set_minor_formatter(NullFormatter())
