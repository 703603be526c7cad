"""Figures of the softness studies, drawn from their results alone.

``prediction``, ``spectrum`` and ``columns`` have the figures of the report,
``comparison`` those that compare feature sets, glasses and numbers of training atoms.
"""

from mgdask.studies.softness.figures.columns import draw_dependence, draw_features, short
from mgdask.studies.softness.figures.comparison import (
    box_figure,
    compare_figure,
    growth_figure,
    transfer_figure,
)
from mgdask.studies.softness.figures.prediction import draw_calibration, draw_prediction
from mgdask.studies.softness.figures.spectrum import draw_scores

__all__ = [
    "box_figure",
    "compare_figure",
    "draw_calibration",
    "draw_dependence",
    "draw_features",
    "draw_prediction",
    "draw_scores",
    "growth_figure",
    "short",
    "transfer_figure",
]
