"""Atoms and frames by what a user calls them: symbols, ids, masks, frame numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import numpy as np
import xarray as xr

from mgdask._typing import AnyArray, BoolArray, IntArray
from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError

Data: TypeAlias = xr.Dataset | xr.DataArray
D = TypeVar("D", xr.Dataset, xr.DataArray)
Mask: TypeAlias = xr.DataArray | AnyArray | Sequence[str] | Sequence[int] | str | int | None
"""Atoms: a boolean array (atom,), element symbols, or atom ids. None: all atoms."""

SHOWN = 8
"""Maximum number of ids or symbols to list in a message."""


def atom_ids(data: Data) -> IntArray:
    """Return the id of each atom, shape (atom,).

    Parameters
    ----------
    data
        Dataset or DataArray with the dimension ``atom``.

    Raises
    ------
    ParameterError
        If it has no atoms or no ids.
    """
    check_dim(data, "atom")
    if "atom_id" in data.coords or (isinstance(data, xr.Dataset) and "atom_id" in data):
        return np.asarray(data["atom_id"].values, dtype=np.int64)
    if "atom" in data.indexes:
        return np.asarray(data.indexes["atom"], dtype=np.int64)
    raise ParameterError(
        "the atoms have no ids: there is neither atom_id nor an index on atom. Open the store "
        "with mgdask.open_store, or assign them: data.assign_coords(atom_id=('atom', ids))"
    )


def elements(data: Data) -> AnyArray:
    """Return the element symbol of each atom, shape (atom,).

    Parameters
    ----------
    data
        Dataset or DataArray with the coordinate ``element`` or ``species``.

    Raises
    ------
    ParameterError
        If it has no atoms, or their species are not known.
    """
    check_dim(data, "atom")
    known = data.variables if isinstance(data, xr.Dataset) else data.coords
    if "species" in known:
        numbers = np.asarray(data["species"].values)
        unique, inverse = np.unique(numbers, return_inverse=True)
        return np.array([symbol(int(z)) for z in unique], dtype=np.str_)[inverse]
    if "element" in known:
        return np.asarray(data["element"].values, dtype=np.str_)
    raise ParameterError(
        "the species of the atoms are not known: there is neither a coordinate species (atomic "
        "numbers) nor element (symbols). Arrays from mgdask.open_store and mgdask.featurize have "
        "them"
    )


def check_dim(data: Data, dim: str) -> None:
    """Raise ``ParameterError`` unless the data have a dimension.

    Parameters
    ----------
    data
        Dataset or DataArray.
    dim
        Name of the dimension.
    """
    if dim not in data.dims:
        what = "Dataset" if isinstance(data, xr.Dataset) else f"array {data.name!r}"
        scalar = " (one was selected before)" if dim in data.coords else ""
        raise ParameterError(
            f"the {what} has no dimension {dim!r}{scalar}; it has "
            f"{', '.join(map(str, data.dims)) or 'none'}"
        )


def as_mask(data: Data, mask: Mask) -> BoolArray:
    """Return chosen atoms as a boolean array (atom,).

    Parameters
    ----------
    data
        Dataset or DataArray with the dimension ``atom``.
    mask
        One of: a boolean DataArray over ``atom``, matched by atom id; a boolean array
        with one value per atom; one or more element symbols; one or more atom ids.
        ``None`` means all atoms.

    Returns
    -------
    mask
        True for the chosen atoms.

    Raises
    ------
    ParameterError
        If an id or an element does not occur, or the mask has another shape.

    Notes
    -----
    Atoms that a boolean DataArray lacks are not chosen. Atoms that it chooses must
    exist in ``data``.
    """
    check_dim(data, "atom")
    n_atoms = data.sizes["atom"]
    if mask is None:
        return np.ones(n_atoms, dtype=bool)
    if isinstance(mask, xr.DataArray):
        return _from_array(data, mask)
    values = np.atleast_1d(np.asarray(mask))
    if values.dtype.kind == "b":
        if values.shape != (n_atoms,):
            raise ParameterError(
                f"the mask of atoms has shape {values.shape}; it must have one value for each of "
                f"the {n_atoms} atoms"
            )
        return values
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iuU"):
        raise ParameterError(
            f"atoms={_short(mask)} must be booleans (one per atom), element symbols such as 'Cu', "
            "or integer atom ids"
        )
    if values.dtype.kind == "U":
        return _of_elements(data, [str(name) for name in values])
    return _of_ids(data, values.astype(np.int64))


def _from_array(data: Data, mask: xr.DataArray) -> BoolArray:
    if mask.dims != ("atom",):
        raise ParameterError(
            f"the mask of atoms has the dimensions {mask.dims}; it must have only atom. Choose a "
            "frame first, such as mask.isel(frame=0)"
        )
    if mask.dtype.kind != "b":
        raise ParameterError(
            f"the mask of atoms has dtype {mask.dtype}; it must be boolean, such as values > 1.0"
        )
    chosen = np.asarray(mask.values)
    if not ("atom_id" in mask.coords or "atom" in mask.indexes):
        return as_mask(data, chosen)
    return _of_ids(data, atom_ids(mask)[chosen])


def _of_ids(data: Data, ids: IntArray) -> BoolArray:
    known = atom_ids(data)
    missing = np.setdiff1d(ids, known)
    if missing.size:
        raise ParameterError(
            f"there {_are(missing.size)} no {_ids_text(missing)}; the {len(known)} atoms have ids "
            f"from {known.min() if known.size else '-'} to {known.max() if known.size else '-'}"
        )
    found: BoolArray = np.isin(known, ids)
    return found


def _of_elements(data: Data, symbols: Sequence[str]) -> BoolArray:
    known = elements(data)
    for name in symbols:
        atomic_number(name)  # refuses what is not an element, with the nearest symbol
    present = sorted(set(known.tolist()))
    missing = [name for name in symbols if name not in present]
    if missing:
        raise ParameterError(
            f"there are no {', '.join(missing)} atoms; the elements are {', '.join(present)}"
        )
    found: BoolArray = np.isin(known, list(symbols))
    return found


def take_atoms(data: D, mask: BoolArray) -> D:
    """Return the data of the chosen atoms.

    Parameters
    ----------
    data
        Dataset or DataArray with the dimension ``atom``.
    mask
        True for the chosen atoms, shape (atom,).
    """
    return data.isel(atom=np.flatnonzero(mask))


def frame_row(data: Data, number: int) -> int:
    """Return the row of a frame on the dimension ``frame``.

    Parameters
    ----------
    data
        Dataset or DataArray with the dimension ``frame``.
    number
        Number of the frame in its store. Negative numbers count from the last frame.

    Raises
    ------
    ParameterError
        If there is no such frame.
    """
    check_dim(data, "frame")
    n_frames = data.sizes["frame"]
    labels: IntArray = (
        np.asarray(data.indexes["frame"]) if "frame" in data.indexes else np.arange(n_frames)
    )
    if not is_number(number):
        raise ParameterError(
            f"frame {_short(number)} must be the number of a frame, such as 0 or -1"
        )
    if -n_frames <= number < 0:
        return n_frames + number
    rows = np.flatnonzero(labels == number)
    if rows.size != 1:
        some = "none" if not n_frames else f"{n_frames} frames from {labels[0]} to {labels[-1]}"
        raise ParameterError(
            f"there is no frame {number}; there are {some}. Negative numbers count from the last"
        )
    return int(rows[0])


def of_symbols(data: Data, symbols: Sequence[str]) -> BoolArray:
    """Return the atoms of some elements as a boolean array (atom,).

    Parameters
    ----------
    data
        Dataset or DataArray with the dimension ``atom``.
    symbols
        Element symbols, at least one.

    Raises
    ------
    ParameterError
        If no symbol is given, or one does not occur.
    """
    if not symbols:
        known = sorted(set(elements(data).tolist()))
        raise ParameterError(
            f"species() needs an element symbol; the elements are {', '.join(known) or 'none'}"
        )
    return as_mask(data, list(symbols))


def is_number(value: object) -> bool:
    """Return whether a value is one number, and no text or array.

    Parameters
    ----------
    value
        What a user gave.
    """
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in "iuf"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _ids_text(ids: IntArray) -> str:
    more = f" and {ids.size - SHOWN} more" if ids.size > SHOWN else ""
    plural = "s" if ids.size > 1 else ""
    return f"atom{plural} with id {', '.join(map(str, ids[:SHOWN].tolist()))}{more}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
