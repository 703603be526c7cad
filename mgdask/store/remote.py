"""Reading stores elsewhere through zarr's own stores, with every object checked.

For Zarr, a chunk without an object holds fill values, so a deleted object would read
as NaN. ``CheckedStore`` therefore stands between Zarr and the place. It knows from the
mark and the records of a finished store which objects there must be. Metadata and small
arrays are compared with their digests. Shards must exist, and give as many bytes as
were asked for. ``sources`` also compares their sizes and seals.

Nothing is listed, because ``https://`` cannot: the names are those of the mark.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.common import concurrent_map
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, ObjectStore, WrapperStore

from mgdask.errors import MgdaskError, ParameterError, StoreError
from mgdask.store.failures import COPY_AGAIN, DamagedStoreError, check_cause
from mgdask.store.location import EXTRAS, OBJECT, Location
from mgdask.store.mark import COMPLETE, DIFFERENT, FOLDER, METADATA, MISSING, damaged, parse, sha256

T = TypeVar("T")

N_REQUESTS = 32
"""Maximum number of requests at the same time."""
MAX_STORES = 32
"""Maximum number of stores whose records a process keeps."""
SECRET_LENGTH = 4
"""Minimum length of an option that is removed from messages."""


# Requests


def zarr_store(location: Location) -> Store:
    """Return the Zarr store of a location, which checks nothing.

    Raises
    ------
    StoreError
        If a package is missing, or the place cannot be used. The message names it.
    """
    if location.store is not None:
        sync(location.store._ensure_open())  # a ZipStore is opened by get, but not by getsize
        return location.store
    scheme = location.url.partition("://")[0]
    # a listing that is kept would hide that objects were deleted or replaced
    options = {"use_listings_cache": False, **location.options}
    with explained_request(location, ""):
        try:
            return FsspecStore.from_url(location.url, storage_options=options, read_only=False)
        except ImportError as error:
            how = EXTRAS.get(scheme, f"pip install {error.name or 'aiohttp'}")
            raise StoreError(
                f"{location.url}: {scheme}:// needs a package that is missing ({error}). "
                f"Install it: {how}"
            ) from error


def url_of_store(store: Any) -> str:
    """Return the URL of a Zarr store object, or a name for it if it has none.

    Parameters
    ----------
    store
        The object. A folder of this machine gets its path.

    Raises
    ------
    ParameterError
        If it is not a Zarr store.
    """
    if isinstance(store, LocalStore):
        return str(store.root)
    if isinstance(store, FsspecStore):
        named = store.fs.protocol
        protocol = named if isinstance(named, str) else named[0]
        if protocol in ("http", "https"):  # whose paths are URLs
            return store.path.partition("?")[0].rstrip("/")
        inner = getattr(store.fs, "sync_fs", None)
        if inner is not None:
            protocol = inner.protocol if isinstance(inner.protocol, str) else inner.protocol[0]
        return f"{protocol}://{store.path.strip('/')}".replace("gcs://", "gs://")
    if isinstance(store, ObjectStore):
        below = store.store
        bucket = dict(getattr(below, "config", None) or {}).get("bucket")
        kind = {"S3Store": "s3", "GCSStore": "gs"}.get(type(below).__name__)
        if bucket and kind:
            return f"{kind}://{bucket}/{getattr(below, 'prefix', None) or ''}".rstrip("/")
        if (url := getattr(below, "url", None)) is not None:
            parts = urlsplit(str(url))
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
    if isinstance(store, Store):
        return f"{OBJECT}://{type(store).__name__}-{id(store):x}"
    raise ParameterError(
        f"{store!r:.80} is a {type(store).__name__}; give a path, a URL or a Zarr store object"
    )


def read(location: Location, key: str) -> bytes | None:
    """Return an object; None if there is none.

    Parameters
    ----------
    location
        The store.
    key
        Name inside it.
    """
    with explained_request(location, key):
        data = sync(zarr_store(location).get(key, default_buffer_prototype()))
    return None if data is None else data.to_bytes()


def read_parts(
    location: Location, key: str, parts: Sequence[tuple[int, int]], size: int
) -> list[bytes]:
    """Return parts of an object, all requested at once.

    Parameters
    ----------
    location, key
        As in ``read``.
    parts
        First and last (exclusive) byte of each part.
    size
        Size of the object in bytes.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    """
    store = zarr_store(location)

    async def part(first: int, last: int) -> Buffer:
        request = RangeByteRequest(first, last)
        data = await store.get(key, default_buffer_prototype(), request)
        if data is None:
            raise FileNotFoundError(2, "No such object", f"{location.url}/{key}")
        return _exactly(data, request, size, f"{location.url}/{key}")

    with explained_request(location, key):
        found = sync(concurrent_map(list(parts), part, N_REQUESTS))
    return [data.to_bytes() for data in found]


def state(location: Location, key: str) -> tuple[int, int, int] | None:
    """Return what changes whenever an object is replaced; None without an object.

    It is the number of its version (ETag or time), and its size in bytes.
    """
    return states(location, [key])[0]


def states(location: Location, keys: Sequence[str]) -> list[tuple[int, int, int] | None]:
    """Return the states of several objects, all requested at once."""
    store = zarr_store(location)
    with explained_request(location, keys[0] if keys else ""):
        return list(sync(concurrent_map([(key,) for key in keys], _asker(store), N_REQUESTS)))


def _asker(store: Store) -> Any:
    async def ask(key: str) -> tuple[int, int, int] | None:
        try:
            version, size = await _version(store, key)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        number = int.from_bytes(hashlib.blake2b(version.encode(), digest_size=8).digest(), "big")
        return number, size, 0

    return ask


async def _version(store: Store, key: str) -> tuple[str, int]:
    """Return what identifies a version of an object, and its size."""
    if isinstance(store, ObjectStore):
        import obstore

        head = await obstore.head_async(store.store, key)
        return str(head["e_tag"] or head["last_modified"]), int(head["size"])
    if isinstance(store, FsspecStore):
        about = await store.fs._info(f"{store.path}/{key}".rstrip("/"))
        if about.get("type") == "directory":
            raise IsADirectoryError(key)
        names = ("ETag", "etag", "LastModified", "Last-Modified", "updated", "mtime", "created")
        version = next((str(about[name]) for name in names if about.get(name)), "")
        if about.get("size") is not None:
            return version, int(about["size"])
    return "", await store.getsize(key)


@contextmanager
def explained_request(location: Location, key: str) -> Iterator[None]:
    """Explain why a place cannot be read or written.

    Parameters
    ----------
    location
        The place.
    key
        Name of an object in it.

    Raises
    ------
    StoreError
        If the body raises anything but an ``MgdaskError`` or a missing object. It shows
        no credentials.
    """
    try:
        yield
    except (MgdaskError, MemoryError, FileNotFoundError, FileExistsError):
        raise
    except Exception as error:  # libraries of storage raise various errors
        if not isinstance(error, PermissionError):
            check_cause(error)
        where = f"{location.url}/{key}" if key else location.url
        refused = isinstance(error, PermissionError) or type(error).__name__ in _REFUSED
        advice = (
            "Check the credentials (environment or storage_options=) and whether they have expired"
            if refused
            else "Check the address, the credentials (environment or storage_options=) and the "
            "network, then run the same again"
        )
        what = without_secrets(f"{type(error).__name__}: {error}", location.options)
        # the original error may show credentials, and would be printed below this one
        raise StoreError(f"{where} cannot be reached ({what}). {advice}") from None


_REFUSED = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "TokenRetrievalError",
    "PermissionDeniedError",
    "UnauthenticatedError",
)
"""Errors of libraries about credentials."""


def without_secrets(text: str, options: Mapping[str, Any]) -> str:
    """Return the text of an error without credentials, on one line and not too long.

    Parameters
    ----------
    text
        The text.
    options
        ``storage_options``; all texts in them are removed.
    """
    for secret in sorted(_texts(options), key=len, reverse=True):
        text = text.replace(secret, "...")
    text = re.sub(r"(://)[^/\s@]+@", r"\1", text)
    text = re.sub(r"(\w+://[^\s?'\"]+)\?[^\s'\"]*", r"\1", text)
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:297]}..."


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str) and len(value) >= SECRET_LENGTH and "://" not in value:
        yield value


def _exactly(data: Buffer, request: ByteRequest | None, size: int, where: str) -> Buffer:
    """Return the bytes that were asked for; some servers answer with all of them."""
    first, last = _bounds(request, size)
    if len(data) == last - first:
        return data
    if len(data) == size:
        return data[first:last]
    raise DamagedStoreError(
        f"{where} gave {len(data)} bytes instead of {last - first}: it was changed or truncated, "
        "or was transferred in part"
    )


def _bounds(request: ByteRequest | None, size: int) -> tuple[int, int]:
    if isinstance(request, RangeByteRequest):
        return min(request.start, size), min(request.end, size)
    if isinstance(request, OffsetByteRequest):
        return min(request.offset, size), size
    if isinstance(request, SuffixByteRequest):
        return max(size - request.suffix, 0), size
    return 0, size


# Reading with records


class CheckedStore(WrapperStore[Store]):
    """A finished store whose objects are compared with its mark when they are read.

    It is read-only. Use ``checked_store``.

    Parameters
    ----------
    location
        The store.
    small
        SHA-256 digests of metadata and small arrays by name.
    sizes
        Sizes in bytes of the files of shards by name.
    finished
        Whether there is a mark. Otherwise only metadata can be read.
    """

    def __init__(
        self, location: Location, small: Mapping[str, str], sizes: Mapping[str, int], finished: bool
    ) -> None:
        super().__init__(zarr_store(location))
        self.location, self._small, self._sizes, self._finished = location, small, sizes, finished
        self._arrays = {file.partition("/")[0] for file in sizes}
        self._read: dict[str, Buffer] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return checked_store, (self.location,)

    def __repr__(self) -> str:
        return f"CheckedStore({self.location.url!r})"

    __str__ = __repr__

    @property
    def read_only(self) -> bool:
        """Always true."""
        return True

    def with_read_only(self, read_only: bool = False) -> CheckedStore:
        """Return the store itself."""
        return self

    def _check_writable(self) -> None:
        raise StoreError(f"{self.location.url} is opened for reading")

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object or a part of it; None if there must not be one."""
        if key in self._small:
            whole = await self._compared(key, prototype)
            first, last = _bounds(byte_range, len(whole))
            return whole[first:last]
        if key in self._sizes:
            return await self._shard(key, prototype, byte_range)
        if not self._finished:
            if key.endswith(METADATA):
                return await self._fetch(key, prototype, byte_range)
            raise self._no_mark()
        name, _, rest = key.partition("/")
        if name in self._arrays and rest.startswith("c/"):
            raise self._damaged(key, "has no record, so it belongs to another store")
        return None

    async def _compared(self, key: str, prototype: BufferPrototype) -> Buffer:
        """Return a small object; raise an error if it is not as it was written."""
        if key not in self._read:
            data = await self._fetch(key, prototype, None)
            if data is None:
                raise damaged(self.location.url, key, MISSING)
            if sha256(data.to_bytes()) != self._small[key]:
                raise damaged(self.location.url, key, DIFFERENT)
            self._read[key] = data
        return self._read[key]

    async def _shard(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None
    ) -> Buffer | None:
        size = self._sizes[key]
        if not size:  # it holds only fill values
            return None
        data = await self._fetch(key, prototype, byte_range)
        if data is None:
            raise self._damaged(key, "is missing")
        return _exactly(data, byte_range, size, f"{self.location.url}/{key}")

    async def _fetch(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None
    ) -> Buffer | None:
        with explained_request(self.location, key):
            return await self._store.get(key, prototype, byte_range)

    def _no_mark(self) -> StoreError:
        hint = ". memory:// exists only in the process that wrote it"
        return StoreError(
            f"{self.location.url} cannot be read here: {FOLDER}/{COMPLETE} is missing, which is "
            f"written last{hint if self.location.url.startswith('memory:') else ''}"
        )

    def _damaged(self, key: str, what: str) -> DamagedStoreError:
        return DamagedStoreError(f"{self.location.url}: the file {key} {what}. {COPY_AGAIN}")

    def check_small(self) -> None:
        """Compare all metadata and small arrays with their digests, at once.

        Raises
        ------
        DamagedStoreError
            If one is missing or differs.
        """
        prototype = default_buffer_prototype()
        keys = [(key, prototype) for key in self._small if key not in self._read]
        sync(concurrent_map(keys, self._compared, N_REQUESTS))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of objects, as ``get`` does."""
        requests = [(key, prototype, part) for key, part in key_ranges]
        return list(await concurrent_map(requests, self.get, N_REQUESTS))

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> Any:
        for request in requests:
            yield request[0], await self.get(*request)

    async def exists(self, key: str) -> bool:
        """Return whether there must be an object."""
        return key in self._small or bool(self._sizes.get(key))

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a folder: those of the mark and the records."""
        below = f"{prefix.strip('/')}/".lstrip("/")
        names = (*self._small, *self._sizes)
        inside = {n[len(below) :].partition("/")[0] for n in names if n.startswith(below)}
        for name in sorted(inside):
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the objects whose names begin with a prefix."""
        for name in (*self._small, *self._sizes):
            if name.startswith(prefix):
                yield name

    def list(self) -> AsyncIterator[str]:
        """Yield all objects."""
        return self.list_prefix("")


_OPENED: dict[str, tuple[Any, CheckedStore]] = {}
_OPENING = threading.Lock()


def checked_store(location: Location) -> CheckedStore:
    """Return the Zarr store of a location, with its mark and records.

    They are read once per process, unless the store changes.

    Parameters
    ----------
    location
        The store.

    Raises
    ------
    StoreError
        If the place cannot be reached, or mark or records are damaged.
    """
    mark_key = f"{FOLDER}/{COMPLETE}"
    with _OPENING:
        now = state(location, mark_key), location.options, location.store
        known = _OPENED.pop(location.url, None)
        if known is None or known[0] != now:
            known = now, _read_store(location, mark_key)
        _OPENED[location.url] = known
        while len(_OPENED) > MAX_STORES:
            _OPENED.pop(next(iter(_OPENED)))
    return known[1]


def _read_store(location: Location, mark_key: str) -> CheckedStore:
    from mgdask.store.manifest import Manifest  # which imports this module

    data = read(location, mark_key)
    if data is None:
        return CheckedStore(location, {}, {}, finished=False)
    try:
        mark = parse(data)
    except ValueError as error:
        raise damaged(location.url, mark_key, str(error)) from error
    if "metadata" not in mark:
        raise StoreError(
            f"{location.url} was finished by version 0.1, which kept no digests of metadata. Run "
            "mgdask verify on the original, which adds them, then copy it again"
        )
    records = Manifest(location.url).records()
    if len(records) != mark["blocks"]:
        raise damaged(
            location.url,
            f"{FOLDER}/blocks.jsonl",
            f"it has {len(records)} records of {mark['blocks']} blocks",
        )
    sizes: dict[str, int] = {}
    for record in records.values():
        sizes.update(record.get("files") or {})
    return CheckedStore(location, {**mark["metadata"], **mark["small"]}, sizes, finished=True)
