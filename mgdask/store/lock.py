"""The lock file of a store, which names the process that may write it.

It is ``.NAME.lock`` beside the store NAME. So it exists before the store does, and
outlives the store if that is replaced or removed. If the folder of the store cannot be
written, the lock is ``manifest/lock`` inside the store, as in version 0.1.

The file is created atomically, by a hard link or, on file systems without links, by
exclusive creation. Exactly one of two processes succeeds on local disks, NFS from
version 3 on, and Lustre. An owner on the same machine is looked up by its process ID.
On other machines the age of the file decides: the owner touches it every ``HEARTBEAT``
seconds.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mgdask.errors import StoreError
from mgdask.interruption import removed_when_stopped
from mgdask.store.failures import explained, explanation
from mgdask.store.location import is_remote, local_place
from mgdask.store.lock_owner import (
    LEASE,
    being_written,
    describe,
    held_here,
    is_alive,
    is_same_machine,
    read_owner,
    this_process,
)

__all__ = [
    "HEARTBEAT",
    "LEASE",
    "Lock",
    "check_unlocked",
    "held",
    "lock_file",
    "locked",
    "read_settled",
    "settled",
    "writer_of",
]

HEARTBEAT = 15.0
"""Seconds between two touches of the lock file by its owner."""
SWEEP_TIME = 2.0
"""Maximum time in s to look for unfinished files when a command is stopped.

Those that are not found are removed when the store is finished.
"""
PATIENCE = 10.0
"""Maximum time in s to wait while another process removes the lock of a dead one."""
NO_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV))
"""Error numbers of file systems without hard links."""
FORBIDDEN = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))
"""Error numbers of a folder that this process may not write."""
MAX_NAME = 200
"""Maximum length in bytes of the name of a store that its lock file repeats."""
MAX_ATTEMPTS = 100
"""Maximum number of attempts to use a folder that other processes remove."""

T = TypeVar("T")


class Lock:
    """A lock that is held.

    Parameters
    ----------
    name
        Lock file.
    store
        Store that the lock protects.
    token
        Identifies this lock.
    """

    def __init__(self, name: Path, store: Path, token: str) -> None:
        self.name, self.store, self.token = name, store, token

    def is_held(self) -> bool:
        """Return whether the lock file still names this lock."""
        return (read_owner(self.name) or {}).get("token") == self.token

    def check(self) -> None:
        """Raise ``StoreError`` if another process has taken the lock over.

        It may do so after this process hung for longer than ``LEASE``, or if somebody
        removed the file.
        """
        if not self.is_held():
            raise StoreError(
                f"{self.store}: the lock {self.name} was removed or taken over while this process "
                "held it, so another process may be writing; this one stops. Run the same command "
                "again when no other process writes the store"
            )


def lock_file(store: str | Path) -> Path:
    """Return the lock file beside a store.

    Parameters
    ----------
    store
        The store, which need not exist. Symbolic links are followed.
    """
    path = Path(os.path.realpath(store))
    name = path.name
    if len(os.fsencode(name)) > MAX_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.lock")


def _lock_inside(store: str | Path) -> Path:
    """Return the lock file inside a store, the only one in version 0.1.

    Other folders, such as that of a study, have no manifest.
    """
    folder = Path(os.path.realpath(store))
    is_store = (folder / "manifest").is_dir() or not folder.is_dir()
    return folder / "manifest" / "lock" if is_store else folder / ".lock"


@contextmanager
def locked(store: str | Path) -> Iterator[Lock]:
    """Hold the lock of a store, which need not exist yet.

    Missing parent folders are created. They are removed again if they stay empty.

    Parameters
    ----------
    store
        The store.

    Raises
    ------
    StoreError
        If another live process holds the lock. See ``held``.
    """
    store = local_place(store, "this call writes")
    beside, inside = lock_file(store), _lock_inside(store)
    order = [(beside, inside), (inside, beside)]
    # the folder above a mount point may belong to this container only
    if inside.parent.is_dir() and (
        os.path.ismount(os.path.realpath(store)) or not os.access(beside.parent, os.W_OK | os.X_OK)
    ):
        order.reverse()
    (own, other) = order[0]
    with held(own, Path(store)) as lock:
        # held by version 0.1, or by a user who may write only the other folder
        owner = read_owner(other)
        if owner is not None:
            _refuse_live(owner, other, Path(store), own.stat().st_mtime)
            with contextlib.suppress(OSError):
                other.unlink(missing_ok=True)
        yield lock


@contextmanager
def held(name: Path, store: Path) -> Iterator[Lock]:
    """Hold a lock file.

    Parameters
    ----------
    name
        Lock file.
    store
        Store that the lock protects, for error messages.

    Raises
    ------
    StoreError
        If another live process holds the lock.

    Notes
    -----
    On one machine, a second process is refused while the first one lives. The lock of a
    killed process is removed. A reused process ID is detected if ``/proc`` exists.
    Between machines, on NFS and Lustre, the second process is refused while the first
    one touches the file, and for ``LEASE`` seconds after. Both times come from the
    clock of the file server.

    Two processes can hold the lock if the owner hangs for longer than ``LEASE`` (a
    frozen file system, SIGSTOP) and the second one is on another machine. The same
    holds if NFS caches attributes for longer (``actimeo``). Two that start at the same
    time can also hold it on file systems without exclusive creation, such as some
    mounted object stores. Even then no shard is torn. Shards and records are replaced
    as a whole, and both processes write the same bytes. A store with other parameters
    was refused earlier.
    """
    me = {**this_process(), "token": uuid.uuid4().hex}
    lock = Lock(name, store, me["token"])
    made: list[Path] = []
    with removed_when_stopped(lambda: _abandon(lock, made)):
        stop = threading.Event()
        heartbeat = threading.Thread(target=_touch_until, args=(lock, stop), daemon=True)
        try:
            held_here.add(lock.token)
            with explained(store):
                _acquire(lock, me, made)
            heartbeat.start()
            yield lock
        finally:
            stop.set()
            if heartbeat.is_alive():
                heartbeat.join()
            _release(lock, made)


def _release(lock: Lock, made: list[Path]) -> None:
    # another process that considered this one dead may own it now
    if lock.is_held():
        with contextlib.suppress(OSError):  # the folder may be read-only by now
            lock.name.unlink(missing_ok=True)
    held_here.discard(lock.token)
    with contextlib.suppress(OSError):
        for folder in made:  # not empty if there is a store now
            folder.rmdir()


def _abandon(lock: Lock, made: list[Path]) -> None:
    """Remove the lock and unfinished files of a command that is being stopped."""
    if lock.is_held() and (lock.store / "manifest").is_dir():
        deadline = time.monotonic() + SWEEP_TIME
        for folder, _, files in os.walk(lock.store):
            for file in files:
                # of zarr, and of the manifest
                if file.endswith((".partial", ".new")):
                    Path(folder, file).unlink(missing_ok=True)
            if time.monotonic() > deadline:
                break
    _fresh(lock).unlink(missing_ok=True)
    _release(lock, made)


# Taking a lock


def _fresh(lock: Lock) -> Path:
    """Return the file that becomes the lock of this process."""
    return lock.name.with_name(f"{lock.name.name}-{lock.token}.fresh")


def _acquire(lock: Lock, me: Mapping[str, Any], made: list[Path]) -> None:
    fresh, text = _fresh(lock), json.dumps(me)
    try:
        while True:
            now = _write_fresh(fresh, text, made)
            if _create(lock.name, fresh, text):
                break
            _clear(lock.name, lock.store, now)
    finally:
        fresh.unlink(missing_ok=True)
    _sweep(lock.name, now)


def _write_fresh(fresh: Path, text: str, made: list[Path]) -> float:
    """Write the file that becomes the lock; return the time of its file system."""
    for attempt in range(MAX_ATTEMPTS):
        try:
            fresh.write_text(text, encoding="utf-8")
            fresh.chmod(0o644)  # others may know who holds the lock
            return fresh.stat().st_mtime
        except FileNotFoundError:  # also if another process removes an empty folder
            if attempt == MAX_ATTEMPTS - 1:
                raise
            missing = [folder for folder in fresh.parents if not folder.exists()]
            made[:] = [*missing, *(folder for folder in made if folder not in missing)]
            fresh.parent.mkdir(parents=True, exist_ok=True)
    raise AssertionError


def _create(name: Path, fresh: Path, text: str) -> bool:
    """Create the lock file; return False if there is one."""
    try:
        os.link(fresh, name)
    except FileExistsError:
        return False
    except FileNotFoundError:  # the fresh file was swept
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create_exclusively(name, text)
    return True


def _create_exclusively(name: Path, text: str) -> bool:
    try:
        with open(name, "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        return False
    except OSError:
        name.unlink(missing_ok=True)
        raise
    return True


def _sweep(name: Path, now: float) -> None:
    """Remove files of processes that were killed while they took this lock."""
    with contextlib.suppress(OSError), os.scandir(name.parent) as entries:
        for entry in entries:
            if entry.name.startswith(f"{name.name}-") and entry.name.endswith(".fresh"):
                with contextlib.suppress(OSError):
                    if now - entry.stat(follow_symlinks=False).st_mtime > LEASE:
                        os.unlink(entry.path)


def _touch_until(lock: Lock, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with contextlib.suppress(OSError):
            if lock.is_held():
                os.utime(lock.name)


# The lock of another process


@contextmanager
def _one_at_a_time(folder: Path, store: Path) -> Iterator[None]:
    """Let one process of this machine at a time clear the lock, if the platform can."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # removed, and the lock with it; or not readable
        yield
        return
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"{store}: another process is removing the lock of a dead one, or has "
                        f"locked the folder {folder}; try again"
                    ) from None
                time.sleep(0.005)
                continue
            except OSError:  # a file system that cannot lock: clearing is not serialized
                pass
            break
        yield
    finally:
        os.close(handle)


def _clear(name: Path, store: Path, now: float) -> None:
    """Remove the lock of a dead owner; raise ``StoreError`` if the owner lives."""
    with _one_at_a_time(name.parent, store):
        owner = read_owner(name)
        if owner is not None:
            _refuse_live(owner, name, store, now)
            # it may have ended properly meanwhile, and a third process may hold it
            if read_owner(name) == owner:
                _remove_dead(owner, name, store)


def _refuse_live(owner: Mapping[str, Any], name: Path, store: Path, now: float) -> None:
    """Raise ``StoreError`` if the owner of a lock lives at the time ``now``."""
    if name.is_dir() and not name.is_symlink():
        raise StoreError(f"{name} is a folder where the lock file of {store} belongs; remove it")
    try:
        age = now - name.lstat().st_mtime
    except FileNotFoundError:  # released just now
        return
    if age < -HEARTBEAT:
        # The clock was set back. The lease begins now, not at the old time.
        with contextlib.suppress(OSError):
            os.utime(name)
    if is_alive(owner, age):
        raise being_written(owner, name, store, age)


def _remove_dead(owner: Mapping[str, Any], name: Path, store: Path) -> None:
    try:
        name.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in FORBIDDEN:
            raise
        user = f" of user {owner['user']}" if owner.get("user") else ""
        raise StoreError(
            f"the lock of {store} was left behind by process {owner.get('pid', 'unknown')}{user}, "
            f"and this user may not remove it ({error.strerror}): have its owner remove {name}"
        ) from None


def check_unlocked(store: str | Path) -> None:
    """Refuse a store that a live process of this machine is writing.

    Nothing is written. ``locked`` also decides about owners on other machines.

    Parameters
    ----------
    store
        The store, which need not exist.

    Raises
    ------
    StoreError
        If another live process of this machine holds the lock.
    """
    for name, owner in _owners(store):
        if is_same_machine(owner) and is_alive(owner, 0.0):
            raise being_written(owner, name, Path(store))


def _owners(store: str | Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the lock files of a store that exist, with their owners."""
    if is_remote(store):
        return
    for name in (lock_file(store), _lock_inside(store)):
        owner = read_owner(name)
        if owner:
            yield name, owner


def writer_of(store: str | Path) -> str:
    """Describe the other process that writes a store; "" if there is none.

    It serves to explain why a store cannot be read. Clocks of two machines may differ,
    so this does not decide who may write.

    Parameters
    ----------
    store
        The store, which need not exist.
    """
    for name, owner in _owners(store):
        with contextlib.suppress(FileNotFoundError):
            age = time.time() - name.lstat().st_mtime
            if owner.get("token") not in held_here and is_alive(owner, age):
                return describe(owner)
    return ""


def read_settled(store: str | Path, look: Callable[[], T]) -> T:
    """Return what ``look`` returns; explain a failure while the store is being written.

    Parameters
    ----------
    store
        Store to read.
    look
        Reads the store. It is called again if it fails, as the store may just have been
        replaced.

    Raises
    ------
    StoreError
        If ``look`` raises while another process writes the store.
    """
    try:
        return look()
    except Exception as error:
        _refuse_written(store)
        _raise_lack(error)
    try:
        return look()
    except Exception:
        _refuse_written(store)
        raise


def _raise_lack(error: Exception) -> None:
    """Raise an error about memory, threads or files again.

    Zarr keeps a thread that could not be started, and would wait for it.
    """
    if explanation(error) is not None:
        raise error


def _refuse_written(store: str | Path) -> None:
    writer = writer_of(store)
    if writer:
        raise StoreError(
            f"{store} cannot be read now, because it is being written by {writer}: wait for it"
        )


def settled(store: str | Path, look: Callable[[], T]) -> T:
    """Return what ``look`` returns, while no process of this machine writes the store.

    A store that is being made or replaced can look like anything. So an error of
    ``look`` counts only if the store was not locked before and after.

    Parameters
    ----------
    store
        The store.
    look
        Reads the store. It may be called twice.

    Raises
    ------
    StoreError
        If another live process of this machine holds the lock, or ``look`` raises.
    """
    check_unlocked(store)
    try:
        return look()
    except Exception as error:
        check_unlocked(store)
        _raise_lack(error)
    try:
        return look()
    except Exception:
        check_unlocked(store)
        raise
