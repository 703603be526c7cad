"""Read frames for export, in any process: whole ones, or slabs of large ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import AnyArray, IntArray
from mgdask.elements import mass, symbol
from mgdask.explore.exporting.rows import Column, FrameRows
from mgdask.explore.exporting.source import Opened, along_frames, atom_ids, match_atoms
from mgdask.store.open import check_unchanged
from mgdask.store.shards import open_group
from mgdask.store.sources import source_array

if TYPE_CHECKING:
    import xarray as xr

_DENSE = 0.25
"""Share of the rows of a range from which the whole range is read."""


@dataclass(frozen=True)
class Job:
    """What the tasks of an export share. It is small.

    Attributes
    ----------
    token
        Digest of the export.
    format
        Format of the files.
    paths, contents
        The stores, the trajectory first, and the digests of their contents.
    columns
        Chosen columns.
    values
        Names of values of whole frames.
    atoms
        File with the rows of the chosen atoms; empty for all atoms.
    """

    token: str
    format: str
    paths: tuple[str, ...]
    contents: tuple[str | None, ...]
    columns: tuple[Column, ...]
    values: tuple[str, ...]
    atoms: str = ""

    def check_inputs(self) -> None:
        """Raise ``SourceChangedError`` unless all stores are as they were."""
        for path, content in zip(self.paths, self.contents, strict=True):
            check_unchanged(path, content)


@dataclass(frozen=True)
class Part:
    """Some consecutive frames, or a slab of atoms of one frame.

    Attributes
    ----------
    number
        Number of the part.
    file
        Number of the file it belongs to.
    frames
        Positions of the frames in each source, the trajectory first.
    low, high
        First and last (exclusive) chosen atom.
    first
        Whether it begins its file.
    section
        Section of a data file.
    """

    number: int
    file: int
    frames: tuple[tuple[int, ...], ...]
    low: int
    high: int
    first: bool = False
    section: str = "Atoms"

    @property
    def what(self) -> str:
        """Name of the part, for progress and messages."""
        frames = self.frames[0]
        place = f"frame {frames[0]}" if len(frames) == 1 else f"frames {frames[0]} to {frames[-1]}"
        return f"{place}, atoms {self.low} to {self.high - 1}, {self.section}"


class Reader:
    """Reads parts of the sources of an export.

    Parameters
    ----------
    sources
        The trajectory first, then features.
    columns
        Chosen columns.
    values
        Names of values of whole frames.
    atoms
        Rows of the chosen atoms; None for all.
    """

    def __init__(
        self,
        sources: Sequence[Opened],
        columns: Sequence[Column],
        values: Sequence[str],
        atoms: IntArray | None,
    ) -> None:
        self.sources, self.columns, self.value_names = sources, columns, values
        main = sources[0]
        ds = main.ds
        self.atoms = atoms
        self.ids = atom_ids(main)
        self.rows_in = [None, *(match_atoms(main, other) for other in sources[1:])]
        self.symbols, self.masses, self.types, self.own_masses = _kinds(ds)
        self.steps = (
            along_frames(ds, "step") if "step" in ds else np.arange(ds.sizes["frame"])
        ).astype(np.int64)
        self.runs = along_frames(ds, "run") if "run" in ds else [""] * len(self.steps)
        self.times = along_frames(ds, "time") if "time" in ds else None
        self.numbers = np.asarray(
            ds["frame"].values if "frame" in ds.coords else np.arange(len(self.steps))
        )
        self.values = {name: along_frames(ds, name) for name in values}
        self.cell, self.origin, self.pbc = _cells(ds)

    @property
    def n_atoms(self) -> int:
        """Number of chosen atoms."""
        return len(self.ids) if self.atoms is None else len(self.atoms)

    def frames(self, part: Part) -> Iterator[FrameRows]:
        """Yield the rows of each frame of a part."""
        rows = (
            np.arange(part.low, part.high)
            if self.atoms is None
            else self.atoms[part.low : part.high]
        )
        main = part.frames[0]
        has_positions = self.sources[0].has_positions
        position = self._read(0, "position", main, rows) if has_positions else None
        has_images = has_positions and "image" in self.sources[0].ds
        image = self._read(0, "image", main, rows) if has_images else None
        columns = self._columns(part, rows)
        for k, frame in enumerate(main):
            time = None if self.times is None else float(self.times[frame])
            yield FrameRows(
                frame=int(self.numbers[frame]),
                step=int(self.steps[frame]),
                run=str(self.runs[frame]),
                time=None if time is None or np.isnan(time) else time,
                n_atoms=self.n_atoms,
                cell=self.cell[frame],
                origin=self.origin[frame],
                pbc=self.pbc,
                ids=self.ids[rows],
                types=self.types[rows],
                symbols=self.symbols,
                masses=self.masses,
                position=np.empty((len(rows), 0)) if position is None else position[k],
                image=np.zeros((len(rows), 3), np.int32) if image is None else image[k],
                columns={name: values[k] for name, values in columns.items()},
                values={name: float(values[frame]) for name, values in self.values.items()},
                own_masses=self.own_masses,
            )

    def _columns(self, part: Part, rows: IntArray) -> dict[str, AnyArray]:
        """Return the chosen columns (frame, row) by name."""
        arrays: dict[tuple[int, str], list[Column]] = {}
        for column in self.columns:
            arrays.setdefault((column.source, column.variable), []).append(column)
        found: dict[str, AnyArray] = {}
        for (source, name), columns in arrays.items():
            frames, place = part.frames[source], self.rows_in[source]
            wanted = rows if place is None else place[rows]
            held = wanted >= 0
            index = None if columns[0].index is None else [int(c.index or 0) for c in columns]
            values = self._read(source, name, frames, wanted[held], index)
            if not held.all():
                kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
                full = np.full((len(frames), len(rows), *values.shape[2:]), np.nan, kind)
                full[:, held] = values
                values = full
            for k, column in enumerate(columns):
                found[column.name] = values if index is None else values[:, :, k]
        return {column.name: found[column.name] for column in self.columns}

    def _read(
        self,
        source: int,
        name: str,
        frames: Sequence[int],
        rows: IntArray,
        columns: list[int] | None = None,
    ) -> AnyArray:
        """Return a part of an array: (frame, row, ...)."""
        opened = self.sources[source]
        shape = opened.ds[name].shape
        if not len(rows):
            tail = shape[2:] if columns is None else (len(columns),)
            return np.empty((len(frames), 0, *tail), opened.ds[name].dtype)
        low, high = int(rows.min()), int(rows.max()) + 1
        dense = high - low <= len(rows) / _DENSE or (np.diff(rows) < 0).any()
        key: list[Any] = [_range(np.asarray(frames)), slice(low, high) if dense else rows]
        if columns is not None:
            key.append(_range(np.asarray(columns)))
        if opened.path is None:
            dims = opened.ds[name].dims
            values = opened.ds[name].isel(dict(zip(dims, key, strict=False))).values
        else:
            key += [slice(None)] * (len(shape) - len(key))
            values = source_array(open_group(opened.path), name).outer(tuple(key))
        whole = high - low == len(rows) and bool((np.diff(rows) == 1).all())
        return values[:, rows - low] if dense and not whole else values


def _range(numbers: IntArray) -> slice | IntArray:
    """Return increasing numbers as a slice without gaps, if they are one."""
    low, high = int(numbers[0]), int(numbers[-1]) + 1
    return slice(low, high) if high - low == len(numbers) else numbers


def _kinds(ds: xr.Dataset) -> tuple[tuple[str, ...], tuple[float, ...], IntArray, bool]:
    """Return element and mass of each type, the type of each atom, and ``own_masses``.

    A type is an element. Atoms of one element with two masses are two types.
    """
    numbers = np.asarray(ds["species"].values) if "species" in ds else None
    n_atoms = ds.sizes["atom"]
    if numbers is None:
        return ("X",), (0.0,), np.ones(n_atoms, np.int64), False
    standard = {int(z): mass(int(z)) for z in np.unique(numbers)}
    given = np.asarray(ds["mass"].values, dtype=np.float64) if "mass" in ds else None
    kinds: list[tuple[int, float]] = []
    types = np.zeros(n_atoms, dtype=np.int64)
    for z, usual in standard.items():
        atoms = np.flatnonzero(numbers == z)
        masses, index = (
            np.unique(given[atoms], return_inverse=True)
            if given is not None
            else (np.array([usual]), np.zeros(len(atoms), dtype=np.int64))
        )
        types[atoms] = len(kinds) + 1 + index
        kinds += [(z, float(m)) for m in masses]
    own = any(m != standard[z] for z, m in kinds)
    return tuple(symbol(z) for z, _ in kinds), tuple(m for _, m in kinds), types, own


def _cells(ds: xr.Dataset) -> tuple[AnyArray, AnyArray, tuple[bool, bool, bool]]:
    """Return cells and origins of all frames, and the periodicity."""
    n_frames = ds.sizes["frame"]
    cell = ds["cell"].values if "cell" in ds else np.zeros((n_frames, 3, 3))
    origin = ds["origin"].values if "origin" in ds else np.zeros((n_frames, 3))
    flags = ds["pbc"].values if "pbc" in ds else np.full(3, "cell" in ds)
    return cell, origin, (bool(flags[0]), bool(flags[1]), bool(flags[2]))


@lru_cache(maxsize=4)
def reader_of(job: Job) -> Reader:
    """Return the reader of an export, which each process makes once."""
    from mgdask.explore.exporting.source import open_source

    atoms = np.load(Path(job.atoms), allow_pickle=False) if job.atoms else None
    return Reader([open_source(path) for path in job.paths], job.columns, job.values, atoms)
