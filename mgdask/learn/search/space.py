"""The search space: a range for each parameter of LightGBM."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mgdask.errors import ParameterError
from mgdask.learn.training.parameters import main_names

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Range = tuple[float, float, str]
"""Lowest value, highest value, and ``"linear"``, ``"log"`` or ``"int"``."""
SPACE: Mapping[str, Range] = {
    "learning_rate": (0.01, 0.3, "log"),
    "num_leaves": (7, 127, "int"),
    "min_data_in_leaf": (5, 200, "int"),
    "feature_fraction": (0.3, 1.0, "linear"),
    "bagging_fraction": (0.4, 1.0, "linear"),
    "lambda_l2": (1e-3, 100.0, "log"),
}
"""The default search space; both ends of a range are included.

``"linear"`` draws evenly, ``"log"`` evenly in the logarithm, ``"int"`` integers
evenly.
"""


def ranges_of(space: Mapping[str, Range]) -> dict[str, Range]:
    """Validate a search space and translate its names.

    Parameters
    ----------
    space
        Range of each parameter, in any of LightGBM's names.

    Returns
    -------
    dict
        Range by LightGBM's main name.

    Raises
    ------
    ParameterError
        If the space is empty, a range is not valid, or a parameter has two names.
    """
    if not space:
        raise ParameterError(
            "space is empty; give name: (low, high, 'log' | 'linear' | 'int'), such as SPACE"
        )
    main_names({name: repr(given) for name, given in space.items()})  # two names of one parameter
    ranges: dict[str, Range] = {}
    for name, given in space.items():
        if not _is_valid(given):
            raise ParameterError(
                f"space[{name!r}]={given!r}; it must be (low, high, kind) with low < high. kind is "
                "'log' (low above 0), 'linear', or 'int' (integers)"
            )
        low, high, kind = given
        (main,) = main_names({name: 0})
        if kind == "int":
            ranges[main] = (int(low), int(high), kind)
        else:
            ranges[main] = (float(low), float(high), kind)
    return ranges


def _is_valid(given: Any) -> bool:
    try:
        low, high, kind = given
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            return False
        if kind == "int":
            return bool(low == int(low) and high == int(high))
        return kind == "linear" or (kind == "log" and bool(low > 0))
    except (TypeError, ValueError):
        return False


def distributions(ranges: Mapping[str, Range]) -> dict[str, BaseDistribution]:
    """Translate ranges into Optuna's distributions.

    Parameters
    ----------
    ranges
        Ranges of ``ranges_of``.

    Returns
    -------
    dict
        Distribution by name.
    """
    from optuna.distributions import FloatDistribution, IntDistribution

    return {
        name: IntDistribution(int(low), int(high))
        if kind == "int"
        else FloatDistribution(low, high, log=kind == "log")
        for name, (low, high, kind) in ranges.items()
    }
