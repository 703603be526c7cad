"""The store of an unwrapped trajectory, split by atoms.

Positions have no periodic jumps. The store serves analyses that follow atoms in time.
Its kind is ``paths`` and its array ``path``; both names are part of the file format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from mgdask._typing import AnyArray, FloatArray
from mgdask.errors import StoreError
from mgdask.geometry import unwrap
from mgdask.store.attributes import COORDINATES
from mgdask.store.creation import created_whole
from mgdask.store.layout import CHUNK, GROUP, MIN_SHARD, ROWS_IN_CHUNK, ceil_div, trajectory_layout
from mgdask.store.manifest import Manifest
from mgdask.store.mark import check_sound
from mgdask.store.open import FRAME_AND_ATOM, OF_ATOMS, check_complete
from mgdask.store.shards import (
    check_new,
    get_array,
    new_array,
    new_group,
    open_group,
    put,
    read_array,
)
from mgdask.store.sources import source_array

SCRATCH = "net_scratch"
"""Net displacement of each atom in each block, until the blocks are joined."""
CENTER_SCRATCH = "center_scratch"
"""Center of mass relative to the start of its block, until the blocks are joined."""


@dataclass(frozen=True)
class UnwrappedLayout:
    """Frames and atoms per shard and per chunk of path(atom, frame, xyz)."""

    shard_atoms: int
    shard_frames: int
    chunk_atoms: int
    chunk_frames: int


def unwrapped_layout(n_frames: int, n_atoms: int) -> UnwrappedLayout:
    """Return the layout of an unwrapped trajectory.

    Shards have at least 16 MiB. They are as wide in atoms as the chunks of the
    trajectory, so nothing is read twice to write them.

    Parameters
    ----------
    n_frames, n_atoms
        Number of frames and atoms.
    """
    source = trajectory_layout(n_atoms)
    atoms = min(ceil_div(source.chunk_atoms, GROUP) * GROUP, ceil_div(n_atoms, GROUP) * GROUP)
    # A short trajectory makes one shard, without padding to the frames that a narrow
    # shard could hold.
    step = source.chunk_frames if n_frames < source.shard_frames else source.shard_frames
    all_frames = ceil_div(n_frames, step) * step
    frames = min(
        ceil_div(MIN_SHARD, 24 * atoms * source.shard_frames) * source.shard_frames, all_frames
    )
    chunk_frames = _largest_divisor(frames, 1024)
    chunk_atoms = _largest_divisor(GROUP, max(1, min(GROUP, CHUNK // (24 * chunk_frames))))
    return UnwrappedLayout(atoms, frames, chunk_atoms, chunk_frames)


def _largest_divisor(n: int, limit: int) -> int:
    return next(k for k in range(min(n, limit), 0, -1) if n % k == 0)


def create(
    path: str | Path,
    attrs: Mapping[str, Any],
    axes: Mapping[str, tuple[Sequence[str], AnyArray]],
    n_blocks: int,
) -> None:
    """Create an empty store of an unwrapped trajectory.

    Parameters
    ----------
    path
        Folder of the store, whose lock the caller holds.
    attrs
        Attributes of the store, with ``scheme``.
    axes
        Arrays of frames and atoms by name: (dimensions, values).
    n_blocks
        Number of blocks of frames.

    Raises
    ------
    StoreError
        If ``path`` exists or cannot be written.
    """
    check_new(path, overwrite=False)
    with created_whole(path) as folder:
        about = {**attrs, "mgdask_kind": "paths", COORDINATES: " ".join(FRAME_AND_ATOM)}
        group = new_group(folder, {**about, "mgdask_ready": 0}, overwrite=False)
        Manifest(folder).create()
        for name, (dims, values) in axes.items():
            chunks = (ROWS_IN_CHUNK, *values.shape[1:]) if dims[0] == "frame" else None
            put(group, name, dims, values, chunks=chunks)
        n_atoms, n_frames = len(axes["atom_id"][1]), len(axes["step"][1])
        layout = unwrapped_layout(n_frames, n_atoms)
        new_array(
            group,
            "path",
            ("atom", "frame", "xyz"),
            (n_atoms, n_frames, 3),
            "float64",
            chunks=(layout.chunk_atoms, layout.chunk_frames, 3),
            shards=(layout.shard_atoms, layout.shard_frames, 3),
            attrs={"scheme": attrs["scheme"], COORDINATES: " ".join(OF_ATOMS)},
        )
        new_array(
            group,
            "center_of_mass",
            ("frame", "xyz"),
            (n_frames, 3),
            "float64",
            chunks=(max(1, layout.shard_frames), 3),
        )
        make_scratch(group, n_blocks)
        group.attrs["mgdask_ready"] = 1


def make_scratch(group: zarr.Group, n_blocks: int) -> None:
    """Create the arrays that exist only during unwrapping. Existing ones stay.

    Parameters
    ----------
    group
        Group of the store.
    n_blocks
        Number of blocks of frames.
    """
    if SCRATCH not in group:
        n_atoms = get_array(group, "atom_id").shape[0]
        new_array(
            group,
            SCRATCH,
            ("block", "atom", "xyz"),
            (n_blocks, n_atoms, 3),
            "float64",
            chunks=(1, n_atoms, 3),
        )
    if CENTER_SCRATCH not in group:
        center = get_array(group, "center_of_mass")
        dims = ("frame", "xyz")
        new_array(group, CENTER_SCRATCH, dims, center.shape, "float64", chunks=center.chunks)


def drop_scratch(group: zarr.Group) -> None:
    """Remove the arrays that exist only during unwrapping."""
    for name in (SCRATCH, CENTER_SCRATCH):
        if name in group:
            del group[name]


@dataclass(frozen=True)
class UnwrappedSource:
    """Where unwrapped positions come from.

    Attributes
    ----------
    store
        Path of the store.
    kind
        ``"paths"`` for an unwrapped trajectory, ``"trajectory"`` for a trajectory whose
        images give the unwrapped positions.
    n_frames, n_atoms
        Number of frames and atoms.
    """

    store: str
    kind: str
    n_frames: int
    n_atoms: int

    def read(self, frames: npt.NDArray[np.integer], first: int, last: int) -> FloatArray:
        """Read unwrapped positions.

        Parameters
        ----------
        frames
            Indices of the frames.
        first, last
            First and last (exclusive) atom.

        Returns
        -------
        position
            Unwrapped positions (atom, frame, xyz) in Å, C-contiguous.
        """
        if self.kind == "paths":
            return self._read_unwrapped(frames, first, last)
        return self._unwrap(frames, first, last)

    def _read_unwrapped(self, frames: npt.NDArray[np.integer], first: int, last: int) -> FloatArray:
        array = source_array(open_group(self.store), "path")
        low, high = int(frames.min()), int(frames.max()) + 1
        if 2 * len(frames) >= high - low:
            values = array[first:last, low:high][:, frames - low]
        else:
            values = np.stack([array[first:last, int(k)] for k in frames], axis=1)
        return np.ascontiguousarray(values)

    def _unwrap(self, frames: npt.NDArray[np.integer], first: int, last: int) -> FloatArray:
        group = open_group(self.store)
        position, image = source_array(group, "position"), source_array(group, "image")
        cell = read_array(group, "cell")
        low, high = int(frames.min()), int(frames.max()) + 1
        step = position.shards[0] if position.shards else 1
        unwrapped = np.empty((last - first, len(frames), 3))
        for start in range(low - low % step, high, step):
            in_shard = np.flatnonzero((frames >= start) & (frames < start + step))
            if not len(in_shard):
                continue
            a, b = int(frames[in_shard].min()), int(frames[in_shard].max()) + 1
            r, n = position[a:b, first:last], image[a:b, first:last]
            for k in in_shard:
                t = int(frames[k]) - a
                unwrapped[:, k] = unwrap(r[t], n[t], cell[int(frames[k])])
        return unwrapped

    def drift(self, frames: npt.NDArray[np.integer]) -> FloatArray:
        """Read the center of mass (frame, xyz) in Å.

        Parameters
        ----------
        frames
            Indices of the frames.
        """
        center: FloatArray = source_array(open_group(self.store), "center_of_mass")[...][frames]
        return center


def unwrapped_source(store: str | Path) -> tuple[UnwrappedSource, zarr.Group]:
    """Return the source of unwrapped positions in a finished store, and its group.

    Parameters
    ----------
    store
        A trajectory store, or an unwrapped trajectory made by ``mgdask.unwrap``.

    Raises
    ------
    StoreError
        If ``store`` is neither, or is not finished.
    """
    attrs = open_group(store).attrs
    check_sound(store)
    kind = str(attrs.get("mgdask_kind", ""))
    if kind not in ("paths", "trajectory"):
        raise StoreError(
            f"{store} holds {kind or 'nothing that mgdask wrote'}; give a trajectory store, or an "
            "unwrapped trajectory made by mgdask.unwrap"
        )
    group, _ = check_complete(store)
    n_frames = get_array(group, "step").shape[0]
    n_atoms = get_array(group, "atom_id").shape[0]
    return UnwrappedSource(str(store), kind, n_frames, n_atoms), group


path_source = unwrapped_source
"""Name in version 0.1."""
