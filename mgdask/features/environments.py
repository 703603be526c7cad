"""Neighbor lists, Voronoi cells and values that several features of a block share.

A ``LocalEnvironments`` belongs to one frame. Lists are kept for the atoms asked for so
far and grow when more are asked for. An atom's own entries depend on the frame only, so
that the order of requests does not matter.

Features made of neighbors' values need atoms around the block as well. This halo is
computed in batches, of which only the values are kept. For large frames the cell lists
and the values are kept from block to block, in each thread.

Several threads may use one ``LocalEnvironments``: lists grow under a lock, and a list
that was handed out stays as it is. Values kept of a frame may be computed twice then,
with the same bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from copy import copy
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray, Periodic
from mgdask.elements import atomic_number, radius, symbol
from mgdask.errors import ParameterError
from mgdask.features.cutoffs import cutoff_table
from mgdask.features.neighbor_lists import (
    CutoffNeighbors,
    Interstices,
    Neighborhood,
    NeighborList,
    Pool,
    SmallFacets,
    VoronoiNeighbors,
    once,
    spans,
    within_cutoff,
)
from mgdask.geometry import complete_cell
from mgdask.kernels.interstice import interstices
from mgdask.kernels.neighbors import CellList, list_neighbors, make_cell_list
from mgdask.kernels.nonaffine import within
from mgdask.kernels.rdf import first_peak, pair_counts
from mgdask.kernels.smallfacets import RULES, select
from mgdask.kernels.voronoi import (
    CLOSED,
    COINCIDENT,
    OPEN,
    UNCERTAIN,
    Cells,
    cells_by_radius,
    make_cells,
    mean_spacing,
)

if TYPE_CHECKING:
    from mgdask.features.feature import FrameFeature

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Radii = str | tuple[tuple[str, float], ...]

LARGE = 20_000
"""Minimum number of atoms of a frame that is kept for the next block."""
KEPT_VALUES = 2**28
"""Maximum bytes of one feature's values that are kept from block to block."""
HALO_BATCH = 4096
"""Atoms of the halo of a block that are computed at a time."""
_RECENT = threading.local()
_STATES = {"open_cell": OPEN, "coincident_atom": COINCIDENT, "uncertain_cell": UNCERTAIN}


def _locked(method: F) -> F:
    """Return a method that only one thread at a time runs on the same environments."""

    @wraps(method)
    def locked(self: LocalEnvironments, *args: Any, **named: Any) -> Any:
        with self._lock:
            return method(self, *args, **named)

    return cast(F, locked)


class _Values(NamedTuple):
    """Values of a feature: which atoms have them, rows, and flags by name."""

    known: BoolArray
    rows: AnyArray
    flags: dict[str, BoolArray]


class LocalEnvironments:
    """One frame, with what has been computed for it so far.

    Parameters
    ----------
    position
        Positions (atom, 3) in Å.
    cell
        Cell vectors (3, 3) in Å, one per row.
    numbers
        Atomic numbers (atom,).
    pbc
        Whether each cell vector repeats.
    centers
        Indices (center,) of atoms whose lists are kept (default all).
    dependencies
        Features whose values are needed for the neighbors of centers too. Their halos
        are computed together.
    """

    def __init__(
        self,
        position: FloatArray,
        cell: FloatArray,
        numbers: npt.NDArray[np.integer],
        pbc: Periodic,
        centers: IntArray | None = None,
        dependencies: Sequence[FrameFeature] = (),
    ) -> None:
        self.position = np.ascontiguousarray(position, dtype=np.float64)
        self.cell = complete_cell(cell, pbc)
        self.numbers = np.asarray(numbers, dtype=np.int64)
        self.pbc = tuple(bool(p) for p in pbc)
        self._kept = _kept(self.position, self.cell, self.pbc, self.numbers)
        self._passing: dict[Any, Any] = {}
        self._pools: dict[Any, Pool] = {}
        self._spacing: float | None = None
        self._dependencies = tuple(dependencies)
        self._own = np.ones(len(self.position), dtype=bool)
        if centers is not None and len(centers) < len(self.position):
            self._own[:] = False
            self._own[centers] = True
        self._halo: LocalEnvironments | None = None
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.position)

    def cell_list(self, cutoff: float) -> CellList:
        """Return the atoms sorted into cells for a cutoff in Å."""
        cells: CellList = self.kept(
            cutoff, lambda: make_cell_list(self.position, self.cell, self.pbc, cutoff)
        )
        return cells

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return a value that belongs to the whole frame, computed only once.

        It is kept for other features, and for the next block of a large frame.

        Parameters
        ----------
        key
            Name and parameters that identify the value.
        make
            Function that computes it.

        Returns
        -------
        The value.
        """
        with self._lock:
            if key not in self._kept:
                # another block of a large frame may have made it meanwhile
                self._kept.setdefault(key, make())
            value: T = self._kept[key]
        return value

    def slots(self, names: tuple[str, ...]) -> IntArray:
        """Return the index (atom,) of each atom's element in ``names``.

        Parameters
        ----------
        names
            Element symbols, sorted by atomic number.

        Returns
        -------
        Indices (atom,).
        """
        return np.searchsorted(
            np.array([atomic_number(name) for name in names]), self.numbers
        ).astype(np.int64)

    @_locked
    def neighbors(self, cutoff: float, atoms: IntArray) -> NeighborList:
        """Return the neighbors of some atoms within a distance.

        Parameters
        ----------
        cutoff
            Cutoff distance in Å.
        atoms
            Indices (center,) of the atoms.

        Returns
        -------
        The list, without what belongs to Voronoi cells.
        """
        pool = self._pools.setdefault(("neighbors", cutoff), Pool(np.full(len(self), -1)))
        new = pool.missing(atoms)
        if len(new) or not pool.per_entry:
            offset, row, vector, distance = list_neighbors(self.cell_list(cutoff), new)
            pool.add(new, offset, [row, vector, distance], [])
        return _without_cells(pool, atoms)

    @_locked
    def _neighbors_by_pair(self, kind: CutoffNeighbors, atoms: IntArray) -> NeighborList:
        """Return the neighbors within the cutoff for their pair of species."""
        pool = self._pools.setdefault(kind, Pool(np.full(len(self), -1)))
        new = pool.missing(atoms)
        if len(new) or not pool.per_entry:
            near = self.neighbors(kind.cutoff, new)
            names, table = cutoff_table(kind.pair_cutoffs or ())
            first, last, pick = within(
                new, near.first, near.last, near.row, near.distance, self.slots(names), table
            )
            offset = np.append(first, last[-1:] if len(last) else 0)
            pool.add(new, offset, [near.row[pick], near.vector[pick], near.distance[pick]], [])
        return _without_cells(pool, atoms)

    @_locked
    def voronoi(self, atoms: IntArray, small_facets: SmallFacets = "none") -> NeighborList:
        """Return the Voronoi neighbors of some atoms.

        Parameters
        ----------
        atoms
            Indices (center,) of the atoms.
        small_facets
            Which small facets are dropped, as in ``Interstice``.

        Returns
        -------
        The list, one entry per facet.
        """
        pool = self._pools.setdefault(("voronoi", small_facets), Pool(np.full(len(self), -1)))
        new = pool.missing(atoms)
        if len(new) or not pool.per_entry:
            all_facets = small_facets == "none"
            cells = (
                self._cells(new)
                if all_facets
                else select(_as_cells(self.voronoi(new)), RULES[small_facets])
            )
            pool.add(new, cells.offset, list(cells[1:7]), [cells.volume, cells.state])
        slot = pool.slot[atoms]
        row, vector, area, edges, pyramid, distance = pool.per_entry
        volume, state = pool.per_atom
        return NeighborList(
            pool.first[slot],
            pool.last[slot],
            row,
            vector,
            distance,
            area,
            edges,
            pyramid,
            volume[slot],
            state[slot],
        )

    @_locked
    def interstices(self, radii: Radii, small_facets: SmallFacets, atoms: IntArray) -> Interstices:
        """Return the hulls of the Voronoi neighbors of some atoms.

        Parameters
        ----------
        radii
            As in ``radii``.
        small_facets
            Which small facets are dropped, as in ``Interstice``.
        atoms
            Indices (center,) of the atoms.

        Returns
        -------
        Triangles and volumes of the hulls.
        """
        pool = self._pools.setdefault(
            ("interstices", radii, small_facets), Pool(np.full(len(self), -1))
        )
        new = pool.missing(atoms)
        if len(new) or not pool.per_entry:
            cells, radius = self.voronoi(new, small_facets), self.radii(radii)
            hulls = interstices(
                cells.first, cells.last, cells.row, cells.vector, radius[new], radius
            )
            pool.add(
                new, hulls.offset, [hulls.area, hulls.volume], [hulls.hull, hulls.cones, hulls.flag]
            )
        slot = pool.slot[atoms]
        (area, volume), (hull, cones, flag) = pool.per_entry, pool.per_atom
        return Interstices(
            pool.first[slot], pool.last[slot], area, volume, hull[slot], cones[slot], flag[slot]
        )

    def bonds(self, kind: Neighborhood, atoms: IntArray) -> NeighborList:
        """Return the neighbors of some atoms, of either kind.

        Parameters
        ----------
        kind
            Voronoi neighbors, or neighbors by distance.
        atoms
            Indices (center,) of the atoms.

        Returns
        -------
        The list.
        """
        if isinstance(kind, VoronoiNeighbors):
            return self.voronoi(atoms, kind.small_facets)
        if kind.pair_cutoffs is not None:
            return self._neighbors_by_pair(kind, atoms)
        return self.neighbors(kind.cutoff, atoms)

    def flags(self, bonds: NeighborList) -> dict[str, BoolArray]:
        """Return which Voronoi cells are incomplete, by reason.

        Cells may be open, belong to coincident atoms, or not close due to rounding.
        Lists of neighbors by distance have no flags.
        """
        if not len(bonds.state):
            return {}
        return {name: bonds.state == state for name, state in _STATES.items()}

    def with_neighbors(self, kind: Neighborhood, atoms: IntArray) -> IntArray:
        """Return atoms and their neighbors, sorted, each once."""
        bonds = self.bonds(kind, atoms)
        included = np.zeros(len(self), dtype=bool)
        included[atoms] = True
        included[bonds.row[spans(bonds.first, bonds.last)]] = True
        return np.flatnonzero(included)

    def values(self, feature: FrameFeature, atoms: IntArray) -> AnyArray:
        """Return a feature's values, computed at least for some atoms.

        Values are kept for later requests, also those of the next block of the frame.

        Parameters
        ----------
        feature
            A feature with one row per atom.
        atoms
            Indices of the atoms.

        Returns
        -------
        Values (atom, column) of all atoms. Only rows computed so far are valid.
        """
        known, rows, _ = self._table(feature)
        new = once(atoms[~known[atoms]])
        self._compute_values(feature, new[self._own[new]])
        halo = self._in_cell_order(new[~self._own[new]])
        together = self._dependencies if feature in self._dependencies else (feature,)
        with self._lock:
            for first in range(0, len(halo), HALO_BATCH):
                if self._halo is None:
                    self._halo = copy(self)
                    self._halo._pools, self._halo._own = {}, np.ones(len(self), dtype=bool)
                batch = halo[first : first + HALO_BATCH]
                for other in together:
                    self._halo.values(other, batch)
                for pool in self._halo._pools.values():
                    pool.clear()
        return rows

    def _in_cell_order(self, atoms: IntArray) -> IntArray:
        """Return atoms so that those of a batch are close and share neighbors."""
        kept = list(self._kept.values())  # other blocks of the frame may add to it
        cells = next((item for item in kept if isinstance(item, CellList)), None)
        return atoms if cells is None else atoms[np.argsort(cells.rank[atoms], kind="stable")]

    def _compute_values(self, feature: FrameFeature, atoms: IntArray) -> None:
        if not len(atoms):
            return
        known, rows, flags = self._table(feature)
        fresh = np.empty((len(atoms), feature.n_columns), dtype=feature.output_dtype)
        for name, flag in feature.describe(self, atoms, fresh).items():
            flags.setdefault(name, np.zeros(len(self), dtype=bool))[atoms] = flag
        rows[atoms] = fresh
        known[atoms] = True

    def _table(self, feature: FrameFeature) -> _Values:
        """Return the values kept for a feature."""
        size = len(self) * feature.n_columns * feature.output_dtype.itemsize
        tables = self._kept if size <= KEPT_VALUES else self._passing
        if ("values", feature) not in tables:
            # rows that are never filled take no memory: pages come when written to
            rows = np.empty((len(self), feature.n_columns), dtype=feature.output_dtype)
            empty = _Values(np.zeros(len(self), dtype=bool), rows, {})
            tables.setdefault(("values", feature), empty)
        table: _Values = tables["values", feature]
        return table

    def fill(self, feature: FrameFeature, atoms: IntArray, out: AnyArray) -> dict[str, BoolArray]:
        """Fill ``out`` with a feature's rows, from kept values if all are there.

        Parameters
        ----------
        feature
            The feature.
        atoms
            Indices (center,) of the atoms.
        out
            Array (center, column) to fill, or (column,) if ``level`` is "frame".

        Returns
        -------
        Flags (center,) of atoms that needed special treatment, by name.
        """
        if feature.level == "atom" and (
            ("values", feature) in self._kept or ("values", feature) in self._passing
        ):
            known, rows, flags = self._table(feature)
            if known[atoms].all():
                np.take(rows, atoms, axis=0, out=out)
                return {name: flag[atoms] for name, flag in flags.items()}
        return feature.describe(self, atoms, out)

    def radii(self, kind: Radii) -> FloatArray:
        """Return the radius (atom,) of every atom in Å.

        Parameters
        ----------
        kind
            "miracle", "covalent", "rdf" (half the first peak of g_XX(r) of this frame),
            or (symbol, radius in Å) pairs.

        Returns
        -------
        Radii in Å.

        Raises
        ------
        ParameterError
            If an element has no radius.
        """
        present = np.unique(self.numbers)
        table = np.full(int(present.max(initial=0)) + 1, np.nan)
        fixed = element_radii(kind, present)
        for number in present:
            table[number] = self._rdf_radius(int(number)) if fixed is None else fixed[int(number)]
        radii: FloatArray = table[self.numbers]
        return radii

    def _rdf_radius(self, number: int) -> float:
        key = ("rdf radius", number)
        if key not in self._kept:  # a number of the whole frame: kept with the cell lists
            edges = np.linspace(0.0, 3.0 * self.spacing, 301)
            slot = np.where(self.numbers == number, 0, 1).astype(np.int64)
            counts = pair_counts(
                self.cell_list(float(edges[-1])), np.flatnonzero(slot == 0), slot, 2, edges
            )
            self._kept[key] = 0.5 * first_peak(counts[0, 0] / np.diff(edges**3), edges)
        half_peak: float = self._kept[key]
        return half_peak

    @property
    def spacing(self) -> float:
        """Mean distance between atoms in Å."""
        if self._spacing is None:
            self._spacing = mean_spacing(self.position, self.cell, self.pbc)
        return self._spacing

    def _cells(self, atoms: IntArray) -> Cells:
        return cells_by_radius(self.cell_list, self.spacing, all(self.pbc), atoms)


def element_radii(kind: Radii, numbers: npt.NDArray[np.integer]) -> dict[int, float] | None:
    """Return the radius of each element in Å by atomic number; None for "rdf".

    Parameters
    ----------
    kind
        As in ``LocalEnvironments.radii``.
    numbers
        Atomic numbers (atom,).

    Raises
    ------
    ParameterError
        If an element has no radius.
    """
    if kind == "rdf":
        return None
    given = {} if isinstance(kind, str) else dict(kind)
    radii = {}
    for number in np.unique(numbers):
        name = symbol(int(number))
        if isinstance(kind, str):
            radii[int(number)] = radius(name, kind)
        elif name in given:
            radii[int(number)] = given[name]
        else:
            raise ParameterError(
                f"radii={given} lacks {name}, which the atoms contain; add its radius in Å"
            )
    return radii


def _without_cells(pool: Pool, atoms: IntArray) -> NeighborList:
    """Return the entries of some atoms in a neighbor list without Voronoi cells."""
    slot = pool.slot[atoms]
    nothing, none = np.empty(0), np.empty(0, dtype=np.int64)
    row, vector, distance = pool.per_entry
    entries = row, vector, distance, nothing, none, nothing, nothing, none
    return NeighborList(pool.first[slot], pool.last[slot], *entries)


def _as_cells(bonds: NeighborList) -> Cells:
    # entries in the order of the atoms, one atom after the other
    pick = spans(bonds.first, bonds.last)
    offset = np.zeros(len(bonds.first) + 1, dtype=np.int64)
    np.cumsum(bonds.last - bonds.first, out=offset[1:])
    items = [bonds.row, bonds.vector, bonds.area, bonds.edges, bonds.pyramid, bonds.distance]
    if len(pick) < len(bonds.row) or (len(pick) and (pick[0] or (np.diff(pick) != 1).any())):
        items = [item[pick] for item in items]
    return make_cells(offset, items, bonds.volume, bonds.state)


def _kept(
    position: FloatArray, cell: FloatArray, pbc: tuple[bool, ...], numbers: IntArray
) -> dict[Any, Any]:
    """Return what this thread keeps of the frame, if it is large and was the last one.

    Frames are compared by value, since the caller may move atoms in place.
    """
    if len(position) < LARGE:
        return {}
    last = getattr(_RECENT, "frame", None)
    if (
        last is not None
        and last[0] == (cell.tobytes(), pbc)
        and np.array_equal(last[1], position)
        and np.array_equal(last[2], numbers)
    ):
        kept: dict[Any, Any] = last[3]
        return kept
    _RECENT.frame = None  # release the old one before a new one is made
    fresh: dict[Any, Any] = {}
    _RECENT.frame = ((cell.tobytes(), pbc), position.copy(), numbers.copy(), fresh)
    return fresh


__all__ = [
    "CLOSED",
    "CutoffNeighbors",
    "LocalEnvironments",
    "NeighborList",
    "Neighborhood",
    "SmallFacets",
    "VoronoiNeighbors",
    "spans",
    "within_cutoff",
]
