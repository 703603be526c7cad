"""Behler-Parrinello symmetry functions."""

from __future__ import annotations

from functools import cached_property
from itertools import combinations_with_replacement
from string import ascii_uppercase
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from mgdask._typing import AnyArray, BoolArray, IntArray
from mgdask.elements import radius, symbol
from mgdask.errors import ParameterError
from mgdask.features.environments import CutoffNeighbors, LocalEnvironments, Neighborhood
from mgdask.features.feature import (
    TYPICAL_DENSITY,
    OfSpecies,
    feature_dataclass,
    n_within,
    sort_species,
)
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
COUNT = "count"
"""Value of ``roles`` that assigns roles by the number of atoms."""
COPPER = 2.52
"""Equilibrium distance of two Cu atoms in Å, the sum of their metallic radii."""
CUTOFF, ROLE_CUTOFF = 2.5, 5.0
"""Default cutoffs in units of sigma: that of amlearn, and that with roles."""


def roles_by_count(numbers: npt.ArrayLike) -> tuple[str, ...]:
    """Return the elements of a glass in the order of their roles A, B, C and so on.

    Role A is the majority (host) species, role B the next most common, and so on. If
    two species have equally many atoms, the one with the lower atomic number comes
    first.

    Parameters
    ----------
    numbers
        Atomic numbers (atom,) of all atoms, which are the same in every frame.

    Returns
    -------
    roles
        Element symbols, role A first.

    Raises
    ------
    ParameterError
        If there is no atom.

    Examples
    --------
    >>> roles_by_count([29, 40, 40]), roles_by_count([40, 29])
    (('Zr', 'Cu'), ('Cu', 'Zr'))
    """
    kinds, counts = np.unique(np.asarray(numbers), return_counts=True)
    if not len(kinds):
        raise ParameterError("numbers is empty; roles need at least one atom")
    # np.unique sorts by atomic number, and the stable sort keeps that order in a tie
    return tuple(symbol(int(z)) for z in kinds[np.argsort(-counts, kind="stable")])


def _split_roles(roles: Any) -> Any:
    if isinstance(roles, str) and roles != COUNT:
        return tuple(roles.replace("+", " ").split())
    return roles


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
        Equilibrium distance in Å, the unit of all lengths below. The default is twice
        the metallic radius of role A. Without roles it is 2.52 Å, twice that of Cu
        (1.26 Å).
    radii
        Radii r / sigma.
    width
        Standard deviation of the Gaussians in units of sigma.
    angular
        Parameter sets (xi / sigma, lambda, zeta).
    cutoff
        Cutoff distance in units of sigma. With roles the default is 5, which covers the
        published radii (up to 4.9). Without roles it is 2.5, as in amlearn. Radial
        columns beyond the cutoff are nearly 0; at 2.5 these are half of the published
        ones.
    roles
        Roles A, B, C and so on, which replace elements in the names of columns. A model
        of one system can then be applied to another. "count" assigns role A to the most
        common species; see ``roles_by_count`` for ties. A list of elements, A first,
        sets the roles explicitly. By default columns are named by element.

    Notes
    -----
    The columns are first the radial functions of each species, then the angular
    functions of each pair. Species are in the order of the roles or, without roles, of
    the atomic numbers. The paper's 50 radii "from 0 to 5.0" in steps of 0.1 are read as
    0 to 4.9, as in amlearn.

    "count" is resolved when the atoms are known: in ``compute``, ``featurize`` and
    ``plan``, or explicitly by ``for_atoms``. An output records the roles, ``sigma`` and
    ``cutoff`` that were used.

    All columns of an atom without neighbors are 0. A neighbor at distance 0 has no
    direction, so the angular columns are NaN. Such atoms are counted in the attrs of
    the output.

    References
    ----------
    Behler, Parrinello, Phys. Rev. Lett. 98, 146401 (2007); Cubuk et al., Phys. Rev.
    Lett. 114, 108001 (2015), for the sets; Wang, Jain, Nat. Commun. 10, 5537 (2019).

    Examples
    --------
    >>> SymmetryFunctions(species=("Cu", "Zr")).n_columns
    166
    >>> nickel = SymmetryFunctions(species=("Ni", "Nb"), roles=("Ni", "Nb"))
    >>> nickel.sigma, nickel.labels[0], nickel.labels[-1]
    (2.52, 'G_A r=0', 'Psi_B-B xi=0.695 lambda=1 zeta=16')
    """

    species: tuple[str, ...]
    sigma: Positive | None = None
    radii: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = tuple(
        round(0.1 * n, 1) for n in range(50)
    )
    width: Positive = 0.1
    angular: tuple[tuple[Positive, float, float], ...] = ANGULAR
    cutoff: Positive | None = None
    roles: Annotated[Literal["count"] | tuple[str, ...] | None, BeforeValidator(_split_roles)] = (
        None
    )

    family: ClassVar[str] = "symmetry_functions"
    later_parameters: ClassVar[tuple[str, ...]] = ("roles",)
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
        if isinstance(self.roles, tuple) and sorted(self.roles) != sorted(self.species):
            raise ParameterError(
                f"SymmetryFunctions: roles={self.roles} must be the elements of "
                f"species={self.species}, each once, role A first; or 'count'"
            )
        if len(self.species) > len(ascii_uppercase) and self.roles is not None:
            raise ParameterError(
                f"SymmetryFunctions: species={self.species} has {len(self.species)} elements; "
                "roles A to Z allow 26. Use fewer species, or no roles"
            )
        if self.cutoff is None:
            default = CUTOFF if self.roles is None else ROLE_CUTOFF
            object.__setattr__(self, "cutoff", default)
        if self.sigma is None and self.roles != COUNT:
            object.__setattr__(self, "sigma", self._equilibrium_distance())

    def _equilibrium_distance(self) -> float:
        """Return twice the metallic radius of role A in Å."""
        if not isinstance(self.roles, tuple):
            return COPPER
        try:
            return 2.0 * radius(self.roles[0])
        except ParameterError:
            raise ParameterError(
                f"SymmetryFunctions: there is no radius for {self.roles[0]}, role A; give sigma, "
                "its equilibrium distance in Å"
            ) from None

    def for_atoms(self, numbers: npt.NDArray[np.integer]) -> Self:
        """Return the feature with its roles set by the atoms of a glass.

        Parameters
        ----------
        numbers
            Atomic numbers (atom,) of all atoms.

        Returns
        -------
        The feature itself, unless ``roles="count"``.

        Raises
        ------
        ParameterError
            If role A has no metallic radius and ``sigma`` is not given.

        Examples
        --------
        >>> feature = SymmetryFunctions(species=("Ni", "Nb"), roles="count")
        >>> feature.for_atoms(np.array([41, 41, 28])).roles
        ('Nb', 'Ni')
        """
        if self.roles != COUNT:
            return self
        # check_species refuses elements that are not in species
        present = [name for name in roles_by_count(numbers) if name in self.species]
        # a species without atoms has the last role
        roles = (*present, *(name for name in self.species if name not in present))
        decided = type(self)(
            species=self.species,
            sigma=self.sigma,
            radii=self.radii,
            width=self.width,
            angular=self.angular,
            cutoff=self.cutoff,
            roles=roles,
        )
        return decided.named(self.name) if "_name" in vars(self) else decided

    @property
    def _order(self) -> tuple[str, ...]:
        """Elements in the order of the columns."""
        return self.roles if isinstance(self.roles, tuple) else self.species

    @property
    def _unit(self) -> float:
        """Unit of all lengths in Å."""
        if self.sigma is None:
            raise ParameterError(
                "SymmetryFunctions: roles='count' is not resolved yet, so sigma is unknown. Use "
                "feature.for_atoms(numbers), or give roles as elements, role A first"
            )
        return self.sigma

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        names = self.species if self.roles is None else tuple(ascii_uppercase[: len(self.species)])
        radial = [f"G_{name} r={r:g}" for name in names for r in self.radii]
        pairs = combinations_with_replacement(names, 2)
        angular = [
            f"Psi_{a}-{b} xi={xi:g} lambda={lam:g} zeta={zeta:g}"
            for a, b in pairs
            for xi, lam, zeta in self.angular
        ]
        return (*radial, *angular)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names such as G_Cu r=0 and Psi_Cu-Cu xi=14.633 lambda=-1 zeta=1.

        With roles, A and B replace the elements. Lengths are in units of sigma.
        """
        return self._labels

    @property
    def reach(self) -> float:
        """Cutoff in Å."""
        assert self.cutoff is not None  # set by __post_init__
        return self.cutoff * self._unit

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Neighbors within the cutoff."""
        return (CutoffNeighbors(self.reach),) * self.n_columns

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of a species index per atom and of blocks of pairs."""
        return 8 * n_atoms + n_centers + 1_000_000

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return 30 µs per center for the published sets at 60 neighbors.

        The cost of radial columns is proportional to the number of neighbors, that of
        angular columns to the number of their pairs.
        """
        near = n_within(self.reach, density) / 60
        n_radial = len(self.radii) * len(self.species)
        radial, angular = n_radial / 100, (self.n_columns - n_radial) / 66
        return 6e-6 * radial * near + 24e-6 * angular * near**2

    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
        bonds = environments.neighbors(self.reach, centers)
        place = np.array([self._order.index(name) for name in self.species], dtype=np.int64)
        sets = np.array(self.angular, dtype=np.float64).reshape(-1, 3) * [self._unit, 1.0, 1.0]
        symmetry(
            bonds.first,
            bonds.last,
            bonds.row,
            bonds.vector,
            bonds.distance,
            place[environments.slots(self.species)],
            len(self.species),
            self.reach,
            np.array(self.radii, dtype=np.float64) * self._unit,
            self.width * self._unit,
            sets,
            out,
        )
        return {"coincident_atom": np.asarray(np.isnan(out).any(axis=1), dtype=bool)}
