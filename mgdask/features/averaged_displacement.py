"""Mean squared displacement of each atom by lag, averaged over time origins."""

from __future__ import annotations

import itertools
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.features.feature import TYPICAL_DENSITY, TrajectoryFeature, feature_dataclass
from mgdask.features.lag import Positive, check_times, lag_pairs
from mgdask.features.window import FrameAxis, Trajectories
from mgdask.kernels.displacement import per_atom


@feature_dataclass
class AveragedDisplacement(TrajectoryFeature):
    """Mean squared displacement of each atom by lag, one row per run.

        <r^2> = mean over t0 of |r(t0 + lag) - r(t0)|^2,     lg[<r^2> m]

    Parameters
    ----------
    lags
        Lag times in ps.
    spacing
        Minimum time between two origins t0 in ps. The first frame of the run is one,
        then the first frame at least ``spacing`` later, and so on. Default: the
        shortest lag.
    scaling
        "squared" is <r^2> in Å². "logarithmic_mass" is lg[<r^2> m] with <r^2> in Å² and
        m in u. It is -inf if an atom has not moved.
    tolerance
        Maximum deviation of a frame from t0 + lag, as a fraction of the lag.

    See Also
    --------
    LagDisplacement : Displacements from selected origins, without averaging.

    Notes
    -----
    The row is labeled with the first frame of its run. Origins without a frame at
    t0 + lag do not count. A lag without any origin raises an error. If ``spacing`` is
    the shortest lag, displacements over this lag do not overlap, so their noise is
    nearly independent. Additional frames for short lags do not add origins.

    References
    ----------
    Rahman, Phys. Rev. 136, A405 (1964): mean squared displacement over time origins.

    Examples
    --------
    >>> feature = AveragedDisplacement(lags=(5, 10, 20, 50, 100))
    >>> feature.labels
    ('5 ps', '10 ps', '20 ps', '50 ps', '100 ps')
    """

    lags: tuple[Positive, ...] = (5.0, 10.0, 20.0, 50.0, 100.0)
    spacing: Positive | None = None
    scaling: Literal["squared", "logarithmic_mass"] = "squared"
    tolerance: Annotated[float, Field(ge=0, lt=0.5)] = 0.01

    family: ClassVar[str] = "averaged_displacement"
    long_name: ClassVar[str] = "mean squared displacement by lag time"
    citation: ClassVar[str] = "Rahman, Phys. Rev. 136, A405 (1964)"

    def __post_init__(self) -> None:
        if not self.lags or any(b <= a for a, b in itertools.pairwise(self.lags)):
            raise ParameterError(
                f"AveragedDisplacement: lags={self.lags} must be increasing times in ps"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """5 ps, 10 ps, ..."""
        return tuple(f"{lag:g} ps" for lag in self.lags)

    @property
    def units(self) -> tuple[str, ...]:
        """Å² or, for the logarithm, 1."""
        return ("Å²" if self.scaling == "squared" else "1",) * self.n_columns

    def coordinates(self) -> dict[str, AnyArray]:
        """Return the lag times in ps as a coordinate of the columns."""
        return {f"{self.name}_lag": np.array(self.lags)}

    def averaged_origins(self, axis: FrameAxis, first: int, last: int) -> IntArray:
        """Return the frames of a run from which displacements are averaged.

        Parameters
        ----------
        axis
            Times and runs of all frames.
        first, last
            First frame of the run, and one past its last.
        """
        apart = self.lags[0] if self.spacing is None else self.spacing
        time, found = axis.time[first:last], [0]
        while True:
            # 1e-9 ps for the rounding of times
            later = int(np.searchsorted(time, time[found[-1]] + apart - 1e-9))
            if later >= len(time):
                return first + np.array(found)
            found.append(max(later, found[-1] + 1))

    def origin_frames(self, axis: FrameAxis) -> IntArray:
        """Return the first frame of every run.

        Parameters
        ----------
        axis
            Times and runs of all frames.

        Raises
        ------
        ParameterError
            If frames have no times, or a run lacks a lag.
        """
        check_times(axis)
        for first, last in axis.runs():
            origins = self.averaged_origins(axis, first, last)
            for lag in self.lags:
                if (axis.laters(lag, self.tolerance)[origins] < 0).all():
                    raise ParameterError(
                        f"AveragedDisplacement: no frame is {lag:g} ps after any of the "
                        f"{len(origins)} origins of the run {axis.run[first]!s}; the nearest lag "
                        f"that exists is {axis.nearest_lag(lag, origins):g} ps. Leave the lag out, "
                        "or choose another spacing"
                    )
        return np.array([first for first, _ in axis.runs()])

    def frames_needed(self, axis: FrameAxis, frame: int) -> tuple[int, ...]:
        """Return the origins of the run that begins at ``frame``, and their lags."""
        origins = self.averaged_origins(axis, *self._run_of(axis, frame))
        later = [axis.laters(lag, self.tolerance)[origins] for lag in self.lags]
        return tuple(np.setdiff1d(np.concatenate([origins, *later]), [-1]).tolist())

    @staticmethod
    def _run_of(axis: FrameAxis, frame: int) -> tuple[int, int]:
        return next(run for run in axis.runs() if run[0] <= frame < run[1])

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of the averages."""
        return 16 * n_centers * self.n_columns

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return 100 ns per column, for about a hundred origins."""
        return 1e-7 * self.n_columns

    def prepare(self) -> None:
        """Compile the kernel."""
        per_atom.compile()

    def describe_trajectories(
        self, trajectories: Trajectories, origins: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (origin, atom, lag)."""
        axis = trajectories.axis
        for place, frame in enumerate(origins):
            start_frames = self.averaged_origins(axis, *self._run_of(axis, int(frame)))
            start, origin, later, length = lag_pairs(axis, self.lags, start_frames, self.tolerance)
            values = np.empty((len(trajectories.position), self.n_columns))
            per_atom(
                trajectories.position,
                start,
                trajectories.places(origin),
                trajectories.places(later),
                length,
                values,
            )
            if self.scaling == "logarithmic_mass":
                values *= trajectories.mass[:, None]
                with np.errstate(divide="ignore"):
                    np.log10(values, out=values)
            out[place] = values
        return {}

    def compute(self, path: AnyArray, time: AnyArray, mass: AnyArray | None = None) -> FloatArray:
        """Compute the averages of one run, NumPy in and out.

        Parameters
        ----------
        path
            Unwrapped positions (frame, atom, 3) in Å.
        time
            Increasing times (frame,) in ps.
        mass
            Masses (atom,) in u, needed for "logarithmic_mass".

        Returns
        -------
        Values (atom, lag).

        Raises
        ------
        ParameterError
            For wrong shapes, missing masses, or lags that do not exist.
        """
        r, t = np.asarray(path, dtype=np.float64), np.asarray(time, dtype=np.float64)
        if r.ndim != 3 or r.shape[2] != 3 or t.shape != r.shape[:1]:
            raise ParameterError(
                f"path must be (frame, atom, 3) in Å and time (frame,) in ps; got shapes {r.shape} "
                f"and {t.shape}"
            )
        if mass is None and self.scaling == "logarithmic_mass":
            raise ParameterError(
                "AveragedDisplacement: mass= is needed for scaling='logarithmic_mass'"
            )
        m = np.ones(r.shape[1]) if mass is None else np.asarray(mass, dtype=np.float64)
        if m.shape != r.shape[1:2]:
            raise ParameterError(
                f"mass must be (atom,), {r.shape[1]} numbers in u; got shape {m.shape}"
            )
        axis = FrameAxis(t, np.zeros(len(t), dtype=np.int64))
        origins = self.origin_frames(axis)
        out = np.empty((1, r.shape[1], self.n_columns))
        position = np.ascontiguousarray(r.transpose(1, 0, 2))
        self.describe_trajectories(Trajectories(np.arange(len(t)), position, axis, m), origins, out)
        return np.asarray(out[0])
