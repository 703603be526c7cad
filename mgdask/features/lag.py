"""Displacements of atoms over a list of lag times, from unwrapped trajectories."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.elements import mass as standard_mass
from mgdask.errors import ParameterError
from mgdask.features.feature import TYPICAL_DENSITY, TrajectoryFeature, feature_dataclass
from mgdask.features.window import FrameAxis, Trajectories
from mgdask.kernels.displacement import lag_rows

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

LIU_2022: tuple[float, ...] = (
    0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.32, 0.4,
    0.5, 0.63, 0.79, 1, 1.3, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 7.9, 10, 13, 16, 20, 25, 32,
    40, 50, 63, 79, 100, 126, 158, 200,
)  # fmt: skip
"""The 41 lags in ps of Liu et al. (2022), Supplementary Table 1."""

TEMPERATURE_TOLERANCE = 0.05
"""Relative temperature change above which a row is counted as not isothermal.

The kinetic temperature of N atoms fluctuates by (2 / 3N)^(1/2): 1.8 % for 2048 atoms.
"""


@feature_dataclass
class LagDisplacement(TrajectoryFeature):
    """Displacement of each atom over a list of lag times, one column per lag.

        r = |r(t0 + lag) - r(t0)|,     r^2,     lg[r^2 / (T m^-1)],     lg[r^2 m]

    Parameters
    ----------
    lags
        Lag times in ps, or "liu2022" for the 41 of Liu et al. (2022).
    origins
        Frames t0 that have rows. "first" is the first frame of every run, "all" is
        every frame. An integer n selects every n-th frame of each run, beginning with
        its first. A list gives times in ps after the first frame of each run.
    scaling
        "displacement" is r in Å, "squared" is r^2 in Å². "logarithmic" is lg[r^2 / (T
        m^-1)] with r^2 in Å², T in K and m in u. "logarithmic_mass" is lg[r^2 m], which
        needs no temperature. Both are -inf if an atom has not moved.
    temperature
        T in K for "logarithmic". Default: the temperature of the frame t0, read from
        the variable ``temperature`` of the trajectory.
    missing
        What to do with a lag that no origin has. "refuse" raises an error that names
        the nearest existing lag; "nan" fills the column with NaN.
    tolerance
        Maximum deviation of a frame from t0 + lag, as a fraction of the lag. Frames
        need not be evenly spaced.
    remove_drift
        Whether to subtract the motion of the center of mass.

    Notes
    -----
    If an origin lacks a lag, that column is NaN. Such rows are counted in the attrs of
    the output. A pair of frames never spans two runs. Positions are subtracted in
    float64 before squaring.

    The reference defines lg[r^2 / (T m^-1)] for isothermal runs, in which T has one
    value (unnumbered, in the section "Dataset preparation"). In a run whose temperature
    changes, T is that of the frame t0. The formula loses its meaning if T changes
    within the lag. Rows in which T changes by more than 5 % are kept, and counted in
    the attrs of the output as ``temperature_changes``.

    "logarithmic_mass" equals "logarithmic" plus lg T. Use it in models that predict T,
    because "logarithmic" contains the T that such a model predicts.

    The temperature is stored with the run. Set it with ``mgdask.ingest(...,
    temperature=...)`` or ``mgdask.attach``. ``plan`` raises an error if it is missing.

    References
    ----------
    Liu et al., J. Mater. Inf. 2, 20 (2022), "kNN ML: Dataset preparation".

    Examples
    --------
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
    scaling: Literal["displacement", "squared", "logarithmic", "logarithmic_mass"] = "squared"
    temperature: Positive | None = None
    missing: Literal["refuse", "nan"] = "refuse"
    tolerance: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    remove_drift: bool = False

    family: ClassVar[str] = "lag_displacement"
    long_name: ClassVar[str] = "displacement by lag time"
    citation: ClassVar[str] = "Liu et al., J. Mater. Inf. 2, 20 (2022)"

    def __post_init__(self) -> None:
        times = self.times
        if not times or any(b <= a for a, b in itertools.pairwise(times)):
            raise ParameterError(
                f"LagDisplacement: lags={self.lags} must be increasing times in ps"
            )
        if self.origins == ():
            raise ParameterError("LagDisplacement: origins=() must name at least one time in ps")

    @property
    def times(self) -> tuple[float, ...]:
        """Lag times in ps."""
        return LIU_2022 if isinstance(self.lags, str) else self.lags

    @property
    def labels(self) -> tuple[str, ...]:
        """0.01 ps, 0.02 ps, ..."""
        return tuple(f"{lag:g} ps" for lag in self.times)

    @property
    def units(self) -> tuple[str, ...]:
        """Å, Å² or, for the logarithms, 1."""
        unit = {"displacement": "Å", "squared": "Å²"}.get(self.scaling, "1")
        return (unit,) * self.n_columns

    def coordinates(self) -> dict[str, AnyArray]:
        """Return the lag times in ps as a coordinate of the columns."""
        return {f"{self.name}_lag": np.array(self.times)}

    @property
    def needs_drift(self) -> bool:
        """Whether the motion of the center of mass is subtracted."""
        return self.remove_drift

    @property
    def frame_values(self) -> tuple[str, ...]:
        """The temperature, unless it is given as a parameter."""
        return ("temperature",) if self._reads_temperature else ()

    @property
    def _reads_temperature(self) -> bool:
        return self.scaling == "logarithmic" and self.temperature is None

    def origin_frames(self, axis: FrameAxis) -> IntArray:
        """Return the frames that have rows.

        Parameters
        ----------
        axis
            Times and runs of all frames.

        Returns
        -------
        Increasing indices (origin,) of frames.

        Raises
        ------
        ParameterError
            If frames have no times, a run lacks a frame at one of ``origins``, or no
            origin has one of the lags and ``missing`` is "refuse".
        """
        check_times(axis)
        frames = self._select_origins(axis)
        if self.missing == "refuse":
            for lag in self.times:
                if (axis.laters(lag, self.tolerance)[frames] < 0).all():
                    raise ParameterError(
                        f"LagDisplacement: no frame is {lag:g} ps after any of the {len(frames)} "
                        f"origins; the nearest lag that exists is "
                        f"{axis.nearest_lag(lag, frames):g} ps. Leave the lag out, choose other "
                        "origins, or take missing='nan'"
                    )
        return frames

    def _select_origins(self, axis: FrameAxis) -> IntArray:
        if self.origins == "all":
            return np.arange(len(axis.run))
        if isinstance(self.origins, int):
            return np.concatenate(
                [np.arange(first, last, self.origins) for first, last in axis.runs()]
            )
        starts = np.array([first for first, _ in axis.runs()])
        if isinstance(self.origins, str):
            return starts
        frames = [axis.later(int(k), t, self.tolerance) for k in starts for t in self.origins]
        if min(frames) < 0:
            raise ParameterError(
                f"LagDisplacement: origins={self.origins}: not every run has a frame at each "
                "of these times in ps"
            )
        return np.unique(frames)

    def frames_needed(self, axis: FrameAxis, frame: int) -> tuple[int, ...]:
        """Return the origin and the frames at its lags."""
        later = {int(axis.laters(lag, self.tolerance)[frame]) for lag in self.times} - {-1}
        return tuple(sorted(later | {frame}))

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of a copy of the squared displacements."""
        return 24 * n_centers * self.n_columns

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return 5 ns per column."""
        return 5e-9 * self.n_columns

    def prepare(self) -> None:
        """Compile the kernel."""
        lag_rows.compile()

    def describe_trajectories(
        self, trajectories: Trajectories, origins: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (origin, atom, lag) and flag origins that lack a lag."""
        axis, path = trajectories.axis, trajectories.position
        later = np.stack([axis.laters(lag, self.tolerance)[origins] for lag in self.times], axis=1)
        to = np.where(later < 0, -1, trajectories.places(later))
        lag_rows(path, trajectories.places(origins), to, out)
        if self.scaling == "displacement":
            np.sqrt(out, out=out)
        elif self.scaling == "logarithmic":
            kelvin = self._temperatures(trajectories, origins)
            with np.errstate(divide="ignore"):
                out[...] = np.log10(out * (trajectories.mass[None, :, None] / kelvin))
        elif self.scaling == "logarithmic_mass":
            with np.errstate(divide="ignore"):
                out[...] = np.log10(out * trajectories.mass[None, :, None])
        rows = {"no_later_frame": np.asarray(later.min(axis=1) < 0)}
        if self._reads_temperature:
            rows["temperature_changes"] = self._temperature_changes(trajectories, origins, later)
        shape = (len(origins), len(path))
        return {name: np.broadcast_to(flag[:, None], shape) for name, flag in rows.items()}

    def _temperature_changes(
        self, trajectories: Trajectories, origins: IntArray, later: IntArray
    ) -> BoolArray:
        """Return whether the temperature changes within a lag, by origin (origin,)."""
        assert trajectories.temperature is not None
        start = trajectories.temperature[trajectories.places(origins)][:, None]
        end = trajectories.temperature[trajectories.places(np.maximum(later, 0))]
        change = np.where(later < 0, 0.0, np.abs(end / start - 1.0))
        return np.asarray((change > TEMPERATURE_TOLERANCE).any(axis=1))

    def _temperatures(self, trajectories: Trajectories, origins: IntArray) -> FloatArray:
        """Return the temperature (origin, 1, 1) in K."""
        if self.temperature is not None:
            kelvin = np.full(len(origins), self.temperature)
        elif trajectories.temperature is not None:
            kelvin = trajectories.temperature[trajectories.places(origins)]
        else:
            raise ParameterError(
                "LagDisplacement: scaling='logarithmic' needs temperature=, since the "
                "trajectory has no variable 'temperature'. Add it: mgdask.attach (mgdask attach)"
            )
        return kelvin[:, None, None]

    def compute(
        self,
        path: npt.ArrayLike,
        time: npt.ArrayLike,
        mass: npt.ArrayLike | None = None,
        temperature: npt.ArrayLike | None = None,
        numbers: npt.ArrayLike | None = None,
    ) -> AnyArray:
        """Compute the displacements of one run, NumPy in and out.

        Parameters
        ----------
        path
            Unwrapped positions (frame, atom, 3) in Å.
        time
            Increasing times (frame,) in ps.
        mass
            Masses (atom,) in u, needed for the logarithms and to remove drift.
        temperature
            Temperature (frame,) in K, or one for all frames.
        numbers
            Atomic numbers (atom,), for standard masses instead of ``mass``.

        Returns
        -------
        Values (origin, atom, lag).

        Raises
        ------
        ParameterError
            For wrong shapes, missing masses or temperatures, or lags that do not exist.
        """
        r = np.asarray(path, dtype=np.float64)
        if r.ndim != 3 or r.shape[2] != 3:
            raise ParameterError(f"path must be (frame, atom, 3) in Å; got shape {r.shape}")
        t = np.asarray(time, dtype=np.float64)
        if t.shape != r.shape[:1]:
            raise ParameterError(f"time must be (frame,), {len(r)} numbers; got shape {t.shape}")
        m = self._check_mass(mass, numbers, r.shape[1])
        kelvin = None if temperature is None else _check_temperature(temperature, len(t))
        axis = FrameAxis(t, np.zeros(len(t), dtype=np.int64))
        origins = self.origin_frames(axis)
        if self.remove_drift:
            r = r - np.einsum("a,fax->fx", m / m.sum(), r)[:, None]
        position = np.ascontiguousarray(r.transpose(1, 0, 2))
        out = np.empty((len(origins), r.shape[1], self.n_columns))
        self.describe_trajectories(
            Trajectories(np.arange(len(t)), position, axis, m, kelvin), origins, out
        )
        return out

    def _check_mass(
        self, mass: npt.ArrayLike | None, numbers: npt.ArrayLike | None, n_atoms: int
    ) -> FloatArray:
        if mass is None and numbers is not None:
            mass = [standard_mass(int(z)) for z in np.asarray(numbers)]
        if mass is None and (self.scaling.startswith("logarithmic") or self.remove_drift):
            raise ParameterError(
                "LagDisplacement: mass= (or numbers=) is needed for scaling='logarithmic' or "
                "'logarithmic_mass', and for remove_drift"
            )
        m = np.ones(n_atoms) if mass is None else np.asarray(mass, dtype=np.float64)
        if m.shape != (n_atoms,) or not (m > 0).all():
            raise ParameterError(
                f"mass must be (atom,), {n_atoms} positive numbers in u; got shape {m.shape}, {m}"
            )
        return m


def _check_temperature(temperature: npt.ArrayLike, n_frames: int) -> FloatArray:
    kelvin = np.asarray(temperature, dtype=np.float64)
    if kelvin.shape not in ((), (n_frames,)) or not (kelvin > 0).all():
        raise ParameterError(
            f"temperature must be (frame,), {n_frames} positive numbers in K, or one; "
            f"got shape {kelvin.shape}, {kelvin}"
        )
    return np.broadcast_to(kelvin, (n_frames,))


def check_times(axis: FrameAxis) -> None:
    """Check that frames have times, and that these increase within each run.

    Parameters
    ----------
    axis
        Times and runs of all frames.

    Raises
    ------
    ParameterError
        If they do not.
    """
    if not np.isfinite(axis.time).all():
        raise ParameterError(
            "the frames have no times; ingest with timestep= (--timestep) in ps, or give the "
            "Dataset a variable 'time' in ps"
        )
    same = axis.run[1:] == axis.run[:-1]
    if (np.diff(axis.time)[same] <= 0).any():
        k = int(np.flatnonzero(same & (np.diff(axis.time) <= 0))[0]) + 1
        raise ParameterError(
            f"times must increase within a run; frame {k} is at {axis.time[k]:g} ps "
            f"after {axis.time[k - 1]:g} ps"
        )


def lag_pairs(
    axis: FrameAxis, lags: Sequence[float], origins: IntArray, tolerance: float = 0.01
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return pairs of frames by lag, as stretches for the kernels.

    Parameters
    ----------
    axis
        Times and runs of all frames.
    lags
        Lag times in ps.
    origins
        Frames (origin,) from which lags are counted.
    tolerance
        Maximum deviation as a fraction of the lag.

    Returns
    -------
    start
        First stretch (lag+1,) of each lag.
    origin, later, length
        First pair of each stretch (run,), and its number of consecutive pairs.
    """
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
    return (
        np.array(start, dtype=np.int64),
        np.array(first, dtype=np.int64),
        np.array(second, dtype=np.int64),
        np.array(length, dtype=np.int64),
    )
