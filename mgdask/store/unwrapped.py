"""The store of true paths: positions without periodic jumps, atom by atom, for whatever follows atoms through time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from mgdask.errors import StoreError
from mgdask.geometry import unwrap
from mgdask.store.layout import CHUNK, GROUP, MIN_SHARD, ROWS_IN_CHUNK, ceil_div, trajectory_layout
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.shards import new_array, new_group, open_group, put

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PathLayout:
    """Frames and atoms of a shard and of a chunk of path(atom, frame, xyz)."""

    shard_atoms: int
    shard_frames: int
    chunk_atoms: int
    chunk_frames: int


def path_layout(n_frames: int, n_atoms: int) -> PathLayout:
    """Shards of 16 MiB and more, as wide in atoms as the chunks of the trajectory, so that making one reads nothing twice."""
    source = trajectory_layout(n_atoms)
    atoms = min(ceil_div(source.chunk_atoms, GROUP) * GROUP, ceil_div(n_atoms, GROUP) * GROUP)
    # few frames are one shard, which is not filled up to the many that a shard of few atoms could hold
    step = source.chunk_frames if n_frames < source.shard_frames else source.shard_frames
    every = ceil_div(n_frames, step) * step
    frames = min(ceil_div(MIN_SHARD, 24 * atoms * source.shard_frames) * source.shard_frames, every)
    chunk_frames = next(k for k in range(min(frames, 1024), 0, -1) if frames % k == 0)
    chunk_atoms = next(
        k for k in range(max(1, min(GROUP, CHUNK // (24 * chunk_frames))), 0, -1) if GROUP % k == 0
    )
    return PathLayout(atoms, frames, chunk_atoms, chunk_frames)


def create(
    path: str | Path,
    attrs: Mapping[str, Any],
    axes: Mapping[str, tuple[Sequence[str], npt.NDArray[Any]]],
    n_blocks: int,
) -> None:
    """An empty store of paths; ``axes`` are what is known of frames and atoms: name -> (dims, values)."""
    group = new_group(
        path, {**attrs, "mgdask_kind": "paths", "mgdask_ready": False}, overwrite=False
    )
    Manifest(path).create()
    for name, (dims, values) in axes.items():
        chunks = (ROWS_IN_CHUNK, *values.shape[1:]) if dims[0] == "frame" else None
        put(group, name, dims, values, chunks=chunks)
    n_atoms, n_frames = len(axes["atom_id"][1]), len(axes["step"][1])
    cut = path_layout(n_frames, n_atoms)
    new_array(
        group,
        "path",
        ("atom", "frame", "xyz"),
        (n_atoms, n_frames, 3),
        "float64",
        chunks=(cut.chunk_atoms, cut.chunk_frames, 3),
        shards=(cut.shard_atoms, cut.shard_frames, 3),
        attrs={"scheme": attrs["scheme"]},
    )
    new_array(
        group,
        "center_of_mass",
        ("frame", "xyz"),
        (n_frames, 3),
        "float64",
        chunks=(max(1, cut.shard_frames), 3),
    )
    make_scratch(group, n_blocks)
    group.attrs["mgdask_ready"] = True


SCRATCH = "net_scratch"
"""Net displacement of every atom in every block of frames, until the blocks are joined."""
CENTER_SCRATCH = "center_scratch"
"""Centre of mass in every frame, counted from the block of frames that it is in, until the blocks are joined."""


def make_scratch(group: zarr.Group, n_blocks: int) -> None:
    """Arrays that a store of paths has only while it is made; those that are there stay."""
    center = _array(group, "center_of_mass")
    if SCRATCH not in group:
        n_atoms = _array(group, "atom_id").shape[0]
        new_array(
            group,
            SCRATCH,
            ("block", "atom", "xyz"),
            (n_blocks, n_atoms, 3),
            "float64",
            chunks=(1, n_atoms, 3),
        )
    if CENTER_SCRATCH not in group:
        new_array(
            group, CENTER_SCRATCH, ("frame", "xyz"), center.shape, "float64", chunks=center.chunks
        )


def drop_scratch(group: zarr.Group) -> None:
    """Remove them."""
    for name in (SCRATCH, CENTER_SCRATCH):
        if name in group:
            del group[name]


@dataclass(frozen=True)
class PathSource:
    """Where paths come from: a store of paths, or a trajectory store whose images give them."""

    store: str
    kind: str
    n_frames: int
    n_atoms: int

    def read(self, frames: npt.NDArray[np.integer], first: int, last: int) -> Float:
        """Paths of atoms ``first`` to ``last`` in some frames: (atom, frame, xyz) in Å."""
        group = open_group(self.store)
        low, high = int(frames.min()), int(frames.max()) + 1
        dense = 2 * len(frames) >= high - low
        if self.kind == "paths":
            array = _array(group, "path")
            found = (
                np.asarray(array[first:last, low:high])[:, frames - low]
                if dense
                else np.stack([np.asarray(array[first:last, int(k)]) for k in frames], axis=1)
            )
            return np.ascontiguousarray(found)
        out = np.empty((last - first, len(frames), 3))
        position, image, cell = (_array(group, name) for name in ("position", "image", "cell"))
        step = int(position.shards[0]) if position.shards else 1
        cells = np.asarray(cell[...])
        for start in range(low - low % step, high, step):
            here = np.flatnonzero((frames >= start) & (frames < start + step))
            if not len(here):
                continue
            a, b = int(frames[here].min()), int(frames[here].max()) + 1
            r, n = np.asarray(position[a:b, first:last]), np.asarray(image[a:b, first:last])
            for k in here:
                t = int(frames[k]) - a
                out[:, k] = unwrap(r[t], n[t], cells[int(frames[k])])
        return out

    def drift(self, frames: npt.NDArray[np.integer]) -> Float:
        """Centre of mass (frame, xyz) in Å."""
        group = open_group(self.store)
        center: Float = np.asarray(_array(group, "center_of_mass")[...])[frames]
        return center


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def path_source(store: str | Path) -> tuple[PathSource, zarr.Group]:
    """The source of paths that a finished store is; ``StoreError`` where it is none."""
    kind = str(open_group(store).attrs.get("mgdask_kind", ""))
    if kind not in ("paths", "trajectory"):
        raise StoreError(
            f"{store} holds {kind or 'nothing that mgdask wrote'}; paths are in a trajectory store, or in one made by mgdask.unwrap"
        )
    group, _ = check_complete(store)
    n_frames = int(_array(group, "step").shape[0])
    return PathSource(str(store), kind, n_frames, int(_array(group, "atom_id").shape[0])), group
