"""Recipes: which features with which parameters, from ``--soap a=1,b=2`` or from a YAML file.

features:
  - soap: {r_cut: 5.0, n_max: 11, l_max: 12, sigma: 0.5, rbf: polynomial}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgdask.errors import ParameterError
from mgdask.features import Feature, make_feature, parse_options


class Recipe(BaseModel):
    """The content of a recipe file: each entry of ``features`` is one name with its parameters."""

    model_config = ConfigDict(extra="forbid")
    features: list[dict[str, dict[str, Any]]] = Field(min_length=1)


def read_recipe(path: str | Path) -> list[tuple[str, dict[str, Any]]]:
    """Names and parameters from a YAML file; ``ParameterError`` says which entry is wrong."""
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
    entries = [(name, options) for entry in recipe.features for name, options in entry.items()]
    return entries


def gather_features(soaps: Sequence[str], recipe: str | None, species: Sequence[str]) -> list[Feature]:
    """The features asked for on a command line; species are those of the store where none are given."""
    entries: list[tuple[str, dict[str, Any]]] = [("soap", dict(parse_options(text))) for text in soaps]
    if recipe is not None:
        entries += read_recipe(recipe)
    if not entries:
        raise ParameterError("no feature asked for: give --soap r_cut=5,n_max=11,l_max=12,sigma=0.5 or --recipe FILE")
    return [make_feature(name, options, species) for name, options in entries]
