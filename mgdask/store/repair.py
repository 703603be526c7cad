"""Compare the files that no block writes with the mark of a store, and restore them.

These are the metadata, the small arrays, the records and the mark itself. Damaged ones
are replaced by the copies that were kept when the store was finished.
"""

from __future__ import annotations

import json
from pathlib import Path

from mgdask.errors import StoreError
from mgdask.store.appends import last_digest_in
from mgdask.store.checks import WHOLE, Damage
from mgdask.store.durable import flush_folder, write_file
from mgdask.store.failures import DamagedStoreError, explained
from mgdask.store.manifest import JOINED, Manifest, content_of
from mgdask.store.mark import (
    COMPLETE,
    FOLDER,
    FOREIGN,
    KEPT,
    METADATA,
    MISSING,
    Mark,
    compare,
    copied_mark,
    copies_are_sound,
    read_copy,
    read_mark,
    sealed,
    write_copies,
)
from mgdask.store.open import KINDS
from mgdask.store.shards import open_group
from mgdask.store.structure import DIGESTS

MARK_FILE = f"{FOLDER}/{COMPLETE}"
COPIES_FILE = f"{FOLDER}/{KEPT}"
RECORDS_FILE = f"{FOLDER}/{JOINED}"


def kind_of(path: str | Path) -> str:
    """Return the kind of a store, even if its description is damaged; "" if unknown.

    Parameters
    ----------
    path
        The store.
    """
    store = Path(path)
    kept = read_copy(store, METADATA) or b""
    for read in ((store / METADATA).read_bytes, lambda: kept):
        try:
            kind = json.loads(read())["attributes"]["mgdask_kind"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if kind in KINDS:
            return str(kind)
    return ""


def check_written_by_mgdask(path: str | Path) -> None:
    """Raise ``StoreError`` if a folder is neither a store of mgdask nor was one.

    Parameters
    ----------
    path
        The store.
    """
    if not kind_of(path) and not (Path(path) / FOLDER).is_dir():
        open_group(path)  # it may not even be a group
        raise StoreError(
            f"{path} is a Zarr group, but not one that mgdask wrote; there are no records to "
            "compare with"
        )


def is_finished(path: str | Path) -> bool:
    """Return whether a store has a sound mark.

    Parameters
    ----------
    path
        The store.
    """
    try:
        return read_mark(Path(path)) is not None
    except StoreError:
        return False


def find_damaged_files(path: str | Path) -> list[Damage]:
    """Compare the files that no block writes with the mark of a store.

    Parameters
    ----------
    path
        The store. The mark was written when it was finished; an unfinished store has
        none, so its metadata and small arrays are not compared.

    Returns
    -------
    damages
        Files that are missing, differ, or do not belong to the store.
    """
    store = Path(path)
    if not (store / FOLDER).is_dir():
        return [Damage(FOLDER, None, WHOLE, "it is missing, and with it all records")]
    found: dict[str, str] = {}
    try:
        mark, is_sound = read_mark(store), True
    except DamagedStoreError as error:
        found[MARK_FILE] = _reason(error)
        mark, is_sound = copied_mark(store), False
    if mark is None and MARK_FILE not in found and (lost := _lost_mark(store)) is not None:
        found[MARK_FILE] = MISSING
        mark, is_sound = lost, False
    if mark is not None:
        damages = compare(store, mark)
        copied = copied_mark(store) if damages and is_sound else None
        if copied is not None and copied != mark:
            differing = compare(store, copied)
            if len(differing) < len(damages):
                # a process was killed after it had changed the store, before it marked
                # it; or the mark is that of another store
                found[MARK_FILE] = "the other files of the store fit the copy of it better"
                damages, mark = differing, copied
        found |= damages
        if "metadata" in mark and not copies_are_sound(store, mark):
            found[COPIES_FILE] = "copies in it are missing or differ"
    found |= _compare_records(store, mark)
    return [Damage(file, None, WHOLE, what) for file, what in found.items()]


def _lost_mark(store: Path) -> Mark | None:
    """Return the copied mark of a store that has lost its mark, but no block."""
    mark = copied_mark(store)
    try:
        attrs = json.loads(read_copy(store, METADATA) or b"")["attributes"]
        identity = str(attrs[DIGESTS[attrs["mgdask_kind"]]])
        if attrs["mgdask_kind"] == "trajectory":
            identity = f"{identity} {last_digest_in(attrs)}"
        content = content_of(identity, Manifest(store).records())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return mark if mark is not None and mark["content"] == content else None


def _reason(error: DamagedStoreError) -> str:
    return str(error).partition(" is damaged: ")[2].partition(". Repair it with")[0]


def _compare_records(store: Path, mark: Mark | None) -> dict[str, str]:
    manifest = Manifest(store)
    n_damaged = manifest.count_damaged_records()
    if n_damaged:
        return {RECORDS_FILE: f"{n_damaged} of its lines are damaged"}
    n_records = len(manifest.records())
    if mark is not None and n_records != mark["blocks"]:
        return {RECORDS_FILE: f"it has {n_records} records instead of {mark['blocks']}"}
    return {}


def put_back(path: str | Path, damages: list[Damage]) -> tuple[list[str], list[Damage]]:
    """Restore damaged files from their copies.

    Parameters
    ----------
    path
        The store, whose lock the caller holds.
    damages
        What ``find_damaged_files`` found.

    Returns
    -------
    restored
        Files that were restored.
    rest
        Damages that no copy can repair.

    Notes
    -----
    A damaged mark without a sound copy is removed. The store is then unfinished, and
    the command that made it marks it again. Lost records are dropped likewise.
    """
    store, files = Path(path), {damage.file: damage for damage in damages}
    restored: list[str] = []
    with explained(store):
        if FOLDER in files:
            Manifest(store).create()
            return [], []
        if MARK_FILE in files:
            copied = copied_mark(store)
            if copied is None:
                Manifest(store).reopen()
            else:
                _replace(store / MARK_FILE, sealed(copied).encode())
                restored.append(MARK_FILE)
        mark = read_mark(store) or {}
        expected = {**mark.get("metadata", {}), **mark.get("small", {})}
        for file, damage in files.items():
            if file in expected:
                data = read_copy(store, file, expected[file])
                if data is not None:
                    _replace(store / file, data)
                    restored.append(file)
            elif damage.what == FOREIGN:
                (store / file).unlink(missing_ok=True)
                restored.append(file)
        if RECORDS_FILE in files:
            Manifest(store).drop(())
        if COPIES_FILE in files and mark and not compare(store, mark):
            write_copies(store, sealed(mark))
            restored.append(COPIES_FILE)
    done = {*restored, MARK_FILE, RECORDS_FILE}
    return restored, [damage for damage in damages if damage.file not in done]


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)
    flush_folder(path.parent)
