"""Spherical Chebyshev descriptor: power spectrum of the neighbor density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.elements import atomic_number
from mgdask.errors import ParameterError
from mgdask.features.environments import CutoffNeighbors, LocalEnvironments, Neighborhood, spans
from mgdask.features.feature import (
    TYPICAL_DENSITY,
    OfSpecies,
    check_configuration,
    feature_dataclass,
    n_within,
)
from mgdask.kernels.chebyshev import chebyshev, chebyshev_gradient


class Gradient(NamedTuple):
    """Derivatives of the columns with respect to the positions of the neighbors.

    The derivative with respect to the center is minus the sum over its pairs.

    Attributes
    ----------
    offset
        Pairs ``offset[k]:offset[k+1]`` belong to center k (center+1,).
    row
        Row of the neighbor (pair,).
    value
        Derivatives (pair,column,3) in 1/Å.
    """

    offset: IntArray
    row: IntArray
    value: FloatArray


@feature_dataclass
class SphericalChebyshev(OfSpecies):
    """Spherical Chebyshev power spectrum of the neighbor density; default 90 columns.

        c_nlm = sum_j w_j f_c(r_j) T_n(1 - 2 r_j / r_c) Y_lm(r_j)
        f_c = (1 - (r / r_c)^2)^4
        P_nl = 4 pi / (2l+1) sum_m |c_nlm|^2

    Parameters
    ----------
    species
        Elements in the order of their types t = 1, 2, .... The order matters, because
        type t has the weight (-1)^(t-1) t.
    n_max
        Highest n, counted from 0.
    l_max
        Highest l, counted from 0.
    r_cut
        Cutoff r_c in Å.
    channels
        Densities in the order of the columns: "type" with the weights above, "unit"
        with weight 1 for all neighbors.

    Notes
    -----
    Columns are ordered by channel, n and l. The density does not include the atom
    itself. Atoms without neighbors have zeros. A coincident neighbor has no direction,
    so the row is NaN. Such atoms are counted in the attrs of the output. ``gradient``
    gives the derivatives that a potential needs.

    The formulas are Eqs. (1) to (6) of Zhang et al. They show only the channel "type":
    n = 0 to 4 and l = 0 to 8 give 5 x 9 = 45 values. Their network has 90 inputs. The
    other 45 are assumed to be the same densities with weight 1, the unweighted channel
    of Artrith et al. The text does not say so, but the number of inputs is certain. A
    network 90-16-16-16-16-1 has

        91 x 16 + 3 x 17 x 16 + 17 = 2289

    weights and biases. One network for each of Ti, Zr, Hf and Co gives 4 x 2289 = 9156,
    the number in the paper. ``channels=("type",)`` gives only the 45 columns of the
    printed formulas.

    References
    ----------
    Artrith, Urban, Ceder, Phys. Rev. B 96, 014112 (2017), for the Chebyshev basis, the
    weights and the unweighted channel; Zhang et al., "Intrinsic tensile ductility in
    strain hardening multi-principal element metallic glass", Supporting Information,
    Eqs. (1) to (6), for the spherical form.

    Examples
    --------
    >>> SphericalChebyshev(species=("Cu", "Zr")).n_columns
    90
    """

    species: tuple[str, ...]
    n_max: Annotated[int, Field(ge=0, le=30)] = 4
    l_max: Annotated[int, Field(ge=0, le=20)] = 8
    r_cut: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 7.0
    channels: tuple[Literal["type", "unit"], ...] = ("type", "unit")

    family: ClassVar[str] = "spherical_chebyshev"
    array_name: ClassVar[str] = "chebyshev"
    long_name: ClassVar[str] = "spherical Chebyshev descriptor"
    citation: ClassVar[str] = "Artrith, Urban, Ceder, Phys. Rev. B 96, 014112 (2017)"

    def __post_init__(self) -> None:
        if (
            len({atomic_number(name) for name in self.species}) < len(self.species)
            or not self.species
        ):
            raise ParameterError(
                f"SphericalChebyshev: species={self.species} must be one or more distinct elements"
            )
        if not self.channels or len(set(self.channels)) < len(self.channels):
            raise ParameterError(
                f"SphericalChebyshev: channels={self.channels} must be one or more distinct names"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: type n=0 l=0, type n=0 l=1, ...."""
        return tuple(
            f"{kind} n={n} l={d}"
            for kind in self.channels
            for n in range(self.n_max + 1)
            for d in range(self.l_max + 1)
        )

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Neighbors within the cutoff."""
        return (CutoffNeighbors(self.r_cut),) * self.n_columns

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of the atoms' weights and of one center at a time."""
        return 8 * n_atoms * (1 + len(self.channels)) + n_centers + 1_000_000

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return 0.16 µs per neighbor at 90 columns."""
        return 0.3e-6 + 0.16e-6 * n_within(self.r_cut, density) * self.n_columns / 90

    def _weights(self, numbers: npt.NDArray[np.integer]) -> FloatArray:
        table = np.zeros(int(np.max(numbers, initial=0)) + 1)
        for t, name in enumerate(self.species, start=1):
            if atomic_number(name) < len(table):
                table[atomic_number(name)] = t if t % 2 else -t
        weight = {"type": table[numbers], "unit": np.ones(len(numbers))}
        return np.stack([weight[kind] for kind in self.channels])

    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (center,column) and return the flags (center,) by name."""
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
        """Compute the derivatives with respect to the neighbors' positions.

        Parameters
        ----------
        position
            Positions (atom,3) in Å.
        cell
            Cell vectors as rows (3,3) in Å.
        numbers
            Atomic numbers (atom,).
        centers
            Rows of the central atoms; default all.
        pbc
            Three booleans, one per cell vector.

        Returns
        -------
        ``Gradient`` of the centers.

        Raises
        ------
        ParameterError
            If shapes are wrong, values are NaN, species unknown or the cell flat.

        Notes
        -----
        An atom that is a neighbor by several images has several pairs, and its
        derivative is their sum. Memory is 170 kB per center at 80 neighbors and 90
        columns, so ask for a few hundred centers at a time.
        """
        r, box, z, rows = check_configuration(position, cell, numbers, centers, pbc)
        self.check_species(z)
        bonds = LocalEnvironments(r, box, z, pbc).neighbors(self.r_cut, rows)
        offset = np.zeros(len(rows) + 1, dtype=np.int64)
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
