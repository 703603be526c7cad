"""Mean, standard deviation, minimum, maximum, sum and histogram of lists of different lengths, one list a central atom."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import boolean, float64, int64

from mgdask.kernels._jit import array, kernel

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]

KINDS = ("mean", "std", "min", "max", "sum")
"""What ``statistics`` and ``statistics_of_rows`` give, in this order."""


@kernel(array(int64, 1), array(int64, 1), array(float64, 1), float64, array(float64, 2, out=True))
def statistics(first: Integer, last: Integer, value: Float, empty: float, out: Float) -> None:
    """mean, sqrt(mean (x - mean)^2), min, max, sum of ``value[first[k]:last[k]]``; (center,),(center,),(entry,) -> (center,5).

    NaN are left out; ``empty`` is the answer where nothing is left. Twin: ``tests/reference_structure.py::_stats``.
    """
    for k in range(len(first)):
        n, total, low, high = 0, 0.0, np.inf, -np.inf
        for i in range(first[k], last[k]):
            x = value[i]
            if x == x:
                n += 1
                total += x
                low, high = min(low, x), max(high, x)
        if n == 0:
            for s in range(5):
                out[k, s] = empty
            continue
        mean, square = total / n, 0.0
        for i in range(first[k], last[k]):
            x = value[i]
            if x == x:
                square += (x - mean) ** 2
        out[k, 0], out[k, 1], out[k, 2], out[k, 3], out[k, 4] = mean, np.sqrt(square / n), low, high, total


@kernel(
    array(int64, 1), array(int64, 1), array(int64, 1), array(int64, 1), array(float64, 2), array(int64, 1), boolean,
    array(float64, 3, out=True),
)  # fmt: skip
def statistics_of_rows(
    centers: Integer,
    first: Integer,
    last: Integer,
    row: Integer,
    value: Float,
    columns: Integer,
    include_self: bool,
    out: Float,
) -> None:
    """The same of some ``columns`` (column,) of the neighbours' values; (center,),(center,),(center,),(pair,),(atom,column) -> (center,column,5).

    ``centers`` are rows of ``value``, which count too where ``include_self``; NaN make the result NaN; without any neighbour it is NaN. Twin:
    ``tests/reference_structure.py::medium_range``.
    """
    width = len(columns)
    for k in range(len(first)):
        n = last[k] - first[k] + (1 if include_self else 0)
        for c in range(width):
            out[k, c, 2], out[k, c, 3], out[k, c, 4], out[k, c, 1] = np.inf, -np.inf, 0.0, 0.0
        for p in range(first[k] - (1 if include_self else 0), last[k]):
            at = centers[k] if p < first[k] else row[p]
            for c in range(width):
                x = value[at, columns[c]]
                out[k, c, 4] += x
                out[k, c, 2], out[k, c, 3] = min(out[k, c, 2], x), max(out[k, c, 3], x)
        for c in range(width):
            out[k, c, 0] = out[k, c, 4] / n
        for p in range(first[k] - (1 if include_self else 0), last[k]):
            at = centers[k] if p < first[k] else row[p]
            for c in range(width):
                out[k, c, 1] += (value[at, columns[c]] - out[k, c, 0]) ** 2
        for c in range(width):
            out[k, c, 1] = np.sqrt(out[k, c, 1] / n)
            if n == 0 or out[k, c, 0] != out[k, c, 0]:
                for s in range(5):
                    out[k, c, s] = np.nan


@kernel(
    array(int64, 1), array(int64, 1), array(float64, 1), float64, float64, int64, float64, array(float64, 2, out=True)
)  # fmt: skip
def histogram(
    first: Integer, last: Integer, value: Float, low: float, high: float, bins: int, smearing: float, out: Float
) -> None:
    """Share of each list in equal bins from ``low`` to ``high``; (center,),(center,),(entry,) -> (center,bin).

    The first bin takes all below it too, the last all above it, so that a row sums to 1. With ``smearing`` > 0 each value is a normal
    distribution of that standard deviation: a bin gets the part of it that lies in the bin. NaN are left out; an empty list gives NaN.
    """
    width = (high - low) / bins
    scale = 1.0 / (np.sqrt(2.0) * smearing) if smearing > 0.0 else 0.0
    for k in range(len(first)):
        n = 0
        for b in range(bins):
            out[k, b] = 0.0
        for i in range(first[k], last[k]):
            x = value[i]
            if x != x:
                continue
            n += 1
            if smearing > 0.0:
                below = 0.0
                for b in range(bins):
                    upto = 1.0 if b == bins - 1 else 0.5 * (1.0 + math.erf((low + (b + 1) * width - x) * scale))
                    out[k, b] += upto - below
                    below = upto
            else:
                # cut to the bins before it is made an integer: numbers beyond 2^63 would wrap round to the first bin
                out[k, int(min(max(np.floor((x - low) / width), 0.0), bins - 1.0))] += 1.0
        for b in range(bins):
            out[k, b] = out[k, b] / n if n else np.nan
