"""Ingest of Python objects: they are written to files that the ingest then reads.

Objects are recognized by their attributes, so ASE, MDAnalysis, pymatgen and OVITO are
not imported. An iterable is read once, and one frame at a time is held in memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from mgdask._typing import AnyArray, FloatArray
from mgdask.bounds import shortened
from mgdask.errors import AuditError, ParameterError
from mgdask.features.configuration import Configuration, as_configuration
from mgdask.readers.formats.frame_file import FrameFileWriter
from mgdask.readers.formats.tables import spread
from mgdask.store.failures import explained

SUFFIX = ".frames"
READ_BYTES = 64 * 2**20
"""Bytes of positions that are read at once from a Dataset."""
_STEPS, _TIMES = ("step", "timestep", "Timestep"), ("time", "Time")
_OWN = ("numbers", "positions", "masses", "id", "ids", "initial_magmoms", "momenta")
"""Arrays of ASE's Atoms that are read otherwise, or that are no values of a dump."""


@dataclass(frozen=True)
class _Frame:
    """What one object says of one frame; lengths in Å, times in ps."""

    columns: dict[str, AnyArray]
    cell: FloatArray
    pbc: tuple[bool, bool, bool]
    step: int | None = None
    origin: FloatArray | None = None
    time: float | None = None
    values: dict[str, float] = field(default_factory=dict)
    run: str = ""


def are_paths(inputs: Any) -> bool:
    """Return whether the inputs of an ingest are names of files.

    An iterator cannot be looked into without being used up, so it counts as objects.
    """
    if isinstance(inputs, str | PurePath):
        return True
    return isinstance(inputs, list | tuple | set | frozenset) and all(
        isinstance(one, str | PurePath) for one in inputs
    )


@contextmanager
def as_files(
    inputs: Any, out: Path, *, is_labeled: bool
) -> Iterator[tuple[list[str], list[str] | None]]:
    """Write objects to files beside a store, and remove the files at the end.

    Parameters
    ----------
    inputs
        An MDAnalysis Universe, a Dataset of a trajectory, one configuration, or an
        iterable of configurations. A list of these, except of single configurations,
        has one run per item.
    out
        Store that the ingest writes. The files are beside it, because workers on other
        machines read them.
    is_labeled
        Whether the caller labels the runs.

    Yields
    ------
    files, runs
        Files in order, and the label of the run of each, if the objects say it.
    """
    folder = out.parent / f".{out.name}.objects"
    with explained(out):
        shutil.rmtree(folder, ignore_errors=True)  # of an ingest that was killed
        folder.mkdir(parents=True)
    try:
        files: list[str] = []
        runs: list[str] = []
        for number, source in enumerate(_sources(inputs)):
            for label, frames in _by_run(_frames_of(source)):
                own = folder / f"{number}-{len(files)}"  # two sources may have equal names
                with explained(out):
                    own.mkdir()
                    files.append(str(own / f"{_name_of(source)}{SUFFIX}"))
                    _write(Path(files[-1]), frames)
                runs.append(label)
            if number and not is_labeled and not all(runs):
                raise ParameterError(
                    "several objects are several runs, whose timesteps may be equal; label "
                    'them, as run=["300K", "500K"]'
                )
        if not files:
            raise AuditError(
                "no frame was given: the list or iterator of objects is empty. An iterator can "
                "be read only once; make it again"
            )
        yield files, runs if all(runs) else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, frames: Iterable[_Frame]) -> None:
    n_atoms = -1
    with FrameFileWriter(path) as file:
        for number, frame in enumerate(frames):
            count = len(frame.columns["number"])
            if not count:
                raise AuditError(f"object {number} has no atoms; a frame has at least one")
            n_atoms = count if n_atoms < 0 else n_atoms
            if count != n_atoms:
                raise AuditError(
                    f"object {number} has {count} atoms, but object 0 has {n_atoms}. All frames "
                    "of a store must have the same atoms: ingest them into separate stores"
                )
            file.add(
                frame.columns,
                cell=frame.cell,
                pbc=frame.pbc,
                step=number if frame.step is None else frame.step,
                origin=frame.origin,
                time=frame.time,
                values=frame.values,
            )


def _sources(inputs: Any) -> Iterator[Any]:
    """Yield the objects that are a source of frames each."""
    if _is_one(inputs):
        yield inputs
        return
    try:
        items = iter(inputs)
    except TypeError:
        raise ParameterError(
            f"ingest cannot read an object of type {type(inputs).__name__}. It reads file names, "
            "ASE Atoms, pymatgen Structures, OVITO DataCollections, an MDAnalysis Universe, a "
            "Dataset of mgdask.open_store, and iterables of these"
        ) from None
    first = next(items, None)
    if first is None:
        return
    if isinstance(first, str | PurePath):
        raise ParameterError(
            f"ingest reads either files or objects; the first of these is {str(first)!r}. Give "
            "file names as a list of names only"
        )
    rest = chain([first], items)
    if _is_trajectory(first) or isinstance(first, list | tuple | Iterator):
        yield from rest
    else:
        yield rest


def _is_one(source: Any) -> bool:
    """Return whether this is a trajectory or a configuration, not an iterable."""
    return (
        isinstance(source, Configuration)
        or _is_trajectory(source)
        or any(hasattr(source, name) for name in ("positions", "cart_coords", "particles"))
    )


def _is_trajectory(source: Any) -> bool:
    return _is_universe(source) or _is_dataset(source)


def _is_universe(source: Any) -> bool:
    return hasattr(source, "trajectory") and hasattr(source, "atoms")


def _is_dataset(source: Any) -> bool:
    return hasattr(source, "data_vars") and hasattr(source, "sizes")


def _name_of(source: Any) -> str:
    """Return a name for a source, from which the label of its run is derived."""
    name = getattr(getattr(source, "trajectory", None), "filename", None)
    return PurePath(name).stem if isinstance(name, str | PurePath) and str(name) else "objects"


def _frames_of(source: Any) -> Iterator[_Frame]:
    if _is_universe(source):
        return _frames_of_universe(source)
    if _is_dataset(source):
        return _frames_of_dataset(source)
    return _frames_of_configurations([source] if _is_one(source) else source)


def _by_run(frames: Iterator[_Frame]) -> Iterator[tuple[str, Iterator[_Frame]]]:
    """Group frames by consecutive runs; each group is read before the next begins."""
    current = next(frames, None)
    while current is not None:
        label, pending = current.run, [current]
        ended: list[_Frame | None] = []

        def same(
            label: str = label, pending: list[_Frame] = pending, ended: list[_Frame | None] = ended
        ) -> Iterator[_Frame]:
            yield pending.pop()
            for frame in frames:
                if frame.run != label:
                    ended.append(frame)
                    return
                yield frame

        yield label, same()
        current = ended[0] if ended else None


def _frames_of_configurations(configurations: Iterable[Any]) -> Iterator[_Frame]:
    for number, one in enumerate(configurations):
        try:
            found = as_configuration(one)
        except ParameterError as error:
            raise ParameterError(f"object {number}: {error}") from error
        if found.centers is not None:
            raise ParameterError(
                f"object {number} is a part of an MDAnalysis universe, without the neighbors of "
                "its atoms; give the universe, and select atoms afterwards"
            )
        columns = _columns(found.position, found.numbers, found.ids)
        info = dict(getattr(one, "info", None) or getattr(one, "attributes", None) or {})
        step, time, values = _scalars(info, f"object {number}")
        arrays = getattr(one, "arrays", None) or {}
        if "masses" in arrays:
            columns["mass"] = np.asarray(arrays["masses"], dtype=np.float64)
        for name in ("id", "ids"):
            if found.ids is None and name in arrays:
                columns["id"] = np.asarray(arrays[name], dtype=np.int64)
        for name, values_of_atoms in arrays.items():
            array = np.asarray(values_of_atoms)
            if name not in _OWN and array.dtype.kind in "iubf":
                more = {key: np.asarray(column) for key, column in spread(name, array).items()}
                columns |= {key: column for key, column in more.items() if key not in columns}
        if "momenta" in arrays:
            from ase import units as ase_units

            # from ASE's unit Å / (Å (u / eV)^1/2) to Å/ps
            velocity = np.asarray(one.get_velocities()) * (1000.0 * ase_units.fs)
            columns |= {f"v{axis}": velocity[:, a].copy() for a, axis in enumerate("xyz")}
        cell = np.asarray(getattr(one, "cell", None))
        origin = cell[:, 3] if cell.shape == (3, 4) else None  # OVITO's fourth column
        if hasattr(one, "get_celldisp"):
            origin = np.ravel(one.get_celldisp()).astype(np.float64)
        yield _Frame(columns, found.cell, found.pbc, step, origin, time, values)


def _frames_of_universe(universe: Any) -> Iterator[_Frame]:
    atoms = universe.atoms
    masses = np.asarray(getattr(atoms, "masses", np.zeros(0)), dtype=np.float64)
    for number, ts in enumerate(universe.trajectory):
        found = as_configuration(atoms)
        columns = _columns(found.position, found.numbers, found.ids)
        if masses.size and (masses > 0).all():
            columns["mass"] = masses
        step, _, _ = _scalars(dict(getattr(ts, "data", {})), f"frame {number}")
        yield _Frame(columns, found.cell, found.pbc, step, None, float(ts.time))


def _frames_of_dataset(ds: Any) -> Iterator[_Frame]:
    missing = [name for name in ("position", "cell", "species") if name not in ds.variables]
    if missing:
        raise ParameterError(
            f"the Dataset has no {', '.join(missing)}, so it is no trajectory; it has "
            f"{', '.join(map(str, ds.variables))}"
        )
    n_atoms = ds.sizes["atom"]
    ids = ds["atom_id"].values if "atom_id" in ds.variables else np.arange(1, n_atoms + 1)
    pbc = ds["pbc"].values if "pbc" in ds.variables else np.ones(3, dtype=bool)
    shared = {"frame", "atom", "step", "time", "atom_id", "species", "mass"}
    numeric = [
        (str(name), array.dims)
        for name, array in ds.variables.items()
        if array.dtype.kind in "iufb" and name not in shared
    ]
    of_frames = [name for name, dims in numeric if dims in ((), ("frame",))]
    of_atoms = [name for name, dims in numeric if dims in (("atom",), ("frame", "atom"))]
    for frame in _loaded_frames(ds):
        columns = _columns(frame["position"].values, frame["species"].values, ids)
        if "image" in frame:
            columns |= {f"i{axis}": frame["image"].values[:, a] for a, axis in enumerate("xyz")}
        if "mass" in frame.variables:
            columns["mass"] = frame["mass"].values
        columns |= {name: frame[name].values for name in of_atoms}
        yield _Frame(
            columns,
            frame["cell"].values,
            (bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
            int(frame["step"]) if "step" in frame.variables else None,
            frame["origin"].values if "origin" in frame.variables else None,
            float(frame["time"]) if "time" in frame.variables else None,
            {name: float(frame[name]) for name in of_frames},
            str(frame["run"].values) if "run" in frame.variables else "",
        )


def _loaded_frames(ds: Any) -> Iterator[Any]:
    """Yield the frames of a Dataset, read in pieces of whole shards or nearly so."""
    if "frame" not in ds.dims:
        yield ds.compute()
        return
    size = max(1, READ_BYTES // (24 * ds.sizes["atom"]))
    for start in range(0, ds.sizes["frame"], size):
        piece = ds.isel(frame=slice(start, start + size)).load()
        for k in range(piece.sizes["frame"]):
            yield piece.isel(frame=k)


def _columns(position: AnyArray, numbers: AnyArray, ids: AnyArray | None) -> dict[str, AnyArray]:
    identity = {} if ids is None else {"id": np.asarray(ids, dtype=np.int64)}
    where = {axis: np.asarray(position[:, k], dtype=np.float64) for k, axis in enumerate("xyz")}
    return {**identity, "number": np.asarray(numbers, dtype=np.int64), **where}


def _scalars(info: dict[str, Any], where: str) -> tuple[int | None, float | None, dict[str, float]]:
    """Return step, time in ps and further numbers of a frame."""
    numbers = {
        str(name): value
        for name, value in info.items()
        if isinstance(value, int | float | np.number) and not isinstance(value, bool)
    }
    step = next((numbers[name] for name in _STEPS if name in numbers), None)
    time = next((numbers[name] for name in _TIMES if name in numbers), None)
    if step is not None and int(step) != step:
        raise AuditError(f"{where}: its step is {shortened(str(step))}; a whole number is needed")
    values = {
        name: float(value)
        for name, value in numbers.items()
        if name not in (*_STEPS, *_TIMES, "SourceFrame")
    }
    return None if step is None else int(step), None if time is None else float(time), values
