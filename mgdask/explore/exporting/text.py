"""Text of numbers, with as many digits as give the same numbers back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mgdask._typing import AnyArray, FloatArray


def lines(columns: Mapping[str, Any]) -> bytes:
    """Return one line per row, with blanks between the columns.

    Parameters
    ----------
    columns
        Arrays (row,) by name, of NumPy or Arrow.
    """
    import pyarrow as pa
    from pyarrow import csv

    table = pa.table({name: column_of(values) for name, values in columns.items()})
    sink = pa.BufferOutputStream()
    options = csv.WriteOptions(include_header=False, delimiter=" ", quoting_style="none")
    csv.write_csv(table, sink, options)
    return bytes(sink.getvalue())


def column_of(values: Any) -> Any:
    """Return an Arrow array of numbers; booleans become 0 and 1."""
    import pyarrow as pa

    if isinstance(values, np.ndarray):
        if values.dtype.kind == "b":
            values = values.astype(np.int8)
        elif values.dtype.kind not in "iuf":
            return pa.array(values.astype(str))
        return pa.array(np.ascontiguousarray(values))
    return values


def names_of(codes: AnyArray, names: Sequence[str]) -> Any:
    """Return ``names[codes]`` as an Arrow array of text."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array(names, pa.string())
    ).dictionary_decode()


def number(value: float) -> str:
    """Return the shortest text that gives the same number back.

    Examples
    --------
    >>> number(0.1 + 0.2), number(3.0)
    ('0.30000000000000004', '3.0')
    """
    return repr(float(value))


def numbers(values: Sequence[float] | FloatArray) -> str:
    """Return numbers with blanks between them."""
    return " ".join(number(value) for value in values)


def edges(low: float, length: float) -> tuple[float, float] | None:
    """Return bounds whose difference, as a computer rounds it, is a given length.

    Parameters
    ----------
    low
        Lower bound.
    length
        Length of the edge.

    Returns
    -------
    bounds
        Lower and upper bound; None if no upper bound gives the length.

    Examples
    --------
    >>> edges(1.0, 2.5)
    (1.0, 3.5)
    """
    for high in _near(low + length):
        if high - low == length:
            return low, high
    return None


def shifted(value: float, shift: float) -> float | None:
    """Return a number from which subtracting ``shift`` gives ``value``, or None."""
    return next((near for near in _near(value + shift) if near - shift == value), None)


def _near(value: float) -> list[float]:
    """Return a number and those next to it, the nearest first."""
    found = [value]
    below = above = value
    for _ in range(2):
        below, above = float(np.nextafter(below, -np.inf)), float(np.nextafter(above, np.inf))
        found += [below, above]
    return found
