"""Bytes of plain, gz and zst files: patterns, fingerprints, streams and ranges."""

from __future__ import annotations

import glob
import hashlib
import io
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mgdask.bounds import GROWTH_WINDOW, MAX_LINE, check_growth
from mgdask.errors import AuditError

CHUNK = 32 << 20
SEEK_POINTS_FROM = 16 << 20
"""Minimum size in bytes of a gz file that gets seek points.

Smaller files are read from their beginning, which costs less than seek points.
"""
_PROBE = 1 << 16
_PIECE = 1 << 12
"""Number of packed bytes that are unpacked at once.

Four of them may unpack to 128 KiB, so larger pieces could fill the memory.
"""
_READ_AHEAD = 4 << 20
"""Maximum number of packed bytes that indexed_gzip reads before it unpacks them."""
_GZ_HEADER, _GZ_POINT = struct.Struct("<5sBBQQIII"), struct.Struct("<QQBB")


def natural(text: str) -> list[tuple[int, int | str]]:
    """Return a sort key by which ``dump.2`` comes before ``dump.10``."""
    return [
        (0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text) if part
    ]


def expand(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the files of paths and glob patterns, in the order given.

    Files of one pattern are in natural order. Raise ``AuditError`` for a missing file,
    a directory, a pattern without matches, or a file given twice.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files: list[str] = []
    for item in given:
        name = os.path.expanduser(os.fspath(item))
        if os.path.exists(name):
            matches = [name]
        elif glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True), key=natural)
            if not matches:
                raise AuditError(
                    f"{name}: no file matches the pattern (working directory {Path.cwd()}); check "
                    "the folder and the spelling"
                )
        else:
            raise AuditError(f"{name}: there is no such file (working directory {Path.cwd()})")
        files.extend(matches)
    if not files:
        raise AuditError(
            "no input file was given; give paths or patterns, such as 'dump.*.lammpstrj.gz'"
        )
    for name in files:
        if os.path.isdir(name):
            raise AuditError(
                f"{name} is a directory; give the files in it, for instance "
                f"{os.path.join(name, '*')!r}"
            )
    seen: set[str] = set()
    for name in files:
        real = os.path.realpath(name)
        if real in seen:
            raise AuditError(
                f"{name} is given twice, so its frames would be counted twice; give every file once"
            )
        seen.add(real)
    return files


def open_binary(path: str) -> BinaryIO:
    """Open a file for reading; raise ``AuditError`` if it cannot be opened."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise AuditError(f"{path}: cannot be read: {error.strerror or error}") from error


def printable(name: str) -> str:
    """Return a file name as text that can be written, even if it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_line(file: BinaryIO, path: str, line: int) -> bytes:
    """Read a line of text; raise ``AuditError`` if it is too long.

    Parameters
    ----------
    file
        The open file.
    path, line
        Its name and the number of the line, for the message.
    """
    text = file.readline(MAX_LINE + 1)
    if len(text) > MAX_LINE:
        raise AuditError(
            f"{path}, line {line} has more than {MAX_LINE} bytes, which is longer than any line "
            "of a trajectory. Repair that line, or remove its frame"
        )
    return text


def read_lines(file: BinaryIO, count: int, *, keep: bool = True) -> tuple[bytes, int]:
    """Read complete lines, fewer at the end of the file.

    Parameters
    ----------
    file
        The open file. It is then at the end of the last line.
    count
        Number of lines.
    keep
        Whether to return the text. Otherwise the lines are only counted.

    Returns
    -------
    Text, with an incomplete line at the end of the file, and number of complete lines.
    """
    parts: list[bytes] = []
    found = 0
    while found < count and (part := file.read(1 << 20)):
        here = part.count(b"\n")
        if found + here > count:
            feeds = np.flatnonzero(np.frombuffer(part, dtype=np.uint8) == ord("\n"))
            end = int(feeds[count - found - 1]) + 1
        elif found + here == count:
            end = part.rfind(b"\n") + 1
        else:
            end = len(part)
        found += min(here, count - found)
        file.seek(end - len(part), os.SEEK_CUR)
        if keep:
            parts.append(part[:end])
    return b"".join(parts), found


def fingerprint(path: str, size: int) -> str:
    """Return the SHA-256 of ``size`` and of the first and last 64 KiB of the file."""
    digest = hashlib.sha256(str(size).encode())
    with open_binary(path) as file:
        digest.update(file.read(min(_PROBE, size)))
        file.seek(max(0, size - _PROBE))
        digest.update(file.read(min(_PROBE, size)))
    return digest.hexdigest()


class _Growth:
    """Checks how much data grow when they are unpacked, stretch by stretch.

    Parameters
    ----------
    path, packing
        The file.
    ahead
        Maximum number of packed bytes that have been read but not unpacked.
    window
        Number of unpacked bytes of a stretch.
    """

    def __init__(
        self, path: str, packing: str, ahead: int = 0, window: int = GROWTH_WINDOW
    ) -> None:
        program = "gunzip -k" if packing == "gz" else "unzstd"
        self.path, self.remedy = path, f"unpack it ({program} {path}) and give the unpacked file"
        self.ahead, self.window, self.unpacked, self.packed = ahead, window, 0, 0

    def add(self, length: int, packed: int) -> None:
        """Add unpacked bytes, read up to byte ``packed`` of the file."""
        self.unpacked += length
        if self.unpacked > self.window:
            since = packed - self.packed
            check_growth(
                self.unpacked, since + self.ahead, self.path, self.remedy, window=self.window
            )
            if since >= 4 * self.ahead:
                self.unpacked, self.packed = 0, packed


class Forward:
    """Bytes of a file by offset, read forward.

    Offsets are those of the uncompressed data. In gz and zst files an offset is reached
    by decompressing everything before it. ``cut`` becomes True if a compressed stream
    is truncated; the data before the cut are still returned. Raise ``AuditError`` if
    ``window`` unpacked bytes come from too few packed ones.
    """

    def __init__(self, path: str, packing: str, window: int = GROWTH_WINDOW) -> None:
        self.path, self.packing, self.window = path, packing, window
        self.cut = False
        self._inner: Any = None
        self._restart()

    def _restart(self) -> None:
        self.file, self.position = open_binary(self.path), 0
        self._rest, self._inner = b"", None
        self._growth = _Growth(self.path, self.packing, window=self.window)

    def _new_inner(self) -> Any:
        if self.packing == "gz":
            return zlib.decompressobj(wbits=31)
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj()

    def _unpack(self) -> bytes:
        """Return the next decompressed bytes; empty at the end."""
        import zstandard

        while True:
            raw = (
                b"" if self._inner is None else self._inner.unused_data if self._inner.eof else b""
            )
            if self._inner is not None and self._inner.eof:
                self._inner = None  # another member of the file may follow
                raw = raw.lstrip(b"\0") if self.packing == "gz" else raw
            raw = raw or self.file.read(_PIECE) or b""
            if not raw:
                self.cut = self.cut or self._inner is not None
                return b""
            self._inner = self._inner or self._new_inner()
            try:
                out: bytes = self._inner.decompress(raw)
            except (zlib.error, zstandard.ZstdError) as error:
                raise AuditError(
                    f"{self.path}: the {self.packing} data is damaged near compressed byte "
                    f"{self.file.tell()}: {error}. "
                    "Copy the file again, or test it with: "
                    f"{'gzip' if self.packing == 'gz' else 'zstd'} -t"
                ) from error
            if out:
                self._growth.add(len(out), self.file.tell())
                return out

    def read(self, length: int) -> bytes:
        """Return the next ``length`` bytes, fewer at the end."""
        if self.packing == "plain":
            data = self.file.read(length)
        else:
            pieces, have = [self._rest], len(self._rest)
            while have < length and (piece := self._unpack()):
                pieces.append(piece)
                have += len(piece)
            whole = b"".join(pieces)
            data, self._rest = whole[:length], whole[length:]
        self.position += len(data)
        return data

    def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset`` of the unpacked data."""
        if self.packing == "plain":
            self.file.seek(offset)
            return self.read(length)
        if offset < self.position:
            self.close()
            self._restart()
        while self.position < offset:
            if not self.read(min(4 << 20, offset - self.position)):
                break
        return self.read(length)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class SeekableGzip:
    """Byte ranges of a gz file, read by seek points with indexed_gzip."""

    cut = False

    def __init__(self, path: str, seek: bytes | None, spacing: int = 4 << 20) -> None:
        import indexed_gzip

        self._packed = open_binary(path)
        self.file = indexed_gzip.IndexedGzipFile(
            fileobj=self._packed, spacing=spacing, readbuf_size=1 << 20
        )
        # a file with seek points has been read as a whole before
        self._growth = _Growth(path, "gz", _READ_AHEAD) if seek is None else None
        if seek is not None:
            self.file.import_index(fileobj=io.BytesIO(zlib.decompress(seek)))

    def read(self, length: int) -> bytes:
        """Return the next ``length`` bytes, fewer at the end.

        It reads in small steps, because one large read would record no seek points.
        """
        parts: list[bytes] = []
        while length > 0 and (part := self.file.read(min(length, 1 << 18))):
            parts.append(part)
            length -= len(part)
            if self._growth is not None:
                self._growth.add(len(part), self._packed.tell())
        return b"".join(parts)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset`` of the unpacked data."""
        self.file.seek(offset)
        return self.read(length)

    def points(self) -> bytes | None:
        """Return the seek points recorded so far, or None if there are none."""
        buffer = io.BytesIO()
        self.file.export_index(fileobj=buffer)
        data = buffer.getvalue()
        return zlib.compress(data, 1) if _GZ_HEADER.unpack_from(data)[-1] else None

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        self._packed.close()


def cut_points(seek: bytes, start: int, stop: int) -> bytes:
    """Return only the seek points needed to read bytes ``start`` to ``stop``.

    This keeps the description of a task small.
    """
    data = zlib.decompress(seek)
    *head, window, count = _GZ_HEADER.unpack_from(data)
    points = [
        _GZ_POINT.unpack_from(data, _GZ_HEADER.size + k * _GZ_POINT.size) for k in range(count)
    ]
    position = _GZ_HEADER.size + count * _GZ_POINT.size
    windows = []
    for point in points:
        windows.append(data[position : position + window] if point[3] else b"")
        position += len(windows[-1])
    first = max(k for k, point in enumerate(points) if k == 0 or point[1] <= start)
    last = min((k for k, point in enumerate(points) if point[1] >= stop), default=count - 1)
    kept = range(first, last + 1)
    parts = [_GZ_HEADER.pack(*head, window, len(kept))]
    parts += [_GZ_POINT.pack(*points[k]) for k in kept] + [windows[k] for k in kept]
    return zlib.compress(b"".join(parts), 1)


def open_bytes(path: str, packing: str, seek: bytes | None = None) -> Forward | SeekableGzip:
    """Open the unpacked bytes of a file for reading by range."""
    return SeekableGzip(path, seek) if seek is not None else Forward(path, packing)


Read = Callable[[int], bytes]
