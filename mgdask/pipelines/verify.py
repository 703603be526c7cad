"""Verify a store: each task compares a shard with its record.

Damaged blocks can be dropped. The command that made the store then computes them again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask.utils import format_bytes

from mgdask.errors import StoreError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.pipelines.frame_values import attach_command
from mgdask.store import frame_values
from mgdask.store.appends import read_appends
from mgdask.store.checks import Damage, Shard, check_shard, check_small, expected_shards
from mgdask.store.failures import explained
from mgdask.store.manifest import Manifest
from mgdask.store.open import KINDS, MADE_BY
from mgdask.store.shards import Group, open_group

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

    @property
    def ok(self) -> bool:
        """Whether the store is finished and nothing is wrong."""
        return self.finished and not self.damages and not self.never_written

    def __str__(self) -> str:
        lines = [
            f"{self.store}: {self.n_shards} shards of {self.kind}, {format_bytes(self.n_bytes)} "
            f"read and compared in {self.seconds:.1f} s"
        ]
        lines += [f"  BAD {damage}" for damage in self.damages[:MAX_LISTED_DAMAGES]]
        if len(self.damages) > MAX_LISTED_DAMAGES:
            lines.append(f"  and {len(self.damages) - MAX_LISTED_DAMAGES} more")
        if self.never_written:
            first = self.never_written[0]
            lines.append(
                f"  {len(self.never_written)} shards have no record of this work, "
                f"first {first.file}: {first.where}"
            )
        if not self.finished:
            lines.append("  the store is not finished")
        lines.append(f"  {self._next_step()}")
        return "\n".join(lines)

    def _next_step(self) -> str:
        command = MADE_BY[self.kind]
        again = f"run the same {command} again, which does only what is missing"
        if self.ok:
            return "nothing is wrong"
        if self.dropped:
            blocks = ", ".join(self.dropped[:MAX_LISTED_BLOCKS])
            more = ", ..." if len(self.dropped) > MAX_LISTED_BLOCKS else ""
            return f"{len(self.dropped)} blocks were dropped ({blocks}{more}): {again}"
        if self.damages:
            return (
                f"repair=True (--repair) drops the damaged blocks; {command} then "
                "computes only them"
            )
        return again


@dataclass(frozen=True)
class _Checked:
    """What is wrong with a shard, "" if nothing is, and its size in bytes."""

    what: str
    n_bytes: int


def verify(
    store: str | Path, *, repair: bool = False, client: Client | None = None, progress: bool = True
) -> VerifyReport:
    """Compare every block of a store with its record: files, checksums and values.

    Parameters
    ----------
    store
        A store of a trajectory, of features, or of an unwrapped trajectory.
    repair
        Drop the records and files of damaged blocks. Then the command that made the
        store computes these again, and only these.
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
        repaired. Also if ``repair`` cannot help. A trajectory with derived images or
        appended frames has to be ingested again as a whole.

    Notes
    -----
    A shard is damaged if its file is missing or has another size. It is also damaged if
    a CRC32C checksum of a chunk does not match, or if the SHA-256 of its values differs
    from the record. Coordinates are compared file by file. The whole store is read. A
    task holds one row of chunks at a time.

    Examples
    --------
    >>> report = mgdask.verify("features.zarr")  # doctest: +SKIP
    >>> report.ok  # doctest: +SKIP
    True
    """
    started = time.monotonic()
    if repair:
        Manifest(store).finish_declared()
    group = open_group(store)
    kind = str(group.attrs.get("mgdask_kind", ""))
    if kind not in KINDS:
        raise StoreError(
            f"{store} is a Zarr group, but not one that mgdask wrote; there are no records to "
            "compare with"
        )
    manifest = Manifest(store)
    with ExitStack() as stack:
        if repair:  # lock first, so that nothing changes between check and repair
            stack.enter_context(manifest.locked())
        shards, damages = expected_shards(store)
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
        damages += [
            Damage(shard.file, shard.block, shard.where, checked[shard.file].what)
            for shard in recorded
            if checked[shard.file].what
        ]
        damages += check_small(store)
        dropped = _give_back(Path(store), kind, group, damages) if repair and damages else ()
    return VerifyReport(
        str(store),
        kind,
        len(shards),
        sum(result.n_bytes for result in checked.values()),
        tuple(damages),
        tuple(shard for shard in shards if shard.block is None),
        manifest.content() is not None or bool(dropped),
        dropped,
        time.monotonic() - started,
    )


def _check(store: str, shard: Shard) -> _Checked:
    """Task: compare a shard with its record."""
    return _Checked(check_shard(store, shard), max(shard.size, 0))


def _give_back(store: Path, kind: str, group: Group, damages: Sequence[Damage]) -> tuple[str, ...]:
    """Drop records and files of damaged blocks, if they can be computed again."""
    without_block = [damage for damage in damages if damage.block is None]
    if kind == "trajectory" and (
        str(group.attrs.get("image_scheme", "")).startswith("derived") or read_appends(group)
    ):
        raise StoreError(
            f"{store} has {len(damages)} damaged files, first {damages[0]}. Images were derived "
            "from frame to frame, or frames were appended to it, so single blocks cannot be made "
            "again: remake the whole store with mgdask ingest --overwrite"
        )
    if kind != "features":
        for damage in without_block:
            name = damage.file.split("/")[0]
            if name in frame_values.names(group):
                raise StoreError(
                    f"{store}: {damage.file} is damaged ({damage.what}). It holds {name} of the "
                    f"frames; give all of it again: {attach_command(store, name)} --overwrite"
                )
    if any(damage.file.endswith("zarr.json") for damage in without_block) or (
        without_block and kind != "features"
    ):
        raise StoreError(
            f"{store}: {without_block[0].file} is damaged ({without_block[0].what}) and belongs to "
            f"no block; remove the store and make it again with {MADE_BY[kind]}"
        )
    blocks = {damage.block for damage in damages if damage.block is not None}
    Manifest(store).drop(blocks)
    with explained(store):
        for damage in damages:
            if damage.block is not None:
                (store / damage.file).unlink(missing_ok=True)
    return tuple(sorted(blocks)) or ("coordinates",)
