"""Targets made from numbers: soft labels that keep their order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from mgdask._typing import FloatArray
from mgdask.learn.data.arrays import vector


def rank_targets(values: npt.ArrayLike) -> FloatArray:
    """Return the rank of each number as a share of all, a soft label in (0, 1).

        t_i = (rank_i - 1/2) / n

    Parameters
    ----------
    values
        Finite numbers, shape (row,).

    Returns
    -------
    targets
        Shape (row,), with mean 1/2. Equal numbers get their mean rank.

    Raises
    ------
    ParameterError
        If a number is NaN or infinite.

    Notes
    -----
    A label above a threshold says only on which side a number is. Its rank also says
    how far. Train with ``objective="cross_entropy"``. If half of the rows are above the
    threshold, its rank is 1/2.

    Examples
    --------
    >>> rank_targets([0.2, 90.0, 0.1, 5.0]).tolist()
    [0.375, 0.875, 0.125, 0.625]
    """
    x = vector("values", values)
    return np.asarray((rankdata(x) - 0.5) / len(x), dtype=np.float64)
