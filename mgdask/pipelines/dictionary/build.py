"""Build a dictionary of unique local environments, and extend one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from dask.utils import format_bytes

from mgdask import _html
from mgdask.errors import ParameterError, StoreError
from mgdask.execution.client import resolve_client
from mgdask.execution.results import render_rows
from mgdask.execution.usage import peak_memory
from mgdask.features.feature import FrameFeature
from mgdask.pipelines.dictionary.cost import learn_work
from mgdask.pipelines.dictionary.known import forget
from mgdask.pipelines.dictionary.plan import (
    DictionaryPlan,
    described,
    plan_dictionary,
    plan_extension,
    read_added,
    species_text,
)
from mgdask.pipelines.dictionary.samples import Stores, check_feature, list_stores
from mgdask.pipelines.dictionary.screen import ScreenJob
from mgdask.pipelines.dictionary.settle import BuildUsage, Settling
from mgdask.pipelines.featurize.cost import two_digits
from mgdask.pipelines.featurize.validation import Frames, parse_frames
from mgdask.store import staging
from mgdask.store.dictionaries import (
    ORIGINS,
    Dictionary,
    create_dictionary,
    max_squared_distance,
    read_dictionary,
    write_entries,
)
from mgdask.store.failures import FatalStoreError, advise_on_target
from mgdask.store.growing import GrowingEntries
from mgdask.store.location import local_place
from mgdask.store.lock import Lock
from mgdask.store.manifest import Manifest
from mgdask.store.open import CONTENTS, check_unchanged, open_target
from mgdask.store.shards import get_array, open_group
from mgdask.store.source_checks import check_source
from mgdask.store.trust import TRUSTED, trusting
from mgdask.store.writable import check_writable

if TYPE_CHECKING:
    from distributed import Client


MIN_KEPT_ROOM = 0.75
"""Minimum fraction of the room for entries that must remain to use all cores."""


@dataclass(frozen=True)
class DictionaryReport:
    """Result of building or extending a dictionary. ``print`` shows it as a table.

    Attributes
    ----------
    out
        The dictionary.
    n_entries
        Number of entries.
    species
        Number of entries for each element of the central atom, in words.
    n_environments
        Number of environments that were compared, over all calls.
    n_new
        Number of environments that this call compared.
    n_blocks
        Number of blocks that this call settled.
    n_survivors
        Number of environments that the client compared again.
    seconds
        Wall-clock time of this call in s.
    cpu
        CPU time of its tasks in s.
    settling
        Time in s that the client spent settling blocks.
    peak_memory, client_memory
        Peak memory of a worker and of the client in bytes.
    projected
        Projected memory of a worker in bytes, for the number of entries found.
    trusted
        Whether samples were read without comparing their files with their records.
    """

    out: str
    n_entries: int
    species: str
    n_environments: int
    n_new: int
    n_blocks: int
    n_survivors: int
    seconds: float
    cpu: float
    settling: float
    peak_memory: int
    client_memory: int
    projected: int
    trusted: bool = False

    def __str__(self) -> str:
        return render_rows(self._rows())

    def _repr_html_(self) -> str:
        return _html.table("Dictionary", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        found = f"{self.n_entries} of {self.n_environments} environments: {self.species}"
        rows = [("dictionary", self.out), ("entries", found)]
        if not self.n_new:
            return [*rows, ("", "nothing was left to do")]
        each = 1e6 * self.cpu / self.n_new
        time = (
            f"{self.seconds:.1f} s; {two_digits(self.cpu)} core seconds in the tasks "
            f"({each:.0f} µs per environment), {two_digits(self.settling)} s to settle "
            f"{self.n_survivors} environments in the client"
        )
        memory = (
            f"{format_bytes(self.peak_memory)} in a worker (projected "
            f"{format_bytes(self.projected)}), {format_bytes(self.client_memory)} in the client"
        )
        rows += [
            ("compared now", f"{self.n_new} environments in {self.n_blocks} blocks"),
            ("time", time),
            ("peak memory", memory),
        ]
        return [*rows, ("input", TRUSTED)] if self.trusted else rows


def build_dictionary(
    stores: Stores,
    soap: FrameFeature,
    *,
    threshold: float = 0.84,
    out: str | Path,
    frames: Frames = None,
    per_species: bool = False,
    memory: str | int = "2GiB",
    client: Client | None = None,
    progress: bool = True,
    trust: bool = False,
) -> DictionaryReport:
    """Build a dictionary of unique local environments (ULEs).

        M_ij = 1 - sqrt(|p_i - p_j|^2 / 2),   p of norm 1

    An environment becomes an entry if its similarity M to every earlier entry is below
    the threshold. Environments are compared in stored order: store by store, frame by
    frame, atom by atom.

    Parameters
    ----------
    stores
        A finished trajectory store, or several in the order in which they are read.
    soap
        Feature that gives the vectors p, usually ``mgdask.SOAP``. They are scaled to
        norm 1.
    threshold
        Similarity at or above which an entry covers an environment, from 0 to 1.
    out
        Dictionary to write. Repeating an interrupted call continues where it stopped.
    frames
        A slice or increasing indices, for each store. Default: all frames.
    per_species
        Compare only environments whose central atoms are of the same species.
    memory
        Memory of a worker and of the client. It limits the number of entries.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.
    trust
        Read the stores without comparing their files with their records. A damaged file
        may then give wrong entries.

    Returns
    -------
    report
        A ``DictionaryReport``.

    Raises
    ------
    ParameterError
        If an argument is not allowed, or the feature cannot describe a sample.
    PlanError
        If not even a few entries fit into the memory.
    RunError
        If a position is not finite, or the entries exceed the memory. All earlier
        entries are kept.
    StoreError
        If ``out`` holds anything else, or is being written by another process.

    Notes
    -----
    The result equals that of the sequential algorithm, bit for bit, for any number of
    workers and any memory. Blocks are screened in parallel against the entries known so
    far. The client compares the remaining environments in stored order. Every decision
    uses a float64 sum of squared differences in a fixed order.

    Environments of different central elements may be similar. They are compared unless
    ``per_species`` is set. The species of the central atom of each entry is stored in
    both cases.

    References
    ----------
    Liu C. et al., Acta Mater. 259, 119281 (2023), where 0.84 gave 5223 entries.

    Examples
    --------
    >>> soap = mgdask.SOAP(("Cu", "Zr"), 5.0, 11, 12, 0.5)  # doctest: +SKIP
    >>> mgdask.build_dictionary("glass.zarr", soap, out="ules.zarr")  # doctest: +SKIP
    """
    plan = plan_dictionary(
        stores,
        soap,
        threshold=threshold,
        out=out,
        frames=frames,
        per_species=per_species,
        memory=memory,
        trust=trust,
    )
    return run_plan(plan, client, progress=progress)


def run_plan(
    plan: DictionaryPlan, client: Client | None = None, *, progress: bool = True
) -> DictionaryReport:
    """Build or extend a dictionary as planned.

    Parameters
    ----------
    plan
        From ``plan_dictionary`` or ``plan_of_extension``.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    report
        A ``DictionaryReport``.
    """
    began = time.perf_counter()
    out, base = plan.out, plan.base
    in_place = _is_in_place(plan)
    with trusting(plan.trust), Manifest(out).locked() as lock:
        if base is not None and in_place:
            check_unchanged(out, base.content)  # another process may have extended it
            with _prepared_beside(plan) as folder:
                usage = _complete(plan, lock, client, progress, folder)
                lock.check()
                staging.swap_versions(out, folder, ())
        else:
            if not is_begun(plan):
                create_dictionary(out, plan.description)
            usage = _complete(plan, lock, client, progress)
    return _report(plan, usage, began)


def extend_dictionary(
    dictionary: str | Path,
    stores: Stores,
    *,
    out: str | Path | None = None,
    soap: FrameFeature | None = None,
    threshold: float | None = None,
    per_species: bool | None = None,
    frames: Frames = None,
    memory: str | int = "2GiB",
    client: Client | None = None,
    progress: bool = True,
    trust: bool = False,
) -> DictionaryReport:
    """Extend a dictionary by the environments of further samples.

    The result is identical, bit for bit, to ``build_dictionary`` with all samples in
    this order. The earlier samples are not needed.

    Parameters
    ----------
    dictionary
        A finished dictionary.
    stores
        A finished trajectory store, or several in the order in which they are read.
    out
        Dictionary to write. Default: replace ``dictionary`` when the work is finished.
    soap, threshold, per_species
        Optional checks. Values other than those of the dictionary are refused.
    frames
        A slice or increasing indices, for each store. Default: all frames.
    memory
        Memory of a worker, and of the client. It limits the number of entries.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.
    trust
        Read the stores without comparing their files with their records.

    Returns
    -------
    report
        A ``DictionaryReport``.

    Raises
    ------
    ParameterError
        If the dictionary was built with another feature, threshold or ``per_species``,
        if its feature cannot describe a sample, or if it already has the sample.
    RunError
        As for ``build_dictionary``.
    StoreError
        If ``dictionary`` is not a finished one, or ``out`` holds anything else.

    Notes
    -----
    To continue an interrupted call, repeat it. Until it is finished, the dictionary
    does not change. Features and models that use the old dictionary refuse the extended
    one, because its content differs.

    Examples
    --------
    >>> mgdask.extend_dictionary("ules.zarr", "more.zarr")  # doctest: +SKIP
    """
    began = time.perf_counter()
    _check_same(_open_base(dictionary), soap, threshold, per_species)
    plan = plan_of_extension(dictionary, stores, out=out, frames=frames, memory=memory, trust=trust)
    if isinstance(plan, str):
        return _unchanged(read_dictionary(dictionary), began)
    return run_plan(plan, client, progress=progress)


def plan_of_extension(
    dictionary: str | Path,
    stores: Stores,
    *,
    out: str | Path | None = None,
    frames: Frames = None,
    memory: str | int = "2GiB",
    threads: int = 1,
    trust: bool = False,
) -> DictionaryPlan | str:
    """Plan the extension of a dictionary.

    Parameters
    ----------
    dictionary, stores, out, frames, memory, trust
        As for ``extend_dictionary``.
    threads
        Threads of each worker.

    Returns
    -------
    plan
        A ``DictionaryPlan``, or a text that says why nothing is left to do.
    """
    dictionary = local_place(dictionary, "extend_dictionary reads")
    base = _open_base(dictionary)
    target = dictionary if out is None else local_place(out, "extend_dictionary writes")
    if os.path.realpath(target) == os.path.realpath(dictionary) and _ends_with(
        base, stores, frames
    ):
        return f"{dictionary} already has these samples; nothing is left to do"
    return plan_extension(
        base, stores, target, frames=frames, memory=memory, threads=threads, trust=trust
    )


def _open_base(dictionary: str | Path) -> Dictionary:
    """Open a dictionary that is to be extended."""
    if staging.swap_was_interrupted(dictionary):
        with Manifest(dictionary).locked():  # which finishes it
            pass
    return read_dictionary(dictionary)


def _check_same(
    base: Dictionary, soap: FrameFeature | None, threshold: float | None, per_species: bool | None
) -> None:
    """Refuse parameters other than those of a dictionary."""
    advice = "Leave it out to use that of the dictionary, or build a new dictionary"
    if threshold is not None and float(threshold) != base.threshold:
        raise ParameterError(
            f"threshold={threshold}, but {base.path} was built with {base.threshold}. {advice}"
        )
    if per_species is not None and bool(per_species) != base.per_species:
        raise ParameterError(
            f"per_species={per_species}, but {base.path} was built with {base.per_species}. "
            f"{advice}"
        )
    if soap is None:
        return
    given, kept = described(check_feature(soap)), base.feature
    if given == kept:
        return
    if given["family"] != kept["family"]:
        what = f"{given['family']}, but {base.path} was built with {kept['family']}"
    else:
        old = kept["parameters"]
        changed = {n: v for n, v in given["parameters"].items() if old.get(n) != v}
        what = ", ".join(f"{name}={value}" for name, value in changed.items())
        what += f", but {base.path} was built with "
        what += ", ".join(f"{name}={old.get(name)}" for name in changed)
    raise ParameterError(f"soap has {what}. {advice}")


def _ends_with(base: Dictionary, stores: Stores, frames: Frames) -> bool:
    """Return whether samples are the last ones of a dictionary already."""
    paths = list_stores(stores)
    last = base.sources[-len(paths) :]
    if len(base.sources) <= len(paths):
        return False
    added = read_added(base, stores, frames)
    return [(s.content, s.frames) for s in added] == [(s.content, s.frames) for s in last]


def _unchanged(base: Dictionary, began: float) -> DictionaryReport:
    seconds = time.perf_counter() - began
    return DictionaryReport(
        base.path,
        base.n_entries,
        species_text(base.species),
        base.n_environments,
        *(0, 0, 0, seconds, 0.0, 0.0, 0, 0, 0),
    )


def _is_in_place(plan: DictionaryPlan) -> bool:
    base = plan.base
    return base is not None and os.path.realpath(plan.out) == os.path.realpath(base.path)


def is_begun(plan: DictionaryPlan) -> bool:
    """Return whether a dictionary of the same parameters was begun.

    Parameters
    ----------
    plan
        From ``plan_dictionary`` or ``plan_of_extension``.

    Raises
    ------
    StoreError
        If ``out`` holds anything else, or cannot be written.
    """
    check_writable(plan.out)
    if _is_in_place(plan) or not Path(plan.out).exists():
        return False
    attrs = open_target(plan.out).attrs
    if attrs.get("dictionary_digest") != plan.description.digest():
        kind = CONTENTS.get(str(attrs.get("mgdask_kind")), "nothing that mgdask wrote")
        is_dictionary = "dictionary_digest" in attrs
        other = " with another feature, threshold, samples or frames" if is_dictionary else ""
        advice = advise_on_target(plan.out, deletable=is_dictionary)
        raise StoreError(f"{advice}: it holds {kind}{other}")
    return True


@contextmanager
def _prepared_beside(plan: DictionaryPlan) -> Iterator[Path]:
    """Yield a folder beside a dictionary in which its extension is prepared.

    An interrupted call of the same extension is continued. Any other content is
    removed.
    """
    identity = plan.description.digest()
    folder = None
    for begun in staging.folders(plan.out, staging.OVERWRITE):
        try:
            same = open_group(begun).attrs.get("dictionary_digest") == identity
        except FatalStoreError:
            raise
        except StoreError:
            same = False
        if same and folder is None:
            folder = begun
    staging.remove_all(plan.out, *staging.PURPOSES, keep=folder)
    if folder is None:
        folder = staging.new_folder(plan.out, staging.OVERWRITE)
        create_dictionary(folder, plan.description)
    yield folder


def _complete(
    plan: DictionaryPlan,
    lock: Lock,
    client: Client | None,
    progress: bool,
    folder: Path | None = None,
) -> BuildUsage:
    """Settle what is missing, and finish the store."""
    out = Path(plan.out) if folder is None else folder
    description, identity = plan.description, plan.description.digest()
    entries = GrowingEntries(out, plan.feature.n_columns, identity)
    if Manifest(out).content() is not None:
        entries.remove()  # a process was killed before it removed them
        return BuildUsage()
    run = uuid4().hex[:12]
    job = ScreenJob(
        str(out),
        identity,
        plan.feature,
        max_squared_distance(description.threshold),
        description.per_species,
        run,
    )
    entries.resume()
    _begin_with(plan, entries)
    usage = BuildUsage()
    try:
        if entries.n_settled < description.n_environments:
            _check_samples(plan)
            with resolve_client(client, _threads_that_fit(plan)) as workers:
                threads = max(workers.nthreads().values(), default=plan.memory.threads)
                settling = Settling(
                    job,
                    entries,
                    description.sources,
                    lock,
                    max_block=plan.max_block,
                    max_entries=_room(plan, threads),
                    allowed=plan.allowed,
                )
                try:
                    settling.run(workers, progress=progress)
                finally:
                    with suppress(Exception):  # workers may be gone
                        workers.run(forget, run)
                usage = settling.usage
        lock.check()
        _check_unchanged(plan)
        forget(run)  # all entries are mapped once more
        origins = entries.origins(0, entries.n_entries)
        columns = {name: origins[:, k] for k, name in enumerate(ORIGINS)}
        write_entries(out, description, entries.vectors(0, entries.n_entries), columns)
    finally:
        forget(run)
    entries.remove()
    learn_work(
        description.sources[-1].path,
        plan.feature,
        description.threshold,
        usage.n_environments,
        usage.cpu,
        usage.hosts,
    )
    return usage


def _begin_with(plan: DictionaryPlan, entries: GrowingEntries) -> None:
    """Settle the environments of the dictionary that is extended."""
    base = plan.base
    if base is None or entries.n_settled:
        return
    origins = np.stack([getattr(base, name) for name in ORIGINS], axis=1)
    entries.settle(base.n_environments, base.vectors(), np.ascontiguousarray(origins))


def _check_samples(plan: DictionaryPlan) -> None:
    """Compare all files that will be read with their records, by size."""
    for source in plan.description.sources[0 if plan.base is None else len(plan.base.sources) :]:
        n_frames = get_array(open_group(source.path), "step").shape[0]
        check_source(source.path, ("position",), parse_frames(source.frames, n_frames))


def _check_unchanged(plan: DictionaryPlan) -> None:
    for source in plan.description.sources[0 if plan.base is None else len(plan.base.sources) :]:
        check_unchanged(source.path, source.content)


def _threads_that_fit(plan: DictionaryPlan) -> int:
    """Return the threads of a temporary client: all cores, if they leave room."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    )
    while cores > 1 and _room(plan, cores) < MIN_KEPT_ROOM * plan.max_entries:
        cores -= 1
    return cores


def _room(plan: DictionaryPlan, threads: int) -> int:
    """Return the number of entries that fit beside so many threads."""
    return replace(plan.memory, threads=threads).room(plan.allowed)


def _report(plan: DictionaryPlan, usage: BuildUsage, began: float) -> DictionaryReport:
    made = read_dictionary(plan.out)
    return DictionaryReport(
        plan.out,
        made.n_entries,
        species_text(made.species),
        made.n_environments,
        usage.n_environments,
        usage.n_blocks,
        usage.n_survivors,
        time.perf_counter() - began,
        usage.cpu,
        usage.settling,
        usage.peak_memory,
        peak_memory(),
        plan.memory.worker(made.n_entries),
        plan.trust,
    )
