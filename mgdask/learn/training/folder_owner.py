"""Check that one client at a time, and no other user, writes to a checkpoint folder."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import psutil

from mgdask.errors import StoreError
from mgdask.learn.training.control_files import BEAT, read_small
from mgdask.ownership import tamper_risk

_BEATS_OF_A_NEIGHBOR = 8
"""Heartbeats to wait for another client on this machine."""


def client_identity() -> tuple[str, int, float]:
    """Return host, process id and start time of this process.

    Returns
    -------
    tuple
        The start time distinguishes this process from a later one with the same id.
    """
    return socket.gethostname(), os.getpid(), _start_time(os.getpid())


def refuse_if_open(folder: Path) -> None:
    """Refuse a folder in which another user could put files.

    Ranks train on what its files say, and LightGBM reads bins and trees from it.

    Parameters
    ----------
    folder
        Checkpoint folder, without links in its path.

    Raises
    ------
    StoreError
        If a user outside its group could write or replace it.
    """
    if reason := tamper_risk(folder, group_is_trusted=True):
        raise StoreError(
            f"checkpoint folder {folder} is not safe from other users: {reason}; choose a folder "
            "that only you, or your group, can write"
        )


def refuse_if_owned(folder: Path, grace: float) -> None:
    """Refuse a folder in which another client trains.

    A killed client leaves its control file behind. A live client keeps increasing the
    counter in it.

    Parameters
    ----------
    folder
        Checkpoint folder.
    grace
        Half the seconds to wait for a heartbeat of a client on another machine.

    Raises
    ------
    StoreError
        If another client trains there.
    """
    path = folder / "control.json"
    before = read_small(path)
    if not before.get("attempt"):
        return
    client = before.get("client")
    if not isinstance(client, list) or len(client) != 3:  # of an older version, or damaged
        client = ["", 0, 0.0]
    host, pid, start_time = client
    here = host == socket.gethostname()
    owned = here and _start_time(pid) == start_time
    if not owned:
        time.sleep(_BEATS_OF_A_NEIGHBOR * BEAT if here else 2 * grace)
        owned = read_small(path).get("beat") != before.get("beat")
    if owned:
        raise StoreError(
            f"another client (process {pid} on {host or 'an unknown host'}) trains in {folder}; "
            "wait for it, or choose another checkpoint folder"
        )


def _start_time(pid: int) -> float:
    """Return when a process started; -1 if it does not exist."""
    try:
        return round(float(psutil.Process(pid).create_time()), 2)
    except psutil.Error:
        return -1.0
