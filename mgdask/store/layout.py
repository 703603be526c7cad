"""Sizes of shards and chunks: a task owns whole shards, a reader fetches chunks.

A parallel file system works best with files of 16 MB and more. A reader who looks at
one frame, or follows one atom, needs only small parts. Both sizes depend only on the
data, never on the number of workers. So a store is the same wherever it is made.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_SHARD = 16 * 2**20
"""Minimum size of a shard in bytes."""
MIN_CUT = 48 * 2**20
"""Minimum block size in bytes when a large frame is split.

A block also computes on a halo of atoms around it. In a smaller block the halo would
exceed half the number of the block's own atoms.
"""
LARGE_FRAME = 2**16
"""Number of rows from which a frame counts as large.

Smaller frames are split to occupy more workers.
"""
MAX_BLOCK = 128 * 2**20
"""Maximum size of a block in bytes."""
CHUNK = 512 * 2**10
"""Maximum size of a chunk in bytes."""
FRAMES_IN_CHUNK = 8
"""Maximum number of frames in a chunk of a trajectory."""
GROUP = 256
"""Atoms per group of a sum.

Sums over atoms are added group by group, so they do not depend on the tasks.
"""
ROWS_IN_CHUNK = 4096
"""Rows per chunk of an array with one small row per frame, such as time or cell."""


def ceil_div(a: int, b: int) -> int:
    """Return ``a / b`` rounded up."""
    return -(-a // b)


@dataclass(frozen=True)
class TrajectoryLayout:
    """Frames per shard, and frames and atoms per chunk. A shard holds all atoms."""

    shard_frames: int
    chunk_frames: int
    chunk_atoms: int

    def shard_atoms(self, n_atoms: int) -> int:
        """Return the atoms per shard: all of them, rounded up to whole chunks."""
        return ceil_div(n_atoms, self.chunk_atoms) * self.chunk_atoms


def trajectory_layout(n_atoms: int) -> TrajectoryLayout:
    """Return the layout of position(frame, atom, xyz), at 24 bytes per atom.

    Other variables with a frame dimension are split at the same frames.
    """
    frame = 24 * n_atoms
    shard_frames = max(1, ceil_div(MIN_SHARD, frame))
    chunk_frames = min(shard_frames, FRAMES_IN_CHUNK)
    shard_frames = ceil_div(shard_frames, chunk_frames) * chunk_frames
    chunk_atoms = max(1, min(n_atoms, CHUNK // (24 * chunk_frames)))
    if GROUP < chunk_atoms < n_atoms:
        # whole groups, so that shards of unwrapped trajectories begin where chunks do
        chunk_atoms -= chunk_atoms % GROUP
    return TrajectoryLayout(shard_frames, chunk_frames, chunk_atoms)


@dataclass(frozen=True)
class BlockLayout:
    """Frames and rows of a block, and rows per chunk.

    A row is a central atom. A block is one shard. A chunk is one frame deep.
    """

    frames: int
    rows: int
    chunk_rows: int


def block_layout(
    n_frames: int, n_rows: int, row_bytes: int, *, limit: int = MAX_BLOCK
) -> BlockLayout:
    """Return the layout of a feature (frame, row, column).

    A block holds 1/64 of the output, but at least 16 MiB and at most ``limit`` bytes. A
    larger frame is split into blocks of rows, of at least 48 MiB if it is large.
    Several smaller frames share one block.

    Parameters
    ----------
    n_frames
        Number of frames.
    n_rows
        Number of central atoms.
    row_bytes
        Size of one row in bytes.
    limit
        Maximum size of a block in bytes.
    """
    total = n_frames * n_rows * row_bytes
    target = max(min(max(total // 64, MIN_SHARD), limit), row_bytes)
    chunk_rows = max(1, min(n_rows, CHUNK // row_bytes))
    frame = n_rows * row_bytes
    if frame > target:
        smallest = max(target, min(MIN_CUT, limit)) if n_rows > LARGE_FRAME else target
        n_parts = ceil_div(frame, smallest)
        rows = ceil_div(ceil_div(n_rows, n_parts), chunk_rows) * chunk_rows
        return BlockLayout(1, rows, chunk_rows)
    rows = ceil_div(n_rows, chunk_rows) * chunk_rows
    return BlockLayout(min(n_frames, max(1, target // frame)), rows, chunk_rows)
