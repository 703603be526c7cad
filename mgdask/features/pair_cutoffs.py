"""Analyses of pairs of species: radial distribution functions with their peaks and troughs, and Cargill-Spaepen order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.features.environments import LocalEnvironments
from mgdask.features.feature import Periodic
from mgdask.kernels.rdf import first_minimum, first_peak, pair_counts

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]


def count_pairs(
    position: Float,
    cell: Float,
    numbers: npt.NDArray[np.integer],
    pbc: Periodic,
    species: Sequence[str],
    edges: Float,
    centers: Integer,
) -> Integer:
    """Neighbours of some centres by species and distance in one frame: (species, neighbour's species, bin), whole numbers."""
    environments = LocalEnvironments(position, cell, numbers, pbc)
    return pair_counts(
        environments.cell_list(float(edges[-1])),
        centers,
        environments.slots(tuple(species)),
        len(species),
        edges,
    )


def radial_distribution(
    counts: Integer,
    n_atoms: Integer,
    volume: float,
    species: Sequence[str],
    edges: Float,
    n_frames: int,
) -> xr.Dataset:
    """g_XY(r) with first peaks, first minima and coordination numbers, from counts (species, species, bin) summed over frames.

        g_XY(r) = n_XY(r) / (n_frames N_X rho_Y 4/3 pi (r_out^3 - r_in^3)),   rho_Y = N_Y / <V>

    with n_XY the number of Y in a shell around all X. The first peak is the first maximum of at least half the highest one, the first minimum
    the lowest point between it and 1.75 times its distance, both of g smoothed over two bins, between bins by a parabola; NaN where there
    are no pairs. The coordination number is that of Y within the first minimum of g_XY around an X. ``first_minimum_all`` and so on are
    those of all pairs together.
    """
    middle = 0.5 * (edges[1:] + edges[:-1])
    shell = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    k = len(species)
    with np.errstate(invalid="ignore", divide="ignore"):
        per_atom = counts / (n_frames * n_atoms[:, None, None])
        g = per_atom / (n_atoms[None, :, None] / volume * shell)
        total = counts.sum(axis=(0, 1)) / (n_frames * n_atoms.sum() ** 2 / volume * shell)
    peak, trough, near = np.empty((k, k)), np.empty((k, k)), np.empty((k, k))
    for a in range(k):
        for b in range(k):
            peak[a, b], trough[a, b] = first_peak(g[a, b], edges), first_minimum(g[a, b], edges)
            near[a, b] = _within(per_atom[a, b], edges, trough[a, b])
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
                trough,
                {**length, "long_name": "distance of the first minimum, for use as cut-off"},
            ),
            "coordination": (
                pair,
                near,
                {
                    "units": "1",
                    "long_name": "neighbours of the second species within the first minimum",
                },
            ),
            "n_atoms": (
                "species",
                n_atoms,
                {"units": "1", "long_name": "atoms of a species in a frame"},
            ),
            "first_peak_all": ((), first_peak(total, edges), length),
            "first_minimum_all": ((), first_minimum(total, edges), length),
        },
        coords={
            "r": ("r", middle, length),
            "species": list(species),
            "neighbor_species": list(species),
        },
        attrs={"frames": n_frames, "mean_volume": volume},
    )


def pair_cutoffs(rdf: xr.Dataset) -> dict[str, float]:
    """The first minima of ``partial_rdf`` as cut-offs in Å by pair of species, {"Cu-Zr": 3.7, ...}, as ``NonAffine`` takes them.

    ``ParameterError`` where a pair has none, because it was never met.

    >>> NonAffine(cutoff=pair_cutoffs(mgdask.partial_rdf("glass.zarr")))  # doctest: +SKIP
    """
    names = [str(name) for name in rdf["species"].values]
    found = {
        f"{a}-{b}": float(rdf["first_minimum"].sel(species=a, neighbor_species=b))
        for k, a in enumerate(names)
        for b in names[k:]
    }
    lacking = [pair for pair, distance in found.items() if not np.isfinite(distance)]
    if lacking:
        raise ParameterError(
            f"g(r) of {', '.join(lacking)} has no first minimum up to {float(rdf['r'].max()):.1f} Å; give its cut-off by hand"
        )
    return found


def _within(per_atom: Float, edges: Float, distance: float) -> float:
    if not np.isfinite(distance):
        return float("nan")
    return float(np.interp(distance, edges, np.concatenate([[0.0], np.cumsum(per_atom)])))


def cargill_spaepen(
    features: xr.Dataset, *, name: str = "chemistry", neighbors: str | None = None
) -> xr.DataArray:
    """Cargill-Spaepen order -alpha_A(B) of every pair of species, from the counts of a ``Chemistry`` feature.

        -alpha_A(B) = (Z_A(B) - f_B Z_A) / (f_B Z_A)

    Z_A(B) is the mean number of B around an A, Z_A their sum over B, f_B the fraction of B among all atoms. Positive: A prefers B.

    Parameters: ``features`` from ``featurize`` or ``open_store``, all atoms as centres, with quantity "count"; ``name`` of the variable;
    ``neighbors`` "voronoi" or "cutoff", where it holds both. Atoms whose count is NaN (open cells) are left out of the means, not of f_B.

    Returns a DataArray (species, neighbor_species). ``ParameterError`` where there are no counts. Source: Cargill, Spaepen, J. Non-Cryst. Solids
    43, 91 (1981).

    >>> cargill_spaepen(mgdask.featurize(ds, [Chemistry(species=("Cu", "Zr"))]))  # doctest: +SKIP
    """
    if name not in features:
        raise ParameterError(
            f"the Dataset has no {name!r}; it has {', '.join(map(str, features.data_vars))}"
        )
    labels = [str(label) for label in features[f"{name}_feature"].values]
    end = f"_{neighbors}" if neighbors else ""
    counts = [label for label in labels if label.startswith("count_") and label.endswith(end)]
    names = [label.removeprefix("count_").removesuffix(end) for label in counts]
    if neighbors is None and any("_" in found for found in names):
        raise ParameterError(
            f"{name} counts two lists of neighbours; choose neighbors='voronoi' or 'cutoff'"
        )
    if not names or any("_" in found for found in names):
        raise ParameterError(
            f"{name} has no counts{f' of {neighbors} neighbours' if neighbors else ''}; its columns are {', '.join(labels)}"
        )
    z = features["species"].values
    n = np.asarray(
        features[name].sel({f"{name}_feature": counts}).transpose("frame", "atom", ...).values
    )
    fraction = np.array([(z == atomic_number(found)).mean() for found in names])
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
    """Symbols of the elements present, in the order of atomic numbers."""
    return tuple(symbol(int(z)) for z in np.unique(numbers))
