"""Files of a store elsewhere, with the part of ``pathlib.Path`` that reading needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from mgdask.store.location import Location, is_remote, local_path, locate


class RemotePath:
    """A file or folder of a store elsewhere, which is read like a ``pathlib.Path``.

    Parameters
    ----------
    location
        The store.
    key
        File or folder inside it. Default: the store itself.
    """

    def __init__(self, location: Location, key: str = "") -> None:
        self.location, self.key = location, key

    @property
    def url(self) -> str:
        """The place, without credentials."""
        return f"{self.location.url}/{self.key}" if self.key else self.location.url

    @property
    def name(self) -> str:
        """The last part of the name."""
        return self.url.rpartition("/")[2]

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"RemotePath({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.location, f"{self.key}/{name}".strip("/"))

    def absolute(self) -> RemotePath:
        """Return this path: URLs are absolute."""
        return self

    def read_bytes(self) -> bytes:
        """Return the content; raise ``FileNotFoundError`` if there is none."""
        from mgdask.store.remote import read

        data = read(self.location, self.key)
        if data is None:
            raise FileNotFoundError(2, "No such object", self.url)
        return data

    def size(self) -> int:
        """Return the size in bytes; raise ``FileNotFoundError`` without an object."""
        state = self.state()
        if state is None:
            raise FileNotFoundError(2, "No such object", self.url)
        return state[1]

    def sizes(self, files: Sequence[str]) -> list[int | None]:
        """Return the sizes in bytes of objects below this one; None if missing."""
        from mgdask.store.remote import states

        found = states(self.location, [(self / file).key for file in files])
        return [None if state is None else state[1] for state in found]

    def read_parts(self, parts: Sequence[tuple[int, int]], size: int) -> list[bytes]:
        """Return parts of an object of that size, from first to last (exclusive)."""
        from mgdask.store.remote import read_parts

        return read_parts(self.location, self.key, parts, size)

    def is_file(self) -> bool:
        """Return whether there is such an object."""
        from mgdask.store.remote import state

        return state(self.location, self.key) is not None

    def state(self) -> tuple[int, int, int] | None:
        """Return what changes whenever an object is replaced; None without one."""
        from mgdask.store.remote import state

        return state(self.location, self.key)

    def is_dir(self) -> bool:
        """Return whether it is a Zarr group or array. Other folders are not known."""
        return (self / "zarr.json").is_file()

    def exists(self) -> bool:
        """Return whether there is such an object, group or array."""
        return self.is_file() or self.is_dir()

    def glob(self, pattern: str) -> list[RemotePath]:
        """Return the records of a finished store, which are in one file."""
        from mgdask.store.manifest import JOINED  # which imports this module

        joined = self / JOINED
        return [joined] if pattern == "*.jsonl" and joined.is_file() else []


def folder_of(place: str | os.PathLike[str] | RemotePath) -> Path:
    """Return the folder of a store, or what stands in for it elsewhere.

    A ``RemotePath`` has the part of the interface of ``pathlib.Path`` that reading
    needs. What writes refuses it before, see ``local_path``.

    Parameters
    ----------
    place
        A path or URL.
    """
    if isinstance(place, RemotePath):
        return cast("Path", place)
    if not is_remote(place):
        return local_path(place, "")
    return cast("Path", RemotePath(locate(place)))
