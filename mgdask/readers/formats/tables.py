"""Columns of tables: their selection, and the names of vector components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mgdask.elements import symbol
from mgdask.errors import AuditError
from mgdask.readers.records import FrameRef, Labels, Table

_INDEXED = {
    "pos": ("x", "y", "z"),
    "vel": ("vx", "vy", "vz"),
    "velo": ("vx", "vy", "vz"),
    "force": ("fx", "fy", "fz"),
    "forces": ("fx", "fy", "fz"),
}


def pick(table: Table, ref: FrameRef, columns: Sequence[str]) -> Table:
    """Return the given columns of a table; raise ``AuditError`` if one is missing."""
    missing = [name for name in columns if name not in table]
    if missing:
        raise AuditError(
            f"{ref.where}: {' '.join(missing)} is not in this frame; it has {' '.join(table)}"
        )
    for name in columns:
        column = table[name]
        shape = column.codes.shape if isinstance(column, Labels) else column.shape
        if shape != (ref.n_atoms,):
            raise AuditError(
                f"{ref.where}: {name} has the shape {shape}, but there are {ref.n_atoms} atoms; "
                "one value per atom is needed"
            )
    return {name: table[name] for name in columns}


def element_labels(numbers: Any) -> Labels:
    """Return atomic numbers (atom,) as element names."""
    kinds, codes = np.unique(numbers, return_inverse=True)
    return Labels(codes.astype(np.int64), tuple(symbol(int(kind)) for kind in kinds))


def component_names(name: str, width: int) -> tuple[str, ...]:
    """Return the column names of a vector: ``vx`` ..., or ``name_1``, ``name_2`` ..."""
    if width == 1:
        return (name,)
    named = _INDEXED.get(name, ())
    return named if width == len(named) else tuple(f"{name}_{k}" for k in range(1, width + 1))


def spread(name: str, values: Any) -> Table:
    """Return a per-atom array as columns.

    Vectors become ``name_1``, ``name_2``, ...; positions, velocities and forces have
    LAMMPS names.
    """
    array = np.asarray(values)
    array = array.astype(np.int64) if array.dtype.kind in "iub" else array.astype(np.float64)
    if array.ndim == 1:
        return {name: array}
    flat = array.reshape(len(array), -1)
    names = component_names(name, flat.shape[1])
    if len(names) == 1:
        names = (f"{name}_1",)
    return {column: np.ascontiguousarray(flat[:, k]) for k, column in enumerate(names)}
