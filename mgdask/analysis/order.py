"""Chemical order of groups of atoms, and how a score goes with what atoms do later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import rankdata

from mgdask.analysis.estimate import Float, pearson, vector
from mgdask.analysis.groups import Groups, atomic_numbers, masks_of
from mgdask.elements import atomic_number
from mgdask.errors import ParameterError


def signs(order: npt.ArrayLike, strong: float = 0.1, weak: float = 0.02) -> npt.NDArray[np.str_]:
    """Order as signs: '++' above ``strong``, '+' above ``weak``, '0' up to it, '-' and '--' below; '' for NaN.

    Parameters: ``order`` of any shape; 0 <= ``weak`` < ``strong``, thresholds of mgdask's own choice. Returns text of
    the same shape. ``ParameterError`` for thresholds in another order.

    >>> signs([0.3, 0.05, -0.01, -0.03, -0.5]).tolist()
    ['++', '+', '0', '-', '--']
    """
    if not 0.0 <= weak < strong:
        raise ParameterError(
            f"weak={weak} and strong={strong} must obey 0 <= weak < strong; 0.02 and 0.1 are the defaults"
        )
    x = np.asarray(order, dtype=np.float64)
    steps = [np.isnan(x), x > strong, x > weak, x < -strong, x < -weak]
    return np.select(steps, ["", "++", "+", "--", "-"], default="0").astype(np.str_)


def cargill_spaepen(
    counts: npt.ArrayLike,
    numbers: npt.ArrayLike,
    species: Sequence[str],
    groups: Groups,
    *,
    whole: npt.ArrayLike | None = None,
    strong: float = 0.1,
    weak: float = 0.02,
) -> xr.Dataset:
    """Cargill-Spaepen order -alpha_A(B) around the atoms of groups and of the whole, with its signs.

        -alpha_A(B) = (Z_A(B) - f_B Z_A) / (f_B Z_A)

    Z_A(B) is the mean number of B around the A of a group, whichever group the neighbours are in, Z_A their sum over B,
    f_B the fraction of B among all atoms of the whole. Positive: these A prefer B. The error is first order: with r =
    Z_A(B) / Z_A, that of the mean of n_i(B) - r n_i over the A, divided by f_B Z_A.

    Parameters: ``counts`` (atom, species) neighbours by species, in the order of ``species`` (symbols); rows with NaN
    are left out of the means, not of f_B; ``numbers`` (atom,) atomic numbers; ``groups``, ``whole`` as in
    ``composition``; ``strong``, ``weak`` thresholds as in ``signs``.

    Returns a Dataset (group, species, neighbor_species), with a first group "whole": ``order``, ``order_error``,
    ``sign``, ``count`` (group, species). For one group with all atoms ``order`` is ``mgdask.cargill_spaepen``'s. Valid
    where a group has many atoms of the species; NaN without any. ``ParameterError`` for counts of other shapes or a
    species that is missing.

    Source: Cargill, Spaepen, J. Non-Cryst. Solids 43, 91 (1981).

    >>> n = np.array([[6, 6], [6, 6], [8, 4], [8, 4]])
    >>> z, everyone = np.array([29, 29, 40, 40]), np.ones(4, dtype=bool)
    >>> cargill_spaepen(n, z, ("Cu", "Zr"), {"all": everyone}).sign.sel(group="all").values.tolist()
    [['0', '0'], ['++', '--']]
    """
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 2 or n.shape[1] != len(species):
        raise ParameterError(
            f"counts has shape {n.shape}; it must be (atom, {len(species)}), one column a species"
        )
    z = atomic_numbers(numbers, len(n))
    names, masks, everyone = masks_of(groups, whole, len(n))
    if "whole" in names:
        raise ParameterError(
            "a group cannot be called 'whole', which stands for all atoms; give it another name"
        )
    kinds = [atomic_number(s) for s in species]
    fraction = np.array([(z[everyone] == k).mean() if everyone.any() else 0.0 for k in kinds])
    if (fraction == 0).any():
        missing = [s for s, f in zip(species, fraction, strict=True) if f == 0]
        raise ParameterError(
            f"species {', '.join(missing)} has no atom in whole; leave it out of species and counts"
        )
    names, masks = ["whole", *names], [everyone, *masks]
    there = np.isfinite(n).all(axis=1)
    k = len(species)
    order, error = np.full((len(masks), k, k), np.nan), np.full((len(masks), k, k), np.nan)
    size = np.zeros((len(masks), k), dtype=np.int64)
    for g, mask in enumerate(masks):
        for a in range(k):
            rows = n[mask & there & (z == kinds[a])]
            size[g, a] = m = len(rows)
            mean = rows.mean(axis=0) if m else np.zeros(k)
            if mean.sum() == 0:
                continue
            random = fraction * mean.sum()
            order[g, a] = (mean - random) / random
            if m > 1:
                residual = rows - mean / mean.sum() * rows.sum(axis=1, keepdims=True)
                error[g, a] = np.sqrt((residual**2).sum(axis=0) / (m * (m - 1))) / random
    dims = ("group", "species", "neighbor_species")
    return xr.Dataset(
        {
            "order": (dims, order, {"units": "1", "long_name": "Cargill-Spaepen order, -alpha"}),
            "order_error": (dims, error, {"units": "1", "long_name": "standard error of order"}),
            "sign": (dims, signs(order, strong, weak)),
            "count": (dims[:2], size, {"units": "1", "long_name": "atoms in the mean"}),
        },
        coords={"group": names, "species": list(species), "neighbor_species": list(species)},
        attrs={"strong": strong, "weak": weak, "source": "J. Non-Cryst. Solids 43, 91 (1981)"},
    )


def _weighted_ranks(weight: Float, values: Float) -> Float:
    """Mid-ranks of ``values`` (n,) in samples that hold them ``weight`` (b, n) times, exact with ties."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])
    counted = np.add.reduceat(weight[:, order], starts, axis=1)
    middle = np.cumsum(counted, axis=1) - 0.5 * counted + 0.5
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
    """Pearson's and Spearman's correlation of a score with later motion, such as D^2_min, with bootstrap intervals.

        r = sum_i (s_i - <s>) (m_i - <m>) / sqrt(sum_i (s_i - <s>)^2 sum_i (m_i - <m>)^2)

    over the atoms i, for Spearman with mid-ranks in place of s and m. The bootstrap draws as many atoms as there are,
    with replacement, the same draws for every lag, with ranks taken anew in each; the interval holds the middle
    ``level`` of its results.

    Parameters: ``score`` (atom,); ``motion`` (lag, atom) or (atom,), of any unit; NaN left out, lag by lag; ``seed`` of
    the draws; ``bootstrap`` their number, at least 20; ``level`` of the interval; ``lags`` (lag,) in ps, from the
    coordinate ``lag`` of a DataArray where None.

    Time: some 70 ns a draw, atom and lag. Returns a Dataset (lag,): ``pearson``, ``pearson_low``, ``pearson_high``,
    ``spearman`` and so on, ``count``; NaN where fewer than 3 atoms are left or either side does not vary. Valid for one
    species at a time, where motion does not mix species' levels, and as far as atoms are independent: D^2_min of
    neighbours shares displacements, so intervals are too narrow. D^2_min has a heavy tail, which rules Pearson: look at
    Spearman, or give its logarithm. ``ParameterError`` for arrays that do not fit together.

    Source: Efron, Tibshirani, An Introduction to the Bootstrap (1993), ch. 13 (percentile interval); Falk, Langer,
    Phys. Rev. E 57, 7192 (1998) for D^2_min.

    >>> s = np.arange(50.0)
    >>> found = score_correlation(s, np.stack([s, -(s**3)]), seed=0, bootstrap=50, lags=[1.0, 10.0])
    >>> found.spearman.values.round(6).tolist()
    [1.0, -1.0]
    """
    s = vector("score", score, finite=False)
    if lags is None and isinstance(motion, xr.DataArray) and "lag" in motion.coords:
        lags = motion["lag"].values
    if isinstance(motion, xr.DataArray) and "lag" in motion.dims:
        motion = motion.transpose("lag", ...)
    m = np.atleast_2d(np.asarray(motion, dtype=np.float64))
    if m.ndim != 2 or m.shape[1] != len(s):
        raise ParameterError(
            f"motion has shape {m.shape}; it must be (lag, {len(s)}), one column for every score"
        )
    if bootstrap < 20:
        raise ParameterError(
            f"bootstrap={bootstrap} is too few for an interval; give at least 20, some hundreds are usual"
        )
    if not 0.0 < level < 1.0:
        raise ParameterError(f"level={level} must lie between 0 and 1; 0.95 is customary")
    lag = None if lags is None else vector("lags", np.atleast_1d(np.asarray(lags)), length=len(m))
    columns = np.full((2, 3, len(m)), np.nan)
    keeps = np.isfinite(s) & np.isfinite(m)
    draws = np.full((2, len(m), bootstrap), np.nan)
    rng = np.random.default_rng(seed)
    batch = max(1, 2_000_000 // max(1, len(s)))
    for first in range(0, bootstrap, batch):
        b = min(batch, bootstrap - first)
        weight = np.stack(
            [np.bincount(rng.integers(0, len(s), len(s)), minlength=len(s)) for _ in range(b)]
        )
        for k, keep in enumerate(keeps):
            if keep.sum() < 3:
                continue
            w, x, y = weight[:, keep].astype(np.float64), s[keep], m[k, keep]
            draws[0, k, first : first + b] = pearson(w, x[None], y[None])
            draws[1, k, first : first + b] = pearson(
                w, _weighted_ranks(w, x), _weighted_ranks(w, y)
            )
    for k, keep in enumerate(keeps):
        if keep.sum() < 3:
            continue
        one, x, y = np.ones((1, int(keep.sum()))), s[keep], m[k, keep]
        columns[0, 0, k] = pearson(one, x[None], y[None])[0]
        columns[1, 0, k] = pearson(one, rankdata(x)[None], rankdata(y)[None])[0]
        for kind in range(2):
            good = draws[kind, k][np.isfinite(draws[kind, k])]
            if np.isfinite(columns[kind, 0, k]) and len(good) >= 0.9 * bootstrap:
                columns[kind, 1:, k] = np.quantile(good, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    variables = {
        f"{name}{end}": ("lag", columns[a, b], {"units": "1"})
        for a, name in enumerate(("pearson", "spearman"))
        for b, end in enumerate(("", "_low", "_high"))
    }
    out = xr.Dataset(variables, attrs={"level": level, "bootstrap": bootstrap, "seed": seed})
    out["count"] = ("lag", keeps.sum(axis=1))
    return out if lag is None else out.assign_coords(lag=("lag", lag, {"units": "ps"}))
