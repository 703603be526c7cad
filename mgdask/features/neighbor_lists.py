"""Neighbor lists: their kinds, their layout, and how they grow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.features.cutoffs import Pairs

SmallFacets = Literal["static", "amlearn", "none"]


@dataclass(frozen=True)
class VoronoiNeighbors:
    """Neighbors that share a facet of the Voronoi cell.

    Parameters
    ----------
    small_facets
        Which small facets are dropped, as in ``Interstice``.
    """

    small_facets: SmallFacets = "static"


@dataclass(frozen=True)
class CutoffNeighbors:
    """Neighbors within a distance.

    Parameters
    ----------
    cutoff
        Cutoff distance in Å; the largest one if there are ``pair_cutoffs``.
    pair_cutoffs
        Cutoffs in Å per pair of species, or None for one distance.
    """

    cutoff: float
    pair_cutoffs: Pairs | None = None


def within_cutoff(cutoff: float, pair_cutoffs: Pairs | None) -> CutoffNeighbors:
    """Return the kind of neighbors for one cutoff, or for one cutoff per pair.

    Parameters
    ----------
    cutoff
        Cutoff distance in Å if there are no ``pair_cutoffs``.
    pair_cutoffs
        Cutoffs in Å per pair of species, or None.

    Returns
    -------
    The kind of neighbors.

    Examples
    --------
    >>> within_cutoff(4.0, None)
    CutoffNeighbors(cutoff=4.0, pair_cutoffs=None)
    >>> within_cutoff(4.0, (("Cu-Cu", 3.2), ("Cu-Zr", 3.7), ("Zr-Zr", 4.1))).cutoff
    4.1
    """
    if pair_cutoffs is None:
        return CutoffNeighbors(cutoff)
    return CutoffNeighbors(max(distance for _, distance in pair_cutoffs), pair_cutoffs)


Neighborhood = VoronoiNeighbors | CutoffNeighbors


class NeighborList(NamedTuple):
    """Neighbors of some atoms.

    Those of the k-th atom are entries ``first[k]:last[k]`` of ``row``, ``vector`` (Å)
    and ``distance`` (Å). For Voronoi neighbors they are also entries of ``area`` (Å²),
    ``edges`` and ``pyramid`` (Å³). ``volume`` (Å³) and ``state`` are those of the cell
    of the k-th atom.
    """

    first: IntArray
    last: IntArray
    row: IntArray
    vector: FloatArray
    distance: FloatArray
    area: FloatArray
    edges: IntArray
    pyramid: FloatArray
    volume: FloatArray
    state: IntArray


class Interstices(NamedTuple):
    """Hulls of the Voronoi neighbors of some atoms.

    Triangles of the k-th atom are entries ``first[k]:last[k]`` of ``area`` and
    ``volume``. ``hull``, ``cones`` and ``flag`` are those of the k-th atom. See
    ``mgdask.kernels.interstice``.
    """

    first: IntArray
    last: IntArray
    area: FloatArray
    volume: FloatArray
    hull: FloatArray
    cones: FloatArray
    flag: IntArray


@dataclass
class Pool:
    """Entries of different numbers for some atoms.

    ``slot`` (atom,) is the place of each atom, -1 if it has none yet.
    """

    slot: IntArray
    first: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    last: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    per_entry: list[AnyArray] = field(default_factory=list)
    per_atom: list[AnyArray] = field(default_factory=list)
    added: list[IntArray] = field(default_factory=list)

    def missing(self, atoms: IntArray) -> IntArray:
        """Return those of ``atoms`` that have no place yet, each once."""
        return once(atoms[self.slot[atoms] < 0])

    def add(
        self, atoms: IntArray, offset: IntArray, per_entry: list[AnyArray], per_atom: list[AnyArray]
    ) -> None:
        """Give places to atoms.

        Entries of the k-th atom are ``offset[k]:offset[k+1]`` of the arrays
        ``per_entry``.
        """
        self.slot[atoms] = len(self.first) + np.arange(len(atoms))
        self.added.append(atoms)
        base = len(self.per_entry[0]) if self.per_entry else 0
        self.first = np.concatenate([self.first, base + offset[:-1]])
        self.last = np.concatenate([self.last, base + offset[1:]])
        self.per_entry, self.per_atom = (
            _join(self.per_entry, per_entry),
            _join(self.per_atom, per_atom),
        )

    def clear(self) -> None:
        """Forget all atoms."""
        for atoms in self.added:
            self.slot[atoms] = -1
        self.first, self.last = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        self.per_entry, self.per_atom, self.added = [], [], []


def once(atoms: IntArray) -> IntArray:
    """Return atoms sorted, each once."""
    # most often they are sorted already
    return atoms if (atoms[1:] > atoms[:-1]).all() else np.unique(atoms)


def _join(old: list[AnyArray], new: list[AnyArray]) -> list[AnyArray]:
    return [np.concatenate(pair) for pair in zip(old, new, strict=True)] if old else new


def spans(first: IntArray, last: IntArray) -> IntArray:
    """Return the indices first[0] .. last[0]-1, first[1] .. last[1]-1, and so on.

    Parameters
    ----------
    first
        First entry (k,) of each stretch.
    last
        One past the last entry (k,) of each stretch.

    Returns
    -------
    Indices of all entries.
    """
    count = last - first
    ends = np.cumsum(count)
    return np.repeat(first - (ends - count), count) + np.arange(ends[-1] if len(ends) else 0)


def neighbor_list_bytes(kind: Neighborhood, n_atoms: int, n_centers: int) -> int:
    """Return the bytes of a neighbor list while it grows.

    Parameters
    ----------
    kind
        Voronoi neighbors, or neighbors by distance.
    n_atoms
        Atoms of the frame.
    n_centers
        Atoms that have entries.

    Returns
    -------
    Bytes, cell list included. All kinds of Voronoi neighbors share one.

    Notes
    -----
    Valid for densities of metals: 20 facets per cell, 0.09 atoms per Å³.
    """
    each = 20.0 if isinstance(kind, VoronoiNeighbors) else 0.09 * 4.19 * kind.cutoff**3
    # a list by pair of species is selected from a list by distance
    by_pair = isinstance(kind, CutoffNeighbors) and kind.pair_cutoffs is not None
    entry = 64 if isinstance(kind, VoronoiNeighbors) else 88 if by_pair else 40
    sorted_atoms = (
        0
        if isinstance(kind, VoronoiNeighbors) and kind != VoronoiNeighbors("none")
        else 150 * n_atoms
    )
    return int(2 * each * entry * n_centers) + sorted_atoms
