"""Staging folders beside a store in which a change is prepared, and the final step.

Frames to append are written to ``.NAME.append-*``, a new version of the store to
``.NAME.overwrite-*``. The store itself does not change until everything is on disk. A
run that fails or is killed therefore leaves the store unchanged. Tasks of a dead run,
which may still write, cannot reach it either. The same command continues in the
folder; a different one removes it.

The last step renames files. Frames are moved by ``move_into_store``, after their folder
was renamed to ``DECLARED`` inside the store. It can be repeated: a process that is
killed meanwhile leaves a declared change that the next writer finishes. A new version
is swapped with the store by ``swap_versions``.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import sys
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from mgdask.store.durable import flush_file, flush_folder
from mgdask.store.failures import explained
from mgdask.store.location import is_remote

APPEND, OVERWRITE, REPLACED = "append", "overwrite", "replaced"
"""Purposes of a folder beside a store."""
PURPOSES = (APPEND, OVERWRITE, REPLACED)
"""All of them."""
DECLARED = "append.ready"
"""Folder of the manifest with frames that are being moved into a store."""
BASE = "base.json"
"""File of the manifest of a folder in which the same command can continue."""
MAX_NAME = 200
"""Maximum length in bytes of the name of a store that its folders repeat."""
REMOVAL_TIME = 2.0
"""Maximum time in s to remove a folder into which tasks of a failed run still write."""

_MANIFEST, _COMPLETE = "manifest", "complete.json"
_EXCHANGE = 2
"""Flag of ``renameat2`` of Linux that exchanges two files."""
_HERE = -100
"""Descriptor that stands for the current folder in system calls of Linux."""


def new_folder(path: str | Path, purpose: str) -> Path:
    """Return the name of a new folder in which a change of a store is prepared.

    It is beside the store, or in its manifest if no folder can be made beside it or if
    that is another file system.

    Parameters
    ----------
    path
        The store.
    purpose
        One of ``APPEND``, ``OVERWRITE`` and ``REPLACED``.
    """
    target = Path(os.path.realpath(path))
    parent = target.parent
    if purpose == APPEND and (
        not os.access(parent, os.W_OK | os.X_OK) or parent.stat().st_dev != target.stat().st_dev
    ):
        parent = target / _MANIFEST
    return parent / f"{_prefix(target, purpose)}{uuid.uuid4().hex[:8]}"


def folders(path: str | Path, purpose: str) -> list[Path]:
    """Return the folders in which changes of a store were prepared.

    Parameters
    ----------
    path
        The store, whose lock the caller holds.
    purpose
        One of ``APPEND``, ``OVERWRITE`` and ``REPLACED``.
    """
    target = Path(os.path.realpath(path))
    # a folder that is still being created has a second dot in front
    prefixes = _prefix(target, purpose), f".{_prefix(target, purpose)}"
    found: list[Path] = []
    for parent in (target.parent, target / _MANIFEST):
        with suppress(OSError), os.scandir(parent) as entries:
            found += [Path(e.path) for e in entries if e.name.startswith(prefixes)]
    return sorted(found)


def _prefix(target: Path, purpose: str) -> str:
    name = target.name
    if len(os.fsencode(name)) > MAX_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}.{purpose}-"


def remove(folder: Path) -> None:
    """Remove a folder, even if tasks of a failed run still write into it."""
    deadline = time.monotonic() + REMOVAL_TIME
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            time.sleep(0.01)


def remove_all(path: str | Path, *purposes: str, keep: Path | None = None) -> None:
    """Remove what earlier runs prepared for a store.

    Parameters
    ----------
    path
        The store, whose lock the caller holds.
    purposes
        Some of ``APPEND``, ``OVERWRITE`` and ``REPLACED``.
    keep
        Folder that stays.
    """
    for purpose in purposes:
        for folder in folders(path, purpose):
            if folder != keep:
                remove(folder)


# Moving prepared frames into a store


def is_declared(path: str | Path) -> bool:
    """Return whether frames are being moved into a store, or were moved in part."""
    if is_remote(path):  # appends write folders only
        return False
    return (Path(path) / _MANIFEST / DECLARED / _MANIFEST / _COMPLETE).exists()


def move_into_store(path: str | Path, folder: Path, flushed: Collection[str]) -> None:
    """Move prepared frames into a store.

    Parameters
    ----------
    path
        The store, whose lock the caller holds.
    folder
        Finished store with all metadata and all files that the new frames change.
    flushed
        Files in it that are known to be on disk, because they have records.
    """
    manifest = Path(path) / _MANIFEST
    with explained(path):
        _flush_tree(folder, flushed)
        os.rename(folder, manifest / DECLARED)
        flush_folder(manifest)
    finish_interrupted(path)


def finish_interrupted(path: str | Path) -> bool:
    """Finish what an interrupted writer had declared.

    Parameters
    ----------
    path
        The store, whose lock the caller holds.

    Returns
    -------
    finished
        Whether there was anything to finish.
    """
    store = Path(path)
    if _finish_swap(store):
        return True
    manifest = store / _MANIFEST
    declared = manifest / DECLARED
    if not declared.exists():
        return False
    with explained(path):
        mark = declared / _MANIFEST / _COMPLETE
        if mark.exists():  # the last file to be moved
            (manifest / _COMPLETE).unlink(missing_ok=True)
            flush_folder(manifest)
            for changed in sorted({target.parent for target in _moved(declared, store, mark)}):
                flush_folder(changed)
            os.replace(mark, manifest / _COMPLETE)
            flush_folder(manifest)
        shutil.rmtree(declared)
    return True


def _moved(source: Path, target: Path, last: Path) -> Iterator[Path]:
    """Move all of a folder except ``last`` and ``BASE``; yield what was moved."""
    for entry in sorted(source.iterdir()):
        goal = target / entry.name
        if entry == last or entry.name == BASE:
            continue
        if entry.is_dir() and goal.is_dir():
            yield from _moved(entry, goal, last)
        else:
            os.replace(entry, goal)
            yield goal


def _flush_tree(folder: Path, flushed: Collection[str]) -> None:
    """Flush the files and folders of a prepared store."""
    done = frozenset(flushed)
    for parent, _, files in os.walk(folder):
        below = Path(parent).relative_to(folder)
        for file in files:
            if (below / file).as_posix() in done:
                continue
            flush_file(Path(parent, file))
        flush_folder(Path(parent))


# Swapping a store with a new version


def swap_versions(path: str | Path, folder: Path, flushed: Collection[str]) -> None:
    """Replace a store by a new version, and remove the old one.

    Parameters
    ----------
    path
        The store, whose lock the caller holds. Symbolic links are followed.
    folder
        The new version, beside the store.
    flushed
        As in ``move_into_store``.

    Notes
    -----
    Linux swaps two folders in one step on most local file systems. Elsewhere the store
    is missing for the time between two renames.
    """
    target = Path(os.path.realpath(path))
    with explained(path):
        _flush_tree(folder, flushed)
        # nothing may continue in the old store, which can be left in this folder
        (folder / _MANIFEST / BASE).unlink(missing_ok=True)
        if _swapped(folder, target):
            old = folder
        else:
            old = new_folder(path, REPLACED)
            os.rename(target, old)
            os.rename(folder, target)
        flush_folder(target.parent)
    remove(old)


def _swapped(one: Path, other: Path) -> bool:
    """Swap two folders in one step, if the system supports it."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # another C library
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(call(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0)


def swap_was_interrupted(path: str | Path) -> bool:
    """Return whether a store is missing because its replacement was interrupted."""
    return not os.path.lexists(os.path.realpath(path)) and bool(folders(path, REPLACED))


def _finish_swap(path: Path) -> bool:
    """Put the new version, or else the old one, where the store was."""
    if not swap_was_interrupted(path):
        return False
    new = [f for f in folders(path, OVERWRITE) if (f / _MANIFEST / _COMPLETE).exists()]
    old = folders(path, REPLACED)
    target = Path(os.path.realpath(path))
    with explained(path):
        os.rename((new or old)[0], target)
        flush_folder(target.parent)
    return True
