"""Features of Voronoi cells: coordination, indices, motifs, packing, symmetry."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.elements import atomic_number
from mgdask.features.cutoffs import Distance, PairCutoffs
from mgdask.features.environments import (
    CLOSED,
    HALO_BATCH,
    LocalEnvironments,
    Neighborhood,
    NeighborList,
    SmallFacets,
    VoronoiNeighbors,
    element_radii,
    spans,
    within_cutoff,
)
from mgdask.features.feature import TYPICAL_DENSITY, FrameFeature, feature_dataclass, search_cost
from mgdask.features.interstice import Radii
from mgdask.kernels.interstice import NO_HULL, OUTSIDE

Weights = Literal["none", "area", "volume"]
Flags = dict[str, BoolArray]

FOLDS = (3, 4, 5, 6, 7)
"""Numbers of edges of the facets that are counted separately."""

IDEAL_RATIO = {
    3: 0.154701, 4: 0.224745, 5: 0.361654, 6: 0.414214, 7: 0.518145, 8: 0.616517, 9: 0.709914,
    10: 0.798907, 11: 0.884003, 12: 0.902113, 13: 0.976006, 14: 1.04733, 15: 1.11632, 16:
    1.18318, 17: 1.2481, 18: 1.31123, 19: 1.37271, 20: 1.43267, 21: 1.49119, 22: 1.5484, 23:
    1.60436, 24: 1.65915,
}  # fmt: skip
"""Ratio R* of radii at which an atom and its N neighbors pack most efficiently.

Miracle, Sanders, Senkov, Philos. Mag. 83, 2409 (2003); Laws, Miracle, Ferry, Nat.
Commun. 6, 8123 (2015).
"""


class _OfCells(FrameFeature):
    """Base class of the features that depend on the Voronoi cell alone."""

    small_facets: SmallFacets

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Voronoi neighbors."""
        return (VoronoiNeighbors(self.small_facets),) * self.n_columns

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of a few numbers per facet."""
        return 8 * n_atoms + 1500 * n_centers

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return the time to find the neighbors, which dominates, and 1 µs."""
        return search_cost(self.neighborhood, density) + 1e-6


def edge_sums(bonds: NeighborList, weight: FloatArray | None, beyond: bool) -> FloatArray:
    """Sum the weights of the facets with 3, 4, 5, 6 and 7 edges of each cell: (cell,5).

    Without ``weight``, facets are counted. If ``beyond`` is True, more than 7 edges
    count as 7.
    """
    pick = spans(bonds.first, bonds.last)
    cell = np.repeat(np.arange(len(bonds.first)), bonds.last - bonds.first)
    edges = np.minimum(bonds.edges[pick], 7 if beyond else 8)
    counted = (edges >= 3) & (edges <= 7)
    place = (cell * len(FOLDS) + edges - 3)[counted]
    weights = None if weight is None else weight[pick][counted]
    totals = np.bincount(place, weights, minlength=len(FOLDS) * len(bonds.first))
    sums: FloatArray = totals.reshape(-1, len(FOLDS)).astype(np.float64)
    sums[bonds.state != CLOSED] = np.nan
    return sums


@feature_dataclass
class Coordination(_OfCells):
    """Coordination numbers by Voronoi cell and by cutoff; 2 columns.

    Parameters
    ----------
    cutoff
        Cutoff distance in Å.
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.
    pair_cutoffs
        Cutoffs in Å per pair of species, in place of ``cutoff``: {"Cu-Cu": 3.2,
        "Cu-Zr": 3.7, "Zr-Zr": 4.1}. Every pair of species present must have a cutoff.
        The first minima of ``partial_rdf`` are a good choice: see
        ``mgdask.pair_cutoffs``.

    Notes
    -----
    The first column is NaN if the Voronoi cell is open. With ``pair_cutoffs`` from the
    first minima of the partial g(r), the second column is the coordination number of
    Liu X. et al. They call it "determined from partial radial distribution functions".

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019). Pair cutoffs: Liu X. et al., J. Mater.
    Inf. 2, 20 (2022), Eqs. (2) and (5).

    Examples
    --------
    >>> import numpy as np
    >>> bcc = np.array([[0, 0, 0], [1.5, 1.5, 1.5]])
    >>> Coordination(cutoff=2.8).compute(bcc, 3 * np.eye(3), [26, 26])[0]
    array([14.,  8.])
    """

    cutoff: Distance = 4.0
    small_facets: SmallFacets = "static"
    pair_cutoffs: PairCutoffs | None = None

    family: ClassVar[str] = "coordination"
    long_name: ClassVar[str] = "coordination number"
    citation: ClassVar[str] = "Wang, Jain, Nat. Commun. 10, 5537 (2019)"
    later_parameters: ClassVar[tuple[str, ...]] = ("pair_cutoffs",)
    labels = ("voronoi", "cutoff")
    amlearn_labels = ("CN_voro", "CN_dist")

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """The neighbors that each column counts."""
        return (VoronoiNeighbors(self.small_facets), within_cutoff(self.cutoff, self.pair_cutoffs))

    def describe(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> Flags:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        cells, near = (environments.bonds(kind, centers) for kind in self.neighborhood)
        out[:, 0] = np.where(cells.state == CLOSED, cells.last - cells.first, np.nan)
        out[:, 1] = near.last - near.first
        return environments.flags(cells)


@feature_dataclass
class EdgeSums(_OfCells):
    """Number, area or volume of the facets with 3, 4, 5, 6 and 7 edges; 5 columns.

    ``FoldSymmetry`` is computed from these sums.

    Parameters
    ----------
    weights
        "none" counts facets, "area" sums their areas in Å², "volume" the volumes of
        their pyramids in Å³.
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.
    beyond
        Whether facets with more than 7 edges count as 7.

    Notes
    -----
    Values are NaN if the cell is open.
    """

    weights: Weights = "none"
    small_facets: SmallFacets = "static"
    beyond: bool = True

    family: ClassVar[str] = "edge_sums"
    long_name: ClassVar[str] = "facets by their number of edges"
    citation: ClassVar[str] = "Peng, Li, Wang, Phys. Rev. Lett. 106, 135503 (2011)"
    labels = tuple(f"edges{k}" for k in FOLDS)

    @property
    def units(self) -> tuple[str, ...]:
        """1 for a number of facets, Å² for an area, Å³ for a volume."""
        return ({"none": "1", "area": "Å²", "volume": "Å³"}[self.weights],) * len(FOLDS)

    def describe(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> Flags:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        cells = environments.voronoi(centers, self.small_facets)
        weight = {"none": None, "area": cells.area, "volume": cells.pyramid}[self.weights]
        out[...] = edge_sums(cells, weight, self.beyond)
        return environments.flags(cells)


@feature_dataclass
class VoronoiIndices(_OfCells):
    """Voronoi indices n_3 to n_7: facets by number of edges; 5 columns.

    Parameters
    ----------
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.
    beyond
        Whether facets with more than 7 edges count in n_7. Otherwise they are left out.

    Notes
    -----
    Edges shorter than 2e-5 Å are not counted, so perfect crystals have their ideal
    indices. Dropping small facets does not change the edges of the others. Values are
    NaN if the cell is open.

    References
    ----------
    Finney, Proc. R. Soc. A 319, 479 (1970); Wang, Jain, Nat. Commun. 10, 5537 (2019).

    Examples
    --------
    >>> import numpy as np
    >>> bcc = np.array([[0, 0, 0], [1.5, 1.5, 1.5]])
    >>> VoronoiIndices().compute(bcc, 3 * np.eye(3), [26, 26])[0]
    array([0., 6., 0., 8., 0.])
    """

    small_facets: SmallFacets = "static"
    beyond: bool = True

    family: ClassVar[str] = "voronoi_indices"
    long_name: ClassVar[str] = "Voronoi indices"
    citation: ClassVar[str] = "Finney, Proc. R. Soc. A 319, 479 (1970)"
    labels = tuple(f"n{k}" for k in FOLDS)
    amlearn_labels = tuple(f"Voronoi_idx_{k}_voro" for k in FOLDS)

    def describe(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> Flags:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        cells = environments.voronoi(centers, self.small_facets)
        out[...] = edge_sums(cells, None, self.beyond)
        return environments.flags(cells)


@feature_dataclass
class Motifs(_OfCells):
    """Characteristic Voronoi motifs, 1 or 0; 4 columns.

    The motifs are <0,0,12,0,0>, <0,0,12,4,0>, Kasper polyhedra (2 n_4 + n_5 = 12), and
    either of the first two.

    Parameters
    ----------
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.
    beyond
        Whether facets with more than 7 edges count in n_7.

    Notes
    -----
    Values are NaN if the cell is open.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019).

    Examples
    --------
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

    def describe(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> Flags:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        cells = environments.voronoi(centers, self.small_facets)
        n = edge_sums(cells, None, self.beyond)
        out[:, 0] = (n == [0, 0, 12, 0, 0]).all(axis=1)
        out[:, 1] = (n == [0, 0, 12, 4, 0]).all(axis=1)
        out[:, 2] = 2 * n[:, 1] + n[:, 2] == 12
        out[:, 3] = out[:, 0] + out[:, 1]
        out[np.isnan(n[:, 0])] = np.nan
        return environments.flags(cells)


@feature_dataclass
class Packing(_OfCells):
    """Packing of an atom and its neighbors; 3 columns.

        cluster_packing = (4/3 pi R_i^3 + 1/3 sum_j R_j^3 Omega_j) / V_hull
        atomic_packing  = R_i / <R_j> - R*(N)
        volume_ratio    = 4/3 pi R_i^3 / V_Voronoi

    Omega_j is the solid angle of the hull's tetrahedra at neighbor j. R*(N) is the
    ratio of radii at which N neighbors pack most efficiently.

    Parameters
    ----------
    radii
        Radii of the atoms in Å, as in ``Interstice``.
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.

    Notes
    -----
    The second column is a difference, as in amlearn. It is 0 where the ratio of
    efficiencies in the references is 1, and NaN if N is not 3 to 24. All columns are
    NaN if the cell is open, and the first is NaN if there is no hull.

    References
    ----------
    Yang et al., Phys. Rev. Lett. 109, 105502 (2012); Laws, Miracle, Ferry, Nat. Commun.
    6, 8123 (2015).

    Examples
    --------
    Touching spheres in fcc:

    >>> import numpy as np
    >>> position = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
    >>> packing = Packing(radii={"Cu": 2**0.5})
    >>> float(packing.compute(position, 4 * np.eye(3), [29] * 4)[0, 2].round(5))
    0.74048
    """

    radii: Radii = "miracle"
    small_facets: SmallFacets = "static"

    family: ClassVar[str] = "packing"
    long_name: ClassVar[str] = "volume metrics"
    citation: ClassVar[str] = (
        "Yang et al., Phys. Rev. Lett. 109, 105502 (2012); "
        "Laws, Miracle, Ferry, Nat. Commun. 6, 8123 (2015)"
    )
    labels = ("cluster_packing", "atomic_packing", "volume_ratio")

    def cost_at(self, density: float) -> float:
        """Return the time to find the neighbors, and 3.5 µs for hulls."""
        return super().cost_at(density) + 2.5e-6

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """Names of the columns in amlearn, which lacks the last one."""
        table = self.radii if isinstance(self.radii, str) else "given"
        return (
            f"Cluster_packing_efficiency_{table}_voro",
            f"Atomic_packing_efficiency_{table}_voro",
            "",
        )

    def __post_init__(self) -> None:
        if isinstance(self.radii, tuple):
            for name, _ in self.radii:
                atomic_number(name)

    @property
    def example_number(self) -> int:
        """Atomic number of an element that has a radius."""
        return (
            atomic_number(self.radii[0][0]) if self.radii and isinstance(self.radii, tuple) else 29
        )

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """Raise ``ParameterError`` if an element has no radius."""
        element_radii(self.radii, numbers)
        super().check_species(numbers)

    def describe(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> Flags:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        cells = environments.voronoi(centers, self.small_facets)
        radius = environments.radii(self.radii)
        own, closed = radius[centers], cells.state == CLOSED
        hulls = environments.interstices(self.radii, self.small_facets, centers)
        sphere = 4.0 / 3.0 * np.pi * own**3
        out[:, 0] = (sphere + hulls.cones / 3.0) / hulls.hull
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
            "no_hull": closed & (hulls.flag & NO_HULL > 0),
            "center_outside_hull": hulls.flag & OUTSIDE > 0,
            "no_ideal_ratio": closed & np.isnan(ideal[count]),
        }


@feature_dataclass
class FoldSymmetry(_OfCells):
    """i-fold symmetry: fraction of the facets with i = 3 to 7 edges; 5 columns.

        f_i = sum_{e_j = i} w_j / sum_k sum_{e_j = k} w_j,      w_j = 1 by default

    ``fold5`` is the local five-fold symmetry (LFFS).

    Parameters
    ----------
    weights
        "none", "area" of the facet, or "volume" of its pyramid.
    average
        Whether to sum over the atom and its Voronoi neighbors m: f_i = sum_m n_i^m /
        sum_m sum_k n_k^m, where n_i^m is the weighted number of facets.
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.
    beyond
        Whether facets with more than 7 edges count as 7.

    Notes
    -----
    Values are NaN if the cell is open. With ``average``, they are also NaN if the cell
    of a neighbor is open.

    References
    ----------
    Peng, Li, Wang, Phys. Rev. Lett. 106, 135503 (2011); Wang, Jain, Nat. Commun. 10,
    5537 (2019).

    Examples
    --------
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
        "Peng, Li, Wang, Phys. Rev. Lett. 106, 135503 (2011); "
        "Wang, Jain, Nat. Commun. 10, 5537 (2019)"
    )
    labels = tuple(f"fold{k}" for k in FOLDS)

    @property
    def default_name(self) -> str:
        """Name of the variable, with the weights and ``average``."""
        weights = "" if self.weights == "none" else f"_{self.weights}"
        return f"fold_symmetry{weights}{'_average' if self.average else ''}"

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """Names of the columns in amlearn; none for averages.

        amlearn truncates its averages to integers.
        """
        if self.average:
            return ()
        before = {"none": "", "area": "Area_wt_", "volume": "Vol_wt_"}[self.weights]
        return tuple(f"{before}{k}_fold_symm_idx_voro" for k in FOLDS)

    def describe(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> Flags:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        cells = environments.voronoi(centers, self.small_facets)
        sums = np.empty((len(centers), len(FOLDS)))
        if self.average:
            all_sums = environments.values(
                self.sums, environments.with_neighbors(VoronoiNeighbors(self.small_facets), centers)
            )
            sums[...] = all_sums[centers]
            neighbors = cells.row[spans(cells.first, cells.last)]
            np.add.at(
                sums,
                np.repeat(np.arange(len(centers)), cells.last - cells.first),
                all_sums[neighbors],
            )
        else:
            self.sums.describe(environments, centers, sums)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[...] = sums / sums.sum(axis=1, keepdims=True)
        return environments.flags(cells)

    @property
    def sums(self) -> EdgeSums:
        """The sums that the fractions are computed from."""
        return EdgeSums(self.weights, self.small_facets, self.beyond)

    @property
    def dependencies(self) -> tuple[FrameFeature, ...]:
        """The sums, if those of neighbors are needed."""
        return (self.sums,) if self.average else ()

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Return the number of cells, including halo atoms if ``average`` is True."""
        return {
            VoronoiNeighbors(self.small_facets): n_centers + HALO_BATCH
            if self.average
            else n_centers
        }

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of the facets, and of the sums of all atoms for averages."""
        return super().footprint(n_atoms, n_centers) + (48 * n_atoms if self.average else 0)
