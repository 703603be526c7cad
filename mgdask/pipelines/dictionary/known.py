"""Entries that a process has loaded, prepared for the search.

The threads of a process share one index, also with the client if it runs in the same
process. It grows with the files of the dictionary. Processes share the pages of these
files.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from mgdask._typing import IntArray
from mgdask.kernels.nearest import VectorIndex, make_index
from mgdask.store.dictionaries import ORIGINS
from mgdask.store.growing import GrowingEntries

MAX_KNOWN = 2
"""Maximum number of runs whose entries a process keeps."""


@dataclass(frozen=True)
class Known:
    """Entries of a dictionary that is being built.

    Attributes
    ----------
    index
        The entries; None if there are none.
    n_entries
        Number of entries.
    """

    index: VectorIndex | None
    n_entries: int


_KNOWN: dict[str, Known] = {}
_LOCK = threading.Lock()


def known_entries(run: str, entries: GrowingEntries, *, per_species: bool) -> Known:
    """Return the newest entries of a dictionary that is being built.

    Parameters
    ----------
    run
        Identifies the run. Rows of an earlier run may have been truncated.
    entries
        Files of the entries.
    per_species
        Whether entries are grouped by the species of the central atom.
    """
    with _LOCK:
        known = _KNOWN.pop(run, Known(None, 0))
        newest = entries.newest()
        if newest > known.n_entries:
            vectors = entries.vectors(known.n_entries, newest)
            group = _groups(entries.origins(known.n_entries, newest)) if per_species else None
            index = (
                make_index(vectors, group)
                if known.index is None
                else known.index.extended(vectors, group)
            )
            known = Known(index, newest)
        _KNOWN[run] = known
        while len(_KNOWN) > MAX_KNOWN:
            _KNOWN.pop(next(iter(_KNOWN)))
    return known


def forget(run: str) -> None:
    """Release the entries of a run, whose files are about to be removed.

    Parameters
    ----------
    run
        Identifies the run.
    """
    with _LOCK:
        _KNOWN.pop(run, None)


def _groups(origins: IntArray) -> IntArray:
    return np.ascontiguousarray(origins[:, ORIGINS.index("species")])
