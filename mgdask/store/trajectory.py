"""The trajectory store: creating it, writing the frame axis, reading frames."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import zarr

from mgdask import variables
from mgdask._typing import AnyArray
from mgdask.store.attributes import COORDINATES
from mgdask.store.failures import explained, readable
from mgdask.store.layout import ROWS_IN_CHUNK, TrajectoryLayout, trajectory_layout
from mgdask.store.shards import dimension_names, get_array, new_array, open_group, put, root_of
from mgdask.store.sources import source_array

FORMAT = 1
"""Version of the format of trajectory stores."""
SCRATCH = "image_scratch"
"""Images relative to the frame before a block, until the blocks are joined."""


class AtomArray(TypedDict):
    """Arguments of ``new_array`` for a variable per frame and atom."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: npt.DTypeLike
    chunks: tuple[int, ...]
    shards: tuple[int, ...]


def per_atom(
    name: str, dtype: npt.DTypeLike, layout: TrajectoryLayout, n_frames: int, n_atoms: int
) -> AtomArray:
    """Return shape, chunks and shards of a variable per frame and atom.

    Parameters
    ----------
    name
        Name of the variable. Positions and images are vectors.
    dtype
        Data type.
    layout
        Layout of the store.
    n_frames, n_atoms
        Number of frames and atoms.
    """
    is_vector = name in ("position", "image", SCRATCH)
    tail = (3,) if is_vector else ()
    return {
        "dims": ("frame", "atom", *(("xyz",) if is_vector else ())),
        "shape": (n_frames, n_atoms, *tail),
        "dtype": dtype,
        "chunks": (layout.chunk_frames, layout.chunk_atoms, *tail),
        "shards": (layout.shard_frames, layout.shard_atoms(n_atoms), *tail),
    }


def create_arrays(
    group: zarr.Group,
    *,
    n_frames: int,
    atom_id: AnyArray,
    species: AnyArray,
    mass: AnyArray,
    pbc: AnyArray,
    image_scheme: str,
    variables: Mapping[str, tuple[str, str]],
    scratch: bool,
) -> None:
    """Create the arrays of an empty trajectory store, and write those of the atoms.

    Parameters
    ----------
    group
        Group of the store.
    n_frames
        Number of frames.
    atom_id, species, mass
        Id, atomic number, and mass in u of each atom.
    pbc
        Whether the cell repeats along each vector.
    image_scheme
        Source of the images, stored as an attribute.
    variables
        Further variables per frame and atom by name: (dtype, unit).
    scratch
        Whether images are derived in two passes and need a scratch array.
    """
    layout = trajectory_layout(len(atom_id))
    put(group, "atom_id", ("atom",), atom_id)
    put(group, "species", ("atom",), species)
    put(group, "mass", ("atom",), mass)
    put(group, "pbc", ("vector",), pbc)
    arrays: dict[str, tuple[str, dict[str, str]]] = {
        "position": ("float64", {}),
        "image": ("int32", {"scheme": image_scheme}),
    }
    if scratch:
        arrays[SCRATCH] = ("int32", {})
    for name, (dtype, unit) in variables.items():
        arrays[name] = (dtype, {"units": unit, "source": "further column of the input"})
    for name, (dtype, attrs) in arrays.items():
        attrs[COORDINATES] = "atom_id species mass"
        new_array(group, name, attrs=attrs, **per_atom(name, dtype, layout, n_frames, len(atom_id)))


def write_frames_axis(
    group: zarr.Group,
    start: int,
    *,
    step: AnyArray,
    cell: AnyArray,
    origin: AnyArray,
    run: Sequence[str],
    time: AnyArray | None,
    values: Mapping[str, AnyArray] = MappingProxyType({}),
) -> None:
    """Write the arrays with one row per frame.

    They are not sharded, so only one process may write them.

    Parameters
    ----------
    group
        Group of the store.
    start
        First frame to write.
    step
        Timestep of each frame.
    cell
        Cell (frame, vector, xyz) in Å.
    origin
        Corner of the cell (frame, xyz) in Å.
    run
        Label of the simulation of each frame.
    time
        Time of each frame in ps, or None.
    values
        Further variables per frame by name.
    """
    columns = frame_columns(step=step, cell=cell, origin=origin, run=run, time=time, values=values)
    write_columns(group, start, columns)


def write_columns(
    group: zarr.Group, start: int, columns: Mapping[str, tuple[tuple[str, ...], AnyArray]]
) -> None:
    """Write arrays with one row per frame.

    Parameters
    ----------
    group
        Group of the store.
    start
        First frame to write.
    columns
        Dimensions and values by name, as ``frame_columns`` returns them.
    """
    for name, (dims, column) in columns.items():
        shape = (start + len(column), *column.shape[1:])
        if name not in group:
            dtype = str if column.dtype.kind == "O" else column.dtype
            attrs = variables.frame_attrs(name)
            chunks = (ROWS_IN_CHUNK, *column.shape[1:])
            new_array(group, name, dims, shape, dtype, chunks=chunks, attrs=attrs)
        array = get_array(group, name)
        with readable(root_of(group), name), explained(str(group.store)):
            if array.shape[0] != shape[0]:
                array.resize(shape)
            array[start:] = column


def frame_columns(
    *,
    step: AnyArray,
    cell: AnyArray,
    origin: AnyArray,
    run: Sequence[str],
    time: AnyArray | None,
    values: Mapping[str, AnyArray] = MappingProxyType({}),
) -> dict[str, tuple[tuple[str, ...], AnyArray]]:
    """Return dimensions and values of the arrays with one row per frame.

    Parameters
    ----------
    step, cell, origin, run, time, values
        As in ``write_frames_axis``.
    """
    columns: dict[str, tuple[tuple[str, ...], AnyArray]] = {
        "step": (("frame",), np.asarray(step)),
        "cell": (("frame", "vector", "xyz"), np.asarray(cell)),
        "origin": (("frame", "xyz"), np.asarray(origin)),
        "run": (("frame",), np.asarray(list(run), dtype=object)),
    }
    if time is not None:
        columns["time"] = (("frame",), np.asarray(time))
    return columns | {name: (("frame",), np.asarray(array)) for name, array in values.items()}


def make_scratch(group: zarr.Group, n_frames: int, n_atoms: int, attrs: Mapping[str, str]) -> None:
    """Create the scratch array of images if it is not there.

    Parameters
    ----------
    group
        Group of the store.
    n_frames, n_atoms
        Number of frames and atoms.
    attrs
        Attributes of the array.
    """
    if SCRATCH not in group:
        layout = trajectory_layout(n_atoms)
        new_array(
            group, SCRATCH, attrs=attrs, **per_atom(SCRATCH, "int32", layout, n_frames, n_atoms)
        )


def sweep(path: str | Path) -> None:
    """Remove what a killed process left and zarr would warn of.

    Parameters
    ----------
    path
        The store, whose lock the caller holds.
    """
    folder = Path(path) / SCRATCH
    for left in Path(path).glob("*.partial"):
        left.unlink(missing_ok=True)
    if folder.exists() and not (folder / "zarr.json").exists():
        shutil.rmtree(folder)


def grow(group: zarr.Group, n_frames: int) -> None:
    """Resize all arrays (frame, ...) to ``n_frames``; new values are fill values."""
    for _, array in list(group.arrays()):
        if dimension_names(array)[:1] == ("frame",) and array.shape[0] != n_frames:
            array.resize((n_frames, *array.shape[1:]))


def read_window(path: str | Path, frames: npt.NDArray[np.integer]) -> tuple[AnyArray, AnyArray]:
    """Read positions and cells of some frames.

    Parameters
    ----------
    path
        A trajectory store.
    frames
        Indices of the frames.

    Returns
    -------
    position, cell
        Positions (frame, atom, xyz) and cells (frame, vector, xyz) in Å, in the given
        order.
    """
    return _read_frames(path, "position", frames), _read_frames(path, "cell", frames)


def read_images(path: str | Path, frames: npt.NDArray[np.integer]) -> AnyArray:
    """Read images (frame, atom, xyz) of some frames, in the given order.

    Parameters
    ----------
    path
        A trajectory store.
    frames
        Indices of the frames.
    """
    return _read_frames(path, "image", frames)


def _read_frames(path: str | Path, name: str, frames: npt.NDArray[np.integer]) -> AnyArray:
    # Consecutive frames are read at once: a chunk holds several and is decompressed as
    # a whole.
    array = source_array(open_group(path), name)
    ranges = np.split(frames, np.flatnonzero(np.diff(frames) != 1) + 1)
    parts = [array[int(part[0]) : int(part[-1]) + 1] for part in ranges]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
