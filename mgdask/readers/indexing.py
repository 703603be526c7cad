"""Indexing and auditing of files: all headers, and the atoms of the first frame."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.errors import AuditError, ParameterError
from mgdask.readers import coordinates
from mgdask.readers.audit import (
    Audit,
    check_alike,
    check_cells,
    check_origins,
    check_sizes,
    no_frame_left,
    report_spacing,
    run_labels,
    settle_origin,
    settle_repeats,
    whole_frames,
)
from mgdask.readers.coordinates import image_increments
from mgdask.readers.damage import position_problem
from mgdask.readers.files import expand
from mgdask.readers.first_frame import choose_layout, read_first_frame
from mgdask.readers.formats.lammps_index import index_range, join
from mgdask.readers.frames import as_array
from mgdask.readers.inventory import Inventory
from mgdask.readers.records import Contents, FrameRef, SourceInfo
from mgdask.readers.sources import inspect_source, open_source
from mgdask.readers.species import PER_ATOM, SpeciesMap, make_species
from mgdask.readers.splitting import ingest_command
from mgdask.readers.units import UnitStyle, unit_style
from mgdask.readers.window import read_window

__all__ = ["Inventory", "image_increments", "read_window", "take_inventory"]

SUSPECT_FRAMES = 32
"""Number of frames in which one task looks for damaged positions."""
PIECE = 256 << 20
"""Number of bytes of an uncompressed file that one index task reads."""


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
    by_path: dict[str, list[Contents]] = {}
    for piece, contents in zip(pieces, mapper(index_piece, pieces), strict=True):
        by_path.setdefault(piece.info.path, []).append(contents)
    return [join(by_path[info.path]) for info in infos]


def find_damage(info: SourceInfo, refs: Sequence[FrameRef]) -> list[str | None]:
    """Describe positions that are not finite in each frame; runs in any process."""
    source, problems = open_source(info), list[str | None]()
    try:
        for ref in refs:
            problem = None
            # other problems are reported when the frame is read
            with suppress(AuditError):
                names = coordinates.SETS[coordinates.choose(ref.columns, ref.where)[0]]
                ids = ("id",) if "id" in ref.columns else ()
                table = source.read(ref, (*ids, *names))
                position = np.stack([as_array(table, name) for name in names], axis=1)
                known = as_array(table, "id") if ids else None
                problem = position_problem(position, known, ref.row_line)
            problems.append(problem)
    finally:
        source.close()
    return problems


def mark_damaged(
    info: SourceInfo, refs: Sequence[FrameRef], mapper: Callable[..., Iterable[Any]]
) -> list[FrameRef]:
    """Return the frames of one file; ``problem`` is set where positions are damaged.

    Only suspect frames are read.
    """
    suspect = [k for k, ref in enumerate(refs) if ref.suspect and ref.problem is None]
    size = SUSPECT_FRAMES if info.kind == "lammps" or info.seek is not None else len(suspect)
    jobs = [suspect[k : k + size] for k in range(0, len(suspect), max(size, 1))]
    marked = list(refs)
    check = partial(find_damage, info)
    for job, problems in zip(
        jobs, mapper(check, [[refs[k] for k in job] for job in jobs]), strict=True
    ):
        for k, problem in zip(job, problems, strict=True):
            marked[k] = replace(refs[k], problem=problem)
    return marked


def take_inventory(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    species: Mapping[int, str] | Mapping[str, str] | Sequence[str] | str | None = None,
    timestep: float | None = None,
    units: str | None = None,
    run: str | Sequence[str] | None = None,
    run_per_file: bool = False,
    repeated: str = "last",
    frames: slice | Sequence[int] | str | None = None,
    columns: Sequence[str] | None = None,
    atom_style: str | None = None,
    origin: Sequence[float] | None = None,
    particles: str | None = None,
    mapper: Callable[..., Iterable[Any]] = map,
) -> Inventory:
    """Index and audit files: every header, and the atoms of the first frame.

    Parameters
    ----------
    paths
        Files or glob patterns.
    species
        Elements by type, by type label, or by name for files with a column ``element``.
        For files with neither types nor elements: one element per atom, in the order of
        ids.
    timestep
        Time step in ps for frames without a time.
    units
        LAMMPS unit style of files that do not state theirs; default metal.
    run
        Label of the simulation, or one label per file. Default: derived from the file
        names.
    run_per_file
        Whether each file is a separate simulation.
    repeated
        Which frame of a repeated timestep to keep: "last", "first", "all" or "error".
    frames
        Frames to keep after repeated ones are dropped: a slice, numbers, or
        "start:stop:step". Default: all.
    columns
        Further columns to keep; default all.
    atom_style
        LAMMPS atom style of data files that do not state theirs.
    origin
        Lower corner of the cells (3,) in the unit of the files, for files that do not
        state it (extended XYZ, H5MD). Default: inferred from the positions.
    particles
        Particle group to read from H5MD files with several.
    mapper
        Function that runs the index tasks, with the interface of ``map``.

    Returns
    -------
    ``Inventory`` of the files.

    Raises
    ------
    AuditError
        If something cannot be read correctly. The message names file, line or byte,
        frame and timestep.
    ParameterError
        If an argument is not allowed.
    """
    audit = Audit()
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    species_map, corner = check_arguments(species, timestep, units, origin)
    infos = [
        inspect_source(path, units=units, atom_style=atom_style, particles=particles)
        for path in expand(given)
    ]
    refs: list[FrameRef] = []
    sources: list[SourceInfo] = []
    unknown: dict[str, str] = {}
    for info, contents in zip(infos, _index(infos, mapper), strict=True):
        for text in contents.notes:
            audit.note("file", text)
        if not contents.frames:
            raise AuditError(
                f"{info.path}: the file has no frame, read as {info.kind}. Check that it is "
                "complete; a LAMMPS dump has a line 'ITEM: TIMESTEP' in every frame"
            )
        info = replace(info, seek=contents.seek)
        contents = settle_origin(contents, corner, audit)
        found = mark_damaged(info, contents.frames, mapper)
        refs += whole_frames(found, audit)
        sources.append(info)
        unknown |= {info.path: contents.unknown_origin} if contents.unknown_origin else {}
    if not refs:
        raise no_frame_left(found[0])

    style = _settle_units(refs, units, audit)
    runs = run_labels([info.path for info in infos], run, run_per_file)
    refs = settle_repeats(refs, runs, repeated, audit)
    numbers = _select_frames(len(refs), frames)
    refs = [replace(refs[k], number=k) for k in numbers]
    first = refs[0]
    kind = next(source.kind for source in sources if source.path == first.path)
    layout = choose_layout(first, kind, species_map, columns, audit)
    words = {
        "timestep": None if timestep is None else f"{timestep!r}",
        "units": units,
        "run": run,
        "run-per-file": "" if run_per_file else None,
        "repeated": None if repeated == "last" else repeated,
        "origin": None if corner is None else ",".join(map(repr, corner.tolist())),
        "particles": particles,
    }
    command = ingest_command([os.fspath(path) for path in given], species_map, words)
    check_sizes(refs, numbers, command)
    check_alike(refs, lambda ref: layout.needed, audit)
    check_cells(refs, style)
    report_spacing(refs, runs, audit)
    check_origins(refs, unknown, coordinates.scheme(layout.kind, layout.images), audit)
    time = _times(refs, timestep, style, audit)
    used = {ref.path for ref in refs}
    sources = [source for source in sources if source.path in used]
    mapped = {str(kind): number for kind, number in (*species_map.types, *species_map.names)}
    options = {
        "species": "per atom" if layout.species == PER_ATOM else mapped,
        "timestep": timestep,
        "units": style.name,
        "repeated": repeated,
        "atom_style": atom_style,
        **({} if corner is None else {"origin": corner.tolist()}),
        **({} if particles is None else {"particles": particles}),
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
    return read_first_frame(inventory, columns, audit)


def check_arguments(
    species: Mapping[int, str] | Mapping[str, str] | Sequence[str] | str | None,
    timestep: float | None,
    units: str | None,
    origin: Sequence[float] | None,
) -> tuple[SpeciesMap, FloatArray | None]:
    """Check arguments of ``take_inventory`` that need no file.

    Parameters
    ----------
    species, timestep, units, origin
        See ``take_inventory``.

    Returns
    -------
    The map of species, and the origin (3,) if it was given.

    Raises
    ------
    ParameterError
        If a value is not allowed.
    """
    species_map = make_species(species)
    if timestep is not None and not (np.isfinite(timestep) and timestep > 0):
        raise ParameterError(f"timestep={timestep} must be a positive number of ps")
    if units is not None:
        unit_style(units)
    corner = None if origin is None else np.asarray(origin, dtype=np.float64)
    if corner is not None and (corner.shape != (3,) or not np.isfinite(corner).all()):
        raise ParameterError(
            f"origin={origin!r} must be three numbers, in the length unit of the files"
        )
    return species_map, corner


def _settle_units(refs: Sequence[FrameRef], units: str | None, audit: Audit) -> UnitStyle:
    stated = {ref.units: ref for ref in refs if ref.units}
    if len(stated) > 1:
        pair = list(stated.values())[:2]
        raise AuditError(
            f"{pair[1].where}: units {pair[1].units}, but {pair[0].where} has units "
            f"{pair[0].units}; ingest the files separately"
        )
    if stated:
        (name,) = stated
        if units not in (None, name):
            raise AuditError(
                f"{stated[name].where}: the file states units {name}, but units={units!r} was "
                "given; omit units="
            )
        if name is not None and len([ref for ref in refs if ref.units]) < len(refs):
            audit.note(
                "units", f"some files do not state their units; {name} is assumed, as in the others"
            )
    else:
        name = units or "metal"
        if units is None:
            audit.note(
                "units",
                "the files do not state their units; metal (Å, ps, eV) is assumed. "
                "Set units= for another style",
            )
    style = unit_style(name or "metal")
    if style.name == "lj":
        audit.note(
            "units",
            "units lj are not converted: lengths labeled Å and times labeled ps are in σ and τ",
        )
    elif style.length != 1.0 or style.time != 1.0:
        audit.note(
            "units",
            f"units {style.name}: lengths, times and masses are converted to Å, ps and u; further "
            "columns are not converted",
        )
    return style


def parse_frames(frames: slice | Sequence[int] | str | None) -> slice | Sequence[int] | None:
    """Return a text such as "start:stop:step" as a slice; other frames as they are.

    Raises
    ------
    ParameterError
        If the text has another form.
    """
    if not isinstance(frames, str):
        return frames
    try:
        return slice(*(int(part) if part.strip() else None for part in frames.split(":")))
    except (ValueError, TypeError):
        raise ParameterError(
            f"frames={frames!r} must have the form 'start:stop' or 'start:stop:step'"
        ) from None


def _select_frames(count: int, frames: slice | Sequence[int] | str | None) -> list[int]:
    """Return the numbers of the selected frames out of ``count``."""
    every = list(range(count))
    frames = parse_frames(frames)
    if frames is None:
        return every
    try:
        selected = every[frames] if isinstance(frames, slice) else [every[int(k)] for k in frames]
    except IndexError:
        raise ParameterError(
            f"frames={frames!r} goes beyond the {count} frames of the files"
        ) from None
    if not selected:
        raise ParameterError(f"frames={frames!r} selects none of the {count} frames of the files")
    return selected


def _times(
    refs: Sequence[FrameRef], timestep: float | None, style: UnitStyle, audit: Audit
) -> FloatArray | None:
    known = [ref for ref in refs if ref.time is not None]
    if len(known) < len(refs) and timestep is None:
        if known:
            missing = next(ref for ref in refs if ref.time is None)
            audit.note(
                "time",
                f"{missing.where}: this frame has no time, although others have one, so no times "
                "are kept. Set timestep= to keep them",
            )
        else:
            audit.note(
                "time",
                "the files have no times and timestep= was not given, so frames have steps but no "
                "times",
            )
        return None
    if timestep is not None and known:
        audit.note(
            "time",
            f"times are those of the files; timestep={timestep:g} ps is used only for frames "
            "without a time",
        )
    step = 0.0 if timestep is None else timestep
    times = np.array(
        [float(ref.step or 0) * step if ref.time is None else ref.time * style.time for ref in refs]
    )
    bad = np.flatnonzero(~np.isfinite(times))
    if bad.size:
        raise AuditError(
            f"{refs[bad[0]].where}: its time is {times[bad[0]]} ps, which is not finite; repair "
            "the file or timestep=, or exclude the frame with frames="
        )
    return times
