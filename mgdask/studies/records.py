"""Plain results of a study, written as JSON and read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

import numpy as np

from mgdask.report.json import to_plain


class Record:
    """Base class of dataclasses that are written as JSON and read back.

    Fields are numbers, text, arrays, other records, and tuples and mappings of these.
    """

    def to_json(self) -> dict[str, Any]:
        """Return plain values by the name of the field; NaN becomes None."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return the record from plain values, as ``to_json`` gives them.

        Parameters
        ----------
        plain
            Values by the name of the field. Other names are ignored. A field that is
            missing, as in results of an earlier version, keeps its default.
        """
        assert is_dataclass(cls)
        hints = get_type_hints(cls)
        values = {
            one.name: _restored(hints[one.name], plain[one.name])
            for one in fields(cls)
            if one.name in plain or one.default is MISSING
        }
        return cls(**values)


def _restored(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        return _restored(next(one for one in arguments if one is not NoneType), value)
    if origin is np.ndarray:
        (dtype,) = get_args(arguments[1])
        return np.array(value, dtype=dtype)  # None becomes NaN in an array of floats
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_restored(kind, one) for kind, one in zip(kinds, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {str(name): _restored(arguments[1], one) for name, one in value.items()}
    if hint is float:
        return math.nan if value is None else float(value)
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.from_json(value)
    return value
