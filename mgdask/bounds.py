"""Bounds of the input, each defined once.

Input beyond a bound is refused before memory is allocated for it. The manual lists the
bounds on its page about input formats.
"""

from __future__ import annotations

from mgdask.errors import AuditError

RESOLUTION = 1e-6
"""Distance in Å that every position resolves."""
MAX_LENGTH = 1e9
"""Maximum absolute value in Å of coordinates, unwrapped positions and cell vectors.

Numbers of double precision are 1.2e-7 Å apart at this distance. Wrapping a position
adds a few such errors, which together stay below ``RESOLUTION``.
"""
MAX_IMAGE = 2**31 - 1
"""Maximum absolute value of a periodic image, which has 32 bits."""
MAX_STEP = 2**63 - 1
"""Maximum absolute value of a timestep, which has 64 bits."""
MAX_SHELL = 100_000
"""Maximum number of periodic images of the cell within a cutoff."""
MAX_NEIGHBORS = 1_000_000
"""Maximum number of neighbors of an atom in a cell that is fully periodic."""

MAX_GROWTH, GROWTH_WINDOW = 200, 64 << 20
"""Maximum ratio of unpacked to packed bytes, in each stretch of so many unpacked bytes.

Text dumps shrink to between a tenth and a third. Frames that repeat shrink more.
"""
MAX_LINE = 1 << 20
"""Maximum number of bytes of a line of text."""
MAX_COLUMNS = 10_000
"""Maximum number of columns of a frame."""
MAX_TYPE = 1_000_000
"""Largest number of an atom type."""
MAX_NAME = 200
"""Maximum number of bytes of the name of a variable, which is the name of a folder."""
MAX_LABEL = 1000
"""Maximum number of characters of the label of a run."""
MAX_CHUNK = 128 << 20
"""Maximum number of bytes of a chunk of an HDF5 file, unless a frame is larger."""
_SHOWN = 60


def shortened(text: str, length: int = _SHOWN) -> str:
    """Return a text, with its end replaced by "..." if it is long.

    Parameters
    ----------
    text
        Any text.
    length
        Maximum number of characters to keep.

    Examples
    --------
    >>> shortened("a very long name", 6)
    'a very...'
    """
    return text if len(text) <= length else text[:length] + "..."


def check_growth(
    unpacked: int, packed: int, path: str, remedy: str, *, window: int = GROWTH_WINDOW
) -> None:
    """Refuse data that grow far more than trajectories do when they are unpacked.

    Parameters
    ----------
    unpacked, packed
        Numbers of bytes.
    path
        The file.
    remedy
        What to do if the data are right.
    window
        Number of unpacked bytes up to which any growth is allowed.

    Raises
    ------
    AuditError
        If the data are larger than ``window`` and grow more than ``MAX_GROWTH`` times.

    Examples
    --------
    >>> check_growth(10**9, 10**8, "dump.gz", "unpack it")
    """
    if unpacked > window and unpacked > MAX_GROWTH * max(packed, 1):
        raise AuditError(
            f"{path}: {packed} stored bytes unpack to {unpacked} or more, which is over "
            f"{MAX_GROWTH} times as much. Trajectories grow 3 to 10 times, so the file is "
            f"damaged or malicious. If it is correct, {remedy}"
        )


def check_count(count: int, smallest: int, available: int, what: str) -> None:
    """Refuse a stated number of items that the rest of a file cannot hold.

    Parameters
    ----------
    count
        Number that the file states.
    smallest
        Minimum number of bytes of an item.
    available
        Number of bytes in which the items are.
    what
        Place and items, as the beginning of the message.

    Raises
    ------
    AuditError
        If the items do not fit.
    """
    if count * smallest > available:
        raise AuditError(
            f"{what}: {count} are stated, which take at least {smallest} bytes each, but only "
            f"{available} bytes follow. The file is damaged or truncated: copy or write it again"
        )
