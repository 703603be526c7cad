"""Instances of the temperature study: every atom of every run, read when needed.

A feature store holds lg[r² m] at all lags. The form with a temperature, lg[r² m / T],
is computed when rows are read, by subtracting lg T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.pipelines.featurize.block import read_axis
from mgdask.pipelines.frame_values import attach_command
from mgdask.store.frame_values import read_one
from mgdask.store.open import check_complete
from mgdask.store.shards import read_array
from mgdask.store.sources import SourceArray, source_array
from mgdask.studies.temperature.levels import mean_of

FEATURE = "lag_displacement"
"""Name of the variable in the feature stores."""
AVERAGED = "averaged_displacement"
"""Name of the variable with averages over origins; stores may lack it."""
BLOCK_BYTES = 16 * 2**20
"""Bytes of features read at a time, beside the matrix that is filled."""
FeatureTemperature = Literal["run"] | float | None
"""T in lg[r² m / T]: that of the run, a number in K, or None for lg[r² m]."""


@dataclass(frozen=True)
class Run:
    """One run of one store, which gives its atoms their temperature.

    Arrays of atoms are read on first use, and are not sent with a task.

    Parameters
    ----------
    store
        Name of the trajectory store.
    label
        Label of the run in it.
    path
        Feature store.
    source
        Trajectory store.
    temperature
        Mean temperature of the frames in K; NaN if the store has none.
    frame
        Row of this run in the feature store, its origin.
    n_atoms
        Number of atoms.
    """

    store: str
    label: str
    path: Path
    source: Path
    temperature: float
    frame: int
    n_atoms: int

    @cached_property
    def species(self) -> IntArray:
        """Atomic numbers (atom,)."""
        return np.asarray(self._read("species"), dtype=np.int64)

    @cached_property
    def mass(self) -> FloatArray:
        """Masses in u (atom,)."""
        return np.asarray(self._read("mass"), dtype=np.float64)

    @cached_property
    def atom_id(self) -> IntArray:
        """Identifiers of the atoms (atom,)."""
        return np.asarray(self._read("atom_id"), dtype=np.int64)

    def _read(self, name: str) -> AnyArray:
        return read_array(check_complete(self.source)[0], name)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields alone, without arrays that were read."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True)
class Labels:
    """Labels of each instance, where a row is an atom of a run.

    Parameters
    ----------
    temperature
        Temperature of the run in K (row,).
    species
        Atomic number (row,).
    run
        Index of the run (row,).
    atom
        Index of the atom in its store (row,).
    """

    temperature: FloatArray
    species: IntArray
    run: IntArray
    atom: IntArray


@dataclass(frozen=True)
class Instances:
    """Atoms of runs with their motion, opened but not read.

    It is small, so each task gets a copy and reads its own rows.

    Parameters
    ----------
    runs
        Runs, in row order.
    lags
        Lag times in ps (lag,).
    variable
        ``FEATURE``, or ``AVERAGED`` for averages over origins.
    """

    runs: tuple[Run, ...]
    lags: FloatArray
    variable: str = FEATURE

    @property
    def n_rows(self) -> int:
        """Number of atoms of all runs."""
        return sum(run.n_atoms for run in self.runs)

    @property
    def temperatures(self) -> FloatArray:
        """Different temperatures of the runs in K, increasing."""
        return np.unique([run.temperature for run in self.runs])

    def select(self, runs: Sequence[int] | IntArray) -> Instances:
        """Return some of the runs, in the given order.

        Parameters
        ----------
        runs
            Indices of runs.
        """
        return replace(self, runs=tuple(self.runs[int(k)] for k in runs))

    def averaged(self) -> Instances | None:
        """Return lg[<r²> m] of the same rows, averaged over origins.

        The result is None if a feature store has no averages, or has others.
        """
        lags: FloatArray | None = None
        for path in dict.fromkeys(run.path for run in self.runs):
            group, _ = check_complete(path, kind="features")
            if AVERAGED not in group:
                return None
            own = np.asarray(read_array(group, f"{AVERAGED}_lag"), dtype=np.float64)
            if lags is not None and not np.array_equal(lags, own):
                return None
            lags = own
        assert lags is not None
        return Instances(self.runs, lags, AVERAGED)

    def first_rows(self) -> dict[tuple[str, int], int]:
        """Return the row of the first atom of each run, by name of store and frame."""
        starts = np.cumsum([0, *(run.n_atoms for run in self.runs)]).tolist()
        names = [(run.store, run.frame) for run in self.runs]
        return dict(zip(names, starts, strict=False))

    def of_temperatures(self, temperatures: Sequence[float] | FloatArray) -> Instances:
        """Return the runs at some temperatures, in their order.

        Parameters
        ----------
        temperatures
            Temperatures in K.
        """
        wanted = {float(kelvin) for kelvin in temperatures}
        return self.select([k for k, run in enumerate(self.runs) if run.temperature in wanted])

    def labels(self) -> Labels:
        """Return temperature, species, run and atom of every row."""
        sizes = [run.n_atoms for run in self.runs]
        return Labels(
            np.repeat(np.array([run.temperature for run in self.runs], dtype=np.float64), sizes),
            np.concatenate([run.species for run in self.runs]),
            np.repeat(np.arange(len(sizes)), sizes),
            np.concatenate([np.arange(size) for size in sizes]),
        )

    def matrix(
        self,
        *,
        columns: Sequence[int] | IntArray | None = None,
        runs: Sequence[int] | IntArray | None = None,
        rows: slice | Sequence[int] | IntArray | None = None,
        feature_temperature: FeatureTemperature = None,
    ) -> FloatArray:
        """Read rows as one matrix, allocated once and filled block by block.

        Parameters
        ----------
        columns
            Indices of lags. Default: all.
        runs
            Indices of runs. Default: all.
        rows
            Row numbers among these runs, in any order. Default: all.
        feature_temperature
            "run" subtracts lg T of the run, a number lg of that temperature in K. None
            leaves lg[r² m].

        Returns
        -------
        matrix
            Values (row, column) in float64 and C order.

        Raises
        ------
        ParameterError
            If "run" is asked for, and a run has no temperature.
        """
        if runs is not None:
            chosen = self.select(runs)
            return chosen.matrix(
                columns=columns, rows=rows, feature_temperature=feature_temperature
            )
        picked = np.arange(len(self.lags)) if columns is None else np.asarray(columns, dtype=int)
        wanted = _row_numbers(rows, self.n_rows)
        out = np.empty((len(wanted), len(picked)))
        order = None if (np.diff(wanted) >= 0).all() else np.argsort(wanted, kind="stable")
        ordered = wanted if order is None else wanted[order]
        first = 0
        for run in self.runs:
            low, high = np.searchsorted(ordered, [first, first + run.n_atoms])
            if high > low:
                shift = _shift(run, feature_temperature)
                atoms = ordered[low:high] - first
                places: AnyArray | slice = slice(low, high) if order is None else order[low:high]
                _fill(out, places, features_of(run, self.variable), run.frame, atoms, picked, shift)
            first += run.n_atoms
        return out


def _row_numbers(rows: slice | Sequence[int] | IntArray | None, n_rows: int) -> IntArray:
    if rows is None or isinstance(rows, slice):
        return np.arange(n_rows)[rows or slice(None)]
    wanted = np.asarray(rows, dtype=np.int64)
    if len(wanted) and not (wanted.min() >= 0 and wanted.max() < n_rows):
        raise ParameterError(
            f"rows are {wanted.min()} to {wanted.max()}; there are rows 0 to {n_rows - 1}"
        )
    return wanted


def _shift(run: Run, feature_temperature: FeatureTemperature) -> float:
    """Return what is subtracted from lg[r² m]."""
    if feature_temperature is None:
        return 0.0
    kelvin = run.temperature if feature_temperature == "run" else float(feature_temperature)
    if not kelvin > 0:
        raise ParameterError(
            f"the run {run.label!r} of {run.source} has no temperature, so lg[r² m/T] is not "
            f"defined. Add it with {attach_command(run.source, 'temperature', run.label)}, or give "
            "a temperature in K (--feature-temperature)"
        )
    return float(np.log10(kelvin))


def _fill(
    out: FloatArray,
    places: AnyArray | slice,
    array: SourceArray,
    frame: int,
    atoms: IntArray,
    columns: IntArray,
    shift: float,
) -> None:
    """Read some atoms of a run into rows ``places`` of ``out``."""
    size = max(1, BLOCK_BYTES // (8 * array.shape[2]))
    for start in range(int(atoms[0]) // size * size, int(atoms[-1]) + 1, size):
        low, high = np.searchsorted(atoms, [start, start + size])
        if high == low:
            continue
        here = atoms[low:high]
        begin, end = int(here[0]), int(here[-1]) + 1
        block = array[frame, begin:end]
        values = block[np.ix_(here - begin, columns)]
        if shift:
            values -= shift
        if isinstance(places, slice):
            out[places.start + low : places.start + high] = values
        else:
            out[places[low:high]] = values


def features_of(run: Run, variable: str = FEATURE) -> SourceArray:
    """Return the features (frame, atom, lag) of a run to read from."""
    return source_array(check_complete(run.path, kind="features")[0], variable)


def read_instances(stores: Sequence[Path], features_folder: Path) -> Instances:
    """Open the instances of stores whose features have been computed.

    Parameters
    ----------
    stores
        Trajectory stores, in row order.
    features_folder
        Folder of the feature stores, one per name of a store.

    Raises
    ------
    ParameterError
        If feature stores have different lags.
    """
    runs: list[Run] = []
    lags: FloatArray | None = None
    for store in stores:
        path = feature_path(features_folder, store)
        group, _ = check_complete(path, kind="features")
        own = np.asarray(read_array(group, f"{FEATURE}_lag"), dtype=np.float64)
        if lags is not None and not np.array_equal(lags, own):
            raise ParameterError(f"{path} has other lags than the features of the first store")
        lags = own
        runs += read_runs(store, path)
    if lags is None:
        raise ParameterError("no stores were given")
    return Instances(tuple(runs), lags)


def read_runs(store: Path, path: Path) -> list[Run]:
    """Return the runs of a trajectory store.

    Parameters
    ----------
    store
        Trajectory store.
    path
        Its feature store, which need not exist yet.
    """
    group, _ = check_complete(store)
    axis, kelvin = read_axis(group), read_one(group, "temperature")
    n_atoms = len(read_array(group, "species"))
    return [
        Run(
            store.stem,
            str(axis.run[first]),
            path,
            store,
            np.nan if kelvin is None else mean_of(kelvin[first:last]),
            frame,
            n_atoms,
        )
        for frame, (first, last) in enumerate(axis.runs())
    ]


def feature_path(folder: Path, store: Path) -> Path:
    """Return where the features of a store are: FOLDER/<name>.zarr."""
    return folder / f"{store.stem}.zarr"
