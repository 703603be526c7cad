"""Spherical Chebyshev descriptor: the density of neighbours in Chebyshev polynomials and spherical harmonics, as a power spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mgdask.elements import atomic_number
from mgdask.errors import ParameterError
from mgdask.features.environments import CutoffNeighbors, LocalEnvironments, Neighborhood, spans
from mgdask.features.feature import OfSpecies, check_configuration, validate_fields
from mgdask.kernels.chebyshev import chebyshev, chebyshev_gradient

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]


class Gradient(NamedTuple):
    """Derivatives of the columns of some centres with respect to the positions of their neighbours.

    offset (center+1,): pairs ``offset[k]:offset[k+1]`` belong to centre k; row (pair,) the neighbour's row; value (pair,column,3) in 1/Å. The
    derivative with respect to the centre itself is minus the sum over its pairs.
    """

    offset: Integer
    row: Integer
    value: Float


@dataclass(frozen=True)
class SphericalChebyshev(OfSpecies):
    """Power spectrum of the neighbour density in Chebyshev polynomials of the distance and spherical harmonics; default 90 columns.

        c_nlm = sum_j w_j f_c(r_j) T_n(1 - 2 r_j / r_c) Y_lm(r_j),   f_c = (1 - (r / r_c)^2)^4,   P_nl = 4 pi / (2l+1) sum_m |c_nlm|^2

    Parameters
    ----------
    species: elements in the order of their types t = 1, 2, ..., which matters: the t-th has the weight (-1)^(t-1) t.
    n_max, l_max: highest n and l, both counted from 0. r_cut: r_c in Å.
    channels: densities, in the order of the columns: "type" with the weights above, "unit" with weight 1 for all.

    Columns: channel by channel, n by n, l by l. The atom itself is not part of its density. No neighbours: zeros; a neighbour in the same
    place has no direction: NaN, counted. ``gradient`` gives the derivatives that a potential needs.

    Source: Artrith, Urban, Ceder, Phys. Rev. B 96, 014112 (2017), for the Chebyshev basis and the weights; Zhang et al., "Intrinsic tensile
    ductility in strain hardening multi-principal element metallic glass", Supporting Information, for the spherical form.

    >>> SphericalChebyshev(species=("Cu", "Zr")).n_columns
    90
    """

    species: tuple[str, ...]
    n_max: Annotated[int, Field(ge=0, le=30)] = 4
    l_max: Annotated[int, Field(ge=0, le=20)] = 8
    r_cut: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 7.0
    channels: tuple[Literal["type", "unit"], ...] = ("type", "unit")

    family: ClassVar[str] = "chebyshev"
    long_name: ClassVar[str] = "spherical Chebyshev descriptor"
    citation: ClassVar[str] = "Artrith, Urban, Ceder, Phys. Rev. B 96, 014112 (2017)"

    def __post_init__(self) -> None:
        validate_fields(self)
        if (
            len({atomic_number(name) for name in self.species}) < len(self.species)
            or not self.species
        ):
            raise ParameterError(
                f"SphericalChebyshev: species={self.species} must name at least one element, each once"
            )
        if not self.channels or len(set(self.channels)) < len(self.channels):
            raise ParameterError(
                f"SphericalChebyshev: channels={self.channels} must name at least one, each once"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """type n=0 l=0, type n=0 l=1, ..."""
        return tuple(
            f"{kind} n={n} l={d}"
            for kind in self.channels
            for n in range(self.n_max + 1)
            for d in range(self.l_max + 1)
        )

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Neighbours up to the cut-off."""
        return (CutoffNeighbors(self.r_cut),) * self.n_columns

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Weights of the atoms, and one centre at a time."""
        return 8 * n_atoms * (1 + len(self.channels)) + n_centers + 1_000_000

    def cost(self, n_centers: int) -> float:
        """7 microseconds at 90 columns."""
        return 7e-6 * n_centers * self.n_columns / 90

    def _weights(self, numbers: npt.NDArray[np.integer]) -> Float:
        table = np.zeros(int(np.max(numbers, initial=0)) + 1)
        for t, name in enumerate(self.species, start=1):
            if atomic_number(name) < len(table):
                table[atomic_number(name)] = t if t % 2 else -t
        weight = {"type": table[numbers], "unit": np.ones(len(numbers))}
        return np.stack([weight[kind] for kind in self.channels])

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Fill ``out`` (center,column)."""
        bonds = environments.neighbors(self.r_cut, centers)
        chebyshev(
            bonds.first,
            bonds.last,
            bonds.row,
            bonds.vector,
            bonds.distance,
            self._weights(environments.numbers),
            self.n_max,
            self.l_max,
            self.r_cut,
            out,
        )
        return {"coincident_atom": np.isnan(out[:, 0])}

    def gradient(
        self,
        position: npt.ArrayLike,
        cell: npt.ArrayLike,
        numbers: npt.ArrayLike,
        centers: npt.ArrayLike | None = None,
        pbc: Sequence[bool] = (True, True, True),
    ) -> Gradient:
        """Derivatives of the columns with respect to the neighbours' positions, for one configuration; arguments as of ``compute``.

        An atom that is a neighbour by several images has several pairs; its derivative is their sum. Takes 170 kB a centre at 80 neighbours and
        90 columns: ask for some hundred centres at a time.
        """
        r, box, z, chosen = check_configuration(position, cell, numbers, centers, pbc)
        self.check_species(z)
        bonds = LocalEnvironments(r, box, z, pbc).neighbors(self.r_cut, chosen)
        offset = np.zeros(len(chosen) + 1, dtype=np.int64)
        np.cumsum(bonds.last - bonds.first, out=offset[1:])
        value = np.empty((int(offset[-1]), self.n_columns, 3))
        chebyshev_gradient(
            bonds.first,
            bonds.last,
            bonds.row,
            bonds.vector,
            bonds.distance,
            self._weights(z),
            self.n_max,
            self.l_max,
            self.r_cut,
            value,
        )
        return Gradient(offset, bonds.row[spans(bonds.first, bonds.last)], value)
