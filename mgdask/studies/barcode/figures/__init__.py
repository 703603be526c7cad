"""Figures of the barcode study, drawn from its results alone.

``prediction`` has predicted energies (Figs. 2 and A3 of the paper), ``elements`` the
elements of the barcode (Figs. 3, 4 and A2), ``heterogeneity`` the comparison of samples
(Figs. 6 and 7), and ``accuracy`` the error against the number of ULEs (Fig. A1).
"""

from mgdask.studies.barcode.figures.accuracy import draw_accuracy
from mgdask.studies.barcode.figures.elements import (
    draw_correlation,
    draw_environments,
    draw_importance,
    draw_similarity_map,
)
from mgdask.studies.barcode.figures.heterogeneity import (
    draw_group_sums,
    draw_heterogeneity,
    draw_sample_groups,
)
from mgdask.studies.barcode.figures.prediction import draw_errors, draw_prediction, draw_scores

__all__ = [
    "draw_accuracy",
    "draw_correlation",
    "draw_environments",
    "draw_errors",
    "draw_group_sums",
    "draw_heterogeneity",
    "draw_importance",
    "draw_prediction",
    "draw_sample_groups",
    "draw_scores",
    "draw_similarity_map",
]
