"""Lazy features: Dask arrays that compute what is selected of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from mgdask._accessor import register
from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.features.engine import FeatureKinds
from mgdask.features.feature import Feature, TrajectoryFeature
from mgdask.features.window import FrameAxis
from mgdask.geometry import cell_changes
from mgdask.pipelines.featurize.lazy_array import SelectableArray
from mgdask.pipelines.featurize.lazy_blocks import Common
from mgdask.pipelines.featurize.lazy_graph import Frames
from mgdask.pipelines.featurize.lazy_rows import (
    Rows,
    RowsOfFrames,
    RowsOfTrajectories,
    RowsOfWindows,
)
from mgdask.pipelines.featurize.validation import (
    Centers,
    check_features,
    check_frame_values,
    check_names,
    select_centers,
    select_rows,
)
from mgdask.store.labels import with_labels
from mgdask.store.selections import OPENED
from mgdask.variables import VARIABLES

register()  # so that Datasets made by hand have the accessor too

_NEEDED = ("position", "cell", "species")


def featurize(
    ds: xr.Dataset | xr.DataTree, features: Sequence[Feature] | Feature, *, centers: Centers = None
) -> xr.Dataset:
    """Compute features of a trajectory as a lazy, labeled Dataset.

    Parameters
    ----------
    ds
        Dataset with position(frame, atom, xyz) in Å, cell(frame, vector, xyz) in Å and
        species(atom), as from ``open_store``. It may be a selection of frames, one
        frame, or a node of ``open_tree``, but has to have all atoms.
    features
        Features to compute.
    centers
        Element symbols or indices of central atoms. Default: all atoms.

    Returns
    -------
    dataset
        Dataset of Dask arrays <name>(frame, atom, <name>_feature), or (frame,
        <name>_feature) for features with one row per frame. It has the labels of the
        columns and the coordinates of frames and atoms.

    Raises
    ------
    ParameterError
        If a variable is missing, or a feature cannot describe the atoms.

    Notes
    -----
    Nothing is computed. The values are bit-identical to those of ``run``. For a whole
    long trajectory, use ``plan`` and ``run``, which can be interrupted and resumed.

    A selection of the result computes only the selected frames, atoms and columns, and
    reads only the frames that they need. This holds for ``isel``, ``sel``, masks, and
    ``where(..., drop=True)``. Arithmetic, ``rechunk`` and ``transpose`` end it: select
    first. Features of one call share the neighbor lists of a frame.

    Examples
    --------
    >>> out = mgdask.featurize(ds, [soap])  # doctest: +SKIP
    >>> out.soap.isel(frame=0).compute()  # doctest: +SKIP
    >>> out.isel(frame=0).sel(atom=[17, 4711]).compute()  # doctest: +SKIP
    """
    if da.Array.__module__ != "dask.array.core":
        raise ParameterError(
            "Dask's array.query-planning is on, with which lazy features do not work; start Python "
            "with DASK_ARRAY__QUERY_PLANNING=False, or use mgdask.plan and mgdask.run"
        )
    if isinstance(ds, xr.DataTree):
        ds = ds.to_dataset()
    if not isinstance(ds, xr.Dataset):
        raise ParameterError(
            f"featurize needs a Dataset with {', '.join(_NEEDED)}, as from mgdask.open_store, "
            f"not {type(ds).__name__}"
        )
    missing = [name for name in _NEEDED if name not in ds.variables]
    if missing:
        raise ParameterError(
            f"the Dataset has no {missing[0]}; featurize needs {', '.join(_NEEDED)}, "
            "as from mgdask.open_store"
        )
    _check_atoms(ds)
    numbers = np.asarray(ds["species"].values)
    checked = check_features(features, numbers)
    if "frame" not in ds["position"].dims:
        return featurize(_with_frames(ds, checked), checked, centers=centers).isel(frame=0)
    axis = _frame_axis(ds)
    frames = select_rows(checked, axis, None, ds.sizes["frame"])
    for feature in checked:
        feature.check_frames(axis, frames)
    check_names(checked, _frame_value_names(ds), "the Dataset")
    source = _source(ds, checked, axis, frames, select_centers(centers, numbers))
    kinds = FeatureKinds.of(checked)
    rows: list[Rows[Any]] = [RowsOfFrames(source, feature) for feature in kinds.single_frame]
    rows += [RowsOfWindows(source, feature) for feature in kinds.windows]
    rows += [RowsOfTrajectories(source, feature) for feature in kinds.trajectories]
    values = {each.feature.name: SelectableArray.draw(each) for each in rows}
    return _label(ds, source, values)


def _check_atoms(ds: xr.Dataset) -> None:
    """Raise ``ParameterError`` if atoms of the store are missing, and so neighbors."""
    opened = ds.attrs.get(OPENED)
    n_atoms = ds.sizes.get("atom", 1)
    n_stored = int(json.loads(opened)["n_atoms"]) if opened else n_atoms
    if n_atoms != n_stored or "atom" not in ds.sizes:
        raise ParameterError(
            f"the Dataset has {n_atoms} of the {n_stored} atoms of its store, so neighbors would "
            "be missing. Select atoms afterwards, which computes only these: "
            "mgdask.featurize(ds, features).sel(atom=...); or name them as centers="
        )


def _with_frames(ds: xr.Dataset, features: Sequence[Feature]) -> xr.Dataset:
    """Return a Dataset of one frame, as ``isel(frame=5)`` leaves it, with that axis."""
    kinds = FeatureKinds.of(features)
    for feature in (*kinds.windows, *kinds.trajectories):
        raise ParameterError(
            f"{feature.name} compares frames, and the Dataset has a single one; select the frame "
            "afterwards: mgdask.featurize(ds, features).isel(frame=...)"
        )
    of_frame = [
        name
        for name, variable in ds.variables.items()
        if variable.ndim == 0 or (name in VARIABLES and VARIABLES[str(name)].dims[0] == "frame")
    ]
    variables = {
        name: xr.Variable(("frame", *variable.dims), variable.data[None], variable.attrs)
        if name in of_frame
        else variable
        for name, variable in ds.variables.items()
    }
    return xr.Dataset(variables, attrs=ds.attrs).set_coords(list(ds.coords))


def _frame_axis(ds: xr.Dataset) -> FrameAxis:
    n_frames = ds.sizes["frame"]
    return FrameAxis(
        np.asarray(ds["time"].values, dtype=np.float64)
        if "time" in ds.variables
        else np.full(n_frames, np.nan),
        np.array([str(name) for name in ds["run"].values])
        if "run" in ds.variables
        else np.zeros(n_frames, dtype=np.int64),
    )


def _source(
    ds: xr.Dataset,
    features: tuple[Feature, ...],
    axis: FrameAxis,
    frames: IntArray,
    centers: IntArray,
) -> Frames:
    """Return the frames of a Dataset; raise for what is missing in it."""
    kinds = FeatureKinds.of(features)
    for feature in (*kinds.windows, *kinds.trajectories):
        if "image" not in ds.variables:
            raise ParameterError(
                f"{feature.name} follows atoms and needs their periodic images; the Dataset has "
                "no image, as from mgdask.open_store"
            )
    cell = np.asarray(ds["cell"].transpose("frame", "vector", "xyz").values, dtype=np.float64)
    position = _frames_of(ds, "position")
    kelvin = _check_trajectories(ds, kinds.trajectories, axis, frames, cell)
    common = Common(
        np.asarray(ds["species"].values),
        tuple(bool(p) for p in ds["pbc"].values) if "pbc" in ds.variables else (True,) * 3,
        cell,
        axis,
        np.asarray(ds["mass"].values, dtype=np.float64)
        if "mass" in ds.variables
        else np.ones(ds.sizes["atom"]),
        kelvin,
        tuple(dict.fromkeys(d for feature in features for d in feature.dependencies)),
    )
    image = _frames_of(ds, "image", position.chunks[0]) if "image" in ds.variables else None
    return Frames(position, image, common, features, frames, centers)


def _frames_of(ds: xr.Dataset, name: str, chunks: tuple[int, ...] | None = None) -> da.Array:
    """Return an array (frame, atom, xyz) whose chunks are whole frames."""
    array = da.asarray(ds[name].transpose("frame", "atom", "xyz").data)
    whole: da.Array = array.rechunk({0: chunks or array.chunks[0], 1: -1, 2: -1})
    return whole


def _check_trajectories(
    ds: xr.Dataset,
    features: Sequence[TrajectoryFeature],
    axis: FrameAxis,
    frames: IntArray,
    cell: FloatArray,
) -> FloatArray | None:
    """Return the temperatures that features of trajectories may use."""
    for feature in features:
        if cell_changes(cell) or feature.needs_drift:
            raise ParameterError(
                f"{feature.name}: the cell changes or drift is to be removed, which needs all "
                "frames in turn: use mgdask.plan and mgdask.run, which unwrap the trajectory first"
            )
    names = {"temperature", *(name for feature in features for name in feature.frame_values)}
    values = {
        str(name): np.asarray(variable.values, dtype=np.float64)
        for name, variable in ds.variables.items()
        if variable.dims == ("frame",) and name in names
    }
    for feature in features:
        check_frame_values((feature,), values, axis, frames, None)
    return values.get("temperature") if features else None


def _label(ds: xr.Dataset, source: Frames, values: dict[str, da.Array]) -> xr.Dataset:
    """Return lazy values with labels, coordinates and attrs."""
    features = source.features
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for feature in features:
        per_atom = feature.level == "atom"
        dims = ("frame", "atom", feature.dim) if per_atom else ("frame", feature.dim)
        variables[feature.name] = (dims, values[feature.name], feature.output_attrs())
        coords[feature.dim] = (feature.dim, np.asarray(feature.labels))
        columns = feature.column_coordinates()
        coords |= {name: (feature.dim, column) for name, column in columns.items()}
    ds = with_labels(ds)
    rows = {"frame": source.frames}
    if any(feature.level == "atom" for feature in features):
        rows["atom"] = source.centers
    known = ("time", "step", "run", *_frame_value_names(ds), "atom_id", "species")
    for name in dict.fromkeys((*known, *ds.coords)):
        if name in ds.variables and name not in values and ds[name].dims in {(d,) for d in rows}:
            coords[str(name)] = ds[name].variable.isel(rows, missing_dims="ignore").compute()
    citation = "; ".join(dict.fromkeys(feature.citation for feature in features))
    return with_labels(xr.Dataset(variables, coords=coords, attrs={"citation": citation}))


def _frame_value_names(ds: xr.Dataset) -> list[str]:
    return sorted(
        str(name)
        for name, variable in ds.variables.items()
        if variable.dims == ("frame",)
        and name not in (*VARIABLES, "frame")
        and variable.dtype.kind in "fiub"
    )
