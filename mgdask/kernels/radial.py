"""Tabulated radial functions of SOAP.

A neighbor at distance r is smeared by exp(-eta |x - r|^2), eta = 1 / (2 sigma^2). Its
overlap with the radial basis functions gives the coefficients h_nl(r) Y_lm:

    gto         g_nl(x) = sum_k beta_nk x^l exp(-alpha_kl x^2):
                h_nl(r) = pi^1.5 r^l sum_k beta_nk eta^-1.5
                          (1 + alpha_kl/eta)^-(l+1.5)
                          exp(-alpha_kl r^2 / (1 + alpha_kl/eta))
    polynomial  g_n(x) = sum_k beta_nk (r_cut - x)^(k+2), k = 1..n_max:
                h_nl(r) = 4 pi int_0^r_cut x^2 g_n(x)
                          exp(-eta (x^2 + r^2)) i_l(2 eta x r) dx

Here beta = S^(-1/2) (Löwdin) of the overlap matrix S. S is close to singular
(condition number 3e21 for the polynomials at n_max = 11), so beta is computed with as
many digits as needed. Both h_nl are smooth in r on the scale of sigma. They are
tabulated at steps of sigma/40 and interpolated from six points, with an error below
1e-10 of the largest value. All sums have a fixed order and avoid BLAS, so a table does
not depend on the number of threads.

Exponents and overlaps are those of DScribe (Himanen et al., Comput. Phys. Commun. 247,
106949 (2020)). Prefactors give p_nn'l = pi sqrt(8/(2l+1)) sum_m c_nlm c_n'lm.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray

KNOTS_PER_SIGMA = 40
BEFORE = 2
"""Knots below r = 0.

The functions are continued there with parity (-1)^l, so that interpolation is central
everywhere.
"""
THRESHOLD = 1e-3
"""Value at which a smeared neighbor or a Gaussian basis function is cut off."""


def padded_cutoff(r_cut: float, sigma: float) -> float:
    """Compute the range of the neighbors, r_cut + sigma sqrt(-2 ln 1e-3)."""
    return r_cut + sigma * float(np.sqrt(-2.0 * np.log(THRESHOLD)))


ONE_AT_A_TIME = Lock()
"""Lock of the arithmetic with arbitrary precision.

All threads of a process share the cached constants of mpmath and, in a shared context,
the working precision. Each call therefore has its own context, and only one call runs
at a time.
"""


def _context(n_max: int) -> Any:
    import mpmath  # only tables need it, and they are kept

    context = mpmath.MPContext()
    context.dps = 30 + 6 * n_max
    return context


def _inverse_root(context: Any, matrix: Any) -> Any:
    values, vectors = context.eigsy(matrix)
    if min(values) <= 0:
        raise ArithmeticError("the radial overlap matrix is singular; lower n_max")
    n = len(values)
    scaled = context.matrix(n, n)
    for i in range(n):
        for k in range(n):
            scaled[i, k] = vectors[i, k] / context.sqrt(values[k])
    return scaled * vectors.T


def gauss_legendre(n: int) -> tuple[FloatArray, FloatArray]:
    """Compute nodes (n,) on [-1, 1] and weights (n,) of Gauss-Legendre quadrature.

        w_i = 2 / ((1 - x_i^2) P_n'(x_i)^2),   P_n(x_i) = 0 by Newton's method

    Newton's method runs in long double. NumPy's ``leggauss`` finds eigenvalues by
    LAPACK, whose last bits may depend on the number of threads.
    """
    x = np.cos(np.pi * (np.arange(n, 0, -1) - 0.25) / (n + 0.5)).astype(np.longdouble)
    for _ in range(12):  # four iterations suffice for up to a thousand nodes
        before, now = np.ones_like(x), x.copy()
        for k in range(2, n + 1):
            before, now = now, ((2 * k - 1) * x * now - (k - 1) * before) / k
        slope = n * (before - x * now) / (1 - x * x)
        x -= now / slope
    return x.astype(np.float64), np.asarray(2 / ((1 - x * x) * slope * slope), dtype=np.float64)


@lru_cache(maxsize=64)
def polynomial_basis(
    r_cut: float, n_max: int, n_nodes: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Compute the exact orthonormal polynomials g_n on Gauss-Legendre nodes.

    Returns nodes x (q,) and weights (q,) on [0, r_cut], and g_n(x) (q,n).
    """
    nodes, weights = gauss_legendre(n_nodes)
    x, w = 0.5 * r_cut * (nodes + 1.0), 0.5 * r_cut * weights
    with ONE_AT_A_TIME:
        exact = _context(n_max)
        cut = exact.mpf(r_cut)
        overlap = exact.matrix(n_max, n_max)
        for i in range(1, n_max + 1):
            for j in range(1, n_max + 1):
                s = i + j
                overlap[i - 1, j - 1] = 2 * cut ** (7 + s) / ((5 + s) * (6 + s) * (7 + s))
        beta = _inverse_root(exact, overlap)
        values = np.empty((n_nodes, n_max))
        for q in range(n_nodes):
            rest = cut - exact.mpf(float(x[q]))
            powers = [rest ** (k + 3) for k in range(n_max)]
            for n in range(n_max):
                values[q, n] = float(exact.fdot([beta[n, k] for k in range(n_max)], powers))
    return x, w, values


@lru_cache(maxsize=64)
def gto_basis(
    r_cut: float, n_max: int, l_max: int
) -> tuple[FloatArray, npt.NDArray[np.longdouble]]:
    """Compute exponents alpha (l,n) in Å^-2 and exact Löwdin coefficients beta (l,n,k).

    ``r_cut`` must be larger than 1 Å.
    """
    decay = np.linspace(1.0, r_cut, n_max)
    degrees = np.arange(l_max + 1)[:, None]
    alpha = -np.log(THRESHOLD / decay**degrees) / decay**2
    beta = np.empty((l_max + 1, n_max, n_max), dtype=np.longdouble)
    with ONE_AT_A_TIME:
        exact = _context(n_max)
        for degree in range(l_max + 1):
            exponents = [exact.mpf(float(a)) for a in alpha[degree]]
            power = exact.mpf(degree) + exact.mpf(3) / 2
            front = exact.gamma(power) / 2
            overlap = exact.matrix(n_max, n_max)
            for i in range(n_max):
                for j in range(n_max):
                    overlap[i, j] = front * (exponents[i] + exponents[j]) ** -power
            root = _inverse_root(exact, overlap)
            for i in range(n_max):
                for j in range(n_max):  # two doubles hold all digits of a long double
                    high = float(root[i, j])
                    beta[degree, i, j] = np.longdouble(high) + np.longdouble(
                        float(root[i, j] - exact.mpf(high))
                    )
    return alpha, beta


def gto_functions(
    r: FloatArray, sigma: float, alpha: FloatArray, beta: npt.NDArray[np.longdouble]
) -> FloatArray:
    """Compute h_nl (l,knot,n) at the distances r in Å, which may be negative."""
    eta = np.longdouble(1.0) / (2 * np.longdouble(sigma) ** 2)
    x = r.astype(np.longdouble)
    n_degrees, n_max = alpha.shape
    values = np.zeros((n_degrees, len(r), n_max), dtype=np.longdouble)
    for degree in range(n_degrees):
        for k in range(n_max):
            wide = 1 + alpha[degree, k].astype(np.longdouble) / eta
            one = (
                eta**-1.5
                * wide ** -(degree + 1.5)
                * np.exp(-alpha[degree, k] / wide * x * x)
                * x**degree
            )
            values[degree] += one[:, None] * beta[degree, :, k]
    return np.asarray(np.pi**1.5 * values, dtype=np.float64)


def polynomial_functions(
    r: FloatArray, sigma: float, l_max: int, x: FloatArray, weight: FloatArray, basis: FloatArray
) -> FloatArray:
    """Compute h_nl (l,knot,n) at the distances r in Å by quadrature over nodes x.

    Distances may be negative.
    """
    from scipy.special import ive  # as mpmath above

    eta = 0.5 / sigma**2
    distance = np.abs(r)
    argument = 2.0 * eta * distance[:, None] * x[None, :]
    envelope = np.exp(-eta * (distance[:, None] - x[None, :]) ** 2)
    values = np.zeros((l_max + 1, len(r), basis.shape[1]))
    safe = np.where(argument > 0.0, argument, 1.0)
    for degree in range(l_max + 1):
        # exp(-a) i_l(a)
        bessel = np.sqrt(np.pi / (2.0 * safe)) * ive(degree + 0.5, safe)
        bessel = np.where(argument > 0.0, bessel, float(degree == 0))
        smooth = envelope * bessel
        for q in range(len(x)):
            values[degree] += smooth[:, q, None] * (weight[q] * x[q] ** 2 * basis[q])
        values[degree][r < 0.0] *= (-1.0) ** degree
    return 4.0 * np.pi * values


def knots(r_max: float, sigma: float) -> tuple[FloatArray, float]:
    """Compute the distances of the table and their step, in Å."""
    step = sigma / KNOTS_PER_SIGMA
    count = int(np.floor(r_max / step)) + 2 * BEFORE + 3
    return np.asarray((np.arange(count) - BEFORE) * step, dtype=np.float64), step
