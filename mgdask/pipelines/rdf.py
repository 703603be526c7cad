"""Partial radial distribution functions of a stored trajectory, summed over frames by tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.errors import ParameterError
from mgdask.execution.executor import execute, resolve_client
from mgdask.features.pair_cutoffs import count_pairs, radial_distribution, species_of
from mgdask.geometry import volume
from mgdask.pipelines.featurize.validation import select_frames
from mgdask.store.open import check_complete
from mgdask.store.trajectory import read_window

ATOMS_A_TASK = 200_000
"""Central atoms of one task, over all its frames."""


def partial_rdf(
    store: str | Path,
    *,
    r_max: float = 10.0,
    bins: int = 500,
    frames: Any = None,
    client: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """Radial distribution functions of every pair of species, with first peaks and first minima for use as cut-offs.

        g_XY(r) = n_XY(r) / (n_frames N_X rho_Y 4/3 pi (r_out^3 - r_in^3)),   rho_Y = N_Y / <V>

    Parameters
    ----------
    store: a finished trajectory store. r_max: Å; pairs are counted exactly beyond half the cell too, over all images.
    bins: of equal width between 0 and r_max. frames: a slice or indices (default all).
    client: a ``distributed.Client`` (default the current one, else threads of this process).

    Returns a Dataset: g(species, neighbor_species, r), g_all(r), count, first_peak and first_minimum(species, neighbor_species) in Å, coordination
    (neighbours within the first minimum), first_peak_all, first_minimum_all. Sums are of whole numbers, so that the result is the same to the bit
    whatever the workers. With free surfaces g is relative to the density of the cell, vacuum included; peaks and troughs stay where they are.

    >>> rdf = mgdask.partial_rdf("glass.zarr")                                           # doctest: +SKIP
    >>> Interstice(cutoff=float(rdf.first_minimum_all))                                 # doctest: +SKIP
    >>> Interstice(radii={x: float(rdf.first_peak.sel(species=x, neighbor_species=x)) / 2 for x in rdf.species.values})  # doctest: +SKIP
    """
    if not 0.0 < r_max < np.inf:
        raise ParameterError(f"r_max={r_max} must be a distance in Å above 0")
    if bins < 10:
        raise ParameterError(f"bins={bins} must be at least 10")
    group, _ = check_complete(store, kind="trajectory")
    numbers = np.asarray(group["species"][...])
    chosen = select_frames(frames, int(group["position"].shape[0]))
    names = species_of(numbers)
    edges = np.linspace(0.0, r_max, bins + 1)
    several = max(1, ATOMS_A_TASK // max(len(numbers), 1))
    tasks = []
    for first in range(0, len(chosen), several):
        some = tuple(int(k) for k in chosen[first : first + several])
        for row in range(0, len(numbers), ATOMS_A_TASK):
            name = f"frame {some[0]} row {row}"
            tasks.append(
                (name, (str(store), some, row, min(row + ATOMS_A_TASK, len(numbers)), names, edges))
            )
    with resolve_client(client) as workers:
        outcome = execute(
            workers, _count, tasks, what="radial distribution", unit="tasks", progress=progress
        )
    counts = sum(
        (outcome.results[name]["counts"] for name, _ in tasks),
        np.zeros((len(names), len(names), bins), dtype=np.int64),
    )
    volumes = [v for name, task in tasks if task[2] == 0 for v in outcome.results[name]["volumes"]]
    n_atoms = np.array([(numbers == z).sum() for z in np.unique(numbers)])
    found = radial_distribution(counts, n_atoms, float(np.mean(volumes)), names, edges, len(chosen))
    return found.assign_attrs(input=str(store))


def _count(
    store: str,
    frames: tuple[int, ...],
    first: int,
    last: int,
    names: tuple[str, ...],
    edges: npt.NDArray[np.float64],
) -> dict[str, Any]:
    """Task: counts of some frames, some atoms as centres."""
    group, _ = check_complete(store, kind="trajectory")
    numbers, pbc = np.asarray(group["species"][...]), np.asarray(group["pbc"][...])
    position, cell = read_window(store, np.asarray(frames))
    counts = np.zeros((len(names), len(names), len(edges) - 1), dtype=np.int64)
    for k in range(len(frames)):
        counts += count_pairs(
            position[k], cell[k], numbers, pbc, names, edges, np.arange(first, last)
        )
    return {"counts": counts, "volumes": [volume(c) for c in cell]}
