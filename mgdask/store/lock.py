"""The right to write a store: a file that says who has it, kept fresh while that process lives.

The file appears whole, by a hard link (or, where links are not known, by exclusive creation), which exactly one of two processes can
do on local disks, NFS from version 3 on, and Lustre. Whether its owner lives is asked of the kernel on the owner's own machine; elsewhere it is
told by the age of the file, which the owner touches every ``BEAT`` seconds.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgdask.errors import StoreError
from mgdask.store.failures import explained

BEAT = 15.0
"""Seconds between two signs of life of the owner."""
LEASE = 300.0
"""Seconds without a sign of life after which an owner that cannot be asked is taken for dead."""


@contextmanager
def held(name: Path, store: Path) -> Iterator[None]:
    """Hold the lock file ``name`` of a store; ``StoreError`` while another process has it.

    Holds: on one machine the second is refused as long as the first lives, and never longer, a first that was killed included (its process
    number given to another process since is noticed where there is a /proc). Between machines, on NFS and Lustre: the second is refused while the
    first touches the file, and for ``LEASE`` seconds after it was killed; the ages are of one clock, that of the file server.

    Does not hold: where an owner hangs for longer than ``LEASE`` (a frozen file system, SIGSTOP), or attributes of files are cached longer (NFS
    with actimeo above it), the second begins too. Even then no shard is torn: shards and records are replaced as a whole, and both
    write the same bytes, since a store of other parameters is refused before. On file systems that do not create a file exclusively
    (some object stores mounted as folders) two runs that begin in the same second can both go on, with the same consequence.
    """
    me = {
        **_identity(),
        "pid": os.getpid(),
        "began": _began(os.getpid()),
        "token": uuid.uuid4().hex,
    }
    with explained(store):
        while not _create(name, json.dumps(me)):
            _clear(name, me, store)
    stop = threading.Event()
    beat = threading.Thread(target=_touch, args=(name, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        if (_read(name) or {}).get("token") == me["token"]:  # not that of one who took us for dead
            name.unlink(missing_ok=True)


def _identity() -> dict[str, str]:
    # names of machines may repeat (localhost), and containers of one machine do not see each other's processes
    found = {"host": socket.gethostname()}
    with contextlib.suppress(OSError):
        found["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        found["processes"] = os.readlink("/proc/self/ns/pid")
    return found


def _began(pid: int) -> str | None:
    """When a process began, in ticks since the machine did; None where that is not told."""
    try:
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rsplit(")", 1)[1]
            .split()[19]
        )
    except (OSError, IndexError):
        return None


def _create(name: Path, text: str) -> bool:
    fresh = name.with_name(f"lock-{uuid.uuid4().hex}.fresh")
    try:
        fresh.write_text(text, encoding="utf-8")
        try:
            os.link(fresh, name)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (
                errno.EPERM,
                errno.ENOTSUP,
                errno.ENOSYS,
                errno.EMLINK,
                errno.EXDEV,
            ):
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


def _touch(name: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(name)


def _read(name: Path) -> dict[str, Any] | None:
    """The owner, an empty one where the file is not whole, None where there is no file."""
    try:
        found = json.loads(name.read_bytes())
        return found if isinstance(found, dict) else {}
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}


def _age(name: Path) -> float:
    """Seconds since the lock was touched, by the clock of the file system that it is on."""
    probe = name.with_name(f"lock-{uuid.uuid4().hex}.fresh")
    try:
        probe.touch()
        return probe.stat().st_mtime - name.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _alive(name: Path, owner: dict[str, Any], me: dict[str, Any]) -> bool:
    same = all(owner.get(key, me.get(key)) == me.get(key) for key in ("host", "boot", "processes"))
    try:
        pid = int(owner["pid"])
    except (KeyError, TypeError, ValueError):
        same, pid = False, -1
    if not same or pid <= 0:
        return _age(name) < LEASE
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return owner.get("began") in (None, _began(pid))


def _clear(name: Path, me: dict[str, Any], store: Path) -> None:
    """Remove the lock of a dead owner; ``StoreError`` if it lives. Of several that find it dead, one at a time looks and removes."""
    handle = os.open(name.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(
            OSError
        ):  # not every file system can; those that ask a kernel are on one machine
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        owner = _read(name)
        if owner is None:
            return
        try:
            alive = _alive(name, owner, me)
        except FileNotFoundError:  # given back just now
            return
        if alive:
            raise StoreError(
                f"{store} is being written by process {owner.get('pid', 'unknown')} on {owner.get('host', 'an unknown machine')}, and two runs "
                f"never write one store; wait for it. If that one is dead: on another machine it is taken for dead {LEASE:.0f} s after its last "
                f"sign of life; or remove {name} and start again"
            )
        name.unlink(missing_ok=True)
    finally:
        os.close(handle)
