"""Small files through which the client and the ranks exchange their state.

On a network file system, opening a file shows its current content, but a replaced file
may keep showing its old inode. These files are therefore overwritten in place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEAT = 0.25
"""Seconds between two heartbeats, and between two looks at the control file."""
_PADDED_SIZE = 512
"""Bytes to which a file is padded, so that a shorter text overwrites a longer one."""


def write_in_place(path: Path, values: Mapping[str, Any]) -> None:
    """Overwrite the small JSON file ``path`` without changing its inode.

    Parameters
    ----------
    path
        File to write; it is created if it is missing.
    values
        JSON-compatible values.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.pwrite(handle, json.dumps(values).encode().ljust(_PADDED_SIZE), 0)
    finally:
        os.close(handle)


def read_small(path: Path) -> dict[str, Any]:
    """Read a file of ``write_in_place``.

    Parameters
    ----------
    path
        File to read.

    Returns
    -------
    dict
        Its values. Empty if the file is missing or was being written.
    """
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
