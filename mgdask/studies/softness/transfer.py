"""Softness learnt on one glass, tested on every other: what carries over to another rate, composition or system.

Source: Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 4.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.errors import ParameterError
from mgdask.execution.executor import resolve_client
from mgdask.features import Feature
from mgdask.learn.evaluation.bootstrap import bootstrap
from mgdask.studies.softness.comparison import (
    LEARNING,
    METRICS,
    check_stems,
    resolve_sets,
    species_of,
)
from mgdask.studies.softness.data import Glass, prepare_glass
from mgdask.studies.softness.subsets import choose, resampled_regions
from mgdask.studies.softness.training import Softness, learn_softness

Label = Mapping[str, str | float]
KEYS = ("system", "composition", "rate")
CATEGORIES = ("same", "other rate", "other composition", "other system", "not labelled")
"""Of a pair of glasses: the first of system, composition and rate in which they differ."""


def pair_category(one: Label, other: Label) -> str:
    """One of ``CATEGORIES``, by the labels of two glasses.

    >>> pair_category({"system": "CuZr", "rate": 1e12}, {"system": "CuZr", "rate": 1e10})
    'other rate'
    """
    if not one or not other:
        return "not labelled"
    return next((f"other {key}" for key in KEYS if one.get(key) != other.get(key)), "same")


def read_labels(path: str | Path) -> dict[str, dict[str, str]]:
    """Labels of stores from a CSV file with the columns store and some of system, composition, rate.

    >>> read_labels("labels.csv")  # doctest: +SKIP
    {'g1.zarr': {'system': 'CuZr', 'composition': 'Cu65Zr35', 'rate': '5e12'}}
    """
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = set(rows[0]) if rows else set()
    if "store" not in names or not names - {"store"} or not names <= {"store", *KEYS}:
        raise ParameterError(
            f"{path} has the columns {sorted(map(str, names))}; it must have store and some of {', '.join(KEYS)}"
        )
    return {row["store"]: {key: row[key] for key in KEYS if key in row} for row in rows}


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
    repeats: int = 1000,
    client: Any = None,
    progress: bool = True,
    **options: Any,
) -> xr.Dataset:
    """Models trained on each glass, or on all glasses of one label, tested on every other.

    Parameters
    ----------
    stores: of deformed glasses, two or more, with names of their own. out: folder for labels and features. labels: {store: {"system": ...,
        "composition": ..., "rate": ...}}, the same of these keys for all stores, which may be paths or names. by: "glass" trains on one glass;
        "label" on all of one label, less the one that is tested. features: a name of ``COMPARED`` or ``feature_set``, or a list of features.
    columns: "same" refuses glasses with other columns; "common" takes those that all have by name. Free of the names of species are interstice,
        coordination, voronoi_indices, motifs, packing, fold symmetry and bond order, and the medium-range sets of these; "chemistry" (so "sro" and
        "mro"), "symmetry", "chebyshev" and "soap" are not. learning: further arguments of ``learn_softness``. options: of ``prepare_glass``.

    Returns roc_auc and recall with _low and _high (95 %, over regions of 15 Å of the test glass), category, and train_atoms, of (train, test); NaN
    and "" where nothing but the test glass itself is there to train on. ``transfer_by_category`` sums it up. ``ParameterError`` for one store, names
    that are there twice, labels that do not fit, other columns.

    Source: Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 4.

    >>> found = transfer(["g1.zarr", "g2.zarr"], "out")  # doctest: +SKIP
    """
    if len(stores) < 2:
        raise ParameterError(
            f"stores={[str(store) for store in stores]}: transfer needs two glasses or more"
        )
    check_stems(stores)
    told = _labels(stores, labels)
    if by == "label" and labels is None:
        raise ParameterError(
            "by='label' needs labels={store: {'system': ..., 'composition': ..., 'rate': ...}}"
        )
    name = features if isinstance(features, str) else "features"
    glasses = []
    with resolve_client(client) as workers:
        for store in stores:
            wanted = resolve_sets({name: features}, species_of([store]))[name]
            glasses.append(
                prepare_glass(
                    store,
                    out,
                    features=wanted,
                    name=name,
                    client=workers,
                    progress=False,
                    **options,
                )
            )
    chosen = [choose(glass, columns=_columns(glasses, columns)) for glass in glasses]
    groups = (
        {glass.name: [k] for k, glass in enumerate(glasses)} if by == "glass" else _groups(told)
    )
    shape = (len(groups), len(glasses))
    ends = (("", "value"), ("_low", "low"), ("_high", "high"))
    values = {f"{metric}{end}": np.full(shape, np.nan) for metric in METRICS for end, _ in ends}
    category, atoms = np.full(shape, "", dtype=object), np.zeros(shape, dtype=np.int64)
    for i, members in enumerate(groups.values()):
        trained: dict[tuple[int, ...], Softness] = {}
        for k, glass in enumerate(chosen):
            some = tuple(m for m in members if m != k)
            if not some:
                continue
            if some not in trained:  # the models do not know which glass they are tested on
                trained[some] = learn_softness(
                    [chosen[m] for m in some],
                    glass,
                    seed=seed,
                    repeats=20,
                    progress=False,
                    **{**LEARNING, **(learning or {})},
                )
            category[i, k] = pair_category(told[some[0]], told[k])
            atoms[i, k] = sum(len(chosen[m].atoms) for m in some)
            x, y, tested = glass.rows()
            score, where = (
                _score(trained[some], x, glass.columns()),
                resampled_regions(glass, tested),
            )
            for metric in METRICS:
                interval = bootstrap(metric, y, score, where, repeats=repeats, seed=seed)
                for end, item in ends:
                    values[f"{metric}{end}"][i, k] = getattr(interval, item)
            if progress:
                text = f"{list(groups)[i]} -> {glass.name}: AUC {values['roc_auc'][i, k]:.3f}, {category[i, k]}"
                print(text, file=sys.stderr, flush=True)
    dims = ("train", "test")
    return xr.Dataset(
        {
            **{key: (dims, value) for key, value in values.items()},
            "category": (dims, category),
            "train_atoms": (dims, atoms),
        },
        coords={"train": list(groups), "test": [glass.name for glass in glasses]},
        attrs={"columns": len(chosen[0].columns()), "features": name, "seed": seed, "by": by},
    )


def transfer_by_category(found: xr.Dataset) -> xr.Dataset:
    """Mean of the AUC and recall of a ``transfer`` over the pairs of each category (category,), their deviation (NaN for one pair), lowest and
    highest, and the number of pairs.

    >>> transfer_by_category(transfer(["g1.zarr", "g2.zarr"], "out"))  # doctest: +SKIP
    """
    kind = found["category"].values
    names = [name for name in CATEGORIES if (kind == name).any()]
    table: dict[str, Any] = {"pairs": ("category", [int((kind == name).sum()) for name in names])}
    for metric in METRICS:
        each = [found[metric].values[kind == name] for name in names]
        table[metric] = ("category", [float(one.mean()) for one in each])
        table[f"{metric}_deviation"] = (
            "category",
            [float(one.std(ddof=1)) if len(one) > 1 else np.nan for one in each],
        )
        table[f"{metric}_lowest"] = ("category", [float(one.min()) for one in each])
        table[f"{metric}_highest"] = ("category", [float(one.max()) for one in each])
    return xr.Dataset(table, coords={"category": names}, attrs=found.attrs)


def _labels(stores: Sequence[str | Path], labels: Mapping[str, Label] | None) -> list[Label]:
    if labels is None:
        return [{} for _ in stores]
    by_path = {Path(name).resolve(): label for name, label in labels.items()}
    by_stem = {Path(name).stem: label for name, label in labels.items()}
    found: list[Label] = []
    for store in stores:
        label = by_path.get(Path(store).resolve(), by_stem.get(Path(store).stem))
        if not label or set(label) - set(KEYS) or (found and set(label) != set(found[0])):
            raise ParameterError(
                f"labels of {store}: {label}; every store needs the same of {', '.join(KEYS)}, such as {found[0] if found else {'rate': 5e12}}"
            )
        found.append(label)
    return found


def _groups(told: Sequence[Label]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for k, label in enumerate(told):
        found.setdefault(", ".join(str(label[key]) for key in KEYS if key in label), []).append(k)
    return found


def _columns(glasses: Sequence[Glass], columns: str) -> tuple[str, ...]:
    if columns not in ("same", "common"):
        raise ParameterError(f"columns={columns!r} must be 'same' or 'common'")
    names = [glass.columns() for glass in glasses]
    shared = set(names[0]).intersection(*names[1:])
    common = tuple(name for name in names[0] if name in shared)
    other = next((k for k, mine in enumerate(names) if mine != names[0]), None)
    if columns == "same" and other is not None:
        odd = sorted(set(names[0]) ^ set(names[other]))
        raise ParameterError(
            f"{glasses[0].name} and {glasses[other].name} have other columns, such as {odd[0] if odd else 'their order'!r}: the names of species are "
            f"in them. Take features free of these ('interstice', 'bond_order', ...), or columns='common' for the {len(common)} that all have"
        )
    if not common:
        raise ParameterError(
            "no column is in all glasses; take features that are free of the names of species"
        )
    return common


def _score(
    found: Softness, x: npt.NDArray[np.float64], names: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    score: npt.NDArray[np.float64] = np.mean(
        [
            model.predict(x[:, [names.index(one) for one in model.columns]], names=model.columns)
            for model in found.models
        ],
        axis=0,
    )
    return score
