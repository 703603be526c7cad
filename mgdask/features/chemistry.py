"""Chemical short-range order: who an atom's neighbours are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mgdask.errors import ParameterError
from mgdask.features.environments import (
    CLOSED,
    CutoffNeighbors,
    LocalEnvironments,
    Neighborhood,
    SmallFacets,
    VoronoiNeighbors,
    spans,
)
from mgdask.features.feature import OfSpecies, sort_species, validate_fields

Integer = npt.NDArray[np.int64]
Quantity = Literal["element", "count", "fraction", "deviation"]


@dataclass(frozen=True)
class Chemistry(OfSpecies):
    """Element of an atom, and number, fraction and Warren-Cowley deviation of each species among its neighbours.

        count n_X,   fraction f_X = n_X / n,   deviation (f_X - c_X) / c_X = -alpha_X     (alpha = 1 - f / c, Warren-Cowley)

    Parameters
    ----------
    species: elements, in the order of atomic numbers (sorted if they are not).
    quantities: which of "element" (atomic number; one column), "count", "fraction", "deviation" (a column a species and list).
    neighbors: "voronoi", "cutoff" (within ``cutoff`` Å), or both.
    composition: (symbol, fraction) pairs or a mapping of the nominal composition c_X; default that of the configuration.

    Columns are the element, then list by list, quantity by quantity, species by species. No neighbours: fraction and deviation are NaN; an open
    Voronoi cell: all of its columns. Source: Cowley, Phys. Rev. 77, 669 (1950); Wang, Jain, Nat. Commun. 10, 5537 (2019).

    >>> Chemistry(species=("Zr", "Cu"), quantities=("count", "deviation")).labels
    ('count_Cu', 'count_Zr', 'deviation_Cu', 'deviation_Zr')
    """

    species: tuple[str, ...]
    quantities: tuple[Quantity, ...] = ("element", "count", "fraction", "deviation")
    neighbors: tuple[Literal["voronoi", "cutoff"], ...] = ("voronoi",)
    cutoff: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    small_facets: SmallFacets = "static"
    composition: (
        tuple[tuple[str, Annotated[float, Field(gt=0, le=1)]], ...] | dict[str, float] | None
    ) = None

    family: ClassVar[str] = "chemistry"
    long_name: ClassVar[str] = "chemical short-range order"
    citation: ClassVar[str] = "Cowley, Phys. Rev. 77, 669 (1950)"

    def __post_init__(self) -> None:
        validate_fields(self)
        object.__setattr__(self, "species", sort_species(self.species))
        if isinstance(self.composition, dict):
            object.__setattr__(self, "composition", tuple(sorted(self.composition.items())))
        if self.composition is not None:
            given = dict(self.composition)
            if (
                set(given) != set(self.species)
                or abs(sum(given.values()) - 1.0) > 1e-6
                or min(given.values()) <= 0.0
            ):
                raise ParameterError(
                    f"Chemistry: composition={given} must give every one of {self.species} a fraction > 0 that sum to 1"
                )
        for name in ("quantities", "neighbors"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ParameterError(
                    f"Chemistry: {name}={values} must name at least one, each once"
                )

    @property
    def labels(self) -> tuple[str, ...]:
        """element, count_Cu, count_Zr, ...; with two lists count_Cu_voronoi, ..."""
        found = ["element"] if "element" in self.quantities else []
        for kind in self.neighbors:
            end = f"_{kind}" if len(self.neighbors) > 1 else ""
            found += [
                f"{quantity}_{name}{end}" for quantity in self._per_species for name in self.species
            ]
        return tuple(found)

    @property
    def _per_species(self) -> tuple[str, ...]:
        return tuple(quantity for quantity in self.quantities if quantity != "element")

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Each column over the neighbours that it counts; the element over those of the first list."""
        kinds = [self._kind(kind) for kind in self.neighbors]
        each = len(self._per_species) * len(self.species)
        return (kinds[0],) * ("element" in self.quantities) + tuple(
            kind for kind in kinds for _ in range(each)
        )

    def _kind(self, name: str) -> Neighborhood:
        return (
            VoronoiNeighbors(self.small_facets)
            if name == "voronoi"
            else CutoffNeighbors(self.cutoff)
        )

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """A few numbers a neighbour."""
        return 24 * n_atoms + 800 * n_centers

    def cost(self, n_centers: int) -> float:
        """Mostly that of the neighbours."""
        return 6e-6 * n_centers

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Fill ``out`` (center,column)."""
        slot, k = environments.slots(self.species), len(self.species)
        if self.composition is None:
            nominal = np.bincount(slot, minlength=k) / max(len(slot), 1)
        else:
            nominal = np.array([dict(self.composition)[name] for name in self.species])
        column, flags = 0, {}
        if "element" in self.quantities:
            out[:, 0] = environments.numbers[centers]
            column = 1
        for kind in self.neighbors:
            bonds = environments.bonds(self._kind(kind), centers)
            count = bonds.last - bonds.first
            place = (
                np.repeat(np.arange(len(centers)), count) * k
                + slot[bonds.row[spans(bonds.first, bonds.last)]]
            )
            n = np.bincount(place, minlength=k * len(centers)).reshape(-1, k).astype(np.float64)
            if kind == "voronoi":
                n[bonds.state != CLOSED] = np.nan
                flags = environments.flags(bonds)
            with np.errstate(invalid="ignore", divide="ignore"):
                fraction = n / count[:, None]
                values = {
                    "count": n,
                    "fraction": fraction,
                    "deviation": (fraction - nominal) / nominal,
                }
            for quantity in self._per_species:
                out[:, column : column + k] = values[quantity]
                column += k
            flags["no_neighbor"] = flags.get("no_neighbor", np.zeros(len(centers), dtype=bool)) | (
                count == 0
            )
        return flags
