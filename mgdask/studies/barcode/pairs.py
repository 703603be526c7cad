"""Smoothed counts of pairs of atoms by distance, the simplest descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.features import SpeciesMean, SymmetryFunctions
from mgdask.studies.barcode.data import Samples

DISTANCES = tuple(2.0 + 0.375 * k for k in range(13))
"""Distances in Å at which pairs are counted; 39 numbers for two species."""
WIDTH = 0.5
"""Standard deviation of the Gaussians in Å."""
CUTOFF = 7.0
"""Distance in Å beyond which pairs are not counted."""


def pair_feature(species: Sequence[str]) -> SpeciesMean:
    """Return the feature whose values are ``Samples.mean_pairs``.

    Parameters
    ----------
    species
        Element symbols.
    """
    names = tuple(species)
    radial = SymmetryFunctions(
        species=names, sigma=1.0, radii=DISTANCES, width=WIDTH, angular=(), cutoff=CUTOFF
    )
    return SpeciesMean(radial, species=names)


def pair_counts(samples: Samples) -> FloatArray:
    """Return the smoothed counts of pairs per atom (sample, number).

        n_XY(r) = 1/N sum over pairs X-Y of exp(-(d - r)^2 / (2 width^2))

    Parameters
    ----------
    samples
        Samples with ``mean_pairs``.

    Returns
    -------
    counts
        All distances of the first pair of species, then those of the second, and so on;
        see ``pair_labels``.

    Raises
    ------
    ParameterError
        If the samples do not have them.
    """
    kinds = max(len(samples.species), 1)
    values = samples.matrix("mean_pairs")
    if values.shape[1] % kinds**2:
        raise ParameterError(
            f"mean_pairs has {values.shape[1]} columns for {kinds} species; it must have the "
            "same number for each ordered pair of species"
        )
    shares = samples.concentration if len(samples.species) else np.ones((len(samples), 1))
    sums = values.reshape(len(samples), kinds, kinds, -1) * shares[:, :, None, None]
    # each pair is seen from both of its atoms
    parts = [
        0.5 * (sums[:, a, b] + (sums[:, b, a] if a != b else 0.0))
        for a, b in combinations_with_replacement(range(kinds), 2)
    ]
    return np.hstack(parts)


def pair_labels(species: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the counts, such as "Cu-Zr 2.75 Å".

    Parameters
    ----------
    species
        Element symbols, ordered by atomic number.

    Examples
    --------
    >>> pair_labels(("Cu", "Zr"))[:2], len(pair_labels(("Cu", "Zr")))
    (('Cu-Cu 2 Å', 'Cu-Cu 2.375 Å'), 39)
    """
    return tuple(
        f"{a}-{b} {distance:g} Å"
        for a, b in combinations_with_replacement(species, 2)
        for distance in DISTANCES
    )
