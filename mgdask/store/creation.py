"""Creation of a store as a whole: another process sees all of its metadata, or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mgdask.interruption import removed_when_stopped
from mgdask.store.failures import StorageFullError, explained


def fresh_folder(path: str | Path) -> Path:
    """Return the folder beside a store in which a new one is prepared.

    Parameters
    ----------
    path
        The store. Symbolic links are followed.
    """
    target = Path(os.path.realpath(path))
    return target.with_name(f".{target.name}.new")


@contextmanager
def created_whole(path: str | Path) -> Iterator[Path]:
    """Prepare a store in a folder beside it, and move it to its place at the end.

    Parameters
    ----------
    path
        The store, whose lock the caller holds. It does not exist at the end of the
        ``with`` block.

    Yields
    ------
    folder
        Folder in which to create the store. If the block fails, it is removed. What a
        killed process left there is removed first.
    """
    fresh = fresh_folder(path)

    def remove() -> None:
        shutil.rmtree(fresh, ignore_errors=True)

    with removed_when_stopped(remove):
        remove()
        try:
            yield fresh
            with explained(path):
                os.rename(fresh, os.path.realpath(path))
        except StorageFullError as error:  # it names the folder that the user knows
            raise StorageFullError(str(error).replace(str(fresh), str(path))) from error
        finally:
            remove()
