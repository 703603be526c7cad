"""Elementary functions in branch-free arithmetic, which compilers can vectorize.

Calls of the C library cannot be vectorized. These functions cost a few nanoseconds per
number instead of about fifteen.
"""

from __future__ import annotations

import numpy as np
from numba import float64

from mgdask._typing import FloatArray
from mgdask.kernels._jit import array, inner, kernel

_EIGHTH = 0.41421356237309503  # tan(pi / 8)
_LOG2E = 1.4426950408889634
# 1.5 * 2^52; adding it to a number below 2^51 rounds that number to an integer
_ROUND = 6755399441055744.0
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_INVERSE_PI = 0.3183098861837907
_PI_HIGH, _PI_MIDDLE, _PI_LOW = (
    3.1415926534682512,
    1.2154201012607932e-10,
    4.044532497591901e-21,
)  # 33, 33, 53 bits


@inner
def arctan2_upper(n: int, y: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """Compute atan2(y, x) for y >= 0, between 0 and pi, accurate to 1e-15.

    The result is NaN for y = x = 0. For |t| <= tan(pi/8), atan(t) = t + t^3 p(t^2),
    with p a minimax polynomial of degree 10 (mpmath.chebyfit, error 5e-18). Larger t go
    through atan(t) = pi/4 + atan((t - 1) / (t + 1)), and t > 1 through the reciprocal.
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


@inner
def exponential(t: float) -> float:
    """Compute exp(t) for t <= 709 within 2 units in the last place.

    It is 0 below t = -708, where doubles become subnormal. e^t = 2^n e^r with n =
    round(t / ln 2) and ln 2 in two parts (Cody and Waite). On |r| <= ln 2 / 2, e^r is 1
    + r + r^2 q(r), with q of degree 9 through the Chebyshev nodes (error 1.6e-17).
    There is no branch and no call, so a loop over it becomes vector code.
    """
    shifted = np.float64(t * _LOG2E + _ROUND)
    n = shifted - _ROUND
    r = (t - n * _LN2_HIGH) - n * _LN2_LOW
    r2 = r * r
    r4 = r2 * r2
    # Estrin's scheme, because the chain of dependent steps in Horner's leaves the
    # vector units waiting
    low = (0.5000000000000001 + r * 0.16666666666666669) + r2 * (
        0.041666666666624164 + r * 0.008333333333330065
    )
    high = (0.0013888888917196881 + r * 0.0001984126986304067) + r2 * (
        2.4801521322116825e-05 + r * 2.7557268480116333e-06
    )
    q = low + r4 * (high + r4 * (2.762007599981065e-07 + r * 2.5100375924709717e-08))
    value = np.float64(1.0 + (r + r2 * q))
    # the last bits of `shifted` are n, which is added to the exponent
    scaled = np.int64(value.view(np.int64) + (shifted.view(np.int64) << 52)).view(np.float64)
    return 0.0 if t < -708.0 else float(scaled)


@kernel(array(float64, 1), array(float64, 1, out=True))
def exponentials(t: FloatArray, out: FloatArray) -> None:
    """Apply ``exponential`` to each number, for tests: ``(n,)->(n,)``."""
    for i in range(len(t)):
        out[i] = exponential(t[i])


@inner
def _half_turns(t: float) -> tuple[float, float, float]:
    # `shifted`, whose last bits are n = round(t / pi); r = t - n pi; (sin(r) - r) / r
    shifted = t * _INVERSE_PI + _ROUND
    n = shifted - _ROUND
    r = ((t - n * _PI_HIGH) - n * _PI_MIDDLE) - n * _PI_LOW
    z = r * r
    z2 = z * z
    low = (-0.16666666666666666 + z * 0.008333333333333316) + z2 * (
        -0.00019841269841254966 + z * 2.7557319219160833e-06
    )
    high = (-2.505210761669045e-08 + z * 1.6058977292642743e-10) + z2 * (
        -7.643969663988074e-13 + z * 2.7314368769379893e-15
    )
    return shifted, r, z * (low + (z2 * z2) * high)


@inner
def sine(t: float) -> float:
    """Compute sin(t) for |t| <= 1e6 within 2 units in the last place.

    It is NaN for infinities. sin t = (-1)^n sin r with n = round(t / pi) and r = t - n
    pi, pi in three parts (Cody and Waite). On |r| <= pi / 2, sin r = r + r r^2 p(r^2),
    with p of degree 7 through the Chebyshev nodes (mpmath.chebyfit, error 3e-19). There
    is no branch and no call, so a loop over it becomes vector code.
    """
    shifted, r, p = _half_turns(t)
    value = np.float64(r + r * p)
    # the last bit of `shifted` is that of n, which sets the sign
    return float(
        np.int64(value.view(np.int64) ^ (np.float64(shifted).view(np.int64) << 63)).view(np.float64)
    )


@inner
def sine_ratio(t: float, inverse: float) -> float:
    """Compute sin(t) / t for 0 <= t <= 1e6, given ``inverse`` = 1 / t.

    It is 1 for t = 0. ``inverse`` is not read for t < pi / 2, so it may be infinite
    there. Up to pi / 2 the result is 1 + t^2 p(t^2), the polynomial of ``sine`` without
    the division, so small t lose no digits.
    """
    shifted, r, p = _half_turns(t)
    value = np.float64((r + r * p) * inverse)
    signed = np.int64(value.view(np.int64) ^ (np.float64(shifted).view(np.int64) << 63)).view(
        np.float64
    )
    return 1.0 + p if shifted == _ROUND else float(signed)


@kernel(array(float64, 1), array(float64, 1, out=True))
def sines(t: FloatArray, out: FloatArray) -> None:
    """Apply ``sine`` to each number, for tests: ``(n,)->(n,)``."""
    for i in range(len(t)):
        out[i] = sine(t[i])


@kernel(array(float64, 1), array(float64, 1, out=True))
def sine_ratios(t: FloatArray, out: FloatArray) -> None:
    """Apply ``sine_ratio`` to each number, for tests: ``(n,)->(n,)``."""
    for i in range(len(t)):
        out[i] = sine_ratio(t[i], 1.0 / t[i])
