"""LightGBM's parameters by one name each: it has up to ten for the same thing, and says nothing of one it does not know."""

from __future__ import annotations

import ctypes
import difflib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from mgdask.errors import ParameterError, RunError
from mgdask.learn.training.model import lightgbm

_FIRST_TRY = 2**20


def main_names(params: Mapping[str, Any]) -> dict[str, Any]:
    """``params`` with every name replaced by LightGBM's main one.

    Parameters: ``params`` name: value, in LightGBM's or scikit-learn's names. Returns a new dictionary in the same order.
    ``ParameterError`` for a name that LightGBM does not know, which it would pass over in silence, and for two names of
    one parameter with different values, of which it would take one.

    Source: ``LGBM_DumpParamAliases`` of the installed LightGBM's C API, so names are those of that version.

    >>> main_names({"min_child_samples": 5, "eta": 0.1})
    {'min_data_in_leaf': 5, 'learning_rate': 0.1}
    """
    found: dict[str, Any] = {}
    given: dict[str, str] = {}
    known = _mains() if params else {}
    for name, value in params.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 3, 0.6)
            hint = (
                f"did you mean {' or '.join(near)}?" if near else "its documentation lists them all"
            )
            raise ParameterError(
                f"params has {name!r}, which LightGBM {lightgbm().__version__} does not know; {hint}"
            )
        main = known[name]
        if main in found and not _same(found[main], value):
            raise ParameterError(
                f"params has {given[main]}={found[main]!r} and {name}={value!r}, which are two names of {main}; give one"
            )
        found.setdefault(main, value)
        given.setdefault(main, name)
    return found


def _same(one: Any, other: Any) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


@cache
def _mains() -> Mapping[str, str]:
    """The main name of every name, main names included."""
    library = _library()
    size, needed = _FIRST_TRY, ctypes.c_int64(0)
    while True:
        text = ctypes.create_string_buffer(size)
        if library.LGBM_DumpParamAliases(ctypes.c_int64(size), ctypes.byref(needed), text):
            raise RunError(
                f"LightGBM {lightgbm().__version__} gave no list of its parameters; install another version"
            )
        if needed.value <= size:
            break
        size = needed.value
    table: dict[str, list[str]] = json.loads(text.value)
    return MappingProxyType(
        {name: main for main, others in table.items() for name in (main, *others)}
    )


def _library() -> Any:
    """The shared library of LightGBM: the function is part of its C API, but not of its Python one."""
    package = lightgbm()
    loaded = getattr(package.basic, "_LIB", None)
    if hasattr(loaded, "LGBM_DumpParamAliases"):
        return loaded
    for path in sorted(Path(package.__file__).parent.rglob("lib_lightgbm.*")):
        if path.suffix in (".so", ".dylib", ".dll"):
            return ctypes.CDLL(str(path))
    raise RunError(
        f"the library of LightGBM {package.__version__} was not found in {Path(package.__file__).parent}, so names of "
        "params cannot be checked; install the lightgbm package of PyPI or conda-forge"
    )
