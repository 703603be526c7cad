"""Feature sets that a study compares, and glasses prepared with each of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.execution.executor import resolve_client
from mgdask.features import SOAP, Feature, feature_set
from mgdask.features.sets import mro_sets, sro_sets
from mgdask.store.open import open_store
from mgdask.studies.softness.data import Glass, prepare_glass

Features = str | Sequence[Feature]
FeaturesOf = Callable[[Sequence[str]], list[Feature]]


def _member(sets: Callable[[Sequence[str]], dict[str, Feature]], name: str) -> FeaturesOf:
    return lambda species: [sets(species)[name]]


def _named(name: str) -> FeaturesOf:
    return lambda species: feature_set(name, species)


COMPARED: dict[str, FeaturesOf] = {
    "interstice": _named("interstice"),
    **{name: _member(sro_sets, name) for name in sro_sets(("Cu", "Zr"))},
    **{name: _member(mro_sets, name) for name in mro_sets(("Cu", "Zr"))},
    "sro": _named("sro"),
    "mro": _named("mro"),
    "sro_mro": lambda species: [*feature_set("sro", species), *feature_set("mro", species)],
    "symmetry": _named("symmetry_functions"),
    "symmetry_by_role": _named("symmetry_by_role"),
    "chebyshev": _named("chebyshev"),
    "soap": lambda species: [SOAP(species=tuple(species), r_cut=5.0, n_max=6, l_max=6, sigma=0.5)],
}
"""Features of a list of species, by the name of the set.

Numbers of columns for two species: interstice 80, ``sro`` 49 from eight short-range
sets, ``mro`` 209 from ten medium-range sets, ``sro_mro`` 258, symmetry 166, chebyshev
90, soap 546. The eight and the ten sets are also included one by one.
"""


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
        Names of ``COMPARED``; or a mapping from names to lists of features or to names
        of ``COMPARED`` or ``feature_set``. None means all of ``COMPARED``. The set
        "all" is every feature of the other sets once, or of ``COMPARED`` if it stands
        alone.
    species
        Symbols of the species.

    Returns
    -------
    sets
        Lists of features by the name of the set.

    Raises
    ------
    ParameterError
        If a name is unknown or cannot name a file, or there is no set.

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
        if not re.fullmatch(r"[A-Za-z0-9_]+", name) or name == "d2min":
            raise ParameterError(
                f"the set {name!r} names a file: use letters, digits and _, and not 'd2min'"
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
            label = feature.name if feature.name not in kept else f"{name}_{feature.name}"
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
    check_stems(stores)
    resolved = resolve_sets(sets, species_of(stores))
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
            for name, features in resolved.items()
        }
