"""Analyses of motion over all atoms and many origins, by tasks over blocks of atoms: displacements, scattering, overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.errors import ParameterError, StoreError
from mgdask.execution.executor import execute, resolve_client
from mgdask.features.lag import check_times, lag_pairs
from mgdask.features.pair_cutoffs import species_of
from mgdask.features.trajectory_sums import (
    count_overlap,
    count_van_hove,
    sum_moments,
    sum_scattering,
)
from mgdask.features.window import FrameAxis
from mgdask.geometry import cell_changes
from mgdask.pipelines.featurize.block import read_axis
from mgdask.store.layout import GROUP, ceil_div, trajectory_layout
from mgdask.store.shards import open_group
from mgdask.store.unwrapped import PathSource, path_source

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]

BLOCK = 96 * 2**20
"""Bytes of the paths of one task."""
LARGEST = 600 * 2**20
"""Bytes of the paths of one task, at most, where a trajectory store has to be read a whole chunk of atoms at a time."""


def select_lags(
    axis: FrameAxis, lags: Sequence[float] | None, origins: Integer, tolerance: float
) -> tuple[float, ...]:
    """The lags asked for, each of which some origin must have; by default some 40, evenly spaced in the logarithm, up to half the longest run."""
    check_times(axis)
    if lags is None:
        first, last = max(axis.runs(), key=lambda run: run[1] - run[0])
        away = axis.time[first + 1 : last] - axis.time[first]
        if not len(away):
            raise ParameterError("every run has one frame only: there is no lag")
        away = away[: max(1, np.searchsorted(away, 0.5 * away[-1], side="right"))]
        wanted = np.geomspace(away[0], away[-1], 41)
        return tuple(
            float(t) for t in np.unique(away[np.abs(away[:, None] - wanted[None]).argmin(axis=0)])
        )
    found = tuple(float(t) for t in np.atleast_1d(np.asarray(lags, dtype=np.float64)))
    if not found or min(found) <= 0 or not np.isfinite(found).all() or (np.diff(found) <= 0).any():
        raise ParameterError(f"lags={found} must be increasing times in ps above 0")
    for lag in found:
        if (axis.laters(lag, tolerance)[origins] < 0).all():
            nearest = axis.nearest_lag(lag, origins)
            raise ParameterError(
                f"lags: no frame is {lag:g} ps after any of the {len(origins)} origins; "
                + (
                    f"the nearest lag that exists is {nearest:g} ps"
                    if np.isfinite(nearest)
                    else "no run goes on after them"
                )
            )
    return found


def select_origins(axis: FrameAxis, origins: Any) -> Integer:
    """Frames from which time is counted: "all", "first" of every run, or every n-th."""
    if origins == "all":
        return np.arange(len(axis.run))
    if origins == "first":
        return np.array([first for first, _ in axis.runs()])
    if isinstance(origins, int | np.integer) and not isinstance(origins, bool) and origins > 0:
        return np.concatenate([np.arange(first, last, origins) for first, last in axis.runs()])
    raise ParameterError(
        f"origins={origins!r} must be 'all', 'first' or every how many frames (an integer)"
    )


class _Job:
    """Where the paths are, which atoms a task takes, and how frames are paired."""

    def __init__(
        self,
        store: str | Path,
        lags: Sequence[float] | None,
        origins: Any,
        tolerance: float,
        remove_drift: bool,
    ) -> None:
        self.source, group = path_source(store)
        self.axis = read_axis(group)
        self.numbers = np.asarray(group["species"][...])
        self.names = species_of(self.numbers)
        self.origins = select_origins(self.axis, origins)
        self.lags = select_lags(self.axis, lags, self.origins, tolerance)
        self.runs = lag_pairs(self.axis, self.lags, self.origins, tolerance)
        self.tolerance, self.remove_drift = tolerance, remove_drift
        self.scheme = str(group.attrs.get("scheme", "images"))
        if self.source.kind == "trajectory":
            why = "remove_drift needs the centre of mass" if remove_drift else ""
            if cell_changes(np.asarray(group["cell"][...])):
                why = "the cell changes"
            if why:
                raise StoreError(
                    f"{store}: {why}: make a store of paths first, mgdask.unwrap({str(store)!r}, 'paths.zarr'), and use that"
                )
        self.rows = self._rows()

    def _rows(self) -> list[tuple[int, int]]:
        n, frame = self.source.n_atoms, 24 * self.source.n_frames
        size = max(1, BLOCK // (frame * GROUP)) * GROUP
        if self.source.kind == "trajectory":
            wide = ceil_div(min(n, trajectory_layout(n).chunk_atoms), GROUP) * GROUP
            size = max(size, wide)
            if min(size, n) * frame > LARGEST:
                raise StoreError(
                    f"{self.source.store}: all {self.source.n_frames} frames of a chunk of atoms take {min(size, n) * frame / 2**20:.0f} MiB: make a "
                    f"store of paths first, mgdask.unwrap({self.source.store!r}, 'paths.zarr'), and use that"
                )
        return [(first, min(first + size, n)) for first in range(0, n, size)]

    def run(
        self,
        function: Callable[..., dict[str, Any]],
        arguments: tuple[Any, ...],
        what: str,
        client: Any,
        progress: bool,
    ) -> list[Any]:
        """Results of all tasks, in the order of the atoms."""
        names = [f"atoms {first} to {last - 1}" for first, last in self.rows]
        common = (self.source, self.names, self.remove_drift)
        tasks = [
            (name, (*common, first, last, *arguments))
            for name, (first, last) in zip(names, self.rows, strict=True)
        ]
        with resolve_client(client) as workers:
            outcome = execute(workers, function, tasks, what=what, unit="tasks", progress=progress)
        return [outcome.results[name]["found"] for name in names]

    def pairs(self) -> Integer:
        """Pairs of frames of each lag."""
        start, _, _, length = self.runs
        return np.array([int(length[a:b].sum()) for a, b in pairwise(start)])

    def atoms(self) -> Integer:
        """Atoms of each species."""
        return np.array([int((self.numbers == z).sum()) for z in np.unique(self.numbers)])

    def dataset(self, variables: dict[str, Any], **coordinates: Any) -> xr.Dataset:
        """Labelled results."""
        return xr.Dataset(
            variables
            | {
                "pairs": ("lag", self.pairs(), {"long_name": "pairs of frames"}),
                "atoms": ("species", self.atoms()),
            },
            coords={
                "lag": ("lag", np.array(self.lags), {"units": "ps"}),
                "species": list(self.names),
                **coordinates,
            },
            attrs={
                "input": self.source.store,
                "scheme": self.scheme,
                "origins": len(self.origins),
                "drift_removed": int(self.remove_drift),
            },
        )


def _paths(
    source: PathSource, names: Sequence[str], remove_drift: bool, first: int, last: int
) -> tuple[Float, Integer]:
    frames = np.arange(source.n_frames)
    path = source.read(frames, first, last)
    if remove_drift:
        path -= source.drift(frames)[None]
    from mgdask.elements import atomic_number

    numbers = np.asarray(open_group(source.store)["species"][first:last])
    return path, np.searchsorted([atomic_number(name) for name in names], numbers).astype(np.int64)


def _moments(
    source: PathSource, names: Any, drift: bool, first: int, last: int, runs: Any
) -> dict[str, Any]:
    path, slot = _paths(source, names, drift, first, last)
    return {"found": sum_moments(path, runs, slot, len(names))}


def _scattering(
    source: PathSource, names: Any, drift: bool, first: int, last: int, runs: Any, q: Float
) -> dict[str, Any]:
    path, slot = _paths(source, names, drift, first, last)
    return {"found": sum_scattering(path, runs, slot, len(names), q)}


def _van_hove(
    source: PathSource,
    names: Any,
    drift: bool,
    first: int,
    last: int,
    runs: Any,
    width: float,
    bins: int,
) -> dict[str, Any]:
    path, slot = _paths(source, names, drift, first, last)
    return {"found": count_van_hove(path, runs, slot, len(names), width, bins)}


def _overlap(
    source: PathSource,
    names: Any,
    drift: bool,
    first: int,
    last: int,
    origins: Integer,
    later: Integer,
    radius: float,
) -> dict[str, Any]:
    path, slot = _paths(source, names, drift, first, last)
    return {"found": count_overlap(path, origins, later, slot, len(names), radius)}


def mean_squared_displacement(
    store: str | Path,
    *,
    lags: Sequence[float] | None = None,
    origins: Any = "all",
    remove_drift: bool = False,
    tolerance: float = 0.01,
    client: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """Mean squared displacement and non-Gaussian parameter of each species and of all atoms, over many origins.

        msd(lag) = <|r(t0 + lag) - r(t0)|^2>,     alpha_2(lag) = 3 <r^4> / (5 <r^2>^2) - 1     over atoms and origins t0

    Parameters
    ----------
    store: of paths, as ``unwrap`` makes it; or a trajectory store whose cell does not change. lags: ps; default some 40 up to half the longest run.
    origins: "all" frames, "first" of every run, or every how many frames. remove_drift: take the motion of the centre of mass away.
    tolerance: a frame counts as the one at a lag if it is off by no more than this share of the lag. client, progress: as of ``run``.

    Returns a Dataset with msd(species, lag) and msd_all(lag) in Å², non_gaussian and non_gaussian_all, pairs(lag) of frames. Displacements are
    subtracted in float64, then squared; the sums are the same to the bit whatever the workers. ``ParameterError`` for lags that do not exist,
    ``StoreError`` where paths must be made first.

    >>> msd = mgdask.mean_squared_displacement("paths.zarr")                 # doctest: +SKIP
    """
    job = _Job(store, lags, origins, tolerance, remove_drift)
    sums = np.concatenate(job.run(_moments, (job.runs,), "displacements", client, progress)).sum(
        axis=0
    )
    terms = job.atoms()[:, None] * job.pairs()
    with np.errstate(invalid="ignore", divide="ignore"):
        square, fourth = sums[..., 0] / terms, sums[..., 1] / terms
        all_square, all_fourth = (
            sums[..., 0].sum(axis=0) / terms.sum(axis=0),
            sums[..., 1].sum(axis=0) / terms.sum(axis=0),
        )
        alpha, all_alpha = 0.6 * fourth / square**2 - 1.0, 0.6 * all_fourth / all_square**2 - 1.0
    msd, ngp = (
        {"units": "Å²", "long_name": "mean squared displacement"},
        {"units": "1", "long_name": "non-Gaussian parameter"},
    )
    return job.dataset(
        {
            "msd": (("species", "lag"), square, msd),
            "msd_all": ("lag", all_square, msd),
            "non_gaussian": (("species", "lag"), alpha, ngp),
            "non_gaussian_all": ("lag", all_alpha, ngp),
        }
    )


def self_scattering(
    store: str | Path,
    q: Sequence[float] | float,
    *,
    lags: Sequence[float] | None = None,
    origins: Any = "all",
    remove_drift: bool = False,
    tolerance: float = 0.01,
    client: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """Self-intermediate scattering function of each species and of all atoms, averaged over all directions of q.

        F_s(q, lag) = <sin(q d) / (q d)>,     d = |r(t0 + lag) - r(t0)|     over atoms and origins t0

    Parameters: ``q`` in 1/Å, one or several; the others as of ``mean_squared_displacement``.

    Returns a Dataset with fs(species, lag, q) and fs_all(lag, q). The average over directions is that of an isotropic medium; for a
    sheared or stretched one it is not what a scattering experiment in one direction sees.

    >>> fs = mgdask.self_scattering("paths.zarr", 2.7)                         # doctest: +SKIP
    """
    waves = np.atleast_1d(np.asarray(q, dtype=np.float64))
    if waves.ndim != 1 or not len(waves) or not np.isfinite(waves).all() or (waves <= 0).any():
        raise ParameterError(f"q={q!r} must be wave numbers in 1/Å above 0")
    job = _Job(store, lags, origins, tolerance, remove_drift)
    sums = np.concatenate(
        job.run(_scattering, (job.runs, waves), "scattering", client, progress)
    ).sum(axis=0)
    terms = (job.atoms()[:, None] * job.pairs())[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        each, everything = sums / terms, sums.sum(axis=0) / terms.sum(axis=0)
    text = {"units": "1", "long_name": "self-intermediate scattering function"}
    return job.dataset(
        {"fs": (("species", "lag", "q"), each, text), "fs_all": (("lag", "q"), everything, text)},
        q=("q", waves, {"units": "1/Å"}),
    )


def van_hove(
    store: str | Path,
    *,
    lags: Sequence[float],
    r_max: float = 5.0,
    bins: int = 250,
    origins: Any = "all",
    remove_drift: bool = False,
    tolerance: float = 0.01,
    client: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """Self part of the van Hove function: how far atoms have gone after a lag.

        4 pi d^2 G_s(d, lag) = probability density of the distance d = |r(t0 + lag) - r(t0)|

    Parameters: ``r_max`` Å and ``bins``, equal bins from 0; the others as of ``mean_squared_displacement``.

    Returns a Dataset with density(species, lag, r) in 1/Å (it sums, times the width, to 1 less what is beyond r_max), count(species, lag, r) in whole
    numbers, beyond(species, lag) the share of what is farther.

    >>> mgdask.van_hove("paths.zarr", lags=[1.0, 10.0]).density.plot(x="r", hue="lag")  # doctest: +SKIP
    """
    if not 0 < r_max < np.inf or bins < 1:
        raise ParameterError(
            f"r_max={r_max} must be a distance in Å above 0, bins={bins} at least 1"
        )
    job = _Job(store, lags, origins, tolerance, remove_drift)
    width = r_max / bins
    counts = sum(job.run(_van_hove, (job.runs, width, bins + 1), "van Hove", client, progress))
    terms = (job.atoms()[:, None] * job.pairs())[..., None]
    dims = ("species", "lag", "r")
    with np.errstate(invalid="ignore", divide="ignore"):
        share = counts / terms
    return job.dataset(
        {
            "density": (
                dims,
                share[..., :-1] / width,
                {"units": "1/Å", "long_name": "probability density of the distance gone"},
            ),
            "count": (dims, counts[..., :-1], {"units": "1"}),
            "beyond": (dims[:2], share[..., -1], {"units": "1"}),
        },
        r=("r", (np.arange(bins) + 0.5) * width, {"units": "Å"}),
    )


def overlap(
    store: str | Path,
    *,
    radius: float = 1.0,
    lags: Sequence[float] | None = None,
    origins: Any = None,
    remove_drift: bool = False,
    tolerance: float = 0.01,
    client: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """Overlap function Q(lag), the share of atoms that are still near, and its variance chi_4(lag) over origins.

        Q(t0, lag) = 1/N sum_i [|r_i(t0 + lag) - r_i(t0)| < radius],   chi_4 = N (<Q^2> - <Q>^2)     means over origins t0

    Parameters: ``radius`` in Å (0.3 of the distance of neighbours is usual); ``origins`` as of ``mean_squared_displacement``, default at
    most 100 evenly spaced frames of each run; the others as there.

    Returns a Dataset with overlap(species, lag), chi4(species, lag), overlap_all, chi4_all. With few origins chi_4 is noise: see ``pairs``.
    Source: Lačević, Starr, Schrøder, Glotzer, J. Chem. Phys. 119, 7372 (2003).

    >>> mgdask.overlap("paths.zarr", radius=0.8).chi4_all.plot(xscale="log")      # doctest: +SKIP
    """
    if not 0 < radius < np.inf:
        raise ParameterError(f"radius={radius} must be a distance in Å above 0")
    if origins is None:
        longest = max(last - first for first, last in read_axis(path_source(store)[1]).runs())
        origins = max(1, ceil_div(longest, 100))
    job = _Job(store, lags, origins, tolerance, remove_drift)
    later = np.stack([job.axis.laters(lag, tolerance)[job.origins] for lag in job.lags], axis=1)
    counts = sum(
        job.run(_overlap, (job.origins, later, radius), "overlap", client, progress)
    ).astype(np.float64)
    counts[:, later < 0] = np.nan
    found, n = {}, job.atoms()
    text = {
        "overlap": {"units": "1", "long_name": "overlap function"},
        "chi4": {"units": "1", "long_name": "four-point susceptibility"},
    }
    with np.errstate(invalid="ignore"), _quiet():
        for end, share, atoms in (
            ("", counts / n[:, None, None], n[:, None]),
            ("_all", counts.sum(axis=0) / n.sum(), n.sum()),
        ):
            dims = ("species", "lag") if not end else ("lag",)
            found[f"overlap{end}"] = (dims, np.nanmean(share, axis=-2), text["overlap"])
            found[f"chi4{end}"] = (dims, atoms * np.nanvar(share, axis=-2), text["chi4"])
    return job.dataset(found).assign_attrs(radius=radius)


def _quiet() -> Any:
    import warnings

    context = warnings.catch_warnings()
    warnings.simplefilter("ignore", category=RuntimeWarning)
    return context
