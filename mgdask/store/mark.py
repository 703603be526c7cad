"""The mark of a finished store: digests and copies of the files that no block writes.

These files are the metadata (``zarr.json``) and the small arrays: coordinates, cells
and labels. ``complete.json`` in the manifest holds their digests, and one of its own
content. ``kept.zip`` holds a copy of each file and of the mark, from which damaged
files are restored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from mgdask.errors import StoreError
from mgdask.store.durable import replacing
from mgdask.store.failures import COPY_AGAIN, DamagedStoreError, more_damaged
from mgdask.store.location import is_remote, locate
from mgdask.store.provenance import digest
from mgdask.store.remote_path import folder_of

FOLDER = "manifest"
"""Folder of the manifest inside a store."""
COMPLETE = "complete.json"
"""File that exists only while the store is finished."""
KEPT = "kept.zip"
"""File with copies of the metadata, of the small arrays and of the mark."""
DECLARED = "frame_values.ready"
"""Folder with values of frames that are being moved into a finished store."""
METADATA = "zarr.json"
"""File that describes a group or an array."""

Mark: TypeAlias = dict[str, Any]
"""Number of ``blocks``, digest of the ``content``, digests of files by name.

``metadata`` are digests of each zarr.json, ``small`` those of files without a record.
``unsharded`` names the arrays whose files are all in ``small``.
"""

MISSING = "it is missing"
DIFFERENT = "it differs from the file that was written"
FOREIGN = "it was not written by mgdask"
ATTEMPTS, PAUSE = 4, 0.1
"""Number of comparisons of files that may be changing, and pause between them in s."""

_SOUND: dict[str, tuple[str, tuple[Any, ...]]] = {}
"""Digest of the mark and state of the files, for each store already compared."""


def sealed(mark: Mapping[str, Any]) -> str:
    """Return the text of a mark, with the digest of its own content."""
    content = {key: value for key, value in mark.items() if key != "digest"}
    return json.dumps({**content, "digest": digest(content)})


def parse(data: bytes) -> Mark:
    """Return the mark in a file.

    Marks of version 0.1 have no digest of their own content.

    Raises
    ------
    ValueError
        If the file is damaged; the message says how.
    """
    try:
        mark = json.loads(data)
    except ValueError:
        raise ValueError("it is not JSON" if data else "it is empty") from None
    if not isinstance(mark, dict) or not isinstance(mark.get("content"), str):
        raise ValueError("it is not the mark of a finished store")
    content = {key: value for key, value in mark.items() if key != "digest"}
    if "digest" in mark and mark["digest"] != digest(content):
        raise ValueError(DIFFERENT)
    tables = (mark.get(key, {}) for key in ("metadata", "small", "unsharded"))
    if not isinstance(mark.get("blocks"), int) or not all(isinstance(t, dict) for t in tables):
        raise ValueError("it is not the mark of a finished store")
    return mark


def read_mark(store: Path) -> Mark | None:
    """Return the mark of a store, or None if the store is not finished.

    Raises
    ------
    DamagedStoreError
        If the mark is damaged.
    """
    file = folder_of(store) / FOLDER / COMPLETE
    try:
        return parse(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(
            f"{file} cannot be read ({error.strerror}); make the store readable"
        ) from error
    except ValueError as error:
        raise damaged(store, f"{FOLDER}/{COMPLETE}", str(error)) from error


def damaged(store: str | Path, file: str, what: str, n_more: int = 0) -> DamagedStoreError:
    """Return the error for a damaged file of a store, with the command that helps.

    Parameters
    ----------
    store
        The store.
    file
        File inside the store.
    what
        What is wrong with it.
    n_more
        Number of further damaged files.
    """
    if is_remote(store):
        return DamagedStoreError(
            f"{store}/{file} is damaged: {what}{more_damaged(n_more)}. {COPY_AGAIN}"
        )
    return DamagedStoreError(
        f"{Path(store) / file} is damaged: {what}{more_damaged(n_more)}. Repair it with "
        f"mgdask verify {store} --repair"
    )


# Digests


def files_to_mark(
    store: Path, recorded: Collection[str], names: Collection[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the digests of the metadata and of the small files of a store.

    Parameters
    ----------
    store
        The store.
    recorded
        Files that the records of blocks cover, which are left out.
    names
        Arrays to look at. Default: all.

    Returns
    -------
    tables
        Entries ``metadata``, ``small`` and ``unsharded`` of a mark.
    """
    written = {file.split("/")[0] for file in recorded}
    metadata: dict[str, str] = {}
    small: dict[str, str] = {}
    unsharded: dict[str, bool] = {}
    for name in ["", FOLDER, *_array_names(store, names)]:
        file = f"{name}/{METADATA}".lstrip("/")
        with contextlib.suppress(FileNotFoundError):
            metadata[file] = sha256((store / file).read_bytes())
        if file not in metadata or name in ("", FOLDER):
            continue
        if name not in written and not is_sharded(store, name):
            unsharded[name] = True
        for part in _data_files(store, name):
            if part not in recorded:
                small[part] = sha256((store / part).read_bytes())
    tables: dict[str, dict[str, Any]] = {
        "metadata": metadata,
        "small": small,
        "unsharded": unsharded,
    }
    return {key: dict(sorted(table.items())) for key, table in tables.items()}


def sha256(data: bytes) -> str:
    """Return the SHA-256 digest of the content of a file."""
    return hashlib.sha256(data).hexdigest()


def _array_names(store: Path, names: Collection[str] | None) -> list[str]:
    if names is not None:
        return sorted(names)
    with os.scandir(store) as entries:
        return sorted(e.name for e in entries if e.name != FOLDER and e.is_dir())


def is_sharded(store: Path, name: str) -> bool:
    """Return whether an array has shards, from its metadata alone.

    Raises
    ------
    StoreError
        If the metadata are not those of an array.
    """
    try:
        described = json.loads((store / name / METADATA).read_bytes())
        codecs = [codec["name"] for codec in described.get("codecs", [])]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = "it does not describe an array"
        raise damaged(store, f"{name}/{METADATA}", what) from error
    return "sharding_indexed" in codecs


def _data_files(store: Path, name: str) -> Iterator[str]:
    """Yield the files of an array, except metadata and unfinished files."""
    if (store / name / "c").is_file():  # an array without dimensions
        yield f"{name}/c"
    for folder, folders, files in os.walk(store / name / "c"):
        folders.sort()
        for file in sorted(files):
            if not file.endswith(".partial"):
                yield (Path(folder) / file).relative_to(store).as_posix()


# Comparing


def compare(store: Path, mark: Mark) -> dict[str, str]:
    """Compare the metadata and the small files of a store with its mark.

    Parameters
    ----------
    store
        The store.
    mark
        Its mark.

    Returns
    -------
    damages
        What is wrong, by file. Files that a process is changing now are left out.
    """
    metadata, small = dict(mark.get("metadata", {})), dict(mark.get("small", {}))
    damages = {}
    for file, expected in {**metadata, **small}.items():
        try:
            found = sha256((store / file).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            damages[file] = MISSING
        except OSError as error:
            damages[file] = f"it cannot be read ({error.strerror})"
        else:
            if found != expected:
                damages[file] = DIFFERENT
    for name in mark.get("unsharded", {}):
        # a file where the array has none, because it holds only fill values
        damages |= {file: FOREIGN for file in _data_files(store, name) if file not in small}
    if damages:
        changing = _names_being_changed(store)
        damages = {
            f: what
            for f, what in damages.items()
            if f.rpartition("/")[0] not in changing and f.split("/")[0] not in changing
        }
    return damages


def _names_being_changed(store: Path) -> set[str]:
    """Return the arrays that are being moved into a store; "" is the store itself."""
    try:
        described = json.loads((store / FOLDER / DECLARED / METADATA).read_bytes())
        return {"", *described["attributes"]["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def check_sound(path: str | Path, *, replaced: Collection[str] = ()) -> None:
    """Compare metadata and small files of a finished store with its mark.

    Parameters
    ----------
    path
        The store.
    replaced
        Arrays that may be damaged, because the caller replaces them.

    Raises
    ------
    DamagedStoreError
        If a file is missing, differs, or was not written by mgdask.

    Notes
    -----
    Files are read once per process, and again only if their sizes or times change.
    """
    if is_remote(path):
        from mgdask.store.remote import checked_store  # which imports this module, and zarr

        checked_store(locate(path)).check_small()
        return
    store = Path(path)
    for attempt in range(ATTEMPTS):
        mark = read_mark(store)
        if mark is None:
            return
        key, seal = str(store.absolute()), str(mark.get("digest") or digest(mark))
        state = _state(store, mark)
        if _SOUND.get(key) == (seal, state):
            return
        damages = compare(store, mark)
        if damages and all(file.split("/")[0] in replaced for file in damages):
            return
        if not damages:
            _SOUND[key] = seal, state
            return
        if attempt + 1 < ATTEMPTS:  # perhaps values of frames are being attached right now
            time.sleep(PAUSE)
    file, what = next(iter(damages.items()))
    raise damaged(path, file, what, len(damages) - 1)


def check_copied(path: str | Path, content: str, rewritten: Collection[str] = ()) -> None:
    """Compare the files of a store that lost its mark with the copied mark.

    Damaged files must not get new digests, and must not replace the copies.

    Parameters
    ----------
    path
        The store.
    content
        Digest of its content. A copied mark of other content is not compared.
    rewritten
        Arrays that the caller has just written or compared with their source.

    Raises
    ------
    DamagedStoreError
        If a file is missing, differs, or was not written by mgdask.
    """
    store = Path(path)
    mark = copied_mark(store)
    if mark is None or mark["content"] != content or "metadata" not in mark:
        return
    damages = compare(store, mark)
    listed = {file.split("/")[0] for file in mark["metadata"]}
    differing = {file.split("/")[0] for file in damages}
    if set(rewritten) & differing or set(rewritten) - listed:
        damages.pop(METADATA, None)  # the store has attributes about these arrays
    damages = {f: what for f, what in damages.items() if f.split("/")[0] not in rewritten}
    if damages:
        file, what = next(iter(damages.items()))
        raise damaged(path, file, what, len(damages) - 1)


def _state(store: Path, mark: Mark) -> tuple[Any, ...]:
    """Return sizes, times and numbers of the files of a mark and of their folders."""
    files = [*mark.get("metadata", {}), *mark.get("small", {})]
    folders = {parent for file in files for parent in Path(file).parents}
    state: list[tuple[int, ...] | None] = []
    for name in [*files, *sorted(map(str, folders - {Path(), Path(FOLDER)}))]:
        try:
            s = os.stat(store / name)
        except OSError:
            state.append(None)
        else:
            state.append((s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino))
    return tuple(state)


# Copies


def write_copies(store: Path, mark_text: str) -> None:
    """Write copies of the files of a mark, and of the mark itself.

    Parameters
    ----------
    store
        The store.
    mark_text
        Text of its mark, which is about to be written.
    """
    mark = parse(mark_text.encode())
    kept = store / FOLDER / KEPT
    with replacing(kept, kept.with_name(f"{KEPT}.new")) as fresh, open(fresh, "wb") as stream:
        with zipfile.ZipFile(stream, "w") as archive:
            _add(archive, f"{FOLDER}/{COMPLETE}", mark_text.encode())
            for file in [*mark.get("metadata", {}), *mark.get("small", {})]:
                _add(archive, file, (store / file).read_bytes())
        stream.flush()
        os.fsync(stream.fileno())


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    # without timestamps, so that equal stores have equal copies
    archive.writestr(zipfile.ZipInfo(name), data)


def read_copy(store: Path, file: str, expected: str | None = None) -> bytes | None:
    """Return the copy of a file, or None if there is none or it is damaged.

    Parameters
    ----------
    store
        The store.
    file
        File inside the store.
    expected
        Digest that the copy must have. Default: any.
    """
    try:
        with zipfile.ZipFile(store / FOLDER / KEPT) as archive:
            data = archive.read(file)
    except Exception:  # a damaged archive can raise anything
        return None
    return data if expected in (None, sha256(data)) else None


def copied_mark(store: Path) -> Mark | None:
    """Return the copy of the mark of a store, or None if there is none."""
    data = read_copy(store, f"{FOLDER}/{COMPLETE}")
    try:
        return None if data is None else parse(data)
    except ValueError:
        return None


def copies_are_sound(store: Path, mark: Mark) -> bool:
    """Return whether there is a sound copy of every file of a mark, and of itself.

    Parameters
    ----------
    store
        The store.
    mark
        Its mark.
    """
    expected = {**mark.get("metadata", {}), **mark.get("small", {})}
    try:
        with zipfile.ZipFile(store / FOLDER / KEPT) as archive:
            return all(sha256(archive.read(file)) == sum_ for file, sum_ in expected.items()) and (
                parse(archive.read(f"{FOLDER}/{COMPLETE}")) == mark
            )
    except Exception:  # a damaged archive can raise anything
        return False
