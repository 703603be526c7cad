"""Errors of the file system in words."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mgdask.errors import StoreError

FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
FATAL = FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG}
"""Failures that every further block would meet too."""


class StorageFullError(StoreError):
    """The target cannot be written any more; going on makes no sense."""


class SourceChangedError(StoreError):
    """The store that is read from is no longer the one of the plan; going on would mix two inputs."""


HOPELESS = (StorageFullError, SourceChangedError)
"""Errors of one block that end a run at once."""


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn a full, read-only, forbidden or impossible target into a ``StorageFullError`` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in FATAL:
            raise
        if error.errno in FULL:
            try:
                left = f"; {shutil.disk_usage(Path(path).parent).free / 1e9:.3g} GB are free there"
            except OSError:
                left = ""
            what = f"the disk (or the quota) of {path} is full{left}. Make room"
        elif error.errno == errno.EFBIG:
            what = f"a file of {path} is larger than this user or file system may write. Raise that limit (ulimit -f)"
        else:
            what = f"{path} cannot be written ({error.strerror}). Make it writable or choose another target"
        raise StorageFullError(
            f"{what}, then run the same command again: finished blocks are kept"
        ) from error
