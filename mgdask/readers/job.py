"""The inventory of an ingest, all that is known before atoms are read, and the reading of its frames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.elements import atomic_number, mass
from mgdask.errors import AuditError, ParameterError
from mgdask.readers import audit, convert
from mgdask.readers.frames import Columns, FrameRef
from mgdask.readers.sources import expand, open_source
from mgdask.readers.units import LENGTH, TIME, check_units, unit_of

SpeciesMap = Mapping[int, str] | Sequence[str] | None
_KNOWN = {
    "id",
    "type",
    "element",
    "mass",
    *convert.FLAGS,
    *(n for names in convert.COORDINATES.values() for n in names),
}


@dataclass(frozen=True)
class Inventory:
    """Everything about the frames to ingest but the atoms themselves; small, picklable, and cut into windows for tasks."""

    refs: tuple[FrameRef, ...]
    runs: tuple[str, ...]
    times: tuple[float, ...] | None
    atom_id: npt.NDArray[np.int64]
    species: npt.NDArray[np.int32]
    mass: npt.NDArray[np.float64]
    variables: dict[str, tuple[str, str]]
    coordinates: str
    image_scheme: str
    units: str
    types: dict[int, int] | None
    identity: str
    sources: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def n_frames(self) -> int:
        """Number of frames kept."""
        return len(self.refs)

    @property
    def n_atoms(self) -> int:
        """Number of atoms of every frame."""
        return len(self.atom_id)

    @property
    def step(self) -> npt.NDArray[np.int64]:
        """Time step of every frame."""
        return np.array([ref.step for ref in self.refs], dtype=np.int64)

    @property
    def cell(self) -> npt.NDArray[np.float64]:
        """(frame,3,3) in Å."""
        return np.array([ref.cell for ref in self.refs]).reshape(-1, 3, 3)

    @property
    def origin(self) -> npt.NDArray[np.float64]:
        """(frame,3) in Å."""
        return np.array([ref.origin for ref in self.refs])

    @property
    def pbc(self) -> npt.NDArray[np.bool_]:
        """(3,) which vectors repeat."""
        return np.array(self.refs[0].pbc)

    @property
    def needs_image_pass(self) -> bool:
        """Whether images have to be derived from one frame to the next."""
        return self.image_scheme == convert.SCHEME_DERIVED

    def window(self, start: int, stop: int) -> Inventory:
        """The same for frames start to stop: what a task needs."""
        times = None if self.times is None else self.times[start:stop]
        return replace(self, refs=self.refs[start:stop], runs=self.runs[start:stop], times=times, notes=(), sources=())

    def digest(self) -> str:
        """Identity of the input and of how it is read: equal digests give equal stores."""
        text = repr((self.refs, self.runs, self.times, self.coordinates, self.image_scheme, self.units, self.sources,
                     sorted(self.variables.items()), self.identity))  # fmt: skip
        found = hashlib.sha256(text.encode())
        for array in (self.atom_id, self.species, self.mass):
            found.update(array.tobytes())
        return found.hexdigest()


def take_inventory(
    paths: str | Path | Sequence[str | Path], *, species: SpeciesMap = None, timestep: float | None = None,
    units: str | None = None, run: str | None = None, run_per_file: bool = False, repeated: audit.Repeated = "last",
    columns: Sequence[str] | None = None, mapper: Callable[..., Any] = map,
) -> Inventory:  # fmt: skip
    """Index the files, audit their headers, read the first frame: the plan of an ingest.

    ``columns`` are the further columns to keep (default all). Raises ``AuditError`` for what cannot be read right.
    """
    if timestep is not None and not timestep > 0:
        raise ParameterError(f"timestep={timestep!r} must be positive, in ps")
    if run is not None and run_per_file:
        raise ParameterError("run and run_per_file exclude each other: the labels come from the files' names")
    if units is not None:
        check_units(units)
    notes: list[str] = []
    files = expand(paths)
    sources = [open_source(path, mapper) for path in files]
    by_run: dict[str, list[FrameRef]] = {}
    for source in sources:
        found = audit.drop_incomplete(source.index(), notes)
        label = (run or _stem(files[0])) if not run_per_file else _stem(source.path)
        if run_per_file and label in by_run:
            raise AuditError(f"two files give the run label {label!r}, the second is {source.path}; rename one of them")
        by_run.setdefault(label, []).extend(found)
    refs: list[FrameRef] = []
    runs: list[str] = []
    for label, some in by_run.items():
        kept = audit.drop_repeated(some, repeated, notes)
        audit.note_spacing(kept, notes, label)
        refs += kept
        runs += [label] * len(kept)
    audit.check_headers(refs, notes)

    style = check_units(refs[0].units or units or "metal")
    if units is not None and refs[0].units not in (None, units):
        raise ParameterError(f"units={units!r}, but {refs[0].path} says ITEM: UNITS {refs[0].units}")
    if style == "lj":
        notes.append("units lj: lengths and times are kept as they are, they are not Å and ps")
    length = LENGTH[style]
    if length != 1.0:
        refs = [replace(r, cell=tuple(v * length for v in r.cell), origin=_scaled(r.origin, length)) for r in refs]
    times = _times(refs, timestep, style, notes)

    first = refs[0]
    identity = sources[0].identity
    if identity != "id":
        notes.append(f"no ids in {sources[0].path}: {identity}")
    elif "id" not in first.columns:
        raise AuditError(f"{first.where()}: there is no id column ({' '.join(first.columns)}); rows of a dump are in no fixed order, so atoms "
                         "cannot be told apart. Write the dump with id")  # fmt: skip
    kind, scheme = convert.choose_coordinates(first)
    reader = next(source for source in sources if source.path == first.path)
    one = next(iter(reader.read([first])))
    types = _type_map(species, first)
    order = convert.order_by_id(one, first) if "id" in one else None
    sort = slice(None) if order is None else order
    ids = (one["id"] if "id" in one else np.arange(1, first.n_atoms + 1))[sort].astype(np.int64)
    numbers = _numbers(one, types, first)[sort]
    masses = (
        one["mass"][sort].astype(np.float64)
        if "mass" in one
        else np.array([mass(int(z)) for z in np.unique(numbers)])[np.unique(numbers, return_inverse=True)[1]]
    )
    extra = [name for name in first.columns if name not in _KNOWN]
    if columns is not None:
        unknown = sorted(set(columns) - set(extra))
        if unknown:
            raise ParameterError(
                f"columns={list(columns)!r}: {unknown[0]!r} is not in {first.path}; its further columns are {extra}"
            )
        extra = [name for name in extra if name in set(columns)]
    variables = {name: (str(one[name].dtype), unit_of(name, style)) for name in extra if one[name].dtype.kind in "if"}
    described = tuple(_describe(path) for path in files)
    return Inventory(tuple(refs), tuple(runs), times, ids, numbers, masses, variables, kind, scheme, style, types,
                     identity, described, tuple(notes))  # fmt: skip


def read_window(inventory: Inventory) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The frames of an inventory one after the other: position, image and further columns, audited, sorted by id.

    Raises ``AuditError`` with file, line or byte, frame and timestep for NaN, doubled ids, other ids, changed species.
    """
    length = LENGTH[inventory.units]
    for path, group in groupby(inventory.refs, key=lambda ref: ref.path):
        refs = list(group)
        for ref, columns in zip(refs, open_source(path).read(refs), strict=True):
            yield _frame(inventory, ref, columns, length)


def _frame(inventory: Inventory, ref: FrameRef, columns: Columns, length: float) -> dict[str, npt.NDArray[Any]]:
    order = convert.order_by_id(columns, ref) if "id" in columns else None
    sort = slice(None) if order is None else order
    if "id" in columns:
        ids = columns["id"][sort]
        if len(ids) != len(inventory.atom_id) or (ids != inventory.atom_id).any():
            strange = sorted(set(ids.tolist()) ^ set(inventory.atom_id.tolist()))
            raise AuditError(f"{ref.where()}: the set of ids is not that of the first frame; differing are {strange[:10]}"
                             f"{' ...' if len(strange) > 10 else ''}. One store holds one set of atoms")  # fmt: skip
    numbers = _numbers(columns, inventory.types, ref)[sort]
    if (numbers != inventory.species).any():
        row = int(np.flatnonzero(numbers != inventory.species)[0])
        raise AuditError(f"{ref.where()}: id {inventory.atom_id[row]} changes species from Z = {inventory.species[row]} to "
                         f"{numbers[row]}; atoms that swap species are not one trajectory")  # fmt: skip
    wrapped, image = convert.positions(columns, ref, inventory.coordinates, inventory.image_scheme, length)
    found: dict[str, npt.NDArray[Any]] = {"position": wrapped[sort], "image": image[sort]}
    for name, (dtype, _) in inventory.variables.items():
        found[name] = columns[name][sort].astype(dtype, copy=False)
    return found


def _times(refs: Sequence[FrameRef], timestep: float | None, style: str, notes: list[str]) -> tuple[float, ...] | None:
    if all(ref.time is not None for ref in refs):
        if timestep is not None:
            notes.append("timestep is not used: the files carry ITEM: TIME")
        return tuple(float(ref.time) * TIME[style] for ref in refs if ref.time is not None)
    if timestep is None:
        notes.append(
            "no times: the files do not carry them and no timestep was given (timestep=..., --timestep, in ps)"
        )
        return None
    return tuple(ref.step * timestep for ref in refs)


def _type_map(species: SpeciesMap, ref: FrameRef) -> dict[int, int] | None:
    if "element" in ref.columns:
        return None
    if species is None:
        raise AuditError(
            f"{ref.where()}: the file has types, not elements, and species are never guessed. Say which element each type is: "
            "species={1: 'Cu', 2: 'Zr'} or --species Cu,Zr (types 1, 2, ... in order)"
        )
    named = species if isinstance(species, Mapping) else dict(enumerate(species, start=1))
    return {int(kind): atomic_number(str(name)) for kind, name in named.items()}


def _numbers(columns: Columns, types: dict[int, int] | None, ref: FrameRef) -> npt.NDArray[np.int32]:
    if types is None:
        names, inverse = np.unique(columns["element"], return_inverse=True)
        try:
            return np.array([atomic_number(str(name)) for name in names], dtype=np.int32)[inverse]
        except ParameterError as error:
            raise AuditError(f"{ref.where()}: {error}") from error
    if "type" not in columns:
        raise AuditError(f"{ref.where()}: neither type nor element among the columns {' '.join(ref.columns)}")
    kinds, inverse = np.unique(columns["type"], return_inverse=True)
    strange = [int(kind) for kind in kinds if int(kind) not in types]
    if strange:
        raise AuditError(f"{ref.where()}: type {strange[0]} has no element; species names types {sorted(types)}, the file has "
                         f"{kinds.tolist()}")  # fmt: skip
    return np.array([types[int(kind)] for kind in kinds], dtype=np.int32)[inverse]


def _scaled(origin: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return origin[0] * factor, origin[1] * factor, origin[2] * factor


def _stem(path: str) -> str:
    return Path(path).name.split(".")[0]


def _describe(path: str) -> dict[str, Any]:
    size = Path(path).stat().st_size
    with open(path, "rb") as stream:
        head = stream.read(65536)
        stream.seek(max(0, size - 65536))
        ends = hashlib.sha256(head + stream.read(65536)).hexdigest()
    return {"name": Path(path).name, "bytes": size, "sha256_of_both_ends": ends}
