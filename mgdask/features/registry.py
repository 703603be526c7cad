"""Features by the name of their family: the shipped ones and those of other packages.

A new shipped family is one file and one line here. Other packages use the entry-point
group ``mgdask.features``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mgdask.errors import ParameterError
from mgdask.features.allowed import from_text, to_text
from mgdask.features.averaged_displacement import AveragedDisplacement
from mgdask.features.bondorder import BondMoments, BondOrder
from mgdask.features.chebyshev import SphericalChebyshev
from mgdask.features.chemistry import Chemistry
from mgdask.features.feature import Feature
from mgdask.features.interstice import Interstice
from mgdask.features.lag import LagDisplacement
from mgdask.features.linear_response import LinearResponse
from mgdask.features.local_environment import LocalEnvironment
from mgdask.features.mediumrange import MediumRange
from mgdask.features.naming import Named, compact, suggestion
from mgdask.features.nonaffine import NonAffine
from mgdask.features.parameters import ParameterValueError, is_required, refusal, schema_of
from mgdask.features.soap import SOAP
from mgdask.features.species_mean import SpeciesMean
from mgdask.features.symmetry import SymmetryFunctions
from mgdask.features.voronoi import Coordination, FoldSymmetry, Motifs, Packing, VoronoiIndices

GROUP = "mgdask.features"
"""Entry points of other packages; each has the name of a family."""
_KINDS: tuple[type[Feature], ...] = (
    SOAP,
    LocalEnvironment,
    Interstice,
    MediumRange,
    SpeciesMean,
    Coordination,
    VoronoiIndices,
    Motifs,
    Packing,
    FoldSymmetry,
    BondOrder,
    BondMoments,
    Chemistry,
    SymmetryFunctions,
    SphericalChebyshev,
    LinearResponse,
    NonAffine,
    LagDisplacement,
    AveragedDisplacement,
)
FEATURES: Named[type[Feature]] = Named(
    {kind.family: kind for kind in _KINDS},
    {kind.array_name: kind.family for kind in _KINDS if kind.array_name},
)
"""Every shipped feature class by the name of its family, in any spelling."""


def feature_class(name: str) -> type[Feature]:
    """Find a feature class by the name of its family.

    Parameters
    ----------
    name
        Family of a shipped feature, or of one that an installed package provides. Case,
        underscores and hyphens do not matter.

    Returns
    -------
    The class.

    Raises
    ------
    ParameterError
        If there is no such family, if two packages provide it, or if the package that
        provides it cannot be used. The message names the package.
    """
    provided = [
        entry for entry in entry_points(group=GROUP) if compact(entry.name) == compact(name)
    ]
    # one distribution may be on the path twice
    by_package = {_package(entry): entry for entry in provided}
    owners = (["mgdask"] if name in FEATURES else []) + sorted(by_package)
    if len(owners) > 1:
        raise ParameterError(
            f"feature {name!r} is provided by more than one package: {', '.join(owners)}. "
            "Uninstall all but one of them, or rename the feature in one"
        )
    if name in FEATURES:
        return FEATURES[name]
    if not provided:
        names = feature_names()
        raise ParameterError(
            f"there is no feature {name!r}.{suggestion(name, names)} "
            f"The families are {', '.join(names)}"
        )
    return _load(provided[0])


def feature_names() -> list[str]:
    """Return the names of all families, those of installed packages included."""
    return sorted({*FEATURES, *(entry.name.lower() for entry in entry_points(group=GROUP))})


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unnamed package"


def _load(entry: EntryPoint) -> type[Feature]:
    """Import the class behind an entry point and check that it is usable."""
    family = entry.name.lower()
    origin = f"feature {family!r} of package {_package(entry)} (entry point {entry.value!r})"
    try:
        kind = entry.load()
    except Exception as error:  # an import may fail in any way
        raise ParameterError(
            f"{origin} cannot be loaded: {type(error).__name__}: {error}. "
            "Repair or uninstall the package"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Feature)):
        raise ParameterError(f"{origin} is not a subclass of mgdask.Feature: {kind!r}")
    if kind.__abstractmethods__:
        raise ParameterError(
            f"{origin} is incomplete; it lacks {', '.join(sorted(kind.__abstractmethods__))}"
        )
    if not dataclasses.is_dataclass(kind):
        raise ParameterError(
            f"{origin} is not a dataclass; decorate it with mgdask.features.feature_dataclass"
        )
    if kind.family != family:
        raise ParameterError(
            f"{origin} has family={kind.family!r}; the entry point must have that name"
        )
    return kind


def make_feature(
    name: str, options: Mapping[str, Any], species: Sequence[str] | None = None
) -> Feature:
    """Make a feature by the name of its family.

    Parameters
    ----------
    name
        Family of a shipped feature, or of one that an installed package provides.
    options
        Parameters as text (``{"r_cut": "5"}``) or as values. ``name`` among them names
        the variable. A feature within a feature is ``{"interstice": {...}}``, or just
        ``"interstice"``.
    species
        Element symbols for a parameter ``species`` that ``options`` lacks.

    Returns
    -------
    The feature.

    Raises
    ------
    ParameterError
        If the family or a parameter does not exist, or a value is not allowed.

    Examples
    --------
    >>> make_feature("coordination", {"cutoff": "3.5"})
    Coordination(cutoff=3.5, small_facets='static', pair_cutoffs=None)
    """
    kind = feature_class(name)
    values = dict(options)
    given = values.pop("name", None)
    inner = values.get("feature")
    if isinstance(inner, str):
        values["feature"] = make_feature(inner, {}, species)
    elif isinstance(inner, Mapping):
        if len(inner) != 1:
            raise ParameterError(
                f"{name}: feature={dict(inner)} must be one family with its options, "
                "as {interstice: {}}"
            )
        values["feature"] = make_feature(*next(iter(inner.items())), species)
    feature = build(kind, values, species)
    return feature.named(str(given)) if given is not None else feature


feature_from = make_feature


def build(
    kind: type[Feature], options: Mapping[str, Any], species: Sequence[str] | None
) -> Feature:
    """Make a feature of one class from named options.

    Parameters
    ----------
    kind
        The class.
    options
        Parameters as text or as values. A tuple may be given as ``"a+b"`` or ``"a,b"``,
        and pairs as ``"a:1,b:2"``.
    species
        Element symbols for a parameter ``species`` that ``options`` lacks.

    Returns
    -------
    The feature.

    Raises
    ------
    ParameterError
        If an option is unknown or missing, or its value is not allowed.
    """
    allowed = [item.name for item in dataclasses.fields(kind)]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ParameterError(
            f"{kind.__name__}: unknown option {unknown[0]!r}.{suggestion(unknown[0], allowed)} "
            f"Allowed are {', '.join(allowed)}"
        )
    typed = {name: text for name, text in options.items() if isinstance(text, str)}
    schemas = schema_of(kind)
    values = {**options, **{name: from_text(schemas[name], typed[name]) for name in typed}}
    if "species" in allowed and "species" not in values and species is not None:
        values["species"] = tuple(species)
    required = [item.name for item in dataclasses.fields(kind) if is_required(item)]
    missing = [name for name in required if name not in values]
    if missing:
        raise ParameterError(
            f"{kind.__name__}: {', '.join(missing)} must be given{_example(kind, missing)}"
        )
    try:
        return kind(**values)
    except ParameterValueError as error:
        name, verdict = error.parameter, error.verdict
        if name not in typed:
            raise
        raise refusal(kind, name, typed[name], as_typed=True, verdict=verdict) from None


def _example(kind: type[Feature], names: Sequence[str]) -> str:
    examples = {name: kind.example_parameters.get(name) for name in names}
    if None in examples.values():
        return ""
    return ", such as " + ",".join(f"{name}={to_text(value)}" for name, value in examples.items())


def parse_options(text: str) -> dict[str, str]:
    """Parse the options of a feature on a command line.

    Parameters
    ----------
    text
        ``name=value`` pairs, separated by commas. A part without = that cannot be a
        name is a further item of a list: ``pair_cutoffs=Cu-Cu:3.2,Cu-Zr:3.7``.

    Returns
    -------
    Values as text by name.

    Raises
    ------
    ParameterError
        If a part is not ``name=value``, or a name is given twice.

    Examples
    --------
    >>> parse_options("r_cut=5,n_max=11")
    {'r_cut': '5', 'n_max': '11'}
    """
    options: dict[str, str] = {}
    name = ""
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if name and not equals and not part.isidentifier():
            options[name] += f",{part}"
            continue
        if not equals or not key or not value:
            raise ParameterError(
                f"{part!r} is not name=value. Write for example cutoff=3.8,small_facets=none; "
                "items of a list are joined by +, as in species=Cu+Zr"
            )
        if key in options:
            raise ParameterError(f"{key} is given twice in {text!r}")
        name = key
        options[name] = value
    return options
