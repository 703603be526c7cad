"""The lazy path: features as dask arrays, one task a block, nothing computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask import delayed

from mgdask.errors import ParameterError
from mgdask.features import Feature
from mgdask.features.feature import compute_window
from mgdask.features.lag import PathFeature
from mgdask.features.window import FrameAxis, Window
from mgdask.geometry import cell_changes, unwrap
from mgdask.pipelines.featurize.block import frames_of
from mgdask.pipelines.featurize.validation import check_features, select_centers, select_rows
from mgdask.store.layout import block_layout

_NEEDED = ("position", "cell", "species")


def _fill(
    position: Any, cell: Any, centers: Any, *, feature: Feature, numbers: Any, pbc: Any
) -> npt.NDArray[Any]:
    if (
        position.size == 0 or centers.size == 0
    ):  # dask asks for the type of the result with nothing in hand
        shape = (0, 0, feature.n_columns) if feature.level == "atom" else (0, feature.n_columns)
        return np.empty(shape, dtype=feature.output_dtype)
    return feature.compute_block(
        np.asarray(position), np.asarray(cell), numbers, np.asarray(centers), pbc
    )


def featurize(
    ds: xr.Dataset, features: Sequence[Feature] | Feature, *, centers: Any = None
) -> xr.Dataset:
    """Features of a trajectory as a lazy, labelled Dataset.

    Parameters: ``ds`` with position(frame, atom, xyz) in Å, cell(frame, vector, xyz) in Å and species(atom), as from
    ``open_store`` (``isel(frame=...)`` of it works too); ``features`` to compute; ``centers`` element symbols or rows of central atoms.

    Returns a Dataset of dask arrays <name>(frame, atom, <name>_feature), or (frame, <name>_feature) where a feature averages, with the labels of the
    columns and the coordinates of frames and atoms. Nothing is computed; the values are bit for bit those of ``run``. For looking at some frames;
    for all of a long trajectory use ``plan`` and ``run``, which survive being killed.

    >>> out = mgdask.featurize(ds, [soap])                     # doctest: +SKIP
    >>> out.soap.isel(frame=0).sel(soap_feature="Cu-Zr l=4 n=1,1").compute()  # doctest: +SKIP
    """
    missing = [name for name in _NEEDED if name not in ds.variables]
    if missing:
        raise ParameterError(
            f"the Dataset has no {missing[0]}; featurize needs {', '.join(_NEEDED)}, as from mgdask.open_store"
        )
    numbers = np.asarray(ds["species"].values)
    chosen = check_features(features, numbers)
    rows = select_centers(centers, numbers)
    pbc = np.asarray(ds["pbc"].values) if "pbc" in ds.variables else np.ones(3, dtype=bool)
    n_frames = ds.sizes["frame"]
    position = da.asarray(ds["position"].transpose("frame", "atom", "xyz").data)
    cell = da.asarray(ds["cell"].transpose("frame", "vector", "xyz").data)
    axis = FrameAxis(
        np.asarray(ds["time"].values, dtype=np.float64)
        if "time" in ds.variables
        else np.full(n_frames, np.nan),
        np.array([str(name) for name in ds["run"].values])
        if "run" in ds.variables
        else np.zeros(n_frames, dtype=np.int64),
    )
    frames = select_rows(chosen, axis, None, n_frames)
    found: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for feature in chosen:
        per_atom = feature.level == "atom"
        if type(feature).frames_needed is Feature.frames_needed:
            values = _by_frames(feature, position, cell, numbers, rows, pbc)
        else:
            values = _by_windows(feature, ds, position, cell, axis, frames, rows, pbc)
        dims = ("frame", "atom", feature.dim) if per_atom else ("frame", feature.dim)
        attrs = {
            "long_name": feature.long_name,
            "units": "1",
            "citation": feature.citation,
            "parameters": feature.parameters(),
        }
        found[feature.name] = (dims, values, attrs)
        labels[feature.dim] = (feature.dim, np.asarray(feature.labels))
        labels |= {name: (feature.dim, column) for name, column in feature.coordinates().items()}
    for name in ("time", "step", "run"):
        if name in ds.variables:
            labels[name] = ds[name].variable.isel(frame=frames)
    if any(feature.level == "atom" for feature in chosen):
        for name in ("atom_id", "species"):
            if name in ds.variables:
                labels[name] = ds[name].variable.isel(atom=rows)
    return xr.Dataset(
        found,
        coords=labels,
        attrs={"citation": "; ".join(dict.fromkeys(f.citation for f in chosen))},
    )


def _by_frames(
    feature: Feature, position: Any, cell: Any, numbers: Any, rows: Any, pbc: Any
) -> Any:
    """Blocks of frames and atoms, each from its own frames."""
    per_atom = feature.level == "atom"
    cut = block_layout(
        position.shape[0],
        len(rows) if per_atom else 1,
        feature.n_columns * feature.output_dtype.itemsize,
    )
    r, box = (array.rechunk({0: cut.frames, 1: -1, 2: -1}) for array in (position, cell))
    index = da.from_array(rows, chunks=min(cut.rows, len(rows)) if per_atom else len(rows))
    return da.blockwise(
        _fill,
        "fak" if per_atom else "fk",
        r,
        "fnx",
        box,
        "fvy",
        index,
        "a",
        feature=feature,
        numbers=numbers,
        pbc=pbc,
        new_axes={"k": feature.n_columns},
        dtype=feature.output_dtype,
        concatenate=True,
        meta=np.empty((0,) * (3 if per_atom else 2), dtype=feature.output_dtype),
        name=None,
        align_arrays=False,
    )


def _by_windows(
    feature: Feature,
    ds: xr.Dataset,
    position: Any,
    cell: Any,
    axis: FrameAxis,
    frames: Any,
    rows: Any,
    pbc: Any,
) -> Any:
    """Blocks of rows that are made of several frames: each takes those that it needs out of the lazy arrays."""
    if "image" not in ds.variables:
        raise ParameterError(
            f"{feature.name} follows atoms and needs their images; the Dataset has no image, as from mgdask.open_store"
        )
    if isinstance(feature, PathFeature) and (
        cell_changes(np.asarray(ds["cell"].values)) or feature.needs_drift
    ):
        raise ParameterError(
            f"{feature.name}: the cell changes or drift is to be removed, which takes all frames in turn: use mgdask.plan and mgdask.run, "
            "which make the paths first"
        )
    numbers, image = (
        np.asarray(ds["species"].values),
        da.asarray(ds["image"].transpose("frame", "atom", "xyz").data),
    )
    mass = (
        np.asarray(ds["mass"].values, dtype=np.float64)
        if "mass" in ds.variables
        else np.ones(len(numbers))
    )
    kelvin = (
        np.asarray(ds["temperature"].values, dtype=np.float64)
        if "temperature" in ds.variables
        else None
    )
    cut = block_layout(len(frames), len(rows), feature.n_columns * feature.output_dtype.itemsize)
    lines = []
    for first in range(0, len(frames), cut.frames):
        some = frames[first : first + cut.frames]
        needed = frames_of((feature,), axis, some)
        line = []
        for row in range(0, len(rows), cut.rows):
            here = rows[row : row + cut.rows]
            of = here if feature.reads == "paths" else slice(None)
            block = delayed(_window_block, pure=True)(
                position[needed][:, of],
                image[needed][:, of],
                cell[needed],
                feature,
                needed,
                axis,
                some,
                here,
                numbers,
                pbc,
                mass,
                kelvin,
            )
            shape = (len(some), len(here), feature.n_columns)
            line.append(da.from_delayed(block, shape, dtype=feature.output_dtype))
        lines.append(line)
    return da.concatenate([da.concatenate(line, axis=1) for line in lines], axis=0)


def _window_block(
    position: Any,
    image: Any,
    cell: Any,
    feature: Feature,
    needed: Any,
    axis: FrameAxis,
    frames: Any,
    rows: Any,
    numbers: Any,
    pbc: Any,
    mass: Any,
    kelvin: Any,
) -> npt.NDArray[Any]:
    if isinstance(feature, PathFeature):
        path = np.ascontiguousarray(
            np.stack(
                [unwrap(r, n, c) for r, n, c in zip(position, image, cell, strict=True)], axis=1
            )
        )
        out = np.empty((len(frames), len(rows), feature.n_columns), dtype=feature.output_dtype)
        feature.describe_paths(
            path, needed, axis, frames, mass[rows], None if kelvin is None else kelvin[frames], out
        )
        return out
    window = Window(
        needed,
        np.asarray(position),
        np.asarray(image),
        np.asarray(cell),
        numbers,
        tuple(bool(p) for p in pbc),
        axis,
    )
    return compute_window((feature,), window, list(frames), rows)[0][0]
