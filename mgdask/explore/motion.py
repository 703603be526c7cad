"""Displacements of atoms over a lag, from wrapped or unwrapped trajectories."""

from __future__ import annotations

import numpy as np
import xarray as xr

from mgdask._typing import AnyArray, BoolArray, FloatArray
from mgdask.elements import mass as standard_mass
from mgdask.errors import ParameterError
from mgdask.explore.origin import origin_of
from mgdask.explore.selecting import check_dim, is_number
from mgdask.features.window import FrameAxis
from mgdask.geometry import cartesian, cell_changes

BLOCK = 2**26
"""Approximate bytes of a block of unwrapped positions."""


def displacement(ds: xr.Dataset, lag: float, *, tolerance: float, remove_drift: bool) -> xr.Dataset:
    """Compute the displacement of each atom over a lag.

    Parameters
    ----------
    ds
        Trajectory with position, image, cell and time, or an unwrapped trajectory with
        path and time.
    lag
        Lag in ps.
    tolerance
        Maximum deviation of the later frame, as a fraction of the lag.
    remove_drift
        Whether to subtract the motion of the center of mass.

    Returns
    -------
    dataset
        Lazy displacement(frame, atom, xyz) and distance(frame, atom) in Å. The frames
        are the origins, the coordinate ``later_step`` the step of the later frame.

    Raises
    ------
    ParameterError
        If times are not known, or no two frames are a lag apart.
    """
    check_dim(ds, "frame")
    check_dim(ds, "atom")
    if not is_number(lag) or not 0.0 < lag < np.inf:
        raise ParameterError(f"lag={lag!r} must be a time in ps above 0")
    axis = _axis(ds)
    laters = axis.laters(lag, tolerance)
    origins = np.flatnonzero(laters >= 0)
    if not origins.size:
        nearest = axis.nearest_lag(lag, np.arange(len(axis.run)))
        raise ParameterError(
            f"no two frames of a run are {lag:g} ps apart (within {100 * tolerance:g} %); "
            + (
                "every run has one frame"
                if np.isnan(nearest)
                else f"the nearest lag that exists is {nearest:g} ps"
            )
        )
    path = _unwrapped(ds)
    before = path.isel(frame=origins)
    after = path.isel(frame=laters[origins])
    moved = before.copy(data=after.data - before.data)
    if remove_drift:
        moved = moved - _drift(ds, moved)
    moved = moved.transpose("frame", "atom", "xyz")
    moved.attrs = {"units": "Å", "long_name": f"displacement over {lag:g} ps"}
    distance: xr.DataArray = (moved**2).sum("xyz") ** 0.5
    distance.attrs = {"units": "Å", "long_name": f"length of the displacement over {lag:g} ps"}
    result = xr.Dataset({"displacement": moved, "distance": distance})
    if "step" in ds.variables:
        result = result.assign_coords(
            later_step=("frame", np.asarray(ds["step"].values)[laters[origins]])
        )
    return result.assign_attrs(lag=float(lag), drift_removed=int(remove_drift))


def _axis(ds: xr.Dataset) -> FrameAxis:
    if "time" not in ds.variables or not np.isfinite(ds["time"].values).all():
        raise ParameterError(
            "the times of the frames are not known, and a lag is a time in ps. Give timestep= to "
            "mgdask.ingest, or assign them: ds.assign_coords(time=('frame', picoseconds))"
        )
    n_frames = ds.sizes["frame"]
    run: AnyArray = (
        np.array([str(name) for name in np.broadcast_to(ds["run"].values, n_frames)])
        if "run" in ds.variables
        else np.zeros(n_frames, dtype=np.int64)
    )
    return FrameAxis(np.asarray(ds["time"].values, dtype=np.float64), run)


def _unwrapped(ds: xr.Dataset) -> xr.DataArray:
    """Return unwrapped positions, lazily."""
    if "path" in ds.variables:
        return ds["path"]
    for name in ("position", "image", "cell"):
        if name not in ds.variables:
            raise ParameterError(
                f"the Dataset has no {name}; displacements need position, image and cell, as from "
                "mgdask.open_store, or the unwrapped trajectory that mgdask.unwrap writes"
            )
    cells = np.asarray(ds["cell"].transpose("frame", "vector", "xyz").values, dtype=np.float64)
    shift = ds["image"].transpose("frame", "atom", "xyz")
    position = ds["position"].transpose("frame", "atom", "xyz")
    if not cell_changes(cells):
        return position.copy(data=position.data + shift.data.astype(np.float64) @ cells[0])
    origin = origin_of(ds)
    if origin is not None and origin.n_frames != ds.sizes["frame"]:
        raise ParameterError(
            f"the cell changes, so atoms are followed through all {origin.n_frames} frames, and "
            f"the Dataset has {ds.sizes['frame']} of them. Select frames afterwards: "
            "ds.mg.displacement(lag).sel(frame=...)"
        )
    run = _axis(ds).run
    begins = np.append(True, run[1:] != run[:-1])
    # all frames of some atoms at a time
    rows = max(1, BLOCK // (ds.sizes["frame"] * 3 * 8))
    whole = [each.chunk(frame=-1, atom=rows, xyz=-1) for each in (position, shift)]
    path: xr.DataArray = xr.apply_ufunc(
        _follow,
        *whole,
        kwargs={"cells": cells, "begins": begins},
        input_core_dims=[["frame", "xyz"]] * 2,
        output_core_dims=[["frame", "xyz"]],
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    return path.transpose("frame", "atom", "xyz")


def _follow(
    position: AnyArray, image: AnyArray, *, cells: FloatArray, begins: BoolArray
) -> FloatArray:
    """Sum the displacements from frame to frame, each reduced in the later cell.

    Layout ``(atom,frame,xyz),(atom,frame,xyz)->(atom,frame,xyz)``. It is the scheme
    "toroidal" of ``mgdask.unwrap``, with the same bits.
    """
    n = image.astype(np.float64)
    path = np.empty(position.shape)
    for k, cell in enumerate(cells):
        r = position[:, k]
        if begins[k]:
            path[:, k] = r + cartesian(n[:, k], cell)
        else:
            gained = r - position[:, k - 1] + cartesian(n[:, k] - n[:, k - 1], cell)
            path[:, k] = path[:, k - 1] + gained
    return path


def _drift(ds: xr.Dataset, moved: xr.DataArray) -> xr.DataArray:
    """Return the displacement of the center of mass (frame, xyz)."""
    origin = origin_of(ds)
    if origin is not None and ds.sizes["atom"] != origin.n_atoms:
        raise ParameterError(
            f"the drift is that of all {origin.n_atoms} atoms, and the Dataset has "
            f"{ds.sizes['atom']} of them; select atoms afterwards: "
            "ds.mg.displacement(lag, remove_drift=True).mg.species('Cu')"
        )
    weight: FloatArray = (
        np.asarray(ds["mass"].values, dtype=np.float64)
        if "mass" in ds.variables
        else np.array([standard_mass(int(z)) for z in ds["species"].values])
    )
    weights = xr.DataArray(weight / weight.sum(), dims="atom")
    return (moved.drop_vars([n for n in moved.coords if "atom" in moved[n].dims]) * weights).sum(
        "atom"
    )
