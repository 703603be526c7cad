"""Origin of numbers: versions and digests, without times or hosts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of a value.

    Parameters
    ----------
    value
        Anything that JSON can hold.

    Examples
    --------
    >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def versions(packages: Iterable[str] = ("mgdask", "numpy", "numba", "zarr")) -> dict[str, str]:
    """Return the installed versions of packages that numbers depend on.

    Parameters
    ----------
    packages
        Names of distributions.

    Returns
    -------
    versions
        Version by name, or ``"not installed"``.
    """
    installed = {}
    for name in packages:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed
