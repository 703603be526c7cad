"""Stores of samples: energies, runs and elements, checked before anything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.learn.data.splits import group_folds
from mgdask.learn.data.tables import MIN_ROWS
from mgdask.store.frame_values import attrs, read_one
from mgdask.store.open import check_complete
from mgdask.store.shards import read_array
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.training_sets import training_sets

if TYPE_CHECKING:
    from mgdask.studies.barcode.options import BarcodeOptions

ENERGY = "energy"
"""Name of the variable with the energy of all atoms, in eV."""


@dataclass(frozen=True, eq=False)
class StoreOfSamples:
    """What is known of the samples of a store without their structure.

    Parameters
    ----------
    path
        The store.
    numbers
        Atomic numbers (atom,).
    energy
        Energy of all atoms in eV (sample,).
    run
        Run of each sample (sample,), unique among stores of different names.
    """

    path: Path
    numbers: IntArray
    energy: FloatArray
    run: AnyArray

    @property
    def species(self) -> tuple[str, ...]:
        """Element symbols, ordered by atomic number."""
        return tuple(symbol(int(z)) for z in np.unique(self.numbers))

    def concentration(self, species: Sequence[str]) -> FloatArray:
        """Return the share of the atoms that each species has (species,)."""
        counts = [np.count_nonzero(self.numbers == atomic_number(name)) for name in species]
        return np.array(counts) / len(self.numbers)


def read_energies(path: Path) -> StoreOfSamples:
    """Read the energies of a store of samples.

    Parameters
    ----------
    path
        A finished trajectory store, one sample per frame.

    Raises
    ------
    ParameterError
        If the samples have no energies, or one of them is not finite, or they are not
        in eV.
    """
    group, _ = check_complete(path)
    energy = read_one(group, ENERGY)
    if energy is None:
        raise ParameterError(
            f"{path} has no energies, so it cannot be used for training or testing. Add them with "
            f"mgdask attach {path} --variable energy=FILE:COLUMN (eV of all atoms, one row per "
            "frame)"
        )
    unit = attrs(group, ENERGY).get("units", "eV")
    if unit != "eV":
        raise ParameterError(
            f"{path}: the energy is in {unit!r}; it must be the energy of all atoms in eV. Replace "
            f"it with mgdask attach {path} --overwrite --variable energy=FILE:COLUMN"
        )
    if len(bad := np.flatnonzero(~np.isfinite(energy))):
        raise ParameterError(
            f"{path}: the energy of frame {bad[0]} is {energy[bad[0]]} ({len(bad)} such frames). "
            f"Add it with mgdask attach {path} --overwrite --variable energy=FILE:COLUMN"
        )
    runs = [str(run) for run in read_array(group, "run")]
    if len(set(runs)) == 1:
        runs = [path.stem] * len(runs)
    else:
        runs = [f"{path.stem}/{run}" for run in runs]
    numbers = np.asarray(read_array(group, "species"), dtype=np.int64)
    return StoreOfSamples(path, numbers, energy, np.array(runs))


def check_stores(options: BarcodeOptions) -> None:
    """Check the energies and elements of all stores of a study.

    Parameters
    ----------
    options
        Options of the study.

    Raises
    ------
    ParameterError
        See ``read_energies``. Also if the training stores differ in their elements, or
        another store has an element that no training store has.
    """
    train = [read_energies(path) for path in options.train]
    known = train[0].species
    for one in train[1:]:
        if one.species != known:
            raise ParameterError(
                f"{one.path} has the elements {', '.join(one.species)}, but {train[0].path} has "
                f"{', '.join(known)}; train on samples of the same elements"
            )
    if sum(len(one.energy) for one in train) < 2:
        raise ParameterError(f"{train[0].path} has only one sample; at least two are needed")
    for path in (*options.test, *options.test_size, *options.driven):
        one = read_energies(path)
        if unknown := sorted(set(one.species) - set(known)):
            raise ParameterError(
                f"{path} has {', '.join(unknown)}, which the dictionary does not know: the "
                f"training stores have only {', '.join(known)}. Leave the store out, or train on "
                "samples with these elements"
            )
    samples = Samples.of(
        np.concatenate([one.energy for one in train]),
        np.concatenate([np.full(len(one.energy), len(one.numbers)) for one in train]),
        np.concatenate([one.run for one in train]),
    )
    _check_folds(samples, options, "the training stores have")
    for n_runs in options.accuracy_runs:
        for one_set in training_sets(samples.runs, n_runs):
            _check_folds(
                samples.take(np.isin(samples.run, one_set)),
                options,
                f"accuracy_runs={n_runs}: {', '.join(one_set)} have",
            )


def _check_folds(samples: Samples, options: BarcodeOptions, what: str) -> None:
    """Raise ``ParameterError`` if a fold leaves too few samples to train trees."""
    groups, _ = samples.groups(options.folds)
    n, n_runs = len(samples), len(samples.runs)
    n_folds = min(options.folds, len(set(groups.tolist())))
    splits = group_folds(groups, n_folds, options.seed)
    left = min(len(split.rows(groups)[0]) for split in splits)
    if left < MIN_ROWS:
        raise ParameterError(
            f"{what} {n} samples of {n_runs} {'run' if n_runs == 1 else 'runs'}. "
            f"Without the largest of {n_folds} folds, {left} are left, but boosted trees "
            f"need at least {MIN_ROWS}: train on more samples"
        )
