"""Checks of an export before anything is written, and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mgdask._typing import IntArray
from mgdask.errors import ParameterError, StoreError
from mgdask.explore.exporting import data
from mgdask.explore.exporting.cutting import VALUE, parts_of, table_cut, text_cut
from mgdask.explore.exporting.joining import parts_folder
from mgdask.explore.exporting.reading import Part, Reader
from mgdask.explore.exporting.rows import Column, named
from mgdask.explore.exporting.source import (
    Opened,
    along_frames,
    choose_atoms,
    choose_columns,
    choose_frames,
    columns_of,
    frame_values,
    match_atoms,
    match_frames,
    open_source,
)
from mgdask.explore.exporting.targets import files_of, format_of
from mgdask.pipelines.featurize.validation import Frames, frames_text
from mgdask.store.provenance import digest

if TYPE_CHECKING:
    from mgdask.explore.exporting.source import Source

Format = Literal["extxyz", "dump", "data", "parquet"]
VERSION = 1
"""Version of the files that are written; a changed one starts an export anew."""
SMALL = 64 * 2**20
"""Approximate size in bytes of files that are written without workers."""


@dataclass(frozen=True)
class Plan:
    """A checked export.

    Attributes
    ----------
    out, format
        Target and format.
    opened
        Sources, the trajectory first.
    frames
        Positions of the chosen frames in each source.
    atoms
        Rows of the chosen atoms; None for all.
    columns, values
        Chosen columns, and names of values of whole frames.
    files
        Files to write, each with its places among the chosen frames.
    parts
        Parts in order.
    notes
        What is not in the files.
    overwrite
        Whether to replace existing files.
    """

    out: Path
    format: str
    opened: list[Opened]
    frames: list[IntArray]
    atoms: IntArray | None
    columns: list[Column]
    values: list[str]
    files: list[tuple[Path, list[int]]]
    parts: list[Part]
    notes: list[str]
    overwrite: bool

    @property
    def n_atoms(self) -> int:
        """Number of chosen atoms."""
        n_atoms: int = self.opened[0].ds.sizes["atom"]
        return n_atoms if self.atoms is None else len(self.atoms)

    @property
    def is_of_stores(self) -> bool:
        """Whether tasks can open all sources by their paths."""
        return all(each.path is not None for each in self.opened)

    @property
    def is_small(self) -> bool:
        """Whether starting workers would take longer than the export."""
        numbers = len(self.frames[0]) * self.n_atoms * (9 + len(self.columns))
        return numbers * VALUE <= SMALL

    @property
    def targets(self) -> list[Path]:
        """Files to write, or the folder of a table."""
        return [self.out] if self.format == "parquet" else [path for path, _ in self.files]

    def reader(self) -> Reader:
        """Return what reads the frames in this process."""
        return Reader(self.opened, self.columns, self.values, self.atoms)

    def run(self, part: Part) -> str:
        """Return the run of the first frame of a part."""
        ds = self.opened[0].ds
        return str(along_frames(ds, "run")[part.frames[0][0]]) if "run" in ds else ""

    def identity(self) -> str:
        """Return the digest of all that decides the bytes; empty if it is unknown."""
        if not self.is_of_stores:
            return ""
        return digest(
            {
                "version": VERSION,
                "format": self.format,
                "contents": [each.content for each in self.opened],
                "frames": [each.tolist() for each in self.frames],
                "atoms": None if self.atoms is None else self.atoms.tolist(),
                "columns": [asdict(column) for column in self.columns],
                "values": self.values,
                "files": [[str(path), places] for path, places in self.files],
                "parts": [len(self.parts), self.parts[-1].low],
            }
        )


def make_plan(
    source: Source,
    out: Path,
    frames: Frames,
    features: Sequence[Source],
    columns: Sequence[str] | None,
    atoms: Any,
    format_name: str | None,
    overwrite: bool,
) -> Plan:
    """Check the arguments of ``export`` and cut it into parts."""
    kind = format_of(out, format_name)
    if isinstance(features, str | Path) or not isinstance(features, Sequence):
        features = [features]
    opened = [open_source(each) for each in (source, *features)]
    main, notes = opened[0], list[str]()
    if kind != "parquet" and not (main.has_positions and "cell" in main.ds):
        raise ParameterError(
            f"{main.name} has no positions and cell, which {kind} needs; give the trajectory, and "
            f"the features as features=[...] (--features), or write a table (--table)"
        )
    for each in opened[1:]:
        match_atoms(main, each)
    chosen = choose_frames(main, frames)
    matched = [match_frames(main, each, chosen, all_of=frames is not None) for each in opened[1:]]
    have = np.all([each >= 0 for each in [chosen, *matched]], axis=0)
    if not have.all():
        if not have.any():
            names = ", ".join(each.name for each in opened[1:])
            raise ParameterError(f"no frame of {main.name} has features in {names}")
        chosen, matched = chosen[have], [each[have] for each in matched]
        notes.append(f"frames {frames_text(chosen.tolist())}, which all features have")
    rows = choose_atoms(main, atoms)
    found = [list(columns_of(each, k)) for k, each in enumerate(opened)]
    for each, own in zip(opened[1:], found[1:], strict=True):
        if not own:
            raise ParameterError(
                f"{each.name} has no columns of features; features= (--features) takes stores of "
                "mgdask featurize"
            )
    every = [column for own in found for column in own]
    values = frame_values(main) if kind in ("extxyz", "parquet") else []
    if kind == "data":
        picked = _velocities(every, columns, notes)
    else:
        picked = named(choose_columns(every, columns), plain=kind != "parquet", taken=values)
    left = [] if kind in ("extxyz", "parquet") else frame_values(main)
    if kind == "data" and "time" in main.ds.variables:
        left = ["time", *left]
    if left:
        notes.append(f"{', '.join(left)} of each frame: {kind} files have no place for them")
    n_atoms = main.ds.sizes["atom"] if rows is None else len(rows)
    files = files_of(out, kind, main, chosen)
    cut = (table_cut if kind == "parquet" else text_cut)(n_atoms, len(picked))
    sections = ("Atoms", "Velocities") if kind == "data" and picked else ("Atoms",)
    parts = list(parts_of([places for _, places in files], [chosen, *matched], cut, sections))
    plan = Plan(
        out, kind, opened, [chosen, *matched], rows, picked, values, files, parts, notes, overwrite
    )
    if not overwrite and not parts_folder(out).is_dir():  # then looked at under the lock
        refuse_existing(plan.targets)
    return plan


def _velocities(
    every: Sequence[Column], wanted: Sequence[str] | None, notes: list[str]
) -> list[Column]:
    """Return the columns of a data file: velocities, if there are any."""
    if wanted is not None and not set(wanted) <= set(data.VELOCITIES):
        raise ParameterError(
            f"a LAMMPS data file has no column {', '.join(map(str, wanted))}; it holds ids, types, "
            "positions, images and velocities (vx, vy, vz). Choose extxyz or dump"
        )
    own = {column.label: column for column in every if column.source == 0}
    has_all = all(name in own for name in data.VELOCITIES)
    left = [
        c.label
        for c in every
        if not (has_all and own.get(c.label) is c and c.label in data.VELOCITIES)
    ]
    if left:
        notes.append(
            f"{len(left)} columns, such as {left[0]}: data files have no place for them; "
            "extxyz and dump have"
        )
    return named([own[name] for name in data.VELOCITIES], plain=True) if has_all else []


def refuse_existing(targets: Sequence[Path]) -> None:
    """Raise ``StoreError`` if one of the targets exists."""
    for path in targets:
        if path.exists():
            raise StoreError(
                f"{path} exists; choose another out= (--out), or replace it with overwrite=True "
                "(--overwrite)"
            )
