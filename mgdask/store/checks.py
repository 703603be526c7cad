"""Checking what lies on disk against the records: shards by their values, small arrays by their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from mgdask.store.manifest import FOLDER, Manifest
from mgdask.store.provenance import digest
from mgdask.store.shards import content_digest, open_group


@dataclass(frozen=True)
class Shard:
    """A shard that a store should have: its file, its region by axis, and what its block's record tells of it (None without a record)."""

    name: str
    file: str
    dims: tuple[str, ...]
    region: tuple[tuple[int, int], ...]
    block: str | None
    size: int
    sha256: str

    @property
    def where(self) -> str:
        """Frames and atoms that it holds, in words."""
        words = {"frame": "frames", "atom": "atoms (rows)"}
        parts = [
            f"{words[d]} {a} to {b - 1}"
            for d, (a, b) in zip(self.dims, self.region, strict=True)
            if d in words
        ]
        return ", ".join(parts) or "all of it"


@dataclass(frozen=True)
class Damage:
    """Something that is wrong: the file, the block that makes it again (None if no block does), where in the data, and what."""

    file: str
    block: str | None
    where: str
    what: str

    def __str__(self) -> str:
        return (
            f"{self.file}: {self.where}{f', block {self.block}' if self.block else ''}: {self.what}"
        )


def expected_shards(path: str | Path) -> tuple[list[Shard], list[Damage]]:
    """All shards that a store of mgdask should have, and what is wrong with the descriptions of its arrays."""
    store, group = Path(path), open_group(path)
    told = {
        file: (block, int(record.get("files", {}).get(file, -1)), str(sha256))
        for block, record in _valid_records(group, Manifest(path).records()).items()
        for file, sha256 in record["checksum"].items()
        if not _is_scratch(file)
    }
    recorded = {file.split("/")[0] for file in told}
    there = {
        p.name
        for p in store.iterdir()
        if p.is_dir() and p.name != FOLDER and not _is_scratch(p.name)
    }
    shards: list[Shard] = []
    damages: list[Damage] = []
    for name in sorted(recorded | there):
        try:
            array = group[name]
        except Exception as error:
            what = f"the description of the array cannot be read ({type(error).__name__}: {error})"
            damages.append(Damage(f"{name}/zarr.json", None, "all of it", what))
            continue
        if isinstance(array, zarr.Array) and (array.shards is not None or name in recorded):
            shards += _shards_of(name, array, told)
    return shards, damages


def _is_scratch(name: str) -> bool:
    return name.split("/")[0].endswith("_scratch")


def _valid_records(
    group: zarr.Group, records: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    plan, paths = group.attrs.get("plan_digest"), group.attrs.get("paths_digest")
    found = {}
    for block, record in records.items():
        if not isinstance(record.get("checksum"), dict) or not isinstance(
            record.get("files"), dict
        ):
            continue
        wanted = paths if plan is None else digest([plan, block])
        if wanted is None or record.get("digest") == wanted:
            found[block] = record
    return found


def _shards_of(
    name: str, array: zarr.Array[Any], told: Mapping[str, tuple[str, int, str]]
) -> list[Shard]:
    grid = array.shards or array.chunks
    dims = tuple(str(dim) for dim in (array.metadata.dimension_names or ("",) * array.ndim))
    found = []
    for place in product(*(range(-(-n // g)) for n, g in zip(array.shape, grid, strict=True))):
        file = "/".join([name, "c", *map(str, place)])
        block, size, sha256 = told.get(file, (None, -1, ""))
        region = tuple(
            (k * g, min((k + 1) * g, n)) for k, g, n in zip(place, grid, array.shape, strict=True)
        )
        found.append(Shard(name, file, dims, region, block, size, sha256))
    return found


def check_shard(path: str | Path, shard: Shard) -> str:
    """What is wrong with a shard that has a record, "" if nothing is; reads it chunk row by chunk row.

    A shard of nothing but fill has no file, and its record says 0 bytes: its values are compared like any other's.
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
        found = content_digest(_rows(path, shard))
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:
        return f"it cannot be read ({type(error).__name__}: {error})"
    return "" if found == shard.sha256 else "its values are not those that were written"


def _rows(path: str | Path, shard: Shard) -> Iterator[npt.NDArray[Any]]:
    array = open_group(path)[shard.name]
    assert isinstance(array, zarr.Array)
    (first, last), rest = shard.region[0], tuple(slice(*pair) for pair in shard.region[1:])
    for start in range(first, last, array.chunks[0]):
        yield np.asarray(array[(slice(start, min(start + array.chunks[0], last)), *rest)])


def check_small(path: str | Path) -> list[Damage]:
    """What is wrong with the arrays that no block writes (coordinates, cells, labels), by the digests taken when the store was finished."""
    found = []
    for file, sha256 in sorted(Manifest(path).small_files().items()):
        where = "all of it"
        try:
            now = hashlib.sha256((Path(path) / file).read_bytes()).hexdigest()
        except OSError as error:
            found.append(Damage(file, None, where, f"its file cannot be read ({error.strerror})"))
        else:
            if now != sha256:
                found.append(Damage(file, None, where, "its file is not the one that was written"))
    return found
