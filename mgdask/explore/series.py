"""Means and quartiles of atoms against time, for each run and group."""

from __future__ import annotations

import numpy as np
import xarray as xr

from mgdask._typing import AnyArray, FloatArray
from mgdask.errors import ParameterError
from mgdask.explore.grouping_values import frame_blocks, group_names, ordered_groups, text_of
from mgdask.explore.values import axis_label, name_of, with_unit
from mgdask.plot.series import Line

MOST_LINES = 24
"""Maximum number of lines of a picture."""


def abscissa(values: xr.DataArray, over: str | None) -> tuple[FloatArray, str]:
    """Return the x value of each frame, and the text of its axis.

    Parameters
    ----------
    values
        Array with the dimension ``frame``.
    over
        Coordinate of frames. Default: time, step or frame, the first that is known.

    Raises
    ------
    ParameterError
        If there is no such coordinate, or it is not numbers.
    """
    known = {
        str(name): coord
        for name, coord in values.coords.items()
        if coord.dims == ("frame",) and coord.dtype.kind in "iuf"
    }
    if over is None:
        for name in ("time", "step"):
            if name in known and np.isfinite(known[name].values).all():
                over = name
                break
        else:
            over = "frame"
    if over == "frame" and over not in known:
        return np.arange(float(values.sizes["frame"])), with_unit("frame", "1")
    if over not in known:
        raise ParameterError(
            f"over={over!r} is no coordinate of frames with numbers; allowed: "
            f"{', '.join(dict.fromkeys([*known, 'frame']))}"
        )
    coord = known[over]
    label = with_unit("frame", "1") if over == "frame" else axis_label(coord)
    return coord.values.astype(np.float64), label


def statistics(values: xr.DataArray, names: xr.DataArray) -> dict[str, FloatArray]:
    """Return the mean and the quartiles of each group in each frame, shape (3, frame).

    Parameters
    ----------
    values
        Array with the dimensions ``frame`` and ``atom``.
    names
        Group of each atom, see ``group_names``.
    """
    group = text_of(names.values)
    masks = {name: group == name for name in ordered_groups(names)}
    shape = (3, values.sizes["frame"])
    result: dict[str, FloatArray] = {name: np.full(shape, np.nan) for name in masks}
    for part, raw in frame_blocks(values.transpose("frame", "atom")):
        block = raw.astype(np.float64)
        for name, mask in masks.items():
            for row, line in enumerate(block[:, mask], start=part.start):
                finite = line[np.isfinite(line)]
                if len(finite):
                    quartiles = np.quantile(finite, [0.25, 0.75])
                    result[name][:, row] = [finite.mean(), *quartiles]
    return result


def frame_lines(
    values: xr.DataArray, by: str | xr.DataArray | None, over: str | None
) -> tuple[list[Line], str]:
    """Return the lines of a series, and the text of the x axis.

    Parameters
    ----------
    values
        Array with the dimension ``frame`` and maybe ``atom``.
    by
        Groups of atoms, see ``group_names``.
    over
        See ``abscissa``.

    Raises
    ------
    ParameterError
        If the array has no frames, or there are more than 24 lines.
    """
    if "frame" not in values.dims:
        raise ParameterError(
            f"{name_of(values)} has no dimension frame, only {', '.join(map(str, values.dims))}; "
            "a series needs several frames"
        )
    x, label = abscissa(values, over)
    per_run = by == "run" if isinstance(by, str) else False
    if "atom" in values.dims:
        names = group_names(values, None if per_run else by)
        if names.dims != ("atom",):
            if by is not None and not per_run:
                raise ParameterError(
                    f"by must name groups of atoms; {by if isinstance(by, str) else by.name!r} is "
                    "of frames. Use it as over=, or select frames first"
                )
            names = xr.DataArray(np.full(values.sizes["atom"], "all"), dims="atom")
        curves = statistics(values, names)
    else:
        flat: AnyArray = values.values.astype(np.float64)
        curves = {"all": flat[None, :]}
    runs = _runs(values)
    if len(curves) * len(runs) > MOST_LINES:
        raise ParameterError(
            f"{len(runs)} runs of {len(curves)} groups are {len(curves) * len(runs)} lines; at "
            f"most {MOST_LINES} can be told apart. Select runs first, such as "
            f"ds.isel(frame=ds.run == {next(iter(runs))!r})"
        )
    lines = []
    for run, rows in runs.items():
        for name, curve in curves.items():
            words = [run] if len(runs) > 1 else []
            words += [name] if name != "all" or not words else []
            order = rows[np.argsort(x[rows], kind="stable")]
            low, high = (curve[1, order], curve[2, order]) if len(curve) == 3 else (None, None)
            lines.append(Line(", ".join(words), x[order], curve[0, order], low, high))
    return lines, label


def _runs(values: xr.DataArray) -> dict[str, AnyArray]:
    """Return the frames of each run, in the order of their first frames."""
    if "run" not in values.coords or values.coords["run"].dims != ("frame",):
        return {"": np.arange(values.sizes["frame"])}
    run = text_of(values.coords["run"].values)
    return {str(name): np.flatnonzero(run == name) for name in dict.fromkeys(run.tolist())}
