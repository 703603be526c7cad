"""Pairs of frames at given lags, and tasks that sum over them by blocks of atoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import xarray as xr
from dask.utils import format_bytes

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.elements import atomic_number
from mgdask.errors import ParameterError, StoreError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.features.lag import TEMPERATURE_TOLERANCE, check_times, lag_pairs
from mgdask.features.pair_cutoffs import species_of
from mgdask.features.window import FrameAxis
from mgdask.geometry import cell_changes, fractional
from mgdask.pipelines.featurize.block import read_axis
from mgdask.pipelines.frame_values import Run, runs_of, select_runs
from mgdask.store.frame_values import read_one as read_frame_value
from mgdask.store.layout import GROUP, ceil_div, trajectory_layout
from mgdask.store.location import local_place
from mgdask.store.open import check_complete, unchanged
from mgdask.store.shards import Group, open_group, read_array
from mgdask.store.source_checks import check_source
from mgdask.store.sources import source_array
from mgdask.store.trust import TRUSTED, trusting
from mgdask.store.unwrapped import UnwrappedSource, unwrapped_source

if TYPE_CHECKING:
    from distributed import Client

Origins: TypeAlias = Literal["all", "first"] | int
"""Frames from which lags are counted: all, the first of each run, or every n-th."""
Runs: TypeAlias = str | Sequence[str] | None
"""Label of a run, several labels, or None for all runs."""

TASK_BYTES = 96 * 2**20
"""Size of the unwrapped positions of one task in bytes."""
MAX_TASK_BYTES = 600 * 2**20
"""Maximum size if a trajectory store must be read in whole chunks of atoms."""
N_DEFAULT_LAGS = 41
"""Default number of lags, before equal ones are merged."""


def select_lags(
    axis: FrameAxis, lags: Sequence[float] | None, origins: IntArray, tolerance: float
) -> tuple[float, ...]:
    """Return the lags in ps, and check that each exists.

    Parameters
    ----------
    axis
        Times and runs of the frames.
    lags
        Lags in ps. Default: about 40 on a logarithmic scale, up to half the longest
        run.
    origins
        Frames from which lags are counted.
    tolerance
        Largest deviation of a frame, as a fraction of the lag.

    Raises
    ------
    ParameterError
        If the lags are not increasing, or no frame follows any origin at a lag.
    """
    check_times(axis)
    if lags is None:
        return _default_lags(axis, origins)
    values = tuple(float(t) for t in np.atleast_1d(np.asarray(lags, dtype=np.float64)))
    if (
        not values
        or min(values) <= 0
        or not np.isfinite(values).all()
        or (np.diff(values) <= 0).any()
    ):
        raise ParameterError(f"lags={values} must be increasing times in ps above 0")
    for lag in values:
        if (axis.laters(lag, tolerance)[origins] < 0).all():
            nearest = axis.nearest_lag(lag, origins)
            hint = (
                f"the nearest lag that exists is {nearest:g} ps"
                if np.isfinite(nearest)
                else "no run continues after them"
            )
            raise ParameterError(
                f"lags: no frame is {lag:g} ps after any of the {len(origins)} origins; {hint}"
            )
    return values


def _default_lags(axis: FrameAxis, origins: IntArray) -> tuple[float, ...]:
    used = [run for run in axis.runs() if ((origins >= run[0]) & (origins < run[1])).any()]
    first, last = max(used, key=lambda run: run[1] - run[0])
    elapsed = axis.time[first + 1 : last] - axis.time[first]
    if not len(elapsed):
        raise ParameterError("every run has only one frame, so there are no lags")
    elapsed = elapsed[: max(1, np.searchsorted(elapsed, 0.5 * elapsed[-1], side="right"))]
    targets = np.geomspace(elapsed[0], elapsed[-1], N_DEFAULT_LAGS)
    nearest = elapsed[np.abs(elapsed[:, None] - targets[None]).argmin(axis=0)]
    return tuple(float(t) for t in np.unique(nearest))


def select_origins(axis: FrameAxis, origins: Origins) -> IntArray:
    """Return the frames from which lags are counted.

    Parameters
    ----------
    axis
        Times and runs of the frames.
    origins
        "all" frames, the "first" of each run, or every n-th.

    Raises
    ------
    ParameterError
        If ``origins`` is none of these.
    """
    if origins == "all":
        return np.arange(len(axis.run))
    if origins == "first":
        return np.array([first for first, _ in axis.runs()])
    if isinstance(origins, int | np.integer) and not isinstance(origins, bool) and origins > 0:
        return np.concatenate([np.arange(first, last, origins) for first, last in axis.runs()])
    raise ParameterError(
        f"origins={origins!r} must be 'all', 'first', or a positive integer n for every n-th frame"
    )


def select_dynamic_runs(store: str | Path, run: Runs) -> tuple[Run, ...]:
    """Return the runs to average over, and check that they have one temperature.

    Parameters
    ----------
    store
        An unwrapped trajectory, or a trajectory store.
    run
        Label of a run, several labels, or None for all runs.

    Raises
    ------
    ParameterError
        If there is no such run. Also if all runs are selected, each at a constant
        temperature, and the temperatures differ by more than 5 %. The caller must then
        name the runs to average over.
    """
    store = local_place(store, "this analysis reads")
    _, group = unwrapped_source(store)
    runs = runs_of(read_array(group, "run"))
    if run is not None:
        return tuple(select_runs(runs, run, str(store)))
    kelvin = {
        each.label: value
        for each in runs
        if (value := constant_temperature(group, each.frames)) is not None
    }
    coldest, hottest = min(kelvin.values(), default=1.0), max(kelvin.values(), default=1.0)
    if hottest / coldest > 1 + TEMPERATURE_TOLERANCE:
        shown = ", ".join(f"{label!r} at {value:.4g} K" for label, value in [*kelvin.items()][:6])
        more = ", ..." if len(kelvin) > 6 else ""
        raise ParameterError(
            f"{store} has runs at different temperatures: {shown}{more}. Choose one with "
            f"run={next(iter(kelvin))!r}. A list of labels averages over several"
        )
    return tuple(runs)


def constant_temperature(group: Group, frames: IntArray) -> float | None:
    """Return the mean temperature in K of frames; None if unknown or not constant.

    Parameters
    ----------
    group
        Group of a store.
    frames
        Indices of the frames. Their temperatures may deviate by 5 % from the mean.
    """
    values = read_frame_value(group, "temperature")
    if values is None or not len(frames) or not np.isfinite(values[frames]).all():
        return None
    mean = float(values[frames].mean())
    constant = np.abs(values[frames] / mean - 1.0) <= TEMPERATURE_TOLERANCE
    return mean if mean > 0 and constant.all() else None


class LagTasks:
    """Tasks over blocks of atoms that sum over pairs of frames at given lags.

    Parameters
    ----------
    store
        An unwrapped trajectory, or a trajectory store with a constant cell.
    lags
        Lags in ps. Default: see ``select_lags``.
    origins
        See ``select_origins``.
    tolerance
        Largest deviation of a frame from a lag, as a fraction of the lag.
    remove_drift
        Subtract the motion of the center of mass.
    run
        See ``select_dynamic_runs``.
    trust
        Whether to read files of the store without comparing them with their records.

    Raises
    ------
    ParameterError
        If ``origins`` is not allowed, or no frame follows an origin at a lag. See also
        ``select_dynamic_runs``.
    StoreError
        If the trajectory has to be unwrapped first.
    """

    def __init__(
        self,
        store: str | Path,
        lags: Sequence[float] | None,
        origins: Origins,
        tolerance: float,
        remove_drift: bool,
        run: Runs = None,
        trust: bool = False,
    ) -> None:
        store = local_place(store, "this analysis reads")
        self.content = check_complete(store)[1]
        self.source, group = unwrapped_source(store)
        self.trust = trust
        self.axis = read_axis(group)
        numbers = read_array(group, "species")
        self.species = species_of(numbers)
        self.n_atoms: IntArray = np.array(
            [int((numbers == z).sum()) for z in np.unique(numbers)], dtype=np.int64
        )
        """Number of atoms of each species."""
        self.runs = select_dynamic_runs(store, run)
        frames = np.concatenate([each.frames for each in self.runs])
        self.origins = np.intersect1d(select_origins(self.axis, origins), frames)
        self.temperature = constant_temperature(group, frames)
        """Mean temperature of the runs in K; None if unknown or not constant."""
        self.lags = select_lags(self.axis, lags, self.origins, tolerance)
        self.pairs = lag_pairs(self.axis, self.lags, self.origins, tolerance)
        self.tolerance, self.remove_drift = tolerance, remove_drift
        self.scheme = str(group.attrs.get("scheme", "images"))
        if self.source.kind == "trajectory":
            if cell_changes(read_array(group, "cell")):
                raise _unwrap_first(store, "the cell changes")
            if remove_drift:
                raise _unwrap_first(store, "remove_drift needs the center of mass")
        self.blocks = self._blocks()
        unwrapped = self.source.kind == "paths"
        with trusting(trust):
            names = ("path", "center_of_mass") if unwrapped else ("position", "image")
            check_source(store, names)

    def _blocks(self) -> list[tuple[int, int]]:
        """First and last (exclusive) atom of each task."""
        n_atoms, atom_bytes = self.source.n_atoms, 24 * self.source.n_frames
        size = max(1, TASK_BYTES // (atom_bytes * GROUP)) * GROUP
        if self.source.kind == "trajectory":
            chunk = min(n_atoms, trajectory_layout(n_atoms).chunk_atoms)
            size = max(size, ceil_div(chunk, GROUP) * GROUP)
            needed = min(size, n_atoms) * atom_bytes
            if needed > MAX_TASK_BYTES:
                raise _unwrap_first(
                    self.source.store,
                    f"all {self.source.n_frames} frames of a chunk of atoms take "
                    f"{format_bytes(needed)}",
                )
        return [(first, min(first + size, n_atoms)) for first in range(0, n_atoms, size)]

    def run(
        self,
        function: Callable[..., AnyArray],
        pairs: tuple[IntArray, ...],
        options: tuple[Any, ...],
        *,
        what: str,
        client: Client | None,
        progress: bool,
    ) -> list[AnyArray]:
        """Return the result of a function for each block of atoms.

        The call is ``function(position, pairs, slot, n_species, *options)``.

        Parameters
        ----------
        function
            Function that sums over pairs of frames for a block of atoms.
        pairs
            Pairs of frames.
        options
            Further arguments of the function.
        what
            Name of the operation, for progress and error messages.
        client
            Dask client. Default: the current one, or a temporary one in this process.
        progress
            Show a bar on a terminal, or one log line per minute.

        Returns
        -------
        sums
            Result of each block, in the order of the atoms.
        """
        tasks = [
            (self.source, self.species, self.remove_drift, block, function, pairs, options)
            for block in self.blocks
        ]
        return self._execute(_sum_block, tasks, what, client, progress)

    def samples(
        self,
        function: Callable[..., AnyArray],
        options: tuple[Any, ...],
        mean: FloatArray,
        regions: int,
        *,
        what: str,
        client: Client | None,
        progress: bool,
    ) -> FloatArray:
        """Return the samples of an average: one per run and region of space.

            sample_k = mean + m (sum_k - n_k mean) / n

        sum_k is the sum of sample k, n_k is its number of terms, n is that of all m
        samples. The mean of the samples is the average itself. Their scatter is that of
        regions with different numbers of atoms, to first order. For all atoms, the
        differences of the species are added, so that different compositions of the
        regions do not count as scatter.

        Parameters
        ----------
        function
            Function that sums over pairs of frames by groups of atoms, as in ``run``.
        options
            Further arguments of the function.
        mean
            The averages, shape (species+1, lag, ...). The last one is that of all
            species.
        regions
            Number of regions along each cell vector. An atom belongs to the region of
            its position in the first frame of the run.
        what
            Name of the operation, for progress and error messages.
        client
            Dask client. Default: the current one, or a temporary one in this process.
        progress
            Show a bar on a terminal, or one log line per minute.

        Returns
        -------
        Samples (sample, species+1, lag, ...). The runs are in order, the regions of
        each with the last cell vector running fastest.
        """
        n_species = len(self.species)
        excess = []
        for run in self.runs:
            origins = np.intersect1d(self.origins, run.frames)
            pairs = lag_pairs(self.axis, self.lags, origins, self.tolerance)
            place = (int(run.frames[0]), regions)
            tasks = [
                (
                    *(self.source, self.species, self.remove_drift, block),
                    *(function, pairs, options, place),
                )
                for block in self.blocks
            ]
            named = f"{what} of regions, run {run.label}"
            blocks = self._execute(_sum_regions, tasks, named, client, progress)
            sums = np.sum([one for one, _ in blocks], axis=0)
            atoms = np.sum([one for _, one in blocks], axis=0)
            sums = sums.reshape(regions**3, n_species, *sums.shape[1:])
            atoms = atoms.reshape(regions**3, n_species)
            terms = atoms[:, :, None] * _count_pairs(pairs)
            terms = terms.reshape(*terms.shape, *(1,) * (mean.ndim - 2))
            with np.errstate(invalid="ignore"):
                each = sums - terms * mean[:-1]
            excess.append(np.concatenate([each, each.sum(axis=1, keepdims=True)], axis=1))
        by_species = self.n_terms()
        n_terms = np.concatenate([by_species, by_species.sum(axis=0, keepdims=True)])
        n_terms = n_terms.reshape(*n_terms.shape, *(1,) * (mean.ndim - 2))
        joined = np.concatenate(excess)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(mean + len(joined) * joined / n_terms)

    def _execute(
        self,
        task: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        what: str,
        client: Client | None,
        progress: bool,
    ) -> list[Any]:
        """Return the result of a task for each block of atoms."""
        names = [f"atoms {first} to {last - 1}" for first, last in self.blocks]
        tasks = list(zip(names, arguments, strict=True))
        with (
            trusting(self.trust),
            unchanged(self.source.store, self.content),
            resolve_client(client) as workers,
        ):
            outcome = execute(workers, task, tasks, what=what, unit="tasks", progress=progress)
        return [outcome.results[name] for name in names]

    def n_pairs(self) -> IntArray:
        """Return the number of pairs of frames of each lag."""
        return _count_pairs(self.pairs)

    def mean_lags(self) -> FloatArray:
        """Return the mean time in ps between the frames of the pairs of each lag.

        It may differ from the requested lag, within the tolerance. If it does
        not, it is that lag to the last bit.
        """
        start, origin, later, length = self.pairs
        elapsed = np.concatenate([[0.0], np.cumsum(self.axis.time)])
        sums = elapsed[later + length] - elapsed[later] - elapsed[origin + length] + elapsed[origin]
        asked = np.array(self.lags)
        found = np.array([sums[a:b].sum() for a, b in pairwise(start)]) / self.n_pairs()
        return np.asarray(np.where(np.abs(found - asked) <= 1e-6 * asked, asked, found))

    def n_terms(self) -> IntArray:
        """Return the number of terms (species, lag) of an average."""
        return self.n_atoms[:, None] * self.n_pairs()

    def dataset(self, variables: Mapping[str, Any], **coordinates: Any) -> xr.Dataset:
        """Return results as a labeled Dataset.

        Parameters
        ----------
        variables
            Results by name, in the form that ``xarray.Dataset`` accepts.
        coordinates
            Coordinates other than species and lag.
        """
        lags = np.array(self.lags)
        mean_lags = self.mean_lags()
        as_asked = bool((mean_lags == lags).all())
        lag_name = "lag" if as_asked else "requested lag; mean_lag is the mean of the pairs"
        return xr.Dataset(
            {
                **variables,
                "pairs": ("lag", self.n_pairs(), {"long_name": "pairs of frames"}),
                "atoms": ("species", self.n_atoms),
            },
            coords={
                "lag": ("lag", lags, {"units": "ps", "long_name": lag_name}),
                "mean_lag": (
                    "lag",
                    mean_lags,
                    {"units": "ps", "long_name": "mean lag of the pairs of frames averaged"},
                ),
                "species": list(self.species),
                **coordinates,
            },
            attrs={
                "input": self.source.store,
                **({"input_checks": TRUSTED} if self.trust else {}),
                "scheme": self.scheme,
                "origins": len(self.origins),
                "drift_removed": int(self.remove_drift),
                "runs": ", ".join(run.label for run in self.runs),
                **({} if self.temperature is None else {"temperature": self.temperature}),
            },
        )


def _count_pairs(pairs: tuple[IntArray, ...]) -> IntArray:
    """Return the number of pairs of frames of each lag."""
    start, _, _, length = pairs
    return np.array([int(length[a:b].sum()) for a, b in pairwise(start)])


def _unwrap_first(store: str | Path, reason: str) -> StoreError:
    return StoreError(
        f"{store}: {reason}: unwrap it first with mgdask.unwrap({str(store)!r}, "
        "'unwrapped.zarr'), and use the result"
    )


def _sum_block(
    source: UnwrappedSource,
    species: Sequence[str],
    remove_drift: bool,
    block: tuple[int, int],
    function: Callable[..., AnyArray],
    pairs: tuple[IntArray, ...],
    options: tuple[Any, ...],
) -> AnyArray:
    """Task: sum over the pairs of frames for a block of atoms."""
    position, slot = _read_block(source, species, block)
    if remove_drift:
        position -= source.drift(np.arange(source.n_frames))[None]
    return function(position, pairs, slot, len(species), *options)


def _read_block(
    source: UnwrappedSource, species: Sequence[str], block: tuple[int, int]
) -> tuple[FloatArray, IntArray]:
    """Return unwrapped positions (atom, frame, 3) in Å, and the atoms' species."""
    first, last = block
    position: FloatArray = source.read(np.arange(source.n_frames), first, last)
    numbers = source_array(open_group(source.store), "species")[first:last]
    present = [atomic_number(name) for name in species]
    return position, np.searchsorted(present, numbers).astype(np.int64)


def _sum_regions(
    source: UnwrappedSource,
    species: Sequence[str],
    remove_drift: bool,
    block: tuple[int, int],
    function: Callable[..., AnyArray],
    pairs: tuple[IntArray, ...],
    options: tuple[Any, ...],
    place: tuple[int, int],
) -> tuple[AnyArray, IntArray]:
    """Task: sums and numbers of atoms by region and species for a block of atoms.

    ``place`` is the frame that decides the region, and the number of regions along each
    cell vector.
    """
    position, slot = _read_block(source, species, block)
    frame, n = place
    group = open_group(source.store)
    cell = source_array(group, "cell")[frame].astype(np.float64)
    s = fractional(position[:, frame], cell)
    index = np.minimum((n * (s - np.floor(s))).astype(np.int64), n - 1)
    slot += len(species) * ((index[:, 0] * n + index[:, 1]) * n + index[:, 2])
    if remove_drift:
        position -= source.drift(np.arange(source.n_frames))[None]
    n_slots = len(species) * n**3
    sums = function(position, pairs, slot, n_slots, *options).sum(axis=0)
    return sums, np.bincount(slot, minlength=n_slots)
