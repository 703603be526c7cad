"""The manifest: which blocks are finished, written after their data, and who may write now.

Each writing process appends to a file of its own, one line a block, so that nothing is shared between processes on a parallel file system
and there are as many files as processes, not as blocks. The client joins them at the end. A torn last line, left by a
killed process, is no record: its block is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgdask.store.failures import explained
from mgdask.store.lock import held

FOLDER = "manifest"
_TOKEN: dict[int, str] = {}


class Manifest:
    """The manifest of the store at ``path``."""

    def __init__(self, path: str | Path) -> None:
        self.store = Path(path)
        self.folder = self.store / FOLDER

    def create(self) -> None:
        """Make the folder, as a Zarr group, so that readers of the store pass over it without a warning."""
        with explained(self.store):
            self.folder.mkdir(parents=True, exist_ok=True)
            text = {
                "zarr_format": 3,
                "node_type": "group",
                "attributes": {"meaning": "records of finished blocks"},
            }
            (self.folder / "zarr.json").write_text(json.dumps(text, indent=2), encoding="utf-8")

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record, on disk when this returns."""
        pid = os.getpid()
        token = _TOKEN.setdefault(pid, uuid.uuid4().hex[:8])
        name = self.folder / f"{socket.gethostname()}-{pid}-{token}.jsonl"
        line = json.dumps(dict(record), sort_keys=True).encode() + b"\n"
        with explained(self.store):
            handle = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                whole = os.fstat(handle).st_size
                try:
                    left = memoryview(line)
                    while left:  # a disk that gets full takes a part without an error
                        left = left[os.write(handle, left) :]
                    os.fsync(handle)
                except OSError:
                    os.ftruncate(
                        handle, whole
                    )  # or the next record would go on in the middle of this line
                    raise
            finally:
                os.close(handle)

    def records(self) -> dict[str, dict[str, Any]]:
        """The newest record of every block; lines that are not whole are passed over."""
        found: dict[str, dict[str, Any]] = {}
        for name in sorted(
            self.folder.glob("*.jsonl"), key=lambda p: (p.name != "blocks.jsonl", p.name)
        ):
            for line in name.read_bytes().split(b"\n"):
                try:
                    record = json.loads(line)
                    found[record["block"]] = record
                except (ValueError, KeyError, TypeError):
                    continue
        return found

    def done(self, block: str, digest: str, records: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether a block is finished: a record of these parameters and inputs, and its files there in full size."""
        record = records.get(block)
        if record is None or record.get("digest") != digest:
            return False
        files = record.get("files")
        if not isinstance(files, dict) or "checksum" not in record:
            return False
        for name, size in files.items():
            try:
                if (self.store / name).stat().st_size != size:
                    return False
            except OSError:
                if size:
                    return False
        return True

    def finish(self, identity: str) -> str:
        """Join all records into one file, mark the store as complete; returns the digest of its content.

        ``identity`` stands for what the records do not cover: species, parameters.
        """
        records = self.records()
        parts = [name for name in self.folder.glob("*.jsonl") if name.name != "blocks.jsonl"]
        content = hashlib.sha256(identity.encode())
        for block in sorted(records):
            content.update(
                f"{block} {json.dumps(records[block]['checksum'], sort_keys=True)}\n".encode()
            )
        text = "".join(
            json.dumps(records[block], sort_keys=True) + "\n" for block in sorted(records)
        )
        with explained(self.store):
            small = self._tidy({file for record in records.values() for file in record["checksum"]})
            _replace(self.folder / "blocks.jsonl", text)
            for name in parts:
                name.unlink()
            _replace(
                self.folder / "complete.json",
                json.dumps(
                    {"blocks": len(records), "content": content.hexdigest(), "small": small}
                ),
            )
        return content.hexdigest()

    def _tidy(self, known: Collection[str]) -> dict[str, str]:
        """Remove what killed writers left; digests of the files that no record covers: coordinates, cells, labels."""
        found = {}
        for name in sorted(path for path in self.store.rglob("*") if path.is_file()):
            file = name.relative_to(self.store)
            if name.suffix == ".partial":
                name.unlink(missing_ok=True)
            elif len(file.parts) > 1 and file.parts[1] == "c" and file.as_posix() not in known:
                found[file.as_posix()] = hashlib.sha256(name.read_bytes()).hexdigest()
        return found

    def small_files(self) -> dict[str, str]:
        """sha256 of the files that no record covers, taken when the store was finished; empty where it is not."""
        try:
            return dict(
                json.loads((self.folder / "complete.json").read_text(encoding="utf-8")).get(
                    "small", {}
                )
            )
        except (OSError, ValueError, AttributeError):
            return {}

    def reopen(self) -> None:
        """The store is no longer complete: blocks will be written."""
        with explained(self.store):
            (self.folder / "complete.json").unlink(missing_ok=True)

    def forget(self) -> None:
        """Drop all records."""
        with explained(self.store):
            for name in self.folder.glob("*.jsonl"):
                name.unlink()

    def content(self) -> str | None:
        """Digest of the content of a complete store, None if it is not complete."""
        try:
            return str(
                json.loads((self.folder / "complete.json").read_text(encoding="utf-8"))["content"]
            )
        except (OSError, ValueError, KeyError):
            return None

    def drop(self, blocks: Collection[str]) -> None:
        """Forget the records of some blocks, which are done again by the next run; the store is no longer complete."""
        self.reopen()
        records = self.records()
        parts = [name for name in self.folder.glob("*.jsonl") if name.name != "blocks.jsonl"]
        kept = [
            json.dumps(records[block], sort_keys=True) + "\n"
            for block in sorted(records)
            if block not in blocks
        ]
        with explained(self.store):
            _replace(self.folder / "blocks.jsonl", "".join(kept))
            for name in parts:
                name.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to write; a second run on the same store is refused while the first one lives.

        On one machine the kernel is asked whether the first one lives. Between machines (NFS, Lustre) the age of the lock file tells, which
        its owner touches: one that was killed is taken for dead after ``lock.LEASE`` seconds. ``lock.held`` says what holds where,
        and what does not.
        """
        with held(self.folder / "lock", self.store):
            yield


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    with open(fresh, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(fresh, path)
