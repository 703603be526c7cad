"""Learning curve: AUC on a held-out glass against the number of training atoms.

The points are measured; nothing is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask._typing import BoolArray, FloatArray
from mgdask.errors import ParameterError
from mgdask.learn.evaluation.bootstrap import bootstrap, bootstrap_contrast
from mgdask.studies.softness.comparison import INTERVAL_ENDS, learning_arguments
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.subsets import choose, resampled_regions
from mgdask.studies.softness.training import learn_softness


@renamed_arguments(repeats="n_resamples")
def score_growth(
    train_on: Sequence[Glass],
    test_on: Glass,
    *,
    atoms: Sequence[int] | None = None,
    fractions: Sequence[float] = (0.1, 0.2, 0.35, 0.5, 0.7),
    subsets: int = 5,
    learning: Mapping[str, Any] | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
) -> xr.Dataset:
    """Compute the AUC on the test glass against the number of training atoms.

    Random subsets of the training atoms are drawn, each within the next larger one.
    Every glass and class keeps its share.

    Parameters
    ----------
    train_on
        Glasses from ``prepare_glass`` to learn from.
    test_on
        Held-out glass.
    atoms
        Numbers of training atoms. All atoms are always the last point.
    fractions
        Shares of all training atoms, between 0 and 1, if ``atoms`` is None.
    subsets
        Number of random orders of the atoms.
    learning
        Further arguments of ``learn_softness``.
    seed
        Seed of the orders, of training and of resampling.
    n_resamples
        Number of resamples of the bootstrap over regions of 15 Å of the test glass.

    Returns
    -------
    growth
        ``roc_auc`` (atoms, subset) and its mean over subsets ``mean`` (atoms,), both
        with 95 % intervals (``_low``, ``_high``); ``deviation`` between subsets
        (atoms,), and the number of ``plastic`` training atoms (atoms,).

    Raises
    ------
    ParameterError
        If a number is not between 2 and all training atoms, or a subset is too small to
        learn from.

    Notes
    -----
    With all atoms, subsets differ only by their undersamples.

    Examples
    --------
    >>> growth = score_growth([glass], other, fractions=(0.2, 0.5))  # doctest: +SKIP
    """
    if not train_on or subsets < 1:
        raise ParameterError(f"train_on needs at least one glass and subsets={subsets} at least 1")
    parts = [glass.rows()[1:] for glass in train_on]
    total = sum(len(label) for label, _ in parts)
    sizes = _sizes(atoms, fractions, total)
    _, label, tested = test_on.rows()
    scores = np.empty((len(sizes), subsets, len(tested)))
    plastic, number = np.empty((2, len(sizes)), dtype=np.int64)
    for subset in range(subsets):
        order = [_shares(label, seed + 1000 * subset + k) for k, (label, _) in enumerate(parts)]
        for i, size in enumerate(sizes):
            kept = [share <= size / total for share in order]
            plastic[i] = sum(int(y[k].sum()) for (y, _), k in zip(parts, kept, strict=True))
            # each class of each glass is rounded to whole atoms
            number[i] = sum(int(k.sum()) for k in kept)
            smaller = [
                choose(glass, atoms=rows[k])
                for glass, (_, rows), k in zip(train_on, parts, kept, strict=True)
            ]
            try:
                softness = learn_softness(
                    smaller, test_on, seed=seed + 1000 * subset, **learning_arguments(learning)
                )
            except ParameterError as error:
                raise ParameterError(
                    f"{size} of {total} training atoms, {plastic[i]} of them plastic: {error}"
                ) from None
            scores[i, subset] = softness.qs[tested]
    return xr.Dataset(
        {**_intervals(scores, label, test_on, n_resamples, seed), "plastic": ("atoms", plastic)},
        coords={"atoms": number, "subset": range(subsets)},
        attrs={
            "train": [glass.name for glass in train_on],
            "test": test_on.name,
            "columns": len(test_on.columns()),
            "seed": seed,
        },
    )


def _sizes(atoms: Sequence[int] | None, fractions: Sequence[float], total: int) -> list[int]:
    """Increasing numbers of training atoms, ending with all of them."""
    if atoms is None:
        given = [round(fraction * total) for fraction in fractions]
    else:
        given = [int(n) for n in atoms]
    if any(not 2 <= n <= total for n in given):
        raise ParameterError(
            f"atoms={sorted(given)} must lie between 2 and {total}, the number of training atoms "
            "(fractions between 0 and 1)"
        )
    return sorted({*given, total})


def _shares(label: BoolArray, seed: int) -> FloatArray:
    """Share of all atoms at which each row is included, in random order per class."""
    rng = np.random.default_rng(seed)
    share = np.empty(len(label))
    for value in (False, True):
        rows = np.flatnonzero(label == value)
        # the middle of each step, so counts are rounded, not truncated
        share[rows] = (rng.permutation(len(rows)) + 0.5) / max(len(rows), 1)
    return share


def _intervals(
    scores: FloatArray, label: BoolArray, test_on: Glass, n_resamples: int, seed: int
) -> dict[str, Any]:
    """AUC of every subset and its mean, with intervals, and their deviation."""
    sizes, subsets, _ = scores.shape
    regions = resampled_regions(test_on, test_on.rows()[2])
    each = [
        [
            bootstrap("roc_auc", label, score, regions, n_resamples=n_resamples, seed=seed)
            for score in row
        ]
        for row in scores
    ]
    mean = [
        bootstrap_contrast(
            "roc_auc",
            label,
            row,
            np.full(subsets, 1.0 / subsets),
            regions,
            n_resamples=n_resamples,
            seed=seed,
        )
        for row in scores
    ]
    deviation = np.full(sizes, np.nan)
    if subsets > 1:
        values = np.array([[interval.value for interval in row] for row in each])
        deviation = values.std(axis=1, ddof=1)
    dims = ("atoms", "subset")
    return {
        **{
            f"roc_auc{suffix}": (dims, [[getattr(one, item) for one in row] for row in each])
            for suffix, item in INTERVAL_ENDS
        },
        **{
            f"mean{suffix}": ("atoms", [getattr(one, item) for one in mean])
            for suffix, item in INTERVAL_ENDS
        },
        "deviation": ("atoms", deviation),
    }
