"""Tasks of an ingest: write whole shards of frames, then join derived images."""

from __future__ import annotations

import time as clock
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, FloatArray
from mgdask.errors import StoreError
from mgdask.execution.executor import execute
from mgdask.geometry import fractional
from mgdask.pipelines.records import record
from mgdask.readers.coordinates import DERIVED, image_increments
from mgdask.readers.inventory import Inventory
from mgdask.readers.window import read_window
from mgdask.store import trajectory
from mgdask.store.appends import read_appends
from mgdask.store.failures import explained
from mgdask.store.layout import ceil_div, trajectory_layout
from mgdask.store.manifest import Manifest, Record
from mgdask.store.provenance import digest
from mgdask.store.shards import Group, WrittenShard, get_array, open_group, shard_shape, write_shard

if TYPE_CHECKING:
    from distributed import Client

SCRATCH_MADE = "scratch"
"""Attribute of a scratch array of images, and entry of the records of its blocks."""


def atom_variables(inventory: Inventory) -> dict[str, tuple[str, str]]:
    """Return (dtype, unit) of the additional variables with a value per atom."""
    return {
        name: (dtype, unit)
        for name, (dtype, unit, per_atom) in inventory.variables.items()
        if per_atom
    }


@dataclass(frozen=True)
class IngestJob:
    """Parameters shared by all tasks of an ingest.

    Attributes
    ----------
    out
        Store to write.
    digest
        Digest of the input, stored in each record.
    start, stop
        First and last (exclusive) frame of the input; ``start`` is above 0 if frames
        are appended.
    n_frames
        Number of frames of the store; above ``stop`` if frames were appended later.
    block_frames
        Number of frames of a block.
    """

    out: str
    digest: str
    start: int
    stop: int
    n_frames: int
    block_frames: int

    @property
    def blocks(self) -> range:
        """Blocks with frames of the input."""
        return range(self.start // self.block_frames, ceil_div(self.stop, self.block_frames))

    def frames(self, block: int) -> tuple[int, int]:
        """Return the first and last (exclusive) frame of a block up to ``stop``.

        Parameters
        ----------
        block
            Index of the block.
        """
        low = block * self.block_frames
        return low, min(low + self.block_frames, self.stop)

    def end(self, block: int) -> int:
        """Return the frame after the last one that the store has in a block."""
        return min((block + 1) * self.block_frames, self.n_frames)

    def finish(
        self,
        name: str,
        block: int,
        wrote: Sequence[WrittenShard],
        began: float,
        scratch: str | None = None,
    ) -> None:
        """Write the record of a block, and up to which frame it was written."""
        more: dict[str, Any] = {"stop": self.frames(block)[1]}
        if scratch is not None:
            more[SCRATCH_MADE] = scratch
        Manifest(self.out).append({**record(name, self.digest, wrote, began), **more})


def _frames_name(block: int) -> str:
    return f"frames-{block:08d}"


def _images_name(block: int) -> str:
    return f"images-{block:08d}"


def fill(out: Path, inventory: Inventory, start: int, client: Client) -> tuple[int, int]:
    """Write all missing shards.

    Parameters
    ----------
    out
        The store.
    inventory
        Frames to write.
    start
        Index of the first of these frames.
    client
        Dask client.

    Returns
    -------
    n_written, n_blocks
        Number of blocks written, and total number of blocks of these frames.
    """
    manifest = Manifest(out)
    group = open_group(out, mode="r+")
    stop = start + inventory.n_frames
    job = IngestJob(
        str(out),
        digest([inventory.digest(), start, stop]),
        start,
        stop,
        get_array(group, "position").shape[0],
        trajectory_layout(inventory.n_atoms).shard_frames,
    )
    missing = _missing_blocks(job, group, inventory, manifest)
    if missing or manifest.content() is None:
        manifest.reopen()
    tasks = []
    for blocks in _group_blocks(inventory, job, missing):
        low, high = max(job.frames(blocks[0])[0], start), job.frames(blocks[-1])[1]
        # derived images need the frame before
        first = low - 1 if inventory.needs_image_pass and low > start else low
        part = inventory.window(first - start, high - start)
        tasks.append((f"frames {low} to {high - 1}", (job, part, first, tuple(blocks))))
    execute(client, write_frames, tasks, what="ingest", unit="blocks")
    if inventory.needs_image_pass:
        _join_images(job, inventory, client)
    return len(missing), len(job.blocks)


# Blocks that are written already


def _missing_blocks(
    job: IngestJob, group: Group, inventory: Inventory, manifest: Manifest
) -> list[int]:
    """Return the blocks to write. Make the scratch array if they need one."""
    records = manifest.records()
    missing = {b for b in job.blocks if not _covers(job, manifest, records, _frames_name(b), b)}
    scratch = ""
    if inventory.needs_image_pass:
        unjoined = {
            b for b in job.blocks if not _covers(job, manifest, records, _images_name(b), b)
        }
        # Images are joined from an array that a finished store no longer has. A block
        # whose images were lost later is read again as a whole.
        present = trajectory.SCRATCH in group
        made = _made(group) if present else None
        missing |= {
            b
            for b in unjoined - missing
            if not present or records[_frames_name(b)].get(SCRATCH_MADE) != made
        }
        scratch = "" if present or not unjoined | missing else uuid.uuid4().hex
    if missing:
        _check_frames_before(job, group, inventory, manifest, records)
    if scratch:
        trajectory.make_scratch(group, job.n_frames, inventory.n_atoms, {SCRATCH_MADE: scratch})
    return sorted(missing)


def _made(group: Group) -> str | None:
    """Return which scratch array the store has; None for that of the first ingest."""
    made = get_array(group, trajectory.SCRATCH).attrs.get(SCRATCH_MADE)
    return None if made is None else str(made)


def _covers(
    job: IngestJob, manifest: Manifest, records: Mapping[str, Record], name: str, block: int
) -> bool:
    """Return whether a block has its frames of the input, perhaps with later ones."""
    found = records.get(name, {})
    stated = found.get("digest")
    if not isinstance(stated, str) or not manifest.done(name, stated, records):
        return False
    if stated == job.digest:
        return True
    stop, high = found.get("stop"), job.frames(block)[1]
    if stop is None:  # of version 0.1: written when frames were appended, or before
        return job.start == 0 and high < job.end(block)
    return int(stop) > high


def _check_frames_before(
    job: IngestJob,
    group: Group,
    inventory: Inventory,
    manifest: Manifest,
    records: Mapping[str, Record],
) -> None:
    """Raise ``StoreError`` if the frames that appended ones continue were dropped."""
    first = job.blocks[0]
    if job.start == 0 or all(
        _covers(job, manifest, records, name(first), first) for name in _names(inventory)
    ):
        return
    if job.start == job.frames(first)[0]:
        if not inventory.needs_image_pass:
            return
        first -= 1  # its last frame is continued
    for name in _names(inventory):
        found = records.get(name(first), {})
        there = manifest.done(name(first), str(found.get("digest")), records)
        if not there or int(found.get("stop", job.start)) < job.start:
            written = int(found.get("stop", 0)) if there else 0
            low = max(first * job.block_frames, written)
            raise StoreError(
                f"{job.out}: frames {low} to {job.start - 1} were dropped, and the files given now "
                f"continue them. First {_command(group, low)}, then repeat this command"
            )


def unfinished(out: Path) -> str:
    """Return which frames a store still lacks, and the next command; "" if none.

    Parameters
    ----------
    out
        The store, of which one part was written.
    """
    group, manifest = open_group(out), Manifest(out)
    position = get_array(group, "position")
    step = shard_shape(position)[0]
    records = manifest.records()
    names = [_frames_name]
    if group.attrs["image_scheme"] == DERIVED:
        names.append(_images_name)
    for block in range(ceil_div(position.shape[0], step)):
        low, high = block * step, min((block + 1) * step, position.shape[0])
        for name in names:
            found = records.get(name(block), {})
            there = manifest.done(name(block), str(found.get("digest")), records)
            written = int(found.get("stop", high)) if there else low
            if written < high:
                return (
                    f"the store is not finished: frames {written} to {high - 1} were dropped. "
                    f"Now {_command(group, written)}"
                )
    return ""


def _command(group: Group, frame: int) -> str:
    """Return the command that writes a frame, in words."""
    appended = next((a for a in reversed(read_appends(group)) if a.start <= frame), None)
    if appended is None:
        return f"run mgdask ingest of {group.attrs.get('sources', 'the first files')} again"
    files = ", ".join(appended.sources) or "the files that were appended"
    return f"run mgdask ingest --append of {files} again"


def _names(inventory: Inventory) -> list[Callable[[int], str]]:
    return [_frames_name, *([_images_name] if inventory.needs_image_pass else [])]


def _group_blocks(inventory: Inventory, job: IngestJob, missing: Iterable[int]) -> list[list[int]]:
    """Group blocks into tasks: one per block, or one per file without random access."""
    streams = {source.path for source in inventory.sources if source.parallel == "stream"}

    def key(block: int) -> str:
        path = inventory.refs[max(job.frames(block)[0] - job.start, 0)].path
        return path if path in streams else f"{path} {block}"

    return [list(blocks) for _, blocks in groupby(missing, key=key)]


class _ImageDeriver:
    """Derives images from the displacements of atoms since the start of a block.

    Parameters
    ----------
    part
        Frames to read.
    first
        Index of the first of these frames.
    """

    def __init__(self, part: Inventory, first: int) -> None:
        self.part, self.first = part, first
        self.cell, self.origin = part.cell, part.origin
        self.before: FloatArray | None = None
        """Fractional positions in the previous frame of the run."""
        self.image = np.zeros((part.n_atoms, 3), dtype=np.int32)

    def restart(self) -> None:
        """Count from zero again."""
        self.image[:] = 0

    def continue_store(self, group: Group) -> None:
        """Continue from the last frame of a store to which frames are appended."""
        last = self.first - 1
        if str(get_array(group, "run")[last]) != self.part.run[0]:
            return
        position, cell, origin, image = (
            np.asarray(get_array(group, name)[last])
            for name in ("position", "cell", "origin", "image")
        )
        self.before = fractional(position, cell, origin)
        self.image[:] = image

    def step(self, frame: int, position: FloatArray) -> npt.NDArray[np.int32]:
        """Return the images in the next frame. They start at zero in each run."""
        k = frame - self.first
        if k > 0 and self.part.run[k] != self.part.run[k - 1]:
            self.before = None
            self.restart()
        current = fractional(position, self.cell[k], self.origin[k])
        if self.before is not None:
            self.image += image_increments(self.before, current, self.part.pbc)
        self.before = current
        return self.image


def write_frames(job: IngestJob, part: Inventory, first: int, blocks: Sequence[int]) -> None:
    """Task: read frames from ``first`` on, and write the shards of ``blocks``.

    Parameters
    ----------
    job
        Parameters shared by all tasks.
    part
        Frames to read.
    first
        Index of the first of these frames.
    blocks
        Consecutive blocks to write. Each gets its record.
    """
    group = open_group(job.out, mode="r+")
    names = ["position", "image", *atom_variables(part)]
    images = _ImageDeriver(part, first) if part.needs_image_pass else None
    if images is not None:
        names[1] = trajectory.SCRATCH
    made = None if images is None else _made(group)
    frames = ((first + number - part.first, values) for number, values in read_window(part))
    for block in blocks:
        began = clock.perf_counter()
        low, high = job.frames(block)
        buffer = _new_buffer(group, names, low, job.end(block))
        for name, data in buffer.items():
            # frames that were appended later are written later
            data[high - low :] = get_array(group, name).fill_value
        if images is not None:
            images.restart()
        if job.start and low <= first == job.start:
            _copy_stored(group, buffer, low, first)
            if images is not None:
                images.continue_store(group)
        for frame, values in frames:
            if images is not None:
                values[trajectory.SCRATCH] = images.step(frame, values["position"])
            if frame < low:  # before the block, or of one that is written already
                if images is not None:
                    images.restart()
                continue
            for name in names:
                buffer[name][frame - low] = values[name]
            if frame + 1 == high:
                break
        wrote = [
            write_shard(group, name, (low, *[0] * (data.ndim - 1)), data)
            for name, data in buffer.items()
        ]
        for shard in wrote:
            shard["lasting"] = not shard["file"].startswith(trajectory.SCRATCH)
        job.finish(_frames_name(block), block, wrote, began, made)


def _new_buffer(group: Group, names: Sequence[str], low: int, high: int) -> dict[str, AnyArray]:
    arrays = {name: get_array(group, name) for name in names}
    return {
        name: np.empty((high - low, *array.shape[1:]), dtype=array.dtype)
        for name, array in arrays.items()
    }


def _copy_stored(group: Group, buffer: dict[str, AnyArray], low: int, first: int) -> None:
    """Fill the frames of a block that a store had before frames were appended."""
    for name, data in buffer.items():
        source = "image" if name == trajectory.SCRATCH else name
        data[: first - low] = get_array(group, source)[low:first]


# Joining derived images


def _join_images(job: IngestJob, inventory: Inventory, client: Client) -> None:
    """Add the images at the end of the previous block to those of each block.

    The input is a scratch array, so this can be repeated.
    """
    group = open_group(job.out, mode="r+")
    if trajectory.SCRATCH not in group:
        return
    manifest = Manifest(job.out)
    records = manifest.records()
    scratch, image = get_array(group, trajectory.SCRATCH), get_array(group, "image")
    offset: AnyArray | None = np.zeros((inventory.n_atoms, 3), dtype=np.int32)
    tasks = []
    for block in job.blocks:
        if _covers(job, manifest, records, _images_name(block), block):
            offset = None
            continue
        low, high = job.frames(block)
        until = _end_of_run(job, inventory, low, high)
        if offset is None:  # the previous block is joined
            offset = np.asarray(image[low - 1])
        gained = ""
        if offset.any():
            # Offsets pass through a file: those of all blocks would fill the client
            # and the scheduler.
            gained = str(manifest.folder / f"gained-{block:08d}.npy")
            with explained(job.out):
                np.save(gained, offset)
        tasks.append((f"frames {low} to {high - 1}", (job, block, until, gained)))
        last = np.asarray(scratch[high - 1])
        offset = offset + last if until == high else last
    execute(client, write_images, tasks, what="images", unit="blocks")
    for file in manifest.folder.glob("gained-*.npy"):
        file.unlink()
    del group[trajectory.SCRATCH]


def _end_of_run(job: IngestJob, inventory: Inventory, low: int, high: int) -> int:
    """Return the first frame of another run in a block, or the end of the block."""
    for frame in range(max(low, job.start + 1), high):
        k = frame - job.start
        if inventory.run[k] != inventory.run[k - 1]:
            return frame
    return high


def write_images(job: IngestJob, block: int, until: int, gained: str) -> None:
    """Task: write the images of a block.

    Parameters
    ----------
    job
        Parameters shared by all tasks.
    block
        The block.
    until
        First frame of another run, whose images start at zero.
    gained
        File with the images at the end of the previous block; "" for zeros.
    """
    began = clock.perf_counter()
    group = open_group(job.out, mode="r+")
    low = job.frames(block)[0]
    image = np.asarray(get_array(group, trajectory.SCRATCH)[low : job.end(block)])
    if gained:
        image[: until - low] += np.load(gained)
    wrote = [write_shard(group, "image", (low, 0, 0), image)]
    job.finish(_images_name(block), block, wrote, began)
