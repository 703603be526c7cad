"""One task of a run: read a block's inputs, compute, write whole shards, record it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, IntArray
from mgdask.errors import RunError
from mgdask.execution.records import record
from mgdask.execution.usage import measured, peak_memory
from mgdask.features.engine import compute_block as compute_features_of_block
from mgdask.features.feature import Feature
from mgdask.features.window import FrameAxis, Trajectories, Window
from mgdask.pipelines.featurize.calibration import note_compiled
from mgdask.store import features as feature_store
from mgdask.store.frame_values import check_values_unchanged
from mgdask.store.frame_values import read_one as read_frame_value
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_not_pending, check_unchanged
from mgdask.store.shards import Array, Group, open_group, read_array, write_shard
from mgdask.store.trajectory import read_images, read_window
from mgdask.store.unwrapped import path_source

if TYPE_CHECKING:
    from mgdask.pipelines.featurize.plan import Plan


@dataclass(frozen=True)
class Block:
    """Some rows of the output: central atoms and frames, for features of one level.

    Parameters
    ----------
    name
        Name of the block in the manifest.
    level
        "atom" or "frame", as ``Feature.level``.
    frame
        First frame of the output.
    frames
        Frames of the trajectory.
    row
        First central atom of the output.
    n_rows
        Number of central atoms.
    """

    name: str
    level: str
    frame: int
    frames: tuple[int, ...]
    row: int
    n_rows: int


@dataclass(frozen=True)
class Job:
    """Parameters shared by all tasks of a run.

    Every task carries a copy, so it is small.

    Parameters
    ----------
    store
        Trajectory store.
    out
        Feature store.
    features
        Features to compute.
    paths
        Store from which unwrapped trajectories are read.
    content
        Digest of the content of ``store``.
    paths_content
        Digest of the content of ``paths``.
    values
        Digests of the values of frames that the features read, keyed by name.
    run
        Identifies the run, in which each worker prepares the features once.
    """

    store: str
    out: str
    features: tuple[Feature, ...]
    paths: str = ""
    content: str = ""
    paths_content: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    run: str = ""

    def check_inputs(self) -> None:
        """Raise ``SourceChangedError`` unless the inputs are those of the plan.

        The features check what they read themselves.
        """
        check_unchanged(self.store, self.content)
        if self.values:
            check_values_unchanged(self.store, self.values)
        if self.paths != self.store:
            check_unchanged(self.paths, self.paths_content)
        for feature in self.features:
            feature.check_inputs()

    @contextmanager
    def inputs_unchanged(self) -> Iterator[None]:
        """Raise ``SourceChangedError`` if an input changes while the body reads it."""
        self.check_inputs()
        try:
            yield
        except Exception:
            self.check_inputs()
            raise
        self.check_inputs()  # it may have been replaced while it was read

    def prepare(self) -> None:
        """Compile the kernels of all features and build their tables."""
        for feature in self.features:
            # computing a block gives a better error, if it fails at all
            with suppress(Exception):
                feature.prepare()
                note_compiled([feature])


def read_axis(group: Group) -> FrameAxis:
    """Return times and runs of the frames of a store."""
    n_frames = len(read_array(group, "step"))
    times = (
        read_array(group, "time").astype(np.float64)
        if "time" in group
        else np.full(n_frames, np.nan)
    )
    return FrameAxis(times, np.array([str(name) for name in read_array(group, "run")]))


@dataclass(frozen=True)
class StoreSource:
    """Reads the frames of a block from stores (see ``features.engine.BlockSource``).

    Parameters
    ----------
    store
        Trajectory store.
    paths
        Store from which unwrapped trajectories are read: the same, or one made by
        ``mgdask.unwrap``.
    """

    store: str
    paths: str

    @cached_property
    def group(self) -> Group:
        """The open trajectory store."""
        return open_group(self.store)

    @cached_property
    def axis(self) -> FrameAxis:
        """Times and runs of all frames."""
        return read_axis(self.group)

    def read_window(self, frames: IntArray, *, images: bool) -> Window:
        """Read whole frames, with the images of the atoms if ``images`` is set."""
        position, cell = read_window(self.store, frames)
        check_finite(position, frames, self.group)
        image = read_images(self.store, frames) if images else None
        pbc = tuple(bool(p) for p in read_array(self.group, "pbc"))
        numbers = read_array(self.group, "species")
        return Window(frames, position, image, cell, numbers, pbc, self.axis)

    def read_trajectories(
        self, frames: IntArray, centers: IntArray, *, center_of_mass: bool
    ) -> Trajectories:
        """Read unwrapped trajectories of some atoms."""
        source, group = path_source(self.paths)
        first, last = int(centers.min()), int(centers.max()) + 1
        position = source.read(frames, first, last)
        check_finite(np.moveaxis(position, 1, 0), frames, group, first)
        if len(centers) < last - first:
            position = np.ascontiguousarray(position[centers - first])
        # from the trajectory, since a copy may predate the attached values
        temperature = read_frame_value(self.group, "temperature")
        kelvin = None if temperature is None else temperature[frames]
        mass = read_array(group, "mass").astype(np.float64)[centers]
        center = source.drift(frames) if center_of_mass else None
        return Trajectories(frames, position, self.axis, mass, kelvin, center)


def check_finite(
    position: AnyArray, frames: npt.NDArray[np.integer], group: Group, first: int = 0
) -> None:
    """Refuse positions (frame, atom, xyz) that are not finite.

    A kernel would omit such an atom without a warning.

    Parameters
    ----------
    position
        Positions (frame, atom, xyz) in Å.
    frames
        Frames (frame,) that the positions belong to.
    group
        Store that the positions come from.
    first
        Index of the first atom.

    Raises
    ------
    RunError
        With the frame, its timestep and up to five atom ids.
    """
    for k, frame in enumerate(frames):
        if not np.isfinite(position[k]).all():
            raise RunError(
                f"{describe_not_finite(position[k], int(frame), group, first)}. Look for the "
                "cause with mgdask verify, then repair the input or leave the frame out"
            )


def describe_not_finite(position: AnyArray, frame: int, group: Group, first: int = 0) -> str:
    """Describe positions of a frame that are not finite.

    Parameters
    ----------
    position
        Positions (atom, xyz) in Å.
    frame
        Index of the frame.
    group
        Store that the positions come from.
    first
        Index of the first atom.

    Returns
    -------
    text
        The frame, its timestep and up to five atom ids.
    """
    bad = np.flatnonzero(~np.isfinite(position).all(axis=1))
    ids = read_array(group, "atom_id")[first + bad[:5]].tolist()
    step = int(read_array(group, "step")[frame])
    where = f"frame {frame} (step {step})"
    if len(bad) == 1:
        return f"{where}: the position of atom {ids[0]} is not finite"
    listed = ", ".join(map(str, ids)) + (", ..." if len(bad) > len(ids) else "")
    return f"{where}: the positions of {len(bad)} atoms are not finite, ids {listed}"


def create_output(plan: Plan) -> None:
    """Create the feature store of a plan, or check that the existing one matches.

    The caller holds the lock of the store.
    """
    # it imports the tasks of unwrapping, which import this module
    from mgdask.pipelines.featurize.output_checks import check_holds

    path_source(plan.store)
    check_not_pending(plan.store)
    plan.job().check_inputs()
    check_holds(plan)
    if not feature_store.existing(plan.out, plan.digest):
        feature_store.create(plan.out, plan.attrs(), plan.axes(), plan.outputs())
    elif Manifest(plan.out).content() is None:
        feature_store.restore(plan.out, plan.axes(), plan.outputs())


def compute_block(job: Job, block: Block, digest: str) -> dict[str, Any]:
    """Compute one block and write it.

    This is the task that workers run. All features of the block are computed together,
    since they share neighbor lists and Voronoi cells.

    Parameters
    ----------
    job
        Parameters shared by all tasks.
    block
        The rows to compute.
    digest
        Digest of the block's parameters, for its record.

    Returns
    -------
    summary
        ``rows``, ``peak_memory`` of the process and ``block_memory`` of the blocks in
        it (bytes), ``cpu`` and ``prepared`` (s), and ``host``. Arrays never pass
        through the scheduler.

    Raises
    ------
    SourceChangedError
        If an input has changed since the plan.
    RunError
        If a position is not finite.
    """
    with measured(job.run, job.prepare) as usage:
        _compute_and_write(job, block, digest)
    return {
        "rows": len(block.frames) * block.n_rows,
        "peak_memory": peak_memory(),
        "block_memory": usage.memory,
        "cpu": usage.cpu,
        "prepared": usage.prepared,
        "host": socket.gethostname(),
    }


def _compute_and_write(job: Job, block: Block, digest: str) -> None:
    began = time.perf_counter()
    source, target = StoreSource(job.store, job.paths), open_group(job.out, mode="r+")
    rows = slice(block.row, block.row + block.n_rows)
    ids = np.asarray(cast("Array", target["atom_id"])[rows])
    features = [feature for feature in job.features if feature.level == block.level]
    with job.inputs_unchanged():
        centers = np.searchsorted(read_array(source.group, "atom_id"), ids)
        values, flagged = compute_features_of_block(features, source, block.frames, centers)
    start = (block.frame, block.row, 0) if block.level == "atom" else (block.frame, 0)
    wrote = []
    for k, feature in enumerate(features):
        wrote.append(write_shard(target, feature.name, start, values[k]))
        values[k] = np.empty(0)  # release memory before the next one is compressed
    counts = {
        feature.name: count for feature, count in zip(features, flagged, strict=True) if count
    }
    # version 0.1 reads the counts under this name
    Manifest(job.out).append({**record(block.name, digest, wrote, began), "marked": counts})
