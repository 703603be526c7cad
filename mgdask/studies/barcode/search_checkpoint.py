"""Checkpoint of a search: one file, replaced as a whole."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError, StoreError
from mgdask.store.durable import flush_folder, write_file
from mgdask.store.failures import explained

_ARRAYS = ("position", "numbers", "goal", "best_position", "best_numbers", "records")


@dataclass(frozen=True)
class Progress:
    """State of a search, as saved in a checkpoint.

    Parameters
    ----------
    move, accepted, best_move
        Number of proposed and of accepted moves, and of those before the best state.
    position, numbers, goal
        Present positions (atom, xyz) in Å, atomic numbers (atom,) and goals (atom,).
    best_position, best_numbers, best_distance
        State with the smallest distance so far.
    records
        Records of the history (record, 6).
    random
        State of the generator of random numbers.
    """

    move: int
    accepted: int
    best_move: int
    position: FloatArray
    numbers: IntArray
    goal: IntArray
    best_position: FloatArray
    best_numbers: IntArray
    best_distance: float
    records: FloatArray
    random: Mapping[str, Any]


def write_checkpoint(path: Path, progress: Progress, settings: Mapping[str, Any]) -> None:
    """Write a checkpoint. It is on disk when this returns.

    Parameters
    ----------
    path
        File to write, in an existing folder.
    progress
        State of the search.
    settings
        Parameters that determine its course.
    """
    plain = {
        each.name: getattr(progress, each.name)
        for each in fields(Progress)
        if each.name not in _ARRAYS
    }
    about = json.dumps({"settings": settings, **plain})
    inner = io.BytesIO()
    arrays = {name: getattr(progress, name) for name in _ARRAYS}
    np.savez(inner, about=np.array(about), **arrays)
    data = inner.getvalue()
    with explained(path.parent):
        write_file(path, hashlib.sha256(data).digest() + data)
        flush_folder(path.parent)


def read_checkpoint(path: Path, settings: Mapping[str, Any]) -> Progress:
    """Read a checkpoint of the search with these settings.

    Parameters
    ----------
    path
        The file.
    settings
        Parameters that determine the course of the search.

    Raises
    ------
    StoreError
        If the file is damaged, or is not a checkpoint.
    ParameterError
        If it belongs to a search with other settings; the message names the first.
    """
    content = path.read_bytes()
    data = content[32:]
    if hashlib.sha256(data).digest() != content[:32] or not zipfile.is_zipfile(io.BytesIO(data)):
        raise StoreError(
            f"{path} is damaged, or is not a checkpoint of a search; remove it to begin anew, or "
            "give another file"
        )
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        arrays = {name: file[name] for name in _ARRAYS}
    old = about.pop("settings")
    new = json.loads(json.dumps(settings))
    for name in new:
        if old.get(name) != new[name]:
            raise ParameterError(
                f"checkpoint {path} belongs to a search with {name}={_short(old.get(name))}, but "
                f"this one has {name}={_short(new[name])}; give another file, or the same values"
            )
    return Progress(**about, **arrays)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


__all__ = ["Progress", "read_checkpoint", "write_checkpoint"]
