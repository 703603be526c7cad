"""Interstices around an atom: the empty share of distances, triangles and tetrahedra between it and its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from mgdask.elements import atomic_number
from mgdask.errors import ParameterError
from mgdask.features.environments import (
    CLOSED,
    CutoffNeighbors,
    LocalEnvironments,
    Neighborhood,
    NeighborList,
    SmallFacets,
    VoronoiNeighbors,
)
from mgdask.features.feature import Feature, validate_fields
from mgdask.kernels.interstice import FLAT_TETRAHEDRON, NO_HULL, OUTSIDE, gaps
from mgdask.kernels.statistics import histogram, statistics

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]


def _as_pairs(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, Mapping) else value


Radii = Annotated[
    Literal["miracle", "covalent", "rdf"]
    | tuple[tuple[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], ...],
    BeforeValidator(_as_pairs),
]
"""A table of radii, or (symbol, radius in Å) pairs; a mapping is taken too."""

PARTS = ("distance_voronoi", "distance_cutoff", "volume", "area")
"""The four kinds of interstices, in the order of the columns (that of amlearn)."""
STATISTICS = ("mean", "std", "min", "max")
_AMLEARN = (
    "Dist_interstice_{}_voro",
    "Dist_interstice_{}_dist",
    "Volume_interstice_{}_voro",
    "Area_interstice_{}_voro",
)


@dataclass(frozen=True)
class Interstice(Feature):
    """Interstice distribution: mean, std, min, max of the empty shares between an atom and its neighbours, 16 columns.

        distance  x = (d - R_i - R_j) / d                      over Voronoi neighbours, and over neighbours within ``cutoff``
        area      a = 1 - sum_v R_v^2 theta_v / (2 S)          over the triangles of the hull of the Voronoi neighbours
        volume    v = 1 - sum_v R_v^3 Omega_v / (3 V)          over the tetrahedra of these triangles and the atom

    Parameters
    ----------
    radii: "miracle" (Miracle et al. 2010), "covalent" (Cordero et al. 2008), "rdf" (half the first peak of g_XX(r) of the frame itself), or a
        mapping {symbol: Å}.
    cutoff: of the neighbours by distance, Å.
    small_facets: which facets of a Voronoi cell are dropped. "static": those under 5 % of the cell's mean facet area, "amlearn": its rule, which
        depends on the numbering of atoms, "none": none.
    convention: "paper", or "amlearn": x = d / (R_i + R_j) - 1, a and v at least 0 each, 0 where there is no hull.
    bins, span, smearing: with ``bins`` > 0 the output is a histogram of each kind instead: equal bins from ``span[0]`` to ``span[1]``, each value a
        normal distribution of width ``smearing``; what lies outside counts in the first or the last bin; a row of a kind sums to 1.

    An atom with an open Voronoi cell (free surface) or in one place with another has NaN. Fewer than 4 neighbours, or all in one plane: no
    hull, area and volume NaN. A tetrahedron that is flat, since the atom lies in a facet of the hull, is left out. These atoms, and those
    outside their hull (see ``mgdask.kernels.interstice``), are counted in the attrs of the output. In perfect crystals facets of more than
    three neighbours are cut into triangles in an arbitrary but fixed order.

    Source: Wang, Jain, Nat. Commun. 10, 5537 (2019).

    >>> import numpy as np
    >>> signs = np.array(np.meshgrid([1, -1], [1, -1], [1, -1])).reshape(3, 8).T
    >>> bcc = np.vstack([[[0, 0, 0]], signs * 1.5])
    >>> feature = Interstice(radii={"Fe": 1.5 * 3**0.5 / 2}, small_facets="none")
    >>> feature.compute(np.array([[0, 0, 0], [1.5, 1.5, 1.5]]), 3 * np.eye(3), np.array([26, 26]))[0, 8:9].round(6)  # bcc-14
    array([0.319825])
    """

    radii: Radii = "miracle"
    cutoff: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    small_facets: SmallFacets = "static"
    convention: Literal["paper", "amlearn"] = "paper"
    bins: Annotated[int, Field(ge=0, le=1000)] = 0
    span: tuple[float, float] = (-0.5, 1.0)
    smearing: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    family: ClassVar[str] = "interstice"
    long_name: ClassVar[str] = "interstice distribution"
    citation: ClassVar[str] = "Wang, Jain, Nat. Commun. 10, 5537 (2019)"

    def __post_init__(self) -> None:
        validate_fields(self)
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
        """distance_voronoi_mean, distance_voronoi_std, ..., area_max."""
        return self._labels

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """What amlearn calls the columns."""
        if self.bins:
            return ()
        return tuple(name.format(statistic) for name in _AMLEARN for statistic in STATISTICS)

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Voronoi neighbours but for the columns of neighbours by distance."""
        each = self.bins or len(STATISTICS)
        kinds = [
            CutoffNeighbors(self.cutoff)
            if part == "distance_cutoff"
            else VoronoiNeighbors(self.small_facets)
            for part in PARTS
        ]
        return tuple(kind for kind in kinds for _ in range(each))

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Radii, and the values of all distances and triangles."""
        return 16 * n_atoms + 2500 * n_centers

    def cost(self, n_centers: int) -> float:
        """About 10 microseconds a centre."""
        return 10e-6 * n_centers

    @property
    def example_number(self) -> int:
        """An element that the radii know."""
        return (
            atomic_number(self.radii[0][0]) if self.radii and isinstance(self.radii, tuple) else 29
        )

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Fill ``out`` (center,column)."""
        radius = environments.radii(self.radii)
        own = radius[centers]
        cells, near = (
            environments.voronoi(centers, self.small_facets),
            environments.neighbors(self.cutoff, centers),
        )
        found = environments.interstices(self.radii, self.small_facets, centers)
        area, volume = found.area, found.volume
        if self.convention == "amlearn":
            area, volume = (
                np.maximum(area, 0.0),
                np.where(np.isnan(volume), 0.0, np.maximum(volume, 0.0)),
            )
        triangles = found.first, found.last
        distances = [self._distances(bonds, own, radius) for bonds in (cells, near)]
        lists = [*(d[:3] for d in distances), (*triangles, volume), (*triangles, area)]
        closed = cells.state == CLOSED
        each = self.bins or len(STATISTICS)
        room = np.empty((len(centers), self.bins or 5))
        for k, (part, (first, last, values)) in enumerate(zip(PARTS, lists, strict=True)):
            if self.bins:
                histogram(first, last, values, *self.span, self.bins, self.smearing, room)
            else:
                statistics(
                    first, last, values, 0.0 if self.convention == "amlearn" else np.nan, room
                )
            out[:, k * each : (k + 1) * each] = room[:, :each]
            if part != "distance_cutoff":
                out[~closed, k * each : (k + 1) * each] = np.nan
        flags = {"coincident_atom": np.zeros(len(centers), dtype=bool), **environments.flags(cells)}
        flags["coincident_atom"] |= distances[1][3]
        return {
            **flags,
            "no_hull": closed & (found.flag & NO_HULL > 0),
            "center_outside_hull": found.flag & OUTSIDE > 0,
            "flat_tetrahedron": found.flag & FLAT_TETRAHEDRON > 0,
            "no_neighbor_within_cutoff": near.first == near.last,
        }

    def _distances(
        self, bonds: NeighborList, own: Float, radius: Float
    ) -> tuple[Integer, Integer, Float, npt.NDArray[np.bool_]]:
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
