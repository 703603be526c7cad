"""Naive twin of the search of nearest rows by Manhattan distance."""

import numpy as np


def distance(p, q):
    """Add |p - q| column by column."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        total += abs(float(a) - float(b))
    return total


def nearest(x, queries, k, first, last, own):
    """Compare each query with all rows; equal distances in order of the row."""
    index = np.full((len(queries), k), -1)
    found = np.full((len(queries), k), np.inf)
    for i, query in enumerate(queries):
        pairs = sorted((distance(query, x[j]), j) for j in range(first, last) if j != own[i])[:k]
        for m, (d, j) in enumerate(pairs):
            index[i, m], found[i, m] = j, d
    return index, found
