"""Messages name what the user knows: public names, never a function inside the package."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.studies.softness import compare, compare_glasses, learn_softness
from mgdask.studies.softness.training import renamed_learning
from mgdask.studies.softness.transfer import transfer

PACKAGE = Path(mgdask.__file__).parent
TREES = {
    path.relative_to(PACKAGE): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def public_names():
    """Names in the stubs, and the methods and fields of the classes among them."""
    names = set()
    for path in PACKAGE.rglob("*.pyi"):
        module = importlib.import_module(
            ".".join(("mgdask", *path.relative_to(PACKAGE).parts[:-1]))
        )
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    names.add(alias.asname or alias.name)
                    value = getattr(module, alias.asname or alias.name)
                    if inspect.isclass(value):
                        names |= {each for each in dir(value) if not each.startswith("_")}
    return names


def own_functions():
    """Names of all functions of the package."""
    return {
        node.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }


def messages(tree):
    """Line and text of every constant that has a space and is not a docstring."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if " " not in text or id(node) in docs:
                continue
            yield node.lineno, text


def words_of_data():
    """Names of arrays, columns and options: texts that stand alone somewhere in the package."""
    return {
        node.value
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_no_message_names_a_function_inside_the_package():
    inside = own_functions() - public_names() - words_of_data()
    assert len(inside) > 500  # there is something to find
    found = [
        f"{path}:{line}: {word}"
        for path, tree in TREES.items()
        for line, text in messages(tree)
        for word in re.findall(r"(?<![\w<{/.-])_?[a-z]+_[a-z_]+\b(?!=)", text)
        if word in inside or (word.startswith("_") and word in own_functions())
    ]
    assert found == []


def test_every_path_in_a_message_is_public():
    """ "mgdask.plan" exists for the reader, "mgdask.features.registry.build" would not."""
    found = []
    for path, tree in TREES.items():
        for line, text in messages(tree):
            for name in re.findall(r"\bmgdask(?:\.[A-Za-z]\w*)+", text):
                if " since version " in text:  # of an old name
                    continue
                parts = name.split(".")
                value, public = mgdask, True
                for part in parts[1:]:
                    names = getattr(value, "__all__", None)
                    public &= not names or part in names or inspect.ismodule(getattr(value, part))
                    value = getattr(value, part, None)
                if value is None or not public:
                    found.append(f"{path}:{line}: {name}")
    assert found == []


# the functions that pass on keyword arguments, each called with one that nobody knows
FORWARDING = {
    "ingest": lambda **more: mgdask.ingest("x.dump", "x.zarr", **more),
    "compare": lambda **more: compare("a.zarr", "b.zarr", "out", **more),
    "compare_glasses": lambda **more: compare_glasses(["a.zarr"], ["b.zarr"], "out", **more),
    "transfer": lambda **more: transfer(["a.zarr", "b.zarr"], "out", **more),
}


@pytest.mark.parametrize("name", FORWARDING)
def test_an_unknown_argument_is_refused_by_the_function_that_was_called(name):
    with pytest.raises(ParameterError) as error:
        FORWARDING[name](clien=None)
    message = str(error.value)
    assert message.startswith(f"{name} has no argument 'clien'; did you mean client")
    for other in ("take_inventory", "prepare_glass", "prepare_sets", "got an unexpected"):
        assert other not in message


def test_unknown_arguments_of_learning_are_refused_by_their_own_name():
    with pytest.raises(
        ParameterError, match=r"learning has no argument 'fold'; did you mean folds"
    ):
        renamed_learning({"fold": 3})
    taken = set(inspect.signature(learn_softness).parameters) - {"train_on", "test_on"}
    assert set(renamed_learning(dict.fromkeys(taken))) == taken


def test_every_public_function_that_passes_on_arguments_is_here():
    found = set()
    for module in ("mgdask", "mgdask.analysis", "mgdask.learn", "mgdask.studies.softness"):
        for name in importlib.import_module(module).__all__:
            value = getattr(importlib.import_module(module), name)
            if inspect.isfunction(value) and any(
                each.kind is each.VAR_KEYWORD
                for each in inspect.signature(value).parameters.values()
            ):
                found.add(name)
    assert found - {"feature_set"} <= set(FORWARDING)  # feature_set is tested in test_sets.py
