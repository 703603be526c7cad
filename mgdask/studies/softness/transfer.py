"""Softness learned under one condition and tested under every other.

The results show how well models transfer to another quench rate, composition or system,
as in Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 4.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask._typing import BoolArray, FloatArray
from mgdask.errors import ParameterError
from mgdask.execution.deferred import deferred_client
from mgdask.features import Feature, FrameFeature, MediumRange, SymmetryFunctions
from mgdask.learn.training.model import Model
from mgdask.studies.softness.compared_sets import (
    Features,
    check_glass_options,
    check_stems,
    resolve_sets,
    species_of,
)
from mgdask.studies.softness.comparison import common_atoms, learning_arguments
from mgdask.studies.softness.conditions import (
    CATEGORIES,
    KEYS,
    Label,
    check_labels,
    condition_name,
    pair_category,
    split_elements,
)
from mgdask.studies.softness.conditions import read_labels as read_labels
from mgdask.studies.softness.data import Glass, prepare_glass
from mgdask.studies.softness.subsets import choose
from mgdask.studies.softness.target_scores import (
    METRICS,
    Scores,
    Target,
    check_single,
    fold_models,
    interval_ends,
    pooled_ends,
)
from mgdask.studies.softness.training import learn_softness

RESAMPLED = ("roc_auc", "recall", "single_roc_auc", "difference", "single_difference")
"""Variables whose resamples are kept for intervals of means over pairs."""
CheckedLabel = Mapping[str, str | float]


class _Group(NamedTuple):
    """Indices of the glasses that train one model, and their condition."""

    name: str
    members: tuple[int, ...]
    label: CheckedLabel


@renamed_arguments(repeats="n_resamples")
def transfer(
    stores: Sequence[str | Path],
    out: str | Path,
    *,
    labels: Mapping[str, Label] | None = None,
    by: Literal["glass", "label", "condition"] = "glass",
    reference: Literal["condition", "glass"] = "condition",
    features: str | Sequence[str] | Sequence[Feature] | Mapping[str, Features] = "interstice",
    columns: Literal["same", "common"] = "same",
    single_models: Literal["undersamples", "folds"] = "undersamples",
    learning: Mapping[str, Any] | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
    client: Any = None,
    progress: bool = True,
    **options: Any,
) -> xr.Dataset:
    """Train on each glass or condition, and test on every other.

        difference = AUC(transferred) - AUC(trained on the target)

    Both AUCs are computed on the same atoms of the target, and the interval of their
    difference is paired.

    Parameters
    ----------
    stores
        Two or more stores of deformed glasses, with different names.
    out
        Folder for labels and features.
    labels
        ``composition``, ``rate`` and other keys by path or name of the store; see
        ``check_labels``. All stores need the same keys.
    by
        "glass" trains on one glass. "label" trains on all glasses with one label except
        the tested one. "condition" is the scheme of the paper: it holds out the last
        store of each condition for testing, and trains on the others.
    reference
        "condition" uses the mean AUC of all other models trained on the target's
        condition. It is NaN if there is none. "glass" uses models trained on the other
        regions of the target itself, by cross-validation in 5 folds.
    features
        Name in ``COMPARED`` or ``feature_set``, or a list of features. For several
        names, or a mapping as in ``resolve_sets``, the result has a dimension ``set``.
        All sets are then trained and tested on the same atoms.
    columns
        "same" refuses glasses with different columns. "common" uses the columns that
        all glasses have, by name.
    single_models
        "undersamples" scores each of the averaged models. "folds" trains and scores the
        paper's models instead, five per undersample, each on four fifths of it.
    learning
        Further arguments of ``learn_softness``.
    seed
        Seed of training and resampling.
    n_resamples
        Number of resamples of the regions of 15 Å of each test glass.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to print a line per pair.
    **options
        Further arguments of ``prepare_glass``.

    Returns
    -------
    result
        Variables with dimensions (train, test) or (set, train, test). Values are NaN,
        "" or 0 if there is no training glass:

        * ``roc_auc`` and ``recall`` of the mean score of all models, with their 95 %
          intervals (``_low``, ``_high``);
        * ``single_roc_auc`` and ``single_recall``, means over the single models, as the
          paper reports, with their standard deviations (``_deviation``);
        * ``reference`` and ``single_reference``, AUCs of the models trained on the
          target, and ``difference`` and ``single_difference`` with their intervals;
        * ``category`` and ``train_atoms``;
        * resamples (..., resample), from which ``transfer_by_category`` computes
          intervals.

    Raises
    ------
    ParameterError
        If there are fewer than two stores, names repeat, or labels or columns do not
        match.

    Notes
    -----
    ``difference`` compares the mean score of all models with that of all reference
    models. ``single_difference`` compares single models with single models. With
    ``reference="glass"``, a reference model is always trained on four fifths of the
    regions.

    The paper trains one model for both species of Cu-Zr. For other systems, it trains
    models only for the host (majority) atoms. The label ``centers`` selects the atoms
    per store.

    For the category "same" and ``reference="condition"``, a model is compared with the
    other models of its condition. This requires three glasses of a condition and
    ``by="glass"``. Otherwise use ``reference="glass"``.

    The column names of these features do not contain species: interstice, coordination,
    voronoi_indices, motifs, packing, fold symmetry, bond order, their medium-range
    sets, and ``symmetry_by_role``.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 4 and Methods.

    Examples
    --------
    >>> result = transfer(["g1.zarr", "g2.zarr"], "out")  # doctest: +SKIP
    """
    check_glass_options("transfer", options, transfer)
    if len(stores) < 2:
        raise ParameterError(
            f"stores={[str(store) for store in stores]}: transfer needs two glasses or more"
        )
    if by not in ("glass", "label", "condition") or reference not in ("condition", "glass"):
        raise ParameterError(
            f"by={by!r} must be 'glass', 'label' or 'condition', and reference={reference!r} "
            "'condition' or 'glass'"
        )
    check_single(single_models)
    check_stems(stores)
    label_of = check_labels(stores, labels)
    if by != "glass" and labels is None:
        raise ParameterError(
            f"by={by!r} needs labels={{store: {{'composition': ..., 'rate': ...}}}}"
        )
    sets, several = _sets(features)
    prepared = {
        name: _prepare(stores, out, name, one, label_of, client, options)
        for name, one in sets.items()
    }
    atoms = [
        common_atoms([glasses[k] for glasses in prepared.values()]) for k in range(len(stores))
    ]
    groups, tested = _groups(stores, label_of, by)
    results = []
    for name, whole in prepared.items():
        shared = _columns(whole, columns)
        glasses = [
            choose(glass, atoms=some, columns=shared)
            for glass, some in zip(whole, atoms, strict=True)
        ]
        result = _test_all(
            glasses,
            groups,
            tested,
            label_of,
            reference=reference,
            folds=single_models == "folds",
            learning=learning_arguments(learning),
            seed=seed,
            n_resamples=n_resamples,
            progress=f"{name}: " if several else "" if progress else None,
        )
        results.append(result.assign_attrs(columns=len(shared), features=name))
    attrs = {"seed": seed, "by": by, "reference": reference, "single_models": single_models}
    if not several:
        return results[0].assign_attrs(attrs)
    joined = xr.concat([result.drop_attrs() for result in results], xr.Variable("set", list(sets)))
    counts = [result.attrs["columns"] for result in results]
    return joined.assign_attrs(columns=counts, features=list(sets), **attrs)


def _sets(
    features: str | Sequence[str] | Sequence[Feature] | Mapping[str, Features],
) -> tuple[dict[str, Features], bool]:
    """Return features by name of the set, and whether there may be several sets."""
    if isinstance(features, str):
        return {features: features}, False
    if isinstance(features, Mapping):
        return dict(features), True
    if features and all(isinstance(one, str) for one in features):
        return {str(name): str(name) for name in features}, True
    return {"features": [one for one in features if isinstance(one, Feature)]}, False


def _prepare(
    stores: Sequence[str | Path],
    out: str | Path,
    name: str,
    features: Features,
    labels: Sequence[CheckedLabel],
    client: Any,
    options: Mapping[str, Any],
) -> list[Glass]:
    """Return the glasses, each with the features and centers for its species."""
    glasses = []
    with deferred_client(client) as workers:
        for store, label in zip(stores, labels, strict=True):
            ((_, listed),) = resolve_sets({name: features}, species_of([store])).items()
            if "roles" in label:
                roles = split_elements(str(label["roles"]))
                listed = [_with_roles(feature, roles) for feature in listed]
            own = dict(options)
            if "centers" in label:
                centers = str(label["centers"])
                own["species"] = None if centers == "all" else split_elements(centers)
            glasses.append(
                prepare_glass(
                    store, out, features=listed, name=name, client=workers, progress=False, **own
                )
            )
    return glasses


def _with_roles(feature: Feature, roles: tuple[str, ...]) -> Feature:
    """Return a feature with the given roles if it has ``roles="count"``."""
    changed = feature
    if isinstance(feature, SymmetryFunctions) and feature.roles == "count":
        changed = dataclasses.replace(feature, roles=roles)
    elif isinstance(feature, MediumRange):
        inner = _with_roles(feature.feature, roles)
        if inner is not feature.feature and isinstance(inner, FrameFeature):
            changed = dataclasses.replace(feature, feature=inner)
    return feature if changed is feature else changed.named(feature.name)


def _groups(
    stores: Sequence[str | Path], labels: Sequence[CheckedLabel], by: str
) -> tuple[list[_Group], list[int]]:
    """Return the groups of training glasses, and the indices of the test glasses."""
    if by == "glass":
        names = [Path(store).stem for store in stores]
        single = [_Group(name, (k,), labels[k]) for k, name in enumerate(names)]
        return single, list(range(len(stores)))
    members: dict[tuple[str | float | None, ...], list[int]] = {}
    for k, label in enumerate(labels):
        members.setdefault(tuple(label.get(key) for key in KEYS), []).append(k)
    groups = [
        _Group(condition_name(labels[places[0]]), tuple(places), labels[places[0]])
        for places in members.values()
    ]
    if by == "label":
        return groups, list(range(len(stores)))
    tested = [group.members[-1] for group in groups]
    trained = [group._replace(members=group.members[:-1]) for group in groups]
    return [group for group in trained if group.members], tested


def _columns(glasses: Sequence[Glass], columns: str) -> tuple[str, ...]:
    """Columns that all glasses share."""
    if columns not in ("same", "common"):
        raise ParameterError(f"columns={columns!r} must be 'same' or 'common'")
    names = [glass.columns() for glass in glasses]
    shared = set(names[0]).intersection(*names[1:])
    common = tuple(name for name in names[0] if name in shared)
    other = next((k for k, own in enumerate(names) if own != names[0]), None)
    if columns == "same" and other is not None:
        differing = sorted(set(names[0]) ^ set(names[other]))
        example = repr(differing[0]) if differing else "their order"
        raise ParameterError(
            f"{glasses[0].name} and {glasses[other].name} have different columns, such as "
            f"{example}. Columns may contain names of species. Use features without them "
            "('interstice', 'symmetry_by_role', ...), or columns='common' for the "
            f"{len(common)} that all glasses have"
        )
    if not common:
        raise ParameterError(
            "the glasses have no column in common; use features without names of species, such as "
            "'interstice' or 'symmetry_by_role'"
        )
    return common


def _test_all(
    glasses: Sequence[Glass],
    groups: Sequence[_Group],
    tested: Sequence[int],
    labels: Sequence[CheckedLabel],
    *,
    reference: str,
    folds: bool,
    learning: Mapping[str, Any],
    seed: int,
    n_resamples: int,
    progress: str | None,
) -> xr.Dataset:
    """Return scores, references and differences of all pairs for one feature set."""
    trained: dict[tuple[int, ...], tuple[Sequence[Model], Sequence[Model]]] = {}
    scores: dict[tuple[int, int], Scores] = {}
    own: dict[int, Scores] = {}
    shape = (len(groups), len(tested))
    category, atoms = np.full(shape, "", dtype=object), np.zeros(shape, dtype=np.int64)
    for j, k in enumerate(tested):
        # each glass is resampled independently
        target = Target(glasses[k], n_resamples, seed + 1000 * k)
        for i, group in enumerate(groups):
            training = tuple(m for m in group.members if m != k)
            if not training:
                continue
            if training not in trained:  # models do not depend on the glass they are tested on
                train_on = [glasses[m] for m in training]
                models = learn_softness(
                    train_on, glasses[k], seed=seed, **{**learning, "n_resamples": 20}
                ).models
                single = fold_models(train_on, learning, seed) if folds else ()
                trained[training] = (models, single)
            scores[i, j] = target.test(*trained[training])
            category[i, j] = pair_category(group.label, labels[k])
            atoms[i, j] = sum(len(glasses[m].rows()[2]) for m in training)
            if progress is not None:
                auc = scores[i, j].ensemble["roc_auc"]
                text = f"{progress}{group.name} -> {glasses[k].name}: AUC {auc:.3f}"
                print(f"{text}, {category[i, j]}", file=sys.stderr, flush=True)
        if reference == "glass":
            own[j] = target.own_score(learning, seed)
    references = {
        (i, j): [own[j]]
        if reference == "glass"
        else [
            scores[other, j]
            for other in range(len(groups))
            if other != i and (other, j) in scores and category[other, j] == "same"
        ]
        for i, j in scores
    }
    dims = ("train", "test")
    return xr.Dataset(
        {
            **_variables(scores, references, shape, n_resamples),
            "category": (dims, category),
            "train_atoms": (dims, atoms),
        },
        coords={
            "train": [group.name for group in groups],
            "test": [glasses[k].name for k in tested],
        },
    )


def _variables(
    scores: Mapping[tuple[int, int], Scores],
    references: Mapping[tuple[int, int], Sequence[Scores]],
    shape: tuple[int, int],
    n_resamples: int,
) -> dict[str, Any]:
    """Return arrays (train,test) and (train,test,resample) of all pairs."""
    value: dict[str, FloatArray] = {}
    drawn: dict[str, FloatArray] = {}

    def put(name: str, place: tuple[int, int], one: float, draws: FloatArray | None = None) -> None:
        value.setdefault(name, np.full(shape, np.nan))[place] = one
        if draws is not None:
            drawn.setdefault(name, np.full((*shape, n_resamples), np.nan))[place] = draws

    for place, one in scores.items():
        for metric in METRICS:
            put(metric, place, one.ensemble[metric], one.ensemble_resamples[metric])
            single = one.single[metric]
            put(f"single_{metric}", place, float(single.mean()), one.single_resamples[metric])
            deviation = float(single.std(ddof=1)) if len(single) > 1 else np.nan
            put(f"single_{metric}_deviation", place, deviation)
        own = references[place]
        auc, n = "roc_auc", max(len(own), 1)
        for kind, mine, theirs, my_draws, their_draws in (
            (
                "",
                one.ensemble[auc],
                [other.ensemble[auc] for other in own],
                one.ensemble_resamples[auc],
                [other.ensemble_resamples[auc] for other in own],
            ),
            (
                "single_",
                float(one.single[auc].mean()),
                [float(other.single[auc].mean()) for other in own],
                one.single_resamples[auc],
                [other.single_resamples[auc] for other in own],
            ),
        ):
            base = sum(theirs) / n if own else np.nan
            base_draws = np.sum(their_draws, axis=0) / n if own else np.full(n_resamples, np.nan)
            put(f"{kind}reference", place, base)
            put(f"{kind}difference", place, mine - base, my_draws - base_draws)
    dims = ("train", "test")
    variables: dict[str, Any] = {name: (dims, one) for name, one in value.items()}
    for name, draws in drawn.items():
        low, high = interval_ends(draws)
        variables |= {f"{name}_low": (dims, low), f"{name}_high": (dims, high)}
        if name in RESAMPLED:
            variables[f"{name}_resamples"] = ((*dims, "resample"), draws)
    return variables


@renamed_arguments(found="result")
def transfer_by_category(result: xr.Dataset, *, seed: int = 0) -> xr.Dataset:
    """Summarize the pairs of each category.

    Parameters
    ----------
    result
        Result of ``transfer``.
    seed
        Seed of the resampled test glasses.

    Returns
    -------
    table
        Means over the pairs, (category,) or (set, category). ``roc_auc``,
        ``single_roc_auc``, ``difference`` and ``single_difference`` have intervals
        (``_low``, ``_high``). ``recall`` has none. ``roc_auc``, ``recall`` and
        ``difference`` also have the standard deviation over pairs (``_deviation``, NaN
        for one pair), ``_lowest`` and ``_highest``. ``pairs`` is the number of pairs,
        and ``compared_pairs`` the number with a difference.

    Notes
    -----
    Intervals resample the regions of every test glass. With at least five test glasses
    in a category, they resample the test glasses, too. Only the deviations contain the
    spread over training sets.

    Examples
    --------
    >>> transfer_by_category(transfer(["g1.zarr", "g2.zarr"], "out"))  # doctest: +SKIP
    """
    if "set" in result.dims:
        tables = [
            transfer_by_category(result.isel(set=k), seed=seed) for k in range(result.sizes["set"])
        ]
        joined = xr.concat(
            [table.drop_attrs().drop_vars("set", errors="ignore") for table in tables],
            xr.Variable("set", result["set"].values),
        )
        return joined.assign_attrs(result.attrs)
    category = result["category"].values
    names = [name for name in CATEGORIES if (category == name).any()]
    parts = [pooled_pairs(result, category == name, seed=seed) for name in names]
    table: dict[str, Any] = {
        "pairs": ("category", [int((category == name).sum()) for name in names]),
        **{key: ("category", [part[key] for part in parts]) for key in (parts[0] if parts else {})},
    }
    return xr.Dataset(table, coords={"category": names}, attrs=result.attrs)


def pooled_pairs(result: xr.Dataset, mask: BoolArray, *, seed: int = 0) -> dict[str, float]:
    """Return means over some pairs of one set, with intervals.

    Parameters
    ----------
    result
        Result of ``transfer`` for one set.
    mask
        Mask (train, test) of the pairs to average.
    seed
        Seed of the resampled test glasses.

    Returns
    -------
    pooled
        Numbers by name; see ``transfer_by_category``. All are NaN if there is no pair.
    """
    pooled: dict[str, float] = {}
    for name in ("roc_auc", "recall", "single_roc_auc", "difference", "single_difference"):
        values = result[name].values
        used = mask & np.isfinite(values)
        some = values[used]
        pooled[name] = float(some.mean()) if len(some) else np.nan
        if f"{name}_resamples" in result:
            low, high = pooled_ends(result[f"{name}_resamples"].values, used, seed)
            pooled |= {f"{name}_low": low, f"{name}_high": high}
        if name in ("roc_auc", "recall", "difference"):
            pooled[f"{name}_deviation"] = float(some.std(ddof=1)) if len(some) > 1 else np.nan
            pooled[f"{name}_lowest"] = float(some.min()) if len(some) else np.nan
            pooled[f"{name}_highest"] = float(some.max()) if len(some) else np.nan
    pooled["compared_pairs"] = int((mask & np.isfinite(result["difference"].values)).sum())
    return pooled
