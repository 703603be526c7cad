"""Stores of the temperature study, checked before anything is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import FloatArray
from mgdask.elements import SYMBOLS
from mgdask.errors import ParameterError
from mgdask.features.lag import TEMPERATURE_TOLERANCE, LagDisplacement, check_times
from mgdask.features.window import FrameAxis
from mgdask.pipelines.featurize.block import read_axis
from mgdask.pipelines.featurize.validation import memory_of
from mgdask.pipelines.frame_values import attach_command
from mgdask.store.frame_values import read_one, values_digest
from mgdask.store.open import check_complete
from mgdask.store.shards import read_array
from mgdask.studies.temperature.levels import mean_of
from mgdask.studies.temperature.options import D2MIN_LAGS

if TYPE_CHECKING:
    from mgdask.studies.temperature.options import TemperatureOptions

MASS_TOLERANCE = 1e-3
"""Largest relative difference of masses of a species; it shifts lg[r² m] by 0.0004."""
TOLERANCE = LagDisplacement().tolerance
"""Largest deviation of a frame from a lag, as a fraction of the lag."""


@dataclass(frozen=True)
class RunOfStore:
    """Times and temperature of one run.

    Parameters
    ----------
    store
        Trajectory store.
    label
        Label of the run.
    first, last
        First frame of the run, and one past its last.
    temperature
        Mean temperature in K; NaN if the store has none.
    scatter
        Standard deviation of the temperature over the frames, in K.
    """

    store: Path
    label: str
    first: int
    last: int
    temperature: float
    scatter: float


@dataclass(frozen=True)
class StoreOfRuns:
    """Runs, atoms and masses of one trajectory store.

    Parameters
    ----------
    path
        The store.
    axis
        Times and runs of its frames.
    runs
        Its runs.
    counts
        Number of atoms of each species, by atomic number.
    mass
        Mass of each species in u, by atomic number.
    """

    path: Path
    axis: FrameAxis
    runs: tuple[RunOfStore, ...]
    counts: dict[int, int]
    mass: dict[int, float]


def read_store(path: Path) -> StoreOfRuns:
    """Read runs, temperatures, species and masses of a trajectory store.

    Raises
    ------
    ParameterError
        If atoms of a species differ in mass, or the store has no times.
    """
    group, _ = check_complete(path)
    if str(group.attrs["mgdask_kind"]) != "trajectory":
        raise ParameterError(
            f"{path} is not a trajectory. Give a store made by mgdask ingest, because the study "
            "computes its own features"
        )
    axis, kelvin = read_axis(group), read_one(group, "temperature")
    try:
        check_times(axis)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    species = np.asarray(read_array(group, "species"), dtype=np.int64)
    mass = np.asarray(read_array(group, "mass"), dtype=np.float64)
    return StoreOfRuns(
        path,
        axis,
        tuple(
            RunOfStore(
                path,
                str(axis.run[first]),
                first,
                last,
                np.nan if kelvin is None else mean_of(kelvin[first:last]),
                np.nan if kelvin is None else float(np.std(kelvin[first:last])),
            )
            for first, last in axis.runs()
        ),
        {int(z): int(n) for z, n in zip(*np.unique(species, return_counts=True), strict=True)},
        {int(z): _one_mass(mass[species == z], int(z), path) for z in np.unique(species)},
    )


def _one_mass(mass: FloatArray, species: int, path: Path) -> float:
    low, high = float(mass.min()), float(mass.max())
    if high > low * (1 + MASS_TOLERANCE):
        raise ParameterError(
            f"{path}: atoms of {name_of(species)} have masses from {low:g} to {high:g} u, but a "
            "species must have one mass. Ingest the isotopes as different species"
        )
    return low


def name_of(species: int) -> str:
    """Return the symbol of a species, or its number if it is not an element."""
    return SYMBOLS[species] if 0 < species < len(SYMBOLS) else f"species {species}"


def temperature_digests(options: TemperatureOptions) -> dict[str, str]:
    """Return a digest of the temperatures of each store, by its name.

    Parameters
    ----------
    options
        Options of the study.
    """
    digests = {}
    for name, path in options.all_stores().items():
        values = read_one(check_complete(path)[0], "temperature")
        digests[name] = "none" if values is None else values_digest(values)
    return digests


def check_stores(options: TemperatureOptions) -> None:
    """Check temperatures, lags, species and masses of all stores of a study.

    Parameters
    ----------
    options
        Options of the study.

    Raises
    ------
    ParameterError
        If a run of ``train`` or ``test`` has no constant temperature, or there is only
        one class. Also if a run lacks a lag, a store has species or masses that no
        training store has, or a species has fewer atoms than the required neighbors.
    """
    memory_of(options.memory)
    stores = {name: read_store(path) for name, path in options.all_stores().items()}
    train = [stores[path.stem] for path in options.train]
    for path in (*options.train, *options.test):
        for run in stores[path.stem].runs:
            _check_temperature(run, sum(stores[path.stem].counts.values()))
    _check_classes(options, train)
    for store in stores.values():
        check_lags(store, options.lags)
    if options.d2min_lags != D2MIN_LAGS:
        for path in options.apply:
            check_lags(stores[path.stem], options.d2min_lags, option="d2min_lags (--d2min-lags)")
    _check_species(options, train, list(stores.values()))
    _check_neighbors(options, train)
    if options.feature_temperature == "run":
        for path in (*options.apply, *options.control):
            for run in stores[path.stem].runs:
                if not np.isfinite(run.temperature):
                    raise _no_temperature(
                        run, "which feature_temperature='run' (--feature-temperature run) needs"
                    )


def _no_temperature(run: RunOfStore, why: str) -> ParameterError:
    return ParameterError(
        f"{run.store}: the run {run.label!r} has no temperature, {why}. Add it with "
        f"{attach_command(run.store, 'temperature', run.label)}"
    )


def _check_temperature(run: RunOfStore, n_atoms: int) -> None:
    if not np.isfinite(run.temperature):
        raise _no_temperature(run, "which is the label that is learned")
    # the kinetic temperature of N atoms fluctuates by (2 / 3N)^(1/2)
    allowed = max(TEMPERATURE_TOLERANCE, 2.0 * (2.0 / (3.0 * n_atoms)) ** 0.5)
    if run.scatter > allowed * run.temperature:
        raise ParameterError(
            f"{run.store}: the temperature of the run {run.label!r} is not constant: its mean is "
            f"{run.temperature:.4g} K, its standard deviation {run.scatter:.3g} K. Instances are "
            "labeled with the temperature of isothermal runs: leave the run out, or give it with "
            "--apply"
        )


def _is_near(kelvin: float, run: float) -> bool:
    """Return whether a given class is the temperature of a run."""
    from mgdask.studies.temperature.classes import MATCH

    return abs(run - kelvin) <= MATCH * run


def _check_classes(options: TemperatureOptions, train: Sequence[StoreOfRuns]) -> None:
    found = sorted({run.temperature for store in train for run in store.runs})
    shown = ", ".join(f"{kelvin:g}" for kelvin in found)
    if len(found) < 2:
        raise ParameterError(
            f"all runs of the training stores are at {shown} K. With one class there is nothing "
            "to learn: train on runs at two or more temperatures"
        )
    unknown = [one for one in options.classes if not any(_is_near(one, t) for t in found)]
    if unknown:
        raise ParameterError(
            f"classes (--classes) has {', '.join(f'{one:g}' for one in unknown)} K, but no "
            f"training run is at this temperature. The training runs are at {shown} K"
        )


def check_lags(store: StoreOfRuns, lags: Sequence[float], *, option: str = "lags (--lags)") -> None:
    """Check that every run has a frame at every lag after its first frame.

    Parameters
    ----------
    store
        The store.
    lags
        Lags in ps.
    option
        Option that names the lags.

    Raises
    ------
    ParameterError
        If a run is shorter than the longest lag, or has no frame at one of the lags.
    """
    axis = store.axis
    for run in store.runs:
        length = float(axis.time[run.last - 1] - axis.time[run.first])
        if length < lags[-1] * (1 - TOLERANCE):
            left = [lag for lag in lags if lag <= length * (1 + TOLERANCE)]
            advice = "" if not left else f", or only {','.join(f'{lag:g}' for lag in left)}"
            raise ParameterError(
                f"{store.path}: the run {run.label!r} is {length:g} ps long, shorter than the "
                f"longest lag of {lags[-1]:g} ps of {option}. All runs need the same lags: give a "
                f"longer trajectory{advice}"
            )
        missing = [lag for lag in lags if axis.later(run.first, lag, TOLERANCE) < 0]
        if missing:
            nearest = axis.nearest_lag(missing[0], np.array([run.first]))
            raise ParameterError(
                f"{store.path}: the run {run.label!r} has no frame {missing[0]:g} ps after its "
                f"first ({len(missing)} of {len(lags)} lags are missing; the nearest that exists "
                f"is {nearest:g} ps). All runs need the same lags: leave these out of "
                f"{option}, or give a trajectory that was written at them"
            )


def _check_species(
    options: TemperatureOptions, train: Sequence[StoreOfRuns], stores: Sequence[StoreOfRuns]
) -> None:
    """Raise ``ParameterError`` for species or masses that were not trained on."""
    known: dict[int, tuple[float, Path]] = {}
    for store in train:
        for species, mass in store.mass.items():
            known.setdefault(species, (mass, store.path))
    for store in stores:
        unknown = sorted(set(store.counts) - set(known))
        if unknown:
            raise ParameterError(
                f"{store.path} has {', '.join(name_of(z) for z in unknown)}, but the training "
                f"stores only have {', '.join(name_of(z) for z in sorted(known))}. Atoms are "
                "compared with atoms of their own species: train on stores that have them"
            )
        for species, mass in store.mass.items():
            expected, where = known[species]
            if abs(mass - expected) > MASS_TOLERANCE * expected:
                raise ParameterError(
                    f"{store.path}: {name_of(species)} has a mass of {mass:g} u, but {expected:g} "
                    f"u in {where}. The feature lg[r² m] contains the mass, so it must be the "
                    "same in all stores: ingest this one again with the same masses"
                )


def _check_neighbors(options: TemperatureOptions, train: Sequence[StoreOfRuns]) -> None:
    """Raise ``ParameterError`` if a species has too few atoms for the neighbors."""
    k = options.neighbors or 1
    name = "neighbors (--neighbors)" if options.neighbors else "the model"
    total: Counter[int] = Counter()
    by_class: Counter[float] = Counter()
    for store in train:
        for run in store.runs:
            if not options.classes or any(_is_near(t, run.temperature) for t in options.classes):
                total.update(store.counts)
                by_class[run.temperature] += sum(store.counts.values())
    kelvin, fewest = min(by_class.items(), key=lambda item: (item[1], item[0]))
    if fewest <= options.relief_neighbors:
        raise ParameterError(
            f"relief_neighbors (--relief-neighbors) is {options.relief_neighbors}, but the "
            f"training runs at {kelvin:g} K have {fewest} atoms: give at most {fewest - 1}, or "
            "train on larger runs"
        )
    for species, n in sorted(total.items()):
        if n < options.folds:
            raise ParameterError(
                f"{options.folds} folds (--folds) need at least {options.folds} atoms of "
                f"{name_of(species)}, but the training runs have {n} in total: give at most "
                f"--folds {max(n, 2)}, or train on more runs"
            )
        left = n - -(-n // options.folds)  # without the largest fold
        if left < k:
            raise ParameterError(
                f"{name} needs {k} atoms of {name_of(species)} outside of the largest of "
                f"{options.folds} folds, but there are {left} (of {n} in all training runs): give "
                f"at most --neighbors {max(left, 1)}, or train on more runs"
            )
