"""Compare feature sets on the same atoms, splits and undersamples.

This shows which set best predicts the atoms that turn plastic, and by how much: Wang,
Jain, Nat. Commun. 10, 5537 (2019), Fig. 5a.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.evaluation.bootstrap import Interval, bootstrap, bootstrap_contrast
from mgdask.report.json import write_json
from mgdask.store.manifest import Manifest
from mgdask.studies.softness.compared_sets import COMPARED as COMPARED
from mgdask.studies.softness.compared_sets import Features
from mgdask.studies.softness.compared_sets import prepare_sets as prepare_sets
from mgdask.studies.softness.compared_sets import resolve_sets as resolve_sets
from mgdask.studies.softness.compared_sets import species_of as species_of
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.subsets import choose, resampled_regions
from mgdask.studies.softness.training import learn_softness, renamed_learning

METRICS = ("roc_auc", "recall")
INTERVAL_ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))
"""Suffix of a variable, and the field of an interval it holds."""


def learning_arguments(learning: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments of ``learn_softness`` for a comparison.

    The score of all columns is compared, so leading columns are not selected and there
    is no cross-validation, unless ``learning`` says otherwise.

    Parameters
    ----------
    learning
        Arguments that differ from these defaults.

    Returns
    -------
    arguments
        Keyword arguments.

    Examples
    --------
    >>> learning_arguments({"folds": 3})["folds"]
    3
    """
    defaults = {"n_features": None, "folds": 0, "n_resamples": 20, "progress": False}
    return {**defaults, **renamed_learning(learning)}


@dataclass(frozen=True)
class _SetScore:
    """Scores of one feature set on the test glass."""

    intervals: Mapping[str, Interval]
    columns: int
    feature_seconds: float
    learn_seconds: float
    score: FloatArray


@renamed_arguments(repeats="n_resamples")
def compare(
    train: str | Path | Sequence[str | Path],
    test: str | Path,
    out: str | Path,
    *,
    sets: Sequence[str] | Mapping[str, Features] | None = None,
    learning: Mapping[str, Any] | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
    client: Any = None,
    progress: bool = True,
    **options: Any,
) -> xr.Dataset:
    """Compare how well feature sets predict the plastic atoms of a held-out glass.

        difference_k = AUC_k - AUC_1

    All sets use the same atoms, labels and undersamples. Both AUCs of a difference come
    from the same resamples of the test atoms.

    Parameters
    ----------
    train
        Stores of deformed glasses to learn from.
    test
        Store of the held-out glass.
    out
        Folder for labels and features, which are kept between calls.
    sets
        See ``resolve_sets``. The others are compared with the first.
    learning
        Further arguments of ``learn_softness``.
    seed
        Seed of undersampling, training and resampling.
    n_resamples
        Number of resamples of the bootstrap over regions of 15 Å of the test glass.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to print a line per set.
    **options
        Further arguments of ``prepare_glass``, such as ``strain`` and ``margin``.

    Returns
    -------
    comparison
        By ``set``: ``roc_auc``, ``recall`` and ``difference`` with their 95 % intervals
        (``_low``, ``_high``), ``columns``, ``feature_seconds`` and ``learn_seconds``.

    Raises
    ------
    ParameterError
        See ``prepare_glass`` and ``learn_softness``.

    Notes
    -----
    Only atoms that have every feature of every set are included. The intervals are
    those of one test glass and given models. They include neither the spread between
    glasses nor that between training sets. ``feature_seconds`` was measured when the
    features were computed, summed over blocks; ``learn_seconds`` is that of this call.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 5a.

    Examples
    --------
    >>> comparison = compare("g1.zarr", "g2.zarr", "out")  # doctest: +SKIP
    """
    stores = [*([train] if isinstance(train, str | Path) else train), test]
    if len(stores) < 2:
        raise ParameterError("train is empty; give at least one glass to learn from")
    prepared = prepare_sets(stores, out, sets, client=client, **options)
    common = [
        common_atoms([glasses[k] for glasses in prepared.values()]) for k in range(len(stores))
    ]
    scores: dict[str, _SetScore] = {}
    for name, glasses in prepared.items():
        scores[name] = _score_set(
            glasses,
            common,
            reference=next((score.score for score in scores.values()), None),
            learning=learning_arguments(learning),
            seed=seed,
            n_resamples=n_resamples,
        )
        if progress:
            auc = scores[name].intervals["roc_auc"]
            print(f"{name}: {scores[name].columns} columns, AUC {auc}", file=sys.stderr, flush=True)
    return _comparison(scores, prepared, common, seed)


def _score_set(
    glasses: Sequence[Glass],
    common: Sequence[IntArray],
    *,
    reference: FloatArray | None,
    learning: Mapping[str, Any],
    seed: int,
    n_resamples: int,
) -> _SetScore:
    """Train on all glasses but the last, and score that one."""
    *train_on, test_on = (
        choose(glass, atoms=atoms) for glass, atoms in zip(glasses, common, strict=True)
    )
    started = time.perf_counter()
    softness = learn_softness(train_on, test_on, seed=seed, **learning)
    spent = time.perf_counter() - started
    score = softness.qs[common[-1]]
    label = test_on.plastic()[common[-1]]
    regions = resampled_regions(test_on, common[-1])
    intervals = {
        metric: bootstrap(metric, label, score, regions, n_resamples=n_resamples, seed=seed)
        for metric in METRICS
    }
    intervals["difference"] = bootstrap_contrast(
        "roc_auc",
        label,
        [score, score if reference is None else reference],
        [1, -1],
        regions,
        n_resamples=n_resamples,
        seed=seed,
    )
    return _SetScore(
        intervals, len(test_on.columns()), sum(map(_feature_seconds, glasses)), spent, score
    )


def _comparison(
    scores: Mapping[str, _SetScore],
    prepared: Mapping[str, Sequence[Glass]],
    common: Sequence[IntArray],
    seed: int,
) -> xr.Dataset:
    """Scores of all sets as one Dataset."""
    glasses = list(prepared.values())[-1]
    plastic = [
        int(glass.plastic()[atoms].sum()) for glass, atoms in zip(glasses, common, strict=True)
    ]
    first = next(iter(scores))
    intervals = {
        metric + suffix: ("set", [getattr(s.intervals[metric], item) for s in scores.values()])
        for metric in (*METRICS, "difference")
        for suffix, item in INTERVAL_ENDS
    }
    plain = {
        name: ("set", [getattr(score, name) for score in scores.values()])
        for name in ("columns", "feature_seconds", "learn_seconds")
    }
    return xr.Dataset(
        {**intervals, **plain},
        coords={"set": list(scores)},
        attrs={
            "train": [glass.name for glass in glasses[:-1]],
            "test": glasses[-1].name,
            "reference": first,
            "seed": seed,
            "train_atoms": sum(map(len, common[:-1])),
            "train_plastic": sum(plastic[:-1]),
            "test_atoms": len(common[-1]),
            "test_plastic": plastic[-1],
            "intervals": scores[first].intervals["roc_auc"].method,
        },
    )


def common_atoms(glasses: Sequence[Glass]) -> IntArray:
    """Return the atoms (atom,) for which every version of a glass has a row."""
    return np.asarray(
        reduce(np.intersect1d, [glass.rows()[2] for glass in glasses]), dtype=np.int64
    )


def _feature_seconds(glass: Glass) -> float:
    return float(sum(record["seconds"] for record in Manifest(glass.features).records().values()))


@renamed_arguments(found="result")
def write_table(result: xr.Dataset, target: str | Path) -> Path:
    """Write a result as a CSV file, and as JSON with its attributes.

    Parameters
    ----------
    result
        Result of ``compare``, ``transfer`` or ``score_growth``. Resamples are left out.
    target
        Path without the suffixes ``.csv`` and ``.json``. Its folder is made if missing.

    Returns
    -------
    path
        Path of the CSV file.

    Examples
    --------
    >>> write_table(comparison, "out/compare").name  # doctest: +SKIP
    'compare.csv'
    """
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = result.drop_dims("resample", errors="ignore").to_dataframe().reset_index()
    table.to_csv(path.with_suffix(".csv"), index=False)
    rows = json.loads(table.to_json(orient="records", double_precision=15))
    write_json({"about": result.attrs, "rows": rows}, path.with_suffix(".json"))
    return path.with_suffix(".csv")
