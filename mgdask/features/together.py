"""Several features of one configuration, with neighbor lists made once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy.typing as npt

from mgdask._typing import AnyArray
from mgdask.errors import ParameterError
from mgdask.features.configuration import ConfigurationLike
from mgdask.features.engine import compute_features
from mgdask.features.feature import Feature, FrameFeature, check_object


def compute_together(
    features: Sequence[FrameFeature], obj: ConfigurationLike, centers: npt.ArrayLike | None = None
) -> list[AnyArray]:
    """Compute several features of one configuration.

    Neighbor lists, Voronoi cells and values that several features need are made once.

    Parameters
    ----------
    features
        Features of single frames.
    obj
        The atoms, as in ``FrameFeature.compute``.
    centers
        Indices of the central atoms. Default: all.

    Returns
    -------
    list
        Values of each feature, the same bits as from its own ``compute``.

    Raises
    ------
    ParameterError
        As ``FrameFeature.compute``, and for features of several frames.
    """
    for feature in features:
        if not isinstance(feature, Feature):
            raise ParameterError(
                f"features must be features such as mgdask.Coordination(); got {feature!r:.80}"
            )
    position, cell, numbers, rows, pbc = check_object(obj, centers)
    decided = [feature.for_atoms(numbers) for feature in features]
    for each in decided:
        each.check_species(numbers)
    block = compute_features(decided, position[None], cell[None], numbers, rows, pbc)
    return [values[0] for values in block.values]


__all__ = ["compute_together"]
