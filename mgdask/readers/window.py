"""Reading frames of an inventory, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.readers.frames import as_array, assemble
from mgdask.readers.inventory import Inventory
from mgdask.readers.records import Source
from mgdask.readers.sources import check_unchanged, open_source


def read_window(
    inventory: Inventory, start: int | None = None, stop: int | None = None
) -> Iterator[tuple[int, dict[str, npt.NDArray[Any]]]]:
    """Read frames of an inventory, one at a time.

    Parameters
    ----------
    inventory
        Inventory, or a window of one.
    start
        Number of the first frame. Default: the first of the inventory.
    stop
        Number of the frame after the last one. Default: all frames are read.

    Yields
    ------
    Frame number, and arrays by variable: ``position`` (atom,xyz) wrapped in Å;
    ``image`` (atom,xyz) unless ``needs_image_pass``; further variables. Rows are sorted
    by id and are the atoms of ``inventory.atom_id``.

    Raises
    ------
    AuditError
        If a frame cannot be read, with file, line, frame and timestep.
    ParameterError
        If ``start`` or ``stop`` is outside the inventory.
    """
    low = inventory.first if start is None else start
    high = inventory.first + inventory.n_frames if stop is None else stop
    if not inventory.first <= low <= high <= inventory.first + inventory.n_frames:
        raise ParameterError(
            f"frames {low} to {high} are not within {inventory.first} to "
            f"{inventory.first + inventory.n_frames} of this inventory"
        )
    identity, style, path = inventory.who, inventory.style, None
    infos = {info.path: info for info in inventory.sources}
    source: Source | None = None
    try:
        for number in range(low, high):
            ref = inventory.refs[number - inventory.first]
            if source is None or ref.path != path:
                if source is not None:
                    source.close()
                check_unchanged(infos[ref.path])
                source, path = open_source(infos[ref.path]), ref.path
            table = source.read(ref, inventory.layout.needed)
            frame = assemble(table, ref, inventory.layout, inventory.species_map, style, identity)
            yield number, {name: as_array(frame, name) for name in frame}
    finally:
        if source is not None:
            source.close()
