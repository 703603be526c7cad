"""Pairs of species: radial distribution functions, cutoffs, Cargill-Spaepen order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask._typing import BoolArray, FloatArray, IntArray, Periodic
from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.features.environments import LocalEnvironments
from mgdask.kernels.rdf import (
    first_minimum,
    first_peak,
    local_maxima,
    minimum_after,
    pair_counts,
    smooth,
    vertex,
)

FIRST_SHELL = 1.5
"""Largest distance of the main peak of all atoms, relative to the first peak."""


def count_pairs(
    position: FloatArray,
    cell: FloatArray,
    numbers: npt.NDArray[np.integer],
    pbc: Periodic,
    species: Sequence[str],
    edges: FloatArray,
    centers: IntArray,
    neighbors: BoolArray | None = None,
) -> IntArray:
    """Count the neighbors of ``centers`` by species and distance in one frame.

    Layout ``(atom,3),(3,3),(atom,)->(species,species,bin)``; counts are integers. If
    given, the mask ``neighbors`` (atom,) says which atoms count as neighbors.
    """
    environments = LocalEnvironments(position, cell, numbers, pbc)
    cells, slots = environments.cell_list(float(edges[-1])), environments.slots(tuple(species))
    k = len(species)
    if neighbors is None:
        return pair_counts(cells, centers, slots, k, edges)
    # atoms that are not neighbors are counted as further species, and dropped
    counts = pair_counts(cells, centers, np.where(neighbors, slots, slots + k), 2 * k, edges)
    counted: IntArray = counts[:k, :k] + counts[k:, :k]
    return counted


def radial_distribution(
    counts: IntArray,
    n_atoms: IntArray,
    volume: float,
    species: Sequence[str],
    edges: FloatArray,
    n_frames: int,
    n_neighbors: IntArray | None = None,
) -> xr.Dataset:
    """Compute g_XY(r), its first peaks and minima, and coordination numbers.

        g_XY(r) = n_XY(r) / (n_frames N_X rho_Y 4/3 pi (r_out^3 - r_in^3))
        rho_Y = N_Y / <V>

    n_XY is the number of Y atoms in the shells around all X atoms. The first peak is
    the first maximum of at least half the highest one. The first minimum is the lowest
    point between the first peak and 1.75 times its distance. Both are found on g
    smoothed over two bins and refined by a parabola. They are NaN if there are no
    pairs. The coordination number is the mean number of Y within the first minimum of
    g_XY around X.

    The first shell of all atoms can have several maxima, one per pair of species. The
    highest one within 1.5 times the distance of the first is the first peak of all
    atoms. The highest significant maximum before it, if any, is the minor peak.

    Parameters
    ----------
    counts
        Pair counts (species,species,bin) summed over frames.
    n_atoms
        Number of atoms per species (species,).
    volume
        Mean volume in Å³.
    species
        Element symbols.
    edges
        Edges of the bins (bin+1,) in Å.
    n_frames
        Number of frames.
    n_neighbors
        Number of atoms per species (species,) that count as neighbors. Default:
        ``n_atoms``, so that all atoms are both.

    Returns
    -------
    Dataset with g, count (species, neighbor_species, r), g_all (r), first_peak,
    first_minimum, coordination (species, neighbor_species), n_atoms (species), and
    first_peak_all, minor_peak_all and first_minimum_all of all pairs together.
    """
    middle = 0.5 * (edges[1:] + edges[:-1])
    shell = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    k = len(species)
    others = n_atoms if n_neighbors is None else n_neighbors
    with np.errstate(invalid="ignore", divide="ignore"):
        per_atom = counts / (n_frames * n_atoms[:, None, None])
        g = per_atom / (others[None, :, None] / volume * shell)
        n_pairs = n_atoms.sum() * others.sum()
        total = counts.sum(axis=(0, 1)) / (n_frames * n_pairs / volume * shell)
    peak, minimum, coordination = np.empty((k, k)), np.empty((k, k)), np.empty((k, k))
    for a in range(k):
        for b in range(k):
            peak[a, b], minimum[a, b] = first_peak(g[a, b], edges), first_minimum(g[a, b], edges)
            coordination[a, b] = _within(per_atom[a, b], edges, minimum[a, b])
    shell_of_all = _first_shell(total, counts.sum(axis=(0, 1)), edges)
    pair = ("species", "neighbor_species")
    length = {"units": "Å"}
    return xr.Dataset(
        {
            "g": (
                (*pair, "r"),
                g,
                {"units": "1", "long_name": "partial radial distribution function"},
            ),
            "g_all": (
                "r",
                total,
                {"units": "1", "long_name": "radial distribution function of all atoms"},
            ),
            "count": (
                (*pair, "r"),
                counts,
                {"units": "1", "long_name": "pairs counted, summed over frames"},
            ),
            "first_peak": (pair, peak, {**length, "long_name": "distance of the first peak"}),
            "first_minimum": (
                pair,
                minimum,
                {**length, "long_name": "distance of the first minimum, for use as cutoff"},
            ),
            "coordination": (
                pair,
                coordination,
                {
                    "units": "1",
                    "long_name": "neighbors of the second species within the first minimum",
                },
            ),
            "n_atoms": (
                "species",
                n_atoms,
                {"units": "1", "long_name": "atoms of a species in a frame"},
            ),
            "first_peak_all": (
                (),
                shell_of_all.peak,
                {**length, "long_name": "distance of the main peak of the first shell"},
            ),
            "minor_peak_all": (
                (),
                shell_of_all.minor_peak,
                {**length, "long_name": "distance of a smaller peak before the main one"},
            ),
            "first_minimum_all": (
                (),
                shell_of_all.minimum,
                {**length, "long_name": "distance of the first minimum of all atoms"},
            ),
        },
        coords={
            "r": ("r", middle, length),
            "species": list(species),
            "neighbor_species": list(species),
        },
        attrs={"frames": n_frames, "mean_volume": volume},
    )


class _FirstShell(NamedTuple):
    """Distances in Å of the first shell of all atoms; NaN if there is none."""

    peak: float
    minor_peak: float
    minimum: float


def _first_shell(g: FloatArray, counts: IntArray, edges: FloatArray) -> _FirstShell:
    """Find the main peak of the first shell, a smaller one before it, the minimum."""
    first = first_peak(g, edges)
    if not np.isfinite(first):
        return _FirstShell(np.nan, np.nan, np.nan)
    smoothed, middle = smooth(g), 0.5 * (edges[1:] + edges[:-1])
    near = np.flatnonzero(
        (middle >= first - (middle[1] - middle[0])) & (middle <= FIRST_SHELL * first)
    )
    main = int(near[smoothed[near].argmax()])
    last = len(g) - 1
    if main == last or smoothed[main] < smoothed[main + 1]:  # g still rises there
        return _FirstShell(first, np.nan, first_minimum(g, edges))
    minor = _minor_peak(smoothed, counts, main)
    return _FirstShell(
        vertex(smoothed, middle, main),
        np.nan if minor is None else vertex(smoothed, middle, minor),
        minimum_after(smoothed, middle, main),
    )


def _minor_peak(smoothed: FloatArray, counts: IntArray, main: int) -> int | None:
    """Return the bin of the highest maximum before the main one that is not noise."""
    tops = local_maxima(smoothed)
    for k in sorted(tops[tops < main].tolist(), key=lambda k: -smoothed[k]):
        # each pair is counted twice, and smoothing averages about 7 bins
        noise = smoothed[k] / np.sqrt(max(3.5 * float(counts[k]), 1.0))
        depth = smoothed[k] - smoothed[k:main].min()
        if depth > max(0.05 * smoothed[main], 4.0 * noise):
            return int(k)
    return None


def pair_cutoffs(rdf: xr.Dataset) -> dict[str, float]:
    """Return the first minima of g(r) as cutoffs by pair of species.

    Parameters
    ----------
    rdf
        Dataset from ``partial_rdf``.

    Returns
    -------
    Cutoffs in Å per pair, such as {"Cu-Zr": 3.7}, for ``NonAffine(cutoff=...)`` and
    ``Coordination(pair_cutoffs=...)``.

    Raises
    ------
    ParameterError
        If a pair has no minimum because no such pair was found.

    Examples
    --------
    >>> cutoffs = pair_cutoffs(partial_rdf("glass.zarr"))  # doctest: +SKIP
    >>> Coordination(pair_cutoffs=cutoffs)  # doctest: +SKIP
    """
    names = [str(name) for name in rdf["species"].values]
    cutoffs = {
        f"{a}-{b}": float(rdf["first_minimum"].sel(species=a, neighbor_species=b))
        for k, a in enumerate(names)
        for b in names[k:]
    }
    undefined = [pair for pair, distance in cutoffs.items() if not np.isfinite(distance)]
    if undefined:
        raise ParameterError(
            f"g(r) of {', '.join(undefined)} has no first minimum up to "
            f"{float(rdf['r'].max()):.1f} Å; give the cutoff of the pair explicitly"
        )
    return cutoffs


def _within(per_atom: FloatArray, edges: FloatArray, distance: float) -> float:
    if not np.isfinite(distance):
        return float("nan")
    return float(np.interp(distance, edges, np.concatenate([[0.0], np.cumsum(per_atom)])))


def cargill_spaepen(
    features: xr.Dataset, *, name: str = "chemistry", neighbors: str | None = None
) -> xr.DataArray:
    """Compute the Cargill-Spaepen order -alpha_A(B) of every pair of species.

        -alpha_A(B) = (Z_A(B) - f_B Z_A) / (f_B Z_A)

    Z_A(B) is the mean number of B neighbors of an A atom, and Z_A is its sum over B.
    f_B is the fraction of B among all atoms. A positive value means that A prefers B.

    Parameters
    ----------
    features
        Dataset from ``featurize`` or ``open_store`` with the counts of a ``Chemistry``
        feature for all atoms.
    name
        Name of the variable.
    neighbors
        "voronoi" or "cutoff". Required if the variable counts both.

    Returns
    -------
    DataArray (species, neighbor_species).

    Raises
    ------
    ParameterError
        If the variable or its counts are missing.

    Notes
    -----
    Atoms whose counts are NaN (open cells) are left out of the means but count in f_B.

    References
    ----------
    Cargill, Spaepen, J. Non-Cryst. Solids 43, 91 (1981); Liu X. et al., J. Mater. Inf.
    2, 20 (2022), Eq. (6).

    Examples
    --------
    >>> features = featurize(ds, Chemistry(species=("Cu", "Zr")))  # doctest: +SKIP
    >>> cargill_spaepen(features)  # doctest: +SKIP
    """
    if name not in features:
        raise ParameterError(
            f"the Dataset has no {name!r}; it has {', '.join(map(str, features.data_vars))}"
        )
    labels = [str(label) for label in features[f"{name}_feature"].values]
    suffix = f"_{neighbors}" if neighbors else ""
    counts = [label for label in labels if label.startswith("count_") and label.endswith(suffix)]
    names = [label.removeprefix("count_").removesuffix(suffix) for label in counts]
    if neighbors is None and any("_" in element for element in names):
        raise ParameterError(
            f"{name} counts two neighbor lists; choose neighbors='voronoi' or 'cutoff'"
        )
    if not names or any("_" in element for element in names):
        raise ParameterError(
            f"{name} has no counts{f' of {neighbors} neighbors' if neighbors else ''}; "
            f"its columns are {', '.join(labels)}"
        )
    z = features["species"].values
    n = np.asarray(
        features[name].sel({f"{name}_feature": counts}).transpose("frame", "atom", ...).values
    )
    fraction = np.array([(z == atomic_number(element)).mean() for element in names])
    mean = np.array(
        [np.nanmean(n[:, z == atomic_number(a)].reshape(-1, len(names)), axis=0) for a in names]
    )
    random = fraction * mean.sum(axis=1, keepdims=True)
    return xr.DataArray(
        (mean - random) / random,
        dims=("species", "neighbor_species"),
        coords={"species": names, "neighbor_species": names},
        name="cargill_spaepen",
        attrs={
            "long_name": "Cargill-Spaepen order, -alpha",
            "units": "1",
            "source": "J. Non-Cryst. Solids 43, 91 (1981)",
        },
    )


def species_of(numbers: npt.NDArray[np.integer]) -> tuple[str, ...]:
    """Return the symbols of the elements present, sorted by atomic number."""
    return tuple(symbol(int(z)) for z in np.unique(numbers))
