"""Voronoi polyhedra of the kernels of unique local environments.

The polyhedron <n3,n4,n5,n6> of an atom counts the facets of its Voronoi cell by their
number of edges. Liu C. et al., Acta Mater. 259, 119281 (2023), sort local environments
by it into two groups (section 3.2).

In a polyhedron of which three facets meet at every vertex, 3 n3 + 2 n4 + n5 - n7 - 2 n8
- ... = 12 (Euler). The rule of the paper, 2 n4 + n5 = 12, therefore selects polyhedra
without triangles and without facets of more than 6 edges. That includes <0,6,0,8> of
bcc, which is not one of the Kasper polyhedra in the strict sense.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray, IntArray, Periodic
from mgdask.elements import symbol
from mgdask.features.environments import CLOSED, LocalEnvironments, SmallFacets
from mgdask.features.voronoi import edge_sums
from mgdask.studies.barcode.records import Record

KASPER, NON_KASPER = 1, 2
"""Groups of the paper: Kasper polyhedra, and all others."""
ICOSAHEDRON = (0, 0, 12, 0)
OPEN_NAME = "open"
"""Name of the polyhedron of an atom without a closed Voronoi cell."""
CONVENTION = (
    "Facets of the Voronoi cell smaller than 5 % of the mean facet area of the cell are dropped "
    "(small_facets='static'); the edges of the other facets do not change. Facets with more than "
    "6 edges count in the coordination number, but not in the name. Cells are cut halfway between "
    "atoms, without radii."
)
"""Convention for polyhedra, in words. The paper does not state its own."""
MOST_NAMES = 10
"""Number of polyhedra of the assigned atoms that are listed for an entry."""


@dataclass(frozen=True)
class Polyhedron(Record):
    """Voronoi polyhedron of one atom and its shell.

    Parameters
    ----------
    name
        Name such as "<0,0,12,0>"; "open" if the Voronoi cell is not closed.
    index
        Numbers of facets with 3, 4, 5 and 6 edges.
    beyond
        Number of facets with more than 6 edges.
    coordination
        Number of all facets that are kept.
    kasper
        Whether 2 n4 + n5 = 12.
    group
        Group of the paper: 1 for Kasper polyhedra, 2 for all others.
    icosahedral
        Whether the polyhedron is <0,0,12,0> without further facets.
    shell
        Number of neighbors across the facets, by element.
    name_all_facets
        Name if no small facet is dropped.
    kasper_all_facets
        Whether 2 n4 + n5 = 12 if no small facet is dropped.
    """

    name: str
    index: tuple[int, ...]
    beyond: int
    coordination: int
    kasper: bool
    group: int
    icosahedral: bool
    shell: dict[str, int]
    name_all_facets: str
    kasper_all_facets: bool


@dataclass(frozen=True)
class AssignedPolyhedra(Record):
    """Polyhedra of all atoms that are assigned to one entry.

    Parameters
    ----------
    n_atoms
        Number of atoms.
    n_distinct
        Number of different polyhedra.
    own
        Fraction of the atoms with the polyhedron of the entry itself.
    kasper
        Fraction with a Kasper polyhedron.
    icosahedral
        Fraction with <0,0,12,0>.
    coordination
        Mean coordination number.
    names, fractions
        The most frequent polyhedra and their fractions of the atoms.

    Notes
    -----
    Numbers are NaN if no atom is assigned to the entry.
    """

    n_atoms: int
    n_distinct: int
    own: float
    kasper: float
    icosahedral: float
    coordination: float
    names: tuple[str, ...]
    fractions: tuple[float, ...]


def polyhedron_name(index: Sequence[int]) -> str:
    """Return the name of a polyhedron.

    Parameters
    ----------
    index
        Numbers of facets with 3, 4, 5 and 6 edges.

    Examples
    --------
    >>> polyhedron_name((0, 0, 12, 0))
    '<0,0,12,0>'
    """
    return f"<{','.join(str(int(n)) for n in index)}>"


def is_kasper(index: npt.NDArray[np.integer]) -> BoolArray:
    """Return whether 2 n4 + n5 = 12.

    Parameters
    ----------
    index
        Numbers of facets with 3, 4, 5, 6, ... edges, in the last axis.

    Examples
    --------
    >>> is_kasper(np.array([[0, 0, 12, 4], [0, 3, 6, 4], [1, 2, 5, 4]])).tolist()
    [True, True, False]
    """
    kasper: BoolArray = 2 * index[..., 1] + index[..., 2] == 12
    return kasper


def facet_counts(
    environments: LocalEnvironments, centers: IntArray, small_facets: SmallFacets = "static"
) -> IntArray:
    """Count the facets of Voronoi cells with 3, 4, 5, 6 and more edges: (center, 5).

    Parameters
    ----------
    environments
        The frame.
    centers
        Indices of the atoms.
    small_facets
        Which small facets are dropped, as in ``mgdask.Interstice``.

    Returns
    -------
    counts
        Rows of -1 for cells that are not closed.
    """
    cells = environments.voronoi(centers, small_facets)
    counts = np.full((len(centers), 5), -1, dtype=np.int64)
    closed = cells.state == CLOSED
    counts[closed, :4] = edge_sums(cells, None, beyond=False)[closed, :4]
    counts[closed, 4] = (cells.last - cells.first)[closed] - counts[closed, :4].sum(axis=1)
    return counts


def kernel_polyhedra(
    position: FloatArray,
    cell: FloatArray,
    numbers: npt.NDArray[np.integer],
    centers: npt.ArrayLike,
    pbc: Periodic = (True, True, True),
    small_facets: SmallFacets = "static",
) -> tuple[Polyhedron, ...]:
    """Compute the polyhedra of some atoms of a frame and the elements of their shells.

    Parameters
    ----------
    position
        Positions (atom, 3) in Å.
    cell
        Cell vectors (3, 3) in Å, one per row.
    numbers
        Atomic numbers (atom,).
    centers
        Indices of the atoms.
    pbc
        Whether each cell vector repeats.
    small_facets
        Which small facets are dropped, as in ``mgdask.Interstice``.

    Returns
    -------
    polyhedra
        One per center.

    Examples
    --------
    >>> bcc = np.array([[0, 0, 0], [1.5, 1.5, 1.5]])
    >>> kernel_polyhedra(bcc, 3 * np.eye(3), np.array([26, 26]), [0])[0].name
    '<0,6,0,8>'
    """
    rows = np.asarray(centers, dtype=np.int64).reshape(-1)
    environments = LocalEnvironments(position, cell, numbers, pbc, rows)
    counts = facet_counts(environments, rows, small_facets)
    complete = facet_counts(environments, rows, "none")
    cells = environments.voronoi(rows, small_facets)
    made = []
    for k, count in enumerate(counts):
        neighbors = cells.row[cells.first[k] : cells.last[k]]
        shell = Counter(int(z) for z in np.asarray(numbers)[neighbors])
        closed = bool(count[0] >= 0)
        kasper = closed and bool(is_kasper(count))
        made.append(
            Polyhedron(
                name=_name(count),
                index=tuple(int(n) for n in count[:4]) if closed else (0, 0, 0, 0),
                beyond=int(count[4]) if closed else 0,
                coordination=int(count.sum()) if closed else 0,
                kasper=kasper,
                group=KASPER if kasper else NON_KASPER,
                icosahedral=bool((count == [*ICOSAHEDRON, 0]).all()),
                shell={symbol(z): n for z, n in sorted(shell.items())},
                name_all_facets=_name(complete[k]),
                kasper_all_facets=closed and bool(is_kasper(complete[k])),
            )
        )
    return tuple(made)


def _name(count: IntArray) -> str:
    return polyhedron_name(count[:4].tolist()) if count[0] >= 0 else OPEN_NAME


@dataclass(frozen=True, eq=False)
class PolyhedronCounts:
    """Numbers of atoms by element of the barcode and by polyhedron.

    Parameters
    ----------
    key
        Element and facet counts (row, 6) of the combinations that occur, sorted.
    count
        Number of atoms (row,).
    """

    key: IntArray
    count: IntArray

    @classmethod
    def of(cls, place: IntArray, counts: IntArray) -> PolyhedronCounts:
        """Count atoms.

        Parameters
        ----------
        place
            Element of each atom (atom,), -1 for none.
        counts
            Facet counts (atom, 5), from ``facet_counts``.
        """
        kept = place >= 0
        key = np.column_stack([place[kept], counts[kept]])
        distinct, number = np.unique(key, axis=0, return_counts=True)
        return cls(distinct.reshape(-1, 6), number.astype(np.int64))

    @classmethod
    def total(cls, parts: Sequence[PolyhedronCounts]) -> PolyhedronCounts:
        """Add counts.

        Parameters
        ----------
        parts
            Counts of different atoms.
        """
        key = np.concatenate([part.key for part in parts])
        distinct, slot = np.unique(key, axis=0, return_inverse=True)
        number = np.zeros(len(distinct), dtype=np.int64)
        np.add.at(number, slot.reshape(-1), np.concatenate([part.count for part in parts]))
        return cls(distinct.reshape(-1, 6), number)


def assigned_polyhedra(
    counts: PolyhedronCounts, own: Sequence[Polyhedron]
) -> tuple[AssignedPolyhedra, ...]:
    """Summarize the polyhedra of the atoms assigned to each element.

    Parameters
    ----------
    counts
        Numbers of atoms.
    own
        Polyhedron of each element itself.

    Returns
    -------
    assigned
        One per element.
    """
    return tuple(
        _assigned(counts.key[counts.key[:, 0] == k, 1:], counts.count[counts.key[:, 0] == k], one)
        for k, one in enumerate(own)
    )


def _assigned(index: IntArray, count: IntArray, own: Polyhedron) -> AssignedPolyhedra:
    n_atoms = int(count.sum())
    if not n_atoms:
        nothing = float("nan")
        return AssignedPolyhedra(0, 0, nothing, nothing, nothing, nothing, (), ())
    closed = index[:, 0] >= 0
    by_name: Counter[str] = Counter()
    for row, number in zip(index, count, strict=True):
        by_name[_name(row)] += int(number)
    # equally frequent ones in the order of their names
    common = sorted(by_name.items(), key=lambda item: (-item[1], item[0]))[:MOST_NAMES]
    icosahedral = (index == [*ICOSAHEDRON, 0]).all(axis=1)
    n_closed = int(count[closed].sum())
    return AssignedPolyhedra(
        n_atoms=n_atoms,
        n_distinct=len(by_name),
        own=by_name[own.name] / n_atoms,
        kasper=float(count[closed & is_kasper(index)].sum() / n_atoms),
        icosahedral=float(count[icosahedral].sum() / n_atoms),
        coordination=float((index.sum(axis=1) * count)[closed].sum() / n_closed)
        if n_closed
        else float("nan"),
        names=tuple(name for name, _ in common),
        fractions=tuple(number / n_atoms for _, number in common),
    )
