"""Whether what was read from a damaged file is still what the file says."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import zstandard

from mgdask.readers.indexing import take_inventory
from mgdask.readers.inventory import Inventory
from mgdask.readers.text_columns import read_column
from mgdask.readers.window import read_window

TYPES = {1: "Zr", 2: "Cu", 3: "Cu"}
LABELS = {"Zr": "Zr", "Cu": "Cu", "Cu-core": "Cu", "Cu-shell": "Cu"}
TOLERANCE = 2e-6
"""Maximum change in Å of an unwrapped position, twice the stated resolution."""


def unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(wbits=31).decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data


def read(path: Path, dialect: str) -> None:
    """Read a file and check every number of it."""
    if dialect.startswith("column"):
        found = read_column(path, 2)
        assert np.isfinite(found.values).all()
        assert len(found.values) == len(found.lines) > 0
        return
    species = dict.fromkeys(range(1, 9), "Zr") if dialect.startswith("mda") else TYPES
    inventory = take_inventory(path, species=LABELS if "labels" in dialect else species)
    assert inventory.step.dtype == np.int64
    assert inventory.time is None or np.isfinite(inventory.time).all()
    text = unpacked(path) if path.suffix in (".dump", ".gz", ".zst") else None
    for number, values in read_window(inventory):
        position = values["position"]
        assert position.shape == (inventory.n_atoms, 3)
        assert np.isfinite(position).all()
        assert np.abs(position).max() <= 1.1e9
        cell, origin = inventory.cell[number], inventory.origin[number]
        pbc = np.array(inventory.pbc)
        if pbc.all():
            fraction = np.linalg.solve(cell.T, (position - origin).T).T
            assert (fraction > -1e-3).all()
            assert (fraction < 1 + 1e-3).all()
        if text is not None:
            compare(inventory, number, values, text)


def compare(inventory: Inventory, number: int, values: dict, text: bytes) -> None:
    """Compare a frame of a LAMMPS dump with its text, read word by word."""
    ref, layout = inventory.refs[number], inventory.layout
    rows = text[ref.offset : ref.offset + ref.length].decode("utf-8", "replace").split("\n")
    table = [row.split() for row in rows if row.strip()]
    assert len(table) == ref.n_atoms
    place = {name: k for k, name in enumerate(ref.columns)}
    table.sort(key=lambda row: int(row[place["id"]], 0))
    assert [int(row[place["id"]], 0) for row in table] == inventory.atom_id.tolist()
    names = {"x": "x y z", "xs": "xs ys zs", "xu": "xu yu zu", "xsu": "xsu ysu zsu"}[layout.kind]
    raw = np.array([[float(row[place[name]]) for name in names.split()] for row in table])
    cell = inventory.cell[number]
    if layout.kind in ("xs", "xsu"):
        raw = raw @ cell + inventory.origin[number]
    else:
        raw = raw * inventory.style.length
    position = values["position"]
    if layout.images:
        flags = [[int(row[place[name]], 0) for name in ("ix", "iy", "iz")] for row in table]
        raw = raw + np.array(flags) @ cell
    size = np.abs(cell).max()
    if "image" in values:
        found = position + values["image"] @ cell
        assert np.abs(found - raw).max() <= TOLERANCE + 1e-15 * size * np.abs(values["image"]).max()
    else:
        shift = np.linalg.solve(cell.T, (raw - position).T).T
        whole = np.rint(shift)
        assert np.abs((shift - whole) @ cell).max() <= TOLERANCE + 1e-12 * np.abs(raw).max()
