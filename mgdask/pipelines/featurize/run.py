"""Running a plan: compute its missing blocks and report."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from dask.utils import format_bytes

from mgdask import _html
from mgdask.errors import RunError
from mgdask.execution.executor import describe, execute, resolve_client
from mgdask.execution.results import Outcome, render_rows
from mgdask.features.engine import FeatureKinds, frames_needed
from mgdask.pipelines.featurize.block import Block, compute_block, create_output
from mgdask.pipelines.featurize.cost import learn, two_digits
from mgdask.pipelines.featurize.plan import Plan
from mgdask.pipelines.featurize.publishing import run_and_publish
from mgdask.pipelines.featurize.reach import remarks
from mgdask.pipelines.unwrap import unwrap
from mgdask.store import frame_values
from mgdask.store.features import set_attrs
from mgdask.store.manifest import Manifest
from mgdask.store.open import changes_explained
from mgdask.store.shards import open_group
from mgdask.store.source_checks import check_source
from mgdask.store.trust import TRUSTED, trusting

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger("mgdask.featurize")

SHOWN_FAILURES = 5
"""Maximum number of failed blocks that an error lists."""
SLACK = 32 * 2**20
"""Bytes that the blocks of a worker may use beyond the projection.

The allocator, threads and libraries loaded late take some.
"""
MENTIONED = 1.0
"""Time in s above which a report mentions that kernels were compiled."""


@dataclass(frozen=True)
class Report:
    """Result of a run; ``print`` it for a table.

    Parameters
    ----------
    out
        Feature store.
    blocks
        Number of blocks of the plan.
    skipped
        Number of blocks that were finished before.
    rows
        Rows computed now: central atoms times frames.
    seconds
        Duration in s.
    peak_memory
        Highest memory of a worker in bytes.
    projected
        Projected memory of a worker in bytes.
    block_memory
        Highest memory of the blocks of a worker in bytes, without what its process held
        before: libraries, compiled kernels and data of the user.
    projected_blocks
        Projected memory of the blocks of a worker in bytes.
    cpu
        CPU time of the blocks computed now, in s.
    prepared
        Longest time in s that a worker took to load or compile kernels.
    trusted
        Whether the input was read without comparing its files with their records.
    """

    out: str
    blocks: int
    skipped: int
    rows: int
    seconds: float
    peak_memory: int
    projected: int
    block_memory: int = 0
    projected_blocks: int = 0
    cpu: float = 0.0
    prepared: float = 0.0
    trusted: bool = False

    @property
    def excess_memory(self) -> int:
        """Bytes that the blocks of a worker used beyond the projection; 0 if none.

        A worker whose total is as projected has no excess. ``SLACK`` is allowed.
        """
        beyond = self.block_memory - self.projected_blocks - SLACK
        return max(0, min(beyond, self.peak_memory - self.projected))

    def __str__(self) -> str:
        return render_rows(self._rows())

    def _repr_html_(self) -> str:
        return _html.table("Run", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        n_done = self.blocks - self.skipped
        rows = [
            ("features", self.out),
            ("blocks", f"{self.blocks}: {n_done} computed now, {self.skipped} were done before"),
        ]
        if n_done:
            speed = self.rows / max(self.seconds, 1e-9)
            time = f"{self.seconds:.1f} s"
            if self.prepared > MENTIONED:
                time += f", of which {self.prepared:.1f} s to load or compile kernels"
            memory = (
                f"{format_bytes(self.peak_memory)} in a worker; "
                f"blocks {format_bytes(self.block_memory)}, "
                f"projected {format_bytes(self.projected_blocks)}"
            )
            rows += [
                ("speed", f"{speed:,.0f} central atoms per second ({time})"),
                ("work", f"{two_digits(self.cpu)} core seconds"),
                ("peak memory", memory),
            ]
            rows += [("input", TRUSTED)] if self.trusted else []
            rows += [("", "ABOVE THE PROJECTION: please report it")] if self.excess_memory else []
        return rows


def _count_flagged(plan: Plan, manifest: Manifest) -> None:
    """Write the number of flagged atoms, summed over all blocks, to the attrs."""
    totals: dict[str, Counter[str]] = {}
    records = manifest.records()
    for block in plan.blocks:
        for name, counts in records[block.name].get("marked", {}).items():
            totals.setdefault(name, Counter()).update(counts)
    for name in sorted(totals):
        counted = dict(sorted(totals[name].items()))
        # version 0.1 reads the second name
        set_attrs(plan.out, name, {"flagged_atoms": counted, "marked_atoms": counted})


def run(
    plan: Plan, client: Client | None = None, *, retries: int = 2, progress: bool = True
) -> Report:
    """Run a plan: compute its missing blocks and write them.

    Each block is written as whole shards, then recorded.

    Parameters
    ----------
    plan
        From ``mgdask.plan``.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    retries
        Number of times to retry a failed block.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    report
        A ``Report``.

    Raises
    ------
    RunError
        If blocks fail. The finished ones are kept.
    StoreError
        If ``plan.out`` belongs to other parameters, is being written by another run, or
        cannot be written.

    Notes
    -----
    A run killed at any point can be repeated with the same plan, and computes only the
    missing blocks. The arrays are then byte-equal to those of an uninterrupted run.

    Features that go to a URL are computed in ``plan.out`` and then copied to
    ``plan.target``, the mark of a finished store last. Readers refuse the copy until
    then. A lock object keeps a second run away.

    Examples
    --------
    >>> plan = mgdask.plan("glass.zarr", [soap], out="f.zarr")  # doctest: +SKIP
    >>> print(mgdask.run(plan))  # doctest: +SKIP
    """
    with trusting(plan.trust):
        if not plan.target:
            return _run(plan, client, retries, progress)
        return run_and_publish(
            plan,
            lambda: _run(plan, client, retries, progress),
            lambda: Report(str(plan.target), plan.n_tasks, plan.n_tasks, 0, 0.0, 0, 0),
            client,
            retries=retries,
            progress=progress,
        )


def _run(plan: Plan, client: Client | None, retries: int, progress: bool) -> Report:
    manifest = Manifest(plan.out)
    outcome, threads = Outcome[dict[str, Any]](), plan.memory.threads
    with manifest.locked() as lock, changes_explained(plan.store, plan.content):
        if plan.paths:
            unwrap(plan.store, plan.paths, client=client, progress=progress)
        create_output(plan)
        frame_values.copy(open_group(plan.store), plan.out, plan.frames)
        plan.job().check_inputs()  # these values are of the same version
        records = manifest.records()
        todo = [b for b in plan.blocks if not manifest.done(b.name, plan.block_digest(b), records)]
        if todo:
            for remark in remarks(plan):
                logger.warning("%s: %s", os.path.basename(plan.store), remark)
            _check_sources(plan, todo)
            with resolve_client(client, _threads_that_fit(plan)) as workers:
                threads = _check_threads(plan, workers)
                manifest.reopen()
                outcome = _compute(plan, todo, workers, retries, progress)
        if outcome.failures:
            raise RunError(_describe_failures(plan, outcome.failures))
        lock.check()
        _count_flagged(plan, manifest)
        values = frame_values.names(open_group(plan.store))
        manifest.finish(plan.digest, rewritten=values)
    results = outcome.results.values()
    rows = {b.name: len(b.frames) * b.n_rows for b in plan.blocks}
    learn(plan, sum(rows[b.name] for b in todo) / max(sum(rows.values()), 1), results)
    return Report(
        plan.out,
        len(plan.blocks),
        len(plan.blocks) - len(todo),
        sum(result["rows"] for result in results),
        outcome.seconds,
        max((result["peak_memory"] for result in results), default=0),
        plan.memory.per_process + threads * plan.memory.per_thread,
        max((result["block_memory"] for result in results), default=0),
        threads * plan.memory.per_thread,
        sum(result["cpu"] for result in results),
        max((result["prepared"] for result in results), default=0.0),
        plan.trust,
    )


def _check_sources(plan: Plan, blocks: Sequence[Block]) -> None:
    """Compare all files that some blocks read with their records, by size."""
    kinds = FeatureKinds.of(plan.features)
    rows = sorted({frame for block in blocks for frame in block.frames})
    frames = np.asarray(frames_needed(plan.features, plan.axis, np.array(rows)))
    if "path" in open_group(plan.store):
        check_source(plan.store, ("path", "center_of_mass"), frames)
        return
    own = kinds.trajectories and not plan.paths
    names = {"position"} if kinds.framewise or own else set()
    check_source(plan.store, names | ({"image"} if kinds.windows or own else set()), frames)
    if plan.paths and kinds.trajectories:
        check_source(plan.paths, ("path", "center_of_mass"), frames)


def _threads_that_fit(plan: Plan) -> int:
    """Return the threads of a temporary client: all cores, if they fit."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    )
    return max(1, min(cores, _fitting(plan)))


def _fitting(plan: Plan) -> int:
    return int((plan.allowed - plan.memory.per_process) // plan.memory.per_thread)


def _check_threads(plan: Plan, workers: Client) -> int:
    """Return the threads of a worker; raise ``RunError`` if they do not fit."""
    threads = max(workers.nthreads().values(), default=plan.memory.threads)
    if threads > max(_fitting(plan), plan.memory.threads):
        raise RunError(
            f"workers have {threads} threads each, but only {_fitting(plan)} fit into the "
            f"{format_bytes(plan.allowed)} that the plan gives a worker; make the plan with "
            f"threads={threads}, or start workers with fewer threads"
        )
    return threads


def _compute(
    plan: Plan, todo: Sequence[Block], workers: Client, retries: int, progress: bool
) -> Outcome[dict[str, Any]]:
    job = replace(plan.job(), run=uuid4().hex)
    return execute(
        workers,
        compute_block,
        [(b.name, (job, b, plan.block_digest(b))) for b in todo],
        what="featurize",
        retries=retries,
        progress=progress,
        strict=False,
    )


def _describe_failures(plan: Plan, failures: Mapping[str, BaseException]) -> str:
    n_failed, n_blocks = len(failures), len(plan.blocks)
    lines = [
        f"{n_failed} of {n_blocks} blocks failed; {n_blocks - n_failed} are finished and stay in "
        f"{plan.out}. Remove the cause and run the same command again:"
    ]
    shown = list(failures.items())[:SHOWN_FAILURES]
    lines += [f"  {name}: {describe(error)}" for name, error in shown]
    if n_failed > len(shown):
        lines.append(f"  and {n_failed - len(shown)} more")
    return "\n".join(lines)
