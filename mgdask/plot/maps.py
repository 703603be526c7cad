"""Values over two axes: matrices, filled contours, and groups of points on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Literal

import numpy as np

from mgdask._typing import FloatArray

if TYPE_CHECKING:
    from mgdask.plot.style import Axes, ScalarMappable


def draw_matrix(
    axes: Axes,
    values: FloatArray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    low: FloatArray,
    high: FloatArray,
    span: tuple[float, float],
    cmap: str = "viridis",
) -> ScalarMappable:
    """Draw a matrix as colored cells with the value and its interval written in each.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    values
        Values (row, column). Cells with NaN stay gray and empty.
    rows, columns
        Names of rows and columns.
    low, high
        Ends of the intervals (row, column).
    span
        Values at the two ends of the color scale.
    cmap
        Name of a matplotlib colormap whose low end is dark.

    Returns
    -------
    mappable
        Mappable for a color bar.

    Examples
    --------
    >>> image = draw_matrix(axes, auc, ["a", "b"], ["a", "b"], low=low, high=high,
    ...                     span=(0.5, 0.9))  # doctest: +SKIP
    """
    image = axes.imshow(values, cmap=cmap, vmin=span[0], vmax=span[1], aspect="auto")
    axes.set_facecolor("0.9")
    shade = (values - span[0]) / (span[1] - span[0])
    for i, k in zip(*np.nonzero(np.isfinite(values)), strict=True):
        dark = shade[i, k] < 0.6
        axes.text(
            k,
            i,
            f"{values[i, k]:.3f}\n[{low[i, k]:.3f}, {high[i, k]:.3f}]",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    axes.set_xticks(range(len(columns)), columns, rotation=30 if len(columns) > 4 else 0)
    axes.set_yticks(range(len(rows)), rows)
    return image


def draw_surface(
    axes: Axes,
    x: FloatArray,
    y: FloatArray,
    values: FloatArray,
    *,
    cmap: str = "cividis",
    levels: int | FloatArray = 12,
    extend: Literal["neither", "min", "max", "both"] = "neither",
) -> ScalarMappable:
    """Draw a function of two variables as filled contours.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    x, y
        Grids (x,) and (y,).
    values
        Values (x, y). Regions with NaN stay empty.
    cmap
        Name of a matplotlib colormap.
    levels
        Maximum number of contours, or their increasing levels.
    extend
        Whether values below the first or above the last level are colored.

    Returns
    -------
    mappable
        Mappable for a color bar.

    Examples
    --------
    >>> surface = draw_surface(axes, x, y, mean)  # doctest: +SKIP
    """
    surface = axes.contourf(x, y, np.ma.masked_invalid(values.T), levels, cmap=cmap, extend=extend)
    axes.set(xlim=x[[0, -1]], ylim=y[[0, -1]])
    return surface


def symmetric_levels(values: FloatArray, number: int = 12) -> FloatArray:
    """Return contour levels in round steps around zero that cover all values.

    Parameters
    ----------
    values
        Values of any shape. NaN is ignored.
    number
        Number of levels on each side of zero.

    Returns
    -------
    levels
        Increasing levels (2 number + 1,); the middle one is 0.

    Examples
    --------
    >>> symmetric_levels(np.array([-0.1, 0.4]), 2).tolist()
    [-0.4, -0.2, 0.0, 0.2, 0.4]
    """
    largest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 0.0
    step = (largest or 1.0) / number
    power = 10.0 ** np.floor(np.log10(step))
    step = power * next(k for k in (1.0, 2.0, 2.5, 5.0, 10.0) if k * power >= step * (1 - 1e-9))
    half = np.arange(1, number + 1) * step
    return np.concatenate([-half[::-1], [0.0], half])


def draw_rings(
    axes: Axes, points: FloatArray, *, size: float = 22.0, label: str | None = None
) -> None:
    """Draw white rings with a dark outline, which stand out on any color.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    points
        Points (point, 2) in data coordinates.
    size
        Area of a ring in square points, as in matplotlib's ``scatter``.
    label
        Legend entry.

    Examples
    --------
    >>> draw_rings(axes, places, label="QS > 0.5")  # doctest: +SKIP
    """
    for color, width in (("black", 2.2), ("white", 1.1)):
        axes.scatter(
            points[:, 0],
            points[:, 1],
            s=size,
            facecolors="none",
            edgecolors=color,
            linewidths=width,
        )
    # on the white page of a legend, only the outline is seen
    if label is not None:
        axes.plot([], [], "o", ms=size**0.5, mfc="white", mec="black", label=label)


@dataclass(frozen=True)
class PointGroup:
    """Points of one kind, and their median.

    Parameters
    ----------
    points
        Coordinates of the points (point, 2).
    median
        Median of the whole group (2,).
    marker, color
        matplotlib marker, and its fill color.
    median_size
        Area of the median's marker in points².
    """

    points: FloatArray
    median: FloatArray
    marker: str
    color: str
    median_size: float = 110.0


def draw_point_groups(axes: Axes, groups: Mapping[str, PointGroup]) -> None:
    """Draw groups of points, each with a large marker at its median.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    groups
        Groups by the name in the legend.

    Notes
    -----
    The legend is placed below the axes.

    Examples
    --------
    >>> draw_point_groups(axes, {"icosahedra": group})  # doctest: +SKIP
    """
    for name, group in groups.items():
        draw = partial(axes.scatter, marker=group.marker, color=group.color, edgecolors="black")
        draw(group.points[:, 0], group.points[:, 1], s=14, linewidths=0.35, alpha=0.8)
        draw(
            group.median[0],
            group.median[1],
            s=group.median_size,
            linewidths=1.6,
            zorder=4,
            label=name,
        )
    axes.legend(
        fontsize=8,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        ncols=4,
        markerscale=0.6,
        handletextpad=0.2,
    )


def draw_colored_points(
    axes: Axes,
    points: FloatArray,
    values: FloatArray,
    kind: Sequence[str],
    *,
    span: tuple[float, float],
    cmap: str = "cividis",
    size: float = 9.0,
) -> ScalarMappable:
    """Draw points colored by a value, with one marker per kind.

    Points with large absolute values are drawn last, so that they stay visible.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    points
        Points (point, 2).
    values
        Value of each point (point,). Points with NaN are small open markers.
    kind
        Kind of each point (point,). The kinds are legend entries.
    span
        Values at the two ends of the color scale.
    cmap
        Name of a matplotlib colormap.
    size
        Area of a marker in square points.

    Returns
    -------
    mappable
        Mappable for a color bar.

    Examples
    --------
    >>> draw_colored_points(axes, points, values, kind, span=(-1, 1))  # doctest: +SKIP
    """
    from matplotlib.cm import ScalarMappable as Mappable
    from matplotlib.colors import Normalize

    kinds = np.asarray(kind)
    norm, known = Normalize(*span), np.isfinite(values)
    order = np.argsort(np.nan_to_num(np.abs(values), nan=-1.0), kind="stable")
    for marker, name in zip(cycle("osD^vP"), dict.fromkeys(sorted(set(kind))), strict=False):
        some = order[(kinds[order] == name) & known[order]]
        none = order[(kinds[order] == name) & ~known[order]]
        axes.scatter(
            points[none, 0],
            points[none, 1],
            s=0.5 * size,
            marker=marker,
            facecolors="none",
            edgecolors="0.7",
            linewidths=0.4,
        )
        axes.scatter(
            points[some, 0],
            points[some, 1],
            c=values[some],
            norm=norm,
            cmap=cmap,
            s=size,
            marker=marker,
            linewidths=0.0,
        )
        axes.plot([], [], marker, ms=5, mfc="0.5", mec="none", label=str(name))
    return Mappable(norm, cmap)


def draw_signed_matrix(
    axes: Axes,
    values: FloatArray,
    rows: Sequence[str],
    columns: Sequence[str],
    signs: Mapping[str, Sequence[Sequence[str]]],
    *,
    colors: Mapping[str, str],
    span: tuple[float, float],
    cmap: str = "PuOr",
) -> ScalarMappable:
    """Draw a matrix with its values, and the signs of groups in each cell.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    values
        Values (row, column). Cells with NaN stay gray and empty.
    rows, columns
        Names of rows and columns.
    signs
        Sign of each cell (row, column) by group: "++", "+", "0", "-", "--" or "". The
        first group is at the lower left, the second at the lower right.
    colors
        Color of the signs of each group.
    span
        Values at the two ends of the color scale.
    cmap
        Name of a diverging matplotlib colormap with a pale middle.

    Returns
    -------
    mappable
        Mappable for a color bar.

    Examples
    --------
    >>> draw_signed_matrix(axes, alpha, names, names, {"hot": signs},
    ...                    colors={"hot": "red"}, span=(-0.5, 0.5))  # doctest: +SKIP
    """
    image = axes.imshow(values, cmap=cmap, vmin=span[0], vmax=span[1], aspect="equal")
    axes.set_facecolor("0.9")
    middle, half = 0.5 * (span[0] + span[1]), 0.5 * (span[1] - span[0])
    for i, k in zip(*np.nonzero(np.isfinite(values)), strict=True):
        dark = abs(values[i, k] - middle) > 0.72 * half
        text = f"{values[i, k]:.2f}".replace("-", "−")
        axes.text(
            k,
            i - 0.16,
            text,
            ha="center",
            va="center",
            fontsize=9.5,
            color="white" if dark else "black",
        )
        for shift, (name, group) in zip((-0.27, 0.27), signs.items(), strict=False):
            axes.text(
                k + shift,
                i + 0.27,
                group[i][k].replace("-", "−"),
                ha="center",
                va="center",
                fontsize=9,
                fontweight="bold",
                color=colors[name],
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
            )
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    return image
