"""How arrays are cut: shards are what one task owns, chunks are what a reader fetches. Pure arithmetic.

A file of a parallel file system wants 16 MB and more; somebody who looks at one frame, or follows one atom, wants little. Both cuts are
functions of the data alone, never of the number of workers, so that a store is the same wherever it was made.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_SHARD = 16 * 2**20
MIN_CUT = 48 * 2**20
"""Least bytes of a block that is a part of a large frame: atoms around it are worked on too, half as many as its own where it is smaller."""
LARGE_FRAME = 2**16
"""Rows of such a frame; of smaller ones more blocks are better."""
MAX_BLOCK = 128 * 2**20
CHUNK = 512 * 2**10
FRAMES_IN_CHUNK = 8
GROUP = 256
"""Atoms that are summed together: sums over atoms are sums of the sums of such groups, however atoms are cut into tasks."""
ROWS_IN_CHUNK = 4096
"""Rows in a chunk of an array that has one small row a frame (time, cell, ...)."""


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class TrajectoryLayout:
    """Frames of a shard, and frames and atoms of a chunk; a shard holds all atoms."""

    shard_frames: int
    chunk_frames: int
    chunk_atoms: int

    def shard_atoms(self, n_atoms: int) -> int:
        """Atoms of a shard: all of them, filled up to whole chunks."""
        return ceil_div(n_atoms, self.chunk_atoms) * self.chunk_atoms


def trajectory_layout(n_atoms: int) -> TrajectoryLayout:
    """Cut of position(frame, atom, xyz), 24 bytes an atom; other variables of a frame are cut at the same frames."""
    frame = 24 * n_atoms
    shard_frames = max(1, ceil_div(MIN_SHARD, frame))
    chunk_frames = min(shard_frames, FRAMES_IN_CHUNK)
    shard_frames = ceil_div(shard_frames, chunk_frames) * chunk_frames
    chunk_atoms = max(1, min(n_atoms, CHUNK // (24 * chunk_frames)))
    if GROUP < chunk_atoms < n_atoms:  # whole groups, so that shards of paths begin where chunks do
        chunk_atoms -= chunk_atoms % GROUP
    return TrajectoryLayout(shard_frames, chunk_frames, chunk_atoms)


@dataclass(frozen=True)
class BlockLayout:
    """Frames and rows (central atoms) of a block, which is one shard, and rows of a chunk, which is one frame deep."""

    frames: int
    rows: int
    chunk_rows: int


def block_layout(
    n_frames: int, n_rows: int, row_bytes: int, *, limit: int = MAX_BLOCK
) -> BlockLayout:
    """Cut of a feature (frame, row, column) whose rows take ``row_bytes``.

    Blocks have a 64th of the output, but at least 16 MiB and at most ``limit`` bytes. A frame above that is cut into blocks of rows of at least
    48 MiB if it is large, several frames below it share one.
    """
    total = n_frames * n_rows * row_bytes
    target = max(min(max(total // 64, MIN_SHARD), limit), row_bytes)
    chunk_rows = max(1, min(n_rows, CHUNK // row_bytes))
    frame = n_rows * row_bytes
    if frame > target:
        parts = ceil_div(
            frame, max(target, min(MIN_CUT, limit)) if n_rows > LARGE_FRAME else target
        )
        rows = ceil_div(ceil_div(n_rows, parts), chunk_rows) * chunk_rows
        return BlockLayout(1, rows, chunk_rows)
    rows = ceil_div(n_rows, chunk_rows) * chunk_rows
    return BlockLayout(min(n_frames, max(1, target // frame)), rows, chunk_rows)
