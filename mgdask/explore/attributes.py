"""Attrs of Datasets, written as JSON text or, by earlier versions, as objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def read_attr(attrs: Mapping[Any, Any], name: str, default: Any = None) -> Any:
    """Return a structured attr.

    Parameters
    ----------
    attrs
        Attrs of a Dataset or array.
    name
        Name of the attr.
    default
        What to return if it is missing.
    """
    value = attrs.get(name, default)
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
