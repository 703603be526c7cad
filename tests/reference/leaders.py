"""Naive leader clustering: every vector against every leader before it, one number at a time."""

from __future__ import annotations


def squared_distance(p, q):
    return sum((a - b) ** 2 for a, b in zip(p, q, strict=True))


def leaders(vectors, threshold, group=None):
    """Indices of vectors of norm 1 whose similarity to each earlier leader is below a threshold."""
    found = []
    for i, p in enumerate(vectors):
        if not any(
            1.0 - (squared_distance(p, vectors[j]) / 2.0) ** 0.5 >= threshold
            for j in found
            if group is None or group[j] == group[i]
        ):
            found.append(i)
    return found
