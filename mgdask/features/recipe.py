"""Recipes: features and their parameters, from the command line or from a YAML file.

A recipe file looks like this::

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

_EXAMPLE = "--feature soap:r_cut=5,n_max=11,l_max=12,sigma=0.5"


class Recipe(BaseModel):
    """Content of a recipe file.

    ``sets`` are names of feature sets. Each entry of ``features`` is one family with
    its parameters.
    """

    model_config = ConfigDict(extra="forbid")
    sets: list[str] = Field(default_factory=list)
    features: list[dict[str, dict[str, Any] | None]] = Field(default_factory=list)


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a YAML file.

    Parameters
    ----------
    path
        Path of the file.

    Returns
    -------
    The recipe.

    Raises
    ------
    ParameterError
        If the file cannot be read or an entry is wrong; the message names the entry.
    """
    try:
        recipe = Recipe.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ParameterError(f"recipe {path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ParameterError(f"recipe {path} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        entry = ".".join(map(str, first["loc"])) or "the whole file"
        raise ParameterError(
            f"recipe {path}, {entry}: {first['msg']}. A recipe is 'features:' and a list of "
            "entries such as '- soap: {r_cut: 5.0, n_max: 11, l_max: 12, sigma: 0.5}'"
        ) from error
    if not recipe.sets and not recipe.features:
        raise ParameterError(f"recipe {path} is empty: list sets or features in it")
    return recipe


def gather_features(
    texts: Sequence[str], sets: Sequence[str], recipe: str | None, species: Sequence[str]
) -> list[Feature]:
    """Make the features that a command line asks for.

    Parameters
    ----------
    texts
        Families with optional parameters: ``"family:parameter=value,parameter=value"``.
    sets
        Names of feature sets.
    recipe
        Path of a recipe file.
    species
        Element symbols of the store, for features whose parameters name none.

    Returns
    -------
    The features: those of the sets, of ``texts`` and of the recipe.

    Raises
    ------
    ParameterError
        If no feature is asked for, or a name or parameter is wrong.
    """
    entries = [
        (family.strip(), dict(parse_options(options)))
        for family, _, options in (text.partition(":") for text in texts)
    ]
    set_names = list(sets)
    if recipe is not None:
        content = read_recipe(recipe)
        set_names += content.sets
        entries += [
            (family, dict(options or {}))
            for entry in content.features
            for family, options in entry.items()
        ]
    if not entries and not set_names:
        raise ParameterError(
            f"no feature is given; give {_EXAMPLE}, or --set interstice, or --recipe FILE"
        )
    members = [feature for name in set_names for feature in feature_set(name, species)]
    return members + [make_feature(family, options, species) for family, options in entries]
