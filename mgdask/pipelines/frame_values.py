"""Values of frames given by the user: their sources, and the frames they belong to.

``mgdask.ingest`` and ``mgdask.attach`` share this code. Values are numbers, columns of
text files, or arrays. They belong to the frames of all runs, or of one run each.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeAlias

import numpy as np

from mgdask import variables
from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.bounds import shortened
from mgdask.errors import AuditError, ParameterError, StoreError
from mgdask.readers.text_columns import read_column
from mgdask.store import frame_values as stored_values
from mgdask.store.attributes import decode
from mgdask.store.provenance import versions
from mgdask.store.shards import Group

Source: TypeAlias = float | str | tuple[str | os.PathLike[str], int] | AnyArray
"""A number for all frames, a column of a text file, or an array (frame,).

A column of a file is given as (path, column) or "path:column".
"""
Sources: TypeAlias = Mapping[str, Source | Sequence[Source]]
"""Source of each variable by name, or a list with one source per run."""
Temperatures: TypeAlias = float | Sequence[float]
"""Temperature in K of all runs, or a list with one per run."""

HISTORY = "frame_values"
"""Attribute of a store that lists the sources of its values of frames."""

_NAME = re.compile(r"(?P<name>[A-Za-z]\w*)(\[(?P<unit>[^\]]*)\])?")


@dataclass(frozen=True)
class Run:
    """Label of a run and its frames in the store."""

    label: str
    frames: IntArray


@dataclass(frozen=True)
class Given:
    """Values of one variable as the user gave them.

    Attributes
    ----------
    name, unit
        Name and unit of the variable; the unit is "" if it was not stated.
    values
        Values (frame,) for all frames of the store; NaN if none was given.
    origins
        Origin of the values, one entry per source.
    """

    name: str
    unit: str
    values: FloatArray
    origins: tuple[dict[str, Any], ...]


def runs_of(labels: Sequence[str] | AnyArray, start: int = 0) -> list[Run]:
    """Return the runs in the order of their first frames.

    Parameters
    ----------
    labels
        Run label of each frame.
    start
        Index of the first of these frames in the store.
    """
    frames: dict[str, list[int]] = {}
    for k, label in enumerate(labels, start=start):
        frames.setdefault(str(label), []).append(k)
    return [Run(label, np.array(rows, dtype=np.int64)) for label, rows in frames.items()]


def select_runs(runs: Sequence[Run], labels: str | Sequence[str] | None, where: str) -> list[Run]:
    """Return the runs with the given labels, in the order of the labels.

    Parameters
    ----------
    runs
        All runs.
    labels
        One label, several, or None for all runs.
    where
        Description of the store, for the message.

    Raises
    ------
    ParameterError
        If there is no run with a label, or a label is given twice.
    """
    if labels is None:
        return list(runs)
    by_label = {run.label: run for run in runs}
    wanted = [labels] if isinstance(labels, str) else [str(label) for label in labels]
    if len(set(wanted)) < len(wanted):
        raise ParameterError(f"run={wanted} names a run twice; give every run once")
    for label in wanted:
        if label not in by_label:
            near = difflib.get_close_matches(label, by_label, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ParameterError(
                f"run={label!r} is not in {where}; its runs are {_list(by_label)}{hint}"
            )
    return [by_label[label] for label in wanted]


def resolve(
    temperature: Temperatures | None,
    given: Sources | None,
    runs: Sequence[Run],
    n_frames: int,
    *,
    left_out: str = "",
) -> list[Given]:
    """Return the values of each variable, read and checked.

    Parameters
    ----------
    temperature
        See ``Temperatures``.
    given
        See ``Sources``. A name may state its unit, as "stress[GPa]".
    runs
        Runs to which the values belong.
    n_frames
        Number of frames of the store.
    left_out
        Description of the input frames that the store does not contain, for messages.

    Raises
    ------
    ParameterError
        If a name, a value or the number of sources is not allowed.
    AuditError
        If a file cannot be read, or does not have one row per frame.
    """
    sources = dict(given or {})
    if temperature is not None:
        if any(_parse_name(name)[0] == "temperature" for name in sources):
            raise ParameterError(
                "temperature= and variables['temperature'] both give the temperature; give only one"
            )
        _check_temperature_source(temperature)
        sources["temperature"] = temperature
    names = [_parse_name(name) for name in sources]
    twice = next((name for name, _ in names if [n for n, _ in names].count(name) > 1), None)
    if twice is not None:
        raise ParameterError(f"variables gives {twice!r} twice; give it once")
    return [
        _resolve_one(name, unit, source, runs, n_frames, left_out)
        for (name, unit), source in zip(names, sources.values(), strict=True)
    ]


def _check_temperature_source(temperature: Any) -> None:
    numbers = temperature if isinstance(temperature, list | tuple) else [temperature]
    if not numbers or not all(_is_number(value) for value in numbers):
        raise ParameterError(
            f"temperature={temperature!r} must be a number in K, or a list of one number per run. "
            "Temperatures that change within a run are given as "
            "variables={'temperature': (path, column)}, or an array instead of (path, column)"
        )


def _parse_name(text: str) -> tuple[str, str]:
    """Return the name and unit in "name" or "name[unit]"."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise ParameterError(
            f"variables: {text!r} is not a name; use letters, digits and _, beginning with a "
            "letter. A unit may follow in brackets, as in 'stress[GPa]'"
        )
    name, unit = match["name"], match["unit"] or ""
    if name in ("time", "step", "run"):
        raise ParameterError(
            f"variables: {name!r} is set when files are read; use timestep= for times and run= for "
            "labels in mgdask.ingest"
        )
    problem = variables.name_problem(name)
    if problem is None and (name in variables.VARIABLES or name.endswith(("_feature", "_scratch"))):
        problem = "is reserved in a store"
    if problem is not None:
        raise ParameterError(f"variables: {shortened(name)!r} {problem}; choose another name")
    known = variables.FRAME_VALUES.get(name)
    if known is not None:
        if unit not in ("", known.unit):
            raise ParameterError(
                f"variables: {name} must be in {known.unit}; got {unit}. Convert the values"
            )
        unit = known.unit
    return name, unit


def _resolve_one(
    name: str, unit: str, source: Any, runs: Sequence[Run], n_frames: int, left_out: str
) -> Given:
    values, origins = np.full(n_frames, np.nan), []
    if isinstance(source, list) or (isinstance(source, tuple) and not _is_column(source)):
        if len(source) != len(runs):
            raise ParameterError(
                f"{name}: {len(source)} values or files were given for {len(runs)} "
                f"{'run' if len(runs) == 1 else 'runs'} ({_list(run.label for run in runs)}). Give "
                "one for all, or one per run in this order; one value per frame is a NumPy array"
            )
        pairs = [(each, [run]) for each, run in zip(source, runs, strict=True)]
    else:
        pairs = [(source, list(runs))]
    for each, its_runs in pairs:
        frames = np.concatenate([run.frames for run in its_runs])
        numbers, origin = _read_source(name, unit, each, its_runs, len(frames), left_out)
        values[frames] = numbers
        origins.append(
            {
                "variable": name,
                "units": unit,
                "runs": [run.label for run in its_runs],
                "frames": len(frames),
                **origin,
            }
        )
    return Given(name, unit, values, tuple(origins))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_column(source: Any) -> bool:
    return (
        isinstance(source, tuple)
        and len(source) == 2
        and isinstance(source[0], str | os.PathLike)
        and not isinstance(source[1], str | os.PathLike | tuple | list)
    )


def _read_source(
    name: str, unit: str, source: Any, runs: Sequence[Run], n_frames: int, left_out: str
) -> tuple[FloatArray, dict[str, Any]]:
    """Return the values of the frames in order, and their source."""
    if isinstance(source, str):
        source = _parse_source(name, source)
    if _is_number(source):
        value = float(source)
        if not np.isfinite(value):
            raise ParameterError(f"{name}={value} is not finite; give a finite number")
        _check_physical(name, np.array([value]), lambda k: f"{name}={value:g}")
        return np.full(n_frames, value), {"from": f"{value:.15g} {unit}".rstrip()}
    where = f"run {runs[0].label!r}" if len(runs) == 1 else f"the {len(runs)} runs together"
    if _is_column(source):
        return _read_file(name, *source, where=where, n_frames=n_frames, left_out=left_out)
    numbers = np.asarray(source) if isinstance(source, np.ndarray) else None
    if numbers is None or numbers.dtype.kind not in "fiu":
        raise ParameterError(
            f"{name}: {source!r} must be a number, (path, column), 'path:column', or a numeric "
            "NumPy array with one value per frame"
        )
    if numbers.shape != (n_frames,):
        raise ParameterError(
            f"{name}: the array has shape {numbers.shape}, but {where} has {n_frames} frames; give "
            "one value per frame, or a list of one value per run"
        )
    numbers = numbers.astype(np.float64)
    if not np.isfinite(numbers).all():
        k = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise ParameterError(f"{name}: value {k} of the array is {numbers[k]}; it must be finite")
    _check_physical(name, numbers, lambda k: f"{name}: value {k} of the array is {numbers[k]:g}")
    return numbers, {"from": "an array", "sha256": stored_values.values_digest(numbers)}


def _parse_source(name: str, text: str) -> float | tuple[str, int]:
    """Return the number, or the file and column, that a text specifies."""
    path, _, column = text.rpartition(":")
    if path and re.fullmatch(r"[+-]?\d+", column):
        return path, int(column)
    try:
        return float(text)
    except ValueError:
        raise ParameterError(
            f"{name}={text} must be FILE:COLUMN or a number, such as {name}=energies.txt:3; "
            "columns are counted from 1"
        ) from None


def _read_file(
    name: str,
    path: str | os.PathLike[str],
    column: int,
    *,
    where: str,
    n_frames: int,
    left_out: str,
) -> tuple[FloatArray, dict[str, Any]]:
    table = read_column(path, column)
    n_rows = len(table.values)
    if n_rows != n_frames:
        extra = (
            f"; line {table.lines[n_frames]} is the first one too many" if n_rows > n_frames else ""
        )
        raise AuditError(
            f"{table.where}: {n_rows} rows (lines {table.lines[0]} to {table.lines[-1]}), but "
            f"the store has {n_frames} frames for {where}{extra}. There must be one row per frame "
            f"of the store, in the order of the frames{left_out}"
        )
    _check_physical(
        name,
        table.values,
        lambda k: f"{table.path}, line {table.lines[k]}, column {column}: {table.values[k]:g}",
    )
    data = Path(path).expanduser().read_bytes()
    return table.values, {
        "from": f"{PurePath(table.path).name}, column {column}",
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _check_physical(name: str, values: FloatArray, describe: Any) -> None:
    if name == "temperature" and (values <= 0).any():
        k = int(np.flatnonzero(values <= 0)[0])
        raise ParameterError(f"{describe(k)} K is not a temperature; it must be above 0 K")


def _list(labels: Any) -> str:
    labels = list(labels)
    more = len(labels) - 10
    return ", ".join(map(repr, labels[:10])) + (f" and {more} more" if more > 0 else "")


def attach_command(store: str | Path, name: str, run: str | None = None) -> str:
    """Return the command that adds a value, as a suggestion.

    Parameters
    ----------
    store
        The store.
    name
        Name of the variable.
    run
        Label of the run that lacks it; None for all runs.
    """
    words = ["mgdask attach", shlex.quote(str(store))]
    if run is not None:
        words.append(f"--run {shlex.quote(run)}")
    words.append(
        "--temperature KELVIN" if name == "temperature" else f"--variable {name}=FILE:COLUMN"
    )
    return " ".join(words)


# Merging with the values in a store


@dataclass(frozen=True)
class Changes:
    """Changes to be written to a store.

    Attributes
    ----------
    arrays
        New values (frame,) and attributes by name, for ``store.frame_values.write``.
    history
        Entries to add to the history of the store.
    """

    arrays: dict[str, tuple[FloatArray, dict[str, Any]]]
    history: list[dict[str, Any]]


def merge(
    path: str | Path,
    group: Group,
    given: Sequence[Given],
    runs: Sequence[Run],
    *,
    overwrite: bool,
    command: str,
) -> Changes:
    """Merge given values with those in a store.

    Parameters
    ----------
    path
        The store.
    group
        Its Zarr group. Its arrays may be shorter than the given values.
    given
        Values for all frames; NaN if none is given.
    runs
        All runs, for messages.
    overwrite
        Whether to replace different values.
    command
        Advice on how to replace different values, for the message.

    Raises
    ------
    StoreError
        If the store has different values and ``overwrite`` is not set. Also if it has a
        variable of this name without exactly one number per frame.
    """
    present = stored_values.read(group, skip_damaged=overwrite)
    changes = Changes({}, [])
    for item in given:
        if item.name in group and item.name not in stored_values.names(group):
            raise StoreError(
                f"{path} has a variable {item.name!r} that is not one number per frame; choose "
                "another name"
            )
        attrs = stored_values.attrs(group, item.name)
        old = np.full(len(item.values), np.nan)
        if item.name in present:
            old[: len(present[item.name])] = present[item.name]
        new = np.where(np.isnan(item.values), old, item.values)
        differs = ~np.isnan(old) & (new != old)
        covers_all = not np.isnan(item.values).any()
        unit = str(attrs.get("units", "")) or item.unit
        if item.unit and unit != item.unit:
            if not (overwrite and covers_all):
                raise StoreError(
                    f"{path}: {item.name} is in {unit}, but {item.unit} was given; convert the "
                    "values, or overwrite those of all frames"
                )
            unit = item.unit
        if differs.any() and not overwrite:
            raise StoreError(_describe_conflict(path, item, unit, old, new, differs, runs, command))
        if np.array_equal(new, old, equal_nan=True) and unit == attrs.get("units", ""):
            continue
        units = {"units": unit} if unit else {}
        attrs = {**attrs, **variables.frame_attrs(item.name), **units}
        attrs["source"] = f"given by the user; see the attribute {HISTORY!r} of the store"
        changes.arrays[item.name] = new, attrs
        maker = {"by": f"mgdask {versions(('mgdask',))['mgdask']}"}
        replaces = {"replaces_other_values": True} if differs.any() else {}
        changes.history.extend({**origin, **replaces, **maker} for origin in item.origins)
    return changes


def _describe_conflict(
    path: str | Path,
    item: Given,
    unit: str,
    old: FloatArray,
    new: FloatArray,
    differs: AnyArray,
    runs: Sequence[Run],
    command: str,
) -> str:
    k = int(np.flatnonzero(differs)[0])
    label = next((run.label for run in runs if k in run.frames), "?")
    return (
        f"{path} has another {item.name} in {int(differs.sum())} frames, first in frame {k} (run "
        f"{label!r}): {old[k]:.10g} {unit} is stored, {new[k]:.10g} {unit} was given. Nothing was "
        f"changed; {command}"
    )


def write(path: str | Path, group: Group, changes: Changes) -> None:
    """Write changes to a store whose lock the caller holds."""
    if not changes.arrays:
        return
    before = decode(group.attrs, HISTORY, [])
    stored_values.write(path, changes.arrays, {HISTORY: [*before, *changes.history]})
