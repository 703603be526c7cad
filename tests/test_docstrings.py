"""Docstrings of all public names: numpydoc's rules, and the sections that our readers need."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest
from pydantic import BaseModel

import mgdask

validation = pytest.importorskip(
    "numpydoc.validate", reason="numpydoc is not installed (pip install 'mgdask[docs]')"
)

MODULES = (
    "mgdask",
    "mgdask.analysis",
    "mgdask.cluster",
    "mgdask.datasets",
    "mgdask.errors",
    "mgdask.explore.accessor",
    "mgdask.features",
    "mgdask.learn",
    "mgdask.learn.explain",
    "mgdask.learn.predict",
    "mgdask.learn.search",
    "mgdask.learn.selection",
    "mgdask.plot",
    "mgdask.plot.environments",
    "mgdask.studies",
    "mgdask.studies.softness",
    "mgdask.studies.barcode",
)
CHECKS = {
    "GL03",  # two blank lines
    "GL05",  # tabs
    "GL06",  # unknown section
    "GL07",  # sections in the wrong order
    "GL08",  # no docstring
    "SS03",  # summary does not end with a period
    "SS04",  # summary is indented
    "SS05",  # summary is not in the infinitive
    "SS06",  # summary is longer than a line
    "PR01",  # parameter is not documented
    "PR02",  # unknown parameter
    "PR03",  # parameters in another order
    "PR07",  # parameter without description
    "PR09",  # description does not end with a period
    "PR10",  # no space before the colon
    "RT01",  # no section Returns
}
"""Off: PR04 and PR06, since types are in the signatures; RT03, since a returned value may
be described in one sentence; SS02 and PR08, since a text may begin with a symbol; YD01,
since context managers describe what ``with`` gives under Returns."""
NOUN_PHRASES = {"SS05"}
"""Checks that concern functions only: classes and properties are described by nouns."""
SHORT = {"PR01", "RT01"}
"""Checks that methods of a line need not meet, nor properties."""


def public_objects():
    """Every public function and class by its full name, and public methods by theirs."""
    objects = {}
    for name in MODULES:
        module = importlib.import_module(name)
        names = getattr(module, "__all__", None) or [
            each
            for each, value in vars(module).items()
            if not each.startswith("_") and getattr(value, "__module__", None) == name
        ]
        for each in names:
            value = getattr(module, each)
            if isinstance(value, ModuleType):
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                objects.setdefault(f"{value.__module__}.{value.__qualname__}", value)
    methods = {}
    for name, value in objects.items():
        if inspect.isclass(value):
            for each, member in vars(value).items():
                if each.startswith(("_", "model_")) or "pydantic" in each:
                    continue
                if inspect.isfunction(member) or isinstance(
                    member, property | classmethod | staticmethod
                ):
                    methods[f"{name}.{each}"] = member
    return objects, methods


OBJECTS, METHODS = public_objects()


def problems(name, value, *, method=False):
    """Errors of numpydoc that count for this object, as texts."""
    found = validation.validate(name)["errors"]
    off = set()
    if not inspect.isfunction(value):
        off |= NOUN_PHRASES
    if method:
        off |= SHORT
    # an exception is described by its text, the fields of a model by their own descriptions
    if inspect.isclass(value) and issubclass(value, Exception | BaseModel):
        off |= SHORT
    return [f"{code} {text}" for code, text in found if code in CHECKS - off]


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_public_name(name):
    assert problems(name, OBJECTS[name]) == []


@pytest.mark.parametrize("name", sorted(METHODS))
def test_public_method(name):
    assert problems(name, METHODS[name], method=True) == []


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_types_are_in_the_signature_only(name):
    doc = validation.Validator(validation.get_doc_object(OBJECTS[name]))
    typed = [each for each, (kind, _) in doc.doc_parameters.items() if kind and kind != "optional"]
    assert typed == []


def test_every_module_says_what_belongs_in_it():
    missing = []
    for info in pkgutil.walk_packages(mgdask.__path__, "mgdask."):
        module = importlib.import_module(info.name)
        if not (module.__doc__ or "").strip():
            missing.append(info.name)
    assert missing == []
