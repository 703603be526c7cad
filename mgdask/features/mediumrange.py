"""Medium-range order: statistics of a feature over the neighbors of an atom."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, BoolArray, IntArray
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.features.cutoffs import Distance, PairCutoffs, example_of
from mgdask.features.environments import (
    CLOSED,
    HALO_BATCH,
    KEPT_VALUES,
    CutoffNeighbors,
    LocalEnvironments,
    Neighborhood,
    SmallFacets,
    VoronoiNeighbors,
    within_cutoff,
)
from mgdask.features.feature import (
    TYPICAL_DENSITY,
    FrameFeature,
    InnerFeature,
    feature_dataclass,
    n_within,
)
from mgdask.kernels.statistics import KINDS, statistics_of_rows

COLUMNS = 64
"""Number of columns averaged at a time, to limit the memory of very wide features."""

Statistic = Literal["mean", "std", "min", "max", "sum"]


@feature_dataclass
class MediumRange(FrameFeature):
    """Statistics of another feature over the neighbors of an atom.

        F_mean(i) = 1/N_i sum_{j in N(i)} F(j),   std with denominator N_i

    Parameters
    ----------
    feature
        Any feature with one row per atom.
    statistics
        One or more of "mean", "std", "min", "max" and "sum". The columns are all
        statistics of the first column of the feature, then all those of the second, and
        so on.
    neighbors
        "own" averages each column over the kind of neighbors it is computed from,
        Voronoi or cutoff neighbors. "voronoi" and "cutoff" use one kind for all
        columns.
    cutoff
        Cutoff distance in Å for ``neighbors="cutoff"``.
    small_facets
        Which small facets are dropped for ``neighbors="voronoi"``, as in
        ``Interstice``.
    include_self
        Whether the atom itself is included, so that N_i is one larger.
    pair_cutoffs
        Cutoffs in Å per pair of species, instead of ``cutoff``; see ``Coordination``.
        With "own", they define the neighbors over which columns with cutoff neighbors
        are averaged. The values of these columns still follow the feature, which has
        its own ``pair_cutoffs``.

    Notes
    -----
    The result is NaN if a neighbor's value is NaN or the Voronoi cell is open. It is
    also NaN if there are no neighbors and ``include_self`` is False. Such atoms are
    counted in the attrs of the output. In large frames, a block also computes the
    feature for its neighbors. This costs little if consecutive rows are close in space,
    and up to a factor of two if they are not.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Eq. (1).

    Examples
    --------
    >>> from mgdask.features.interstice import Interstice
    >>> MediumRange(Interstice()).labels[:2]
    ('mean of distance_voronoi_mean', 'std of distance_voronoi_mean')
    """

    feature: Annotated[FrameFeature, InnerFeature]
    statistics: tuple[Statistic, ...] = ("mean", "std", "min", "max")
    neighbors: Literal["own", "voronoi", "cutoff"] = "own"
    cutoff: Distance = 4.0
    small_facets: SmallFacets = "static"
    include_self: bool = False
    pair_cutoffs: PairCutoffs | None = None

    family: ClassVar[str] = "medium_range"
    array_name: ClassVar[str] = "mediumrange"
    later_parameters: ClassVar[tuple[str, ...]] = ("pair_cutoffs",)
    example_parameters: ClassVar[Mapping[str, Any]] = {"feature": "interstice"}

    def __post_init__(self) -> None:
        if self.feature.level != "atom":
            raise ParameterError(
                f"MediumRange: feature={self.feature.name!r} has one row per frame; "
                "it must have one per atom"
            )
        if not self.statistics or len(set(self.statistics)) < len(self.statistics):
            raise ParameterError(
                f"MediumRange: statistics={self.statistics} must be one or more distinct names of "
                f"{', '.join(KINDS)}"
            )
        if self.pair_cutoffs is not None and not self._has_cutoff_neighbors:
            raise ParameterError(
                f"MediumRange: pair_cutoffs={dict(self.pair_cutoffs)} would not be used, because "
                f"neighbors={self.neighbors!r} averages all columns of {self.feature.name!r} over "
                "Voronoi neighbors. Take neighbors='cutoff', or leave pair_cutoffs out"
            )

    @property
    def _has_cutoff_neighbors(self) -> bool:
        """Whether any column is averaged over cutoff neighbors, as far as known."""
        if self.neighbors != "own":
            return self.neighbors == "cutoff"
        try:
            return any(isinstance(kind, CutoffNeighbors) for kind in self.feature.neighborhood)
        except ParameterError:  # by roles that ``for_atoms`` decides
            return True

    @property
    def default_name(self) -> str:
        """Name of the variable: mediumrange_ and the name of the feature."""
        return f"{self.array_name}_{self.feature.name}"

    @property
    def long_name(self) -> str:  # type: ignore[override]
        """Description of the feature."""
        return f"medium range of the {self.feature.long_name}"

    @property
    def citation(self) -> str:  # type: ignore[override]
        """The citation of the medium range and that of the feature."""
        own = "Wang, Jain, Nat. Commun. 10, 5537 (2019)"
        return "; ".join(dict.fromkeys([own, *self.feature.citation.split("; ")]))

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        return tuple(
            f"{statistic} of {label}"
            for label in self.feature.labels
            for statistic in self.statistics
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: mean of <first column>, std of <first column>, ...."""
        return self._labels

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the columns that are averaged."""
        return tuple(unit for unit in self.feature.units for _ in self.statistics)

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """Names of the columns in amlearn; empty for those that it lacks."""
        return tuple(
            f"MRO_{statistic}_{name}" if name else ""
            for name in self.feature.amlearn_labels
            for statistic in self.statistics
        )

    @property
    def dependencies(self) -> tuple[FrameFeature, ...]:
        """The feature that is averaged."""
        return (self.feature,)

    @property
    def example_number(self) -> int:
        """Atomic number of an element that the feature accepts."""
        number = self.feature.example_number
        if self.pair_cutoffs is None:
            return number
        known = f"{symbol(number)}-{symbol(number)}" in dict(self.pair_cutoffs)
        return number if known else example_of(self.pair_cutoffs, number)

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """The neighbors over which each column is averaged."""
        return tuple(kind for kind in self._kinds for _ in self.statistics)

    @cached_property
    def _kinds(self) -> tuple[Neighborhood, ...]:
        if self.neighbors == "own":
            kinds = self.feature.neighborhood
            if self.pair_cutoffs is None:
                return kinds
            by_pair = within_cutoff(self.cutoff, self.pair_cutoffs)
            return tuple(by_pair if isinstance(kind, CutoffNeighbors) else kind for kind in kinds)
        kind = (
            within_cutoff(self.cutoff, self.pair_cutoffs)
            if self.neighbors == "cutoff"
            else VoronoiNeighbors(self.small_facets)
        )
        return (kind,) * self.feature.n_columns

    def _groups(self) -> Iterator[tuple[Neighborhood, IntArray]]:
        for kind in dict.fromkeys(self._kinds):
            yield kind, np.flatnonzero([kind == other for other in self._kinds])

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """Raise ``ParameterError`` if elements or their pairs are not supported."""
        self.feature.check_species(numbers)
        super().check_species(numbers)

    def for_atoms(self, numbers: npt.NDArray[np.integer]) -> Self:
        """Return the statistics of the feature as resolved for these atoms."""
        decided = self.feature.for_atoms(numbers)
        if decided is self.feature:
            return self
        other = dataclasses.replace(self, feature=decided)
        return other.named(self.name) if "_name" in vars(self) else other

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Return the number of atoms with neighbors of each kind, with the halo."""
        sizes = dict.fromkeys(self._kinds, n_centers)
        for kind, n in self.feature.neighbor_lists(n_atoms, n_centers + HALO_BATCH).items():
            sizes[kind] = max(sizes.get(kind, 0), n)
        return sizes

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of the feature, its values and their statistics."""
        row = self.feature.n_columns * self.feature.output_dtype.itemsize
        table = (
            n_atoms * (row + 8)
            if n_atoms * row <= KEPT_VALUES
            else 8 * n_atoms + min(n_atoms, 15 * n_centers) * row
        )
        return (
            self.feature.footprint(n_atoms, n_centers + HALO_BATCH)
            + table
            + row * (n_centers + HALO_BATCH)
        )

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return the time of the feature, and 7 ns per column and neighbor."""
        near = [
            n_within(kind.cutoff, density) if isinstance(kind, CutoffNeighbors) else 14.0
            for kind in self._kinds
        ]
        return self.feature.cost_at(density) + 1e-6 + 7e-9 * sum(near)

    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        kinds = np.array([KINDS.index(statistic) for statistic in self.statistics])
        for kind, columns in self._groups():
            atoms = environments.with_neighbors(kind, centers)
            rows = environments.values(self.feature, atoms)
            bonds = environments.bonds(kind, centers)
            for first in range(0, len(columns), COLUMNS):
                batch = columns[first : first + COLUMNS]
                if rows.dtype == np.float64:
                    own, row, values, sources = centers, bonds.row, rows, batch
                else:  # the kernel sums in float64
                    own, row = np.searchsorted(atoms, centers), np.searchsorted(atoms, bonds.row)
                    values = rows[np.ix_(atoms, batch)].astype(np.float64)
                    sources = np.arange(len(batch))
                places = batch * len(kinds)
                statistics_of_rows(
                    own,
                    bonds.first,
                    bonds.last,
                    row,
                    values,
                    sources,
                    kinds,
                    places,
                    self.include_self,
                    out,
                )
            if len(bonds.state) and (bonds.state != CLOSED).any():
                places = (columns[:, None] * len(kinds) + np.arange(len(kinds))).ravel()
                out[np.ix_(bonds.state != CLOSED, places)] = np.nan
        return {"undefined": np.asarray(np.isnan(out).any(axis=1), dtype=bool)}
