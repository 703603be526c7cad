"""Labels of an opened store: indexes of its dimensions, and where it comes from."""

from __future__ import annotations

import difflib
from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr
from xarray.core.indexing import IndexSelResult
from xarray.indexes import PandasIndex

from mgdask.elements import SYMBOLS
from mgdask.errors import LabelError
from mgdask.store.attributes import encoded
from mgdask.store.open import STORED

AXES = {"xyz": ("x", "y", "z"), "vector": ("a", "b", "c")}
"""Labels of the dimensions of space."""

_N_NEAREST = 3


class _PlainInAlignment(type(PandasIndex)):  # type: ignore[misc]
    """Make xarray align labels with plain indexes, such as those of a NetCDF file.

    It groups the indexes of several objects by their type.
    """

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is PandasIndex

    def __hash__(cls) -> int:
        return hash(PandasIndex)


class Labels(PandasIndex, metaclass=_PlainInAlignment):
    """Index of the columns of a feature; an unknown label names the nearest ones."""

    __slots__ = ()

    def sel(
        self, labels: dict[Any, Any], method: Any = None, tolerance: Any = None
    ) -> IndexSelResult:
        """Return the positions of labels, as ``xarray`` asks for them."""
        try:
            return super().sel(labels, method=method, tolerance=tolerance)
        except KeyError:
            name, wanted = next(iter(labels.items()))
            raise LabelError(self._unknown(str(name), wanted)) from None

    def _unknown(self, name: str, wanted: Any) -> str:
        known = [str(label) for label in self.index]
        asked = [wanted.start, wanted.stop] if isinstance(wanted, slice) else np.ravel(wanted)
        missing = [str(label) for label in asked if label is not None and str(label) not in known]
        shown = ", ".join(map(repr, missing[:_N_NEAREST]))
        if len(missing) > _N_NEAREST:
            shown += f" and {len(missing) - _N_NEAREST} more"
        near: dict[str, None] = {}
        for label in missing[:_N_NEAREST]:
            near |= dict.fromkeys(nearest(label, known))
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        return (
            f"{name} has no label {shown}{hint} It has {len(known)} labels, from {known[0]!r} to "
            f"{known[-1]!r}; ds.{name}.values lists them"
            if known
            else f"{name} has no labels, so {shown} cannot be selected"
        )


def nearest(label: str, known: list[str]) -> list[str]:
    """Return the labels that are most like a mistyped one, the nearest first.

    Upper and lower case count as the same.

    Parameters
    ----------
    label
        What was asked for.
    known
        Labels that exist.

    Examples
    --------
    >>> nearest("Q6", ["q4", "q6", "w4"])
    ['q6', 'q4']
    """
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.casefold(), name)
    found = difflib.get_close_matches(label.casefold(), folded, n=_N_NEAREST, cutoff=0.5)
    return [folded[name] for name in found]


def with_labels(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset with labels on its dimensions, which any file format can hold.

    Labels that it has stay. All attrs become text and numbers.

    Parameters
    ----------
    ds
        Variables and coordinates of a store, or of a selection of one.

    Returns
    -------
    dataset
        With an index on ``frame`` (its number), ``atom`` (its id), ``xyz``, ``vector``
        and the columns of features, and the coordinate ``element`` of symbols.
    """
    texts = {
        name: (coord.dims, coord.values.astype(str), coord.attrs)
        for name, coord in ds.coords.items()
        if coord.dtype == object
    }
    ds = ds.assign_coords({**texts, **_missing_labels(ds)})  # a copy that may be changed
    ds.attrs = encoded(ds.attrs)
    for name, variable in ds.variables.items():
        variable.attrs = encoded(variable.attrs)
        if name == "species" and variable.attrs.get("units") == "Z":
            variable.attrs["units"] = "1"  # version 0.2 wrote what no library of units knows
        _free_layout(variable)
    ds.encoding.pop("coordinates", None)
    for dim in ds.dims:
        if str(dim).endswith("_feature") and type(ds.xindexes.get(dim)) is PandasIndex:
            ds = ds.drop_indexes(dim).set_xindex(str(dim), Labels)
    return ds


def _free_layout(variable: xr.Variable) -> None:
    """Let copies of a variable have their own chunks and coordinates."""
    encoding = dict(variable.encoding)
    for name, stored in zip(("chunks", "shards"), STORED, strict=True):
        if name in encoding:
            encoding[stored] = encoding.pop(name)
    for name in ("preferred_chunks", "coordinates"):
        encoding.pop(name, None)
    variable.encoding = encoding


def _missing_labels(ds: xr.Dataset) -> dict[Hashable, tuple[str, Any, dict[str, str]]]:
    sizes, labels = ds.sizes, dict[Hashable, tuple[str, Any, dict[str, str]]]()
    if "frame" in sizes:
        about = {"long_name": "number of the frame in the store"}
        labels["frame"] = ("frame", np.arange(sizes["frame"]), about)
    if "atom" in sizes and "atom_id" in ds.variables:
        about = {"long_name": "identity of an atom in the simulation"}
        labels["atom"] = ("atom", np.asarray(ds["atom_id"].values), about)
    for dim, names in AXES.items():
        if sizes.get(dim) == len(names):
            labels[dim] = (dim, np.array(names), {})
    if "species" in ds.variables and ds["species"].dims == ("atom",):
        about = {"long_name": "symbol of the element"}
        labels["element"] = ("atom", symbols(ds["species"].values), about)
    return {name: label for name, label in labels.items() if name not in ds.variables}


def symbols(numbers: Any) -> np.ndarray[Any, np.dtype[np.str_]]:
    """Return the symbol of each atomic number, as an array of text.

    Parameters
    ----------
    numbers
        Atomic numbers (atom,). X stands for one that is no element.

    Examples
    --------
    >>> symbols([29, 40]).tolist()
    ['Cu', 'Zr']
    """
    table = np.array(SYMBOLS)
    numbers = np.asarray(numbers)
    known = (numbers > 0) & (numbers < len(table))
    return table[np.where(known, numbers, 0)]
