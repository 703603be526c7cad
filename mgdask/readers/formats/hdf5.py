"""Checks of an HDF5 file before its values are read.

A file may name other files: by external links, by raw data in external files, or by
virtual datasets. HDF5 reads them silently. A file from elsewhere could
thus copy private data of the user into a store, so such files are refused. Datasets may
also state shapes and chunks that are far larger than the file.
"""

from __future__ import annotations

import math
from typing import Any

from mgdask.bounds import MAX_CHUNK, check_growth, shortened
from mgdask.errors import AuditError

MAX_OBJECTS = 10_000
"""Maximum number of groups and datasets of a file."""
_WINDOW = 1 << 20
"""Number of bytes of a dataset above which its growth is checked."""


def check_file(file: Any, h5py: Any, path: str) -> None:
    """Refuse an open HDF5 file that refers to other files, or has absurd chunks.

    Parameters
    ----------
    file
        The open file.
    h5py
        The module.
    path
        Name of the file, for messages.

    Raises
    ------
    AuditError
        With the name of the link or dataset.
    """
    todo: list[tuple[str, Any]] = [("", file)]
    seen: set[int] = set()
    while todo:
        where, item = todo.pop()
        address = int(h5py.h5o.get_info(item.id).addr)
        if address in seen:  # a second link to the same object, or a circle
            continue
        seen.add(address)
        if len(seen) > MAX_OBJECTS:
            raise AuditError(
                f"{path}: the HDF5 file has more than {MAX_OBJECTS} groups and datasets, which "
                "is not a trajectory"
            )
        if isinstance(item, h5py.Dataset):
            _check_dataset(item, path, where)
        if not isinstance(item, h5py.Group):
            continue
        for name in item:
            link = item.get(name, getlink=True)
            place = f"{where}/{shortened(name)}"
            if isinstance(link, h5py.ExternalLink):
                raise _elsewhere(path, f"{place} is a link to {shortened(link.filename, 200)}")
            # targets of soft links are objects of this file, which are visited anyway
            if isinstance(link, h5py.HardLink):
                todo.append((place, item[name]))


def _check_dataset(data: Any, path: str, where: str) -> None:
    if data.external:
        raise _elsewhere(path, f"{where} is stored in {shortened(str(data.external[0][0]), 200)}")
    if data.is_virtual:
        other = [source.file_name for source in data.virtual_sources() if source.file_name != "."]
        if other:
            raise _elsewhere(path, f"{where} is a view of {shortened(other[0], 200)}")
    row = math.prod(data.shape[1:] if data.shape else ()) * data.dtype.itemsize
    chunk = math.prod(data.chunks or ()) * data.dtype.itemsize
    if data.chunks and chunk > max(MAX_CHUNK, 8 * min(row, 8 * data.id.get_storage_size())):
        raise AuditError(
            f"{path}: {where} has chunks of {chunk} bytes; at most {MAX_CHUNK} are allowed, or 8 "
            "frames if these are larger. Repack the file: h5repack -l CHUNK=..."
        )


def _elsewhere(path: str, what: str) -> AuditError:
    return AuditError(
        f"{path}: {what}. Data in other files are not read, because a file from elsewhere could "
        "refer to any of yours. Store the data in this file"
    )


def check_stored(data: Any, path: str, where: str) -> None:
    """Refuse positions whose shape is far larger than the data stored for them.

    Parameters
    ----------
    data
        The dataset.
    path, where
        Names of the file and the dataset, for messages.

    Raises
    ------
    AuditError
        If nothing is stored, or it grows more than positions do.
    """
    stored, size = int(data.id.get_storage_size()), math.prod(data.shape) * data.dtype.itemsize
    if data.is_virtual or not size:
        return
    if not stored:
        raise AuditError(
            f"{path}: {where} has the shape {data.shape}, but no values are stored. The file is "
            "incomplete: write it again"
        )
    if size > _WINDOW:
        remedy = "repack it without compression (h5repack -f NONE)"
        check_growth(size, stored, f"{path}: {where}", remedy, window=_WINDOW)
