"""The feature store: labelled arrays of features for some frames and central atoms of a trajectory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from mgdask.errors import StoreError
from mgdask.store.failures import explained
from mgdask.store.layout import ROWS_IN_CHUNK, BlockLayout
from mgdask.store.manifest import Manifest
from mgdask.store.shards import new_array, new_group, open_group, put


@dataclass(frozen=True)
class Output:
    """One array to be written: its dims, shape, dtype, cut, labels, coordinates of the columns, and attrs."""

    name: str
    dim: str
    shape: tuple[int, ...]
    dtype: str
    cut: BlockLayout
    labels: Sequence[str]
    coordinates: Mapping[str, npt.NDArray[Any]]
    attrs: Mapping[str, Any]

    @property
    def dims(self) -> tuple[str, ...]:
        """(frame, atom, column), or (frame, column) where averaged."""
        return ("frame", "atom", self.dim) if len(self.shape) == 3 else ("frame", self.dim)


def create(
    path: str | Path,
    attrs: Mapping[str, Any],
    axes: Mapping[str, tuple[str, npt.NDArray[Any]]],
    outputs: Sequence[Output],
) -> None:
    """An empty feature store; ``axes`` are the coordinates of frames and atoms by name: (dim, values)."""
    group = new_group(
        path, {**attrs, "mgdask_kind": "features", "mgdask_ready": False}, overwrite=False
    )
    Manifest(path).create()
    for name, dim, values, cut_at in _coordinates(axes, outputs):
        put(group, name, (dim,), values, chunks=cut_at)
    for output in outputs:
        cut = output.cut
        columns = output.shape[-1]
        if len(output.shape) == 3:
            chunks3: tuple[int, ...] = (1, cut.chunk_rows, columns)
            shards: tuple[int, ...] = (cut.frames, cut.rows, columns)
        else:
            chunks3, shards = (1, columns), (cut.frames, columns)
        new_array(
            group,
            output.name,
            output.dims,
            output.shape,
            output.dtype,
            chunks=chunks3,
            shards=shards,
            attrs=output.attrs,
        )
    group.attrs["mgdask_ready"] = True


def existing(path: str | Path, digest: str) -> bool:
    """Whether a store of these very parameters is at ``path``; ``StoreError`` if something else is."""
    target = Path(path)
    if not target.exists():
        return False
    try:
        group: zarr.Group = open_group(path)
    except StoreError:
        raise StoreError(
            f"{path} exists and is not a Zarr store; choose another name for the features"
        ) from None
    found = group.attrs.get("plan_digest")
    if found != digest:
        was = group.attrs.get("features", "nothing that mgdask wrote")
        raise StoreError(
            f"{path} holds other work, which is never mixed: parameters, input, centers, frames or blocks differ. It was made with {was}. "
            "Choose another name, or remove it first"
        )
    if not group.attrs.get(
        "mgdask_ready", False
    ):  # killed while its arrays were made: nothing is lost
        shutil.rmtree(target)
        return False
    return True


def restore(
    path: str | Path, axes: Mapping[str, tuple[str, npt.NDArray[Any]]], outputs: Sequence[Output]
) -> None:
    """Write coordinates and labels again that are damaged on disk; those that are whole are not touched."""
    group = open_group(path, mode="r+")
    for name, dim, values, chunks in _coordinates(axes, outputs):
        try:
            found = np.asarray(group[name][...])
            whole = (
                [*map(str, found)] == [*map(str, values)]
                if values.dtype.kind in "UO"
                else _same_bytes(found, values)
            )
        except Exception:  # whatever a damaged file makes of itself
            whole = False
        if not whole:
            with explained(path):
                shutil.rmtree(Path(path) / name, ignore_errors=True)
            put(group, name, (dim,), values, chunks=chunks)


def _same_bytes(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _coordinates(
    axes: Mapping[str, tuple[str, npt.NDArray[Any]]], outputs: Sequence[Output]
) -> Iterator[tuple[str, str, npt.NDArray[Any], tuple[int, ...] | None]]:
    """Everything small that a feature store has: name, dim, values, chunks."""
    for name, (dim, values) in axes.items():
        yield name, dim, values, (ROWS_IN_CHUNK,) if dim == "frame" else None
    for output in outputs:
        yield output.dim, output.dim, np.asarray(output.labels, dtype=object), None
        for name, values in output.coordinates.items():
            yield name, output.dim, values, None


def set_attrs(path: str | Path, name: str, attrs: Mapping[str, Any]) -> None:
    """Add attrs to one array of a store; nothing is written where they are there already."""
    with explained(path):
        array = open_group(path, mode="r+")[name]
        if any(array.attrs.get(key) != value for key, value in attrs.items()):
            array.attrs.update(dict(attrs))
