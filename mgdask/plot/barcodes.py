"""Bars for the fractions of many kinds, in groups that differ by color and hatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mgdask.plot.style import Axes


@dataclass(frozen=True)
class BarGroup:
    """Appearance of the bars of one group.

    Parameters
    ----------
    name
        Legend entry.
    color
        Fill color.
    hatch
        matplotlib hatch, which distinguishes groups in grayscale; empty for none.
    """

    name: str
    color: str
    hatch: str = ""


def draw_barcode(
    axes: Axes,
    values: npt.ArrayLike,
    group: npt.ArrayLike,
    looks: Sequence[BarGroup],
    *,
    deviation: npt.ArrayLike | None = None,
    labeled: bool = True,
) -> None:
    """Draw one bar per kind, in its group's color.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    values
        Value of each kind (kind,), for example its fraction.
    group
        Group of each kind (kind,), an index of ``looks``.
    looks
        Appearance of each group.
    deviation
        Length of the error bar of each kind (kind,). Default: none.
    labeled
        Whether the groups get legend entries.

    Examples
    --------
    >>> looks = [BarGroup("compact", "blue"), BarGroup("other", "orange", "///")]
    >>> draw_barcode(axes, [0.2, 0.1, 0.3], [0, 0, 1], looks)  # doctest: +SKIP
    """
    heights = np.asarray(values, dtype=np.float64)
    kinds = np.asarray(group)
    places = np.arange(1, len(heights) + 1)
    for k, look in enumerate(looks):
        some = kinds == k
        if not some.any():
            continue
        axes.bar(
            places[some],
            heights[some],
            width=0.8,
            color=look.color,
            edgecolor="black" if look.hatch else look.color,
            hatch=look.hatch or None,
            lw=0.3,
            label=look.name if labeled else None,
        )
    if deviation is not None:
        axes.errorbar(
            places, heights, np.asarray(deviation), fmt="none", color="black", elinewidth=0.7
        )
    axes.set_xlim(0.0, len(heights) + 1.0)
