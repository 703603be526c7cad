"""Appended frames of a trajectory store: their history, and where they are prepared.

Frames are appended to a store in segments. The first segment is that of the ingest that
made the store. A block holds frames of several segments if one ends inside it. Its
record says up to which frame it was written, so each segment can be written again.

Frames are first appended to an excerpt of the store, which has all its metadata and the
last shard of each array. See ``mgdask.store.staging`` for the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mgdask.store.attributes import decode, encoded
from mgdask.store.manifest import COMPLETE, FOLDER
from mgdask.store.shards import Group, dimension_names, get_array, open_group, shard_shape
from mgdask.store.staging import APPEND, BASE, folders, new_folder, remove, remove_all

APPENDS = "appends"
"""Attribute of a store that lists its appended frames, in the order of appending."""
APPEND_DIGEST, APPEND_START = "append_digest", "append_start"
"""Attributes of the last appended frames in stores of version 0.1."""


@dataclass(frozen=True)
class Append:
    """Frames that were appended by one call.

    Attributes
    ----------
    digest
        Digest of the input, including frames that the store had already.
    start
        Index of the first of these frames in the store.
    n_frames
        Number of these frames.
    sources
        Names of the files; empty in stores of version 0.1.
    """

    digest: str
    start: int
    n_frames: int
    sources: tuple[str, ...] = ()

    @property
    def stop(self) -> int:
        """Index after the last of these frames."""
        return self.start + self.n_frames


def read_appends(group: Group) -> tuple[Append, ...]:
    """Return what was appended to a store, in the order of appending.

    Parameters
    ----------
    group
        Group of a trajectory store.

    Notes
    -----
    Stores of version 0.1 name only the frames that were appended last.
    """
    attrs: Mapping[str, Any] = group.attrs
    listed = decode(attrs, APPENDS)
    if listed is not None:
        return tuple(
            Append(str(e["digest"]), int(e["start"]), int(e["n_frames"]), tuple(e["sources"]))
            for e in listed
        )
    if APPEND_DIGEST not in attrs:
        return ()
    start = int(attrs[APPEND_START])
    n_frames = int(get_array(group, "position").shape[0]) - start
    return (Append(str(attrs[APPEND_DIGEST]), start, n_frames),)


def add_append(group: Group, append: Append, others: Mapping[str, Any]) -> None:
    """Add an entry to the history of a store.

    Parameters
    ----------
    group
        Group of the store, open for writing.
    append
        What is appended.
    others
        Other attributes to change at the same time.
    """
    attrs = {**group.attrs, **others}
    attrs[APPENDS] = [asdict(each) for each in (*read_appends(group), append)]
    for old in (APPEND_DIGEST, APPEND_START):
        attrs.pop(old, None)
    group.attrs.put(encoded(attrs))


def last_digest(group: Group) -> str:
    """Return the digest of what was appended last; "" if nothing was."""
    return last_digest_in(group.attrs)


def last_digest_in(attrs: Mapping[str, Any]) -> str:
    """Return the digest of what was appended last, from the attributes of a store.

    Parameters
    ----------
    attrs
        Attributes of a trajectory store.
    """
    listed = decode(attrs, APPENDS)
    if listed is not None:
        return str(listed[-1]["digest"]) if listed else ""
    return str(attrs.get(APPEND_DIGEST, ""))


# The excerpt of a store


def excerpt(path: str | Path, digest: str) -> Path:
    """Return an excerpt of a finished store, to which frames can be appended.

    An excerpt that an interrupted append of the same input left is continued. Others
    are removed.

    Parameters
    ----------
    path
        The store, whose lock the caller holds.
    digest
        Digest of the input.
    """
    store = Path(path)
    base = json.dumps({"digest": digest, "store": _state(store)})
    begun = (f for f in folders(path, APPEND) if _read(f / FOLDER / BASE) == base)
    found = next(begun, None)
    remove_all(path, APPEND, keep=found)
    if found is not None:
        return found
    fresh = new_folder(path, APPEND)
    try:
        _copy_excerpt(store, fresh)
        mark = fresh / FOLDER / f"{BASE}.new"
        mark.write_text(base, encoding="utf-8")
        os.replace(mark, fresh / FOLDER / BASE)  # marks the excerpt as complete
    except BaseException:
        remove(fresh)
        raise
    return fresh


def _state(store: Path) -> str:
    """Return a digest of what changes if frames or values are added to a store."""
    sha256 = hashlib.sha256()
    for file in (store / FOLDER / COMPLETE, store / "zarr.json"):
        sha256.update(file.read_bytes())
    return sha256.hexdigest()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _copy_excerpt(store: Path, fresh: Path) -> None:
    """Copy the metadata, the small arrays and the last shard of each large array."""
    (fresh / FOLDER).mkdir(parents=True)
    shutil.copyfile(store / "zarr.json", fresh / "zarr.json")
    for file in ((store / FOLDER / "zarr.json"), *(store / FOLDER).glob("*.jsonl")):
        shutil.copyfile(file, fresh / FOLDER / file.name)
    for name, array in open_group(store).arrays():
        (fresh / name).mkdir()
        shutil.copyfile(store / name / "zarr.json", fresh / name / "zarr.json")
        chunks, is_changed = "c", dimension_names(array)[:1] == ("frame",)
        if array.shards is not None and is_changed:
            length, step = array.shape[0], shard_shape(array)[0]
            chunks = f"c/{(length - 1) // step}"
            is_changed = bool(length % step)  # otherwise it is only read
        _copy(store / name / chunks, fresh / name / chunks, linked=not is_changed)


def _copy(source: Path, target: Path, *, linked: bool) -> None:
    """Copy a folder or a file. Files that will not be written need not be copied."""
    if source.is_dir():
        for entry in source.iterdir():
            _copy(entry, target / entry.name, linked=linked)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        if linked:
            try:
                os.link(source, target)
                return
            except OSError:  # a file system without links
                pass
        shutil.copyfile(source, target)
