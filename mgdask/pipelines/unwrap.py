"""Unwrap the positions of a trajectory by tasks over blocks of frames.

The first pass finds the net displacement of each atom in each block of frames. The
second pass adds those of the previous blocks, and writes blocks of frames and atoms.
Neither holds more than a few frames.
"""

from __future__ import annotations

import shutil
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError, StoreError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.geometry import cartesian, cell_changes, fractional
from mgdask.pipelines.featurize.block import record
from mgdask.store import unwrapped as unwrapped_store
from mgdask.store.layout import ceil_div
from mgdask.store.manifest import Manifest
from mgdask.store.open import changed, check_complete
from mgdask.store.provenance import digest, versions
from mgdask.store.shards import (
    Group,
    dimension_names,
    get_array,
    open_group,
    read_array,
    shard_shape,
    write_shard,
)

if TYPE_CHECKING:
    from distributed import Client

Scheme = Literal["images", "nearest", "toroidal"]

SCHEMES = {
    "images": "position + image @ cell of the frame (images as stored)",
    "nearest": "the image nearest to the position in the previous frame, in the cell of the frame",
    "toroidal": "sum of the displacements from frame to frame, each reduced in the cell of the "
    "later frame",
}
"""Unwrapping schemes.

All agree if the cell is constant and no atom moves half of it between two frames.
"""

MAX_GUESSED_STEP = 0.45
"""Largest step whose direction is certain without images, as a fraction of the cell."""

AXES = ("atom_id", "species", "mass", "pbc", "step", "time", "run", "cell", "temperature")
"""Arrays that are copied from the trajectory, as far as it has them."""


@dataclass(frozen=True)
class UnwrapReport:
    """What ``unwrap`` did; ``str`` gives a summary.

    Attributes
    ----------
    out
        Store of the unwrapped trajectory.
    scheme, why
        Scheme that was used, and the reason.
    n_frames, n_atoms
        Number of frames and atoms.
    largest_step
        Largest step between two frames, as a fraction of the cell.
    seconds
        Wall-clock time in s.
    """

    out: str
    scheme: str
    why: str
    n_frames: int
    n_atoms: int
    largest_step: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.out}: unwrapped trajectory of {self.n_atoms} atoms over {self.n_frames} "
            f"frames, scheme {self.scheme!r} ({self.why}); largest step {self.largest_step:.3f} "
            f"of the cell; {self.seconds:.1f} s"
        )


def select_scheme(scheme: str, cell: FloatArray) -> tuple[str, str]:
    """Return the unwrapping scheme and the reason for it.

    Parameters
    ----------
    scheme
        One of ``SCHEMES``, or ``"auto"``: "images" if the cell is constant, "toroidal"
        if it changes.
    cell
        Cells (frame, vector, xyz) in Å.

    Raises
    ------
    ParameterError
        If the scheme is unknown.
    """
    if scheme == "auto":
        changes = cell_changes(cell)
        return ("toroidal", "the cell changes") if changes else ("images", "the cell is constant")
    if scheme not in SCHEMES:
        raise ParameterError(
            f"scheme={scheme!r} is unknown; allowed are 'auto', {', '.join(map(repr, SCHEMES))}"
        )
    return scheme, "as requested"


@dataclass(frozen=True)
class _Job:
    """What all tasks of an unwrapping share."""

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
        return range(ceil_div(self.n_frames, self.block_frames))

    def frames(self, block: int) -> tuple[int, int]:
        """First and last (exclusive) frame of a block."""
        low = block * self.block_frames
        return low, min(low + self.block_frames, self.n_frames)

    def missing_shards(self) -> list[tuple[int, int]]:
        """Blocks of frames and first atoms of the shards that are not finished."""
        manifest = Manifest(self.out)
        records = manifest.records()
        return [
            (block, first)
            for block in self.blocks
            for first in range(0, self.n_atoms, self.block_atoms)
            if not manifest.done(_shard_name(block, first), self.identity, records)
        ]

    def check_input(self) -> None:
        """Raise ``SourceChangedError`` unless the trajectory is as it was."""
        if _identity(Manifest(self.store).content(), self.scheme) != self.identity:
            raise changed(self.store)


def _identity(content: str | None, scheme: str) -> str:
    return digest({"input": content, "scheme": scheme, "format": 1})


def _net_name(block: int) -> str:
    return f"net-{block:08d}"


def _shard_name(block: int, first: int) -> str:
    return f"path-{block:08d}-{first:010d}"


def unwrap(
    store: str | Path,
    out: str | Path,
    *,
    scheme: str = "auto",
    allow_jumps: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> UnwrapReport:
    """Write the unwrapped trajectory of all atoms, split by atoms.

    Unwrapped positions have no periodic jumps. They begin anew with each ``run``.

    Parameters
    ----------
    store
        A finished trajectory store.
    out
        Store to write. Repeating an interrupted call computes only what is missing.
    scheme
        "images": position + image @ cell. Atoms stay on the lattice of images, but
        those that have crossed faces move whenever the cell breathes. "nearest": the
        same with images derived again, ignoring the stored ones. "toroidal": sum of the
        displacements from frame to frame, which is right for diffusion in a changing
        cell of any shape. "auto": "images" if the cell is constant, "toroidal" if it
        changes.
    allow_jumps
        Continue if images are derived and an atom moves more than 0.45 of the cell
        between two frames.
    client
        Dask client. Default: the current one, else threads of this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    report
        An ``UnwrapReport``. The store holds path(atom, frame, xyz) and the
        mass-weighted center_of_mass(frame, xyz), both in Å, and the coordinates of the
        trajectory. Its attributes state the scheme and the reason for it.

    Raises
    ------
    StoreError
        If an atom jumps, with its id and the frames; or if ``out`` holds other work.
    ParameterError
        If the scheme is unknown.

    References
    ----------
    von Bülow, Bullerjahn, Hummer, J. Chem. Phys. 153, 021101 (2020);
    Kulke, Vermaas, J. Chem. Theory Comput. 18, 6161 (2022).

    Examples
    --------
    >>> print(mgdask.unwrap("glass.zarr", "paths.zarr"))  # doctest: +SKIP
    """
    started = clock.perf_counter()
    group, content = check_complete(store, kind="trajectory")
    scheme, reason = select_scheme(scheme, read_array(group, "cell"))
    n_frames, n_atoms = get_array(group, "position").shape[:2]
    layout = unwrapped_store.unwrapped_layout(n_frames, n_atoms)
    job = _Job(
        str(store),
        str(out),
        scheme,
        _identity(content, scheme),
        n_frames,
        n_atoms,
        layout.shard_frames,
        layout.shard_atoms,
    )
    _prepare(job, reason, group)
    manifest = Manifest(out)
    with manifest.locked(), resolve_client(client) as workers:
        missing = job.missing_shards()
        if missing or not manifest.done("mass-joined", job.identity, manifest.records()):
            manifest.reopen()
            unwrapped_store.make_scratch(open_group(out, mode="r+"), len(job.blocks))
            _first_pass(job, workers, progress)
            _check_steps(job, images_known=_images_known(group, scheme) or allow_jumps)
            _join_mass(job)
            _second_pass(job, missing, workers, progress)
        if manifest.content() is None:
            unwrapped_store.drop_scratch(open_group(out, mode="r+"))
            manifest.finish(job.identity)
    largest: Any = open_group(out).attrs["largest_step"]
    return UnwrapReport(
        job.out,
        scheme,
        reason,
        n_frames,
        n_atoms,
        float(largest["share"]),
        clock.perf_counter() - started,
    )


def _images_known(group: Group, scheme: str) -> bool:
    stored = str(get_array(group, "image").attrs.get("scheme", ""))
    return scheme != "nearest" and not stored.startswith("derived")


def _prepare(job: _Job, reason: str, group: Group) -> None:
    """Create the store, unless it was begun before."""
    out = Path(job.out)
    if out.exists():
        attrs = open_group(out).attrs
        if attrs.get("paths_digest") != job.identity:
            raise StoreError(f"{out} holds other work; choose another name, or remove it first")
        if attrs.get("mgdask_ready"):
            return
        shutil.rmtree(out)
    axes = {
        name: (dimension_names(get_array(group, name)), read_array(group, name))
        for name in AXES
        if name in group
    }
    new_attrs = {
        "scheme": job.scheme,
        "scheme_meaning": SCHEMES[job.scheme],
        "scheme_reason": reason,
        "input": job.store,
        "paths_digest": job.identity,
        "citation": "von Bülow, Bullerjahn, Hummer, J. Chem. Phys. 153, 021101 (2020)",
        "versions": versions(),
    }
    unwrapped_store.create(out, new_attrs, axes, len(job.blocks))


def _first_pass(job: _Job, client: Client, progress: bool) -> None:
    manifest = Manifest(job.out)
    records = manifest.records()
    tasks = []
    for block in job.blocks:
        if not manifest.done(_net_name(block), job.identity, records):
            low, high = job.frames(block)
            tasks.append((f"frames {low} to {high - 1}", (job, block)))
    if tasks:
        execute(client, _net, tasks, what="unwrap, first pass", unit="blocks", progress=progress)


def _second_pass(
    job: _Job, missing: Sequence[tuple[int, int]], client: Client, progress: bool
) -> None:
    tasks = []
    for block, first in missing:
        low, high = job.frames(block)
        last = min(first + job.block_atoms, job.n_atoms)
        name = f"frames {low} to {high - 1}, atoms {first} to {last - 1}"
        tasks.append((name, (job, block, first, last)))
    execute(client, _write, tasks, what="unwrap, second pass", unit="blocks", progress=progress)


def _check_steps(job: _Job, *, images_known: bool) -> None:
    """Store the largest step, and refuse it if its direction is uncertain."""
    records = Manifest(job.out).records()
    steps = [records[_net_name(block)]["largest"] for block in job.blocks]
    largest = max(steps, key=lambda step: float(step["share"]))
    if not images_known and largest["share"] > MAX_GUESSED_STEP:
        raise StoreError(
            f"{job.store}: atom {largest['atom']} moves {largest['share']:.2f} of the cell between "
            f"frames {largest['frame'] - 1} and {largest['frame']}. The file had no images, so the "
            "direction is ambiguous. Store frames more often, or dump image flags (ix iy iz) or "
            "unwrapped coordinates (xu yu zu); allow_jumps=True (--allow-jumps) takes the shorter "
            "way"
        )
    open_group(job.out, mode="r+").attrs.update({"largest_step": largest})


@dataclass(frozen=True)
class _Step:
    """One frame of some atoms, and what they gained since the frame before.

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
        """Return what is carried from the first frame of a run."""
        if scheme != "toroidal":
            return np.zeros_like(self.position)
        return self.position + cartesian(self.image, self.cell)

    def unwrapped(self, scheme: str, carried: FloatArray) -> FloatArray:
        """Unwrapped positions in this frame."""
        if scheme == "toroidal":
            return carried
        return self.position + cartesian(self.image if scheme == "images" else carried, self.cell)


class _Stepper:
    """Goes through frames in order, and finds what atoms carry from one to the next.

    That is the unwrapped position for "toroidal", the number of crossed faces for
    "nearest", and nothing for "images", whose images are stored.
    """

    def __init__(self, job: _Job, first: int, last: int, *, measure: bool = False) -> None:
        self.scheme = job.scheme
        self.measure = measure or job.scheme == "nearest"
        self.atoms = slice(first, last)
        group = open_group(job.store)
        self.position = get_array(group, "position")
        self.image = get_array(group, "image")
        self.cell, self.run = read_array(group, "cell"), read_array(group, "run")
        self.pbc, self.origin = read_array(group, "pbc"), read_array(group, "origin")

    def steps(self, low: int, high: int) -> Iterator[_Step]:
        """Yield every frame of a block; the frame before it is read too."""
        size = shard_shape(self.position)[0]
        before: tuple[FloatArray, FloatArray] | None = None
        for start in range(max(low - 1, 0), high, size):
            stop = min(start + size, high)
            position = np.asarray(self.position[start:stop, self.atoms])
            image = np.asarray(self.image[start:stop, self.atoms]).astype(np.float64)
            for frame, r, n in zip(range(start, stop), position, image, strict=True):
                if frame >= low:
                    yield self._step(frame, r, n, before)
                before = r, n

    def _step(
        self,
        frame: int,
        r: FloatArray,
        n: FloatArray,
        before: tuple[FloatArray, FloatArray] | None,
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


def _net(job: _Job, block: int) -> None:
    """Task of the first pass, for all atoms in a block of frames.

    It writes their net displacement and the centre of mass relative to the start of the
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
    for step in _Stepper(job, 0, job.n_atoms, measure=True).steps(low, high):
        if step.gained is None:
            carried, until = step.start(job.scheme), min(until, step.frame)
        else:
            carried = carried + step.gained
            largest = _larger(largest, step, ids)
        center[step.frame - low] = np.einsum("i,ij->j", weight, step.unwrapped(job.scheme, carried))
    job.check_input()  # a later change concerns the next block
    wrote = [
        write_shard(target, unwrapped_store.SCRATCH, (block, 0, 0), carried[None]),
        write_shard(target, unwrapped_store.CENTER_SCRATCH, (low, 0), center),
    ]
    extra = {
        "largest": largest,
        "until": until,
        "mean": np.einsum("i,ij->j", weight, carried).tolist(),
    }
    Manifest(job.out).append({**record(_net_name(block), job.identity, wrote, began), **extra})


def _larger(largest: dict[str, Any], step: _Step, ids: FloatArray) -> dict[str, Any]:
    """Return the larger of the largest step so far and that of a frame."""
    assert step.share is not None
    worst = int(step.share.max(axis=1).argmax())
    share = float(step.share[worst].max())
    if share > largest["share"]:
        return {"share": share, "frame": step.frame, "atom": int(ids[worst])}
    return largest


def _join_mass(job: _Job) -> None:
    """Join the centres of mass of all blocks.

    What the previous blocks carried is added, up to where another run begins. The input
    is a scratch array, so this can be repeated.
    """
    began = clock.perf_counter()
    records = Manifest(job.out).records()
    group = open_group(job.out, mode="r+")
    cell, carried = read_array(group, "cell"), np.zeros(3)
    center = read_array(group, unwrapped_store.CENTER_SCRATCH)
    wrote = []
    for block in job.blocks:
        low, high = job.frames(block)
        net = records[_net_name(block)]
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


def _write(job: _Job, block: int, first: int, last: int) -> None:
    """Task of the second pass: write one shard, some atoms in a block of frames."""
    began = clock.perf_counter()
    target = open_group(job.out, mode="r+")
    low, high = job.frames(block)
    carried = _carried(job, target, Manifest(job.out).records(), block, first, last)
    values = np.empty((last - first, high - low, 3))
    for step in _Stepper(job, first, last).steps(low, high):
        carried = step.start(job.scheme) if step.gained is None else carried + step.gained
        values[:, step.frame - low] = step.unwrapped(job.scheme, carried)
    job.check_input()
    wrote = [write_shard(target, "path", (first, low, 0), values)]
    Manifest(job.out).append(record(_shard_name(block, first), job.identity, wrote, began))


def _carried(
    job: _Job,
    group: Group,
    records: Mapping[str, Mapping[str, Any]],
    block: int,
    first: int,
    last: int,
) -> FloatArray:
    """Sum what some atoms gained in the previous blocks since the last new run."""
    start = block
    while start > 0:
        start -= 1
        if int(records[_net_name(start)]["until"]) < job.frames(start)[1]:
            break
    net = get_array(group, unwrapped_store.SCRATCH)
    carried = np.zeros((last - first, 3))
    for k in range(start, block):
        carried = carried + np.asarray(net[k, first:last])
    return carried
