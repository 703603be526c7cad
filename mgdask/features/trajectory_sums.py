"""Sums over the paths of some atoms: what the analyses of motion are added up from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgdask.kernels import displacement as kernel

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]
Runs = tuple[Integer, Integer, Integer, Integer]
"""Pairs of frames by lag: start (lag+1,), origin, later, length (run,); see ``mgdask.features.lag.lag_pairs``."""


def sum_moments(path: Float, runs: Runs, slot: Integer, n_species: int) -> Float:
    """Sums of d^2 and d^4 by groups of 256 atoms: (atom,frame,3) -> (group,species,lag,2)."""
    groups = -(-len(path) // kernel.GROUP)
    out = np.zeros((groups, n_species, len(runs[0]) - 1, 2))
    kernel.moments(path, *runs, slot, n_species, out)
    return out


def sum_scattering(path: Float, runs: Runs, slot: Integer, n_species: int, q: Float) -> Float:
    """Sums of sin(q d) / (q d) by groups of 256 atoms: (atom,frame,3) -> (group,species,lag,q)."""
    groups = -(-len(path) // kernel.GROUP)
    out = np.zeros((groups, n_species, len(runs[0]) - 1, len(q)))
    kernel.scattering(path, *runs, slot, n_species, q, out)
    return out


def count_van_hove(
    path: Float, runs: Runs, slot: Integer, n_species: int, width: float, bins: int
) -> Integer:
    """Counts of distances, the last bin takes the rest: (atom,frame,3) -> (species,lag,bin)."""
    counts = np.zeros((n_species, len(runs[0]) - 1, bins), dtype=np.int64)
    kernel.van_hove(path, *runs, slot, n_species, width, counts)
    return counts


def count_overlap(
    path: Float, origins: Integer, later: Integer, slot: Integer, n_species: int, radius: float
) -> Integer:
    """Atoms that have gone less than ``radius``: (atom,frame,3) -> (species,origin,lag)."""
    counts = np.zeros((n_species, len(origins), later.shape[1]), dtype=np.int64)
    kernel.overlap(path, origins, np.ascontiguousarray(later), slot, n_species, radius, counts)
    return counts
