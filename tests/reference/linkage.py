"""Naive twin of single linkage and of the statistics of representative classes."""

import numpy as np


def clusters(x, cutoff):
    """Merge the two clusters with the nearest rows until none are within the cutoff."""
    members = [[i] for i in range(len(x))]
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))
    while len(members) > 1:
        best = min(
            (distance[np.ix_(a, b)].min(), i, j)
            for i, a in enumerate(members)
            for j, b in enumerate(members)
            if i < j
        )
        if best[0] >= cutoff:
            break
        _, i, j = best
        members[i] += members.pop(j)
    members.sort(key=min)
    label = np.empty(len(x), dtype=int)
    for number, rows in enumerate(members):
        label[rows] = number
    return label
