"""The history of a trajectory store: which frames were appended, from which files.

Frames are appended to a store in segments. The first segment is that of the ingest that
made the store. A block holds frames of several segments if one ends inside it. Its
record says up to which frame it was written, so each segment can be written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mgdask.store.shards import Group, get_array

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
    listed = attrs.get(APPENDS)
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
    group.attrs.put(attrs)


def last_digest(group: Group) -> str:
    """Return the digest of what was appended last; "" if nothing was."""
    appends = read_appends(group)
    return appends[-1].digest if appends else ""
