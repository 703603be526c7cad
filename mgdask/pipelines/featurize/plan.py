"""Plans: what a run would compute and need, derived from the sizes of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.utils import format_bytes

from mgdask import _html, variables
from mgdask._typing import AnyArray, IntArray
from mgdask.errors import ParameterError, PlanError
from mgdask.execution.results import render_rows
from mgdask.features.engine import FeatureKinds, block_limit, frames_needed
from mgdask.features.feature import Feature
from mgdask.features.window import FrameAxis
from mgdask.pipelines.featurize.block import Block, Job, read_axis
from mgdask.pipelines.featurize.cost import Work, estimate
from mgdask.pipelines.featurize.input_checks import check_input
from mgdask.pipelines.featurize.memory import Memory, explain_excess, project_memory
from mgdask.pipelines.featurize.output_checks import check_output
from mgdask.pipelines.featurize.publishing import check_target, is_published
from mgdask.pipelines.featurize.reach import check_reach, remarks
from mgdask.pipelines.featurize.selection import resolve
from mgdask.pipelines.featurize.validation import (
    Centers,
    Frames,
    check_features,
    check_frame_values,
    check_names,
    memory_of,
    needs_copy,
    select_centers,
    select_rows,
)
from mgdask.store.features import Output
from mgdask.store.frame_values import read as read_frame_values
from mgdask.store.layout import MAX_BLOCK, BlockLayout, block_layout
from mgdask.store.location import Place, is_remote, place_of
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_not_pending, unchanged
from mgdask.store.provenance import digest, versions
from mgdask.store.shards import FEATURE_COMPRESSION, Group, read_array
from mgdask.store.trust import trusting
from mgdask.store.unwrapped import path_source

if TYPE_CHECKING:  # plans of paths do not need it
    import xarray as xr

MIN_LIMIT = 2**20
"""Minimum block size in bytes that a plan tries."""
_COORDINATES = {
    "atom_id": "atom",
    "species": "atom",
    "step": "frame",
    "time": "frame",
    "run": "frame",
}
"""Coordinates of a trajectory that its features keep, with their dims."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Blocks, tasks, files, bytes and memory of a run.

    ``print`` it for a table; ``mgdask.run`` runs it. Plans are made by ``mgdask.plan``.

    Parameters
    ----------
    store
        Trajectory store.
    out
        Feature store to write.
    content
        Digest of the content of ``store``.
    features
        Features to compute.
    n_atoms
        Atoms of a frame.
    frames
        Frames (frame,) that have rows.
    centers
        Indices (center,) of the central atoms.
    coordinates
        Coordinates of all frames and atoms by name, each with its dim.
    axis
        Times and runs of all frames.
    paths
        Store of unwrapped trajectories that must be made first; empty if none.
    why_paths
        Reason why ``paths`` must be made.
    limit
        Maximum size of a block in bytes.
    memory
        Projected memory of a worker.
    allowed
        Bytes that a worker may use.
    values
        Digests of the values of frames that the features read, such as the temperature,
        keyed by name.
    trust
        Whether files of the input are read without comparing them with their records.
    target
        URL to which ``out`` is copied at the end; empty if ``out`` is the result.
    """

    store: str
    out: str
    content: str
    features: tuple[Feature, ...]
    n_atoms: int
    frames: IntArray
    centers: IntArray
    coordinates: dict[str, tuple[str, AnyArray]] = field(repr=False)
    axis: FrameAxis = field(default_factory=lambda: FrameAxis(np.empty(0), np.empty(0)), repr=False)
    paths: str = ""
    why_paths: str = ""
    limit: int = MAX_BLOCK
    memory: Memory = field(default_factory=lambda: Memory(0, 1, 0, 0, 0, 0))
    allowed: int = 0
    values: Mapping[str, str] = field(default_factory=dict)
    trust: bool = False
    target: str = ""

    def outputs(self) -> list[Output]:
        """Return the arrays to be written."""
        return [self._output(feature) for feature in self.features]

    def _output(self, feature: Feature) -> Output:
        per_atom = feature.level == "atom"
        rows = (len(self.centers),) if per_atom else ()
        cut = self.block_layout(feature.level)
        # all features of a level share blocks, but each has its own chunks
        row_bytes = feature.n_columns * feature.output_dtype.itemsize
        chunk_rows = block_layout(1, cut.rows, row_bytes).chunk_rows if per_atom else 1
        while cut.rows % chunk_rows:
            chunk_rows -= 1
        attrs = {**variables.attrs(feature.array_name or feature.family), **feature.output_attrs()}
        return Output(
            feature.name,
            feature.dim,
            (len(self.frames), *rows, feature.n_columns),
            feature.output_dtype.name,
            BlockLayout(cut.frames, cut.rows, chunk_rows),
            feature.labels,
            feature.column_coordinates(),
            attrs,
        )

    def block_layout(self, level: str) -> BlockLayout:
        """Return the layout of the blocks of a level, "atom" or "frame".

        Every feature has its own files, so the widest feature decides.
        """
        features = [f for f in self.features if f.level == level]
        bytes_per_row = max(f.n_columns * f.output_dtype.itemsize for f in features)
        rows = len(self.centers) if level == "atom" else 1
        limit = block_limit(features, len(self.centers), self.limit)
        return block_layout(len(self.frames), rows, bytes_per_row, limit=limit)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in the order in which they are computed."""
        blocks = []
        for level in dict.fromkeys(feature.level for feature in self.features):
            cut = self.block_layout(level)
            rows = len(self.centers)
            step = cut.rows if level == "atom" else rows
            for first in range(0, len(self.frames), cut.frames):
                frames = tuple(int(k) for k in self.frames[first : first + cut.frames])
                for row in range(0, rows, step):
                    name = f"{level}-{first:08d}-{row:010d}"
                    blocks.append(Block(name, level, first, frames, row, min(step, rows - row)))
        return tuple(blocks)

    @cached_property
    def digest(self) -> str:
        """Digest of parameters, input, frames, centers and blocks."""
        return digest(
            {
                "features": [[f.name, f.parameters()] for f in self.features],
                "input": self.content,
                "blocks": self._shape(),
                "frames": self.frames.tolist(),
                "centers": digest(self.centers.tolist()),
                "compression": FEATURE_COMPRESSION,
                **({"values": dict(self.values)} if self.values else {}),
            }
        )

    def _shape(self) -> dict[str, list[int]]:
        return {
            level: [c.frames, c.rows]
            for level in sorted({f.level for f in self.features})
            for c in [self.block_layout(level)]
        }

    def block_digest(self, block: Block) -> str:
        """Return the digest of one block."""
        return digest([self.digest, block.name])

    def job(self) -> Job:
        """Return the parameters shared by all tasks."""
        copied = Manifest(self.paths).content() if self.paths else None
        return Job(
            self.store,
            self.out,
            self.features,
            self.paths or self.store,
            self.content,
            copied or self.content,
            dict(self.values),
        )

    @cached_property
    def needed(self) -> int:
        """Maximum number of frames that a block reads."""
        most = 1
        for level in {feature.level for feature in self.features}:
            size = self.block_layout(level).frames
            for first in range(0, len(self.frames), size):
                frames = self.frames[first : first + size]
                most = max(most, len(frames_needed(self.features, self.axis, frames)))
        return most

    def attrs(self) -> dict[str, Any]:
        """Return the provenance of the output: parameters, versions and input.

        It is identical in repeated runs.
        """
        return {
            "features": [{f.name: f.parameters()} for f in self.features],
            "input": self.store,
            "input_content": self.content,
            **({"input_values": dict(self.values)} if self.values else {}),
            "plan_digest": self.digest,
            "compression": FEATURE_COMPRESSION,
            "versions": versions(),
            "citation": "; ".join(dict.fromkeys(f.citation for f in self.features)),
        }

    def axes(self) -> dict[str, tuple[str, AnyArray]]:
        """Return the coordinates of frames and atoms of the output."""
        picks = {"frame": self.frames, "atom": self.centers}
        kept = {name: (dim, values[picks[dim]]) for name, (dim, values) in self.coordinates.items()}
        return {"frame": ("frame", self.frames), **kept}

    @property
    def n_tasks(self) -> int:
        """Number of blocks, which is the number of tasks."""
        return len(self.blocks)

    @property
    def n_files(self) -> int:
        """Maximum number of files of the large arrays."""
        return sum(sum(b.level == f.level for b in self.blocks) for f in self.features)

    @property
    def output_bytes(self) -> int:
        """Bytes of the output before compression."""
        return sum(int(np.prod(o.shape)) * np.dtype(o.dtype).itemsize for o in self.outputs())

    @property
    def done(self) -> int:
        """Number of blocks that are already finished."""
        if self.target and is_published(self):
            return self.n_tasks
        manifest = Manifest(self.out)
        records = manifest.records()
        return sum(manifest.done(b.name, self.block_digest(b), records) for b in self.blocks)

    def work(self, measure: bool = True) -> Work:
        """Return the CPU time of all blocks: computing, reading and writing.

        Parameters
        ----------
        measure
            Measure features on this node if it was not done before, for about a second.
            If False, typical figures stand in.
        """
        return estimate(self, measure=measure)

    def __str__(self) -> str:
        return self.describe()

    def describe(self, measure: bool = True) -> str:
        """Return the plan as a table.

        Parameters
        ----------
        measure
            As in ``work``.
        """
        return render_rows([*self._describe_work(measure), *self._describe_memory()])

    def _repr_html_(self) -> str:
        # showing a plan in a notebook must not take the second of a measurement
        rows = [*self._describe_work(measure=False), *self._describe_memory()]
        return _html.table("Plan", rows)

    def _describe_work(self, measure: bool) -> list[tuple[str, str]]:
        rows = []
        for feature in self.features:
            options = feature.summary()
            columns = f"{feature.n_columns} columns of {feature.output_dtype}"
            rows.append((feature.name, f"{columns}: {options}" if options else columns))
        n_frames, n_centers = len(self.frames), len(self.centers)
        size = f"{n_frames} frames, {n_centers} of {self.n_atoms} atoms as centers"
        rows.append(("input", f"{self.store}: {size}"))
        if self.paths:
            reason = f"a copy split by atoms, made first because {self.why_paths}"
            rows.append(("unwrapped", f"{self.paths}: {reason}"))
        size = f"{format_bytes(self.output_bytes)} before compression, at most {self.n_files} files"
        rows.append(("output", f"{self.target or self.out}: {size}"))
        if self.target:
            rows.append(("computed in", f"{self.out}, then copied"))
        for level, (frames, atoms) in self._shape().items():
            size = (
                f"{frames} frames x {min(atoms, n_centers)} atoms"
                if level == "atom"
                else f"{frames} whole frames"
            )
            rows.append((f"block, per {level}", size))
        n_done = self.done
        rows.append(("tasks", f"{self.n_tasks}: {n_done} done, {self.n_tasks - n_done} to do"))
        left = 1 - n_done / max(self.n_tasks, 1)
        work = str(self.work(measure).times(left)) if left else "none, all tasks are done"
        rows.append(("work", work))
        rows += [("note", text) for text in remarks(self)]
        return rows

    def _describe_memory(self) -> list[tuple[str, str]]:
        m = self.memory
        return [
            (
                "memory of a worker",
                f"{format_bytes(m.total)} of {format_bytes(self.allowed)} allowed",
            ),
            ("  libraries", format_bytes(m.baseline)),
            *([("  for all threads", format_bytes(m.shared))] if m.shared else []),
            (
                "  per thread",
                f"{m.threads} x {format_bytes(m.per_thread)}: positions {format_bytes(m.window)}, "
                f"working {format_bytes(m.working)}, block {format_bytes(m.block)}, "
                f"writing {format_bytes(m.writing)}",
            ),
        ]


def plan(
    store: Place | xr.Dataset | xr.DataTree,
    features: Sequence[Feature] | Feature,
    *,
    out: Place,
    memory: str | int = "2GiB",
    threads: int = 1,
    centers: Centers = None,
    frames: Frames = None,
    trust: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    scratch: str | Path | None = None,
) -> Plan:
    """Plan a run: what it would compute and need, without running it.

    Parameters
    ----------
    store
        A finished trajectory store: a path, a URL or a Zarr store object. Or a Dataset
        from ``open_store``, all of it or selected frames; a node of ``open_tree``; or a
        selection of frames that xarray wrote to Zarr or NetCDF.
    features
        What to compute, for example ``[mgdask.SOAP(...)]``.
    out
        The feature store to write: a path, or a place on S3 (``s3://``, or a Zarr store
        object), to which it is copied when it is finished.
    memory
        Memory of one worker process, as ``"2GiB"`` or in bytes.
    threads
        Number of threads of one worker process.
    centers
        Element symbols or indices of central atoms. Default: all atoms.
    frames
        A slice or increasing indices of frames; of a Dataset, those that it has.
        Default: all frames.
    trust
        Do not compare the files of the trajectory with their records, neither now nor
        in a run. A damaged file may then give wrong values.
    storage_options
        Options of fsspec for URLs, as in ``mgdask.open_store``. If input and output
        need different ones, give one of them as a Zarr store object.
    scratch
        Folder in which features are computed before they are copied to ``out``, if that
        is a URL. All workers must see it. Default: a folder in the current one, which
        is removed at the end.

    Returns
    -------
    plan
        A ``Plan`` with its blocks, tasks, files, bytes and projected memory, and the
        number of finished blocks. ``print`` it for a table.

    Raises
    ------
    PlanError
        If no block fits into ``memory``. The message names the largest term and the
        number to change.
    StoreError
        If the trajectory store is not finished, or frames of it are damaged. Also if
        ``out`` holds other features, is being written, or cannot be written.
    ParameterError
        If a feature does not support the species, or needs a lag or a value that the
        store lacks, such as the temperature. Also if an argument is not allowed.

    Notes
    -----
    Neither ``store`` nor ``out`` is changed. A written selection is copied into the
    store ``<out>.input.zarr``, which the run reads. For a Dataset, the run reads its
    store, and a plan refuses values that differ from it. Features of several frames
    read the other frames of that store too. Positions are read only if those of all
    frames needed take less than 64 MiB. Otherwise, a run finds those that are not
    finite.

    Examples
    --------
    >>> print(mgdask.plan("glass.zarr", [soap], out="f.zarr"))  # doctest: +SKIP
    """
    if threads < 1:
        raise ParameterError(f"threads={threads} must be at least 1")
    allowed = memory_of(memory)
    is_dataset = any(hasattr(store, name) for name in ("subtree", "data_vars"))
    reads_elsewhere = not is_dataset and is_remote(store)
    if storage_options and not reads_elsewhere and not is_remote(out):
        raise ParameterError("storage_options= is for URLs, and neither input nor output is one")
    out, target = place_of(out, storage_options if is_remote(out) else None), ""
    if is_remote(out):
        location, out = check_target(out, scratch)
        target = str(location.place)
    place, frames = resolve(store, out, frames, storage_options if reads_elsewhere else None)
    content = Manifest(place).content()
    with trusting(trust), unchanged(place, content):
        source, group = path_source(place)
        numbers = read_array(group, "species")
        checked = check_features(features, numbers)
        axis = read_axis(group)
        rows = select_rows(checked, axis, frames, source.n_frames)
        check_not_pending(place)
        present = read_frame_values(group)
        check_names(checked, present, str(place))
        values = check_frame_values(checked, present, axis, rows, str(place))
        kinds = FeatureKinds.of(checked)
        if source.kind == "paths" and kinds.framewise:
            raise ParameterError(
                f"{place} holds unwrapped trajectories; {kinds.framewise[0].name} reads whole "
                "frames: plan it from the trajectory store"
            )
        check_input(place, group, checked, axis, rows)
        paths, why = needs_copy(checked, source.kind, read_array(group, "cell"), str(out))
        base = Plan(
            str(place),
            str(out),
            str(content),
            checked,
            len(numbers),
            rows,
            select_centers(centers, numbers),
            _read_coordinates(group),
            axis,
            paths,
            why,
            allowed=allowed,
            values=values,
            trust=trust,
            target=target,
        )
    check_reach(base)
    fitting = _largest_blocks(base, threads)
    if fitting is None and kinds.trajectories and not paths and source.kind == "trajectory":
        # chunks of a trajectory are too wide to read few atoms over all frames
        base = replace(
            base,
            paths=f"{out}.paths.zarr",
            why_paths="all frames of the atoms of a chunk do not fit into memory",
        )
        fitting = _largest_blocks(base, threads)
    if fitting is None:
        needed = project_memory(replace(base, limit=min(MIN_LIMIT, MAX_BLOCK)), threads)
        raise PlanError(explain_excess(needed, base.n_atoms, allowed))
    if not fitting.target or not is_published(fitting):
        check_output(fitting)
    return fitting


def _read_coordinates(group: Group) -> dict[str, tuple[str, AnyArray]]:
    return {
        name: (dim, read_array(group, name)) for name, dim in _COORDINATES.items() if name in group
    }


def _largest_blocks(base: Plan, threads: int) -> Plan | None:
    """Return the plan with the largest blocks that fit, or None if none does.

    Sizes are halved, so small changes of the memory do not change the blocks.
    """
    limit = MAX_BLOCK
    while True:
        trial = replace(base, limit=limit)
        memory = project_memory(trial, threads)
        if memory.total <= base.allowed:
            return replace(trial, memory=memory)
        if limit <= MIN_LIMIT:
            return None
        limit //= 2
