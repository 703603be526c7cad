"""Figures of the temperature study, drawn from its results alone.

``thermometer`` has Fig. 1 of Liu X. et al. (2022), ``creep`` Fig. 2, ``maps`` Fig. 3,
``structure`` Figs. 4 and 5, ``training`` and ``distances`` the supplementary figures.
``validation`` has what the paper does not show: errors of every model.
"""

from mgdask.studies.temperature.figures.creep import draw_creep, draw_distributions
from mgdask.studies.temperature.figures.distances import draw_pair_distances
from mgdask.studies.temperature.figures.maps import draw_lag_correlations, draw_maps
from mgdask.studies.temperature.figures.structure import draw_composition, draw_polyhedra
from mgdask.studies.temperature.figures.thermometer import (
    draw_applied_put_in,
    draw_put_in,
    draw_thermometer,
)
from mgdask.studies.temperature.figures.training import (
    draw_classes,
    draw_neighbor_curve,
    draw_weights,
)
from mgdask.studies.temperature.figures.validation import (
    draw_averaging,
    draw_control,
    draw_validation,
)

__all__ = [
    "draw_applied_put_in",
    "draw_averaging",
    "draw_classes",
    "draw_composition",
    "draw_control",
    "draw_creep",
    "draw_distributions",
    "draw_lag_correlations",
    "draw_maps",
    "draw_neighbor_curve",
    "draw_pair_distances",
    "draw_polyhedra",
    "draw_put_in",
    "draw_thermometer",
    "draw_validation",
    "draw_weights",
]
