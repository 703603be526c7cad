"""Check what a plan would read: frames, their times and cells, and files of shards.

A run would refuse the same, but only in the task that reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError, StoreError
from mgdask.features.engine import FeatureKinds, frames_needed
from mgdask.features.feature import Feature
from mgdask.features.window import FrameAxis
from mgdask.geometry import unsound_cells
from mgdask.pipelines.featurize.block import describe_not_finite
from mgdask.pipelines.featurize.validation import frames_text
from mgdask.store.checks import Shard
from mgdask.store.failures import DamagedStoreError, more_damaged, repair_advice
from mgdask.store.shards import Group, read_array
from mgdask.store.source_checks import lost_shards
from mgdask.store.sources import source_array
from mgdask.store.trust import is_trusted

MAX_READ = 64 * 2**20
"""Maximum size in bytes of positions that a plan reads to look for damage.

More would take seconds. The tasks of a run look at all positions that they read.
"""
MAX_NAMED = 5
"""Maximum number of damaged frames that a message lists."""


def check_input(
    store: str | Path, group: Group, features: Sequence[Feature], axis: FrameAxis, rows: IntArray
) -> None:
    """Refuse features that cannot be computed from the frames of a store.

    Parameters
    ----------
    store
        A trajectory store, or an unwrapped trajectory.
    group
        Its group.
    features
        Features to compute.
    axis
        Times and runs of all frames.
    rows
        Frames to compute.

    Raises
    ------
    ParameterError
        If no pair of frames has a lag, or a cell does not span space.
    StoreError
        If files of the frames are lost or damaged, or positions are not finite. The
        message gives the frames that remain.
    """
    for feature in features:
        feature.check_frames(axis, rows)
    needed = frames_needed(features, axis, rows)
    kinds = FeatureKinds.of(features)
    if kinds.framewise:
        _check_cells(group, needed)
    unwrapped = "path" in group
    names = {"path"} if unwrapped else {"position"}
    if not unwrapped and (kinds.windows or kinds.trajectories):
        names.add("image")
    lost = [] if is_trusted() else lost_shards(store, names, needed)
    if lost:
        text, frames = _describe_lost(lost, needed)
        left = _leave_out(features, axis, rows, frames)
        raise DamagedStoreError(f"{store}: {text}. {repair_advice(store)}{left}")
    damaged = _find_not_finite(group, needed)
    if damaged is not None:
        text, frames = damaged
        remedy = f"Look for the cause with mgdask verify {store}, then repair the input"
        left = _leave_out(features, axis, rows, frames)
        raise StoreError(f"{store}: {text}. {remedy}{left}")


def _leave_out(features: Sequence[Feature], axis: FrameAxis, rows: IntArray, bad: IntArray) -> str:
    """Return the advice to leave frames out, with the frames that remain."""
    if FeatureKinds.of(features).trajectories:
        return ", or choose origins and lags (ps) that do not need these frames"
    damaged = set(bad.tolist())
    kept = [int(k) for k in rows if damaged.isdisjoint(frames_needed(features, axis, [int(k)]))]
    if not kept:
        return ""
    try:
        for feature in features:
            feature.check_frames(axis, np.array(kept))
    except ParameterError:  # no pair of frames remains
        return ""
    text = frames_text(kept)
    return f", or leave these frames out: frames=np.r_[{text}] (--frames {text})"


def _check_cells(group: Group, frames: IntArray) -> None:
    """Raise ``ParameterError`` for a cell in which no neighbors can be found."""
    cell: FloatArray = read_array(group, "cell")[frames].astype(np.float64)
    pbc = tuple(bool(p) for p in read_array(group, "pbc"))
    for k, problem in unsound_cells(cell, pbc):
        frame = int(frames[k])
        step = int(read_array(group, "step")[frame])
        raise ParameterError(f"frame {frame} (step {step}): {problem}")


def _describe_lost(lost: Sequence[tuple[Shard, str]], needed: IntArray) -> tuple[str, IntArray]:
    """Describe shards that are lost, and the frames that they held."""
    frames: set[int] = set()
    for shard, _ in lost:
        first, last = shard.region[shard.dims.index("frame")]
        frames |= set(needed[(needed >= first) & (needed < last)].tolist())
    shard, what = lost[0]
    more = more_damaged(len(lost) - 1)
    text = f"the file {shard.file} ({shard.where}) {what}{more}"
    return text, np.array(sorted(frames), dtype=np.int64)


def _find_not_finite(group: Group, needed: IntArray) -> tuple[str, IntArray] | None:
    """Read positions unless they are large, and describe those that are not finite.

    Returns the description and the damaged frames.
    """
    unwrapped = "path" in group
    array = source_array(group, "path" if unwrapped else "position")
    n_atoms = array.shape[0 if unwrapped else 1]
    if 24 * n_atoms * len(needed) > MAX_READ:
        return None
    bad: list[int] = []
    first = ""
    for frames in np.split(needed, np.flatnonzero(np.diff(needed) != 1) + 1):
        part = slice(int(frames[0]), int(frames[-1]) + 1)
        position: AnyArray = array[:, part] if unwrapped else array[part]
        finite = np.asarray(np.isfinite(position).all(axis=(0, 2) if unwrapped else (1, 2)))
        for k in np.flatnonzero(~finite):
            if not bad:
                one = position[:, k] if unwrapped else position[k]
                first = describe_not_finite(one, int(frames[k]), group)
            bad.append(int(frames[k]))
    if not bad:
        return None
    others = ", ".join(map(str, bad[1 : MAX_NAMED + 1]))
    more = f"; likewise frames {others}" if others else ""
    more += ", ..." if len(bad) > MAX_NAMED + 1 else ""
    return first + more, np.array(bad, dtype=np.int64)
