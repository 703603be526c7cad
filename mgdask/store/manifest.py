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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgdask.errors import StoreError
from mgdask.store.failures import explained

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
                os.write(handle, line)
                os.fsync(handle)
            finally:
                os.close(handle)

    def records(self) -> dict[str, dict[str, Any]]:
        """The newest record of every block; lines that are not whole are passed over."""
        found: dict[str, dict[str, Any]] = {}
        for name in sorted(self.folder.glob("*.jsonl"), key=lambda p: (p.name != "blocks.jsonl", p.name)):
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
        for name, size in record["files"].items():
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
            content.update(f"{block} {json.dumps(records[block]['checksum'], sort_keys=True)}\n".encode())
        text = "".join(json.dumps(records[block], sort_keys=True) + "\n" for block in sorted(records))
        with explained(self.store):
            _replace(self.folder / "blocks.jsonl", text)
            for name in parts:
                name.unlink()
            _replace(
                self.folder / "complete.json",
                json.dumps({"blocks": len(records), "content": content.hexdigest()}),
            )
            for left in self.store.rglob("*.partial"):  # of writers that were killed
                left.unlink()
        return content.hexdigest()

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
            return str(json.loads((self.folder / "complete.json").read_text(encoding="utf-8"))["content"])
        except (OSError, ValueError, KeyError):
            return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to write; a second run on the same store is refused while the first one lives."""
        name = self.folder / "lock"
        me = {"host": socket.gethostname(), "pid": os.getpid()}
        with explained(self.store):
            while True:
                try:
                    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                    break
                except FileExistsError:
                    _clear_stale(name, me["host"], self.store)
            os.write(handle, json.dumps(me).encode())
            os.close(handle)
        try:
            yield
        finally:
            name.unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    with open(fresh, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(fresh, path)


def _clear_stale(name: Path, host: Any, store: Path) -> None:
    try:
        owner = json.loads(name.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        owner = {"host": host, "pid": -1}
    alive = True
    if owner.get("host") == host:
        try:
            os.kill(int(owner["pid"]), 0) if int(owner["pid"]) > 0 else os.kill(2**22 + 1, 0)
        except (ProcessLookupError, OverflowError):
            alive = False
        except PermissionError:
            alive = True
    if alive:
        raise StoreError(
            f"{store} is being written by process {owner.get('pid')} on {owner.get('host')}; wait for it, or, if that one is "
            f"dead, remove {name} and start again"
        )
    name.unlink(missing_ok=True)
