"""Ingest as tasks: index and audit, then one task for every shard of frames, resumable like any run."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mgdask.errors import MgdaskError, StoreError
from mgdask.execution.executor import execute, resolve_client
from mgdask.geometry import fractional
from mgdask.pipelines.featurize.block import peak_memory, record
from mgdask.readers.coordinates import image_increments
from mgdask.readers.indexing import take_inventory
from mgdask.readers.inventory import Inventory
from mgdask.readers.window import read_window
from mgdask.store import trajectory
from mgdask.store.failures import explained
from mgdask.store.layout import trajectory_layout
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.provenance import digest, versions
from mgdask.store.shards import COMPRESSION, new_array, new_group, open_group, write_shard


class _Appended(MgdaskError):
    """The store has grown since; not to be swallowed with other errors of the store."""


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did; ``str`` is the text for a terminal, ``notes`` the audit."""

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
            f"{self.path}: {self.n_frames} frames of {self.n_atoms} atoms; {self.n_written} of {self.n_blocks} blocks written "
            f"now, in {self.seconds:.1f} s ({rate:.0f} MB of input a second)"
        ]
        lines += [f"  audit: {note}" for note in self.notes] or ["  audit: nothing to report"]
        return "\n".join(lines)


def ingest(
    paths: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    species: Mapping[int, str] | Sequence[str] | None = None,
    timestep: float | None = None,
    client: Any = None,
    append: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> IngestReport:
    """Read trajectory files into one Zarr store.

    Parameters
    ----------
    paths: names or patterns; several files are one trajectory in the order given (patterns: in natural order).
    out: the store to write. A killed ingest goes on with the same call; another store there is refused without ``overwrite``.
    species: element of every type, ``{1: "Cu", 2: "Zr"}`` or ("Cu", "Zr") for types 1, 2; not needed where files name elements.
    timestep: in ps, for files without ITEM: TIME.
    client: a ``distributed.Client``; default is the current one, else threads of this process.
    append: add frames of a continued simulation to ``out``; a time step that is there already is kept once, and said.
    options: ``units`` (LAMMPS style, default metal), ``run`` (label), ``run_per_file``, ``repeated`` ("last", "first", "all",
        "error"), ``columns`` (further columns to keep), ``frames`` (a slice, numbers or "start:stop:step"), ``atom_style``.

    Returns an ``IngestReport`` with the audit's notes. Raises ``AuditError`` for what cannot be read right (with file, byte or
    line, frame and timestep), ``StoreError`` for the target.

    >>> mgdask.ingest("dump.*.lammpstrj.gz", "glass.zarr", species={1: "Cu", 2: "Zr"}, timestep=0.002)  # doctest: +SKIP
    """
    started = clock.perf_counter()
    out = Path(out)
    with resolve_client(client) as workers:
        mapper = partial(_map_on, workers)
        inventory = take_inventory(
            paths, species=species, timestep=timestep, mapper=mapper, **options
        )
        manifest = Manifest(out)
        if append:
            inventory, start = _prepare_append(out, inventory)
        else:
            start = 0
            _prepare_new(out, inventory, overwrite)
        with manifest.locked():
            written, total = _fill(out, inventory, start, workers)
            attrs = open_group(out).attrs
            manifest.finish(f"{attrs['input_digest']} {attrs.get('append_digest', '')}")
    size = sum(source.size for source in inventory.sources)
    return IngestReport(
        str(out),
        start + inventory.n_frames,
        inventory.n_atoms,
        total,
        written,
        clock.perf_counter() - started,
        size,
        inventory.notes,
    )


def _map_on(client: Any, function: Callable[..., Any], jobs: Sequence[Any]) -> list[Any]:
    if len(jobs) < 2:
        return [function(job) for job in jobs]
    return list(client.gather(client.map(function, jobs, pure=False)))


def _prepare_new(out: Path, inventory: Inventory, overwrite: bool) -> None:
    mine, sources = inventory.digest(), inventory.sources_table()
    with suppress(StoreError):
        group = open_group(out)
        if (
            not overwrite
            and group.attrs.get("mgdask_kind") == "trajectory"
            and group.attrs.get("input_digest") == mine
        ):
            held = int(group["position"].shape[0]) if "position" in group else -1
            if held > inventory.n_frames:
                raise _Appended(
                    f"{out} holds these frames and {held - inventory.n_frames} that were appended later; nothing to do"
                )
            if held == inventory.n_frames and {"run", "cell"} <= set(group.array_keys()):
                return  # the same ingest, to be finished
            overwrite = True  # killed before its arrays were made: begin again
    attrs = {
        "mgdask_kind": "trajectory",
        "mgdask_format": trajectory.FORMAT,
        "input_digest": mine,
        "sources": ", ".join(source["name"] for source in sources[:20])
        + (f" and {len(sources) - 20} more" if len(sources) > 20 else ""),
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
        variables={name: told[:2] for name, told in inventory.variables.items() if told[2]},
        scratch=inventory.needs_image_pass,
    )
    _write_axis(group, inventory, 0)


def _write_axis(group: Any, inventory: Inventory, start: int) -> None:
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


def _prepare_append(out: Path, inventory: Inventory) -> tuple[Inventory, int]:
    group = open_group(out, mode="r+")
    if group.attrs.get("mgdask_kind") != "trajectory":
        raise StoreError(f"append: {out} is not a trajectory store")
    pending = group.attrs.get("append_digest") == inventory.digest()
    if not pending:
        check_complete(out, kind="trajectory")
    start = int(group.attrs["append_start"]) if pending else int(group["position"].shape[0])
    for name, mine in (
        ("atom_id", inventory.atom_id),
        ("species", inventory.species),
        ("pbc", np.array(inventory.pbc)),
    ):
        stored = np.asarray(group[name][...])
        if stored.shape != mine.shape or (stored != mine).any():
            raise StoreError(
                f"append: {name} differs from that of {out}; only a continuation of the same simulation can be added"
            )
    if group.attrs["image_scheme"] != inventory.image_scheme:
        raise StoreError(
            f"append: the files bring images by {inventory.image_scheme!r}, {out} has them by {group.attrs['image_scheme']!r}"
        )
    missing = {name for name, told in inventory.variables.items() if told[2]} ^ {
        n for n, a in group.arrays() if a.attrs.get("source") == "further column of the input"
    }
    if missing:
        raise StoreError(
            f"append: the further columns differ from those of {out}: {sorted(missing)}"
        )
    if (inventory.time is None) != ("time" not in group):
        raise StoreError(
            f"append: {out} and the files do not both have times; give timestep as before"
        )
    runs = [str(r) for r in np.asarray(group["run"][:start])]
    label = runs[-1]
    known = {
        int(s) for s, r in zip(np.asarray(group["step"][:start]), runs, strict=True) if r == label
    }
    same_run = set(inventory.run) == {inventory.run[0]} and inventory.run[0] not in runs
    keep = [k for k, ref in enumerate(inventory.refs) if not (same_run and ref.step in known)]
    notes = list(inventory.notes)
    if len(keep) < inventory.n_frames:
        dropped = [ref.where for k, ref in enumerate(inventory.refs) if k not in set(keep)]
        notes.append(
            f"append: time steps that {out} has already are left out: {'; '.join(dropped[:5])}"
            + (f"; and {len(dropped) - 5} more" if len(dropped) > 5 else "")
        )
    if not keep:
        raise StoreError(f"append: {out} has all these time steps already; nothing to add")
    time = None if inventory.time is None else inventory.time[keep]
    own = inventory.digest()
    inventory = replace(
        inventory,
        refs=tuple(inventory.refs[k] for k in keep),
        notes=tuple(notes),
        time=time,
        run=tuple(label if same_run else inventory.run[k] for k in keep),
    )
    if not pending:
        Manifest(out).reopen()
        group.attrs.update(
            {
                "append_digest": own,
                "append_start": start,
                "audit": [*group.attrs["audit"], *notes],
                "source_files": [*group.attrs["source_files"], *inventory.sources_table()],
            }
        )
    n_frames = start + inventory.n_frames
    if inventory.needs_image_pass and trajectory.SCRATCH not in group:
        shape = trajectory.per_atom(
            trajectory.SCRATCH,
            "int32",
            trajectory_layout(inventory.n_atoms),
            n_frames,
            inventory.n_atoms,
        )
        new_array(group, trajectory.SCRATCH, **shape)
    trajectory.grow(group, n_frames)
    _write_axis(group, inventory, start)
    return inventory, start


def _fill(out: Path, inventory: Inventory, start: int, client: Any) -> tuple[int, int]:
    """Write all shards of frames that are not there yet; returns (blocks written, blocks)."""
    manifest = Manifest(out)
    size = trajectory_layout(inventory.n_atoms).shard_frames
    n_frames = start + inventory.n_frames
    name = digest([inventory.digest(), start, n_frames])
    records = manifest.records()
    todo = []
    blocks = range(start // size, -(-n_frames // size))
    for block in blocks:
        if not manifest.done(f"frames-{block:08d}", name, records):
            todo.append(block)
    if todo or manifest.content() is None:
        manifest.reopen()
    jobs = _group_blocks(inventory, start, size, todo)
    tasks = []
    for group in jobs:
        low, high = max(group[0] * size, start), min((group[-1] + 1) * size, n_frames)
        before = low - 1 if inventory.needs_image_pass and low > start else low
        part = inventory.window(before - start, high - start)
        tasks.append(
            (
                f"frames {low}-{high - 1}",
                (str(out), part, before, tuple(group), size, n_frames, name),
            )
        )
    execute(client, write_frames, tasks, what="ingest", unit="blocks")
    if inventory.needs_image_pass:
        _join_images(out, inventory, start, size, list(blocks), name, client)
    return len(todo), len(blocks)


def _group_blocks(
    inventory: Inventory, start: int, size: int, todo: Sequence[int]
) -> list[list[int]]:
    # frames of some packed files are reached from the beginning only: their shards are one task, in one pass
    streams = {source.path for source in inventory.sources if source.parallel == "stream"}

    def key(block: int) -> str:
        path = inventory.refs[max(block * size - start, 0)].path
        return path if path in streams else f"{path} {block}"

    return [list(group) for _, group in groupby(todo, key=key)]


def write_frames(
    out: str,
    part: Inventory,
    first: int,
    blocks: Sequence[int],
    size: int,
    n_frames: int,
    name: str,
) -> dict[str, Any]:
    """Task: read frames from ``first`` on, and write the shards ``blocks`` of every variable, each with its record."""
    group = open_group(out, mode="r+")
    manifest = Manifest(out)
    names = ["position", "image", *(name for name, told in part.variables.items() if told[2])]
    derive = part.needs_image_pass
    if derive:
        names[1] = trajectory.SCRATCH
    frames = ((first + number - part.first, values) for number, values in read_window(part))
    cells, origins = part.cell, part.origin
    before: np.ndarray[Any, Any] | None = None
    gained = np.zeros((part.n_atoms, 3), dtype=np.int32)
    for block in blocks:
        began = clock.perf_counter()
        low, high = block * size, min((block + 1) * size, n_frames)
        buffer: dict[str, Any] = {}
        for variable in names:
            array: Any = group[variable]
            buffer[variable] = np.empty((high - low, *array.shape[1:]), dtype=array.dtype)
            if low < first and block == blocks[0]:  # frames that were there before an append
                buffer[variable][: first - low] = array[low:first]
        gained[:] = 0
        if derive and low < first and block == blocks[0]:
            stored = group["image"][first - 1]
            position = np.asarray(group["position"][first - 1])
            before = fractional(
                position,
                np.asarray(group["cell"][first - 1]),
                np.asarray(group["origin"][first - 1]),
            )
            gained[:] = stored
            if str(group["run"][first - 1]) != part.run[0]:
                before = None
                gained[:] = 0
            buffer[trajectory.SCRATCH][: first - low] = group["image"][low:first]
        for k, values in frames:
            if derive:
                if (
                    k > first and part.run[k - first] != part.run[k - first - 1]
                ):  # paths begin again with every run
                    before = None
                    gained[:] = 0
                here = fractional(values["position"], cells[k - first], origins[k - first])
                if before is not None:
                    gained += image_increments(before, here, part.pbc)
                before = here
                if k < low:  # the frame before the block: only where paths come from
                    gained[:] = 0
                    continue
                values[trajectory.SCRATCH] = gained
            for variable in names:
                buffer[variable][k - low] = values[variable]
            if k + 1 == high:
                break
        wrote = [
            write_shard(
                group, variable, (low, *[0] * (buffer[variable].ndim - 1)), buffer[variable]
            )
            for variable in names
        ]
        wrote = [dict(w, lasting=not w["file"].startswith(trajectory.SCRATCH)) for w in wrote]
        manifest.append(record(f"frames-{block:08d}", name, wrote, began))
    return {"rows": len(part.refs), "peak_memory": peak_memory()}


def _join_images(
    out: Path,
    inventory: Inventory,
    start: int,
    size: int,
    blocks: Sequence[int],
    name: str,
    client: Any,
) -> None:
    """Second pass over derived images: what the blocks before gained is added, from scratch arrays, so it can be repeated."""
    group = open_group(out, mode="r+")
    if trajectory.SCRATCH not in group:
        return
    n_frames = start + inventory.n_frames
    manifest = Manifest(out)
    records = manifest.records()
    offset = np.zeros((inventory.n_atoms, 3), dtype=np.int32)
    tasks = []
    for k, block in enumerate(blocks):
        low, high = block * size, min((block + 1) * size, n_frames)
        breaks = [
            k
            for k in range(max(low, start + 1), high)
            if inventory.run[k - start] != inventory.run[k - start - 1]
        ]
        until = (
            breaks[0] if breaks else high
        )  # frames from there on are of another run, which begins at zero
        if not manifest.done(f"images-{block:08d}", name, records):
            # one vector an atom: through a file, since those of all blocks would fill the client and the scheduler; zero for most blocks of a glass
            gained = ""
            if offset.any():
                gained = str(manifest.folder / f"gained-{block:08d}.npy")
                with explained(out):
                    np.save(gained, offset)
            tasks.append(
                (f"images {low}-{high - 1}", (str(out), block, low, high, until, gained, name))
            )
        if k + 1 < len(blocks):
            last = np.asarray(group[trajectory.SCRATCH][high - 1])
            offset = offset + last if until == high else last
    execute(client, write_images, tasks, what="images", unit="blocks")
    for left in manifest.folder.glob("gained-*.npy"):
        left.unlink()
    del group[trajectory.SCRATCH]


def write_images(
    out: str, block: int, low: int, high: int, until: int, gained: str, name: str
) -> dict[str, Any]:
    """Task: images of a block from its scratch images and what was gained before it (a file), up to where another run begins."""
    began = clock.perf_counter()
    group = open_group(out, mode="r+")
    image = np.asarray(group[trajectory.SCRATCH][low:high])
    if gained:
        image[: until - low] += np.load(gained)
    wrote = [write_shard(group, "image", (low, 0, 0), image)]
    Manifest(out).append(record(f"images-{block:08d}", name, wrote, began))
    return {"rows": high - low, "peak_memory": peak_memory()}
