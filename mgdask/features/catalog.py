"""Facts about families and sets, taken from the classes and their docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgdask.elements import atomic_number
from mgdask.errors import ParameterError, StoreError
from mgdask.features import allowed
from mgdask.features.feature import Feature, FrameFeature, TrajectoryFeature
from mgdask.features.naming import nearest
from mgdask.features.parameters import is_required, parameter_descriptions, schema_of
from mgdask.features.registry import feature_class, feature_names, make_feature
from mgdask.features.sets import SETS, feature_set, options_taker, set_options

EXAMPLE_SPECIES = ("Cu", "Zr")
"""Elements of the examples, and of the number of columns."""


@dataclass(frozen=True)
class ParameterFacts:
    """A parameter of a family.

    Parameters
    ----------
    name
        Name of the parameter.
    allowed
        Allowed values in words.
    unit
        Unit; empty if it has none.
    default
        Default as typed on a command line; empty if the parameter is required.
    meaning
        Its description.
    """

    name: str
    allowed: str
    unit: str
    default: str
    meaning: str


@dataclass(frozen=True)
class FamilyFacts:
    """A family of features.

    Parameters
    ----------
    family
        Name on the command line.
    kind
        The class.
    example
        A feature with default parameters for Cu-Zr, and those of
        ``example_parameters``; None if none can be made without a file.
    """

    family: str
    kind: type[Feature]
    example: Feature | None

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return _docstring(self.kind)[0]

    @property
    def explanation(self) -> str:
        """Text of the docstring between its first line and the parameters."""
        return _docstring(self.kind)[1]

    @property
    def meaning(self) -> str:
        """What the family describes, in a few words."""
        if isinstance(inspect.getattr_static(self.kind, "long_name", None), str):
            return self.kind.long_name
        return self.summary[:1].lower() + self.summary[1:].rstrip(".")

    @property
    def citation(self) -> str:
        """References of the family."""
        if isinstance(inspect.getattr_static(self.kind, "citation", None), str):
            return self.kind.citation
        return "" if self.example is None else self.example.citation.split("; ")[0]

    @property
    def inputs(self) -> str:
        """What a row is computed from."""
        if issubclass(self.kind, FrameFeature):
            return "one frame"
        return "trajectory" if issubclass(self.kind, TrajectoryFeature) else "two frames"

    @property
    def array(self) -> str:
        """Name of its array in an output."""
        return self.kind.array_name or self.family if self.example is None else self.example.name

    @property
    def parameters(self) -> list[ParameterFacts]:
        """The parameters, in order."""
        descriptions, schemas = parameter_descriptions(self.kind), schema_of(self.kind)
        return [
            _parameter(item, schemas.get(item.name, {}), descriptions.get(item.name, ""))
            for item in dataclasses.fields(self.kind)
        ]

    def typed(self) -> str:
        """Return the family with parameters, as after ``--feature``."""
        options = self.kind.example_parameters
        text = ",".join(f"{name}={allowed.to_text(value)}" for name, value in options.items())
        return f"{self.family}:{text}" if text else self.family

    def python(self) -> str:
        """Return the expression that makes the example in Python."""
        names = [item.name for item in dataclasses.fields(self.kind)]
        given: dict[str, str] = {}
        if "species" in names:
            given["species"] = repr(EXAMPLE_SPECIES)
        for name, value in self.kind.example_parameters.items():
            inner = name == "feature" and isinstance(value, str)
            given[name] = f"{_python_name(feature_class(value))}()" if inner else repr(value)
        text = ", ".join(f"{name}={value}" for name, value in given.items())
        return f"{_python_name(self.kind)}({text})"


def _python_name(kind: type) -> str:
    """Return the shortest path under which a class is public, such as mgdask.SOAP."""
    parts = kind.__module__.split(".")
    paths = (".".join(parts[:n]) for n in range(1, len(parts) + 1))
    public = (path for path in paths if getattr(sys.modules[path], kind.__name__, None) is kind)
    return f"{next(public, kind.__module__)}.{kind.__name__}"


def _parameter(item: dataclasses.Field[Any], schema: Any, meaning: str) -> ParameterFacts:
    if is_required(item):
        default = "from the store" if item.name == "species" else ""
    else:
        default = allowed.to_text(item.default)
    words = allowed.describe(schema)
    optional = any(each.get("type") == "null" for each in schema.get("anyOf", ()))
    if optional and "none" not in allowed.choices(schema):
        words += ", or none" if " or " in words else " or none"
    pairs = allowed.example_of(schema, meaning)
    if pairs is not None:
        words += f", such as {allowed.to_text(pairs)}"
    return ParameterFacts(
        item.name, words, allowed.unit_of(schema, meaning), default, _plain(meaning)
    )


def _plain(text: str) -> str:
    """Return a text of a docstring without markup of code."""
    return text.replace("``", "")


def _docstring(kind: Any) -> tuple[str, str]:
    """Return the summary of a docstring, and the text up to the first section."""
    text = _plain(inspect.cleandoc(kind.__doc__ or ""))
    text = re.split(r"^\w[\w ]*\n-{3,}\n", text, maxsplit=1, flags=re.M)[0]
    summary, _, rest = text.partition("\n\n")
    return " ".join(summary.split()), rest.strip("\n").rstrip()


def family_facts(name: str) -> FamilyFacts:
    """Return the facts about a family.

    Parameters
    ----------
    name
        Name of the family, in any spelling.

    Returns
    -------
    The facts.

    Raises
    ------
    ParameterError
        If there is no such family, or its package cannot be imported.

    Examples
    --------
    >>> facts = family_facts("NonAffine")
    >>> facts.family, facts.array, facts.example.n_columns, facts.inputs
    ('non_affine', 'nonaffine', 4, 'two frames')
    """
    kind = feature_class(name)
    try:
        example = make_feature(kind.family, kind.example_parameters, EXAMPLE_SPECIES)
    except (ParameterError, StoreError):  # a package need not give one; or it needs a file
        example = None
    return FamilyFacts(kind.family, kind, example)


def all_families() -> list[FamilyFacts]:
    """Return the facts about every family whose package can be used."""
    found = []
    for name in feature_names():
        try:
            found.append(family_facts(name))
        except ParameterError:
            continue
    return found


@dataclass(frozen=True)
class SetFacts:
    """A ready-made set.

    Parameters
    ----------
    name
        Name of the set.
    explanation
        What it contains.
    features
        Its features for Cu-Zr.
    options
        Meaning of its options by name; empty if they are those of ``options_of``.
    options_of
        Family whose parameters are its options; empty if none.
    """

    name: str
    explanation: str
    features: tuple[Feature, ...]
    options: dict[str, str]
    options_of: str

    @property
    def n_columns(self) -> int:
        """Number of columns for Cu-Zr."""
        return sum(feature.n_columns for feature in self.features)


def set_facts(name: str) -> SetFacts:
    """Return the facts about a set.

    Parameters
    ----------
    name
        Name of the set, in any spelling.

    Returns
    -------
    The facts.

    Examples
    --------
    >>> set_facts("sro").n_columns
    49
    """
    given = SETS.spelled(name)
    atoms = np.array([atomic_number(symbol) for symbol in EXAMPLE_SPECIES])
    features = tuple(each.for_atoms(atoms) for each in feature_set(given, EXAMPLE_SPECIES))
    summary, explanation = _docstring(SETS[given])
    taker = options_taker(given)
    family = taker.family if isinstance(taker, type) and issubclass(taker, Feature) else ""
    described = parameter_descriptions(taker)
    options = {} if family else {each: _plain(described[each]) for each in set_options(given)}
    return SetFacts(
        given, explanation or summary or f"The {features[0].long_name}.", features, options, family
    )


def check_name(name: str) -> tuple[bool, bool]:
    """Return whether a name is that of a family, and whether it is that of a set.

    Parameters
    ----------
    name
        Name in any spelling.

    Returns
    -------
    Two booleans.

    Raises
    ------
    ParameterError
        If it is neither. The message lists the nearest names.
    """
    families = feature_names()
    try:
        feature_class(name)
        is_family = True
    except ParameterError:
        is_family = False
    if is_family or name in SETS:
        return is_family, name in SETS
    close = nearest(name, dict.fromkeys([*families, *SETS]), 3)
    raise ParameterError(
        f"there is no feature or set {name!r}. "
        + (f"Nearest: {', '.join(close)}. " if close else "")
        + "mgdask features lists all"
    )
