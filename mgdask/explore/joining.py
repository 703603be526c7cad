"""Trajectory and features in one Dataset, matched by atom id, step and run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from mgdask._typing import BoolArray, IntArray
from mgdask.errors import ParameterError
from mgdask.explore.origin import is_selection
from mgdask.explore.selecting import atom_ids, check_dim
from mgdask.store.open import open_store

TRAJECTORY = "the trajectory"
"""What messages call the Dataset to which features are joined."""
MAX_SHOWN = 3
"""Maximum number of runs to list in a message."""


def join(ds: xr.Dataset, others: Sequence[xr.Dataset | str | Path]) -> xr.Dataset:
    """Add the variables of features to a trajectory.

    Parameters
    ----------
    ds
        Trajectory.
    others
        Features, from ``featurize`` or ``open_store``, or paths of stores.

    Returns
    -------
    dataset
        ``ds`` with all variables, for the frames and atoms that all have. Its attr
        ``joined`` counts what was left out.

    Raises
    ------
    ParameterError
        If nothing is in common, frames cannot be told apart, or two features have a
        variable of the same name.
    """
    if not others:
        raise ParameterError("nothing to join; give features, or paths of feature stores")
    opened = [_opened(other) for other in others]
    _check_names(ds, [each for each, _ in opened])
    if "frame" not in ds.dims and "step" in ds.variables:
        opened = [(_frame_of(ds, other), name) for other, name in opened]
    else:
        opened = [(_as_frames(other), name) for other, name in opened]
    frames = Partners.of_frames(ds, [each for each, _ in opened])
    atoms = Partners.of_atoms(ds, [each for each, _ in opened])
    result = ds
    for dim, axis in (("frame", frames), ("atom", atoms)):
        if axis is not None and len(axis.rows[0]) < ds.sizes[dim]:
            result = result.isel({dim: axis.rows[0]})
    for k, (other, _) in enumerate(opened, start=1):
        for dim, axis in (("frame", frames), ("atom", atoms)):
            if axis is not None and dim in other.dims and not axis.is_whole(k, other.sizes[dim]):
                other = other.isel({dim: axis.rows[k]})
        result = _with_variables(result, other)
    names = [name for _, name in opened]
    words = [line for axis in (frames, atoms) if axis is not None for line in axis.left_out(names)]
    # whoever joins a selection means to leave out the other features
    chosen = is_selection(ds)
    loud = [line for line in words if not chosen or f"of {TRAJECTORY} have no partner" in line]
    if loud:
        warnings.warn("; ".join(loud), UserWarning, stacklevel=3)
    return result.assign_attrs(joined="; ".join(words) or "nothing was left out")


def _opened(other: xr.Dataset | str | Path) -> tuple[xr.Dataset, str]:
    """Return a Dataset and what to call it in messages."""
    if isinstance(other, xr.Dataset):
        return other, f"the features {', '.join(map(str, other.data_vars))}"
    return open_store(other), str(other)


def _as_frames(other: xr.Dataset) -> xr.Dataset:
    """Give features of one selected frame the dimension ``frame`` back."""
    if "frame" in other.dims or "step" not in other.coords:
        return other
    own = [name for name, coordinate in other.coords.items() if not coordinate.dims]
    values = {name: array.expand_dims("frame") for name, array in other.data_vars.items()}
    expanded = other.drop_vars(own).assign(
        {name: array.drop_vars(own, errors="ignore") for name, array in values.items()}
    )
    coords = {name: ("frame", np.atleast_1d(other[name].values)) for name in own if name != "frame"}
    return expanded.assign_coords(coords)


def _frame_of(ds: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """Return the features of the one frame of a trajectory."""
    if "step" not in other.variables:
        return other
    with_run = "run" in ds.coords and "run" in other.coords
    wanted = _frame_keys(ds, with_run)[0]
    keys = _frame_keys(other, with_run)
    row = np.flatnonzero(keys.isin([wanted]))
    if not row.size:
        raise ParameterError(
            f"no frames are in common: {_key_text(wanted)} on one side, {_shown(keys)} on the "
            "other. Features belong to the trajectory that they were computed from"
        )
    return other.isel(frame=int(row[0])) if "frame" in other.dims else other


def _check_names(ds: xr.Dataset, others: Sequence[xr.Dataset]) -> None:
    taken = set(ds.data_vars)
    for other in others:
        twice = sorted(str(name) for name in other.data_vars if name in taken)
        if twice:
            raise ParameterError(
                f"there are two variables {twice[0]!r}; rename one before joining: "
                f"features.rename({twice[0]}='{twice[0]}_2')"
            )
        taken |= set(other.data_vars)


@dataclass(frozen=True)
class Partners:
    """Rows of each Dataset, the trajectory first, that belong together."""

    what: str
    keys: tuple[pd.Index, ...]
    rows: tuple[IntArray, ...]

    @classmethod
    def of_atoms(cls, ds: xr.Dataset, others: Sequence[xr.Dataset]) -> Partners | None:
        """Match atoms by id; None if no feature has atoms."""
        members = [each for each in others if "atom" in each.dims]
        if not members:
            return None
        check_dim(ds, "atom")
        keys = [pd.Index(atom_ids(each if "atom" in each.dims else ds)) for each in (ds, *others)]
        return cls._matched("atoms", keys)

    @classmethod
    def of_frames(cls, ds: xr.Dataset, others: Sequence[xr.Dataset]) -> Partners | None:
        """Match frames by run and step; None if no feature has frames."""
        members = [each for each in others if "frame" in each.dims]
        if not members:
            return None
        check_dim(ds, "frame")
        with_run = all("run" in each.coords for each in (ds, *members))
        keys = [
            _frame_keys(each if "frame" in each.dims else ds, with_run) for each in (ds, *others)
        ]
        return cls._matched("frames", keys)

    @classmethod
    def _matched(cls, what: str, keys: Sequence[pd.Index]) -> Partners:
        common = np.ones(len(keys[0]), dtype=bool)
        for key in keys[1:]:
            common &= keys[0].isin(key)
        if not common.any():
            raise ParameterError(
                f"no {what} are in common: {_shown(keys[0])} on one side, {_shown(keys[1])} on the "
                "other. Features belong to the trajectory that they were computed from"
            )
        shared = keys[0][common]
        rows = tuple(np.asarray(key.get_indexer(shared), dtype=np.int64) for key in keys)
        return cls(what, tuple(keys), rows)

    def is_whole(self, k: int, size: int) -> bool:
        """Return whether a Dataset is used as it is."""
        rows = self.rows[k]
        return len(rows) == size and bool((rows == np.arange(size)).all())

    def left_out(self, names: Sequence[str]) -> list[str]:
        """Say how many frames or atoms of each Dataset have no partner."""
        lines = []
        for name, key, rows in zip((TRAJECTORY, *names), self.keys, self.rows, strict=True):
            n_missing = len(key) - len(rows)
            if n_missing:
                used: BoolArray = np.zeros(len(key), dtype=bool)
                used[rows] = True
                lines.append(
                    f"{n_missing} of {len(key)} {self.what} of {name} have no partner and were "
                    f"left out ({_shown(key[~used])})"
                )
        return lines


def _frame_keys(ds: xr.Dataset, with_run: bool) -> pd.Index:
    if "step" not in ds.variables:
        raise ParameterError(
            "frames are matched by run and step, and one of the Datasets has no coordinate step, "
            "as mgdask.open_store and mgdask.featurize give it"
        )
    step = np.atleast_1d(ds["step"].values)
    key = (
        pd.MultiIndex.from_arrays([[str(run) for run in np.atleast_1d(ds["run"].values)], step])
        if with_run
        else pd.Index(step)
    )
    if not key.is_unique:
        twice = key[key.duplicated()][0]
        raise ParameterError(
            f"frames cannot be told apart: {_key_text(twice)} occurs more than once. Select frames "
            "that differ in run or step before joining"
        )
    return key


def _shown(key: pd.Index) -> str:
    if isinstance(key, pd.MultiIndex):
        runs = list(dict.fromkeys(key.get_level_values(0)))
        named = ", ".join(runs[:MAX_SHOWN]) + (", ..." if len(runs) > MAX_SHOWN else "")
        return f"step {key[0][1]} to {key[-1][1]} of run {named}"
    return f"{key.min()} to {key.max()}"


def _key_text(key: object) -> str:
    return f"step {key[1]} of run {key[0]}" if isinstance(key, tuple) else f"step {key}"


def _with_variables(result: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """Add the data variables of a matched Dataset, and coordinates that are new."""
    # numbers of frames are those of another store
    names = [n for n in other.coords if n in result.variables or n in ("frame", "atom")]
    keep = [n for n in names if not {"frame", "atom"} & set(other[n].dims) and other[n].dims]
    clash = [
        str(name)
        for name in keep
        if not np.array_equal(np.asarray(other[name].values), np.asarray(result[name].values))
    ]
    if clash:
        raise ParameterError(
            f"the coordinate {clash[0]!r} has other values in two features; rename the variables "
            "of one before joining"
        )
    added = other.drop_vars(names)
    return result.assign_coords(added.coords).assign(dict(added.data_vars))
