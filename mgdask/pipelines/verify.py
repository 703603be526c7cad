"""Verify a store: each task compares a shard with its record.

Damaged blocks can be dropped. The command that made the store then computes them again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dask.utils import format_bytes

from mgdask import _html
from mgdask.errors import StoreError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.pipelines.frame_values import attach_command
from mgdask.pipelines.ingest_blocks import unfinished
from mgdask.store import frame_values
from mgdask.store.checks import Damage, Shard, check_shard, expected_shards, is_sealed
from mgdask.store.failures import check_store_exists, explained
from mgdask.store.location import local_path
from mgdask.store.manifest import Manifest
from mgdask.store.mark import METADATA
from mgdask.store.open import MADE_BY
from mgdask.store.repair import (
    COPIES_FILE,
    check_written_by_mgdask,
    find_damaged_files,
    is_finished,
    kind_of,
    put_back,
)
from mgdask.store.restoring import irreparable
from mgdask.store.shards import open_group
from mgdask.store.source_checks import add_seals
from mgdask.store.structure import find_contradictions

if TYPE_CHECKING:
    from distributed import Client

MAX_LISTED_DAMAGES = 1000
"""Maximum number of damaged files to list."""
MAX_LISTED_BLOCKS = 20
"""Maximum number of dropped blocks to list."""


@dataclass(frozen=True)
class VerifyReport:
    """Result of ``verify``; ``str`` lists the damaged blocks.

    Attributes
    ----------
    store, kind
        The store and its kind.
    n_shards, n_bytes
        Number of shards, and bytes that were read.
    damages
        All damages.
    never_written
        Shards without a record.
    finished
        Whether the store is finished.
    dropped
        Blocks that were dropped, to be computed again.
    seconds
        Wall-clock time in s.
    repaired
        Whether damage was to be repaired.
    restored
        Files that were restored from their copies.
    remarks
        Further notes.
    """

    store: str
    kind: str
    n_shards: int
    n_bytes: int
    damages: tuple[Damage, ...]
    never_written: tuple[Shard, ...]
    finished: bool
    dropped: tuple[str, ...]
    seconds: float
    repaired: bool = False
    restored: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the store is finished and nothing is wrong."""
        return self.finished and not self.damages and not self.never_written

    def __str__(self) -> str:
        return "\n  ".join([f"{self.store}: {self._compared()}", *self._found()])

    def _repr_html_(self) -> str:
        rows = [("store", self.store), ("compared", self._compared())]
        return _html.table("Verified", rows, self._found())

    def _compared(self) -> str:
        size = f"{self.n_shards} shards of {self.kind}, {format_bytes(self.n_bytes)}"
        return f"{size} read and compared in {self.seconds:.1f} s"

    def _found(self) -> list[str]:
        lines = [f"BAD {damage}" for damage in self.damages[:MAX_LISTED_DAMAGES]]
        if len(self.damages) > MAX_LISTED_DAMAGES:
            lines.append(f"and {len(self.damages) - MAX_LISTED_DAMAGES} more")
        if self.never_written:
            first = self.never_written[0]
            lines.append(
                f"{len(self.never_written)} shards have no record of this work, "
                f"first {first.file}: {first.where}"
            )
        if not self.finished:
            lines.append("the store is not finished")
        if self.restored:
            count = len(self.restored)
            files = "1 file was" if count == 1 else f"{count} files were"
            lines.append(f"{files} restored: {_listed(self.restored)}")
        return [*lines, *self.remarks, self._next_step()]

    def _next_step(self) -> str:
        command = MADE_BY.get(self.kind, "mgdask command")
        again = f"run the same {command} again, which does only what is missing"
        if self.ok:
            return "nothing is wrong"
        if self.dropped:
            return f"{len(self.dropped)} blocks were dropped ({_listed(self.dropped)}): {again}"
        if self.damages and {damage.file for damage in self.damages} <= set(self.restored):
            return "the store is repaired" if self.finished else again
        if self.damages and not self.repaired:
            return (
                f"repair=True (--repair) restores metadata and small arrays, and drops damaged "
                f"blocks; {command} then computes only these"
            )
        return again


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > MAX_LISTED_BLOCKS else ""
    return ", ".join(names[:MAX_LISTED_BLOCKS]) + more


@dataclass(frozen=True)
class _Checked:
    """What is wrong with a shard, "" if nothing is, its size in bytes, its seal."""

    what: str
    n_bytes: int
    sealed: bool


def verify(
    store: str | Path, *, repair: bool = False, client: Client | None = None, progress: bool = True
) -> VerifyReport:
    """Compare every block of a store with its record: files, checksums and values.

    Parameters
    ----------
    store
        A store of a trajectory, of features, or of an unwrapped trajectory.
    repair
        Restore damaged metadata and small arrays from their copies. Drop the records
        and files of damaged blocks. The command that made the store then computes these
        again, and only these.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    report
        A ``VerifyReport`` with the frames and atoms of each damaged block.

    Raises
    ------
    StoreError
        If ``store`` is not a store of mgdask, or if another run writes to a store to be
        repaired. Also if ``repair`` is impossible because a file has no copy.

    Notes
    -----
    A shard is damaged if its file is missing or has another size. It is also damaged if
    a CRC32C checksum of a chunk does not match, or if the SHA-256 of its values differs
    from the record. Metadata, coordinates and other small arrays are compared file by
    file with the digests recorded when the store was finished. Shapes,
    dimensions, types, kind and records must agree with each other. The whole store is
    read. A task holds one row of chunks at a time.

    Stores of version 0.1 have no digests of their metadata and no seals of their
    shards. If nothing is wrong, they are added.

    Examples
    --------
    >>> report = mgdask.verify("features.zarr")  # doctest: +SKIP
    >>> report.ok  # doctest: +SKIP
    True
    """
    started = time.monotonic()
    store = path = local_path(store, "mgdask verify reads")
    manifest = Manifest(path)
    check_store_exists(path)
    if repair:
        manifest.finish_declared()
    with ExitStack() as stack:
        if repair:  # lock first, so that nothing changes between check and repair
            stack.enter_context(manifest.locked())
        check_written_by_mgdask(path)
        damages = find_damaged_files(path)
        restored, rest = put_back(path, damages) if repair else ([], damages)
        kind = kind_of(path)
        shards: list[Shard] = []
        checked: dict[str, _Checked] = {}
        # without the metadata of the store itself, the rest cannot be checked
        if METADATA not in {damage.file for damage in rest}:
            shards, more = _compare(path, rest)
            recorded = [shard for shard in shards if shard.block is not None]
            with resolve_client(client) as workers:
                checked = execute(
                    workers,
                    _check,
                    [(shard.file, (str(store), shard)) for shard in recorded],
                    what="verify",
                    unit="shards",
                    progress=progress,
                ).results
            more += [
                Damage(shard.file, shard.block, shard.where, checked[shard.file].what)
                for shard in recorded
                if checked[shard.file].what
            ]
            damages, rest = damages + more, rest + more
        dropped = _drop_damaged(path, kind, rest) if repair and rest else ()
    report = VerifyReport(
        str(store),
        kind,
        len(shards),
        sum(result.n_bytes for result in checked.values()),
        tuple(damages),
        tuple(shard for shard in shards if shard.block is None),
        is_finished(path) or bool(dropped),
        dropped,
        time.monotonic() - started,
        repair,
        tuple(restored),
    )
    if report.ok:
        n_unsealed = sum(not result.sealed for result in checked.values())
        return replace(report, remarks=_add_digests(path, n_unsealed))
    if dropped and kind == "trajectory":  # perhaps of several inputs
        return replace(report, remarks=(unfinished(path),))
    return report


def _compare(path: Path, damages: Sequence[Damage]) -> tuple[list[Shard], list[Damage]]:
    """Return the shards of a store, and contradictions in its metadata."""
    group = open_group(path)
    described = [damage.file for damage in damages if damage.file.endswith(METADATA)]
    wrong = [] if described or not is_finished(path) else find_contradictions(path, group)
    described += [damage.file for damage in wrong]
    if METADATA in described:  # the digests of the records may be wrong, too
        return [], wrong
    shards, more = expected_shards(path, {file.rpartition("/")[0] for file in described})
    return shards, wrong + more


def _add_digests(path: Path, n_unsealed: int) -> tuple[str, ...]:
    """Add what version 0.1 did not record to a sound store, and describe it."""
    manifest = Manifest(path)
    lacking = [f"seals of {n_unsealed} shards"] if n_unsealed else []
    if "metadata" not in (manifest.completion() or {}):
        lacking.append("digests and copies of metadata")
    if not lacking:
        return ()
    what = " and ".join(lacking)
    try:
        with manifest.locked():
            if n_unsealed:
                add_seals(path)
            manifest.add_digests()
    except (OSError, StoreError) as error:
        return (f"{what} were missing and could not be added: {error}",)
    return (f"{what} were missing and have been added",)


def _check(store: str, shard: Shard) -> _Checked:
    """Task: compare a shard with its record."""
    what = check_shard(store, shard)
    return _Checked(what, max(shard.size, 0), not what and is_sealed(store, shard))


def _drop_damaged(store: Path, kind: str, damages: Sequence[Damage]) -> tuple[str, ...]:
    """Drop records and files of damaged blocks, which can then be computed again."""
    without_block = [damage for damage in damages if damage.block is None]
    described = next((d for d in without_block if d.file.endswith(METADATA)), None)
    if described is not None:
        raise irreparable(store, described.file, described.what, kind)
    if kind != "features":
        values = frame_values.names(open_group(store))
        for damage in without_block:
            name = damage.file.split("/")[0]
            if name in values:
                raise StoreError(
                    f"{store}: {damage.file} is damaged ({damage.what}). It holds {name} of the "
                    f"frames; give all of it again: {attach_command(store, name)} --overwrite"
                )
            if damage.file != COPIES_FILE:
                raise irreparable(store, damage.file, damage.what, kind)
    blocks = {damage.block for damage in damages if damage.block is not None}
    Manifest(store).drop(blocks)
    with explained(store):
        for damage in damages:
            if damage.block is not None:
                (store / damage.file).unlink(missing_ok=True)
    return tuple(sorted(blocks)) or ("coordinates",)
