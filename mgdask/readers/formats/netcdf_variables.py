"""Variables of a NetCDF file: missing values, scales and offsets.

The rules are those of the package netCDF4, so that files have the same values in both.
See https://docs.unidata.ucar.edu/nug/current/attribute_conventions.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray
from mgdask.bounds import shortened
from mgdask.errors import AuditError

NUMERIC = "iuf"
"""Kinds of NumPy types whose values are read."""
FILL: dict[str, float] = {
    "i1": -127,
    "u1": 255,
    "i2": -32767,
    "u2": 65535,
    "i4": -2147483647,
    "u4": 4294967295,
    "i8": -9223372036854775806,
    "u8": 18446744073709551614,
    "f4": 9.9692099683868690e36,
    "f8": 9.9692099683868690e36,
}
"""Values that NetCDF writes where a program has written none, by type."""


@dataclass(frozen=True)
class Variable:
    """A variable of a NetCDF file.

    Parameters
    ----------
    place
        File and name, for messages.
    dimensions
        Names of its dimensions.
    shape
        Lengths of its dimensions.
    dtype
        Type of its values, in the byte order of the machine.
    attributes
        Numbers as NumPy scalars or arrays, text as ``str``.
    fetch
        Returns the stored values of one index of the first dimension, or of all for
        ``None``.
    """

    place: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any]
    fetch: Callable[[int | None], AnyArray]

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers."""
        return self.dtype.kind in NUMERIC

    def values(self, index: int | None = None, *, is_scaled: bool = True) -> Any:
        """Return a masked array of values, masked where they are missing.

        Parameters
        ----------
        index
            Index of the first dimension; ``None`` returns all.
        is_scaled
            Whether to apply ``scale_factor`` and ``add_offset``.
        """
        data = self.fetch(index)
        unsigned = is_scaled and data.dtype.kind == "i" and self._is_unsigned
        if unsigned:
            data = data.view(f"u{data.dtype.itemsize}")
        with np.errstate(all="ignore"):
            mask = self._missing(data, unsigned)
            # an array without masked values has no mask, which is faster
            found = np.ma.masked_array(data, mask=mask if mask.any() else np.ma.nomask)
            return self._scaled(found) if is_scaled else found

    @property
    def _is_unsigned(self) -> bool:
        return self.attributes.get("_Unsigned") in ("true", "True")

    def _stated(self, name: str, unsigned: bool) -> AnyArray | None:
        """Return an attribute in the type of the variable; None if it does not fit."""
        value = np.asarray(self.attributes.get(name, ""))
        if value.dtype.kind not in NUMERIC:
            return None
        cast = value.astype(self.dtype)
        if not ((cast == value) | (np.isnan(cast) & np.isnan(value))).all():
            return None
        return cast.view(f"u{cast.dtype.itemsize}") if unsigned else cast

    def _missing(self, data: AnyArray, unsigned: bool) -> npt.NDArray[np.bool_]:
        mask = np.zeros(data.shape, dtype=bool)
        fill = self._stated("_FillValue", unsigned)
        if fill is None and (default := FILL.get(self.dtype.str[1:])) is not None:
            fill = np.array(default, dtype=self.dtype)
        for marks in (fill, self._stated("missing_value", unsigned)):
            for mark in () if marks is None else np.ravel(marks):
                mask |= np.isnan(data) if np.isnan(mark) else data == mark
        low, high = self._stated("valid_min", unsigned), self._stated("valid_max", unsigned)
        valid = self._stated("valid_range", unsigned)
        if valid is not None and valid.size == 2:
            low, high = valid
        if low is not None:
            mask |= data < low
        if high is not None:
            mask |= data > high
        return mask

    def number(self, name: str) -> Any:
        """Return an attribute with one number, such as a scale, or None.

        Raise ``AuditError`` if it is anything else.
        """
        value = self.attributes.get(name)
        if value is None:
            return None
        if np.size(value) != 1 or np.asarray(value).dtype.kind not in NUMERIC:
            raise AuditError(
                f"{self.place}: the attribute {name} is {shortened(repr(value))}; one number is "
                "needed. Correct or remove it"
            )
        return value

    def _scaled(self, data: Any) -> Any:
        scale, offset = self.number("scale_factor"), self.number("add_offset")
        if scale is not None and offset is not None:
            if scale == 1.0 and offset == 0.0:
                return data.astype(np.asarray(scale).dtype)
            return data * scale + offset
        if scale is not None and scale != 1.0:
            return data * scale
        return data if offset is None or offset == 0.0 else data + offset


class Container(Protocol):
    """An open NetCDF file of one of its formats.

    Attributes
    ----------
    dimensions
        Lengths by name. The length of ``frame`` counts the frames whose values are in
        the file.
    attributes
        Attributes of the file.
    variables
        Variables by name.
    n_stated
        Number of frames that the file states.
    """

    dimensions: dict[str, int]
    attributes: dict[str, Any]
    variables: dict[str, Variable]
    n_stated: int

    def close(self) -> None:
        """Close the file."""
