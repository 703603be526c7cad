"""Feature sets that a study compares, and glasses prepared with each of them."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mgdask._renamed import check_arguments
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.execution.deferred import deferred_client
from mgdask.features import SOAP, Feature, feature_set
from mgdask.features.sets import sro_sets
from mgdask.store.open import open_store
from mgdask.studies.softness.data import Glass, check_glass, prepare_glass

Features = str | Sequence[Feature]
FeaturesOf = Callable[[Sequence[str]], list[Feature]]


def _named(name: str) -> FeaturesOf:
    return lambda species: feature_set(name, species)


SHORT_RANGE: tuple[str, ...] = tuple(sro_sets(("Cu", "Zr")))
"""The eight short-range sets of Wang & Jain (2019), i to viii of Fig. 5a."""
MRO = "+mro"
"""Suffix of the name of a set that includes its medium range."""

COMPARED: dict[str, FeaturesOf] = {
    name: _named(name)
    for name in (
        "interstice",
        *(name + end for name in SHORT_RANGE for end in ("", MRO)),
        "sro",
        "mro",
        "sro+mro",
        "interstice+sro",
        "interstice+sro+mro",
    )
}
COMPARED |= {
    "symmetry": _named("symmetry_functions"),
    "symmetry_by_role": _named("symmetry_by_role"),
    "chebyshev": _named("chebyshev"),
    "soap": lambda species: [SOAP(species=tuple(species), r_cut=5.0, n_max=6, l_max=6, sigma=0.5)],
}
"""Functions that return features for a list of species, by name of the set.

Each short-range set occurs alone and with its medium range, as in Fig. 5a of Wang &
Jain (2019): "motifs" and "motifs+mro". "interstice+sro" and "interstice+sro+mro" are
Supplementary Tables 5 and 7. Numbers of columns for two species: interstice 80, ``sro``
49, ``mro`` 209, ``sro+mro`` 258, interstice+sro 129, interstice+sro+mro 338, symmetry
and symmetry_by_role 166, chebyshev 90, soap 546.
"""
OLD_NAMES = {"sro_mro": "sro+mro"}
"""Names used in version 0.1, with the current ones."""


def species_of(stores: Sequence[str | Path]) -> tuple[str, ...]:
    """Return the symbols of all species in the stores.

    Parameters
    ----------
    stores
        Trajectory stores.

    Returns
    -------
    symbols
        Symbols by increasing atomic number.

    Examples
    --------
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
    """Return the features of each set.

    Parameters
    ----------
    sets
        Names in ``COMPARED`` or ``feature_set``, or a mapping from names to lists of
        features or to such names. None means all of ``COMPARED``. The set "all"
        contains every feature of the other sets once. On its own, it contains those of
        ``COMPARED``.
    species
        Symbols of the species.

    Returns
    -------
    sets
        Lists of features by the name of the set.

    Raises
    ------
    ParameterError
        If a name is unknown or is not a valid file name, or there is no set.

    Examples
    --------
    >>> sets = resolve_sets(["coordination", "interstice", "all"], ("Cu", "Zr"))
    >>> [len(features) for features in sets.values()]
    [1, 2, 3]
    """
    given: Mapping[str, Features]
    if sets is None:
        given = {name: name for name in (*COMPARED, "all")}
    elif isinstance(sets, Mapping):
        given = sets
    else:
        given = {name: name for name in ([sets] if isinstance(sets, str) else sets)}
    if not given:
        raise ParameterError(f"sets is empty; allowed are {', '.join(COMPARED)} and all")
    resolved: dict[str, list[Feature]] = {}
    for name, features in given.items():
        if not re.fullmatch(r"[A-Za-z0-9_+]+", name) or name == "d2min":
            raise ParameterError(
                f"the set {name!r} is used as a file name; use letters, digits, _ and +, and "
                "not 'd2min'"
            )
        resolved[name] = [] if features == "all" else _features_of(features, species)
    for name in (name for name, features in given.items() if features == "all"):
        others = {other: resolved[other] for other in given if given[other] != "all"}
        resolved[name] = _each_once(
            others or {other: features_of(species) for other, features_of in COMPARED.items()}
        )
    return resolved


def _features_of(features: Features, species: Sequence[str]) -> list[Feature]:
    if not isinstance(features, str):
        return list(features)
    if features in OLD_NAMES:
        new = OLD_NAMES[features]
        message = f"the feature set {features!r} is {new!r} since version 0.2"
        warnings.warn(message, FutureWarning, stacklevel=3)
        features = new
    return COMPARED[features](species) if features in COMPARED else feature_set(features, species)


def _each_once(sets: Mapping[str, Sequence[Feature]]) -> list[Feature]:
    """Features of all sets, without those whose columns are all in earlier ones."""
    kept: dict[str, Feature] = {}
    known: set[tuple[str, str]] = set()
    for name, features in sets.items():
        for feature in features:
            columns = {(repr(feature), label) for label in feature.labels}
            if columns <= known:
                continue
            known |= columns
            prefix = name.replace("+", "_")
            label = feature.name if feature.name not in kept else f"{prefix}_{feature.name}"
            kept[label] = feature.named(label)
    return list(kept.values())


def check_stems(stores: Sequence[str | Path]) -> None:
    """Check that stores have different names.

    The name of a store names its labels and features in the folder of a study.

    Parameters
    ----------
    stores
        Paths of trajectory stores.

    Raises
    ------
    ParameterError
        If two stores have the same name.

    Examples
    --------
    >>> check_stems(["a/g1.zarr", "a/g2.zarr"])
    """
    stems = [Path(store).stem for store in stores]
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
    if repeated:
        raise ParameterError(
            f"{repeated[0]}.zarr is given {stems.count(repeated[0])} times; "
            "every store needs its own name"
        )


PREPARED = ("store", "name")
"""Arguments of ``prepare_glass`` that differ from glass to glass and set to set."""


def check_glass_options(owner: str, options: Mapping[str, Any], caller: Any) -> None:
    """Refuse arguments that neither a function nor ``prepare_glass`` takes.

    Parameters
    ----------
    owner
        Name of the function that was called.
    options
        Its arguments for ``prepare_glass``.
    caller
        The function.

    Raises
    ------
    ParameterError
        If an argument is unknown. The message names the nearest ones.
    """
    taken = {*PREPARED, "features"} - {*inspect.signature(caller).parameters}
    check_arguments(owner, options, [caller, prepare_glass], taken)


def prepare_sets(
    stores: Sequence[str | Path],
    out: str | Path,
    sets: Sequence[str] | Mapping[str, Features] | None = None,
    *,
    client: Any = None,
    **options: Any,
) -> dict[str, list[Glass]]:
    """Compute the labels and all feature sets of several glasses.

    Labels are computed once per glass. Features are in ``<out>/<store>-<set>.zarr``.
    Finished stores are not computed again.

    Parameters
    ----------
    stores
        Trajectory stores of deformed glasses, with different names.
    out
        Folder for labels and features.
    sets
        See ``resolve_sets``.
    client
        Dask client. Default: the current one, or else threads of this process.
    **options
        Further arguments of ``prepare_glass``.

    Returns
    -------
    glasses
        Glasses in the order of ``stores``, by the name of the set.

    Raises
    ------
    ParameterError
        See ``resolve_sets`` and ``prepare_glass``.

    Examples
    --------
    >>> glasses = prepare_sets(["g1.zarr", "g2.zarr"], "out", ["sro"])  # doctest: +SKIP
    """
    check_glass_options("prepare_sets", options, prepare_sets)
    check_stems(stores)
    resolved = resolve_sets(sets, species_of(stores))
    for store in stores:  # all of them, before the first is computed
        check_glass(store, **options)
    with deferred_client(client) as workers:
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
            for name, features in resolved.items()
        }
