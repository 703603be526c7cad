"""Tasks of an unwrapping: net displacements of blocks, then unwrapped positions."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.execution.records import record
from mgdask.geometry import cartesian, fractional
from mgdask.store import unwrapped as unwrapped_store
from mgdask.store.layout import ceil_div
from mgdask.store.manifest import Manifest
from mgdask.store.open import changed
from mgdask.store.provenance import digest
from mgdask.store.shards import Group, get_array, open_group, read_array, write_shard
from mgdask.store.sources import source_array


@dataclass(frozen=True)
class UnwrapJob:
    """Parameters shared by all tasks of an unwrapping.

    Attributes
    ----------
    store, out
        The trajectory, and the store to write.
    scheme
        One of the unwrapping schemes.
    identity
        Digest of input and scheme, stored in each record.
    n_frames, n_atoms
        Number of frames and atoms.
    block_frames, block_atoms
        Number of frames and atoms of a shard.
    """

    store: str
    out: str
    scheme: str
    identity: str
    n_frames: int
    n_atoms: int
    block_frames: int
    block_atoms: int

    @property
    def blocks(self) -> range:
        """Blocks of frames."""
        return range(ceil_div(self.n_frames, self.block_frames))

    def frames(self, block: int) -> tuple[int, int]:
        """Return the first and last (exclusive) frame of a block.

        Parameters
        ----------
        block
            Index of the block.
        """
        low = block * self.block_frames
        return low, min(low + self.block_frames, self.n_frames)

    def missing_shards(self) -> list[tuple[int, int]]:
        """Return block and first atom of the shards that are not finished."""
        manifest = Manifest(self.out)
        records = manifest.records()
        return [
            (block, first)
            for block in self.blocks
            for first in range(0, self.n_atoms, self.block_atoms)
            if not manifest.done(shard_name(block, first), self.identity, records)
        ]

    def check_input(self) -> None:
        """Raise ``SourceChangedError`` unless the trajectory is as it was."""
        if identity_of(Manifest(self.store).content(), self.scheme) != self.identity:
            raise changed(self.store)

    @contextmanager
    def input_unchanged(self) -> Iterator[None]:
        """Raise ``SourceChangedError`` if the trajectory changes in the body."""
        try:
            yield
        except Exception:
            self.check_input()
            raise
        self.check_input()


def identity_of(content: str | None, scheme: str) -> str:
    """Return the digest of the content of a trajectory and a scheme."""
    return digest({"input": content, "scheme": scheme, "format": 1})


def net_name(block: int) -> str:
    """Return the name of the record of the first pass over a block of frames."""
    return f"net-{block:08d}"


def shard_name(block: int, first: int) -> str:
    """Return the name of the record of a shard by its block and first atom."""
    return f"path-{block:08d}-{first:010d}"


@dataclass(frozen=True)
class _Step:
    """One frame of some atoms, and their change since the previous frame.

    ``gained`` and ``share`` are None in the first frame of a run.
    """

    frame: int
    position: FloatArray
    image: FloatArray
    cell: FloatArray
    gained: FloatArray | None
    """Displacement for "toroidal", numbers of crossed faces otherwise."""
    share: FloatArray | None
    """Size of the step as a fraction of the cell, if it is measured."""

    def start(self, scheme: str) -> FloatArray:
        """Return the carried quantity in the first frame of a run."""
        if scheme != "toroidal":
            return np.zeros_like(self.position)
        return self.position + cartesian(self.image, self.cell)

    def unwrapped(self, scheme: str, carried: FloatArray) -> FloatArray:
        """Return the unwrapped positions in this frame."""
        if scheme == "toroidal":
            return carried
        return self.position + cartesian(self.image if scheme == "images" else carried, self.cell)


class _Stepper:
    """Steps through frames in order, and finds the change of the carried quantity.

    The carried quantity is the unwrapped position for "toroidal", and the number of
    crossed faces for "nearest". "images" uses the stored images instead.
    """

    def __init__(self, job: UnwrapJob, first: int, last: int, *, measure: bool = False) -> None:
        self.scheme = job.scheme
        self.measure = measure or job.scheme == "nearest"
        self.atoms = slice(first, last)
        group = open_group(job.store)
        self.position = source_array(group, "position")
        self.image = source_array(group, "image")
        self.cell, self.run = read_array(group, "cell"), read_array(group, "run")
        self.pbc, self.origin = read_array(group, "pbc"), read_array(group, "origin")

    def steps(self, low: int, high: int) -> Iterator[_Step]:
        """Yield every frame of a block; the frame before it is read too."""
        size = (self.position.shards or self.position.chunks)[0]
        before: tuple[FloatArray, FloatArray] | None = None
        for start in range(max(low - 1, 0), high, size):
            stop = min(start + size, high)
            position = self.position[start:stop, self.atoms]
            image = self.image[start:stop, self.atoms].astype(np.float64)
            for frame, r, n in zip(range(start, stop), position, image, strict=True):
                if frame >= low:
                    yield self._step(frame, r, n, before)
                before = r, n

    def _step(
        self, frame: int, r: FloatArray, n: FloatArray, before: tuple[FloatArray, FloatArray] | None
    ) -> _Step:
        cell = self.cell[frame]
        begins = frame == 0 or self.run[frame] != self.run[frame - 1]
        if begins or before is None:
            return _Step(frame, r, n, cell, None, None)
        crossed, share = n - before[1], None
        if self.measure:
            share = fractional(r, cell, self.origin[frame]) - fractional(
                before[0], self.cell[frame - 1], self.origin[frame - 1]
            )
            if self.scheme == "nearest":
                crossed = np.where(self.pbc, -np.floor(share + 0.5), 0.0)
            share = np.where(self.pbc, np.abs(share + crossed), 0.0)
        if self.scheme == "toroidal":
            return _Step(frame, r, n, cell, r - before[0] + cartesian(crossed, cell), share)
        return _Step(frame, r, n, cell, crossed, share)


def net_displacement(job: UnwrapJob, block: int) -> None:
    """Task of the first pass, for all atoms in a block of frames.

    Writes their net displacement and the center of mass relative to the start of the
    block, and records the largest step.
    """
    began = clock.perf_counter()
    target = open_group(job.out, mode="r+")
    low, high = job.frames(block)
    mass, ids = read_array(target, "mass"), read_array(target, "atom_id")
    weight = mass / mass.sum()
    carried, until = np.zeros((job.n_atoms, 3)), high
    largest = {"share": 0.0, "frame": low, "atom": int(ids[0])}
    center = np.empty((high - low, 3))
    with job.input_unchanged():  # a later change is found by the next block
        for step in _Stepper(job, 0, job.n_atoms, measure=True).steps(low, high):
            if step.gained is None:
                carried, until = step.start(job.scheme), min(until, step.frame)
            else:
                carried = carried + step.gained
                largest = _larger(largest, step, ids)
            unwrapped = step.unwrapped(job.scheme, carried)
            center[step.frame - low] = np.einsum("i,ij->j", weight, unwrapped)
    wrote = [
        write_shard(target, unwrapped_store.SCRATCH, (block, 0, 0), carried[None]),
        write_shard(target, unwrapped_store.CENTER_SCRATCH, (low, 0), center),
    ]
    extra = {
        "largest": largest,
        "until": until,
        "mean": np.einsum("i,ij->j", weight, carried).tolist(),
    }
    Manifest(job.out).append({**record(net_name(block), job.identity, wrote, began), **extra})


def _larger(largest: dict[str, Any], step: _Step, ids: FloatArray) -> dict[str, Any]:
    """Return the largest step so far, updated with one frame."""
    assert step.share is not None
    worst = int(step.share.max(axis=1).argmax())
    share = float(step.share[worst].max())
    if share > largest["share"]:
        return {"share": share, "frame": step.frame, "atom": int(ids[worst])}
    return largest


def join_mass(job: UnwrapJob) -> None:
    """Join the centers of mass of all blocks.

    The displacement in the previous blocks is added, up to the start of the next run.
    The input is a scratch array, so this can be repeated.
    """
    began = clock.perf_counter()
    records = Manifest(job.out).records()
    group = open_group(job.out, mode="r+")
    cell, carried = read_array(group, "cell"), np.zeros(3)
    center = read_array(group, unwrapped_store.CENTER_SCRATCH)
    wrote = []
    for block in job.blocks:
        low, high = job.frames(block)
        net = records[net_name(block)]
        until = int(net["until"])
        if job.scheme != "images":
            center[low:until] += (
                carried
                if job.scheme == "toroidal"
                else np.einsum("k,fkj->fj", carried, cell[low:until])
            )
            carried = np.array(net["mean"]) + (carried if until == high else 0.0)
        wrote.append(write_shard(group, "center_of_mass", (low, 0), center[low:high]))
    Manifest(job.out).append(record("mass-joined", job.identity, wrote, began))


def write_unwrapped(job: UnwrapJob, block: int, first: int, last: int) -> None:
    """Task of the second pass: write one shard, a block of atoms and frames."""
    began = clock.perf_counter()
    target = open_group(job.out, mode="r+")
    low, high = job.frames(block)
    carried = _carried(job, target, Manifest(job.out).records(), block, first, last)
    values = np.empty((last - first, high - low, 3))
    with job.input_unchanged():
        for step in _Stepper(job, first, last).steps(low, high):
            carried = step.start(job.scheme) if step.gained is None else carried + step.gained
            values[:, step.frame - low] = step.unwrapped(job.scheme, carried)
    wrote = [write_shard(target, "path", (first, low, 0), values)]
    Manifest(job.out).append(record(shard_name(block, first), job.identity, wrote, began))


def _carried(
    job: UnwrapJob,
    group: Group,
    records: Mapping[str, Mapping[str, Any]],
    block: int,
    first: int,
    last: int,
) -> FloatArray:
    """Sum the net displacements in the previous blocks since the run began."""
    start = block
    while start > 0:
        start -= 1
        if int(records[net_name(start)]["until"]) < job.frames(start)[1]:
            break
    net = get_array(group, unwrapped_store.SCRATCH)
    carried = np.zeros((last - first, 3))
    for k in range(start, block):
        carried = carried + np.asarray(net[k, first:last])
    return carried
