"""Every feature set on the same atoms, splits and draws: which one tells best which atoms turn plastic, and by how much.

Source: Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 5a.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.execution.executor import resolve_client
from mgdask.features import SOAP, Feature, feature_set
from mgdask.features.sets import mro_sets, sro_sets
from mgdask.learn.evaluation.bootstrap import Interval, bootstrap, bootstrap_contrast
from mgdask.store.manifest import Manifest
from mgdask.store.open import open_store
from mgdask.studies.softness.data import Glass, prepare_glass
from mgdask.studies.softness.subsets import choose, resampled_regions
from mgdask.studies.softness.training import learn_softness

Float = npt.NDArray[np.float64]
Features = str | Sequence[Feature]
METRICS = ("roc_auc", "recall")
LEARNING: Mapping[str, Any] = {"wanted": None, "folds": 0}
"""What ``learn_softness`` is told where nothing else is said: the score of all columns is compared, so leading ones are not looked for."""


def _one(
    find: Callable[[Sequence[str]], dict[str, Feature]], name: str
) -> Callable[[Sequence[str]], list[Feature]]:
    return lambda species: [find(species)[name]]


def _named(name: str) -> Callable[[Sequence[str]], list[Feature]]:
    return lambda species: feature_set(name, species)


COMPARED: dict[str, Callable[[Sequence[str]], list[Feature]]] = {
    "interstice": _named("interstice"),
    **{name: _one(sro_sets, name) for name in sro_sets(("Cu", "Zr"))},
    **{name: _one(mro_sets, name) for name in mro_sets(("Cu", "Zr"))},
    "sro": _named("sro"),
    "mro": _named("mro"),
    "sro_mro": lambda species: [*feature_set("sro", species), *feature_set("mro", species)],
    "symmetry": _named("symmetry_functions"),
    "chebyshev": _named("chebyshev"),
    "soap": lambda species: [SOAP(species=tuple(species), r_cut=5.0, n_max=6, l_max=6, sigma=0.5)],
}
"""Features by name, of a list of species: interstice (80 columns for two species), the eight short-range sets and the ten medium-range ones
(``mediumrange_...``, but averaged fold symmetry) of ``sro`` (49) and ``mro`` (169), ``sro_mro`` (218), symmetry (166), chebyshev (90), soap
(r_cut 5 Å, n_max = l_max = 6: 546)."""


def species_of(stores: Sequence[str | Path]) -> tuple[str, ...]:
    """Symbols of all species in some stores, by atomic number.

    >>> species_of(["glass_1.zarr"])  # doctest: +SKIP
    ('Cu', 'Zr')
    """
    numbers = {
        int(z)
        for store in stores
        for z in np.unique(np.asarray(open_store(store)["species"].values))
    }
    return tuple(symbol(z) for z in sorted(numbers))


def resolve_sets(
    sets: Sequence[str] | Mapping[str, Features] | None, species: Sequence[str]
) -> dict[str, list[Feature]]:
    """Lists of features by name.

    Parameters: ``sets`` names of ``COMPARED``, or a mapping of names to names of ``feature_set`` or ``COMPARED``, or lists of features; None for
    all of ``COMPARED``; "all" is every feature of the others, each once, and alone every one of ``COMPARED``. ``ParameterError`` for unknown names,
    and those that cannot name a file.

    >>> [len(found) for found in resolve_sets(["coordination", "interstice", "all"], ("Cu", "Zr")).values()]
    [1, 2, 3]
    """
    given: Mapping[str, Features]
    if sets is None:
        given = {name: name for name in (*COMPARED, "all")}
    elif isinstance(sets, Mapping):
        given = sets
    else:
        given = {name: name for name in ([sets] if isinstance(sets, str) else sets)}
    found: dict[str, list[Feature]] = {}
    for name, wanted in given.items():
        if not re.fullmatch(r"[A-Za-z0-9_]+", name) or name == "d2min":
            raise ParameterError(
                f"the set {name!r} names a file: give it letters, digits and _, and not 'd2min'"
            )
        if not isinstance(wanted, str):
            found[name] = list(wanted)
        elif wanted in COMPARED:
            found[name] = COMPARED[wanted](species)
        elif wanted != "all":
            found[name] = feature_set(wanted, species)
        else:
            found[name] = []
    for name, wanted in given.items():
        if wanted == "all":
            others = {other: listed for other, listed in found.items() if given[other] != "all"}
            found[name] = _each_once(
                others or {other: find(species) for other, find in COMPARED.items()}
            )
    if not found:
        raise ParameterError(f"sets is empty; there are {', '.join(COMPARED)} and all")
    return found


def _each_once(sets: Mapping[str, Sequence[Feature]]) -> list[Feature]:
    kept: dict[str, Feature] = {}
    parts: set[tuple[str, str]] = set()
    for name, features in sets.items():
        for feature in features:
            columns = {(repr(feature), label) for label in feature.labels}
            if columns <= parts:
                continue
            parts |= columns
            label = feature.name if feature.name not in kept else f"{name}_{feature.name}"
            kept[label] = feature.named(label)
    return list(kept.values())


def check_stems(stores: Sequence[str | Path]) -> None:
    """``ParameterError`` where two stores have one name, which names their labels and features in the folder of a study."""
    stems = [Path(store).stem for store in stores]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ParameterError(
            f"{twice[0]}.zarr is there {stems.count(twice[0])} times; give every store a name of its own"
        )


def prepare_sets(
    stores: Sequence[str | Path],
    out: str | Path,
    sets: Sequence[str] | Mapping[str, Features] | None = None,
    *,
    client: Any = None,
    **options: Any,
) -> dict[str, list[Glass]]:
    """Glasses by feature set, computed into ``out`` or found there: labels once, features at <out>/<store>-<set>.zarr.

    Parameters: ``stores`` with names of their own; ``sets`` as of ``resolve_sets``; ``options`` of ``prepare_glass``. Errors as of these.

    >>> glasses = prepare_sets(["g1.zarr", "g2.zarr"], "out", ["interstice"])["interstice"]  # doctest: +SKIP
    """
    check_stems(stores)
    found = resolve_sets(sets, species_of(stores))
    with resolve_client(client) as workers:
        return {
            name: [
                prepare_glass(
                    store,
                    out,
                    features=features,
                    name=name,
                    client=workers,
                    progress=False,
                    **options,
                )
                for store in stores
            ]
            for name, features in found.items()
        }


def compare(
    train: str | Path | Sequence[str | Path],
    test: str | Path,
    out: str | Path,
    *,
    sets: Sequence[str] | Mapping[str, Features] | None = None,
    learning: Mapping[str, Any] | None = None,
    seed: int = 0,
    repeats: int = 1000,
    client: Any = None,
    progress: bool = True,
    **options: Any,
) -> xr.Dataset:
    """How well each feature set tells plastic atoms on a glass set aside, all from the same rows, labels and draws.

        difference_k = AUC_k - AUC_1,   both on the same resamples of the test atoms

    Parameters
    ----------
    train: stores of deformed glasses to learn from. test: the one set aside. out: folder for labels and features, kept between calls.
    sets: as of ``resolve_sets``; the first is the one that the others are held against. learning: further arguments of ``learn_softness``
        (draws, rounds, params, ...). repeats: of the bootstrap, over regions of 15 Å of the test glass. options: of ``prepare_glass`` (strain,
        threshold, margin, ...).

    Returns by set: roc_auc and recall with _low and _high (95 %), difference (of the AUC) with its ends, columns, feature_seconds (by the clock,
    summed over blocks when they were computed, first loading of kernels included) and learn_seconds (by the clock of this call: other at the next).
    Only atoms that have every feature of every set count. Errors as of ``prepare_glass`` and ``learn_softness``. Intervals are those of one test
    glass and given models: they hold neither the spread between glasses nor that between draws of training atoms.

    Source: Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 5a.

    >>> found = compare("g1.zarr", "g2.zarr", "out", sets=["interstice", "symmetry"])  # doctest: +SKIP
    """
    stores = [*([train] if isinstance(train, str | Path) else train), test]
    if len(stores) < 2:
        raise ParameterError("train is empty; give at least one glass to learn from")
    prepared = prepare_sets(stores, out, sets, client=client, **options)
    common = [
        _common_atoms([glasses[k] for glasses in prepared.values()]) for k in range(len(stores))
    ]
    rows: list[dict[str, Any]] = []
    first: Float | None = None
    for name, every in prepared.items():
        glasses = [choose(glass, atoms=atoms) for glass, atoms in zip(every, common, strict=True)]
        started = time.perf_counter()
        softness = learn_softness(
            glasses[:-1],
            glasses[-1],
            seed=seed,
            repeats=20,
            progress=False,
            **{**LEARNING, **(learning or {})},
        )
        spent = time.perf_counter() - started
        score = softness.qs[common[-1]]
        first = score if first is None else first
        label = glasses[-1].plastic()[common[-1]]
        where = resampled_regions(glasses[-1], common[-1])
        told = {
            metric: bootstrap(metric, label, score, where, repeats=repeats, seed=seed)
            for metric in METRICS
        }
        told["difference"] = bootstrap_contrast(
            "roc_auc", label, [score, first], [1, -1], where, repeats=repeats, seed=seed
        )
        rows.append(
            {
                "told": told,
                "columns": len(glasses[-1].columns()),
                "feature_seconds": sum(map(_seconds, every)),
                "learn_seconds": spent,
            }
        )
        if progress:
            print(
                f"{name}: {rows[-1]['columns']} columns, AUC {told['roc_auc']}",
                file=sys.stderr,
                flush=True,
            )
    last = next(iter(prepared.values()))
    plastic = [int(glass.plastic()[atoms].sum()) for glass, atoms in zip(last, common, strict=True)]
    about = {
        "train": [glass.name for glass in last[:-1]],
        "test": last[-1].name,
        "reference": next(iter(prepared)),
        "seed": seed,
        "train_atoms": sum(map(len, common[:-1])),
        "train_plastic": sum(plastic[:-1]),
        "test_atoms": len(common[-1]),
        "test_plastic": plastic[-1],
        "intervals": _how(rows[0]["told"]["roc_auc"]),
    }
    columns = {
        name + end: ("set", [getattr(row["told"][name], item) for row in rows])
        for name in (*METRICS, "difference")
        for end, item in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    plain = {
        name: ("set", [row[name] for row in rows])
        for name in ("columns", "feature_seconds", "learn_seconds")
    }
    return xr.Dataset({**columns, **plain}, coords={"set": list(prepared)}, attrs=about)


def _common_atoms(glasses: Sequence[Glass]) -> npt.NDArray[np.int64]:
    return np.asarray(
        reduce(np.intersect1d, [glass.rows()[2] for glass in glasses]), dtype=np.int64
    )


def _seconds(glass: Glass) -> float:
    return float(sum(record["seconds"] for record in Manifest(glass.features).records().values()))


def _how(interval: Interval) -> str:
    """What was resampled, and what to beware of."""
    return str(interval).split("(", 1)[1].rstrip(")")


def write_table(found: xr.Dataset, target: str | Path) -> Path:
    """Write a result as <target>.csv, a row each place, and <target>.json, with what it is about; returns the path of the CSV.

    >>> write_table(compare("g1.zarr", "g2.zarr", "out"), "out/compare")  # doctest: +SKIP
    """
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = found.to_dataframe().reset_index()
    table.to_csv(path.with_suffix(".csv"), index=False)
    plain = {
        "about": found.attrs,
        "rows": json.loads(table.to_json(orient="records", double_precision=15)),
    }
    path.with_suffix(".json").write_text(json.dumps(plain, indent=1), encoding="utf-8")
    return path.with_suffix(".csv")
