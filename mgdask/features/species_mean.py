"""Means of a feature over the atoms of each species of a frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator

from mgdask._typing import AnyArray, BoolArray, IntArray
from mgdask.elements import atomic_number
from mgdask.errors import ParameterError
from mgdask.features.environments import LocalEnvironments, Neighborhood
from mgdask.features.feature import (
    TYPICAL_DENSITY,
    FrameFeature,
    InnerFeature,
    OfSpecies,
    feature_dataclass,
    sort_species,
)

BATCH = 256
"""Atoms whose rows are in memory at a time. Sums add these batches in order."""


def _as_tuple(species: Any) -> Any:
    return (species,) if isinstance(species, str) else species


@feature_dataclass
class SpeciesMean(OfSpecies):
    """Mean of another feature over the atoms of each species.

        F_s = 1/N_s sum_{i of species s} F(i)

    Parameters
    ----------
    feature
        Any feature with one row per atom.
    species
        Element symbols. They are ordered by atomic number. The columns are all means
        over atoms of the first species, then those of the second, and so on.

    Notes
    -----
    If the energy of each atom is linear in the feature, the total energy is linear in
    these means: E = sum_s N_s w_s·F_s. There is one row per frame. The mean is NaN if
    the frame has no atom of the species, or if a row is NaN. Only 256 rows are in
    memory at a time.

    References
    ----------
    Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013), sec. II: the energy as a sum
    over functions of the environments.

    Examples
    --------
    >>> from mgdask.features import SphericalChebyshev
    >>> chebyshev = SphericalChebyshev(species=("Cu", "Zr"))
    >>> mean = SpeciesMean(chebyshev, species=("Cu", "Zr"))
    >>> mean.labels[0], mean.n_columns
    ('Cu: type n=0 l=0', 180)
    """

    feature: Annotated[FrameFeature, InnerFeature]
    species: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]

    family: ClassVar[str] = "species_mean"
    example_parameters: ClassVar[Mapping[str, Any]] = {"feature": "interstice"}

    def __post_init__(self) -> None:
        if self.feature.level != "atom":
            raise ParameterError(
                f"SpeciesMean: feature={self.feature.name!r} has one row per frame; "
                "it must have one per atom"
            )
        if not self.species:
            raise ParameterError("SpeciesMean: species=() must name at least one element")
        object.__setattr__(self, "species", sort_species(self.species))

    @property
    def default_name(self) -> str:
        """Name of the variable: ``species_mean_`` and the name of the feature."""
        return f"{self.family}_{self.feature.name}"

    @property
    def long_name(self) -> str:  # type: ignore[override]
        """Description of the feature."""
        return f"mean per species of the {self.feature.long_name}"

    @property
    def citation(self) -> str:  # type: ignore[override]
        """The citation of the feature that is averaged."""
        return self.feature.citation

    @property
    def level(self) -> Literal["atom", "frame"]:
        """One row per frame."""
        return "frame"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: Cu: <first column>, Cu: <second column>, ...."""
        return tuple(f"{name}: {label}" for name in self.species for label in self.feature.labels)

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the columns that are averaged."""
        return self.feature.units * len(self.species)

    @property
    def n_columns(self) -> int:
        """Number of columns, those of the feature times the number of species."""
        return self.feature.n_columns * len(self.species)

    @property
    def dependencies(self) -> tuple[FrameFeature, ...]:
        """Features that the averaged feature is made of; it is not kept itself."""
        return self.feature.dependencies

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Neighbors of the columns that are averaged."""
        return self.feature.neighborhood * len(self.species)

    @property
    def reach(self) -> float:
        """Reach of the feature in Å."""
        return self.feature.reach

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """Raise ``ParameterError`` if elements are not supported."""
        self.feature.check_species(numbers)
        super().check_species(numbers)

    def for_atoms(self, numbers: npt.NDArray[np.integer]) -> Self:
        """Return the mean of the feature as resolved for these atoms."""
        decided = self.feature.for_atoms(numbers)
        if decided is self.feature:
            return self
        other = dataclasses.replace(self, feature=decided)
        return other.named(self.name) if "_name" in vars(self) else other

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Return the neighbor lists of the feature, for all central atoms."""
        return self.feature.neighbor_lists(n_atoms, n_centers)

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of a batch of the feature and of its rows."""
        size = min(BATCH, n_centers)
        row = self.feature.n_columns * (8 + self.feature.output_dtype.itemsize)
        return self.feature.footprint(n_atoms, size) + row * size + 16 * n_centers

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return the time of the feature, and 1 ns per column."""
        return self.feature.cost_at(density) + 1e-9 * self.feature.n_columns

    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (column,) and return the flags (center,) of the feature."""
        width, flags = self.feature.n_columns, dict[str, BoolArray]()
        numbers = environments.numbers[centers]
        rows = np.empty((min(BATCH, max(1, len(centers))), width), self.feature.output_dtype)
        for kind in dict.fromkeys(self.feature.neighborhood):
            environments.bonds(kind, centers)  # once: to grow a list by batches copies it
        for k, name in enumerate(self.species):
            own = np.flatnonzero(numbers == atomic_number(name))
            total = np.zeros(width)
            for first in range(0, len(own), BATCH):
                batch = own[first : first + BATCH]
                values = rows[: len(batch)]
                marks = environments.fill(self.feature, centers[batch], values)
                for mark, which in marks.items():
                    flags.setdefault(mark, np.zeros(len(centers), dtype=bool))[batch] = which
                total += values.sum(axis=0, dtype=np.float64)
            out[k * width : (k + 1) * width] = total / len(own) if len(own) else np.nan
        return flags
