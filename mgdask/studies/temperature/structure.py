"""Structure of liquid-like and solid-like atoms: Figs. 4 and 5, and its features.

Liu X. et al., J. Mater. Inf. 2, 20 (2022): liquid-like and solid-like atoms are the
10 % of all atoms with the highest and the lowest T_ML, regardless of species. Their
structure is that of the first frame of the run, from which displacements are measured.
The paper does not say which frame it uses. Only the first frame precedes all motion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from mgdask._typing import FloatArray, IntArray
from mgdask.analysis.groups import composition, coordination_change, extreme_groups, polyhedra
from mgdask.analysis.order import cargill_spaepen
from mgdask.features.chemistry import Chemistry
from mgdask.features.pair_cutoffs import species_of
from mgdask.features.voronoi import VoronoiIndices
from mgdask.report.json import to_plain
from mgdask.studies.temperature.views import PairDistances, Structure

LIQUID, SOLID = "liquid-like", "solid-like"
"""Names of the groups."""
TOP = 10
"""Most common polyhedra of each group that are compared, as in Fig. 4A."""
POLYHEDRA, NEIGHBORS = "polyhedra", "neighbors"
"""Variables of the structure store."""


def structure_of(
    name: str,
    t_ml: FloatArray,
    numbers: IntArray,
    indices: FloatArray,
    counts: FloatArray,
    species: Sequence[str],
    *,
    atom_id: IntArray | None = None,
    fraction: float = 0.1,
) -> Structure:
    """Compare the structure of liquid-like and solid-like atoms with that of all.

    Parameters
    ----------
    name
        Name of the store.
    t_ml
        T_ML in K (atom,).
    numbers
        Atomic numbers (atom,).
    indices
        Facets with 3 to 7 edges of each Voronoi cell (atom, 5).
    counts
        Neighbors of each atom by species, within the troughs of the partial g(r) (atom,
        species).
    species
        Symbols of the columns of ``counts``.
    atom_id
        Identifiers, which order atoms of the same T_ML. Default: row numbers.
    fraction
        Share of the atoms in each group.

    Returns
    -------
    structure
        Fractions f and deviations Δf of polyhedra (Eqs. 3 and 4) with their LFFS,
        compositions, ΔCN (Eq. 5) and −α with its signs (Eq. 6). All have standard
        errors for independent atoms.

    Notes
    -----
    If many atoms share the lowest T_ML, their identifiers decide which of them are
    solid-like. Use ``ranks_of`` to rank them by motion first.
    """
    cold, hot = extreme_groups(t_ml, fraction, atom_id)
    groups = {LIQUID: hot, SOLID: cold}
    return Structure(
        name,
        int(hot.sum()),
        fraction,
        *(
            to_plain(part)
            for part in (
                polyhedra(indices, groups, top=TOP, ranked_by="groups"),
                composition(numbers, groups),
                coordination_change(counts.sum(axis=1), numbers, groups),
                cargill_spaepen(counts, numbers, species, groups),
            )
        ),
    )


def ranks_of(
    t_ml: FloatArray, motion: FloatArray, species: IntArray, atom_id: IntArray
) -> FloatArray:
    """Return ranks by T_ML, then by relative motion, then by identifier.

    Parameters
    ----------
    t_ml
        T_ML in K (atom,).
    motion
        Mean of lg[r²m] over the lags (atom,). It is taken relative to the mean of the
        species, because species differ in r²m at the same temperature.
    species
        Atomic numbers (atom,).
    atom_id
        Identifiers (atom,).

    Examples
    --------
    >>> t, motion = np.array([5.0, 5.0, 1.0]), np.array([2.0, 1.0, 9.0])
    >>> ranks_of(t, motion, np.full(3, 29), np.arange(3)).tolist()
    [2.0, 1.0, 0.0]
    """
    relative = np.array(motion, dtype=np.float64)
    for kind in np.unique(species):
        relative[species == kind] -= motion[species == kind].mean()
    ranks = np.empty(len(t_ml))
    ranks[np.lexsort((atom_id, relative, t_ml))] = np.arange(len(t_ml))
    return ranks


def tied_share(t_ml: FloatArray, fraction: float = 0.1) -> float:
    """Return the share of solid-like atoms that are not determined by T_ML alone.

    Parameters
    ----------
    t_ml
        T_ML in K (atom,).
    fraction
        Share of the atoms in each group.

    Examples
    --------
    >>> tied_share(np.array([100.0] * 50 + [200.0] * 50), 0.1)
    1.0
    """
    cold, _ = extreme_groups(t_ml, fraction)
    edge = t_ml[cold].max()
    if int((t_ml == edge).sum()) == int((t_ml[cold] == edge).sum()):
        return 0.0
    return float((t_ml[cold] == edge).mean())


def structure_features(
    numbers: IntArray, cutoffs: Mapping[str, float]
) -> tuple[VoronoiIndices, Chemistry]:
    """Return the features that ``structure_of`` needs.

    Parameters
    ----------
    numbers
        Atomic numbers of the store (atom,).
    cutoffs
        Cutoff of each pair of species in Å, such as {"Cu-Zr": 3.7}.

    Notes
    -----
    Facets below 5 % of the mean facet area of a cell are dropped, as in the barcode
    study. The paper does not state its own rule.
    """
    return (
        VoronoiIndices(beyond=False).named(POLYHEDRA),
        Chemistry(
            species=species_of(numbers),
            quantities=("count",),
            neighbors=("cutoff",),
            pair_cutoffs=tuple(cutoffs.items()),
        ).named(NEIGHBORS),
    )


def distances_of(rdf: xr.Dataset) -> PairDistances:
    """Return the partial g(r) and their troughs for the figure.

    Parameters
    ----------
    rdf
        Result of ``mgdask.partial_rdf``.

    Returns
    -------
    distances
        A pair without a trough has the cutoff NaN.
    """
    names = [str(name) for name in rdf["species"].values]
    g = rdf["g"].values
    return PairDistances(
        np.asarray(rdf["r"].values, dtype=np.float64),
        {
            f"{a}-{b}": np.asarray(g[k, n], dtype=np.float64)
            for k, a in enumerate(names)
            for n, b in enumerate(names)
            if n >= k
        },
        {
            f"{a}-{b}": float(rdf["first_minimum"].values[k, n])
            for k, a in enumerate(names)
            for n, b in enumerate(names)
            if n >= k
        },
    )
