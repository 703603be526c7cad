"""Elementary functions of whole arrays, in plain arithmetic without branches, which the compiler turns into vector instructions.

Calls of the C library cannot be vectorised; these cost a few nanoseconds a number instead of some fifteen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgdask.kernels._jit import inner

Float = npt.NDArray[np.float64]

_EIGHTH = 0.41421356237309503  # tan(pi / 8)


@inner
def arctan2_upper(n: int, y: Float, x: Float, out: Float) -> None:
    """out = atan2(y, x) for y >= 0, between 0 and pi; right to 1e-15; NaN for y = x = 0.

    atan(t) = t + t^3 p(t^2) for |t| <= tan(pi/8), p a minimax polynomial of degree 10 (mpmath.chebyfit, error 5e-18); larger t through
    atan(t) = pi/4 + atan((t - 1) / (t + 1)), and t > 1 through its reciprocal.
    """
    for i in range(n):
        width, height = abs(x[i]), y[i]
        low, high = min(width, height), max(width, height)
        above = low > _EIGHTH * high
        t = (low - high if above else low) / (low + high if above else high)
        z = t * t
        p = -0.019175404711104933678
        p = p * z + 0.039230447784793095235
        p = p * z - 0.050854078345894842573
        p = p * z + 0.058581409048663282818
        p = p * z - 0.066645105255089365988
        p = p * z + 0.076921831253768920895
        p = p * z - 0.090909045753064890845
        p = p * z + 0.11111111015187018721
        p = p * z - 0.14285714284665680761
        p = p * z + 0.19999999999995516545
        p = p * z - 0.33333333333333330156
        angle = t + t * z * p + (0.25 * np.pi if above else 0.0)
        angle = 0.5 * np.pi - angle if height > width else angle
        out[i] = np.pi - angle if x[i] < 0.0 else angle
