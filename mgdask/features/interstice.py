"""Interstices between an atom and its neighbors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.elements import atomic_number
from mgdask.errors import ParameterError
from mgdask.features.cutoffs import Distance, PairCutoffs, example_of, pairs_of
from mgdask.features.environments import (
    CLOSED,
    CutoffNeighbors,
    LocalEnvironments,
    Neighborhood,
    NeighborList,
    SmallFacets,
    VoronoiNeighbors,
    element_radii,
    within_cutoff,
)
from mgdask.features.feature import TYPICAL_DENSITY, FrameFeature, feature_dataclass, search_cost
from mgdask.kernels.interstice import FLAT_TETRAHEDRON, NO_HULL, OUTSIDE, gaps
from mgdask.kernels.statistics import histogram, statistics


def _as_pairs(value: Any) -> Any:
    pairs = pairs_of(value)
    return tuple(sorted(pairs)) if isinstance(value, Mapping | str) and pairs != value else pairs


Radii = Annotated[
    Literal["miracle", "covalent", "rdf"]
    | tuple[tuple[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], ...],
    BeforeValidator(_as_pairs),
]
"""Name of a table of radii, or pairs (symbol, radius in Å), or a mapping of these."""

PARTS = ("distance_voronoi", "distance_cutoff", "volume", "area")
"""The four kinds of interstices, in the order of the columns, as in amlearn."""
STATISTICS = ("mean", "std", "min", "max")
_AMLEARN = (
    "Dist_interstice_{}_voro",
    "Dist_interstice_{}_dist",
    "Volume_interstice_{}_voro",
    "Area_interstice_{}_voro",
)


@feature_dataclass
class Interstice(FrameFeature):
    """Interstice distribution of Wang and Jain (2019).

    The columns are mean, standard deviation, minimum and maximum of the empty fractions
    between an atom and its neighbors; 16 columns:

        distance  x = (d - R_i - R_j) / d                  Voronoi and cutoff neighbors
        area      a = 1 - sum_v R_v^2 theta_v / (2 S)      triangles of the hull
        volume    v = 1 - sum_v R_v^3 Omega_v / (3 V)      tetrahedra of atom and hull

    The hull is that of the Voronoi neighbors.

    Parameters
    ----------
    radii
        "miracle" (Miracle et al. 2010, the table in amlearn), "covalent" (Cordero et
        al. 2008), or "rdf" (half the position of the first peak of g_XX(r) in the
        frame). A mapping {symbol: radius in Å} sets the radii explicitly.
    cutoff
        Cutoff distance in Å of the neighbors in the columns ``distance_cutoff``.
    small_facets
        Which facets of a Voronoi cell are dropped. "static" drops those with less than
        5 % of the cell's mean facet area. "amlearn" is amlearn's rule, which depends on
        the numbering of atoms. "none" keeps all.
    convention
        "paper" uses the formulas above. In "amlearn", x = d / (R_i + R_j) - 1, and
        negative a and v are set to 0, as are those of atoms without a hull.
    bins
        If positive, the output is a histogram of each kind with this number of bins. A
        histogram sums to 1, and values outside ``span`` count in the first or last bin.
    span
        Lower and upper edge of the histogram.
    smearing
        Standard deviation of the normal distribution that represents a value in the
        histogram.
    pair_cutoffs
        Cutoffs in Å per pair of species, instead of ``cutoff``; see ``Coordination``.

    Notes
    -----
    Values are NaN if the Voronoi cell is open (at a free surface) or the atom coincides
    with another. Fewer than 4 neighbors, or coplanar ones, have no hull, so area and
    volume are NaN. A flat tetrahedron, whose atom lies in a facet of the hull, is left
    out.
    These atoms and atoms outside their hull (see ``mgdask.kernels.interstice``) are
    counted in the attrs of the output. In perfect crystals, facets of more than three
    neighbors are cut into triangles in an arbitrary but fixed order.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Methods. They take the radii from Laws,
    Miracle, Ferry, Nat. Commun. 6, 8123 (2015).

    Examples
    --------
    The volume interstice of bcc with 14 Voronoi neighbors:

    >>> import numpy as np
    >>> feature = Interstice(radii={"Fe": 1.5 * 3**0.5 / 2}, small_facets="none")
    >>> position = np.array([[0, 0, 0], [1.5, 1.5, 1.5]])
    >>> feature.compute(position, 3 * np.eye(3), [26, 26])[0, 8:9].round(6)
    array([0.319825])
    """

    radii: Radii = "miracle"
    cutoff: Distance = 4.0
    small_facets: SmallFacets = "static"
    convention: Literal["paper", "amlearn"] = "paper"
    bins: Annotated[int, Field(ge=0, le=1000)] = 0
    span: tuple[float, float] = (-0.5, 1.0)
    smearing: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    pair_cutoffs: PairCutoffs | None = None

    family: ClassVar[str] = "interstice"
    long_name: ClassVar[str] = "interstice distribution"
    citation: ClassVar[str] = "Wang, Jain, Nat. Commun. 10, 5537 (2019)"
    later_parameters: ClassVar[tuple[str, ...]] = ("pair_cutoffs",)

    def __post_init__(self) -> None:
        if not self.span[0] < self.span[1]:
            raise ParameterError(
                f"Interstice: span={self.span} must be (low, high) with low < high"
            )
        if isinstance(self.radii, tuple):
            for name, _ in self.radii:
                atomic_number(name)

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        if self.bins:
            edges = np.linspace(*self.span, self.bins + 1)
            return tuple(f"{part} {a:.4g} to {b:.4g}" for part in PARTS for a, b in pairwise(edges))
        return tuple(f"{part}_{statistic}" for part in PARTS for statistic in STATISTICS)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: distance_voronoi_mean, ..., area_max."""
        return self._labels

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """Names of the columns in amlearn."""
        if self.bins:
            return ()
        return tuple(name.format(statistic) for name in _AMLEARN for statistic in STATISTICS)

    @property
    def _near(self) -> CutoffNeighbors:
        return within_cutoff(self.cutoff, self.pair_cutoffs)

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Voronoi neighbors, or cutoff neighbors for the columns distance_cutoff."""
        each = self.bins or len(STATISTICS)
        kinds = [
            self._near if part == "distance_cutoff" else VoronoiNeighbors(self.small_facets)
            for part in PARTS
        ]
        return tuple(kind for kind in kinds for _ in range(each))

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of radii, distances and triangles."""
        return 16 * n_atoms + 2500 * n_centers

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return the time to find the neighbors, and 5 µs for hulls."""
        return search_cost(self.neighborhood, density) + 5e-6

    @property
    def example_number(self) -> int:
        """Atomic number of an element that has a radius."""
        return (
            atomic_number(self.radii[0][0])
            if self.radii and isinstance(self.radii, tuple)
            else example_of(self.pair_cutoffs)
        )

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """Raise ``ParameterError`` if an element has no radius."""
        element_radii(self.radii, numbers)
        super().check_species(numbers)

    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        radius = environments.radii(self.radii)
        own = radius[centers]
        cells, near = (
            environments.voronoi(centers, self.small_facets),
            environments.bonds(self._near, centers),
        )
        hulls = environments.interstices(self.radii, self.small_facets, centers)
        area, volume = hulls.area, hulls.volume
        if self.convention == "amlearn":
            area, volume = (
                np.maximum(area, 0.0),
                np.where(np.isnan(volume), 0.0, np.maximum(volume, 0.0)),
            )
        triangles = hulls.first, hulls.last
        distances = [self._distances(bonds, own, radius) for bonds in (cells, near)]
        lists = [*(d[:3] for d in distances), (*triangles, volume), (*triangles, area)]
        closed = cells.state == CLOSED
        each = self.bins or len(STATISTICS)
        results = np.empty((len(centers), self.bins or 5))
        for k, (part, (first, last, values)) in enumerate(zip(PARTS, lists, strict=True)):
            if self.bins:
                histogram(first, last, values, *self.span, self.bins, self.smearing, results)
            else:
                statistics(
                    first, last, values, 0.0 if self.convention == "amlearn" else np.nan, results
                )
            out[:, k * each : (k + 1) * each] = results[:, :each]
            if part != "distance_cutoff":
                out[~closed, k * each : (k + 1) * each] = np.nan
        flags = {"coincident_atom": np.zeros(len(centers), dtype=bool), **environments.flags(cells)}
        flags["coincident_atom"] |= distances[1][3]
        return {
            **flags,
            "no_hull": closed & (hulls.flag & NO_HULL > 0),
            "center_outside_hull": hulls.flag & OUTSIDE > 0,
            "flat_tetrahedron": hulls.flag & FLAT_TETRAHEDRON > 0,
            "no_neighbor_within_cutoff": near.first == near.last,
        }

    def _distances(
        self, bonds: NeighborList, own: FloatArray, radius: FloatArray
    ) -> tuple[IntArray, IntArray, FloatArray, BoolArray]:
        offset, touching = np.zeros(len(own) + 1, dtype=np.int64), np.empty(len(own), dtype=bool)
        values = np.empty(int((bonds.last - bonds.first).sum()))
        to_radii = self.convention == "amlearn"
        gaps(
            bonds.first,
            bonds.last,
            bonds.row,
            bonds.distance,
            own,
            radius,
            to_radii,
            offset,
            values,
            touching,
        )
        return offset[:-1], offset[1:], values, touching
