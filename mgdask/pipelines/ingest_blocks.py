"""Blocks of an ingest: which frames they hold, and which of them are written."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgdask.errors import StoreError
from mgdask.execution.records import record
from mgdask.readers.coordinates import DERIVED
from mgdask.readers.inventory import Inventory
from mgdask.store import trajectory
from mgdask.store.appends import read_appends
from mgdask.store.layout import ceil_div
from mgdask.store.manifest import Manifest, Record
from mgdask.store.shards import Group, WrittenShard, get_array, open_group, shard_shape

SCRATCH_MADE = "scratch"
"""Attribute of a scratch array of images, and entry of the records of its blocks."""


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


def frames_name(block: int) -> str:
    """Return the name of the record of a block's frames."""
    return f"frames-{block:08d}"


def images_name(block: int) -> str:
    """Return the name of the record of a block's derived images."""
    return f"images-{block:08d}"


# Blocks that are written already


def missing_blocks(
    job: IngestJob, group: Group, inventory: Inventory, manifest: Manifest
) -> list[int]:
    """Return the blocks to write. Make the scratch array if they need one."""
    records = manifest.records()
    missing = {b for b in job.blocks if not covers(job, manifest, records, frames_name(b), b)}
    scratch = ""
    if inventory.needs_image_pass:
        unjoined = {b for b in job.blocks if not covers(job, manifest, records, images_name(b), b)}
        # Images are joined from an array that a finished store no longer has. A block
        # whose images were lost later is read again as a whole.
        present = trajectory.SCRATCH in group
        made = made_by(group) if present else None
        missing |= {
            b
            for b in unjoined - missing
            if not present or records[frames_name(b)].get(SCRATCH_MADE) != made
        }
        scratch = "" if present or not unjoined | missing else uuid.uuid4().hex
    if missing:
        _check_frames_before(job, group, inventory, manifest, records)
    if scratch:
        trajectory.make_scratch(group, job.n_frames, inventory.n_atoms, {SCRATCH_MADE: scratch})
    return sorted(missing)


def made_by(group: Group) -> str | None:
    """Return which scratch array the store has; None for that of the first ingest."""
    made = get_array(group, trajectory.SCRATCH).attrs.get(SCRATCH_MADE)
    return None if made is None else str(made)


def covers(
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
        covers(job, manifest, records, name(first), first) for name in _names(inventory)
    ):
        return
    if job.start == job.frames(first)[0]:
        if not inventory.needs_image_pass:
            return
        first -= 1  # its last frame is continued
    for name in _names(inventory):
        found = records.get(name(first), {})
        # A process that was killed may have written a file without its record. It has
        # another size then, and the same frames before.
        lost = (file for file, size in found.get("files", {}).items() if size)
        there = bool(found) and not any(not (manifest.store / file).exists() for file in lost)
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
    names = [frames_name]
    if group.attrs["image_scheme"] == DERIVED:
        names.append(images_name)
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
    """Describe the command that writes a frame."""
    appended = next((a for a in reversed(read_appends(group)) if a.start <= frame), None)
    if appended is None:
        return f"run mgdask ingest of {group.attrs.get('sources', 'the first files')} again"
    files = ", ".join(appended.sources) or "the files that were appended"
    return f"run mgdask ingest --append of {files} again"


def _names(inventory: Inventory) -> list[Callable[[int], str]]:
    return [frames_name, *([images_name] if inventory.needs_image_pass else [])]
