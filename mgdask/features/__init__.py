"""The features, by name. A new family is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mgdask.errors import ParameterError
from mgdask.features.base import Feature, build, parse_options
from mgdask.features.soap import SOAP

FEATURES: dict[str, type[Feature]] = {kind.family: kind for kind in (SOAP,)}
"""Every feature class by the name of its variable."""


def make_feature(name: str, options: Mapping[str, Any], species: Sequence[str] | None = None) -> Feature:
    """A feature by name, from text options (``{"r_cut": "5"}``) or values; species default to ``species``."""
    if name.lower() not in FEATURES:
        raise ParameterError(f"there is no feature {name!r}; there are {', '.join(sorted(FEATURES))}")
    return build(FEATURES[name.lower()], options, species)


__all__ = ["FEATURES", "SOAP", "Feature", "make_feature", "parse_options"]
