"""Which jobs are so small that starting worker processes would take longer.

The measure is known before the job: the projected work of a plan, the bytes of files
and arrays, or the number of pairs. It does not depend on the machine's load, so the
same command always takes the same way. The results do not depend on the way.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from mgdask.geometry import volume
from mgdask.store.shards import get_array, open_group
from mgdask.store.sources import source_array
from mgdask.store.staging import APPEND, OVERWRITE, folders

if TYPE_CHECKING:
    from pathlib import Path

    from mgdask.pipelines.featurize.plan import Plan

MAX_SMALL_WORK = 10.0
"""Projected work in core seconds up to which a plan is small.

Worker processes take 2 to 3 s to start, most of it on all cores.
"""
SMALL_INPUT = 32 * 2**20
"""Maximum size of input files in bytes that are read without worker processes."""
MAX_SMALL_BYTES = 128 * 2**20
"""Maximum size in bytes of the arrays of a small store, not compressed.

It also bounds the memory: the threads together hold no more than a few times as much.
"""
MAX_SMALL_PAIRS = 500_000_000
"""Maximum number of pairs of atoms that a small radial distribution counts."""

log = logging.getLogger(__name__)


def is_small(files: Sequence[str]) -> bool:
    """Return whether files are indexed faster than workers start."""
    return sum(os.path.getsize(name) for name in files) <= SMALL_INPUT


def threads_for_plan(plan: Plan, max_threads: int) -> int:
    """Return how many threads of this process should compute a plan.

    Parameters
    ----------
    plan
        The plan.
    max_threads
        Maximum number of threads.

    Returns
    -------
    n_threads
        As many as there are blocks to do and as fit into the memory of the plan; 0 if
        the plan is not small.
    """
    n_todo = plan.n_tasks - plan.done
    work = plan.work(measure=False).total * n_todo / max(plan.n_tasks, 1)
    if plan.paths or not n_todo or work > MAX_SMALL_WORK:
        return 0
    fitting = int((plan.allowed - plan.memory.per_process) // plan.memory.per_thread)
    return _logged(f"about {work:.2g} core seconds", max(1, min(max_threads, n_todo, fitting)))


def threads_for_store(store: str | Path, max_threads: int) -> int:
    """Return how many threads of this process should read a store; 0 for a large store.

    Parameters
    ----------
    store
        The store.
    max_threads
        Maximum number of threads.
    """
    size = _array_bytes(store)
    if size > MAX_SMALL_BYTES:
        return 0
    return _logged(f"{size / 2**20:.2g} MiB of arrays", max_threads)


def threads_for_ingest(files: Sequence[str], out: str | Path, max_threads: int) -> int:
    """Return how many threads of this process should ingest files; 0 for large files.

    Parameters
    ----------
    files
        Files to read. Small ones are indexed before workers are needed, and the store
        has its arrays by then.
    out
        Store to write.
    max_threads
        Maximum number of threads.
    """
    if not is_small(files):
        return 0
    # a replacement or an append is prepared beside the store
    begun = [*folders(out, OVERWRITE), *folders(out, APPEND)]
    return threads_for_store(begun[0] if begun else out, max_threads)


def threads_for_rdf(store: str | Path, r_max: float, max_threads: int) -> int:
    """Return how many threads of this process should count the pairs of a store.

    Parameters
    ----------
    store
        The trajectory.
    r_max
        Largest distance in Å.
    max_threads
        Maximum number of threads.

    Returns
    -------
    n_threads
        The maximum; 0 if there are many pairs, or if the store is large.
    """
    group = open_group(store)
    n_frames, n_atoms = get_array(group, "position").shape[:2]
    space = float(volume(source_array(group, "cell")[0])) if n_frames else np.inf
    n_pairs = n_frames * n_atoms**2 * 4.0 / 3.0 * np.pi * r_max**3 / space
    if n_pairs > MAX_SMALL_PAIRS or _array_bytes(store) > MAX_SMALL_BYTES:
        return 0
    return _logged(f"about {n_pairs:.2g} pairs", max_threads)


def _array_bytes(store: str | Path) -> int:
    """Return the size of the arrays of a store in bytes, not compressed."""
    group = open_group(store)
    arrays = [get_array(group, name) for name in group.array_keys()]
    return sum(prod(array.shape) * array.dtype.itemsize for array in arrays)


def _logged(size: str, n_threads: int) -> int:
    unit = "thread" if n_threads == 1 else "threads"
    log.info("small job, %s: computed by %d %s of this process", size, n_threads, unit)
    return n_threads
