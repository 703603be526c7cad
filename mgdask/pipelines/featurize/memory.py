"""Memory that a worker needs for the blocks of a plan.

Each thread of a worker holds the frames that a block reads, twice while they are
decompressed. It also holds the working memory of the features, the block itself, and
copies of the block while Zarr compresses and writes it. The interpreter, its libraries
and what features keep for all threads add to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask.utils import format_bytes

from mgdask.features.engine import FeatureKinds, working_memory
from mgdask.store.layout import ceil_div, trajectory_layout

if TYPE_CHECKING:
    from mgdask.pipelines.featurize.plan import Plan

BASELINE = 420 * 2**20
"""Memory of the interpreter, libraries and compiled kernels of a worker in bytes.

Measured by ``tests/benchmarks/memory.py``.
"""
WRITE_COPIES = 3.0
"""Maximum number of copies of a block while it is compressed and written.

Measured by ``tests/benchmarks/memory.py``.
"""


@dataclass(frozen=True)
class Memory:
    """Projected memory of one worker in bytes, by term.

    Parameters
    ----------
    baseline
        Interpreter, libraries, compiled kernels.
    threads
        Number of threads.
    window
        Frames that a block of one thread reads.
    working
        Working memory of the features, per thread.
    block
        The block itself, per thread.
    writing
        Copies of it while it is written, per thread.
    shared
        What the features keep for all threads, such as a dictionary.
    """

    baseline: int
    threads: int
    window: int
    working: int
    block: int
    writing: int
    shared: int = 0

    @property
    def per_thread(self) -> int:
        """Bytes of one task."""
        return self.window + self.working + self.block + self.writing

    @property
    def per_process(self) -> int:
        """Bytes of one worker that do not depend on its threads."""
        return self.baseline + self.shared

    @property
    def total(self) -> int:
        """Bytes of one worker."""
        return self.per_process + self.threads * self.per_thread


def project_memory(plan: Plan, threads: int) -> Memory:
    """Project the memory of a worker for the blocks of a plan.

    Parameters
    ----------
    plan
        The plan.
    threads
        Threads of a worker.

    Returns
    -------
    memory
        The terms of the level whose blocks need the most memory.
    """
    kept = {key: size for f in plan.features for key, size in f.process_memory().items()}
    shared = sum(kept.values())
    worst = Memory(BASELINE, threads, 0, 0, 0, 0, shared)
    for level in {feature.level for feature in plan.features}:
        features = [feature for feature in plan.features if feature.level == level]
        cut = plan.block_layout(level)
        rows = min(cut.rows, len(plan.centers)) if level == "atom" else len(plan.centers)
        kinds = FeatureKinds.of(features)
        if kinds.trajectories:
            window = _trajectory_bytes(plan, rows)
        else:
            n_frames = plan.needed if kinds.windows else cut.frames
            window = 2 * n_frames * (36 * plan.n_atoms + 96) + 40 * plan.n_atoms
        out_rows = rows if level == "atom" else 1
        blocks = [cut.frames * out_rows * f.n_columns * f.output_dtype.itemsize for f in features]
        memory = Memory(
            BASELINE,
            threads,
            window,
            working_memory(features, plan.n_atoms, rows),
            sum(blocks),
            int(WRITE_COPIES * max(blocks)),
            shared,
        )
        if memory.per_thread > worst.per_thread:
            worst = memory
    return worst


def _trajectory_bytes(plan: Plan, rows: int) -> int:
    """Return the bytes of a block's trajectories while they are read."""
    layout = trajectory_layout(plan.n_atoms)
    # chunks of a trajectory store are wider than a block; those of a copy are not
    chunk_atoms = rows if plan.paths else max(rows, min(plan.n_atoms, layout.chunk_atoms))
    return (
        plan.needed * rows * 48
        + 100 * chunk_atoms * max(layout.shard_frames, 1)
        + 40 * plan.n_atoms
    )


def explain_excess(memory: Memory, n_atoms: int, allowed: int) -> str:
    """Explain why a plan does not fit, and what would help.

    Parameters
    ----------
    memory
        Projected memory of the smallest blocks.
    n_atoms
        Atoms of a frame.
    allowed
        Bytes that a worker may use.

    Returns
    -------
    message
        Text that names the largest term.
    """
    terms = {
        "the interpreter and its libraries": memory.baseline,
        "what the features keep for all threads": memory.shared,
        f"the positions of {n_atoms} atoms": memory.threads * memory.window,
        "the working memory of the feature": memory.threads * memory.working,
        "the block and its copies while it is written": memory.threads
        * (memory.block + memory.writing),
    }
    name = max(terms, key=lambda term: terms[term])
    advice = f"give workers at least memory='{ceil_div(memory.total, 2**20)}MiB'"
    if memory.threads > 1:
        advice += f", or fewer than threads={memory.threads}"
    return (
        f"memory={format_bytes(allowed)} is too little even for the smallest blocks, which need "
        f"{format_bytes(memory.total)} per worker. "
        f"The largest term is {name}: {format_bytes(terms[name])}; {advice}"
    )
