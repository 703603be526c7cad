"""Naive twin of single and average linkage."""

import numpy as np


def clusters(x, cutoff, between=np.min):
    """Merge the two nearest clusters until no two are within the cutoff."""
    members = [[i] for i in range(len(x))]
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))
    while len(members) > 1:
        best = min(
            (between(distance[np.ix_(a, b)]), i, j)
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
