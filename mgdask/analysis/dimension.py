"""Fractal dimension of groups of atoms from their mass distribution M(r)."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from mgdask._typing import FloatArray, IntArray
from mgdask.analysis.estimate import error_attrs
from mgdask.errors import ParameterError

_FEW = "fewer than 4 points M(r) > 0 in the range, or fewer than 2 blocks of atoms"


def fractal_dimension(
    distribution: xr.Dataset,
    *,
    split: float = 10.0,
    r_min: float | None = None,
    r_max: float | None = None,
) -> xr.Dataset:
    """Fit the fractal dimension D of groups of atoms below and beyond a distance.

    In each of the two ranges of r::

        M(r) = prefactor r^D

    Parameters
    ----------
    distribution
        Dataset from ``mgdask.features.mass_distribution``.
    split
        Distance in Å that separates the two ranges. The paper uses 10 Å, about four
        neighbor shells.
    r_min
        Start of the lower range in Å. Default: the first minimum of g(r) of the whole,
        where its first shell ends.
    r_max
        End of the upper range in Å. Default: the end of the curve.

    Returns
    -------
    dimension, dimension_error (group, range)
        D and its standard error, both dimensionless. The ranges are "below" and
        "beyond". Values are NaN in a range with fewer than 4 points M(r) > 0.
    prefactor (group, range)
        Value of the fitted line at r = 1 Å, dimensionless.
    range_start, range_end (range)
        Limits of the ranges in Å.

    Raises
    ------
    ParameterError
        If the limits are not 0 < r_min < split < r_max.

    Notes
    -----
    The paper fits M(r) ~ r^D for the hardest, the softest and all atoms. D < 3 means
    that the number of atoms grows more slowly than the volume of the sphere.

    M(r) does not count the atom itself, which would flatten the line at small r. In the
    first shell M(r) is a step, not a power law, so the fit starts beyond it. The paper
    does not state where its fit starts. D of the hardest tenth of a Cu65Zr35 glass
    changes by 0.2 if the fit starts at 3.0 Å instead. Use the same ``r_min`` for all
    groups of one glass, and compare them with the whole. Its D is not exactly 3 below
    10 Å because of the shell structure.

    The line is fitted to ln M against ln r by least squares. Points are weighted with
    1/r, so that equal intervals of ln r have equal weight.

    M(r) is cumulative, so its points are not independent. Pairs that share an atom are
    not independent either. The standard error is therefore computed from the scatter
    between blocks of the sample. To first order, the fitted D is a sum of contributions
    z_bc of pairs of blocks. Let z be the mean of z_bc over all pairs of blocks with the
    same displacement. Let n_b = (1 + d_b) <n> be the number of atoms in a block. The
    sum of z d_b vanishes, since D does not depend on the density. With B blocks::

        e_bc = z_bc - z (1 + d_b + d_c)
        error^2 = B / (B - 1) [sum_b (sum_c e_bc)^2 - sum_(b < c) e_bc^2]

    If the bracket is negative, it is replaced by sum_(b <= c) e_bc^2, which holds for
    independent pairs of blocks. Coverage was measured in 200 samples of random points.
    Intervals of one and two standard errors covered 0.67 and 0.94 below 10 Å, and 0.72
    and 0.93 beyond. In samples of clusters of 8 atoms they covered 0.56 and 0.93 below,
    and 0.52 and 0.85 beyond, because clusters extend across blocks. Errors of clustered
    groups are thus too small by up to a quarter. They include neither the choice of
    ``r_min``, nor effects of the finite sample, nor the scatter between glasses.

    References
    ----------
    M(r): Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 3c. Error: Aronow, Samii,
    Assenova, Polit. Anal. 23, 564 (2015).

    Examples
    --------
    >>> from mgdask.features import mass_distribution
    >>> r = np.random.default_rng(0).uniform(0, 40, (2000, 3))
    >>> line = {"line": np.arange(2000) < 200}
    >>> r[:200, 1:] = 20.0
    >>> m = mass_distribution(r, 40 * np.eye(3), line)
    >>> result = fractal_dimension(m, r_min=3.0)
    >>> result.dimension.sel(group="line").values.round(1).tolist()
    [1.0, 1.0]
    """
    missing = {"mass", "pairs", "lag", "first_minimum"} - set(distribution)
    if missing:
        raise ParameterError(
            f"the Dataset has no {', '.join(sorted(missing))}; pass the result of "
            "mgdask.features.mass_distribution"
        )
    r = distribution["r"].values
    start = float(distribution["first_minimum"]) if r_min is None else float(r_min)
    end = float(r[-1]) if r_max is None else float(r_max)
    if not (0.0 < start < split < end <= r[-1] * (1.0 + 1e-9)):
        raise ParameterError(
            f"r_min={start:g}, split={split:g} and r_max={end:g} Å must increase, and M(r) ends "
            f"at {r[-1]:g} Å; change these limits, or give mass_distribution a larger r_max"
        )
    limits = np.array([[start, split], [split, end]])
    names = [str(name) for name in distribution["group"].values]
    found = np.full((3, len(names), 2), np.nan)
    lag = distribution["lag"].values
    for k in range(len(names)):
        mass = distribution["mass"].values[k]
        pairs = np.cumsum(distribution["pairs"].values[k], axis=-1)
        for j, (low, high) in enumerate(limits):
            use = (r >= low - 1e-9) & (r <= high + 1e-9) & (mass > 0)
            if use.sum() >= 4:
                found[:, k, j] = _power_law(
                    r[use], mass[use], pairs[..., use], lag, distribution["block_count"].values[k]
                )
    both = ("group", "range")
    one, length = {"units": "1"}, {"units": "Å"}
    return xr.Dataset(
        {
            "dimension": (both, found[0], one | {"long_name": "fractal dimension"}),
            "dimension_error": (both, found[1], error_attrs("standard error of D", found[1], _FEW)),
            "prefactor": (both, found[2], one | {"long_name": "M at r = 1 Å on the line"}),
        },
        coords={
            "group": names,
            "range": ["below", "beyond"],
            "range_start": ("range", limits[:, 0], length),
            "range_end": ("range", limits[:, 1], length),
        },
        attrs={"split": split, "source": "Nat. Commun. 10, 5537 (2019), Fig. 3c"},
    )


def _power_law(
    r: FloatArray, mass: FloatArray, pairs: IntArray, lag: IntArray, block_count: IntArray
) -> tuple[float, float, float]:
    """Return the exponent of M(r), its error and prefactor from cumulative pairs."""
    x, y, weight = np.log(r), np.log(mass), 1.0 / r
    center = (weight * x).sum() / weight.sum()
    slope_of = weight * (x - center)
    slope_of /= (slope_of * (x - center)).sum()
    dimension = float((slope_of * y).sum())
    prefactor = math.exp((weight * y).sum() / weight.sum() - dimension * center)
    # first-order contributions of pairs of blocks to D = sum_k slope_of_k ln M_k
    total = pairs.sum(axis=(0, 1))
    z = np.asarray(pairs @ (slope_of / total))
    z = z + z.T
    z[np.diag_indices_from(z)] *= 0.5
    sums = np.bincount(lag.ravel(), weights=z.ravel())
    sizes = np.maximum(1, np.bincount(lag.ravel()))
    excess = block_count / block_count.mean() - 1.0
    e = z - (sums / sizes)[lag] * (1.0 + excess[:, None] + excess)
    independent = float((np.triu(e) ** 2).sum())
    shared = float((e.sum(axis=1) ** 2).sum() - (np.triu(e, 1) ** 2).sum())
    n_blocks = len(z)
    if n_blocks < 2:
        return dimension, math.nan, prefactor
    variance = n_blocks / (n_blocks - 1) * (shared if shared > 0 else independent)
    return dimension, math.sqrt(variance), prefactor
