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
from mgdask.geometry import cell_changes
from mgdask.pipelines.featurize.block import read_axis
from mgdask.pipelines.frame_values import Run, runs_of, select_runs
from mgdask.store.frame_values import read_one as read_frame_value
from mgdask.store.layout import GROUP, ceil_div, trajectory_layout
from mgdask.store.shards import Group, get_array, open_group, read_array
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
    ) -> None:
        self.source, group = unwrapped_source(store)
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
        names = [f"atoms {first} to {last - 1}" for first, last in self.blocks]
        tasks = [
            (name, (self.source, self.species, self.remove_drift, block, function, pairs, options))
            for name, block in zip(names, self.blocks, strict=True)
        ]
        with resolve_client(client) as workers:
            outcome = execute(
                workers, _sum_block, tasks, what=what, unit="tasks", progress=progress
            )
        return [outcome.results[name] for name in names]

    def n_pairs(self) -> IntArray:
        """Return the number of pairs of frames of each lag."""
        start, _, _, length = self.pairs
        return np.array([int(length[a:b].sum()) for a, b in pairwise(start)])

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
        return xr.Dataset(
            {
                **variables,
                "pairs": ("lag", self.n_pairs(), {"long_name": "pairs of frames"}),
                "atoms": ("species", self.n_atoms),
            },
            coords={
                "lag": ("lag", np.array(self.lags), {"units": "ps"}),
                "species": list(self.species),
                **coordinates,
            },
            attrs={
                "input": self.source.store,
                "scheme": self.scheme,
                "origins": len(self.origins),
                "drift_removed": int(self.remove_drift),
                "runs": ", ".join(run.label for run in self.runs),
                **({} if self.temperature is None else {"temperature": self.temperature}),
            },
        )


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
    first, last = block
    position: FloatArray = source.read(np.arange(source.n_frames), first, last)
    if remove_drift:
        position -= source.drift(np.arange(source.n_frames))[None]
    numbers = np.asarray(get_array(open_group(source.store), "species")[first:last])
    present = [atomic_number(name) for name in species]
    slot = np.searchsorted(present, numbers).astype(np.int64)
    return function(position, pairs, slot, len(species), *options)
