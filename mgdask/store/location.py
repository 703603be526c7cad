"""Where a store is: a folder of this machine, or a place that a URL names.

A place may be given as a path, as ``file://``, as another URL, or as a Zarr store
object. What reads or writes folders only refuses other places in words, before it reads
or creates anything. A path such as ``memory://q.zarr`` would otherwise become a folder
named ``memory:``.

URLs carry no credentials: the environment and ``storage_options`` do. These options
stay in the memory of processes. They appear in no message, attribute or file.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

from mgdask.errors import ParameterError, StoreError

if TYPE_CHECKING:
    from zarr.abc.store import Store

T = TypeVar("T", bound="str | os.PathLike[str]")

REMOTE = ("s3", "gs", "https", "http", "memory")
"""Schemes of URLs that can name a store."""
OBJECT = "zarr-store"
"""Scheme of the name of a Zarr store object that has no URL."""
EXTRAS = {"s3": 'pip install "mgdask[remote]"', "gs": "pip install gcsfs"}
"""How to install what a scheme needs."""
_INSTEAD = {"gcs": "gs", "az": "", "abfs": "", "adl": "", "ftp": "", "sftp": "", "hdfs": ""}
_LOCAL = ("file", "local")
_URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.:-]+)://(.*)$", re.DOTALL)
# pathlib joins the two slashes
_AS_PATH = re.compile(rf"^({'|'.join((*REMOTE, *_LOCAL, *_INSTEAD))}):/(?!/)(.*)$")


@dataclass(frozen=True)
class Location:
    """Where a store is; a process that unpickles it uses its options.

    Parameters
    ----------
    url
        The place, for messages: a path, or a URL without credentials.
    path
        The folder; None for a place elsewhere.
    options
        ``storage_options`` of fsspec, which may hold credentials.
    store
        Zarr store object that was given instead of a URL.
    """

    url: str
    path: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    store: Store | None = field(default=None, repr=False, compare=False)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.path is not None

    @property
    def place(self) -> str | Path:
        """The place as functions take it: the folder, or the URL."""
        return Url(self) if self.path is None else self.path

    def __reduce__(self) -> tuple[Any, ...]:
        return _known_again, (self.url, self.path, dict(self.options), self.store)


class Url(str):
    """The URL of a store, which takes its options along when it is pickled.

    So every task that names a store can open it. As text, it has no credentials.

    Parameters
    ----------
    location
        The store.
    """

    location: Location

    def __new__(cls, location: Location) -> Url:
        """Return the URL of a location."""
        url = super().__new__(cls, location.url)
        url.location = location
        return url

    def __str__(self) -> str:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Url, (self.location,)


Place: TypeAlias = "str | Path | Store"
"""What names a store: a path, a URL, or a Zarr store object."""

_KNOWN: dict[str, Location] = {}
_KNOWING = threading.Lock()


def _known_again(
    url: str, path: Path | None, options: Mapping[str, Any], store: Store | None
) -> Location:
    """Return the location that was pickled, and remember its options."""
    location = Location(url, path, options, store)
    return location if location.is_local else _remember(location)


def _remember(location: Location) -> Location:
    """Let ``locate`` find options and store of a URL again."""
    with _KNOWING:
        _KNOWN[location.url] = location
    return location


def locate(
    place: str | os.PathLike[str] | Store, storage_options: Mapping[str, Any] | None = None
) -> Location:
    """Return where a store is.

    Parameters
    ----------
    place
        A path, a URL, or a Zarr store object.
    storage_options
        Options of fsspec for a URL, such as credentials. Default: those with which this
        process opened the URL last, or else the environment.

    Raises
    ------
    StoreError
        If the scheme of the URL is not supported.
    ParameterError
        If ``place`` is something else, or has options that it cannot use.
    """
    known = getattr(place, "location", None)  # of a ``RemotePath`` or ``CheckedStore``
    if isinstance(known, Location):
        return known
    if not isinstance(place, str | os.PathLike):
        return _of_store(place, storage_options)
    scheme = scheme_of(place)
    if scheme in ("", *_LOCAL):
        if storage_options:
            raise ParameterError(
                f"storage_options= is for URLs, not for the folder {shown(place)}; leave it out"
            )
        path = local_path(place, "")
        return Location(str(path), path)
    url = _checked_url(os.fsdecode(place), scheme)
    if storage_options is None and url in _KNOWN:
        return _KNOWN[url]
    return _remember(Location(url, None, dict(storage_options or {})))


def place_of(place: Place, storage_options: Mapping[str, Any] | None = None) -> str | Path:
    """Return a place as the functions of this room take it.

    Parameters
    ----------
    place, storage_options
        As in ``locate``.

    Returns
    -------
    place
        A path as it was given, the path of a ``file://``, or a ``Url``.
    """
    if isinstance(place, str | Path) and not scheme_of(place) and not storage_options:
        return place
    return locate(place, storage_options).place


def _of_store(place: Any, storage_options: Mapping[str, Any] | None) -> Location:
    """Return the location of a Zarr store object."""
    from mgdask.store.remote import url_of_store

    if storage_options:
        raise ParameterError(
            "storage_options= is for URLs; a Zarr store object has its own options"
        )
    url = url_of_store(place)
    if not scheme_of(url):
        return Location(url, Path(url))
    return _remember(Location(url, None, {}, place))


def _checked_url(text: str, scheme: str) -> str:
    """Return a URL in its usual form; refuse credentials in it and unknown schemes."""
    url = shown(text).rstrip("/")
    if scheme not in (*REMOTE, OBJECT):
        hint = f" Write {_INSTEAD[scheme]}://." if _INSTEAD.get(scheme) else ""
        raise StoreError(
            f"{url}: {scheme}:// is not supported.{hint} Stores are read from paths, file://, "
            f"{', '.join(f'{name}://' for name in REMOTE)} and from Zarr store objects"
        )
    if scheme == OBJECT and url not in _KNOWN:
        raise StoreError(f"{url} was a Zarr store object of another process; open it again")
    authority, _, query = text.partition("://")[2].partition("?")
    if query or "#" in text or "@" in authority.partition("/")[0]:
        raise StoreError(
            f"{url}: the URL that was given also has a user, a password, a query or a fragment. "
            "Give credentials in the environment or as storage_options= instead: URLs are written "
            "to files and messages"
        )
    return url


def scheme_of(place: object) -> str:
    """Return the scheme of a URL, in lower case; an empty string for a path.

    Parameters
    ----------
    place
        A path or URL. ``Path("s3://bucket/a")`` counts as a URL.
    """
    place = getattr(place, "url", place)
    if not isinstance(place, str | os.PathLike):
        return ""
    text = os.fsdecode(place)
    found = _URL.match(text) or _AS_PATH.match(text)
    return found[1].lower() if found else ""


def is_remote(place: object) -> bool:
    """Return whether a place is not a folder of this machine.

    Parameters
    ----------
    place
        A path or URL.
    """
    return scheme_of(place) not in ("", *_LOCAL)


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
    return f"{scheme.lower()}://{host.rpartition('@')[2]}{slash}{below}"


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
