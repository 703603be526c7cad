"""How the score on a glass set aside grows with the number of training atoms: measured points, nothing fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.errors import ParameterError
from mgdask.learn.evaluation.bootstrap import bootstrap, bootstrap_contrast
from mgdask.studies.softness.comparison import LEARNING
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.subsets import choose, resampled_regions
from mgdask.studies.softness.training import learn_softness

Integer = npt.NDArray[np.int64]


def score_growth(
    train_on: Sequence[Glass],
    test_on: Glass,
    *,
    atoms: Sequence[int] | None = None,
    fractions: Sequence[float] = (0.1, 0.2, 0.35, 0.5, 0.7),
    subsets: int = 5,
    learning: Mapping[str, Any] | None = None,
    seed: int = 0,
    repeats: int = 1000,
) -> xr.Dataset:
    """AUC on the test glass by the number of training atoms, from random parts of the training atoms, the smaller within the larger.

    Parameters
    ----------
    train_on, test_on: glasses from ``prepare_glass``. atoms: numbers of training atoms, or None for ``fractions`` of all, between 0 and 1; all
        are always the last point. subsets: orders of the atoms that are drawn; each glass and class has its share in every part. learning: further
        arguments of ``learn_softness``. repeats: of the bootstrap over regions of 15 Å of the test glass.

    Returns roc_auc, roc_auc_low and roc_auc_high (95 %) of (atoms, subset), mean, mean_low, mean_high (atoms,) of the mean AUC of the subsets on
    the same resamples, deviation (atoms,) between subsets, and plastic (atoms,) training atoms. At the full number the subsets differ by the draws of
    undersampling only. ``ParameterError`` for numbers that are not between 2 and all, and where a part is too small to learn from.

    >>> found = score_growth([prepare_glass("g1.zarr", "out")], prepare_glass("g2.zarr", "out"))  # doctest: +SKIP
    """
    if not train_on or subsets < 1:
        raise ParameterError(f"train_on needs at least one glass and subsets={subsets} at least 1")
    parts = [glass.rows()[1:] for glass in train_on]
    total = sum(len(label) for label, _ in parts)
    wanted = (
        [round(fraction * total) for fraction in fractions]
        if atoms is None
        else [int(n) for n in atoms]
    )
    if any(not 2 <= n <= total for n in wanted):
        raise ParameterError(
            f"atoms={sorted(wanted)} must lie between 2 and {total}, the training atoms there are (fractions between 0 and 1)"
        )
    sizes = sorted({*wanted, total})
    _, label, tested = test_on.rows()
    where = resampled_regions(test_on, tested)
    scores = np.empty((len(sizes), subsets, len(tested)))
    plastic, number = np.empty((2, len(sizes)), dtype=np.int64)
    for subset in range(subsets):
        order = [_shares(mine, seed + 1000 * subset + k) for k, (mine, _) in enumerate(parts)]
        for i, size in enumerate(sizes):
            kept = [share <= size / total for share in order]
            plastic[i] = sum(int(mine[k].sum()) for (mine, _), k in zip(parts, kept, strict=True))
            number[i] = sum(
                int(k.sum()) for k in kept
            )  # a class of a glass is rounded to whole atoms
            some = [
                choose(glass, atoms=where_[k])
                for glass, (_, where_), k in zip(train_on, parts, kept, strict=True)
            ]
            try:
                found = learn_softness(
                    some,
                    test_on,
                    seed=seed + 1000 * subset,
                    repeats=20,
                    progress=False,
                    **{**LEARNING, **(learning or {})},
                )
            except ParameterError as error:
                raise ParameterError(
                    f"{size} of {total} training atoms, {plastic[i]} of them plastic: {error}"
                ) from None
            scores[i, subset] = found.qs[tested]
    each = [
        [bootstrap("roc_auc", label, score, where, repeats=repeats, seed=seed) for score in row]
        for row in scores
    ]
    mean = [
        bootstrap_contrast(
            "roc_auc",
            label,
            row,
            np.full(subsets, 1.0 / subsets),
            where,
            repeats=repeats,
            seed=seed,
        )
        for row in scores
    ]
    values = np.array([[one.value for one in row] for row in each])
    ends = (("", "value"), ("_low", "low"), ("_high", "high"))
    return xr.Dataset(
        {
            **{
                f"roc_auc{end}": (
                    ("atoms", "subset"),
                    [[getattr(one, item) for one in row] for row in each],
                )
                for end, item in ends
            },
            **{f"mean{end}": ("atoms", [getattr(one, item) for one in mean]) for end, item in ends},
            "deviation": (
                "atoms",
                values.std(axis=1, ddof=1) if subsets > 1 else np.full(len(sizes), np.nan),
            ),
            "plastic": ("atoms", plastic),
        },
        coords={"atoms": number, "subset": range(subsets)},
        attrs={
            "train": [glass.name for glass in train_on],
            "test": test_on.name,
            "columns": len(test_on.columns()),
            "seed": seed,
        },
    )


def _shares(label: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.float64]:
    """At which share of all atoms each row (row,) comes in: in random order within its class, the classes in proportion."""
    rng = np.random.default_rng(seed)
    share = np.empty(len(label))
    for kind in (False, True):
        mine = np.flatnonzero(label == kind)
        # the middle of each step, so that counts are rounded and not cut
        share[mine] = (rng.permutation(len(mine)) + 0.5) / max(len(mine), 1)
    return share
