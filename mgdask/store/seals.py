"""Seals: digests that identify the file of a shard without reading its data.

The seal of a shard is a digest over its index and the CRC32C of each of its chunks.
Checking it reads the index and 4 bytes per chunk, whatever the chunks hold. Zarr
compares each chunk that it decodes with that CRC32C. Together, these checks detect a
swapped, foreign, truncated or empty file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mgdask._typing import IntArray
from mgdask.store.remote_path import RemotePath

CRC = 4
"""Bytes of a CRC32C: the last of each chunk, and of the index."""
READ_WHOLE = 2**20
"""Maximum size of a file in bytes that is read at once."""
EMPTY = np.uint64(2**64 - 1)
"""Offset and length of a chunk of fill values, which is not stored."""


def read_seal(file: Path | RemotePath, n_chunks: int | None) -> str:
    """Return the seal of the file of a shard.

    Parameters
    ----------
    file
        The file.
    n_chunks
        Number of chunks of a shard; None if the file is a chunk itself.

    Returns
    -------
    seal
        Digest of the index and the CRC32C of each chunk. An empty string for a file
        that cannot be a shard of so many chunks.

    Raises
    ------
    OSError
        If the file cannot be read.

    Notes
    -----
    The index lies at the end of the file: offset and length of each chunk as
    little-endian uint64, then a CRC32C.
    """
    if isinstance(file, RemotePath):
        return _read_remote(file, n_chunks)
    with open(file, "rb", buffering=0) as stream:
        size = stream.seek(0, 2)
        if n_chunks is None:
            return _digest(_read(stream, size - CRC, CRC)) if size > CRC else ""
        index_bytes = 16 * n_chunks + CRC
        if size < index_bytes:
            return ""
        index = _read(stream, size - index_bytes, index_bytes)
        ends = _ends(index, size - index_bytes)
        if ends is None:
            return ""
        if size <= READ_WHOLE:
            data = np.frombuffer(_read(stream, 0, size), dtype=np.uint8)
            sums = data[ends[:, None] + np.arange(-CRC, 0)].tobytes()
        else:
            sums = b"".join(_read(stream, end - CRC, CRC) for end in ends.tolist())
    return _digest(index, sums)


def _read_remote(file: RemotePath, n_chunks: int | None) -> str:
    """Return the seal of an object, from the same bytes."""
    size = file.size()
    if n_chunks is None:
        return _digest(*file.read_parts([(size - CRC, size)], size)) if size > CRC else ""
    start = size - (16 * n_chunks + CRC)
    if start < 0:
        return ""
    index = file.read_parts([(start, size)], size)[0]
    ends = _ends(index, start)
    if ends is None:
        return ""
    return _digest(index, *file.read_parts([(end - CRC, end) for end in ends.tolist()], size))


def _ends(index: bytes, limit: int) -> IntArray | None:
    """Return where the stored chunks end, or None if one is outside the file."""
    places = np.frombuffer(index[:-CRC], dtype="<u8").reshape(-1, 2)
    stored = places[(places != EMPTY).any(axis=1)]
    offset, length = stored[:, 0], stored[:, 1]
    if (offset > limit).any() or (length > limit).any() or (length < CRC).any():
        return None
    ends: IntArray = (offset + length).astype(np.int64)
    return None if (ends > limit).any() else ends


def _read(stream: BinaryIO, start: int, length: int) -> bytes:
    stream.seek(start)
    parts = []
    while length:
        part = stream.read(length)
        if not part:  # it was truncated meanwhile
            break
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
