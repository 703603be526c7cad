"""Add values of frames, such as the temperature, to an existing store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgdask import _html
from mgdask.errors import ParameterError, StoreError
from mgdask.pipelines.frame_values import (
    Sources,
    Temperatures,
    merge,
    resolve,
    runs_of,
    select_runs,
    write,
)
from mgdask.store import frame_values as stored_values
from mgdask.store.location import local_path
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.shards import read_array
from mgdask.store.staging import APPEND, remove_all

UNCHANGED = "the store already had these values"


@dataclass(frozen=True)
class AttachReport:
    """Result of ``attach``; ``str`` gives a summary.

    Attributes
    ----------
    path
        The store.
    written
        Entries that were added to the history: variable, unit, runs, number of frames,
        and source of the values.
    unchanged
        Variables whose values the store already had.
    """

    path: str
    written: tuple[dict[str, Any], ...]
    unchanged: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.written)} additions"]
        lines += [
            f"  {entry['variable']} from {entry['from']}: {_what(entry)}" for entry in self.written
        ]
        lines += [f"  {name}: {UNCHANGED}" for name in self.unchanged]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [("store", self.path), ("additions", str(len(self.written)))]
        rows += [
            (entry["variable"], f"{_what(entry)}, from {entry['from']}") for entry in self.written
        ]
        return _html.table("Attached", [*rows, *((name, UNCHANGED) for name in self.unchanged)])


def _what(entry: dict[str, Any]) -> str:
    """Return the frames and runs of an addition in words."""
    runs = ", ".join(entry["runs"][:6]) + (", ..." if len(entry["runs"]) > 6 else "")
    replaced = ", replacing other values" if "replaces_other_values" in entry else ""
    return f"{entry['frames']} frames of run {runs}{replaced}"


def attach(
    store: str | Path,
    *,
    temperature: Temperatures | None = None,
    variables: Sources | None = None,
    run: str | Sequence[str] | None = None,
    overwrite: bool = False,
) -> AttachReport:
    """Add values of frames, such as the temperature, to an existing store.

    Parameters
    ----------
    store
        A finished trajectory store, or an unwrapped trajectory.
    temperature
        Temperature in K for all runs, or a list with one per run.
    variables
        Values of frames by name. A value is (path, column) or "path:column" for a text
        file with one row per frame, a number for all frames, or an array (frame,). A
        list has one of these per run. Columns are counted from 1. "temperature" is in K
        and "energy" in eV; "strain" has no unit. Other names may state their unit, as
        in "stress[GPa]".
    run
        Label of the run, or several labels, to which the values belong. Default: all
        runs.
    overwrite
        Whether to replace different values that the store has for these frames.

    Returns
    -------
    report
        An ``AttachReport``.

    Raises
    ------
    StoreError
        If the store has different values, is not finished, or is being written.
    AuditError
        If a file does not have one number per frame. The message names file, line and
        column.
    ParameterError
        If there is no such run, or an argument is not allowed.

    Notes
    -----
    Either all values are written or none, even if the process is killed. The content
    digest of the store does not change, so features computed from it stay valid.
    Features that read such a value are the exception: their plan records its digest.

    The attribute ``frame_values`` of the store lists the source of all values.

    Examples
    --------
    >>> mgdask.attach("glass.zarr", temperature=300.0)  # doctest: +SKIP
    >>> energy = ("cooling_1.energy.txt", 3)
    >>> mgdask.attach(
    ...     "glass.zarr", run="cooling_1", variables={"energy": energy}
    ... )  # doctest: +SKIP
    """
    path = local_path(store, "mgdask attach changes")
    was_declared = Manifest(path).finish_declared()
    # values that will be replaced may be damaged
    given_names = {name.partition("[")[0] for name in variables or {}}
    given_names |= set() if temperature is None else {"temperature"}
    replaced = given_names if overwrite else set()
    group, _ = check_complete(path, replaced=replaced)
    kind = str(group.attrs["mgdask_kind"])
    if kind == "features":
        raise StoreError(
            f"{path} holds features; attach to the trajectory store they were computed from "
            f"({group.attrs.get('input', 'unknown')}), then repeat the command that made them, "
            "which copies the values"
        )
    with Manifest(path).locked():
        # an unfinished append lacks the new values
        remove_all(path, APPEND)
        finished = stored_values.finish_pending(path)
        if temperature is None and not variables:
            if finished or was_declared:
                return AttachReport(str(path), (), ())
            raise ParameterError(
                "nothing to attach; give temperature= (--temperature 300) or variables= "
                "(--variable energy=energies.txt:3)"
            )
        group, _ = check_complete(path, replaced=replaced)
        labels = read_array(group, "run")
        runs = runs_of(labels)
        given = resolve(temperature, variables, select_runs(runs, run, str(path)), len(labels))
        changes = merge(
            path,
            group,
            given,
            runs,
            overwrite=overwrite,
            command="overwrite=True (--overwrite) replaces it",
        )
        write(path, group, changes)
    unchanged = tuple(item.name for item in given if item.name not in changes.arrays)
    return AttachReport(str(path), tuple(changes.history), unchanged)
