"""What ``plan`` takes besides a path: opened Datasets, nodes of trees, selections."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import IntArray
from mgdask.errors import ParameterError, StoreError
from mgdask.pipelines.featurize.validation import Frames, select_frames
from mgdask.store.location import is_remote, place_of
from mgdask.store.manifest import Manifest
from mgdask.store.open import changed, open_store
from mgdask.store.selections import Opened, is_selection, opened_from

if TYPE_CHECKING:  # plans of paths do not need it
    import xarray as xr

_READ_BYTES = 64 * 2**20
_FROM_STORE = ("open_dataset-", "xarray-", "getitem-", "rechunk-", "array-", "original-")
"""Beginnings of the names of the layers in a graph that only reads and selects."""

log = logging.getLogger(__name__)


def resolve(
    store: Any,
    out: str | os.PathLike[str],
    frames: Frames,
    storage_options: Mapping[str, Any] | None = None,
) -> tuple[str | Path, Frames]:
    """Return the store and the frames that a plan reads.

    Parameters
    ----------
    store
        A store, the path of a selection that xarray wrote, a Dataset from
        ``open_store`` or a selection of its frames, or a node of a DataTree.
    out
        Feature store that the plan is for. A written selection is copied into a store
        beside it.
    frames
        Frames of the Dataset that the plan is for.
    storage_options
        Options of fsspec for a URL.

    Returns
    -------
    store, frames
        Path of a store, and frames of it.

    Raises
    ------
    ParameterError
        If it is none of these, or a Dataset has fewer atoms or other values than its
        store.
    """
    if not any(hasattr(store, name) for name in ("subtree", "data_vars")):
        if not isinstance(store, str | os.PathLike) and not hasattr(store, "supports_listing"):
            raise ParameterError(
                f"plan cannot read an object of type {type(store).__name__}; give the path of a "
                "store, a Dataset from mgdask.open_store, or a node of mgdask.open_tree"
            )
        place = place_of(store, storage_options)
        if is_remote(place) or not is_selection(place):
            return place, frames
        return _copy(open_store(place), out), frames
    if hasattr(store, "subtree"):
        store = _dataset_of(store)
    opened = opened_from(store)
    if opened is None:
        raise ParameterError(
            "the Dataset does not come from mgdask.open_store, so there is no store to read from; "
            "write one with mgdask.ingest(ds, 'glass.zarr'), and plan that"
        )
    _check_atoms(store, opened)
    if not opened.content:
        return _copy(store, out), frames
    origin = place_of(opened.store)
    if Manifest(origin).content() != opened.content:
        raise changed(origin)
    numbers = _frames_of(store)
    if numbers is None:
        return _copy(store, out), frames
    _check_values(store, opened, numbers)
    if frames is not None:
        numbers = numbers[select_frames(frames, len(numbers))]
    is_all = frames is None and len(numbers) == opened.n_frames
    return origin, None if is_all else numbers


def _dataset_of(tree: Any) -> xr.Dataset:
    """Return the Dataset of a node."""
    if not tree.data_vars:
        nodes = [node.path for node in tree.subtree if node.data_vars]
        listed = ", ".join(nodes[:10]) + (", ..." if len(nodes) > 10 else "")
        raise ParameterError(
            "a plan reads one store, but this is a tree of "
            f"{len(nodes)}: {listed or 'no stores'}. Plan each node, such as tree[...]"
        )
    ds: xr.Dataset = tree.to_dataset()
    return ds


def _check_atoms(ds: xr.Dataset, opened: Opened) -> None:
    n_atoms = ds.sizes.get("atom", 0)
    if n_atoms != opened.n_atoms:
        raise ParameterError(
            f"the Dataset has {n_atoms} of the {opened.n_atoms} atoms of its store, so that "
            "neighbors would be missing. Plan all atoms, and choose those to compute with "
            'centers=, as centers=("Cu",)'
        )


def _frames_of(ds: xr.Dataset) -> IntArray | None:
    """Return the numbers of the frames in the store; None if they are not known."""
    if "frame" not in ds.coords:
        return None
    numbers = np.atleast_1d(ds["frame"].values).astype(np.int64)
    if (np.diff(numbers) <= 0).any():
        raise ParameterError(
            f"the frames of the Dataset are {numbers[:10].tolist()}, but a plan takes increasing "
            "frames, each once; sort them with ds.sortby('frame')"
        )
    return numbers


def _check_values(ds: xr.Dataset, opened: Opened, numbers: IntArray) -> None:
    """Raise ``ParameterError`` if values are not those of the store."""
    if len(numbers) == 0:
        raise ParameterError("the Dataset has no frames, so there is nothing to compute")
    if numbers[0] < 0 or numbers[-1] >= opened.n_frames:
        raise ParameterError(
            f"the Dataset has frame {numbers[-1] if numbers[0] >= 0 else numbers[0]}, but its "
            f"store {opened.store} has frames 0 to {opened.n_frames - 1}"
        )
    whole = open_store(opened.store)
    stored = whole.isel(frame=numbers)
    if "frame" not in ds.dims:
        stored = stored.isel(frame=0)
    for name in map(str, stored.variables):
        if name not in ds.variables:
            continue
        ours, theirs = ds[name], stored[name]
        if ours.dims != theirs.dims or ours.shape != theirs.shape:
            raise _other_values(name, opened)
        if ours.chunks is None or not _only_reads(ours.data):
            same = _equal(ours, theirs)
        else:  # its values are those of a store; the ends show whether of this one
            ends = {"frame": [0, -1]} if "frame" in ours.dims else {}
            same = _equal(ours.isel(ends), theirs.isel(ends))
        if not same:
            raise _other_values(name, opened)


def _only_reads(array: Any) -> bool:
    """Return whether a Dask array only selects what is stored, without arithmetic."""
    return all(str(layer).startswith(_FROM_STORE) for layer in array.dask.layers)


def _equal(ours: xr.DataArray, theirs: xr.DataArray) -> bool:
    """Compare values, a few frames at a time."""
    n_frames = ours.sizes["frame"] if "frame" in ours.dims else 0
    if n_frames == 0:
        return _same(ours, theirs)
    step = max(1, _READ_BYTES * n_frames // max(1, ours.nbytes))
    parts = (slice(first, first + step) for first in range(0, n_frames, step))
    return all(_same(ours.isel(frame=part), theirs.isel(frame=part)) for part in parts)


def _same(ours: xr.DataArray, theirs: xr.DataArray) -> bool:
    """Compare values without coordinates; text may be of several types."""
    is_number = theirs.dtype.kind in "fiub"
    if is_number and ours.dtype.kind in "fiub":
        return np.array_equal(ours.values, theirs.values, equal_nan=theirs.dtype.kind == "f")
    return not is_number and [*map(str, ours.values.flat)] == [*map(str, theirs.values.flat)]


def _other_values(name: str, opened: Opened) -> ParameterError:
    return ParameterError(
        f"{name} of the Dataset differs from that of its store {opened.store}, which a plan would "
        "read. Write the Dataset to a store of its own with mgdask.ingest(ds, 'changed.zarr'), "
        "and plan that"
    )


def _copy(ds: xr.Dataset, out: str | os.PathLike[str]) -> str:
    """Write a selection into a store beside the output, unless it is there."""
    from mgdask.pipelines.ingest import ingest

    opened = opened_from(ds)
    if opened is not None:
        _check_atoms(ds, opened)
    if ds.attrs.get("mgdask_kind") != "trajectory":
        raise StoreError(
            "a plan of a written selection needs one of a trajectory; this one is of "
            f"{ds.attrs.get('mgdask_kind')!r}"
        )
    target = f"{os.fspath(out)}.input.zarr"
    if not os.path.exists(target):
        log.info("the selection is copied to %s, which the run reads", target)
    ingest(ds, target)
    return target
