"""Old names of arguments, which keep working for a release and warn."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed_arguments(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take keyword arguments under their old names.

    Parameters
    ----------
    **names
        The new name of each argument by its old name.

    Returns
    -------
    A decorator. The decorated function emits a ``FutureWarning`` for each old name.

    Raises
    ------
    TypeError
        If an argument is given under both names.

    Examples
    --------
    >>> @renamed_arguments(rounds="num_boost_round")
    ... def fit(*, num_boost_round: int) -> int:
    ...     return num_boost_round
    >>> fit(num_boost_round=3)
    3
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            for old, new in names.items():
                if old not in kwargs:
                    continue
                if new in kwargs:
                    raise TypeError(
                        f"{function.__name__}: {old}= is an old name of {new}=; give one"
                    )
                warnings.warn(
                    f"{function.__name__}: {old}= is {new}= since version 0.2",
                    FutureWarning,
                    stacklevel=2,
                )
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapper

    return decorate
