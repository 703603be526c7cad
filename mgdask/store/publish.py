"""Writing a finished store to an object store: objects are put whole, the mark last.

An object store cannot rename, so nothing becomes visible at once. Instead, the mark of
a finished store is written after everything else. Until then, readers refuse the store.
A run that is killed leaves objects that the next one compares with its files.

A lock object, created only if there is none, keeps a second run away.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zarr.core.sync import sync
from zarr.storage import FsspecStore, ObjectStore

from mgdask.errors import StoreError
from mgdask.interruption import removed_when_stopped
from mgdask.store.failures import advise_on_target
from mgdask.store.location import Location, locate, scheme_of
from mgdask.store.lock_owner import describe, held_here, is_alive, is_same_machine, this_process
from mgdask.store.manifest import COMPLETE, FOLDER, JOINED, Manifest
from mgdask.store.mark import KEPT, METADATA
from mgdask.store.remote import explained_request, read, state, states, zarr_store
from mgdask.store.remote_path import RemotePath
from mgdask.store.seals import read_seal
from mgdask.store.shards import chunks_per_shard, get_array, open_group

WRITABLE = ("s3", "memory")
"""Schemes of URLs to which results are written. Others were never tried."""
LOCK = f"{FOLDER}/upload.lock"
"""Object that names the process that writes a store."""
MARK = f"{FOLDER}/{COMPLETE}"

State = Literal["absent", "begun", "finished"]


def check_publishable(location: Location) -> None:
    """Raise ``StoreError`` if no results can be written to a place.

    Nothing is written.

    Parameters
    ----------
    location
        The place.
    """
    scheme = scheme_of(location)
    kinds = (FsspecStore, ObjectStore)
    if scheme in WRITABLE and isinstance(location.store or zarr_store(location), kinds):
        return
    raise StoreError(
        f"out={location.url}: features are written to folders, "
        f"{' and '.join(f'{name}://' for name in WRITABLE)}, not to {scheme}://. Write a folder, "
        "then copy it there"
    )


def published_state(location: Location, plan_digest: str) -> State:
    """Return how far a store has been written; refuse a place that holds anything else.

    Parameters
    ----------
    location
        The place.
    plan_digest
        Digest of the plan.

    Raises
    ------
    StoreError
        If there are other results, or other objects.
    """
    data = read(location, METADATA)
    if data is None:
        if _has_others(location):
            raise StoreError(
                f"{advise_on_target(location.url, deletable=False)}: there are objects below that "
                "name, but no Zarr store"
            )
        return "absent"
    try:
        attrs = json.loads(data)["attributes"]
    except (ValueError, KeyError, TypeError):
        attrs = {}
    if attrs.get("plan_digest") != plan_digest:
        kind = attrs.get("mgdask_kind", "nothing that mgdask wrote")
        what = "other features" if kind == "features" else f"something else ({kind})"
        raise StoreError(
            f"{advise_on_target(location.url, deletable=kind == 'features')}: it holds {what}. "
            "Parameters, input, centers, frames or blocks differ from those of the plan"
        )
    return "begun" if state(location, MARK) is None else "finished"


def _has_others(location: Location) -> bool:
    store = zarr_store(location)

    async def found() -> list[str]:
        names: list[str] = []
        async for name in store.list_prefix(""):
            names.append(name)
            if len(names) > 1:  # one may be the lock
                break
        return names

    with explained_request(location, ""):
        return any(not name.endswith(LOCK) for name in sync(found()))


# Objects


def put(location: Location, key: str, data: bytes, *, create: bool = False) -> None:
    """Write an object.

    Parameters
    ----------
    location
        The place.
    key
        Name of the object.
    data
        Its content.
    create
        Raise ``FileExistsError`` if there is such an object. The server decides.
    """
    store = zarr_store(location)
    mode = "create" if create else "overwrite"
    with explained_request(location, key):
        if isinstance(store, FsspecStore):
            sync(store.fs._pipe_file(f"{store.path}/{key}", data, mode=mode))
            return
        import obstore

        try:
            obstore.put(store.store, key, data, mode=mode)  # type: ignore[attr-defined]
        except obstore.exceptions.AlreadyExistsError as error:
            raise FileExistsError(17, "Object exists", f"{location.url}/{key}") from error


def remove(location: Location, key: str) -> None:
    """Remove an object, if there is one."""
    with explained_request(location, key), contextlib.suppress(FileNotFoundError):
        sync(zarr_store(location).delete(key))


# The lock


@dataclass(frozen=True)
class RemoteLock:
    """A lock object that this process holds.

    Parameters
    ----------
    location
        Place of the store.
    token
        Identifies this lock.
    """

    location: Location
    token: str

    def is_held(self) -> bool:
        """Return whether the lock object still names this lock."""
        return (_owner(self.location) or {}).get("token") == self.token

    def check(self) -> None:
        """Raise ``StoreError`` if the lock object is gone, or names another process."""
        if not self.is_held():
            raise StoreError(
                f"{self.location.url}: the lock object {LOCK} was removed or taken over while this "
                "process held it, so another process may be writing; this one stops. Run the same "
                "command again when no other process writes the store"
            )


@contextmanager
def remote_lock(location: Location) -> Iterator[RemoteLock]:
    """Hold the lock object of a store.

    Parameters
    ----------
    location
        Place of the store.

    Raises
    ------
    StoreError
        If another process holds it, or the server cannot create objects exclusively.

    Notes
    -----
    The lock of a killed process of this machine is removed. That of another machine
    stays: nothing tells whether its owner lives, so the message names the object to
    remove. Of two processes that remove a dead lock at the same moment, both can hold
    the lock for a short time. One of them finds out before it writes the mark.
    """
    lock = RemoteLock(location, uuid.uuid4().hex)
    me = {key: value for key, value in this_process().items() if key != "command"}
    text = json.dumps({**me, "token": lock.token}).encode()

    def release() -> None:
        if lock.is_held():
            remove(location, LOCK)
        held_here.discard(lock.token)

    held_here.add(lock.token)
    with removed_when_stopped(release):
        try:
            _take(lock, text)
            yield lock
        finally:
            release()


def _take(lock: RemoteLock, text: bytes) -> None:
    for _ in range(3):
        try:
            put(lock.location, LOCK, text, create=True)
        except FileExistsError:
            owner = _owner(lock.location)
            if owner is None:  # released just now
                continue
            if not is_same_machine(owner) or is_alive(owner, 0.0):
                raise _being_written(lock.location, owner) from None
            remove(lock.location, LOCK)
            continue
        _check_exclusive(lock, text)
        return
    raise StoreError(f"{lock.location.url}: other processes are taking its lock; try again")


def _check_exclusive(lock: RemoteLock, text: bytes) -> None:
    """Refuse a server that creates an object twice."""
    try:
        put(lock.location, LOCK, text, create=True)
    except FileExistsError:
        return
    raise StoreError(
        f"{lock.location.url}: this server creates an object although it exists, so two runs could "
        "write one store. Write a folder, then copy it there"
    )


def _owner(location: Location) -> dict[str, Any] | None:
    data = read(location, LOCK)
    if data is None:
        return None
    try:
        owner = json.loads(data)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _being_written(location: Location, owner: Mapping[str, Any]) -> StoreError:
    advice = "wait for it, or choose another out= (--out)"
    if not is_same_machine(owner):
        advice += f"; if it is dead, remove the object {location.url}/{LOCK}"
    return StoreError(f"{location.url} is being written by {describe(owner)}: {advice}")


# Copying


@dataclass(frozen=True)
class Upload:
    """Some files of a finished store, to be copied by one task.

    Parameters
    ----------
    store
        Folder of the store.
    url
        Place to copy it to; a ``Url``, which has the options of the place.
    seals
        Seal of each file; an empty string if it has none.
    n_chunks
        Number of chunks of a shard of each array; None if it is not sharded.
    """

    store: str
    url: str
    seals: Mapping[str, str]
    n_chunks: Mapping[str, int | None]


def uploads(store: str | Path, url: str) -> dict[str, Upload]:
    """Return the files of all blocks of a finished store, by name of the block.

    Parameters
    ----------
    store
        Folder of the store.
    url
        Place to copy it to.
    """
    group = open_group(store)
    result = {}
    for block, record in sorted(Manifest(store).records().items()):
        files = {file: size for file, size in record["files"].items() if size}
        names = {file.partition("/")[0] for file in files}
        n_chunks = {name: chunks_per_shard(get_array(group, name)) for name in names}
        seals = {file: str(record.get("seal", {}).get(file, "")) for file in files}
        result[block] = Upload(str(store), url, seals, n_chunks)
    return result


def upload(job: Upload) -> int:
    """Copy files that are not there yet; return the number of bytes sent.

    This is the task that workers run.

    Parameters
    ----------
    job
        The files.
    """
    location, sent = locate(job.url), 0
    for file, seal in job.seals.items():
        path = Path(job.store) / file
        if not _is_there(RemotePath(location, file), path, seal, job.n_chunks):
            data = path.read_bytes()
            put(location, file, data)
            sent += len(data)
    return sent


def _is_there(there: RemotePath, path: Path, seal: str, n_chunks: Mapping[str, int | None]) -> bool:
    """Return whether an object is the file that was written, by its size and seal."""
    found = there.state()
    if found is None or found[1] != os.path.getsize(path) or not seal:
        return False
    return read_seal(there, n_chunks[there.key.partition("/")[0]]) == seal


def begin(store: str | Path, location: Location) -> None:
    """Copy the description of a store, by which the next run recognizes it."""
    put(location, METADATA, (Path(store) / METADATA).read_bytes())


def finish(store: str | Path, location: Location, lock: RemoteLock) -> None:
    """Copy metadata, small arrays and records of a store, then its mark.

    Parameters
    ----------
    store
        Folder of the store, whose shards are copied.
    location
        Place of the copy.
    lock
        Its lock.

    Raises
    ------
    StoreError
        If a shard is missing there, or another process writes there.
    """
    manifest = Manifest(store)
    mark = manifest.completion() or {}
    small: Collection[str] = [*mark.get("metadata", {}), *mark.get("small", {})]
    for file in (*small, f"{FOLDER}/{JOINED}", f"{FOLDER}/{KEPT}"):
        put(location, file, (Path(store) / file).read_bytes())
    sizes: dict[str, int] = {}
    for record in manifest.records().values():
        sizes.update({file: size for file, size in record["files"].items() if size})
    found = states(location, list(sizes))
    for (file, size), there in zip(sizes.items(), found, strict=True):
        if there is None or there[1] != size:
            raise StoreError(
                f"{location.url}/{file} was copied, but is missing or has another size now. "
                "Run the same command again, which copies what is missing"
            )
    lock.check()
    put(location, MARK, (Path(store) / MARK).read_bytes())
