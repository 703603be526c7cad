"""Which plans are so small that starting worker processes would take longer."""

from __future__ import annotations

import logging

from mgdask.pipelines.featurize.plan import Plan

MAX_SMALL_WORK = 10.0
"""Projected work in core seconds up to which a plan is small.

Worker processes take 2 to 3 s to start, most of it on all cores.
"""

log = logging.getLogger(__name__)


def threads_if_small(plan: Plan, max_threads: int) -> int:
    """Return how many threads of this process should compute a small plan.

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
    fitting = int((plan.allowed - plan.memory.baseline) // plan.memory.per_thread)
    n_threads = max(1, min(max_threads, n_todo, fitting))
    log.info(
        "small job, about %.2g core seconds: computed by %d %s of this process",
        work,
        n_threads,
        "thread" if n_threads == 1 else "threads",
    )
    return n_threads
