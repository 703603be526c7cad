"""Errors of the file system and of inputs, explained to the user."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mgdask.errors import MgdaskError, RunError, StoreError
from mgdask.store.location import is_remote, local_place, scheme_of
from mgdask.store.remote_path import folder_of

NO_SPACE = frozenset((errno.ENOSPC, errno.EDQUOT))
UNWRITABLE = NO_SPACE | {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG}
"""Error numbers that would recur in every later write to the target."""
_NO_ROOM_FOR_LIBRARY = re.compile("failed to map segment|cannot allocate memory", re.IGNORECASE)
"""Messages of the dynamic linker if a shared library does not fit into memory."""
ALMOST_FULL = 2**20
"""Free space in bytes below which a disk counts as full."""
COPY_AGAIN = "Copy it there again from a sound copy; mgdask verify shows whether one is sound"
"""What to do about a damaged object of a store elsewhere."""
NO_HANDLES = frozenset((errno.EMFILE, errno.ENFILE))
"""Error numbers of too many open files."""


class FatalStoreError(StoreError):
    """An error that would recur in every other block, so it ends a run at once."""


class StorageFullError(FatalStoreError):
    """The target can no longer be written."""


class OpenFilesError(FatalStoreError):
    """Too many files are open."""


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
    if is_remote(path):  # asked when it is opened
        return
    path = local_place(path, "this call reads")
    if not (Path(path) / "zarr.json").is_file() and not (Path(path) / "manifest").is_dir():
        raise no_store(path)


def no_store(path: str | Path) -> StoreError:
    """Return the error for a path that is not a store."""
    if is_remote(path):
        what = "there is no zarr.json below this name, or it may not be seen"
        if scheme_of(path) == "memory":
            what = "memory:// exists only in the process that wrote it"
        return StoreError(f"{path} is not a Zarr store: {what}. Check the name")
    from mgdask.store.staging import swap_was_interrupted  # which imports this module

    if swap_was_interrupted(path):
        return StoreError(
            f"{path} was being replaced by a process that was stopped. Nothing is lost: the same "
            "mgdask ingest --overwrite finishes the replacement"
        )
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


def more_damaged(n_more: int) -> str:
    """Say how many further files are damaged; empty if none is."""
    if n_more == 1:
        return ", and 1 more file is damaged"
    return f", and {n_more} more files are damaged" if n_more > 1 else ""


def repair_advice(store: str | Path) -> str:
    """Return the advice on how to repair a damaged store."""
    if is_remote(store):
        return COPY_AGAIN
    return f"Run mgdask verify {store} --repair, then the command that made the store"


@contextmanager
def readable(store: str | Path, file: str) -> Iterator[None]:
    """Explain why a file of a store cannot be read.

    Parameters
    ----------
    store
        The store.
    file
        File inside it.

    Raises
    ------
    DamagedStoreError
        If the body raises anything but an ``MgdaskError`` or a ``MemoryError``. Zarr,
        its codecs and JSON raise various errors for a damaged file.
    StoreError
        If this user may not read the file, or if the system lacks something.
    """
    try:
        yield
    except (MgdaskError, MemoryError):
        raise
    except Exception as error:
        check_cause(error)
        path = folder_of(store) / file
        what = f"cannot be read ({type(error).__name__}: {error})"
        raise DamagedStoreError(
            f"{path} {what if path.exists() else 'is missing'}. {repair_advice(store)}"
        ) from error


def check_cause(error: Exception) -> None:
    """Raise another error if what could not be read is not damaged.

    Parameters
    ----------
    error
        Error that was raised when a file was read.

    Raises
    ------
    StoreError
        If this user may not read the file, or if the system lacks something.
    """
    if (lack := explanation(error)) is not None:
        raise lack from error
    if isinstance(error, PermissionError):
        raise StoreError(
            f"{error.filename} cannot be read ({error.strerror}); make it readable"
        ) from error


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
    path = _local(path)
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE | NO_HANDLES:
            raise
        raise _explained(error, path, ". Finished blocks are kept") from error


def explanation(error: BaseException) -> MgdaskError | None:
    """Return the error that explains what the system lacks, or None.

    Parameters
    ----------
    error
        Error from anywhere, such as a library. Its chain of causes and contexts is
        searched too.

    Returns
    -------
    explained
        Error about disk space, permissions, open files, memory or threads.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, OSError) and link.errno in NO_SPACE | NO_HANDLES | {errno.EROFS}:
            return _explained(link, _local(link.filename) if link.filename else _full_folder())
        if (
            isinstance(link, MemoryError)
            or (isinstance(link, OSError) and link.errno == errno.ENOMEM)
            or (isinstance(link, RuntimeError) and "can't start new thread" in str(link))
            or "Failed to launch worker thread" in str(link)  # of Arrow
            or "std::bad_alloc" in str(link)  # of libraries in C++, such as LightGBM
            or (isinstance(link, ImportError) and _NO_ROOM_FOR_LIBRARY.search(str(link)))
        ):
            _forget_thread_of_zarr()
            return RunError(_lack_of_memory(link))
        if isinstance(link, FileNotFoundError) and "No usable temporary" in str(link):
            return StorageFullError(f"{_no_temporary()}, then run the same command again")
        link = link.__cause__ or link.__context__
    return None


def _forget_thread_of_zarr() -> None:
    """Let zarr start its thread anew if it could not be started.

    Zarr keeps it, waits for it at the next call, and joins it at the end of Python.
    """
    sync: Any = sys.modules.get("zarr.core.sync")
    thread = getattr(sync, "iothread", [None])[0]
    if thread is not None and not thread.ident and thread not in threading.enumerate():
        with suppress(AttributeError, RuntimeError):  # none, or another thread runs it
            sync.loop[0].close()
        sync.iothread[0] = sync.loop[0] = None


def _full_folder() -> Path | None:
    """Return the folder to name if an error does not name one: a full temporary one."""
    for folder in (os.environ.get("TMPDIR", "/tmp"), "."):
        with suppress(OSError):
            if shutil.disk_usage(folder).free < ALMOST_FULL:
                return Path(folder).absolute()
    return None


def _no_temporary() -> str:
    named = os.environ.get("TMPDIR")
    return (
        f"no temporary folder can be written: TMPDIR is {named if named else 'not set'}, and "
        "/tmp, /var/tmp and the current folder are full, missing or read-only too. Set TMPDIR to a "
        "folder with free space"
    )


def _local(path: str | Path) -> Path:
    """Return the path of a folder that zarr names ``file://...``."""
    text = os.fsdecode(path)
    return Path(text.removeprefix("file://"))


def _explained(error: OSError, path: Path | None, kept: str = "") -> FatalStoreError:
    if error.errno in NO_HANDLES:
        return OpenFilesError(
            f"too many files are open{_limit('RLIMIT_NOFILE', ' (at most {:.0f} in this process)')}"
            ". Allow more (ulimit -n) or use fewer workers, then run the same command "
            f"again{kept}"
        )
    what, remedy = _reason(path, error)
    return StorageFullError(f"{what}. {remedy}, then run the same command again{kept}")


def _reason(path: Path | None, error: OSError) -> tuple[str, str]:
    """Return what is wrong with a target, and the remedy."""
    name = "a folder" if path is None else str(path)
    if error.errno in NO_SPACE:
        # some file systems report a quota as a full disk
        cause = "quota" if error.errno == errno.EDQUOT else "disk (or the quota)"
        return f"the {cause} of {name} is full{_free(path)}", "Make room"
    if error.errno == errno.EFBIG:
        return (
            f"a file of {name} is larger than this user or file system may write",
            "Raise that limit (ulimit -f)",
        )
    return (
        f"{name} cannot be written ({error.strerror})",
        "Make it writable or choose another target",
    )


def _free(path: Path | None) -> str:
    """Describe the free space on the disk of a path."""
    for folder in () if path is None else (path, *path.parents):
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            continue
        return f"; {free / 1e9:.3g} GB are free there"
    return ""


def _lack_of_memory(error: BaseException) -> str:
    """Describe a lack of memory, or of threads, and what to do about it."""
    limit = _limit("RLIMIT_AS", "; its address space is limited to {:.3g} GB, ulimit -v", 1e-9)
    if "new thread" in str(error) or "worker thread" in str(error):
        return (
            f"this process can start no more threads{limit}. Raise the limit of memory or of "
            "processes (ulimit -v, ulimit -u), then run the same command again"
        )
    detail = f" ({error})" if isinstance(error, MemoryError) and str(error) else ""
    return (
        f"this process ran out of memory{detail}{limit}. Give it more memory, or use fewer workers "
        "and threads or a smaller --memory, then run the same command again"
    )


def _limit(name: str, text: str, scale: float = 1.0) -> str:
    """Return a text with a limit of this process; empty if there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    value = resource.getrlimit(getattr(resource, name))[0]
    return "" if value == resource.RLIM_INFINITY else text.format(value * scale)
