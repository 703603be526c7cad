"""Curves: a mean with its spread, and axes of distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgdask._typing import FloatArray

if TYPE_CHECKING:
    from mgdask.plot.style import Axes


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
