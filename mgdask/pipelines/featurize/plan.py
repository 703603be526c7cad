"""Plans: what a run would do and need. Pure arithmetic on the sizes of a store; nothing is submitted.

A worker holds, besides the interpreter and its libraries, for each of its threads: the window of positions (twice, while it is unpacked), the
working memory of the feature, the block itself, and copies of it while Zarr packs and writes it. What does not fit is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.utils import format_bytes
from rich.table import Table

from mgdask import variables
from mgdask.errors import ParameterError, PlanError
from mgdask.features import Feature, working_memory
from mgdask.features.window import FrameAxis
from mgdask.pipelines.featurize.block import Block, Job, frames_of, read_axis
from mgdask.pipelines.featurize.validation import (
    check_features,
    memory_of,
    needs_copy,
    select_centers,
    select_rows,
)
from mgdask.store.features import Output
from mgdask.store.layout import MAX_BLOCK, block_layout, ceil_div, trajectory_layout
from mgdask.store.manifest import Manifest
from mgdask.store.provenance import digest, versions
from mgdask.store.shards import FEATURE_COMPRESSION
from mgdask.store.unwrapped import path_source

BASELINE = 420 * 2**20
"""Interpreter, libraries, compiled kernels of a worker: measured by ``tests/benchmarks/memory.py``."""
WRITE_COPIES = 3.0
"""Copies of a block while it is packed and written, at most: measured by the same."""


@dataclass(frozen=True)
class Memory:
    """Projected memory of one worker by term, in bytes; terms of a thread are given for one thread."""

    baseline: int
    threads: int
    window: int
    working: int
    block: int
    writing: int

    @property
    def per_thread(self) -> int:
        """Bytes of one task."""
        return self.window + self.working + self.block + self.writing

    @property
    def total(self) -> int:
        """Bytes of one worker."""
        return self.baseline + self.threads * self.per_thread


@dataclass(frozen=True, eq=False)
class Plan:
    """Blocks, tasks, files, bytes and memory of a run; ``str`` is a table, ``mgdask.run`` does it."""

    store: str
    out: str
    content: str
    features: tuple[Feature, ...]
    n_atoms: int
    frames: npt.NDArray[np.int64]
    centers: npt.NDArray[np.int64]
    coordinates: dict[str, tuple[str, npt.NDArray[Any]]] = field(repr=False)
    axis: FrameAxis = field(default_factory=lambda: FrameAxis(np.empty(0), np.empty(0)), repr=False)
    paths: str = ""
    why_paths: str = ""
    limit: int = MAX_BLOCK
    memory: Memory = field(default_factory=lambda: Memory(0, 1, 0, 0, 0, 0))
    allowed: int = 0

    def outputs(self) -> list[Output]:
        """The arrays to be written."""
        found = []
        for feature in self.features:
            per_atom = feature.level == "atom"
            rows = len(self.centers) if per_atom else 1
            item = feature.output_dtype.itemsize
            shape = (
                (len(self.frames), rows, feature.n_columns)
                if per_atom
                else (len(self.frames), feature.n_columns)
            )
            cut = self._cut(feature.level)
            # blocks are common to all features of a kind, chunks are each one's own
            own = block_layout(1, cut.rows, feature.n_columns * item).chunk_rows if per_atom else 1
            while cut.rows % own:
                own -= 1
            attrs = {
                **variables.attrs(feature.family),
                "long_name": feature.long_name,
                "citation": feature.citation,
                "parameters": feature.parameters(),
                "units": "1",
            }
            found.append(
                Output(
                    feature.name,
                    feature.dim,
                    shape,
                    feature.output_dtype.name,
                    type(cut)(cut.frames, cut.rows, own),
                    feature.labels,
                    feature.coordinates(),
                    attrs,
                )
            )
        return found

    def _cut(self, level: str) -> Any:
        # each feature has files of its own: the widest decides; whether all of them fit into memory is seen later
        bytes_per_row = max(
            f.n_columns * f.output_dtype.itemsize for f in self.features if f.level == level
        )
        rows = len(self.centers) if level == "atom" else 1
        return block_layout(len(self.frames), rows, bytes_per_row, limit=self.limit)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in the order in which they are done."""
        found = []
        for level in dict.fromkeys(feature.level for feature in self.features):
            cut = self._cut(level)
            rows = len(self.centers)
            step = cut.rows if level == "atom" else rows
            for first in range(0, len(self.frames), cut.frames):
                chosen = tuple(int(k) for k in self.frames[first : first + cut.frames])
                for row in range(0, rows, step):
                    name = f"{level}-{first:08d}-{row:010d}"
                    found.append(Block(name, level, first, chosen, row, min(step, rows - row)))
        return tuple(found)

    @cached_property
    def digest(self) -> str:
        """Identity of the output: parameters, input, frames, centres and blocks."""
        return digest(
            {
                "features": [[f.name, f.parameters()] for f in self.features],
                "input": self.content,
                "blocks": self._shape(),
                "frames": self.frames.tolist(),
                "centers": digest(self.centers.tolist()),
                "compression": FEATURE_COMPRESSION,
            }
        )

    def _shape(self) -> dict[str, list[int]]:
        return {
            level: [c.frames, c.rows]
            for level in sorted({f.level for f in self.features})
            for c in [self._cut(level)]
        }

    def block_digest(self, block: Block) -> str:
        """Identity of one block."""
        return digest([self.digest, block.name])

    def job(self) -> Job:
        """What the tasks need besides their block."""
        copied = Manifest(self.paths).content() if self.paths else None
        return Job(
            self.store,
            self.out,
            self.features,
            self.paths or self.store,
            self.content,
            copied or self.content,
        )

    @cached_property
    def needed(self) -> int:
        """Frames that a block reads, at most."""
        found = 1
        for level in {feature.level for feature in self.features}:
            size = self._cut(level).frames
            for first in range(0, len(self.frames), size):
                some = self.frames[first : first + size]
                found = max(found, len(frames_of(self.features, self.axis, some)))
        return found

    def attrs(self) -> dict[str, Any]:
        """Provenance of the output: every parameter, versions, input; nothing that differs between two runs."""
        return {
            "features": [{f.name: f.parameters()} for f in self.features],
            "input": self.store,
            "input_content": self.content,
            "plan_digest": self.digest,
            "compression": FEATURE_COMPRESSION,
            "versions": versions(),
            "citation": "; ".join(dict.fromkeys(f.citation for f in self.features)),
        }

    def axes(self) -> dict[str, tuple[str, npt.NDArray[Any]]]:
        """Coordinates of the frames and atoms of the output."""
        picks = {"frame": self.frames, "atom": self.centers}
        return {name: (dim, values[picks[dim]]) for name, (dim, values) in self.coordinates.items()}

    @property
    def n_tasks(self) -> int:
        """Number of blocks, and of tasks."""
        return len(self.blocks)

    @property
    def n_files(self) -> int:
        """Files of the large arrays, at most."""
        return sum(sum(b.level == f.level for b in self.blocks) for f in self.features)

    @property
    def output_bytes(self) -> int:
        """Bytes of the output before compression."""
        return sum(int(np.prod(o.shape)) * np.dtype(o.dtype).itemsize for o in self.outputs())

    @property
    def done(self) -> int:
        """Blocks that are finished already."""
        manifest = Manifest(self.out)
        records = manifest.records()
        return sum(manifest.done(b.name, self.block_digest(b), records) for b in self.blocks)

    def __str__(self) -> str:
        from mgdask.execution.executor import render

        table = Table(show_header=False, box=None, pad_edge=False)
        for feature in self.features:
            options = feature.summary()
            table.add_row(
                feature.name,
                f"{feature.n_columns} columns of {feature.output_dtype}{': ' if options else ''}{options}",
            )
        table.add_row(
            "input",
            f"{self.store}: {len(self.frames)} frames, {len(self.centers)} of {self.n_atoms} atoms as centers",
        )
        if self.paths:
            table.add_row(
                "paths", f"{self.paths}: a copy cut by atoms, made first, since {self.why_paths}"
            )
        table.add_row(
            "output",
            f"{self.out}: {format_bytes(self.output_bytes)} before compression, at most {self.n_files} files",
        )
        for level, (frames, rows) in self._shape().items():
            size = (
                f"{frames} frames x {min(rows, len(self.centers))} atoms"
                if level == "atom"
                else f"{frames} whole frames"
            )
            table.add_row(f"block, per {level}", size)
        n_done = self.done
        table.add_row("tasks", f"{self.n_tasks}: {n_done} done, {self.n_tasks - n_done} to do")
        seconds = sum(f.cost(len(self.frames) * len(self.centers)) for f in self.features) * (
            1 - n_done / max(self.n_tasks, 1)
        )
        table.add_row(
            "work",
            f"about {seconds / 3600:.2g} core hours"
            if seconds > 360
            else f"about {seconds:.2g} core seconds",
        )
        m = self.memory
        table.add_row(
            "memory of a worker", f"{format_bytes(m.total)} of {format_bytes(self.allowed)} allowed"
        )
        table.add_row("  libraries", format_bytes(m.baseline))
        table.add_row(
            "  a thread",
            f"{m.threads} x {format_bytes(m.per_thread)}: positions {format_bytes(m.window)}, working "
            f"{format_bytes(m.working)}, block {format_bytes(m.block)}, writing {format_bytes(m.writing)}",
        )
        return render(table)


def plan(
    store: str | Path,
    features: Sequence[Feature] | Feature,
    *,
    out: str | Path,
    memory: str | int = "2GiB",
    threads: int = 1,
    centers: Any = None,
    frames: Any = None,
) -> Plan:
    """Say what a run would do and need, without doing it.

    Parameters
    ----------
    store: a finished trajectory store. out: the feature store to write.
    features: what to compute, for example ``[mgdask.SOAP(...)]``.
    memory: of one worker process, as ``"2GiB"``; threads: that work in it at the same time.
    centers: element symbols or rows of central atoms (default all); frames: a slice or indices (default all).

    Returns a ``Plan``: blocks, tasks, files, bytes, what is done already; ``print`` it. Raises ``PlanError`` where no block fits into ``memory``,
    with the term that dominates and the number to change; ``StoreError`` for an unfinished store; ``ParameterError`` for species that
    a feature does not know.

    >>> print(mgdask.plan("glass.zarr", [soap], out="features.zarr", memory="2GiB"))  # doctest: +SKIP
    """
    if threads < 1:
        raise ParameterError(f"threads={threads} must be at least 1")
    allowed = memory_of(memory)
    source, group = path_source(store)
    content = str(Manifest(store).content())
    numbers = np.asarray(group["species"][...])
    chosen = check_features(features, numbers)
    n_frames = source.n_frames
    axis = read_axis(group)
    rows = select_rows(chosen, axis, frames, n_frames)
    if source.kind == "paths" and chosen[0].reads == "frames":
        raise ParameterError(
            f"{store} holds paths; {chosen[0].name} is made of whole frames: plan it from the trajectory store"
        )
    coordinates = {
        name: (dim, np.asarray(group[name][...]))
        for name, dim in (
            ("atom_id", "atom"),
            ("species", "atom"),
            ("step", "frame"),
            ("time", "frame"),
            ("run", "frame"),
        )
        if name in group
    }
    paths, why = needs_copy(chosen, source.kind, np.asarray(group["cell"][...]), str(out))
    base = Plan(
        str(store),
        str(out),
        content,
        chosen,
        len(numbers),
        rows,
        select_centers(centers, numbers),
        coordinates,
        axis,
        paths,
        why,
    )
    # the largest blocks that fit; halved until they do, so that the cut does not depend on small changes of the memory
    limit = MAX_BLOCK
    while True:
        trial = _with(base, limit, allowed, Memory(BASELINE, threads, 0, 0, 0, 0))
        needed = _memory(trial, threads)
        if needed.total <= allowed:
            return _with(base, limit, allowed, needed)
        if limit <= 2**20:
            if (
                trial.features[0].reads == "paths"
                and not trial.paths
                and source.kind == "trajectory"
            ):
                from dataclasses import replace

                # the chunks of a trajectory are too wide to read few atoms over all frames; start again with a copy cut by atoms
                base = replace(
                    base,
                    paths=f"{out}.paths.zarr",
                    why_paths="all frames of the atoms of a chunk do not fit into memory",
                )
                limit = MAX_BLOCK
                continue
            raise PlanError(_why_not(trial, needed, allowed))
        limit //= 2


def _with(base: Plan, limit: int, allowed: int, memory: Memory) -> Plan:
    from dataclasses import replace

    return replace(base, limit=limit, allowed=allowed, memory=memory)


def _memory(trial: Plan, threads: int) -> Memory:
    worst = Memory(BASELINE, threads, 0, 0, 0, 0)
    for level in {f.level for f in trial.features}:
        some = [f for f in trial.features if f.level == level]
        cut = trial._cut(level)
        rows = min(cut.rows, len(trial.centers)) if level == "atom" else len(trial.centers)
        if some[0].reads == "paths":
            wide = (
                rows
                if trial.paths
                else max(rows, min(trial.n_atoms, trajectory_layout(trial.n_atoms).chunk_atoms))
            )
            window = (
                trial.needed * rows * 48
                + 100 * wide * max(trajectory_layout(trial.n_atoms).shard_frames, 1)
                + 40 * trial.n_atoms
            )
        else:
            read = (
                trial.needed
                if any(type(f).frames_needed is not Feature.frames_needed for f in some)
                else cut.frames
            )
            window = 2 * read * (36 * trial.n_atoms + 96) + 40 * trial.n_atoms
        working = working_memory(some, trial.n_atoms, rows)
        out_rows = rows if level == "atom" else 1
        blocks = [cut.frames * out_rows * f.n_columns * f.output_dtype.itemsize for f in some]
        here = Memory(
            BASELINE, threads, window, working, sum(blocks), int(WRITE_COPIES * max(blocks))
        )
        if here.per_thread > worst.per_thread:
            worst = here
    return worst


def _why_not(trial: Plan, needed: Memory, allowed: int) -> str:
    terms = {
        "the interpreter and its libraries": needed.baseline,
        f"the positions of {trial.n_atoms} atoms": threads_times(needed, needed.window),
        "the working memory of the feature": threads_times(needed, needed.working),
        "the block and its copies while it is written": threads_times(
            needed, needed.block + needed.writing
        ),
    }
    name = max(terms, key=lambda term: terms[term])
    advice = f"give workers at least memory='{ceil_div(needed.total, 2**20)}MiB'"
    if needed.threads > 1:
        advice += f", or fewer than threads={needed.threads}"
    return (
        f"memory={format_bytes(allowed)} is too little even for the smallest blocks, which need {format_bytes(needed.total)} a worker. "
        f"Dominating is {name}: {format_bytes(terms[name])}; {advice}"
    )


def threads_times(memory: Memory, size: int) -> int:
    """Bytes of a term for all threads of a worker."""
    return memory.threads * size
