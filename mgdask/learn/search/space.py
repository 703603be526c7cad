"""What a search draws its trials from: a range for every parameter of LightGBM."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mgdask.errors import ParameterError
from mgdask.learn.training.parameters import main_names

Range = tuple[float, float, str]
SPACE: Mapping[str, Range] = {
    "learning_rate": (0.01, 0.3, "log"),
    "num_leaves": (7, 127, "int"),
    "min_data_in_leaf": (5, 200, "int"),
    "feature_fraction": (0.3, 1.0, "linear"),
    "bagging_fraction": (0.4, 1.0, "linear"),
    "lambda_l2": (1e-3, 100.0, "log"),
}
"""What is searched where nothing is said: name: (low, high, how values are drawn), both ends included.

"linear": evenly; "log": evenly in the logarithm; "int": whole numbers, evenly. Learning rate, leaves a tree, rows a leaf,
the share of columns and of rows that a tree sees, and the L2 penalty on values of leaves.
"""


def ranges_of(space: Mapping[str, Range]) -> dict[str, Range]:
    """A space by LightGBM's main names; ``ParameterError`` for a range that nothing can be drawn from."""
    if not space:
        raise ParameterError(
            "space is empty; give name: (low, high, 'log' | 'linear' | 'int'), such as SPACE"
        )
    main_names({name: repr(about) for name, about in space.items()})
    found: dict[str, Range] = {}
    for name, about in space.items():
        try:
            low, high, how = about
            fits = (
                how in ("log", "linear", "int")
                and math.isfinite(low)
                and math.isfinite(high)
                and low < high
            )
            fits = (
                fits
                and (how != "log" or low > 0)
                and (how != "int" or (low == int(low) and high == int(high)))
            )
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ParameterError(
                f"space[{name!r}]={about!r}; (low, high, how) with low < high is needed, how one of 'log' (low above 0), "
                "'linear', 'int' (whole numbers)"
            )
        (main,) = main_names({name: 0})
        found[main] = (int(low), int(high), how) if how == "int" else (float(low), float(high), how)
    return found


def distributions(package: Any, ranges: Mapping[str, Range]) -> dict[str, Any]:
    """The ranges as Optuna has them."""
    kinds = package.distributions
    return {
        name: kinds.IntDistribution(int(low), int(high))
        if how == "int"
        else kinds.FloatDistribution(low, high, log=how == "log")
        for name, (low, high, how) in ranges.items()
    }
