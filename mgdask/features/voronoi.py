"""What the Voronoi cell of an atom says: coordination, indices, motifs, packing, i-fold symmetry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mgdask.elements import atomic_number
from mgdask.features.environments import (
    CLOSED,
    HALO_BATCH,
    CutoffNeighbors,
    LocalEnvironments,
    Neighborhood,
    NeighborList,
    SmallFacets,
    VoronoiNeighbors,
    spans,
)
from mgdask.features.feature import Feature, validate_fields
from mgdask.features.interstice import Radii
from mgdask.kernels.interstice import NO_HULL, OUTSIDE

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]
Weights = Literal["none", "area", "volume"]
Marks = dict[str, npt.NDArray[np.bool_]]

FOLDS = (3, 4, 5, 6, 7)
"""Numbers of edges of a facet that are told apart."""

IDEAL_RATIO = {
    3: 0.154701, 4: 0.224745, 5: 0.361654, 6: 0.414214, 7: 0.518145, 8: 0.616517, 9: 0.709914, 10: 0.798907, 11: 0.884003,
    12: 0.902113, 13: 0.976006, 14: 1.04733, 15: 1.11632, 16: 1.18318, 17: 1.2481, 18: 1.31123, 19: 1.37271, 20: 1.43267,
    21: 1.49119, 22: 1.5484, 23: 1.60436, 24: 1.65915,
}  # fmt: skip
"""R*: ratio of the radii of an atom and its N neighbours at which they pack most efficiently: Miracle, Sanders, Senkov, Philos. Mag. 83,
2409 (2003); Laws, Miracle, Ferry, Nat. Commun. 6, 8123 (2015)."""


class _OfCells(Feature):
    """What features of Voronoi cells have in common."""

    small_facets: SmallFacets

    def __post_init__(self) -> None:
        validate_fields(self)

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Voronoi neighbours."""
        return (VoronoiNeighbors(self.small_facets),) * self.n_columns

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """A few numbers a facet."""
        return 8 * n_atoms + 1500 * n_centers

    def cost(self, n_centers: int) -> float:
        """About 6 microseconds a centre, most of it for the Voronoi cell."""
        return 6e-6 * n_centers


def edge_sums(bonds: NeighborList, weight: Float | None, beyond: bool) -> Float:
    """sum of weights (default 1) of the facets with 3, 4, 5, 6, 7 edges of each cell: (cell,5); ``beyond`` counts more than 7 as 7."""
    pick = spans(bonds.first, bonds.last)
    cell = np.repeat(np.arange(len(bonds.first)), bonds.last - bonds.first)
    edges = np.minimum(bonds.edges[pick], 7 if beyond else 8)
    some = (edges >= 3) & (edges <= 7)
    place = (cell * len(FOLDS) + edges - 3)[some]
    weights = None if weight is None else weight[pick][some]
    found = np.bincount(place, weights, minlength=len(FOLDS) * len(bonds.first))
    sums: Float = found.reshape(-1, len(FOLDS)).astype(np.float64)
    sums[bonds.state != CLOSED] = np.nan
    return sums


@dataclass(frozen=True)
class Coordination(_OfCells):
    """Coordination number: Voronoi neighbours, and neighbours within ``cutoff`` Å; 2 columns.

    ``small_facets`` as of ``Interstice``. The first column is NaN where the Voronoi cell is open. Source: Wang, Jain, Nat. Commun. 10,
    5537 (2019).

    >>> import numpy as np
    >>> Coordination(cutoff=2.8).compute(np.array([[0, 0, 0], [1.5, 1.5, 1.5]]), 3 * np.eye(3), np.array([26, 26]))[0]  # bcc
    array([14.,  8.])
    """

    cutoff: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    small_facets: SmallFacets = "static"

    family: ClassVar[str] = "coordination"
    long_name: ClassVar[str] = "coordination number"
    citation: ClassVar[str] = "Wang, Jain, Nat. Commun. 10, 5537 (2019)"
    labels = ("voronoi", "cutoff")
    amlearn_labels = ("CN_voro", "CN_dist")

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Each over the neighbours that it counts."""
        return VoronoiNeighbors(self.small_facets), CutoffNeighbors(self.cutoff)

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> Marks:
        """Fill ``out`` (center,column)."""
        cells, near = (
            environments.voronoi(centers, self.small_facets),
            environments.neighbors(self.cutoff, centers),
        )
        out[:, 0] = np.where(cells.state == CLOSED, cells.last - cells.first, np.nan)
        out[:, 1] = near.last - near.first
        return environments.flags(cells)


@dataclass(frozen=True)
class EdgeSums(_OfCells):
    """Number, or area, or volume of the facets with 3, 4, 5, 6, 7 edges; 5 columns: what ``FoldSymmetry`` is made of."""

    weights: Weights = "none"
    small_facets: SmallFacets = "static"
    beyond: bool = True

    family: ClassVar[str] = "edge_sums"
    long_name: ClassVar[str] = "facets by their number of edges"
    citation: ClassVar[str] = "Peng, Li, Wang, Phys. Rev. Lett. 106, 135503 (2011)"
    labels = tuple(f"edges{k}" for k in FOLDS)

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> Marks:
        """Fill ``out`` (center,column)."""
        cells = environments.voronoi(centers, self.small_facets)
        weight = {"none": None, "area": cells.area, "volume": cells.pyramid}[self.weights]
        out[...] = edge_sums(cells, weight, self.beyond)
        return environments.flags(cells)


@dataclass(frozen=True)
class VoronoiIndices(_OfCells):
    """Voronoi indices n_3, n_4, n_5, n_6, n_7: the facets of an atom's cell by their number of edges; 5 columns.

    ``beyond``: facets of more than 7 edges count in n_7; otherwise they are left out. Edges shorter than 2e-5 Å are none, so that perfect
    crystals have their known indices. Edges are those of the whole cell: they do not change when small facets are dropped. NaN where the cell
    is open. Source: Finney, Proc. R. Soc. A 319, 479 (1970); Wang, Jain, Nat. Commun. 10, 5537 (2019).

    >>> import numpy as np
    >>> VoronoiIndices().compute(np.array([[0, 0, 0], [1.5, 1.5, 1.5]]), 3 * np.eye(3), np.array([26, 26]))[0]  # bcc
    array([0., 6., 0., 8., 0.])
    """

    small_facets: SmallFacets = "static"
    beyond: bool = True

    family: ClassVar[str] = "voronoi_indices"
    long_name: ClassVar[str] = "Voronoi indices"
    citation: ClassVar[str] = "Finney, Proc. R. Soc. A 319, 479 (1970)"
    labels = tuple(f"n{k}" for k in FOLDS)
    amlearn_labels = tuple(f"Voronoi_idx_{k}_voro" for k in FOLDS)

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> Marks:
        """Fill ``out`` (center,column)."""
        cells = environments.voronoi(centers, self.small_facets)
        out[...] = edge_sums(cells, None, self.beyond)
        return environments.flags(cells)


@dataclass(frozen=True)
class Motifs(_OfCells):
    """Characteristic motifs, 1 or 0: <0,0,12,0,0>, <0,0,12,4,0>, Kasper (2 n_4 + n_5 = 12), and either of the first two; 4 columns.

    NaN where the cell is open. Parameters as of ``VoronoiIndices``. Source: Wang, Jain, Nat. Commun. 10, 5537 (2019).

    >>> Motifs().labels
    ('0_0_12_0_0', '0_0_12_4_0', 'kasper', '0_0_12_0or4_0')
    """

    small_facets: SmallFacets = "static"
    beyond: bool = True

    family: ClassVar[str] = "motifs"
    long_name: ClassVar[str] = "characteristic motifs"
    citation: ClassVar[str] = "Wang, Jain, Nat. Commun. 10, 5537 (2019)"
    labels = ("0_0_12_0_0", "0_0_12_4_0", "kasper", "0_0_12_0or4_0")
    amlearn_labels = (
        "is_<0,0,12,0,0>_voro",
        "is_<0,0,12,4,0>_voro",
        "is_polytetrahedral_voro",
        "is_<0,0,12,0/4,0>_voro",
    )

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> Marks:
        """Fill ``out`` (center,column)."""
        cells = environments.voronoi(centers, self.small_facets)
        n = edge_sums(cells, None, self.beyond)
        out[:, 0] = (n == [0, 0, 12, 0, 0]).all(axis=1)
        out[:, 1] = (n == [0, 0, 12, 4, 0]).all(axis=1)
        out[:, 2] = 2 * n[:, 1] + n[:, 2] == 12
        out[:, 3] = out[:, 0] + out[:, 1]
        out[np.isnan(n[:, 0])] = np.nan
        return environments.flags(cells)


@dataclass(frozen=True)
class Packing(_OfCells):
    """Volume metrics: cluster packing efficiency, atomic packing efficiency, atomic volume over Voronoi volume; 3 columns.

        cluster  = (4/3 pi R_i^3 + 1/3 sum_j R_j^3 Omega_j) / V_hull     Omega_j: solid angle at neighbour j of the hull's tetrahedra
        atomic   = R_i / <R_j> - R*(N)                                   R*: ratio of radii of the most efficient packing of N neighbours
        volume   = 4/3 pi R_i^3 / V_Voronoi

    The second is a difference, as in amlearn (the ratio of efficiencies of the sources is 1 where it is 0); NaN where N is not 3 to 24. NaN where
    the cell is open; the first also where there is no hull. ``radii``, ``small_facets`` as of ``Interstice``.

    Source: Yang et al., Phys. Rev. Lett. 109, 105502 (2012); Laws, Miracle, Ferry, Nat. Commun. 6, 8123 (2015).

    >>> import numpy as np
    >>> position = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
    >>> packing = Packing(radii={"Cu": 2**0.5})  # fcc, touching spheres
    >>> packing.compute(position, 4 * np.eye(3), np.full(4, 29))[0, 2].round(5)
    np.float64(0.74048)
    """

    radii: Radii = "miracle"
    small_facets: SmallFacets = "static"

    family: ClassVar[str] = "packing"
    long_name: ClassVar[str] = "volume metrics"
    citation: ClassVar[str] = (
        "Yang et al., Phys. Rev. Lett. 109, 105502 (2012); Laws, Miracle, Ferry, Nat. Commun. 6, 8123 (2015)"
    )
    labels = ("cluster_packing", "atomic_packing", "volume_ratio")

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """What amlearn calls the columns; it lacks the last one."""
        table = self.radii if isinstance(self.radii, str) else "given"
        return (
            f"Cluster_packing_efficiency_{table}_voro",
            f"Atomic_packing_efficiency_{table}_voro",
            "",
        )

    def __post_init__(self) -> None:
        validate_fields(self)
        if isinstance(self.radii, tuple):
            for name, _ in self.radii:
                atomic_number(name)

    @property
    def example_number(self) -> int:
        """An element that the radii know."""
        return (
            atomic_number(self.radii[0][0]) if self.radii and isinstance(self.radii, tuple) else 29
        )

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> Marks:
        """Fill ``out`` (center,column)."""
        cells = environments.voronoi(centers, self.small_facets)
        radius = environments.radii(self.radii)
        own, closed = radius[centers], cells.state == CLOSED
        found = environments.interstices(self.radii, self.small_facets, centers)
        sphere = 4.0 / 3.0 * np.pi * own**3
        out[:, 0] = (sphere + found.cones / 3.0) / found.hull
        count = cells.last - cells.first
        center = np.repeat(np.arange(len(centers)), count)
        total = np.bincount(
            center, radius[cells.row[spans(cells.first, cells.last)]], minlength=len(centers)
        )
        ideal = np.full(max(int(count.max(initial=0)), max(IDEAL_RATIO)) + 1, np.nan)
        ideal[list(IDEAL_RATIO)] = list(IDEAL_RATIO.values())
        with np.errstate(invalid="ignore", divide="ignore"):
            out[:, 1] = own / (total / count) - ideal[count]
        out[:, 2] = sphere / cells.volume
        out[~closed] = np.nan
        return {
            **environments.flags(cells),
            "no_hull": closed & (found.flag & NO_HULL > 0),
            "center_outside_hull": found.flag & OUTSIDE > 0,
            "no_ideal_ratio": closed & np.isnan(ideal[count]),
        }


@dataclass(frozen=True)
class FoldSymmetry(_OfCells):
    """i-fold symmetry: share of the facets with i = 3, 4, 5, 6, 7 edges; 5 columns, of which ``fold5`` is the local five-fold symmetry (LFFS).

        f_i = n_i / sum_k n_k,      weighted: f_i = sum_{e_j = i} w_j / sum_k sum_{e_j = k} w_j

    Parameters
    ----------
    weights: "none", or the "area" of a facet, or the "volume" of its pyramid.
    average: over the atom and its Voronoi neighbours m, f_i = sum_m n_i^m / sum_m sum_k n_k^m (of weights where there are).
    small_facets, beyond: as of ``VoronoiIndices``.

    NaN where the cell, or with ``average`` that of a neighbour, is open. Source: Peng, Li, Wang, Phys. Rev. Lett. 106, 135503 (2011); Wang,
    Jain, Nat. Commun. 10, 5537 (2019).

    >>> FoldSymmetry(weights="area").labels
    ('fold3', 'fold4', 'fold5', 'fold6', 'fold7')
    """

    weights: Weights = "none"
    average: bool = False
    small_facets: SmallFacets = "static"
    beyond: bool = True

    family: ClassVar[str] = "fold_symmetry"
    long_name: ClassVar[str] = "i-fold symmetry"
    citation: ClassVar[str] = (
        "Peng, Li, Wang, Phys. Rev. Lett. 106, 135503 (2011); Wang, Jain, Nat. Commun. 10, 5537 (2019)"
    )
    labels = tuple(f"fold{k}" for k in FOLDS)

    @property
    def default_name(self) -> str:
        """With the weights and ``average``, so that several stand side by side."""
        weights = "" if self.weights == "none" else f"_{self.weights}"
        return f"fold_symmetry{weights}{'_average' if self.average else ''}"

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """What amlearn calls the columns; its averages are wrong, so they have no name here."""
        if self.average:
            return ()
        before = {"none": "", "area": "Area_wt_", "volume": "Vol_wt_"}[self.weights]
        return tuple(f"{before}{k}_fold_symm_idx_voro" for k in FOLDS)

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> Marks:
        """Fill ``out`` (center,column)."""
        cells = environments.voronoi(centers, self.small_facets)
        sums = np.empty((len(centers), len(FOLDS)))
        if self.average:
            every = environments.values(
                self.sums, environments.with_neighbors(VoronoiNeighbors(self.small_facets), centers)
            )
            sums[...] = every[centers]
            neighbors = cells.row[spans(cells.first, cells.last)]
            np.add.at(
                sums, np.repeat(np.arange(len(centers)), cells.last - cells.first), every[neighbors]
            )
        else:
            self.sums.describe(environments, centers, sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[...] = sums / sums.sum(axis=1, keepdims=True)
        return environments.flags(cells)

    @property
    def sums(self) -> EdgeSums:
        """What the shares are made of."""
        return EdgeSums(self.weights, self.small_facets, self.beyond)

    @property
    def dependencies(self) -> tuple[Feature, ...]:
        """The sums, where neighbours' are needed."""
        return (self.sums,) if self.average else ()

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """The cells, of a batch of atoms around too where it averages."""
        return {
            VoronoiNeighbors(self.small_facets): n_centers + HALO_BATCH
            if self.average
            else n_centers
        }

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """A few numbers a facet, and the sums of all atoms where it averages."""
        return super().footprint(n_atoms, n_centers) + (48 * n_atoms if self.average else 0)
