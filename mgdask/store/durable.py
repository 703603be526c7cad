"""Flush files and folders to the disk, so that they survive a power cut."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_UNSUPPORTED = frozenset((errno.EINVAL, errno.ENOTSUP))
"""Errors of file systems that cannot flush a folder."""
_KNOWN: set[tuple[str, int, int]] = set()
"""Folders of stores whose own entry this process has flushed."""


def flush_files(store: Path, files: Iterable[str]) -> None:
    """Flush files of a store, and the folders through which they are found.

    Parameters
    ----------
    store
        The store.
    files
        Files inside it. A shard that holds only fill values has no file.

    Raises
    ------
    OSError
        If the disk did not take them.
    """
    folders: dict[Path, None] = {}
    for file in files:
        path = store / file
        try:
            flush_file(path)
        except FileNotFoundError:
            continue
        folders[path.parent] = None
    if not folders:
        return
    # a store that was removed and created again has other folders of the same names
    about = os.stat(store / "zarr.json")
    for folder in folders:
        flush_folder(folder)
        while folder != store and folder != folder.parent:
            key = (str(folder), about.st_ino, about.st_mtime_ns)
            if key in _KNOWN:
                break
            folder = folder.parent
            flush_folder(folder)
            if folder == store:  # its own name, too
                with suppress(PermissionError):
                    flush_folder(store.parent)
            _KNOWN.add(key)


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder: names of files that were created or renamed."""
    if os.name != "posix":  # Windows cannot open a folder, but journals its entries
        return
    try:
        flush_file(folder)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def flush_file(path: Path) -> None:
    """Flush a file, or the entries of a folder."""
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path, fresh: Path) -> Iterator[Path]:
    """Replace a file by one that the body writes; keep the old one if it fails.

    Parameters
    ----------
    path
        File to replace, or to create.
    fresh
        File in the same folder. It is removed if the body fails.

    Yields
    ------
    fresh
        File to write.
    """
    try:
        yield fresh
        os.replace(fresh, path)
    except BaseException:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def write_file(path: Path, data: bytes, *, fresh: Path | None = None) -> None:
    """Replace a file as a whole. Its content is on disk when this returns.

    Its name is too, after ``flush_folder`` of its folder.

    Parameters
    ----------
    path
        File to replace, or to create.
    data
        Its content.
    fresh
        Temporary file in the same folder. Default: with ``.new`` after the name.
    """
    fresh = path.with_name(f"{path.name}.new") if fresh is None else fresh
    with replacing(path, fresh), open(fresh, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
