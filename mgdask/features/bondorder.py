"""Bond-orientational order: rotation-invariant measures of how the directions to an atom's neighbours are spread."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

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
from mgdask.features.feature import Feature, validate_fields
from mgdask.kernels.bondorder import coarse, invariants, moments, triples

Integer = npt.NDArray[np.int64]
Degree = Annotated[int, Field(ge=0, le=30)]
Quantity = Literal["q", "w", "coarse_q", "coarse_w"]
Marks = dict[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class BondMoments(Feature):
    """Moments q_lm = sum_j w_j Y_lm(r_ij) / sum_j w_j with real spherical harmonics, m = -l..l of each degree in turn.

    They turn with the coordinates: what is learnt from should be ``BondOrder``. Parameters as there. NaN where there are no neighbours.
    """

    degrees: tuple[Degree, ...] = (4, 6, 8, 10)
    neighbors: Literal["voronoi", "cutoff"] = "voronoi"
    weights: Literal["none", "area"] = "none"
    cutoff: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    small_facets: SmallFacets = "static"

    family: ClassVar[str] = "bond_moments"
    long_name: ClassVar[str] = "moments of the directions to the neighbours"
    citation: ClassVar[str] = "Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983)"

    def __post_init__(self) -> None:
        validate_fields(self)
        if not self.degrees or len(set(self.degrees)) < len(self.degrees):
            raise ParameterError(
                f"{type(self).__name__}: degrees={self.degrees} must name at least one, each once"
            )
        if self.weights == "area" and self.neighbors != "voronoi":
            raise ParameterError(
                f"{type(self).__name__}: weights='area' needs neighbors='voronoi', since only Voronoi neighbours have a facet"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """q4,-4 and so on."""
        return tuple(
            f"q{degree},{m}" for degree in self.degrees for m in range(-degree, degree + 1)
        )

    @property
    def kind(self) -> Neighborhood:
        """The neighbours."""
        return (
            VoronoiNeighbors(self.small_facets)
            if self.neighbors == "voronoi"
            else CutoffNeighbors(self.cutoff)
        )

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """The neighbours, for every column."""
        return (self.kind,) * self.n_columns

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """A weight a bond."""
        return 400 * n_centers + 2_000_000

    def cost(self, n_centers: int) -> float:
        """Most of it for the neighbours."""
        return 6e-6 * n_centers

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> Marks:
        """Fill ``out`` (center,lm)."""
        bonds = environments.bonds(self.kind, centers)
        weight = bonds.area if self.weights == "area" else np.ones(len(bonds.row))
        moments(bonds.first, bonds.last, bonds.vector, weight, np.array(self.degrees), out)
        return {**environments.flags(bonds), "no_neighbor": bonds.first == bonds.last}


@dataclass(frozen=True)
class BondOrder(Feature):
    """Bond order parameters q_l and w_l of Steinhardt, plain and averaged over the neighbours (Lechner, Dellago); default 16 columns.

        q_lm = sum_j w_j Y_lm(r_ij) / sum_j w_j,          coarse_q_lm = (q_lm(i) + sum_j q_lm(j)) / (N_i + 1)
        q_l = sqrt(4 pi / (2l+1) sum_m |q_lm|^2),        w_l = sum_{m1+m2+m3=0} (l l l; m1 m2 m3) q_lm1 q_lm2 q_lm3 / (sum_m |q_lm|^2)^(3/2)

    Parameters
    ----------
    degrees: l. quantities: some of "q", "w", "coarse_q", "coarse_w", in the order of the columns; each for all degrees in turn.
    neighbors: "voronoi" (without small facets, as in ``Interstice``) or "cutoff": those within ``cutoff`` Å.
    weights: "none", or "area": every neighbour counts with the area of its facet.

    NaN without neighbours and where the Voronoi cell is open, or that of a neighbour for the coarse ones. w_l is NaN where all q_lm vanish by
    symmetry (noise where they nearly do), and 0 for odd l.

    Source: Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983); Lechner, Dellago, J. Chem. Phys. 129, 114707 (2008); weights: Mickel, Kapfer,
    Schröder-Turk, Mecke, J. Chem. Phys. 138, 044501 (2013).

    >>> import numpy as np
    >>> position = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
    >>> BondOrder(degrees=(6,)).compute(position, 4 * np.eye(3), np.full(4, 29))[0].round(5)  # fcc
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
        "Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983); Lechner, Dellago, J. Chem. Phys. 129, 114707 (2008)"
    )

    def __post_init__(self) -> None:
        validate_fields(self)
        if not self.quantities or len(set(self.quantities)) < len(self.quantities):
            raise ParameterError(
                f"BondOrder: quantities={self.quantities} must name at least one, each once"
            )
        _ = self.moments  # checks the rest

    @cached_property
    def moments(self) -> BondMoments:
        """The moments that they are made of."""
        return BondMoments(
            self.degrees, self.neighbors, self.weights, self.cutoff, self.small_facets
        )

    @property
    def default_name(self) -> str:
        """With the weights."""
        return "bond_order" if self.weights == "none" else "bond_order_area"

    @property
    def labels(self) -> tuple[str, ...]:
        """q4, q6, ..., w4, ..., coarse_q4, ..."""
        return tuple(
            f"{quantity}{degree}" for quantity in self.quantities for degree in self.degrees
        )

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """What amlearn calls the columns (its own values are not invariant to rotation: atan for atan2)."""
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
        """The neighbours, for every column."""
        return (self.moments.kind,) * self.n_columns

    @property
    def _averages(self) -> bool:
        return any(quantity.startswith("coarse") for quantity in self.quantities)

    @property
    def dependencies(self) -> tuple[Feature, ...]:
        """The moments, where neighbours' are needed."""
        return (self.moments,) if self._averages else ()

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Its own neighbours, and those of a batch of atoms around for averages."""
        return {self.moments.kind: n_centers + HALO_BATCH if self._averages else n_centers}

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Moments of the centres, and of all atoms for averages."""
        width = 8 * self.moments.n_columns
        return (
            self.moments.footprint(n_atoms, n_centers)
            + 3 * width * n_centers
            + (n_atoms * (width + 8) if self._averages else 0)
        )

    def cost(self, n_centers: int) -> float:
        """Most of it for the neighbours."""
        return 7e-6 * n_centers

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> Marks:
        """Fill ``out`` (center,column)."""
        kind, degrees = self.moments.kind, np.array(self.degrees)
        table, n = triples(self.degrees), len(self.degrees)
        bonds = environments.bonds(kind, centers)
        found: dict[str, npt.NDArray[np.float64]] = {}
        if self._averages:
            every = environments.values(self.moments, environments.with_neighbors(kind, centers))
            plain, mean = every[centers], np.empty((len(centers), every.shape[1]))
            coarse(
                bonds.first,
                bonds.last,
                bonds.row,
                np.arange(len(environments)),
                centers,
                every,
                mean,
            )
            found["coarse"] = mean
        else:
            plain = np.empty((len(centers), self.moments.n_columns))
            self.moments.describe(environments, centers, plain)
        found[""] = plain
        result = {}
        for name, values in found.items():
            both = np.empty((len(centers), 2 * n))
            invariants(values, degrees, table.m, table.factor, table.start, both)
            before = f"{name}_" if name else ""
            result[f"{before}q"], result[f"{before}w"] = both[:, :n], both[:, n:]
        closed = bonds.state == CLOSED if len(bonds.state) else np.ones(len(centers), dtype=bool)
        for k, quantity in enumerate(self.quantities):
            out[:, k * n : (k + 1) * n] = np.where(closed[:, None], result[quantity], np.nan)
        return {**environments.flags(bonds), "no_neighbor": bonds.first == bonds.last}
