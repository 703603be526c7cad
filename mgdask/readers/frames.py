"""Assembly of one frame: sorted by id, checked against the inventory, wrapped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask import variables
from mgdask.bounds import shortened
from mgdask.errors import AuditError, ParameterError
from mgdask.geometry import FarPositionError
from mgdask.readers import coordinates
from mgdask.readers.records import FrameRef, Labels, Table
from mgdask.readers.species import PER_ATOM, SpeciesMap
from mgdask.readers.units import UnitStyle

_KNOWN = {"id", "type", "element", "typelabel", "mass", *coordinates.IMAGES} | {
    name for names in coordinates.SETS.values() for name in names
}


@dataclass(frozen=True)
class Layout:
    """Which columns of the file become which variables."""

    kind: str
    images: bool
    species: str
    has_id: bool
    has_mass: bool
    extras: tuple[tuple[str, str], ...]
    scalars: tuple[str, ...] = ()

    @property
    def scalar_variables(self) -> tuple[tuple[str, str], ...]:
        """Variable of each number of the whole frame: (name in the file, variable)."""
        return tuple(unique_names(self.scalars, [name for _, name in self.extras]).items())

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that are read; all others are skipped."""
        return (
            *(("id",) if self.has_id else ()),
            *((self.species,) if self.species != PER_ATOM else ()),
            *coordinates.SETS[self.kind],
            *(coordinates.IMAGES if self.images else ()),
            *(("mass",) if self.has_mass else ()),
            *(column for column, _ in self.extras if column != self.species),
        )


def variable_name(column: str) -> str:
    """Return the variable name of a column: ``c_pe[1]`` becomes ``c_pe_1``.

    Names that mgdask uses itself, or that begin with a digit, get the prefix ``file_``.
    """
    name = re.sub(r"\W+", "_", column).strip("_") or "column"
    taken = name in variables.VARIABLES or variables.name_key(name) in variables.TAKEN
    return f"file_{name}" if taken or name[0].isdigit() else name


def unique_names(columns: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """Return the variable name of each column, all different.

    Names that differ only by case would be one folder on some file systems, so they
    count as equal.

    Parameters
    ----------
    columns
        Names in the file.
    taken
        Names of other variables.
    """
    keys = {variables.name_key(name) for name in taken}
    names: dict[str, str] = {}
    for column in columns:
        name = variable_name(column)
        while variables.name_key(name) in keys:
            name += "_"
        keys.add(variables.name_key(name))
        names[column] = name
    return names


def extra_columns(
    columns: Sequence[str], selected: Sequence[str] | None, where: str
) -> tuple[tuple[str, str], ...]:
    """Return (column, variable) of the further columns to keep, by default all.

    Raise ``ParameterError`` if a selected column does not exist or is read anyway.
    """
    further = [name for name in columns if name not in _KNOWN]
    if selected is not None:
        missing = [name for name in selected if name not in columns]
        if missing:
            raise ParameterError(
                f"columns={list(selected)}: {where} has no column {', '.join(missing)}; it has "
                f"{' '.join(columns)}"
            )
        core = [name for name in selected if name in _KNOWN and name != "type"]
        if core:
            raise ParameterError(
                f"columns={list(selected)}: {', '.join(core)} is read anyway or duplicates the "
                "position; leave it out of columns="
            )
        further = list(selected)
    names = unique_names(further)
    for column, name in names.items():
        problem = variables.name_problem(name)
        if problem is not None:
            raise AuditError(
                f"{where}: the name of the column {shortened(column)!r} {problem}. Leave "
                "it out: list the other columns in columns=[...] (--columns)"
            )
    return tuple(names.items())


def sorting(ids: npt.NDArray[np.int64], ref: FrameRef) -> npt.NDArray[np.intp] | None:
    """Return the order that sorts rows by id, or None if they are sorted.

    Raise ``AuditError`` if an id occurs twice.
    """
    if bool((ids[1:] > ids[:-1]).all()):
        return None
    n = ids.size
    # ids 1..N, the usual case: place them without sorting
    if ids.min() == 1 and ids.max() == n:
        order = np.full(n, -1, dtype=np.intp)
        order[ids - 1] = np.arange(n)
        if order.min() >= 0:
            return order
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if twice.size:
        row, again = int(order[twice[0]]), int(order[twice[0] + 1])
        raise AuditError(
            f"{ref.where}: id {ordered[twice[0]]} occurs twice ({_row(ref, row)} and "
            f"{_row(ref, again)}; repeated ids in this frame: {twice.size}). The atoms cannot be "
            "identified: repair the file, or exclude the frame with frames="
        )
    return order


def _row(ref: FrameRef, row: int) -> str:
    return f"line {ref.row_line + row}" if ref.row_line else f"row {row}"


def numbers_of(
    table: Table, layout: Layout, species: SpeciesMap, ref: FrameRef
) -> npt.NDArray[np.int32]:
    """Return atomic numbers in the order of the file."""
    column = table[layout.species]
    if isinstance(column, Labels):
        return species.from_names(column, ref.where, layout.species)
    return species.from_types(column, ref.where)


def as_array(table: Table, name: str) -> npt.NDArray[Any]:
    """Return a numeric column."""
    column = table[name]
    if isinstance(column, Labels):
        raise AuditError(f"column {name} holds text, not numbers")
    return column


@dataclass(frozen=True)
class Identity:
    """The atoms of every frame: ids, species and masses."""

    atom_id: npt.NDArray[np.int64]
    species: npt.NDArray[np.int32]
    mass: npt.NDArray[np.float64]


def identify(
    table: Table, ref: FrameRef, layout: Layout, species: SpeciesMap
) -> tuple[Any, Any, Any]:
    """Return the order of rows, sorted ids and atomic numbers of one frame.

    The order is None if the rows are sorted.
    """
    ids = as_array(table, "id") if layout.has_id else np.arange(1, ref.n_atoms + 1)
    order = sorting(ids, ref)
    if layout.species == PER_ATOM:
        return order, ids if order is None else ids[order], species.per_atom()
    numbers = numbers_of(table, layout, species, ref)
    return (order, ids, numbers) if order is None else (order, ids[order], numbers[order])


def assemble(
    table: Table,
    ref: FrameRef,
    layout: Layout,
    species: SpeciesMap,
    style: UnitStyle,
    identity: Identity,
) -> Table:
    """Return position, image and further variables of one frame, rows sorted by id.

    Raise ``AuditError`` if the atoms are not those of ``identity``.
    """
    order, ids, numbers = identify(table, ref, layout, species)
    if not np.array_equal(ids, identity.atom_id):
        missing, new = np.setdiff1d(identity.atom_id, ids), np.setdiff1d(ids, identity.atom_id)
        raise AuditError(
            f"{ref.where}: the set of ids differs from that of the first frame: missing "
            f"{_listed(missing)}, new {_listed(new)}. A store holds one set of atoms. Ingest the "
            f"frames before and after the change into two stores, with frames=':{ref.number}' and "
            f"frames='{ref.number}:' (--frames :{ref.number} and --frames {ref.number}:)"
        )
    if layout.species != PER_ATOM and not np.array_equal(numbers, identity.species):
        bad = int(np.flatnonzero(numbers != identity.species)[0])
        raise AuditError(
            f"{ref.where}: id {ids[bad]} changes species: atomic number {numbers[bad]} here, "
            f"{identity.species[bad]} in the first frame"
        )
    raw = np.empty((ref.n_atoms, 3))
    for axis, name in enumerate(coordinates.SETS[layout.kind]):
        column = as_array(table, name)
        raw[:, axis] = column if order is None else column[order]
    if not np.isfinite(raw).all():
        bad = int(np.flatnonzero(~np.isfinite(raw).all(axis=1))[0])
        row = bad if order is None else int(order[bad])
        raise AuditError(
            f"{ref.where}: the position of id {ids[bad]} is {raw[bad].tolist()} "
            f"({_row(ref, row)}). The simulation diverged or the file is damaged: exclude the "
            "frame with frames="
        )
    images = None
    if layout.images:
        images = np.empty((ref.n_atoms, 3))
        for axis, name in enumerate(coordinates.IMAGES):
            column = as_array(table, name)
            images[:, axis] = column if order is None else column[order]
    cell, origin = ref.cell, ref.origin
    if style.length != 1.0:
        cell, origin = cell * style.length, origin * style.length
        if layout.kind in ("x", "xu"):
            raw *= style.length
    try:
        position, image = coordinates.place(layout.kind, raw, images, cell, origin, ref.pbc)
    except FarPositionError as error:
        row = error.atom if order is None else int(order[error.atom])
        raise AuditError(
            f"{ref.where}: id {ids[error.atom]} ({_row(ref, row)}): {error.reason}. The simulation "
            "diverged or the file is damaged: exclude the frame with frames="
        ) from error
    frame: Table = {"position": position}
    if layout.images or layout.kind in ("xu", "xsu"):
        frame["image"] = image
    for column_name, variable in layout.extras:
        column = as_array(table, column_name)
        frame[variable] = column if order is None else column[order]
    return frame


def _listed(ids: npt.NDArray[Any]) -> str:
    shown = " ".join(map(str, ids[:5].tolist())) or "none"
    return shown + (f" ... ({ids.size} in all)" if ids.size > 5 else "")
