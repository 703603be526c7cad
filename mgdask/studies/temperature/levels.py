"""Temperatures that are the same: runs within 1 % of each other.

A run at 300.02 K and one at 299.97 K are not two temperatures. If one of them were left
out of training alone, its twin would still be in the training data.
"""

from __future__ import annotations

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray

SAME_TEMPERATURE = 0.01
"""Relative difference below which two temperatures are the same."""


def level_codes(temperature: FloatArray) -> IntArray:
    """Return the number of the level of each temperature, increasing from 0.

    Parameters
    ----------
    temperature
        Temperatures in K (row,). Neighboring values within 1 % share a level.

    Examples
    --------
    >>> level_codes(np.array([300.02, 500.0, 299.97])).tolist()
    [0, 1, 0]
    """
    values, place = np.unique(temperature, return_inverse=True)
    apart = np.diff(values) >= SAME_TEMPERATURE * values[1:]
    code = np.concatenate([[0], np.cumsum(apart)])
    return np.asarray(code[place], dtype=np.int64)


def n_levels(temperature: FloatArray) -> int:
    """Return the number of different temperatures.

    Parameters
    ----------
    temperature
        Temperatures in K (row,), at least one.
    """
    return int(level_codes(temperature).max()) + 1


def is_known(temperature: FloatArray, known: FloatArray) -> BoolArray:
    """Return whether each temperature (row,) is within 1 % of a known one.

    Parameters
    ----------
    temperature, known
        Temperatures in K.

    Examples
    --------
    >>> is_known(np.array([300.02, 310.0]), np.array([299.97, 500.0])).tolist()
    [True, False]
    """
    values, place = np.unique(temperature, return_inverse=True)
    others = np.unique(known)
    larger = np.maximum(values[:, None], others)
    near = np.asarray(np.abs(values[:, None] - others) < SAME_TEMPERATURE * larger)
    found: BoolArray = np.asarray(near.any(axis=1), dtype=bool)
    return found[place]


def mean_of(temperature: FloatArray) -> float:
    """Return the mean; a constant exactly, so that equal temperatures stay equal.

    Parameters
    ----------
    temperature
        Temperatures in K (row,).
    """
    same = (temperature == temperature[0]).all()
    return float(temperature[0] if same else temperature.mean())
