"""The radial basis of SOAP: its quadrature, and the same digits whatever other threads compute."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest

from mgdask.kernels.radial import gauss_legendre, gto_basis, polynomial_basis


@pytest.mark.parametrize("n", [1, 2, 3, 60, 200, 501])
def test_quadrature(n):
    x, w = gauss_legendre(n)
    known, weights = np.polynomial.legendre.leggauss(n)
    np.testing.assert_allclose(x, known, rtol=0, atol=4e-15)
    np.testing.assert_allclose(w, weights, rtol=2e-9)  # NumPy's err by 7e-10 at the ends of 501
    with mpmath.workdps(40):
        for i in {0, n // 2}:
            root = mpmath.findroot(lambda t: mpmath.legendre(n, t), mpmath.mpf(float(x[i])))
            slope = (
                n
                * (mpmath.legendre(n - 1, root) - root * mpmath.legendre(n, root))
                / (1 - root * root)
            )
            assert w[i] == pytest.approx(float(2 / ((1 - root * root) * slope**2)), rel=1e-14)
    assert w.sum() == pytest.approx(2.0, abs=1e-14)
    for power in {0, n - n % 2, min(2 * n - 2, 40)}:  # exact to degree 2n - 1
        assert w @ x**power == pytest.approx(2.0 / (power + 1), rel=1e-13)


def test_threads_do_not_take_each_other_s_digits():
    cases = [(5.0 + 0.01 * k, n_max) for k in range(6) for n_max in (3, 11)]

    def both(case):
        r_cut, n_max = case
        polynomial = polynomial_basis.__wrapped__(r_cut, n_max, 40)[2]
        return polynomial.tobytes(), gto_basis.__wrapped__(r_cut, n_max, 2)[1].astype(
            float
        ).tobytes()  # long doubles have idle bytes

    alone = [both(case) for case in cases]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(both, cases))
    assert together == alone
