"""Append frames to a store: what is new, what continues it, and room for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mgdask import variables as variable_table
from mgdask.errors import StoreError
from mgdask.pipelines.frame_values import Given, Run, attach_command
from mgdask.pipelines.ingest_tasks import atom_variables, write_axis
from mgdask.readers.inventory import Inventory
from mgdask.store import frame_values as stored_values
from mgdask.store import trajectory
from mgdask.store.appends import Append, add_append, read_appends
from mgdask.store.attributes import decode
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.shards import Group, get_array, open_group, read_array

MAX_NAMED_SOURCES = 20
"""Maximum number of source files that an attribute lists."""
MAX_NAMED_FRAMES = 5
"""Maximum number of frames listed in a note of the audit."""


@dataclass(frozen=True)
class Addition:
    """Frames to append to a store.

    Attributes
    ----------
    inventory
        The frames, without those that the store already has.
    start
        Index of the first of these frames in the store.
    digest
        Digest of the input, including frames that the store already has.
    resumed
        Whether the store has these frames, or an earlier version began to append them.
    is_last
        Whether nothing was appended since.
    """

    inventory: Inventory
    start: int
    digest: str
    resumed: bool
    is_last: bool = True


def plan_append(out: Path, inventory: Inventory, is_named: bool) -> Addition:
    """Return the new frames, without writing anything."""
    group = open_group(out)
    if group.attrs.get("mgdask_kind") != "trajectory":
        raise StoreError(f"append: {out} is not a trajectory store")
    own_digest, appends = inventory.digest(), read_appends(group)
    earlier = next((each for each in appends if each.digest == own_digest), None)
    if earlier is None:
        check_complete(out, kind="trajectory")
        start = int(get_array(group, "position").shape[0])
    else:
        start = earlier.start
    _check_continuation(out, group, inventory)
    inventory = _without_known_frames(out, group, inventory, start, is_named)
    is_last = earlier is None or earlier == appends[-1]
    return Addition(inventory, start, own_digest, earlier is not None, is_last)


def make_room(out: Path, group: Group, addition: Addition, notes: Sequence[str]) -> None:
    """Make room for new frames, and write the variables with one row per frame."""
    inventory, start = addition.inventory, addition.start
    if addition.resumed and (not addition.is_last or Manifest(out).content() is not None):
        return  # appended completely by an earlier call
    if all(each.digest != addition.digest for each in read_appends(group)):
        Manifest(out).reopen()
        audit = decode(group.attrs, "audit")
        source_files = decode(group.attrs, "source_files")
        table = inventory.sources_table()
        names = tuple(str(source["name"]) for source in table[:MAX_NAMED_SOURCES])
        add_append(
            group,
            Append(addition.digest, start, inventory.n_frames, names),
            {"audit": [*audit, *notes], "source_files": [*source_files, *table]},
        )
    n_frames = start + inventory.n_frames
    trajectory.grow(group, n_frames)
    write_axis(group, inventory, start)


def stored_runs(group: Group, start: int) -> list[str]:
    """Return the run labels of the frames before ``start``."""
    return [str(label) for label in np.asarray(get_array(group, "run")[:start])] if start else []


def values_of_appended(
    out: Path, group: Group, given: Sequence[Given], runs: Sequence[Run], start: int
) -> tuple[list[Given], list[str]]:
    """Continue constant values, and report values that new frames lack."""
    kept, notes = [], []
    for name, values in stored_values.read(group).items():
        if any(item.name == name for item in given):
            continue
        n_frames = sum(len(run.frames) for run in runs)
        for run in runs:
            fresh = run.frames[run.frames >= start]
            if not len(fresh) or (len(values) > start and np.isfinite(values[fresh]).all()):
                continue
            before = values[run.frames[run.frames < start]]
            if name == "temperature" and len(before) and (before == before[0]).all():
                unit = variable_table.FRAME_VALUES[name].unit
                extended = np.full(n_frames, np.nan)
                extended[fresh] = before[0]
                text = f"{before[0]:.15g} {unit}, continued from the frames before"
                origin = {"variable": name, "units": unit, "runs": [run.label]}
                kept.append(Given(name, unit, extended, ({**origin, "from": text},)))
            else:
                notes.append(
                    f"append: {name} is unknown in {len(fresh)} new frames of run {run.label!r}; "
                    f"add it with {attach_command(out, name, run.label)}"
                )
    return kept, notes


def _check_continuation(out: Path, group: Group, inventory: Inventory) -> None:
    """Raise ``StoreError`` unless the files continue the simulation of a store."""
    for name, ours in (
        ("atom_id", inventory.atom_id),
        ("species", inventory.species),
        ("pbc", np.array(inventory.pbc)),
    ):
        stored = read_array(group, name)
        if stored.shape != ours.shape or (stored != ours).any():
            raise StoreError(
                f"append: {name} differs from that of {out}; only a continuation of the same "
                "simulation can be added"
            )
    if group.attrs["image_scheme"] != inventory.image_scheme:
        raise StoreError(
            f"append: the image scheme of the files is {inventory.image_scheme!r}, that of {out} "
            f"is {group.attrs['image_scheme']!r}"
        )
    stored_columns = {
        name
        for name, array in group.arrays()
        if array.attrs.get("source") == "further column of the input"
    }
    if different := set(atom_variables(inventory)) ^ stored_columns:
        raise StoreError(
            f"append: the further columns differ from those of {out}: {sorted(different)}"
        )
    if (inventory.time is None) != ("time" not in group):
        raise StoreError(
            f"append: {out} and the files do not both have times; give timestep as before"
        )


def _without_known_frames(
    out: Path, group: Group, inventory: Inventory, start: int, is_named: bool
) -> Inventory:
    """Drop timesteps that the last run of a store already has, with a note.

    Frames without a run label continue the last run.
    """
    runs = stored_runs(group, start)
    last = runs[-1]
    steps = np.asarray(get_array(group, "step")[:start])
    known = {int(step) for step, run in zip(steps, runs, strict=True) if run == last}
    continues = not is_named and len(set(inventory.run)) == 1 and inventory.run[0] not in runs
    labels = [last] * inventory.n_frames if continues else list(inventory.run)
    other = next((label for label in labels if label != last and label in runs), None)
    if other is not None or last in labels[labels.count(last) :]:
        raise StoreError(
            f"append: run {other or last!r} is already in {out}, and its frames would not be "
            f"consecutive. Only the last run, {last!r}, can be continued, by the first files. "
            "Choose another label with run= (--run)"
        )
    keep = [
        k
        for k, (ref, label) in enumerate(zip(inventory.refs, labels, strict=True))
        if label != last or ref.step not in known
    ]
    notes = list(inventory.notes)
    if len(keep) < inventory.n_frames:
        kept = set(keep)
        dropped = [ref.where for k, ref in enumerate(inventory.refs) if k not in kept]
        more = len(dropped) - MAX_NAMED_FRAMES
        notes.append(
            f"append: timesteps that {out} already has are skipped: "
            + "; ".join(dropped[:MAX_NAMED_FRAMES])
            + (f"; and {more} more" if more > 0 else "")
        )
    if not keep:
        raise StoreError(f"append: {out} already has all these timesteps; nothing to add")
    return replace(
        inventory,
        refs=tuple(inventory.refs[k] for k in keep),
        notes=tuple(notes),
        time=None if inventory.time is None else inventory.time[keep],
        run=tuple(labels[k] for k in keep),
    )
