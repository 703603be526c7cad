"""Samples of a glass: the energy of each, and what is known of its structure.

Everything after this module works on plain arrays, one row per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError

MATRICES = {
    "fractions": "fractions of the unique local environments",
    "mean_soap": "mean SOAP vectors",
    "mean_chebyshev": "mean Chebyshev vectors",
    "mean_pairs": "smoothed counts of neighbors",
}
"""Matrices (sample, column) that samples may have, in words."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one or several stores, in the order of the stores and their frames.

    Make them from plain arrays with ``Samples.of``.

    Parameters
    ----------
    store
        Name of the store of each sample (sample,).
    run
        Run of each sample (sample,), the group that is never split.
    frame
        Frame of each sample in its store (sample,).
    n_atoms
        Number of atoms (sample,).
    energy
        Energy of all atoms in eV (sample,).
    species
        Element symbols, ordered by atomic number.
    concentration
        Share of the atoms that each species has (sample, species).
    fractions
        Fraction of the atoms whose nearest entry of the dictionary is each entry
        (sample, entry).
    unmatched
        Fraction of the atoms that are below the threshold for every entry (sample,).
    mean_soap, mean_chebyshev
        Vectors averaged over the atoms of each species (sample, species * column): all
        columns of the first species, then those of the second, and so on.
    mean_pairs
        Smoothed counts of neighbors in the same layout; see ``pairs.pair_feature``.
    """

    store: AnyArray
    run: AnyArray
    frame: IntArray
    n_atoms: IntArray
    energy: FloatArray
    species: tuple[str, ...]
    concentration: FloatArray
    fractions: FloatArray
    unmatched: FloatArray
    mean_soap: FloatArray
    mean_chebyshev: FloatArray
    mean_pairs: FloatArray

    @classmethod
    def of(
        cls,
        energy: npt.ArrayLike,
        n_atoms: npt.ArrayLike,
        run: npt.ArrayLike,
        *,
        store: npt.ArrayLike | None = None,
        frame: npt.ArrayLike | None = None,
        species: Sequence[str] = (),
        concentration: npt.ArrayLike | None = None,
        fractions: npt.ArrayLike | None = None,
        mean_soap: npt.ArrayLike | None = None,
        mean_chebyshev: npt.ArrayLike | None = None,
        mean_pairs: npt.ArrayLike | None = None,
        unmatched: npt.ArrayLike | None = None,
    ) -> Self:
        """Make samples from plain arrays.

        Parameters
        ----------
        energy
            Energy of all atoms in eV (sample,).
        n_atoms
            Number of atoms (sample,), or one number for all.
        run
            Run of each sample (sample,), or one for all.
        store
            Name of the store. Default: the run.
        frame
            Frame in its store. Default: counted within each store.
        species
            Element symbols, ordered by atomic number.
        concentration
            Share of each species (sample, species), or (species,) for all samples.
            Default: the same share of each.
        fractions, mean_soap, mean_chebyshev, mean_pairs
            Matrices (sample, column). Default: no columns.
        unmatched
            Fraction of the atoms (sample,). Default: zero.

        Returns
        -------
        samples

        Raises
        ------
        ParameterError
            If an array has another number of samples, or a value is not finite.

        Examples
        --------
        >>> samples = Samples.of([-9.6, -9.5], 2, ["a", "b"], fractions=np.eye(2))
        >>> samples.energy_per_atom.tolist()
        [-4.8, -4.75]
        """
        energies = np.asarray(energy, dtype=np.float64)
        n = energies.size
        labels = _names(run, n)
        stores = labels if store is None else _names(store, n)
        frames = _counted(stores) if frame is None else np.asarray(frame, dtype=np.int64)
        shares = np.full(len(species), 1.0 / max(len(species), 1))
        shares = shares if concentration is None else np.asarray(concentration, dtype=np.float64)
        shares = np.broadcast_to(shares, (n, len(species))) if shares.ndim == 1 else shares

        def columns(values: npt.ArrayLike | None) -> FloatArray:
            return np.zeros((n, 0)) if values is None else np.asarray(values, dtype=np.float64)

        samples = cls(
            store=stores,
            run=labels,
            frame=frames,
            n_atoms=_each(n_atoms, n).astype(np.int64),
            energy=energies,
            species=tuple(species),
            concentration=np.ascontiguousarray(shares),
            fractions=columns(fractions),
            unmatched=np.zeros(n) if unmatched is None else np.asarray(unmatched, np.float64),
            mean_soap=columns(mean_soap),
            mean_chebyshev=columns(mean_chebyshev),
            mean_pairs=columns(mean_pairs),
        )
        samples.check()
        return samples

    def check(self) -> None:
        """Raise ``ParameterError`` if arrays do not fit or a value is not finite."""
        n = self.energy.size
        if self.energy.ndim != 1 or not n:
            raise ParameterError(
                f"energy has shape {self.energy.shape}; one number per sample is needed, "
                "at least one"
            )
        for one in fields(self):
            values = getattr(self, one.name)
            if one.name == "species":
                continue
            width = 2 if one.name in MATRICES or one.name == "concentration" else 1
            if values.ndim != width or len(values) != n:
                raise ParameterError(
                    f"{one.name} has shape {values.shape}; it must have {width} "
                    f"{'dimensions' if width > 1 else 'dimension'} and {n} samples, as energy has"
                )
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                row = int(np.argwhere(~np.isfinite(values))[0][0])
                raise ParameterError(
                    f"{one.name} is not finite for frame {self.frame[row]} of {self.store[row]}; "
                    "leave this sample out"
                )
        if (self.n_atoms < 1).any():
            raise ParameterError(f"n_atoms={int(self.n_atoms.min())} must be at least 1")

    def __len__(self) -> int:
        return len(self.energy)

    @property
    def energy_per_atom(self) -> FloatArray:
        """Energy per atom in eV (sample,)."""
        return np.asarray(self.energy / self.n_atoms, dtype=np.float64)

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of all runs, in the order of their first samples."""
        return tuple(dict.fromkeys(self.run.tolist()))

    @property
    def stores(self) -> tuple[str, ...]:
        """Names of all stores, in order."""
        return tuple(dict.fromkeys(self.store.tolist()))

    def matrix(self, name: str) -> FloatArray:
        """Return one of ``MATRICES`` (sample, column).

        Parameters
        ----------
        name
            "fractions", "mean_soap", "mean_chebyshev" or "mean_pairs".

        Raises
        ------
        ParameterError
            If the samples do not have it.
        """
        if name not in MATRICES:
            raise ParameterError(f"no matrix {name!r}; allowed are {', '.join(MATRICES)}")
        values: FloatArray = getattr(self, name)
        if not values.shape[1]:
            raise ParameterError(
                f"the samples have no {MATRICES[name]}; give {name}= to Samples.of, "
                "or read the samples of a study"
            )
        return values

    def per_atom(self, name: str) -> FloatArray:
        """Return a matrix whose columns add up over atoms, divided by their number.

        An energy that is a sum over atoms is linear in these columns, for samples of
        any size and composition.

        Parameters
        ----------
        name
            "fractions", or a mean per species. The latter is weighted with the
            concentration of the species.

        Returns
        -------
        values
            Shape (sample, column), followed by one column per species if there are
            several: their concentrations.
        """
        values = self.matrix(name)
        shares = self.concentration
        if name != "fractions":
            n, kinds = len(self), max(len(self.species), 1)
            if values.shape[1] % kinds:
                raise ParameterError(
                    f"{name} has {values.shape[1]} columns for {kinds} species; give the same "
                    "number for each species"
                )
            if len(self.species) > 1:
                values = (values.reshape(n, kinds, -1) * shares[:, :, None]).reshape(n, -1)
        return np.hstack([values, shares]) if len(self.species) > 1 else values

    def take(self, rows: npt.ArrayLike) -> Self:
        """Return some of the samples.

        Parameters
        ----------
        rows
            Indices, or booleans (sample,).
        """
        index = np.asarray(rows)
        return replace(
            self,
            **{
                one.name: getattr(self, one.name)[index]
                for one in fields(self)
                if one.name != "species"
            },
        )

    def of_store(self, *names: str) -> Self:
        """Return the samples of some stores.

        Raises
        ------
        ParameterError
            If there is no sample of a store.
        """
        if unknown := sorted(set(names) - set(self.stores)):
            raise ParameterError(
                f"no sample of store {unknown[0]!r}; the stores are {', '.join(self.stores)}"
            )
        return self.take(np.isin(self.store, names))

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Join samples with the same columns, in the order given.

        Raises
        ------
        ParameterError
            If there are none, or their species or columns differ.
        """
        if not parts:
            raise ParameterError("parts is empty; give at least one set of samples")
        joined: dict[str, Any] = {"species": parts[0].species}
        for part in parts[1:]:
            if part.species != parts[0].species:
                raise ParameterError(
                    f"samples of {', '.join(part.species)} (store {part.stores[0]}) cannot be "
                    f"joined with those of {', '.join(parts[0].species)} "
                    f"(store {parts[0].stores[0]})"
                )
        for one in fields(cls):
            if one.name == "species":
                continue
            values = [getattr(part, one.name) for part in parts]
            if len({value.shape[1:] for value in values}) > 1:
                raise ParameterError(
                    f"{one.name} has {[value.shape[1] for value in values]} columns; samples of "
                    "different dictionaries or features cannot be joined"
                )
            joined[one.name] = np.concatenate(values)
        return cls(**joined)

    def groups(self, n_blocks: int = 5) -> tuple[AnyArray, str]:
        """Return the groups that folds leave out, and what they are in words.

        Runs are left out as a whole. A single run is cut into blocks of successive
        samples. The text says so, because neighboring blocks are not independent.

        Parameters
        ----------
        n_blocks
            Number of blocks of a single run, at most one per sample.

        Returns
        -------
        groups
            Name of the group of each sample (sample,).
        what
            "runs", or a sentence about the blocks.

        Raises
        ------
        ParameterError
            If there is only one sample.
        """
        if len(self.runs) > 1:
            return self.run, "runs"
        n = len(self)
        if n < 2:
            raise ParameterError(
                f"only one sample (store {self.stores[0]}); at least two are needed to train"
            )
        number = min(n_blocks, n)
        block = np.arange(n) * number // n
        names = np.array([f"{self.runs[0]} part {k + 1}" for k in block])
        return names, (
            f"{number} blocks of successive samples of the only run, {self.runs[0]}: neighbors "
            "are not independent, so errors are underestimated"
        )


def _each(values: npt.ArrayLike, n: int) -> AnyArray:
    array = np.asarray(values)
    return np.full(n, array) if array.ndim == 0 else array


def _names(values: npt.ArrayLike, n: int) -> AnyArray:
    # not by astype, which fails for the strings of Zarr
    return np.array([str(value) for value in _each(values, n)])


def _counted(stores: AnyArray) -> IntArray:
    """Return the number of each sample within its store."""
    out = np.zeros(len(stores), dtype=np.int64)
    for name in np.unique(stores):
        own = stores == name
        out[own] = np.arange(own.sum())
    return out
