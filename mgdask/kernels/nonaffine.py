"""Local deformation between two configurations: best-fit gradient around an atom, its strain, and what the fit leaves.

The neighbours j of an atom i are those of the REFERENCE configuration. With r_j the vector to the neighbour's image
there, and r_j + w_j the one in the current configuration,

    w_j = (u_j - u_i) + n_j (h' - h),   u = current - reference,   n_j h = r_j - (reference_j - reference_i)

(h and h' the cells with the vectors as rows, n_j whole numbers: an image moves with its cell), the gradient is

    F = I + G,   G = W X^-1,   W = sum_j w_j r_j^T,   X = sum_j r_j r_j^T

which is Falk and Langer's Y X^-1 with Y = sum_j (r_j + w_j) r_j^T, but loses no digits where the deformation is small;
likewise the Green-Lagrange strain and the residual are made of G:

    E = (F^T F - I) / 2 = (G + G^T + G^T G) / 2,   D2 = sum_j |r_j + w_j - F r_j|^2 = sum_j |w_j - G r_j|^2

Sources: Falk, Langer, Phys. Rev. E 57, 7192 (1998); shear invariant: Shimizu, Ogata, Li, Mater. Trans. 48, 2923 (2007).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import float64, int64

from mgdask.kernels._jit import array, inner, kernel

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]

FLAT = 1e-12
"""Neighbours with det X <= FLAT (tr X)^3 lie in a plane through the atom, or on a line: F has no value.

A layer 3e-6 as thick as wide is just above it; packings of atoms have 1e-3 to 1/27.
"""


class Deformation(NamedTuple):
    """Of each centre: d2 (center,) Å², the sum over neighbours; neighbors (center,) their number; gradient (center,9)
    F_xx, F_xy, F_xz, F_yx, ... with F_ab = d current_a / d reference_b; shear (center,) and volumetric (center,)
    strain. All but neighbors are NaN where F has no value.
    """

    d2: Float
    neighbors: Integer
    gradient: Float
    shear: Float
    volumetric: Float


@inner
def _reciprocal(cell: Float) -> Float:
    # columns b_k with r @ b_k the fraction along vector k
    out = np.empty((3, 3))
    for k in range(3):
        p, q = (k + 1) % 3, (k + 2) % 3
        for a in range(3):
            b, c = (a + 1) % 3, (a + 2) % 3
            out[a, k] = cell[p, b] * cell[q, c] - cell[p, c] * cell[q, b]
    size = cell[0, 0] * out[0, 0] + cell[0, 1] * out[1, 0] + cell[0, 2] * out[2, 0]
    for a in range(3):
        for k in range(3):
            out[a, k] /= size
    return out


@kernel(
    array(int64, 1), array(int64, 1), array(int64, 1), array(int64, 1), array(float64, 1), array(int64, 1),
    array(float64, 2), array(int64, 1, out=True), array(int64, 1, out=True),
)  # fmt: skip
def _within(
    centers: Integer, first: Integer, last: Integer, row: Integer, distance: Float, slot: Integer, cutoff: Float,
    offset: Integer, pick: Integer,
) -> None:  # fmt: skip
    at = 0
    for k in range(len(centers)):
        own = slot[centers[k]]
        for p in range(first[k], last[k]):
            if distance[p] <= cutoff[own, slot[row[p]]]:
                pick[at] = p
                at += 1
        offset[k + 1] = at


def within(
    centers: Integer, first: Integer, last: Integer, row: Integer, distance: Float, slot: Integer, cutoff: Float
) -> tuple[Integer, Integer, Integer]:
    """Neighbours within the cut-off of their pair of species, in their order.

    (center,) rows of the centres; (center,),(center,) their entries of row (pair,) and distance (pair,) Å; slot
    (atom,) index of each atom's species; cutoff (species,species) Å -> first, last (center,) and pick (entry,): those
    of centre k are entries ``pick[first[k]:last[k]]`` of ``row`` and ``distance``. Cost 3 nanoseconds a pair. Twin:
    ``tests/test_nonaffine.py::test_cutoffs_of_pairs``.
    """
    offset, pick = np.zeros(len(centers) + 1, dtype=np.int64), np.empty(int((last - first).sum()), dtype=np.int64)
    _within(centers, first, last, row, distance, slot, cutoff, offset, pick)
    return offset[:-1], offset[1:], pick[: offset[-1]]
