"""A slab with a slider of frames and a linked histogram, through HoloViews and Bokeh.

HoloViews calls back for each frame, so a frame is read when it is looked at. In a
notebook with a running kernel, atoms chosen in one panel are marked in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from mgdask._typing import FloatArray
from mgdask.elements import symbol
from mgdask.errors import MissingDependencyError, ParameterError
from mgdask.explore import places
from mgdask.explore.plotting import Axis, color_span, one_frame
from mgdask.explore.values import Value, axis_label, values_of_frame
from mgdask.plot.slab_markers import AXES, axis_number, fitting_limits, radius

MARKER = 9.0
"""Diameter in screen pixels of an atom whose radius is the mean of all."""
BINS = 40
"""Number of bins of the histogram."""


def linked_slab(
    ds: xr.Dataset,
    color: Value,
    *,
    axis: Axis = "z",
    at: float | None = None,
    thickness: float = 5.0,
    cmap: str = "viridis",
    span: tuple[float, float] | None = None,
    frames: Sequence[int] | None = None,
) -> Any:
    """Return a slab and the histogram of its values, with a slider of frames.

    The bins are those of the first frame. Values beyond them are in the outer bins.

    Parameters
    ----------
    ds
        Trajectory, joined with the features that are to be shown.
    color
        A column such as "q6", a variable, or an array over atoms and frames, of
        numbers.
    axis, at, thickness, cmap
        See ``PlotAccessor.slab``.
    span
        Values at the two ends of the color scale, the same for all frames. Default: the
        2nd and 98th percentile of the first frame.
    frames
        Numbers of frames to draw at once. The result needs no kernel then, and can be
        written to a page by ``holoviews.save``, but its panels are not linked. Default:
        all frames, each drawn when it is chosen.

    Returns
    -------
    layout
        HoloViews ``Layout`` of two ``DynamicMap``, or of two ``HoloMap``.

    Raises
    ------
    MissingDependencyError
        If HoloViews or Bokeh are not installed.
    ParameterError
        If the value is not a number, or an option is out of range.

    Examples
    --------
    >>> linked_slab(ds.mg.join("features.zarr"), "q6")  # doctest: +SKIP
    """
    hv = _holoviews()
    known = _frame_numbers(ds)
    chosen = known if frames is None else _chosen(frames, known)
    first = values_of_frame(ds, color, chosen[0])
    if first.dtype.kind not in "iuf":
        raise ParameterError(
            f"the interactive slab shows numbers, and {axis_label(first)} has dtype "
            f"{first.dtype}; use ds.mg.plot.slab without interactive=True"
        )
    low, high = color_span(first.values.astype(np.float64), span)
    across, up = (k for k in range(3) if k != axis_number(axis))
    limits = fitting_limits(one_frame(ds, chosen[0]), axis)
    kdims = [hv.Dimension(AXES[k], label=f"{AXES[k]} (Å)") for k in (across, up)]
    value, binned = hv.Dimension("value", label=axis_label(first)), hv.Dimension("binned")
    # HoloViews keeps the bins of the first frame and drops what is beyond them
    ends = _bin_range(first.values.astype(np.float64))
    pad = 1e-6 * (ends[1] - ends[0])  # it also rounds them
    within = (ends[0] + pad, ends[1] - pad)

    def points(frame: int) -> Any:
        one = one_frame(ds, frame)
        inside = places.slab(one, axis, at, thickness, None)
        values = values_of_frame(ds, color, frame).values.astype(np.float64)
        shown = inside & np.isfinite(values)
        position, numbers = one["position"].values[shown], one["species"].values[shown]
        names = {int(z): symbol(int(z)) for z in np.unique(one["species"].values)}
        mean = float(np.mean([radius(z) for z in names]))
        columns = {
            AXES[across]: position[:, across],
            AXES[up]: position[:, up],
            "value": values[shown],
            "binned": np.clip(values[shown], *within),
            "element": np.array([names[int(z)] for z in numbers], dtype=np.str_),
            "id": one["atom_id"].values[shown],
            "size": np.array([MARKER * radius(int(z)) / mean for z in numbers], dtype=float),
        }
        return hv.Points(columns, kdims, [value, binned, "element", "id", "size"]).opts(
            color="value",
            cmap=cmap,
            clim=(low, high),
            size="size",
            colorbar=True,
            clabel=axis_label(first),
            line_color="black",
            line_width=0.3,
            tools=["hover"],
            data_aspect=1,
            frame_height=400,
            xlim=limits[0],
            ylim=limits[1],
            title="",
        )

    def counts(drawn: Any) -> Any:
        made = hv.operation.histogram(
            drawn, dimension="binned", num_bins=BINS, bin_range=ends, normed=False
        )
        return made.opts(
            hv.opts.Histogram(
                xlabel=axis_label(first),
                ylabel="atoms in the slab (dimensionless)",
                frame_height=400,
                frame_width=260,
                fill_color="lightgray",
                title="",
            )
        )

    if frames is not None:
        still = hv.HoloMap({number: points(number) for number in chosen}, kdims="frame")
        return still + counts(still)
    moving = hv.DynamicMap(points, kdims=[hv.Dimension("frame", values=chosen)])
    return hv.link_selections.instance()(moving + counts(moving))


def _bin_range(values: FloatArray) -> tuple[float, float]:
    """Return the ends of the histograms of all frames, from the values of one.

    There is room to both sides, since other frames are not read for it.
    """
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    room = 0.1 * (high - low) or 0.5
    return low - room, high + room


def _holoviews() -> Any:
    """Return HoloViews with the Bokeh backend, loaded once."""
    try:
        import bokeh  # noqa: F401
        import holoviews
        import holoviews.operation
    except ImportError as error:
        missing = (error.name or "holoviews").split(".")[0]
        raise MissingDependencyError(missing, "interactive", "an interactive slab") from error
    if "bokeh" not in holoviews.Store.renderers:
        holoviews.extension("bokeh", logo=False)
    return holoviews


def _frame_numbers(ds: xr.Dataset) -> list[int]:
    if "frame" not in ds.dims:
        raise ParameterError(
            "the Dataset is one frame, and the slider chooses among frames; give a Dataset with "
            "the dimension frame, such as ds.isel(frame=slice(0, 10))"
        )
    if "frame" in ds.indexes:
        return [int(number) for number in ds.indexes["frame"]]
    return list(range(ds.sizes["frame"]))


def _chosen(frames: Sequence[int], known: Sequence[int]) -> list[int]:
    wanted = [int(number) for number in frames]
    missing = [number for number in wanted if number not in known]
    if missing or not wanted:
        raise ParameterError(
            f"frames={wanted} must be frames of the Dataset, at least one; its {len(known)} frames "
            f"are from {known[0]} to {known[-1]}"
        )
    return wanted
