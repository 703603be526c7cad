"""What one task of a run does: read its window, compute, write one whole shard for every output, then its record."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import RunError
from mgdask.features import Feature
from mgdask.features.feature import compute_window
from mgdask.features.lag import PathFeature
from mgdask.features.window import FrameAxis, Window
from mgdask.store import features as feature_store
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_unchanged
from mgdask.store.shards import open_group, write_shard
from mgdask.store.trajectory import read_images, read_window
from mgdask.store.unwrapped import path_source

if TYPE_CHECKING:
    from mgdask.pipelines.featurize.plan import Plan


@dataclass(frozen=True)
class Block:
    """A piece of work: rows [row, row + n_rows) of frames [frame, frame + n_frames) of the output, for some features."""

    name: str
    level: str
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
    paths: str = ""
    content: str = ""
    """Digest of the content of ``store``."""
    paths_content: str = ""
    """Digest of the content of ``paths``."""

    def check_inputs(self) -> None:
        """``SourceChangedError`` unless the inputs are those of the plan."""
        check_unchanged(self.store, self.content)
        if self.paths != self.store:
            check_unchanged(self.paths, self.paths_content)


def read_axis(group: Any) -> FrameAxis:
    """Times and runs of the frames of a store."""
    n_frames = int(group["step"].shape[0])
    time = (
        np.asarray(group["time"][...], dtype=np.float64)
        if "time" in group
        else np.full(n_frames, np.nan)
    )
    return FrameAxis(time, np.array([str(name) for name in group["run"][...]]))


def frames_of(
    features: Sequence[Feature], axis: FrameAxis, frames: Sequence[int] | npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """All frames that the rows of some frames are made of, each once."""
    return np.array(
        sorted(
            {
                k
                for frame in frames
                for feature in features
                for k in feature.frames_needed(axis, int(frame))
            }
        ),
        dtype=np.int64,
    )


def peak_memory() -> int:
    """Highest resident memory of this process so far, in bytes."""
    try:  # ru_maxrss of a spawned process begins with that of its parent, VmHWM does not
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def record(
    block: str, digest: str, wrote: Sequence[Mapping[str, Any]], began: float
) -> dict[str, Any]:
    """The record of a finished block; files that do not last (scratch) are not looked for later."""
    return {
        "block": block,
        "digest": digest,
        "files": {w["file"]: w["size"] for w in wrote if w.get("lasting", True)},
        "checksum": {w["file"]: w["sha256"] for w in wrote},
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "seconds": round(time.perf_counter() - began, 4),
        "peak_memory": peak_memory(),
    }


def create_output(plan: Plan) -> None:
    """Make the store of a plan, or find the one it began."""
    path_source(plan.store)
    check_unchanged(plan.store, plan.content)
    if not feature_store.existing(plan.out, plan.digest):
        feature_store.create(plan.out, plan.attrs(), plan.axes(), plan.outputs())
    elif Manifest(plan.out).content() is None:
        feature_store.restore(plan.out, plan.axes(), plan.outputs())


def _array(group: Any, name: str) -> Any:
    return group[name]


def _compares(features: Sequence[Feature]) -> bool:
    return any(type(feature).frames_needed is not Feature.frames_needed for feature in features)


def _check_finite(
    position: npt.NDArray[Any], frames: npt.NDArray[np.integer], group: Any, first: int = 0
) -> None:
    """Refuse positions (frame, atom, xyz) that are not numbers: a kernel would leave such an atom out without a word."""
    for k, frame in enumerate(frames):
        bad = np.flatnonzero(~np.isfinite(position[k]).all(axis=1))
        if len(bad):
            names = np.asarray(_array(group, "atom_id")[...])[first + bad[:5]].tolist()
            raise RunError(
                f"frame {frame} (step {int(_array(group, 'step')[int(frame)])}): {len(bad)} atoms have positions that are not finite, first "
                f"those of id {', '.join(map(str, names))}; look for the fault with mgdask verify, mend the input, or leave the frame out"
            )


def _from_paths(
    job: Job,
    features: Sequence[Feature],
    axis: FrameAxis,
    block: Block,
    centers: npt.NDArray[np.integer],
) -> tuple[list[npt.NDArray[Any]], list[dict[str, int]]]:
    """Rows of features made of paths: those of some atoms, from the frames that are needed."""
    source, group = path_source(job.paths)
    frames = frames_of(features, axis, block.frames)
    first, last = int(centers.min()), int(centers.max()) + 1
    path = source.read(frames, first, last)
    _check_finite(np.moveaxis(path, 1, 0), frames, group, first)
    if len(centers) < last - first:
        path = np.ascontiguousarray(path[centers - first])
    origins = np.asarray(block.frames, dtype=np.int64)
    kelvin = (
        np.asarray(_array(group, "temperature")[...], dtype=np.float64)[origins]
        if "temperature" in group
        else None
    )
    mass = np.asarray(_array(group, "mass")[...], dtype=np.float64)[centers]
    found, marked = [], []
    for feature in features:
        assert isinstance(feature, PathFeature)
        out = np.empty((len(origins), len(centers), feature.n_columns), dtype=feature.output_dtype)
        moved = path - source.drift(frames)[None] if feature.needs_drift else path
        marks = feature.describe_paths(moved, frames, axis, origins, mass, kelvin, out)
        found.append(out)
        marked.append({name: int(mark.sum()) for name, mark in marks.items()})
    return found, marked


def compute_block(job: Job, block: Block, digest: str) -> dict[str, Any]:
    """Task: compute one block and write it; returns less than a kilobyte."""
    began = time.perf_counter()
    job.check_inputs()
    source, target = open_group(job.store), open_group(job.out, mode="r+")
    chosen = np.asarray(_array(target, "atom_id")[block.row : block.row + block.n_rows])
    centers = np.searchsorted(np.asarray(_array(source, "atom_id")[...]), chosen)
    # all at once, since they share neighbours and Voronoi cells
    features = [feature for feature in job.features if feature.level == block.level]
    axis = read_axis(source)
    if features[0].reads == "paths":
        found, marked = _from_paths(job, features, axis, block, centers)
    else:
        frames = frames_of(features, axis, block.frames)
        position, cell = read_window(job.store, frames)
        _check_finite(position, frames, source)
        image = (
            read_images(job.store, frames)
            if len(frames) > len(block.frames) or _compares(features)
            else None
        )
        pbc = tuple(bool(p) for p in np.asarray(_array(source, "pbc")[...]))
        window = Window(
            frames, position, image, cell, np.asarray(_array(source, "species")[...]), pbc, axis
        )
        found, marked = compute_window(features, window, block.frames, centers)
    job.check_inputs()  # it may have been replaced while it was read
    start = (block.frame, block.row, 0) if block.level == "atom" else (block.frame, 0)
    wrote = []
    for k, feature in enumerate(features):
        wrote.append(write_shard(target, feature.name, start, found[k]))
        found[k] = np.empty(0)
    marks = {
        feature.name: counts for feature, counts in zip(features, marked, strict=True) if counts
    }
    Manifest(job.out).append({**record(block.name, digest, wrote, began), "marked": marks})
    return {"rows": len(block.frames) * block.n_rows, "peak_memory": peak_memory()}
