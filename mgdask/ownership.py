"""Folders that no other user of the machine can write or replace.

Compiled code and spilled data are pickles, so anyone who can write them can run code as
the user who reads them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_UNMAPPED = 65534
"""Owner that the kernel shows in a container for users of the machine outside it."""


def user_id() -> int:
    """Return the number of this user; 0 where files have no owner, as on Windows."""
    return os.getuid() if hasattr(os, "getuid") else 0


def tamper_risk(path: Path, *, group_is_trusted: bool = False) -> str | None:
    """Return why another user could write or replace a folder; ``None`` if none can.

    Parameters
    ----------
    path
        Folder that exists. Links in its path must have been resolved.
    group_is_trusted
        Whether members of a group that may write the folder are trusted, as in the
        folder of a project.

    Returns
    -------
    reason
        Sentence that names the folder at fault, or ``None``.

    Notes
    -----
    The folder must belong to this user. The folders above it must belong to this user
    or to root, because their owners can rename it. Nobody else may write to any of
    them, except to folders with the sticky bit, such as ``/tmp``: there, only the owner
    of a folder can rename it. With access control lists, the permissions of the group
    are those of the mask, so they cover named users too.
    """
    if not hasattr(os, "getuid"):
        return None
    others = stat.S_IWOTH | (0 if group_is_trusted else stat.S_IWGRP)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return f"{path} is not a folder"
    if status.st_uid != os.getuid():
        return f"{path} belongs to user {status.st_uid}"
    if status.st_mode & others:
        return f"{path} can be written by others: chmod go-w {path}"
    trusted = {0, os.getuid()} | ({_UNMAPPED} if _in_user_namespace() else set())
    for parent in path.parents:
        status = parent.lstat()
        if stat.S_ISLNK(status.st_mode):
            return f"{parent} is a link"
        if status.st_uid not in trusted:
            return f"{parent} belongs to user {status.st_uid}"
        if status.st_mode & others and not status.st_mode & stat.S_ISVTX:
            return f"{parent} can be written by others: chmod go-w {parent}"
    return None


def _in_user_namespace() -> bool:
    """Return whether this process is in a container that maps only some users."""
    try:
        words = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    except OSError:
        return False
    return words[:3] != ["0", "0", "4294967295"]
