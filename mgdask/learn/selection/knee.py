"""The knee of a set of weights, which separates large from small ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray
from mgdask.learn.data.arrays import vector

RULE = (
    "Weights are sorted from the largest to the smallest and drawn against their rank. The knee "
    "is the point furthest below the straight line from the first point to the last. Weights "
    "before the knee are kept."
)
"""The rule in words."""


@dataclass(frozen=True, eq=False)
class Knee:
    """Which weights are above the knee.

    Parameters
    ----------
    kept
        True for weights above the knee (weight,).
    weight
        Weight at the knee, the largest that is not kept. NaN if all are kept.
    depth
        Depth of the knee below the straight line, relative to the largest minus the
        smallest weight: 0 if there is no knee, near 1 if it is sharp.
    """

    kept: BoolArray
    weight: float
    depth: float


def find_knee(weights: npt.ArrayLike) -> Knee:
    """Find the knee of weights and keep those above it.

    The weights are sorted, w_1 >= w_2 >= ... >= w_n. The depth of point i below the
    straight line from (1, w_1) to (n, w_n) is::

        depth_i = (n - i) / (n - 1) - (w_i - w_n) / (w_1 - w_n)

    The knee is the point with the largest depth, or the first such point. Weights
    before it are kept.

    Parameters
    ----------
    weights
        Weights, shape (weight,), in any order. Negative ones are allowed.

    Returns
    -------
    Knee
        All weights are kept if no point is below the line. Examples are equal weights
        and weights that decrease faster and faster.

    Raises
    ------
    ParameterError
        If a weight is not finite.

    Notes
    -----
    The result does not change if all weights are multiplied by a positive number, or if
    a constant is added to all of them. It changes if many small weights are added to
    the set, because they move the end of the line. Look at the curve and at ``depth``:
    a gradual decrease has a shallow knee whose position is uncertain.

    References
    ----------
    The knee is the point farthest from the chord, as in Satopää et al., 31st Int. Conf.
    Distributed Computing Systems Workshops, 166 (2011), without their smoothing and
    threshold.

    Examples
    --------
    >>> find_knee([9.0, 0.3, 8.0, 0.1, 0.2]).kept.tolist()
    [True, False, True, False, False]
    """
    values = vector("weights", weights)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    n, height = len(ranked), ranked[0] - ranked[-1]
    if n < 3 or height <= 0.0:
        return Knee(np.ones(n, dtype=bool), float("nan"), 0.0)
    depth = _depth(ranked, height)
    # points on the line differ from it by rounding only
    if depth.max() <= 1e-12:
        return Knee(np.ones(n, dtype=bool), float("nan"), 0.0)
    place = int(depth.argmax())
    kept = np.zeros(n, dtype=bool)
    kept[order[:place]] = True
    return Knee(kept, float(ranked[place]), float(depth[place]))


def _depth(ranked: FloatArray, height: float) -> FloatArray:
    """Return the depth of each point below the line from the first to the last."""
    line = np.arange(len(ranked) - 1, -1, -1) / (len(ranked) - 1)
    return np.asarray(line - (ranked - ranked[-1]) / height, dtype=np.float64)
