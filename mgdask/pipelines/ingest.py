"""Read trajectory files into a store, with one task per shard of frames."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mgdask.errors import StoreError
from mgdask.execution.client import resolve_client
from mgdask.pipelines.ingest_tasks import atom_variables, fill
from mgdask.readers.indexing import take_inventory
from mgdask.readers.inventory import Inventory
from mgdask.store import trajectory
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.provenance import versions
from mgdask.store.shards import COMPRESSION, Group, get_array, new_group, open_group, read_array

if TYPE_CHECKING:
    from distributed import Client

J = TypeVar("J")
R = TypeVar("R")

MAX_NAMED_SOURCES = 20
"""Maximum number of source files listed in the attribute ``sources``."""
MAX_NAMED_FRAMES = 5
"""Maximum number of frames listed in a note of the audit."""


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
        Notes of the audit.
    """

    path: str
    n_frames: int
    n_atoms: int
    n_blocks: int
    n_written: int
    seconds: float
    input_bytes: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        rate = self.input_bytes / 1e6 / max(self.seconds, 1e-9)
        lines = [
            f"{self.path}: {self.n_frames} frames of {self.n_atoms} atoms; {self.n_written} of "
            f"{self.n_blocks} blocks written now, in {self.seconds:.1f} s ({rate:.0f} MB of input "
            "per second)"
        ]
        lines += [f"  audit: {note}" for note in self.notes] or ["  audit: nothing to report"]
        return "\n".join(lines)


def ingest(
    paths: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    species: Mapping[int, str] | Mapping[str, str] | Sequence[str] | None = None,
    timestep: float | None = None,
    client: Client | None = None,
    append: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> IngestReport:
    """Read trajectory files into one Zarr store.

    Parameters
    ----------
    paths
        File names or patterns. Several files form one trajectory in the given order;
        matches of a pattern are in natural order.
    out
        Store to write. Repeating an interrupted call computes only what is missing.
    species
        Element of each type, as ``{1: "Cu", 2: "Zr"}`` or as ("Cu", "Zr") for types 1
        and 2. Type labels are mapped by ``{"Cu1": "Cu"}``. Not needed if the files name
        elements. For files with neither types nor elements: one element per atom, in
        the order of ids.
    timestep
        Timestep in ps, for files without ITEM: TIME.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    append
        Add frames of a continued simulation to ``out``. Timesteps already in the store
        are skipped and reported.
    overwrite
        Replace an existing store.
    **options
        ``units`` (LAMMPS style, default metal), ``run`` (label of the simulation),
        ``run_per_file``, ``repeated`` ("last", "first", "all" or "error"), ``columns``
        (additional columns to keep), ``frames`` (a slice, indices or
        "start:stop:step"), ``atom_style``, and ``origin`` (lower corner of the cells in
        files that do not state it).

    Returns
    -------
    report
        An ``IngestReport`` with the notes of the audit.

    Raises
    ------
    AuditError
        If the input cannot be read correctly, with file, byte or line, frame and
        timestep.
    StoreError
        If ``out`` cannot be written, or holds other results.

    Examples
    --------
    >>> mgdask.ingest(
    ...     "dump.*.gz", "glass.zarr", species={1: "Cu", 2: "Zr"}, timestep=0.002
    ... )  # doctest: +SKIP
    """
    started = clock.perf_counter()
    out = Path(out)
    with resolve_client(client) as workers:
        inventory = take_inventory(
            paths, species=species, timestep=timestep, mapper=partial(_map_on, workers), **options
        )
        manifest = Manifest(out)
        if append:
            inventory, start = _prepare_append(out, inventory)
        else:
            start = 0
            _prepare_new(out, inventory, overwrite)
        with manifest.locked():
            n_written, n_blocks = fill(out, inventory, start, workers)
            attrs = open_group(out).attrs
            manifest.finish(f"{attrs['input_digest']} {attrs.get('append_digest', '')}")
    return IngestReport(
        str(out),
        start + inventory.n_frames,
        inventory.n_atoms,
        n_blocks,
        n_written,
        clock.perf_counter() - started,
        sum(source.size for source in inventory.sources),
        inventory.notes,
    )


def _map_on(client: Client, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
    if len(jobs) < 2:
        return [function(job) for job in jobs]
    return list(client.gather(client.map(function, jobs, pure=False)))


# Creating a store


def _prepare_new(out: Path, inventory: Inventory, overwrite: bool) -> None:
    """Create the store, unless it was begun by the same ingest."""
    same = _same_ingest(out, inventory)
    if same is not None and not overwrite:
        n_stored = get_array(same, "position").shape[0] if "position" in same else -1
        if n_stored > inventory.n_frames:
            raise StoreError(
                f"{out} holds these frames and {n_stored - inventory.n_frames} that were appended "
                "later; nothing to do"
            )
        if n_stored == inventory.n_frames and {"run", "cell"} <= set(same.array_keys()):
            return
        overwrite = True  # interrupted before its arrays were made
    sources = inventory.sources_table()
    more = len(sources) - MAX_NAMED_SOURCES
    attrs = {
        "mgdask_kind": "trajectory",
        "mgdask_format": trajectory.FORMAT,
        "input_digest": inventory.digest(),
        "sources": ", ".join(source["name"] for source in sources[:MAX_NAMED_SOURCES])
        + (f" and {more} more" if more > 0 else ""),
        "source_files": sources,
        "image_scheme": inventory.image_scheme,
        "units_of_input": inventory.units,
        "audit": list(inventory.notes),
        "compression": COMPRESSION,
        "versions": versions(("mgdask", "numpy", "zarr", "pyarrow")),
    }
    group = new_group(out, attrs, overwrite=overwrite)
    Manifest(out).create()
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
    _write_axis(group, inventory, 0)


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


def _write_axis(group: Group, inventory: Inventory, start: int) -> None:
    trajectory.write_frames_axis(
        group,
        start,
        step=inventory.step,
        cell=inventory.cell,
        origin=inventory.origin,
        run=inventory.run,
        time=inventory.time,
        values=inventory.values,
    )


# Appending to a store


def _prepare_append(out: Path, inventory: Inventory) -> tuple[Inventory, int]:
    """Make room for new frames; return their inventory and the first frame."""
    group = open_group(out, mode="r+")
    if group.attrs.get("mgdask_kind") != "trajectory":
        raise StoreError(f"append: {out} is not a trajectory store")
    own_digest = inventory.digest()
    resumed = group.attrs.get("append_digest") == own_digest
    if resumed:
        start_attr: Any = group.attrs["append_start"]
        start = int(start_attr)
    else:
        check_complete(out, kind="trajectory")
        start = get_array(group, "position").shape[0]
    _check_continuation(out, group, inventory)
    inventory, notes = _without_known_frames(out, group, inventory, start)
    if not resumed:
        Manifest(out).reopen()
        audit: Any = group.attrs["audit"]
        source_files: Any = group.attrs["source_files"]
        group.attrs.update(
            {
                "append_digest": own_digest,
                "append_start": start,
                "audit": [*audit, *notes],
                "source_files": [*source_files, *inventory.sources_table()],
            }
        )
    n_frames = start + inventory.n_frames
    if inventory.needs_image_pass:
        trajectory.make_scratch(group, n_frames, inventory.n_atoms)
    trajectory.grow(group, n_frames)
    _write_axis(group, inventory, start)
    return inventory, start


def _check_continuation(out: Path, group: Group, inventory: Inventory) -> None:
    """Raise ``StoreError`` unless the files continue the simulation of a store."""
    for name, ours in (
        ("atom_id", inventory.atom_id),
        ("species", inventory.species),
        ("pbc", np.array(inventory.pbc)),
    ):
        stored = read_array(group, name)
        if stored.shape != ours.shape or (stored != ours).any():
            raise StoreError(
                f"append: {name} differs from that of {out}; only a continuation of the same "
                "simulation can be added"
            )
    if group.attrs["image_scheme"] != inventory.image_scheme:
        raise StoreError(
            f"append: the image scheme of the files is {inventory.image_scheme!r}, that of {out} "
            f"is {group.attrs['image_scheme']!r}"
        )
    stored_columns = {
        name
        for name, array in group.arrays()
        if array.attrs.get("source") == "further column of the input"
    }
    if different := set(atom_variables(inventory)) ^ stored_columns:
        raise StoreError(
            f"append: the further columns differ from those of {out}: {sorted(different)}"
        )
    if (inventory.time is None) != ("time" not in group):
        raise StoreError(
            f"append: {out} and the files do not both have times; give timestep as before"
        )


def _without_known_frames(
    out: Path, group: Group, inventory: Inventory, start: int
) -> tuple[Inventory, list[str]]:
    """Drop timesteps already in a store; return the rest and the notes."""
    runs = [str(label) for label in np.asarray(get_array(group, "run")[:start])]
    steps = np.asarray(get_array(group, "step")[:start])
    label = runs[-1]
    known = {int(step) for step, run in zip(steps, runs, strict=True) if run == label}
    same_run = set(inventory.run) == {inventory.run[0]} and inventory.run[0] not in runs
    keep = [k for k, ref in enumerate(inventory.refs) if not (same_run and ref.step in known)]
    notes = list(inventory.notes)
    if len(keep) < inventory.n_frames:
        kept = set(keep)
        dropped = [ref.where for k, ref in enumerate(inventory.refs) if k not in kept]
        more = len(dropped) - MAX_NAMED_FRAMES
        notes.append(
            f"append: timesteps that {out} already has are skipped: "
            + "; ".join(dropped[:MAX_NAMED_FRAMES])
            + (f"; and {more} more" if more > 0 else "")
        )
    if not keep:
        raise StoreError(f"append: {out} already has all these timesteps; nothing to add")
    inventory = replace(
        inventory,
        refs=tuple(inventory.refs[k] for k in keep),
        notes=tuple(notes),
        time=None if inventory.time is None else inventory.time[keep],
        run=tuple(label if same_run else inventory.run[k] for k in keep),
    )
    return inventory, notes
