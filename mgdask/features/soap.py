"""SOAP: smooth overlap of atomic positions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from itertools import combinations_with_replacement
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.elements import atomic_number
from mgdask.errors import MissingDependencyError, ParameterError
from mgdask.features.environments import LocalEnvironments, Neighborhood
from mgdask.features.feature import (
    TYPICAL_DENSITY,
    OfSpecies,
    feature_dataclass,
    n_within,
    sort_species,
)
from mgdask.kernels import radial
from mgdask.kernels import soap as kernel
from mgdask.kernels.harmonics import coefficients

BATCH = 256
"""Centers per kernel call.

Averages over a frame sum these batches in order.
"""


def _as_tuple(species: Any) -> Any:
    return (species,) if isinstance(species, str) else species


@feature_dataclass
class SOAP(OfSpecies):
    """SOAP power spectrum of the smeared neighbor density around every central atom.

        rho_s(x) = sum_j exp(-|x - r_ij|^2 / (2 sigma^2))
        c_nlm^s = <g_n Y_lm | rho_s>
        p_nn'l^ss' = pi sqrt(8 / (2l+1)) sum_m c_nlm^s c_n'lm^s'

    The density is over neighbors j of species s and includes the atom itself.

    Parameters
    ----------
    species
        Element symbols. Columns are always ordered by atomic number. Atoms of other
        elements raise an error.
    r_cut
        Cutoff of the radial basis in Å. Neighbors contribute up to the distance r_cut +
        sigma sqrt(-2 ln 1e-3).
    n_max
        Number of radial functions.
    l_max
        Highest degree of the harmonics.
    sigma
        Standard deviation of the Gaussians in Å.
    rbf
        "gto", Gaussians times r^l (r_cut > 1 Å), or "polynomial", (r_cut - r)^(n+2).
        Both are orthonormalized by Löwdin's method. "gto" is also DScribe's default.
    average
        "off" gives a row per atom. "inner" averages the coefficients over the centers
        before the products, "outer" averages the spectra.
    dtype
        Data type of the output. All internal arithmetic is float64.
    basis
        "exact" is orthonormalized with as many digits as needed. "dscribe" uses the
        basis of the installed DScribe. Its polynomials with n_max > 8 are dominated by
        rounding errors, and they lack some harmonics from l = 10 on.
    engine
        "mgdask" uses the kernel of this package, "dscribe" calls DScribe.

    Notes
    -----
    Columns are in DScribe's order: s, s' >= s, l, n, n' (n' >= n if s = s'). For gto,
    values agree with DScribe's within 1e-6 (relative L2 norm of a row). For
    polynomials, they agree only with ``basis="dscribe"``. Rotation, translation,
    permutation and wrapping change float64 rows by less than 1e-10. Any cell and
    periodicity is valid, including cells smaller than the cutoff.

    Liu C. et al. use DScribe with r_cut = 5 Å, n_max = 11, l_max = 12 and sigma = 0.5
    Å, and do not name the radial basis. DScribe's default is "gto".
    ``SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5)`` is
    therefore the straightforward reading, with 3289 columns for two species.

    References
    ----------
    Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013), Eq. 36; Himanen et al.,
    Comput. Phys. Commun. 247, 106949 (2020). Parameters for metallic glasses: Liu C. et
    al., Acta Mater. 259, 119281 (2023).

    Examples
    --------
    >>> import numpy as np
    >>> soap = SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=2, l_max=1, sigma=0.5)
    >>> position = [[0.0, 0.0, 0.0], [0.0, 0.0, 2.6]]
    >>> soap.compute(position, 20.0 * np.eye(3), [29, 40]).shape
    (2, 20)
    """

    species: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
    r_cut: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    n_max: Annotated[int, Field(ge=1, le=40)]
    l_max: Annotated[int, Field(ge=0, le=40)]
    sigma: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    rbf: Literal["gto", "polynomial"] = "gto"
    average: Literal["off", "inner", "outer"] = "off"
    dtype: Literal["float64", "float32"] = "float64"
    basis: Literal["exact", "dscribe"] = "exact"
    engine: Literal["mgdask", "dscribe"] = "mgdask"

    family: ClassVar[str] = "soap"
    long_name: ClassVar[str] = "smooth overlap of atomic positions, power spectrum"
    unit: ClassVar[str] = "Å³"
    example_parameters: ClassVar[Mapping[str, Any]] = {
        "r_cut": 5.0,
        "n_max": 8,
        "l_max": 8,
        "sigma": 0.5,
    }
    citation: ClassVar[str] = (
        "Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013); "
        "columns and bases as in Himanen et al., Comput. Phys. Commun. 247, 106949 (2020)"
    )

    def __post_init__(self) -> None:
        if not self.species:
            raise ParameterError("SOAP: species=() must name at least one element")
        object.__setattr__(self, "species", sort_species(self.species))
        if self.rbf == "gto" and self.r_cut <= 1.0:
            raise ParameterError(
                f"SOAP: r_cut={self.r_cut} must be larger than 1 Å for rbf='gto', "
                "because its narrowest function decays there"
            )
        if self.sigma > 4 * self.r_cut:
            raise ParameterError(
                f"SOAP: sigma={self.sigma} is wider than the basis; the maximum is 4 r_cut"
            )

    @property
    def level(self) -> Literal["atom", "frame"]:
        """Level of the rows: "atom", or "frame" if ``average`` is not "off"."""
        return "atom" if self.average == "off" else "frame"

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """Data type of the output."""
        return np.dtype(self.dtype)

    @property
    def n_columns(self) -> int:
        """Number of columns, (l_max + 1) [S n(n+1)/2 + S(S-1)/2 n^2]."""
        n, s = self.n_max, len(self.species)
        return (self.l_max + 1) * (s * n * (n + 1) // 2 + s * (s - 1) // 2 * n * n)

    @cached_property
    def _columns(self) -> IntArray:
        pairs = combinations_with_replacement(range(len(self.species)), 2)
        rows = [
            (s, s2, degree, n + 1, n2 + 1)
            for s, s2 in pairs
            for degree in range(self.l_max + 1)
            for n in range(self.n_max)
            for n2 in range(n if s == s2 else 0, self.n_max)
        ]
        return np.array(rows, dtype=np.int64)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns, such as "Cu-Zr l=3 n=1,4".

        They give the species, the degree and the two radial functions, counted from 1.
        """
        names = self.species
        return tuple(
            f"{names[s]}-{names[t]} l={degree} n={n},{m}" for s, t, degree, n, m in self._columns
        )

    def coordinates(self) -> dict[str, AnyArray]:
        """Return species_1, species_2 (Z), l, n_1 and n_2 of every column."""
        z = np.array([atomic_number(name) for name in self.species])
        s, t, degree, n, m = self._columns.T
        return {
            f"{self.name}_species_1": z[s],
            f"{self.name}_species_2": z[t],
            f"{self.name}_l": degree,
            f"{self.name}_n_1": n,
            f"{self.name}_n_2": m,
        }

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Return no lists, because the kernel finds its own neighbors."""
        return {}

    @property
    def reach(self) -> float:
        """The cutoff in Å."""
        return self.r_cut

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of the cell list, one atom's neighbors, rows and the tables.

        Sorting a frame takes about 200 bytes per atom. The harmonics and radial
        functions of the neighbors of one atom are held together. With cutoffs far
        beyond the cell, these are most of the memory.
        """
        width = kernel.padded(self.n_max)
        functions = (self.l_max + 1) * (self.l_max + 1 + width)
        neighbors = int(n_within(self._reach, TYPICAL_DENSITY)) * (8 * functions + 800)
        table = 8 * (self.l_max + 1) * width * (len(radial.knots(self._reach, self.sigma)[0]))
        batch = 8 * BATCH * self.n_columns
        return 224 * n_atoms + neighbors + batch + 2 * table + 2_000_000

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return the time per neighbor and per column, or 2 ms through DScribe.

        A neighbor costs more, the more spherical harmonics and radial functions there
        are. 3289 columns and a cutoff of 5 Å make about 45 µs.
        """
        if self.engine == "dscribe":
            return 2e-3 * max(0.1, self.n_columns / 3289)
        functions = (self.l_max + 1) ** 2 * kernel.padded(self.n_max)
        near = n_within(self._reach, density)
        return 2e-6 + 1e-9 * self.n_columns + near * (18e-9 + 0.25e-9 * functions)

    @property
    def _reach(self) -> float:
        return radial.padded_cutoff(self.r_cut, self.sigma)

    def prepare(self) -> None:
        """Build the radial table and compile by describing five atoms."""
        if self.engine == "mgdask":
            super().prepare()

    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (center,column), or (column,) if averaged."""
        if self.engine == "dscribe":
            self._one_dscribe(environments, centers, out)
        else:
            self._one(environments, centers, out)
        return {}

    def _one(self, environments: LocalEnvironments, centers: IntArray, out: AnyArray) -> None:
        table, step, degrees, keep = _tables(
            self.r_cut, self.n_max, self.l_max, self.sigma, self.rbf, self.basis
        )
        grid = environments.cell_list(self._reach)
        z = np.array([atomic_number(name) for name in self.species])
        slot = environments.slots(self.species)
        mode = {"off": 0, "outer": 1, "inner": 2}[self.average]
        width, n_degrees = kernel.padded(self.n_max), self.l_max + 1
        rows = len(self.species) * n_degrees**2 * width if mode == 2 else self.n_columns
        total = np.zeros(rows)
        scratch = (
            np.empty((min(BATCH, max(1, len(centers))), self.n_columns))
            if mode == 0 and self.dtype != "float64"
            else None
        )
        for first in range(0, len(centers), BATCH):
            batch = centers[first : first + BATCH]
            target: AnyArray = out[first : first + BATCH]
            if mode:
                target = np.zeros((1, rows))
            elif scratch is not None:
                target = scratch[: len(batch)]
            kernel.soap(
                grid, batch, slot, len(z), self.n_max, table, step, degrees, keep, mode, target
            )
            if mode:
                total += target[0]
            elif scratch is not None:
                out[first : first + BATCH] = target
        if mode == 0:
            return
        if len(centers) == 0:
            out[...] = np.nan
            return
        total /= len(centers)
        if mode == 2:
            mean = np.zeros((len(z), n_degrees**2 + kernel.ROWS, width))
            mean[:, : n_degrees**2] = total.reshape(len(z), n_degrees**2, width)
            total = np.empty(self.n_columns)
            kernel.spectrum(mean, self.n_max, n_degrees, total)
        out[...] = total

    def _one_dscribe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> None:
        from ase import Atoms

        atoms = Atoms(
            numbers=environments.numbers,
            positions=environments.position,
            cell=environments.cell,
            pbc=environments.pbc,
        )
        atoms.wrap()
        if len(centers):
            out[...] = _dscribe(
                self.species,
                self.r_cut,
                self.n_max,
                self.l_max,
                self.sigma,
                self.rbf,
                self.average,
                any(environments.pbc),
            ).create(atoms, centers=centers.tolist())


def _dscribe(
    species: tuple[str, ...],
    r_cut: float,
    n_max: int,
    l_max: int,
    sigma: float,
    rbf: str,
    average: str = "off",
    periodic: bool = True,
) -> Any:
    try:
        from dscribe.descriptors import SOAP as Peer
    except ImportError as error:
        raise MissingDependencyError(
            "dscribe", "dscribe", "basis='dscribe' or engine='dscribe'"
        ) from error
    try:
        return Peer(
            species=list(species),
            r_cut=r_cut,
            n_max=n_max,
            l_max=l_max,
            sigma=sigma,
            rbf=rbf,
            average=average,
            periodic=periodic,
        )
    except ValueError as error:
        raise ParameterError(f"DScribe rejects these parameters: {error}") from error


@lru_cache(maxsize=16)
def _tables(
    r_cut: float, n_max: int, l_max: int, sigma: float, rbf: str, basis: str
) -> tuple[FloatArray, float, FloatArray, FloatArray]:
    """Return the radial table, its step, coefficients of harmonics and those kept.

    They are computed once per process.
    """
    reach = radial.padded_cutoff(r_cut, sigma)
    r, step = radial.knots(reach, sigma)
    keep = np.ones((l_max + 1) ** 2)
    if rbf == "gto":
        if basis == "exact":
            alpha, beta = radial.gto_basis(r_cut, n_max, l_max)
        else:
            alpha, beta = _dscribe(("H",), r_cut, n_max, l_max, sigma, rbf).get_basis_gto(
                r_cut, n_max, l_max
            )
        values = radial.gto_functions(r, sigma, alpha, beta)
    else:
        if basis == "exact":
            n_nodes = max(100, int(60 + 14 * r_cut / sigma))
            x, weight, functions = radial.polynomial_basis(r_cut, n_max, n_nodes)
        else:
            x, rows = _dscribe(("H",), r_cut, n_max, l_max, sigma, rbf).get_basis_poly(r_cut, n_max)
            weight = 0.5 * r_cut * np.polynomial.legendre.leggauss(len(x))[1]
            functions = np.ascontiguousarray(np.asarray(rows).T)
            keep = _kept_by_dscribe(l_max)
        values = radial.polynomial_functions(r, sigma, l_max, x, weight, functions)
    return kernel.table_rows(values), step, coefficients(l_max), keep


def _kept_by_dscribe(l_max: int) -> FloatArray:
    """Return 1 or 0 for every (l, m).

    DScribe 2.1 stores prefactors of its polynomial harmonics below 1e-9 as zero.
    """
    keep = np.ones((l_max + 1) ** 2)
    for degree, lost in ((10, 10), (11, 10), (12, 9)):
        for m in range(-degree, degree + 1):
            if degree <= l_max and abs(m) >= lost:
                keep[degree * degree + degree + m] = 0.0
    return keep
