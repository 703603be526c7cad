"""Chemical short-range order: the species of an atom's neighbors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from mgdask._typing import AnyArray, BoolArray, IntArray
from mgdask.errors import ParameterError
from mgdask.features.cutoffs import Distance, PairCutoffs
from mgdask.features.environments import (
    CLOSED,
    LocalEnvironments,
    Neighborhood,
    SmallFacets,
    VoronoiNeighbors,
    spans,
    within_cutoff,
)
from mgdask.features.feature import (
    TYPICAL_DENSITY,
    OfSpecies,
    feature_dataclass,
    search_cost,
    sort_species,
)

Quantity = Literal["element", "count", "fraction", "deviation"]


def _as_tuple(value: Any) -> Any:
    """Return "cutoff" and "voronoi+cutoff" as tuples."""
    return tuple(value.split("+")) if isinstance(value, str) else value


@feature_dataclass
class Chemistry(OfSpecies):
    """Element of an atom, and number, fraction and deviation of each species around it.

        count      n_X
        fraction   f_X = n_X / n
        deviation  (f_X - c_X) / c_X = -alpha_X,   alpha = 1 - f / c (Warren-Cowley)

    Parameters
    ----------
    species
        Element symbols; sorted by atomic number.
    quantities
        One or more of "element" (atomic number, one column), "count", "fraction" and
        "deviation" (one column per species and neighbor list).
    neighbors
        "voronoi", "cutoff", or both as a tuple.
    cutoff
        Cutoff distance in Å for "cutoff".
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.
    composition
        Nominal composition c_X, as (symbol, fraction) pairs or a mapping. The default
        is the composition of the configuration.
    pair_cutoffs
        Cutoffs in Å per pair of species, instead of ``cutoff``; see ``Coordination``.

    Notes
    -----
    The element is the first column. The others are ordered by neighbor list, quantity
    and species. Fraction and deviation are NaN if there are no neighbors. All columns
    of Voronoi neighbors are NaN if the cell is open.

    References
    ----------
    Cowley, Phys. Rev. 77, 669 (1950); Wang, Jain, Nat. Commun. 10, 5537 (2019).

    Examples
    --------
    >>> Chemistry(species=("Zr", "Cu"), quantities=("count", "deviation")).labels
    ('count_Cu', 'count_Zr', 'deviation_Cu', 'deviation_Zr')
    """

    species: tuple[str, ...]
    quantities: tuple[Quantity, ...] = ("element", "count", "fraction", "deviation")
    neighbors: Annotated[tuple[Literal["voronoi", "cutoff"], ...], BeforeValidator(_as_tuple)] = (
        "voronoi",
    )
    cutoff: Distance = 4.0
    small_facets: SmallFacets = "static"
    composition: (
        tuple[tuple[str, Annotated[float, Field(gt=0, le=1)]], ...] | dict[str, float] | None
    ) = None
    pair_cutoffs: PairCutoffs | None = None

    family: ClassVar[str] = "chemistry"
    long_name: ClassVar[str] = "chemical short-range order"
    citation: ClassVar[str] = "Cowley, Phys. Rev. 77, 669 (1950)"
    later_parameters: ClassVar[tuple[str, ...]] = ("pair_cutoffs",)

    def __post_init__(self) -> None:
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
                    f"Chemistry: composition={given} must give each of {self.species} a positive "
                    "fraction, and the fractions must sum to 1"
                )
        for name in ("quantities", "neighbors"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ParameterError(
                    f"Chemistry: {name}={values} must be one or more distinct names"
                )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: element, count_Cu or count_Cu_voronoi, ...."""
        names = ["element"] if "element" in self.quantities else []
        for kind in self.neighbors:
            end = f"_{kind}" if len(self.neighbors) > 1 else ""
            names += [
                f"{quantity}_{name}{end}" for quantity in self._per_species for name in self.species
            ]
        return tuple(names)

    @property
    def _per_species(self) -> tuple[str, ...]:
        return tuple(quantity for quantity in self.quantities if quantity != "element")

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """The neighbors that each column counts; for the element, the first kind."""
        kinds = [self._kind(kind) for kind in self.neighbors]
        each = len(self._per_species) * len(self.species)
        return (kinds[0],) * ("element" in self.quantities) + tuple(
            kind for kind in kinds for _ in range(each)
        )

    def _kind(self, name: str) -> Neighborhood:
        return (
            VoronoiNeighbors(self.small_facets)
            if name == "voronoi"
            else within_cutoff(self.cutoff, self.pair_cutoffs)
        )

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of a few numbers per neighbor."""
        return 24 * n_atoms + 800 * n_centers

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return the time to find the neighbors, which dominates."""
        return search_cost(self.neighborhood, density) + 0.5e-6

    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
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
