"""Compare the shapes of the arrays of a store with each other and with its records.

Stores of version 0.1 have no digests of their metadata. Without this check, a damaged
shape would determine how much memory is allocated.
"""

from __future__ import annotations

from pathlib import Path

import zarr

from mgdask.store.failures import readable
from mgdask.store.mark import METADATA, damaged
from mgdask.store.shards import dimension_names
from mgdask.store.sources import seals_of

SPACE = {"xyz": 3, "vector": 3}
"""Sizes of the dimensions that every store has."""


def check_shapes(path: str | Path, group: zarr.Group) -> None:
    """Raise ``DamagedStoreError`` if the arrays of a store do not fit each other.

    Nothing is read or allocated. It is done once per process and content.

    Parameters
    ----------
    path
        A finished store.
    group
        Its group.
    """
    seals = seals_of(path)
    if seals is None or seals.shapes_fit:
        return
    with readable(path, METADATA):
        arrays = sorted(group.arrays(), key=lambda item: (not seals.counts[item[0]], item[0]))
    sizes = dict(SPACE)
    for name, array in arrays:  # those with records first: their shapes can be checked
        seals.check_grid(name, array)
        for dim, size in zip(dimension_names(array), array.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                what = f"its shape {array.shape} does not fit {sizes[dim]} along {dim}"
                raise damaged(path, f"{name}/{METADATA}", what)
    seals.shapes_fit = True
