"""Values of groups of atoms or frames, read block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from mgdask._typing import AnyArray, FloatArray
from mgdask.errors import ParameterError
from mgdask.explore.selecting import elements
from mgdask.explore.values import name_of

MOST_GROUPS = 24
"""Maximum number of groups of a picture."""
MOST_VALUES = 20_000_000
"""Maximum number of values that are held to draw their distribution."""


def group_names(values: xr.DataArray, by: str | xr.DataArray | None) -> xr.DataArray:
    """Return the name of the group of each atom or frame.

    Parameters
    ----------
    values
        Array with the dimensions ``frame``, ``atom`` or both.
    by
        "species" (or "element"), "run", another coordinate of frames or atoms, or an
        array over one of them. ``None``: one group called "all".

    Returns
    -------
    names
        Text over one dimension of ``values``.

    Raises
    ------
    ParameterError
        If there is no such coordinate, or it has more than 24 values.
    """
    if by is None:
        first = str(values.dims[0])
        return xr.DataArray(np.full(values.sizes[first], "all"), dims=first)
    if isinstance(by, xr.DataArray):
        key = by
    elif by in ("species", "element") and "atom" in values.dims:
        return xr.DataArray(elements(values), dims="atom", name="element")
    elif by in values.coords:
        key = values.coords[by]
    else:
        known = [
            str(name)
            for name, coord in values.coords.items()
            if coord.dims in (("frame",), ("atom",))
        ]
        raise ParameterError(
            f"by={by!r} is no coordinate of {name_of(values)}; allowed: "
            f"{', '.join(dict.fromkeys(['species', *known]))}, or an array over frame or atom"
        )
    if len(key.dims) != 1 or key.dims[0] not in values.dims:
        raise ParameterError(
            f"by has the dimensions {key.dims}; it must have one of "
            f"{', '.join(map(str, values.dims))}"
        )
    dim = str(key.dims[0])
    if key.sizes[dim] != values.sizes[dim]:
        raise ParameterError(
            f"by has {key.sizes[dim]} values along {dim}, and {name_of(values)} has "
            f"{values.sizes[dim]}; make both from the same selection"
        )
    names = _texts(key)
    number = len(set(names.tolist()))
    if number > MOST_GROUPS:
        raise ParameterError(
            f"by={by if isinstance(by, str) else by.name!r} has {number} different values; a "
            f"picture has at most {MOST_GROUPS} groups. Cut it into classes first, such as "
            "by=(values > limit), or choose fewer"
        )
    return xr.DataArray(names, dims=dim, name=key.name)


def _texts(key: xr.DataArray) -> AnyArray:
    """Return labels as text: numbers without needless digits, with their unit."""
    values = np.asarray(key.values)
    if values.dtype.kind == "b":
        return np.where(values, truth(key, True), truth(key, False))
    if values.dtype.kind in "iuf":
        unit = str(key.attrs.get("units", ""))
        tail = f" {unit}" if unit not in ("", "1", "Z", "label") else ""
        return np.array([f"{value:g}{tail}" for value in values])
    return text_of(values)


def truth(key: xr.DataArray, value: bool) -> str:
    """Return the name of the class of a boolean array, such as "plastic: true".

    Parameters
    ----------
    key
        Boolean array. Its name can be set: ``(d2min > 1.0).rename("plastic")``.
    value
        Which of the two classes.
    """
    word = "true" if value else "false"
    name = name_of(key)
    return word if name == "value" else f"{name}: {word}"


def text_of(values: AnyArray) -> AnyArray:
    """Return labels as fixed-width text, whatever kind of text they are.

    Parameters
    ----------
    values
        Labels (label,).
    """
    return np.array([str(value) for value in values.tolist()], dtype=np.str_)


def ordered_groups(names: xr.DataArray) -> list[str]:
    """Return the names of groups: numbers in increasing order, text in order.

    Parameters
    ----------
    names
        Result of ``group_names``.
    """

    def key(name: str) -> tuple[float, str]:
        try:
            return float(name.split()[0]), name
        except (ValueError, IndexError):
            return np.inf, name

    return sorted({str(name) for name in names.values.tolist()}, key=key)


def frame_blocks(values: xr.DataArray) -> Iterator[tuple[slice, AnyArray]]:
    """Yield the frames and the values (frame, atom) of each block of an array.

    One block of the array is in memory at a time.

    Parameters
    ----------
    values
        Array with the dimensions ``frame`` and maybe ``atom``.
    """
    ordered = values.transpose("frame", ...)
    sizes = (ordered.sizes["frame"],) if ordered.chunks is None else ordered.chunks[0]
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        yield part, np.asarray(ordered.isel(frame=part).values)
        start += size


def values_by_group(values: xr.DataArray, names: xr.DataArray) -> dict[str, FloatArray]:
    """Return all finite values of each group.

    Parameters
    ----------
    values
        Array with the dimensions ``frame``, ``atom`` or both.
    names
        Result of ``group_names``.

    Raises
    ------
    ParameterError
        If there are more than 2e7 values, or none is finite.
    """
    if values.size > MOST_VALUES:
        raise ParameterError(
            f"{name_of(values)} has {values.size:,} values; a distribution is drawn of at most "
            f"{MOST_VALUES:,}. Select frames, such as .isel(frame=slice(None, None, 10))"
        )
    groups: dict[str, list[FloatArray]] = {name: [] for name in ordered_groups(names)}
    group = text_of(names.values)
    ordered = values.transpose("frame", "atom") if values.ndim == 2 else values
    blocks = (
        frame_blocks(ordered)
        if "frame" in ordered.dims
        else [(slice(None), np.asarray(ordered.values))]
    )
    for part, raw in blocks:
        block = raw.astype(np.float64)
        for name, found in groups.items():
            if names.dims == ("frame",):
                chosen = block[group[part] == name]
            else:
                chosen = block[..., group == name]
            found.append(chosen[np.isfinite(chosen)])
    result = {name: np.concatenate(found) for name, found in groups.items()}
    if not any(len(found) for found in result.values()):
        raise ParameterError(
            f"{name_of(values)} has no value in these frames (all are NaN); choose other frames"
        )
    return result
