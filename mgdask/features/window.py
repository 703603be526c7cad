"""Frames of a trajectory: their times and runs, and the parts that a block reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.geometry import unwrap


@dataclass(frozen=True)
class FrameAxis:
    """Times and runs of all frames of a trajectory.

    Parameters
    ----------
    time
        Time (frame,) in ps; NaN if unknown.
    run
        Label (frame,) of the simulation that each frame belongs to.
    """

    time: FloatArray
    run: AnyArray

    def first_of_run(self, frame: int) -> int:
        """Return the first frame of the simulation that ``frame`` belongs to."""
        return int(np.flatnonzero(self.run == self.run[frame])[0])

    def later(self, frame: int, lag: float, tolerance: float = 0.01) -> int:
        """Return the frame nearest to ``lag`` ps after ``frame`` in the same run.

        Parameters
        ----------
        frame
            Index of a frame.
        lag
            Time in ps.
        tolerance
            Maximum deviation as a fraction of ``lag``.

        Returns
        -------
        Index of the frame, or -1 if there is none.
        """
        return int(self.laters(lag, tolerance)[frame])

    def laters(self, lag: float, tolerance: float = 0.01) -> IntArray:
        """Return ``later`` of every frame (frame,).

        The result is kept, since all frames of a long trajectory ask for all lags.
        """
        if (lag, tolerance) not in self._known:
            frames = self._find_laters(lag, tolerance)
            frames.flags.writeable = False  # shared by all callers
            self._known[lag, tolerance] = frames
        return self._known[lag, tolerance]

    @cached_property
    def _known(self) -> dict[tuple[float, float], IntArray]:
        return {}

    def _find_laters(self, lag: float, tolerance: float) -> IntArray:
        result = np.full(len(self.run), -1)
        for first, last in self.runs():
            time = self.time[first:last]
            target = time + lag
            near = np.clip(np.searchsorted(time, target), 1, max(len(time) - 1, 1))
            near = near - (
                np.abs(time[near - 1] - target)
                <= np.abs(time[np.minimum(near, len(time) - 1)] - target)
            )
            near = np.minimum(near, len(time) - 1)
            # 1e-9 ps for the rounding of times
            good = (np.abs(time[near] - target) <= tolerance * lag + 1e-9) & (
                near > np.arange(len(time)) - (lag == 0.0)
            )
            # the last frame does not stand in for later ones that were never written
            good &= target <= time[-1] + 0.5 * (time[-1] - time[max(len(time) - 2, 0)]) + 1e-9
            result[first:last] = np.where(good, first + near, -1)
        return result

    def runs(self) -> list[tuple[int, int]]:
        """Return the first frame of each stretch of one run, and one past its last."""
        breaks = np.flatnonzero(self.run[1:] != self.run[:-1]) + 1
        edges = [0, *breaks.tolist(), len(self.run)]
        return list(pairwise(edges))

    def nearest_lag(self, lag: float, origins: IntArray) -> float:
        """Return the lag in ps nearest to ``lag`` that an origin has; NaN if none."""
        best = np.nan
        for k in origins:
            later = (self.run == self.run[k]) & (np.arange(len(self.run)) > k)
            lags = self.time[later] - self.time[k]
            if len(lags):
                here = float(lags[np.abs(lags - lag).argmin()])
                best = here if np.isnan(best) or abs(here - lag) < abs(best - lag) else best
        return best


@dataclass(frozen=True)
class Window:
    """Whole frames of a trajectory that a block needs.

    Parameters
    ----------
    frames
        Increasing indices (k,) of the frames.
    position
        Wrapped positions (k, atom, 3) in Å.
    image
        Periodic images (k, atom, 3), or None if they were not read.
    cell
        Cell vectors (k, 3, 3) in Å, one per row.
    numbers
        Atomic numbers (atom,).
    pbc
        Whether each cell vector repeats.
    axis
        Times and runs of all frames of the trajectory.
    """

    frames: IntArray
    position: FloatArray
    image: npt.NDArray[np.integer] | None
    cell: FloatArray
    numbers: npt.NDArray[np.integer]
    pbc: tuple[bool, ...]
    axis: FrameAxis

    def place(self, frame: int) -> int:
        """Return the index of a frame in the window."""
        return int(np.searchsorted(self.frames, frame))

    def unwrapped(self, frame: int) -> FloatArray:
        """Return the unwrapped positions (atom, 3) in a frame, position + image @ cell.

        Parameters
        ----------
        frame
            Index of a frame of the trajectory.

        Returns
        -------
        Positions in Å.

        Raises
        ------
        ParameterError
            If the window has no periodic images.
        """
        k = self.place(frame)
        if self.image is None:
            raise ParameterError(
                "unwrapping needs the periodic images of the atoms (variable 'image'), "
                "which this window does not have"
            )
        return unwrap(self.position[k], self.image[k], self.cell[k])


@dataclass(frozen=True)
class Trajectories:
    """Unwrapped trajectories of some atoms.

    Parameters
    ----------
    frames
        Increasing indices (k,) of the frames.
    position
        Unwrapped positions (atom, k, 3) in Å.
    axis
        Times and runs of all frames of the trajectory.
    mass
        Masses (atom,) in u.
    temperature
        Temperature (k,) in K, or None if the trajectory does not have it.
    center_of_mass
        Center of mass (k, 3) of all atoms in Å, or None if it was not read.
    """

    frames: IntArray
    position: FloatArray
    axis: FrameAxis
    mass: FloatArray
    temperature: FloatArray | None = None
    center_of_mass: FloatArray | None = None

    def places(self, frames: IntArray) -> IntArray:
        """Return the indices of frames of the trajectory in this part of it."""
        return np.searchsorted(self.frames, frames)

    def without_drift(self) -> Trajectories:
        """Return the trajectories relative to the center of mass of each frame."""
        if self.center_of_mass is None:
            raise ParameterError(
                "removing drift needs the center of mass of every frame; "
                "use mgdask.plan and mgdask.run, which compute it"
            )
        return replace(self, position=self.position - self.center_of_mass[None])
