"""Chemical order of groups of atoms, and correlation of a score with later motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import rankdata

from mgdask._typing import BoolArray, FloatArray
from mgdask.analysis.estimate import as_vector, error_attrs, weighted_pearson
from mgdask.analysis.groups import Groups, atomic_numbers, masks_of
from mgdask.elements import atomic_number
from mgdask.errors import ParameterError

_BATCH_WEIGHTS = 2_000_000
"""Number of bootstrap weights held at a time."""


STRONG, WEAK = 0.09, 0.03
"""Thresholds of double and of single signs in Liu X. et al. 2022, Fig. 5C."""


def signs(
    deviation: npt.ArrayLike, strong: float = STRONG, weak: float = WEAK
) -> npt.NDArray[np.str_]:
    """Classify deviations of chemical order from the whole by sign.

    Parameters
    ----------
    deviation
        Order parameter -alpha of a group minus that of the whole, any shape.
    strong
        Threshold above which the sign is '++' (below its negative, '--').
    weak
        Threshold from which the sign is '+' (or '-', for its negative). Smaller
        deviations have the sign '0'.

    Returns
    -------
    sign
        Text of the same shape; empty for NaN.

    Raises
    ------
    ParameterError
        Unless 0 <= ``weak`` < ``strong``.

    References
    ----------
    Liu X. et al., J. Mater. Inf. 2, 20 (2022), Fig. 5C. There the signs show how a
    group deviates from the total average. "0" is a change below 0.03; a double sign is
    a change above 0.09.

    Examples
    --------
    >>> signs([0.3, 0.05, -0.01, -0.03, -0.5]).tolist()
    ['++', '+', '0', '-', '--']
    """
    if not 0.0 <= weak < strong:
        raise ParameterError(
            f"weak={weak} and strong={strong} must obey 0 <= weak < strong; "
            f"{WEAK} and {STRONG} are the defaults"
        )
    x = np.asarray(deviation, dtype=np.float64)
    changed = np.abs(x) >= weak
    conditions = [np.isnan(x), x > strong, changed & (x > 0), x < -strong, changed & (x < 0)]
    return np.select(conditions, ["", "++", "+", "--", "-"], default="0").astype(np.str_)


def cargill_spaepen(
    counts: npt.ArrayLike,
    numbers: npt.ArrayLike,
    species: Sequence[str],
    groups: Groups,
    *,
    whole: npt.ArrayLike | None = None,
    strong: float = STRONG,
    weak: float = WEAK,
) -> xr.Dataset:
    """Compute the Cargill-Spaepen order around the atoms of groups and of the whole.

    The order parameter of B around A is::

        -alpha_A(B) = (Z_A(B) - f_B Z_A) / (f_B Z_A)

    Z_A(B) is the mean number of B neighbors of the A atoms in a group. The neighbors
    themselves may be in any group. Z_A is the sum of Z_A(B) over B. f_B is the fraction
    of B among all atoms of the whole. The order parameter is positive if these A atoms
    prefer B as neighbors. Signs describe the deviation of a group from the whole::

        deviation = -alpha_A(B) of the group - (-alpha_A(B)) of the whole

    Parameters
    ----------
    counts
        Number of neighbors of each atom by species, shape (atom, species). Rows with
        NaN are left out of the means, but counted in f_B.
    numbers
        Atomic numbers, shape (atom,).
    species
        Symbols of the columns of ``counts``.
    groups
        Masks (atom,) by name, as in ``composition``.
    whole
        Mask (atom,) of the atoms to compare with. All atoms by default.
    strong
        Deviation above which the sign is double; see ``signs``.
    weak
        Smallest deviation that has a sign; see ``signs``.

    Returns
    -------
    order, order_error (group, species, neighbor_species)
        Order parameter and its standard error. The first group is "whole".
    deviation, deviation_error (group, species, neighbor_species)
        Deviation from the whole and its standard error; both are 0 for the whole.
    sign (group, species, neighbor_species)
        Sign of the deviation; "0" for the whole and for groups that are equal to it.
    count (group, species)
        Number of atoms in the mean.

    Raises
    ------
    ParameterError
        If arrays do not fit together or a species has no atom.

    Notes
    -----
    Valid if a group has many atoms of the species; values are NaN if it has none. For a
    single group of all atoms, ``order`` equals that of ``mgdask.cargill_spaepen``. The
    error is first order. With r = Z_A(B) / Z_A, it is the error of the mean of n_i(B) -
    r n_i over the A atoms, divided by f_B Z_A. The error of the deviation accounts for
    the group being a part of the whole: group and rest are treated as independent
    samples. Signs ignore errors: a deviation of 0.03 with an error of 0.05 still has a
    sign.

    References
    ----------
    Order: Cargill, Spaepen, J. Non-Cryst. Solids 43, 91 (1981); Liu X. et al., J.
    Mater. Inf. 2, 20 (2022), Eq. (6). Signs: Fig. 5C there.

    Examples
    --------
    >>> n = np.array([[6, 6], [6, 6], [8, 4], [8, 4]])
    >>> z, groups = np.array([29, 29, 40, 40]), {"half": np.arange(4) % 2 == 0}
    >>> n[2] = [9, 3]
    >>> result = cargill_spaepen(n, z, ("Cu", "Zr"), groups)
    >>> result.order.sel(group="whole").values.round(3).tolist()
    [[0.0, 0.0], [0.417, -0.417]]
    >>> result.sign.sel(group="half").values.tolist()
    [['0', '0'], ['+', '-']]
    """
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 2 or n.shape[1] != len(species):
        raise ParameterError(
            f"counts has shape {n.shape}; it must be (atom, {len(species)}), one column per species"
        )
    z = atomic_numbers(numbers, len(n))
    names, masks, whole_mask = masks_of(groups, whole, len(n))
    if "whole" in names:
        raise ParameterError(
            "a group cannot be called 'whole', which stands for all atoms; give it another name"
        )
    kinds = [atomic_number(s) for s in species]
    fraction = np.array([(z[whole_mask] == k).mean() if whole_mask.any() else 0.0 for k in kinds])
    if (fraction == 0).any():
        missing = [s for s, f in zip(species, fraction, strict=True) if f == 0]
        raise ParameterError(
            f"species {', '.join(missing)} has no atom in whole; leave it out of species and counts"
        )
    names, masks = ["whole", *names], [whole_mask, *masks]
    complete = np.isfinite(n).all(axis=1)
    shape = (len(masks), len(species), len(species))
    order, error, deviation_error = (np.full(shape, np.nan) for _ in range(3))
    size = np.zeros(shape[:2], dtype=np.int64)
    for g, mask in enumerate(masks):
        for a, kind in enumerate(kinds):
            of_kind = whole_mask & complete & (z == kind)
            rows, rest = n[mask & of_kind], n[~mask & of_kind]
            size[g, a] = len(rows)
            order[g, a], error[g, a] = _order_of_rows(rows, fraction)
            deviation_error[g, a] = _deviation_error(rows, rest, fraction)
    deviation = order - order[:1]
    one = {"units": "1"}
    deviation_name = {"long_name": "order minus that of the whole"}
    few = "fewer than 2 atoms of the species in the group, or no neighbors"
    error_name = error_attrs("standard error of order", error, few)
    deviation_error_name = error_attrs("standard error of deviation", deviation_error, few)
    dims = ("group", "species", "neighbor_species")
    return xr.Dataset(
        {
            "order": (dims, order, {"units": "1", "long_name": "Cargill-Spaepen order, -alpha"}),
            "order_error": (dims, error, error_name),
            "deviation": (dims, deviation, one | deviation_name),
            "deviation_error": (dims, deviation_error, deviation_error_name),
            "sign": (dims, signs(deviation, strong, weak)),
            "count": (dims[:2], size, {"units": "1", "long_name": "atoms in the mean"}),
        },
        coords={"group": names, "species": list(species), "neighbor_species": list(species)},
        attrs={"strong": strong, "weak": weak, "source": "J. Mater. Inf. 2, 20 (2022), Eq. 6"},
    )


def _order_of_rows(rows: FloatArray, fraction: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Order and its error (species,) from the neighbor counts of one species."""
    order, error = np.full(len(fraction), np.nan), np.full(len(fraction), np.nan)
    m = len(rows)
    mean = rows.mean(axis=0) if m else np.zeros(len(fraction))
    if mean.sum() == 0:
        return order, error
    random = fraction * mean.sum()
    order = (mean - random) / random
    if m > 1:
        residual = rows - mean / mean.sum() * rows.sum(axis=1, keepdims=True)
        error = np.sqrt((residual**2).sum(axis=0) / (m * (m - 1))) / random
    return order, error


def _deviation_error(rows: FloatArray, rest: FloatArray, fraction: FloatArray) -> FloatArray:
    """Return the error (species,) of the order of ``rows`` minus that of all rows."""
    if not len(rest):
        return np.zeros(len(fraction)) if len(rows) else np.full(len(fraction), np.nan)
    if len(rows) < 2 or len(rest) < 2 or not rows.any():
        return np.full(len(fraction), np.nan)

    def influence(sample: FloatArray, of: FloatArray) -> FloatArray:
        """Return the influence of the rows ``of`` on Z_A(B) / Z_A of ``sample``."""
        mean = sample.mean(axis=0)
        residual = of - mean / mean.sum() * of.sum(axis=1, keepdims=True)
        return np.asarray(residual / (mean.sum() * len(sample)))

    everyone = np.concatenate([rows, rest])
    parts = (influence(rows, rows) - influence(everyone, rows), -influence(everyone, rest))
    variance = sum(len(part) * part.var(axis=0, ddof=1) for part in parts)
    return np.asarray(np.sqrt(variance) / fraction)


def _weighted_ranks(weight: FloatArray, values: FloatArray) -> FloatArray:
    """Mid-ranks of ``values`` (n,) that occur ``weight`` (b, n) times."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])
    tie_weight = np.add.reduceat(weight[:, order], starts, axis=1)
    middle = np.cumsum(tie_weight, axis=1) - 0.5 * tie_weight + 0.5
    out = np.empty_like(weight)
    out[:, order] = np.repeat(middle, np.diff(np.r_[starts, len(values)]), axis=1)
    return out


def score_correlation(
    score: npt.ArrayLike,
    motion: npt.ArrayLike,
    *,
    seed: int,
    bootstrap: int = 500,
    level: float = 0.95,
    lags: npt.ArrayLike | None = None,
) -> xr.Dataset:
    """Correlate a score with later motion such as D^2_min, with bootstrap intervals.

    Pearson's correlation over the atoms i is::

        r = sum_i ds_i dm_i / sqrt(sum_i ds_i^2 sum_i dm_i^2)
        ds_i = s_i - <s>,   dm_i = m_i - <m>

    Spearman's correlation is the same with mid-ranks in place of s and m.

    Parameters
    ----------
    score
        Scores, shape (atom,), in any unit.
    motion
        Measure of motion, shape (lag, atom) or (atom,), in any unit. NaN is ignored
        separately for each lag.
    seed
        Seed of the bootstrap.
    bootstrap
        Number of resamples, at least 20.
    level
        Confidence level of the intervals, between 0 and 1.
    lags
        Lag times in ps, shape (lag,). Default: the coordinate ``lag`` of a DataArray.

    Returns
    -------
    pearson, pearson_low, pearson_high (lag)
        Pearson's correlation and its interval.
    spearman, spearman_low, spearman_high (lag)
        Spearman's correlation and its interval.
    count (lag)
        Number of atoms. With fewer than 3 atoms, or if score or motion does not vary,
        the correlations are NaN.

    Raises
    ------
    ParameterError
        If the arrays do not fit together or an option is out of range.

    Notes
    -----
    Each resample draws as many atoms as there are, with replacement. All lags use the
    same resamples. Ranks are recomputed in each. A resample costs about 70 ns per atom
    and lag.

    Use one species at a time, since the levels of different species may differ. Atoms
    are treated as independent. Neighboring atoms share displacements in D^2_min, so the
    intervals are too narrow. D^2_min has a heavy tail, which dominates Pearson's
    correlation. Use Spearman's correlation, or pass the logarithm of D^2_min.

    References
    ----------
    Pearson's correlation of T_ML with D^2_min is called zeta in Liu X. et al., J.
    Mater. Inf. 2, 20 (2022), Fig. 3F. D^2_min: Falk, Langer, Phys. Rev. E 57, 7192
    (1998). Percentile interval: Efron, Tibshirani, An Introduction to the Bootstrap
    (1993), ch. 13.

    Examples
    --------
    >>> s = np.arange(50.0)
    >>> motion = np.stack([s, -(s**3)])
    >>> result = score_correlation(s, motion, seed=0, bootstrap=50, lags=[1.0, 10.0])
    >>> result.spearman.values.round(6).tolist()
    [1.0, -1.0]
    """
    s = as_vector("score", score, finite=False)
    if lags is None and isinstance(motion, xr.DataArray) and "lag" in motion.coords:
        lags = motion["lag"].values
    if isinstance(motion, xr.DataArray) and "lag" in motion.dims:
        motion = motion.transpose("lag", ...)
    m = np.atleast_2d(np.asarray(motion, dtype=np.float64))
    if m.ndim != 2 or m.shape[1] != len(s):
        raise ParameterError(
            f"motion has shape {m.shape}; it must be (lag, {len(s)}), one column per score"
        )
    if bootstrap < 20:
        raise ParameterError(
            f"bootstrap={bootstrap} is too few for an interval; "
            "give at least 20, several hundred are usual"
        )
    if not 0.0 < level < 1.0:
        raise ParameterError(f"level={level} must lie between 0 and 1; 0.95 is customary")
    lag = (
        None if lags is None else as_vector("lags", np.atleast_1d(np.asarray(lags)), length=len(m))
    )
    valid = np.isfinite(s) & np.isfinite(m)
    draws = _bootstrap_correlations(s, m, valid, bootstrap, seed)
    columns = np.full((2, 3, len(m)), np.nan)
    for k, keep in enumerate(valid):
        if keep.sum() < 3:
            continue
        ones, x, y = np.ones((1, int(keep.sum()))), s[keep], m[k, keep]
        columns[0, 0, k] = weighted_pearson(ones, x[None], y[None])[0]
        columns[1, 0, k] = weighted_pearson(ones, rankdata(x)[None], rankdata(y)[None])[0]
        for kind in range(2):
            finite = draws[kind, k][np.isfinite(draws[kind, k])]
            if np.isfinite(columns[kind, 0, k]) and len(finite) >= 0.9 * bootstrap:
                columns[kind, 1:, k] = np.quantile(finite, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    variables = {
        f"{name}{end}": ("lag", columns[a, b], {"units": "1"})
        for a, name in enumerate(("pearson", "spearman"))
        for b, end in enumerate(("", "_low", "_high"))
    }
    out = xr.Dataset(variables, attrs={"level": level, "bootstrap": bootstrap, "seed": seed})
    out["count"] = ("lag", valid.sum(axis=1))
    return out if lag is None else out.assign_coords(lag=("lag", lag, {"units": "ps"}))


def _bootstrap_correlations(
    score: FloatArray, motion: FloatArray, valid: BoolArray, n_resamples: int, seed: int
) -> FloatArray:
    """Pearson's and Spearman's correlations (2, lag, resample) of resampled atoms."""
    n = len(score)
    draws = np.full((2, len(motion), n_resamples), np.nan)
    rng = np.random.default_rng(seed)
    batch = max(1, _BATCH_WEIGHTS // max(1, n))
    for first in range(0, n_resamples, batch):
        b = min(batch, n_resamples - first)
        weight = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(b)])
        for k, keep in enumerate(valid):
            if keep.sum() < 3:
                continue
            w, x, y = weight[:, keep].astype(np.float64), score[keep], motion[k, keep]
            stop = first + b
            draws[0, k, first:stop] = weighted_pearson(w, x[None], y[None])
            ranks = _weighted_ranks(w, x), _weighted_ranks(w, y)
            draws[1, k, first:stop] = weighted_pearson(w, *ranks)
    return draws
