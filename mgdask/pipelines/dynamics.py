"""Dynamics of atoms: displacements, scattering, van Hove function, overlap.

Averages are over atoms and time origins. Each task sums over a block of atoms. All four
functions take an unwrapped trajectory made by ``mgdask.unwrap``, or a trajectory store
with a constant cell.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.features.trajectory_sums import Runs as Pairs
from mgdask.features.trajectory_sums import (
    count_overlap,
    count_van_hove,
    sum_moments,
    sum_scattering,
)
from mgdask.pipelines.lag_tasks import LagTasks, Origins, Runs, select_dynamic_runs
from mgdask.store.layout import ceil_div

if TYPE_CHECKING:
    from distributed import Client

N_OVERLAP_ORIGINS = 100
"""Default maximum number of origins per run for the overlap function."""


def mean_squared_displacement(
    store: str | Path,
    *,
    lags: Sequence[float] | None = None,
    origins: Origins = "all",
    remove_drift: bool = False,
    tolerance: float = 0.01,
    run: Runs = None,
    regions: int | None = None,
    trust: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute the mean squared displacement and the non-Gaussian parameter.

        msd(lag) = <|r(t0 + lag) - r(t0)|^2>
        alpha_2(lag) = 3 <r^4> / (5 <r^2>^2) - 1

    Averages are over the atoms of a species, or all atoms, and over origins t0.

    Parameters
    ----------
    store
        An unwrapped trajectory, or a trajectory store with a constant cell.
    lags
        Lags in ps. Default: about 40 on a logarithmic scale, up to half the longest
        run.
    origins
        "all" frames, the "first" of each run, or every n-th.
    remove_drift
        Subtract the motion of the center of mass.
    tolerance
        Largest deviation of a frame from a lag, as a fraction of the lag. The mean lag
        of the pairs that were averaged is the coordinate ``mean_lag``.
    run
        Label of the run, or several. Default: all runs, which must not be at different
        temperatures.
    regions
        Also return samples for standard errors: one per run and region, with this many
        regions along each cell vector. It doubles the work.
    trust
        Read the store without comparing its files with their records. A damaged file
        may then give wrong values.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    msd
        A Dataset with msd(species, lag) and msd_all(lag) in Å², non_gaussian(species,
        lag) and non_gaussian_all(lag), pairs(lag) of frames and atoms(species). The
        coordinate ``lag`` is the requested lag, ``mean_lag`` the mean of the pairs.
        With ``regions`` also msd_sample(sample, species, lag) and
        msd_all_sample(sample, lag). The attributes name the runs, and their temperature
        in K if it is known and constant within 5 %.

    Raises
    ------
    ParameterError
        If no frame follows an origin at a lag, or there is no such run. Also if all
        runs are selected and have different temperatures.
    StoreError
        If the trajectory has to be unwrapped first.

    Notes
    -----
    Displacements are subtracted in float64, then squared. The sums are bit-identical
    for any number of workers.

    Atoms that are neighbors move together. The samples are independent if regions are
    wider than the distance over which motion is correlated, about 10 Å. At least 16
    samples give reliable errors: ``regions=3`` gives 27 per run. Their mean is the
    average. A sample is ``mean + m (sum_k - n_k mean) / n``, where sum_k has n_k of all
    n terms, and m is the number of samples. For all atoms, the differences of the
    species are added. Pass the samples to ``fit_diffusion`` as
    ``samples``.

    References
    ----------
    Rahman, Phys. Rev. 136, A405 (1964).

    Examples
    --------
    >>> msd = mgdask.mean_squared_displacement("unwrapped.zarr")  # doctest: +SKIP
    """
    _check_regions(regions)
    tasks = LagTasks(store, lags, origins, tolerance, remove_drift, run, trust)
    blocks = tasks.run(
        sum_moments, tasks.pairs, (), what="displacements", client=client, progress=progress
    )
    sums = np.concatenate(blocks).sum(axis=0)
    n_terms = tasks.n_terms()
    with np.errstate(invalid="ignore", divide="ignore"):
        second, fourth = sums[..., 0] / n_terms, sums[..., 1] / n_terms
        second_all = sums[..., 0].sum(axis=0) / n_terms.sum(axis=0)
        fourth_all = sums[..., 1].sum(axis=0) / n_terms.sum(axis=0)
        alpha = 0.6 * fourth / second**2 - 1.0
        alpha_all = 0.6 * fourth_all / second_all**2 - 1.0
    msd_attrs = {"units": "Å²", "long_name": "mean squared displacement"}
    alpha_attrs = {"units": "1", "long_name": "non-Gaussian parameter"}
    samples = {}
    if regions is not None:
        found = tasks.samples(
            _sum_squares,
            (),
            np.concatenate([second, second_all[None]]),
            regions,
            what="displacements",
            client=client,
            progress=progress,
        )
        samples = _sample_variables("msd", found, ("lag",), msd_attrs)
    return tasks.dataset(
        {
            **samples,
            "msd": (("species", "lag"), second, msd_attrs),
            "msd_all": ("lag", second_all, msd_attrs),
            "non_gaussian": (("species", "lag"), alpha, alpha_attrs),
            "non_gaussian_all": ("lag", alpha_all, alpha_attrs),
        }
    )


def self_scattering(
    store: str | Path,
    q: Sequence[float] | float,
    *,
    lags: Sequence[float] | None = None,
    origins: Origins = "all",
    remove_drift: bool = False,
    tolerance: float = 0.01,
    run: Runs = None,
    regions: int | None = None,
    trust: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute the self-intermediate scattering function.

        F_s(q, lag) = <sin(q d) / (q d)>,     d = |r(t0 + lag) - r(t0)|

    Averages are over the directions of q, over the atoms of a species, or all atoms,
    and over origins t0.

    Parameters
    ----------
    store
        An unwrapped trajectory, or a trajectory store with a constant cell.
    q
        One or several wave numbers in 1/Å.
    lags, origins, remove_drift, tolerance, run, regions, trust, client, progress
        See ``mean_squared_displacement``.

    Returns
    -------
    fs
        A Dataset with fs(species, lag, q), fs_all(lag, q), pairs(lag) and
        atoms(species). With ``regions`` also fs_sample(sample, species, lag, q) and
        fs_all_sample(sample, lag, q), for ``relaxation_time`` and ``fit_kohlrausch``.

    Raises
    ------
    ParameterError
        If a wave number is not positive, or no frame follows an origin at a lag.
    StoreError
        If the trajectory has to be unwrapped first.

    Notes
    -----
    The average over directions is valid for an isotropic medium. In a sheared or
    stretched medium it differs from scattering in one direction.

    Examples
    --------
    >>> fs = mgdask.self_scattering("unwrapped.zarr", 2.7)  # doctest: +SKIP
    """
    wave_numbers = np.atleast_1d(np.asarray(q, dtype=np.float64))
    if (
        wave_numbers.ndim != 1
        or not len(wave_numbers)
        or not np.isfinite(wave_numbers).all()
        or (wave_numbers <= 0).any()
    ):
        raise ParameterError(f"q={q!r} must be wave numbers in 1/Å above 0")
    _check_regions(regions)
    tasks = LagTasks(store, lags, origins, tolerance, remove_drift, run, trust)
    blocks = tasks.run(
        sum_scattering,
        tasks.pairs,
        (wave_numbers,),
        what="scattering",
        client=client,
        progress=progress,
    )
    sums = np.concatenate(blocks).sum(axis=0)
    n_terms = tasks.n_terms()[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        fs, fs_all = sums / n_terms, sums.sum(axis=0) / n_terms.sum(axis=0)
    attrs = {"units": "1", "long_name": "self-intermediate scattering function"}
    samples = {}
    if regions is not None:
        found = tasks.samples(
            sum_scattering,
            (wave_numbers,),
            np.concatenate([fs, fs_all[None]]),
            regions,
            what="scattering",
            client=client,
            progress=progress,
        )
        samples = _sample_variables("fs", found, ("lag", "q"), attrs)
    return tasks.dataset(
        {
            **samples,
            "fs": (("species", "lag", "q"), fs, attrs),
            "fs_all": (("lag", "q"), fs_all, attrs),
        },
        q=("q", wave_numbers, {"units": "1/Å"}),
    )


def van_hove(
    store: str | Path,
    *,
    lags: Sequence[float],
    r_max: float = 5.0,
    bins: int = 250,
    origins: Origins = "all",
    remove_drift: bool = False,
    tolerance: float = 0.01,
    run: Runs = None,
    trust: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute the self part of the van Hove function.

        4 pi d^2 G_s(d, lag) = probability density of d = |r(t0 + lag) - r(t0)|

    Parameters
    ----------
    store
        An unwrapped trajectory, or a trajectory store with a constant cell.
    lags
        Lags in ps.
    r_max
        Largest distance in Å.
    bins
        Number of bins of equal width between 0 and ``r_max``.
    origins, remove_drift, tolerance, run, trust, client, progress
        See ``mean_squared_displacement``.

    Returns
    -------
    distribution
        A Dataset with density(species, lag, r) in 1/Å, count(species, lag, r),
        beyond(species, lag), the fraction of distances above ``r_max``, pairs(lag) and
        atoms(species). The density times the bin width sums to 1 - beyond.

    Raises
    ------
    ParameterError
        If ``r_max`` or ``bins`` are out of range, or no frame follows an origin at a
        lag.
    StoreError
        If the trajectory has to be unwrapped first.

    References
    ----------
    van Hove, Phys. Rev. 95, 249 (1954).

    Examples
    --------
    >>> hop = mgdask.van_hove("unwrapped.zarr", lags=[1.0, 10.0])  # doctest: +SKIP
    >>> hop.density.plot(x="r", hue="lag")  # doctest: +SKIP
    """
    if not 0 < r_max < np.inf or bins < 1:
        raise ParameterError(
            f"r_max={r_max} must be a distance in Å above 0, bins={bins} at least 1"
        )
    tasks = LagTasks(store, lags, origins, tolerance, remove_drift, run, trust)
    width = r_max / bins
    blocks = tasks.run(
        count_van_hove,
        tasks.pairs,
        (width, bins + 1),
        what="van Hove",
        client=client,
        progress=progress,
    )
    counts: IntArray = np.sum(blocks, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = counts / tasks.n_terms()[..., None]
    dims = ("species", "lag", "r")
    density_attrs = {"units": "1/Å", "long_name": "probability density of the distance"}
    return tasks.dataset(
        {
            "density": (dims, fraction[..., :-1] / width, density_attrs),
            "count": (dims, counts[..., :-1], {"units": "1"}),
            "beyond": (dims[:2], fraction[..., -1], {"units": "1"}),
        },
        r=("r", (np.arange(bins) + 0.5) * width, {"units": "Å"}),
    )


def overlap(
    store: str | Path,
    *,
    radius: float = 1.0,
    lags: Sequence[float] | None = None,
    origins: Origins | None = None,
    remove_drift: bool = False,
    tolerance: float = 0.01,
    run: Runs = None,
    trust: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute the overlap function Q(lag) and its variance chi_4(lag) over origins.

        Q(t0, lag) = 1/N sum_i [|r_i(t0 + lag) - r_i(t0)| < radius],
        chi_4 = N (<Q^2> - <Q>^2)

    Q is the fraction of atoms that moved less than ``radius``. Averages are over
    origins t0. A lag with a single origin has no variance: its chi_4 is NaN.

    Parameters
    ----------
    store
        An unwrapped trajectory, or a trajectory store with a constant cell.
    radius
        Distance in Å. About 0.3 of the nearest-neighbor distance is usual.
    lags
        Lags in ps, as in ``mean_squared_displacement``.
    origins
        "all" frames, the "first" of each run, or every n-th. Default: at most 100
        evenly spaced frames of each run.
    remove_drift, tolerance, run, trust, client, progress
        See ``mean_squared_displacement``.

    Returns
    -------
    overlap
        A Dataset with overlap(species, lag) and chi4(species, lag), overlap_all(lag),
        chi4_all(lag), pairs(lag) and atoms(species).

    Raises
    ------
    ParameterError
        If ``radius`` is not positive, or no frame follows an origin at a lag.
    StoreError
        If the trajectory has to be unwrapped first.

    Notes
    -----
    With few origins, chi_4 is dominated by noise. ``pairs`` holds their number. The
    variance of n independent origins is too small by a factor of 1 - 1 / n.

    References
    ----------
    Lačević, Starr, Schrøder, Glotzer, J. Chem. Phys. 119, 7372 (2003).

    Examples
    --------
    >>> overlap = mgdask.overlap("unwrapped.zarr", radius=0.8)  # doctest: +SKIP
    >>> overlap.chi4_all.plot(xscale="log")  # doctest: +SKIP
    """
    if not 0 < radius < np.inf:
        raise ParameterError(f"radius={radius} must be a distance in Å above 0")
    if origins is None:
        longest = max(len(each.frames) for each in select_dynamic_runs(store, run))
        origins = max(1, ceil_div(longest, N_OVERLAP_ORIGINS))
    tasks = LagTasks(store, lags, origins, tolerance, remove_drift, run, trust)
    later = np.stack(
        [tasks.axis.laters(lag, tolerance)[tasks.origins] for lag in tasks.lags], axis=1
    )
    blocks = tasks.run(
        _count_overlap,
        (tasks.origins, later),
        (radius,),
        what="overlap",
        client=client,
        progress=progress,
    )
    counts = np.sum(blocks, axis=0).astype(np.float64)
    counts[:, later < 0] = np.nan
    n_atoms = tasks.n_atoms
    each, each_chi4 = _mean_and_variance(counts / n_atoms[:, None, None], n_atoms[:, None])
    total, total_chi4 = _mean_and_variance(counts.sum(axis=0) / n_atoms.sum(), n_atoms.sum())
    overlap_attrs = {"units": "1", "long_name": "overlap function"}
    chi4_attrs = {"units": "1", "long_name": "four-point susceptibility"}
    return tasks.dataset(
        {
            "overlap": (("species", "lag"), each, overlap_attrs),
            "chi4": (("species", "lag"), each_chi4, chi4_attrs),
            "overlap_all": ("lag", total, overlap_attrs),
            "chi4_all": ("lag", total_chi4, chi4_attrs),
        }
    ).assign_attrs(radius=radius)


def _check_regions(regions: int | None) -> None:
    if regions is not None and not (
        isinstance(regions, int | np.integer) and not isinstance(regions, bool) and regions > 1
    ):
        raise ParameterError(
            f"regions={regions!r} must be a number of regions along each cell vector, 2 or more; "
            "None for no samples"
        )


def _sum_squares(position: FloatArray, pairs: Pairs, slot: IntArray, n_species: int) -> FloatArray:
    """Sum d^2 by groups of 256 atoms."""
    return sum_moments(position, pairs, slot, n_species)[..., 0]


def _sample_variables(
    name: str, samples: FloatArray, dims: tuple[str, ...], attrs: dict[str, str]
) -> dict[str, Any]:
    """Return samples (sample, species+1, ...) as variables by species and of all."""
    return {
        f"{name}_sample": (("sample", "species", *dims), samples[:, :-1], attrs),
        f"{name}_all_sample": (("sample", *dims), samples[:, -1], attrs),
    }


def _count_overlap(
    position: FloatArray,
    pairs: tuple[IntArray, IntArray],
    slot: IntArray,
    n_species: int,
    radius: float,
) -> IntArray:
    return count_overlap(position, *pairs, slot, n_species, radius)


def _mean_and_variance(
    fraction: FloatArray, n_atoms: IntArray | int
) -> tuple[FloatArray, FloatArray]:
    """Return mean and scaled variance over origins, the second-to-last axis.

    The variance of a single origin is NaN.
    """
    with np.errstate(invalid="ignore"), _without_runtime_warnings():
        mean, variance = np.nanmean(fraction, axis=-2), np.nanvar(fraction, axis=-2)
    variance[np.isfinite(fraction).sum(axis=-2) < 2] = np.nan
    return mean, n_atoms * variance


@contextmanager
def _without_runtime_warnings() -> Iterator[None]:
    """Silence NumPy's warning for a lag without origins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=RuntimeWarning)
        yield
