"""The folder in which a scheduler and its local workers keep data that they spill."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mgdask.interruption import removed_when_stopped
from mgdask.ownership import tamper_risk, user_id
from mgdask.store.failures import explained

log = logging.getLogger(__name__)

PREFIX = "mgdask-workers-"
"""Beginning of the names of these folders."""
OWNER = "owner"
"""File in the folder that the owning process keeps locked while it lives.

It holds the name of the machine, since others may share the folder but not the lock.
"""

_warned: set[Path] = set()
"""Folders about which a warning was logged."""


@contextmanager
def scratch_folder(root: Path | None = None) -> Iterator[str]:
    """Yield a new folder of this user only, which is removed at the end.

    Folders of processes that were killed are removed first.

    Parameters
    ----------
    root
        Parent folder. Default: Dask's ``temporary-directory``, else the
        temporary folder of the system.

    Yields
    ------
    folder
        Path of the folder. Start schedulers in it with ``working_in``.
    """
    import dask

    if root is None:
        root = Path(dask.config.get("temporary-directory", None) or tempfile.gettempdir())
    _remove_stale(root)
    folder = root / f"{PREFIX}{uuid.uuid4().hex[:12]}"
    with removed_when_stopped(lambda: shutil.rmtree(folder, ignore_errors=True)):
        handle = None
        try:
            with explained(root):
                folder.mkdir(mode=0o700, parents=True)
                # locked before another process can find it
                handle = os.open(folder / "new", os.O_RDWR | os.O_CREAT, 0o600)
                _lock(handle)
                os.write(handle, socket.gethostname().encode())
            _warn_if_exposed(folder)
            with suppress(OSError):  # Windows: the next start does not look at this folder
                (folder / "new").rename(folder / OWNER)
            yield str(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if handle is not None:
                os.close(handle)


@contextmanager
def working_in(folder: str) -> Iterator[None]:
    """Let schedulers and workers that start in the ``with`` block use a folder.

    Parameters
    ----------
    folder
        Path of the folder.
    """
    import dask

    with dask.config.set({"temporary-directory": folder}):
        yield


def _lock(handle: int) -> bool:
    """Lock a file until this process ends; return whether that succeeded."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # Windows; a file system without locks
        return False
    return True


def _warn_if_exposed(folder: Path) -> None:
    """Warn once if another user could replace files that workers read back."""
    reason = tamper_risk(folder.resolve())
    if reason is not None and folder.parent not in _warned:
        _warned.add(folder.parent)
        log.warning(
            "other users could replace files of the workers, and so run code as you: %s; or set "
            "TMPDIR to a folder that only you can write",
            reason,
        )


def _remove_stale(root: Path) -> None:
    """Remove the folders of processes of this user on this machine that have died.

    Other users may put folders, links and pipes of such names into a shared ``root``.
    """
    for owner in root.glob(f"{PREFIX}*/{OWNER}"):
        with suppress(OSError):
            if not (_is_own(owner.parent, stat.S_IFDIR) and _is_own(owner, stat.S_IFREG)):
                continue
            handle = os.open(owner, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                here = os.read(handle, 256) == socket.gethostname().encode()
                if here and _lock(handle):
                    shutil.rmtree(owner.parent, ignore_errors=True)
            finally:
                os.close(handle)


def _is_own(path: Path, kind: int) -> bool:
    """Return whether a path is of a kind, not a link, and belongs to this user."""
    status = path.lstat()
    return stat.S_IFMT(status.st_mode) == kind and status.st_uid == user_id()
