"""Distributions of a few values side by side, as violins or boxes with points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray

if TYPE_CHECKING:
    from mgdask.plot.style import Axes

MIN_VIOLIN = 5
"""Minimum number of values for a violin; fewer are shown only as points."""


def spread(values: npt.ArrayLike, width: float) -> FloatArray:
    """Return horizontal offsets that keep equal values apart.

    They depend only on the order of the values, so that figures of the same numbers are
    identical.

    Parameters
    ----------
    values
        Values (point,).
    width
        Largest offset to either side.

    Returns
    -------
    offsets
        Offsets (point,), evenly spaced.

    Examples
    --------
    >>> spread([0.3, 0.1, 0.2], 0.1).tolist()
    [-0.1, 0.0, 0.1]
    """
    n = len(np.asarray(values))
    return np.linspace(-width, width, n) if n > 1 else np.zeros(n)


def draw_violin(
    axes: Axes,
    at: float,
    values: npt.ArrayLike,
    *,
    color: str,
    filled: bool = True,
    width: float = 0.35,
    label: str | None = None,
) -> None:
    """Draw the density of values as a violin that contains the values as points.

    Fewer than five distinct values are drawn only as points.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    at
        Position on the horizontal axis.
    values
        Finite values (point,).
    color
        Color of the violin and of its points.
    filled
        Whether violin and points are filled. If not, only outlines are drawn.
    width
        Half of the largest width of the violin.
    label
        Legend entry.

    Examples
    --------
    >>> draw_violin(axes, 0.0, [0.1, 0.2, 0.4], color="blue")  # doctest: +SKIP
    """
    y = np.asarray(values, dtype=np.float64)
    if len(np.unique(y)) >= MIN_VIOLIN:
        grid, density = _density(y)
        half = width * density / density.max()
        axes.fill_betweenx(
            grid,
            at - half,
            at + half,
            facecolor=color if filled else "none",
            edgecolor=color,
            alpha=0.35 if filled else 1.0,
            lw=0.0 if filled else 1.2,
        )
    axes.plot(
        at + spread(y, 0.4 * width),
        y,
        "o",
        ms=4,
        mfc=color if filled else "white",
        mec=color,
        label=label,
    )


def _density(y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a Gaussian kernel density (Scott's rule) over the range of the values."""
    bandwidth = y.std(ddof=1) * len(y) ** -0.2
    grid = np.linspace(y.min(), y.max(), 101)
    density = np.exp(-0.5 * ((grid[:, None] - y) / bandwidth) ** 2).sum(axis=1)
    return grid, density


def draw_box(
    axes: Axes,
    at: float,
    values: npt.ArrayLike,
    *,
    color: str,
    filled: bool = True,
    width: float = 0.3,
    label: str | None = None,
) -> None:
    """Draw quartiles as a box, the median dashed, and the full range as whiskers.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    at
        Position on the horizontal axis.
    values
        Finite values (point,), drawn as points over the box.
    color
        Color of box and points.
    filled
        Whether the box is filled.
    width
        Width of the box.
    label
        Legend entry.

    References
    ----------
    As in Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 5a: box bounds are the 25th and
    75th percentiles, the dashed line is the median, and whiskers are minimum and
    maximum.

    Examples
    --------
    >>> draw_box(axes, 0.0, [0.1, 0.2, 0.4], color="blue")  # doctest: +SKIP
    """
    y = np.asarray(values, dtype=np.float64)
    low, first, median, third, high = np.quantile(y, [0.0, 0.25, 0.5, 0.75, 1.0])
    axes.use_sticky_edges = False  # a flat box would lie on the edge of the picture
    axes.bar(
        at,
        third - first,
        bottom=first,
        width=width,
        color=color if filled else "none",
        edgecolor=color,
        alpha=0.5 if filled else 1.0,
        label=label,
    )
    axes.plot([at - width / 2, at + width / 2], [median, median], "--", color="black", lw=1.2)
    for start, end in ((low, first), (third, high)):
        axes.plot([at, at], [start, end], color=color, lw=1.2)
    for end in (low, high):
        axes.plot([at - width / 4, at + width / 4], [end, end], color=color, lw=1.2)
    axes.plot(
        at + spread(y, 0.25 * width), y, "o", ms=2.5, mfc="white", mec=color, mew=0.8, zorder=3
    )
