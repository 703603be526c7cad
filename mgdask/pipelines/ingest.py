"""Read trajectory files into a store, with one task per shard of frames."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mgdask import _html
from mgdask._renamed import check_arguments
from mgdask.errors import ParameterError, StoreError
from mgdask.execution.deferred import deferred_client
from mgdask.pipelines.frame_values import (
    Given,
    Sources,
    Temperatures,
    merge,
    resolve,
    runs_of,
    write,
)
from mgdask.pipelines.ingest_append import (
    MAX_NAMED_SOURCES,
    make_room,
    plan_append,
    stored_runs,
    values_of_appended,
)
from mgdask.pipelines.ingest_blocks import unfinished
from mgdask.pipelines.ingest_checks import check_reading, check_target
from mgdask.pipelines.ingest_objects import are_paths, as_files
from mgdask.pipelines.ingest_places import appended, created, replaced
from mgdask.pipelines.ingest_tasks import (
    atom_variables,
    check_begun,
    fill,
    restore_small,
    write_axis,
)
from mgdask.pipelines.small import is_small
from mgdask.readers.column_summary import columns_kept, columns_left_out
from mgdask.readers.files import expand
from mgdask.readers.indexing import take_inventory
from mgdask.readers.inventory import Inventory
from mgdask.store import frame_values as stored_values
from mgdask.store import trajectory
from mgdask.store.appends import last_digest, read_appends
from mgdask.store.attributes import COORDINATES
from mgdask.store.creation import created_whole
from mgdask.store.location import local_path, local_place
from mgdask.store.lock import settled
from mgdask.store.manifest import Manifest
from mgdask.store.mark import METADATA, check_sound
from mgdask.store.open import FRAME_AND_ATOM
from mgdask.store.provenance import versions
from mgdask.store.shards import (
    COMPRESSION,
    Group,
    check_new,
    get_array,
    new_group,
    open_group,
    remove_store,
)
from mgdask.store.staging import is_declared
from mgdask.store.summary import KEPT, LEFT_OUT, size_text, summarize_store

if TYPE_CHECKING:
    from distributed import Client

J = TypeVar("J")
R = TypeVar("R")

MIN_SECONDS, MIN_BYTES = 1.0, 10_000_000
"""Minimum duration in s and minimum input in bytes for which a rate is shown."""


@dataclass(frozen=True)
class IngestReport:
    """Result of an ingest; ``str`` gives a summary with the audit.

    Attributes
    ----------
    path
        The store.
    n_frames, n_atoms
        Number of frames and atoms in the store.
    n_blocks, n_written
        Total number of blocks, and number written by this call.
    seconds
        Wall-clock time in s.
    input_bytes
        Size of the input files in bytes.
    notes
        Notes of the audit, with remarks on input that is implausible.
    summary
        What the store holds, as (label, text): runs, species, cell, density, times and
        columns.
    """

    path: str
    n_frames: int
    n_atoms: int
    n_blocks: int
    n_written: int
    seconds: float
    input_bytes: int
    notes: tuple[str, ...]
    summary: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.n_frames} frames of {self.n_atoms} atoms; {self._blocks()}"]
        width = max((len(label) for label, _ in self.summary), default=0)
        lines += [f"  {label:{width}}  {text}" for label, text in self.summary]
        lines += [f"  audit: {note}" for note in self.notes] or ["  audit: nothing to report"]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        size = f"{self.n_frames} frames of {self.n_atoms} atoms"
        rows = [("store", self.path), ("size", size), ("blocks", self._blocks()), *self.summary]
        notes = self.notes or ("nothing to report",)
        return _html.table("Trajectory", [*rows, *(("audit", note) for note in notes)])

    def _blocks(self) -> str:
        rate = ""
        is_large = self.input_bytes >= MIN_BYTES and self.seconds >= MIN_SECONDS
        if is_large and self.n_written == self.n_blocks:
            per_second = size_text(self.input_bytes / self.seconds)
            rate = f" ({size_text(self.input_bytes)} of input, {per_second} per second)"
        written = f"{self.n_written} of {self.n_blocks} blocks written now"
        return f"{written}, in {self.seconds:.1f} s{rate}"


def ingest(
    paths: str | Path | Sequence[str | Path] | Any,
    out: str | Path,
    *,
    species: Mapping[int, str] | Mapping[str, str] | Sequence[str] | None = None,
    timestep: float | None = None,
    run: str | Sequence[str] | None = None,
    temperature: Temperatures | None = None,
    variables: Sources | None = None,
    client: Client | None = None,
    append: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> IngestReport:
    """Read trajectory files into one Zarr store.

    The audit remarks on distances in the first frame that do not fit the radii of the
    elements, for example if two species are swapped.

    Parameters
    ----------
    paths
        File names or patterns. Several files form one trajectory in the given order;
        matches of a pattern are in natural order. Or objects: an iterable of ASE
        ``Atoms`` or other configurations that ``Feature.compute`` takes, an MDAnalysis
        ``Universe``, or a Dataset of ``mgdask.open_store``. A list of these has one run
        per item and needs ``run``. Numbers in ``atoms.info`` and arrays of atoms are
        kept; ``step``, and ``time`` in ps, are the timestep and the time.
    out
        Store to write. Repeating an interrupted call computes only what is missing.
    species
        Element of each type, as ``{1: "Cu", 2: "Zr"}`` or as ("Cu", "Zr") for types 1
        and 2. Type labels are mapped by ``{"Cu1": "Cu"}``. Not needed if the files
        contain elements. For files with neither types nor elements: one element per
        atom, in the order of ids.
    timestep
        Timestep in ps, for files without ITEM: TIME.
    run
        Label of the simulation. If it is a list with one label per entry of ``paths``,
        each entry is a separate simulation. Default: derived from the file names.
    temperature
        Temperature in K for all runs, or a list with one per run.
    variables
        Values of frames by name. A value is (path, column) or "path:column" for a text
        file with one row per frame, a number for all frames, or an array (frame,). A
        list has one of these per run. Columns are counted from 1. See
        ``mgdask.attach``.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    append
        Add frames of a continued simulation to ``out``, or frames of other runs if
        ``run`` names them. Timesteps that the run already has are skipped and reported.
        The frames are written beside ``out`` and become part of it at the end, so
        ``out`` does not change if the call fails.
    overwrite
        Replace an existing store. The new version is written beside it and takes its
        place at the end, so the old one stays if the call fails.
    **options
        ``units`` (LAMMPS style, default metal), ``run_per_file``, ``repeated`` ("last",
        "first", "all" or "error"), ``columns`` (additional columns to keep), ``frames``
        (a slice, indices or "start:stop:step"), ``atom_style``, ``origin`` (lower
        corner of the cells in files that do not state it), and ``particles`` (group of
        an H5MD file).

    Returns
    -------
    report
        An ``IngestReport`` with what was understood and the notes of the audit.

    Raises
    ------
    AuditError
        If the input cannot be read correctly. The message names file, byte or line,
        frame and timestep.
    StoreError
        If ``out`` cannot be written, or holds other results.
    ParameterError
        If an argument is unknown or not allowed.

    Examples
    --------
    >>> mgdask.ingest(
    ...     "dump.*.gz", "glass.zarr", species={1: "Cu", 2: "Zr"}, timestep=0.002
    ... )  # doctest: +SKIP
    >>> mgdask.ingest(
    ...     ["300.dump", "500.dump"],
    ...     "glass.zarr",
    ...     run=["300K", "500K"],
    ...     temperature=[300.0, 500.0],
    ...     species=("Cu", "Zr"),
    ... )  # doctest: +SKIP
    """
    started = clock.perf_counter()
    out = local_path(out, "mgdask ingest writes")
    check_arguments("ingest", options, [ingest, take_inventory], ["mapper"])
    is_named = run is not None or bool(options.get("run_per_file"))
    per_file = bool(options.get("run_per_file"))
    files, labels = _label_inputs(paths, run, per_file) if are_paths(paths) else ([], run)
    check_reading(options, species, timestep)
    # nothing is locked for a store that does not exist
    if append and not is_declared(out):  # otherwise the lock comes first, which finishes it
        settled(out, lambda: check_target(out, files, append=True, overwrite=overwrite))
    # held before any file is read, and until the summary of this call is made
    with Manifest(out).locked() as lock, deferred_client(client) as workers, ExitStack() as written:
        if not files:
            found, own = written.enter_context(as_files(paths, out, is_labeled=is_named))
            files, labels = _label_inputs(found, own if run is None and own else run, per_file)
        check_target(out, files, append=append, overwrite=overwrite)
        inventory = take_inventory(
            files,
            species=species,
            timestep=timestep,
            run=labels,
            mapper=map if is_small(files) else partial(_map_on, workers),
            **options,
        )
        if append:
            addition = plan_append(out, inventory, is_named)
            inventory, start, notes = addition.inventory, addition.start, addition.inventory.notes
            place = appended(out, addition, lock)
        else:
            start, notes = 0, inventory.notes
            prepare = partial(_prepare_new, inventory=inventory)
            is_same = partial(_same_ingest, inventory=inventory)
            place = replaced(out, prepare, is_same, lock) if overwrite else created(out, prepare)
        given = _resolve_values(temperature, variables, inventory, start)
        lock.check()
        with place as work:
            stored_values.finish_pending(work)
            trajectory.sweep(work)
            check_sound(work)
            Manifest(work).join()
            compared: list[str] = []
            if not append and Manifest(work).content() is None:  # before it is read
                compared = restore_small(work, inventory, start)
            group = open_group(work, mode="r+")
            given = [_padded(item, get_array(group, "position").shape[0]) for item in given]
            runs = runs_of([*stored_runs(group, start), *inventory.run])
            if append:
                more, gaps = values_of_appended(out, group, given, runs, start)
                given, notes = [*given, *more], (*notes, *gaps)
            changes = merge(
                out,
                group,
                given,
                runs,
                overwrite=False,
                command=f"mgdask attach {out} --overwrite replaces it",
            )
            if append:
                make_room(work, group, addition, notes)
                if Manifest(work).content() is None:
                    compared = restore_small(work, inventory, start)
            n_written, n_blocks = fill(work, inventory, start, workers)
            lock.check()
            write(work, open_group(work), changes)
            group = open_group(work)
            n_frames = get_array(group, "position").shape[0]
            has_others = start > 0 or n_frames > inventory.n_frames
            if work == out and has_others and (rest := unfinished(out)):
                notes = (*notes, rest)
            else:
                Manifest(work).finish(
                    f"{group.attrs['input_digest']} {last_digest(group)}",
                    rewritten=[*compared, *changes.arrays],
                )
        return IngestReport(
            str(out),
            n_frames,
            inventory.n_atoms,
            n_blocks,
            n_written,
            clock.perf_counter() - started,
            sum(source.size for source in inventory.sources),
            tuple(notes),
            tuple(summarize_store(str(out))),
        )


def _map_on(client: Client, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
    if len(jobs) < 2:
        return [function(job) for job in jobs]
    return list(client.gather(client.map(function, jobs, pure=False)))


# Arguments


def _label_inputs(
    paths: str | Path | Sequence[str | Path], run: str | Sequence[str] | None, run_per_file: bool
) -> tuple[list[str], str | list[str] | None]:
    """Return the files of all inputs, and one label for all or one per file."""
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    inputs = [local_place(each, "mgdask ingest reads") for each in given]
    if isinstance(run, str) and len(inputs) > 1 and run.count(",") == len(inputs) - 1:
        raise ParameterError(
            f"run={run!r} would be the one label of {len(inputs)} inputs, and frames with equal "
            f"timesteps would be left out; give a list, run={run.split(',')}, or repeat --run"
        )
    if run is None or isinstance(run, str):
        return expand(inputs), run
    labels = list(run)
    if run_per_file:
        raise ParameterError(
            f"run={labels} and run_per_file=True exclude each other: both define which files form "
            "a simulation; give only one"
        )
    if len(labels) != len(inputs) or not all(isinstance(label, str) for label in labels):
        raise ParameterError(
            f"run={labels} has {len(labels)} labels for {len(inputs)} inputs; give one label per "
            "input, in the same order, or one for all. A pattern is one input: quote it on a "
            "command line, so that the shell does not expand it"
        )
    stretches = [label for k, label in enumerate(labels) if k == 0 or labels[k - 1] != label]
    if len(set(stretches)) < len(stretches):
        raise ParameterError(
            f"run={labels}: the inputs of one run must be consecutive; reorder the inputs"
        )
    matches = [expand(each) for each in inputs]
    per_file = [label for label, found in zip(labels, matches, strict=True) for _ in found]
    return [name for found in matches for name in found], per_file


def _resolve_values(
    temperature: Temperatures | None, variables: Sources | None, inventory: Inventory, start: int
) -> list[Given]:
    """Return the values given by the user for the frames of an inventory."""
    omitted = [note for note in inventory.notes if "left out" in note or "skipped" in note]
    more = f" ({len(omitted)} notes of this kind)" if len(omitted) > 1 else ""
    left_out = f". The audit says: {omitted[0]}{more}" if omitted else ""
    given = resolve(
        temperature,
        variables,
        runs_of(inventory.run, start),
        start + inventory.n_frames,
        left_out=left_out,
    )
    for item in given:
        if item.name in inventory.variables:
            raise ParameterError(
                f"variables: the files already have a variable {item.name!r}; choose another name, "
                "or leave that column out with columns="
            )
    return given


def _padded(item: Given, n_frames: int) -> Given:
    """Return values for all frames of a store; those appended later get no value."""
    n_more = n_frames - len(item.values)
    return replace(item, values=np.pad(item.values, (0, max(n_more, 0)), constant_values=np.nan))


# Creating a store


def _prepare_new(out: Path, inventory: Inventory) -> None:
    """Create the store, unless it was begun by the same ingest."""
    same, is_begun = _same_ingest(out, inventory), False
    if same is not None:
        if read_appends(same) or all(
            (out / name / METADATA).exists() for name in ("position", "run", "cell")
        ):
            check_sound(out)
            if Manifest(out).content() is None:
                check_begun(out, inventory)
            return
        is_begun = True  # interrupted before its arrays were made
    sources = inventory.sources_table()
    more = len(sources) - MAX_NAMED_SOURCES
    attrs = {
        "mgdask_kind": "trajectory",
        "mgdask_format": trajectory.FORMAT,
        COORDINATES: " ".join(FRAME_AND_ATOM),
        "input_digest": inventory.digest(),
        "sources": ", ".join(source["name"] for source in sources[:MAX_NAMED_SOURCES])
        + (f" and {more} more" if more > 0 else ""),
        "source_files": sources,
        "image_scheme": inventory.image_scheme,
        "units_of_input": inventory.units,
        "audit": list(inventory.notes),
        KEPT: columns_kept(inventory),
        LEFT_OUT: columns_left_out(inventory),
        "compression": COMPRESSION,
        "versions": versions(("mgdask", "numpy", "zarr", "pyarrow")),
    }
    check_new(out, overwrite=is_begun)
    with created_whole(out) as fresh:
        group = new_group(fresh, attrs, overwrite=False)
        Manifest(fresh).create()
        trajectory.create_arrays(
            group,
            n_frames=inventory.n_frames,
            atom_id=inventory.atom_id,
            species=inventory.species,
            mass=inventory.mass,
            pbc=np.array(inventory.pbc),
            image_scheme=inventory.image_scheme,
            variables=atom_variables(inventory),
            scratch=inventory.needs_image_pass,
        )
        write_axis(group, inventory, 0)
        remove_store(out)


def _same_ingest(out: Path, inventory: Inventory) -> Group | None:
    """Return the store of the same files and options, if there is one."""
    try:
        group = open_group(out)
    except StoreError:
        return None
    attrs = group.attrs
    same = (
        attrs.get("mgdask_kind") == "trajectory" and attrs.get("input_digest") == inventory.digest()
    )
    return group if same else None
