"""Tasks of an ingest: write whole shards of frames, then join derived images."""

from __future__ import annotations

import time as clock
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, FloatArray
from mgdask.execution.executor import execute
from mgdask.geometry import fractional
from mgdask.pipelines.frame_values import HISTORY
from mgdask.pipelines.ingest_blocks import (
    IngestJob,
    covers,
    frames_name,
    images_name,
    made_by,
    missing_blocks,
)
from mgdask.readers.coordinates import image_increments
from mgdask.readers.inventory import Inventory
from mgdask.readers.window import read_window
from mgdask.store import trajectory
from mgdask.store.attributes import decode
from mgdask.store.failures import explained
from mgdask.store.layout import trajectory_layout
from mgdask.store.manifest import Manifest
from mgdask.store.provenance import digest
from mgdask.store.restoring import check_described, rewrite_damaged
from mgdask.store.shards import Group, get_array, open_group, write_shard

if TYPE_CHECKING:
    from distributed import Client


def atom_variables(inventory: Inventory) -> dict[str, tuple[str, str]]:
    """Return (dtype, unit) of the additional variables with a value per atom."""
    return {
        name: (dtype, unit)
        for name, (dtype, unit, per_atom) in inventory.variables.items()
        if per_atom
    }


def write_axis(group: Group, inventory: Inventory, start: int) -> None:
    """Write the variables with one row per frame, from frame ``start`` on."""
    trajectory.write_columns(group, start, _frame_columns(inventory))


def check_begun(out: Path, inventory: Inventory) -> None:
    """Raise ``DamagedStoreError`` if arrays of a store that was begun are damaged.

    Parameters
    ----------
    out
        The store. Its small arrays are not read; ``restore_small`` writes them.
    inventory
        First frames of the store.
    """
    n_frames, n_atoms = inventory.n_frames, inventory.n_atoms
    types = {name: dtype for name, (dtype, _) in atom_variables(inventory).items()}
    layout = trajectory_layout(n_atoms)
    shapes = {}
    for name, dtype in {"position": "float64", "image": "int32", **types}.items():
        array = trajectory.per_atom(name, dtype, layout, n_frames, n_atoms)
        shapes[name] = array["dims"], array["shape"], dtype
    check_described(out, "trajectory", rewritten=_small_arrays(inventory), shapes=shapes)


def restore_small(out: Path, inventory: Inventory, start: int) -> list[str]:
    """Write damaged small arrays of an unfinished store again; return those compared.

    Parameters
    ----------
    out
        The store, whose lock the caller holds.
    inventory
        What was read.
    start
        Index of its first frame in the store.
    """
    group = open_group(out)
    history = decode(group.attrs, HISTORY, [])
    attached = {str(entry.get("variable")) for entry in history}  # may replace those of the files
    small = _small_arrays(inventory)
    arrays = {name: array for name, array in small.items() if name not in attached}
    n_frames = get_array(group, "position").shape[0]
    rewrite_damaged(out, arrays, "trajectory", start=start, n_frames=n_frames)
    others = start > 0 or n_frames > inventory.n_frames
    return [name for name, (dims, _) in arrays.items() if dims[0] != "frame" or not others]


def _small_arrays(inventory: Inventory) -> dict[str, tuple[tuple[str, ...], AnyArray]]:
    """Return dimensions and values of the arrays that no block writes."""
    return {
        "atom_id": (("atom",), inventory.atom_id),
        "species": (("atom",), inventory.species),
        "mass": (("atom",), inventory.mass),
        "pbc": (("vector",), np.array(inventory.pbc)),
        **_frame_columns(inventory),
    }


def _frame_columns(inventory: Inventory) -> dict[str, tuple[tuple[str, ...], AnyArray]]:
    """Return dimensions and values of the arrays with one row per frame."""
    return trajectory.frame_columns(
        step=inventory.step,
        cell=inventory.cell,
        origin=inventory.origin,
        run=inventory.run,
        time=inventory.time,
        values=inventory.values,
    )


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
    missing = missing_blocks(job, group, inventory, manifest)
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
    made = None if images is None else made_by(group)
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
        job.finish(frames_name(block), block, wrote, began, made)


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
        if covers(job, manifest, records, images_name(block), block):
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
    job.finish(images_name(block), block, wrote, began)
