"""LightGBM's parameters under their main names.

LightGBM has up to ten names for one parameter and ignores those that it does not know.
"""

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

_FIRST_BUFFER_SIZE = 2**20
"""Bytes of the first buffer for the list of names."""


def main_names(params: Mapping[str, Any]) -> dict[str, Any]:
    """Replace every name by LightGBM's main one.

    Parameters
    ----------
    params
        Values by name, in LightGBM's or scikit-learn's names.

    Returns
    -------
    dict
        Values by main name, in the same order.

    Raises
    ------
    ParameterError
        If LightGBM does not know a name, which it would silently ignore. Also if two
        names of one parameter have different values.

    Notes
    -----
    The names are those of the installed LightGBM (``LGBM_DumpParamAliases`` of its C
    API).

    Examples
    --------
    >>> main_names({"min_child_samples": 5, "eta": 0.1})
    {'min_data_in_leaf': 5, 'learning_rate': 0.1}
    """
    values: dict[str, Any] = {}
    given_as: dict[str, str] = {}
    known = _main_name_by_alias() if params else {}
    for name, value in params.items():
        if name not in known:
            raise ParameterError(_unknown(name, known))
        main = known[name]
        if main in values and not _same(values[main], value):
            raise ParameterError(
                f"params has {given_as[main]}={values[main]!r} and {name}={value!r}, which are "
                f"two names of {main}; give one"
            )
        values.setdefault(main, value)
        given_as.setdefault(main, name)
    return values


def _unknown(name: str, known: Mapping[str, str]) -> str:
    import lightgbm

    near = difflib.get_close_matches(str(name), known, 3, 0.6)
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else "see https://lightgbm.readthedocs.io/en/stable/Parameters.html"
    )
    return f"params has {name!r}, which LightGBM {lightgbm.__version__} does not know; {hint}"


def _same(one: Any, other: Any) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


@cache
def _main_name_by_alias() -> Mapping[str, str]:
    """Return the main name of every name, main names included."""
    import lightgbm

    library = lightgbm_library()
    size, needed = _FIRST_BUFFER_SIZE, ctypes.c_int64(0)
    while True:
        text = ctypes.create_string_buffer(size)
        if library.LGBM_DumpParamAliases(ctypes.c_int64(size), ctypes.byref(needed), text):
            raise RunError(
                f"LightGBM {lightgbm.__version__} did not list its parameters; install another "
                "version"
            )
        if needed.value <= size:
            break
        size = needed.value
    aliases: dict[str, list[str]] = json.loads(text.value)
    return MappingProxyType(
        {name: main for main, others in aliases.items() for name in (main, *others)}
    )


def lightgbm_library() -> ctypes.CDLL:
    """Return LightGBM's shared library, whose C API has more than the Python one."""
    import lightgbm

    loaded: ctypes.CDLL | None = getattr(lightgbm.basic, "_LIB", None)
    if loaded is not None and hasattr(loaded, "LGBM_DumpParamAliases"):
        return loaded
    folder = Path(lightgbm.__file__).parent
    for path in sorted(folder.rglob("lib_lightgbm.*")):
        if path.suffix in (".so", ".dylib", ".dll"):
            return ctypes.CDLL(str(path))
    raise RunError(
        f"the library of LightGBM {lightgbm.__version__} is not in {folder}, so its C API "
        "cannot be called; install the lightgbm package of PyPI or conda-forge"
    )
