"""Lazy features: Dask arrays with one task per block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

from mgdask._accessor import register
from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.features.engine import (
    FeatureKinds,
    block_limit,
    compute_features,
    compute_trajectories,
    compute_window,
    frames_needed,
)
from mgdask.features.feature import Feature, FrameFeature, TrajectoryFeature, WindowFeature
from mgdask.features.window import FrameAxis, Trajectories, Window
from mgdask.geometry import cell_changes, unwrap
from mgdask.pipelines.featurize.validation import (
    Centers,
    check_features,
    check_frame_values,
    check_names,
    select_centers,
    select_rows,
)
from mgdask.store.labels import with_labels
from mgdask.store.layout import MAX_BLOCK, block_layout
from mgdask.variables import VARIABLES

register()  # so that Datasets made by hand have the accessor too

_NEEDED = ("position", "cell", "species")


def featurize(
    ds: xr.Dataset, features: Sequence[Feature] | Feature, *, centers: Centers = None
) -> xr.Dataset:
    """Compute features of a trajectory as a lazy, labeled Dataset.

    Parameters
    ----------
    ds
        Dataset with position(frame, atom, xyz) in Å, cell(frame, vector, xyz) in Å and
        species(atom), as from ``open_store``. A selection of it works too.
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

    Examples
    --------
    >>> out = mgdask.featurize(ds, [soap])  # doctest: +SKIP
    >>> out.soap.isel(frame=0).compute()  # doctest: +SKIP
    """
    missing = [name for name in _NEEDED if name not in ds.variables]
    if missing:
        raise ParameterError(
            f"the Dataset has no {missing[0]}; featurize needs {', '.join(_NEEDED)}, "
            "as from mgdask.open_store"
        )
    numbers = np.asarray(ds["species"].values)
    checked = check_features(features, numbers)
    axis = _frame_axis(ds)
    frames = select_rows(checked, axis, None, ds.sizes["frame"])
    for feature in checked:
        feature.check_frames(axis, frames)
    check_names(checked, _frame_value_names(ds), "the Dataset")
    source = _LazySource(ds, axis, frames, select_centers(centers, numbers))
    kinds = FeatureKinds.of(checked)
    values: dict[str, da.Array] = {}
    values |= {feature.name: source.single_frame(feature) for feature in kinds.single_frame}
    values |= {feature.name: source.window(feature) for feature in kinds.windows}
    values |= {feature.name: source.trajectories(feature) for feature in kinds.trajectories}
    return _label(source, checked, values)


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


def _label(
    source: _LazySource, features: Sequence[Feature], values: dict[str, da.Array]
) -> xr.Dataset:
    """Return lazy values with labels, coordinates and attrs."""
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for feature in features:
        per_atom = feature.level == "atom"
        dims = ("frame", "atom", feature.dim) if per_atom else ("frame", feature.dim)
        variables[feature.name] = (dims, values[feature.name], feature.output_attrs())
        coords[feature.dim] = (feature.dim, np.asarray(feature.labels))
        columns = feature.column_coordinates()
        coords |= {name: (feature.dim, column) for name, column in columns.items()}
    ds = with_labels(source.ds)
    for name in ("frame", "time", "step", "run", *_frame_value_names(ds)):
        if name in ds.variables:
            coords[name] = ds[name].variable.isel(frame=source.frames)
    if any(feature.level == "atom" for feature in features):
        for name in ("atom", "atom_id", "species", "element"):
            if name in ds.variables:
                coords[name] = ds[name].variable.isel(atom=source.centers)
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


@dataclass(frozen=True)
class _LazySource:
    """Lazy blocks of one Dataset, one method per kind of feature."""

    ds: xr.Dataset
    axis: FrameAxis
    frames: IntArray
    centers: IntArray

    def _array(self, name: str, *dims: str) -> da.Array:
        array: da.Array = da.asarray(self.ds[name].transpose(*dims).data)
        return array

    @property
    def _position(self) -> da.Array:
        return self._array("position", "frame", "atom", "xyz")

    @property
    def _cell(self) -> da.Array:
        return self._array("cell", "frame", "vector", "xyz")

    @property
    def _numbers(self) -> AnyArray:
        return np.asarray(self.ds["species"].values)

    @property
    def _pbc(self) -> BoolArray:
        if "pbc" in self.ds.variables:
            return np.asarray(self.ds["pbc"].values)
        return np.ones(3, dtype=bool)

    def single_frame(self, feature: FrameFeature) -> da.Array:
        """Return blocks of frames and atoms, each computed from its own frames."""
        per_atom = feature.level == "atom"
        position, centers = self._position, self.centers
        cut = block_layout(
            position.shape[0],
            len(centers) if per_atom else 1,
            feature.n_columns * feature.output_dtype.itemsize,
            limit=block_limit((feature,), len(centers), MAX_BLOCK),
        )
        r, box = (array.rechunk({0: cut.frames, 1: -1, 2: -1}) for array in (position, self._cell))
        rows = min(cut.rows, len(centers)) if per_atom else len(centers)
        blocks: da.Array = da.blockwise(
            _compute_frames,
            "fak" if per_atom else "fk",
            r,
            "fnx",
            box,
            "fvy",
            da.from_array(centers, chunks=rows),
            "a",
            feature=feature,
            numbers=self._numbers,
            pbc=self._pbc,
            new_axes={"k": feature.n_columns},
            dtype=feature.output_dtype,
            concatenate=True,
            meta=np.empty((0,) * (3 if per_atom else 2), dtype=feature.output_dtype),
            name=None,
            align_arrays=False,
        )
        return blocks

    def window(self, feature: WindowFeature) -> da.Array:
        """Return blocks that each read several whole frames."""
        return self._blocks(feature, _WindowTask(feature, self.axis, self._numbers, self._pbc))

    def trajectories(self, feature: TrajectoryFeature) -> da.Array:
        """Return blocks that each read several frames of their own atoms."""
        ds = self.ds
        self._check_images(feature)
        if cell_changes(np.asarray(ds["cell"].values)) or feature.needs_drift:
            raise ParameterError(
                f"{feature.name}: the cell changes or drift is to be removed, which needs all "
                "frames in turn: use mgdask.plan and mgdask.run, which unwrap the trajectory first"
            )
        mass = (
            np.asarray(ds["mass"].values, dtype=np.float64)
            if "mass" in ds.variables
            else np.ones(ds.sizes["atom"])
        )
        values = {
            str(name): np.asarray(variable.values, dtype=np.float64)
            for name, variable in ds.variables.items()
            if variable.dims == ("frame",) and name in ("temperature", *feature.frame_values)
        }
        check_frame_values((feature,), values, self.axis, self.frames, None)
        kelvin = values.get("temperature")
        return self._blocks(feature, _TrajectoryTask(feature, self.axis, mass, kelvin))

    def _check_images(self, feature: Feature) -> None:
        if "image" not in self.ds.variables:
            raise ParameterError(
                f"{feature.name} follows atoms and needs their periodic images; the Dataset has "
                "no image, as from mgdask.open_store"
            )

    def _blocks(
        self, feature: WindowFeature | TrajectoryFeature, task: _WindowTask | _TrajectoryTask
    ) -> da.Array:
        """Return blocks that each take the frames they need from the lazy arrays."""
        self._check_images(feature)
        position, cell = self._position, self._cell
        image = self._array("image", "frame", "atom", "xyz")
        cut = block_layout(
            len(self.frames), len(self.centers), feature.n_columns * feature.output_dtype.itemsize
        )
        lines = []
        for first in range(0, len(self.frames), cut.frames):
            frames = self.frames[first : first + cut.frames]
            needed = frames_needed((feature,), self.axis, frames)
            line = []
            for row in range(0, len(self.centers), cut.rows):
                centers = self.centers[row : row + cut.rows]
                atoms = task.atoms_needed(centers)
                values = delayed(task, pure=True)(
                    position[needed][:, atoms],
                    image[needed][:, atoms],
                    cell[needed],
                    needed,
                    frames,
                    centers,
                )
                shape = (len(frames), len(centers), feature.n_columns)
                line.append(da.from_delayed(values, shape, dtype=feature.output_dtype))
            lines.append(line)
        whole: da.Array = da.concatenate([da.concatenate(line, axis=1) for line in lines], axis=0)
        return whole


def _compute_frames(
    position: AnyArray,
    cell: AnyArray,
    centers: AnyArray,
    *,
    feature: FrameFeature,
    numbers: AnyArray,
    pbc: BoolArray,
) -> AnyArray:
    if position.size == 0 or centers.size == 0:  # dask asks for the type of the result
        shape = (0, 0, feature.n_columns) if feature.level == "atom" else (0, feature.n_columns)
        return np.empty(shape, dtype=feature.output_dtype)
    block = np.asarray(position), np.asarray(cell), numbers, np.asarray(centers)
    return compute_features((feature,), *block, pbc).values[0]


@dataclass(frozen=True)
class _WindowTask:
    """Computes a block of a window feature."""

    feature: WindowFeature
    axis: FrameAxis
    numbers: AnyArray
    pbc: BoolArray

    def atoms_needed(self, centers: IntArray) -> slice | IntArray:
        """Return the atoms that a block reads: all."""
        return slice(None)

    def __call__(
        self,
        position: AnyArray,
        image: AnyArray,
        cell: AnyArray,
        needed: IntArray,
        frames: IntArray,
        centers: IntArray,
    ) -> AnyArray:
        pbc = tuple(bool(p) for p in self.pbc)
        arrays = np.asarray(position), np.asarray(image), np.asarray(cell)
        window = Window(needed, *arrays, self.numbers, pbc, self.axis)
        return compute_window((self.feature,), window, list(frames), centers).values[0]


@dataclass(frozen=True)
class _TrajectoryTask:
    """Computes a block of a trajectory feature."""

    feature: TrajectoryFeature
    axis: FrameAxis
    mass: FloatArray
    temperature: FloatArray | None

    def atoms_needed(self, centers: IntArray) -> slice | IntArray:
        """Return the atoms that a block reads: its own."""
        return centers

    def __call__(
        self,
        position: AnyArray,
        image: AnyArray,
        cell: AnyArray,
        needed: IntArray,
        frames: IntArray,
        centers: IntArray,
    ) -> AnyArray:
        steps = zip(position, image, cell, strict=True)
        unwrapped = np.ascontiguousarray(np.stack([unwrap(r, n, c) for r, n, c in steps], axis=1))
        kelvin = None if self.temperature is None else self.temperature[needed]
        trajectories = Trajectories(needed, unwrapped, self.axis, self.mass[centers], kelvin)
        return compute_trajectories((self.feature,), trajectories, list(frames)).values[0]
