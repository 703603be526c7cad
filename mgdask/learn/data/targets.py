"""Soft labels made from numbers, which preserve their order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from mgdask._typing import FloatArray
from mgdask.learn.data.arrays import vector


def rank_targets(values: npt.ArrayLike) -> FloatArray:
    """Return the relative rank of each number, a soft label in (0, 1).

        t_i = (rank_i - 1/2) / n

    Parameters
    ----------
    values
        Finite numbers, shape (row,).

    Returns
    -------
    targets
        Ranks, shape (row,), with mean 1/2. Equal numbers share their mean rank.

    Raises
    ------
    ParameterError
        If a number is NaN or infinite.

    Notes
    -----
    A binary label only says whether a number is above a threshold. The rank also says
    how far it is from it. Train with ``objective="cross_entropy"``. The rank of a
    number at the median is 1/2.

    Examples
    --------
    >>> rank_targets([0.2, 90.0, 0.1, 5.0]).tolist()
    [0.375, 0.875, 0.125, 0.625]
    """
    x = vector("values", values)
    return np.asarray((rankdata(x) - 0.5) / len(x), dtype=np.float64)
