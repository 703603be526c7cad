"""Displacements of an atom over a list of lag times, from true paths."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mgdask.elements import mass as standard_mass
from mgdask.errors import ParameterError
from mgdask.features.environments import LocalEnvironments, Neighborhood
from mgdask.features.feature import Feature, validate_fields
from mgdask.features.window import FrameAxis
from mgdask.kernels.displacement import lag_rows

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

LIU_2022: tuple[float, ...] = (
    0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.32, 0.4, 0.5, 0.63, 0.79, 1, 1.3, 1.6, 2, 2.5, 3.2, 4, 5, 6.3,
    7.9, 10, 13, 16, 20, 25, 32, 40, 50, 63, 79, 100, 126, 158, 200,
)  # fmt: skip
"""The 41 lags in ps of Liu et al., J. Mater. Inf. 2, 20 (2022), Supplementary Table 1."""


class PathFeature(Feature):
    """A feature made of the paths of its central atoms: rows belong to origins, frames from which time is counted."""

    @property
    def reads(self) -> Literal["frames", "paths"]:
        """Paths."""
        return "paths"

    @property
    @abstractmethod
    def needs_drift(self) -> bool:
        """Whether the centre of mass of every frame is needed."""

    @abstractmethod
    def origin_frames(self, axis: FrameAxis) -> Integer:
        """The frames that have rows; ``ParameterError`` where the trajectory cannot give what is asked for."""

    @abstractmethod
    def describe_paths(
        self,
        path: Float,
        frames: Integer,
        axis: FrameAxis,
        origins: Integer,
        mass: Float,
        temperature: Float | None,
        out: npt.NDArray[Any],
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Fill ``out`` (origin,atom,column) from paths (atom,k,3) in ``frames`` (k,); returns marks (origin,atom)."""

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """One frame is not enough: ``ParameterError``."""
        raise ParameterError(
            f"{type(self).__name__} follows atoms through time and cannot be made of one frame; use compute(path, time, ...)"
        )

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """None."""
        return ()


@dataclass(frozen=True)
class LagDisplacement(PathFeature):
    """Displacement of each atom over a list of lag times, a column a lag; the 41 published lags by default.

        r = |r(t0 + lag) - r(t0)|,     r^2,     lg[r^2 / (T m^-1)]

    Parameters
    ----------
    lags: times in ps, or "liu2022" for the 41 of Liu et al. (2022).
    origins: the frames t0, each of which has rows: "first" of every run, "all", every n-th frame (an integer), or times in ps.
    scaling: "displacement" r in Å, "squared" r^2 in Å², or "logarithmic" lg[r^2 / (T m^-1)] with r^2 in Å², T in K, m in u (-inf where an atom
        has not moved).
    temperature: T in K for "logarithmic"; default is the frames' own (a variable ``temperature`` of the trajectory).
    missing: a lag that no origin has is refused with the nearest that exists ("refuse"), or NaN ("nan").
    tolerance: a frame counts as the one at a lag if it is off by no more than this share of the lag. Frames need not be evenly spaced.
    remove_drift: take the motion of the centre of mass away.

    An origin that lacks a lag which others have has NaN there; such rows are counted in the attrs. Pairs of frames never reach from one run
    into another. Displacements are subtracted in float64, then squared. Source: Liu et al., J. Mater. Inf. 2, 20 (2022).

    >>> import numpy as np
    >>> path = np.zeros((3, 1, 3))
    >>> path[:, 0, 0] = 0, 1, 3
    >>> LagDisplacement(lags=(1.0, 2.0)).compute(path, time=[0, 1, 2])[0]
    array([[1., 9.]])
    """

    lags: Literal["liu2022"] | tuple[Positive, ...] = "liu2022"
    origins: (
        Literal["first", "all"]
        | Annotated[int, Field(ge=1)]
        | tuple[Annotated[float, Field(ge=0)], ...]
    ) = "first"
    scaling: Literal["displacement", "squared", "logarithmic"] = "squared"
    temperature: Positive | None = None
    missing: Literal["refuse", "nan"] = "refuse"
    tolerance: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    remove_drift: bool = False

    family: ClassVar[str] = "lag_displacement"
    long_name: ClassVar[str] = "displacement by lag time"
    citation: ClassVar[str] = "Liu et al., J. Mater. Inf. 2, 20 (2022)"

    def __post_init__(self) -> None:
        validate_fields(self)
        times = self.times
        if not times or any(b <= a for a, b in itertools.pairwise(times)):
            raise ParameterError(
                f"LagDisplacement: lags={self.lags} must be increasing times in ps"
            )
        if self.origins == ():
            raise ParameterError("LagDisplacement: origins=() must name a time in ps at least")

    @property
    def times(self) -> tuple[float, ...]:
        """The lags in ps."""
        return LIU_2022 if isinstance(self.lags, str) else self.lags

    @property
    def labels(self) -> tuple[str, ...]:
        """0.01 ps, 0.02 ps, ..."""
        return tuple(f"{lag:g} ps" for lag in self.times)

    def coordinates(self) -> dict[str, npt.NDArray[Any]]:
        """The lags as numbers, in ps."""
        return {f"{self.name}_lag": np.array(self.times)}

    @property
    def needs_drift(self) -> bool:
        """Where it is taken away."""
        return self.remove_drift

    def origin_frames(self, axis: FrameAxis) -> Integer:
        """The frames that have rows."""
        check_times(axis)
        if self.origins == "all":
            found = np.arange(len(axis.run))
        elif isinstance(self.origins, int):
            found = np.arange(0, len(axis.run), self.origins)
        else:
            starts = np.sort(np.unique(axis.run, return_index=True)[1])
            if self.origins == "first":
                found = starts
            else:
                asked = [
                    axis.later(int(k), t, self.tolerance) for k in starts for t in self.origins
                ]
                if min(asked) < 0:
                    raise ParameterError(
                        f"LagDisplacement: origins={self.origins}: not every run has a frame at each of these times"
                    )
                found = np.unique(asked)
        if self.missing == "refuse":
            for lag in self.times:
                if (axis.laters(lag, self.tolerance)[found] < 0).all():
                    raise ParameterError(
                        f"LagDisplacement: no frame is {lag:g} ps after any of the {len(found)} origins; the nearest lag that exists is "
                        f"{axis.nearest_lag(lag, found):g} ps. Leave the lag out, choose other origins, or take missing='nan'"
                    )
        return found

    def frames_needed(self, axis: FrameAxis, frame: int) -> tuple[int, ...]:
        """The origin and the frames at its lags."""
        later = {int(axis.laters(lag, self.tolerance)[frame]) for lag in self.times} - {-1}
        return tuple(sorted(later | {frame}))

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """A copy of the squares."""
        return 24 * n_centers * self.n_columns

    def cost(self, n_centers: int) -> float:
        """About 5 nanoseconds a number."""
        return 5e-9 * n_centers * self.n_columns

    def prepare(self) -> None:
        """Compile."""
        lag_rows.compile()

    def describe_paths(
        self,
        path: Float,
        frames: Integer,
        axis: FrameAxis,
        origins: Integer,
        mass: Float,
        temperature: Float | None,
        out: npt.NDArray[Any],
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Fill ``out`` (origin,atom,lag)."""
        later = np.stack([axis.laters(lag, self.tolerance)[origins] for lag in self.times], axis=1)
        there = np.where(later < 0, -1, np.searchsorted(frames, later))
        lag_rows(path, np.searchsorted(frames, origins), there, out)
        if self.scaling == "displacement":
            np.sqrt(out, out=out)
        elif self.scaling == "logarithmic":
            kelvin = (
                np.full(len(origins), self.temperature)
                if self.temperature is not None
                else temperature
            )
            if kelvin is None:
                raise ParameterError(
                    "LagDisplacement: scaling='logarithmic' needs temperature=, since the trajectory has no variable 'temperature'"
                )
            with np.errstate(divide="ignore"):
                out[...] = np.log10(out * (mass[None, :, None] / kelvin[:, None, None]))
        lacking = np.asarray(later.min(axis=1) < 0)
        return {"no_later_frame": np.broadcast_to(lacking[:, None], (len(origins), path.shape[0]))}

    def compute(  # type: ignore[override]  # paths, where the others take a configuration
        self,
        path: npt.ArrayLike,
        time: npt.ArrayLike,
        mass: npt.ArrayLike | None = None,
        temperature: npt.ArrayLike | None = None,
        numbers: npt.ArrayLike | None = None,
    ) -> npt.NDArray[Any]:
        """Paths of one run, NumPy in and out.

        ``path`` (frame,atom,3) true positions in Å, ``time`` (frame,) ps increasing, ``mass`` (atom,) in u (or ``numbers``, for standard
        masses; needed for "logarithmic" and to remove drift), ``temperature`` (frame,) K. Returns (origin, atom, lag).
        """
        r = np.asarray(path, dtype=np.float64)
        if r.ndim != 3 or r.shape[2] != 3:
            raise ParameterError(f"path must be (frame, atom, 3) in Å; got shape {r.shape}")
        t = np.asarray(time, dtype=np.float64)
        if t.shape != r.shape[:1]:
            raise ParameterError(f"time must be (frame,), {len(r)} numbers; got shape {t.shape}")
        if mass is None and numbers is not None:
            mass = [standard_mass(int(z)) for z in np.asarray(numbers)]
        if mass is None and (self.scaling == "logarithmic" or self.remove_drift):
            raise ParameterError(
                "LagDisplacement: mass= (or numbers=) is needed for scaling='logarithmic' and for remove_drift"
            )
        m = np.ones(r.shape[1]) if mass is None else np.asarray(mass, dtype=np.float64)
        if m.shape != r.shape[1:2] or not (m > 0).all():
            raise ParameterError(
                f"mass must be (atom,), {r.shape[1]} positive numbers in u; got shape {m.shape}, {m}"
            )
        if temperature is not None:
            given = np.asarray(temperature, dtype=np.float64)
            if given.shape not in ((), t.shape) or not (given > 0).all():
                raise ParameterError(
                    f"temperature must be (frame,), {len(t)} positive numbers in K, or one; got shape {given.shape}, {given}"
                )
        axis = FrameAxis(t, np.zeros(len(t), dtype=np.int64))
        origins = self.origin_frames(axis)
        if self.remove_drift:
            r = r - np.einsum("a,fax->fx", m / m.sum(), r)[:, None]
        kelvin = (
            None
            if temperature is None
            else np.broadcast_to(np.asarray(temperature, dtype=np.float64), t.shape)[origins]
        )
        out = np.empty((len(origins), r.shape[1], self.n_columns))
        self.describe_paths(
            np.ascontiguousarray(r.transpose(1, 0, 2)),
            np.arange(len(t)),
            axis,
            origins,
            m,
            kelvin,
            out,
        )
        return out


def check_times(axis: FrameAxis) -> None:
    """``ParameterError`` where frames have no times, or these do not increase within a run."""
    if not np.isfinite(axis.time).all():
        raise ParameterError(
            "the frames have no times; ingest with timestep= (ps), or give the Dataset a variable 'time' in ps"
        )
    same = axis.run[1:] == axis.run[:-1]
    if (np.diff(axis.time)[same] <= 0).any():
        k = int(np.flatnonzero(same & (np.diff(axis.time) <= 0))[0]) + 1
        raise ParameterError(
            f"times must increase within a run; frame {k} is at {axis.time[k]:g} ps after {axis.time[k - 1]:g} ps"
        )


def lag_pairs(
    axis: FrameAxis, lags: Sequence[float], origins: Integer, tolerance: float = 0.01
) -> tuple[Integer, Integer, Integer, Integer]:
    """Pairs of frames by lag as runs, for the kernels: start (lag+1,), origin, later, length (run,)."""
    start, first, second, length = [0], [], [], []
    for lag in lags:
        later = axis.laters(lag, tolerance)[origins]
        a, b = origins[later >= 0], later[later >= 0]
        if len(a):
            breaks = np.flatnonzero((np.diff(a) != 1) | (np.diff(b) != 1)) + 1
            begin = np.concatenate([[0], breaks])
            first += a[begin].tolist()
            second += b[begin].tolist()
            length += np.diff(np.concatenate([begin, [len(a)]])).tolist()
        start.append(len(first))
    return tuple(np.array(item, dtype=np.int64) for item in (start, first, second, length))  # type: ignore[return-value]
