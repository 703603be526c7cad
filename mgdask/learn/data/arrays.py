"""Checks of plain arrays that the room of learning shares, and blocks of rows that keep memory bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Matrix = npt.NDArray[Any]
Label = str | int | float

BLOCK_BYTES = 2**26
"""Bytes of one float64 block of rows; a few such blocks are alive at a time."""


def generator(seed: int) -> np.random.Generator:
    """NumPy's generator from a whole number; anything else is refused, so that a card can store the seed."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ParameterError(
            f"seed={seed!r} must be a whole number, 0 or above; write one down, such as seed=1"
        )
    return np.random.default_rng(int(seed))


def vector(name: str, values: npt.ArrayLike, length: int | None = None) -> Float:
    """``values`` as float64 (n,) without NaN or infinity, of ``length`` where given, at least one."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be numbers, one a row; {error}") from None
    _one_dimensional(name, array, length)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ParameterError(
            f"{name}[{bad[0]}] is {array[bad[0]]} ({len(bad)} such rows); all must be finite: leave those out first"
        )
    return array


def _one_dimensional(name: str, array: npt.NDArray[Any], length: int | None) -> None:
    if array.ndim != 1 or not array.size:
        raise ParameterError(
            f"{name} has shape {array.shape}; it must be (row,) with at least one row"
        )
    if length is not None and len(array) != length:
        raise ParameterError(
            f"{name} has {len(array)} rows where {length} are needed; give arrays of the same rows"
        )


def matrix(name: str, values: Any) -> Matrix:
    """``values`` as a numeric array (row, column), not copied: a memory-mapped file stays one."""
    array = np.asarray(values)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiub":
        raise ParameterError(
            f"{name} is {array.dtype} of shape {array.shape}; it must be numbers (row, column), none of both zero"
        )
    return array


def column_names(names: Sequence[str] | None, width: int) -> tuple[str, ...]:
    """One name a column, all different; "0", "1", ... where None."""
    found = (
        tuple(str(i) for i in range(width)) if names is None else tuple(str(name) for name in names)
    )
    if len(found) != width:
        raise ParameterError(
            f"names has {len(found)} entries for {width} columns; give one name a column"
        )
    if len(set(found)) != width:
        twice = next(name for name in found if found.count(name) > 1)
        raise ParameterError(
            f"names has {twice!r} more than once; every column needs a name of its own"
        )
    return found


def row_blocks(rows: int, width: int, block_rows: int | None = None) -> Iterator[slice]:
    """Slices that cover ``rows`` in order, each of ``block_rows``, or of ``BLOCK_BYTES`` as float64 where None."""
    if block_rows is not None and block_rows < 1:
        raise ParameterError(
            f"block_rows={block_rows} must be at least 1, or None for blocks of 64 MiB"
        )
    size = max(1, BLOCK_BYTES // (8 * max(width, 1))) if block_rows is None else block_rows
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def refuse_nan(name: str, values: Matrix, names: Sequence[str]) -> None:
    """``ParameterError`` that names the column and row of the first value that is not finite."""
    if values.dtype.kind != "f":
        return
    for rows in row_blocks(len(values), values.shape[1]):
        bad = np.argwhere(~np.isfinite(values[rows]))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise ParameterError(
                f"{name} is {values[rows.start + row, column]} in column {names[column]!r}, row {rows.start + row}; "
                "all must be finite: leave such rows or columns out first"
            )


def coded(
    name: str, values: npt.ArrayLike, length: int | None = None
) -> tuple[tuple[Label, ...], Integer]:
    """Sorted different labels as Python values, and the place of each row's label among them (row,)."""
    array = np.asarray(values)
    _one_dimensional(name, array, length)
    if array.dtype.kind not in "OUSiubf":
        raise ParameterError(
            f"{name} is {array.dtype}; labels must be text or numbers: convert them with .astype(str)"
        )
    missing = np.flatnonzero(array != array)  # NaN is the one value that differs from itself
    if len(missing):
        raise ParameterError(
            f"{name}[{missing[0]}] is NaN ({len(missing)} such rows); leave rows without label out"
        )
    try:
        kinds, which = np.unique(array, return_inverse=True)
    except TypeError:
        raise ParameterError(
            f"{name} mixes kinds of labels; make all of them text with .astype(str)"
        ) from None
    plain = tuple(k.decode() if isinstance(k, bytes) else k for k in kinds.tolist())
    return plain, which.reshape(-1).astype(np.int64)


def binary(name: str, values: npt.ArrayLike, length: int | None = None, both: bool = True) -> Mask:
    """Labels 0 and 1 (or booleans) as a mask (row,) of the ones; ``both`` classes must be there unless told."""
    array = np.asarray(values)
    _one_dimensional(name, array, length)
    if array.dtype.kind not in "iubf" or not np.isin(array, (0, 1)).all():
        raise ParameterError(
            f"{name} must hold 0 and 1 only, or booleans; turn classes into such labels: y == 'one'"
        )
    mask: Mask = array.astype(bool)
    if both and (mask.all() or not mask.any()):
        raise ParameterError(
            f"{name} holds one class only ({int(mask[0])}, {len(mask)} rows); both are needed: "
            "take more rows or other groups, or look at the threshold that made the labels"
        )
    return mask
