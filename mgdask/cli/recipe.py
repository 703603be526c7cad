"""Recipes: which features with which parameters, from ``--feature soap:r_cut=5,n_max=11`` or from a YAML file.

sets: [sro]
features:
  - soap: {r_cut: 5.0, n_max: 11, l_max: 12, sigma: 0.5, rbf: polynomial}
  - interstice: {name: interstice_rdf, radii: {Cu: 1.28, Zr: 1.58}, cutoff: 3.8}
  - mediumrange: {feature: {interstice: {}}, statistics: [mean, std]}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgdask.errors import ParameterError
from mgdask.features import Feature, feature_set, make_feature, parse_options


class Recipe(BaseModel):
    """The content of a recipe file: ``sets`` are names of ready-made lists, each entry of ``features`` is one family with its parameters."""

    model_config = ConfigDict(extra="forbid")
    sets: list[str] = Field(default_factory=list)
    features: list[dict[str, dict[str, Any] | None]] = Field(default_factory=list)


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a YAML file; ``ParameterError`` says which entry is wrong."""
    try:
        recipe = Recipe.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ParameterError(f"recipe {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ParameterError(f"recipe {path} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise ParameterError(
            f"recipe {path}, {where}: {first['msg']}. A recipe is 'features:' and a list of entries such as "
            "'- soap: {r_cut: 5.0, n_max: 11, l_max: 12, sigma: 0.5}'"
        ) from error
    if not recipe.sets and not recipe.features:
        raise ParameterError(f"recipe {path} asks for nothing: give it sets or features")
    return recipe


def gather_features(
    texts: Sequence[str], sets: Sequence[str], recipe: str | None, species: Sequence[str]
) -> list[Feature]:
    """The features asked for on a command line; species are those of the store where none are given.

    ``texts`` are family:option=value,option=value, of which the options may be missing.
    """
    entries = [
        (family.strip(), dict(parse_options(options)))
        for family, _, options in (text.partition(":") for text in texts)
    ]
    names = list(sets)
    if recipe is not None:
        found = read_recipe(recipe)
        names += found.sets
        entries += [
            (family, dict(options or {}))
            for entry in found.features
            for family, options in entry.items()
        ]
    if not entries and not names:
        raise ParameterError(
            "no feature asked for: give --feature soap:r_cut=5,n_max=11,l_max=12,sigma=0.5, or --set interstice, or --recipe FILE"
        )
    ready = [feature for name in names for feature in feature_set(name, species)]
    return ready + [make_feature(family, options, species) for family, options in entries]
