"""How far a store is, from its manifest alone: cheap enough for a batch script to ask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import zarr

from mgdask.errors import StoreError
from mgdask.store.layout import ceil_div
from mgdask.store.manifest import FOLDER, Manifest
from mgdask.store.shards import open_group


@dataclass(frozen=True)
class Progress:
    """Blocks ``done`` and in all (``total``, None where only the work itself knows), and whether the store is ``finished``."""

    done: int
    total: int | None
    finished: bool

    def __str__(self) -> str:
        return f"{self.done}/{'?' if self.total is None else self.total} blocks{', finished' if self.finished else ''}"


def read_progress(path: str | Path) -> Progress:
    """How far a store is; ``StoreError`` where there is none.

    A block counts as done when it has a record; whether its files are still whole is for ``mgdask featurize`` to see. The blocks of a feature
    store are the shards of any of its arrays; those of other stores are known once they are finished.
    """
    group = open_group(path)
    if not (Path(path) / FOLDER).is_dir():
        raise StoreError(f"{path} has no manifest; it is no store that mgdask wrote")
    manifest = Manifest(path)
    done = len(manifest.records())
    if manifest.content() is not None:
        about = json.loads((manifest.folder / "complete.json").read_text(encoding="utf-8"))
        return Progress(done, int(about["blocks"]), True)
    return Progress(done, _blocks(group), False)


def _blocks(group: zarr.Group) -> int | None:
    if group.attrs.get("mgdask_kind") != "features":
        return None
    for _, array in sorted(group.arrays()):
        if array.shards is not None:
            return prod(
                ceil_div(size, part) for size, part in zip(array.shape, array.shards, strict=True)
            )
    return None
