"""QS of several glasses from the same models: distribution, heterogeneity, hard atoms.

This is Fig. 3f of Wang, Jain, Nat. Commun. 10, 5537 (2019). A glass needs no labels, so
its store may contain only the undeformed configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import AnyArray, FloatArray
from mgdask.elements import atomic_number
from mgdask.errors import ParameterError
from mgdask.features import Feature
from mgdask.learn.evaluation.bootstrap import bootstrap
from mgdask.learn.evaluation.calibration import wilson_interval
from mgdask.pipelines.featurize.plan import plan
from mgdask.pipelines.featurize.run import run
from mgdask.store.open import open_store
from mgdask.studies.softness.data import Glass, chosen_species, inside
from mgdask.studies.softness.score import spectrum
from mgdask.studies.softness.space import HARD, SOFT
from mgdask.studies.softness.training import Softness

if TYPE_CHECKING:
    from mgdask.cluster.client import Client


def _std(_: AnyArray, score: FloatArray, weight: FloatArray) -> float:
    total = weight.sum()
    mean = (weight * score).sum() / total
    return float(np.sqrt((weight * (score - mean) ** 2).sum() / total))


def _mean(_: AnyArray, score: FloatArray, weight: FloatArray) -> float:
    return float((weight * score).sum() / weight.sum())


def _hard(_: AnyArray, score: FloatArray, weight: FloatArray) -> float:
    return float(weight[score < HARD].sum() / weight.sum())


def _soft(_: AnyArray, score: FloatArray, weight: FloatArray) -> float:
    return float(weight[score > SOFT].sum() / weight.sum())


STATISTICS = {"mean": _mean, "std": _std, "hard": _hard, "soft": _soft}
"""Mean and standard deviation of QS, and shares of atoms below 0.1 and above 0.7."""


def glass_spectrum(
    name: str,
    qs: FloatArray,
    regions: AnyArray,
    *,
    role: str = "",
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the distribution of QS in one glass, with intervals over its regions.

    Parameters
    ----------
    name
        Name of the glass.
    qs
        QS (atom,). Atoms with NaN are ignored.
    regions
        Region of each atom (atom,), resampled for the intervals.
    role
        Role of the glass in the study, such as "test".
    n_resamples
        Number of resamples.
    seed
        Seed of the resamples.

    Returns
    -------
    spectrum
        ``glass``, ``role``, ``atoms``, ``score`` and ``density`` (bin,). Also intervals
        of ``mean``, ``std``, ``hard`` and ``soft``. The last two are the shares of
        atoms with QS below 0.1 and above 0.7; their intervals are at least Wilson's.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 3f: std(QS) of 0.196, 0.230 and 0.234
    in Cu50Zr50, Cu65Zr35 and Cu80Zr20.
    """
    known = np.isfinite(qs)
    score, region = qs[known], np.asarray(regions)[known]
    groups = region if len(np.unique(region)) > 1 else None
    distribution = spectrum(score)
    intervals = {
        statistic: bootstrap(
            function, np.zeros(len(score)), score, groups, n_resamples=n_resamples, seed=seed
        )
        for statistic, function in STATISTICS.items()
    }
    for statistic, chosen in (("hard", score < HARD), ("soft", score > SOFT)):
        # resamples without such atoms have no spread
        low, high = map(float, wilson_interval(chosen.sum(), len(score)))
        one = intervals[statistic]
        intervals[statistic] = replace(one, low=min(one.low, low), high=max(one.high, high))
    return {
        "glass": name,
        "role": role,
        "atoms": len(score),
        "score": distribution["score"].values,
        "density": distribution["density"].values,
        **{statistic: interval.as_dict() for statistic, interval in intervals.items()},
    }


def score_glass(
    store: str | Path,
    out: str | Path,
    softness: Softness,
    features: Sequence[Feature],
    *,
    margin: float = 15.0,
    species: Sequence[str] | None = None,
    name: str = "features",
    memory: str = "2GiB",
    client: Client | None = None,
    progress: bool = True,
) -> tuple[Glass, FloatArray]:
    """Compute the QS of a glass without labels from its first frame.

    Parameters
    ----------
    store
        Trajectory whose first frame is the undeformed glass; one frame is enough.
    out
        Folder for the store of features.
    softness
        Trained score.
    features
        Features of the score, made for the species of this glass.
    margin, species
        Atoms to exclude, see ``prepare_glass``. The margin is that of free surfaces; an
        undeformed glass has no deformation ends.
    name, memory, client, progress
        See ``prepare_glass``.

    Returns
    -------
    glass
        The glass. It has no D²min.
    qs
        QS of every eligible atom (atom,), NaN for the others.

    Raises
    ------
    ParameterError
        If the glass lacks a column of the score, or no atom is eligible.

    Examples
    --------
    >>> glass, qs = score_glass("a.zarr", "out", softness, features)  # doctest: +SKIP
    """
    store, folder = Path(store), Path(out)
    ds = open_store(store)
    keep = inside(ds, margin)
    if species is not None:
        numbers = np.asarray(ds["species"].values)
        species = chosen_species(numbers, species)
        keep &= np.isin(numbers, [atomic_number(element) for element in species])
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / f"{store.stem}-{name}.zarr"
    run(plan(store, list(features), out=rows, memory=memory, frames=[0]), client, progress=progress)
    glass = Glass(store.stem, store, rows, rows, 0, np.zeros(1), keep, np.nan)
    columns = glass.columns()
    missing = [column for column in softness.columns if column not in columns]
    if missing:
        raise ParameterError(
            f"{store} has no column {missing[0]!r}, which the score needs; choose features whose "
            "columns do not contain species, such as the interstices"
        )
    values = glass.table().read(0, len(keep))[:, [columns.index(one) for one in softness.columns]]
    complete = keep & np.isfinite(values).all(axis=1)
    if not complete.any():
        raise ParameterError(
            f"{store}: none of the {len(keep)} atoms is eligible and has all features; choose a "
            "smaller margin"
        )
    qs = np.full(len(keep), np.nan)
    qs[complete] = softness.predict(values[complete])
    return glass, qs
