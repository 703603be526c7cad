"""Values with their intervals: bars, points over an axis, and points by category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.plot.style import BLUE, SKY_BLUE

if TYPE_CHECKING:
    from mgdask.plot.style import Axes


def error_lengths(value: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> FloatArray:
    """Return the lengths of error bars in the form that matplotlib accepts.

    Parameters
    ----------
    value, low, high
        Values and the ends of their intervals, each (point,).

    Returns
    -------
    lengths
        Distances from ``value`` to ``low`` and to ``high``, shape (2, point).

    Examples
    --------
    >>> error_lengths([0.5], [0.25], [1.0]).tolist()
    [[0.25], [0.5]]
    """
    ends = np.stack([np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)])
    return np.abs(ends - np.asarray(value, dtype=np.float64))


def draw_bars(
    axes: Axes,
    names: Sequence[str],
    value: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    *,
    base: float = 0.0,
    xlabel: str = "",
) -> None:
    """Draw horizontal bars with intervals; the first is on top and highlighted.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    names
        Name of each bar.
    value, low, high
        Values and the ends of their intervals, each (bar,).
    base
        Value at which bars start, marked by a dotted line.
    xlabel
        Label of the values.

    Examples
    --------
    >>> draw_bars(axes, ["a", "b"], value, low, high, base=0.5)  # doctest: +SKIP
    """
    rows, length = np.arange(len(names)), np.asarray(value, dtype=np.float64) - base
    axes.barh(
        rows,
        length,
        left=base,
        xerr=error_lengths(value, low, high),
        color=[BLUE if k == 0 else SKY_BLUE for k in rows],
        error_kw={"lw": 1.2, "capsize": 2.5},
    )
    axes.axvline(base, color="0.4", ls=":")
    axes.set_yticks(rows, names)
    axes.invert_yaxis()
    axes.set_xlabel(xlabel)


def draw_rows(
    axes: Axes,
    names: Sequence[str],
    value: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    *,
    colors: Sequence[str | tuple[float, float, float]],
    markers: Sequence[str],
    offset: float = 0.0,
    digits: int | None = None,
) -> None:
    """Draw values with intervals as points, one row per name, the first on top.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    names
        Name of each row.
    value, low, high
        Values and the ends of their intervals, each (row,). A value of NaN leaves its
        row empty; an interval of NaN is not drawn.
    colors, markers
        Color and matplotlib marker of each row.
    offset
        Distance of the points below the middle of their row, in rows.
    digits
        Significant digits of the values, written on the right. All digits before the
        decimal point are kept. Default: not written.

    Examples
    --------
    >>> draw_rows(axes, ["a"], [0.5], [0.4], [0.7], colors=[BLUE],
    ...           markers=["o"])  # doctest: +SKIP
    """
    lengths = np.nan_to_num(error_lengths(value, low, high))
    values = np.asarray(value, dtype=np.float64)
    for k, (x, color, marker) in enumerate(zip(values, colors, markers, strict=True)):
        axes.errorbar(
            x,
            k + offset,
            xerr=lengths[:, k : k + 1],
            fmt=marker,
            ms=6,
            color=color,
            mec="black",
            mew=0.6,
            capsize=2.5,
            elinewidth=1.2,
        )
        if digits is not None and np.isfinite(x):
            axes.annotate(
                _short(float(x), digits),
                (1.0, k + offset),
                xycoords=axes.get_yaxis_transform(),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", color="0.9", lw=0.6)
    axes.set_axisbelow(True)


def _short(value: float, digits: int) -> str:
    """Return a number with significant digits; whole numbers keep all of theirs."""
    size = 0 if value == 0 else int(np.floor(np.log10(abs(value))))
    return f"{round(value, max(digits - 1 - size, 0)):.15g}"


def draw_points(
    axes: Axes,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    error: npt.ArrayLike,
    *,
    color: str,
    x_error: npt.ArrayLike | None = None,
    line: bool = False,
    marker: str = "o",
    label: str | None = None,
) -> None:
    """Draw points with error bars over a continuous axis.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    x, y
        Coordinates of the points, each (point,).
    error
        Lengths of the vertical bars, (point,) or (2, point).
    color
        Color of points and bars.
    x_error
        Lengths of horizontal bars, in the same form. Default: none.
    line
        Whether to join the points.
    marker
        matplotlib marker.
    label
        Legend entry.

    Examples
    --------
    >>> draw_points(axes, [0, 1], [0.1, 0.4], [0.05, 0.1], color=BLUE)  # doctest: +SKIP
    """
    axes.errorbar(
        x,
        y,
        error,
        x_error,
        fmt=f"{marker}-" if line else marker,
        ms=4,
        capsize=2,
        color=color,
        elinewidth=1.0,
        label=label,
    )


def draw_log_shares(
    axes: Axes,
    x: npt.ArrayLike,
    share: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    *,
    color: str,
    label: str | None = None,
) -> None:
    """Draw shares with their intervals on a logarithmic axis.

    A share of 0 cannot be shown on the axis. The upper end of its interval is drawn as
    a triangle that points down.

    Parameters
    ----------
    axes
        matplotlib axes to draw on. Its y axis becomes logarithmic.
    x
        Abscissa (point,).
    share, low, high
        Shares and the ends of their intervals, each (point,).
    color
        Color of points and bars.
    label
        Legend entry.

    Examples
    --------
    >>> draw_log_shares(axes, x, share, low, high, color=BLUE)  # doctest: +SKIP
    """
    at, value, top = (np.asarray(array, dtype=np.float64) for array in (x, share, high))
    bottom = np.asarray(low, dtype=np.float64)
    axes.set_yscale("log")
    some, none = value > 0, value == 0
    smallest = np.min(np.where(bottom > 0, bottom, np.inf)[some], initial=1.0)
    bottom = np.where(
        bottom > 0, bottom, 0.5 * smallest
    )  # a bar that reaches 0 extends beyond the axis
    draw_points(
        axes,
        at[some],
        value[some],
        error_lengths(value[some], bottom[some], top[some]),
        color=color,
        label=label,
    )
    axes.plot(at[none], top[none], "v", ms=5, mfc="none", color=color)


def draw_categories(
    axes: Axes,
    names: Sequence[str],
    values: Sequence[npt.ArrayLike],
    errors: Sequence[npt.ArrayLike],
    means: Sequence[float],
) -> None:
    """Draw points with intervals side by side per category, and a bar at their mean.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    names
        Name of each category.
    values
        Values (point,) of each category.
    errors
        Lengths of the error bars (2, point) of each category.
    means
        Mean of each category.

    Examples
    --------
    >>> draw_categories(axes, ["same"], values, errors, [0.75])  # doctest: +SKIP
    """
    for k, (value, error, mean) in enumerate(zip(values, errors, means, strict=True)):
        n = len(np.asarray(value))
        # in the given order, so that pictures of the same numbers are the same
        x = k + (np.linspace(-0.25, 0.25, n) if n > 1 else np.zeros(1))
        axes.errorbar(x, value, error, fmt="o", ms=4, capsize=2, color=SKY_BLUE)
        axes.plot([k - 0.35, k + 0.35], [mean] * 2, color=BLUE, lw=2)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.4)
