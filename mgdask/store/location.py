"""Where a store is: a folder of this machine, or a place that a URL names.

A place may be given as a path, as ``file://``, or as another URL. What reads or writes
folders only refuses other URLs in words, before it reads or creates anything. A path
such as ``memory://q.zarr`` would otherwise become a folder named ``memory:``.

URLs never carry credentials here: ``storage_options`` and the environment do.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from mgdask.errors import StoreError

T = TypeVar("T", bound="str | os.PathLike[str]")

REMOTE = ("s3", "gs", "https", "http", "memory")
"""Schemes of URLs that can name a store."""
_LOCAL = ("file", "local")
_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.:-]+)://(.*)$", re.DOTALL)
# pathlib joins the two slashes
_AS_PATH = re.compile(rf"^({'|'.join((*REMOTE, *_LOCAL, 'gcs', 'az', 'abfs'))}):/(?!/)(.*)$")


def scheme_of(place: object) -> str:
    """Return the scheme of a URL, in lower case; an empty string for a path.

    Parameters
    ----------
    place
        A path or URL. ``Path("s3://bucket/a")`` counts as a URL.
    """
    if not isinstance(place, str | os.PathLike):
        return ""
    text = os.fsdecode(place)
    found = _URL.match(text) or _AS_PATH.match(text)
    return found[1].lower() if found else ""


def shown(place: object) -> str:
    """Return a place for messages, without user names, passwords and queries.

    Parameters
    ----------
    place
        A path or URL.
    """
    text = os.fsdecode(place) if isinstance(place, str | os.PathLike) else str(place)
    found = _URL.match(text) or _AS_PATH.match(text)
    if not found:
        return text
    scheme, rest = found.groups()
    host, slash, below = re.split(r"[?#]", rest)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{below}"


@dataclass(frozen=True)
class Location:
    """Where a store is.

    Parameters
    ----------
    url
        The place, for messages: a path, or a URL without credentials.
    path
        The folder; None for a place elsewhere.
    """

    url: str
    path: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.path is not None

    @property
    def local(self) -> Path:
        """The folder of a local place."""
        return self.path if self.path is not None else local_path(self.url, "this call reads")


def locate(place: str | os.PathLike[str]) -> Location:
    """Return where a store is.

    Parameters
    ----------
    place
        A path or URL.

    Raises
    ------
    StoreError
        If the scheme of the URL is not supported.
    """
    path = local_path(place, "this call reads")
    return Location(str(path), path)


def local_path(place: str | os.PathLike[str], use: str) -> Path:
    """Return the path of a folder or file of this machine.

    Parameters
    ----------
    place
        A path, or a URL that begins with ``file://``.
    use
        What is done with it, for the message: "mgdask ingest writes".

    Raises
    ------
    StoreError
        If the place is elsewhere.
    """
    scheme = scheme_of(place)
    if not scheme:
        return Path(place)
    if scheme in _LOCAL:
        return _path_of_file_url(os.fsdecode(place))
    raise StoreError(
        f"{use} folders of this machine, not {scheme}://: {shown(place)}. {_remedy(use)}"
    )


def local_place(place: T, use: str) -> T | Path:
    """Return a path unchanged, and ``file://`` as a path; refuse other URLs.

    Parameters
    ----------
    place, use
        As in ``local_path``.

    Raises
    ------
    StoreError
        If the place is elsewhere.
    """
    return local_path(place, use) if scheme_of(place) else place


def _remedy(use: str) -> str:
    if use.endswith("writes"):
        return (
            "Write a folder, then copy it there with a tool of that storage, such as "
            "aws s3 cp --recursive"
        )
    return (
        "Copy it to a folder first. mgdask.open_store, featurize, plan and run read "
        f"{', '.join(f'{name}://' for name in REMOTE)} as they are"
    )


def _path_of_file_url(url: str) -> Path:
    text = url if "://" in url else url.replace(":/", ":///", 1)
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise StoreError(
            f"{shown(url)} names the machine {parts.netloc.rpartition('@')[2]!r}; a file:// URL "
            "has three slashes before an absolute path, as in file:///data/glass.zarr"
        )
    return Path(unquote(parts.path))
