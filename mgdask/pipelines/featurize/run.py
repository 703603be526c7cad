"""Running a plan: its missing blocks, each with its record, and a table at the end."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

from dask.utils import format_bytes
from rich.table import Table

from mgdask.errors import RunError
from mgdask.execution.executor import describe, execute, render, resolve_client
from mgdask.pipelines.featurize.block import compute_block, create_output
from mgdask.pipelines.featurize.plan import Plan
from mgdask.pipelines.unwrap import unwrap
from mgdask.store.features import set_attrs
from mgdask.store.manifest import Manifest


@dataclass(frozen=True)
class Report:
    """What a run did; ``str`` is the table that ends it."""

    out: str
    blocks: int
    skipped: int
    rows: int
    seconds: float
    peak_memory: int
    projected: int

    def __str__(self) -> str:
        table = Table(show_header=False, box=None, pad_edge=False)
        done = self.blocks - self.skipped
        table.add_row("features", self.out)
        table.add_row(
            "blocks", f"{self.blocks}: {done} computed now, {self.skipped} were done before"
        )
        if done:
            table.add_row(
                "speed",
                f"{self.rows / max(self.seconds, 1e-9):,.0f} central atoms a second ({self.seconds:.1f} s)",
            )
            over = (
                ""
                if self.peak_memory <= self.projected
                else "  ABOVE THE PROJECTION: please report it"
            )
            table.add_row(
                "peak memory",
                f"{format_bytes(self.peak_memory)} in a worker, projected {format_bytes(self.projected)}{over}",
            )
        return render(table)


def _count_marked(plan: Plan, manifest: Manifest) -> None:
    """How many central atoms needed special treatment, summed over all blocks, into the attrs of each array."""
    totals: dict[str, Counter[str]] = {}
    records = manifest.records()
    for block in plan.blocks:
        for name, counts in records[block.name].get("marked", {}).items():
            totals.setdefault(name, Counter()).update(counts)
    for name in sorted(totals):
        counted = dict(sorted(totals[name].items()))
        # version 0.1 read the second name
        set_attrs(plan.out, name, {"flagged_atoms": counted, "marked_atoms": counted})


def run(plan: Plan, client: Any = None, *, retries: int = 2, progress: bool = True) -> Report:
    """Do what a plan says: compute its missing blocks and write them, whole shards, each with its record.

    Parameters: ``plan`` from ``mgdask.plan``; ``client`` a ``distributed.Client`` (default the current one, else threads of this
    process); ``retries`` of a block that fails; ``progress`` shows a bar on a terminal, a line a minute in a log.

    Returns a ``Report``. A run that is killed at any point is started again with the same plan and does only what is missing; the arrays
    are then byte-equal to those of an undisturbed run. Raises ``RunError`` that names failed blocks (the others are done and
    stay), ``StoreError`` where ``plan.out`` belongs to other parameters or is being written by another run, and where it cannot be written.

    >>> plan = mgdask.plan("glass.zarr", [soap], out="features.zarr")  # doctest: +SKIP
    >>> print(mgdask.run(plan))                                        # doctest: +SKIP
    """
    if plan.paths:
        unwrap(plan.store, plan.paths, client=client, progress=progress)
    create_output(plan)
    manifest = Manifest(plan.out)
    fitting = int((plan.allowed - plan.memory.baseline) // plan.memory.per_thread)
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    )
    with manifest.locked(), resolve_client(client, max(1, min(cores, fitting))) as workers:
        threads = max(workers.nthreads().values(), default=plan.memory.threads)
        if threads > max(fitting, plan.memory.threads):
            raise RunError(
                f"workers have {threads} threads each, but only {fitting} fit into the {format_bytes(plan.allowed)} that the plan gives "
                f"a worker; make the plan with threads={threads}, or start workers with fewer threads"
            )
        records = manifest.records()
        todo = [b for b in plan.blocks if not manifest.done(b.name, plan.block_digest(b), records)]
        if todo or manifest.content() is None:
            manifest.reopen()
        job = plan.job()
        outcome = execute(
            workers,
            compute_block,
            [(b.name, (job, b, plan.block_digest(b))) for b in todo],
            what="featurize",
            retries=retries,
            progress=progress,
            strict=False,
        )
        if outcome.failures:
            lines = [
                f"  {name}: {describe(error)}" for name, error in list(outcome.failures.items())[:5]
            ]
            more = f"\n  and {len(outcome.failures) - 5} more" if len(outcome.failures) > 5 else ""
            raise RunError(
                f"{len(outcome.failures)} of {len(plan.blocks)} blocks failed; {len(plan.blocks) - len(outcome.failures)} are "
                f"finished and stay in {plan.out}. Mend the cause and run the same command again:\n"
                + "\n".join(lines)
                + more
            )
        _count_marked(plan, manifest)
        manifest.finish(plan.digest)
    results = outcome.results.values()
    return Report(
        plan.out,
        len(plan.blocks),
        len(plan.blocks) - len(todo),
        sum(r["rows"] for r in results),
        outcome.seconds,
        max((r["peak_memory"] for r in results), default=0),
        plan.memory.baseline + threads * plan.memory.per_thread,
    )
