"""Headers of LAMMPS binary dumps, read before OVITO reads the file.

OVITO allocates memory for as many atoms as a header states. The numbers are therefore
compared with the size of the file first. See ``dump_custom.cpp`` of LAMMPS.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from mgdask.bounds import MAX_COLUMNS, MAX_LINE
from mgdask.errors import AuditError
from mgdask.readers.files import open_binary

_MAGIC = (b"DUMPCUSTOM", b"DUMPATOM")
_ORTHOGONAL, _TRICLINIC = 0, 1


class _TruncatedError(Exception):
    """The file ends inside a frame, which OVITO reports."""


def _take(file: BinaryIO, form: str) -> tuple[int, ...]:
    size = struct.calcsize(form)
    data = file.read(size)
    if len(data) < size:
        raise _TruncatedError
    return struct.unpack(form, data)


def check_frames(path: str) -> None:
    """Refuse a binary dump whose headers state more than the file holds.

    Parameters
    ----------
    path
        The file. Files of older formats or of the other byte order are not checked.

    Raises
    ------
    AuditError
        With the frame and what it states.
    """
    size = os.stat(path).st_size
    with open_binary(path) as file:
        frame = 0
        try:
            while file.tell() < size:
                if not _check_frame(file, path, frame, size):
                    return
                frame += 1
        except _TruncatedError:
            return


def _check_frame(file: BinaryIO, path: str, frame: int, size: int) -> bool:
    """Check one frame and move to the next; return False if its form is unknown."""
    (length,) = _take(file, "<q")
    if not -20 <= length < 0 or file.read(-length) not in _MAGIC:
        return False
    endian, revision = _take(file, "<ii")
    if endian != 1:
        return False
    _, n_atoms, triclinic = _take(file, "<qqi")
    _take(file, "<6i6d")
    if triclinic == _TRICLINIC:
        _take(file, "<3d")
    elif triclinic != _ORTHOGONAL:
        return False
    (width,) = _take(file, "<i")
    rest = size - file.tell()
    if not 0 < n_atoms * max(width, 1) * 8 <= size or not 0 < width <= MAX_COLUMNS:
        raise AuditError(
            f"{path}: frame {frame}: it states {n_atoms} atoms with {width} numbers each, but "
            f"{rest} bytes follow, and at most {MAX_COLUMNS} numbers are allowed. The file is "
            "damaged or truncated: copy or write it again"
        )
    if revision > 1:
        _skip_text(file, path, frame)
        if _take(file, "<b")[0]:
            _take(file, "<d")
        _skip_text(file, path, frame)
    (n_parts,) = _take(file, "<i")
    if not 0 < n_parts <= rest // 4:
        raise AuditError(f"{path}: frame {frame}: it states {n_parts} parts; it is damaged")
    for _ in range(n_parts):
        (n_values,) = _take(file, "<i")
        if not 0 <= n_values * 8 <= size:
            raise AuditError(
                f"{path}: frame {frame}: a part states {n_values} numbers, but "
                f"{size - file.tell()} bytes follow. The file is damaged or truncated: copy or "
                "write it again"
            )
        file.seek(8 * n_values, os.SEEK_CUR)
    # a truncated last frame is left to OVITO
    return file.tell() <= size


def _skip_text(file: BinaryIO, path: str, frame: int) -> None:
    (length,) = _take(file, "<i")
    if not 0 <= length <= MAX_LINE:
        raise AuditError(f"{path}: frame {frame}: a text has {length} bytes; it is damaged")
    file.seek(length, os.SEEK_CUR)
