"""What one task of a run does: read its window, compute, write one whole shard for every output, then its record."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask.features import Feature, compute_features
from mgdask.store import features as feature_store
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.shards import open_group, write_shard
from mgdask.store.trajectory import read_window

if TYPE_CHECKING:
    from mgdask.tasks.plan import Plan


@dataclass(frozen=True)
class Block:
    """A piece of work: rows [row, row + n_rows) of frames [frame, frame + n_frames) of the output, for some features."""

    name: str
    per: str
    frame: int
    frames: tuple[int, ...]
    row: int
    n_rows: int


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share; small, since it travels with each of them."""

    store: str
    out: str
    features: tuple[Feature, ...]


def peak_memory() -> int:
    """Highest resident memory of this process so far, in bytes."""
    try:  # ru_maxrss of a spawned process begins with that of its parent, VmHWM does not
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def record(block: str, digest: str, wrote: Sequence[Mapping[str, Any]], began: float) -> dict[str, Any]:
    """The record of a finished block; files that do not last (scratch) are not looked for later."""
    return {
        "block": block, "digest": digest, "files": {w["file"]: w["size"] for w in wrote if w.get("lasting", True)},
        "checksum": {w["file"]: w["sha256"] for w in wrote}, "host": socket.gethostname(), "pid": os.getpid(),
        "seconds": round(time.perf_counter() - began, 4), "peak_memory": peak_memory(),
    }  # fmt: skip


def create_output(plan: Plan) -> None:
    """Make the store of a plan, or find the one it began."""
    _, content = check_complete(plan.store, kind="trajectory")
    if content != plan.content:
        from mgdask.errors import StoreError

        raise StoreError(f"{plan.store} has changed since the plan was made; make the plan again")
    if not feature_store.existing(plan.out, plan.digest):
        feature_store.create(plan.out, plan.attrs(), plan.axes(), plan.outputs())


def _array(group: Any, name: str) -> Any:
    return group[name]


def compute_block(job: Job, block: Block, digest: str) -> dict[str, Any]:
    """Task: compute one block and write it; returns less than a kilobyte."""
    began = time.perf_counter()
    source, target = open_group(job.store), open_group(job.out, mode="r+")
    position, cell = read_window(job.store, np.asarray(block.frames))
    numbers, pbc = np.asarray(_array(source, "species")[...]), np.asarray(_array(source, "pbc")[...])
    chosen = np.asarray(_array(target, "atom_id")[block.row : block.row + block.n_rows])
    centers = np.searchsorted(np.asarray(_array(source, "atom_id")[...]), chosen)
    # all at once, since they share neighbours and Voronoi cells
    features = [feature for feature in job.features if feature.per == block.per]
    found, marked = compute_features(features, position, cell, numbers, centers, pbc)
    start = (block.frame, block.row, 0) if block.per == "atom" else (block.frame, 0)
    wrote = []
    for k, feature in enumerate(features):
        wrote.append(write_shard(target, feature.name, start, found[k]))
        found[k] = np.empty(0)
    marks = {feature.name: counts for feature, counts in zip(features, marked, strict=True) if counts}
    Manifest(job.out).append({**record(block.name, digest, wrote, began), "marked": marks})
    return {"rows": len(block.frames) * block.n_rows, "peak_memory": peak_memory()}
