"""Creating arrays and writing whole shards.

Two tasks that write parts of one shard lose data without an error, so ``write_shard`` accepts whole shards only.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from mgdask import variables
from mgdask.errors import StoreError
from mgdask.store.failures import explained
from mgdask.store.manifest import FOLDER

Group: TypeAlias = zarr.Group
"""For type annotations in rooms that do not import zarr."""
Array: TypeAlias = zarr.Array[Any]
"""For type annotations in rooms that do not import zarr."""

COMPRESSION = "blosc(zstd, level 1, shuffle), crc32c"
"""Of trajectories and paths; chosen by ``tests/benchmarks/compression.py``: smallest files."""
FEATURE_COMPRESSION = "blosc(lz4, level 5, bitshuffle), crc32c"
"""Of features: no larger than with zstd and byte shuffle, and packed three times as fast, which is a good part of a task."""

FILL = {"f": float("nan"), "i": 0, "u": 0, "b": False}


_CODECS = {
    COMPRESSION: lambda: BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
    FEATURE_COMPRESSION: lambda: BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
}


def new_group(path: str | Path, attrs: Mapping[str, Any], *, overwrite: bool) -> zarr.Group:
    """An empty group at ``path``; anything that is there is refused, unless it is a store and ``overwrite`` is set."""
    path = Path(path)
    if path.exists():
        known = (path / "zarr.json").exists()
        if not overwrite or not known:
            hint = (
                "overwrite=True (--overwrite) replaces it"
                if known
                else "it is not a Zarr store, choose another name"
            )
            raise StoreError(f"{path} exists already; {hint}")
        with explained(path):
            # first of all, so that whoever reads it now can see that it is no longer the same
            (path / FOLDER / "complete.json").unlink(missing_ok=True)
            shutil.rmtree(path)
    with explained(path):
        above = next(parent for parent in path.absolute().parents if parent.exists())
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{above} is a file")
        return zarr.create_group(path, zarr_format=3, attributes=dict(attrs))


def open_group(path: str | Path, mode: Any = "r") -> zarr.Group:
    """The group of a store, or ``StoreError`` where there is none."""
    try:
        return zarr.open_group(path, mode=mode, zarr_format=3)
    except (
        FileNotFoundError,
        zarr.errors.GroupNotFoundError,
        zarr.errors.NodeTypeValidationError,
    ) as error:
        raise StoreError(
            f"{path} is not a Zarr store (in {Path.cwd()}); make one with mgdask ingest"
        ) from error


def new_array(
    group: zarr.Group,
    name: str,
    dims: Sequence[str],
    shape: Sequence[int],
    dtype: Any,
    *,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    attrs: Mapping[str, Any] | None = None,
    compression: str = COMPRESSION,
) -> zarr.Array[Any]:
    """An array with its description from the vocabulary; without ``chunks`` it is one chunk."""
    kind = np.dtype(dtype).kind if dtype is not str else "U"
    about = {**variables.attrs(name), **dict(attrs or {})}
    with explained(str(group.store)), warnings.catch_warnings():
        warnings.simplefilter("ignore", category=zarr.errors.UnstableSpecificationWarning)
        return group.create_array(
            name,
            shape=tuple(shape),
            dtype=dtype,
            chunks=tuple(chunks or (max(1, n) for n in shape)),
            shards=None if shards is None else tuple(shards),
            dimension_names=list(dims),
            attributes=about,
            compressors=[_CODECS[compression](), Crc32cCodec()] if kind != "U" else "auto",
            fill_value=FILL.get(kind, ""),
        )


def put(
    group: zarr.Group, name: str, dims: Sequence[str], values: npt.ArrayLike, **options: Any
) -> None:
    """Create a small array and write all of it."""
    data = np.asarray(values)
    text = data.dtype.kind in "UO"
    array = new_array(group, name, dims, data.shape, str if text else data.dtype, **options)
    with explained(str(group.store)):
        array[...] = data.astype(object) if text else data


def write_shard(
    group: zarr.Group, name: str, start: Sequence[int], data: npt.NDArray[Any]
) -> dict[str, Any]:
    """Write the shard that begins at ``start``; returns {"file", "size", "sha256"} of what lies on disk.

    ``data`` reaches to the end of the shard or of the array. ``StoreError`` if it is any other region.
    """
    array = group[name]
    assert isinstance(array, zarr.Array)
    grid = array.shards or array.chunks
    for axis, (first, extent) in enumerate(zip(start, data.shape, strict=True)):
        end = min(first + grid[axis], array.shape[axis])
        if first % grid[axis] or first + extent != end:
            raise StoreError(
                f"{name}: rows {first} to {first + extent} of axis {axis} are not a whole shard (shards of {grid[axis]}, "
                f"array of {array.shape[axis]}); a task must own whole shards"
            )
    region = tuple(
        slice(first, first + extent) for first, extent in zip(start, data.shape, strict=True)
    )
    root = Path(str(group.store.root))
    key = "/".join(["c", *(str(first // g) for first, g in zip(start, grid, strict=True))])
    file = f"{name}/{key}"
    with explained(root):
        try:
            array[region] = data
        except ValueError:
            # Zarr looks into the old shard where the new one ends at the edge of the array; a damaged one must go first. Never
            # remove a sound one before: an append that is killed here would lose frames that were there.
            if not (root / file).exists():
                raise
            (root / file).unlink()
            array[region] = data
    size = (
        (root / file).stat().st_size if (root / file).exists() else 0
    )  # a shard of nothing but fill has no file
    return {"file": file, "size": size, "sha256": content_digest([data])}


def content_digest(parts: Iterable[npt.NDArray[Any]]) -> str:
    """sha256 of the values of an array that is given part by part along its first axis; all NaN count as one, as they do for Zarr."""
    found = hashlib.sha256()
    for part in parts:
        for row in part:
            values = np.ascontiguousarray(row)
            if values.dtype.kind == "f" and (empty := np.isnan(values)).any():
                values = np.where(empty, np.array(np.nan, dtype=values.dtype), values)
            found.update(values.data)
    return found.hexdigest()
