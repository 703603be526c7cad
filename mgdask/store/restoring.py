"""Small arrays of a store that is being written: compared with their source.

A store that is not finished has no digests of the files that no block writes. Before
it is finished, these are compared with the input. Damaged ones are written again.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mgdask import variables
from mgdask._typing import AnyArray
from mgdask.errors import StoreError
from mgdask.store.failures import DamagedStoreError, check_cause, explained
from mgdask.store.layout import ROWS_IN_CHUNK
from mgdask.store.manifest import Manifest
from mgdask.store.mark import METADATA, copied_mark
from mgdask.store.open import MADE_BY
from mgdask.store.shards import Array, Group, dimension_names, get_array, open_group, put, root_of

Values: TypeAlias = Mapping[str, tuple[tuple[str, ...], AnyArray]]
"""Dimensions and values of arrays by name."""
Shapes: TypeAlias = Mapping[str, tuple[tuple[str, ...], tuple[int, ...], npt.DTypeLike]]
"""Dimensions, shape and data type of arrays by name."""


def irreparable(store: str | Path, file: str, what: str, kind: str) -> DamagedStoreError:
    """Return the error for a file that no block writes and that has no copy.

    Parameters
    ----------
    store
        The store.
    file
        File inside it.
    what
        What is wrong with it.
    kind
        Kind of the store; "" if unknown.
    """
    command = MADE_BY.get(kind, "the same mgdask command")
    return DamagedStoreError(
        f"{store}: {file} is damaged ({what}), belongs to no block, and has no copy; remove the "
        f"store and make it again with {command}"
    )


def check_described(
    path: str | Path, kind: str, *, rewritten: Collection[str] = (), shapes: Shapes | None = None
) -> None:
    """Check the descriptions of the arrays of a store that was begun.

    Parameters
    ----------
    path
        The store.
    kind
        Its kind.
    rewritten
        Arrays that may be damaged, because the caller writes them again.
    shapes
        What some arrays must be. There may be more frames, if some were appended.

    Raises
    ------
    DamagedStoreError
        If one cannot be read, or describes another array.
    """
    group, expected = open_group(path), shapes or {}
    found = {file.parent.name for file in Path(path).glob(f"*/{METADATA}")}
    for name in sorted((found | set(expected)) - set(rewritten) - {"manifest"}):
        try:
            array = get_array(group, name)
        except StoreError as error:
            if not isinstance(error, DamagedStoreError) or _has_copies(Path(path)):
                raise
            file = f"{name}/{METADATA}"
            raise irreparable(path, file, "it does not describe an array", kind) from error
        if name in expected and not _fits(array, *expected[name]):
            dims, shape, dtype = expected[name]
            raise irreparable(
                path,
                f"{name}/{METADATA}",
                f"it describes an array {dimension_names(array)} of shape {array.shape} and type "
                f"{array.dtype}, not {dims} of shape {shape} and type {np.dtype(dtype)}",
                kind,
            )


def _has_copies(store: Path) -> bool:
    return Manifest(store).completion() is not None or copied_mark(store) is not None


def _fits(
    array: Array, dims: tuple[str, ...], shape: tuple[int, ...], dtype: npt.DTypeLike
) -> bool:
    """Return whether an array is as expected, perhaps with more frames."""
    if dimension_names(array) != dims or array.dtype != np.dtype(dtype):
        return False
    return all(
        have == want or (have > want and dim == "frame")
        for have, want, dim in zip(array.shape, shape, dims, strict=True)
    )


def rewrite_damaged(
    path: str | Path, arrays: Values, kind: str, *, start: int = 0, n_frames: int
) -> list[str]:
    """Write damaged small arrays again; intact ones are not touched.

    Parameters
    ----------
    path
        The store, whose lock the caller holds. It is not finished.
    arrays
        What the arrays must hold. Those with one row per frame begin at ``start``.
    kind
        Kind of the store.
    start
        First frame of the values.
    n_frames
        Number of frames of the store.

    Returns
    -------
    names
        Arrays that were written.

    Raises
    ------
    DamagedStoreError
        If an array also has rows of other frames, which are lost.
    """
    group = open_group(path, mode="r+")
    return [
        name
        for name, (dims, values) in arrays.items()
        if _rewrite(group, name, dims, values, kind, start, n_frames)
    ]


def _rewrite(
    group: Group,
    name: str,
    dims: tuple[str, ...],
    values: AnyArray,
    kind: str,
    start: int,
    n_frames: int,
) -> bool:
    per_frame = dims[0] == "frame"
    rows = slice(start, start + len(values)) if per_frame else slice(None)
    is_whole = not per_frame or (start == 0 and len(values) == n_frames)
    array = None
    try:
        found = get_array(group, name)
        if dimension_names(found) == dims and found.shape[1:] == values.shape[1:]:
            array = found
            if (array.shape == values.shape or not is_whole) and _same(array[rows], values):
                return False
    except Exception as error:  # a damaged file can raise anything
        check_cause(error)
    path = root_of(group)
    if is_whole:
        with explained(path):
            shutil.rmtree(path / name, ignore_errors=True)
        _create(group, name, dims, values)
        return True
    if array is None or array.shape[0] < rows.stop:
        raise irreparable(path, f"{name}/{METADATA}", "it does not describe this array", kind)
    try:
        with explained(path):
            array[rows] = values
    except StoreError:
        raise
    except Exception as error:  # rows of other frames in a damaged chunk
        check_cause(error)
        raise irreparable(path, name, "it cannot be read", kind) from error
    return True


def _create(group: Group, name: str, dims: tuple[str, ...], values: AnyArray) -> None:
    """Create an array as it was created at first."""
    if dims[0] != "frame":
        put(group, name, dims, values)
        return
    chunks = (ROWS_IN_CHUNK, *values.shape[1:])
    put(group, name, dims, values, chunks=chunks, attrs=variables.frame_attrs(name))


def _same(stored: Any, values: AnyArray) -> bool:
    stored = np.asarray(stored)
    if values.dtype.kind in "OUT":
        return [*map(str, stored)] == [*map(str, values)]
    return bool(
        stored.dtype == values.dtype
        and stored.shape == values.shape
        and stored.tobytes() == values.tobytes()
    )
