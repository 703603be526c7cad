"""Indexing and auditing of files: all headers, and the atoms of the first frame."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.elements import mass as standard_mass
from mgdask.errors import AuditError, ParameterError
from mgdask.readers import coordinates
from mgdask.readers.audit import (
    Audit,
    check_alike,
    report_spacing,
    run_labels,
    settle_repeats,
    whole_frames,
)
from mgdask.readers.files import expand
from mgdask.readers.formats.lammps_index import index_range, join
from mgdask.readers.frames import (
    Identity,
    Layout,
    as_array,
    assemble,
    extra_columns,
    identify,
    variable_name,
)
from mgdask.readers.inventory import Inventory, pack_identity
from mgdask.readers.records import Contents, FrameRef, SourceInfo
from mgdask.readers.sources import inspect_source, open_source
from mgdask.readers.species import SpeciesMap, make_species, species_column
from mgdask.readers.units import UnitStyle, column_unit, unit_style
from mgdask.readers.window import read_window

PIECE = 256 << 20
"""Bytes of a plain file that one index task reads."""
_ROW_IS_IDENTITY = ("extxyz", "h5md", "netcdf")


@dataclass(frozen=True)
class Piece:
    """A part of one file for one index task; the whole file if ``stop`` is None."""

    info: SourceInfo
    start: int = 0
    stop: int | None = None


def index_piece(piece: Piece) -> Contents:
    """Index the frames that begin in a piece; runs in any process."""
    if piece.stop is not None:
        return index_range(piece.info.path, piece.start, piece.stop)
    source = open_source(piece.info)
    try:
        return source.index()
    finally:
        source.close()


def _index(infos: Sequence[SourceInfo], mapper: Callable[..., Iterable[Any]]) -> list[Contents]:
    pieces: list[Piece] = []
    for info in infos:
        if info.kind == "lammps" and info.size > PIECE:
            edges = [*range(0, info.size, PIECE), info.size]
            pieces += [Piece(info, start, stop) for start, stop in itertools.pairwise(edges)]
        else:
            pieces.append(Piece(info))
    found: dict[str, list[Contents]] = {}
    for piece, contents in zip(pieces, mapper(index_piece, pieces), strict=True):
        found.setdefault(piece.info.path, []).append(contents)
    return [join(found[info.path]) for info in infos]


def take_inventory(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    species: Mapping[int, str] | Mapping[str, str] | Sequence[str] | str | None = None,
    timestep: float | None = None,
    units: str | None = None,
    run: str | None = None,
    run_per_file: bool = False,
    repeated: str = "last",
    frames: slice | Sequence[int] | str | None = None,
    columns: Sequence[str] | None = None,
    atom_style: str | None = None,
    mapper: Callable[..., Iterable[Any]] = map,
) -> Inventory:
    """Index and audit files: every header, and the atoms of the first frame.

    Parameters
    ----------
    paths
        Files or glob patterns.
    species
        Elements by type, or by name for files with a column ``element``.
    timestep
        Time step in ps, for files without times.
    units
        LAMMPS unit style for files that do not say theirs; default metal.
    run
        Label of the simulation.
    run_per_file
        Whether each file is a simulation of its own.
    repeated
        Which frame of a repeated timestep to keep: last, first, all, or error.
    frames
        Frames to keep of those that remain: a slice, numbers, or "start:stop:step".
    columns
        Further columns to keep; default all.
    atom_style
        LAMMPS atom style of data files that do not name theirs.
    mapper
        Runs the index tasks, like ``map``.

    Returns
    -------
    ``Inventory`` of the files.

    Raises
    ------
    AuditError
        For anything that cannot be read correctly, with file, line or byte, frame and
        timestep.
    ParameterError
        For a wrong argument.
    """
    audit = Audit()
    species_map = make_species(species)
    if timestep is not None and not (np.isfinite(timestep) and timestep > 0):
        raise ParameterError(f"timestep={timestep} must be a positive number of ps")
    if units is not None:
        unit_style(units)
    infos = [inspect_source(path, units=units, atom_style=atom_style) for path in expand(paths)]
    refs: list[FrameRef] = []
    sources: list[SourceInfo] = []
    for info, contents in zip(infos, _index(infos, mapper), strict=True):
        for text in contents.notes:
            audit.note("file", text)
        if not contents.frames:
            raise AuditError(
                f"{info.path}: no frame in it: nowhere a line 'ITEM: TIMESTEP'. Is it a LAMMPS "
                "dump, and whole?"
            )
        refs += whole_frames(contents.frames, audit)
        sources.append(replace(info, seek=contents.seek))

    style = _settle_units(refs, units, audit)
    runs = run_labels([info.path for info in infos], run, run_per_file)
    refs = settle_repeats(refs, runs, repeated, audit)
    refs = _choose(refs, frames)
    first = refs[0]
    kind = next(source.kind for source in sources if source.path == first.path)
    layout = _layout(first, kind, species_map, columns, audit)
    check_alike(refs, lambda ref: layout.needed, audit)
    report_spacing(refs, runs, audit)
    time = _times(refs, timestep, style, audit)
    used = {ref.path for ref in refs}
    sources = [source for source in sources if source.path in used]
    options = {
        "species": {str(kind): number for kind, number in (*species_map.types, *species_map.names)},
        "timestep": timestep,
        "units": style.name,
        "repeated": repeated,
        "atom_style": atom_style,
    }
    inventory = Inventory(
        tuple(refs),
        tuple(sources),
        tuple(runs[ref.path] for ref in refs),
        time,
        layout,
        species_map,
        style.name,
        {},
        (),
        options,
        b"",
    )
    return _look_at_first(inventory, columns, audit)


def _settle_units(refs: Sequence[FrameRef], units: str | None, audit: Audit) -> UnitStyle:
    said = {ref.units: ref for ref in refs if ref.units}
    if len(said) > 1:
        pair = list(said.values())[:2]
        raise AuditError(
            f"{pair[1].where}: units {pair[1].units}, but {pair[0].where} says {pair[0].units}; "
            "ingest them separately"
        )
    if said:
        (name,) = said
        if units not in (None, name):
            raise AuditError(
                f"{said[name].where}: the file says units {name}, but units={units!r} was given; "
                "leave it out"
            )
        if name is not None and len([ref for ref in refs if ref.units]) < len(refs):
            audit.note(
                "units", f"some files do not say their units: taken as {name}, as the others"
            )
    else:
        name = units or "metal"
        if units is None:
            audit.note(
                "units",
                "the files do not say their units: taken as metal (Å, ps, eV); "
                "units= says otherwise",
            )
    style = unit_style(name or "metal")
    if style.name == "lj":
        audit.note(
            "units",
            "units lj are kept as they are: lengths named Å and times named ps are in σ and τ",
        )
    elif style.length != 1.0 or style.time != 1.0:
        audit.note(
            "units",
            f"units {style.name}: lengths and times are converted to Å and ps, further columns are "
            "kept as they are",
        )
    return style


def _choose(refs: list[FrameRef], frames: slice | Sequence[int] | str | None) -> list[FrameRef]:
    if frames is None:
        return refs
    if isinstance(frames, str):
        try:
            frames = slice(*(int(part) if part.strip() else None for part in frames.split(":")))
        except (ValueError, TypeError):
            raise ParameterError(
                f"frames={frames!r} must look like 'start:stop' or 'start:stop:step'"
            ) from None
    try:
        chosen = refs[frames] if isinstance(frames, slice) else [refs[int(k)] for k in frames]
    except IndexError:
        raise ParameterError(
            f"frames={frames!r} goes beyond the {len(refs)} frames of the files"
        ) from None
    if not chosen:
        raise ParameterError(
            f"frames={frames!r} chooses none of the {len(refs)} frames of the files"
        )
    return chosen


def _layout(
    first: FrameRef, kind: str, species: SpeciesMap, columns: Sequence[str] | None, audit: Audit
) -> Layout:
    where = first.where
    has_id = "id" in first.columns
    if not has_id and kind not in _ROW_IS_IDENTITY:
        raise AuditError(
            f"{where}: there is no column 'id' ({' '.join(first.columns)}). LAMMPS writes atoms in "
            "changing order, so without it "
            "nobody can say which atom is which; write the dump again with id among its columns"
        )
    if not has_id:
        audit.note(
            "identity",
            f"{first.path}: there is no id in this file: the order of its rows is "
            "taken as identity",
        )
    chosen, images = coordinates.choose(first.columns, where)
    column = species_column(first.columns, species, where)
    if column == "type" and "element" in first.columns:
        audit.note(
            "species",
            f"{first.path}: species are taken from the given map of types, not from "
            "the column element",
        )
    extras = extra_columns(first.columns, columns, where)
    repeats = [
        name
        for key, names in coordinates.SETS.items()
        for name in names
        if name in first.columns and key != chosen
    ]
    if not images:
        repeats += [name for name in coordinates.IMAGES if name in first.columns]
    if repeats:
        audit.note(
            "columns",
            f"{first.path}: columns {' '.join(repeats)} repeat what {chosen} tells and "
            "are not kept",
        )
    if "typelabel" in first.columns:
        audit.note("columns", f"{first.path}: column typelabel holds text and is not kept")
    layout = Layout(chosen, images, column, has_id, "mass" in first.columns, extras)
    left = [name for name in first.columns if name not in layout.needed and name not in repeats]
    left = [name for name in left if name not in ("element", "type", "typelabel")]
    if left:
        audit.note(
            "columns", f"{first.path}: columns {' '.join(left)} are not kept, as columns= asks"
        )
    if coordinates.scheme(chosen, images) == coordinates.DERIVED:
        audit.note(
            "images",
            "the files have no images: true paths are derived by minimum image between successive "
            "frames of a run, which is right "
            "only where no atom moves by half a cell between two kept frames",
        )
    return layout


def _times(
    refs: Sequence[FrameRef], timestep: float | None, style: UnitStyle, audit: Audit
) -> FloatArray | None:
    known = [ref for ref in refs if ref.time is not None]
    if len(known) < len(refs) and timestep is None:
        if known:
            missing = next(ref for ref in refs if ref.time is None)
            audit.note(
                "time",
                f"{missing.where}: no ITEM: TIME here, though other frames have it: no time is "
                "kept; give timestep=",
            )
        else:
            audit.note(
                "time",
                "the files have no times and no timestep= was given: frames have steps but no time",
            )
        return None
    if timestep is not None and known:
        audit.note(
            "time",
            f"times are those of the file; timestep={timestep:g} ps is used only where it has none",
        )
    step = 0.0 if timestep is None else timestep
    return np.array(
        [float(ref.step or 0) * step if ref.time is None else ref.time * style.time for ref in refs]
    )


def _look_at_first(inventory: Inventory, columns: Sequence[str] | None, audit: Audit) -> Inventory:
    """Atoms and variables as the first frame shows them."""
    ref, layout = inventory.refs[0], inventory.layout
    source = open_source(inventory.source_of(ref.path))
    both = "type" in ref.columns and "element" in ref.columns
    extra = [name for name in ("type", "element") if both and name != layout.species]
    try:
        table = source.read(ref, [*layout.needed, *extra])
    finally:
        source.close()
    order, ids, numbers = identify(table, ref, layout, inventory.species_map)
    if layout.has_mass:
        column = as_array(table, "mass") * inventory.style.mass
        mass = column if order is None else column[order]
        if not (np.isfinite(mass) & (mass > 0)).all():
            raise AuditError(f"{ref.where}: column mass holds values that are not positive numbers")
    else:
        kinds = np.unique(numbers).tolist()
        table_of_masses = np.zeros(max(kinds) + 1)
        table_of_masses[kinds] = [standard_mass(number) for number in kinds]
        mass = table_of_masses[numbers]
        if inventory.units == "lj":
            audit.note(
                "mass",
                "masses are those of the elements in u, though units are lj and the file "
                "has no column mass",
            )
    if layout.species == "element" and np.unique(numbers).tolist() == [6]:
        audit.note(
            "species",
            "every atom is C, which LAMMPS writes when dump_modify element was not given: "
            "is that meant?",
        )
    if "type" in ref.columns and columns is None and "type" not in dict(layout.extras):
        types = as_array(table, "type")[slice(None) if order is None else order]
        pairs = np.unique(np.stack([types, numbers]), axis=1)
        if (
            len(np.unique(pairs[1])) < pairs.shape[1]
        ):  # several types of one element: the type says more than the species
            layout = replace(layout, extras=(*layout.extras, ("type", "type")))
            audit.note("species", "several types are one element: the type is kept as a variable")
    who = Identity(
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
    scalars = tuple(
        name for name in ref.scalars if all(name in other.values for other in inventory.refs)
    )
    variables |= {variable_name(name): ("float64", "", False) for name in scalars}
    layout = replace(layout, scalars=scalars)
    partial = sorted({name for other in inventory.refs for name in other.scalars} - set(scalars))
    if partial:
        audit.note(
            "columns", f"{ref.path}: {' '.join(partial)} is not in every frame and is not kept"
        )
    assemble(table, ref, layout, inventory.species_map, inventory.style, who)
    _check_runs(replace(inventory, layout=layout, _identity=pack_identity(who)))
    return replace(
        inventory,
        layout=layout,
        variables=variables,
        notes=audit.lines(),
        _identity=pack_identity(who),
    )


def _check_runs(inventory: Inventory) -> None:
    """Check that the first frame of every further run has the same atoms.

    This is checked now rather than after hours of reading.
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
                f"{error}. Run {run!r} is not made of the same atoms as run {inventory.run[0]!r}: "
                "one store holds one set of atoms, "
                "so ingest each into a store of its own"
            ) from error
