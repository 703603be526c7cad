"""The trajectory store: created from an inventory of frames, filled shard by shard, read by windows of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from mgdask.store.failures import explained
from mgdask.store.layout import ROWS_IN_CHUNK, TrajectoryLayout, trajectory_layout
from mgdask.store.shards import new_array, open_group, put

FORMAT = 1
SCRATCH = "image_scratch"
"""Images relative to the frame before a block, until the blocks are joined."""


def per_atom(
    name: str, dtype: Any, layout: TrajectoryLayout, n_frames: int, n_atoms: int
) -> dict[str, Any]:
    """Shape, chunks and shards of a variable with a value, or a vector, for every frame and atom."""
    vector = name in ("position", "image", SCRATCH)
    tail = (3,) if vector else ()
    return {
        "dims": ("frame", "atom", *(("xyz",) if vector else ())),
        "shape": (n_frames, n_atoms, *tail),
        "dtype": dtype,
        "chunks": (layout.chunk_frames, layout.chunk_atoms, *tail),
        "shards": (layout.shard_frames, layout.shard_atoms(n_atoms), *tail),
    }


def create_arrays(
    group: zarr.Group,
    *,
    n_frames: int,
    atom_id: npt.NDArray[Any],
    species: npt.NDArray[Any],
    mass: npt.NDArray[Any],
    pbc: npt.NDArray[Any],
    image_scheme: str,
    variables: Mapping[str, tuple[str, str]],
    scratch: bool,
) -> None:
    """All arrays of an empty trajectory store; what belongs to atoms is written."""
    layout = trajectory_layout(len(atom_id))
    put(group, "atom_id", ("atom",), atom_id)
    put(group, "species", ("atom",), species)
    put(group, "mass", ("atom",), mass)
    put(group, "pbc", ("vector",), pbc)
    wanted: dict[str, tuple[Any, dict[str, str]]] = {
        "position": ("float64", {}),
        "image": ("int32", {"scheme": image_scheme}),
    }
    if scratch:
        wanted[SCRATCH] = ("int32", {})
    for name, (dtype, unit) in variables.items():
        wanted[name] = (dtype, {"units": unit, "source": "further column of the input"})
    for name, (dtype, attrs) in wanted.items():
        new_array(group, name, attrs=attrs, **per_atom(name, dtype, layout, n_frames, len(atom_id)))


def write_frames_axis(
    group: zarr.Group,
    start: int,
    *,
    step: npt.NDArray[Any],
    cell: npt.NDArray[Any],
    origin: npt.NDArray[Any],
    run: Sequence[str],
    time: npt.NDArray[Any] | None,
    values: Mapping[str, npt.NDArray[Any]] = MappingProxyType({}),
) -> None:
    """What belongs to frames as a whole, from frame ``start`` on; one writer, no shards."""
    columns: dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]] = {
        "step": (("frame",), np.asarray(step)),
        "cell": (("frame", "vector", "xyz"), np.asarray(cell)),
        "origin": (("frame", "xyz"), np.asarray(origin)),
        "run": (("frame",), np.asarray(list(run), dtype=object)),
    }
    if time is not None:
        columns["time"] = (("frame",), np.asarray(time))
    columns |= {name: (("frame",), np.asarray(array)) for name, array in values.items()}
    for name, (dims, column) in columns.items():
        shape = (start + len(column), *column.shape[1:])
        if name not in group:
            kind = str if column.dtype.kind == "O" else column.dtype
            new_array(group, name, dims, shape, kind, chunks=(ROWS_IN_CHUNK, *column.shape[1:]))
        array = group[name]
        assert isinstance(array, zarr.Array)
        with explained(str(group.store)):
            if array.shape[0] != shape[0]:
                array.resize(shape)
            array[start:] = column


def grow(group: zarr.Group, n_frames: int) -> None:
    """Make room for frames in the arrays of frames and atoms."""
    for _, array in list(group.arrays()):
        if array.shards is not None and array.shape[0] != n_frames:
            array.resize((n_frames, *array.shape[1:]))


def read_window(
    path: str | Path, frames: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Positions (frame,atom,xyz) and cells (frame,3,3) of some frames, in their order."""
    return _read_frames(path, "position", frames), _read_frames(path, "cell", frames)


def read_images(path: str | Path, frames: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
    """Images (frame,atom,xyz) of some frames, in their order."""
    return _read_frames(path, "image", frames)


def _read_frames(path: str | Path, name: str, frames: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
    # frames that follow each other are read at once, since a chunk holds several and is unpacked as a whole
    array = open_group(path)[name]
    assert isinstance(array, zarr.Array)
    stretches = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
    parts = [np.asarray(array[int(some[0]) : int(some[-1]) + 1]) for some in stretches]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
