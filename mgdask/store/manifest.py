"""The manifest: records of finished blocks, and the write lock.

Each writing process appends to its own file, one line per block. So processes share no
file, and there are as many files as processes, not as blocks. The client joins them at
the end. A torn last line, left by a killed process, is ignored. Its block is computed
again.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from mgdask.store.durable import flush_files, flush_folder, write_file
from mgdask.store.failures import explained
from mgdask.store.lock import Lock, check_unlocked, locked
from mgdask.store.mark import (
    COMPLETE,
    DECLARED,
    FOLDER,
    Mark,
    check_copied,
    check_sound,
    files_to_mark,
    read_mark,
    sealed,
    sha256,
    write_copies,
)
from mgdask.store.remote_path import folder_of
from mgdask.store.staging import finish_interrupted, is_declared

__all__ = ["COMPLETE", "DECLARED", "FOLDER", "JOINED", "Manifest", "Record"]

JOINED = "blocks.jsonl"
"""File with the records of all processes, joined when the store is finished."""
SUM = b', "sum": "'
"""Beginning of the last entry of a record, a digest of the entries before it."""

Record: TypeAlias = Mapping[str, Any]
"""Block, digest of parameters and input, files with sizes, checksums, notes."""

_TOKENS: dict[int, str] = {}


class Manifest:
    """Records of the finished blocks of a store.

    Parameters
    ----------
    path
        The store.
    """

    def __init__(self, path: str | Path) -> None:
        self.store = folder_of(path)
        self.folder = self.store / FOLDER

    def create(self) -> None:
        """Create the folder, as a Zarr group that readers skip silently."""
        with explained(self.store):
            self.folder.mkdir(parents=True, exist_ok=True)
            metadata = {
                "zarr_format": 3,
                "node_type": "group",
                "attributes": {"meaning": "records of finished blocks"},
            }
            (self.folder / "zarr.json").write_text(json.dumps(metadata, indent=2), encoding="utf-8")

    def append(self, record: Record) -> None:
        """Write one record, after the files of its block are on disk.

        The record is on disk too when this returns.

        Parameters
        ----------
        record
            Record of a block whose files are complete.

        Raises
        ------
        StorageFullError
            If the store cannot be written. No torn line is left behind.
        """
        pid = os.getpid()
        token = _TOKENS.setdefault(pid, uuid.uuid4().hex[:8])
        name = self.folder / f"{socket.gethostname()}-{pid}-{token}.jsonl"
        line = _line(record)
        with explained(self.store):
            flush_files(self.store, record.get("checksum", ()))
            is_new = not name.exists()
            handle = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                _append_whole(handle, line)
            finally:
                os.close(handle)
            if is_new:
                flush_folder(self.folder)

    def records(self) -> dict[str, dict[str, Any]]:
        """Return the newest record of every block. Damaged lines are skipped.

        Among those that several processes have written since the last ``join``, the
        file name decides. Within one run, they are equal.
        """
        records: dict[str, dict[str, Any]] = {}
        files = sorted(self.folder.glob("*.jsonl"), key=lambda p: (p.name != JOINED, p.name))
        for name in files:
            for line in name.read_bytes().split(b"\n"):
                record = _parse_line(line)
                if record is not None:
                    records[record["block"]] = record
        return records

    def count_damaged_records(self) -> int:
        """Return the number of damaged lines in the joined records."""
        try:
            lines = (self.folder / JOINED).read_bytes().split(b"\n")
        except OSError:
            return 0
        return sum(bool(line) and _parse_line(line) is None for line in lines)

    def done(self, block: str, digest: str, records: Mapping[str, Record]) -> bool:
        """Return whether a block is finished.

        Parameters
        ----------
        block
            Name of the block.
        digest
            Digest of the parameters and inputs that its record must have.
        records
            Records of the store, as ``records`` returns them.

        Returns
        -------
        done
            True if there is such a record and all its files are there in full size.
        """
        record = records.get(block)
        if record is None or record.get("digest") != digest:
            return False
        files = record.get("files")
        if not isinstance(files, dict) or "checksum" not in record:
            return False
        return all(_has_size(self.store / name, size) for name, size in files.items())

    def finish(self, identity: str, *, rewritten: Collection[str] = ()) -> str:
        """Join all records into one file and mark the store as complete.

        Parameters
        ----------
        identity
            What the records do not cover, such as species and parameters.
        rewritten
            Small arrays that the caller has just written or compared with their source.

        Returns
        -------
        content
            Digest of the content of the store.

        Raises
        ------
        DamagedStoreError
            If metadata or small files differ from their copies, and the store has the
            content that it had when these were made.
        """
        records = self.records()
        content = content_of(identity, records)
        before = self.completion()
        if before is not None:
            # Files damaged since then must not get new digests.
            check_sound(self.store)
            if "metadata" in before and before["content"] == content and not self._parts():
                return content
        else:
            check_copied(self.store, content, rewritten)
        recorded = {file for record in records.values() for file in record["checksum"]}
        with explained(self.store):
            self._tidy()
            self._join(records)
            files = files_to_mark(self.store, recorded)
            self._write_mark({"blocks": len(records), "content": content, **files})
        return content

    def _write_mark(self, mark: Mark) -> None:
        """Write the mark and the copies of its files; the copies come first."""
        text = sealed(mark)
        write_copies(self.store, text)
        _replace(self.folder / COMPLETE, text)

    def _parts(self) -> list[Path]:
        """Return the files with the records of single processes."""
        return [name for name in self.folder.glob("*.jsonl") if name.name != JOINED]

    def join(self) -> None:
        """Join the records of single processes before others write.

        Frames that are appended write a block again. The records of this run then
        replace those of runs before it, whatever the processes are called. The caller
        holds the lock, and no task writes.
        """
        if self._parts():
            with explained(self.store):
                self._join(self.records())

    def _join(self, records: Mapping[str, Record]) -> None:
        """Write the records to one file, and remove the files of single processes."""
        parts = self._parts()
        _replace(
            self.folder / JOINED,
            b"".join(_line(records[block]) for block in sorted(records)).decode(),
        )
        for name in parts:
            name.unlink()

    def _tidy(self) -> None:
        """Remove files that killed writers left."""
        for name in self.store.rglob("*.partial"):
            if name.is_file():
                name.unlink(missing_ok=True)

    def completion(self) -> Mark | None:
        """Return the mark of a finished store, or None if it is not finished.

        Returns
        -------
        mark
            Number of ``blocks``, digest of the ``content``, digests of files by name.

        Raises
        ------
        StoreError
            If the mark is damaged.
        """
        return read_mark(self.store)

    def small_files(self) -> dict[str, str]:
        """Return the SHA-256 digests of the files that no record covers.

        They are computed when the store is finished. An unfinished store has none.
        """
        return dict((self.completion() or {}).get("small", {}))

    def update(self, names: Collection[str]) -> None:
        """Update the mark of a finished store after a change of some arrays.

        Parameters
        ----------
        names
            Arrays whose values or attributes were changed. The attributes of the store
            may have changed too. All other files keep their digests.
        """
        mark = self.completion()
        if mark is None:  # ``finish`` will compute all of them
            return
        recorded = {file for record in self.records().values() for file in record["checksum"]}
        fresh = files_to_mark(self.store, recorded, names)
        if "metadata" not in mark:  # version 0.1: the other files were never compared
            fresh = {"small": fresh["small"]}
        for key, table in fresh.items():
            kept = {f: sum_ for f, sum_ in mark[key].items() if f.split("/")[0] not in names}
            mark[key] = dict(sorted({**kept, **table}.items()))
        if "metadata" in mark:
            self._write_mark(mark)
        else:
            _replace(self.folder / COMPLETE, sealed(mark))

    def add_digests(self) -> None:
        """Add the digests and copies of all metadata to a mark of version 0.1.

        The caller holds the lock, and has compared the store.
        """
        mark = self.completion()
        if mark is None or "metadata" in mark:
            return
        records = self.records()
        recorded = {file for record in records.values() for file in record["checksum"]}
        with explained(self.store):
            self._join(records)
            self._write_mark({**mark, **files_to_mark(self.store, recorded)})

    def content(self) -> str | None:
        """Return the digest of the content, or None if the store is not finished."""
        mark = self.completion()
        return None if mark is None else str(mark["content"])

    def reopen(self) -> None:
        """Mark the store as unfinished, because blocks will be written."""
        with explained(self.store):
            if not self.folder.is_dir():
                self.create()
            (self.folder / COMPLETE).unlink(missing_ok=True)

    def amend(self, records: Mapping[str, Record]) -> None:
        """Replace records of a store by others of the same blocks and checksums.

        Parameters
        ----------
        records
            Records by block. The store stays finished, and its content the same.
        """
        with explained(self.store):
            self._join({**self.records(), **records})

    def drop(self, blocks: Iterable[str]) -> None:
        """Drop the records of blocks, so the next run computes them again.

        Parameters
        ----------
        blocks
            Names of the blocks. The store is unfinished afterwards.
        """
        self.reopen()
        dropped = set(blocks)
        kept = {block: record for block, record in self.records().items() if block not in dropped}
        with explained(self.store):
            self._join(kept)

    @contextmanager
    def locked(self) -> Iterator[Lock]:
        """Hold the write lock. Meanwhile, a second run on the same store is refused.

        The store need not exist yet. It is made, replaced and removed under the lock. A
        change that a killed process had declared is finished first.

        Raises
        ------
        StoreError
            If another live process holds it. See ``mgdask.store.lock.locked``.
        """
        with locked(self.store) as lock:
            finish_interrupted(self.store)
            yield lock

    def finish_declared(self) -> bool:
        """Finish a change that a killed process had declared; say if there was one."""
        if not is_declared(self.store):
            return False
        with self.locked():
            return True

    def check_unlocked(self) -> None:
        """Refuse a store that a live process of this machine is writing.

        Raises
        ------
        StoreError
            If one holds the write lock. See ``mgdask.store.lock.check_unlocked``.
        """
        check_unlocked(self.store)


def content_of(identity: str, records: Mapping[str, Record]) -> str:
    """Return the digest of the content of a finished store.

    Parameters
    ----------
    identity
        What the records do not cover, such as species and parameters.
    records
        Its records.
    """
    digest = hashlib.sha256(identity.encode())
    for block in sorted(records):
        checksum = json.dumps(records[block]["checksum"], sort_keys=True)
        digest.update(f"{block} {checksum}\n".encode())
    return digest.hexdigest()


def _line(record: Record) -> bytes:
    """Return the line of a record, which ends with a digest of itself."""
    text = json.dumps({k: v for k, v in record.items() if k != "sum"}, sort_keys=True).encode()
    return text[:-1] + SUM + sha256(text)[:16].encode() + b'"}\n'


def _parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line, or None if it is damaged.

    Records of version 0.1 have no digest.
    """
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("block"), str):
        return None
    found = record.pop("sum", None)
    expected = sha256(line.rpartition(SUM)[0] + b"}")[:16]
    return record if found in (None, expected) else None


def _append_whole(handle: int, line: bytes) -> None:
    """Append a line as a whole, or nothing."""
    size = os.fstat(handle).st_size
    try:
        rest = memoryview(line)
        while rest:  # a disk that fills up may take only a part, without an error
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    except OSError:
        # otherwise the next record would continue in the middle of this line
        os.ftruncate(handle, size)
        raise


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return not size  # a shard that holds only fill values has no file


def _replace(path: Path, text: str) -> None:
    write_file(path, text.encode(), fresh=path.with_suffix(".new"))
    flush_folder(path.parent)
