"""Where an ingest writes: into the store, or beside it until all of it is written.

A store that exists is not changed before the new frames, or the new version, are
complete. See ``mgdask.store.staging``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mgdask.errors import MgdaskError, RunError, StoreError
from mgdask.pipelines.ingest_append import Addition
from mgdask.store import staging
from mgdask.store.appends import excerpt
from mgdask.store.failures import StorageFullError, explained
from mgdask.store.lock import Lock
from mgdask.store.manifest import FOLDER, Manifest

RESUMABLE = (StorageFullError, RunError)
"""Errors after which the same command continues; after others the input must change."""


@contextmanager
def created(out: Path, prepare: Callable[[Path], object]) -> Iterator[Path]:
    """Create a store, or continue one that was begun.

    Parameters
    ----------
    out
        The store, whose lock the caller holds.
    prepare
        Creates a store, unless it was begun by the same ingest.
    """
    staging.remove_all(out, *staging.PURPOSES)
    prepare(out)
    yield out


@contextmanager
def replaced(
    out: Path, prepare: Callable[[Path], object], is_same: Callable[[Path], object], lock: Lock
) -> Iterator[Path]:
    """Create a new version of a store beside it, which replaces it at the end.

    Parameters
    ----------
    out
        The store.
    prepare
        Creates a store, unless it was begun by the same ingest.
    is_same
        Says whether a store is of the same ingest.
    lock
        Lock of the store.
    """
    if not out.exists():
        with created(out, prepare) as place:
            yield place
        return
    if os.path.ismount(os.path.realpath(out)):
        raise StoreError(
            f"{out} is a mount point, so it cannot be replaced as a whole; choose another out "
            "(--out), such as a folder in it"
        )
    begun = (
        folder
        for folder in staging.folders(out, staging.OVERWRITE)
        if (folder / FOLDER / staging.BASE).exists() and is_same(folder)
    )
    folder = next(begun, None) or staging.new_folder(out, staging.OVERWRITE)
    staging.remove_all(out, *staging.PURPOSES, keep=folder)
    with _unchanged_by_failure(out) as folders:
        folders.append(folder)
        prepare(folder)
        (folder / FOLDER / staging.BASE).touch()
        yield folder
        lock.check()
        staging.swap_versions(out, folder, _recorded(folder))


@contextmanager
def appended(out: Path, addition: Addition, lock: Lock) -> Iterator[Path]:
    """Prepare appended frames beside a store, and move them into it at the end.

    Parameters
    ----------
    out
        The store.
    addition
        Frames to append. Lost blocks of frames that the store has are written in place.
    lock
        Lock of the store.
    """
    if addition.resumed:
        staging.remove_all(out, *staging.PURPOSES)
        yield out
        return
    staging.remove_all(out, staging.OVERWRITE, staging.REPLACED)
    with _unchanged_by_failure(out) as folders:
        folder = excerpt(out, addition.digest)
        folders.append(folder)
        yield folder
        lock.check()
        staging.move_into_store(out, folder, _recorded(folder))


def _recorded(folder: Path) -> set[str]:
    """Return the files of a store that its records cover."""
    records = Manifest(folder).records().values()
    return {file for record in records for file in record["files"]}


@contextmanager
def _unchanged_by_failure(out: Path) -> Iterator[list[Path]]:
    """Report the state of the store after a failure; remove useless folders."""
    folders: list[Path] = []
    try:
        with explained(out):
            yield folders
    except MgdaskError as error:
        text = str(error)
        for folder in folders:  # the user knows the store only
            text = text.replace(str(folder), str(out))
        if staging.is_declared(out):
            text += (
                f". The new frames are complete, but not yet part of {out}: the same command "
                "moves them there"
            )
        else:
            if not isinstance(error, RESUMABLE):
                for folder in folders:
                    staging.remove(folder)
            text += f". {out} is unchanged"
        error.args = (text, *error.args[1:])
        raise
