"""Graphs of lazy features: which tasks compute the selected rows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask.array.chunk import getitem
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from mgdask._typing import IntArray
from mgdask.features.engine import FeatureKinds, working_memory
from mgdask.features.environments import CutoffNeighbors, Neighborhood, VoronoiNeighbors
from mgdask.features.feature import Feature, FrameFeature
from mgdask.pipelines.featurize.lazy_blocks import (
    Common,
    MakeList,
    Places,
    ShareFrames,
    UnwrapFrames,
)
from mgdask.store.layout import LARGE_FRAME, MIN_SHARD, ceil_div

MAX_TASKS = 20_000
"""Number of tasks of a call from which several frames share a chunk."""
MAX_LISTS = 2**29
"""Maximum bytes of the neighbor lists of a chunk, unless one frame exceeds it."""
MAX_LAYERS = 16
"""Number of layers kept for the other features of the call."""
Tasks = dict[Any, Any]
FEWEST_ATOMS = 1024
"""Minimum number of atoms of a chunk that is cut for memory."""


class Spans(NamedTuple):
    """The frames of an array that a graph needs, one piece per chunk of the array.

    A piece holds the frames from the first to the last one needed, so that Dask reads
    no others.
    """

    name: str
    bounds: IntArray
    first: dict[int, int]
    rank: dict[int, int] | None = None
    """Place of each frame in its piece, if frames between are left out."""

    def of(self, frames: IntArray) -> tuple[list[tuple[str, int]], Places]:
        """Return the pieces that hold some frames, and where they are in them."""
        blocks = np.searchsorted(self.bounds, frames, side="right").tolist()
        order = {block: k for k, block in enumerate(dict.fromkeys(blocks))}
        places = tuple(
            (order[block], frame - self.first[block] if self.rank is None else self.rank[frame])
            for block, frame in zip(blocks, frames.tolist(), strict=True)
        )
        return [(self.name, block) for block in order], places


class Drawing:
    """A graph in the making."""

    def __init__(self) -> None:
        self._layers: dict[str, Any] = {}
        self._below: dict[str, set[str]] = {}

    def add(self, name: str, tasks: dict[Any, Any], *below: str) -> None:
        """Add a layer of tasks that need results of the layers ``below``."""
        self._layers[name], self._below[name] = tasks, set(below)

    def spans(self, array: da.Array, frames: IntArray) -> Spans:
        """Add tasks that read some frames (increasing) of an array of whole frames."""
        name = f"frames-of-{tokenize(array.name, frames)}"
        bounds = np.cumsum(array.chunks[0])
        blocks = np.searchsorted(bounds, frames, side="right")
        tasks, first = {}, {}
        for block in np.unique(blocks).tolist():
            mine, start = frames[blocks == block], int(bounds[block]) - array.chunks[0][block]
            key = (slice(int(mine[0]) - start, int(mine[-1]) + 1 - start), slice(None), slice(None))
            # as Dask itself slices, so that it joins the slice with the reading task
            tasks[name, block] = (getitem, (array.name, block, 0, 0), key)
            first[block] = int(mine[0])
        self._layers |= array.dask.layers
        self._below |= array.dask.dependencies
        self.add(name, tasks, array.name)
        return Spans(name, bounds, first)

    def finish(self) -> HighLevelGraph:
        """Return the graph."""
        return HighLevelGraph(self._layers, self._below)


class Part(NamedTuple):
    """Atoms of a chunk: each once and increasing, and where they come in the chunk."""

    centers: IntArray
    place: IntArray | None
    rows: int


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of a Dataset, and what its features share.

    Parameters
    ----------
    position
        Lazy positions (frame, atom, xyz) in Å.
    image
        Lazy periodic images (frame, atom, xyz), or None.
    common
        What all tasks need.
    features
        All features of the call.
    frames
        Frames that have rows.
    centers
        Atoms that have rows.
    """

    position: da.Array
    image: da.Array | None
    common: Common
    features: tuple[Feature, ...]
    frames: IntArray
    centers: IntArray

    @cached_property
    def token(self) -> str:
        """Name of the call, the same for the same inputs."""
        image = None if self.image is None else self.image.name
        common = self.common
        constants = common.numbers, common.pbc, common.cell, common.mass, common.temperature
        axis = common.axis.time, common.axis.run
        rows = self.frames, self.centers
        token: str = tokenize(self.position.name, image, constants, axis, self.features, rows)
        return token

    @cached_property
    def atoms_in_chunk(self) -> int:
        """Atoms of a chunk, the same for all features, which share lists by chunk."""
        features = [feature for feature in self.features if feature.level == "atom"]
        rows = min(len(self.centers), LARGE_FRAME)
        for feature in features:
            row = feature.n_columns * feature.output_dtype.itemsize
            rows = min(rows, max(1, MIN_SHARD // row), feature.block_atoms or rows)
        while rows > FEWEST_ATOMS and self._lists(rows) > MAX_LISTS:
            rows = ceil_div(rows, 2)
        # chunks of equal size
        return ceil_div(len(self.centers), ceil_div(len(self.centers), max(rows, 1)))

    def _lists(self, n_centers: int) -> int:
        kinds = FeatureKinds.of(self.features)
        return working_memory(kinds.framewise, len(self.common.numbers), n_centers)

    def frames_in_chunk(self, n_frames: int, n_parts: int) -> int:
        """Return the frames of a chunk: one, unless there are very many tasks."""
        wanted = ceil_div(n_frames * n_parts * len(self.features), MAX_TASKS)
        fitting = MAX_LISTS // max(1, self._lists(min(self.atoms_in_chunk, len(self.centers))))
        return max(1, min(wanted, fitting))

    @cached_property
    def shared_kinds(self) -> frozenset[Neighborhood]:
        """Neighbor lists that several features of the call need."""
        counts = Counter(
            kind
            for feature in FeatureKinds.of(self.features).single_frame
            for kind in self.kinds(feature)
        )
        return frozenset(kind for kind, n in counts.items() if n > 1)

    def kinds(self, feature: FrameFeature) -> set[Neighborhood]:
        """Return the lists that a feature needs, with those it selects them from."""
        kinds = set(feature.neighbor_lists(len(self.common.numbers), len(self.centers)))
        for kind in tuple(kinds):
            if isinstance(kind, VoronoiNeighbors):
                kinds.add(VoronoiNeighbors("none"))
            elif kind.pair_cutoffs is not None:
                kinds.add(CutoffNeighbors(kind.cutoff))
        return kinds

    def parts(self, atoms: IntArray | None) -> list[Part]:
        """Return the chunks of some atoms, or one with all centers for None."""
        if atoms is None:
            return [Part(self.centers, None, 1)]
        cut = range(0, len(atoms), self.atoms_in_chunk)
        return [_part(atoms[first : first + self.atoms_in_chunk]) for first in cut]

    def constants(self, drawing: Drawing) -> str:
        """Add what all tasks need, and return its key."""
        name = f"common-{self.token}"
        drawing.add(name, {name: self.common})
        return name

    def atoms(self, drawing: Drawing, parts: Sequence[Part]) -> str:
        """Add the atoms of each chunk, and return the name of the keys."""
        name = f"centers-{tokenize(self.token, *_joined([part.centers for part in parts]))}"
        drawing.add(name, {(name, k): part.centers for k, part in enumerate(parts)})
        return name

    def share(self, drawing: Drawing, groups: Sequence[IntArray], parts: Sequence[Part]) -> str:
        """Add the tasks that features share, and return the name of their keys.

        Parameters
        ----------
        drawing
            The graph.
        groups
            Frames of each chunk, increasing.
        parts
            Atoms of each chunk.
        """
        common, centers = self.constants(drawing), self.atoms(drawing, parts)
        spans = drawing.spans(self.position, np.unique(np.concatenate(groups)))
        name = f"shared-{tokenize(centers, *_joined(groups))}"

        def make() -> Tasks:
            tasks: Tasks = {}
            for g, frames in enumerate(groups):
                pieces, places = spans.of(frames)
                task = ShareFrames(frames, places)
                for p in range(len(parts)):
                    tasks[name, g, p] = (task, common, (centers, p), pieces)
            return tasks

        drawing.add(name, self._recent(name, make), common, centers, spans.name)
        return name

    def _recent(self, name: str, make: Callable[[], Tasks]) -> Tasks:
        """Return a layer that the features of a call share, and that is made once."""
        if name not in self._layers:
            while len(self._layers) >= MAX_LAYERS:
                self._layers.pop(next(iter(self._layers)), None)
            self._layers[name] = make()
        return self._layers[name]

    @cached_property
    def _layers(self) -> dict[str, Tasks]:
        return {}

    def read(self, drawing: Drawing, frames: IntArray) -> tuple[Spans, Spans]:
        """Add tasks that read the positions and images of some frames (increasing)."""
        if self.image is None:
            raise AssertionError("features that need images are refused without them")
        return drawing.spans(self.position, frames), drawing.spans(self.image, frames)

    def unwrap(self, drawing: Drawing, frames: IntArray, centers: str, n_parts: int) -> Spans:
        """Add tasks that unwrap the atoms of each chunk in some frames (increasing).

        Parameters
        ----------
        drawing
            The graph.
        frames
            The frames.
        centers
            Name of the atoms of each chunk.
        n_parts
            Number of chunks along atoms.

        Returns
        -------
        Where the frames are. The number of the chunk is to be added to each key.
        """
        position, image = self.read(drawing, frames)
        common = self.constants(drawing)
        name = f"unwrapped-{tokenize(position.name, image.name, centers)}"
        blocks = np.searchsorted(position.bounds, frames, side="right")
        rank: dict[int, int] = {}
        tasks = {}
        for block in np.unique(blocks).tolist():
            mine = frames[blocks == block]
            task = UnwrapFrames(mine, mine - position.first[block])
            rank |= {int(frame): k for k, frame in enumerate(mine)}
            pieces = (position.name, block), (image.name, block)
            for p in range(n_parts):
                tasks[name, block, p] = (task, common, (centers, p), *pieces)
        drawing.add(name, tasks, common, centers, position.name, image.name)
        return Spans(name, position.bounds, position.first, rank)

    def lists(
        self, drawing: Drawing, shared: str, feature: Feature, n: tuple[int, int]
    ) -> list[str]:
        """Add the lists that a feature has in common with others of the call.

        Parameters
        ----------
        drawing
            The graph.
        shared
            Name of the shared frames.
        feature
            The feature.
        n
            Number of chunks along frames and atoms.

        Returns
        -------
        Names of the layers whose results the rows need.
        """
        kinds = (
            self.kinds(feature) & self.shared_kinds if isinstance(feature, FrameFeature) else set()
        )
        names = []
        for kind in sorted(kinds, key=repr):
            name = f"neighbors-{tokenize(shared, repr(kind))}"
            tasks = self._recent(name, partial(_list_tasks, name, kind, shared, n))
            drawing.add(name, tasks, shared)
            names.append(name)
        return names or [shared]


def _list_tasks(name: str, kind: Neighborhood, shared: str, n: tuple[int, int]) -> Tasks:
    task = MakeList(kind)
    return {(name, g, p): (task, (shared, g, p)) for g, p in itertools.product(*map(range, n))}


def _joined(arrays: Sequence[IntArray]) -> tuple[IntArray, list[int]]:
    """Return arrays joined, and their lengths: Dask takes long to name many arrays."""
    return np.concatenate(arrays), [len(array) for array in arrays]


def _part(atoms: IntArray) -> Part:
    if (np.diff(atoms) > 0).all():
        return Part(atoms, None, len(atoms))
    centers, place = np.unique(atoms, return_inverse=True)  # kernels take increasing centers
    return Part(centers, place, len(atoms))
