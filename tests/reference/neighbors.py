"""Naive twin of the search of nearest rows by Euclidean distance."""

import numpy as np


def square(p, q):
    """Add (p - q)² column by column."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        d = float(a) - float(b)
        total += d * d
    return total


def nearest(rows, queries, k, allowed=lambda query, row: True):
    """Compare each query with all allowed rows; equal distances in order of the row."""
    index, found = [], []
    for i, query in enumerate(queries):
        pairs = sorted((square(query, row), j) for j, row in enumerate(rows) if allowed(i, j))[:k]
        index.append([j for _, j in pairs])
        found.append([d for d, _ in pairs])
    return np.array(index), np.sqrt(np.array(found))
