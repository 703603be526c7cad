"""Bond-orientational order: rotation-invariant measures of neighbor directions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.features.cutoffs import Distance, PairCutoffs
from mgdask.features.environments import (
    CLOSED,
    HALO_BATCH,
    LocalEnvironments,
    Neighborhood,
    NeighborList,
    SmallFacets,
    VoronoiNeighbors,
    spans,
    within_cutoff,
)
from mgdask.features.feature import TYPICAL_DENSITY, FrameFeature, feature_dataclass, search_cost
from mgdask.kernels.bondorder import coarse, invariants, moments, triples

Degree = Annotated[int, Field(ge=0, le=30)]
Quantity = Literal["q", "w", "coarse_q", "coarse_w"]
Neighbors = Literal["voronoi", "cutoff"]
Weights = Literal["none", "area"]
AreaNormalization = Literal["total", "printed"]
Flags = dict[str, BoolArray]


def _as_list(value: Any) -> Any:
    """Return "voronoi+cutoff" as a tuple."""
    return tuple(value.split("+")) if isinstance(value, str) and "+" in value else value


class _OfMoments(FrameFeature):
    """Parameters that bond order shares with the moments it is computed from."""

    degrees: tuple[int, ...]
    weights: Weights | None
    small_facets: SmallFacets | None
    area_normalization: AreaNormalization

    def _check_moments(self, kinds: Sequence[str]) -> None:
        """Check degrees, and set the defaults of weights and small facets."""
        own = type(self).__name__
        if not self.degrees or len(set(self.degrees)) < len(self.degrees):
            raise ParameterError(f"{own}: degrees={self.degrees} must be one or more distinct l")
        if self.weights is None:
            object.__setattr__(self, "weights", self._default_weights)
        if self.weights == "area" and "cutoff" in kinds:
            raise ParameterError(
                f"{own}: weights='area' needs neighbors='voronoi', "
                f"because only Voronoi neighbors have a facet; got {' and '.join(kinds)} neighbors"
            )
        if self.weights != "area" and self.area_normalization != "total":
            raise ParameterError(
                f"{own}: area_normalization={self.area_normalization!r} needs weights='area', "
                f"because it divides areas; got weights={self.weights!r}"
            )
        if self.small_facets is None:
            object.__setattr__(self, "small_facets", ALL_OR_LARGE[self.weights])

    @property
    def _default_weights(self) -> Weights:
        return "area" if self.area_normalization == "printed" else "none"

    def _default_of(self, item: dataclasses.Field[Any]) -> Any:
        """Return the default of a parameter, which may depend on other parameters."""
        if item.name == "weights":
            return self._default_weights
        return ALL_OR_LARGE[self.weights] if item.name == "small_facets" else item.default


ALL_OR_LARGE: dict[str | None, SmallFacets] = {"none": "static", "area": "none"}
"""Small facets that are dropped by default, for each kind of weights."""


@feature_dataclass
class BondMoments(_OfMoments):
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
        "none", or "area" of the facet. The default is as in ``BondOrder``.
    cutoff
        Cutoff distance in Å for ``neighbors="cutoff"``.
    small_facets
        Which small facets of a cell are dropped, as in ``BondOrder``.
    pair_cutoffs
        Cutoffs in Å per pair of species, instead of ``cutoff``; see ``Coordination``.
    area_normalization
        "total" or "printed", as in ``BondOrder``.

    Notes
    -----
    Values are NaN if there are no neighbors.
    """

    degrees: tuple[Degree, ...] = (4, 6, 8, 10)
    neighbors: Neighbors = "voronoi"
    weights: Weights | None = None
    cutoff: Distance = 4.0
    small_facets: SmallFacets | None = None
    pair_cutoffs: PairCutoffs | None = None
    area_normalization: AreaNormalization = "total"

    family: ClassVar[str] = "bond_moments"
    long_name: ClassVar[str] = "moments of the directions to the neighbors"
    citation: ClassVar[str] = "Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983)"
    later_parameters: ClassVar[tuple[str, ...]] = ("pair_cutoffs", "area_normalization")

    def __post_init__(self) -> None:
        self._check_moments((self.neighbors,))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: q4,-4 and so on."""
        return tuple(
            f"q{degree},{m}" for degree in self.degrees for m in range(-degree, degree + 1)
        )

    @property
    def kind(self) -> Neighborhood:
        """The kind of neighbors."""
        if self.neighbors == "voronoi":
            return VoronoiNeighbors(self.small_facets or ALL_OR_LARGE[self.weights])
        return within_cutoff(self.cutoff, self.pair_cutoffs)

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """The kind of neighbors, for every column."""
        return (self.kind,) * self.n_columns

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of one weight per pair."""
        return 400 * n_centers + 2_000_000

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return the time to find the neighbors, which dominates."""
        return search_cost(self.neighborhood, density) + 20e-9 * self.n_columns

    def describe(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> Flags:
        """Fill ``out`` (center,lm) and return the flags (center,) by name."""
        bonds = environments.bonds(self.kind, centers)
        weight = bonds.area if self.weights == "area" else np.ones(len(bonds.row))
        moments(bonds.first, bonds.last, bonds.vector, weight, np.array(self.degrees), out)
        if self.area_normalization == "printed":
            with np.errstate(invalid="ignore", divide="ignore"):
                out /= (bonds.last - bonds.first)[:, None]
        return {**environments.flags(bonds), "no_neighbor": bonds.first == bonds.last}


@feature_dataclass
class BondOrder(_OfMoments):
    """Bond-orientational order parameters q_l and w_l, by default in 16 columns.

        q_lm = sum_j w_j Y_lm(r_ij) / sum_j w_j
        coarse_q_lm = (q_lm(i) + sum_j q_lm(j)) / (N_i + 1)
        q_l = sqrt(4 pi / (2l+1) sum_m |q_lm|^2)
        w_l = sum_{m1+m2+m3=0} (l l l; m1 m2 m3) q_lm1 q_lm2 q_lm3
              / (sum_m |q_lm|^2)^(3/2)

    q_l and w_l are those of Steinhardt et al. The coarse-grained ones are computed from
    moments averaged over the atom and its neighbors, as in Lechner and Dellago.

    Parameters
    ----------
    degrees
        Degrees l.
    quantities
        One or more of "q", "w", "coarse_q" and "coarse_w", in the order of the columns.
        Each quantity has one column per degree and neighbor list.
    neighbors
        "voronoi", "cutoff", or both as a tuple. Columns are ordered by neighbor list,
        quantity and degree.
    weights
        "none", or "area": every neighbor is weighted by the area of its facet. The
        default is "none", and "area" with ``area_normalization="printed"``.
    cutoff
        Cutoff distance in Å for "cutoff".
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``. The default is
        "static" without weights and "none" with ``weights="area"``. In the latter case
        a small facet has a small weight anyway.
    pair_cutoffs
        Cutoffs in Å per pair of species, instead of ``cutoff``; see ``Coordination``.
    area_normalization
        Divisor of the moments with ``weights="area"``. "total" is the total area of the
        cell, sum_j w_j above. "printed" also divides by the number of neighbors, as in
        the printed Eq. (12) of Zhang et al.
    coarse_average
        What "coarse_q" averages. "vectors" is the formula above. "squares" is
        ``sqrt(4 pi / (2l+1) sum_m <|q_lm|^2>)``, with the mean over the atom and its
        neighbors, as in the printed Eq. (11) of Zhang et al. "coarse_w" is not defined
        for it.

    Notes
    -----
    Values are NaN if there are no neighbors or the Voronoi cell is open. Coarse-grained
    values are also NaN if a neighbor's cell is open. w_l is NaN if all q_lm vanish by
    symmetry. If they nearly vanish, w_l is numerical noise. w_l is 0 for odd l.

    The bond order of Zhang et al. is ``BondOrder(quantities=("coarse_q",),
    weights="area")``. Their Eq. (12) is q_lm(k) = 1/N(k) sum_j A_kj/A Y_lm(r_kj), with
    A the sum of all facet areas of atom k. It normalizes twice, since the weights
    A_kj/A already sum to 1. The default therefore leaves out 1/N(k), as Mickel et al.
    do. "printed" keeps it, which makes the values smaller by about a factor of the
    coordination number.

    Their printed Eq. (11) takes the mean of q_lm(k)^2 over the atom and its neighbors
    k. The text below it says that the vectors q_lm(k) are averaged, which gives the
    square of the mean. The formula above follows that text and Lechner and Dellago. In
    a mean of squares, neighbors of different orientation do not cancel.
    ``coarse_average="squares"`` computes Eq. (11) as printed.

    References
    ----------
    Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983); Lechner, Dellago, J.
    Chem. Phys. 129, 114707 (2008). Weights: Mickel, Kapfer, Schröder-Turk, Mecke, J.
    Chem. Phys. 138, 044501 (2013). Zhang et al., "Intrinsic tensile ductility in strain
    hardening multi-principal element metallic glass", Supporting Information, Eqs. (11)
    and (12).

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
    neighbors: Annotated[Neighbors | tuple[Neighbors, ...], BeforeValidator(_as_list)] = "voronoi"
    weights: Weights | None = None
    cutoff: Distance = 4.0
    small_facets: SmallFacets | None = None
    pair_cutoffs: PairCutoffs | None = None
    area_normalization: AreaNormalization = "total"
    coarse_average: Literal["vectors", "squares"] = "vectors"

    family: ClassVar[str] = "bond_order"
    long_name: ClassVar[str] = "bond-orientational order parameters"
    citation: ClassVar[str] = (
        "Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983); "
        "Lechner, Dellago, J. Chem. Phys. 129, 114707 (2008)"
    )
    later_parameters: ClassVar[tuple[str, ...]] = (
        "pair_cutoffs",
        "area_normalization",
        "coarse_average",
    )

    def __post_init__(self) -> None:
        for name in ("quantities", "neighbors"):
            values = getattr(self, name)
            if not values or (isinstance(values, tuple) and len(set(values)) < len(values)):
                raise ParameterError(
                    f"BondOrder: {name}={values} must be one or more distinct names"
                )
        if self.coarse_average == "squares" and "coarse_w" in self.quantities:
            raise ParameterError(
                "BondOrder: coarse_average='squares' has no 'coarse_w', because squares have no "
                f"direction; got quantities={self.quantities}. Leave 'coarse_w' out"
            )
        if len(self._lists) == 1:
            object.__setattr__(self, "neighbors", self._lists[0])
        self._check_moments(self._lists)

    @property
    def _lists(self) -> tuple[Neighbors, ...]:
        return self.neighbors if isinstance(self.neighbors, tuple) else (self.neighbors,)

    @cached_property
    def moments(self) -> tuple[BondMoments, ...]:
        """Moments that q_l and w_l are computed from, one entry per neighbor list."""
        return tuple(
            BondMoments(
                self.degrees,
                neighbors,
                self.weights,
                self.cutoff,
                self.small_facets,
                self.pair_cutoffs if neighbors == "cutoff" else None,
                self.area_normalization,
            )
            for neighbors in self._lists
        )

    @property
    def default_name(self) -> str:
        """Name of the variable, with the weights."""
        return "bond_order" if self.weights == "none" else "bond_order_area"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: q4, q6, ..., or q4_voronoi, ... for two lists."""
        return tuple(
            f"{quantity}{degree}{f'_{kind}' if len(self._lists) > 1 else ''}"
            for kind in self._lists
            for quantity in self.quantities
            for degree in self.degrees
        )

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """Names of the columns in amlearn.

        amlearn's own values are not invariant to rotation, because it uses atan instead
        of atan2.
        """
        if self.weights != "none":
            return ()
        after = {"voronoi": "voro", "cutoff": "dist"}
        before = {
            "q": "q_",
            "w": "w_",
            "coarse_q": "Coarse_grained_q_",
            "coarse_w": "Coarse_grained_w_",
        }
        return tuple(
            f"{before[quantity]}{degree}_{after[kind]}"
            for kind in self._lists
            for quantity in self.quantities
            for degree in self.degrees
        )

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """The neighbors that each column is computed from."""
        each = len(self.quantities) * len(self.degrees)
        return tuple(part.kind for part in self.moments for _ in range(each))

    @property
    def _averages(self) -> bool:
        return any(quantity.startswith("coarse") for quantity in self.quantities)

    @property
    def dependencies(self) -> tuple[FrameFeature, ...]:
        """The moments, if those of neighbors are needed."""
        return self.moments if self._averages else ()

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Return the number of atoms with neighbors, including the halo if averaged."""
        n = n_centers + HALO_BATCH if self._averages else n_centers
        return dict.fromkeys((part.kind for part in self.moments), n)

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of the moments, of all atoms for averages."""
        one = self.moments[0]
        width = 8 * one.n_columns
        # averages of one list are finished before those of the next
        tables = len(self.moments) * n_atoms * (width + 8) if self._averages else 0
        return one.footprint(n_atoms, n_centers) + 3 * width * n_centers + tables

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return the time to find the neighbors, which dominates, and 1 µs per list."""
        return search_cost(self.neighborhood, density) + 1e-6 * len(self.moments)

    def describe(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> Flags:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        each = len(self.quantities) * len(self.degrees)
        flags: Flags = {}
        for k, part in enumerate(self.moments):
            found = self._describe_list(part, environments, centers, out[:, k * each :])
            for name, flag in found.items():
                flags[name] = flag | flags[name] if name in flags else flag
        return flags

    def _describe_list(
        self, part: BondMoments, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> Flags:
        """Fill the columns of one neighbor list and return its flags."""
        degrees, table, n = np.array(self.degrees), triples(self.degrees), len(self.degrees)
        bonds = environments.bonds(part.kind, centers)
        moments_of: dict[str, FloatArray] = {}
        if self._averages:
            halo = environments.with_neighbors(part.kind, centers)
            all_moments = environments.values(part, halo)
            plain = all_moments[centers]
            if self.coarse_average == "vectors":
                mean = np.empty((len(centers), all_moments.shape[1]))
                rows = np.arange(len(environments))
                coarse(bonds.first, bonds.last, bonds.row, rows, centers, all_moments, mean)
                moments_of["coarse_"] = mean
        else:
            plain = np.empty((len(centers), part.n_columns))
            part.describe(environments, centers, plain)
        moments_of[""] = plain
        result = {}
        for before, values in moments_of.items():
            both = np.empty((len(centers), 2 * n))
            invariants(values, degrees, table.m, table.factor, table.start, both)
            result[f"{before}q"], result[f"{before}w"] = both[:, :n], both[:, n:]
        if self._averages and self.coarse_average == "squares":
            result["coarse_q"] = self._mean_squares(bonds, centers, all_moments)
        closed = bonds.state == CLOSED if len(bonds.state) else np.ones(len(centers), dtype=bool)
        for k, quantity in enumerate(self.quantities):
            out[:, k * n : (k + 1) * n] = np.where(closed[:, None], result[quantity], np.nan)
        return {**environments.flags(bonds), "no_neighbor": bonds.first == bonds.last}

    def _mean_squares(
        self, bonds: NeighborList, centers: IntArray, all_moments: FloatArray
    ) -> FloatArray:
        """Return q_l (center,degree) from means of squares, Eq. (11) as printed."""
        count = bonds.last - bonds.first
        place = np.repeat(np.arange(len(centers)), count)
        row = bonds.row[spans(bonds.first, bonds.last)]
        found = np.empty((len(centers), len(self.degrees)))
        column = 0
        for k, degree in enumerate(self.degrees):
            part = all_moments[:, column : column + 2 * degree + 1]
            column += 2 * degree + 1
            own, near = ((part[atoms] ** 2).sum(axis=1) for atoms in (centers, row))
            total = own + np.bincount(place, near, minlength=len(centers))
            found[:, k] = np.sqrt(4.0 * np.pi / (2 * degree + 1) * total / (count + 1))
        return found
