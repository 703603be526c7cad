"""Open a store as a labeled, lazy ``xarray.Dataset``."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from mgdask import variables
from mgdask._accessor import register
from mgdask.errors import ParameterError, StoreError
from mgdask.store.failures import DamagedStoreError, SourceChangedError, advise_on_target, readable
from mgdask.store.location import Place, is_remote, place_of, scheme_of
from mgdask.store.lock import read_settled, writer_of
from mgdask.store.manifest import Manifest
from mgdask.store.mark import COMPLETE, DECLARED, check_sound
from mgdask.store.selections import (
    OPENED,
    Opened,
    is_selection,
    lasting,
    open_selection,
    opened_from,
)
from mgdask.store.shapes import check_shapes
from mgdask.store.shards import Group, open_group
from mgdask.store.sources import source_array
from mgdask.store.staging import is_declared

if TYPE_CHECKING:  # its import takes half a second, with pandas
    import xarray as xr

KINDS = ("trajectory", "features", "paths", "dictionary")
"""Kinds of stores. ``paths`` are unwrapped trajectories."""
MADE_BY = {
    "trajectory": "mgdask ingest",
    "features": "mgdask featurize",
    "paths": "mgdask unwrap",
    "dictionary": "mgdask dictionary build",
}
"""The command that makes a store of each kind."""
CONTENTS = {
    "trajectory": "a trajectory",
    "features": "features",
    "paths": "an unwrapped trajectory",
    "dictionary": "a dictionary of local environments",
}
"""What a store of each kind holds, for error messages."""

STORED = "stored_chunks", "stored_shards"
"""Encodings of an opened array: shapes of the chunks and shards of its store.

xarray would take those named ``chunks`` and ``shards`` for the layout of a copy, into
which a selection does not fit.
"""
_FIRST: tuple[Hashable, ...] = ("position", "image", "cell", "origin", "pbc")
OF_ATOMS = ("atom_id", "species", "mass")
"""Coordinates of the atoms of a trajectory."""
FRAME_AND_ATOM = (*OF_ATOMS, "time", "step", "run")
"""Coordinates of the frames and atoms of a trajectory."""
OF_ENTRIES = ("source", "frame", "order", "column")
"""Coordinates of the entries of a dictionary, besides those of their atoms."""


def check_complete(
    path: str | Path, *, kind: str | None = None, replaced: Collection[str] = ()
) -> tuple[zarr.Group, str]:
    """Return the group of a finished store and the digest of its content.

    Parameters
    ----------
    path
        The store.
    kind
        Required kind, one of ``KINDS``. Default: any.
    replaced
        Arrays that may be damaged, because the caller replaces them.

    Raises
    ------
    StoreError
        If ``path`` is not a store of mgdask, is of another kind, is not finished, or if
        its metadata or small arrays are damaged. If another process writes it, the
        message names that process.
    """
    return read_settled(path, lambda: _check_complete(path, kind, replaced))


def _check_complete(
    path: str | Path, kind: str | None, replaced: Collection[str]
) -> tuple[zarr.Group, str]:
    group, manifest = open_group(path), Manifest(path)
    check_sound(path, replaced=replaced)
    actual = str(group.attrs.get("mgdask_kind", ""))
    if actual not in KINDS:
        raise StoreError(
            f"{path} is a Zarr group, but not one that mgdask wrote; open it with xarray.open_zarr"
        )
    has_records = is_remote(path) or manifest.folder.is_dir()
    if not has_records and opened_from(group) is not None:
        raise StoreError(
            f"{path} is a selection of a store that xarray wrote; mgdask.open_store and "
            "mgdask.plan read it as it is. Anything else needs a store: "
            f"mgdask.ingest(mgdask.open_store({str(path)!r}), 'selection.zarr') makes one"
        )
    if not has_records:
        raise StoreError(
            f"{manifest.folder} is missing, and with it the records of all blocks. Run the same "
            f"{MADE_BY[actual]} again, which writes all blocks again"
        )
    if kind is not None and actual != kind:
        raise StoreError(
            f"{path} holds {CONTENTS[actual]}, not {CONTENTS[kind]}; give a store made by "
            f"{MADE_BY[kind]}"
        )
    mark = manifest.completion()
    if mark is None and is_declared(path):
        raise StoreError(
            f"{path}: appended frames are being moved into it, or a process that moved them was "
            f"stopped. Nothing is lost: mgdask attach {path}, mgdask verify {path} --repair or the "
            "same mgdask ingest --append finishes it"
        )
    if mark is None and is_remote(path):
        raise StoreError(
            f"{path} is not finished: {manifest.folder / COMPLETE} is missing, which is written "
            "last. Finish the run or the copy that makes it"
        )
    if mark is None:
        raise StoreError(
            f"{path} is not finished: some blocks were never written. Run the same "
            f"{MADE_BY[actual]} again, which does only what is missing"
        )
    if "metadata" not in mark and not replaced:
        check_shapes(path, group)
    return group, str(mark["content"])


def check_not_pending(path: str | Path) -> None:
    """Raise ``StoreError`` if values of frames have been moved only in part.

    Parameters
    ----------
    path
        The store.
    """
    if (Manifest(path).folder / DECLARED).exists():
        raise StoreError(
            f"{path}: values of frames are being added, or a process that added them was stopped. "
            f"Nothing is lost: mgdask attach {path} finishes it"
        )


def check_unchanged(path: str | Path, content: str | None) -> None:
    """Raise ``SourceChangedError`` unless a store has the expected content.

    Parameters
    ----------
    path
        The store.
    content
        Expected digest of its content.
    """
    if Manifest(path).content() != content:
        raise changed(path)


@contextmanager
def changes_explained(path: str | Path, content: str | None) -> Iterator[None]:
    """Raise ``SourceChangedError`` if the body fails and a store has changed.

    What is read of two versions can raise anything.

    Parameters
    ----------
    path
        Store that the body reads.
    content
        Digest of its content before the body.
    """
    try:
        yield
    except Exception:
        check_unchanged(path, content)
        raise


@contextmanager
def unchanged(path: str | Path, content: str | None) -> Iterator[None]:
    """Raise ``SourceChangedError`` if a store changes while the body reads it.

    Parameters
    ----------
    path
        The store.
    content
        Digest of its content before the body.
    """
    with changes_explained(path, content):
        yield
    check_unchanged(path, content)


def changed(path: str | Path) -> SourceChangedError:
    """Return the error for an input that has changed."""
    writer = writer_of(path)
    if writer:
        return SourceChangedError(
            f"{path} is being written by {writer} while this run reads it: results of two versions "
            "are never mixed, so wait for it, then run the same command again (finished blocks are "
            "kept), or choose another target for the new input"
        )
    if scheme_of(path) == "memory":
        return SourceChangedError(
            f"{path} has changed since the plan was made, or this is another process: memory:// "
            "exists only in the process that wrote it. Use workers that are threads of it, or put "
            "the store into a folder"
        )
    return SourceChangedError(
        f"{path} has changed since the plan was made, or is being written now. Results of both "
        "versions are never mixed. Restore it and run the same command again; finished blocks are "
        "kept. Or choose another target for the new input"
    )


def open_store(
    path: Place, *, partial: bool = False, storage_options: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Open a store as an ``xarray.Dataset`` whose large arrays are read on demand.

    Parameters
    ----------
    path
        A store of a trajectory, of features, of an unwrapped trajectory, or of a
        dictionary of local environments: a path, a URL (``s3://``, ``gs://``,
        ``https://``, ``memory://``) or a Zarr store object. Or a selection of one that
        xarray wrote to Zarr or NetCDF on this machine.
    partial
        Open an unfinished store too. Missing blocks read as NaN. Only for paths.
    storage_options
        Options of fsspec for a URL, such as credentials. They are written nowhere.
        Default: those with which this process opened the URL last, or the environment.

    Returns
    -------
    dataset
        For a trajectory: position(frame, atom, xyz) in Å, image, cell, origin, step,
        species, atom_id and more. For features: <name>(frame, atom, <name>_feature)
        with labeled columns. For an unwrapped trajectory: path(atom, frame, xyz) in Å.
        For a dictionary: vector(entry, column), and the origin of every entry.
        The Dask chunks are the shards, so one task reads one file.
        Dimensions have labels: ``frame`` its number in the store, ``atom`` its id,
        ``xyz`` x, y, z, and ``<name>_feature`` the columns. ``species`` holds atomic
        numbers, ``element`` symbols.

    Raises
    ------
    StoreError
        If ``path`` is not a store of mgdask, or is not finished and ``partial`` is not
        set.

    Examples
    --------
    >>> ds = mgdask.open_store("glass.zarr")  # doctest: +SKIP
    >>> copper = ds.position[0].sel(atom=ds.element == "Cu")  # doctest: +SKIP
    >>> height = ds.position.sel(atom=17, xyz="z")  # doctest: +SKIP
    >>> copper.mean("atom").compute()  # doctest: +SKIP
    """
    import xarray as xr

    from mgdask.store.labels import with_labels
    from mgdask.store.lazy_arrays import lazy_variable

    register()
    path = _place(path, partial, storage_options)
    if not is_remote(path) and is_selection(path):
        return open_selection(path)
    group, content = (open_group(path), None) if partial else check_complete(path)
    check_not_pending(path)
    with _one_version(path, content):
        with readable(path, ""):
            source = group.store if is_remote(path) else path
            ds = xr.open_zarr(source, consolidated=False, zarr_format=3, chunks=None)
        if not partial:
            variables.validate(ds, str(group.attrs["mgdask_kind"]), path)
        loaded: dict[Hashable, xr.Variable] = {}
        for name, variable in ds.variables.items():
            array = group[str(name)]
            shards = array.shards if isinstance(array, zarr.Array) else None
            if shards is None:
                with readable(path, str(name)):
                    loaded[name] = variable.load()
            else:
                if not partial:
                    variable = lazy_variable(variable, source_array(group, str(name)))
                sizes = {
                    dim: min(n, variable.sizes[dim])
                    for dim, n in zip(variable.dims, shards, strict=True)
                }
                loaded[name] = variable.chunk(sizes)
        ds = ds.assign(loaded)
        labels = coordinate_names(dict(ds.data_vars), str(group.attrs.get("mgdask_kind")))
        order = data_names(dict(ds.data_vars), labels)
        result: xr.Dataset = with_labels(ds.set_coords(labels)[order])
        if content is not None:
            n_frames, n_atoms = (result.sizes.get(dim, 0) for dim in ("frame", "atom"))
            opened = Opened(lasting(path), content, n_frames, n_atoms)
            result.attrs[OPENED] = opened.attr()
    return result


def _place(path: Place, partial: bool, options: Mapping[str, Any] | None) -> str | Path:
    place = place_of(path, options)
    if partial and is_remote(place):
        raise StoreError(
            f"{place}: partial=True opens unfinished stores in folders only; elsewhere, an object "
            "that is missing cannot be told from one that was not written yet"
        )
    return place


@contextmanager
def _one_version(path: str | Path, content: str | None) -> Iterator[None]:
    """Raise ``StoreError`` if frames are appended to a store while it is opened.

    Also if the store is replaced.
    """
    damage: Exception | None = None
    try:
        yield
    except Exception as error:
        damage = error
    if content is not None and Manifest(path).content() != content:
        raise StoreError(
            f"{path} was changed by another process while it was opened; open it again"
        ) from damage
    if damage is not None:
        raise damage


def open_tree(stores: Mapping[str, str | Path] | Sequence[str | Path]) -> xr.DataTree:
    """Open several stores as one ``xarray.DataTree``, also if their sizes differ.

    Parameters
    ----------
    stores
        Stores by the name of their node. Or a list of stores; the names of their files
        without the suffix name the nodes.

    Returns
    -------
    tree
        Each node is what ``open_store`` returns. ``plan`` and ``featurize`` take nodes.

    Raises
    ------
    ParameterError
        If there is no store, or two have the same name.
    StoreError
        As in ``open_store``.

    Examples
    --------
    >>> tree = mgdask.open_tree(["300K.zarr", "500K.zarr"])  # doctest: +SKIP
    >>> mgdask.plan(tree["300K"], [soap], out="f.zarr")  # doctest: +SKIP
    """
    import xarray as xr

    if isinstance(stores, str | Path):
        raise ParameterError(
            f"open_tree takes several stores, not one: {stores}. mgdask.open_store opens it"
        )
    if not isinstance(stores, Mapping):
        named = {Path(path).stem: path for path in stores}
        if len(named) < len(stores):
            raise ParameterError(
                f"two of the stores {', '.join(map(str, stores))} have the same name; name the "
                'nodes: open_tree({"first": "a/glass.zarr", "second": "b/glass.zarr"})'
            )
        stores = named
    if not stores:
        raise ParameterError("open_tree needs at least one store; none was given")
    tree: xr.DataTree = xr.DataTree.from_dict({k: open_store(v) for k, v in stores.items()})
    return tree


def open_target(path: str | Path) -> Group:
    """Open an existing target of a run, to see what it holds.

    Parameters
    ----------
    path
        Store that a run would write.

    Raises
    ------
    StoreError
        If it is not a Zarr store. The message advises another target.
    """
    try:
        return open_group(path)
    except DamagedStoreError:
        raise
    except StoreError:
        advice = advise_on_target(path, deletable=False)
        raise StoreError(f"{advice}: it exists and is not a Zarr store") from None


def coordinate_names(arrays: Mapping[Hashable, xr.DataArray], kind: str) -> list[Hashable]:
    """Return the names of the arrays that are coordinates.

    Parameters
    ----------
    arrays
        Arrays of a store by name.
    kind
        Kind of the store, one of ``KINDS``.
    """
    return [
        name
        for name, array in arrays.items()
        if name in FRAME_AND_ATOM
        or _labels_columns(array)
        # in a store of features, data variables are features
        or (kind == "features" and array.dims == ("frame",))
        or (kind == "dictionary" and name in OF_ENTRIES)
    ]


def data_names(
    arrays: Mapping[Hashable, xr.DataArray], coordinates: Collection[Hashable]
) -> list[Hashable]:
    """Return the names of the other arrays, in the order in which they are shown.

    Parameters
    ----------
    arrays
        Arrays of a store by name.
    coordinates
        Names of the coordinates.
    """
    return sorted((name for name in arrays if name not in coordinates), key=_position_in_order)


def _position_in_order(name: Hashable) -> tuple[int, str]:
    place = _FIRST.index(name) if name in _FIRST else len(_FIRST)
    return place, str(name)


def _labels_columns(variable: xr.DataArray) -> bool:
    return variable.ndim == 1 and str(variable.dims[0]).endswith("_feature")
