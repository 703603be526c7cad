"""Computing one block: several features, some frames, some central atoms.

Features of a block share frames, neighbor lists, Voronoi cells and each other's values.
Where frames come from is the caller's matter: see ``BlockSource``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, FloatArray, IntArray, Periodic
from mgdask.errors import ParameterError
from mgdask.features.environments import LocalEnvironments
from mgdask.features.feature import Feature, FrameFeature, TrajectoryFeature, WindowFeature
from mgdask.features.neighbor_lists import Neighborhood, VoronoiNeighbors, neighbor_list_bytes
from mgdask.features.window import FrameAxis, Trajectories, Window


@dataclass
class FeatureKinds:
    """Features by what they read; each feature enters itself (``Feature.add_to``)."""

    single_frame: list[FrameFeature] = field(default_factory=list)
    windows: list[WindowFeature] = field(default_factory=list)
    framewise: list[FrameFeature | WindowFeature] = field(default_factory=list)
    """Features of single frames and of windows, in the order given."""
    trajectories: list[TrajectoryFeature] = field(default_factory=list)

    @classmethod
    def of(cls, features: Sequence[Feature]) -> FeatureKinds:
        """Sort features by kind."""
        kinds = cls()
        for feature in features:
            feature.add_to(kinds)
        return kinds


class BlockSource(Protocol):
    """Where the frames of a block come from: a store, or arrays in memory."""

    @property
    def axis(self) -> FrameAxis:
        """Times and runs of all frames."""

    def read_window(self, frames: IntArray, *, images: bool) -> Window:
        """Read whole frames, with the periodic images of the atoms if asked for."""

    def read_trajectories(
        self, frames: IntArray, centers: IntArray, *, center_of_mass: bool
    ) -> Trajectories:
        """Read unwrapped trajectories of some atoms."""


class BlockValues(NamedTuple):
    """Values of each feature, and its numbers of flagged atoms by name.

    Values are (frame, center, column), or (frame, column) if ``level`` is "frame".
    """

    values: list[AnyArray]
    flagged: list[dict[str, int]]


def compute_block(
    features: Sequence[Feature],
    source: BlockSource,
    frames: Sequence[int],
    centers: npt.NDArray[np.integer],
) -> BlockValues:
    """Read what a block needs and compute it.

    Parameters
    ----------
    features
        Features that all read frames, or all read trajectories.
    source
        Where frames are read from.
    frames
        Frames that have rows.
    centers
        Indices (center,) of the central atoms.

    Returns
    -------
    Values and numbers of flagged atoms, in the order of ``features``.

    Raises
    ------
    ParameterError
        If some features read frames and others read trajectories.
    """
    kinds = FeatureKinds.of(features)
    check_one_input(kinds)
    needed = frames_needed(features, source.axis, frames)
    rows = np.ascontiguousarray(centers, dtype=np.int64)
    if kinds.trajectories:
        drift = any(feature.needs_drift for feature in kinds.trajectories)
        trajectories = source.read_trajectories(needed, rows, center_of_mass=drift)
        return compute_trajectories(kinds.trajectories, trajectories, frames)
    window = source.read_window(needed, images=bool(kinds.windows))
    return compute_window(kinds.framewise, window, frames, rows)


def check_one_input(kinds: FeatureKinds) -> None:
    """Raise ``ParameterError`` for features of frames together with trajectories."""
    if kinds.trajectories and kinds.framewise:
        raise ParameterError(
            f"{kinds.framewise[0].name} reads whole frames and {kinds.trajectories[0].name} reads "
            "unwrapped trajectories; they have different rows, so make a plan for each"
        )


def frames_needed(
    features: Sequence[Feature], axis: FrameAxis, frames: Sequence[int] | npt.NDArray[np.integer]
) -> IntArray:
    """Return all frames from which the rows of ``frames`` are computed, each once."""
    needed = {
        k
        for frame in frames
        for feature in features
        for k in feature.frames_needed(axis, int(frame))
    }
    return np.array(sorted(needed), dtype=np.int64)


def compute_features(
    features: Sequence[Feature],
    position: FloatArray,
    cell: FloatArray,
    numbers: npt.NDArray[np.integer],
    centers: npt.NDArray[np.integer],
    pbc: Periodic,
) -> BlockValues:
    """Compute several features of single frames that are in memory.

    Parameters
    ----------
    features
        Features of single frames.
    position
        Positions (frame, atom, 3) in Å.
    cell
        Cell vectors (frame, 3, 3) in Å, one per row.
    numbers
        Atomic numbers (atom,).
    centers
        Indices (center,) of the central atoms.
    pbc
        Whether each cell vector repeats.

    Returns
    -------
    Values and numbers of flagged atoms, in the order of ``features``.

    Raises
    ------
    ParameterError
        If a feature reads more than one frame.
    """
    kinds = FeatureKinds.of(features)
    for feature in (*kinds.windows, *kinds.trajectories):
        raise ParameterError(
            f"{feature.name} reads more than one frame and cannot be computed from single "
            f"frames; use {type(feature).__name__}(...).compute, or plan and run"
        )
    axis = FrameAxis(np.full(len(position), np.nan), np.zeros(len(position), dtype=np.int64))
    window = Window(
        np.arange(len(position)),
        position,
        None,
        cell,
        np.asarray(numbers),
        tuple(bool(p) for p in pbc),
        axis,
    )
    rows = np.ascontiguousarray(centers, dtype=np.int64)
    return compute_window(kinds.single_frame, window, range(len(position)), rows)


def compute_window(
    features: Sequence[FrameFeature | WindowFeature],
    window: Window,
    frames: Sequence[int],
    centers: IntArray,
) -> BlockValues:
    """Compute features of some frames of a window.

    Parameters
    ----------
    features
        Features of single frames or of windows.
    window
        All frames that the rows need.
    frames
        Frames that have rows.
    centers
        Indices (center,) of the central atoms.

    Returns
    -------
    Values and numbers of flagged atoms, in the order of ``features``.
    """
    values: list[AnyArray] = []
    for feature in features:
        rows = (len(centers),) if feature.level == "atom" else ()
        shape = (len(frames), *rows, feature.n_columns)
        values.append(np.empty(shape, dtype=feature.output_dtype))
    counts: list[Counter[str]] = [Counter() for _ in features]
    dependencies = tuple(dict.fromkeys(d for feature in features for d in feature.dependencies))
    # Features made of others come first: they ask for values of more atoms.
    order = sorted(range(len(features)), key=lambda k: -_depth(features[k]))
    for k, frame in enumerate(frames):
        place = window.place(frame)
        environments = LocalEnvironments(
            window.position[place],
            window.cell[place],
            window.numbers,
            window.pbc,
            centers,
            dependencies,
        )
        for which in order:
            flags = features[which].describe_frame(
                window, frame, environments, centers, values[which][k]
            )
            counts[which].update({name: int(flag.sum()) for name, flag in flags.items()})
    return BlockValues(values, [dict(count) for count in counts])


def compute_trajectories(
    features: Sequence[TrajectoryFeature], trajectories: Trajectories, origins: Sequence[int]
) -> BlockValues:
    """Compute features of unwrapped trajectories.

    Parameters
    ----------
    features
        Features of trajectories.
    trajectories
        The central atoms in all frames that the rows need.
    origins
        Frames that have rows.

    Returns
    -------
    Values and numbers of flagged atoms, in the order of ``features``.
    """
    starts = np.asarray(origins, dtype=np.int64)
    values, flagged = [], []
    for feature in features:
        shape = (len(starts), len(trajectories.position), feature.n_columns)
        out = np.empty(shape, dtype=feature.output_dtype)
        inputs = trajectories.without_drift() if feature.needs_drift else trajectories
        flags = feature.describe_trajectories(inputs, starts, out)
        values.append(out)
        flagged.append({name: int(flag.sum()) for name, flag in flags.items()})
    return BlockValues(values, flagged)


def working_memory(features: Sequence[Feature], n_atoms: int, n_centers: int) -> int:
    """Return the bytes of working memory of the features of one block.

    Parameters
    ----------
    features
        Features of one block, which share neighbor lists.
    n_atoms
        Atoms of a frame.
    n_centers
        Central atoms of the block.

    Returns
    -------
    Bytes.
    """
    lists: dict[Neighborhood, int] = {}
    for feature in features:
        for kind, n in feature.neighbor_lists(n_atoms, n_centers).items():
            # Voronoi neighbors of any rule are selected from the complete cells.
            sources = [VoronoiNeighbors("none")] if isinstance(kind, VoronoiNeighbors) else []
            for each in (*sources, kind):
                lists[each] = max(lists.get(each, 0), n)
    shared = sum(neighbor_list_bytes(kind, n_atoms, n) for kind, n in lists.items())
    return shared + sum(feature.footprint(n_atoms, n_centers) for feature in features)


def block_limit(features: Sequence[Feature], n_centers: int, limit: int) -> int:
    """Return the maximum size of a block in bytes, by size and by ``block_atoms``.

    Parameters
    ----------
    features
        Features of one level.
    n_centers
        Central atoms of a frame.
    limit
        Maximum size in bytes.
    """
    row_bytes = max(feature.n_columns * feature.output_dtype.itemsize for feature in features)
    most = [feature.block_atoms for feature in features if feature.block_atoms is not None]
    if not most:
        return limit
    rows = min(most) if features[0].level == "atom" else max(1, min(most) // max(n_centers, 1))
    return min(limit, rows * row_bytes)


def _depth(feature: Feature) -> int:
    """Return the number of levels of features that a feature is made of."""
    return 1 + max((_depth(other) for other in feature.dependencies), default=-1)
