"""Figures of the softness studies, drawn from their results alone.

``page`` has the figures of the report, ``comparison`` those that compare feature sets,
glasses and numbers of training atoms.
"""

from mgdask.studies.softness.figures.comparison import (
    box_figure,
    compare_figure,
    growth_figure,
    transfer_figure,
)
from mgdask.studies.softness.figures.page import (
    draw_dependence,
    draw_features,
    draw_scores,
    draw_slice,
    short,
)

__all__ = [
    "box_figure",
    "compare_figure",
    "draw_dependence",
    "draw_features",
    "draw_scores",
    "draw_slice",
    "growth_figure",
    "short",
    "transfer_figure",
]
