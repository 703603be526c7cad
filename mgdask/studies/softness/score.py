"""What a score of atoms, such as quench-in softness, says about the glass: its spectrum, what it predicts, and how it is spread in space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.features.pair_cutoffs import count_pairs
from mgdask.features.window import FrameAxis

Float = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def _pair(
    score: npt.ArrayLike, other: npt.ArrayLike, name: str
) -> tuple[Float, npt.NDArray[np.generic]]:
    x, y = np.asarray(score, dtype=np.float64), np.asarray(other)
    if x.ndim != 1 or y.shape != x.shape:
        raise ParameterError(
            f"score has shape {x.shape} and {name} {y.shape}; both must be (atom,)"
        )
    return x, y


def spectrum(
    score: npt.ArrayLike, *, bins: int = 50, span: tuple[float, float] = (0.0, 1.0)
) -> xr.Dataset:
    """Distribution of a score over atoms: density (bin,), which sums times the width to the share inside ``span``, count, and mean and std.

    Parameters: ``score`` (atom,), NaN left out; ``bins`` equal bins of ``span``. The standard deviation is the heterogeneity of the glass in
    Wang & Jain, Nat. Commun. 10, 5537 (2019).

    >>> float(spectrum([0.1, 0.3, 0.3, 0.9], bins=2).density[0])
    1.5
    """
    x = np.asarray(score, dtype=np.float64).ravel()
    x = x[np.isfinite(x)]
    if not len(x) or bins < 1 or not span[0] < span[1]:
        raise ParameterError(
            f"a spectrum needs atoms with a score, bins={bins} of at least 1, and span={span} with low < high"
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
    """P(event | score) by bins of the score, its standard error, and its ratio to P(event).

        P(event | bin) = n_event / n,    error sqrt(P (1 - P) / n), at least 1 / n where P is 0 or 1

    Parameters: ``score`` (atom,), NaN left out; ``event`` (atom,) true or false, such as plastic. Returns probability, error, ratio, count
    (bin,), NaN where a bin is empty, and ``base`` P(event). Source: Wang & Jain, Nat. Commun. 10, 5537 (2019).

    >>> found = conditional([0.1, 0.1, 0.9, 0.9], [False, False, True, False], bins=2)
    >>> found.probability.values.tolist(), float(found.base)
    ([0.0, 0.5], 0.25)
    """
    x, y = _pair(score, event, "event")
    there = np.isfinite(x)
    x, y = x[there], y[there].astype(bool)
    if not len(x) or bins < 1 or not span[0] < span[1]:
        raise ParameterError(
            f"P(event | score) needs atoms with a score, bins={bins} of at least 1, and span={span} with low < high"
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
    """Share of atoms with a score above ``threshold``, by bins of the true value, such as D2min: Fig. 2b of Wang & Jain (2019).

    Parameters: ``score`` and ``value`` (atom,), NaN left out; ``edges`` (bin+1,) increasing. Returns share, error and count (bin,).

    >>> predicted_share([0.2, 0.8], [1.0, 9.0], edges=[0, 5, 10]).share.values.tolist()
    [0.0, 1.0]
    """
    x, y = _pair(score, value, "value")
    cuts = np.asarray(edges, dtype=np.float64)
    if cuts.ndim != 1 or len(cuts) < 2 or (np.diff(cuts) <= 0).any():
        raise ParameterError("edges must be at least two increasing numbers")
    there = np.isfinite(x) & np.isfinite(y.astype(np.float64))
    x, y = x[there], y[there].astype(np.float64)
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
    """Mean score of the atoms whose value first exceeds ``threshold`` in each frame: who turns plastic when.

    Parameters: ``score`` (atom,) of the undeformed glass; ``value`` (frame,atom), such as D2min against the undeformed frame; NaN never
    exceed. Returns score and its standard error (frame,), NaN where nobody turns, and count (frame,).

    >>> score_at_yield([0.9, 0.2], [[0, 0], [7, 0], [9, 6]], 5.0).score.values[1:].tolist()
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
        those = x[first == k]
        count[k] = len(those)
        if len(those):
            mean[k] = those.mean()
        if len(those) > 1:
            error[k] = those.std(ddof=1) / np.sqrt(len(those))
    return xr.Dataset(
        {
            "score": ("frame", mean),
            "error": ("frame", error),
            "count": ("frame", count.astype(np.int64)),
        }
    )


def mass_radius(
    frame: xr.Dataset, chosen: npt.ArrayLike, *, r_max: float | None = None, bins: int = 100
) -> xr.Dataset:
    """Mass-radius relation of chosen atoms, M(r) ~ r^D, and their radial distribution function.

        M(r) = 1 + mean number of chosen atoms within r of a chosen atom;     D the slope of lg (M - 1) against lg r

    Parameters
    ----------
    frame: one frame of an opened trajectory store (position, cell, species, pbc). chosen: (atom,) true or false, such as QS > 0.7.
    r_max: Å, default half the smallest height of the cell. bins: of equal width up to it.

    Returns mass and g (r,), local slope (r,), and ``dimension``, the slope between 0.3 r_max and r_max, beyond the first shells, with its
    standard error from the straight line (points of a cumulative sum are not independent, so it is too small). D is 3 for atoms spread
    evenly. ``ParameterError`` for fewer than 2 chosen atoms. Source: Wang & Jain, Nat. Commun. 10, 5537 (2019).
    """
    from mgdask.geometry import complete_cell, face_heights, volume

    mask = np.asarray(chosen, dtype=bool)
    position, cell = np.asarray(frame["position"].values), np.asarray(frame["cell"].values)
    if mask.shape != position.shape[:1]:
        raise ParameterError(
            f"chosen must be ({len(position)},), true or false for every atom; got {mask.shape}"
        )
    if mask.sum() < 2:
        raise ParameterError(
            f"{int(mask.sum())} atoms are chosen; at least 2 are needed, and some hundred for a dimension that means something"
        )
    pbc = tuple(bool(p) for p in frame["pbc"].values) if "pbc" in frame else (True,) * 3
    box = complete_cell(cell, pbc)
    end = float(0.5 * face_heights(box).min()) if r_max is None else float(r_max)
    edges = np.linspace(0.0, end, bins + 1)
    one = np.full(int(mask.sum()), 29)  # the species do not matter here
    counts = count_pairs(position[mask], cell, one, pbc, (symbol(29),), edges, np.arange(len(one)))[
        0, 0
    ]
    mass = 1.0 + np.cumsum(counts) / len(one)
    shell = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    g = counts / len(one) / (len(one) / volume(box) * shell)
    r = edges[1:]
    wide = (r >= 0.3 * end) & (
        mass > 1.0
    )  # without the atom itself, which would flatten the line at small r
    if wide.sum() < 4:
        slope, cover = np.nan, np.full((2, 2), np.nan)
    else:
        (slope, _), cover = np.polyfit(np.log10(r[wide]), np.log10(mass[wide] - 1.0), 1, cov=True)
    return xr.Dataset(
        {
            "mass": ("r", mass),
            "g": ("r", g),
            "slope": ("r", np.gradient(np.log10(mass), np.log10(r))),
            "dimension": ((), slope),
            "dimension_error": ((), np.sqrt(cover[0, 0])),
        },
        coords={"r": ("r", r, {"units": "Å"})},
        attrs={"atoms": len(one)},
    )


def frame_of_strain(
    axis: FrameAxis, strain: npt.ArrayLike, wanted: float, *, tolerance: float = 0.002
) -> int:
    """The frame whose strain is nearest to ``wanted``; ``ParameterError`` where none is within ``tolerance``.

    >>> frame_of_strain(FrameAxis(np.arange(3.0), np.zeros(3)), [0.0, 0.02, 0.04], 0.04)
    2
    """
    found = np.asarray(strain, dtype=np.float64)
    if found.shape != axis.run.shape:
        raise ParameterError(f"strain must be (frame,), {len(axis.run)} numbers; got {found.shape}")
    k = int(np.abs(found - wanted).argmin())
    if abs(found[k] - wanted) > tolerance:
        raise ParameterError(
            f"no frame is within {tolerance:g} of a strain of {wanted:g}; the nearest, frame {k}, has {found[k]:g}"
        )
    return k
