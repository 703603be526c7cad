"""The feature store: labeled arrays of features for some frames and central atoms."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from mgdask._typing import AnyArray
from mgdask.errors import StoreError
from mgdask.store.attributes import COORDINATES, decode, encoded
from mgdask.store.creation import created_whole
from mgdask.store.failures import DamagedStoreError, check_cause, explained
from mgdask.store.layout import ROWS_IN_CHUNK, BlockLayout
from mgdask.store.manifest import Manifest
from mgdask.store.shards import (
    Array,
    check_new,
    get_array,
    new_array,
    new_group,
    open_group,
    put,
    read_array,
    remove_store,
)


@dataclass(frozen=True)
class Output:
    """One array of a feature store.

    Attributes
    ----------
    name
        Name of the array.
    dim
        Name of the dimension of its columns.
    shape
        (frame, atom, column), or (frame, column) for averages over atoms.
    dtype
        Data type.
    cut
        Layout of its blocks.
    labels
        Label of each column.
    coordinates
        Further coordinates of the columns by name.
    attrs
        Attributes of the array.
    """

    name: str
    dim: str
    shape: tuple[int, ...]
    dtype: str
    cut: BlockLayout
    labels: Sequence[str]
    coordinates: Mapping[str, AnyArray]
    attrs: Mapping[str, Any]

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dimensions."""
        return ("frame", "atom", self.dim) if len(self.shape) == 3 else ("frame", self.dim)


def create(
    path: str | Path,
    attrs: Mapping[str, Any],
    axes: Mapping[str, tuple[str, AnyArray]],
    outputs: Sequence[Output],
) -> None:
    """Create an empty feature store.

    Parameters
    ----------
    path
        Folder of the store, whose lock the caller holds.
    attrs
        Attributes of the store.
    axes
        Coordinates of frames and atoms by name: (dimension, values).
    outputs
        Arrays to create.

    Raises
    ------
    StoreError
        If ``path`` exists or cannot be written.
    """
    check_new(path, overwrite=False)
    with created_whole(path) as folder:
        coordinates = list(_coordinates(axes, outputs))
        about = {**attrs, "mgdask_kind": "features", COORDINATES: _listed(coordinates)}
        group = new_group(folder, {**about, "mgdask_ready": 0}, overwrite=False)
        Manifest(folder).create()
        for name, dim, values, chunks in coordinates:
            put(group, name, (dim,), values, chunks=chunks)
        for output in outputs:
            cut, columns = output.cut, output.shape[-1]
            per_atom = len(output.shape) == 3
            new_array(
                group,
                output.name,
                output.dims,
                output.shape,
                output.dtype,
                chunks=(1, cut.chunk_rows, columns) if per_atom else (1, columns),
                shards=(cut.frames, cut.rows, columns) if per_atom else (cut.frames, columns),
                attrs={**output.attrs, COORDINATES: _listed(coordinates, output.dims)},
            )
        group.attrs["mgdask_ready"] = 1


def existing(path: str | Path, digest: str) -> bool:
    """Return whether a store of the same parameters exists.

    Parameters
    ----------
    path
        Folder of the store, whose lock the caller holds.
    digest
        Digest of the plan.

    Raises
    ------
    StoreError
        If ``path`` holds anything else.

    Notes
    -----
    A store whose creation was interrupted, which version 0.1 could leave, holds no
    data. It is removed.
    """
    target = Path(path)
    if not target.exists():
        return False
    try:
        group = open_group(path)
    except DamagedStoreError:
        raise
    except StoreError:
        raise StoreError(
            f"{path} exists and is not a Zarr store; choose another name for the features"
        ) from None
    if group.attrs.get("plan_digest") != digest:
        made_with = decode(group.attrs, "features", "nothing that mgdask wrote")
        raise StoreError(
            f"{path} holds other results: parameters, input, centers, frames or blocks differ. It "
            f"was made with {made_with}. Choose another name, or remove it first"
        )
    if not group.attrs.get("mgdask_ready", False):
        remove_store(target)
        return False
    return True


def restore(
    path: str | Path, axes: Mapping[str, tuple[str, AnyArray]], outputs: Sequence[Output]
) -> None:
    """Rewrite damaged coordinates, labels and units; intact ones are not touched.

    A store begun by version 0.1 gets the units of its columns.

    Parameters
    ----------
    path
        Folder of the store.
    axes
        Coordinates of frames and atoms by name: (dimension, values).
    outputs
        Arrays of the store.
    """
    group = open_group(path, mode="r+")
    for name, dim, values, chunks in _coordinates(axes, outputs):
        try:
            stored = read_array(group, name)
            intact = (
                [*map(str, stored)] == [*map(str, values)]
                if values.dtype.kind in "UO"
                else _same_bytes(stored, values)
            )
        except Exception as error:  # a damaged file can raise anything
            check_cause(error)
            intact = False
        if not intact:
            with explained(path):
                shutil.rmtree(Path(path) / name, ignore_errors=True)
            put(group, name, (dim,), values, chunks=chunks)
    for output in outputs:
        _restate_units(get_array(group, output.name), output.attrs)


def _restate_units(array: Array, attrs: Mapping[str, Any]) -> None:
    """Correct what an array says of its units; version 0.1 wrote "1" for all."""
    stated = {key: attrs[key] for key in ("units", "comment") if key in attrs}
    now = dict(array.attrs)
    if {key: now[key] for key in ("units", "comment") if key in now} != stated:
        with explained(str(array.store)):
            kept = {key: value for key, value in now.items() if key != "units"}
            array.attrs.put({**kept, **stated})


def _same_bytes(a: AnyArray, b: AnyArray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


_Coordinate: TypeAlias = tuple[str, str, AnyArray, tuple[int, ...] | None]
"""Name, dimension, values and chunks."""


def _listed(coordinates: Sequence[_Coordinate], dims: Sequence[str] | None = None) -> str:
    """Return the names of coordinates along some dims, without their labels."""
    return " ".join(
        name for name, dim, _, _ in coordinates if name != dim and (dims is None or dim in dims)
    )


def _coordinates(
    axes: Mapping[str, tuple[str, AnyArray]], outputs: Sequence[Output]
) -> Iterator[_Coordinate]:
    """Yield name, dimension, values and chunks of coordinates and labels."""
    for name, (dim, values) in axes.items():
        yield name, dim, values, (ROWS_IN_CHUNK,) if dim == "frame" else None
    for output in outputs:
        yield output.dim, output.dim, np.asarray(output.labels, dtype=object), None
        for name, values in output.coordinates.items():
            yield name, output.dim, values, None


def set_attrs(path: str | Path, name: str, attrs: Mapping[str, Any]) -> None:
    """Add attributes to one array of a store.

    Nothing is written if all of them are already set.

    Parameters
    ----------
    path
        Folder of the store.
    name
        Name of the array.
    attrs
        Attributes to add.
    """
    with explained(path):
        array = get_array(open_group(path, mode="r+"), name)
        if any(decode(array.attrs, key) != value for key, value in attrs.items()):
            array.attrs.update(encoded(attrs))
            Manifest(path).update([name])
