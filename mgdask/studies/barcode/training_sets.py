"""Sets of training runs, on each of which a model is trained."""

from __future__ import annotations

from collections.abc import Sequence

from mgdask.errors import ParameterError

MAX_CASES = 5
"""Maximum number of sets of training runs. The paper averages at least five cases."""


def training_sets(runs: Sequence[str], n_runs: int) -> tuple[tuple[str, ...], ...]:
    """Return sets of successive runs; after the last run comes the first.

    Parameters
    ----------
    runs
        Names of all training runs.
    n_runs
        Number of runs in a set.

    Returns
    -------
    sets
        At most ``MAX_CASES``, which start at equal distances. One set if it has all
        runs.

    Raises
    ------
    ParameterError
        If there are fewer runs.

    Examples
    --------
    >>> training_sets("abc", 2)
    (('a', 'b'), ('b', 'c'), ('c', 'a'))
    """
    total = len(runs)
    if not 1 <= n_runs <= total:
        raise ParameterError(
            f"accuracy_runs={n_runs}, but the training stores have {total} "
            f"{'run' if total == 1 else 'runs'}; give numbers from 1 to {total}"
        )
    if n_runs == total:
        return (tuple(runs),)
    number = min(total, MAX_CASES)
    starts = [k * total // number for k in range(number)]
    return tuple(tuple(runs[(start + k) % total] for k in range(n_runs)) for start in starts)
