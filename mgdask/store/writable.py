"""Check that a target can be written, without writing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from mgdask.store.failures import explained
from mgdask.store.location import local_path


def check_writable(path: str | Path) -> None:
    """Raise ``StorageFullError`` if a target cannot be created or written.

    Parameters
    ----------
    path
        File or folder to write. If it does not exist, the nearest existing folder above
        it decides.

    Notes
    -----
    Permissions are those that the operating system reports. A target that is full, or a
    server that refuses later, is noticed only when it is written.
    """
    path = local_path(path, "this call writes")
    with explained(path):
        if path.exists():
            _check_access(path, os.W_OK)
            return
        above = next(parent for parent in path.absolute().parents if parent.exists())
        if not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{above} is a file")
        _check_access(above, os.W_OK | os.X_OK)


def _check_access(path: Path, mode: int) -> None:
    if not os.access(path, mode):
        # a file system mounted read-only needs another remedy than missing permissions
        flags = os.statvfs(path).f_flag if hasattr(os, "statvfs") else 0
        read_only = flags & getattr(os, "ST_RDONLY", 0)
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number))
