"""Errors of the file system and of inputs, explained to the user."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mgdask.errors import StoreError

NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT))
UNWRITABLE = NO_SPACE | {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG}
"""Error numbers that would recur in every later write to the target."""


class FatalStoreError(StoreError):
    """An error that would recur in every other block, so it ends a run at once."""


class StorageFullError(FatalStoreError):
    """The target can no longer be written."""


class SourceChangedError(FatalStoreError):
    """The input has changed since the plan; continuing would mix two inputs."""


class DamagedStoreError(StoreError):
    """A file of a store is missing or differs from the one that was written."""


def check_store_exists(path: str | Path) -> None:
    """Raise ``StoreError`` if there is no Zarr group.

    It needs no library, so a command can refuse a wrong path before it imports any.

    Parameters
    ----------
    path
        Folder of the store.
    """
    if not (Path(path) / "zarr.json").is_file() and not (Path(path) / "manifest").is_dir():
        raise no_store(path)


def no_store(path: str | Path) -> StoreError:
    """Return the error for a path that is not a store."""
    return StoreError(f"{path} is not a Zarr store (in {Path.cwd()}); make one with mgdask ingest")


def advise_on_target(out: str | Path, *, deletable: bool) -> str:
    """Return the advice for a target that holds something else.

    Parameters
    ----------
    out
        The target.
    deletable
        Whether a run of mgdask can make again what it holds. A trajectory or a file of
        the user may be the only copy, so the advice is not to delete it.
    """
    if deletable:
        return f"Choose another out= (--out), or delete {out}"
    return f"Choose another out= (--out) than {out}"


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Explain the error of a full, read-only or forbidden target.

    Parameters
    ----------
    path
        Store that is being written.

    Raises
    ------
    StorageFullError
        If the body raises an ``OSError`` that would recur in every later write.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise StorageFullError(
            f"{_explanation(Path(path), error)}, then run the same command again: "
            "finished blocks are kept"
        ) from error


def _explanation(path: Path, error: OSError) -> str:
    if error.errno in NO_SPACE:
        try:
            free = f"; {shutil.disk_usage(path.parent).free / 1e9:.3g} GB are free there"
        except OSError:
            free = ""
        return f"the disk (or the quota) of {path} is full{free}. Make room"
    if error.errno == errno.EFBIG:
        return (
            f"a file of {path} is larger than this user or file system may write. "
            "Raise that limit (ulimit -f)"
        )
    return f"{path} cannot be written ({error.strerror}). Make it writable or choose another target"
