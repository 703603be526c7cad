"""Boxes of the text of a figure in pixels, and which of them overlap."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

SLACK = 1.5
"""Overlap in pixels that nobody sees: boxes are a little larger than their glyphs."""
EDGE = 5.0
"""Pixels of an empty border that may leave the figure, such as the padding of a legend."""


def text_boxes(fig) -> Iterator[tuple[str, object]]:
    """Yield a name and a box in pixels of each visible text and each legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(fig)
    fig.draw_without_rendering()
    renderer = fig.canvas.get_renderer()
    texts = [*fig.texts]
    legends = list(fig.legends)
    for axes in _all_axes(fig):
        if not axes.get_visible():
            continue
        titles = (axes.title, axes._left_title, axes._right_title)
        texts += [*titles, *axes.texts]
        if axes.get_legend() is not None:
            legends.append(axes.get_legend())
        for axis in (axes.xaxis, axes.yaxis):
            if not (axes.axison and axis.get_visible()):
                continue
            texts += [axis.label, axis.get_offset_text()]
            for tick in axis._update_ticks():  # those in view; others are not drawn
                texts += [tick.label1, tick.label2]
    for text in texts:
        if text.get_visible() and text.get_text().strip():
            yield repr(text.get_text()), text.get_window_extent(renderer)
    for legend in legends:
        if legend.get_visible():
            words = ", ".join(text.get_text() for text in legend.get_texts())
            yield f"legend ({words})", legend.get_window_extent(renderer)


def _all_axes(fig) -> Iterator[object]:
    for axes in fig.axes:
        yield axes
        yield from axes.child_axes


def overlapping(fig) -> list[str]:
    """Describe each pair of texts that overlap, and each text that leaves the figure."""
    boxes = list(text_boxes(fig))
    found = [
        f"{a} over {b}"
        for (a, one), (b, two) in combinations(boxes, 2)
        if min(one.x1, two.x1) - max(one.x0, two.x0) > SLACK
        and min(one.y1, two.y1) - max(one.y0, two.y0) > SLACK
    ]
    page = fig.bbox
    found += [
        f"{name} leaves the figure"
        for name, box in boxes
        if box.x0 < page.x0 - EDGE
        or box.y0 < page.y0 - EDGE
        or box.x1 > page.x1 + EDGE
        or box.y1 > page.y1 + EDGE
    ]
    return found
