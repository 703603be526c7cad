"""Groups and arrays of a store, and whole-shard writes.

Two tasks that write parts of one shard lose data without an error. ``write_shard``
therefore accepts whole shards only.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import LocalStore

from mgdask import variables
from mgdask._typing import AnyArray
from mgdask.errors import StoreError
from mgdask.store.attributes import encoded
from mgdask.store.failures import check_cause, explained, no_store, readable
from mgdask.store.layout import ceil_div
from mgdask.store.location import is_remote, local_path, local_place, locate
from mgdask.store.manifest import COMPLETE, FOLDER
from mgdask.store.mark import METADATA, MISSING, damaged
from mgdask.store.remote_path import folder_of
from mgdask.store.seals import read_seal
from mgdask.store.writable import check_writable

Group: TypeAlias = zarr.Group
"""For type annotations in subpackages that do not import zarr."""
Array: TypeAlias = zarr.Array[Any]
"""For type annotations in subpackages that do not import zarr."""


@atexit.register
def _let_zarr_finish() -> None:
    """Wait for zarr's thread of input and output before zarr closes its event loop.

    zarr waits 0.2 s. The thread needs longer on a busy machine. The loop is then closed
    while it runs, and a traceback follows a command that has done its work.
    """
    try:
        # not public, and so possibly elsewhere in another version
        from zarr.core.sync import iothread, loop
    except ImportError:
        return
    if loop[0] is not None and iothread[0] is not None and iothread[0].is_alive():
        loop[0].call_soon_threadsafe(loop[0].stop)
        iothread[0].join(timeout=10.0)


COMPRESSION = "blosc(zstd, level 1, shuffle), crc32c"
"""Compression of trajectories, stored or unwrapped, chosen for the smallest files.

See ``tests/benchmarks/compression.py``.
"""
FEATURE_COMPRESSION = "blosc(lz4, level 5, bitshuffle), crc32c"
"""Compression of features: as small as zstd with byte shuffle, and three times as fast.
"""

FILL_VALUES = {"f": float("nan"), "i": 0, "u": 0, "b": False}
"""Fill value by the kind of the dtype. The fill value of text is the empty string."""

_CODECS: dict[str, Callable[[], BloscCodec]] = {
    COMPRESSION: lambda: BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
    FEATURE_COMPRESSION: lambda: BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"),
}


class WrittenShard(TypedDict):
    """File, size in bytes, checksum of the values and seal of a shard.

    ``lasting`` is False for scratch files, which later checks ignore.
    """

    file: str
    size: int
    sha256: str
    seal: str
    lasting: NotRequired[bool]


def new_group(path: str | Path, attrs: Mapping[str, Any], *, overwrite: bool) -> Group:
    """Create an empty group.

    Parameters
    ----------
    path
        Folder of the store.
    attrs
        Attributes of the group.
    overwrite
        Replace an existing store. Anything else is never replaced.

    Raises
    ------
    StoreError
        If ``path`` exists and may not be replaced, or cannot be written.
    """
    path = local_path(path, "this call writes")
    check_new(path, overwrite=overwrite)
    remove_store(path)
    check_writable(path)
    with explained(path):
        return zarr.create_group(path, zarr_format=3, attributes=encoded(attrs))


def remove_store(path: str | Path) -> None:
    """Remove a store, if it exists.

    Parameters
    ----------
    path
        Folder of the store, whose lock the caller holds. Symbolic links are followed.
    """
    folder = Path(os.path.realpath(path))
    if folder.exists():
        with explained(path):
            # first, so that readers see that the store is changing
            (folder / FOLDER / COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(folder)


def check_new(path: str | Path, *, overwrite: bool) -> None:
    """Raise ``StoreError`` if a store cannot be created because something exists.

    Parameters
    ----------
    path
        Folder of the store.
    overwrite
        Whether an existing store may be replaced.
    """
    path = local_path(path, "this call writes")
    if not path.exists():
        return
    is_store = (path / "zarr.json").exists()
    if not overwrite or not is_store:
        hint = (
            "overwrite=True (--overwrite) replaces it"
            if is_store
            else "it is not a Zarr store; choose another name"
        )
        raise StoreError(f"{path} exists already; {hint}")


def open_group(path: str | Path, mode: Literal["r", "r+"] = "r") -> Group:
    """Return the group of a store.

    Parameters
    ----------
    path
        Folder of the store.
    mode
        ``"r"`` to read, ``"r+"`` to read and write.

    Raises
    ------
    StoreError
        If there is no Zarr group, or its description is damaged.
    """
    if is_remote(path):
        return _open_remote(path, mode)
    path = local_place(path, "this call reads")
    try:
        return zarr.open_group(path, mode=mode, zarr_format=3)
    except Exception as error:  # a damaged file can raise anything
        check_cause(error)
        described = Path(path) / METADATA
        if (Path(path) / FOLDER).is_dir():
            what = "it does not describe a Zarr group" if described.is_file() else MISSING
            raise damaged(path, METADATA, what) from error
        if not described.is_file():
            raise no_store(path) from error
        raise StoreError(
            f"{described} does not describe a Zarr group (format 3); give a store that mgdask made"
        ) from error


def _open_remote(path: str | Path, mode: str) -> Group:
    from mgdask.store.remote import checked_store

    if mode != "r":
        local_path(path, "this call writes")  # which refuses it
    location = locate(str(path))
    store = checked_store(location)
    with readable(path, METADATA):
        try:
            return zarr.open_group(store, mode="r", zarr_format=3)
        except zarr.errors.GroupNotFoundError:
            raise no_store(location.url) from None


def get_array(group: Group, name: str) -> Array:
    """Return an array of a store by name.

    Raises
    ------
    StoreError
        If ``name`` is a group, missing, or damaged.
    """
    with readable(root_of(group), f"{name}/zarr.json"):
        array = group[name]
    if not isinstance(array, zarr.Array):
        raise StoreError(f"{root_of(group)}: {name} is a group, not an array")
    return array


def read_array(group: Group, name: str) -> AnyArray:
    """Read all of an array by name.

    Raises
    ------
    DamagedStoreError
        If it cannot be read.
    """
    array = get_array(group, name)
    with readable(root_of(group), name):
        return np.asarray(array[...])


def dimension_names(array: Array) -> tuple[str, ...]:
    """Return the names of the dimensions of an array; empty strings if it has none."""
    names = getattr(array.metadata, "dimension_names", None)
    return tuple(str(name) for name in names or ("",) * array.ndim)


def shard_shape(array: Array) -> tuple[int, ...]:
    """Return the shape of a shard, or of a chunk if the array is not sharded."""
    return array.shards or array.chunks


def shard_files(
    array: Array, name: str, touched: Iterable[Iterable[int]]
) -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
    """Yield the files of shards inside a store, and the regions that they hold.

    Parameters
    ----------
    array
        The array.
    name
        Its name.
    touched
        Indices of the shards along each axis.
    """
    sizes = shard_shape(array)
    for index in product(*touched):
        region = tuple(
            (k * size, min((k + 1) * size, n))
            for k, size, n in zip(index, sizes, array.shape, strict=True)
        )
        yield "/".join([name, "c", *map(str, index)]), region


def chunks_per_shard(array: Array) -> int | None:
    """Return the number of chunks of a shard; None if the array is not sharded."""
    if array.shards is None:
        return None
    return prod(ceil_div(size, part) for size, part in zip(array.shards, array.chunks, strict=True))


def new_array(
    group: Group,
    name: str,
    dims: Sequence[str],
    shape: Sequence[int],
    dtype: npt.DTypeLike,
    *,
    chunks: Sequence[int] | None = None,
    shards: Sequence[int] | None = None,
    attrs: Mapping[str, Any] | None = None,
    compression: str = COMPRESSION,
) -> Array:
    """Create an array with its description from ``mgdask.variables``.

    Parameters
    ----------
    group
        Group of the store.
    name
        Name of the array.
    dims
        Names of its dimensions.
    shape
        Shape of the array.
    dtype
        Data type; ``str`` for text.
    chunks
        Shape of a chunk. Default: all of the array.
    shards
        Shape of a shard. Default: no shards.
    attrs
        Further attributes.
    compression
        One of ``COMPRESSION`` and ``FEATURE_COMPRESSION``. Text ignores it.
    """
    kind = "U" if dtype is str else np.dtype(dtype).kind
    attributes = encoded({**variables.attrs(name), **dict(attrs or {})})
    with explained(str(group.store)), warnings.catch_warnings():
        warnings.simplefilter("ignore", category=zarr.errors.UnstableSpecificationWarning)
        return group.create_array(
            name,
            shape=tuple(shape),
            dtype=dtype,
            chunks=tuple(chunks or (max(1, n) for n in shape)),
            shards=None if shards is None else tuple(shards),
            dimension_names=list(dims),
            attributes=attributes,
            compressors=[_CODECS[compression](), Crc32cCodec()] if kind != "U" else "auto",
            fill_value=FILL_VALUES.get(kind, ""),
        )


def put(
    group: Group, name: str, dims: Sequence[str], values: npt.ArrayLike, **options: Any
) -> None:
    """Create a small array and write all of it.

    Parameters
    ----------
    group
        Group of the store.
    name
        Name of the array.
    dims
        Names of its dimensions.
    values
        Numbers or text.
    options
        Further arguments of ``new_array``.
    """
    data = np.asarray(values)
    is_text = data.dtype.kind in "UO"
    array = new_array(group, name, dims, data.shape, str if is_text else data.dtype, **options)
    with explained(str(group.store)):
        array[...] = data.astype(object) if is_text else data


def write_shard(group: Group, name: str, start: Sequence[int], data: AnyArray) -> WrittenShard:
    """Write one whole shard.

    Parameters
    ----------
    group
        Group of the store, open for writing.
    name
        Name of the array.
    start
        Index of the first element of the shard along each axis.
    data
        Values that reach to the end of the shard or of the array.

    Returns
    -------
    written
        File, size, checksum and seal of what is on disk.

    Raises
    ------
    StoreError
        If the region is not a whole shard.
    """
    array = get_array(group, name)
    shape = shard_shape(array)
    _check_whole_shard(name, array, shape, start, data)
    region = tuple(
        slice(first, first + extent) for first, extent in zip(start, data.shape, strict=True)
    )
    index = "/".join(str(first // size) for first, size in zip(start, shape, strict=True))
    file = f"{name}/c/{index}"
    path = root_of(group) / file
    with explained(root_of(group)):
        try:
            array[region] = data
        except ValueError:
            # At the edge of the array Zarr reads the old shard first, so a damaged one
            # has to go. Never remove a sound one in advance: an append that is killed
            # here would lose frames that were there.
            if not path.exists():
                raise
            path.unlink()
            array[region] = data
        # a shard that holds only fill values has no file
        size = path.stat().st_size if path.exists() else 0
        seal = read_seal(path, chunks_per_shard(array)) if size else ""
    return {"file": file, "size": size, "sha256": content_digest([data]), "seal": seal}


def _check_whole_shard(
    name: str, array: Array, shape: Sequence[int], start: Sequence[int], data: AnyArray
) -> None:
    for axis, (first, extent) in enumerate(zip(start, data.shape, strict=True)):
        end = min(first + shape[axis], array.shape[axis])
        if first % shape[axis] or first + extent != end:
            raise StoreError(
                f"{name}: rows {first} to {first + extent} of axis {axis} are not a whole shard "
                f"(shards of {shape[axis]}, array of {array.shape[axis]}); a task must own whole "
                "shards"
            )


def root_of(group: Group) -> Path:
    """Return the folder of a store."""
    store = group.store
    location = getattr(store, "location", None)  # of a ``CheckedStore``
    if location is not None:
        return folder_of(location.url)
    if not isinstance(store, LocalStore):
        raise StoreError(f"{store} is not a folder; mgdask writes to local or mounted folders")
    return Path(store.root)


def content_digest(parts: Iterable[AnyArray]) -> str:
    """Return the sha256 of the values of an array.

    Parameters
    ----------
    parts
        The array, in parts along its first axis.

    Notes
    -----
    All NaN count as equal, as they do for Zarr.
    """
    sha256 = hashlib.sha256()
    for part in parts:
        for row in part:
            values = np.ascontiguousarray(row)
            if values.dtype.kind == "f" and (missing := np.isnan(values)).any():
                values = np.where(missing, np.array(np.nan, dtype=values.dtype), values)
            sha256.update(values.data)
    return sha256.hexdigest()
