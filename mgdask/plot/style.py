"""The common style of all figures: colors, fonts, new figures, and files.

Figures are made without pyplot, so drawing leaves no global state and needs no display.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.axis import Axis as Axis
    from matplotlib.cm import ScalarMappable as ScalarMappable
    from matplotlib.figure import Figure as Figure
    from matplotlib.gridspec import SubplotSpec as SubplotSpec

BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY_BLUE, PURPLE, YELLOW = "#E69F00", "#56B4E9", "#CC79A7", "#F0E442"
"""Okabe and Ito's colors, distinct in every common form of color blindness."""
DARK_GREY, LIGHT_GREY, FILL_GREY = "0.35", "0.8", "0.6"
CYCLE = (ORANGE, BLUE, GREEN, VERMILION, PURPLE, SKY_BLUE)
"""Colors of groups such as species, in this order."""

SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so files do not depend on the host
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.0,
    "legend.frameon": False,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the package's style inside a ``with`` block, or as a decorator.

    The caller's settings are restored afterwards.

    Examples
    --------
    >>> with style():
    ...     fig = figure(4.0, 3.0)
    """
    import matplotlib

    with matplotlib.rc_context(SETTINGS):
        yield


def figure(width: float, height: float) -> Figure:
    """Make an empty figure.

    Parameters
    ----------
    width, height
        Size in inches.

    Returns
    -------
    fig
        Figure with constrained layout, not known to pyplot.

    Examples
    --------
    >>> figure(4.0, 3.0).get_size_inches().tolist()
    [4.0, 3.0]
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(fig: Figure, path: str | Path, *, dpi: float = 130.0) -> Path:
    """Write a figure to a file whose suffix names the format.

    Parameters
    ----------
    fig
        Figure to write.
    path
        File to write.
    dpi
        Dots per inch.

    Returns
    -------
    path
        Path of the written file.

    Examples
    --------
    >>> save(figure(4.0, 3.0), "empty.png")  # doctest: +SKIP
    """
    target = Path(path)
    fig.savefig(target, dpi=dpi)
    return target


def pale(color: str, share: float = 0.5) -> tuple[float, float, float]:
    """Mix a color with white.

    Parameters
    ----------
    color
        Any color that matplotlib knows.
    share
        Share of white, from 0 to 1.

    Returns
    -------
    color
        Red, green and blue, from 0 to 1.

    Examples
    --------
    >>> pale("black", 0.25)
    (0.25, 0.25, 0.25)
    """
    from matplotlib.colors import to_rgb

    red, green, blue = (share + (1.0 - share) * part for part in to_rgb(color))
    return red, green, blue


def legend_below(axes: Axes, *, lines: int = 2, columns: int = 5) -> None:
    """Place the legend below the label of the x axis, out of the picture.

    Its distance is measured in lines of text, so it holds in axes of any size.

    Parameters
    ----------
    axes
        matplotlib axes with labeled artists. They may have a colorbar and a title.
    lines
        Lines of text between the axes and the legend: those of the tick labels, and of
        the axis label.
    columns
        Maximum number of entries side by side.

    Examples
    --------
    >>> legend_below(axes)  # doctest: +SKIP
    """
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        borderaxespad=1.0 + 1.4 * lines,
        ncols=columns,
        frameon=False,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def letter_panels(panels: Iterable[Axes]) -> None:
    """Title the panels of a figure (a), (b), (c) ... on their left.

    The letters are above the labels of the y axis, beside the titles of narrow panels.

    Parameters
    ----------
    panels
        Axes in reading order, at most 26.

    Examples
    --------
    >>> panels = figure(4.0, 3.0).subplots(1, 2)
    >>> letter_panels(panels)
    >>> panels[1].get_title(loc="left")
    '(b)'
    """
    for letter, axes in zip("abcdefghijklmnopqrstuvwxyz", panels, strict=False):
        axes.set_title(f"({letter})", loc="left", fontweight="bold", ha="right", x=-0.01)
