"""Values of atoms by name: variables, columns by their label, and arrays."""

from __future__ import annotations

import re
from collections.abc import Hashable
from difflib import get_close_matches
from typing import TypeAlias

import numpy as np
import xarray as xr

from mgdask._typing import AnyArray
from mgdask.errors import ParameterError
from mgdask.explore.selecting import Data, atom_ids, frame_row

Value: TypeAlias = str | xr.DataArray
"""A variable, the label of a column such as "q6", or an array of the user."""

DIMENSIONLESS = "dimensionless"
"""Text on axes in place of the unit "1"."""


def either_spelling(color: Value | None, colour: Value | None) -> Value | None:
    """Return the argument that was given as ``color`` or as ``colour``.

    Parameters
    ----------
    color, colour
        The two spellings of one argument.

    Raises
    ------
    ParameterError
        If both were given.

    Examples
    --------
    >>> either_spelling(None, "q6")
    'q6'
    """
    if color is not None and colour is not None:
        raise ParameterError("color and colour are two spellings of one argument; give one of them")
    return colour if color is None else color


def find_values(data: Data, what: Value) -> xr.DataArray:
    """Return one value per atom, per frame, or per atom and frame, by its name.

    Parameters
    ----------
    data
        Dataset, or DataArray of a feature.
    what
        The name of a variable, the label of a column such as "q6", both as
        "bond_order: q6", or an array. An array is returned if it is such a value.

    Returns
    -------
    values
        Array with the dimensions ``frame``, ``atom`` or both. Nothing is computed.

    Raises
    ------
    ParameterError
        If the name is not known or stands for several columns.
    """
    if isinstance(what, xr.DataArray):
        return _one_column(what)
    name, _, label = (part.strip() for part in str(what).partition(": "))
    if not label and name in _variables(data):
        return _one_column(_variables(data)[name])
    columns = _columns(data)
    found = [
        (array, column)
        for array, labels in columns.items()
        for column in labels
        if column == (label or name) and (not label or array == name)
    ]
    if len(found) == 1:
        array, column = found[0]
        dim = f"{array}_feature"
        row = columns[array].index(column)
        return _variables(data)[array].isel({dim: row})
    if found:
        choices = ", ".join(f"{array}: {column}" for array, column in found)
        raise ParameterError(f"{what!r} is a column of several arrays; write one of: {choices}")
    raise ParameterError(_unknown(data, str(what), columns))


def _variables(data: Data) -> dict[str, xr.DataArray]:
    """Return variables and coordinates by name; an array alone is one of them."""
    if isinstance(data, xr.Dataset):
        return {str(name): data[name] for name in data.variables}
    coords = {str(name): data.coords[name] for name in data.coords}
    return {**coords, str(data.name): data}


def _columns(data: Data) -> dict[str, list[str]]:
    """Return the labels of the columns by array."""
    return {
        name: [str(label) for label in array.coords[f"{name}_feature"].values]
        for name, array in _variables(data).items()
        if f"{name}_feature" in array.dims and f"{name}_feature" in array.coords
    }


def _one_column(array: xr.DataArray) -> xr.DataArray:
    """Return an array without a dimension of one column; refuse those with several."""
    extra = [dim for dim in array.dims if dim not in ("frame", "atom")]
    for dim in extra:
        if array.sizes[dim] != 1:
            labels = [str(x) for x in array.coords[dim].values] if dim in array.coords else []
            some = ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
            example = labels[0] if labels else 0
            choose = f".sel({dim}={example!r})" if labels else f".isel({dim}={example})"
            raise ParameterError(
                f"{array.name!r} has {array.sizes[dim]} columns along {dim}"
                f"{f' ({some})' if some else ''}; choose one, such as "
                f"{f'{example!r} or ' if labels else ''}array{choose}"
            )
    one = array.squeeze(extra) if extra else array
    if not one.dims:
        raise ParameterError(
            f"{array.name!r} is a single value; it must have the dimension frame or atom"
        )
    return one


def _unknown(data: Data, what: str, columns: dict[str, list[str]]) -> str:
    """Explain that a name is not known, with those near to it."""
    names = [name for name, array in _variables(data).items() if set(array.dims) & {"atom"}]
    labels = [label for each in columns.values() for label in each]
    near = get_close_matches(what, [*labels, *names], n=3, cutoff=0.5)
    if near:
        return f"there is no {what!r}; the nearest names are {', '.join(near)}"
    advice = "" if labels else ". Features are added by ds.mg.join(features) or ds.mg.features(...)"
    known = ", ".join([*labels[:12], *names[:12]])
    return f"there is no variable or column {what!r}; there are {known}{advice}"


def values_of_frame(data: Data, what: Value, frame: int | None) -> xr.DataArray:
    """Return the value of each atom in one frame, matched by atom id.

    Parameters
    ----------
    data
        Dataset whose atoms are meant. It may be one frame already.
    what
        See ``find_values``. Atoms without a value get NaN, or False.
    frame
        Number of the frame in its store. Negative numbers count from the last frame.
        Default: the first one of the Dataset.

    Returns
    -------
    values
        Computed array (atom,) of floats, booleans or text.

    Raises
    ------
    ParameterError
        If the values are not those of atoms, or no atom has one.
    """
    values = find_values(data, what)
    if "frame" in values.dims:
        if frame is None and "frame" in data.dims and "frame" in data.indexes:
            frame = int(data.indexes["frame"][0])  # of the Dataset, not of the array
        values = values.isel(frame=row_of_frame(values, frame))
    if values.dims != ("atom",):
        raise ParameterError(
            f"{name_of(values)} has no value of each atom, only dimensions {values.dims}; "
            "plot it with .mg.plot.series"
        )
    if isinstance(what, xr.DataArray):
        values = _match_atoms(data, values)
    values = values.compute()
    if values.dtype.kind not in "biufUTO":
        raise ParameterError(
            f"{name_of(values)} has dtype {values.dtype}; it must be numbers or text"
        )
    if values.dtype.kind == "f" and not np.isfinite(values.values).any():
        raise ParameterError(
            f"{name_of(values)} has no value in this frame (all are NaN). Features of motion have "
            "none where the later frame is missing; choose another frame"
        )
    return values


def row_of_frame(data: Data, frame: int | None) -> int:
    """Return the row of a frame, the first one by default.

    Parameters
    ----------
    data
        Dataset or array with the dimension ``frame``.
    frame
        See ``frame_row``.
    """
    return 0 if frame is None else frame_row(data, frame)


def _match_atoms(data: Data, values: xr.DataArray) -> xr.DataArray:
    """Return values in the order of the atoms of a Dataset, matched by id."""
    if not ("atom_id" in values.coords or "atom" in values.indexes):
        if values.sizes["atom"] == data.sizes["atom"]:
            return values
        raise ParameterError(
            f"the array has {values.sizes['atom']} atoms without ids, and the Dataset has "
            f"{data.sizes['atom']}; give it the coordinate atom_id"
        )
    wanted, known = atom_ids(data), atom_ids(values)
    if np.array_equal(wanted, known):
        return values
    order = np.argsort(known, kind="stable")
    place = np.clip(np.searchsorted(known[order], wanted), 0, len(known) - 1)
    rows = order[place] if len(known) else np.zeros(0, dtype=np.intp)
    found = known[rows] == wanted if len(known) else np.zeros(len(wanted), dtype=bool)
    if not found.any():
        raise ParameterError(
            "no atom of the Dataset has a value in the array: their ids differ. Are both of the "
            "same simulation?"
        )
    taken: AnyArray = values.values[rows]
    if taken.dtype.kind in "iuf":
        taken = np.where(found, taken.astype(np.float64), np.nan)
    elif taken.dtype.kind == "b":
        taken = taken & found
    else:
        taken = np.where(found, taken.astype(np.str_), "none")
    kept = {
        name: coord for name, coord in values.coords.items() if "atom" not in coord.dims
    }  # such as the label of the column
    ids: dict[Hashable, object] = {"atom_id": ("atom", wanted)}
    return xr.DataArray(
        taken, dims="atom", coords={**kept, **ids}, name=values.name, attrs=values.attrs
    )


def name_of(values: xr.DataArray) -> str:
    """Return the name of a value: that of its column if it has one.

    Parameters
    ----------
    values
        Array from ``find_values``.
    """
    label = values.coords.get(f"{values.name}_feature")
    if label is not None and label.ndim == 0:
        return str(label.values)
    for name, coord in values.coords.items():
        if str(name).endswith("_feature") and coord.ndim == 0:
            # arithmetic loses names; attrs do not know of a new one
            return str(coord.values if values.name is None else values.name)
    long_name = re.split("[;:,]", str(values.attrs.get("long_name", "")))[0]
    if long_name and len(long_name) <= 40:
        return long_name
    return "value" if values.name is None else str(values.name)


def unit_of(values: xr.DataArray) -> str:
    """Return the unit of a value, "" if it is not known.

    Parameters
    ----------
    values
        Array from ``find_values``.
    """
    unit = values.coords.get(f"{values.name}_unit")
    if unit is not None and unit.ndim == 0:
        return str(unit.values)
    return str(values.attrs.get("units", ""))


def axis_label(values: xr.DataArray) -> str:
    """Return the text of an axis: name and unit of a value.

    Parameters
    ----------
    values
        Array from ``find_values``.

    Examples
    --------
    >>> axis_label(xr.DataArray([0.0], dims="atom", name="q6", attrs={"units": "1"}))
    'q6 (dimensionless)'
    """
    return with_unit(name_of(values), unit_of(values))


def with_unit(name: str, unit: str) -> str:
    """Return a name with its unit in parentheses.

    Parameters
    ----------
    name
        Name of a quantity.
    unit
        Its unit, "1" for none, "" if not known.

    Examples
    --------
    >>> with_unit("time", "ps")
    'time (ps)'
    """
    if unit in ("1", "Z", "label"):
        return f"{name} ({DIMENSIONLESS})"
    return f"{name} ({unit})" if unit else f"{name} (unit not stated)"
