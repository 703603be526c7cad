"""Progress of a store, read from its manifest alone.

Reading it is cheap enough for a batch script to poll.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import zarr

from mgdask.errors import StoreError
from mgdask.store.growing import BUILDING
from mgdask.store.layout import ceil_div
from mgdask.store.manifest import FOLDER, Manifest
from mgdask.store.shards import open_group
from mgdask.store.staging import APPEND, BASE, OVERWRITE, folders


@dataclass(frozen=True)
class Progress:
    """Number of finished blocks of a store.

    Attributes
    ----------
    done
        Number of blocks with a record.
    total
        Number of all blocks; None for an unfinished store that is not a feature store.
    finished
        Whether the store is finished.
    """

    done: int
    total: int | None
    finished: bool

    def __str__(self) -> str:
        total = "?" if self.total is None else self.total
        return f"{self.done}/{total} blocks{', finished' if self.finished else ''}"


def read_progress(path: str | Path) -> Progress:
    """Return how many blocks of a store are finished.

    Parameters
    ----------
    path
        A store of any kind.

    Raises
    ------
    StoreError
        If ``path`` is not a store of mgdask.

    Notes
    -----
    A block counts as done if it has a record. Whether its files are still complete is
    checked by ``mgdask featurize``. The blocks of a feature store are the shards of any
    of its arrays. Those of other stores are known only when they are finished. While
    frames are appended to a store, or a new version of it is made, the blocks of that
    work are counted.
    """
    group = open_group(path)
    if not (Path(path) / FOLDER).is_dir():
        raise StoreError(f"{path} has no manifest, so mgdask did not write it")
    for begun in (*folders(path, APPEND), *folders(path, OVERWRITE)):
        if (begun / FOLDER / BASE).exists():  # an ingest that changes the store later
            return Progress(len(Manifest(begun).records()), None, False)
    manifest = Manifest(path)
    done = len(manifest.records())
    building = manifest.folder / BUILDING
    if manifest.completion() is None and building.is_dir():  # an unfinished dictionary
        done = len(Manifest(building).records())
    if (mark := manifest.completion()) is not None:
        return Progress(done, int(mark["blocks"]), True)
    return Progress(done, _count_blocks(group), False)


def _count_blocks(group: zarr.Group) -> int | None:
    if group.attrs.get("mgdask_kind") != "features":
        return None
    for _, array in sorted(group.arrays(), key=lambda item: item[0]):
        if array.shards is not None:
            return prod(
                ceil_div(size, part) for size, part in zip(array.shape, array.shards, strict=True)
            )
    return None
