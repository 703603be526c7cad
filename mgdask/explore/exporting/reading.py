"""Read frames for export, in any process: whole ones, or slabs of large ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import AnyArray, BoolArray, IntArray
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
        ds = self.sources[0].ds
        own = {name: None for name in ("position", "image") if "position" in ds and name in ds}
        vectors = self._read(0, own, main, rows)
        position, image = vectors.get("position"), vectors.get("image")
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
        found: dict[str, AnyArray] = {}
        for source, place in enumerate(self.rows_in):
            arrays: dict[str, list[Column]] = {}
            for column in self.columns:
                if column.source == source:
                    arrays.setdefault(column.variable, []).append(column)
            wanted = rows if place is None else place[rows]
            held = wanted >= 0
            indices = {
                name: None if few[0].index is None else [int(c.index or 0) for c in few]
                for name, few in arrays.items()
            }
            parts = self._read(source, indices, part.frames[source], wanted[held])
            for name, few in arrays.items():
                values = parts[name] if held.all() else _filled(parts[name], held)
                for k, column in enumerate(few):
                    found[column.name] = values if values.ndim == 2 else values[:, :, k]
        return {column.name: found[column.name] for column in self.columns}

    def _read(
        self,
        source: int,
        arrays: Mapping[str, list[int] | None],
        frames: Sequence[int],
        rows: IntArray,
    ) -> dict[str, AnyArray]:
        """Return parts of arrays (frame, row, ...), of the given columns or of all."""
        opened = self.sources[source]
        if not arrays or not len(rows):
            shapes = {
                n: opened.ds[n].shape[2:] if c is None else (len(c),) for n, c in arrays.items()
            }
            return {
                name: np.empty((len(frames), 0, *tail), opened.ds[name].dtype)
                for name, tail in shapes.items()
            }
        few = _range(np.asarray(frames))
        if opened.path is None:
            return _computed(opened.ds, arrays, few, _range(rows))
        # neighbors in a file are read together, and the wanted ones taken afterwards
        low, high = int(rows.min()), int(rows.max()) + 1
        dense = high - low <= len(rows) / _DENSE or not _increase(rows)
        group = open_group(opened.path)
        found = {}
        for name, columns in arrays.items():
            key: list[Any] = [few, slice(low, high) if dense else rows]
            key += [] if columns is None else [_range(np.asarray(columns))]
            key += [slice(None)] * (opened.ds[name].ndim - len(key))
            values = source_array(group, name).outer(tuple(key))
            whole = isinstance(_range(rows), slice)
            found[name] = values[:, rows - low] if dense and not whole else values
        return found


def _computed(
    ds: xr.Dataset,
    arrays: Mapping[str, list[int] | None],
    frames: slice | IntArray,
    rows: slice | IntArray,
) -> dict[str, AnyArray]:
    """Return parts of the arrays of a Dataset; lazy ones are computed together."""
    import xarray as xr

    chosen = {}
    for name, columns in arrays.items():
        dims = ds[name].dims
        key = {dims[0]: frames, dims[1]: rows}
        if columns is not None:
            key[dims[2]] = _range(np.asarray(columns))
        part = ds[name].variable.isel(key)
        chosen[name] = xr.Variable([f"{name} {k}" for k in range(part.ndim)], part.data)
    values = xr.Dataset(chosen).compute()
    return {name: values[name].values for name in arrays}


def _filled(values: AnyArray, held: BoolArray) -> AnyArray:
    """Return values (frame, row, ...) with NaN in the rows that have none."""
    kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    full: AnyArray = np.full((len(values), len(held), *values.shape[2:]), np.nan, kind)
    full[:, held] = values
    return full


def _increase(numbers: IntArray) -> bool:
    return bool((np.diff(numbers) > 0).all())


def _range(numbers: IntArray) -> slice | IntArray:
    """Return increasing numbers as a slice without gaps, if they are one."""
    low, high = int(numbers[0]), int(numbers[-1]) + 1
    is_range = high - low == len(numbers) and _increase(numbers)
    return slice(low, high) if is_range else numbers


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
