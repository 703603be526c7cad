"""Frames of a trajectory: their times and runs, and some of them held together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.geometry import unwrap


@dataclass(frozen=True)
class FrameAxis:
    """Time (frame,) in ps, NaN where unknown, and which simulation each frame belongs to (frame,)."""

    time: npt.NDArray[np.float64]
    run: npt.NDArray[Any]

    def first_of_run(self, frame: int) -> int:
        """The first frame of the simulation that ``frame`` belongs to."""
        return int(np.flatnonzero(self.run == self.run[frame])[0])

    def later(self, frame: int, lag: float, tolerance: float = 0.01) -> int:
        """The frame of the same run nearest to ``lag`` ps after ``frame``, within a share of the lag; -1 where there is none."""
        return int(self.laters(lag, tolerance)[frame])

    def laters(self, lag: float, tolerance: float = 0.01) -> npt.NDArray[np.int64]:
        """``later`` of every frame; worked out once, since every frame of a long trajectory asks for all lags."""
        if (lag, tolerance) not in self._known:
            found = self._find_laters(lag, tolerance)
            found.flags.writeable = False  # shared by all who ask
            self._known[lag, tolerance] = found
        return self._known[lag, tolerance]

    @cached_property
    def _known(self) -> dict[tuple[float, float], npt.NDArray[np.int64]]:
        return {}

    def _find_laters(self, lag: float, tolerance: float) -> npt.NDArray[np.int64]:
        found = np.full(len(self.run), -1)
        for first, last in self.runs():
            time = self.time[first:last]
            wanted = time + lag
            near = np.clip(np.searchsorted(time, wanted), 1, max(len(time) - 1, 1))
            near = near - (
                np.abs(time[near - 1] - wanted)
                <= np.abs(time[np.minimum(near, len(time) - 1)] - wanted)
            )
            near = np.minimum(near, len(time) - 1)
            # a pico-picosecond for the rounding of times
            good = (np.abs(time[near] - wanted) <= tolerance * lag + 1e-9) & (
                near > np.arange(len(time)) - (lag == 0.0)
            )
            # the last frame does not stand in for later ones that were never written
            good &= wanted <= time[-1] + 0.5 * (time[-1] - time[max(len(time) - 2, 0)]) + 1e-9
            found[first:last] = np.where(good, first + near, -1)
        return found

    def runs(self) -> list[tuple[int, int]]:
        """First frame of each stretch of one run, and one past the last."""
        breaks = np.flatnonzero(self.run[1:] != self.run[:-1]) + 1
        edges = [0, *breaks.tolist(), len(self.run)]
        return list(pairwise(edges))

    def nearest_lag(self, lag: float, origins: npt.NDArray[np.int64]) -> float:
        """The lag nearest to ``lag`` that one of the origins has; NaN where there is none."""
        best = np.nan
        for k in origins:
            away = (
                self.time[(self.run == self.run[k]) & (np.arange(len(self.run)) > k)] - self.time[k]
            )
            if len(away):
                here = float(away[np.abs(away - lag).argmin()])
                best = here if np.isnan(best) or abs(here - lag) < abs(best - lag) else best
        return best


@dataclass(frozen=True)
class Window:
    """Frames of a trajectory that a block needs: their numbers, positions (k,atom,3) Å, images (k,atom,3) or None, cells (k,3,3) Å."""

    frames: npt.NDArray[np.int64]
    position: npt.NDArray[np.float64]
    image: npt.NDArray[np.integer] | None
    cell: npt.NDArray[np.float64]
    numbers: npt.NDArray[np.integer]
    pbc: tuple[bool, ...]
    axis: FrameAxis

    def place(self, frame: int) -> int:
        """Where a frame stands in the window."""
        return int(np.searchsorted(self.frames, frame))

    def path(self, frame: int) -> npt.NDArray[np.float64]:
        """True positions (atom,3) in a frame: position + image @ cell."""
        k = self.place(frame)
        if self.image is None:
            raise ParameterError(
                "this needs the images of the atoms, which a window of bare positions does not have"
            )
        return unwrap(self.position[k], self.image[k], self.cell[k])
