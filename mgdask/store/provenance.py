"""Where numbers come from: versions and digests, the same for the same input, without times or hosts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of a value."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def versions(packages: Iterable[str] = ("mgdask", "numpy", "numba", "zarr")) -> dict[str, str]:
    """Installed versions of the packages that numbers depend on."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
