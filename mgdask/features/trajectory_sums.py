"""Sums over unwrapped trajectories, from which dynamics is computed."""

from __future__ import annotations

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels import displacement as kernel

Runs = tuple[IntArray, IntArray, IntArray, IntArray]
"""Pairs of frames by lag: start (lag+1,), origin, later, length (run,).

See ``mgdask.features.lag.lag_pairs``.
"""


def sum_moments(path: FloatArray, runs: Runs, slot: IntArray, n_species: int) -> FloatArray:
    """Sum d^2 and d^4 by groups of 256 atoms.

    Parameters
    ----------
    path
        Unwrapped positions (atom, frame, 3) in Å.
    runs
        Pairs of frames by lag.
    slot
        Index (atom,) of each atom's species.
    n_species
        Number of species.

    Returns
    -------
    Sums (group, species, lag, 2) in Å² and Å⁴.
    """
    groups = -(-len(path) // kernel.GROUP)
    out = np.zeros((groups, n_species, len(runs[0]) - 1, 2))
    kernel.moments(path, *runs, slot, n_species, out)
    return out


def sum_scattering(
    path: FloatArray, runs: Runs, slot: IntArray, n_species: int, q: FloatArray
) -> FloatArray:
    """Sum sin(q d) / (q d) by groups of 256 atoms.

    Parameters
    ----------
    path
        Unwrapped positions (atom, frame, 3) in Å.
    runs
        Pairs of frames by lag.
    slot
        Index (atom,) of each atom's species.
    n_species
        Number of species.
    q
        Wavenumbers (q,) in 1/Å.

    Returns
    -------
    Sums (group, species, lag, q).
    """
    groups = -(-len(path) // kernel.GROUP)
    out = np.zeros((groups, n_species, len(runs[0]) - 1, len(q)))
    kernel.scattering(path, *runs, slot, n_species, q, out)
    return out


def count_van_hove(
    path: FloatArray, runs: Runs, slot: IntArray, n_species: int, width: float, bins: int
) -> IntArray:
    """Count displacements by distance.

    Parameters
    ----------
    path
        Unwrapped positions (atom, frame, 3) in Å.
    runs
        Pairs of frames by lag.
    slot
        Index (atom,) of each atom's species.
    n_species
        Number of species.
    width
        Width of a bin in Å.
    bins
        Number of bins. The last one takes all longer distances.

    Returns
    -------
    Counts (species, lag, bin).
    """
    counts = np.zeros((n_species, len(runs[0]) - 1, bins), dtype=np.int64)
    kernel.van_hove(path, *runs, slot, n_species, width, counts)
    return counts


def count_overlap(
    path: FloatArray,
    origins: IntArray,
    later: IntArray,
    slot: IntArray,
    n_species: int,
    radius: float,
) -> IntArray:
    """Count atoms displaced by less than ``radius``.

    Parameters
    ----------
    path
        Unwrapped positions (atom, frame, 3) in Å.
    origins
        Frames (origin,) from which displacements are counted.
    later
        Frames (origin, lag) to which they are counted; -1 if there is none.
    slot
        Index (atom,) of each atom's species.
    n_species
        Number of species.
    radius
        Distance in Å.

    Returns
    -------
    Counts (species, origin, lag).
    """
    counts = np.zeros((n_species, len(origins), later.shape[1]), dtype=np.int64)
    kernel.overlap(path, origins, np.ascontiguousarray(later), slot, n_species, radius, counts)
    return counts
