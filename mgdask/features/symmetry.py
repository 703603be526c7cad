"""Behler-Parrinello symmetry functions."""

from __future__ import annotations

from functools import cached_property
from itertools import combinations_with_replacement
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from mgdask._typing import AnyArray, BoolArray, IntArray
from mgdask.errors import ParameterError
from mgdask.features.environments import CutoffNeighbors, LocalEnvironments, Neighborhood
from mgdask.features.feature import OfSpecies, feature_dataclass, sort_species
from mgdask.kernels.symmetry import symmetry

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

ANGULAR: tuple[tuple[float, float, float], ...] = (
    (14.633, -1, 1), (14.633, 1, 1), (14.638, -1, 2), (14.638, 1, 2), (2.554, -1, 1),
    (2.554, 1, 1), (2.554, -1, 2), (2.554, 1, 2), (1.648, 1, 1), (1.648, 1, 2), (1.204, 1, 1),
    (1.204, 1, 2), (1.204, 1, 4), (1.204, 1, 16), (0.933, 1, 1), (0.933, 1, 2), (0.933, 1, 4),
    (0.933, 1, 16), (0.695, 1, 1), (0.695, 1, 2), (0.695, 1, 4), (0.695, 1, 16),
)  # fmt: skip
"""The 22 published sets (xi / sigma, lambda, zeta).

Cubuk et al., Phys. Rev. Lett. 114, 108001 (2015), as used by Wang and Jain (2019).
"""


@feature_dataclass
class SymmetryFunctions(OfSpecies):
    """Radial and angular symmetry functions of an atom's neighbors.

        G_X(i; r) = sum_{j in X} exp(-(d_ij - r)^2 / (2 width^2))
        Psi_XY(i; xi, lambda, zeta) =
            sum exp(-(d_ij^2 + d_ik^2 + d_jk^2) / xi^2) (1 + lambda cos theta_jik)^zeta

    Sums are over neighbors within ``cutoff``. There is no cutoff function and no factor
    2^(1-zeta). If X = Y, each pair counts once. The defaults are the published 50 radii
    and 22 angular sets, 166 columns for two species.

    Parameters
    ----------
    species
        Element symbols; sorted by atomic number.
    sigma
        Equilibrium distance in Å, the unit of all lengths below. The default, 2.52 Å,
        is that of two Cu atoms (2 x 1.26 Å).
    radii
        Radii r / sigma.
    width
        Standard deviation of the Gaussians, in units of sigma.
    angular
        Sets (xi / sigma, lambda, zeta).
    cutoff
        Cutoff distance in units of sigma. The default is that of amlearn. Columns of
        radii beyond it are nearly 0, which is half of the published ones (up to 4.9).

    Notes
    -----
    Columns are the radii species by species, then the angular sets by pair of species.
    An atom without neighbors has zeros. A coincident neighbor has no direction, so the
    angular columns are NaN. Such atoms are counted in the attrs of the output.

    References
    ----------
    Behler, Parrinello, Phys. Rev. Lett. 98, 146401 (2007); Cubuk et al., Phys. Rev.
    Lett. 114, 108001 (2015), for the sets; Wang, Jain, Nat. Commun. 10, 5537 (2019).

    Examples
    --------
    >>> SymmetryFunctions(species=("Cu", "Zr")).n_columns
    166
    """

    species: tuple[str, ...]
    sigma: Positive = 2.52
    radii: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = tuple(
        round(0.1 * n, 1) for n in range(50)
    )
    width: Positive = 0.1
    angular: tuple[tuple[Positive, float, float], ...] = ANGULAR
    cutoff: Positive = 2.5

    family: ClassVar[str] = "symmetry_functions"
    long_name: ClassVar[str] = "Behler-Parrinello symmetry functions"
    citation: ClassVar[str] = (
        "Behler, Parrinello, Phys. Rev. Lett. 98, 146401 (2007); "
        "Cubuk et al., Phys. Rev. Lett. 114, 108001 (2015)"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "species", sort_species(self.species))
        if not self.radii and not self.angular:
            raise ParameterError(
                "SymmetryFunctions: radii and angular are both empty; give at least one of them"
            )

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        radial = [f"G_{name} r={r:g}" for name in self.species for r in self.radii]
        pairs = combinations_with_replacement(self.species, 2)
        angular = [
            f"Psi_{a}-{b} xi={xi:g} lambda={lam:g} zeta={zeta:g}"
            for a, b in pairs
            for xi, lam, zeta in self.angular
        ]
        return (*radial, *angular)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names such as G_Cu r=0 and Psi_Cu-Cu xi=14.633 lambda=-1 zeta=1.

        Lengths are in units of sigma.
        """
        return self._labels

    @property
    def reach(self) -> float:
        """Cutoff in Å."""
        return self.cutoff * self.sigma

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Neighbors within the cutoff."""
        return (CutoffNeighbors(self.reach),) * self.n_columns

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of a species index per atom and of blocks of pairs."""
        return 8 * n_atoms + n_centers + 1_000_000

    def cost(self, n_centers: int) -> float:
        """Return 20 microseconds per center for the published sets."""
        return 20e-6 * n_centers * self.n_columns / 166

    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        bonds = environments.neighbors(self.reach, centers)
        sets = np.array(self.angular, dtype=np.float64).reshape(-1, 3) * [self.sigma, 1.0, 1.0]
        symmetry(
            bonds.first,
            bonds.last,
            bonds.row,
            bonds.vector,
            bonds.distance,
            environments.slots(self.species),
            len(self.species),
            self.reach,
            np.array(self.radii, dtype=np.float64) * self.sigma,
            self.width * self.sigma,
            sets,
            out,
        )
        return {"coincident_atom": np.asarray(np.isnan(out).any(axis=1), dtype=bool)}
