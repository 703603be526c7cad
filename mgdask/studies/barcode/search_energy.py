"""Energy of a moving sample by a model of the barcode study."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mgdask._typing import FloatArray
from mgdask.elements import symbol
from mgdask.features.feature import FrameFeature
from mgdask.studies.barcode.baselines import EnergyModel
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.moving import MovingSample


def sample_energy(
    model: EnergyModel, *, soap: FrameFeature | None = None, chebyshev: FrameFeature | None = None
) -> Callable[[MovingSample], float]:
    """Return a function for ``search(energy=...)`` that evaluates a model.

    Parameters
    ----------
    model
        Model of the energy per atom, such as one of ``fit_baselines``.
    soap, chebyshev
        Features whose means per species the model reads. Leave them out for a model of
        fractions.

    Returns
    -------
    A function of a ``MovingSample`` that returns the energy of all atoms in eV.
    """

    def energy(sample: MovingSample) -> float:
        means = {
            name: _means(feature, sample)[None]
            for name, feature in (("mean_soap", soap), ("mean_chebyshev", chebyshev))
            if feature is not None
        }
        counts = np.array([(sample.numbers == number).sum() for number in sample.species])
        samples = Samples.of(
            [0.0],
            len(sample),
            "search",
            species=[symbol(int(number)) for number in sample.species],
            concentration=counts / len(sample),
            fractions=sample.fractions[None],
            **means,
        )
        return float(model.predict(samples)[0]) * len(sample)

    return energy


def _means(feature: FrameFeature, sample: MovingSample) -> FloatArray:
    """Return the columns averaged over each species, one species after the other."""
    rows = feature.compute(sample.position, sample.cell, sample.numbers, pbc=sample.pbc)
    return np.concatenate([rows[sample.numbers == z].mean(axis=0) for z in sample.species])


__all__ = ["sample_energy"]
