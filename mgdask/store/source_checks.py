"""Compare the files of source stores with their records, before the first task."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mgdask.errors import StoreError
from mgdask.store.checks import Shard
from mgdask.store.layout import ceil_div
from mgdask.store.manifest import Manifest
from mgdask.store.remote_path import RemotePath, folder_of
from mgdask.store.seals import read_seal
from mgdask.store.shards import (
    Array,
    chunks_per_shard,
    dimension_names,
    get_array,
    open_group,
    shard_files,
    shard_shape,
)
from mgdask.store.sources import damaged_shard, seals_of, wrong_size
from mgdask.store.trust import TRUSTED, is_trusted

PROBE = 200
"""Number of files whose size queries are timed first."""
SLOW = 200e-6
"""Time in s per file from which several threads ask: that of a network file system.

A local disk takes about 15 microseconds, which threads would only lengthen.
"""
N_THREADS = 16

log = logging.getLogger(__name__)

_REMARKED: set[str] = set()


def check_source(
    path: str | Path,
    names: Collection[str] | None = None,
    frames: npt.NDArray[np.integer] | None = None,
) -> None:
    """Compare all shards that a run will read with their records, by size.

    A warning is logged if the source is trusted, or if its records have no seals.

    Parameters
    ----------
    path
        A finished store.
    names
        Arrays that are read. Default: all.
    frames
        Frames that are read. Default: all.

    Raises
    ------
    DamagedStoreError
        If a file is missing or has another size. The message names the first one.
    """
    if is_trusted():
        log.warning("%s: %s", path, TRUSTED)
        return
    lost = lost_shards(path, names, frames)
    if lost:
        shard, what = lost[0]
        raise damaged_shard(path, shard, what, len(lost) - 1)
    seals = seals_of(path)
    key = str(folder_of(path).absolute())
    if seals is not None and len(seals.seal) < len(seals.size) and key not in _REMARKED:
        _REMARKED.add(key)
        log.warning(
            "%s was written before shards had seals: only the sizes of its files are compared. "
            "mgdask verify %s compares everything, and adds the seals",
            path,
            path,
        )


def lost_shards(
    path: str | Path,
    names: Collection[str] | None = None,
    frames: npt.NDArray[np.integer] | None = None,
) -> list[tuple[Shard, str]]:
    """Return the shards whose files are missing or have another size.

    Parameters
    ----------
    path, names, frames
        As in ``check_source``.

    Returns
    -------
    lost
        Each shard, and what is wrong with it, in the order of the arrays.
    """
    seals = seals_of(path)
    if seals is None:
        raise StoreError(f"{path} has changed: it is being written now, or it was interrupted")
    group = open_group(path)
    lost: list[tuple[Shard, str]] = []
    for name in sorted(group.array_keys() if names is None else names):
        array = get_array(group, name)
        if not seals.counts[name]:  # no block wrote it
            continue
        seals.check_grid(name, array)
        files = list(_files(name, array, frames))
        known = [file for file, _ in files if file in seals.size]
        sizes = dict(zip(known, _sizes(folder_of(path), known), strict=True))
        for file, region in files:
            size = seals.size.get(file, -1)
            what = wrong_size(sizes[file], size) if file in sizes else "has no record"
            if what:
                dims = dimension_names(array)
                lost.append((Shard(name, file, dims, region, None, size, ""), what))
    return lost


def add_seals(path: str | Path) -> int:
    """Record the seals of all shards of a finished store, as they are now.

    Parameters
    ----------
    path
        A store whose values were just found to be those that were written. The caller
        holds its lock. Stores of version 0.1 lack seals.

    Returns
    -------
    n_added
        Number of seals that were added, or differed.
    """
    manifest, group = Manifest(path), open_group(path)
    amended, n_added = {}, 0
    for block, record in manifest.records().items():
        known = record.get("seal") or {}
        seals = {}
        for file, size in record["files"].items():
            name = file.partition("/")[0]
            if name in group:  # scratch arrays are gone
                n_chunks = chunks_per_shard(get_array(group, name))
                seals[file] = read_seal(Path(path) / file, n_chunks) if size else ""
        n_new = sum(known.get(file) != seal for file, seal in seals.items())
        if n_new:
            n_added += n_new
            amended[block] = {**record, "seal": {**known, **seals}}
    if amended:
        manifest.amend(amended)
    return n_added


def _files(
    name: str, array: Array, frames: npt.NDArray[np.integer] | None
) -> Iterator[tuple[str, tuple[tuple[int, int], ...]]]:
    """Return the files of an array that hold the given frames, with their regions."""
    sizes, dims = shard_shape(array), dimension_names(array)
    indices: list[Iterable[int]] = []
    for dim, n, size in zip(dims, array.shape, sizes, strict=True):
        if frames is not None and dim == "frame":
            indices.append(np.unique(frames // size).tolist())
        else:
            indices.append(range(ceil_div(n, size)))
    return shard_files(array, name, indices)


def _sizes(store: Path | RemotePath, files: Sequence[str]) -> list[int | None]:
    """Return the sizes of files in bytes; None for those that are missing."""
    if isinstance(store, RemotePath):
        return store.sizes(files)
    root = f"{store}{os.sep}"

    def size(file: str) -> int | None:
        try:
            return os.stat(root + file).st_size
        except OSError:
            return None

    began = time.perf_counter()
    sizes = [size(file) for file in files[:PROBE]]
    rest = files[PROBE:]
    if not rest or time.perf_counter() - began < SLOW * PROBE:
        return sizes + [size(file) for file in rest]
    parts = [rest[k::N_THREADS] for k in range(N_THREADS)]
    found: list[int | None] = [None] * len(rest)
    with ThreadPoolExecutor(N_THREADS) as pool:
        for k, part in enumerate(pool.map(lambda part: [size(file) for file in part], parts)):
            found[k::N_THREADS] = part
    return sizes + found
