"""The least that a feature of a frame needs, for tests that define their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mgdask.features.feature import FrameFeature


@dataclass(frozen=True)
class PlainFeature(FrameFeature):
    """A feature of any species that costs nothing."""

    citation: ClassVar[str] = "none"
    output_dtype = np.dtype("float64")

    def check_species(self, numbers):
        pass

    def footprint(self, n_atoms, n_centers):
        return 0

    def cost(self, n_centers):
        return 0.0
