"""Facts about one column and about one atom."""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.explore.answers import Answer
from mgdask.explore.attributes import read_attr
from mgdask.explore.places import near
from mgdask.explore.selecting import atom_ids, elements, frame_row
from mgdask.features.allowed import to_text
from mgdask.geometry import minimum_image, unwrap
from mgdask.variables import column_units

NEIGHBORS = 4.0
"""Distance in Å up to which neighbors of an atom are listed by default."""


@dataclass(frozen=True, repr=False)
class ColumnFacts(Answer):
    """What a column of a feature is.

    Attributes
    ----------
    number
        Number of the column among all columns of the Dataset, from 0.
    variable
        Name of the variable.
    label
        Label of the column.
    units
        Unit of the column.
    """

    number: int = 0
    variable: str = ""
    label: str = ""
    units: str = "1"


def columns_of(ds: xr.Dataset) -> list[tuple[Hashable, int]]:
    """Return the variable and the position of every column of features, in order.

    Parameters
    ----------
    ds
        Features.
    """
    return [
        (name, k)
        for name, array in ds.data_vars.items()
        if _dim(array) is not None
        for k in range(array.sizes[_dim(array)])
    ]


def _dim(array: xr.DataArray) -> Hashable | None:
    """Return the dimension of the columns of a feature, or None."""
    return next((dim for dim in array.dims if str(dim).endswith("_feature")), None)


def column(ds: xr.Dataset, which: int | str, name: str | None) -> ColumnFacts:
    """Say what a column is.

    Parameters
    ----------
    ds
        Features.
    which
        Number of the column, or its label.
    name
        Variable in which to count or to look. Default: all variables, in the order in
        which the Dataset lists them.

    Returns
    -------
    facts
        Label, unit, meaning, parameters, reference.

    Raises
    ------
    ParameterError
        If there is no such column, or several have this label.
    """
    if name is not None and name not in ds.data_vars:
        raise ParameterError(
            f"there is no variable {name!r}; the variables are {', '.join(map(str, ds.data_vars))}"
        )
    every = columns_of(ds)
    among = [(n, k) for n, k in every if name is None or n == name]
    if not among:
        raise ParameterError(
            "the Dataset has no columns of features; its variables are "
            f"{', '.join(map(str, ds.data_vars)) or 'none'}"
        )
    if isinstance(which, str):
        variable, k = _by_label(ds, which, among)
    else:
        if not -len(among) <= which < len(among):
            raise ParameterError(
                f"there is no column {which}; there are {len(among)} columns, from 0 to "
                f"{len(among) - 1}: {_sizes(ds, among)}"
            )
        variable, k = among[which]
    return _column_facts(ds, variable, k, every.index((variable, k)), len(every))


def _by_label(
    ds: xr.Dataset, label: str, among: list[tuple[Hashable, int]]
) -> tuple[Hashable, int]:
    labels = [_label(ds[variable], k) for variable, k in among]
    found = [among[k] for k, each in enumerate(labels) if each == label]
    if len(found) == 1:
        return found[0]
    if found:
        owners = ", ".join(str(variable) for variable, _ in found)
        raise ParameterError(
            f"{len(found)} variables have a column {label!r}: {owners}. Say which one: "
            f"column({label!r}, {str(found[0][0])!r})"
        )
    similar = difflib.get_close_matches(label, labels, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(map(repr, similar))}?" if similar else ""
    raise ParameterError(f"there is no column {label!r}{hint}")


def _label(array: xr.DataArray, k: int) -> str:
    dim = _dim(array)
    return str(array[dim].values[k]) if dim in array.coords else str(k)


def _sizes(ds: xr.Dataset, among: list[tuple[Hashable, int]]) -> str:
    names = dict.fromkeys(name for name, _ in among)
    return ", ".join(f"{name} {ds.sizes[_dim(ds[name])]}" for name in names)


def _column_facts(
    ds: xr.Dataset, variable: Hashable, k: int, number: int, n_columns: int
) -> ColumnFacts:
    array = ds[variable]
    label, units = _label(array, k), column_units(array)[k]
    rows = [
        ("label", label),
        ("variable", f"{variable}, column {k} of {array.sizes[_dim(array)]}"),
        ("meaning", str(array.attrs.get("long_name", "not stated"))),
        ("unit", units),
    ]
    for coordinate, values in array.coords.items():
        if values.dims == (_dim(array),) and coordinate not in (_dim(array), f"{variable}_unit"):
            title = str(coordinate).removeprefix(f"{variable}_")
            title = "name in amlearn" if title == "amlearn" else title
            rows.append((title, str(values.values[k])))
    parameters = read_attr(array.attrs, "parameters", {})
    if parameters:
        rows.append(("parameters", parameters_text(parameters)))
    if "citation" in array.attrs:
        rows.append(("reference", str(array.attrs["citation"])))
    order = f"Columns are counted from 0 over {_sizes(ds, columns_of(ds))}."
    return ColumnFacts(
        f"column {number} of {n_columns}",
        tuple(rows),
        (order,),
        number=number,
        variable=str(variable),
        label=label,
        units=units,
    )


def parameters_text(parameters: dict[str, object]) -> str:
    """Return parameters as they are typed on a command line.

    Parameters
    ----------
    parameters
        Values by name.
    """
    return ", ".join(f"{name}={to_text(value)}" for name, value in parameters.items())


@dataclass(frozen=True, repr=False)
class AtomFacts(Answer):
    """What is known about one atom.

    Attributes
    ----------
    id
        Atom id.
    values
        Values of features: one row per column, one column per frame, the units last.
    neighbors
        Ids, elements and distances (Å) of the neighbors, the nearest first.
    """

    id: int = 0
    values: pd.DataFrame = field(default_factory=pd.DataFrame)
    neighbors: pd.DataFrame = field(default_factory=pd.DataFrame)


def atom(ds: xr.Dataset, number: int, radius: float, frame: int | None) -> AtomFacts:
    """Collect what is known about one atom.

    Parameters
    ----------
    ds
        Trajectory, features, or both joined.
    number
        Atom id.
    radius
        Distance in Å up to which neighbors are listed.
    frame
        Number of the frame of the neighbors. Default: the last frame.

    Returns
    -------
    facts
        Element, positions and features in the first and the last frame, displacement,
        neighbors.
    """
    row = np.flatnonzero(atom_ids(ds) == number)
    if not row.size:
        ids = atom_ids(ds)
        raise ParameterError(
            f"there is no atom with id {number}; the {len(ids)} atoms have ids from {ids.min()} to "
            f"{ids.max()}"
        )
    one = ds.isel(atom=int(row[0]))
    rows = [("element", str(elements(ds)[row[0]]))]
    if "mass" in one.variables:
        rows.append(("mass", f"{float(one['mass']):.6g} u"))
    ends = _ends(ds)
    if "position" in one.variables:
        rows += _places(one, ends)
    neighbors = pd.DataFrame()
    if {"position", "cell"} <= set(ds.variables):
        neighbors = _neighbors(ds, number, radius, frame)
        listed = ", ".join(
            f"{element} {other} ({distance:.2f} Å)"
            for other, (element, distance) in zip(
                neighbors.index.tolist(), neighbors.to_numpy().tolist(), strict=True
            )
        )
        where = f" in frame {_frame_name(ds, frame)}" if "frame" in ds.dims else ""
        rows.append((f"neighbors within {radius:g} Å{where}", f"{len(neighbors)}: {listed}"))
    values = _values(ds, int(row[0]), ends)
    for key, line in zip(values.index.tolist(), values.to_numpy().tolist(), strict=True):
        text = " → ".join(f"{value:.5g}" for value in line[:-1])
        rows.append((f"{key[0]}: {key[1]}", f"{text} {line[-1]}".removesuffix(" 1")))
    notes = (
        (f"Values with an arrow are those of frames {' and '.join(ends)}.",)
        if len(ends) > 1
        else ()
    )
    return AtomFacts(
        f"atom {number}", tuple(rows), notes, id=number, values=values, neighbors=neighbors
    )


def _ends(ds: xr.Dataset) -> dict[str, int]:
    """Return the rows of the first and the last frame by their names."""
    if "frame" not in ds.dims:
        return {}
    return {_frame_name(ds, row): row for row in dict.fromkeys((0, ds.sizes["frame"] - 1))}


def _frame_name(ds: xr.Dataset, row: int | None) -> str:
    row = ds.sizes["frame"] - 1 if row is None else row
    return str(ds["frame"].values[row]) if "frame" in ds.coords else str(row)


def _places(one: xr.Dataset, ends: dict[str, int]) -> list[tuple[str, str]]:
    """Positions, and the displacement between first and last frame."""
    chosen = [one.isel(frame=k) for k in ends.values()] if ends else [one]
    text = " → ".join(
        "(" + ", ".join(f"{x:.3f}" for x in each["position"].values) + ")" for each in chosen
    )
    rows = [("position", f"{text} Å")]
    if len(chosen) == 2 and "cell" in one.variables:
        moved, how = _moved(chosen[0], chosen[1])
        rows.append(("displacement", f"{np.linalg.norm(moved):.3f} Å ({how})"))
    return rows


def _moved(first: xr.Dataset, last: xr.Dataset) -> tuple[FloatArray, str]:
    """Return the displacement of an atom, and how it was found."""
    cell, same_run = last["cell"].values, True
    if "run" in first.coords:
        same_run = str(first["run"].values[()]) == str(last["run"].values[()])
    if "image" in first.variables and same_run:
        start, end = (
            unwrap(each["position"].values, each["image"].values, each["cell"].values)
            for each in (first, last)
        )
        return end - start, "unwrapped, with the motion of the cell"
    pbc = last["pbc"].values if "pbc" in last.variables else np.ones(3, dtype=bool)
    delta = last["position"].values - first["position"].values
    return minimum_image(delta, cell, tuple(map(bool, pbc))), "nearest image"


def _neighbors(ds: xr.Dataset, number: int, radius: float, frame: int | None) -> pd.DataFrame:
    if "frame" in ds.dims:
        ds = ds.isel(frame=frame_row(ds, -1 if frame is None else frame))
    rows, distance = near(ds, number, radius, None)
    table = pd.DataFrame(
        {"element": elements(ds)[rows], "distance": distance},
        index=pd.Index(atom_ids(ds)[rows], name="id"),
    )
    return table.drop(index=number).sort_values("distance", kind="stable")


def _values(ds: xr.Dataset, row: int, ends: dict[str, int]) -> pd.DataFrame:
    """Values of all columns of features in the first and the last frame."""
    parts = []
    for name, array in ds.data_vars.items():
        dim = _dim(array)
        if dim is None or "atom" not in array.dims:
            continue
        one = array.isel(atom=row)
        chosen = one.isel(frame=list(ends.values())) if ends else one.expand_dims("frame")
        values = np.asarray(chosen.transpose(dim, "frame").values)
        part = pd.DataFrame(values, columns=list(ends) or ["value"])
        part.insert(len(part.columns), "units", column_units(array.transpose(..., dim)))
        labels = [_label(array, k) for k in range(array.sizes[dim])]
        part.index = pd.MultiIndex.from_product([[str(name)], labels], names=["variable", "label"])
        parts.append(part)
    return pd.concat(parts) if parts else pd.DataFrame()
