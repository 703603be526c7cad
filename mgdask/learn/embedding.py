"""Maps of vectors in a few dimensions that approximate their distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import generator, matrix

STRESS_PAIRS = 200_000
"""Maximum number of pairs from which a stress is computed."""
BLOCK_ROWS = 256


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors mapped to few dimensions.

    Parameters
    ----------
    coordinates
        Shape (vector, dimension), in the unit of the distances.
    stress
        Kruskal's stress-1, sqrt(sum (d - D)^2 / sum D^2) over pairs, with distances D
        of the vectors and d of the map. 0 is perfect.
    n_pairs
        Number of pairs of the stress.
    sampled
        Whether the pairs are a random sample of all.
    explained
        Fraction of the variance of the vectors along the dimensions of ``pca``.
    iterations
        Number of iterations of ``smacof``; 0 for principal components.
    """

    coordinates: FloatArray
    stress: float
    n_pairs: int
    sampled: bool
    explained: float
    iterations: int = 0


def principal_coordinates(vectors: npt.ArrayLike, n_dimensions: int = 2) -> Embedding:
    """Map vectors to their principal components.

    This is also classical multidimensional scaling of their Euclidean distances.

    Parameters
    ----------
    vectors
        Shape (vector, column).
    n_dimensions
        Number of dimensions of the map.

    Returns
    -------
    embedding
        Along each dimension, the coordinate farthest from 0 is positive.

    References
    ----------
    Gower, Biometrika 53, 325 (1966); Kruskal, Psychometrika 29, 1 (1964).

    Examples
    --------
    >>> found = principal_coordinates([[0.0, 0.0], [0.0, 3.0], [0.0, 9.0]], 1)
    >>> found.coordinates[:, 0].round(6).tolist(), round(found.stress, 6)
    ([-4.0, -1.0, 5.0], 0.0)
    """
    rows = np.asarray(matrix("vectors", vectors), dtype=np.float64)
    if not 1 <= n_dimensions <= rows.shape[1]:
        raise ParameterError(
            f"n_dimensions={n_dimensions} must be from 1 to the number of columns, {rows.shape[1]}"
        )
    mean = rows.mean(axis=0)
    # the smaller of the two products; blocks keep the centered copy small
    if len(rows) <= rows.shape[1]:
        centered = rows - mean
        value, vector = np.linalg.eigh(centered @ centered.T)
        total = float(value.sum())
        top = value[::-1][:n_dimensions], vector[:, ::-1][:, :n_dimensions]
        coordinates = top[1] * np.sqrt(np.maximum(top[0], 0.0))
        if coordinates.shape[1] < n_dimensions:
            missing = n_dimensions - coordinates.shape[1]
            coordinates = np.hstack([coordinates, np.zeros((len(rows), missing))])
    else:
        product = np.zeros((rows.shape[1], rows.shape[1]))
        for first in range(0, len(rows), BLOCK_ROWS * 8):
            centered = rows[first : first + BLOCK_ROWS * 8] - mean
            product += centered.T @ centered
        value, vector = np.linalg.eigh(product)
        total = float(value.sum())
        axes = vector[:, ::-1][:, :n_dimensions]
        coordinates = np.concatenate(
            [
                (rows[first : first + BLOCK_ROWS * 8] - mean) @ axes
                for first in range(0, len(rows), BLOCK_ROWS * 8)
            ]
        )
        top = value[::-1][:n_dimensions], axes
    farthest = np.abs(coordinates).argmax(axis=0)
    sign = np.sign(coordinates[farthest, np.arange(n_dimensions)])
    coordinates = coordinates * np.where(sign == 0.0, 1.0, sign)
    explained = float(np.maximum(top[0], 0.0).sum() / total) if total > 0.0 else 1.0
    value_of, n_pairs, sampled = stress(rows, coordinates)
    return Embedding(coordinates, value_of, n_pairs, sampled, explained)


def smacof(
    vectors: npt.ArrayLike,
    n_dimensions: int = 2,
    *,
    start: Embedding | None = None,
    max_iterations: int = 300,
    tolerance: float = 1e-5,
) -> Embedding:
    """Map vectors so that the stress of their distances is a local minimum.

    The iteration starts from ``principal_coordinates`` and is deterministic. Each step
    is the Guttman transform, which never increases the stress::

        x_i <- (1/n) sum_j (D_ij / d_ij) (x_i - x_j)

    Parameters
    ----------
    vectors
        Shape (vector, column).
    n_dimensions
        Number of dimensions of the map.
    start
        First map. Default: ``principal_coordinates``.
    max_iterations
        Maximum number of iterations.
    tolerance
        Iterations end when the stress decreases by less than this fraction.

    Returns
    -------
    embedding
        The map, with the stress of all pairs.

    Notes
    -----
    Memory and the time of an iteration grow with the square of the number of vectors.
    Distances of 5223 vectors take 218 MB. Distances below 1e-7 of the largest are
    rounding noise.

    References
    ----------
    de Leeuw, in Recent Developments in Statistics, 133 (1977); Borg, Groenen, Modern
    Multidimensional Scaling (2005), ch. 8.

    Examples
    --------
    >>> corners = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    >>> smacof(corners).stress < principal_coordinates(corners).stress
    True
    """
    rows = np.asarray(matrix("vectors", vectors), dtype=np.float64)
    start = principal_coordinates(rows, n_dimensions) if start is None else start
    x, n = start.coordinates.copy(), len(rows)
    target = _all_distances(rows)
    norm = float((target**2).sum())
    if norm == 0.0:
        return start
    best, n_done = _raw_stress(x, target) / norm, 0
    while n_done < max_iterations:
        n_done += 1
        fresh = np.empty_like(x)
        for first in range(0, n, BLOCK_ROWS):
            part = slice(first, first + BLOCK_ROWS)
            near = _distances(x[part], x)
            ratio = np.divide(target[part], near, out=np.zeros_like(near), where=near > 0.0)
            fresh[part] = (ratio.sum(axis=1)[:, None] * x[part] - ratio @ x) / n
        x = fresh
        now = _raw_stress(x, target) / norm
        converged = best - now < tolerance * best
        best = now
        if converged:
            break
    return Embedding(x, float(np.sqrt(best)), n * (n - 1) // 2, False, start.explained, n_done)


def stress(
    vectors: FloatArray, coordinates: FloatArray, max_pairs: int = STRESS_PAIRS, seed: int = 0
) -> tuple[float, int, bool]:
    """Compute Kruskal's stress-1 of a map.

        sqrt(sum (d - D)^2 / sum D^2)

    Parameters
    ----------
    vectors
        Shape (vector, column), with distances D.
    coordinates
        Shape (vector, dimension), with distances d.
    max_pairs
        Number of random pairs if there are more.
    seed
        Seed of the random pairs.

    Returns
    -------
    stress, n_pairs, sampled
        The stress, the number of pairs, and whether they are a random sample.
    """
    n = len(vectors)
    n_all = n * (n - 1) // 2
    if n_all <= max_pairs:
        parts = [np.triu_indices(n, 1)]
    else:
        rng = generator(seed)
        one, other = rng.integers(0, n, max_pairs), rng.integers(0, n - 1, max_pairs)
        parts = [(one, other + (other >= one))]
    one, other = parts[0]
    off, total = 0.0, 0.0
    for first in range(0, len(one), BLOCK_ROWS):
        i, j = one[first : first + BLOCK_ROWS], other[first : first + BLOCK_ROWS]
        far = np.sqrt(((vectors[i] - vectors[j]) ** 2).sum(axis=1))
        near = np.sqrt(((coordinates[i] - coordinates[j]) ** 2).sum(axis=1))
        off += float(((near - far) ** 2).sum())
        total += float((far**2).sum())
    return (float(np.sqrt(off / total)) if total > 0.0 else 0.0), len(one), n_all > max_pairs


def _distances(one: FloatArray, other: FloatArray) -> FloatArray:
    """Euclidean distances (row, other row) in few dimensions."""
    squared = np.zeros((len(one), len(other)))
    for a, b in zip(one.T, other.T, strict=True):
        squared += (a[:, None] - b) ** 2
    return np.sqrt(squared)


def _all_distances(rows: FloatArray) -> FloatArray:
    """Euclidean distances (row, row) in many dimensions, through scalar products."""
    centered = rows - rows.mean(axis=0)
    squared = (centered**2).sum(axis=1)
    distance = np.empty((len(rows), len(rows)))
    for first in range(0, len(rows), BLOCK_ROWS):
        part = slice(first, first + BLOCK_ROWS)
        product = centered[part] @ centered.T
        distance[part] = squared[part, None] + squared - 2.0 * product
    np.fill_diagonal(distance, 0.0)
    return np.sqrt(np.maximum(distance, 0.0))


def _raw_stress(x: FloatArray, target: FloatArray) -> float:
    total = 0.0
    for first in range(0, len(x), BLOCK_ROWS):
        part = slice(first, first + BLOCK_ROWS)
        total += float(((_distances(x[part], x) - target[part]) ** 2).sum())
    return total
