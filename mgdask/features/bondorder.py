"""Bond-orientational order: rotation-invariant measures of neighbor directions."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.features.environments import (
    CLOSED,
    HALO_BATCH,
    CutoffNeighbors,
    LocalEnvironments,
    Neighborhood,
    SmallFacets,
    VoronoiNeighbors,
)
from mgdask.features.feature import FrameFeature, feature_dataclass
from mgdask.kernels.bondorder import coarse, invariants, moments, triples

Degree = Annotated[int, Field(ge=0, le=30)]
Quantity = Literal["q", "w", "coarse_q", "coarse_w"]
Flags = dict[str, BoolArray]


@feature_dataclass
class BondMoments(FrameFeature):
    """Moments of the neighbor directions in real spherical harmonics.

        q_lm = sum_j w_j Y_lm(r_ij) / sum_j w_j,   m = -l..l of each degree in turn

    Moments are not invariant to rotation. Use ``BondOrder`` for learning.

    Parameters
    ----------
    degrees
        Degrees l.
    neighbors
        "voronoi" or "cutoff".
    weights
        "none", or "area" of the facet.
    cutoff
        Cutoff distance in Å for ``neighbors="cutoff"``.
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.

    Notes
    -----
    Values are NaN if there are no neighbors.
    """

    degrees: tuple[Degree, ...] = (4, 6, 8, 10)
    neighbors: Literal["voronoi", "cutoff"] = "voronoi"
    weights: Literal["none", "area"] = "none"
    cutoff: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    small_facets: SmallFacets = "static"

    family: ClassVar[str] = "bond_moments"
    long_name: ClassVar[str] = "moments of the directions to the neighbors"
    citation: ClassVar[str] = "Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983)"

    def __post_init__(self) -> None:
        if not self.degrees or len(set(self.degrees)) < len(self.degrees):
            raise ParameterError(
                f"{type(self).__name__}: degrees={self.degrees} must be one or more distinct l"
            )
        if self.weights == "area" and self.neighbors != "voronoi":
            raise ParameterError(
                f"{type(self).__name__}: weights='area' needs neighbors='voronoi', "
                f"because only Voronoi neighbors have a facet; got neighbors={self.neighbors!r}"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: q4,-4 and so on."""
        return tuple(
            f"q{degree},{m}" for degree in self.degrees for m in range(-degree, degree + 1)
        )

    @property
    def kind(self) -> Neighborhood:
        """The kind of neighbors."""
        return (
            VoronoiNeighbors(self.small_facets)
            if self.neighbors == "voronoi"
            else CutoffNeighbors(self.cutoff)
        )

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """The kind of neighbors, for every column."""
        return (self.kind,) * self.n_columns

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of one weight per pair."""
        return 400 * n_centers + 2_000_000

    def cost(self, n_centers: int) -> float:
        """Return the time of the neighbors, which dominates."""
        return 6e-6 * n_centers

    def describe(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> Flags:
        """Fill ``out`` (center,lm) and return the flags (center,) by name."""
        bonds = environments.bonds(self.kind, centers)
        weight = bonds.area if self.weights == "area" else np.ones(len(bonds.row))
        moments(bonds.first, bonds.last, bonds.vector, weight, np.array(self.degrees), out)
        return {**environments.flags(bonds), "no_neighbor": bonds.first == bonds.last}


@feature_dataclass
class BondOrder(FrameFeature):
    """Bond-orientational order parameters q_l and w_l; by default 16 columns.

        q_lm = sum_j w_j Y_lm(r_ij) / sum_j w_j
        coarse_q_lm = (q_lm(i) + sum_j q_lm(j)) / (N_i + 1)
        q_l = sqrt(4 pi / (2l+1) sum_m |q_lm|^2)
        w_l = sum_{m1+m2+m3=0} (l l l; m1 m2 m3) q_lm1 q_lm2 q_lm3
              / (sum_m |q_lm|^2)^(3/2)

    q_l and w_l are those of Steinhardt et al. Coarse ones are computed from moments
    averaged over the neighbors, as by Lechner and Dellago.

    Parameters
    ----------
    degrees
        Degrees l.
    quantities
        One or more of "q", "w", "coarse_q" and "coarse_w", in the order of the columns.
        Each quantity has one column per degree.
    neighbors
        "voronoi" or "cutoff".
    weights
        "none", or "area": every neighbor is weighted by the area of its facet.
    cutoff
        Cutoff distance in Å for ``neighbors="cutoff"``.
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.

    Notes
    -----
    Values are NaN if there are no neighbors or the Voronoi cell is open. Coarse ones
    are also NaN if a neighbor's cell is open. w_l is NaN if all q_lm vanish by
    symmetry, and noise if they nearly vanish. w_l is 0 for odd l.

    References
    ----------
    Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983); Lechner, Dellago, J.
    Chem. Phys. 129, 114707 (2008). Weights: Mickel, Kapfer, Schröder-Turk, Mecke, J.
    Chem. Phys. 138, 044501 (2013).

    Examples
    --------
    An fcc crystal:

    >>> import numpy as np
    >>> position = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
    >>> BondOrder(degrees=(6,)).compute(position, 4 * np.eye(3), [29] * 4)[0].round(5)
    array([ 0.57452, -0.01316,  0.57452, -0.01316])
    """

    degrees: tuple[Degree, ...] = (4, 6, 8, 10)
    quantities: tuple[Quantity, ...] = ("q", "w", "coarse_q", "coarse_w")
    neighbors: Literal["voronoi", "cutoff"] = "voronoi"
    weights: Literal["none", "area"] = "none"
    cutoff: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    small_facets: SmallFacets = "static"

    family: ClassVar[str] = "bond_order"
    long_name: ClassVar[str] = "bond-orientational order parameters"
    citation: ClassVar[str] = (
        "Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983); "
        "Lechner, Dellago, J. Chem. Phys. 129, 114707 (2008)"
    )

    def __post_init__(self) -> None:
        if not self.quantities or len(set(self.quantities)) < len(self.quantities):
            raise ParameterError(
                f"BondOrder: quantities={self.quantities} must be one or more distinct names"
            )
        _ = self.moments  # checks degrees, neighbors and weights

    @cached_property
    def moments(self) -> BondMoments:
        """The moments that q_l and w_l are computed from."""
        return BondMoments(
            self.degrees, self.neighbors, self.weights, self.cutoff, self.small_facets
        )

    @property
    def default_name(self) -> str:
        """Name of the variable, with the weights."""
        return "bond_order" if self.weights == "none" else "bond_order_area"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: q4, q6, ..., w4, ..., coarse_q4, ...."""
        return tuple(
            f"{quantity}{degree}" for quantity in self.quantities for degree in self.degrees
        )

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """Names of the columns in amlearn.

        amlearn's own values are not invariant to rotation, because it uses atan instead
        of atan2.
        """
        if self.weights != "none":
            return ()
        after = "voro" if self.neighbors == "voronoi" else "dist"
        before = {
            "q": "q_",
            "w": "w_",
            "coarse_q": "Coarse_grained_q_",
            "coarse_w": "Coarse_grained_w_",
        }
        return tuple(
            f"{before[quantity]}{degree}_{after}"
            for quantity in self.quantities
            for degree in self.degrees
        )

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """The kind of neighbors, for every column."""
        return (self.moments.kind,) * self.n_columns

    @property
    def _averages(self) -> bool:
        return any(quantity.startswith("coarse") for quantity in self.quantities)

    @property
    def dependencies(self) -> tuple[FrameFeature, ...]:
        """The moments, if those of neighbors are needed."""
        return (self.moments,) if self._averages else ()

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Return the number of atoms with neighbors, including the halo if averaged."""
        return {self.moments.kind: n_centers + HALO_BATCH if self._averages else n_centers}

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of the moments, of all atoms for averages."""
        width = 8 * self.moments.n_columns
        return (
            self.moments.footprint(n_atoms, n_centers)
            + 3 * width * n_centers
            + (n_atoms * (width + 8) if self._averages else 0)
        )

    def cost(self, n_centers: int) -> float:
        """Return the time of the neighbors, which dominates."""
        return 7e-6 * n_centers

    def describe(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> Flags:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        kind, degrees = self.moments.kind, np.array(self.degrees)
        table, n = triples(self.degrees), len(self.degrees)
        bonds = environments.bonds(kind, centers)
        moments_of: dict[str, FloatArray] = {}
        if self._averages:
            halo = environments.with_neighbors(kind, centers)
            all_moments = environments.values(self.moments, halo)
            plain = all_moments[centers]
            mean = np.empty((len(centers), all_moments.shape[1]))
            coarse(
                bonds.first,
                bonds.last,
                bonds.row,
                np.arange(len(environments)),
                centers,
                all_moments,
                mean,
            )
            moments_of["coarse"] = mean
        else:
            plain = np.empty((len(centers), self.moments.n_columns))
            self.moments.describe(environments, centers, plain)
        moments_of[""] = plain
        result = {}
        for name, values in moments_of.items():
            both = np.empty((len(centers), 2 * n))
            invariants(values, degrees, table.m, table.factor, table.start, both)
            before = f"{name}_" if name else ""
            result[f"{before}q"], result[f"{before}w"] = both[:, :n], both[:, n:]
        closed = bonds.state == CLOSED if len(bonds.state) else np.ones(len(centers), dtype=bool)
        for k, quantity in enumerate(self.quantities):
            out[:, k * n : (k + 1) * n] = np.where(closed[:, None], result[quantity], np.nan)
        return {**environments.flags(bonds), "no_neighbor": bonds.first == bonds.last}
