"""SOAP: smooth overlap of atomic positions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mgdask.elements import atomic_number
from mgdask.errors import MissingDependencyError, ParameterError
from mgdask.features.environments import LocalEnvironments, Neighborhood
from mgdask.features.feature import OfSpecies, sort_species, validate_fields
from mgdask.kernels import radial
from mgdask.kernels import soap as kernel
from mgdask.kernels.harmonics import coefficients

Float = npt.NDArray[np.float64]

BATCH = 256
"""Centres of one kernel call; sums over a frame are sums of the sums of such batches, whatever the blocks."""


@dataclass(frozen=True)
class SOAP(OfSpecies):
    """Power spectrum of the smeared neighbour density around every central atom.

        rho_s(x) = sum_j exp(-|x - r_ij|^2 / (2 sigma^2)) over neighbours j of species s, the atom itself included
        c_nlm^s = <g_n Y_lm | rho_s>,   p_nn'l^ss' = pi sqrt(8 / (2l+1)) sum_m c_nlm^s c_n'lm^s'

    Parameters
    ----------
    species: element symbols; columns go by atomic number, whatever the order here. Other atoms are refused.
    r_cut: cut-off of the radial basis in Å; neighbours count up to r_cut + sigma sqrt(-2 ln 1e-3).
    n_max, l_max: radial functions and highest degree of the harmonics.
    sigma: width of the Gaussians in Å.
    rbf: "gto", Gaussians times r^l (r_cut > 1 Å), or "polynomial", (r_cut - r)^(n+2); both orthonormalised after Löwdin.
    average: "off", one row an atom; "inner", the coefficients are averaged over the centres before the products; "outer", the
        spectra are averaged.
    dtype: of the output; everything inside is float64.
    basis: "exact", orthonormalised with as many digits as it needs; "dscribe", the installed DScribe's numbers, which for
        polynomials with n_max > 8 are rounding noise, and its harmonics, of which some are dropped from l = 10 on.
    engine: "mgdask", our kernel, or "dscribe", the same through DScribe (with DScribe's basis).

    Columns are in DScribe's order: s, s' >= s, l, n, n' (n' >= n where s = s'). Values agree with DScribe's within 1e-6 (relative L2 of
    a row) for gto; for polynomials only in its basis. Rotation, translation, permutation and wrapping change float64 rows by
    less than 1e-10. Valid for any cell, also one smaller than the cut-off, and any periodicity.

    Source: Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013), Eq. 36; Himanen et al., Comput. Phys. Commun. 247, 106949 (2020).

    >>> import numpy as np
    >>> soap = SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=2, l_max=1, sigma=0.5)
    >>> soap.compute(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.6]]), np.eye(3) * 20.0, np.array([29, 40])).shape
    (2, 20)
    """

    species: tuple[str, ...]
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
    citation: ClassVar[str] = (
        "Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013); columns and bases as in Himanen et al., "
        "Comput. Phys. Commun. 247, 106949 (2020)"
    )

    def __post_init__(self) -> None:
        if isinstance(self.species, str):
            object.__setattr__(self, "species", (self.species,))
        validate_fields(self)
        if not self.species:
            raise ParameterError("SOAP: species=() must name at least one element")
        object.__setattr__(self, "species", sort_species(self.species))
        if self.rbf == "gto" and self.r_cut <= 1.0:
            raise ParameterError(
                f"SOAP: r_cut={self.r_cut} must exceed 1 Å for rbf='gto', whose narrowest function decays there"
            )
        if self.sigma > 4 * self.r_cut:
            raise ParameterError(
                f"SOAP: sigma={self.sigma} is wider than the basis; it must be at most 4 r_cut"
            )

    @property
    def level(self) -> Literal["atom", "frame"]:
        """A row for every atom, or one for the frame where ``average`` is on."""
        return "atom" if self.average == "off" else "frame"

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """dtype of the output."""
        return np.dtype(self.dtype)

    @property
    def n_columns(self) -> int:
        """(l_max + 1) [S n(n+1)/2 + S(S-1)/2 n^2]."""
        n, s = self.n_max, len(self.species)
        return (self.l_max + 1) * (s * n * (n + 1) // 2 + s * (s - 1) // 2 * n * n)

    @cached_property
    def _columns(self) -> npt.NDArray[np.int64]:
        rows = []
        for s in range(len(self.species)):
            for s2 in range(s, len(self.species)):
                for degree in range(self.l_max + 1):
                    for n in range(self.n_max):
                        for n2 in range(n if s == s2 else 0, self.n_max):
                            rows.append((s, s2, degree, n + 1, n2 + 1))
        return np.array(rows, dtype=np.int64)

    @property
    def labels(self) -> tuple[str, ...]:
        """Such as ``"Cu-Zr l=3 n=1,4"``: species, degree and the two radial functions, counted from 1."""
        names = self.species
        return tuple(
            f"{names[s]}-{names[t]} l={degree} n={n},{m}" for s, t, degree, n, m in self._columns
        )

    def coordinates(self) -> dict[str, npt.NDArray[Any]]:
        """soap_species_1, soap_species_2 (Z), soap_l, soap_n_1, soap_n_2 of every column."""
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
        """None: its kernel finds neighbours by itself."""
        return {}

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Cell list of the frame (some 200 bytes an atom while it is sorted), a batch of rows, tables, scratch."""
        width = kernel.padded(self.n_max)
        table = 8 * (self.l_max + 1) * width * (len(radial.knots(self._reach, self.sigma)[0]))
        batch = 8 * BATCH * self.n_columns
        return 224 * n_atoms + batch + 2 * table + 2_000_000

    def cost(self, n_centers: int) -> float:
        """30 microseconds a centre at 3289 columns; as 2 ms through DScribe."""
        return (
            n_centers
            * (30e-6 if self.engine == "mgdask" else 2e-3)
            * max(0.1, self.n_columns / 3289)
        )

    @property
    def _reach(self) -> float:
        return radial.padded_cutoff(self.r_cut, self.sigma)

    def prepare(self) -> None:
        """Build the radial table and compile the kernel."""
        if self.engine == "mgdask":
            _tables(self.r_cut, self.n_max, self.l_max, self.sigma, self.rbf, self.basis)
            kernel.soap.compile()

    def describe(
        self, environments: LocalEnvironments, centers: npt.NDArray[np.int64], out: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Fill ``out`` (center,column), or (column,) where averaged."""
        if self.engine == "dscribe":
            self._one_dscribe(environments, centers, out)
        else:
            self._one(environments, centers, out)
        return {}

    def _one(
        self, environments: LocalEnvironments, centers: npt.NDArray[np.int64], out: npt.NDArray[Any]
    ) -> None:
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
            some = centers[first : first + BATCH]
            target: npt.NDArray[Any] = out[first : first + BATCH]
            if mode:
                target = np.zeros((1, rows))
            elif scratch is not None:
                target = scratch[: len(some)]
            kernel.soap(
                grid, some, slot, len(z), self.n_max, table, step, degrees, keep, mode, target
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
        self, environments: LocalEnvironments, centers: npt.NDArray[np.int64], out: npt.NDArray[Any]
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
        raise ParameterError(f"DScribe refuses these parameters: {error}") from error


@lru_cache(maxsize=16)
def _tables(
    r_cut: float, n_max: int, l_max: int, sigma: float, rbf: str, basis: str
) -> tuple[Float, float, Float, Float]:
    """Radial table, its step, coefficients of the harmonics, and which harmonics are kept; once per process."""
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


def _kept_by_dscribe(l_max: int) -> Float:
    """1 or 0 for every (l, m): DScribe 2.1 stores prefactors of its polynomial harmonics below 1e-9 as zero."""
    keep = np.ones((l_max + 1) ** 2)
    for degree, lost in ((10, 10), (11, 10), (12, 9)):
        for m in range(-degree, degree + 1):
            if degree <= l_max and abs(m) >= lost:
                keep[degree * degree + degree + m] = 0.0
    return keep
