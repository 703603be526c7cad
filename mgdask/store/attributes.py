"""Attributes of stores and Datasets: text and numbers; lists and tables are JSON.

NetCDF files hold no other attributes. Stores of version 0.2 and earlier hold lists and
tables themselves; ``decode`` reads both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

COORDINATES = "coordinates"
"""Attribute that names coordinates, as in the CF conventions.

xarray reads it of a group too, where names without an array do no harm.
"""


def encode(value: object) -> str | int | float:
    """Return an attribute as text or a number.

    Parameters
    ----------
    value
        Text, a number, or lists and tables of them.

    Returns
    -------
    Text and numbers as they are, True and False as 1 and 0, all else as JSON text. The
    text depends on the value alone.

    Examples
    --------
    >>> encode({"cutoff": 3.6, "species": ["Cu", "Zr"]})
    '{"cutoff": 3.6, "species": ["Cu", "Zr"]}'
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | int | float):
        return value
    return json.dumps(value, ensure_ascii=False)


def encoded(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes with every value encoded.

    Parameters
    ----------
    attrs
        Attributes of a store, a Dataset or an array.
    """
    return {str(name): encode(value) for name, value in attrs.items()}


def decode(attrs: Mapping[Any, Any], name: str, default: Any = None) -> Any:
    """Return an attribute that is a list or a table.

    Parameters
    ----------
    attrs
        Attributes of a store, a Dataset or an array, encoded or not.
    name
        Name of the attribute.
    default
        Returned if there is none.

    Returns
    -------
    The value; text that is not JSON is returned as it is.

    Examples
    --------
    >>> decode({"versions": '{"numpy": "2.4.6"}'}, "versions")["numpy"]
    '2.4.6'
    """
    value = attrs.get(name, default)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
