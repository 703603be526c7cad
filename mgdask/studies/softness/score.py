"""Statistics of a score per atom, such as quench-in softness.

Its spectrum, its predictions, and how soft and hard atoms are arranged in space.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask._typing import AnyArray, FloatArray
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.features.pair_cutoffs import count_pairs
from mgdask.features.window import FrameAxis
from mgdask.geometry import complete_cell, face_heights, volume


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
) -> xr.Dataset:
    """Compute the probability of an event given the score.

        P(event | bin) = n_event / n,    error = sqrt(P (1 - P) / n)

    Parameters
    ----------
    score
        Score (atom,). NaN is left out.
    event
        Whether the event happened to each atom (atom,), such as turning plastic.
    bins
        Number of bins of equal width.
    span
        Lowest and highest score of the bins.

    Returns
    -------
    result
        ``probability``, ``error``, ``ratio`` to P(event) and ``count`` (score,), and
        ``base``, P(event). Empty bins are NaN.

    Raises
    ------
    ParameterError
        If the arrays differ in shape, no atom has a score, or ``bins`` or ``span`` are
        out of range.

    Notes
    -----
    If P is 0 or 1, the error is 1 / n instead of 0.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019).

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
    return xr.Dataset(
        {
            "probability": ("score", share),
            "error": ("score", error),
            "ratio": ("score", ratio),
            "count": ("score", count),
            "base": ((), y.mean()),
        },
        coords={"score": 0.5 * (edges[1:] + edges[:-1])},
    )


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


def score_at_yield(score: npt.ArrayLike, value: npt.ArrayLike, threshold: float) -> xr.Dataset:
    """Compute the mean score of the atoms that turn plastic in each frame.

    An atom turns plastic in the first frame in which its value exceeds ``threshold``.

    Parameters
    ----------
    score
        Score (atom,) of the undeformed glass. Atoms with NaN are left out.
    value
        Value (frame, atom), such as D²min against the undeformed frame. NaN never
        exceeds the threshold.
    threshold
        Atoms above this value are plastic, in the unit of ``value``.

    Returns
    -------
    result
        ``score``, its standard error ``error``, and ``count`` of atoms (frame,). The
        score is NaN if no atom turns plastic in the frame, the error if fewer than two
        do.

    Raises
    ------
    ParameterError
        If the shapes do not fit.

    Examples
    --------
    >>> turned = score_at_yield([0.9, 0.2], [[0, 0], [7, 0], [9, 6]], 5.0)
    >>> turned.score.values[1:].tolist()
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
    for k in range(len(v)):
        turning = x[first == k]
        count[k] = len(turning)
        if len(turning):
            mean[k] = turning.mean()
        if len(turning) > 1:
            error[k] = turning.std(ddof=1) / np.sqrt(len(turning))
    return xr.Dataset(
        {
            "score": ("frame", mean),
            "error": ("frame", error),
            "count": ("frame", count.astype(np.int64)),
        }
    )


@renamed_arguments(chosen="selected")
def mass_radius(
    frame: xr.Dataset, selected: npt.ArrayLike, *, r_max: float | None = None, bins: int = 100
) -> xr.Dataset:
    """Compute the mass-radius relation and g(r) of selected atoms among themselves.

        M(r) = 1 + mean number of selected atoms within r of a selected atom
        M(r) - 1 ~ r^D

    Parameters
    ----------
    frame
        One frame of an opened trajectory store.
    selected
        True for the atoms of interest (atom,), such as those with QS > 0.7.
    r_max
        Largest distance in Å. Default: half the smallest height of the cell.
    bins
        Number of bins of equal width up to ``r_max``.

    Returns
    -------
    relation
        ``mass``, ``g`` and the local ``slope`` (r,), ``dimension`` D, and its standard
        error ``dimension_error``.

    Raises
    ------
    ParameterError
        If fewer than 2 atoms are selected, or ``selected`` has another shape.

    Notes
    -----
    D is fitted between 0.3 ``r_max`` and ``r_max``, beyond the first shells. It is 3
    for atoms spread evenly. The error is too small, because the points of a cumulative
    sum are not independent.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019).

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
    n = int(mask.sum())
    if n < 2:
        raise ParameterError(
            f"{n} atoms are selected; at least 2 are needed, and several hundred for a meaningful "
            "dimension"
        )
    pbc = tuple(bool(p) for p in frame["pbc"].values) if "pbc" in frame else (True,) * 3
    box = complete_cell(cell, pbc)
    end = float(0.5 * face_heights(box).min()) if r_max is None else float(r_max)
    edges = np.linspace(0.0, end, bins + 1)
    element = np.full(n, 29)  # species are not distinguished here
    counts = count_pairs(position[mask], cell, element, pbc, (symbol(29),), edges, np.arange(n))
    pairs = counts[0, 0]
    mass = 1.0 + np.cumsum(pairs) / n
    shell = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    g = pairs / n / (n / volume(box) * shell)
    r = edges[1:]
    # without the atom itself, which would flatten the line at small r
    fitted = (r >= 0.3 * end) & (mass > 1.0)
    if fitted.sum() < 4:
        dimension, covariance = np.nan, np.full((2, 2), np.nan)
    else:
        (dimension, _), covariance = np.polyfit(
            np.log10(r[fitted]), np.log10(mass[fitted] - 1.0), 1, cov=True
        )
    return xr.Dataset(
        {
            "mass": ("r", mass),
            "g": ("r", g),
            "slope": ("r", np.gradient(np.log10(mass), np.log10(r))),
            "dimension": ((), dimension),
            "dimension_error": ((), np.sqrt(covariance[0, 0])),
        },
        coords={"r": ("r", r, {"units": "Å"})},
        attrs={"atoms": n},
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
