"""What an export reads: stores or Datasets, and their frames, atoms and columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mgdask import variables
from mgdask._typing import AnyArray, BoolArray, IntArray
from mgdask.bounds import shortened
from mgdask.errors import ParameterError, StoreError
from mgdask.explore.exporting.rows import Column
from mgdask.pipelines.featurize.validation import Frames, frames_text, parse_frames, select_frames

if TYPE_CHECKING:
    import xarray as xr

    Source: TypeAlias = str | Path | xr.Dataset | xr.DataArray

_FRAME = ("step", "time", "run", "frame")
"""Variables of frames that are no values of theirs."""
_SHOWN = 8
"""Number of names in a message."""


@dataclass(frozen=True)
class Opened:
    """One store or Dataset.

    Attributes
    ----------
    ds
        The Dataset; large arrays are read on demand.
    name
        Its name in messages.
    path
        Path of a finished store; None for a Dataset.
    content
        Digest of the content of that store.
    """

    ds: xr.Dataset
    name: str
    path: str | None
    content: str | None

    @property
    def has_positions(self) -> bool:
        """Whether it is a trajectory."""
        return "position" in self.ds

    def frame_keys(self) -> list[tuple[str, int]] | None:
        """Return run and timestep of each frame; None if they are unknown."""
        if "step" not in self.ds or "run" not in self.ds:
            return None
        steps, runs = along_frames(self.ds, "step"), along_frames(self.ds, "run")
        return [(str(run), int(step)) for run, step in zip(runs, steps, strict=True)]


def open_source(source: Source) -> Opened:
    """Open a store, or take a Dataset, for export.

    Parameters
    ----------
    source
        Path of a store, or a Dataset or DataArray with atoms.

    Raises
    ------
    StoreError
        If it is not a store of atoms.
    ParameterError
        If it is something else, or a Dataset without atoms.
    """
    import xarray as xr

    from mgdask.store.manifest import Manifest
    from mgdask.store.open import open_store

    if isinstance(source, str | Path):
        ds, name = open_store(source), str(source)
        kind = str(ds.attrs.get("mgdask_kind", ""))
        if kind not in ("trajectory", "features"):
            what = {"paths": "unwrapped trajectories", "dictionary": "a dictionary"}.get(kind, kind)
            raise StoreError(
                f"{source} holds {what}; give a trajectory (made by mgdask ingest) or features "
                "(made by mgdask featurize)"
            )
        if "://" in name and not name.startswith("file://"):
            return Opened(ds, name, None, None)  # this process reads it
        return Opened(ds, name, name, Manifest(source).content())
    if isinstance(source, xr.DataArray):
        source = source.to_dataset(name=source.name or "value")
    if not isinstance(source, xr.Dataset):
        raise ParameterError(
            f"{type(source).__name__} cannot be exported; give the path of a store, or a Dataset "
            "of mgdask.open_store or mgdask.featurize"
        )
    name = "the Dataset"
    if "atom" not in source.dims:
        raise ParameterError(
            f"{name} has no dimension 'atom'; its dimensions are {', '.join(map(str, source.dims))}"
            ". Select one atom with a list, as in ds.sel(atom=[17]), and export before averaging"
        )
    return Opened(_with_frames(source), name, None, None)


def _with_frames(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset with a dimension ``frame``; one frame may have been selected."""
    if "frame" in ds.dims:
        return ds
    per_atom = [name for name, array in ds.data_vars.items() if name != "pbc"]
    whole = ds[per_atom].expand_dims("frame")
    scalars = {n: ("frame", np.atleast_1d(c.values)) for n, c in ds.coords.items() if not c.dims}
    result = whole.assign_coords({n: v for n, v in scalars.items() if n != "frame"})
    return result.assign(pbc=ds["pbc"]) if "pbc" in ds else result


def along_frames(ds: xr.Dataset, name: str) -> AnyArray:
    """Return a variable with one value per frame."""
    values: AnyArray = np.broadcast_to(ds[name].values, (ds.sizes["frame"],))
    return values


def atom_ids(opened: Opened) -> IntArray:
    """Return the id of each atom; 1, 2, ... if a Dataset has none."""
    ds = opened.ds
    for name in ("atom_id", "atom"):
        if name in ds.coords:
            return np.asarray(ds[name].values, dtype=np.int64)
    return np.arange(1, ds.sizes["atom"] + 1)


def choose_frames(opened: Opened, frames: Frames) -> IntArray:
    """Return the positions of frames along the axis of a source.

    Parameters
    ----------
    opened
        The source.
    frames
        Numbers of frames as in the store, a slice of them, or None for all. One number
        is one frame.
    """
    ds = opened.ds
    n_frames = ds.sizes["frame"]
    if isinstance(frames, str):
        frames = parse_frames(frames, n_frames)
    if frames is not None and not isinstance(frames, slice):
        wanted = np.atleast_1d(np.asarray(frames))
        if "frame" in ds.coords and wanted.ndim == 1 and wanted.dtype.kind in "iu":
            held = np.asarray(ds["frame"].values)
            wanted = np.where(wanted < 0, wanted + n_frames, wanted)
            if not np.array_equal(held, np.arange(n_frames)):
                if missing := sorted(set(wanted.tolist()) - set(held.tolist())):
                    raise ParameterError(
                        f"frames={shortened(str(frames))}: {opened.name} has no frame {missing[0]};"
                        f" it has {frames_text(sorted(held.tolist()))}"
                    )
                order = np.argsort(held)
                wanted = order[np.searchsorted(held, wanted, sorter=order)]
        frames = wanted
    return select_frames(frames, n_frames)


def choose_atoms(opened: Opened, atoms: Any) -> IntArray | None:
    """Return the rows of the chosen atoms, or None for all.

    Parameters
    ----------
    opened
        The source.
    atoms
        A boolean DataArray over ``atom``, element symbols, or ids.
    """
    if atoms is None:
        return None
    from mgdask.explore.selecting import as_mask

    mask: BoolArray = as_mask(opened.ds, atoms)
    rows = np.flatnonzero(mask)
    if not rows.size:
        raise ParameterError(f"atoms={shortened(str(atoms))} selects no atom of {opened.name}")
    return None if rows.size == mask.size else rows


def frame_values(opened: Opened) -> list[str]:
    """Return the names of numbers of whole frames, such as the temperature."""
    return [
        str(name)
        for name, array in opened.ds.variables.items()
        if array.dims == ("frame",) and array.dtype.kind in "iuf" and name not in _FRAME
    ]


def columns_of(opened: Opened, source: int) -> Iterator[Column]:
    """Yield every column of numbers on atoms.

    Parameters
    ----------
    opened
        A store or Dataset.
    source
        Its number, 0 for the trajectory.
    """
    for name, array in opened.ds.data_vars.items():
        if array.dims[:2] != ("frame", "atom") or array.dtype.kind not in "iufb":
            continue
        about = {
            "meaning": str(array.attrs.get("long_name", "")),
            "citation": str(array.attrs.get("citation", array.attrs.get("source", ""))),
        }
        if array.ndim == 2:
            unit = str(array.attrs.get("units", ""))
            yield Column(str(name), str(name), str(name), None, source, unit, **about)
        elif array.ndim == 3 and array.dims[2] != "xyz":
            dim = array.dims[2]
            n_columns = array.shape[2]
            labels = array[dim].values if dim in array.coords else range(n_columns)
            units = variables.column_units(array)
            for k in range(n_columns):
                label = str(labels[k])
                yield Column(label, label, str(name), k, source, units[k], **about)


def choose_columns(columns: Sequence[Column], wanted: Sequence[str] | None) -> list[Column]:
    """Return the chosen columns, in the order asked for.

    Parameters
    ----------
    columns
        All columns.
    wanted
        Labels, names of arrays, or ``"array:label"``. None means all columns.

    Raises
    ------
    ParameterError
        If there is no such column, or if several arrays have it.
    """
    if wanted is None:
        return list(columns)
    if isinstance(wanted, str):
        wanted = [wanted]
    chosen: dict[int, Column] = {}
    for text in wanted:
        array, _, label = str(text).partition(":")
        whole = [c for c in columns if c.variable == text]
        found = whole or [c for c in columns if c.label == text]
        found = found or [c for c in columns if (c.variable, c.label) == (array, label.strip())]
        if not found:
            raise ParameterError(_no_column(columns, str(text)))
        if not whole and len(found) > 1:
            options = ", ".join(f"{c.variable}:{c.label}" for c in found[:_SHOWN])
            raise ParameterError(f"column {text!r} is in several arrays; choose one of {options}")
        chosen |= {columns.index(c): c for c in found}
    return list(chosen.values())


def _no_column(columns: Sequence[Column], text: str) -> str:
    known = list(dict.fromkeys([c.label for c in columns] + [c.variable for c in columns]))
    if not known:
        return (
            f"there is no column {text!r}: the trajectory has no further columns and no features "
            "were given. Name a store of features: features=['features.zarr'] (--features)"
        )
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.4) or known[:_SHOWN]
    arrays = list(dict.fromkeys(c.variable for c in columns))
    return (
        f"there is no column {shortened(text)!r}; the nearest are "
        f"{', '.join(repr(name) for name in near)}. Arrays: {', '.join(arrays[:_SHOWN])}"
    )


def match_frames(main: Opened, other: Opened, chosen: IntArray, *, all_of: bool) -> IntArray:
    """Return the positions in features of the chosen frames of a trajectory.

    Parameters
    ----------
    main, other
        The trajectory, and features.
    chosen
        Positions of the chosen frames of the trajectory.
    all_of
        Whether every chosen frame must have features. Otherwise a frame without them
        has the position -1.

    Raises
    ------
    ParameterError
        If a chosen frame has no features.
    """
    keys, theirs = main.frame_keys(), other.frame_keys()
    if keys is None or theirs is None or keys == theirs:
        if main.ds.sizes["frame"] != other.ds.sizes["frame"]:
            raise ParameterError(
                f"{other.name} has no step and run, so its frames cannot be found among those of "
                f"{main.name}: {other.ds.sizes['frame']} and {main.ds.sizes['frame']} frames"
            )
        return chosen
    place = {key: k for k, key in enumerate(theirs)}
    if len(place) < len(theirs):
        raise ParameterError(
            f"{other.name}: a timestep occurs twice in one run, so its frames cannot be told apart"
        )
    found = np.array([place.get(keys[k], -1) for k in chosen], dtype=np.int64)
    if all_of and (found < 0).any():
        k = int(chosen[np.argmax(found < 0)])
        run, step = keys[k]
        raise ParameterError(
            f"{other.name} has no features of frame {k} (run {run!r}, step {step}); it has "
            f"{len(theirs)} frames, of steps {theirs[0][1]} to {theirs[-1][1]}. Choose other "
            "frames, or leave them out to export those that all features have"
        )
    return found


def match_atoms(main: Opened, other: Opened) -> IntArray | None:
    """Return the row in features of each atom of a trajectory, -1 without features.

    Parameters
    ----------
    main, other
        The trajectory, and features.

    Returns
    -------
    rows
        None if the atoms are the same.

    Raises
    ------
    ParameterError
        If the features are of other atoms.
    """
    ids, theirs = atom_ids(main), atom_ids(other)
    check = "species" in main.ds and "species" in other.ds
    if np.array_equal(ids, theirs):
        rows = np.arange(len(ids))
    else:
        order = np.argsort(theirs, kind="stable")
        place = np.minimum(np.searchsorted(theirs, ids, sorter=order), len(theirs) - 1)
        rows = np.where(theirs[order[place]] == ids, order[place], -1)
    n_found = int((rows >= 0).sum())
    if n_found < len(theirs) and main.path is not None:
        raise ParameterError(
            f"{other.name} has atoms that {main.name} lacks: {n_found} of {len(theirs)} ids are in "
            "both. Give features of this trajectory"
        )
    if n_found and check:
        mine, its = main.ds["species"].values, other.ds["species"].values
        differ = np.flatnonzero((rows >= 0) & (mine != its[np.maximum(rows, 0)]))
        if differ.size:
            raise ParameterError(
                f"{other.name} has another element for atom {ids[differ[0]]} than {main.name}. "
                "Give features of this trajectory"
            )
    return None if n_found == len(ids) == len(theirs) and (np.diff(rows) == 1).all() else rows
