"""Plans of dictionaries: tasks, memory and time, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dask.utils import format_bytes

from mgdask import _html
from mgdask.elements import symbol
from mgdask.errors import ParameterError, PlanError
from mgdask.execution.results import render_rows
from mgdask.features.engine import working_memory
from mgdask.features.feature import FrameFeature
from mgdask.features.registry import make_feature
from mgdask.kernels.nearest import COMPONENTS, FEW
from mgdask.learn.leaders import check_threshold
from mgdask.pipelines.dictionary import settle
from mgdask.pipelines.dictionary.cost import DictionaryWork, estimate_work
from mgdask.pipelines.dictionary.samples import (
    BATCH,
    Stores,
    check_feature,
    check_new_sample,
    list_stores,
    read_samples,
)
from mgdask.pipelines.featurize.memory import BASELINE
from mgdask.pipelines.featurize.validation import Frames, memory_of
from mgdask.pipelines.small import MAX_SMALL_WORK
from mgdask.store.dictionaries import (
    Dictionary,
    DictionaryDescription,
    DictionarySource,
    max_squared_distance,
    read_dictionary,
)
from mgdask.store.layout import ceil_div, trajectory_layout
from mgdask.store.location import local_place
from mgdask.store.trust import trusting

MIN_ROOM = 256
"""Minimum number of entries for which a plan must have room."""
PROJECTED = COMPONENTS + FEW + 1
"""Numbers per entry that the search reads, each of 4 bytes."""
SEARCHED = 64
"""Environments per search; each needs 4 bytes per entry."""


@dataclass(frozen=True)
class DictionaryMemory:
    """Projected memory of a process in bytes.

    Attributes
    ----------
    baseline
        Interpreter, libraries, compiled kernels.
    threads
        Number of threads.
    per_thread
        Frames that a thread reads, working memory of the feature, vectors of a batch.
    block
        Environments of one block that the client settles, in the worst case.
    per_entry
        Vector of an entry, which is mapped from a file, and what the search adds.
    """

    baseline: int
    threads: int
    per_thread: int
    block: int
    per_entry: int

    def worker(self, n_entries: int) -> int:
        """Return the bytes of a worker with so many entries."""
        threads = self.threads * (self.per_thread + 4 * SEARCHED * n_entries)
        return self.baseline + threads + n_entries * self.per_entry

    def client(self, n_entries: int) -> int:
        """Return the bytes of the process that settles blocks."""
        searched = 4 * SEARCHED * n_entries
        return self.baseline + self.block + searched + n_entries * self.per_entry

    def room(self, allowed: int) -> int:
        """Return how many entries fit if client and worker are one process."""
        fixed = self.baseline + self.threads * self.per_thread + self.block
        return max(0, (allowed - fixed) // (self.per_entry + 4 * SEARCHED * (self.threads + 1)))


@dataclass(frozen=True, eq=False)
class DictionaryPlan:
    """Tasks, memory and time of a build. ``print`` shows them as a table.

    Attributes
    ----------
    out
        Dictionary to write.
    base
        Dictionary that is extended; None if there is none.
    description
        What determines the dictionary.
    feature
        The feature.
    memory
        Projected memory of a process.
    allowed
        Bytes that a worker may use.
    max_block
        Maximum number of environments of a block.
    trust
        Whether the samples are read without comparing their files with their records.
    """

    out: str
    base: Dictionary | None
    description: DictionaryDescription
    feature: FrameFeature
    memory: DictionaryMemory
    allowed: int
    max_block: int
    trust: bool = False

    @property
    def n_environments(self) -> int:
        """Number of environments to compare; those of ``base`` were compared before."""
        before = 0 if self.base is None else self.base.n_environments
        return self.description.n_environments - before

    @property
    def max_entries(self) -> int:
        """Number of entries for which there is room in the memory."""
        return self.memory.room(self.allowed)

    @property
    def n_tasks(self) -> int:
        """Number of tasks. It depends a little on the number of threads."""
        done = 0 if self.base is None else self.base.n_environments
        total, count = self.description.n_environments, 0
        while done < total:
            most = settle.BLOCKS_PER_THREAD * self.memory.threads * self.max_block
            end = min(done + min(max(settle.FIRST_ROUND, done), most), total)
            size = min(max(BATCH, (end - done) // (4 * self.memory.threads)), self.max_block)
            count += ceil_div(end - done, size)
            done = end
        return count

    def work(self, *, measure: bool = True) -> DictionaryWork:
        """Return the projected CPU time.

        Parameters
        ----------
        measure
            Measure the feature for about a second if its speed is not known.
        """
        first = self.description.sources[-1]
        return estimate_work(
            first.path, self.feature, self.n_environments, self.description.threshold, measure
        )

    def small_threads(self, max_threads: int) -> int:
        """Return how many threads of this process should run the plan.

        Parameters
        ----------
        max_threads
            Maximum number of threads.

        Returns
        -------
        n_threads
            0 if the plan is not small, so that worker processes are worth starting.
        """
        if self.work(measure=False).total > MAX_SMALL_WORK:
            return 0
        return max(1, min(max_threads, self.n_tasks))

    def describe(self, *, measure: bool = True) -> str:
        """Return the plan as a table.

        Parameters
        ----------
        measure
            As for ``work``.
        """
        return render_rows(self._rows(measure))

    def _repr_html_(self) -> str:
        # showing a plan in a notebook must not take the second of a measurement
        return _html.table("Dictionary plan", self._rows(measure=False))

    def _rows(self, measure: bool) -> list[tuple[str, str]]:
        new = self.description.sources[0 if self.base is None else len(self.base.sources) :]
        rows = [("dictionary", self.out)]
        if self.base is not None:
            rows.append(("extends", f"{self.base.path}, {self.base.n_entries} entries"))
        split = "only" if self.description.per_species else "also"
        kind = "of the same" if self.description.per_species else "of different"
        plural = "" if self.description.per_species else "s"
        names = [source.path for source in new[:3]] + (["..."] if len(new) > 3 else [])
        n_frames = sum(source.n_frames for source in new)
        row = 8 * self.feature.n_columns
        environments = (
            f"{self.n_environments} of {self.feature.n_columns} columns; they are never stored "
            f"(as an array, they would take {format_bytes(self.n_environments * row)})"
        )
        few = 1000
        memory = (
            f"{format_bytes(self.memory.worker(few))} per worker and "
            f"{format_bytes(self.memory.client(few))} in the client with {few} entries, plus "
            f"{format_bytes(self.memory.per_entry)} per further entry"
        )
        return [
            *rows,
            ("feature", f"{self.feature.family}: {self.feature.summary()}"),
            (
                "threshold",
                f"{self.description.threshold:g}, {split} between central atoms {kind} "
                f"element{plural}",
            ),
            ("samples", f"{len(new)}: {', '.join(names)}; {n_frames} frames in stored order"),
            ("environments", environments),
            ("tasks", f"about {self.n_tasks}, of at most {self.max_block} environments"),
            ("memory", memory),
            ("room", f"{self.max_entries} entries in memory={format_bytes(self.allowed)}"),
            ("time", str(self.work(measure=measure))),
        ]

    def __str__(self) -> str:
        return self.describe()


def plan_dictionary(
    stores: Stores,
    soap: FrameFeature,
    *,
    threshold: float = 0.84,
    out: str | Path,
    frames: Frames = None,
    per_species: bool = False,
    memory: str | int = "2GiB",
    threads: int = 1,
    trust: bool = False,
) -> DictionaryPlan:
    """Plan the build of a dictionary: tasks, memory and time.

    Parameters
    ----------
    stores, soap, threshold, out, frames, per_species, memory
        As for ``mgdask.build_dictionary``.
    threads
        Threads of each worker.
    trust
        As for ``mgdask.build_dictionary``.

    Returns
    -------
    plan
        A ``DictionaryPlan``; ``print`` it for a table.

    Raises
    ------
    ParameterError
        If an argument is not allowed, or the feature cannot describe a sample.
    PlanError
        If not even a few entries fit into the memory.
    StoreError
        If a store is not a finished trajectory.

    Examples
    --------
    >>> soap = mgdask.SOAP(("Cu", "Zr"), 5.0, 11, 12, 0.5)  # doctest: +SKIP
    >>> print(mgdask.plan_dictionary("a.zarr", soap, out="u.zarr"))  # doctest: +SKIP
    """
    check_threshold(threshold)
    out = local_place(out, "plan_dictionary writes")
    feature = check_feature(soap)
    with trusting(trust):
        sources = tuple(read_samples(list_stores(stores), feature, frames))
    description = DictionaryDescription(
        described(feature), feature.labels, float(threshold), bool(per_species), sources
    )
    return _make(out, None, description, feature, memory, threads, trust)


def plan_extension(
    base: Dictionary,
    stores: Stores,
    out: str | Path,
    *,
    frames: Frames,
    memory: str | int,
    threads: int,
    trust: bool,
) -> DictionaryPlan:
    """Plan the extension of a dictionary by further samples.

    Parameters
    ----------
    base
        The dictionary.
    stores, frames, memory, threads, trust
        As for ``plan_dictionary``.
    out
        Dictionary to write.

    Raises
    ------
    ParameterError
        If its feature cannot describe a sample, or a sample is in the dictionary.
    """
    feature = feature_of(base)
    with trusting(trust):
        added = read_added(base, stores, frames)
    for sample in added:
        check_new_sample(sample, base.sources)
    description = DictionaryDescription(
        base.feature, feature.labels, base.threshold, base.per_species, (*base.sources, *added)
    )
    return _make(out, base, description, feature, memory, threads, trust)


def read_added(base: Dictionary, stores: Stores, frames: Frames) -> list[DictionarySource]:
    """Check the samples by which a dictionary is to be extended.

    Parameters
    ----------
    base
        The dictionary.
    stores, frames
        As for ``plan_dictionary``.

    Raises
    ------
    ParameterError
        If its feature cannot describe a sample.
    """
    feature = feature_of(base)
    try:
        return read_samples(list_stores(stores), feature, frames)
    except ParameterError as error:
        if " lacks " not in str(error):
            raise
        names = "+".join(getattr(feature, "species", ()))
        raise ParameterError(
            f"{base.path} describes environments of {names} only, and its feature cannot be "
            f"changed: {error}. Then build a new dictionary of all samples"
        ) from None


def described(feature: FrameFeature) -> dict[str, Any]:
    """Return family and parameters of a feature, as a dictionary stores them.

    Parameters
    ----------
    feature
        The feature.
    """
    return {"family": feature.family, "parameters": feature.parameters()}


def feature_of(dictionary: Dictionary) -> FrameFeature:
    """Return the feature that gives the vectors of a dictionary.

    Parameters
    ----------
    dictionary
        The dictionary.
    """
    made = make_feature(dictionary.feature["family"], dictionary.feature["parameters"])
    return check_feature(made)


def _make(
    out: str | Path,
    base: Dictionary | None,
    description: DictionaryDescription,
    feature: FrameFeature,
    memory: str | int,
    threads: int,
    trust: bool,
) -> DictionaryPlan:
    if not isinstance(threads, int) or threads < 1:
        raise ParameterError(f"threads={threads!r} must be a whole number of at least 1")
    allowed = memory_of(memory)
    row = 8 * feature.n_columns
    spare = max(0, allowed - BASELINE) // 16
    max_block = int(np.clip(spare // row, BATCH, settle.MAX_BLOCK))
    n_atoms = max(source.n_atoms for source in description.sources)
    frames = trajectory_layout(n_atoms).chunk_frames
    projected = DictionaryMemory(
        BASELINE,
        threads,
        2 * frames * (36 * n_atoms + 96)
        + 80 * n_atoms
        + working_memory([feature], n_atoms, min(n_atoms, max_block))
        + 3 * BATCH * row,
        2 * max_block * row,
        row + 2 * (4 * PROJECTED + 16),
    )
    plan = DictionaryPlan(
        str(out), base, description, feature, projected, allowed, max_block, trust
    )
    needed = MIN_ROOM if base is None else base.n_entries + MIN_ROOM
    if plan.max_entries < needed:
        least = projected.worker(needed) + projected.block + 4 * SEARCHED * needed
        raise PlanError(
            f"memory={format_bytes(allowed)} has room for {plan.max_entries} entries of "
            f"{format_bytes(row)} each, but at least {needed} must fit. The largest term is "
            f"{_largest(projected, needed)}; give workers at least "
            f"memory='{ceil_div(least, 2**20)}MiB'"
            + (f", or fewer than threads={threads}" if threads > 1 else "")
        )
    return plan


def _largest(memory: DictionaryMemory, n_entries: int) -> str:
    terms = {
        "the interpreter and its libraries": memory.baseline,
        "the frames and the working memory of the threads": memory.threads * memory.per_thread,
        "the environments of a block": memory.block,
        "the entries": n_entries * memory.per_entry,
    }
    name = max(terms, key=lambda term: terms[term])
    return f"{name}: {format_bytes(terms[name])}"


def species_text(numbers: Any) -> str:
    """Return how many entries have a central atom of each element.

    Parameters
    ----------
    numbers
        Atomic numbers (entry,).
    """
    values, counts = np.unique(numbers, return_counts=True)
    return ", ".join(f"{symbol(int(z))} {n}" for z, n in zip(values, counts, strict=True))


__all__ = [
    "DictionaryMemory",
    "DictionaryPlan",
    "described",
    "feature_of",
    "max_squared_distance",
    "plan_dictionary",
    "plan_extension",
    "read_added",
    "read_dictionary",
    "species_text",
]
