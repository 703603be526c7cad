"""True paths of atoms, unwrapped by tasks over blocks of frames, into a store that is cut by atoms.

Two passes: every block of frames finds what each atom gained in it and hands that on; then each block of frames and atoms is written, with what was
gained before added. Neither holds more than a few frames.
"""

from __future__ import annotations

import time as clock
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError, StoreError
from mgdask.execution.executor import execute, resolve_client
from mgdask.geometry import cartesian, cell_changes, fractional
from mgdask.pipelines.featurize.block import record
from mgdask.store import unwrapped as path_store
from mgdask.store.manifest import Manifest
from mgdask.store.open import changed, check_complete
from mgdask.store.provenance import digest, versions
from mgdask.store.shards import open_group, write_shard

Float = npt.NDArray[np.float64]
Scheme = Literal["images", "nearest", "toroidal"]

SCHEMES = {
    "images": "position + image @ cell of the frame (images as stored)",
    "nearest": "the image nearest to the one of the frame before, in the cell of the frame",
    "toroidal": "sum of the displacements from frame to frame, each reduced in the cell of the later frame",
}
"""How paths are made; all agree where the cell does not change and no atom moves half of it between frames."""

FAR = 0.45
"""A step of more than this share of the cell cannot be told from one the other way round, where images are guessed."""


@dataclass(frozen=True)
class PathReport:
    """What ``unwrap`` did; ``str`` says it."""

    out: str
    scheme: str
    why: str
    n_frames: int
    n_atoms: int
    largest_step: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.out}: paths of {self.n_atoms} atoms over {self.n_frames} frames, scheme {self.scheme!r} ({self.why}); "
            f"largest step {self.largest_step:.3f} of the cell; {self.seconds:.1f} s"
        )


def select_scheme(scheme: str, cell: Float) -> tuple[str, str]:
    """The scheme and why: as asked, or "images" where the cell is constant and "toroidal" where it changes."""
    if scheme == "auto":
        changes = cell_changes(cell)
        return ("toroidal", "the cell changes") if changes else ("images", "the cell is constant")
    if scheme not in SCHEMES:
        raise ParameterError(
            f"scheme={scheme!r} is unknown; there are 'auto', {', '.join(map(repr, SCHEMES))}"
        )
    return scheme, "as asked"


def unwrap(
    store: str | Path,
    out: str | Path,
    *,
    scheme: str = "auto",
    allow_jumps: bool = False,
    client: Any = None,
    progress: bool = True,
) -> PathReport:
    """Make a store of true paths of all atoms, cut by atoms, from a trajectory store.

    Parameters
    ----------
    store: a finished trajectory store. out: the store of paths to write; a killed call goes on when it is repeated.
    scheme: "images": position + image @ cell, which keeps atoms on the lattice of images, but moves atoms that have crossed faces whenever the
        cell breathes; "nearest": the same with images guessed anew, ignoring the stored ones; "toroidal": the sum of the displacements
        from frame to frame, right for diffusion where the cell changes, in any cell; "auto": "images" where the cell is constant,
        "toroidal" where it changes. The scheme and the reason are in the attrs.
    allow_jumps: go on where images are guessed and an atom moves more than 0.45 of the cell between two frames.

    Returns a ``PathReport``. ``StoreError`` names atom and frames of a jump. The store holds path(atom, frame, xyz), center_of_mass(frame, xyz),
    mass-weighted, and the coordinates of the trajectory. Paths begin anew with each ``run``.

    Source: von Bülow, Bullerjahn, Hummer, J. Chem. Phys. 153, 021101 (2020); Kulke, Vermaas, J. Chem. Theory Comput. 18, 6161 (2022).

    >>> print(mgdask.unwrap("glass.zarr", "paths.zarr"))  # doctest: +SKIP
    """
    began = clock.perf_counter()
    group, content = check_complete(store, kind="trajectory")
    cell = np.asarray(group["cell"][...])
    chosen, why = select_scheme(scheme, cell)
    n_frames, n_atoms = (int(n) for n in group["position"].shape[:2])
    guessed = chosen == "nearest" or str(group["image"].attrs.get("scheme", "")).startswith(
        "derived"
    )
    size = path_store.path_layout(n_frames, n_atoms).shard_frames
    blocks = range(-(-n_frames // size))
    identity = _identity(content, chosen)
    _prepare(Path(out), store, identity, chosen, why, group, len(blocks))
    manifest = Manifest(out)
    with manifest.locked(), resolve_client(client) as workers:
        records = manifest.records()
        atoms = path_store.path_layout(n_frames, n_atoms).shard_atoms
        left = [
            (k, row)
            for k in blocks
            for row in range(0, n_atoms, atoms)
            if not manifest.done(f"path-{k:08d}-{row:010d}", identity, records)
        ]
        if left or not manifest.done("mass-joined", identity, records):
            manifest.reopen()
            path_store.make_scratch(open_group(out, mode="r+"), len(blocks))
            todo = [k for k in blocks if not manifest.done(f"net-{k:08d}", identity, records)]
            if todo:
                tasks = [
                    (f"net {k}", (str(store), str(out), k, size, chosen, identity)) for k in todo
                ]
                execute(
                    workers, _net, tasks, what="paths, first pass", unit="blocks", progress=progress
                )
            steps = [manifest.records()[f"net-{k:08d}"]["largest"] for k in blocks]
            worst = max(steps, key=lambda item: item["share"])
            if guessed and worst["share"] > FAR and not allow_jumps:
                raise StoreError(
                    f"{store}: atom {worst['atom']} moves {worst['share']:.2f} of the cell between frames {worst['frame'] - 1} and "
                    f"{worst['frame']}, and the file had no images, so that nobody can tell which way it went. Store frames more "
                    "often, or dump image flags (ix iy iz) or unwrapped coordinates (xu yu zu); allow_jumps=True (--allow-jumps) "
                    "takes the shorter way"
                )
            open_group(out, mode="r+").attrs.update({"largest_step": worst})
            _join_mass(out, blocks, size, n_frames, chosen, identity)
            writes = [
                (
                    f"path {k} {row}",
                    (
                        str(store),
                        str(out),
                        k,
                        size,
                        row,
                        min(row + atoms, n_atoms),
                        chosen,
                        identity,
                    ),
                )
                for k, row in left
            ]
            execute(
                workers, _write, writes, what="paths, second pass", unit="blocks", progress=progress
            )
        if manifest.content() is None:
            path_store.drop_scratch(open_group(out, mode="r+"))
            manifest.finish(identity)
    worst = dict(open_group(out).attrs)["largest_step"]
    return PathReport(
        str(out),
        chosen,
        why,
        n_frames,
        n_atoms,
        float(worst["share"]),
        clock.perf_counter() - began,
    )


def _identity(content: str | None, scheme: str) -> str:
    return digest({"input": content, "scheme": scheme, "format": 1})


def _check_input(store: str, scheme: str, identity: str) -> None:
    if _identity(Manifest(store).content(), scheme) != identity:
        raise changed(store)


def _prepare(
    out: Path, store: str | Path, identity: str, scheme: str, why: str, group: Any, n_blocks: int
) -> None:
    if out.exists():
        found = open_group(out).attrs
        if found.get("paths_digest") != identity:
            raise StoreError(f"{out} holds other work; choose another name, or remove it first")
        if found.get("mgdask_ready"):
            return
        import shutil

        shutil.rmtree(out)
    axes = {
        name: (tuple(group[name].metadata.dimension_names), np.asarray(group[name][...]))
        for name in (
            "atom_id",
            "species",
            "mass",
            "pbc",
            "step",
            "time",
            "run",
            "cell",
            "temperature",
        )
        if name in group
    }
    attrs = {
        "scheme": scheme,
        "scheme_meaning": SCHEMES[scheme],
        "scheme_reason": why,
        "input": str(store),
        "paths_digest": identity,
        "citation": "von Bülow, Bullerjahn, Hummer, J. Chem. Phys. 153, 021101 (2020)",
        "versions": versions(),
    }
    path_store.create(out, attrs, axes, n_blocks)


class _Steps:
    """Some atoms over some frames, one frame after the other: what each carries on from frame to frame.

    That is the path itself for "toroidal", the number of crossings for "nearest", and nothing for "images", whose images are stored.
    """

    def __init__(
        self,
        store: str,
        low: int,
        high: int,
        first: int,
        last: int,
        scheme: str,
        *,
        measure: bool = False,
    ) -> None:
        self.group, self.measure = open_group(store), measure or scheme == "nearest"
        self.low, self.high, self.first, self.last, self.scheme = low, high, first, last, scheme
        self.cell, self.run = (
            np.asarray(self.group["cell"][...]),
            np.asarray(self.group["run"][...]),
        )
        self.pbc, self.origin = (
            np.asarray(self.group["pbc"][...]),
            np.asarray(self.group["origin"][...]),
        )

    def frames(self) -> Iterator[_Step]:
        """Every frame of the block; the one before it is looked at for where paths come from."""
        size = int(self.group["position"].shards[0])
        before: tuple[Float, Float] | None = None
        for start in range(max(self.low - 1, 0), self.high, size):
            stop = min(start + size, self.high)
            position = np.asarray(self.group["position"][start:stop, self.first : self.last])
            image = np.asarray(self.group["image"][start:stop, self.first : self.last]).astype(
                np.float64
            )
            for k in range(start, stop):
                r, n = position[k - start], image[k - start]
                if k >= self.low:
                    begins = k == 0 or self.run[k] != self.run[k - 1]
                    gained, share = (
                        (None, None) if begins or before is None else self._gained(before, r, n, k)
                    )
                    yield _Step(k, r, n, self.cell[k], gained, share)
                before = r, n

    def _gained(
        self, before: tuple[Float, Float], r: Float, n: Float, k: int
    ) -> tuple[Float, Float | None]:
        cell, crossed, share = self.cell[k], n - before[1], None
        if self.measure:
            share = fractional(r, cell, self.origin[k]) - fractional(
                before[0], self.cell[k - 1], self.origin[k - 1]
            )
            if self.scheme == "nearest":
                crossed = np.where(self.pbc, -np.floor(share + 0.5), 0.0)
            share = np.where(self.pbc, np.abs(share + crossed), 0.0)
        if self.scheme == "toroidal":
            return r - before[0] + cartesian(crossed, cell), share
        return crossed, share


@dataclass(frozen=True)
class _Step:
    frame: int
    position: Float
    image: Float
    cell: Float
    gained: Float | None
    """None where a run begins."""
    share: Float | None

    def start(self, scheme: str) -> Float:
        """What is carried from the first frame of a run."""
        if scheme != "toroidal":
            return np.zeros_like(self.position)
        return self.position + cartesian(self.image, self.cell)

    def path(self, scheme: str, carried: Float) -> Float:
        """True positions in this frame."""
        if scheme == "toroidal":
            return carried
        return self.position + cartesian(self.image if scheme == "images" else carried, self.cell)


def _net(store: str, out: str, block: int, size: int, scheme: str, identity: str) -> dict[str, Any]:
    """Task of the first pass: what every atom gained in a block of frames, its largest step, and the centre of mass so far."""
    began = clock.perf_counter()
    target = open_group(out, mode="r+")
    n_frames, n_atoms = int(target["step"].shape[0]), int(target["atom_id"].shape[0])
    low, high = block * size, min((block + 1) * size, n_frames)
    mass, ids = np.asarray(target["mass"][...]), np.asarray(target["atom_id"][...])
    weight = mass / mass.sum()
    carried, until, largest = (
        np.zeros((n_atoms, 3)),
        high,
        {"share": 0.0, "frame": low, "atom": int(ids[0])},
    )
    center = np.empty((high - low, 3))
    for step in _Steps(store, low, high, 0, n_atoms, scheme, measure=True).frames():
        if step.gained is None:
            carried, until = step.start(scheme), min(until, step.frame)
        else:
            carried = carried + step.gained
            assert step.share is not None
            worst = int(step.share.max(axis=1).argmax())
            if step.share[worst].max() > largest["share"]:
                largest = {
                    "share": float(step.share[worst].max()),
                    "frame": step.frame,
                    "atom": int(ids[worst]),
                }
        center[step.frame - low] = np.einsum("i,ij->j", weight, step.path(scheme, carried))
    _check_input(
        store, scheme, identity
    )  # a change after this block was read is the next one's affair
    wrote = [
        write_shard(target, path_store.SCRATCH, (block, 0, 0), carried[None]),
        write_shard(target, path_store.CENTER_SCRATCH, (low, 0), center),
    ]
    extra = {
        "largest": largest,
        "until": until,
        "mean": np.einsum("i,ij->j", weight, carried).tolist(),
    }
    Manifest(out).append({**record(f"net-{block:08d}", identity, wrote, began), **extra})
    return {"rows": high - low}


def _join_mass(
    out: str | Path, blocks: range, size: int, n_frames: int, scheme: str, identity: str
) -> None:
    """Centres of mass of all blocks: what the blocks before carried is added, up to where another run begins.

    They come from a scratch array, so that this can be repeated.
    """
    began = clock.perf_counter()
    records = Manifest(out).records()
    group = open_group(out, mode="r+")
    cell, carried = np.asarray(group["cell"][...]), np.zeros(3)
    scratch: Any = group[path_store.CENTER_SCRATCH]
    every, wrote = np.asarray(scratch[...]), []
    for k in blocks:
        low, high = k * size, min((k + 1) * size, n_frames)
        told = records[f"net-{k:08d}"]
        until = int(told["until"])
        if scheme != "images":
            every[low:until] += (
                carried
                if scheme == "toroidal"
                else np.einsum("k,fkj->fj", carried, cell[low:until])
            )
            carried = np.array(told["mean"]) + (carried if until == high else 0.0)
        wrote.append(write_shard(group, "center_of_mass", (low, 0), every[low:high]))
    Manifest(out).append(record("mass-joined", identity, wrote, began))


def _write(
    store: str, out: str, block: int, size: int, first: int, last: int, scheme: str, identity: str
) -> dict[str, Any]:
    """Task of the second pass: the paths of some atoms in a block of frames, one shard."""
    began = clock.perf_counter()
    target = open_group(out, mode="r+")
    n_frames = int(target["step"].shape[0])
    low, high = block * size, min((block + 1) * size, n_frames)
    carried = _carried(target, Manifest(out).records(), block, size, n_frames, first, last)
    values = np.empty((last - first, high - low, 3))
    for step in _Steps(store, low, high, first, last, scheme).frames():
        carried = step.start(scheme) if step.gained is None else carried + step.gained
        values[:, step.frame - low] = step.path(scheme, carried)
    _check_input(store, scheme, identity)
    wrote = [write_shard(target, "path", (first, low, 0), values)]
    Manifest(out).append(record(f"path-{block:08d}-{first:010d}", identity, wrote, began))
    return {"rows": (high - low) * (last - first)}


def _carried(
    group: Any,
    records: dict[str, dict[str, Any]],
    block: int,
    size: int,
    n_frames: int,
    first: int,
    last: int,
) -> Float:
    """What some atoms carry into a block: the sum of what the blocks before gained, since the last one in which a run began."""
    start = block
    while start > 0:
        start -= 1
        if int(records[f"net-{start:08d}"]["until"]) < min((start + 1) * size, n_frames):
            break
    carried = np.zeros((last - first, 3))
    for k in range(start, block):
        carried = carried + np.asarray(group[path_store.SCRATCH][k, first:last])
    return carried
