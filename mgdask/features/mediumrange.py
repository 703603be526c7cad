"""Medium-range order: statistics of a feature over the neighbours of an atom."""

from __future__ import annotations

from collections.abc import Iterator
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
    KEPT_VALUES,
    CutoffNeighbors,
    LocalEnvironments,
    Neighborhood,
    SmallFacets,
    VoronoiNeighbors,
)
from mgdask.features.feature import Feature, validate_fields
from mgdask.kernels.statistics import KINDS, statistics_of_rows

Integer = npt.NDArray[np.int64]
COLUMNS = 64
"""Columns averaged at a time: bounds the memory of features with thousands."""

Statistic = Literal["mean", "std", "min", "max", "sum"]


@dataclass(frozen=True)
class MediumRange(Feature):
    """Coarse-graining of any feature of atoms: mean, std, min, max (, sum) of its columns over the neighbours of an atom.

        F_mean(i) = 1/N_i sum_{j in N(i)} F(j),   and so on; std with the denominator N_i

    Parameters
    ----------
    feature: any feature that has a row for every atom.
    statistics: which, in the order of the columns: all of the first column of the feature, then all of the second, ...
    neighbors: "own": each column over the neighbours that it is made of itself (columns of neighbours by distance over those, all others over
        Voronoi neighbours), "voronoi", or "cutoff": those within ``cutoff`` Å.
    small_facets: of "voronoi", as in ``Interstice``. include_self: whether the atom itself counts too (and N_i is one more).

    A neighbour's NaN makes the result NaN, and so do an open Voronoi cell and, without ``include_self``, no neighbours; such atoms are
    counted in the attrs of the output.
    In large frames a block needs its atoms' neighbours too: that costs little where rows next to each other are near in space, and up to twice
    as much where they are not.

    Source: Wang, Jain, Nat. Commun. 10, 5537 (2019), Eq. (1).

    >>> from mgdask.features.interstice import Interstice
    >>> MediumRange(Interstice()).labels[:2]
    ('mean of distance_voronoi_mean', 'std of distance_voronoi_mean')
    """

    feature: Feature
    statistics: tuple[Statistic, ...] = ("mean", "std", "min", "max")
    neighbors: Literal["own", "voronoi", "cutoff"] = "own"
    cutoff: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    small_facets: SmallFacets = "static"
    include_self: bool = False

    family: ClassVar[str] = "mediumrange"

    def __post_init__(self) -> None:
        validate_fields(self)
        if self.feature.level != "atom":
            raise ParameterError(
                "MediumRange: feature has one row for a whole frame; it must have one for every atom"
            )
        if not self.statistics or len(set(self.statistics)) < len(self.statistics):
            raise ParameterError(
                f"MediumRange: statistics={self.statistics} must name each of some of {', '.join(KINDS)} once"
            )

    @property
    def default_name(self) -> str:
        """mediumrange_<name of the feature>."""
        return f"mediumrange_{self.feature.name}"

    @property
    def long_name(self) -> str:  # type: ignore[override]
        """In words."""
        return f"medium range of the {self.feature.long_name}"

    @property
    def citation(self) -> str:  # type: ignore[override]
        """This one's and the feature's."""
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
        """mean of <first column>, std of <first column>, ..."""
        return self._labels

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """What amlearn calls the columns; empty for those that it lacks."""
        return tuple(
            f"MRO_{statistic}_{name}" if name else ""
            for name in self.feature.amlearn_labels
            for statistic in self.statistics
        )

    @property
    def dependencies(self) -> tuple[Feature, ...]:
        """The feature that is averaged."""
        return (self.feature,)

    @property
    def example_number(self) -> int:
        """That of the feature."""
        return self.feature.example_number

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """The neighbours that each column is averaged over."""
        return tuple(kind for kind in self._kinds for _ in self.statistics)

    @cached_property
    def _kinds(self) -> tuple[Neighborhood, ...]:
        if self.neighbors == "own":
            return self.feature.neighborhood
        kind = (
            CutoffNeighbors(self.cutoff)
            if self.neighbors == "cutoff"
            else VoronoiNeighbors(self.small_facets)
        )
        return (kind,) * self.feature.n_columns

    def _groups(self) -> Iterator[tuple[Neighborhood, Integer]]:
        for kind in dict.fromkeys(self._kinds):
            yield kind, np.flatnonzero([kind == other for other in self._kinds])

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """As the feature does."""
        self.feature.check_species(numbers)

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Its own neighbours, and those of the feature, of the centres and of a batch of atoms around them."""
        found = dict.fromkeys(self._kinds, n_centers)
        for kind, n in self.feature.neighbor_lists(n_atoms, n_centers + HALO_BATCH).items():
            found[kind] = max(found.get(kind, 0), n)
        return found

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """The feature's for the centres and a batch of atoms around them, its values for all of these, and their statistics."""
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
        """That of the feature, and 10 nanoseconds for every column of every neighbour."""
        return self.feature.cost(n_centers) + 10e-9 * 15 * self.feature.n_columns * n_centers

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Fill ``out`` (center,column)."""
        wanted = np.array([KINDS.index(statistic) for statistic in self.statistics])
        for kind, columns in self._groups():
            atoms = environments.with_neighbors(kind, centers)
            rows = environments.values(self.feature, atoms)
            bonds = environments.bonds(kind, centers)
            for first in range(0, len(columns), COLUMNS):
                some = columns[first : first + COLUMNS]
                if rows.dtype == np.float64:
                    own, row, values, of = centers, bonds.row, rows, some
                else:  # sums are made in float64
                    own, row = np.searchsorted(atoms, centers), np.searchsorted(atoms, bonds.row)
                    values, of = rows[np.ix_(atoms, some)].astype(np.float64), np.arange(len(some))
                places = some * len(wanted)
                statistics_of_rows(
                    own,
                    bonds.first,
                    bonds.last,
                    row,
                    values,
                    of,
                    wanted,
                    places,
                    self.include_self,
                    out,
                )
            if len(bonds.state) and (bonds.state != CLOSED).any():
                places = (columns[:, None] * len(wanted) + np.arange(len(wanted))).ravel()
                out[np.ix_(bonds.state != CLOSED, places)] = np.nan
        return {"undefined": np.isnan(out).any(axis=1)}
