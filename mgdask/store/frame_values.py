"""Values of whole frames, such as the temperature, added to a finished store.

They are arrays (frame,) that no block writes. They are not part of the content digest
of the store, so results computed from it stay valid. A result that depends on such a
value records its ``values_digest``.

New values are written to a folder of the manifest and then moved into place. The move
is prepared completely, declared by a single rename, and can be repeated. A process that
is killed therefore leaves either all old values, or a declared move that the next
writer finishes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from mgdask import variables
from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import StoreError
from mgdask.store.attributes import COORDINATES, encoded
from mgdask.store.durable import flush_file
from mgdask.store.failures import check_cause, explained
from mgdask.store.layout import ROWS_IN_CHUNK
from mgdask.store.manifest import Manifest
from mgdask.store.mark import DECLARED, check_sound
from mgdask.store.open import changed
from mgdask.store.shards import (
    Array,
    dimension_names,
    get_array,
    new_group,
    open_group,
    put,
    read_array,
)

STAGED = "frame_values.partial"
"""Folder in the manifest in which new values are prepared, then ``DECLARED``."""
COPIED = "copied from the trajectory"
"""Attribute ``source`` of values in a store that were copied from its input."""


def names(group: zarr.Group) -> tuple[str, ...]:
    """Return the names of the values of frames in a store, in alphabetical order.

    Parameters
    ----------
    group
        Group of the store.
    """
    return tuple(sorted(name for name, array in group.arrays() if _is_value(name, array)))


def _is_value(name: str, array: Array) -> bool:
    return (
        name not in (*variables.VARIABLES, "frame")
        and dimension_names(array) == ("frame",)
        and array.dtype.kind in "fiub"
    )


def read(group: zarr.Group, *, skip_damaged: bool = False) -> dict[str, FloatArray]:
    """Return the values of frames of a store by name, each (frame,).

    Parameters
    ----------
    group
        Group of the store. Frames without a value are NaN.
    skip_damaged
        Leave out arrays that cannot be read, because they will be replaced.
    """
    values = {}
    for name in names(group):
        try:
            values[name] = read_array(group, name).astype(np.float64)
        except Exception as error:  # a damaged file can raise anything
            check_cause(error)
            if not skip_damaged:
                raise
    return values


def read_one(group: zarr.Group, name: str) -> FloatArray | None:
    """Return one of the values of frames (frame,), or None if the store lacks it.

    Parameters
    ----------
    group
        Group of the store.
    name
        Name of the variable.
    """
    if name not in group or not _is_value(name, get_array(group, name)):
        return None
    return read_array(group, name).astype(np.float64)


def attrs(group: zarr.Group, name: str) -> dict[str, Any]:
    """Return the attributes of an array of a store; empty if it does not exist."""
    return dict(get_array(group, name).attrs) if name in group else {}


def values_digest(values: AnyArray) -> str:
    """Return the SHA-256 digest of values (frame,).

    Parameters
    ----------
    values
        Numbers; all NaN are treated as equal.
    """
    numbers = np.array(values, dtype=np.float64)
    numbers[np.isnan(numbers)] = np.nan
    return hashlib.sha256(numbers.tobytes()).hexdigest()


def check_values_unchanged(path: str | Path, digests: Mapping[str, str]) -> None:
    """Raise ``SourceChangedError`` if values of a store differ from those expected.

    Parameters
    ----------
    path
        The store.
    digests
        Expected digests by name, as returned by ``values_digest``.
    """
    group = open_group(path)
    for name, expected in digests.items():
        values = read_one(group, name)
        if values is None or values_digest(values) != expected:
            raise changed(f"{path} ({name} of its frames)")


def copy(source: zarr.Group, path: str | Path, frames: IntArray | None = None) -> None:
    """Copy values of frames to a store that was made from a trajectory.

    Values that were copied before are updated.

    Parameters
    ----------
    source
        Group of the trajectory.
    path
        The other store, whose lock the caller holds.
    frames
        Frames of the trajectory that the other store has. Default: all.

    Raises
    ------
    StoreError
        If different values were attached to that store directly.
    """
    finish_pending(path)
    check_sound(path)
    arrays = _to_copy(source, path, frames)
    if arrays:
        write(path, arrays, {})


def check_copy(source: zarr.Group, path: str | Path, frames: IntArray | None = None) -> None:
    """Raise ``StoreError`` if ``copy`` would. Nothing is written.

    Parameters
    ----------
    source, path, frames
        As in ``copy``.
    """
    _to_copy(source, path, frames)


def _to_copy(
    source: zarr.Group, path: str | Path, frames: IntArray | None
) -> dict[str, tuple[FloatArray, Mapping[str, Any]]]:
    """Return the values to copy, with their attributes."""
    target = open_group(path)
    present = read(target, skip_damaged=True)
    arrays: dict[str, tuple[FloatArray, Mapping[str, Any]]] = {}
    for name, everywhere in read(source).items():
        values = everywhere if frames is None else everywhere[frames]
        if name in present:
            if np.array_equal(values, present[name], equal_nan=True):
                continue
            if attrs(target, name).get("source") != COPIED:
                raise StoreError(
                    f"{path} and the trajectory it was made from differ in {name}, which was "
                    "attached to it directly. Choose another name for the output, or remove it"
                )
        arrays[name] = values, {**attrs(source, name), "source": COPIED}
    return arrays


def write(
    path: str | Path,
    arrays: Mapping[str, tuple[FloatArray, Mapping[str, Any]]],
    store_attrs: Mapping[str, Any],
) -> None:
    """Write values of frames; after a crash, either all or none of them are present.

    Parameters
    ----------
    path
        The store, whose lock the caller holds.
    arrays
        Values (frame,) and attributes by name. They replace arrays with these names.
    store_attrs
        Attributes to add to the store.
    """
    finish_pending(path)
    folder = Manifest(path).folder
    staged = folder / STAGED
    group = new_group(staged, {}, overwrite=True)
    for name, (values, array_attrs) in arrays.items():
        put(group, name, ("frame",), values, chunks=(ROWS_IN_CHUNK,), attrs=array_attrs)
    files = {
        name: [file.relative_to(staged / name).as_posix() for file in _files(staged / name)]
        for name in arrays
    }
    about = {**store_attrs, **_coordinates(open_group(path), arrays)}
    group.attrs.update({"files": files, "store_attrs": encoded(about)})
    with explained(path):
        for file in _files(staged):
            flush_file(file)
        os.rename(staged, folder / DECLARED)
    finish_pending(path)


def _coordinates(group: zarr.Group, names: Iterable[str]) -> dict[str, str]:
    """Return the attr of the coordinates of a store of features with further names."""
    if group.attrs.get("mgdask_kind") != "features" or COORDINATES not in group.attrs:
        return {}
    listed = str(group.attrs[COORDINATES]).split()
    return {COORDINATES: " ".join(dict.fromkeys((*listed, *names)))}


def finish_pending(path: str | Path) -> bool:
    """Finish the move of an interrupted writer, and remove its leftovers.

    Parameters
    ----------
    path
        The store, whose lock the caller holds.

    Returns
    -------
    finished
        Whether there was anything to finish.
    """
    store, folder = Path(path), Manifest(path).folder
    staged, declared = folder / STAGED, folder / DECLARED
    with explained(path):
        shutil.rmtree(staged, ignore_errors=True)
        if not declared.exists():
            return False
        journal: Any = dict(open_group(declared).attrs)
        for name, files in journal["files"].items():
            _move_array(declared / name, store / name, files)
        open_group(path, mode="r+").attrs.update(encoded(journal["store_attrs"]))
        Manifest(path).update(journal["files"])
        os.rename(declared, staged)
        shutil.rmtree(staged)
    return True


def _move_array(source: Path, target: Path, files: list[str]) -> None:
    """Move an array into a store; an earlier attempt may have moved a part of it."""
    if not target.exists():
        os.rename(source, target)
        return
    # chunks before metadata, which must never describe chunks that are still missing
    for file in sorted(files, key=lambda name: (name == "zarr.json", name)):
        if (source / file).exists():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(source / file, target / file)
    for left in _files(target):
        if left.relative_to(target).as_posix() not in files:
            left.unlink()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
