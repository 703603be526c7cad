"""Train the softness score on glasses and test it on others.

Classes are balanced by undersampling in training, not in the test. Several undersamples
are drawn and their models averaged, so that most atoms of the majority class are used.
The predicted probability that an atom is plastic is its quench-in softness (QS): Wang,
Jain, Nat. Commun. 10, 5537 (2019).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._renamed import check_arguments, renamed_arguments
from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.splits import Split, group_split, undersample
from mgdask.learn.data.targets import rank_targets
from mgdask.learn.evaluation.bootstrap import Interval, bootstrap, bootstrap_contrast
from mgdask.learn.evaluation.metrics import baseline_scores
from mgdask.learn.evaluation.single_models import single_model_scores
from mgdask.learn.search.optimize import search
from mgdask.learn.search.space import SPACE
from mgdask.learn.training.boosting import train
from mgdask.learn.training.card import model_card
from mgdask.learn.training.logistic import C, Logistic
from mgdask.learn.training.model import Model
from mgdask.learn.training.parameters import main_names
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.feature_selection import Leading, cross_validate, leading_columns
from mgdask.studies.softness.simple_model import LOGISTIC, logistic_models, logistic_score
from mgdask.studies.softness.trained import METRICS as METRICS
from mgdask.studies.softness.trained import Softness as Softness
from mgdask.studies.softness.trained import score_each
from mgdask.studies.timing import StageTimer

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

PARAMETERS: Mapping[str, Any] = {
    "learning_rate": 0.03,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "lambda_l2": 5.0,
}
"""LightGBM parameters: small, strongly regularized trees.

A glass has only a few hundred plastic atoms.
"""
MAX_SELECTION_ROWS = 200_000
"""Maximum number of random rows for cross-validation and column selection."""
RENAMED = {
    "draws": "n_undersamples",
    "rounds": "num_boost_round",
    "wanted": "n_features",
    "repeats": "n_resamples",
}
"""Arguments of ``learn_softness`` by their names of version 0.1."""


def renamed_learning(learning: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return arguments of ``learn_softness`` under their current names.

    Old names warn.
    """
    for old in RENAMED.keys() & (learning or {}):
        message = f"learning[{old!r}] is {RENAMED[old]!r} since version 0.2"
        warnings.warn(message, FutureWarning, stacklevel=3)
    given = {RENAMED.get(name, name): value for name, value in (learning or {}).items()}
    check_arguments("learning", given, [learn_softness], ["train_on", "test_on"])
    return given


@renamed_arguments(**RENAMED)
def learn_softness(
    train_on: Sequence[Glass],
    test_on: Glass,
    *,
    n_undersamples: int = 20,
    num_boost_round: int = 150,
    params: Mapping[str, Any] | None = None,
    n_features: int | None = 15,
    correlated: float = 0.95,
    qs: str = "all",
    target: str = "label",
    folds: int = 5,
    trials: int = 0,
    seed: int = 0,
    n_resamples: int = 1000,
    stages: StageTimer | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> Softness:
    """Learn from glasses which atoms turn plastic, and test on another glass.

    Parameters
    ----------
    train_on, test_on
        Glasses from ``prepare_glass``, made with the same features.
    n_undersamples
        Number of random undersamples of the majority class. Each trains a model.
    num_boost_round
        Trees per model.
    params
        LightGBM parameters that replace those of ``PARAMETERS``.
    n_features
        Number of leading columns to select; None for no selection.
    correlated
        Correlation above which one of two columns is dropped.
    qs
        Columns that QS is computed from: "all", or the "leading" ones, as in the paper.
    target
        Target of the models: "label" is the label of an atom, as in the paper. "rank"
        is the rank of its D2min in the balanced sample, a soft label. In both cases, a
        QS of 0.5 is the middle of the balanced sample. Columns and parameters are
        always selected with labels.
    folds
        Folds of the cross-validation on the training glasses; 0 for none. Folds are
        whole glasses if there are enough of them, else whole regions of 15 Å.
    trials
        Trials of a search for the parameters that ``params`` does not name; 0 for none.
    seed
        Seed of all random choices.
    n_resamples
        Bootstrap resamples over regions of the test glass.
    stages
        Records the seconds spent in each part.
    client
        Dask client for the search. Default: the current one.
    progress
        Whether to report progress.

    Returns
    -------
    softness
        The score of the columns selected by ``qs``. The metrics of the other models are
        included.

    Raises
    ------
    ParameterError
        If the test glass is also a training glass, even under another name, or if
        glasses have different columns.

    Notes
    -----
    Adjacent regions share atoms at their border, so cross-validation within a glass is
    slightly optimistic. Intervals from one test glass do not include the spread between
    glasses.

    Examples
    --------
    >>> train_on = [prepare_glass("a.zarr", "out")]  # doctest: +SKIP
    >>> test_on = prepare_glass("b.zarr", "out")  # doctest: +SKIP
    >>> softness = learn_softness(train_on, test_on)  # doctest: +SKIP
    """
    return learn_and_test(
        train_on,
        [test_on],
        n_undersamples=n_undersamples,
        num_boost_round=num_boost_round,
        params=params,
        n_features=n_features,
        correlated=correlated,
        qs=qs,
        target=target,
        folds=folds,
        trials=trials,
        seed=seed,
        n_resamples=n_resamples,
        stages=stages,
        client=client,
        progress=progress,
    )[0]


@dataclass(frozen=True, eq=False)
class _Trained:
    """Models, with the details of training that the card and the baselines need."""

    models: tuple[Model, ...]
    leading_models: tuple[Model, ...]
    logistic: tuple[Logistic, ...]
    choice: Leading | None
    folds: tuple[float, ...]
    splits: Sequence[Split]
    train_on: Sequence[Glass]
    glass_of_row: Sequence[str]
    labels: BoolArray
    parameters: Mapping[str, Any]
    seed: int
    source: str


def learn_and_test(
    train_on: Sequence[Glass],
    tests: Sequence[Glass],
    *,
    n_undersamples: int = 20,
    num_boost_round: int = 150,
    params: Mapping[str, Any] | None = None,
    n_features: int | None = 15,
    correlated: float = 0.95,
    qs: str = "all",
    target: str = "label",
    folds: int = 5,
    trials: int = 0,
    seed: int = 0,
    n_resamples: int = 1000,
    parameters: Mapping[str, Any] | None = None,
    stages: StageTimer | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> list[Softness]:
    """Train on glasses and test the same models on several others.

    Parameters are those of ``learn_softness``, and ``parameters``: further entries of
    the model card. The results are in the order of ``tests``.
    """
    if not train_on or n_undersamples < 1:
        raise ParameterError(
            "train_on needs at least one glass and "
            f"n_undersamples={n_undersamples} must be at least 1"
        )
    if n_features is not None and n_features < 1:
        raise ParameterError(
            f"n_features={n_features} must be at least 1 column, or None for no selection"
        )
    if (n_features is not None or trials) and folds < 2:
        raise ParameterError(
            f"folds={folds}: leading columns and a search need at least 2 folds; give "
            "n_features=None and trials=0 for neither"
        )
    if qs not in ("all", "leading") or (qs == "leading" and n_features is None):
        raise ParameterError(
            f"qs={qs!r} must be 'all', or 'leading' with n_features, the number of leading columns"
        )
    if target not in ("label", "rank"):
        raise ParameterError(f"target={target!r} must be 'label' or 'rank'")
    columns = _check_glasses(train_on, tests)
    stages = stages or StageTimer()
    settings = {**PARAMETERS, **dict(params or {})}
    with stages("rows"):
        x, y, glass, region = _training_rows(train_on, folds)
        values = _d2min_of_rows(train_on) if target == "rank" else None
        rows = _selection_rows(len(y), seed)
        held_out = [test_on.rows() for test_on in tests]
    if trials:
        with stages("parameters"):
            tried = search(
                x[rows],
                y[rows].astype(np.float64),
                region[rows],
                trials=trials,
                params=dict(params or {}),
                space={
                    name: ends
                    for name, ends in SPACE.items()
                    if name not in main_names(params or {})
                },
                folds=folds,
                num_boost_round=num_boost_round,
                columns=columns,
                seed=seed,
                client=client,
                progress=progress,
            )
        settings = {**settings, **tried.params}
    with stages("models"):
        balanced = [undersample(y, seed + k, strata=glass) for k in range(n_undersamples)]
        targets, objective = _targets(y, values, balanced)
        models = _models(
            x, targets, objective, balanced, columns, settings, num_boost_round, seed, progress
        )
    if not any(model.booster.feature_importance("split").any() for model in models):
        raise ParameterError(
            f"the trees have no split: {int(y.sum())} plastic atoms are too few for these "
            "parameters; take more glasses, a lower threshold, or a smaller min_data_in_leaf "
            "in params"
        )
    fold_scores: tuple[float, ...] = ()
    splits: list[Split] = []
    choice = None
    leading_models: tuple[Model, ...] = ()
    if folds:
        with stages("cross-validation"):
            fold_scores, splits = cross_validate(
                x[rows],
                y[rows],
                region[rows],
                params=settings,
                num_boost_round=num_boost_round,
                folds=folds,
                seed=seed,
                values=None if values is None else values[rows],
            )
    if n_features is not None:
        with stages("leading columns"):
            choice = leading_columns(
                x[rows],
                y[rows],
                region[rows],
                columns,
                n_features=n_features,
                correlated=correlated,
                params=settings,
                num_boost_round=num_boost_round,
                folds=folds,
                seed=seed,
            )
            places = [columns.index(name) for name in choice.columns]
            leading_models = _models(
                x[:, places],
                targets,
                objective,
                balanced,
                choice.columns,
                settings,
                num_boost_round,
                seed,
                False,
            )
    used = columns if qs == "all" or choice is None else choice.columns
    with stages("logistic regression"):
        logistic = logistic_models(x[:, [columns.index(name) for name in used]], y, balanced)
    trained = _Trained(
        models,
        leading_models,
        logistic,
        choice,
        fold_scores,
        splits,
        train_on,
        [train_on[k].name for k in glass],
        y,
        {
            **(parameters or {}),
            **settings,
            "num_boost_round": num_boost_round,
            "n_undersamples": n_undersamples,
            "qs": qs,
            **({"target": target} if target != "label" else {}),
            "logistic_inverse_penalty": C,
            "train_atoms": len(y),
            "train_plastic": int(y.sum()),
            "all_columns": len(columns),
        },
        seed,
        qs,
    )
    with stages("intervals"):
        return [
            _test(trained, test_on, values, n_resamples)
            for test_on, values in zip(tests, held_out, strict=True)
        ]


def _test(
    trained: _Trained,
    test_on: Glass,
    rows: tuple[FloatArray, BoolArray, IntArray],
    n_resamples: int,
) -> Softness:
    """Score trained models on a glass with these rows."""
    x, y, atoms = rows
    columns, seed = trained.models[0].columns, trained.seed
    regions = test_on.regions()[atoms]
    every = _scored(trained.models, x, columns, y, regions, n_resamples, seed)
    leading_qs, leading = None, None
    if trained.choice is not None:
        places = [columns.index(name) for name in trained.choice.columns]
        leading = _scored(
            trained.leading_models,
            x[:, places],
            trained.choice.columns,
            y,
            regions,
            n_resamples,
            seed,
        )
        leading_qs = _of_all_atoms(leading.score, atoms, len(test_on.keep))
    of_qs = leading if trained.source == "leading" and leading is not None else every
    metrics = of_qs.metrics
    baselines = {
        name: score_intervals(y, guess, regions, n_resamples, seed)
        for name, guess in baseline_scores(trained.labels, len(y), seed).items()
    }
    simple = logistic_score(trained.logistic, x[:, [columns.index(name) for name in of_qs.columns]])
    baselines[LOGISTIC] = score_intervals(y, simple, regions, n_resamples, seed)
    glasses = (*trained.train_on, test_on)
    names = [*trained.glass_of_row, *[test_on.name] * len(y)]
    notes = ["balanced by undersampling: the score is not a probability of the unbalanced glass"]
    if trained.splits:
        notes.append(
            "the first split is training against test glass; the others are folds of the "
            "training rows by region"
        )
    card = model_card(
        f"quench-in softness of {test_on.name}",
        data={name: text for glass in glasses for name, text in glass.digests().items()},
        columns=of_qs.columns,
        split=[group_split(names, [test_on.name], seed), *trained.splits],
        parameters={
            **trained.parameters,
            "threshold": test_on.threshold,
            "strain": float(test_on.strain[test_on.frame]),
        },
        metrics=metrics,
        baselines=baselines,
        seed=seed,
        notes=notes,
    )
    return Softness(
        models=trained.models if of_qs is every else trained.leading_models,
        columns=of_qs.columns,
        train=tuple(glass.name for glass in trained.train_on),
        test=test_on.name,
        metrics=metrics,
        baselines=baselines,
        qs=_of_all_atoms(of_qs.score, atoms, len(test_on.keep)),
        folds=trained.folds,
        choice=trained.choice,
        leading_metrics={} if leading is None else leading.metrics,
        card=card,
        leading_qs=leading_qs,
        source=trained.source,
        all_metrics={} if of_qs is every else every.metrics,
        single=of_qs.single,
        leading_single={} if leading is None else leading.single,
        logistic_qs=_of_all_atoms(simple, atoms, len(test_on.keep)),
        minus_logistic=score_differences(y, of_qs.score, simple, regions, n_resamples, seed),
    )


@dataclass(frozen=True, eq=False)
class _Scored:
    """Scores of models on a test glass: of their mean, and of single ones."""

    columns: tuple[str, ...]
    score: FloatArray
    metrics: Mapping[str, Interval]
    single: Mapping[str, Any]


def _scored(
    models: Sequence[Model],
    x: FloatArray,
    columns: tuple[str, ...],
    y: BoolArray,
    regions: IntArray,
    n_resamples: int,
    seed: int,
) -> _Scored:
    each = score_each(models, x, columns)
    score = each[0].copy()
    for one in each[1:]:  # in the order of ``mean_score``, which gives the same bits
        score += one
    score /= len(each)
    return _Scored(
        tuple(columns),
        score,
        score_intervals(y, score, regions, n_resamples, seed),
        single_scores(y, each, regions, n_resamples, seed),
    )


def _of_all_atoms(score: FloatArray, atoms: IntArray, n_atoms: int) -> FloatArray:
    qs = np.full(n_atoms, np.nan)
    qs[atoms] = score
    return qs


def _check_glasses(train_on: Sequence[Glass], tests: Sequence[Glass]) -> tuple[str, ...]:
    """Return the columns of all glasses, which must be different trajectories."""
    columns = tests[0].columns()
    training: dict[str, Glass] = {}
    testing: dict[str, Glass] = {}
    for kind, glasses, seen in (("test", tests, testing), ("training", train_on, training)):
        for glass in glasses:
            if glass.columns() != columns:
                raise ParameterError(
                    f"{glass.name} and {tests[0].name} have other columns; prepare them with "
                    "the same features"
                )
            content = glass.digests()[f"{glass.name} trajectory"]
            if kind == "training" and content in testing:
                raise ParameterError(
                    f"{glass.name} is among the training glasses and {testing[content].name}, "
                    "the test glass, is the same trajectory: a score on atoms used in training "
                    "is meaningless; leave it out on one side"
                )
            if content in seen:
                raise ParameterError(
                    f"{glass.name} and {seen[content].name} among the {kind} glasses are the "
                    "same; give each once"
                )
            seen[content] = glass
    names = [glass.name for glass in (*train_on, *tests)]
    if len(set(names)) < len(names):
        raise ParameterError(
            f"two glasses have the same name, among {names}; give their stores different names"
        )
    return columns


def _training_rows(
    train_on: Sequence[Glass], folds: int
) -> tuple[FloatArray, BoolArray, IntArray, AnyArray]:
    """Return features, labels, glass and fold group of all included atoms (row,)."""
    parts = [glass.rows() for glass in train_on]
    glass = np.concatenate([np.full(len(part[1]), k) for k, part in enumerate(parts)])
    if len(train_on) >= folds > 0:
        group = np.asarray([train_on[k].name for k in glass], dtype=object)
    else:
        group = np.asarray(
            [
                f"{one.name} region {k}"
                for one, part in zip(train_on, parts, strict=True)
                for k in one.regions()[part[2]]
            ],
            dtype=object,
        )
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        glass,
        group,
    )


def _selection_rows(rows: int, seed: int) -> IntArray:
    if rows <= MAX_SELECTION_ROWS:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, MAX_SELECTION_ROWS, replace=False))


def _d2min_of_rows(train_on: Sequence[Glass]) -> FloatArray:
    """Return D2min in Å² of all included atoms (row,)."""
    return np.concatenate(
        [np.asarray(glass.d2min()[glass.frame][glass.rows()[2]]) for glass in train_on]
    ).astype(np.float64)


def _targets(
    y: BoolArray, values: FloatArray | None, balanced: Sequence[IntArray]
) -> tuple[list[FloatArray], str]:
    """Return the targets (row,) of each balanced sample, and the objective."""
    if values is None:
        return [y[sample].astype(np.float64) for sample in balanced], "binary"
    return [rank_targets(values[sample]) for sample in balanced], "cross_entropy"


def _models(
    x: FloatArray,
    targets: Sequence[FloatArray],
    objective: str,
    balanced: Sequence[IntArray],
    columns: Sequence[str],
    params: Mapping[str, Any],
    num_boost_round: int,
    seed: int,
    progress: bool,
) -> tuple[Model, ...]:
    return tuple(
        train(
            x[sample],
            target,
            objective=objective,
            columns=tuple(columns),
            num_boost_round=num_boost_round,
            params=params,
            seed=seed + k,
            threads=1,
            progress=progress and k == 0,
        )
        for k, (sample, target) in enumerate(zip(balanced, targets, strict=True))
    )


def single_scores(
    label: BoolArray, each: FloatArray, regions: AnyArray, n_resamples: int, seed: int
) -> dict[str, Any]:
    """Return AUC and recall of single models beside those of their mean.

    Parameters
    ----------
    label, regions
        Of each test atom (atom,).
    each
        Probabilities of every model (model,atom).
    n_resamples, seed
        See ``score_intervals``.

    Returns
    -------
    scores
        Values of ``SingleModelScores`` by name of the metric.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Methods: the models of five folds are
    tested on the unseen glass, and the average scoring metric is reported.
    """
    groups = regions if len(np.unique(regions)) > 1 else None
    return {
        name: single_model_scores(
            name, label, each, groups, n_resamples=n_resamples, seed=seed
        ).as_dict()
        for name in METRICS
    }


def score_intervals(
    label: BoolArray, score: FloatArray, regions: AnyArray, n_resamples: int, seed: int
) -> dict[str, Interval]:
    """Return AUC and recall with their intervals, resampled over regions.

    Parameters
    ----------
    label, score, regions
        Of each test atom (atom,).
    n_resamples
        Number of bootstrap resamples.
    seed
        Seed of the resamples.

    Returns
    -------
    intervals
        Intervals by name of the metric. If all atoms are in one region, atoms are
        resampled.
    """
    groups = regions if len(np.unique(regions)) > 1 else None
    return {
        name: bootstrap(name, label, score, groups, n_resamples=n_resamples, seed=seed)
        for name in METRICS
    }


def score_differences(
    label: BoolArray,
    score: FloatArray,
    other: FloatArray,
    regions: AnyArray,
    n_resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Return AUC and recall of a score minus those of another on the same atoms.

    Parameters
    ----------
    label, score, other, regions
        Of each test atom (atom,).
    n_resamples, seed
        See ``score_intervals``.

    Returns
    -------
    differences
        Paired intervals by name of the metric: both scores are taken on the same
        resamples.
    """
    groups = regions if len(np.unique(regions)) > 1 else None
    return {
        name: bootstrap_contrast(
            name, label, [score, other], [1.0, -1.0], groups, n_resamples=n_resamples, seed=seed
        )
        for name in METRICS
    }
