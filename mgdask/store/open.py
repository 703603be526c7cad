"""Opening a store as a labelled, lazy ``xarray.Dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr
import zarr

from mgdask import variables
from mgdask.errors import StoreError
from mgdask.store.failures import SourceChangedError
from mgdask.store.manifest import Manifest
from mgdask.store.shards import open_group

KINDS = ("trajectory", "features", "paths")
MADE_BY = {"trajectory": "mgdask ingest", "features": "mgdask featurize", "paths": "mgdask unwrap"}
"""The command that makes a store of each kind."""


def check_complete(path: str | Path, *, kind: str | None = None) -> tuple[zarr.Group, str]:
    """The group of a finished store and the digest of its content; ``StoreError`` in words otherwise."""
    group = open_group(path)
    found = str(group.attrs.get("mgdask_kind", ""))
    if found not in KINDS:
        raise StoreError(
            f"{path} is a Zarr group, but not one that mgdask wrote; open it with xarray.open_zarr"
        )
    if kind is not None and found != kind:
        raise StoreError(
            f"{path} holds {found}, not a {kind} store"
            if kind == "trajectory"
            else f"{path} holds a {found}"
        )
    content = Manifest(path).content()
    if content is None:
        raise StoreError(
            f"{path} is not finished: some blocks were never written. Run the same {MADE_BY[found]} again; it does "
            "only what is missing"
        )
    return group, content


def check_unchanged(path: str | Path, content: str) -> None:
    """``SourceChangedError`` unless a store is finished and its content the one that is expected."""
    if Manifest(path).content() != content:
        raise changed(path)


def changed(path: str | Path) -> SourceChangedError:
    """The error for an input that is no longer what it was."""
    return SourceChangedError(
        f"{path} has changed since the plan was made, or is being written now; what was made of it so far is not mixed with anything. Put "
        "the store back as it was and run the same command again, which keeps the finished blocks, or choose another "
        "target for the new input"
    )


def open_store(path: str | Path, *, partial: bool = False) -> xr.Dataset:
    """A trajectory or feature store as an ``xarray.Dataset`` whose large arrays are read when they are needed.

    Parameters: ``path`` of the store; ``partial`` opens an unfinished store too (blocks that are missing read as NaN).

    Returns for a trajectory position(frame, atom, xyz) in Å, image, cell, origin, step, species, atom_id, ... and for features
    <name>(frame, atom, <name>_feature) with labelled columns; for paths path(atom, frame, xyz) in Å. dask chunks are the shards, so
    one task reads one file.

    Raises ``StoreError`` where there is no store, one of another kind, or one that is not finished.

    >>> ds = mgdask.open_store("glass.zarr")                                    # doctest: +SKIP
    >>> ds.position.isel(frame=0).sel(atom=ds.species == 29).mean("atom").compute()  # doctest: +SKIP
    """
    group = open_group(path) if partial else check_complete(path)[0]
    ds = xr.open_zarr(path, consolidated=False, zarr_format=3, chunks=None)
    if not partial:
        variables.validate(ds, str(group.attrs["mgdask_kind"]), path)
    found: dict[Any, Any] = {}
    for name, variable in ds.variables.items():
        array = group[str(name)]
        shards = array.shards if isinstance(array, zarr.Array) else None
        if shards is None:
            found[name] = variable.load()
        else:  # a dask chunk is a shard: one task reads one file
            sizes = {
                dim: min(n, variable.sizes[dim])
                for dim, n in zip(variable.dims, shards, strict=True)
            }
            found[name] = variable.chunk(sizes)
    ds = ds.assign(found)
    labels = [name for name in ds.data_vars if name in _COORDINATES or _of_columns(ds[name])]
    order = sorted(
        ds.data_vars,
        key=lambda name: (
            name not in _FIRST,
            _FIRST.index(name) if name in _FIRST else 0,
            str(name),
        ),
    )
    found_ds: xr.Dataset = ds.set_coords(labels)[[name for name in order if name not in labels]]
    return found_ds


_FIRST: list[Any] = ["position", "image", "cell", "origin", "pbc"]
_COORDINATES = ("atom_id", "species", "mass", "time", "step", "run")


def _of_columns(variable: xr.DataArray) -> bool:
    return variable.ndim == 1 and str(variable.dims[0]).endswith("_feature")
