"""What differs between two Datasets: sizes, parameters, versions, and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from mgdask._typing import AnyArray, BoolArray
from mgdask.errors import ParameterError
from mgdask.explore.answers import Answer
from mgdask.explore.attributes import read_attr
from mgdask.explore.joining import Partners
from mgdask.store.open import open_store

BATCH = 2**24
"""Approximate bytes of values that are compared at a time."""
ANOTHER_ORDER = "the same values in another order"
"""What is said of frames or atoms in another order, which are matched."""
MAX_SHOWN = 3
"""Maximum number of labels to list."""
LARGE_TEXT = 60
"""Length from which on a value is shortened."""


class Compared(NamedTuple):
    """Comparison of the values of one variable.

    Attributes
    ----------
    variable
        Name of the variable.
    n_values, n_different
        Number of values compared, and of those that differ.
    largest
        Largest absolute difference; infinite if one of the two is NaN everywhere.
    first
        Where the first difference is, and both values.
    """

    variable: str
    n_values: int
    n_different: int
    largest: float
    first: str


@dataclass(frozen=True, repr=False)
class Differences(Answer):
    """What differs between two Datasets.

    Attributes
    ----------
    equal
        Whether all values and labels that both have are equal, and both have the same.
    compared
        Comparison of the values of each variable that both have.
    """

    equal: bool = True
    compared: tuple[Compared, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row per variable that both have."""
        return pd.DataFrame(self.compared, columns=list(Compared._fields)).set_index("variable")

    def __bool__(self) -> bool:
        return not self.equal


def differences(here: xr.Dataset, other: xr.Dataset | str | Path) -> Differences:
    """Compare two Datasets.

    Parameters
    ----------
    here
        Dataset from ``open_store`` or ``featurize``.
    other
        Another one, or the path of a store.

    Returns
    -------
    differences
        What differs in kind, sizes, labels, parameters and versions, and in the values
        of the frames and atoms that both have.

    Notes
    -----
    Values are read frame by frame, so stores may be larger than the memory. NaN equals
    NaN. Frames are matched by run and step, atoms by id. Versions, paths and digests
    alone do not make two Datasets unequal.
    """
    there = other if isinstance(other, xr.Dataset) else open_store(other)
    rows = [*_about_sizes(here, there), *_about_names(here, there), *_about_axes(here, there)]
    n_unequal = sum(text != ANOTHER_ORDER for _, text in rows)
    parameters = [*_about_parameters(here, there)]
    rows += parameters
    lines, notes = _about_values(here, there)
    rows += [
        (
            line.variable,
            f"{line.n_different} of {line.n_values} values differ, by up to {line.largest:.6g}; "
            f"the first is {line.first}",
        )
        for line in lines
        if line.n_different
    ]
    equal = n_unequal == 0 and not any(line.n_different for line in lines) and not notes
    rows += _about_origin(here, there)
    same = [line for line in lines if not line.n_different]
    if same:
        n_values = sum(line.n_values for line in same)
        rows.append(
            ("equal", f"{', '.join(line.variable for line in same)} ({n_values} values compared)")
        )
    title = "the values are equal" if equal else "the two differ"
    return Differences(title, tuple(rows), tuple(notes), equal=equal, compared=tuple(lines))


def _about_sizes(here: xr.Dataset, there: xr.Dataset) -> Iterator[tuple[str, str]]:
    kinds = [str(each.attrs.get("mgdask_kind", "in memory")) for each in (here, there)]
    if kinds[0] != kinds[1] and "in memory" not in kinds:
        yield "kind", f"{kinds[0]} here, {kinds[1]} there"
    for dim in dict.fromkeys([*here.dims, *there.dims]):
        sizes = [each.sizes.get(dim) for each in (here, there)]
        if sizes[0] != sizes[1]:
            texts = ["none" if n is None else str(n) for n in sizes]
            yield f"number of {dim}s", f"{texts[0]} here, {texts[1]} there"


def _about_names(here: xr.Dataset, there: xr.Dataset) -> Iterator[tuple[str, str]]:
    for first, second, where in ((here, there, "here"), (there, here, "there")):
        only = [str(name) for name in first.data_vars if name not in second.variables]
        if only:
            yield f"only {where}", ", ".join(sorted(only))
    for name in here.data_vars:
        if name in there.data_vars and here[name].dtype != there[name].dtype:
            yield f"dtype of {name}", f"{here[name].dtype} here, {there[name].dtype} there"


def _about_axes(here: xr.Dataset, there: xr.Dataset) -> Iterator[tuple[str, str]]:
    for name in ("run", "step", "atom_id"):
        if name not in here.variables or name not in there.variables:
            continue
        values = [_labels(each[name]) for each in (here, there)]
        if values[0].equals(values[1]):
            continue
        only = [a[~a.isin(b)].unique() for a, b in (values, values[::-1])]
        texts = [
            f"{_listed(labels)} only {where}"
            for labels, where in zip(only, ("here", "there"), strict=True)
            if len(labels)
        ]
        if texts or len(values[0]) == len(values[1]):
            yield name, ", ".join(texts) or ANOTHER_ORDER
    if {"species", "atom_id"} <= set(here.variables) & set(there.variables):
        species = [
            pd.Series(each["species"].values, each["atom_id"].values) for each in (here, there)
        ]
        common = species[0].index.intersection(species[1].index)
        other = common[species[0][common].to_numpy() != species[1][common].to_numpy()]
        if len(other):
            yield "species", f"that of {len(other)} atoms differs, the first has id {other[0]}"
    for dim in map(str, here.dims):
        if not dim.endswith("_feature") or here.sizes[dim] != there.sizes.get(dim):
            continue
        if dim in here.coords and dim in there.coords:
            labels = [[str(label) for label in each[dim].values] for each in (here, there)]
            for k, (one, other) in enumerate(zip(*labels, strict=True)):
                if one != other:
                    yield f"labels of {dim}", f"column {k} is {one!r} here, {other!r} there"
                    break


def _labels(array: xr.DataArray) -> pd.Index:
    values = np.atleast_1d(array.values)
    return pd.Index(values if values.dtype.kind in "iuf" else [str(value) for value in values])


def _listed(labels: pd.Index) -> str:
    more = f" and {len(labels) - MAX_SHOWN} more" if len(labels) > MAX_SHOWN else ""
    return ", ".join(map(str, labels[:MAX_SHOWN])) + more


def _about_parameters(here: xr.Dataset, there: xr.Dataset) -> Iterator[tuple[str, str]]:
    for name in here.data_vars:
        if name not in there.data_vars:
            continue
        both = [read_attr(each[name].attrs, "parameters", {}) or {} for each in (here, there)]
        yield from _changed(both[0], both[1], str(name))
        units = [each[name].attrs.get("units", "") for each in (here, there)]
        if units[0] != units[1]:
            yield f"units of {name}", f"{units[0] or 'none'} here, {units[1] or 'none'} there"


def _about_origin(here: xr.Dataset, there: xr.Dataset) -> Iterator[tuple[str, str]]:
    """Differences in origin, which do not make values unequal."""
    for name in ("input", "input_content", "sources", "image_scheme", "units_of_input"):
        both = [each.attrs.get(name) for each in (here, there)]
        if both[0] != both[1] and None not in both:
            yield name.replace("_", " "), f"{_short(both[0])} here, {_short(both[1])} there"
    versions = [read_attr(each.attrs, "versions", {}) or {} for each in (here, there)]
    if all(versions):
        yield from _changed(versions[0], versions[1], "version of")


def _changed(
    first: Mapping[str, Any], second: Mapping[str, Any], owner: str
) -> Iterator[tuple[str, str]]:
    for key in dict.fromkeys([*first, *second]):
        one, other = first.get(key), second.get(key)
        if _plain(one) != _plain(other):
            yield f"{owner} {key}", f"{_short(one)} here, {_short(other)} there"


def _plain(value: Any) -> Any:
    """Return a value with tuples as lists, as in JSON."""
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= LARGE_TEXT else text[:LARGE_TEXT] + "…"


def _about_values(here: xr.Dataset, there: xr.Dataset) -> tuple[list[Compared], list[str]]:
    """Compare the values of common variables, and say what could not be compared."""
    names = [
        name
        for name in here.data_vars
        if name in there.data_vars and here[name].dtype.kind in "fiub"
    ]
    pair, notes = [here, there], []
    for dim, partners in (("frame", Partners.of_frames), ("atom", Partners.of_atoms)):
        if dim not in here.dims or dim not in there.dims:
            continue
        try:
            matched = partners(pair[0], [pair[1]])
        except ParameterError as error:
            return [], [f"The values were not compared: {error}"]
        if matched is not None:
            for k in (0, 1):
                if not matched.is_whole(k, pair[k].sizes[dim]):
                    pair[k] = pair[k].isel({dim: matched.rows[k]})
    lines = []
    for name in names:
        first, second = (each[name] for each in pair)
        if set(first.dims) != set(second.dims) or first.sizes != second.sizes:
            notes.append(
                f"{name} was not compared: its shape is {dict(first.sizes)} here, "
                f"{dict(second.sizes)} there."
            )
            continue
        lines.append(_compare(str(name), first, second.transpose(*first.dims)))
    return lines, notes


def _compare(name: str, first: xr.DataArray, second: xr.DataArray) -> Compared:
    n_differ, largest, place = 0, 0.0, ""
    n_frames = first.sizes.get("frame", 1)
    step = max(1, int(BATCH // max(1, first.nbytes // max(1, n_frames))))
    for start in range(0, n_frames, step):
        key = {"frame": slice(start, start + step)} if "frame" in first.dims else {}
        a, b = (np.asarray(each.isel(key).values) for each in (first, second))
        unequal = _unequal(a, b)
        if not unequal.any():
            continue
        if not n_differ:
            at = np.unravel_index(int(unequal.argmax()), unequal.shape)
            place = _place(first, start, at, a[at], b[at])
        n_differ += int(unequal.sum())
        with np.errstate(invalid="ignore"):
            gaps = np.abs(a.astype(np.float64) - b.astype(np.float64))[unequal]
        finite = gaps[~np.isnan(gaps)]
        largest = max(largest, float(finite.max()) if finite.size else np.inf)
    return Compared(name, int(first.size), n_differ, largest, place)


def _unequal(a: AnyArray, b: AnyArray) -> BoolArray:
    unequal: BoolArray = a != b
    if a.dtype.kind == "f" and b.dtype.kind == "f":
        unequal &= ~(np.isnan(a) & np.isnan(b))
    return unequal


def _place(array: xr.DataArray, start: int, at: tuple[Any, ...], a: Any, b: Any) -> str:
    words = []
    for dim, row in zip(array.dims, at, strict=True):
        k = row + start if dim == "frame" else row
        label = array[dim].values[k] if dim in array.coords else k
        if dim == "atom" and "atom_id" in array.coords:
            label = array["atom_id"].values[k]
        words.append(f"{str(dim).removesuffix('_feature')} {label}")
    return f"{', '.join(words)}: {a:.8g} here, {b:.8g} there"
