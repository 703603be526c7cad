"""Verifying a store: every shard is read by a task and compared with its record; bad blocks can be given back to the command that made them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask.utils import format_bytes

from mgdask.errors import StoreError
from mgdask.execution.executor import execute, resolve_client
from mgdask.store.checks import Damage, Shard, check_shard, check_small, expected_shards
from mgdask.store.failures import explained
from mgdask.store.manifest import Manifest
from mgdask.store.open import KINDS, MADE_BY
from mgdask.store.shards import open_group

NAMED = 1000
"""Bad files that are named; nobody reads more."""


@dataclass(frozen=True)
class VerifyReport:
    """What ``verify`` found; ``ok`` if all is as it was written, ``str`` names every bad block."""

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
            f"{self.store}: {self.n_shards} shards of {self.kind}, {format_bytes(self.n_bytes)} read and compared in {self.seconds:.1f} s"
        ]
        lines += [f"  BAD {damage}" for damage in self.damages[:NAMED]]
        if len(self.damages) > NAMED:
            lines.append(f"  and {len(self.damages) - NAMED} more")
        if self.never_written:
            first = self.never_written[0]
            lines.append(
                f"  {len(self.never_written)} shards have no record of this work, first {first.file}: {first.where}"
            )
        if not self.finished:
            lines.append("  the store is not finished")
        again = f"run the same {MADE_BY[self.kind]} again, it does only what is missing"
        if self.ok:
            lines.append("  nothing is wrong")
        elif self.dropped:
            lines.append(
                f"  {len(self.dropped)} blocks were given back ({', '.join(self.dropped[:20])}"
                + (", ..." if len(self.dropped) > 20 else "")
                + f"): {again}"
            )
        elif self.damages:
            lines.append(
                f"  repair=True (--repair) gives the bad blocks back to {MADE_BY[self.kind]}, which computes only them"
            )
        else:
            lines.append(f"  {again}")
        return "\n".join(lines)


def verify(
    store: str | Path, *, repair: bool = False, client: Any = None, progress: bool = True
) -> VerifyReport:
    """Compare every block of a store with its record: the record, the files, their checksums, and the values.

    Parameters: ``store`` of a trajectory, of features or of paths; ``repair`` drops the records and the files of bad blocks, so that the command that
    made the store computes them again, and only them; ``client`` a ``distributed.Client`` (default the current one, else threads of this process);
    ``progress`` shows a bar on a terminal, a line a minute in a log.

    Returns a ``VerifyReport`` that names every bad block with its frames and atoms. A shard is bad if its file is missing or of another size,
    if a checksum of Zarr (CRC32C of every chunk) does not fit, or if the sha256 of its values is not the one recorded when it was
    written. Coordinates are compared file by file. All of the store is read; a task holds one row of chunks.

    Raises ``StoreError`` where there is no store of mgdask, where another run writes to one that is to be repaired, and where ``repair``
    cannot help: a trajectory whose images were derived, or to which frames were appended, is made again from its files as a whole.

    >>> report = mgdask.verify("features.zarr")  # doctest: +SKIP
    >>> report.ok                                # doctest: +SKIP
    """
    began = time.monotonic()
    group = open_group(store)
    kind = str(group.attrs.get("mgdask_kind", ""))
    if kind not in KINDS:
        raise StoreError(
            f"{store} is a Zarr group, but not one that mgdask wrote; there are no records to compare with"
        )
    manifest = Manifest(store)
    with ExitStack() as stack:
        if repair:
            stack.enter_context(
                manifest.locked()
            )  # before looking, so that nothing changes in between
        shards, damages = expected_shards(store)
        recorded = [shard for shard in shards if shard.block is not None]
        with resolve_client(client) as workers:
            told = execute(
                workers,
                _check,
                [(shard.file, (str(store), shard)) for shard in recorded],
                what="verify",
                unit="shards",
                progress=progress,
            ).results
        for shard in recorded:
            if what := told[shard.file]["what"]:
                damages.append(Damage(shard.file, shard.block, shard.where, what))
        damages += check_small(store)
        dropped = _give_back(Path(store), kind, group, damages) if repair and damages else ()
    return VerifyReport(
        str(store),
        kind,
        len(shards),
        sum(result["bytes"] for result in told.values()),
        tuple(damages),
        tuple(shard for shard in shards if shard.block is None),
        manifest.content() is not None or bool(dropped),
        dropped,
        time.monotonic() - began,
    )


def _check(store: str, shard: Shard) -> dict[str, Any]:
    return {"what": check_shard(store, shard), "bytes": max(shard.size, 0)}


def _give_back(store: Path, kind: str, group: Any, damages: Sequence[Damage]) -> tuple[str, ...]:
    """Drop records and files of bad blocks; ``StoreError`` where the command that made the store could not make them again."""
    lost = [damage for damage in damages if damage.block is None]
    if kind == "trajectory" and (
        str(group.attrs.get("image_scheme", "")).startswith("derived")
        or "append_digest" in group.attrs
    ):
        raise StoreError(
            f"{store} has {len(damages)} bad files, first {damages[0]}. Its images were derived from frame to frame, or frames were "
            "appended to it, so that single blocks cannot be made again: make it as a whole with mgdask ingest --overwrite"
        )
    if any(damage.file.endswith("zarr.json") for damage in lost) or (lost and kind != "features"):
        raise StoreError(
            f"{store}: no block makes {lost[0].file} again, which is bad ({lost[0].what}); remove the store and make it anew with "
            f"{MADE_BY[kind]}"
        )
    blocks = {damage.block for damage in damages if damage.block is not None}
    Manifest(store).drop(blocks)
    with explained(store):
        for damage in damages:
            if damage.block is not None:
                (store / damage.file).unlink(missing_ok=True)
    return tuple(sorted(blocks)) or ("coordinates",)
