"""Slow, obvious twins of the kernels. They import nothing of mgdask."""

from __future__ import annotations

import functools
import itertools

import mpmath
import numpy as np
from scipy.special import sph_harm_y, spherical_in


def neighbors(position, cell, cutoff, pbc):
    """All (centre, neighbour, displacement) with 0 < d <= cutoff or another image, by trying every image."""
    cell = np.asarray(cell, float)
    heights = abs(np.linalg.det(cell)) / np.array(
        [
            np.linalg.norm(np.cross(cell[1], cell[2])),
            np.linalg.norm(np.cross(cell[2], cell[0])),
            np.linalg.norm(np.cross(cell[0], cell[1])),
        ]
    )
    spread = np.linalg.norm(np.ptp(position, axis=0)) if len(position) else 0.0
    reach = [
        int(np.ceil((cutoff + spread) / h)) + 1 if p else 0
        for h, p in zip(heights, pbc, strict=True)
    ]
    found = []
    for shift in itertools.product(*(range(-n, n + 1) for n in reach)):
        move = np.array(shift) @ cell
        delta = position[None, :, :] + move - position[:, None, :]
        distance = np.sqrt((delta**2).sum(-1))
        for i, j in zip(*np.nonzero(distance <= cutoff), strict=True):
            if i != j or any(shift):
                found.append((int(i), int(j), *delta[i, j]))
    return found


def real_harmonics(vectors, l_max):
    """Orthonormal real Y_lm of directions, (n, (l_max+1)^2), through scipy's complex ones."""
    r = np.linalg.norm(vectors, axis=1)
    unit = np.where(r[:, None] > 0, vectors / np.where(r > 0, r, 1.0)[:, None], [0.0, 0.0, 1.0])
    theta, phi = np.arccos(np.clip(unit[:, 2], -1, 1)), np.arctan2(unit[:, 1], unit[:, 0])
    columns = []
    for degree in range(l_max + 1):
        for m in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(m), theta, phi) * (-1) ** abs(m)
            columns.append(
                value.real if m == 0 else np.sqrt(2) * (value.imag if m < 0 else value.real)
            )
    return np.array(columns).T


def loewdin(overlap, digits):
    """S^(-1/2) by mpmath's Schur-free route: eigenvectors of a symmetric matrix."""
    with mpmath.workdps(digits):
        values, vectors = mpmath.eigsy(overlap)
        return vectors * mpmath.diag([1 / mpmath.sqrt(v) for v in values]) * vectors.T


@functools.lru_cache
def _polynomials(r_cut, n_max, nodes):
    """Nodes, weights and orthonormal (r_cut - x)^(k+2) with 120 digits."""
    digits = 120
    with mpmath.workdps(digits):
        c = mpmath.mpf(r_cut)
        overlap = mpmath.matrix(n_max, n_max)
        for i in range(n_max):
            for j in range(n_max):
                a, b = i + 3, j + 3
                overlap[i, j] = c ** (a + b + 3) * mpmath.beta(a + b + 1, 3)
        beta = loewdin(overlap, digits)
        t, w = np.polynomial.legendre.leggauss(nodes)
        x, w = 0.5 * r_cut * (t + 1), 0.5 * r_cut * w
        g = np.array(
            [
                [
                    float(
                        sum(
                            beta[n, k] * (c - mpmath.mpf(float(v))) ** (k + 3) for k in range(n_max)
                        )
                    )
                    for n in range(n_max)
                ]
                for v in x
            ]
        )
    return x, w, g


def polynomial_radial(r, r_cut, n_max, l_max, sigma, nodes=400):
    """h_nl(r) = 4 pi int x^2 g_n(x) exp(-eta (x^2 + r^2)) i_l(2 eta x r) dx by dense quadrature: (l, r, n)."""
    x, w, g = _polynomials(r_cut, n_max, nodes)
    eta = 0.5 / sigma**2
    out = np.empty((l_max + 1, len(r), n_max))
    for degree in range(l_max + 1):
        for k, d in enumerate(r):
            kernel = np.exp(-eta * (x**2 + d**2)) * spherical_in(degree, 2 * eta * x * d)
            out[degree, k] = 4 * np.pi * ((w * x**2 * kernel)[:, None] * g).sum(0)
    return out


def soap(
    position, cell, numbers, species, r_cut, n_max, l_max, sigma, radial, pbc=(True, True, True)
):
    """Power spectra of all atoms; ``radial(r)`` gives (l, r, n); columns in DScribe's order."""
    reach = r_cut + sigma * np.sqrt(-2 * np.log(1e-3))
    pairs = neighbors(position, cell, reach, pbc)
    rows = []
    for i in range(len(position)):
        mine = [(numbers[j], (x, y, z)) for a, j, x, y, z in pairs if a == i] + [
            (numbers[i], (0.0, 0.0, 0.0))
        ]
        c = []
        for s in species:
            vectors = np.array([v for z, v in mine if z == s]).reshape(-1, 3)
            h = radial(np.linalg.norm(vectors, axis=1))
            y = real_harmonics(vectors, l_max)
            c.append(
                [np.einsum("in,im->nm", h[d], y[:, d * d : (d + 1) ** 2]) for d in range(l_max + 1)]
            )
        row = []
        for s, t in itertools.combinations_with_replacement(range(len(species)), 2):
            for d in range(l_max + 1):
                p = np.pi * np.sqrt(8 / (2 * d + 1)) * c[s][d] @ c[t][d].T
                row.append(p[np.triu_indices(n_max)] if s == t else p.ravel())
        rows.append(np.concatenate(row))
    return np.array(rows)
