"""Checks of plain arrays shared by the modules of ``mgdask.learn``.

Also blocks of rows, which keep memory bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError

Label = str | int | float
"""A label of rows, such as a class or a group."""

BLOCK_BYTES = 2**26
"""Size of one float64 block of rows in bytes. A few blocks are in memory at a time."""


def generator(seed: int) -> np.random.Generator:
    """Return NumPy's random generator for a seed.

    Parameters
    ----------
    seed
        Whole number, 0 or above. Nothing else is accepted, since a model card must be
        able to store the seed.

    Raises
    ------
    ParameterError
        If ``seed`` is not such a number.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ParameterError(f"seed={seed!r} must be a whole number, 0 or above, such as seed=1")
    return np.random.default_rng(int(seed))


def vector(name: str, values: npt.ArrayLike, length: int | None = None) -> FloatArray:
    """Return finite numbers as float64.

    Parameters
    ----------
    name
        Name of the array, for errors.
    values
        Numbers, shape (row,), with at least one row.
    length
        Required number of rows. Default: any.

    Returns
    -------
    values
        Shape (row,).

    Raises
    ------
    ParameterError
        If ``values`` are not numbers, have another shape, or are not all finite.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be numbers, one per row; {error}") from None
    _one_dimensional(name, array, length)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ParameterError(
            f"{name}[{bad[0]}] is {array[bad[0]]} ({len(bad)} such rows); all must be finite: "
            "leave those rows out first"
        )
    return array


def _one_dimensional(name: str, array: AnyArray, length: int | None) -> None:
    if array.ndim != 1 or not array.size:
        raise ParameterError(
            f"{name} has shape {array.shape}; a 1-D array (row,) with at least one row is needed"
        )
    if length is not None and len(array) != length:
        raise ParameterError(
            f"{name} has {len(array)} rows, but {length} are needed; give arrays of the same rows"
        )


def matrix(name: str, values: npt.ArrayLike) -> AnyArray:
    """Return a numeric array without copying it. A memory-mapped file stays one.

    Parameters
    ----------
    name
        Name of the array, for errors.
    values
        Numbers, shape (row, column).

    Returns
    -------
    values
        Shape (row, column), with the data type it had.

    Raises
    ------
    ParameterError
        If ``values`` is not a non-empty 2-D numeric array.
    """
    array = np.asarray(values)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiub":
        raise ParameterError(
            f"{name} is {array.dtype} of shape {array.shape}; it must be a non-empty 2-D numeric "
            "array (row, column)"
        )
    return array


def column_names(names: Sequence[str] | None, width: int) -> tuple[str, ...]:
    """Return one name per column.

    Parameters
    ----------
    names
        Names of the columns, all different. Default: "0", "1", ...
    width
        Number of columns.

    Raises
    ------
    ParameterError
        If the number of names is not ``width``, or a name occurs twice.
    """
    labels = tuple(str(name) for name in (range(width) if names is None else names))
    if len(labels) != width:
        raise ParameterError(
            f"names has {len(labels)} entries for {width} columns; give one name per column"
        )
    if len(set(labels)) != width:
        repeated = next(name for name in labels if labels.count(name) > 1)
        raise ParameterError(
            f"names has {repeated!r} more than once; column names must be distinct"
        )
    return labels


def row_blocks(rows: int, width: int, block_rows: int | None = None) -> Iterator[slice]:
    """Iterate over slices that cover all rows in order.

    Parameters
    ----------
    rows
        Number of rows.
    width
        Number of columns.
    block_rows
        Rows per block. Default: as many as have ``BLOCK_BYTES`` as float64.

    Raises
    ------
    ParameterError
        If ``block_rows`` is below 1.
    """
    if block_rows is not None and block_rows < 1:
        raise ParameterError(
            f"block_rows={block_rows} must be at least 1, or None for blocks of 64 MiB"
        )
    size = max(1, BLOCK_BYTES // (8 * max(width, 1))) if block_rows is None else block_rows
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def refuse_nan(name: str, values: AnyArray, names: Sequence[str]) -> None:
    """Check that all values of a matrix are finite.

    Parameters
    ----------
    name
        Name of the matrix, for errors.
    values
        Shape (row, column).
    names
        Names of the columns.

    Raises
    ------
    ParameterError
        If a value is not finite. It names the column and row of the first one.
    """
    if values.dtype.kind != "f":
        return
    for rows in row_blocks(len(values), values.shape[1]):
        bad = np.argwhere(~np.isfinite(values[rows]))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise ParameterError(
                f"{name} is {values[rows.start + row, column]} in column {names[column]!r}, row "
                f"{rows.start + row}; "
                "all must be finite: leave such rows or columns out first"
            )


def coded(
    name: str, values: npt.ArrayLike, length: int | None = None
) -> tuple[tuple[Label, ...], IntArray]:
    """Replace labels by their index among the sorted distinct labels.

    Parameters
    ----------
    name
        Name of the array, for errors.
    values
        Text or numbers, shape (row,).
    length
        Required number of rows. Default: any.

    Returns
    -------
    labels
        Sorted distinct labels as Python values.
    codes
        Index in ``labels`` of the label of each row, shape (row,).

    Raises
    ------
    ParameterError
        If ``values`` has another shape, has NaN, or mixes text and numbers.
    """
    array = np.asarray(values)
    _one_dimensional(name, array, length)
    if array.dtype.kind not in "OUSiubf":
        raise ParameterError(
            f"{name} is {array.dtype}; labels must be text or numbers; convert them with "
            ".astype(str)"
        )
    # NaN is the one value that differs from itself
    missing = np.flatnonzero(array != array)
    if len(missing):
        raise ParameterError(
            f"{name}[{missing[0]}] is NaN ({len(missing)} such rows); leave rows without "
            "a label out"
        )
    try:
        distinct, codes = np.unique(array, return_inverse=True)
    except TypeError:
        raise ParameterError(
            f"{name} mixes kinds of labels; convert all of them to text with .astype(str)"
        ) from None
    plain = tuple(k.decode() if isinstance(k, bytes) else k for k in distinct.tolist())
    return plain, codes.reshape(-1).astype(np.int64)


def binary(
    name: str, values: npt.ArrayLike, length: int | None = None, both: bool = True
) -> BoolArray:
    """Return labels 0 and 1, or booleans, as a mask.

    Parameters
    ----------
    name
        Name of the array, for errors.
    values
        Labels, shape (row,).
    length
        Required number of rows. Default: any.
    both
        Whether both classes must occur.

    Returns
    -------
    mask
        True for label 1, shape (row,).

    Raises
    ------
    ParameterError
        If other labels occur, the shape differs, or a required class is missing.
    """
    array = np.asarray(values)
    _one_dimensional(name, array, length)
    if array.dtype.kind not in "iubf" or not np.isin(array, (0, 1)).all():
        raise ParameterError(
            f"{name} must be 0 and 1 only, or booleans; convert classes with, for example, "
            "y == 'one'"
        )
    mask: BoolArray = array.astype(bool)
    if both and (mask.all() or not mask.any()):
        raise ParameterError(
            f"{name} holds one class only ({int(mask[0])}, {len(mask)} rows); both are needed: "
            "take more rows or other groups, or check the threshold that made the labels"
        )
    return mask
