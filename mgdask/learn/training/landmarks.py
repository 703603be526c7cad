"""Kernel ridge regression with landmarks, for kernels that are inner products."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.execution.executor import one_library_thread
from mgdask.learn.data.arrays import matrix, refuse_nan

DEPENDENT = 1e-8
"""Singular values below this share of the largest are dropped."""


def landmark_basis(landmarks: npt.ArrayLike) -> FloatArray:
    """Return the directions that landmarks span, as columns for a ridge regression.

    For the kernel k(p, q) = p·q, kernel ridge regression with landmarks q_m minimizes::

        1/n sum_i (y_i - b - sum_m a_m k(x_i, q_m))² + penalty a·K a
        K_ml = k(q_m, q_l)

    With the singular value decomposition Q = U S V^T of the landmarks, this is a ridge
    regression on the columns X V, where V is the basis that is returned.

    Parameters
    ----------
    landmarks
        Vectors, shape (landmark, column).

    Returns
    -------
    basis
        Orthonormal directions (column, direction), by decreasing singular value.

    Notes
    -----
    This is the subset of regressors, or the mean of a sparse Gaussian process. It costs
    one decomposition, and the kernel matrix of the landmarks is never formed. One BLAS
    thread is used. The sign of each direction makes its largest component positive.

    References
    ----------
    Quiñonero-Candela, Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005); for potentials:
    Bartók, Csányi, Int. J. Quantum Chem. 115, 1051 (2015).

    Examples
    --------
    >>> landmark_basis([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [2.0, 1.0, 0.0]]).shape
    (3, 2)
    """
    vectors = matrix("landmarks", landmarks).astype(np.float64)
    refuse_nan("landmarks", vectors, tuple(map(str, range(vectors.shape[1]))))
    with one_library_thread():  # the order of BLAS sums depends on the number of threads
        _, singular, right = np.linalg.svd(vectors, full_matrices=False)
    kept = right[singular > DEPENDENT * singular.max(initial=0.0)]
    largest = np.abs(kept).argmax(axis=1)
    signs = np.sign(kept[np.arange(len(kept)), largest])
    return np.ascontiguousarray((kept * signs[:, None]).T)
