"""Softness learned on one glass and tested on every other.

It shows what carries over to another quench rate, composition or system: Wang, Jain,
Nat. Commun. 10, 5537 (2019), Fig. 4.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.execution.executor import resolve_client
from mgdask.features import Feature
from mgdask.learn.evaluation.bootstrap import Interval, bootstrap
from mgdask.studies.softness.compared_sets import check_stems, resolve_sets, species_of
from mgdask.studies.softness.comparison import INTERVAL_ENDS, METRICS, learning_arguments
from mgdask.studies.softness.data import Glass, prepare_glass
from mgdask.studies.softness.subsets import choose, resampled_regions
from mgdask.studies.softness.training import Softness, learn_softness

Label = Mapping[str, str | float]
KEYS = ("system", "composition", "rate")
CATEGORIES = ("same", "other rate", "other composition", "other system", "not labelled")
"""How two glasses differ: the first of system, composition and rate that does."""


def pair_category(one: Label, other: Label) -> str:
    """Return how two glasses differ.

    Parameters
    ----------
    one, other
        Labels of the glasses: any of ``system``, ``composition`` and ``rate``.

    Returns
    -------
    category
        One of ``CATEGORIES``.

    Examples
    --------
    >>> pair_category({"rate": 1e12}, {"rate": 1e10})
    'other rate'
    """
    if not one or not other:
        return "not labelled"
    return next((f"other {key}" for key in KEYS if one.get(key) != other.get(key)), "same")


def read_labels(path: str | Path) -> dict[str, dict[str, str]]:
    """Read the labels of stores from a CSV file.

    Parameters
    ----------
    path
        File with the column ``store`` and at least one of ``system``, ``composition``
        and ``rate``.

    Returns
    -------
    labels
        Labels by store.

    Raises
    ------
    ParameterError
        If the file has other columns.

    Examples
    --------
    >>> read_labels("labels.csv")  # doctest: +SKIP
    {'g1.zarr': {'system': 'CuZr', 'composition': 'Cu65Zr35', 'rate': '5e12'}}
    """
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = set(rows[0]) if rows else set()
    if "store" not in names or not names - {"store"} or not names <= {"store", *KEYS}:
        raise ParameterError(
            f"{path} has the columns {sorted(map(str, names))}; it must have store "
            f"and at least one of {', '.join(KEYS)}"
        )
    return {row["store"]: {key: row[key] for key in KEYS if key in row} for row in rows}


@renamed_arguments(repeats="n_resamples")
def transfer(
    stores: Sequence[str | Path],
    out: str | Path,
    *,
    labels: Mapping[str, Label] | None = None,
    by: Literal["glass", "label"] = "glass",
    features: str | Sequence[Feature] = "interstice",
    columns: Literal["same", "common"] = "same",
    learning: Mapping[str, Any] | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
    client: Any = None,
    progress: bool = True,
    **options: Any,
) -> xr.Dataset:
    """Train on each glass, or on all glasses of one label, and test on every other.

    Parameters
    ----------
    stores
        Two or more stores of deformed glasses, with different names.
    out
        Folder for labels and features.
    labels
        ``system``, ``composition`` and ``rate`` by the path or name of the store. All
        stores need the same keys.
    by
        "glass" trains on one glass. "label" trains on all glasses of one label except
        the tested one.
    features
        Name of ``COMPARED`` or ``feature_set``, or a list of features.
    columns
        "same" refuses glasses with different columns. "common" uses the columns that
        all glasses have, by name.
    learning
        Further arguments of ``learn_softness``.
    seed
        Seed of training and resampling.
    n_resamples
        Number of resamples of the bootstrap over regions of 15 Å of the test glass.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to print a line per pair.
    **options
        Further arguments of ``prepare_glass``.

    Returns
    -------
    result
        ``roc_auc`` and ``recall`` with their 95 % intervals (``_low``, ``_high``),
        ``category`` and ``train_atoms``, all (train, test). They are NaN, "" and 0 if
        the test glass is the only one to train on.

    Raises
    ------
    ParameterError
        If there are fewer than two stores, names repeat, or labels or columns do not
        match.

    Notes
    -----
    These features have no species in the names of their columns: interstice,
    coordination, voronoi_indices, motifs, packing, fold symmetry, bond order, and
    medium-range sets of them. ``transfer_by_category`` summarizes the result.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 4.

    Examples
    --------
    >>> result = transfer(["g1.zarr", "g2.zarr"], "out")  # doctest: +SKIP
    """
    if len(stores) < 2:
        raise ParameterError(
            f"stores={[str(store) for store in stores]}: transfer needs two glasses or more"
        )
    check_stems(stores)
    label_of = _labels(stores, labels)
    if by == "label" and labels is None:
        raise ParameterError(
            "by='label' needs labels={store: {'system': ..., 'composition': ..., 'rate': ...}}"
        )
    name = features if isinstance(features, str) else "features"
    prepared = _prepare(stores, out, features, name, client, options)
    shared = _columns(prepared, columns)
    glasses = [choose(glass, columns=shared) for glass in prepared]
    groups = {glass.name: [k] for k, glass in enumerate(glasses)}
    if by == "label":
        groups = _groups(label_of)
    shape = (len(groups), len(glasses))
    values = {
        f"{metric}{suffix}": np.full(shape, np.nan)
        for metric in METRICS
        for suffix, _ in INTERVAL_ENDS
    }
    category, atoms = np.full(shape, "", dtype=object), np.zeros(shape, dtype=np.int64)
    for i, (group, members) in enumerate(groups.items()):
        trained: dict[tuple[int, ...], Softness] = {}
        for k, glass in enumerate(glasses):
            training = tuple(m for m in members if m != k)
            if not training:
                continue
            if training not in trained:  # models do not depend on the glass they are tested on
                trained[training] = learn_softness(
                    [glasses[m] for m in training], glass, seed=seed, **learning_arguments(learning)
                )
            category[i, k] = pair_category(label_of[training[0]], label_of[k])
            atoms[i, k] = sum(len(glasses[m].atoms) for m in training)
            for metric, interval in _test(trained[training], glass, n_resamples, seed).items():
                for suffix, item in INTERVAL_ENDS:
                    values[f"{metric}{suffix}"][i, k] = getattr(interval, item)
            if progress:
                auc = values["roc_auc"][i, k]
                text = f"{group} -> {glass.name}: AUC {auc:.3f}, {category[i, k]}"
                print(text, file=sys.stderr, flush=True)
    dims = ("train", "test")
    return xr.Dataset(
        {
            **{key: (dims, value) for key, value in values.items()},
            "category": (dims, category),
            "train_atoms": (dims, atoms),
        },
        coords={"train": list(groups), "test": [glass.name for glass in glasses]},
        attrs={"columns": len(shared), "features": name, "seed": seed, "by": by},
    )


@renamed_arguments(found="result")
def transfer_by_category(result: xr.Dataset) -> xr.Dataset:
    """Summarize the pairs of each category.

    Parameters
    ----------
    result
        Result of ``transfer``.

    Returns
    -------
    table
        Mean AUC and recall over the pairs (category,), their deviation (``_deviation``,
        NaN for one pair), ``_lowest`` and ``_highest``, and the number of ``pairs``.

    Examples
    --------
    >>> transfer_by_category(transfer(["g1.zarr", "g2.zarr"], "out"))  # doctest: +SKIP
    """
    category = result["category"].values
    names = [name for name in CATEGORIES if (category == name).any()]
    pairs = [int((category == name).sum()) for name in names]
    table: dict[str, Any] = {"pairs": ("category", pairs)}
    for metric in METRICS:
        values = [result[metric].values[category == name] for name in names]
        for suffix, summary in (
            ("", np.mean),
            ("_deviation", _deviation),
            ("_lowest", np.min),
            ("_highest", np.max),
        ):
            table[f"{metric}{suffix}"] = ("category", [float(summary(one)) for one in values])
    return xr.Dataset(table, coords={"category": names}, attrs=result.attrs)


def _deviation(values: FloatArray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan


def _prepare(
    stores: Sequence[str | Path],
    out: str | Path,
    features: str | Sequence[Feature],
    name: str,
    client: Any,
    options: Mapping[str, Any],
) -> list[Glass]:
    """Glasses, each with the features of its own species."""
    with resolve_client(client) as workers:
        return [
            prepare_glass(
                store,
                out,
                features=resolve_sets({name: features}, species_of([store]))[name],
                name=name,
                client=workers,
                progress=False,
                **options,
            )
            for store in stores
        ]


def _labels(stores: Sequence[str | Path], labels: Mapping[str, Label] | None) -> list[Label]:
    """Labels of every store, which must have the same keys."""
    if labels is None:
        return [{} for _ in stores]
    by_path = {Path(name).resolve(): label for name, label in labels.items()}
    by_stem = {Path(name).stem: label for name, label in labels.items()}
    of_stores: list[Label] = []
    for store in stores:
        label = by_path.get(Path(store).resolve(), by_stem.get(Path(store).stem))
        if not label or set(label) - set(KEYS) or (of_stores and set(label) != set(of_stores[0])):
            example = of_stores[0] if of_stores else {"rate": 5e12}
            raise ParameterError(
                f"labels of {store}: {label}; every store needs the same keys of "
                f"{', '.join(KEYS)}, such as {example}"
            )
        of_stores.append(label)
    return of_stores


def _groups(labels: Sequence[Label]) -> dict[str, list[int]]:
    """Return the indices of glasses with the same labels, by the text of the labels."""
    groups: dict[str, list[int]] = {}
    for k, label in enumerate(labels):
        name = ", ".join(str(label[key]) for key in KEYS if key in label)
        groups.setdefault(name, []).append(k)
    return groups


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
            "('interstice', 'bond_order', ...), or columns='common' for the "
            f"{len(common)} that all glasses have"
        )
    if not common:
        raise ParameterError(
            "the glasses have no column in common; use features without names of species, such as "
            "'interstice'"
        )
    return common


def _test(softness: Softness, glass: Glass, n_resamples: int, seed: int) -> dict[str, Interval]:
    """Metrics of trained models on a glass, with intervals."""
    x, y, atoms = glass.rows()
    names = glass.columns()
    score: FloatArray = np.mean(
        [
            model.predict(x[:, [names.index(name) for name in model.columns]], names=model.columns)
            for model in softness.models
        ],
        axis=0,
    )
    regions = resampled_regions(glass, atoms)
    return {
        metric: bootstrap(metric, y, score, regions, n_resamples=n_resamples, seed=seed)
        for metric in METRICS
    }
