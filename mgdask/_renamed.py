"""Names of arguments: old ones, which keep working for a release, and unknown ones."""

from __future__ import annotations

import difflib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from mgdask.errors import ParameterError

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


def check_arguments(
    owner: str,
    given: Iterable[str],
    takers: Iterable[Callable[..., Any]],
    without: Iterable[str] = (),
) -> None:
    """Refuse unknown keyword arguments in the name of the function that was called.

    A function that passes on its keyword arguments calls it first. An error of Python
    would name the function that received them, which the user did not call.

    Parameters
    ----------
    owner
        Name of the function that was called, or of its argument.
    given
        Names of the arguments.
    takers
        Functions that take them.
    without
        Arguments of the takers that the caller sets itself.

    Raises
    ------
    ParameterError
        If a name is unknown. The message lists the known ones, the nearest first.

    Examples
    --------
    >>> def read(path, frames=None): ...
    >>> check_arguments("load", ["frame"], [read], ["path"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mgdask.errors.ParameterError: load has no argument 'frame'; did you mean frames? ...
    """
    known = {
        name
        for taker in takers
        for name, parameter in inspect.signature(taker).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    names = sorted(known - set(without))
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise ParameterError(
                f"{owner} has no argument {name!r}; {hint}Its arguments are {', '.join(names)}"
            )
