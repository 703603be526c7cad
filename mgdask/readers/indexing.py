"""Indexing and auditing of files: all headers, and the atoms of the first frame."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.errors import AuditError, ParameterError
from mgdask.readers.audit import (
    Audit,
    check_alike,
    report_spacing,
    run_labels,
    settle_repeats,
    whole_frames,
)
from mgdask.readers.coordinates import image_increments
from mgdask.readers.files import expand
from mgdask.readers.first_frame import choose_layout, read_first_frame
from mgdask.readers.formats.lammps_index import index_range, join
from mgdask.readers.inventory import Inventory
from mgdask.readers.records import Contents, FrameRef, SourceInfo
from mgdask.readers.sources import inspect_source, open_source
from mgdask.readers.species import make_species
from mgdask.readers.units import UnitStyle, unit_style
from mgdask.readers.window import read_window

__all__ = ["Inventory", "image_increments", "read_window", "take_inventory"]

PIECE = 256 << 20
"""Bytes of a plain file that one index task reads."""


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
                f"{info.path}: it has no frame: there is no line 'ITEM: TIMESTEP'. Check that it "
                "is a complete LAMMPS dump"
            )
        refs += whole_frames(contents.frames, audit)
        sources.append(replace(info, seek=contents.seek))

    style = _settle_units(refs, units, audit)
    runs = run_labels([info.path for info in infos], run, run_per_file)
    refs = settle_repeats(refs, runs, repeated, audit)
    refs = _choose(refs, frames)
    first = refs[0]
    kind = next(source.kind for source in sources if source.path == first.path)
    layout = choose_layout(first, kind, species_map, columns, audit)
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
    return read_first_frame(inventory, columns, audit)


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
