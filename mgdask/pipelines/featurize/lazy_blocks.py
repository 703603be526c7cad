"""Tasks of lazy features: sharing a frame, and computing the rows of one chunk.

One task per frame and block of atoms returns ``SharedFrames``: positions, and neighbor
lists that grow as features ask for them. Each feature computes its rows from it in a
task of its own, so that only the features asked for are computed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.features.engine import compute_trajectories, compute_window
from mgdask.features.environments import LocalEnvironments, Neighborhood
from mgdask.features.feature import FrameFeature, TrajectoryFeature, WindowFeature
from mgdask.features.window import FrameAxis, Trajectories, Window
from mgdask.geometry import unwrap

Places = tuple[tuple[int, int], ...]
"""Where frames are: the number of a piece, and the place in it, of each."""


@dataclass(frozen=True, eq=False)
class Common:
    """What all tasks of a call need: one value in the graph, not one per task.

    Parameters
    ----------
    numbers
        Atomic numbers (atom,).
    pbc
        Whether each cell vector repeats.
    cell
        Cell vectors (frame, 3, 3) in Å, one per row.
    axis
        Times and runs of all frames.
    mass
        Masses (atom,) in u.
    temperature
        Temperature (frame,) in K, or None.
    dependencies
        Features of which others of the call are made.
    """

    numbers: AnyArray
    pbc: tuple[bool, ...]
    cell: FloatArray
    axis: FrameAxis
    mass: FloatArray
    temperature: FloatArray | None
    dependencies: tuple[FrameFeature, ...]


class SharedFrames:
    """Frames with a neighborhood of atoms that several features describe.

    Parameters
    ----------
    frames
        Increasing indices (k,) of the frames.
    position
        Positions (k, atom, 3) in Å.
    common
        What all tasks of the call need.
    centers
        Increasing indices (center,) of the atoms that have rows.

    Notes
    -----
    A copy on another worker begins without lists and gives the same bits.
    """

    def __init__(
        self, frames: IntArray, position: FloatArray, common: Common, centers: IntArray
    ) -> None:
        self.frames, self.position, self.common, self.centers = frames, position, common, centers
        self._environments: dict[int, LocalEnvironments] = {}
        self._lock = threading.Lock()

    def environments(self, place: int) -> LocalEnvironments:
        """Return the lists of one of the frames, the same object for all features.

        Parameters
        ----------
        place
            Which of the frames.
        """
        with self._lock:
            if place not in self._environments:
                self._environments[place] = LocalEnvironments(
                    self.position[place],
                    self.common.cell[self.frames[place]],
                    self.common.numbers,
                    self.common.pbc,
                    self.centers,
                    self.common.dependencies,
                )
            return self._environments[place]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.frames, self.position, self.common, self.centers)

    def __sizeof__(self) -> int:  # Dask asks before it moves the result of a task
        return int(self.position.nbytes + self.centers.nbytes + self.common.numbers.nbytes)


@dataclass(frozen=True, eq=False)
class ShareFrames:
    """Task that makes ``SharedFrames`` from pieces of the positions.

    Parameters
    ----------
    frames
        Increasing indices (k,) of the frames.
    places
        Where each frame is in the pieces.
    """

    frames: IntArray
    places: Places

    def __call__(
        self, common: Common, centers: IntArray, pieces: Sequence[FloatArray]
    ) -> SharedFrames:
        """Return the frames, without lists."""
        return SharedFrames(self.frames, gathered(pieces, self.places), common, centers)


@dataclass(frozen=True, eq=False)
class MakeList:
    """Task that makes a neighbor list which several features need.

    Threads that describe the same frame would else wait for the one that makes it.

    Parameters
    ----------
    kind
        Voronoi neighbors, or neighbors by distance.
    """

    kind: Neighborhood

    def __call__(self, shared: SharedFrames) -> SharedFrames:
        """Return the frames, with the list."""
        for place in range(len(shared.frames)):
            shared.environments(place).bonds(self.kind, shared.centers)
        return shared


@dataclass(frozen=True, eq=False)
class Pick:
    """Which of the computed rows a chunk has, and in which order.

    Parameters
    ----------
    places
        Indices along each axis of the values; None for all in order.
    shape
        Shape of the chunk, in which axes may be gone.
    """

    places: tuple[IntArray | None, ...]
    shape: tuple[int, ...]

    def __call__(self, values: AnyArray) -> AnyArray:
        """Return the rows of the chunk."""
        for axis, place in enumerate(self.places):
            values = values if place is None else values.take(place, axis)
        return values.reshape(self.shape)


@dataclass(frozen=True, eq=False)
class FrameRows:
    """Task that computes rows of a feature of single frames.

    Parameters
    ----------
    feature
        The feature.
    pick
        Which of the rows the chunk has.
    """

    feature: FrameFeature
    pick: Pick

    def __call__(self, shared: Sequence[SharedFrames]) -> AnyArray:
        """Return the rows of the chunk."""
        here, feature = shared[-1], self.feature
        rows = (len(here.centers),) if feature.level == "atom" else ()
        shape = (len(here.frames), *rows, feature.n_columns)
        values = np.empty(shape, dtype=feature.output_dtype)
        for place, frame in enumerate(here.frames):
            environments, common = here.environments(place), here.common
            if feature.level == "atom" and feature in common.dependencies:
                # other features ask for these values, so they are kept
                kept = environments.values(feature, here.centers)
                np.take(kept, here.centers, axis=0, out=values[place])
                continue
            cell = common.cell[frame][None]
            window = Window(
                here.frames[place : place + 1],
                here.position[place : place + 1],
                None,
                cell,
                common.numbers,
                common.pbc,
                common.axis,
            )
            feature.describe_frame(window, int(frame), environments, here.centers, values[place])
        return self.pick(values)


@dataclass(frozen=True, eq=False)
class WindowRows:
    """Task that computes rows of a feature that compares frames.

    Parameters
    ----------
    feature
        The feature.
    pick
        Which of the rows the chunk has.
    frames
        Increasing frames (frame,) that have rows.
    needed
        Increasing indices (k,) of the frames that the rows need.
    places
        Where each of them is in the pieces.
    """

    feature: WindowFeature
    pick: Pick
    frames: IntArray
    needed: IntArray
    places: Places

    def __call__(
        self,
        common: Common,
        centers: IntArray,
        position: Sequence[FloatArray],
        image: Sequence[AnyArray],
    ) -> AnyArray:
        """Return the rows of the chunk."""
        window = Window(
            self.needed,
            gathered(position, self.places),
            gathered(image, self.places),
            common.cell[self.needed],
            common.numbers,
            common.pbc,
            common.axis,
        )
        found = compute_window((self.feature,), window, self.frames.tolist(), centers)
        return self.pick(found.values[0])


@dataclass(frozen=True, eq=False)
class UnwrapFrames:
    """Task that unwraps some atoms in some frames of one piece.

    Parameters
    ----------
    frames
        Increasing indices (k,) of the frames.
    places
        Place (k,) of each frame in the piece.
    """

    frames: IntArray
    places: IntArray

    def __call__(
        self, common: Common, centers: IntArray, position: FloatArray, image: AnyArray
    ) -> FloatArray:
        """Return unwrapped positions (k, atom, 3) in Å."""
        out = np.empty((len(self.frames), len(centers), 3))
        for k, (frame, place) in enumerate(zip(self.frames, self.places, strict=True)):
            out[k] = unwrap(position[place][centers], image[place][centers], common.cell[frame])
        return out


@dataclass(frozen=True, eq=False)
class TrajectoryRows:
    """Task that computes rows of a feature of trajectories.

    Parameters
    ----------
    feature
        The feature.
    pick
        Which of the rows the chunk has.
    origins
        Increasing frames (origin,) that have rows.
    needed
        Increasing indices (k,) of the frames that the rows need.
    places
        Where each of them is in the pieces.
    """

    feature: TrajectoryFeature
    pick: Pick
    origins: IntArray
    needed: IntArray
    places: Places

    def __call__(self, common: Common, centers: IntArray, pieces: Sequence[FloatArray]) -> AnyArray:
        """Return the rows of the chunk."""
        path = np.ascontiguousarray(gathered(pieces, self.places).transpose(1, 0, 2))
        kelvin = None if common.temperature is None else common.temperature[self.needed]
        trajectories = Trajectories(self.needed, path, common.axis, common.mass[centers], kelvin)
        found = compute_trajectories((self.feature,), trajectories, self.origins.tolist())
        return self.pick(found.values[0])


def gathered(pieces: Sequence[AnyArray], places: Places) -> AnyArray:
    """Return frames (k, ...) from the pieces they are in, as a view if possible.

    Parameters
    ----------
    pieces
        Arrays (frame, ...).
    places
        Where each frame is.
    """
    which = {piece for piece, _ in places}
    if len(which) > 1:
        return np.stack([np.asarray(pieces[piece])[k] for piece, k in places])
    piece, rows = np.asarray(pieces[which.pop()]), [k for _, k in places]
    in_turn = rows == list(range(rows[0], rows[0] + len(rows)))
    return piece[rows[0] : rows[-1] + 1] if in_turn else piece[rows]
