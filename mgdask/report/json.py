"""Plain JSON of NumPy, xarray and dataclass values."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr


def to_plain(value: Any) -> Any:
    """Convert a nested value to types that JSON supports.

    Arrays become lists, dataclasses and Datasets become mappings. NaN and infinity
    become None, because JSON has no such numbers.

    Parameters
    ----------
    value
        Any nesting of mappings, sequences, sets, dataclasses, NumPy and xarray
        objects, paths, numbers, text and None.

    Returns
    -------
    plain
        Mappings with text keys, lists, numbers, text, booleans and None.

    Raises
    ------
    TypeError
        If a value has none of these types.

    Examples
    --------
    >>> to_plain({"auc": np.float64(0.75), "qs": np.array([0.1, np.nan])})
    {'auc': 0.75, 'qs': [0.1, None]}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.ndarray | np.generic):
        return to_plain(value.tolist())
    if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
        return {str(name): to_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(to_plain(part) for part in value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, xr.DataArray):
        return to_plain(value.values)
    if isinstance(value, xr.Dataset):
        return {
            **{str(name): to_plain(part) for name, part in value.variables.items()},
            **to_plain(value.attrs),
        }
    if isinstance(value, xr.Variable):
        return to_plain(value.values)
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_plain(getattr(value, item.name)) for item in fields(value)}
    raise TypeError(f"a {type(value).__name__} has no plain JSON form: {value!r}")


def to_json(value: Any) -> str:
    """Return a nested value as JSON text; NaN is null.

    Parameters
    ----------
    value
        See ``to_plain``.

    Returns
    -------
    text
        Text with one space of indent per level.

    Examples
    --------
    >>> print(to_json({"qs": np.array([0.1, np.nan])}))
    {
     "qs": [
      0.1,
      null
     ]
    }
    """
    return json.dumps(to_plain(value), indent=1, allow_nan=False)


def write_json(value: Any, path: str | Path) -> Path:
    """Write a nested value as a JSON file; NaN is null.

    Parameters
    ----------
    value
        See ``to_plain``.
    path
        File to write. An existing file is replaced.

    Returns
    -------
    path
        Path of the written file.

    Examples
    --------
    >>> write_json({"auc": 0.75}, "numbers.json")  # doctest: +SKIP
    """
    target = Path(path)
    target.write_text(to_json(value), encoding="utf-8")
    return target
