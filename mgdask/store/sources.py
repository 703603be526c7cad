"""Arrays of finished stores whose files are checked before they are read.

A shard is compared with its record: the size of its file, and its seal. This happens
once per process, and again if the file changes. Zarr then checks every chunk that it
decodes. A missing, swapped, foreign or damaged file is an error, never a number.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr

from mgdask._typing import AnyArray
from mgdask.errors import MgdaskError, RunError
from mgdask.store.checks import Shard
from mgdask.store.failures import DamagedStoreError, check_cause, more_damaged, repair_advice
from mgdask.store.layout import ceil_div
from mgdask.store.manifest import COMPLETE, JOINED, Manifest
from mgdask.store.mark import check_sound
from mgdask.store.remote_path import RemotePath, folder_of
from mgdask.store.seals import read_seal
from mgdask.store.shards import (
    Array,
    chunks_per_shard,
    dimension_names,
    get_array,
    root_of,
    shard_files,
    shard_shape,
)
from mgdask.store.trust import is_trusted

MAX_STORES = 32
"""Maximum number of stores whose records a process keeps."""

Key: TypeAlias = Any
"""Index of an array: integers and slices with step 1, or a tuple of them."""
_State: TypeAlias = tuple[int, int, int]
"""Time of change, size and number of a file."""


def file_state(path: str | Path | RemotePath) -> _State | None:
    """Return what changes whenever a file is replaced; None without a file."""
    if isinstance(path, RemotePath):
        return path.state()
    try:
        about = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


class Seals:
    """What the records of a finished store say of the files of its shards.

    Attributes
    ----------
    store
        The store.
    size
        Size in bytes of each file; 0 for a shard that holds only fill values.
    seal
        Seal of each file. Records of version 0.1 have none.
    counts
        Number of files of each array that has such files.
    shapes_fit
        Whether the shapes of the arrays were found to fit each other.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        self.size: dict[str, int] = {}
        self.seal: dict[str, str] = {}
        manifest = Manifest(store)
        records, mark = manifest.records(), manifest.completion()
        if mark is not None and len(records) != mark["blocks"]:
            raise DamagedStoreError(
                f"{manifest.folder / JOINED} is damaged: it has {len(records)} records of "
                f"{mark['blocks']} blocks. {repair_advice(store)}"
            )
        for record in records.values():
            self.size.update(record.get("files") or {})
            self.seal.update(record.get("seal") or {})
        self.counts = Counter(file.partition("/")[0] for file in self.size)
        self.shapes_fit = False
        self._sound: dict[str, _State | None] = {}

    def check_grid(self, name: str, array: Array) -> None:
        """Raise ``DamagedStoreError`` if an array does not have the recorded shards.

        Its description is then not the one that was written. Nothing is allocated.
        """
        count = self.counts[name]
        if not count:  # no block wrote it
            return
        pairs = zip(array.shape, shard_shape(array), strict=True)
        if prod(ceil_div(n, size) for n, size in pairs) != count:
            raise DamagedStoreError(
                f"{self.store / name / 'zarr.json'} is damaged: an array of shape {array.shape} "
                f"in shards of {shard_shape(array)} does not have the {count} shards that were "
                f"written. {repair_advice(self.store)}"
            )

    def check(self, file: str, n_chunks: int | None) -> str:
        """Compare a file with its record.

        Parameters
        ----------
        file
            File inside the store.
        n_chunks
            Number of chunks of a shard; None if the file is a chunk itself.

        Returns
        -------
        what
            What is wrong; an empty string if nothing is.
        """
        state = file_state(self.store / file)
        if file in self._sound and self._sound[file] == state:
            return ""
        expected = self.size.get(file)
        if expected is None:
            return "has no record, so it belongs to another store"
        if what := wrong_size(state[1] if state else None, expected):
            return what
        seal = self.seal.get(file)
        if expected and seal is not None:
            try:
                found = read_seal(self.store / file, n_chunks)
            except OSError as error:
                check_cause(error)
                return f"cannot be read ({error.strerror})"
            if found != seal:
                return "is not the one that was written"
        self._sound[file] = state
        return ""

    def is_as_checked(self, file: str) -> bool:
        """Return whether a file is still the one that ``check`` compared.

        Parameters
        ----------
        file
            File inside the store.
        """
        return self._sound.get(file) == file_state(self.store / file)


def wrong_size(size: int | None, expected: int) -> str:
    """Say how the size of a file differs from its record; "" if it does not."""
    if (size or 0) == expected:
        return ""
    return f"has {size} bytes instead of {expected}" if size is not None else "is missing"


_LOADED: dict[str, tuple[tuple[_State | None, ...], Seals]] = {}
_LOADING = threading.Lock()


def seals_of(path: str | Path) -> Seals | None:
    """Return the seals of a finished store; None for a store that is being written.

    They are read once per process, unless the store changes.

    Parameters
    ----------
    path
        The store.
    """
    store = folder_of(path).absolute()
    records = Manifest(store).folder
    state = tuple(file_state(file) for file in (records / COMPLETE, records / JOINED, records))
    if state[0] is None:
        return None
    with _LOADING:
        known = _LOADED.pop(str(store), None)
        if known is None or known[0] != state:
            check_sound(store)  # workers read its small arrays too
            known = state, Seals(store)
        _LOADED[str(store)] = known  # the least recently used entry is dropped first
        while len(_LOADED) > MAX_STORES:
            _LOADED.pop(next(iter(_LOADED)))
    return known[1]


class SourceArray:
    """An array whose shards are checked before they are read.

    Parameters
    ----------
    array
        The array.
    store
        Its store. Nothing is checked while it is being written.
    name
        Name of the array.
    trust
        Whether to skip the checks.
    """

    def __init__(self, array: zarr.Array[Any], store: Path, name: str, trust: bool) -> None:
        self.store, self.name, self.trust = store, name, trust
        self.shape, self.dtype = array.shape, np.dtype(array.dtype)
        self.chunks, self.shards = array.chunks, array.shards
        self._array = array

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def identity(self) -> tuple[str, ...]:
        """Return the store, the digest of its content, and the name of the array."""
        return str(self.store.absolute()), str(Manifest(self.store).content()), self.name

    def __getitem__(self, key: Key) -> AnyArray:
        """Read a part, given by integers and slices with step 1."""
        return self._read(key, self._array.__getitem__)

    def outer(self, key: tuple[Any, ...]) -> AnyArray:
        """Read a part, given by an integer, slice or array of indices per axis."""
        return self._read(key, self._array.get_orthogonal_selection)

    def _read(self, key: Key, read: Callable[[Any], Any]) -> AnyArray:
        seals = None if self.trust else seals_of(self.store)
        regions: dict[str, tuple[tuple[int, int], ...]] = {}
        if seals is not None and seals.counts[self.name]:
            seals.check_grid(self.name, self._array)
            n_chunks = chunks_per_shard(self._array)
            regions = dict(self._files(key))
            for file, region in regions.items():
                if what := seals.check(file, n_chunks):
                    raise damaged_shard(self.store, self._shard(file, region), what)
        try:
            values = np.asarray(read(key))
        except (MgdaskError, MemoryError, IndexError):
            raise
        except Exception as error:  # a damaged file can raise anything
            check_cause(error)
            raise self._explain(key, error) from error
        # Zarr reads fill values where a file was removed after it was checked.
        for file, region in regions.items():
            if seals is not None and not seals.is_as_checked(file):
                what = "was changed or removed while it was read"
                raise damaged_shard(self.store, self._shard(file, region), what)
        return values

    def _files(self, key: Key) -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
        """Return the files, and their regions, that a part of the array touches."""
        sizes = shard_shape(self._array)
        touched = [
            range(low // size, -(-high // size))
            for (low, high), size in zip(_bounds(key, self.shape), sizes, strict=True)
        ]
        return shard_files(self._array, self.name, touched)

    def _shard(self, file: str, region: tuple[tuple[int, int], ...]) -> Shard:
        return Shard(self.name, file, dimension_names(self._array), region, None, -1, "")

    def _explain(self, key: Key, error: Exception) -> MgdaskError:
        """Return the error for a part that cannot be read, which names the file."""
        what = f"cannot be read ({type(error).__name__}: {error})"
        files = list(self._files(key))
        for file, region in files:
            try:
                self._array[tuple(slice(*pair) for pair in region)]
            except Exception:
                if self._is_as_written(error):
                    return RunError(
                        f"{self.store}: the file {file} is as it was written, but {what}. "
                        "Memory ran out, probably: give the process more memory, then run the "
                        "same command again"
                    )
                return damaged_shard(self.store, self._shard(file, region), what)
        return damaged_shard(self.store, self._shard(*files[0]), what)

    def _is_as_written(self, error: Exception) -> bool:
        """Return whether an error comes from a codec after a checksum that was right.

        Blosc reports damaged data and a lack of memory alike, but zarr compares the
        CRC32C of a chunk before it decompresses it.
        """
        codecs: Any = self._array.metadata.to_dict()["codecs"]
        inner = codecs[0].get("configuration", {}).get("codecs", codecs)
        return "decompression" in str(error) and inner[-1]["name"] == "crc32c"


def _bounds(key: Key, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the first and last (exclusive) index along each axis."""
    keys = list(key) if isinstance(key, tuple) else [key]
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), None)
    if at is not None:
        keys[at : at + 1] = [slice(None)] * (len(shape) - len(keys) + 1)
    keys += [slice(None)] * (len(shape) - len(keys))
    bounds = []
    for k, n in zip(keys, shape, strict=True):
        if isinstance(k, slice):
            indices = range(n)[k]
            inside = (min(indices[0], indices[-1]), max(indices[0], indices[-1]) + 1)
            bounds.append(inside if len(indices) else (0, 0))
            continue
        numbers = np.atleast_1d(np.asarray(k))
        if numbers.dtype == np.bool_:
            numbers = np.flatnonzero(numbers)
        numbers = np.where(numbers < 0, numbers + n, numbers)
        bounds.append((int(numbers.min()), int(numbers.max()) + 1) if len(numbers) else (0, 0))
    return bounds


def source_array(group: zarr.Group, name: str) -> SourceArray:
    """Return an array of a store to read from.

    Parameters
    ----------
    group
        Group of the store.
    name
        Name of the array.
    """
    return SourceArray(get_array(group, name), root_of(group), name, is_trusted())


def damaged_shard(store: str | Path, shard: Shard, what: str, n_more: int = 0) -> DamagedStoreError:
    """Return the error for a damaged shard, with the commands that help.

    Parameters
    ----------
    store
        The store.
    shard
        The shard.
    what
        What is wrong with its file, as a verb.
    n_more
        Number of further damaged files.
    """
    return DamagedStoreError(
        f"{store}: the file {shard.file} ({shard.where}) {what}{more_damaged(n_more)}. "
        f"{repair_advice(store)}"
    )
