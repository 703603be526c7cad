"""Layout of the variables and identity of the atoms, read from the first frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.bounds import shortened
from mgdask.elements import mass as standard_mass
from mgdask.errors import AuditError
from mgdask.readers import coordinates
from mgdask.readers.audit import Audit
from mgdask.readers.frames import Identity, Layout, as_array, assemble, extra_columns, identify
from mgdask.readers.inventory import Inventory, pack_identity
from mgdask.readers.plausibility import check_frame, check_timestep
from mgdask.readers.records import FrameRef, Labels, Table
from mgdask.readers.sources import open_source
from mgdask.readers.species import PER_ATOM, SpeciesMap, known_text, species_column
from mgdask.readers.units import column_unit
from mgdask.readers.window import read_window
from mgdask.variables import name_problem

_ROW_IS_IDENTITY = ("extxyz", "h5md", "netcdf", "frames")
"""Formats that may lack ids, because their writers keep the order of atoms."""


def choose_layout(
    first: FrameRef, kind: str, species: SpeciesMap, columns: Sequence[str] | None, audit: Audit
) -> Layout:
    """Choose which columns become which variables, from the first frame's header."""
    where = first.where
    has_id = "id" in first.columns
    if not has_id and kind not in _ROW_IS_IDENTITY:
        raise AuditError(
            f"{where}: there is no column 'id' ({' '.join(first.columns)}). LAMMPS writes atoms in "
            "varying order, so atoms cannot be identified without ids; write the dump again with "
            "the column id"
        )
    if not has_id:
        audit.note(
            "identity",
            f"{first.path}: the file has no ids; atoms are identified by the order of their rows",
        )
    kind_of_coordinates, images = coordinates.choose(first.columns, where)
    column = species_column(first.columns, species, where, first.n_atoms)
    if column == "type" and "element" in first.columns:
        audit.note(
            "species",
            f"{first.path}: species are taken from the given map of types; the column element is "
            "ignored",
        )
    extras = extra_columns(first.columns, columns, where)
    repeats = [
        name
        for key, names in coordinates.SETS.items()
        for name in names
        if name in first.columns and key != kind_of_coordinates
    ]
    if not images:
        repeats += [name for name in coordinates.IMAGES if name in first.columns]
    if repeats:
        audit.note(
            "columns",
            f"{first.path}: columns {' '.join(repeats)} duplicate the coordinates "
            f"{' '.join(coordinates.SETS[kind_of_coordinates])} and are not kept",
        )
    if column == PER_ATOM:
        audit.note("species", f"{first.path}: species are given per atom, in the order of ids")
    if "typelabel" in first.columns and column != "typelabel":
        audit.note("columns", f"{first.path}: column typelabel holds text and is not kept")
    has_mass = "mass" in first.columns
    layout = Layout(kind_of_coordinates, images, column, has_id, has_mass, extras)
    unused = [name for name in first.columns if name not in layout.needed and name not in repeats]
    unused = [name for name in unused if name not in ("element", "type", "typelabel")]
    if unused:
        audit.note(
            "columns",
            f"{first.path}: columns {' '.join(unused)} are not in columns= and are not kept",
        )
    if coordinates.scheme(kind_of_coordinates, images) == coordinates.DERIVED:
        audit.note(
            "images",
            "the files have no images: unwrapped trajectories are derived by minimum image "
            "between successive frames of a run. This is right only if no atom moves by half a "
            "cell between two kept frames",
        )
    return layout


def _masses(
    inventory: Inventory,
    table: Table,
    order: npt.NDArray[np.intp] | None,
    numbers: npt.NDArray[np.int32],
    audit: Audit,
) -> FloatArray:
    """Return masses (atom,) in u, from the file or from the elements."""
    if inventory.layout.has_mass:
        column = as_array(table, "mass") * inventory.style.mass
        mass = column if order is None else column[order]
        if not (np.isfinite(mass) & (mass > 0)).all():
            raise AuditError(
                f"{inventory.refs[0].where}: column mass holds values that are not positive numbers"
            )
        return np.asarray(mass, dtype=np.float64)
    if inventory.units == "lj":
        audit.note(
            "mass",
            "units are lj and the file has no column mass: standard masses of the elements in u "
            "are used",
        )
    kinds = np.unique(numbers).tolist()
    by_number = np.zeros(max(kinds) + 1)
    by_number[kinds] = [standard_mass(number) for number in kinds]
    return np.asarray(by_number[numbers])


def _common_scalars(inventory: Inventory, audit: Audit) -> tuple[str, ...]:
    """Return per-frame values that every frame has; report the others."""
    first = inventory.refs[0]
    scalars = tuple(
        name for name in first.scalars if all(name in ref.values for ref in inventory.refs)
    )
    partial = sorted({name for ref in inventory.refs for name in ref.scalars} - set(scalars))
    if partial:
        audit.note(
            "columns", f"{first.path}: {' '.join(partial)} is not in every frame and is not kept"
        )
    return scalars


def read_first_frame(
    inventory: Inventory, columns: Sequence[str] | None, audit: Audit
) -> Inventory:
    """Complete an inventory with the atoms and variables of its first frame."""
    ref, layout = inventory.refs[0], inventory.layout
    source = open_source(inventory.source_of(ref.path))
    extra = ("type",) if "type" in ref.columns and "type" not in layout.needed else ()
    try:
        table = source.read(ref, [*layout.needed, *extra])
    finally:
        source.close()
    order, ids, numbers = identify(table, ref, layout, inventory.species_map)
    mass = _masses(inventory, table, order, numbers, audit)
    if layout.species == "element" and np.unique(numbers).tolist() == [6]:
        audit.note(
            "species",
            "every atom is C, which LAMMPS writes if dump_modify element is not set; check that "
            "this is intended",
        )
    types = table.get("type")
    if layout.species == "type" and types is not None and not isinstance(types, Labels):
        present = set(np.unique(types).tolist())
        given = dict(inventory.species_map.types)
        unused = {kind: number for kind, number in given.items() if kind not in present}
        if unused:
            audit.note(
                "species",
                f"species lists {known_text(unused)}, but no atom has such a type; the types are "
                f"{', '.join(map(str, sorted(present)))}. Check that the elements are those of "
                "this file, in the order of its types",
            )
    if isinstance(types, Labels):
        audit.note("species", f"{ref.path}: the column type holds labels, which are not stored")
    elif types is not None and columns is None and "type" not in dict(layout.extras):
        pairs = np.unique(np.stack([types if order is None else types[order], numbers]), axis=1)
        # several types of one element: the species alone would lose information
        if len(np.unique(pairs[1])) < pairs.shape[1]:
            layout = replace(layout, extras=(*layout.extras, ("type", "type")))
            audit.note("species", "several types are one element; the type is kept as a variable")
    identity = Identity(
        np.asarray(ids, dtype=np.int64),
        np.asarray(numbers, dtype=np.int32),
        np.asarray(mass, dtype=np.float64),
    )
    variables: dict[str, tuple[str, str, bool]] = {}
    for name, variable in layout.extras:
        variables[variable] = (
            str(as_array(table, name).dtype),
            column_unit(name, inventory.style),
            True,
        )
    scalars = _common_scalars(inventory, audit)
    layout = replace(layout, scalars=scalars)
    for name, variable in layout.scalar_variables:
        problem = name_problem(variable)
        if problem is not None:
            raise AuditError(
                f"{inventory.refs[0].where}: the name of the value {shortened(name)!r} "
                f"{problem}. Rename it in the file"
            )
        variables[variable] = "float64", "", False
    frame = assemble(table, ref, layout, inventory.species_map, inventory.style, identity)
    position = as_array(frame, "position")
    remarks = [] if inventory.units == "lj" else _remarks(inventory, position, identity.species)
    # from here on, species given per atom belong to the identity, so windows stay small
    kept = SpeciesMap() if layout.species == PER_ATOM else inventory.species_map
    inventory = replace(
        inventory, layout=layout, species_map=kept, _identity=pack_identity(identity)
    )
    _check_runs(inventory)
    return replace(inventory, variables=variables, notes=(*remarks, *audit.lines()))


def _remarks(
    inventory: Inventory, position: FloatArray, numbers: npt.NDArray[np.int32]
) -> list[str]:
    """Return remarks on the first frame and the timestep."""
    given = inventory.options.get("timestep")
    timestep = check_timestep(inventory.step, inventory.time, given)
    return [
        *check_frame(
            position,
            inventory.cell[0],
            inventory.origin[0],
            inventory.pbc,
            numbers,
            inventory.species_map,
        ),
        *([timestep] if timestep else []),
    ]


def _check_runs(inventory: Inventory) -> None:
    """Check that the first frame of every later run has the same atoms.

    The check is done here because it would otherwise fail after hours of reading.
    """
    seen = {inventory.run[0]}
    for number, run in enumerate(inventory.run):
        if run in seen:
            continue
        seen.add(run)
        try:
            for _ in read_window(inventory, number, number + 1):
                pass
        except AuditError as error:
            raise AuditError(
                f"{error}. Run {run!r} does not have the same atoms as run {inventory.run[0]!r}. "
                "A store holds one set of atoms: ingest each run into its own store"
            ) from error
