"""Compare files on disk with the records of their blocks.

Shards are compared by their values. See ``mgdask.store.repair`` for other files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr

from mgdask._typing import AnyArray
from mgdask.store.failures import check_cause
from mgdask.store.layout import ceil_div
from mgdask.store.manifest import FOLDER, Manifest
from mgdask.store.provenance import digest
from mgdask.store.seals import read_seal
from mgdask.store.shards import (
    chunks_per_shard,
    content_digest,
    dimension_names,
    get_array,
    open_group,
    shard_files,
    shard_shape,
)

WHOLE = "all of it"
"""Region of damage that affects a whole array."""

_Recorded: TypeAlias = tuple[str, int, str, str | None]
"""Block, size in bytes, sha256 and seal of a file."""


@dataclass(frozen=True)
class Shard:
    """A shard that a store should have.

    Attributes
    ----------
    name
        Name of the array.
    file
        File inside the store.
    dims
        Names of the dimensions of the array.
    region
        First and last index (exclusive) along each axis.
    block
        Block that wrote the shard; None without a record.
    size, sha256
        Size in bytes and checksum of the values according to the record; -1 and ""
        without a record.
    seal
        Seal according to the record; None without one.
    """

    name: str
    file: str
    dims: tuple[str, ...]
    region: tuple[tuple[int, int], ...]
    block: str | None
    size: int
    sha256: str
    seal: str | None = None

    @property
    def where(self) -> str:
        """Frames and atoms that the shard holds, as text."""
        nouns = {"frame": "frames", "atom": "atoms (rows)", "entry": "entries"}
        parts = [
            f"{nouns[dim]} {first} to {last - 1}"
            for dim, (first, last) in zip(self.dims, self.region, strict=True)
            if dim in nouns
        ]
        return ", ".join(parts) or WHOLE


@dataclass(frozen=True)
class Damage:
    """Damage to one file of a store.

    Attributes
    ----------
    file
        File inside the store.
    block
        Block that writes the file; None if no block does.
    where
        Frames and atoms of the file.
    what
        What is wrong.
    """

    file: str
    block: str | None
    where: str
    what: str

    def __str__(self) -> str:
        block = f", block {self.block}" if self.block else ""
        return f"{self.file}: {self.where}{block}: {self.what}"


def expected_shards(
    path: str | Path, damaged: Collection[str] = ()
) -> tuple[list[Shard], list[Damage]]:
    """List the shards that a store should have.

    Parameters
    ----------
    path
        A store of any kind.
    damaged
        Arrays whose description is known to be damaged, which are left out.

    Returns
    -------
    shards
        All shards, with their records if there are any.
    damages
        Arrays whose description cannot be read, or lacks recorded shards.
    """
    store, group = Path(path), open_group(path)
    recorded: dict[str, _Recorded] = {
        file: (
            block,
            int(record.get("files", {}).get(file, -1)),
            str(sha256),
            (record.get("seal") or {}).get(file),
        )
        for block, record in _valid_records(group, Manifest(path).records()).items()
        for file, sha256 in record["checksum"].items()
        if not _is_scratch(file)
    }
    recorded_names = {file.split("/")[0] for file in recorded}
    stored_names = {
        p.name
        for p in store.iterdir()
        if p.is_dir() and p.name != FOLDER and not _is_scratch(p.name)
    }
    shards: list[Shard] = []
    damages: list[Damage] = []
    for name in sorted((recorded_names | stored_names) - set(damaged)):
        try:
            array = group[name]
        except Exception as error:
            check_cause(error)  # a lack of memory or of open files is not damage
            what = f"the description of the array cannot be read ({type(error).__name__}: {error})"
            damages.append(Damage(f"{name}/zarr.json", None, WHOLE, what))
            continue
        if isinstance(array, zarr.Array) and (array.shards is not None or name in recorded_names):
            own = _shards_of(name, array, recorded)
            shards += own
            outside = {f for f in recorded if f.startswith(f"{name}/")} - {s.file for s in own}
            if outside:
                what = f"its shape lacks {len(outside)} recorded shards, first {min(outside)}"
                damages.append(Damage(f"{name}/zarr.json", None, WHOLE, what))
    return shards, damages


def _is_scratch(name: str) -> bool:
    return name.split("/")[0].endswith("_scratch")


def _valid_records(
    group: zarr.Group, records: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the complete records that match the parameters of the store."""
    plan = group.attrs.get("plan_digest")
    whole = group.attrs.get("paths_digest") or group.attrs.get("dictionary_digest")
    valid = {}
    for block, record in records.items():
        checksum, files = record.get("checksum"), record.get("files")
        if not isinstance(checksum, dict) or not isinstance(files, dict):
            continue
        expected = whole if plan is None else digest([plan, block])
        if expected is None or record.get("digest") == expected:
            valid[block] = record
    return valid


def _shards_of(name: str, array: zarr.Array[Any], recorded: Mapping[str, _Recorded]) -> list[Shard]:
    shape, dims = shard_shape(array), dimension_names(array)
    n_shards = (ceil_div(n, size) for n, size in zip(array.shape, shape, strict=True))
    shards = []
    for file, region in shard_files(array, name, map(range, n_shards)):
        block, size, sha256, seal = recorded.get(file, (None, -1, "", None))
        shards.append(Shard(name, file, dims, region, block, size, sha256, seal))
    return shards


def check_shard(path: str | Path, shard: Shard) -> str:
    """Compare a shard with its record, reading one row of chunks at a time.

    Parameters
    ----------
    path
        The store.
    shard
        A shard with a record.

    Returns
    -------
    what
        What is wrong; an empty string if nothing is.

    Notes
    -----
    A shard that holds only fill values has no file, and its record says 0 bytes. Its
    values are compared like those of any other shard.
    """
    try:
        size = (Path(path) / shard.file).stat().st_size
    except FileNotFoundError:
        size = 0
    except OSError as error:
        return f"its file cannot be reached ({error.strerror})"
    if size != shard.size:
        return (
            f"its file has {size} bytes instead of {shard.size}" if size else "its file is missing"
        )
    try:
        sha256 = content_digest(_rows(path, shard))
    except Exception as error:
        check_cause(error)  # a lack of memory or of open files is not damage
        return f"it cannot be read ({type(error).__name__}: {error})"
    return "" if sha256 == shard.sha256 else "its values differ from those that were written"


def is_sealed(path: str | Path, shard: Shard) -> bool:
    """Return whether the seal of a sound shard is that of its record.

    Records of version 0.1 have no seals. A shard that was written again by other
    versions of the libraries can have another one.

    Parameters
    ----------
    path
        The store.
    shard
        A shard with a record, whose values are right.
    """
    if not shard.size:
        return True
    n_chunks = chunks_per_shard(get_array(open_group(path), shard.name))
    return read_seal(Path(path) / shard.file, n_chunks) == shard.seal


def _rows(path: str | Path, shard: Shard) -> Iterator[AnyArray]:
    array = get_array(open_group(path), shard.name)
    (first, last), rest = shard.region[0], tuple(slice(*pair) for pair in shard.region[1:])
    step = array.chunks[0]
    for start in range(first, last, step):
        yield np.asarray(array[(slice(start, min(start + step, last)), *rest)])
