"""Recipes: features and their parameters, from the command line or from a YAML file.

A recipe file looks like this::

    sets: [interstice, sro+mro: {bond_order_neighbors: voronoi, cutoff: 3.8}]
    features:
      - soap: {r_cut: 5.0, n_max: 11, l_max: 12, sigma: 0.5, rbf: polynomial}
      - interstice: {name: interstice_rdf, radii: {Cu: 1.28, Zr: 1.58}, cutoff: 3.8}
      - medium_range: {feature: {interstice: {}}, statistics: [mean, std]}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mgdask._yaml import load_yaml
from mgdask.errors import ParameterError
from mgdask.features import Feature, feature_set, make_feature, parse_options

_EXAMPLE = "--feature soap:r_cut=5,n_max=11,l_max=12,sigma=0.5"


class Recipe(BaseModel):
    """Content of a recipe file.

    ``sets`` lists the names of feature sets, with or without options. Each entry of
    ``features`` is one family with its parameters.
    """

    model_config = ConfigDict(extra="forbid")
    sets: list[str | dict[str, dict[str, Any] | None]] = Field(default_factory=list)
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
    content = load_yaml(path, f"recipe {path}")
    try:
        recipe = Recipe.model_validate(content)
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
        Names of feature sets, with optional options in the form of ``texts``.
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
    entries, named = _parsed(texts), _parsed(sets)
    if recipe is not None:
        content = read_recipe(recipe)
        entries += _listed(content.features)
        named += _listed(content.sets)
    if not entries and not named:
        raise ParameterError(
            f"no feature is given; give {_EXAMPLE}, or --set interstice, or --recipe FILE"
        )
    members = [
        feature for name, options in named for feature in feature_set(name, species, **options)
    ]
    return members + [make_feature(family, options, species) for family, options in entries]


def _parsed(texts: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Split "name:option=value,option=value"."""
    parsed = []
    for text in texts:
        name, _, options = (part.strip() for part in text.partition(":"))
        try:
            parsed.append((name, {**parse_options(options)}))
        except ParameterError as error:
            raise ParameterError(
                f"{name}: {error}. mgdask features {name} lists the parameters"
            ) from None
    return parsed


def _listed(
    entries: Sequence[str | dict[str, dict[str, Any] | None]],
) -> list[tuple[str, dict[str, Any]]]:
    """Return the names and options in a list of a recipe."""
    mappings = ({entry: None} if isinstance(entry, str) else entry for entry in entries)
    return [(name, dict(options or {})) for entry in mappings for name, options in entry.items()]
