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
from typing import Any, Literal

import numpy as np
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.report.json import write_json
from mgdask.store.manifest import Manifest
from mgdask.studies.softness.compared_sets import COMPARED as COMPARED
from mgdask.studies.softness.compared_sets import MRO, Features, check_glass_options, check_stems
from mgdask.studies.softness.compared_sets import prepare_sets as prepare_sets
from mgdask.studies.softness.compared_sets import resolve_sets as resolve_sets
from mgdask.studies.softness.compared_sets import species_of as species_of
from mgdask.studies.softness.conditions import Label, check_labels, pair_category, split_elements
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.subsets import choose
from mgdask.studies.softness.target_scores import METRICS as METRICS
from mgdask.studies.softness.target_scores import (
    Scores,
    Target,
    check_single,
    fold_models,
    interval_ends,
    pooled_ends,
    resampling,
)
from mgdask.studies.softness.training import learn_softness, renamed_learning

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


@dataclass(frozen=True, eq=False)
class _SetScore:
    """Scores of one feature set on the test glass."""

    scores: Scores
    columns: int
    feature_seconds: float
    learn_seconds: float


@renamed_arguments(repeats="n_resamples")
def compare(
    train: str | Path | Sequence[str | Path],
    test: str | Path,
    out: str | Path,
    *,
    sets: Sequence[str] | Mapping[str, Features] | None = None,
    single_models: Literal["undersamples", "folds"] = "undersamples",
    learning: Mapping[str, Any] | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
    client: Any = None,
    progress: bool = True,
    **options: Any,
) -> xr.Dataset:
    """Compare how well feature sets predict the plastic atoms of a held-out glass.

        difference_k = AUC_k - AUC_1

    Set 1 is the first set. All sets use the same atoms, labels and undersamples. Both
    AUCs of a difference come from the same resamples of the test atoms.

    Parameters
    ----------
    train
        Stores of deformed glasses to learn from.
    test
        Store of the held-out glass. See ``compare_glasses`` for several.
    out
        Folder for labels and features, which later calls reuse.
    sets
        See ``resolve_sets``. All sets are compared with the first.
    single_models
        "undersamples" scores each of the averaged models. "folds" trains and scores the
        paper's models instead, five per undersample, each on four fifths of it.
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
        Along ``set``, with 95 % intervals (``_low``, ``_high``):

        * ``roc_auc`` and ``recall`` of the mean score of all models, and
          ``difference``;
        * ``single_roc_auc`` and ``single_recall``, means over the single models, as the
          paper reports, with their standard deviations (``_deviation``), and
          ``single_difference``;
        * ``mro_gain`` and ``single_mro_gain``, the AUC of a set with its medium range
          minus that of the set alone; NaN if either is absent.

        Also ``columns``, ``feature_seconds``, ``learn_seconds``, ``model_roc_auc``
        (set, model), and resamples (set, resample).

    Raises
    ------
    ParameterError
        See ``prepare_glass`` and ``learn_softness``.

    Notes
    -----
    Only atoms that have every feature of every set are included. The intervals hold for
    one test glass and for given models. They include neither the spread between glasses
    nor that between training sets. ``feature_seconds`` is the sum over blocks, measured
    when the features were computed. ``learn_seconds`` refers to this call.

    A difference compares either two mean scores or two sets of single models.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 5a and Supplementary Tables 5 and 7.

    Examples
    --------
    >>> comparison = compare("g1.zarr", "g2.zarr", "out")  # doctest: +SKIP
    """
    check_glass_options("compare", options, compare)
    stores = [train] if isinstance(train, str | Path) else list(train)
    return _compare(
        stores,
        test,
        out,
        sets=sets,
        single_models=single_models,
        learning=learning,
        seed=seed,
        drawn_from=seed,
        n_resamples=n_resamples,
        client=client,
        progress=progress,
        **options,
    )


def compare_glasses(
    train: Sequence[str | Path],
    tests: Sequence[str | Path],
    out: str | Path,
    *,
    labels: Mapping[str, Label] | None = None,
    sets: Sequence[str] | Mapping[str, Features] | None = None,
    single_models: Literal["undersamples", "folds"] = "undersamples",
    learning: Mapping[str, Any] | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
    client: Any = None,
    progress: bool = True,
    **options: Any,
) -> xr.Dataset:
    """Compare feature sets on several held-out glasses.

    Parameters
    ----------
    train
        Stores of deformed glasses to learn from.
    tests
        Stores of held-out glasses. One that is also in ``train`` is left out of
        training when it is tested.
    out
        Folder for labels and features.
    labels
        Labels of all stores; see ``check_labels``. A test glass is then tested only by
        models of its own condition, as in the paper. Default: all of ``train`` is used.
    sets, single_models, learning, seed, n_resamples, client, progress, **options
        See ``compare``. The label ``centers`` of a test glass replaces ``species``.

    Returns
    -------
    comparison
        Results of ``compare`` with dimensions (test, set).

    Raises
    ------
    ParameterError
        If there is no training glass for a test glass. See also ``compare``.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 5a.

    Examples
    --------
    >>> pair = ["g1.zarr", "g2.zarr"]
    >>> comparison = compare_glasses(pair, pair, "out")  # doctest: +SKIP
    """
    check_stems(tests)
    check_glass_options("compare_glasses", options, compare_glasses)
    stores = list(dict.fromkeys([*map(Path, train), *map(Path, tests)]))
    label_of = dict(zip(stores, check_labels(stores, labels), strict=True))
    results = []
    for k, test in enumerate(map(Path, tests)):
        own = [store for store in map(Path, train) if store.resolve() != test.resolve()]
        if labels is not None:
            own = [
                store for store in own if pair_category(label_of[store], label_of[test]) == "same"
            ]
        if not own:
            raise ParameterError(
                f"{test} has no training glass{' of its condition' if labels else ''}: "
                f"train={[str(store) for store in train]}. Give another glass to learn from"
            )
        given = dict(options)
        centers = str(label_of[test].get("centers", ""))
        if centers:
            given["species"] = None if centers == "all" else split_elements(centers)
        if progress:
            print(f"tested on {test.stem}", file=sys.stderr, flush=True)
        one = _compare(
            own,
            test,
            out,
            sets=sets,
            single_models=single_models,
            learning=learning,
            seed=seed,
            drawn_from=seed + 1000 * k,  # each glass is resampled independently
            n_resamples=n_resamples,
            client=client,
            progress=progress,
            **given,
        )
        results.append(one)
    attrs = {
        "test": [one.attrs["test"] for one in results],
        "train": [one.attrs["train"] for one in results],
        **{
            key: results[0].attrs[key]
            for key in ("reference", "seed", "intervals", "single_models")
        },
        **{
            key: [one.attrs[key] for one in results]
            for key in ("train_atoms", "train_plastic", "test_atoms", "test_plastic")
        },
    }
    joined = xr.concat(
        [one.drop_attrs() for one in results],
        xr.Variable("test", [one.attrs["test"] for one in results]),
    )
    return joined.assign_attrs(attrs)


def mean_over_glasses(comparison: xr.Dataset, *, seed: int = 0) -> xr.Dataset:
    """Return means over the test glasses, with intervals.

    Parameters
    ----------
    comparison
        Result of ``compare_glasses``.
    seed
        Seed of the resampled glasses.

    Returns
    -------
    table
        Along ``set``: ``roc_auc``, ``recall``, ``single_roc_auc``, ``difference``,
        ``single_difference``, ``mro_gain`` and ``single_mro_gain``, averaged over the
        glasses. Each has its 95 % interval (``_low``, ``_high``) and its standard
        deviation over glasses (``_deviation``, NaN for one glass).

    Notes
    -----
    Intervals resample the regions of every glass. With at least five glasses, they
    resample the glasses, too.

    Examples
    --------
    >>> mean_over_glasses(compare_glasses(pair, pair, "out"))  # doctest: +SKIP
    """
    table: dict[str, Any] = {}
    for name in RESAMPLED:
        values, draws = comparison[name].values, comparison[f"{name}_resamples"].values
        used = np.isfinite(values)
        ends = [
            pooled_ends(draws[None, :, s], used[None, :, s], seed) for s in range(values.shape[1])
        ]
        deviation = (
            values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
        )
        table |= {
            name: ("set", values.mean(axis=0)),
            f"{name}_low": ("set", [low for low, _ in ends]),
            f"{name}_high": ("set", [high for _, high in ends]),
            f"{name}_deviation": ("set", deviation),
        }
    return xr.Dataset(table, coords={"set": comparison["set"].values}, attrs=comparison.attrs)


def _compare(
    train: Sequence[str | Path],
    test: str | Path,
    out: str | Path,
    *,
    sets: Sequence[str] | Mapping[str, Features] | None,
    single_models: str,
    learning: Mapping[str, Any] | None,
    seed: int,
    drawn_from: int,
    n_resamples: int,
    client: Any,
    progress: bool,
    **options: Any,
) -> xr.Dataset:
    """Compare feature sets on one test glass."""
    stores = [*train, test]
    if len(stores) < 2:
        raise ParameterError("train is empty; give at least one glass to learn from")
    check_single(single_models)
    prepared = prepare_sets(stores, out, sets, client=client, **options)
    common = [
        common_atoms([glasses[k] for glasses in prepared.values()]) for k in range(len(stores))
    ]
    scores: dict[str, _SetScore] = {}
    for name, glasses in prepared.items():
        scores[name] = _score_set(
            glasses,
            common,
            folds=single_models == "folds",
            learning=learning_arguments(learning),
            seed=seed,
            drawn_from=drawn_from,
            n_resamples=n_resamples,
        )
        if progress:
            one = scores[name].scores
            print(
                f"{name}: {scores[name].columns} columns, AUC {one.ensemble['roc_auc']:.3f}, "
                f"of single models {one.single['roc_auc'].mean():.3f}",
                file=sys.stderr,
                flush=True,
            )
    result = _comparison(scores, prepared, common, seed)
    return result.assign_attrs(single_models=single_models)


def _score_set(
    glasses: Sequence[Glass],
    common: Sequence[IntArray],
    *,
    folds: bool,
    learning: Mapping[str, Any],
    seed: int,
    drawn_from: int,
    n_resamples: int,
) -> _SetScore:
    """Train on all glasses but the last, and score that one."""
    *train_on, test_on = (
        choose(glass, atoms=atoms) for glass, atoms in zip(glasses, common, strict=True)
    )
    started = time.perf_counter()
    softness = learn_softness(train_on, test_on, seed=seed, **{**learning, "n_resamples": 20})
    single = fold_models(train_on, learning, seed) if folds else ()
    spent = time.perf_counter() - started
    return _SetScore(
        Target(test_on, n_resamples, drawn_from).test(softness.models, single),
        len(test_on.columns()),
        sum(map(_feature_seconds, glasses)),
        spent,
    )


RESAMPLED = (
    *METRICS,
    "single_roc_auc",
    "difference",
    "single_difference",
    "mro_gain",
    "single_mro_gain",
)
"""Variables of a comparison that have resamples."""


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
    value: dict[str, list[float]] = {}
    draws: dict[str, list[FloatArray]] = {}

    def put(name: str, one: float, drawn: FloatArray) -> None:
        value.setdefault(name, []).append(one)
        draws.setdefault(name, []).append(drawn)

    auc = "roc_auc"
    for name, of_set in scores.items():
        one = of_set.scores
        for metric in METRICS:
            put(metric, one.ensemble[metric], one.ensemble_resamples[metric])
            single = one.single[metric]
            put(f"single_{metric}", float(single.mean()), one.single_resamples[metric])
            deviation = float(single.std(ddof=1)) if len(single) > 1 else np.nan
            value.setdefault(f"single_{metric}_deviation", []).append(deviation)
        alone = name.removesuffix(MRO) if name.endswith(MRO) else ""
        for variable, other in (("difference", first), ("mro_gain", alone)):
            if other in scores:
                base = scores[other].scores
                put(
                    variable,
                    one.ensemble[auc] - base.ensemble[auc],
                    one.ensemble_resamples[auc] - base.ensemble_resamples[auc],
                )
                put(
                    f"single_{variable}",
                    float(one.single[auc].mean() - base.single[auc].mean()),
                    one.single_resamples[auc] - base.single_resamples[auc],
                )
            else:
                nothing = np.full_like(one.ensemble_resamples[auc], np.nan)
                put(variable, np.nan, nothing)
                put(f"single_{variable}", np.nan, nothing)
    variables: dict[str, Any] = {name: ("set", values) for name, values in value.items()}
    for name, rows in draws.items():
        low, high = interval_ends(np.array(rows))
        variables |= {f"{name}_low": ("set", low), f"{name}_high": ("set", high)}
        if name in RESAMPLED:
            variables[f"{name}_resamples"] = (("set", "resample"), np.array(rows))
    variables |= {
        name: ("set", [getattr(score, name) for score in scores.values()])
        for name in ("columns", "feature_seconds", "learn_seconds")
    }
    variables["model_roc_auc"] = (
        ("set", "model"),
        np.array([score.scores.single[auc] for score in scores.values()]),
    )
    regions = glasses[-1].regions()[common[-1]]
    return xr.Dataset(
        variables,
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
            "intervals": resampling(regions, len(draws[auc][0])),
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
        Result of ``compare``, ``transfer`` or ``score_growth``. Resamples and single
        models are not written.
    target
        Path without the suffixes ``.csv`` and ``.json``. Its folder is created if
        missing.

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
    table = result.drop_dims(["resample", "model"], errors="ignore").to_dataframe().reset_index()
    table.to_csv(path.with_suffix(".csv"), index=False)
    rows = json.loads(table.to_json(orient="records", double_precision=15))
    write_json({"about": result.attrs, "rows": rows}, path.with_suffix(".json"))
    return path.with_suffix(".csv")
