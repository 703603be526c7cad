"""Rows of one lazy feature: draws the graph of any selection of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from mgdask._typing import IntArray
from mgdask.features.engine import frames_needed
from mgdask.features.feature import Feature, FrameFeature, TrajectoryFeature, WindowFeature
from mgdask.pipelines.featurize.lazy_array import Chunks, Selection, is_all
from mgdask.pipelines.featurize.lazy_blocks import FrameRows, Pick, TrajectoryRows, WindowRows
from mgdask.pipelines.featurize.lazy_graph import Drawing, Frames, Part

Kind = TypeVar("Kind", bound=Feature)
Task = tuple[Any, ...]
"""A callable, followed by its arguments or their keys."""
Prepared = tuple[list[str], Callable[[int, int, Pick], Task]]


@dataclass(frozen=True, eq=False)
class Group:
    """Frames of a chunk: each once and increasing, and where they come in the chunk."""

    frames: IntArray
    place: IntArray | None
    rows: int


@dataclass(frozen=True, eq=False)
class Rows(ABC, Generic[Kind]):
    """Rows of one feature, of which selections are drawn.

    Parameters
    ----------
    source
        The frames, which all features of the call share.
    feature
        The feature.
    """

    source: Frames
    feature: Kind

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (frame, atom, column), or (frame, column)."""
        rows = (len(self.source.centers),) if self.feature.level == "atom" else ()
        return (len(self.source.frames), *rows, self.feature.n_columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the result."""
        return self.feature.output_dtype

    def graph(self, selection: Selection) -> tuple[HighLevelGraph, str, Chunks]:
        """Return the graph, name and chunks of a selection, which is not empty."""
        source = self.source
        frames = source.frames[selection.axes[0]]
        per_atom = len(self.shape) == 3
        atoms = source.centers[selection.axes[1]] if per_atom else None
        parts = source.parts(atoms)
        step = source.frames_in_chunk(len(frames), len(parts))
        groups = [_group(frames[k : k + step]) for k in range(0, len(frames), step)]
        columns = selection.axes[-1]
        identity = self.feature, selection.scalar, frames, atoms, columns, step
        name = f"{self.feature.name}-{tokenize(source.token, source.atoms_in_chunk, identity)}"
        drawing, tasks = Drawing(), {}
        below, task_of = self._prepare(drawing, groups, parts)
        wanted = None if is_all(columns, self.feature.n_columns) else columns
        for g, group in enumerate(groups):
            for p, part in enumerate(parts):
                places = (group.place, part.place, wanted) if per_atom else (group.place, wanted)
                sizes = (
                    (group.rows, part.rows, len(columns))
                    if per_atom
                    else (group.rows, len(columns))
                )
                key = (name, *selection.left((g, p, 0) if per_atom else (g, 0)))
                tasks[key] = task_of(g, p, Pick(places, selection.left(sizes)))
        drawing.add(name, tasks, *below)
        atoms_cut = (tuple(part.rows for part in parts),) if per_atom else ()
        chunks = (tuple(group.rows for group in groups), *atoms_cut, (len(columns),))
        return drawing.finish(), name, selection.left(chunks)

    @abstractmethod
    def _prepare(self, drawing: Drawing, groups: list[Group], parts: list[Part]) -> Prepared:
        """Draw what the rows need; return its layers and a function that makes a task.

        The function takes the numbers of a chunk along frames and atoms, and its rows.
        """

    def _needed(self, group: Group) -> IntArray:
        return frames_needed((self.feature,), self.source.common.axis, group.frames)


class RowsOfFrames(Rows[FrameFeature]):
    """Rows of a feature of single frames."""

    def _prepare(self, drawing: Drawing, groups: list[Group], parts: list[Part]) -> Prepared:
        shared = self.source.share(drawing, [group.frames for group in groups], parts)
        lists = self.source.lists(drawing, shared, self.feature, (len(groups), len(parts)))

        def task(g: int, p: int, pick: Pick) -> Task:
            return FrameRows(self.feature, pick), [(name, g, p) for name in lists]

        return lists, task


class RowsOfWindows(Rows[WindowFeature]):
    """Rows of a feature that compares frames."""

    def _prepare(self, drawing: Drawing, groups: list[Group], parts: list[Part]) -> Prepared:
        source = self.source
        needed = [self._needed(group) for group in groups]
        common, centers = source.constants(drawing), source.atoms(drawing, parts)
        position, image = source.read(drawing, np.unique(np.concatenate(needed)))

        def task(g: int, p: int, pick: Pick) -> Task:
            pieces, places = position.of(needed[g])
            rows = WindowRows(self.feature, pick, groups[g].frames, needed[g], places)
            return rows, common, (centers, p), pieces, image.of(needed[g])[0]

        return [common, centers, position.name, image.name], task


class RowsOfTrajectories(Rows[TrajectoryFeature]):
    """Rows of a feature of the trajectories of its own atoms."""

    def _prepare(self, drawing: Drawing, groups: list[Group], parts: list[Part]) -> Prepared:
        source = self.source
        needed = [self._needed(group) for group in groups]
        common, centers = source.constants(drawing), source.atoms(drawing, parts)
        path = source.unwrap(drawing, np.unique(np.concatenate(needed)), centers, len(parts))

        def task(g: int, p: int, pick: Pick) -> Task:
            pieces, places = path.of(needed[g])
            rows = TrajectoryRows(self.feature, pick, groups[g].frames, needed[g], places)
            return rows, common, (centers, p), [(*piece, p) for piece in pieces]

        return [common, centers, path.name], task


def _group(frames: IntArray) -> Group:
    if len(frames) == 1:
        return Group(frames, None, 1)
    once, place = np.unique(frames, return_inverse=True)
    return Group(once, None if is_all(place, len(once)) else place, len(frames))
