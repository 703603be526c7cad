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

from mgdask.store.durable import flush_files, flush_folder
from mgdask.store.failures import explained
from mgdask.store.lock import Lock, check_unlocked, locked

FOLDER = "manifest"
"""Folder of the manifest inside a store."""
JOINED = "blocks.jsonl"
"""File with the records of all processes, joined when the store is finished."""
COMPLETE = "complete.json"
"""File that exists only while the store is finished."""

DECLARED = "frame_values.ready"
"""Folder with values of frames that are being moved into a finished store."""

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
        self.store = Path(path)
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
        line = json.dumps(dict(record), sort_keys=True).encode() + b"\n"
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
        """Return the newest record of every block. Torn lines are skipped."""
        records: dict[str, dict[str, Any]] = {}
        files = sorted(self.folder.glob("*.jsonl"), key=lambda p: (p.name != JOINED, p.name))
        for name in files:
            for line in name.read_bytes().split(b"\n"):
                try:
                    record = json.loads(line)
                    records[record["block"]] = record
                except (ValueError, KeyError, TypeError):
                    continue
        return records

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

    def finish(self, identity: str) -> str:
        """Join all records into one file and mark the store as complete.

        Parameters
        ----------
        identity
            What the records do not cover, such as species and parameters.

        Returns
        -------
        content
            Digest of the content of the store.
        """
        records = self.records()
        content = hashlib.sha256(identity.encode())
        for block in sorted(records):
            checksum = json.dumps(records[block]["checksum"], sort_keys=True)
            content.update(f"{block} {checksum}\n".encode())
        with explained(self.store):
            small = self._tidy({file for record in records.values() for file in record["checksum"]})
            self._join(records)
            complete = {"blocks": len(records), "content": content.hexdigest(), "small": small}
            _replace(self.folder / COMPLETE, json.dumps(complete))
        return content.hexdigest()

    def _join(self, records: Mapping[str, Record]) -> None:
        """Write the records to one file, and remove the files of single processes."""
        parts = [name for name in self.folder.glob("*.jsonl") if name.name != JOINED]
        lines = (json.dumps(records[block], sort_keys=True) + "\n" for block in sorted(records))
        _replace(self.folder / JOINED, "".join(lines))
        for name in parts:
            name.unlink()

    def _tidy(self, recorded: Collection[str]) -> dict[str, str]:
        """Remove files that killed writers left.

        Returns the digests of files that no record covers: coordinates, cells, labels.
        """
        digests = {}
        for name in sorted(path for path in self.store.rglob("*") if path.is_file()):
            file = name.relative_to(self.store)
            if name.suffix == ".partial":
                name.unlink(missing_ok=True)
            elif len(file.parts) > 1 and file.parts[1] == "c" and file.as_posix() not in recorded:
                digests[file.as_posix()] = hashlib.sha256(name.read_bytes()).hexdigest()
        return digests

    def completion(self) -> dict[str, Any] | None:
        """Return the mark of a finished store, or None if it is not finished.

        Returns
        -------
        mark
            Number of ``blocks``, digest of the ``content``, digests of ``small`` files.
        """
        try:
            mark = json.loads((self.folder / COMPLETE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return mark if isinstance(mark, dict) and "content" in mark else None

    def small_files(self) -> dict[str, str]:
        """Return the SHA-256 digests of the files that no record covers.

        They are computed when the store is finished. An unfinished store has none.
        """
        return dict((self.completion() or {}).get("small", {}))

    def update_small(self, arrays: Mapping[str, Collection[str]]) -> None:
        """Update the digests of small arrays that were added to a finished store.

        Parameters
        ----------
        arrays
            Files of each array, keyed by its name.
        """
        mark = self.completion()
        if mark is None:  # ``finish`` will compute all of them
            return
        small = {
            file: sha256
            for file, sha256 in dict(mark.get("small", {})).items()
            if file.split("/")[0] not in arrays
        }
        for name, files in arrays.items():
            for file in files:
                if file.startswith("c/"):
                    data = (self.store / name / file).read_bytes()
                    small[f"{name}/{file}"] = hashlib.sha256(data).hexdigest()
        mark["small"] = dict(sorted(small.items()))
        _replace(self.folder / COMPLETE, json.dumps(mark))

    def content(self) -> str | None:
        """Return the digest of the content, or None if the store is not finished."""
        mark = self.completion()
        return None if mark is None else str(mark["content"])

    def reopen(self) -> None:
        """Mark the store as unfinished, because blocks will be written."""
        with explained(self.store):
            (self.folder / COMPLETE).unlink(missing_ok=True)

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

        The store need not exist yet. It is made, replaced and removed under the lock.

        Raises
        ------
        StoreError
            If another live process holds it. See ``mgdask.store.lock.locked``.
        """
        with locked(self.store) as lock:
            yield lock

    def check_unlocked(self) -> None:
        """Refuse a store that a live process of this machine is writing.

        Raises
        ------
        StoreError
            If one holds the write lock. See ``mgdask.store.lock.check_unlocked``.
        """
        check_unlocked(self.store)


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
    fresh = path.with_suffix(".new")
    with open(fresh, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(fresh, path)
    flush_folder(path.parent)
