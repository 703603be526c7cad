"""What several features of one block share: neighbour lists, Voronoi cells, and each other's values, each worked out once.

A ``LocalEnvironments`` belongs to one frame. Lists are kept for the atoms that were asked for so far and grow when more are asked for; an
atom's own entries depend on the frame only, so it does not matter who asked first. What is made of neighbours' values needs atoms
around the block as well: these guests are worked on in batches, of which only the values stay. For large frames the sorted atoms and
the values are kept from block to block, in each thread.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mgdask.elements import atomic_number, radius, symbol
from mgdask.errors import ParameterError
from mgdask.geometry import complete_cell
from mgdask.kernels.interstice import interstices
from mgdask.kernels.neighbors import CellList, list_neighbors, make_cell_list
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
    from mgdask.features.feature import Feature

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]
SmallFacets = Literal["static", "amlearn", "none"]
Radii = str | tuple[tuple[str, float], ...]

LARGE = 20_000
"""Atoms of a frame from which on it pays to keep it sorted for the next block."""
KEPT_VALUES = 2**28
"""Bytes of the values of one feature that are kept from block to block, at most."""
HALO_BATCH = 4096
"""Atoms around a block that are worked on at a time."""
_RECENT = threading.local()
_STATES = {"open_cell": OPEN, "coincident_atom": COINCIDENT, "uncertain_cell": UNCERTAIN}


@dataclass(frozen=True)
class VoronoiNeighbors:
    """Neighbours that share a facet; ``small_facets`` as in ``Interstice``."""

    small_facets: SmallFacets = "static"


@dataclass(frozen=True)
class CutoffNeighbors:
    """Neighbours up to a distance in Å."""

    cutoff: float


Neighborhood = VoronoiNeighbors | CutoffNeighbors


class NeighborList(NamedTuple):
    """Neighbours of some atoms: those of the k-th are entries ``first[k]:last[k]`` of row, vector (Å), distance (Å); for Voronoi neighbours
    also of area (Å²), edges and pyramid (Å³), and volume (Å³) and state of the k-th cell.
    """

    first: Integer
    last: Integer
    row: Integer
    vector: Float
    distance: Float
    area: Float
    edges: Integer
    pyramid: Float
    volume: Float
    state: Integer


class Interstices(NamedTuple):
    """Hulls of some atoms: ``first[k]:last[k]`` the k-th one's entries of area and volume; volume of its hull, cones and mark, as in
    ``mgdask.kernels.interstice``.
    """

    first: Integer
    last: Integer
    area: Float
    volume: Float
    hull: Float
    cones: Float
    flag: Integer


@dataclass
class _Pool:
    """Pieces of different lengths for some atoms; ``slot`` (atom,) is an atom's place, -1 where it has none yet."""

    slot: Integer
    first: Integer = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    last: Integer = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    per_entry: list[npt.NDArray[Any]] = field(default_factory=list)
    per_atom: list[npt.NDArray[Any]] = field(default_factory=list)
    added: list[Integer] = field(default_factory=list)

    def missing(self, atoms: Integer) -> Integer:
        """Those of ``atoms`` that have no place yet, each once."""
        return once(atoms[self.slot[atoms] < 0])

    def add(
        self, atoms: Integer, offset: Integer, per_entry: list[Any], per_atom: list[Any]
    ) -> None:
        """Give places to ``atoms``, whose entries are ``offset[k]:offset[k+1]`` of the arrays ``per_entry``."""
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


def once(atoms: Integer) -> Integer:
    """Sorted, each once; most often they are already."""
    return atoms if (atoms[1:] > atoms[:-1]).all() else np.unique(atoms)


def _join(old: list[npt.NDArray[Any]], new: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    return [np.concatenate(pair) for pair in zip(old, new, strict=True)] if old else new


class LocalEnvironments:
    """One frame: ``position`` (atom,3) Å, ``cell`` (3,3) Å, ``numbers`` (atom,) Z, ``pbc``, and what is known about it so far."""

    def __init__(
        self,
        position: Float,
        cell: Float,
        numbers: npt.NDArray[np.integer],
        pbc: Any,
        centers: Integer | None = None,
        parts: Sequence[Feature] = (),
    ) -> None:
        """``centers`` are the atoms whose lists are kept (default all); ``parts`` features whose values are needed around them too."""
        self.position = np.ascontiguousarray(position, dtype=np.float64)
        self.cell = complete_cell(cell, pbc)
        self.numbers = np.asarray(numbers, dtype=np.int64)
        self.pbc = tuple(bool(p) for p in pbc)
        self._kept = _kept(self.position, self.cell, self.pbc, self.numbers)
        self._passing: dict[Any, Any] = {}
        self._pools: dict[Any, _Pool] = {}
        self._spacing: float | None = None
        self._parts = tuple(parts)
        self._own = np.ones(len(self.position), dtype=bool)
        if centers is not None and len(centers) < len(self.position):
            self._own[:] = False
            self._own[centers] = True
        self._halo: LocalEnvironments | None = None

    def __len__(self) -> int:
        return len(self.position)

    def cell_list(self, cutoff: float) -> CellList:
        """The atoms sorted for a cut-off."""
        if cutoff not in self._kept:
            self._kept[cutoff] = make_cell_list(self.position, self.cell, self.pbc, cutoff)
        grid: CellList = self._kept[cutoff]
        return grid

    def slots(self, names: tuple[str, ...]) -> Integer:
        """(atom,) index of each atom's element in ``names``, which are in the order of atomic numbers."""
        return np.searchsorted(
            np.array([atomic_number(name) for name in names]), self.numbers
        ).astype(np.int64)

    def neighbors(self, cutoff: float, atoms: Integer) -> NeighborList:
        """Neighbours of ``atoms`` up to ``cutoff`` Å."""
        pool = self._pools.setdefault(("neighbors", cutoff), _Pool(np.full(len(self), -1)))
        new = pool.missing(atoms)
        if len(new) or not pool.per_entry:
            offset, row, vector, distance = list_neighbors(self.cell_list(cutoff), new)
            pool.add(new, offset, [row, vector, distance], [])
        at = pool.slot[atoms]
        row, vector, distance = pool.per_entry
        nothing, none = np.empty(0), np.empty(0, dtype=np.int64)
        return NeighborList(
            pool.first[at],
            pool.last[at],
            row,
            vector,
            distance,
            nothing,
            none,
            nothing,
            nothing,
            none,
        )

    def voronoi(self, atoms: Integer, small_facets: SmallFacets = "none") -> NeighborList:
        """Facets of the Voronoi cells of ``atoms``, without those that the rule drops."""
        pool = self._pools.setdefault(("voronoi", small_facets), _Pool(np.full(len(self), -1)))
        new = pool.missing(atoms)
        if len(new) or not pool.per_entry:
            all_facets = small_facets == "none"
            cells = (
                self._cells(new)
                if all_facets
                else select(_as_cells(self.voronoi(new)), RULES[small_facets])
            )
            pool.add(new, cells.offset, list(cells[1:7]), [cells.volume, cells.state])
        at = pool.slot[atoms]
        row, vector, area, edges, pyramid, distance = pool.per_entry
        volume, state = pool.per_atom
        return NeighborList(
            pool.first[at],
            pool.last[at],
            row,
            vector,
            distance,
            area,
            edges,
            pyramid,
            volume[at],
            state[at],
        )

    def interstices(self, radii: Radii, small_facets: SmallFacets, atoms: Integer) -> Interstices:
        """Triangles of the hulls of the Voronoi neighbours of ``atoms``: entries ``first[k]:last[k]`` are those of the k-th."""
        pool = self._pools.setdefault(
            ("interstices", radii, small_facets), _Pool(np.full(len(self), -1))
        )
        new = pool.missing(atoms)
        if len(new) or not pool.per_entry:
            cells, radius = self.voronoi(new, small_facets), self.radii(radii)
            found = interstices(
                cells.first, cells.last, cells.row, cells.vector, radius[new], radius
            )
            pool.add(
                new, found.offset, [found.area, found.volume], [found.hull, found.cones, found.flag]
            )
        at = pool.slot[atoms]
        (area, volume), (hull, cones, flag) = pool.per_entry, pool.per_atom
        return Interstices(
            pool.first[at], pool.last[at], area, volume, hull[at], cones[at], flag[at]
        )

    def bonds(self, kind: Neighborhood, atoms: Integer) -> NeighborList:
        """Neighbours of one kind or the other."""
        if isinstance(kind, CutoffNeighbors):
            return self.neighbors(kind.cutoff, atoms)
        return self.voronoi(atoms, kind.small_facets)

    def flags(self, bonds: NeighborList) -> dict[str, npt.NDArray[np.bool_]]:
        """Which Voronoi cells are open, of coincident atoms, or could not be closed by rounding; nothing for neighbours by distance."""
        if not len(bonds.state):
            return {}
        return {name: bonds.state == state for name, state in _STATES.items()}

    def with_neighbors(self, kind: Neighborhood, atoms: Integer) -> Integer:
        """``atoms`` and their neighbours, sorted, each once."""
        bonds = self.bonds(kind, atoms)
        wanted = np.zeros(len(self), dtype=bool)
        wanted[atoms] = True
        wanted[bonds.row[spans(bonds.first, bonds.last)]] = True
        return np.flatnonzero(wanted)

    def values(self, feature: Feature, atoms: Integer) -> npt.NDArray[Any]:
        """A feature's values (atom, column), those of ``atoms`` filled in; kept for those who ask again, the next block of the frame included."""
        known, rows, _ = self._table(feature)
        new = once(atoms[~known[atoms]])
        self._work_out(feature, new[self._own[new]])
        halo = self._near_each_other(new[~self._own[new]])
        together = self._parts if feature in self._parts else (feature,)
        for first in range(0, len(halo), HALO_BATCH):
            if self._halo is None:
                self._halo = copy(self)
                self._halo._pools, self._halo._own = {}, np.ones(len(self), dtype=bool)
            some = halo[first : first + HALO_BATCH]
            for part in together:
                self._halo.values(part, some)
            for pool in self._halo._pools.values():
                pool.clear()
        return rows

    def _near_each_other(self, atoms: Integer) -> Integer:
        # in the order of the bins, so that a batch finds its neighbours in cache; of values the order does not matter
        grid = next((item for item in self._kept.values() if isinstance(item, CellList)), None)
        return atoms if grid is None else atoms[np.argsort(grid.rank[atoms], kind="stable")]

    def _work_out(self, feature: Feature, atoms: Integer) -> None:
        if not len(atoms):
            return
        known, rows, flags = self._table(feature)
        fresh = np.empty((len(atoms), feature.n_columns), dtype=feature.output_dtype)
        for name, flag in feature.describe(self, atoms, fresh).items():
            flags.setdefault(name, np.zeros(len(self), dtype=bool))[atoms] = flag
        rows[atoms] = fresh
        known[atoms] = True

    def _table(
        self, feature: Feature
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any], dict[str, npt.NDArray[np.bool_]]]:
        # rows that nobody fills take no memory: pages come when they are written to
        size = len(self) * feature.n_columns * feature.output_dtype.itemsize
        tables = self._kept if size <= KEPT_VALUES else self._passing
        if ("values", feature) not in tables:
            rows = np.empty((len(self), feature.n_columns), dtype=feature.output_dtype)
            tables["values", feature] = (np.zeros(len(self), dtype=bool), rows, {})
        found: tuple[npt.NDArray[np.bool_], npt.NDArray[Any], dict[str, npt.NDArray[np.bool_]]] = (
            tables["values", feature]
        )
        return found

    def fill(
        self, feature: Feature, atoms: Integer, out: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """The rows of ``atoms`` into ``out``, from those kept if all are there; returns the marks of special atoms."""
        if feature.level == "atom" and (
            ("values", feature) in self._kept or ("values", feature) in self._passing
        ):
            known, rows, flags = self._table(feature)
            if known[atoms].all():
                np.take(rows, atoms, axis=0, out=out)
                return {name: flag[atoms] for name, flag in flags.items()}
        return feature.describe(self, atoms, out)

    def radii(self, kind: Radii) -> Float:
        """(atom,) radius in Å: a table's name, or (symbol, radius) pairs."""
        present = np.unique(self.numbers)
        table = np.full(int(present.max(initial=0)) + 1, np.nan)
        for number in present:
            name = symbol(int(number))
            if kind == "rdf":
                table[number] = self._rdf_radius(int(number))
            elif isinstance(kind, str):
                table[number] = radius(name, kind)
            else:
                given = dict(kind)
                if name not in given:
                    raise ParameterError(
                        f"radii={given} lacks {name}, which the atoms contain; add its radius in Å"
                    )
                table[number] = given[name]
        found: Float = table[self.numbers]
        return found

    def _rdf_radius(self, number: int) -> float:
        key = ("rdf radius", number)
        if key not in self._kept:  # a number of the whole frame: kept with the sorted atoms
            edges = np.linspace(0.0, 3.0 * self.spacing, 301)
            slot = np.where(self.numbers == number, 0, 1).astype(np.int64)
            counts = pair_counts(
                self.cell_list(float(edges[-1])), np.flatnonzero(slot == 0), slot, 2, edges
            )
            self._kept[key] = 0.5 * first_peak(counts[0, 0] / np.diff(edges**3), edges)
        found: float = self._kept[key]
        return found

    @property
    def spacing(self) -> float:
        """Mean spacing of the atoms in Å."""
        if self._spacing is None:
            self._spacing = mean_spacing(self.position, self.cell, self.pbc)
        return self._spacing

    def _cells(self, atoms: Integer) -> Cells:
        return cells_by_radius(self.cell_list, self.spacing, all(self.pbc), atoms)


def _as_cells(bonds: NeighborList) -> Cells:
    # in the order of ``first``: one after the other
    pick = spans(bonds.first, bonds.last)
    offset = np.zeros(len(bonds.first) + 1, dtype=np.int64)
    np.cumsum(bonds.last - bonds.first, out=offset[1:])
    items = [bonds.row, bonds.vector, bonds.area, bonds.edges, bonds.pyramid, bonds.distance]
    if len(pick) < len(bonds.row) or (len(pick) and (pick[0] or (np.diff(pick) != 1).any())):
        items = [item[pick] for item in items]
    return make_cells(offset, items, bonds.volume, bonds.state)


def spans(first: Integer, last: Integer) -> Integer:
    """Indices first[0] .. last[0]-1, first[1] .. last[1]-1, and so on."""
    count = last - first
    ends = np.cumsum(count)
    return np.repeat(first - (ends - count), count) + np.arange(ends[-1] if len(ends) else 0)


def bytes_of(kind: Neighborhood, n_atoms: int, n_centers: int) -> int:
    """Bytes of a list of neighbours of some centres, at densities of metals: 20 facets a cell, 0.09 atoms in a cubic Å; twice, while it
    grows; and of the atoms sorted, once for all kinds of Voronoi neighbours, which are taken from the same cells.
    """
    each = 20.0 if isinstance(kind, VoronoiNeighbors) else 0.09 * 4.19 * kind.cutoff**3
    entry = 64 if isinstance(kind, VoronoiNeighbors) else 40
    sorted_atoms = (
        0
        if isinstance(kind, VoronoiNeighbors) and kind != VoronoiNeighbors("none")
        else 150 * n_atoms
    )
    return int(2 * each * entry * n_centers) + sorted_atoms


def _kept(position: Float, cell: Float, pbc: tuple[bool, ...], numbers: Integer) -> dict[Any, Any]:
    """What is known of the last large frame of this thread, if this is it; compared by value, since the caller may move atoms in place."""
    if len(position) < LARGE:
        return {}
    last = getattr(_RECENT, "frame", None)
    if (
        last is not None
        and last[0] == (cell.tobytes(), pbc)
        and _same(last[1], position)
        and _same(last[2], numbers)
    ):
        kept: dict[Any, Any] = last[3]
        return kept
    _RECENT.frame = None  # let the old one go before a new one is made
    fresh: dict[Any, Any] = {}
    _RECENT.frame = ((cell.tobytes(), pbc), position.copy(), numbers.copy(), fresh)
    return fresh


def _same(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    return bool(np.array_equal(a, b))


__all__ = [
    "CLOSED",
    "NeighborList",
    "Neighborhood",
    "SmallFacets",
    "LocalEnvironments",
    "VoronoiNeighbors",
    "CutoffNeighbors",
    "spans",
]
