"""What several features of one block share: neighbour lists, Voronoi cells, and each other's values, each worked out once.

A ``Surroundings`` belongs to one frame. Lists are kept for the atoms that were asked for so far and grow when more are asked for; an
atom's own entries depend on the frame only, so it does not matter who asked first. For large frames the sorted atoms are kept from
block to block, in each thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mgdask.box import complete_cell
from mgdask.elements import atomic_number, radius, symbol
from mgdask.errors import ParameterError
from mgdask.kernels.neighbors import Grid, list_neighbors, make_grid
from mgdask.kernels.rdf import first_peak, pair_counts
from mgdask.kernels.voronoi import CLOSED, RULES, Cells, cells_by_radius, make_cells, mean_spacing, select

if TYPE_CHECKING:
    from mgdask.features.base import Feature

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]
SmallFacets = Literal["static", "amlearn", "none"]

LARGE = 20_000
"""Atoms of a frame from which on it pays to keep it sorted for the next block."""
_RECENT = threading.local()


@dataclass(frozen=True)
class Voronoi:
    """Neighbours that share a facet; ``small_facets`` as in ``Interstice``."""

    small_facets: SmallFacets = "static"


@dataclass(frozen=True)
class Within:
    """Neighbours up to a distance in Å."""

    cutoff: float


Neighborhood = Voronoi | Within


class Bonds(NamedTuple):
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


@dataclass
class _Pool:
    """Pieces of different lengths for some atoms; ``slot`` (atom,) is an atom's place, -1 where it has none yet."""

    slot: Integer
    first: Integer = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    last: Integer = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    per_entry: list[npt.NDArray[Any]] = field(default_factory=list)
    per_atom: list[npt.NDArray[Any]] = field(default_factory=list)

    def missing(self, atoms: Integer) -> Integer:
        """Those of ``atoms`` that have no place yet, each once."""
        return np.unique(atoms[self.slot[atoms] < 0])

    def add(self, atoms: Integer, offset: Integer, per_entry: list[Any], per_atom: list[Any]) -> None:
        """Give places to ``atoms``, whose entries are ``offset[k]:offset[k+1]`` of the arrays ``per_entry``."""
        self.slot[atoms] = len(self.first) + np.arange(len(atoms))
        base = len(self.per_entry[0]) if self.per_entry else 0
        self.first = np.concatenate([self.first, base + offset[:-1]])
        self.last = np.concatenate([self.last, base + offset[1:]])
        self.per_entry, self.per_atom = _join(self.per_entry, per_entry), _join(self.per_atom, per_atom)


def _join(old: list[npt.NDArray[Any]], new: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    return [np.concatenate(pair) for pair in zip(old, new, strict=True)] if old else new


class Surroundings:
    """One frame: ``position`` (atom,3) Å, ``cell`` (3,3) Å, ``numbers`` (atom,) Z, ``pbc``, and what is known about it so far."""

    def __init__(self, position: Float, cell: Float, numbers: npt.NDArray[np.integer], pbc: Any) -> None:
        self.position = np.ascontiguousarray(position, dtype=np.float64)
        self.cell = complete_cell(cell, pbc)
        self.numbers = np.asarray(numbers, dtype=np.int64)
        self.pbc = tuple(bool(p) for p in pbc)
        self._grids = _kept_grids(self.position, self.cell, self.pbc)
        self._pools: dict[Any, _Pool] = {}
        self._values: dict[Feature, tuple[Integer, npt.NDArray[Any], dict[str, npt.NDArray[np.bool_]]]] = {}
        self._spacing: float | None = None

    def __len__(self) -> int:
        return len(self.position)

    def grid(self, cutoff: float) -> Grid:
        """The atoms sorted for a cut-off."""
        if cutoff not in self._grids:
            self._grids[cutoff] = make_grid(self.position, self.cell, self.pbc, cutoff)
        grid: Grid = self._grids[cutoff]
        return grid

    def slots(self, names: tuple[str, ...]) -> Integer:
        """(atom,) index of each atom's element in ``names``, which are in the order of atomic numbers."""
        return np.searchsorted(np.array([atomic_number(name) for name in names]), self.numbers).astype(np.int64)

    def neighbors(self, cutoff: float, atoms: Integer) -> Bonds:
        """Neighbours of ``atoms`` up to ``cutoff`` Å."""
        pool = self._pools.setdefault(("neighbors", cutoff), _Pool(np.full(len(self), -1)))
        new = pool.missing(atoms)
        if len(new) or not pool.per_entry:
            offset, row, vector, distance = list_neighbors(self.grid(cutoff), new)
            pool.add(new, offset, [row, vector, distance], [])
        at = pool.slot[atoms]
        row, vector, distance = pool.per_entry
        nothing, none = np.empty(0), np.empty(0, dtype=np.int64)
        return Bonds(pool.first[at], pool.last[at], row, vector, distance, nothing, none, nothing, nothing, none)

    def voronoi(self, atoms: Integer, small_facets: SmallFacets = "none") -> Bonds:
        """Facets of the Voronoi cells of ``atoms``, without those that the rule drops."""
        pool = self._pools.setdefault(("voronoi", small_facets), _Pool(np.full(len(self), -1)))
        new = pool.missing(atoms)
        if len(new) or not pool.per_entry:
            all_facets = small_facets == "none"
            cells = self._cells(new) if all_facets else select(_as_cells(self.voronoi(new)), RULES[small_facets])
            pool.add(new, cells.offset, list(cells[1:7]), [cells.volume, cells.state])
        at = pool.slot[atoms]
        row, vector, area, edges, pyramid, distance = pool.per_entry
        volume, state = pool.per_atom
        return Bonds(pool.first[at], pool.last[at], row, vector, distance, area, edges, pyramid, volume[at], state[at])

    def bonds(self, kind: Neighborhood, atoms: Integer) -> Bonds:
        """Neighbours of one kind or the other."""
        if isinstance(kind, Within):
            return self.neighbors(kind.cutoff, atoms)
        return self.voronoi(atoms, kind.small_facets)

    def with_neighbors(self, kind: Neighborhood, atoms: Integer) -> Integer:
        """``atoms`` and their neighbours, sorted, each once."""
        bonds = self.bonds(kind, atoms)
        wanted = np.zeros(len(self), dtype=bool)
        wanted[atoms] = True
        wanted[bonds.row[spans(bonds.first, bonds.last)]] = True
        return np.flatnonzero(wanted)

    def values(self, feature: Feature, atoms: Integer) -> tuple[Integer, npt.NDArray[Any]]:
        """Rows of a feature for at least ``atoms``: (slot (atom,), rows); kept for those who ask again."""
        slot, rows, flags = self._values.get(feature, (np.full(len(self), -1), None, {}))
        new = np.unique(atoms[slot[atoms] < 0])
        if len(new) or rows is None:
            fresh = np.empty((len(new), feature.n_columns), dtype=feature.output_dtype)
            marks = feature.describe(self, new, fresh)
            slot[new] = (0 if rows is None else len(rows)) + np.arange(len(new))
            rows = fresh if rows is None else np.concatenate([rows, fresh])
            flags = {
                name: np.concatenate([flags[name], mark]) if name in flags else mark for name, mark in marks.items()
            }
            self._values[feature] = (slot, rows, flags)
        return slot, rows

    def fill(self, feature: Feature, atoms: Integer, out: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.bool_]]:
        """The rows of ``atoms`` into ``out``, from those kept if all are there; returns the marks of special atoms."""
        if feature.per == "atom" and feature in self._values:
            slot, rows, flags = self._values[feature]
            at = slot[atoms]
            if (at >= 0).all():
                np.take(rows, at, axis=0, out=out)
                return {name: mark[at] for name, mark in flags.items()}
        return feature.describe(self, atoms, out)

    def radii(self, kind: str | tuple[tuple[str, float], ...]) -> Float:
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
                    raise ParameterError(f"radii={given} lacks {name}, which the atoms contain; add its radius in Å")
                table[number] = given[name]
        found: Float = table[self.numbers]
        return found

    def _rdf_radius(self, number: int) -> float:
        mine = self.numbers == number
        key = ("rdf radius", mine.tobytes())  # what is kept knows the places of a frame, not its elements
        if key not in self._grids:  # a number of the whole frame: kept with the sorted atoms
            edges = np.linspace(0.0, 3.0 * self.spacing, 301)
            slot = np.where(mine, 0, 1).astype(np.int64)
            counts = pair_counts(self.grid(float(edges[-1])), np.flatnonzero(slot == 0), slot, 2, edges)
            self._grids[key] = 0.5 * first_peak(counts[0, 0] / np.diff(edges**3), edges)
        found: float = self._grids[key]
        return found

    @property
    def spacing(self) -> float:
        """Mean spacing of the atoms in Å."""
        if self._spacing is None:
            self._spacing = mean_spacing(self.position, self.cell, self.pbc)
        return self._spacing

    def _cells(self, atoms: Integer) -> Cells:
        return cells_by_radius(self.grid, self.spacing, all(self.pbc), atoms)


def _as_cells(bonds: Bonds) -> Cells:
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


def _kept_grids(position: Float, cell: Float, pbc: tuple[bool, ...]) -> dict[Any, Any]:
    """Sorted atoms of the last large frame of this thread, if this is it; compared by value, since the caller may move atoms in place."""
    if len(position) < LARGE:
        return {}
    last = getattr(_RECENT, "frame", None)
    if last is not None and last[0] == (cell.tobytes(), pbc) and np.array_equal(last[1], position):
        kept: dict[Any, Any] = last[2]
        return kept
    _RECENT.frame = None  # let the old one go before a new one is made
    fresh: dict[Any, Any] = {}
    _RECENT.frame = ((cell.tobytes(), pbc), position.copy(), fresh)
    return fresh


__all__ = ["CLOSED", "Bonds", "Neighborhood", "SmallFacets", "Surroundings", "Voronoi", "Within", "spans"]
