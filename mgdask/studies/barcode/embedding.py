"""Similarity map of a dictionary, with the energy correlation of every entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.embedding import principal_coordinates, smacof
from mgdask.learn.evaluation.correlation import correlations
from mgdask.studies.barcode.records import Record

MAX_SMACOF = 3000
"""Maximum number of entries that are mapped by stress; more take principal components.

Distances of all pairs of them take 72 MB, and an iteration about 0.2 s.
"""
BLOCK_COLUMNS = 1024
MIN_POINTS = 3
"""Minimum number of entries of a map."""


@dataclass(frozen=True, eq=False)
class SimilarityMap(Record):
    """Entries mapped to a plane by their dissimilarity 1 - M.

    Parameters
    ----------
    entries
        Entries (point,) of the dictionary.
    coordinates
        Shape (point, 2), in units of 1 - M.
    method
        "smacof" or "pca".
    stress
        Kruskal's stress-1 of the map; 0 is perfect.
    stress_pca
        The same of the principal components.
    n_pairs
        Number of pairs of ``stress``.
    explained
        Fraction of the variance along the first two principal components.
    correlation
        Pearson's correlation (point,) of the fraction with the energy per atom. NaN for
        an entry whose fraction is the same in all samples.
    species
        Atomic number (point,) of the central atom.
    element
        Number (point,) of the entry in the barcode, 0 for the others.
    """

    entries: IntArray
    coordinates: FloatArray
    method: str
    stress: float
    stress_pca: float
    n_pairs: int
    explained: float
    correlation: FloatArray
    species: IntArray
    element: IntArray


def similarity_map(
    vectors: FloatArray,
    correlation: npt.ArrayLike,
    species: npt.ArrayLike,
    elements: npt.ArrayLike,
    *,
    entries: npt.ArrayLike | None = None,
    method: Literal["smacof", "pca", "auto"] = "auto",
) -> SimilarityMap:
    """Map entries of a dictionary to a plane.

        1 - M(i, j) = |p_i - p_j| / sqrt(2)

    Parameters
    ----------
    vectors
        Vectors (entry, column) of norm 1 of the whole dictionary.
    correlation
        Correlation (entry,) with the energy, from ``energy_correlations``.
    species
        Atomic number (entry,) of the central atom.
    elements
        Entries (element,) of the barcode, in its order.
    entries
        Entries (point,) to map. Default: all.
    method
        "smacof" minimizes the stress, "pca" takes the principal components. "auto" is
        "smacof" for up to 3000 entries. Both are deterministic.

    Returns
    -------
    The map.

    Notes
    -----
    Vectors of a glass fill many dimensions, so no plane preserves their distances. The
    stress measures how well they are preserved.
    """
    if method not in ("auto", "pca", "smacof"):
        raise ParameterError(f"method={method!r} must be 'smacof', 'pca' or 'auto'")
    chosen = np.arange(len(vectors)) if entries is None else np.asarray(entries, dtype=np.int64)
    scaled = np.asarray(vectors, dtype=np.float64)[chosen] / np.sqrt(2.0)
    if len(chosen) < MIN_POINTS:
        raise ParameterError(
            f"entries has {len(chosen)} entries; a map needs at least {MIN_POINTS}"
        )
    found = flat = principal_coordinates(scaled)
    used = "pca"
    if method == "smacof" or (method == "auto" and len(chosen) <= MAX_SMACOF):
        found, used = smacof(scaled, start=flat), "smacof"
    number = np.zeros(len(vectors), dtype=np.int64)
    leading = np.asarray(elements, dtype=np.int64)
    number[leading] = np.arange(1, len(leading) + 1)
    return SimilarityMap(
        entries=chosen.astype(np.int64),
        coordinates=found.coordinates,
        method=used,
        stress=found.stress,
        stress_pca=flat.stress,
        n_pairs=found.n_pairs,
        explained=flat.explained,
        correlation=np.asarray(correlation, dtype=np.float64)[chosen],
        species=np.asarray(species, dtype=np.int64)[chosen],
        element=number[chosen],
    )


def energy_correlations(fractions: FloatArray, energy: npt.ArrayLike) -> FloatArray:
    """Compute Pearson's correlation of every entry's fraction with the energy.

    Parameters
    ----------
    fractions
        Fractions (sample, entry).
    energy
        Energy (sample,) in eV per atom.

    Returns
    -------
    correlation
        Shape (entry,). NaN for an entry whose fraction is the same in all samples.
    """
    width = fractions.shape[1]
    parts = [
        correlations(fractions[:, first : first + BLOCK_COLUMNS], energy)
        for first in range(0, width, BLOCK_COLUMNS)
    ]
    return np.concatenate(parts)
