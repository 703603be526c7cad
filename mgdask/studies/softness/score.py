"""Statistics of a score per atom, such as quench-in softness.

Its spectrum, its predictions, and how soft and hard atoms are arranged in space.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.optimize import isotonic_regression

from mgdask._renamed import renamed_arguments
from mgdask._typing import AnyArray, FloatArray
from mgdask.analysis import fractal_dimension
from mgdask.errors import ParameterError
from mgdask.features import mass_distribution
from mgdask.features.window import FrameAxis
from mgdask.geometry import complete_cell, face_heights
from mgdask.learn.evaluation.calibration import calibration_curve, wilson_interval

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Quantiles of the scores of activated atoms."""


def _paired(score: npt.ArrayLike, other: npt.ArrayLike, name: str) -> tuple[FloatArray, AnyArray]:
    """Score and another property of the same atoms, checked."""
    x, y = np.asarray(score, dtype=np.float64), np.asarray(other)
    if x.ndim != 1 or y.shape != x.shape:
        raise ParameterError(
            f"score has shape {x.shape} and {name} {y.shape}; both must be (atom,)"
        )
    return x, y


def spectrum(
    score: npt.ArrayLike, *, bins: int = 50, span: tuple[float, float] = (0.0, 1.0)
) -> xr.Dataset:
    """Compute the distribution of a score over atoms.

        density_k = n_k / (n width)

    Parameters
    ----------
    score
        Score (atom,). NaN is left out.
    bins
        Number of bins of equal width.
    span
        Lowest and highest score of the histogram.

    Returns
    -------
    spectrum
        ``density`` and ``count`` (score,), ``mean`` and ``std``. The attribute
        ``atoms`` is the number of atoms with a score.

    Raises
    ------
    ParameterError
        If no atom has a score, or ``bins`` or ``span`` are out of range.

    Notes
    -----
    The density times the bin width sums to the share of atoms inside ``span``. The
    standard deviation measures the heterogeneity of the glass.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019).

    Examples
    --------
    >>> float(spectrum([0.1, 0.3, 0.3, 0.9], bins=2).density[0])
    1.5
    """
    x = np.asarray(score, dtype=np.float64).ravel()
    x = x[np.isfinite(x)]
    if not len(x) or bins < 1 or not span[0] < span[1]:
        raise ParameterError(
            f"a spectrum needs atoms with a score, bins={bins} of at least 1, and span={span} "
            "with low < high"
        )
    count, edges = np.histogram(x, bins, span)
    width = edges[1] - edges[0]
    return xr.Dataset(
        {
            "density": ("score", count / (len(x) * width)),
            "count": ("score", count),
            "mean": ((), x.mean()),
            "std": ((), x.std()),
        },
        coords={"score": 0.5 * (edges[1:] + edges[:-1])},
        attrs={"atoms": len(x)},
    )


def conditional(
    score: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    bins: int = 20,
    span: tuple[float, float] = (0.0, 1.0),
    groups: npt.ArrayLike | None = None,
    level: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the probability of an event given the score.

        P(event | bin) = n_event / n,    error = sqrt(P (1 - P) / n)

    Parameters
    ----------
    score
        Score (atom,). NaN is left out.
    event
        Whether the event, such as turning plastic, happened to each atom (atom,).
    bins
        Number of bins of equal width.
    span
        Lowest and highest score of the bins.
    groups
        Group of each atom (atom,), such as its region. Default: atoms are independent.
    level
        Confidence level of the intervals.
    n_resamples
        Number of resamples of the groups.
    seed
        Seed of the resamples.

    Returns
    -------
    result
        ``probability``, its standard error ``error``, its interval ``low`` to ``high``,
        its ``ratio`` to P(event), and ``count`` of atoms, each (score,). Also ``base``,
        P(event). Empty bins are NaN.

    Raises
    ------
    ParameterError
        If the arrays differ in shape, no atom has a score, or ``bins`` or ``span`` are
        out of range.

    Notes
    -----
    If P is 0 or 1, the error is 1 / n instead of 0. The interval is Wilson's. With
    ``groups`` it is widened to that from resampling groups. Its upper end is above 0
    even if P is 0, so that it can be drawn on a logarithmic axis.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 3b. Wilson, J. Am. Stat. Assoc. 22,
    209 (1927).

    Examples
    --------
    >>> p = conditional([0.1, 0.1, 0.9, 0.9], [False, False, True, False], bins=2)
    >>> p.probability.values.tolist(), float(p.base)
    ([0.0, 0.5], 0.25)
    """
    x, y = _paired(score, event, "event")
    scored = np.isfinite(x)
    x, y = x[scored], y[scored].astype(bool)
    if not len(x) or bins < 1 or not span[0] < span[1]:
        raise ParameterError(
            f"P(event | score) needs atoms with a score, bins={bins} of at least 1, and "
            f"span={span} with low < high"
        )
    count, edges = np.histogram(x, bins, span)
    happened = np.histogram(x[y], bins, span)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = happened / count
        error = np.maximum(
            np.sqrt(share * (1.0 - share) / count),
            np.where((share == 0) | (share == 1), 1.0 / count, 0.0),
        )
        ratio = share / y.mean()
    low, high = wilson_interval(happened, count, level)
    low, high = (np.where(count > 0, end, np.nan) for end in (low, high))
    if groups is not None:
        inside = (x >= span[0]) & (x <= span[1])
        curve = calibration_curve(
            y[inside],
            (x[inside] - span[0]) / (span[1] - span[0]),
            np.asarray(groups)[scored][inside],
            bins=bins,
            n_resamples=n_resamples,
            seed=seed,
            level=level,
        )
        low, high = np.fmin(low, curve.low), np.fmax(high, curve.high)
    return xr.Dataset(
        {
            "probability": ("score", share),
            "error": ("score", error),
            "low": ("score", low),
            "high": ("score", high),
            "ratio": ("score", ratio),
            "count": ("score", count),
            "base": ((), y.mean()),
        },
        coords={"score": 0.5 * (edges[1:] + edges[:-1])},
    )


def score_at_ratio(
    score: npt.ArrayLike,
    event: npt.ArrayLike,
    ratio: float = 1.0,
    *,
    bins: int = 20,
    span: tuple[float, float] = (0.0, 1.0),
    groups: npt.ArrayLike | None = None,
    level: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Find the score at which an event is a given multiple of its mean probability.

        P(event | score) / P(event) = ratio

    P(event | bin) is replaced by the closest nondecreasing values (isotonic regression
    weighted by the number of atoms). The score is interpolated linearly between them.

    Parameters
    ----------
    score
        Score (atom,). NaN is left out.
    event
        Whether the event happened to each atom (atom,).
    ratio
        Multiple of P(event).
    bins, span
        See ``conditional``.
    groups
        Group of each atom (atom,), resampled for the interval. Default: no interval.
    level, n_resamples, seed
        See ``conditional``.

    Returns
    -------
    crossing
        ``score`` and the ends ``low`` and ``high`` of its interval. They are NaN if the
        curve never reaches this ratio, as for a score without information.

    Raises
    ------
    ParameterError
        See ``conditional``.

    Notes
    -----
    Isotonic regression preserves the mean, so a score with any information crosses a
    ratio of 1. For probabilities calibrated on balanced classes, it does so at 0.5.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 3b: a QS of 0.5 corresponds to the
    overall fraction of plastic atoms.

    Examples
    --------
    >>> x = np.repeat([0.25, 0.75], 100)
    >>> happened = np.arange(200) % 10 < np.where(x < 0.5, 1, 3)
    >>> float(score_at_ratio(x, happened, bins=2).score)
    0.5
    """
    x, y = _paired(score, event, "event")
    scored = np.isfinite(x)
    inside = scored & (x >= span[0]) & (x <= span[1])
    if not inside.any() or bins < 1 or not span[0] < span[1]:
        raise ParameterError(
            f"a ratio needs atoms with a score, bins={bins} of at least 1, and span={span} with "
            "low < high"
        )
    x, y = x[inside], y[inside].astype(bool)
    edges = np.linspace(*span, bins + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, bins - 1)
    if groups is None:
        names, group = np.zeros(1), np.zeros(len(x), dtype=np.int64)
    else:
        names, group = np.unique(np.asarray(groups)[inside], return_inverse=True)
    tables = np.zeros((2, len(names), bins))
    np.add.at(tables[0], (group, place), 1.0)
    np.add.at(tables[1], (group[y], place[y]), 1.0)
    ends = np.full(2, np.nan)
    if len(names) > 1:
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), n_resamples)
        crossings = [
            _crossing(n, k, middle, ratio)
            for n, k in zip(drawn @ tables[0], drawn @ tables[1], strict=True)
        ]
        known = np.array(crossings)[np.isfinite(crossings)]
        if len(known):
            ends = np.quantile(known, [0.5 - level / 2, 0.5 + level / 2])
    count, happened = tables.sum(axis=1)
    value = _crossing(count, happened, middle, ratio)
    return xr.Dataset({"score": ((), value), "low": ((), ends[0]), "high": ((), ends[1])})


def _crossing(count: FloatArray, happened: FloatArray, middle: FloatArray, ratio: float) -> float:
    """Return the score at which isotonic P(event | bin) is ``ratio`` times P(event)."""
    some = count > 0
    if not happened.any():
        return np.nan
    fit = isotonic_regression(happened[some] / count[some], weights=count[some])
    values, block = np.unique(fit.x, return_inverse=True)
    target = ratio * happened.sum() / count.sum()
    if len(values) < 2 or not values[0] <= target <= values[-1]:
        return np.nan
    weight = np.bincount(block, weights=count[some])
    centers = np.bincount(block, weights=count[some] * middle[some]) / weight
    return float(np.interp(target, values, centers))


def predicted_share(
    score: npt.ArrayLike, value: npt.ArrayLike, *, threshold: float = 0.5, edges: npt.ArrayLike
) -> xr.Dataset:
    """Compute the share of atoms with a high score, in bins of the true value.

    Parameters
    ----------
    score
        Score (atom,). NaN is left out.
    value
        True value (atom,), such as D²min. NaN is left out.
    threshold
        Scores above this count as high.
    edges
        Increasing edges of the bins of the true value.

    Returns
    -------
    result
        ``share``, its standard error ``error``, and ``count`` (value,). Empty bins are
        NaN.

    Raises
    ------
    ParameterError
        If the arrays differ in shape, or ``edges`` do not increase.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 2b.

    Examples
    --------
    >>> predicted_share([0.2, 0.8], [1.0, 9.0], edges=[0, 5, 10]).share.values.tolist()
    [0.0, 1.0]
    """
    x, y = _paired(score, value, "value")
    cuts = np.asarray(edges, dtype=np.float64)
    if cuts.ndim != 1 or len(cuts) < 2 or (np.diff(cuts) <= 0).any():
        raise ParameterError("edges must be at least two increasing numbers")
    known = np.isfinite(x) & np.isfinite(y.astype(np.float64))
    x, y = x[known], y[known].astype(np.float64)
    count = np.histogram(y, cuts)[0]
    above = np.histogram(y[x > threshold], cuts)[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = above / count
        error = np.sqrt(share * (1.0 - share) / count)
    return xr.Dataset(
        {"share": ("value", share), "error": ("value", error), "count": ("value", count)},
        coords={"value": 0.5 * (cuts[1:] + cuts[:-1])},
    )


def score_at_yield(
    score: npt.ArrayLike,
    value: npt.ArrayLike,
    threshold: float,
    *,
    bins: int = 20,
    span: tuple[float, float] = (0.0, 1.0),
) -> xr.Dataset:
    """Compute the distribution of the scores of atoms activated in each frame.

    An atom is activated in the first frame in which its value exceeds ``threshold``.

    Parameters
    ----------
    score
        Score (atom,) of the undeformed glass. Atoms with NaN are left out.
    value
        Value (frame, atom), such as D²min relative to the undeformed frame. NaN never
        exceeds the threshold.
    threshold
        Value above which an atom is plastic, in the unit of ``value``.
    bins
        Number of bins of equal width of the score.
    span
        Lowest and highest score of the bins.

    Returns
    -------
    result
        Mean ``score``, its standard error ``error`` and ``count`` of activated atoms,
        each (frame,). ``share`` (frame, bin) of activated atoms with a score between
        the ``edges`` (edge,). ``quantiles`` (quantile, frame) of the scores. Values are
        NaN without activated atoms. The error needs two atoms.

    Raises
    ------
    ParameterError
        If the shapes do not fit.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 3e.

    Examples
    --------
    >>> activated = score_at_yield([0.9, 0.2], [[0, 0], [7, 0], [9, 6]], 5.0)
    >>> activated.score.values[1:].tolist()
    [0.9, 0.2]
    """
    x, v = np.asarray(score, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if x.ndim != 1 or v.ndim != 2 or v.shape[1] != len(x):
        raise ParameterError(
            f"score must be (atom,) and value (frame, atom); got {x.shape} and {v.shape}"
        )
    over = v > threshold
    first = np.where(over.any(axis=0), over.argmax(axis=0), -1)
    first[~np.isfinite(x)] = -1
    mean, error, count = (np.full(len(v), np.nan) for _ in range(3))
    share, quantiles = np.full((len(v), bins), np.nan), np.full((len(QUANTILES), len(v)), np.nan)
    edges = np.linspace(*span, bins + 1)
    for k in range(len(v)):
        activated = x[first == k]
        count[k] = len(activated)
        if len(activated):
            mean[k] = activated.mean()
            share[k] = np.histogram(activated, edges)[0] / len(activated)
            quantiles[:, k] = np.quantile(activated, QUANTILES)
        if len(activated) > 1:
            error[k] = activated.std(ddof=1) / np.sqrt(len(activated))
    return xr.Dataset(
        {
            "score": ("frame", mean),
            "error": ("frame", error),
            "count": ("frame", count.astype(np.int64)),
            "share": (("frame", "bin"), share),
            "quantiles": (("quantile", "frame"), quantiles),
            "edges": ("edge", edges),
        },
        coords={"quantile": list(QUANTILES)},
    )


@renamed_arguments(chosen="selected")
def mass_radius(
    frame: xr.Dataset,
    selected: npt.ArrayLike,
    *,
    r_max: float | None = None,
    bins: int = 100,
    split: float = 10.0,
    r_min: float | None = None,
) -> xr.Dataset:
    """Compute M(r) and g(r) within a group of atoms, and the slopes of M(r).

        M(r) = mean number of other selected atoms within r of a selected atom
        M(r) ~ r^D    below and beyond ``split``

    ``mgdask.features.mass_distribution`` and ``mgdask.analysis.fractal_dimension`` do
    this for several groups and for all atoms.

    Parameters
    ----------
    frame
        One frame of an opened trajectory store.
    selected
        True for the atoms of interest (atom,), such as those with QS > 0.7.
    r_max
        Largest distance in Å. Default: half the smallest distance between opposite
        periodic faces of the cell.
    bins
        Number of bins of equal width up to ``r_max``.
    split
        Distance in Å between the two ranges.
    r_min
        Start of the first range in Å. Default: the first minimum of g(r) of all atoms.

    Returns
    -------
    relation
        ``mass`` and ``g`` (r,). ``dimension`` D and its standard error
        ``dimension_error`` (range,), below and beyond ``split``. They are NaN if a
        range is too short, because of the first shell of g(r) or ``r_max``.

    Raises
    ------
    ParameterError
        If fewer than 2 atoms are selected, or ``selected`` has another shape.

    Notes
    -----
    The atom itself is not counted, since it would flatten the line at small r.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 3c.

    Examples
    --------
    >>> mass_radius(ds.isel(frame=0), qs > 0.7).dimension  # doctest: +SKIP
    """
    mask = np.asarray(selected, dtype=bool)
    position, cell = np.asarray(frame["position"].values), np.asarray(frame["cell"].values)
    if mask.shape != position.shape[:1]:
        raise ParameterError(
            f"selected must be ({len(position)},), true or false for every atom; got {mask.shape}"
        )
    pbc = tuple(bool(p) for p in frame["pbc"].values) if "pbc" in frame else (True,) * 3
    heights = face_heights(complete_cell(cell, pbc))
    end = float(0.5 * (heights[list(pbc)] if any(pbc) else heights).min())
    end = end if r_max is None else float(r_max)
    counted = mass_distribution(
        position, cell, {"selected": mask}, pbc=pbc, r_max=end, width=end / bins
    )
    slopes = errors = np.full(2, np.nan)
    start = float(counted["first_minimum"]) if r_min is None else r_min
    if 0.0 < start < split < float(counted["r"][-1]):
        fit = fractal_dimension(counted, split=split, r_min=start).sel(group="selected")
        slopes, errors = fit["dimension"].values, fit["dimension_error"].values
    one = counted.sel(group="selected")
    return xr.Dataset(
        {
            "mass": ("r", one["mass"].values),
            "g": ("r", one["g"].values),
            "dimension": ("range", slopes),
            "dimension_error": ("range", errors),
        },
        coords={"r": ("r", one["r"].values, {"units": "Å"}), "range": ["below", "beyond"]},
        attrs={"atoms": int(mask.sum())},
    )


@renamed_arguments(wanted="target")
def frame_of_strain(
    axis: FrameAxis, strain: npt.ArrayLike, target: float, *, tolerance: float = 0.002
) -> int:
    """Find the frame whose strain is nearest to a target.

    Parameters
    ----------
    axis
        Frames of the trajectory.
    strain
        Strain (frame,).
    target
        Strain to find.
    tolerance
        Largest difference allowed.

    Returns
    -------
    frame
        Index of the frame.

    Raises
    ------
    ParameterError
        If no frame is within ``tolerance``, or ``strain`` has another shape.

    Examples
    --------
    >>> axis = FrameAxis(np.arange(3.0), np.zeros(3))
    >>> frame_of_strain(axis, [0.0, 0.02, 0.04], 0.04)
    2
    """
    values = np.asarray(strain, dtype=np.float64)
    if values.shape != axis.run.shape:
        raise ParameterError(
            f"strain must be (frame,), {len(axis.run)} numbers; got {values.shape}"
        )
    k = int(np.abs(values - target).argmin())
    if abs(values[k] - target) > tolerance:
        raise ParameterError(
            f"no frame is within {tolerance:g} of a strain of {target:g}; the nearest, frame {k}, "
            f"has {values[k]:g}"
        )
    return k
