"""A value on a grid of a cell, seen along one of its vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import FloatArray

if TYPE_CHECKING:
    from mgdask.plot.style import Axes, ScalarMappable


def grid_corners(first: FloatArray, second: FloatArray, bins: tuple[int, int]) -> FloatArray:
    """Return the corners of the bins of a parallelogram, shape (bin + 1, bin + 1, 2).

    Parameters
    ----------
    first, second
        Sides of the parallelogram (2,).
    bins
        Number of bins along each side.

    Examples
    --------
    >>> corners = grid_corners(np.array([4.0, 0.0]), np.array([1.0, 2.0]), (2, 1))
    >>> corners[2, 1].tolist()
    [5.0, 2.0]
    """
    s, t = (np.linspace(0.0, 1.0, n + 1) for n in bins)
    corners: FloatArray = s[:, None, None] * first + t[None, :, None] * second
    return corners


def draw_grid(
    axes: Axes,
    corners: FloatArray,
    values: FloatArray,
    *,
    span: tuple[float, float],
    cmap: str = "viridis",
) -> ScalarMappable:
    """Draw the values of the bins of a grid, with equal scales in both directions.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    corners
        Corners of the bins (first + 1, second + 1, 2), see ``grid_corners``.
    values
        Value of each bin (first, second). Bins with NaN stay gray.
    span
        Values at the two ends of the color scale.
    cmap
        Name of a matplotlib colormap.

    Returns
    -------
    mappable
        Mappable for a color bar.

    Examples
    --------
    >>> image = draw_grid(axes, corners, values, span=(0.0, 1.0))  # doctest: +SKIP
    """
    shown = np.ma.masked_invalid(values)
    image = axes.pcolormesh(
        corners[..., 0],
        corners[..., 1],
        shown,
        cmap=cmap,
        vmin=span[0],
        vmax=span[1],
        shading="flat",
        rasterized=True,
    )
    empty = np.ma.masked_where(~np.ma.getmaskarray(shown), np.ones(values.shape))
    axes.pcolormesh(
        corners[..., 0], corners[..., 1], empty, cmap="Greys", vmin=0.0, vmax=5.0, shading="flat"
    )
    axes.set_aspect("equal")
    return image
