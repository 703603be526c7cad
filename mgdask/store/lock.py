"""The lock file of a store, which names the process that may write it.

The file is created atomically, by a hard link or, on file systems without links, by
exclusive creation. Exactly one of two processes succeeds on local disks, NFS from
version 3 on, and Lustre. An owner on the same machine is looked up by its process ID.
On other machines the age of the file decides: the owner touches it every ``HEARTBEAT``
seconds.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgdask.errors import StoreError
from mgdask.interruption import removed_when_stopped
from mgdask.store.failures import explained

HEARTBEAT = 15.0
"""Seconds between two touches of the lock file by its owner."""
LEASE = 300.0
"""Seconds without a touch after which an owner on another machine counts as dead."""
SWEEP_TIME = 2.0
"""Maximum time in s to look for unfinished files when a command is stopped.

Those that are not found are removed when the store is finished.
"""
NO_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV))
"""Error numbers of file systems without hard links."""


@contextmanager
def held(name: Path, store: Path) -> Iterator[None]:
    """Hold the lock file of a store.

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
    frozen file system, SIGSTOP). The same holds if NFS caches attributes for longer
    (``actimeo``). Two that start at the same time can also hold it on file systems
    without exclusive creation, such as some mounted object stores. Even then no shard
    is torn. Shards and records are replaced as a whole, and both processes write the
    same bytes. A store with other parameters was refused earlier.
    """
    me: dict[str, Any] = {
        **_identity(),
        "pid": os.getpid(),
        "began": _start_time(os.getpid()),
        "token": uuid.uuid4().hex,
    }
    with removed_when_stopped(lambda: _abandon(name, store, me)):
        with explained(store):
            while not _create(name, me):
                _clear(name, me, store)
        stop = threading.Event()
        heartbeat = threading.Thread(target=_touch_until, args=(name, stop), daemon=True)
        heartbeat.start()
        try:
            yield
        finally:
            stop.set()
            heartbeat.join()
            _release(name, me)


def _release(name: Path, me: Mapping[str, Any]) -> None:
    # another process that considered this one dead may own it now
    if (_read(name) or {}).get("token") == me["token"]:
        name.unlink(missing_ok=True)


def _abandon(name: Path, store: Path, me: Mapping[str, Any]) -> None:
    """Remove the lock and unfinished files of a command that is being stopped."""
    if (_read(name) or {}).get("token") == me["token"]:
        deadline = time.monotonic() + SWEEP_TIME
        for folder, _, files in os.walk(store):
            for file in files:
                # of zarr, and of the manifest
                if file.endswith((".partial", ".new")):
                    Path(folder, file).unlink(missing_ok=True)
            if time.monotonic() > deadline:
                break
    _release(name, me)
    _fresh(name, me).unlink(missing_ok=True)


def _fresh(name: Path, me: Mapping[str, Any]) -> Path:
    """Return the file that becomes the lock of this process."""
    return name.with_name(f"lock-{me['token']}.fresh")


def _identity() -> dict[str, str]:
    """Return the machine and container of this process.

    Host names repeat (localhost), and containers of one machine do not see each other's
    processes.
    """
    identity = {"host": socket.gethostname()}
    with contextlib.suppress(OSError):
        identity["boot"] = (
            Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        )
        identity["processes"] = os.readlink("/proc/self/ns/pid")
    return identity


def _start_time(pid: int) -> str | None:
    """Return the start of a process in ticks since boot; None without ``/proc``."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None


def _create(name: Path, me: Mapping[str, Any]) -> bool:
    fresh, text = _fresh(name, me), json.dumps(me)
    try:
        fresh.write_text(text, encoding="utf-8")
        try:
            os.link(fresh, name)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return _create_exclusively(name, text)
    finally:
        fresh.unlink(missing_ok=True)
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


def _touch_until(name: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with contextlib.suppress(OSError):
            os.utime(name)


def _read(name: Path) -> dict[str, Any] | None:
    """Return the owner: empty if the file is damaged, None if there is no file."""
    try:
        owner = json.loads(name.read_bytes())
        return owner if isinstance(owner, dict) else {}
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}


def _age(name: Path) -> float:
    """Return the age of the lock in s, by the clock of its file system."""
    probe = name.with_name(f"lock-{uuid.uuid4().hex}.fresh")
    try:
        probe.touch()
        return probe.stat().st_mtime - name.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _is_alive(name: Path, owner: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    same_machine = all(
        owner.get(key, me.get(key)) == me.get(key) for key in ("host", "boot", "processes")
    )
    try:
        pid = int(owner["pid"])
    except (KeyError, TypeError, ValueError):
        pid = -1
    if not same_machine or pid <= 0:
        return _age(name) < LEASE
    return _process_exists(pid) and owner.get("began") in (None, _start_time(pid))


def _process_exists(pid: int) -> bool:
    import psutil

    try:
        # not os.kill(pid, 0), which sends a signal on Windows
        return bool(psutil.pid_exists(pid))
    except OverflowError:
        return False


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process of this machine at a time clear the lock, if the platform can."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some file systems cannot lock; clearing is then not serialized.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _clear(name: Path, me: Mapping[str, Any], store: Path) -> None:
    """Remove the lock of a dead owner; raise ``StoreError`` if the owner lives."""
    with _one_at_a_time(name.parent):
        owner = _read(name)
        if owner is None:
            return
        try:
            alive = _is_alive(name, owner, me)
        except FileNotFoundError:  # released just now
            return
        if alive:
            raise _being_written(owner, name, store)
        name.unlink(missing_ok=True)


def check_unlocked(name: Path, store: Path) -> None:
    """Refuse a store that a live process of this machine is writing.

    Nothing is written. ``held`` also decides about owners on other machines.

    Parameters
    ----------
    name
        Lock file.
    store
        Store that the lock protects, for error messages.

    Raises
    ------
    StoreError
        If another live process of this machine holds the lock.
    """
    owner, me = _read(name), _identity()
    if not owner or any(owner.get(key) != value for key, value in me.items()):
        return
    if isinstance(owner.get("pid"), int) and owner["pid"] > 0 and _is_alive(name, owner, me):
        raise _being_written(owner, name, store)


def _being_written(owner: Mapping[str, Any], name: Path, store: Path) -> StoreError:
    return StoreError(
        f"{store} is being written by process {owner.get('pid', 'unknown')} on "
        f"{owner.get('host', 'an unknown machine')}. Two runs never write one store: "
        "wait for it. If that process is dead on another machine, its lock expires "
        f"{LEASE:.0f} s after its last sign of life; or remove {name} and start again"
    )
