"""The features, by name. A new family is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mgdask.errors import ParameterError
from mgdask.features.bondorder import BondMoments, BondOrder
from mgdask.features.chebyshev import SphericalChebyshev
from mgdask.features.chemistry import Chemistry
from mgdask.features.feature import Feature, build, compute_features, parse_options, working_memory
from mgdask.features.interstice import Interstice
from mgdask.features.lag import LagDisplacement
from mgdask.features.mediumrange import MediumRange
from mgdask.features.nonaffine import NonAffine
from mgdask.features.sets import SETS, amlearn_names, feature_set, mro_sets, sro_sets
from mgdask.features.soap import SOAP
from mgdask.features.symmetry import SymmetryFunctions
from mgdask.features.voronoi import Coordination, FoldSymmetry, Motifs, Packing, VoronoiIndices

_KINDS: tuple[type[Feature], ...] = (
    SOAP,
    Interstice,
    MediumRange,
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
    NonAffine,
    LagDisplacement,
)
FEATURES: dict[str, type[Feature]] = {kind.family: kind for kind in _KINDS}
"""Every feature class by the name of its family."""


def make_feature(
    name: str, options: Mapping[str, Any], species: Sequence[str] | None = None
) -> Feature:
    """A feature by its family, from text options (``{"r_cut": "5"}``) or values; species default to ``species``.

    ``name="..."`` among the options names the variable. A feature within a feature is ``{"interstice": {...}}``, or just ``"interstice"``.
    """
    if name.lower() not in FEATURES:
        raise ParameterError(
            f"there is no feature {name!r}; there are {', '.join(sorted(FEATURES))}"
        )
    values = dict(options)
    given = values.pop("name", None)
    inner = values.get("feature")
    if isinstance(inner, str):
        values["feature"] = make_feature(inner, {}, species)
    elif isinstance(inner, Mapping):
        if len(inner) != 1:
            raise ParameterError(
                f"{name}: feature={dict(inner)} must be one family with its options, as {{interstice: {{}}}}"
            )
        values["feature"] = make_feature(*next(iter(inner.items())), species)
    feature = build(FEATURES[name.lower()], values, species)
    return feature.named(str(given)) if given is not None else feature


__all__ = [
    "FEATURES",
    "SETS",
    "SOAP",
    "BondMoments",
    "BondOrder",
    "Chemistry",
    "Coordination",
    "Feature",
    "FoldSymmetry",
    "Interstice",
    "LagDisplacement",
    "MediumRange",
    "Motifs",
    "NonAffine",
    "Packing",
    "SphericalChebyshev",
    "SymmetryFunctions",
    "VoronoiIndices",
    "amlearn_names",
    "compute_features",
    "feature_set",
    "make_feature",
    "mro_sets",
    "parse_options",
    "sro_sets",
    "working_memory",
]
